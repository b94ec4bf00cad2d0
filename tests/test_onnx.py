"""ONNX: what a model exports does in ONNX Runtime what the model does, at other sizes too; and models made elsewhere run
here. Judges: ONNX Runtime, onnx's reference evaluator, ONNX's own tests of nodes."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

import tinygrad_lstm as tl

onnx = pytest.importorskip("onnx", reason="ONNX files; pip install 'tinygrad_lstm[onnx]'")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

REASON = "ONNX Runtime judges exports; pip install onnxruntime"


class Does(tl.nn.Module):
    """A function of the module and its inputs as a model."""

    def __init__(self, function, **parameters):
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, tl.tensor(value, requires_grad=True))

    def forward(self, x, *more):
        return self.function(self, x, *more)


def flat(result):
    if isinstance(result, tl.Tensor):
        return [result.numpy()]
    return [y for part in (result.values() if isinstance(result, dict) else result) for y in flat(part)]


def arrays_of(example):
    if isinstance(example, tuple):
        return [a for part in example for a in arrays_of(part)]
    return [] if example is None else [np.asarray(example)]


def lifted(example):
    if isinstance(example, tuple):
        return tuple(map(lifted, example))
    return tl.tensor(example) if isinstance(example, np.ndarray) else example


def close(actual, expected, rtol=2e-5, atol=2e-6):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)


def judged(model, examples, tmp_path, **options):
    """Export on the first example; on all of them the model, the file here, and the file in ONNX Runtime agree."""
    ort = pytest.importorskip("onnxruntime", reason=REASON)
    path = tmp_path / "model.onnx"
    tl.onnx.export(model, path, examples[0], **options)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    here = tl.onnx.load(path)
    model.eval()
    for example in examples:
        args = example if isinstance(example, tuple) else (example,)
        expected = flat(model(*lifted(args)))
        given = arrays_of(args)
        assert [i.name for i in session.get_inputs()] == list(here.inputs)
        close(session.run(None, dict(zip(here.inputs, given, strict=True))), expected)
        close(here.run(given), expected)
    return here


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


# ------------------------------------------------------------------------------------------------------ recurrent layers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["RNN", "RNN relu", "GRU", "LSTM", "LSTM projected", "no bias"])
@pytest.mark.parametrize("deep", [False, True])
def test_torchs_layers(kind, deep, dtype, rng, tmp_path):
    options = {"dtype": dtype, "seed": 0}
    options |= {
        "RNN relu": {"nonlinearity": "relu"},
        "LSTM projected": {"proj_size": 2},
        "no bias": {"bias": False},
    }.get(kind, {})
    options |= {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5} if deep else {}
    layer = getattr(tl.nn, kind.split()[0] if kind != "no bias" else "GRU")(3, 5, **options)
    n = 4 if deep else 1

    def x(steps, batch):
        return normal(rng, *((batch, steps) if deep else (steps, batch)), 3, dtype=dtype)

    def states(batch):
        h = normal(rng, n, batch, 2 if kind == "LSTM projected" else 5, dtype=dtype)
        return (h, normal(rng, n, batch, 5, dtype=dtype)) if kind.startswith("LSTM") else h

    judged(layer, [x(7, 2), x(3, 5), x(1, 1)], tmp_path)
    lengths = [np.array([7, 4]), np.array([0, 4, 2])]  # nothing of a sequence: its states stay
    judged(layer, [(x(7, 2), states(2), lengths[0]), (x(4, 3), states(3), lengths[1])], tmp_path)


CELLS = [c for c in vars(tl.cells).values() if isinstance(c, tl.Cell)]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_every_cell(cell, rng, tmp_path):
    sizes = dict(zip(cell.axis_names, (3, 4, 5), strict=False))
    layer = tl.nn.Recurrent(cell, bidirectional=True, seed=1, **sizes)

    def states(batch):
        return tuple(normal(rng, 2, batch, sizes[cell.axes[s][0]]) for s in cell.states)

    judged(layer, [normal(rng, 7, 2, 3), normal(rng, 2, 1, 3)], tmp_path)
    examples = [
        (normal(rng, 7, 2, 3), states(2), np.array([7, 4])),
        (normal(rng, 4, 3, 3), states(3), np.array([0, 4, 2])),
    ]
    judged(layer, examples, tmp_path)


# name of the cell: ONNX's operator, or Scan
KINDS = {"rnn": "RNN", "rnn_relu": "RNN", "lstm": "LSTM", "lstm_peephole": "LSTM", "lstm_coupled": "LSTM", "gru": "GRU",
         "gru_reset_before": "GRU", "mgu": "Scan", "lstm_projected": "Scan", "lstm_layernorm": "Scan"}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_cell_is_the_operator_that_onnx_has_for_it(name, rng):
    cell = getattr(tl.cells, name)
    sizes = dict(zip(cell.axis_names, (3, 4, 5), strict=False))
    shipped = tl.onnx.export(tl.nn.Recurrent(cell, **sizes), None, normal(rng, 5, 2, 3))
    assert f"1 {KINDS[name]}" in repr(shipped)


halves = tl.elementwise("halves_for_onnx", code="{0} / 2 if {0} > -1 else max({0}, -0.5)", vjp=lambda g, y, x: (g,))


@tl.cell(x="input", dt="1", h="hidden", s="inner", W="hidden input", U="hidden hidden", V="inner hidden", R="hidden inner",
         b="hidden", d="inner", k="hidden")  # fmt: skip
def own(x, dt, /, h, s, *, W, U, V, R, b, d, k):
    a = halves(W.a @ x + U.a @ h + b.a)
    e = tl.softmax(W.e @ x + U.e @ (a * h), axis=-1)
    s = tl.where(V.s @ a > 0.0, s * tl.exp(-dt), tl.tanh(V.s @ a + d.s)) + 0.1 * tl.max(s, axis=-1, keepdims=True)
    h = R.s @ s + e * tl.logsumexp(a, axis=-1, keepdims=True) - k * h * (1.0 * (a > 0.1))
    return a + h, h, s


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cell_of_ones_own(dtype, rng, tmp_path):
    layer = tl.nn.Recurrent(own, input=3, hidden=4, inner=5, bidirectional=True, dtype=dtype, seed=2)

    def x(steps, batch):
        return normal(rng, steps, batch, 3, dtype=dtype), rng.random((steps, batch, 1)).astype(dtype)

    def states(batch):
        return normal(rng, 2, batch, 4, dtype=dtype), normal(rng, 2, batch, 5, dtype=dtype)

    judged(layer, [(x(7, 2),), (x(3, 4),)], tmp_path)
    judged(layer, [(x(7, 2), states(2), np.array([3, 7])), (x(4, 3), states(3), np.array([0, 1, 4]))], tmp_path)


def test_an_lstm_declared_again_is_an_lstm(rng, tmp_path):
    @tl.cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", b="hidden")
    def mine(x, /, h, c, *, W, U, b):
        i = tl.sigmoid(W.i @ x + U.i @ h + b.i)
        f = tl.sigmoid(W.f @ x + U.f @ h + b.f)
        g = tl.tanh(W.g @ x + U.g @ h + b.g)
        o = tl.sigmoid(W.o @ x + U.o @ h + b.o)
        c = f * c + i * g
        h = o * tl.tanh(c)
        return h, c

    layer = tl.nn.Recurrent(mine, input=3, hidden=4, seed=0)
    assert "1 LSTM" in repr(judged(layer, [normal(rng, 5, 2, 3), normal(rng, 2, 3, 3)], tmp_path))


def test_a_step_with_its_states_by_name(rng, tmp_path):
    class Step(tl.nn.Module):
        def __init__(self):
            self.cell = tl.nn.LSTMCell(3, 4, seed=0)

        def forward(self, x, h=None, c=None):
            h, c = self.cell(x, None if h is None else (h, c))
            return {"h": h, "c": c}

    here = judged(Step(), [(normal(rng, 2, 3), normal(rng, 2, 4), normal(rng, 2, 4))] * 2, tmp_path)
    assert list(here.inputs) == ["x", "h", "c"] and list(here.outputs) == ["h_out", "c_out"]
    assert list(judged(Step(), [normal(rng, 2, 3), normal(rng, 5, 3)], tmp_path).outputs) == ["h", "c"]


class Attention(tl.nn.Module):
    def __init__(self):
        self.encoder, self.decoder = tl.nn.GRU(3, 8, seed=0), tl.nn.GRU(3, 8, seed=1)
        self.first = tl.tensor(np.full((1, 1, 8), 0.1, np.float32), requires_grad=True)
        self.query, self.out = tl.nn.Linear(8, 8, seed=2), tl.nn.Linear(16, 4, seed=3)

    def forward(self, x, y):
        h, _ = self.encoder(x, tl.broadcast_to(self.first, (1, x.shape[1], 8)))
        d, _ = self.decoder(y)
        weights = tl.softmax(tl.einsum("tbh,sbh->bts", self.query(d), h) / 8**0.5)
        return self.out(tl.concatenate([d, tl.einsum("bts,sbh->tbh", weights, h)], axis=-1))


class LastOfEach(tl.nn.Module):
    def __init__(self):
        self.layer, self.out = tl.nn.LSTM(3, 8, batch_first=True, seed=0), tl.nn.Linear(8, 2, seed=1)

    def forward(self, x, lengths):
        h, _ = self.layer(x, lengths=lengths)
        return self.out(h[np.arange(x.shape[0]), lengths - 1])


class Causal(tl.nn.Module):
    def forward(self, x):
        i = tl.arange(x.shape[0])
        return tl.softmax(tl.where(i[:, None] >= i, x @ x.T, -1e9)) @ x


class Tied(tl.nn.Module):
    def __init__(self):
        self.embed, self.layer = tl.nn.Embedding(10, 4, seed=0), tl.nn.GRU(4, 4, seed=1)

    def forward(self, ids):
        return self.layer(self.embed(ids))[0] @ self.embed.weight.T


def test_models_of_several_kinds(rng, tmp_path):
    def x(*shape):
        return normal(rng, *shape)

    judged(Attention(), [(x(5, 2, 3), x(4, 2, 3)), (x(7, 3, 3), x(2, 3, 3))], tmp_path)
    judged(LastOfEach(), [(x(5, 7, 3), np.array([7, 3, 2, 1, 5])), (x(2, 4, 3), np.array([4, 2]))], tmp_path)
    judged(Causal(), [x(5, 3), x(8, 3)], tmp_path)
    judged(Tied(), [np.array([[1, 2], [3, 4], [9, 0]]), np.array([[5]])], tmp_path)


def test_weights_that_need_no_gradient(rng, tmp_path):
    model = tl.nn.Sequential(tl.nn.Linear(3, 4, seed=0), tl.nn.Tanh())
    for leaf in model.parameters():
        leaf.requires_grad = False
    with tl.no_grad():
        here = judged(model, [normal(rng, 2, 3), normal(rng, 5, 3)], tmp_path)
    assert set(here.parameters) == {"0.weight", "0.bias"}


def test_outputs_that_are_inputs_or_parameters(rng, tmp_path):
    here = judged(
        Does(lambda self, x: (x, x, self.w, x + 0), w=normal(rng, 2)), [normal(rng, 4, 3), normal(rng, 2, 3)], tmp_path
    )
    assert list(here.outputs) == ["output", "output_1", "output_2", "output_3"]


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_single_steps(name, rng, tmp_path):
    cell = getattr(tl.nn, name)(3, 5, seed=0)
    two = name == "LSTMCell"

    def example(batch):
        h = normal(rng, batch, 5)
        return normal(rng, batch, 3), (h, normal(rng, batch, 5)) if two else h

    judged(cell, [example(2), example(6)], tmp_path)


# ---------------------------------------------------------------------------------------------------------- whole models
class Tagger(tl.nn.Module):
    def __init__(self):
        self.embed = tl.nn.Embedding(20, 6, padding_idx=0, seed=0)
        self.layers = tl.nn.LSTM(6, 8, 2, dropout=0.3, bidirectional=True, seed=1)
        self.norm = tl.nn.LayerNorm(16)
        self.drop = tl.nn.Dropout(0.5)
        self.out = tl.nn.Linear(16, 5, seed=2)

    def forward(self, ids, lengths=None):
        h, _ = self.layers(self.embed(ids), lengths=lengths)
        return {"scores": tl.log_softmax(self.out(self.drop(self.norm(h)))), "last": h[-1, :, :8].mean(axis=1)}


def test_a_tagger(rng, tmp_path):
    ids = rng.integers(0, 20, (9, 3))
    model = Tagger()
    shipped = judged(model, [(ids,), (ids[:4, :1],)], tmp_path)
    assert [str(p) for p in shipped.inputs.values()] == ["ids (steps, batch) int64"]
    assert [str(p) for p in shipped.outputs.values()] == ["scores (steps, batch, 5) float32", "last (batch) float32"]
    judged(model, [(ids, np.array([9, 2, 0])), (ids[:4, :1], np.array([2]))], tmp_path)


def test_an_example_of_large_size(rng, tmp_path):
    model = Tagger()
    here = judged(
        model,
        [(rng.integers(0, 20, (300, 2)), np.array([300, 40])), (rng.integers(0, 20, (4, 3)), np.array([3, 0, 2]))],
        tmp_path,
    )
    assert here.inputs["ids"].shape == ("steps", "batch")


def test_a_number_without_axes_as_input(rng, tmp_path):
    model = Does(lambda self, x, gain: x * gain, w=normal(rng, 3))
    judged(model, [(normal(rng, 4), np.array(2.0, np.float32)), (normal(rng, 2), np.array(3.0, np.float32))], tmp_path)


def test_training_mode_is_left_as_it_was(rng):
    model = Tagger()
    model.out.eval()
    state = model.rng_state()
    tl.onnx.export(model, None, rng.integers(0, 20, (4, 2)))
    assert model.training and model.drop.training and not model.out.training
    assert model.rng_state() == state


def test_parameters_keep_their_names(rng):
    model = Tagger()
    shipped = tl.onnx.export(model, None, rng.integers(0, 20, (4, 2)))
    state = model.state_dict()
    for name in ("embed.weight", "out.weight", "out.bias", "norm.weight"):
        np.testing.assert_array_equal(shipped.parameters[name], state[name])
    gates = state["layers.weight_ih_l1_reverse"].reshape(4, 8, 16)
    np.testing.assert_array_equal(
        shipped.parameters["layers.weight_ih_l1_reverse"], gates[[0, 3, 1, 2]].reshape(1, 32, 16)
    )
    assert "layers.bias_ih_l0+layers.bias_hh_l0" in shipped.parameters


# of an array (steps, batch, width), giving one of the same width
PIECES = {
    "tanh": tl.tanh, "relu": tl.relu, "softmax": tl.softmax, "gelu": tl.gelu, "square": tl.square,
    "centre": lambda x: x - x.mean(axis=0),
    "flip": lambda x: tl.flip(x, 0),
    "swap": lambda x: tl.swapaxes(x, 0, 1),
    "norm": lambda x: tl.nn.functional.layer_norm(x, x.shape[-1]),
    "running mean": lambda x: tl.cumsum(x, axis=0) / x.shape[0],
    "pad": lambda x: tl.pad(x, ((1, 0), (0, 0), (0, 0))),
    "shift": lambda x: tl.concatenate([x[1:], x[:1]]),
    "less the largest": lambda x: x - tl.max(x, axis=1, keepdims=True),
    "flat": lambda x: tl.reshape(tl.tanh(tl.reshape(x, (-1, x.shape[-1]))), x.shape),
    "leak": lambda x: tl.where(x > 0, x, 0.1 * x),
    "einsum": lambda x: tl.einsum("tbi,tbj->tbi", x, x) / 10,
    "last": lambda x: x + x[-1],
    "argmax": lambda x: x * tl.astype(tl.argmax(x, axis=-1, keepdims=True), np.float32),
    "logsumexp": lambda x: x - tl.logsumexp(x, axis=(0, 2), keepdims=True),
    "spread": lambda x: x / (1 + tl.std(x, axis=1, keepdims=True)),
    "mod": lambda x: x % 1.5 + 2.0 ** tl.clip(x, -2, 2),
    "repeat": lambda x: tl.repeat(x, 2, axis=2)[..., ::2],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random_models(seed, rng, tmp_path):
    chance = np.random.default_rng(seed)
    width, parts = 3, []
    for k in range(int(chance.integers(2, 7))):
        wide, both, first = int(chance.integers(2, 6)), bool(chance.integers(2)), bool(chance.integers(2))
        kind = chance.choice(["linear", "cell", "piece", "piece", "piece"])
        if kind == "piece":
            parts.append(PIECES[str(chance.choice(list(PIECES)))])
        elif kind == "linear":
            parts.append(tl.nn.Linear(width, wide, seed=k))
            width = wide
        else:
            cell = getattr(tl.cells, str(chance.choice(["lstm", "gru", "mgu", "rnn", "lstm_peephole", "sru"])))
            options = {"bidirectional": both, "batch_first": first, "seed": k}
            parts += [tl.nn.Recurrent(cell, input=width, hidden=wide, **options), lambda result: result[0]]
            width = wide * (1 + both)
    judged(tl.nn.Sequential(*parts), [normal(rng, 5, 4, 3), normal(rng, 3, 6, 3), normal(rng, 2, 2, 3)], tmp_path)


# ------------------------------------------------------------------------------------------------------------- the table
ROWS = [op for op in tl.ops.OPS.values() if op.code is not None and not op.name.endswith("_for_onnx")]
NO_KERNEL = {"tan", "sinh", "cosh", "erf", "gelu"}  # of ONNX Runtime, for float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_elementwise_rows(op, dtype, rng, tmp_path):
    args = [rng.uniform(low, high, (4, 3)).astype(dtype) for low, high in op.domain]
    special = np.array([0, -0.0, 1000, -1000, np.nan, np.inf, -np.inf, 1e-6, -1e-6, 0.5, 1, -1], dtype).reshape(4, 3)
    extremes = [special] * len(args)
    if op.name.startswith("logical"):
        args, extremes = [a > 0 for a in args], [special > 0] * len(args)
    if op.name == "where":
        args[0], extremes[0] = args[0] > 0, special > 0
    model = Does(lambda self, *xs: xs[0].apply(op, *xs))
    path = tmp_path / "row.onnx"
    here = tl.onnx.export(model, path, tuple(args))
    session = None
    if dtype == np.float32 or op.name not in NO_KERNEL:
        ort = pytest.importorskip("onnxruntime", reason=REASON)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for values in (args, extremes):
        expected = model(*map(tl.tensor, values)).numpy()
        runs = [here.run(values)[0]]
        runs += [] if session is None else session.run(None, dict(zip(here.inputs, values, strict=True)))
        for got in runs:
            rtol = 1e-9 if dtype == np.float64 else 1e-4 if op.name == "gelu" else 3e-6  # gelu cancels in its tail
            close([got], [expected], rtol=rtol, atol=1e-30)


FUNCTIONS = """
tl.sum(x) | tl.sum(x, axis=0) | tl.mean(x, axis=(0, 2), keepdims=True) | tl.max(x, axis=-1) | tl.min(x) | tl.var(x, axis=0, ddof=1)
tl.std(x) | tl.logsumexp(x, axis=1) | tl.cumsum(x, axis=0) | tl.cumsum(x) | tl.argmax(x, axis=2) | tl.argmin(x) | tl.argmax(x, keepdims=True)
tl.softmax(x) | tl.log_softmax(x, axis=0) | x @ self.w | x[0] @ self.w | x @ self.v | tl.einsum("tbi,ij->btj", x, self.w)
tl.reshape(x, (-1, 3)) | tl.reshape(x, (x.shape[0] * x.shape[1], 3)) | tl.reshape(x, (x.shape[0], -1)) | tl.transpose(x)
tl.moveaxis(x, 0, 1) | tl.expand_dims(x, (0, -1)) | tl.squeeze(tl.expand_dims(x, 0)) | tl.broadcast_to(self.v, x.shape)
tl.broadcast_to(x, (2, *x.shape)) | tl.concatenate([x, x * 2], axis=1) | tl.stack([x, x + 1]) | x[-1] | x[x.shape[0] - 1] | x[:, 0]
x[1:, :, ::-1] | x[::2] | x[:-1] | x[..., None] | x[None, ..., 0] | x[:, None, 0] | x[[0, 1]] | x[:, :, [2, 0]]
x[[0, 1], :, [1, 2]] | x[[0, 1], [1, 0]] | x[:, [0, 1], [1, 2]] | x[0, :, [1, 2]] | x[tl.tensor(np.array([[0, 1], [1, 0]]))]
tl.flip(x, 0) | tl.pad(x, ((1, 2), (0, 0), (0, 1))) | tl.repeat(x, 2, axis=2) | tl.take(x, [0, 2], axis=2) | tl.where(x > 0, x, -x)
tl.prod(x, axis=2) | tl.outer(self.v, self.v) * x[0, 0, 0] | tl.nn.functional.layer_norm(x, 3) | tl.gelu(x, "tanh") | x / x.shape[0]
tl.astype(x, np.float64).sum() | tl.astype(x > 0, np.int64) | (x > 0) & (x < 1) | tl.split(x, 3, axis=2) | tl.clip(x, -0.5, 0.5)
tl.leaky_relu(x) | tl.elu(x) | x**2 + x**3 | 2.0**x | x.detach() * 2 | np.isnan(x) | tl.arange(x.shape[0])[:, None, None] * x
tl.ones_like(x) * x | x * x.shape[1] | tl.concatenate([x, tl.zeros((1, *x.shape[1:]))]) | x.T | tl.minimum(x, 0) | tl.nn.functional.dropout(x, 0.5, False)
tl.nn.functional.cross_entropy(x[:, 0], tl.tensor(np.array([1, 0]))[:1] + tl.argmax(x[:, 0], axis=1) * 0)
tl.astype(x * 4, np.int64) // 3 | tl.astype(x * 4, np.int64) % 3 | tl.astype(x, np.int32).sum() | tl.mean(tl.astype(x * 9, np.int64))
"""


@pytest.mark.parametrize("text", [f.strip() for line in FUNCTIONS.strip().splitlines() for f in line.split(" | ")])
def test_functions(text, rng, tmp_path):
    function = eval(f"lambda self, x: {text}", {"tl": tl, "np": np})
    model = Does(function, w=normal(rng, 3, 4), v=normal(rng, 3))
    judged(model, [normal(rng, 5, 2, 3), normal(rng, 7, 4, 3), normal(rng, 2, 2, 3)], tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "tl.nn.functional.layer_norm(tl.concatenate([x, tl.zeros((1, *x.shape[1:]))]), 3)",
        "tl.reshape(tl.concatenate([x, x[:, :1]], axis=1), (-1, 3))[: x.shape[0] + 2]",
        "tl.pad(x, ((x.shape[1], 0), (0, 0), (0, 0)))",
        "tl.reshape(tl.concatenate([tl.transpose(x, (1, 0, 2)), tl.zeros((x.shape[1], x.shape[0], 3))], axis=1), (-1,))",
        "tl.zeros((x.shape[0] + 2 * x.shape[1] - 3, 2)) + x[0, 0, 0]",
    ],
)
def test_sizes_that_are_sums(text, rng, tmp_path):
    model = Does(eval(f"lambda self, x: {text}", {"tl": tl}))
    here = judged(model, [normal(rng, 5, 2, 3), normal(rng, 3, 7, 3), normal(rng, 2, 1, 3)], tmp_path)
    assert here.inputs["x"].shape[:2] == ("x_0", "x_1")


def test_fused_functions(rng, tmp_path):
    @tl.fuse
    def swish(x, beta):
        return x * tl.sigmoid(beta * x)

    judged(
        Does(lambda self, x: swish(x, 1.5) + swish(x, self.v), v=normal(rng, 3)),
        [normal(rng, 5, 3), normal(rng, 1, 3)],
        tmp_path,
    )


@pytest.mark.parametrize("opset", range(14, 24))
def test_opsets(opset, rng, tmp_path):
    here = judged(
        Tagger(),
        [(rng.integers(0, 20, (5, 2)), np.array([5, 1])), (rng.integers(0, 20, (3, 3)), np.array([3, 0, 2]))],
        tmp_path,
        opset=opset,
    )
    assert here.inputs["ids"].shape == ("steps", "batch")
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == opset


@pytest.mark.parametrize("opset", [14, 17, 18, 21])
def test_a_scan_in_other_opsets(opset, rng, tmp_path):
    layer = tl.nn.Recurrent(own, input=3, hidden=4, inner=5, seed=2)
    examples = [
        ((normal(rng, T, 2, 3), rng.random((T, 2, 1)).astype(np.float32)), None, np.array([T, 1])) for T in (6, 3)
    ]
    judged(layer, examples, tmp_path, opset=opset)


def test_the_newest_opset(rng):
    newest = onnx.defs.onnx_opset_version()
    tl.onnx.export(
        tl.nn.Recurrent(tl.cells.lstm_layernorm, input=3, hidden=4), None, normal(rng, 5, 2, 3), opset=newest
    )
    model = Does(lambda self, x: tl.einsum("ij,kj->ik", x, x) % 2.0 + tl.arange(x.shape[0]) // 2)
    here = tl.onnx.export(model, None, normal(rng, 5, 3), opset=newest)
    assert here.inputs["x"].shape == ("x_0", "x_1")


def test_a_model_that_is_too_large(rng, monkeypatch, tmp_path):
    monkeypatch.setattr("tinygrad_lstm.onnx.exporter.LARGEST", 100)
    with pytest.raises(tl.ArgumentError, match="an ONNX file holds less than 2 GB"):
        tl.onnx.export(tl.nn.Linear(30, 20), tmp_path / "model.onnx", normal(rng, 2, 30))


def test_onnx_reference_evaluator_agrees(rng, tmp_path):
    from onnx.reference import ReferenceEvaluator

    for layer in (tl.nn.LSTM(3, 5, seed=0), tl.nn.Recurrent(tl.cells.mgu, input=3, hidden=4, seed=0, dtype=np.float64)):
        tl.onnx.export(layer, tmp_path / "model.onnx", normal(rng, 5, 2, 3, dtype=layer.dtype))
        x = normal(rng, 4, 3, 3, dtype=layer.dtype)
        (name,) = tl.onnx.load(tmp_path / "model.onnx").inputs
        close(ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {name: x}), flat(layer(x)))


# --------------------------------------------------------------------------------------------------- names and dynamic axes
def test_names_and_axes_as_told(rng, tmp_path):
    layer = tl.nn.LSTM(3, 5, seed=0)
    x = normal(rng, 7, 2, 3)
    names = {"input_names": ["x"], "output_names": ["y", "h", "c"]}
    here = tl.onnx.export(layer, None, x, dynamic={"x": {1: "people"}}, **names)
    assert here.inputs["x"].shape == (7, "people", 3) and here.outputs["c"].shape == (1, "people", 5)
    results = here.run({"x": x[:, :1]})
    assert results.names == ("y", "h", "c") and list(dict(results)) == ["y", "h", "c"]
    np.testing.assert_array_equal(results["h"], results[1])
    with pytest.raises(tl.ShapeError, match="the model takes x \\(7, people, 3\\)"):
        here.run({"x": x[:3]})
    fixed = tl.onnx.export(layer, None, x, dynamic=False)
    assert fixed.inputs["input"].shape == (7, 2, 3)
    assert tl.onnx.export(layer, None, x, dynamic={"input": [0]}).inputs["input"].shape == ("input_0", 2, 3)


def test_sizes_that_belong_together(rng):
    layer = tl.nn.LSTM(3, 5, seed=0)
    here = tl.onnx.export(layer, None, (normal(rng, 4, 2, 3), (normal(rng, 1, 2, 5), normal(rng, 1, 2, 5)), [4, 1]))
    assert [p.shape for p in here.inputs.values()] == [
        ("steps", "batch", 3),
        (1, "batch", 5),
        (1, "batch", 5),
        ("batch",),
    ]
    with pytest.raises(tl.ShapeError, match="the axis 'batch' is 3 in input, 2 in hx_0"):
        here.run([normal(rng, 4, 3, 3), normal(rng, 1, 2, 5), normal(rng, 1, 2, 5), np.array([1, 1])])


def test_arguments_by_name_and_things_that_are_no_arrays(rng):
    def forward(self, x, scale=2.0, shift=None):
        return x * scale if shift is None else x * scale + shift

    here = tl.onnx.export(Does(forward), None, {"x": normal(rng, 3)})
    np.testing.assert_allclose(here.run(np.ones(5, np.float32))[0], 2.0)

    class Named(tl.nn.Module):
        def forward(self, x, scale=2.0, shift=None):
            return forward(self, x, scale, shift)

    here = tl.onnx.export(Named(), None, {"shift": normal(rng, 3), "x": normal(rng, 3), "scale": 4.0})
    assert list(here.inputs) == ["x", "shift"]
    np.testing.assert_allclose(here.run({"x": np.ones(3), "shift": np.ones(3)})[0], 5.0)


NOTES = [
    (
        "x[: x.shape[0] // 2]",
        "axis 0 of x is 5: `getitem` in Does: the size .* does not follow from the sizes of the inputs",
    ),
    (
        "tl.repeat(x, 2, axis=1)",
        "axis 1 of x is 2: `getitem` in Does: an array of numbers, .* is made anew for every size",
    ),
    ("sum((x[t] for t in range(x.shape[0])), 0.0)", "axis 0 of x is 5: the model does other operations at other sizes"),
]


@pytest.mark.parametrize(("text", "note"), NOTES, ids=[n[0] for n in NOTES])
def test_an_axis_that_cannot_be_dynamic_keeps_the_examples_size_and_says_so(text, note, rng, tmp_path):
    model = Does(eval(f"lambda self, x: {text}", {"tl": tl, "range": range, "sum": sum}))
    here = judged(model, [normal(rng, 5, 2, 3)], tmp_path)
    assert re.search(note, repr(here))
    assert [n for n in here.inputs["x"].shape if isinstance(n, int)] == ([2] if "repeat" in text else [5])
    axis = 1 if "repeat" in text else 0
    with pytest.raises(tl.ShapeError, match="name only axes at which the model does the same"):
        tl.onnx.export(model, None, normal(rng, 5, 2, 3), dynamic={"x": [axis]})


# ------------------------------------------------------------------------------------------------------- what is refused
REFUSED = [
    ("x * float(x.numpy().max())", "`mul` in Does: a number that follows the inputs, but not by operations of tl"),
    (
        "tl.tensor(np.cumsum(x.numpy(), 0)) + x",
        "a constant in Does: its values follow the inputs, but not by operations of tl",
    ),
    ("x[x > 0]", "`getitem` in Does: how many entries a boolean index takes depends on their values"),
    ("tl.nn.functional.dropout(x, 0.5, True)", "its values follow the inputs"),
]


@pytest.mark.parametrize(("text", "problem"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_follows_the_input_by_way_of_numpy_is_refused(text, problem, rng, tmp_path):
    model = Does(eval(f"lambda self, x: {text}", {"tl": tl, "np": np}))
    with pytest.raises(tl.ArgumentError) as error:
        tl.onnx.export(model, tmp_path / "model.onnx", normal(rng, 5, 2, 3))
    assert problem in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_operation_without_translation_is_named_with_its_module(rng):
    class Odd(tl.nn.Module):
        def forward(self, x):
            return x.apply(ODD, x)

    from tinygrad_lstm.graph import Op

    ODD = Op("odd_one", 1, lambda x: x + 1)
    model = tl.nn.Sequential({"first": tl.nn.Linear(3, 3), "inner": tl.nn.Sequential(Odd())})
    with pytest.raises(tl.ArgumentError, match=r"`odd_one` in inner\.0, a Odd: ONNX has no translation for it here"):
        tl.onnx.export(model, None, normal(rng, 2, 3))


WRONG = [
    (lambda m, x, p: tl.onnx.export(lambda x: x, p, x), tl.ArgumentError, "model must be a Module"),
    (lambda m, x, p: tl.onnx.export(m, p, (x, x, x)), tl.ArgumentError, "the example does not fit Linear.forward"),
    (
        lambda m, x, p: tl.onnx.export(m, p, [[1.0, 2.0], [3.0]]),
        tl.ArgumentError,
        "the rows of x have different lengths",
    ),
    (lambda m, x, p: tl.onnx.export(m, p, 3.0), tl.ArgumentError, "the example holds no array"),
    (
        lambda m, x, p: tl.onnx.export(m, p, x, input_names=["a", "b"]),
        tl.ArgumentError,
        "input_names are 1 different names, for x",
    ),
    (lambda m, x, p: tl.onnx.export(m, p, x, output_names="y"), tl.ArgumentError, "output_names are 1 different names"),
    (lambda m, x, p: tl.onnx.export(m, p, x, output_names=["x"]), tl.ArgumentError, "would be an input and an output"),
    (
        lambda m, x, p: tl.onnx.export(Does(lambda self, x: None), p, x),
        tl.ArgumentError,
        "Does.forward returns no Tensor",
    ),
    (
        lambda m, x, p: tl.onnx.export(Does(lambda self, x: 3.0), p, x),
        tl.ArgumentError,
        "the model must return Tensors",
    ),
    (lambda m, x, p: tl.onnx.export(m, p, x, opset=9), tl.ArgumentError, "opset is from 14 to"),
    (
        lambda m, x, p: tl.onnx.export(m, p, x, dynamic={"y": [0]}),
        tl.ArgumentError,
        "dynamic names 'y', which is no input",
    ),
    (lambda m, x, p: tl.onnx.export(m, p, x, dynamic={"x": [4]}), tl.ArgumentError, "x has no axis 4"),
    (
        lambda m, x, p: tl.onnx.export(m, p, x, dynamic={"x": {0: "n", 1: "n"}}),
        tl.ShapeError,
        "the axis 'n' has several sizes",
    ),
    (
        lambda m, x, p: tl.onnx.export(m, p, x, dynamic={"x": {1: "n"}}),
        tl.ShapeError,
        "the model does not run at other sizes: `Linear`: the last axis of x",
    ),
    (lambda m, x, p: tl.onnx.export(m, p / "no" / "folder.onnx", x), tl.FileError, "there is no folder"),
    (lambda m, x, p: tl.onnx.export(m, p, x), tl.FileError, "this is a folder"),
    (lambda m, x, p: tl.onnx.export(m, 3.5, x), tl.ArgumentError, "takes the path of a file"),
    (lambda m, x, p: tl.onnx.load(p / "none.onnx"), tl.FileError, "there is no such file"),
    (lambda m, x, p: tl.onnx.load(p), tl.FileError, "is a folder"),
]


@pytest.mark.parametrize(("call", "kind", "problem"), WRONG, ids=[w[2] for w in WRONG])
def test_wrong_calls(call, kind, problem, rng, tmp_path):
    with pytest.raises(kind) as error:
        call(tl.nn.Linear(3, 2), normal(rng, 5, 3), tmp_path)
    assert problem in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_error_names_the_extra(tmp_path):
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import tinygrad_lstm as tl\n"
        "for call in (lambda: tl.onnx.load('a.onnx'), lambda: tl.onnx.export(tl.nn.Linear(2, 2), None, [[1.0, 2.0]])):\n"
        "    try: call()\n"
        "    except tl.MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needs = "needs onnx: pip install 'tinygrad_lstm[onnx]'"
    assert done.stdout.splitlines() == [f"tl.onnx.load {needs}", f"tl.onnx.export {needs}"]


def test_a_failed_write_leaves_the_old_file(rng, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    tl.onnx.export(tl.nn.Linear(3, 2, seed=0), path, normal(rng, 5, 3))
    old = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(tl.FileError, match="No space left"):
        tl.onnx.export(tl.nn.Linear(3, 2, seed=1), path, normal(rng, 5, 3))
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


# ------------------------------------------------------------------------------------------ models made elsewhere: operators
NODES = """lstm gru rnn scan loop if_ add sub mul div pow neg abs exp log sqrt sigmoid tanh relu softplus softsign erf gelu elu celu
selu hardsigmoid hardswish thresholdedrelu leakyrelu prelu clip where equal less less_or_equal greater greater_or_equal and_ or_ xor not_
isnan isinf sign mod max min sum mean reducesum reducemean reducemax reducemin reduceprod reduce_log_sum_exp reduce_log_sum reducel1 reducel2
reducesumsquare argmax argmin softmax logsoftmax hardmax cumsum layernormalization batch_normalization gemm matmul einsum conv shape size reshape
flatten transpose squeeze unsqueeze expand tile concat split slice pad gather gatherelements gathernd scatterelements scatternd onehot
rangeop trilu nonzero reversesequence topk identity constant constantofshape""".split()


def cases_of_onnx():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node

        for name in NODES:
            importlib.import_module(f"onnx.backend.test.case.node.{name}")
        return list(node._NodeTestCases)


def test_onnxs_own_tests_of_nodes():
    """All that are not refused, with the expected outputs that ONNX gives."""
    from tinygrad_lstm.onnx.model import from_proto

    ran, wrong, refused = {}, [], []
    for case in cases_of_onnx():
        try:
            model = from_proto(case.model, case.name)
        except (tl.ArgumentError, tl.FileError):
            refused.append(case.name)
            continue
        if "training" in case.name:
            continue  # refused when it runs
        for inputs, outputs in case.data_sets:
            try:
                names = [i.name for i in case.model.graph.input]
                results = model.run(dict(zip(names, inputs, strict=True)))
                for got, expected in zip(results, outputs, strict=True):
                    assert got.dtype == expected.dtype and got.shape == expected.shape
                    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)
                kinds = {n.op_type for n in case.model.graph.node}
                ran |= {k: ran.get(k, 0) + 1 for k in kinds}
            except Exception as error:
                wrong.append(f"{case.name}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(wrong)
    assert ran["LSTM"] >= 6 and ran["GRU"] >= 5 and ran["RNN"] >= 3 and ran["Scan"] >= 2 and ran["If"] and ran["Loop"]
    assert sum(ran.values()) > 450, refused


def recurrent_model(kind, rng, dtype=np.float32, steps=6, batch=3, **wanted):
    """A model of one node with random attributes; and its inputs."""
    chance = rng
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    direction = wanted.get("direction", str(chance.choice(["forward", "reverse", "bidirectional"])))
    D, H, I = (2 if direction == "bidirectional" else 1), 4, 3
    attributes = {"hidden_size": H, "direction": direction}
    attributes |= {k: v for k, v in wanted.items() if k not in ("direction", "peephole")}
    values = {
        "X": normal(chance, steps, batch, I),
        "W": normal(chance, D, gates * H, I),
        "R": 0.3 * normal(chance, D, gates * H, H),
    }
    values["B"] = normal(chance, D, 2 * gates * H)
    values["L"] = np.array([steps, 2, 4][:batch], np.int32)
    values["h"] = normal(chance, D, batch, H)
    if kind == "LSTM":
        values["c"] = normal(chance, D, batch, H)
        if wanted.get("peephole"):
            values["P"] = normal(chance, D, 3 * H)
    outputs = ["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"]
    node = helper.make_node(kind, list(values), outputs, name="it", **attributes)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in values.items()
    ]
    constants = [numpy_helper.from_array(values[n], n) for n in ("W", "R", "B", "P") if n in values]
    given = {n: v for n, v in values.items() if n not in ("W", "R", "B", "P")}
    infos = [i for i in infos if i.name in given]
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    graph = helper.make_graph([node], "g", infos, outs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), given


ALONE = [
    "Relu",
    "Tanh",
    "Sigmoid",
    "Affine",
    "LeakyRelu",
    "ThresholdedRelu",
    "ScaledTanh",
    "HardSigmoid",
    "Elu",
    "Softsign",
    "Softplus",
]
ATTRIBUTES = [
    ("LSTM", {}), ("LSTM", {"peephole": True}), ("LSTM", {"input_forget": 1}), ("LSTM", {"input_forget": 1, "peephole": True}),
    ("LSTM", {"clip": 0.4}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {"clip": 0.4}), ("RNN", {}), ("RNN", {"clip": 0.3}),
    ("LSTM", {"direction": "forward", "activations": ["HardSigmoid", "Softsign", "ScaledTanh"], "activation_alpha": [0.3, 0.7], "activation_beta": [0.4, 1.2]}),
    ("GRU", {"direction": "bidirectional", "activations": ["Sigmoid", "Affine", "HardSigmoid", "Tanh"], "activation_alpha": [0.5, 0.2], "activation_beta": [0.1, 0.5]}),
    *[("RNN", {"direction": "reverse", "activations": [a]}) for a in ALONE if a not in ("Affine", "ScaledTanh", "ThresholdedRelu")],
    ("RNN", {"direction": "reverse", "activations": ["ScaledTanh"], "activation_alpha": [0.7], "activation_beta": [1.3]}),
    ("RNN", {"direction": "forward", "activations": ["ThresholdedRelu"], "activation_alpha": [0.2]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "wanted"), ATTRIBUTES, ids=[f"{k} {w}" for k, w in ATTRIBUTES])
def test_recurrent_operators_with_all_their_attributes(kind, wanted, rng, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason=REASON)
    proto, given = recurrent_model(kind, rng, **wanted)
    onnx.save(proto, tmp_path / "model.onnx")
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    close(tl.onnx.load(tmp_path / "model.onnx").run(given), session.run(None, given))


# of the days before what are now inputs: (opset, operator, attributes, shape of x)
OLD = [
    (9, "Squeeze", {"axes": [1]}, (2, 1, 3)), (9, "Squeeze", {}, (2, 1, 3)), (9, "Unsqueeze", {"axes": [0, 3]}, (2, 3)),
    (9, "Slice", {"starts": [1, -2], "ends": [9, -1], "axes": [0, 2]}, (4, 2, 3)), (9, "Slice", {"starts": [1], "ends": [3]}, (4, 2)),
    (9, "Clip", {"min": -0.5, "max": 0.5}, (4, 3)), (9, "Softmax", {"axis": 1}, (2, 3, 4)), (11, "LogSoftmax", {"axis": 2}, (2, 3, 4)),
    (9, "Pad", {"pads": [1, 0, 2, 1], "value": 1.5}, (2, 3)), (9, "Dropout", {"ratio": 0.5}, (2, 3)), (9, "Split", {"axis": 1, "split": [1, 2]}, (2, 3)),
    (11, "ReduceSum", {"axes": [0, -1], "keepdims": 0}, (2, 3, 4)), (11, "ReduceMean", {"keepdims": 0}, (2, 3)), (13, "ReduceMax", {"axes": [1]}, (2, 3)),
    (9, "TopK", {"k": 2}, (3, 4)), (9, "Flatten", {"axis": 2}, (2, 3, 4)), (11, "Flatten", {"axis": -1}, (2, 3, 4)), (9, "Flatten", {"axis": 0}, (2, 3)),
    (13, "Hardmax", {}, (2, 3)), (18, "Split", {"num_outputs": 2}, (5, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "kind", "attributes", "shape"), OLD, ids=[f"{o} {k} {a}" for o, k, a, _ in OLD])
def test_operators_of_older_days(opset, kind, attributes, shape, rng, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason=REASON)
    outputs = ["y", "z"] if kind in ("TopK", "Split") else ["y"]
    proto = one_node(kind, ["x"], outputs, opset=opset, **attributes)
    if kind == "TopK":
        proto.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = normal(rng, *shape)
    close(tl.onnx.load(saved(proto, tmp_path)).run(x), session.run(None, {"x": x}))


def test_weights_that_are_inputs(rng, tmp_path):
    proto, given = recurrent_model("GRU", rng)
    values = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    expected = tl.onnx.load(saved(proto, tmp_path)).run(given)
    del proto.graph.initializer[:]
    for name, value in values.items():
        proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    close(tl.onnx.load(saved(proto, tmp_path)).run(given | values), expected, 0, 0)


def saved(proto, tmp_path):
    path = tmp_path / "saved.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


# ------------------------------------------------------------------------------------------------ damaged and hostile files
def one_node(kind, inputs, outputs, initializers=(), opset=18, domain="", **attributes):
    node = helper.make_node(kind, inputs, outputs, name="it", domain=domain, **attributes)
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None)
        for n in inputs
        if n not in [t.name for t in initializers]
    ]
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    graph = helper.make_graph([node], "g", infos, outs, list(initializers))
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def test_operators_that_do_not_run_here_are_listed(tmp_path):
    with pytest.raises(tl.ArgumentError) as error:
        tl.onnx.load(saved(one_node("LRN", ["x"], ["y"], size=3), tmp_path))
    assert "has what does not run here\n    it (LRN)" in str(error.value)
    with pytest.raises(tl.ArgumentError, match=r"it \(Odd\) of the domain 'my.own'"):
        tl.onnx.load(saved(one_node("Odd", ["x"], ["y"], domain="my.own"), tmp_path))
    proto, _ = recurrent_model("RNN", np.random.default_rng(0), direction="forward", activations=["Swish"])
    with pytest.raises(tl.ArgumentError, match=r"it \(RNN\): activation 'Swish'; known are affine"):
        tl.onnx.load(saved(proto, tmp_path))
    with pytest.raises(tl.ArgumentError, match="is of opset 6; from 7 on they run here"):
        tl.onnx.load(saved(one_node("Relu", ["x"], ["y"], opset=6), tmp_path))


def test_damaged_files(rng, tmp_path):
    path = tmp_path / "model.onnx"
    tl.onnx.export(tl.nn.LSTM(3, 5, seed=0), path, normal(rng, 4, 2, 3))
    whole = path.read_bytes()
    for damaged in (b"", b"no model", whole[:-40], whole[: len(whole) // 2], b"\0" * 100):
        path.write_bytes(damaged)
        with pytest.raises(tl.FileError, match=r"model.onnx"):
            tl.onnx.load(path)
    chance = np.random.default_rng(1)
    for _ in range(150):  # loaded or refused in our own words, never anything else
        data = bytearray(whole)
        for _ in range(int(chance.integers(1, 6))):
            data[int(chance.integers(len(data)))] = int(chance.integers(256))
        path.write_bytes(bytes(data))
        try:
            tl.onnx.load(path)
        except (tl.FileError, tl.ArgumentError):
            continue


def test_a_tensor_whose_bytes_do_not_fit_its_shape(tmp_path):
    tensor = numpy_helper.from_array(np.ones((2, 3), np.float32), "w")
    tensor.dims[0] = 1 << 40
    with pytest.raises(tl.FileError, match=r"saved\.onnx"):
        tl.onnx.load(saved(one_node("Add", ["x", "w"], ["y"], [tensor]), tmp_path))


def outside(location, tmp_path, **facts):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **facts}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return saved(one_node("Add", ["x", "w"], ["y"], [tensor]), tmp_path)


def test_tensors_in_a_file_beside_the_model(rng, tmp_path):
    weights = normal(rng, 2, 3)
    (tmp_path / "w.bin").write_bytes(b"head" + weights.tobytes())
    model = tl.onnx.load(outside("w.bin", tmp_path, offset=4, length=24))
    np.testing.assert_array_equal(model.run(np.zeros((2, 3), np.float32))[0], weights)
    (tmp_path / "secret").write_bytes(b"x" * 100)
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    for location, facts in [
        ("../secret", {}),
        (str(tmp_path / "secret"), {}),
        ("link", {}),
        ("", {}),
        (".", {}),
        ("none", {}),
        ("../w.bin", {"offset": -4}),
    ]:
        with pytest.raises(tl.FileError):
            tl.onnx.load(outside(location, folder, **facts))
    with pytest.raises(tl.FileError, match="too short"):
        tl.onnx.load(outside("w.bin", tmp_path, offset=8))


def test_a_node_that_cannot_run_is_named(tmp_path):
    model = tl.onnx.load(saved(one_node("MatMul", ["a", "b"], ["y"]), tmp_path))
    with pytest.raises(tl.ShapeError) as error:
        model.run({"a": np.ones((2, 3), np.float32), "b": np.ones((2, 3), np.float32)})
    assert "it (MatMul) cannot run" in str(error.value) and "a = (2, 3) float32" in str(error.value)
    proto, given = recurrent_model("LSTM", np.random.default_rng(0))
    with pytest.raises(
        tl.ShapeError, match=r"it \(LSTM\) cannot run: sequence_lens \[9, 1, 1\] for 3 sequences of 6 steps"
    ):
        tl.onnx.load(saved(proto, tmp_path)).run(given | {"L": np.array([9, 1, 1], np.int32)})


def test_inputs_that_do_not_fit(rng):
    here = tl.onnx.export(tl.nn.Linear(3, 2, seed=0), None, normal(rng, 5, 3))
    for inputs, kind, problem in [
        ({"y": 1}, tl.ArgumentError, "no input is called y"),
        ({}, tl.ArgumentError, "x is missing"),
        ([1, 2], tl.ArgumentError, "the model has 1 inputs (x), 2 given"),
        ({"x": np.ones((5, 4))}, tl.ShapeError, "the model takes x (x_0, 3) float32"),
        ({"x": np.array(["a"])}, tl.ArgumentError, "x is float32"),
        ({"x": np.ones((5, 3), complex)}, tl.ArgumentError, "x is float32"),
    ]:
        with pytest.raises(kind) as error:
            here.run(inputs)
        assert problem in str(error.value)
    with pytest.raises(KeyError, match="there is no output 'z'"):
        here.run(np.ones((1, 3)))["z"]


@pytest.mark.parametrize("thing", [tl.onnx.export, tl.onnx.load], ids=lambda thing: thing.__name__)
def test_the_examples_of_the_docstrings_run(thing):
    parsed = doctest.DocTestParser().get_doctest(inspect.cleandoc(thing.__doc__), {"tl": tl, "np": np}, "it", None, 0)
    said = []
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(parsed, out=said.append).failed == 0, (
        "".join(said)
    )
