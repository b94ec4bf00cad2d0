"""record, memory_map, detect_anomaly: against the equations on eager tensors, every quantity kept, and against formulas."""

import threading

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import cells
from tinygrad_lstm.autodiff import sweep
from tinygrad_lstm.cell import Cell
from tinygrad_lstm.graph import Node, reachable
from tinygrad_lstm.inspection import anomaly
from tinygrad_lstm.scan import Place
from tinygrad_lstm.tensor import Tensor, mode, replace_value

CELLS = {name: c for name, c in vars(cells).items() if isinstance(c, Cell)}
SIZES = {"input": 3, "hidden": 5, "projection": 2, "memory": 4}


def layer_of(cell, dtype=np.float64, **more):
    return tl.nn.Recurrent(cell, dtype=dtype, seed=1, **{a: SIZES[a] for a in cell.axis_names}, **more)


def width(cell, name):
    axis = cell.axes[name][0]
    return 1 if axis == 1 else SIZES[axis]


def one_step(cell, inputs, states, parameters):
    """Every value of a step by serial, by the equations as written, on eager Tensors."""
    values = {n.serial: v for n, v in zip([*cell.graph.inputs, *cell.graph.states], [*inputs, *states], strict=True)}
    values |= {node.serial: parameters[name] for name, node in cell.graph.parameters.items()}
    for node in reachable(cell.graph.roots):
        if node.op is not None:
            args = [values[a.serial] if isinstance(a, Node) else a for a in node.args]
            first = next(a for a in args if isinstance(a, Tensor))
            values[node.serial] = first.apply(node.op, *args, **node.attr)
    return values


def by_hand(layer, xs, states, weights, length, b, order):
    """One sample, step by step: the values of all quantities, and their gradients, as two lists of {name: row}."""
    cell = layer.cell
    arrays = {f: tl.tensor(getattr(layer, f + "_l0").numpy(), requires_grad=True) for f in cell.families}
    parameters = cell.members(arrays)
    now = [tl.tensor(s[b : b + 1], requires_grad=True) for s in states]
    kept, loss = {}, tl.tensor(np.float64(0), requires_grad=True) * 1
    for t in order(length):
        inputs = [tl.tensor(x[t, b : b + 1], requires_grad=True) for x in xs]
        kept[t] = one_step(cell, inputs, now, parameters)
        loss = loss + (kept[t][cell.graph.output.serial] * weights[t, b : b + 1]).sum()
        now = [
            kept[t][n.serial] * 1.0 for n in cell.graph.new_states
        ]  # a state that stays: a value of its own every step
    for s in now:
        loss = loss + (s * s).sum()
    loss.backward(retain_grads=True)
    return kept


def check_recording(layer, xs, lengths=None, order=range, names=()):
    """Values and gradients of a recorded call against `by_hand`."""
    cell, rng = layer.cell, np.random.default_rng(5)
    T, B = xs[0].shape[:2]
    states = [rng.standard_normal((B, width(cell, s))) for s in cell.states]
    with tl.record(layer, *names) as seen:
        out, finals = layer(tuple(xs) if len(xs) > 1 else xs[0], tuple(s[None] for s in states), lengths)
    weights = rng.standard_normal(out.shape)
    loss = (out * weights).sum()
    for s in finals:
        loss = loss + (s * s).sum()
    loss.backward()
    ends = [T] * B if lengths is None else lengths
    kept = [by_hand(layer, xs, states, weights, n, b, order) for b, n in enumerate(ends)]
    for name in seen:
        node = cell.quantity(name)
        has_gradient = node.serial in cell.plan.cotangents
        if not has_gradient:
            with pytest.raises(tl.GradientError, match="no gradient flows"):
                seen.grad[name]
        for b, n in enumerate(ends):
            for t in range(T):
                wanted = kept[b][t][node.serial] if t < n else None
                value = wanted.numpy()[0] if t < n else np.zeros(seen[name].shape[-1])
                np.testing.assert_allclose(seen[name][t, b], value, rtol=0, atol=1e-12, err_msg=f"{name} {t} {b}")
                if has_gradient:
                    g = np.zeros(value.shape) if wanted is None or wanted.grad is None else wanted.grad.numpy()[0]
                    np.testing.assert_allclose(
                        seen.grad[name][t, b], g, rtol=0, atol=1e-11, err_msg=f"d {name} {t} {b}"
                    )
    return seen


# -------------------------------------------------------------------------------------------------------------- record
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("lengths", [None, [6, 2, 0, 4]], ids=["full", "ragged"])
def test_every_quantity_of_every_cell(name, lengths, rng):
    """Values and total derivatives of all names, in samples that end early, too."""
    seen = check_recording(layer_of(CELLS[name]), [rng.standard_normal((6, 4, 3))], lengths)
    assert set(seen) >= {"x", *CELLS[name].states} and len(seen) == len(set(seen))


@tl.cell(
    x="input",
    gap="1",
    h="hidden",
    m="memory",
    same="hidden",
    W="hidden input",
    U="hidden hidden",
    V="memory hidden",
    p="hidden",
    q="hidden",
)
def odd(x, gap, /, h, m, same, *, W, U, V, p, q):
    """Two inputs, sizes that differ, a state that stays, parts of sums, a comparison, a step, a number a row, a temporary."""
    rate = tl.exp(p.a) * 0.5
    a = W.a @ x
    z = a + U.a @ h + q.b
    high = z > 0.2
    stair = tl.floor(3 * z)
    level = tl.mean(z, axis=-1, keepdims=True)
    k = tl.where(high, z, 0.1 * z)
    k = k * rate + 0.1 * stair * level
    h = tl.tanh(k + gap * same)
    m = 0.5 * m + V.m @ h
    out = h * tl.sigmoid(q.c * k)
    return out, h, m, same


@pytest.mark.parametrize("lengths", [None, [3, 5, 1]], ids=["full", "ragged"])
def test_quantities_of_all_kinds(lengths, rng):
    """Parts of sums, numbers of a row, what has no gradient, what an output alone needs, inputs of one unit."""
    layer = layer_of(odd)
    xs = [rng.standard_normal((5, 3, 3)), rng.standard_normal((5, 3, 1))]
    names = ["x", "gap", "a", "z", "stair", "level", "k", "out", "h", "m", "same"]
    seen = check_recording(layer, xs, lengths, names=names)
    assert seen["level"].shape == seen["gap"].shape == (5, 3, 1) and seen["m"].shape == (5, 3, 4)
    layer.zero_grad()
    with tl.record(layer, "high", "z", "rate") as some:
        out, _ = layer(tuple(xs), lengths=lengths)
    ran = np.arange(5)[:, None] < (np.array(lengths) if lengths else np.full(3, 5))
    np.testing.assert_array_equal(some["high"], (some["z"] > 0.2) & ran[..., None])
    assert some["high"].dtype == bool
    np.testing.assert_allclose(some["rate"], np.exp(layer.p_l0.numpy()) * 0.5, rtol=1e-14)
    out.sum().backward()
    np.testing.assert_allclose(some.grad["rate"] * some["rate"], layer.p_l0.grad.numpy(), rtol=1e-12)
    with pytest.raises(tl.GradientError, match="no gradient flows through 'high'"):
        some.grad["high"]


def test_recording_does_not_change_the_results(rng):
    """The same bits, with and without; nothing stays behind on the layer."""
    layer, plain = (tl.nn.LSTM(8, 24, num_layers=2, bidirectional=True, seed=0) for _ in range(2))
    x = rng.standard_normal((9, 5, 8)).astype(np.float32)
    outs = []
    for each in (layer, plain):
        with tl.record(layer):
            given = tl.tensor(x, requires_grad=True)
            out, _ = each(given, lengths=[9, 3, 1, 7, 0])
        (out * out).sum().backward()
        outs.append([out.numpy(), given.grad.numpy(), *(p.grad.numpy() for p in each.parameters())])
    for a, b in zip(*outs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert vars(layer).keys() == vars(plain).keys()


@pytest.mark.parametrize("kind", ["batched", "batch_first", "unbatched"])
def test_layouts(kind, rng):
    """The arrays lie as the layer's do."""
    layer = layer_of(cells.gru, batch_first=kind == "batch_first")
    x = rng.standard_normal({"batched": (6, 2, 3), "batch_first": (2, 6, 3), "unbatched": (6, 3)}[kind])
    with tl.record(layer, "h", "z") as seen:
        out, _ = layer(x)
    g = rng.standard_normal(out.shape)
    out.backward(g)
    np.testing.assert_array_equal(seen["h"], out.numpy())
    assert seen["z"].shape == seen.grad["z"].shape == out.shape
    last = {"batched": np.s_[-1], "batch_first": np.s_[:, -1], "unbatched": np.s_[-1]}[kind]
    np.testing.assert_array_equal(seen.grad["h"][last], g[last])  # nothing reads the last h but the output


def test_layers_and_directions(rng):
    """A reverse part's steps are those of the input; the input of layer 1 is the output below; gradients through both."""
    layer = tl.nn.Recurrent(cells.lstm, input=3, hidden=4, num_layers=2, bidirectional=True, dtype=np.float64, seed=3)
    x = rng.standard_normal((6, 3, 3))
    with tl.record(layer) as seen:
        out, _ = layer(x, lengths=[6, 4, 2])
    assert {"f_l0", "c_l1_reverse"} < set(seen) and "f" in seen and "g_l2" not in seen
    np.testing.assert_array_equal(np.concatenate([seen["h_l1"], seen["h_l1_reverse"]], -1), out.numpy())
    np.testing.assert_array_equal(seen["x_l1"], np.concatenate([seen["h_l0"], seen["h_l0_reverse"]], -1))
    np.testing.assert_array_equal(seen["f"], seen["f_l0"])
    out.sum().backward()
    # the loss by h of layer 0 is that by the inputs above, and what the next step in its own direction reads
    into = seen.grad["x_l1"] + seen.grad["x_l1_reverse"]
    ends = np.array([6, 4, 2]) - 1
    np.testing.assert_allclose(seen.grad["h_l0"][ends, range(3)], into[ends, range(3), :4], rtol=1e-12)
    np.testing.assert_allclose(seen.grad["h_l0_reverse"][0], into[0, :, 4:], rtol=1e-12)
    alone = tl.nn.Recurrent(cells.lstm, input=3, hidden=4, dtype=np.float64)
    alone.load_state_dict({f"{f}_l0": layer.state_dict()[f"{f}_l0_reverse"] for f in "WUb"})
    with tl.record(alone, "f") as forward:
        alone(x[3::-1, 1:2])
    np.testing.assert_allclose(seen["f_l0_reverse"][:4, 1], forward["f"][::-1, 0], rtol=1e-12)


def test_dropout_between_layers(rng):
    """What the second layer reads is recorded as it reads it."""
    layer = tl.nn.LSTM(3, 50, num_layers=2, dropout=0.5, seed=0)
    with tl.record(layer, "h_l0", "x_l1") as seen:
        layer(rng.standard_normal((4, 2, 3)).astype(np.float32))
    dropped = seen["x_l1"] == 0
    assert 0.3 < dropped.mean() < 0.7
    np.testing.assert_allclose(seen["x_l1"][~dropped], 2 * seen["h_l0"][~dropped], rtol=1e-6)


def test_units_shared_by_threads(rng):
    """Few rows and big weights run another kernel."""
    layer = tl.nn.Recurrent(cells.lstm, input=32, hidden=256, seed=0)
    x = rng.standard_normal((12, 1, 32)).astype(np.float32)
    with tl.record(layer, "f", "c") as seen:
        out, _ = layer(x)
    out.sum().backward()
    double = tl.nn.Recurrent(cells.lstm, input=32, hidden=256, dtype=np.float64)
    double.load_state_dict(layer.state_dict())
    with tl.record(double, "f", "c") as exact:
        double(x.astype(np.float64).repeat(5, 1))[0][:, 0].sum().backward()
    for name in ("f", "c"):
        np.testing.assert_allclose(seen[name][:, 0], exact[name][:, 0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(seen.grad[name][:, 0], exact.grad[name][:, 0], rtol=0, atol=2e-4)


def test_steps_of_a_stream_are_one_recording(rng):
    """A step that goes on adds its step; one that begins anew begins anew."""
    layer = layer_of(cells.lstm, num_layers=2)
    x = rng.standard_normal((5, 2, 3))
    with tl.record(layer, "f_l1", "c_l0") as whole:
        layer(x)
    with tl.record(layer, "f_l1", "c_l0") as seen:
        layer(x)
        states = None
        for t in range(5):
            _, states = layer.step(x[t], states)
    np.testing.assert_array_equal(seen["f_l1"], whole["f_l1"])
    np.testing.assert_array_equal(seen["c_l0"], whole["c_l0"])
    with pytest.raises(tl.GradientError, match="not differentiable"):
        seen.grad["f_l1"]
    with seen:
        layer.step(x[0], states)
        assert len(seen["f_l1"]) == 6
        layer.step(x[0])
    assert len(seen["f_l1"]) == 1
    layer.step(x[0], states)
    layer.step(x[0], states)
    assert len(seen["f_l1"]) == 1 and layer._stream is not None  # closed: the fast way again


def test_a_loop_over_a_cell(rng):
    """LSTMCell called step by step: values and gradients as of the layer."""
    cell, layer = tl.nn.LSTMCell(3, 5, dtype=np.float64, seed=0), tl.nn.LSTM(3, 5, dtype=np.float64)
    layer.load_state_dict({k + "_l0": v for k, v in cell.state_dict().items()})
    x, w = rng.standard_normal((4, 2, 3)), rng.standard_normal((4, 2, 5))
    found = []
    for run in (lambda: layer(x)[0], None):
        with tl.record(layer if run else cell, "i", "c") as seen:
            if run:
                out = run()
            else:
                h, outs = None, []
                for t in range(4):
                    h = cell(x[t], h)
                    outs.append(h[0])
                out = tl.stack(outs)
        (out * w).sum().backward()
        found.append([seen["i"], seen["c"], seen.grad["i"], seen.grad["c"]])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_the_last_call_counts_and_backwards_add_up(rng):
    layer = layer_of(cells.gru)
    x = rng.standard_normal((3, 2, 3))
    with tl.record(layer, "z") as seen:
        layer(x)
        first = seen["z"]
        out, _ = layer(2 * x)
    assert not np.array_equal(first, seen["z"])
    out.sum().backward()
    once = seen.grad["z"]
    out.sum().backward()
    np.testing.assert_allclose(seen.grad["z"], 2 * once, rtol=1e-14)
    layer(x)[0].sum().backward()  # after the context: nothing is recorded
    np.testing.assert_allclose(seen.grad["z"], 2 * once, rtol=1e-14)


def test_gradients_by_every_way(rng):
    """tl.grad, create_graph: the first derivative is recorded."""
    layer = layer_of(cells.lstm)
    x = rng.standard_normal((3, 2, 3))
    with tl.record(layer, "f") as seen:
        layer(x)[0].sum().backward()
        expected = seen.grad["f"]
        tl.grad(lambda x: layer(x)[0].sum())(x)
        np.testing.assert_allclose(seen.grad["f"], expected, rtol=1e-13)
        given = tl.tensor(x, requires_grad=True)
        layer(given)[0].sum().backward(create_graph=True)
        np.testing.assert_allclose(seen.grad["f"], expected, rtol=1e-13)


def test_nested_recordings_exceptions_and_no_grad(rng):
    layer = layer_of(cells.lstm)
    x = rng.standard_normal((3, 2, 3))
    with tl.record(layer, "f") as outer:
        with pytest.raises(ZeroDivisionError), tl.record(layer, "o", "c") as inner:
            layer(x)
            raise ZeroDivisionError
        first = outer["f"]
        with tl.no_grad():
            layer(x)
    assert inner["c"].shape == (3, 2, 5) and inner.keys() == ("o", "c")
    np.testing.assert_array_equal(outer["f"], first)
    assert layer._recordings == ()
    with pytest.raises(tl.GradientError, match=r"not differentiable\n.*no_grad"):
        outer.grad["f"]
    with pytest.raises(tl.GradientError, match="no backward has come through yet"):
        inner.grad["c"]


def test_empty_sequences(rng):
    layer = layer_of(cells.lstm)
    for shape, lengths in (((0, 2, 3), None), ((4, 0, 3), None), ((4, 2, 3), [0, 0])):
        with tl.record(layer, "f", "c") as seen:
            out, _ = layer(np.ones(shape), lengths=lengths)
        out.sum().backward()
        for found in (seen["f"], seen.grad["c"]):
            np.testing.assert_array_equal(found, np.zeros((*shape[:2], 5)))


class Reader(tl.nn.Module):
    def __init__(self):
        self.embed = tl.nn.Embedding(7, 3, seed=0)
        self.encoder = tl.nn.GRU(3, 4, num_layers=2, seed=0)
        self.decoder = tl.nn.LSTM(4, 5, seed=0)

    def forward(self, tokens):
        return self.decoder(self.encoder(self.embed(tokens))[0])[0]


def test_a_model_by_paths(rng):
    """Several layers: the path comes first."""
    model = Reader()
    with tl.record(model, "encoder.z_l1", "decoder.f", "encoder.z") as seen:
        out = model(rng.integers(0, 7, (6, 2)))
    np.testing.assert_array_equal(out.shape, (6, 2, 5))
    assert [a.shape for _, a in seen.items()] == [(6, 2, 4), (6, 2, 5), (6, 2, 4)]
    with tl.record(model.encoder, "z_l0") as alone:
        model(rng.integers(0, 7, (1, 1)))
    assert alone["z_l0"].shape == (1, 1, 4)
    with pytest.raises(tl.ArgumentError, match=r"no quantity 'f'[^$]*encoder\.r_l0.*encoder\.h_l1.*decoder\.f"):
        tl.record(model, "f")


def test_dtype_and_drop_ins(rng):
    layer = tl.nn.LSTM(3, 6, proj_size=2, seed=0)
    with tl.record(layer) as seen:
        out, (_, c) = layer(rng.standard_normal((4, 2, 3)).astype(np.float32))
    out.sum().backward()
    assert {a.dtype for _, a in [*seen.items(), *seen.grad.items()]} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(seen["h"], out.numpy())
    np.testing.assert_array_equal(seen["c"][-1], c.numpy()[0])
    assert "f (" not in repr(seen) and "4 steps" in repr(seen) and "f" in repr(seen.grad)


# fmt: off
WRONG = [
    (lambda layer: tl.record(layer, "forget"), tl.ArgumentError, ["`record`: LSTM has no quantity 'forget'", "it has: x, i, f, g, o, h, c"]),
    (lambda layer: tl.record(layer, ["f", "c"]), tl.ArgumentError, ["a name is a string", 'tl.record(layer, "f", "c")']),
    (lambda layer: tl.record(layer, "f_l1"), tl.ArgumentError, ["no quantity 'f_l1'"]),
    (lambda layer: tl.record(cells.lstm, "f"), tl.ArgumentError, ["takes a recurrent layer", "tl.nn.Recurrent(cell"]),
    (lambda layer: tl.record(tl.nn.Linear(2, 2), "f"), tl.ArgumentError, ["there is no recurrent layer in Linear"]),
    (lambda layer: tl.record(layer, "f")["f"], tl.ArgumentError, ["nothing was recorded yet", "with tl.record"]),
    (lambda layer: tl.record(layer, "f").grad["c"], tl.ArgumentError, ["'c' is not recorded", "these are: f"]),
    (lambda layer: tl.memory_map(layer, np.ones((4, 2, 3))), tl.ShapeError, ["maps one sequence, 2 are given", "xs[:, :1]"]),
    (lambda layer: tl.memory_map(layer, np.ones((0, 3))), tl.ShapeError, ["no steps to map"]),
    (lambda layer: tl.memory_map(layer, np.ones((4, 3)), norm="max"), tl.ArgumentError, ["'frobenius' or 'spectral'", "str 'max'"]),
    (lambda layer: tl.memory_map(layer, np.ones((4, 3)), part="l1"), tl.ArgumentError, ["there is no part 'l1'", "the parts are: l0"]),
    (lambda layer: tl.memory_map(layer, np.ones((4, 2))), tl.ShapeError, ["axis 'input' is 3"]),
    (lambda layer: tl.memory_map(layer, np.ones((4, 3))).curve("z"), tl.ArgumentError, ["there is no such curve", "states: h, c", "total, direct, indirect"]),
    (lambda layer: tl.memory_map(cells.lstm, np.ones((4, 3))), tl.ArgumentError, ["`memory_map`: takes a recurrent layer"]),
]
# fmt: on


@pytest.mark.parametrize(("call", "kind", "parts"), WRONG)
def test_wrong_calls(call, kind, parts):
    with pytest.raises(kind) as error:
        call(tl.nn.LSTM(3, 4, seed=0))
    for part in parts:
        assert part in str(error.value)


# ---------------------------------------------------------------------------------------------------------- memory_map
def jacobian(y, x):
    """d y / d x of two values of one eager graph, a row an entry of y."""
    rows = []
    for k in range(y.size):
        seed = np.zeros(y.shape)
        seed.flat[k] = 1
        found = sweep([y], [seed], keep=True).get(x.serial)
        rows.append(np.zeros(x.size) if found is None else np.asarray(found).ravel())
    return np.array(rows)


@pytest.mark.parametrize("cell", [*CELLS.values(), odd], ids=lambda c: c.name)
def test_memory_against_the_graph(cell, rng):
    """Every pair of steps, every pair of states, by autodiff through the equations on Tensors."""
    layer, T = layer_of(cell), 4
    xs = [1.5 * rng.standard_normal((T, width(cell, x))) for x in cell.inputs]
    initial = [rng.standard_normal((1, width(cell, s))) for s in cell.states]
    found = tl.memory_map(layer, tuple(xs) if len(xs) > 1 else xs[0], tuple(initial))
    parameters = cell.members({f: tl.tensor(getattr(layer, f + "_l0").numpy()) for f in cell.families})
    history = [[tl.tensor(s, requires_grad=True) for s in initial]]
    for t in range(T):
        inputs = [tl.tensor(x[t : t + 1], requires_grad=True) for x in xs]
        values = one_step(cell, inputs, history[-1], parameters)
        own = [values[n.serial] if n.op is not None else values[n.serial] * 1.0 for n in cell.graph.new_states]
        history.append(own)  # a state that is handed on is a value of its own
    for i, a in enumerate(cell.states):
        assert found.norms[a].shape == (T + 1, T + 1) and (np.triu(found.norms[a], 1) == 0).all()
        np.testing.assert_allclose(np.diagonal(found.norms[a]), np.sqrt(initial[i].size), rtol=1e-15)
        for j, b in enumerate(cell.states):
            table = found.norms[a] if a == b else found.cross[a, b]
            for t in range(1, T + 1):
                for k in range(t):
                    J = jacobian(history[t][i], history[k][j])
                    np.testing.assert_allclose(table[t, k], np.linalg.norm(J), rtol=1e-11, atol=1e-14)


def test_memory_of_the_plain_network_is_the_textbook_product(rng):
    """prod diag(1 - h^2) U, Pascanu et al. 2013, eq. 5; in both norms."""
    layer = layer_of(cells.rnn)
    x = rng.standard_normal((7, 3))
    h = np.concatenate([np.zeros((1, 5)), layer(x)[0].numpy()])
    for norm, order in (("frobenius", "fro"), ("spectral", 2)):
        found = tl.memory_map(layer, x, norm=norm)
        for t in range(8):
            for k in range(t + 1):
                J = np.eye(5)
                for j in range(k + 1, t + 1):
                    J = np.diag(1 - h[j] ** 2) @ layer.U_l0.numpy() @ J
                np.testing.assert_allclose(found.norms["h"][t, k], np.linalg.norm(J, order), rtol=1e-12)
        np.testing.assert_array_equal(found.direct["h"], found.norms["h"])
        assert (found.indirect["h"] == 0).all()


def test_the_conveyor(rng):
    """The direct path of c is the product of the forget gates; what is left took the hidden state at least once."""
    layer = layer_of(cells.lstm)
    x = rng.standard_normal((6, 3))
    with tl.record(layer, "f") as seen:
        layer(x)
    found = tl.memory_map(layer, x)
    for t in range(7):
        for k in range(t + 1):
            direct = np.diag(np.prod(seen["f"][k:t], axis=0))
            np.testing.assert_allclose(found.direct["c"][t, k], np.linalg.norm(direct), rtol=1e-12)
    # one step: d c_t / d c_{t-1} = diag(f) + (d c_t / d h_{t-1}) (d h_{t-1} / d c_{t-1})
    assert (found.indirect["c"][2:, 1:-1][np.eye(5, dtype=bool)] > 0).all()
    assert (found.indirect["c"][range(1, 7), range(6)][0] == 0) and np.all(np.diagonal(found.indirect["c"]) == 0)
    total, direct, rest = (getattr(found, n)["c"] for n in ("norms", "direct", "indirect"))
    assert np.all(total <= direct + rest + 1e-12) and np.all(abs(direct - rest) <= total + 1e-12)
    layer.U_l0 = tl.tensor(np.zeros_like(layer.U_l0.numpy()), requires_grad=True)  # no hidden path at all
    cut = tl.memory_map(layer, x)
    assert np.all(np.diagonal(cut.direct["h"], -1) == 0)
    np.testing.assert_allclose(cut.norms["c"], cut.direct["c"], rtol=1e-12)


def test_memory_is_what_recorded_gradients_say(rng):
    """|d h_T[j] / d c_k| by record is a row of the Jacobian that memory_map takes the norm of."""
    layer = layer_of(cells.lstm_peephole)
    x = rng.standard_normal((5, 1, 3))
    squares = np.zeros(5)
    for j in range(5):
        with tl.record(layer, "c") as seen:
            out, _ = layer(x)
        out[-1, 0, j].backward()
        squares += (seen.grad["c"][:, 0] ** 2).sum(-1)
    np.testing.assert_allclose(tl.memory_map(layer, x).cross["h", "c"][5, 1:], np.sqrt(squares), rtol=1e-12)


def test_memory_of_parts_layouts_and_models(rng):
    """A stacked, bidirectional layer by its parts; batch_first; a model that embeds; a module keeps its mode."""
    layer = tl.nn.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.5, batch_first=True, dtype=np.float64, seed=0)
    x = rng.standard_normal((1, 6, 3))
    found = tl.memory_map(layer, x, part="l1_reverse")
    assert layer.training and found.norms["h"].shape == (7, 7)
    with tl.record(layer.eval(), "x_l1") as seen:
        layer(x)
    alone = tl.nn.LSTM(8, 4, dtype=np.float64)
    alone.load_state_dict({k.replace("_l1_reverse", "_l0"): v for k, v in layer.state_dict().items() if "l1_rev" in k})
    expected = tl.memory_map(alone, seen["x_l1"][0, ::-1])
    for name in ("h", "c"):
        np.testing.assert_allclose(found.norms[name], expected.norms[name], rtol=1e-12)
    tokens = rng.integers(0, 7, (5, 1))
    model = Reader()
    inside = tl.memory_map(model, tokens, part="encoder.l0")
    np.testing.assert_allclose(
        inside.norms["h"], tl.memory_map(model.encoder, model.embed(tokens)).norms["h"], rtol=1e-12
    )
    with pytest.raises(tl.ArgumentError, match=r"encoder\.l0, encoder\.l1, decoder\.l0"):
        tl.memory_map(model, tokens, part="l0")


@pytest.mark.parametrize(
    ("module", "shape", "remedy"),
    [
        (tl.nn.LSTMCell(4, 3), (5, 4), "xs[:1]"),
        (tl.nn.LSTM(4, 3), (2, 5, 4), "xs[:, :1]"),
        (tl.nn.LSTM(4, 3, batch_first=True), (5, 2, 4), "xs[:1]"),
    ],
)
def test_memory_of_several_sequences_says_how_to_take_one(module, shape, remedy):
    xs = np.ones(shape)
    with pytest.raises(tl.ShapeError, match="maps one sequence") as found:
        tl.memory_map(module, xs)
    assert str(found.value).endswith(f"\n  {remedy}")
    taken = xs[:1] if remedy == "xs[:1]" else xs[:, :1]
    assert tl.memory_map(module, taken).steps in (1, 2)


def test_far_beyond_what_float32_holds(rng):
    """A linear network that halves: 0.5^T is a number, beyond the squares of float64 too."""

    @tl.cell(x="input", h="hidden", W="hidden input", u="hidden")
    def halving(x, /, h, *, W, u):
        h = W.h @ x + u.h * h
        return h

    layer = tl.nn.Recurrent(halving, input=1, hidden=2, seed=0)
    layer.u_l0 = tl.tensor(np.array([0.5, 0.25], np.float32), requires_grad=True)
    for norm in ("frobenius", "spectral"):
        curve = tl.memory_map(layer, np.ones((700, 1)), norm=norm).curve("h")
        start = np.sqrt(2) if norm == "frobenius" else 1
        np.testing.assert_allclose(np.log2(curve[[0, 100, 600, 700]]), [np.log2(start), -100, -600, -700], rtol=1e-9)
    layer.u_l0 = tl.tensor(np.array([4.0, 0.0], np.float32), requires_grad=True)
    assert np.log2(tl.memory_map(layer, np.zeros((511, 1))).norms["h"][511, 0]) == 1022


def test_curves_and_repr(rng):
    found = tl.memory_map(layer_of(cells.lstm), rng.standard_normal((12, 3)))
    for path, table in (("total", found.norms), ("direct", found.direct), ("indirect", found.indirect)):
        curve = found.curve("c", path)
        for d in (0, 3, 12):
            np.testing.assert_allclose(curve[d], np.mean([table["c"][t, t - d] for t in range(d, 13)]))
    np.testing.assert_array_equal(found.curve(), found.curve("h"))
    lines = repr(found).splitlines()
    assert lines[0] == "memory of lstm over 12 steps: mean frobenius norm by distance"
    assert lines[1].split() == ["distance", "1", "2", "5", "10", "12"] and "d c_t / d c_k" in lines[4]


# ------------------------------------------------------------------------------------------------------ detect_anomaly
def caught(run, *more):
    """The error of run() within the context; nothing is left behind."""
    with pytest.raises(tl.AnomalyError) as error, tl.detect_anomaly():
        run()
    assert mode.guard is None and Tensor.pullback is anomaly.detect_anomaly._plain
    for part in more:
        assert part in str(error.value), str(error.value)
    return error.value


def at(error):
    return error.quantity, error.phase, error.step, error.sample


def test_eager_operations_forward():
    x = tl.tensor([[1.0, 2.0], [0.0, 3.0]], requires_grad=True)
    found = caught(
        lambda: tl.log(x),
        "`log`: gives -inf at index (1, 0)",
        "x = (2, 2) float32, there 0.0",
        "keep its argument above 0",
    )
    assert (found.quantity, found.index, found.value, found.step) == ("log", (1, 0), -np.inf, None)
    data = tl.tensor([1.0, np.nan], name="speech")
    found = caught(lambda: data * 2, "`mul`: its argument speech came in as nan at index 1", "look at the data")
    assert found.quantity == "speech" and found.index == (1,)
    assert caught(lambda: tl.tensor([1e38]) * 10.0).quantity == "mul"
    assert caught(lambda: tl.tensor(1e300 * np.ones(3)).astype(np.float32)).quantity == "astype"
    assert caught(lambda: tl.tensor([[np.inf, 1.0]])[0] @ np.ones(2, np.float32)).index in [(0,), (0, 0)]
    big = tl.tensor(np.full(100_000, 1000.0, np.float32))
    assert caught(lambda: tl.exp(big), "it overflows").index == (0,)
    swish = tl.fuse(lambda x: x * tl.exp(x))
    assert caught(lambda: swish(tl.tensor([1.0, 800.0]))).index == (1,)
    with tl.detect_anomaly():
        assert (x / 2 + tl.tensor([np.inf, 1.0])[1]).shape == (2, 2)  # the inf is not read
        assert tl.logsumexp(x, axis=0).shape == (2,) and not (tl.arange(3) > 5).numpy().any()


def test_eager_operations_backward():
    x = tl.tensor([4.0, 0.0], requires_grad=True, name="weights")
    found = caught(
        lambda: (tl.sqrt(x) * 3).sum().backward(),
        "`sqrt`: the gradient of its argument weights is inf at index 1",
        "there 0.0",
        "the largest entries of the gradients before: sum 1, mul 1, sqrt 3",
    )
    assert at(found) == ("weights", "backward", None, None) and found.index == (1,)
    assert caught(lambda: tl.grad(lambda a: tl.sqrt(a).sum())(x)).phase == "backward"
    assert caught(lambda: tl.sqrt(x).sum().backward(create_graph=True)).phase == "backward"
    assert "was given to backward" in str(caught(lambda: (x * x).backward([1.0, np.nan])))
    tl.sqrt(x).sum().backward()  # outside nothing is looked at
    assert np.isinf(x.grad.numpy()[1])


def reach(bad, where):
    """An array of ones with one entry that is bad."""
    x = np.ones((7, 4, 3), np.float32)
    x[where] = bad
    return x


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_layernorm", "sru"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_input_that_is_not_finite(name, bad):
    layer = layer_of(CELLS[name], np.float32)
    found = caught(
        lambda: layer(reach(bad, (3, 2, 1))),
        f"input x is {bad:g} at step 3 of 7, sample 2, unit 1",
        "the norm of",
        "look at the data",
    )
    assert at(found) == ("x", "forward", 3, 2) and found.index == (3, 2, 1)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (tl.nn.LSTM(3, 2), (5, 4, 3)),
        (tl.nn.LSTM(3, 2, batch_first=True), (5, 4, 3)),
        (tl.nn.LSTM(3, 2, batch_first=True), (5, 3)),
        (tl.nn.LSTMCell(3, 2), (4, 3)),
        (tl.nn.LSTMCell(3, 2), (3,)),
    ],
)
def test_the_index_is_of_the_callers_array(module, shape):
    where = (3, 1, 2)[3 - len(shape) :] if len(shape) == 3 else (1, 2)[2 - len(shape) :]
    x = np.ones(shape, np.float32)
    x[where] = np.nan
    assert caught(lambda: module(x)).index == where
    if len(shape) == 3:
        lengths = np.full(5 if module.batch_first else 4, 4)
        lengths[where[0] if module.batch_first else where[1]] = 3 if module.batch_first else 4
        assert caught(lambda: module(x, lengths=lengths)).index == where


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_and_samples_are_the_callers(reverse):
    """Whatever the order the rows and steps are run in."""
    cell = cells.lstm
    layer = tl.nn.Recurrent(cell, input=3, hidden=4, bidirectional=reverse, seed=0)
    if reverse:
        layer.U_l0 = tl.tensor(np.zeros((16, 4), np.float32), requires_grad=True)
        layer.U_l0_reverse = tl.tensor(np.full((16, 4), np.nan, np.float32), requires_grad=True)
        found = caught(
            lambda: layer(np.ones((7, 4, 3), np.float32)), "`lstm with W_l0_reverse, b_l0_reverse`: parameter U.i"
        )
        assert at(found) == ("U.i", "forward", None, None)
        layer.U_l0_reverse = tl.tensor(np.zeros((16, 4), np.float32), requires_grad=True)
    lengths = [2, 7, 5, 0]
    assert at(caught(lambda: layer(reach(np.inf, (4, 2, 0)), lengths=lengths))) == ("x", "forward", 4, 2)
    with tl.detect_anomaly():
        layer(reach(np.inf, (5, 2, 0)), lengths=lengths)  # beyond its end: nobody reads it
    two = reach(np.inf, (1, 0, 0))
    two[4, 1] = np.nan
    found = caught(lambda: tl.nn.Recurrent(cell, input=3, hidden=4, seed=0)(two, lengths=lengths))
    assert at(found) == ("x", "forward", 1, 0)
    place = Place(7, True, np.array([1, 2, 0, 3]), np.array([7, 5, 2, 0]))
    assert [place.of(0, row) for row in range(3)] == [(6, 1), (4, 2), (1, 0)]


@tl.cell(x="input", h="hidden", W="hidden input", u="hidden")
def growing(x, /, h, *, W, u):
    """Linear: grows by u every step."""
    z = W.h @ x + u.h * h
    h = z * 1
    return h


@tl.cell(x="input", h="hidden", W="hidden input", u="hidden")
def steep(x, /, h, *, W, u):
    """Bounded, with a slope of u at 0: only its gradients grow."""
    z = W.h @ x + u.h * h
    h = tl.tanh(z)
    return h


def with_factor(cell, u, reverse=False):
    layer = tl.nn.Recurrent(cell, input=3, hidden=4, bidirectional=reverse, seed=0)
    for s in layer.suffixes:
        setattr(layer, "u" + s, tl.tensor(np.full(4, u, np.float32), requires_grad=True))
        setattr(layer, "W" + s, tl.tensor(np.full((4, 3), 1.0, np.float32), requires_grad=True))
    return layer


@pytest.mark.parametrize("reverse", [False, True])
def test_a_state_that_grows(reverse):
    """3.4e38 is passed by 3e4^n after 8 steps; the factor a step is told."""
    layer = with_factor(growing, 1e4, reverse)
    if reverse:
        layer.u_l0 = tl.tensor(np.zeros(4, np.float32), requires_grad=True)
    x = np.zeros((20, 3, 3), np.float32)
    x[-2 if reverse else 1, 2] = 1  # 3e0 after step 1, 3e4 after step 2, 3e36 after step 10, inf at 11
    found = caught(
        lambda: layer(x),
        "u.h * h, a part of z, is inf",
        "z = W.h @ x + u.h * h",
        "the norm of h before: ",
        "(times 1e+04 a step)",
        "clip_grad_norm",
    )
    assert at(found) == ("z", "forward", 8 if reverse else 11, 2) and found.value == np.inf


def test_a_gradient_that_grows():
    """From the last step back: 1e4^n passes 3.4e38 at the tenth; samples that end early begin there."""
    layer = with_factor(steep, 1e4)
    x = np.zeros((20, 3, 3), np.float32)
    found = caught(
        lambda: layer(x)[0][-1].sum().backward(),
        "the gradient of h is inf at step 10 of 20",
        "the norm of the gradient of h before",
        "(times 1e+04 a step)",
    )
    assert at(found) == ("h", "backward", 10, 0)
    found = caught(lambda: layer(x, lengths=[3, 15, 9])[1][0].sum().backward())
    assert at(found) == ("h", "backward", 5, 1)
    found = caught(lambda: with_factor(steep, 1e4, True)(x)[0][0, :, 4:].sum().backward())
    assert at(found) == ("h", "backward", 9, 0)


@tl.cell(x="input", h="hidden", W="hidden input")
def rooted(x, /, h, *, W):
    """A slope that is infinite where a is 0."""
    a = W.h @ x
    r = tl.sqrt(a * a)
    h = tl.tanh(r + h)
    return h


@tl.cell(x="input", h="hidden", W="hidden input")
def rooted_within(x, /, h, *, W):
    """The same in the loop."""
    a = W.h @ x + h
    h = 2 * tl.log(1 + tl.sqrt(tl.abs(a)))
    return h


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        (rooted, ("the gradient of a, through sqrt(a * a), is inf at step 3 of 5, sample 1", "r = sqrt(a * a)")),
        (rooted_within, ("the gradient of a, through sqrt(abs(a)), is", "h' = 2 * log(1 + sqrt(abs(a)))")),
    ],
)
def test_a_slope_that_is_infinite_is_told_by_its_operation(cell, parts):
    layer = tl.nn.Recurrent(cell, input=2, hidden=3, seed=0)
    x = np.ones((5, 2, 2), np.float32)
    x[3 if cell is rooted else 0, 1] = 0
    found = caught(lambda: layer(x)[0].sum().backward(), *parts, "at 0 its slope is infinite")
    assert found.quantity == "a" and found.phase == "backward" and found.sample == 1
    assert "smaller lr" not in str(found)


def test_a_fused_function_is_told_by_its_operation():
    entropy, root = tl.fuse(lambda x, k: k * x * tl.log(x)), tl.fuse(lambda x: 2 * tl.sqrt(x))
    x = tl.tensor([1.0, 0.0, 4.0], requires_grad=True)
    found = caught(lambda: entropy(x, 2.0), "`fused`: in its `log`: gives -inf at index 1", "there 0.0", "tl.log1p(x)")
    assert (found.quantity, found.phase, found.index) == ("log", "forward", (1,))
    found = caught(lambda: root(x).sum().backward(), "`fused`: in its `sqrt`: the gradient of its", "slope is infinite")
    assert (found.quantity, found.phase, found.index) == ("x", "backward", (1,))
    large = np.ones(100_000)
    large[77] = 0
    x = tl.tensor(large, requires_grad=True)
    assert caught(lambda: root(x).sum().backward(), "slope is infinite").index == (77,)


def test_a_gradient_summed_over_steps():
    """Each step's gradient is finite, their sum is not."""
    layer = with_factor(growing, 0.0)
    layer.W_l0 = tl.tensor(np.full((4, 3), 1e-3, np.float32), requires_grad=True)
    x = np.full((4, 1, 3), 1e38, np.float32)
    found = caught(
        lambda: (layer(x)[0] * 1e-5).backward(np.full((4, 1, 4), 1e5, np.float32)),
        "the gradient of W.h, a sum over steps and samples",
    )
    assert (found.quantity, found.phase, found.index) == ("W.h", "backward", (0, 0))


def test_parameters_and_initial_states():
    layer = layer_of(cells.lstm, np.float32)
    found = caught(
        lambda: layer(np.ones((2, 1, 3)), (np.zeros((1, 1, 5)), np.full((1, 1, 5), np.inf))),
        "the initial c is inf in sample 0, unit 0",
    )
    assert at(found) == ("c", "forward", None, 0)
    U = layer.U_l0.numpy().copy()
    U[7, 3] = np.nan
    replace_value(layer.U_l0, U)
    found = caught(
        lambda: layer(np.ones((2, 1, 3))),
        "`lstm with W_l0, U_l0, b_l0`: parameter U.f is nan at index (2, 3)",
        "an earlier update broke it",
    )
    assert found.quantity == "U.f"


def test_what_hides_behind_a_finite_output():
    """c overflows, h = o tanh(c) stays finite; a quantity of another step does not count."""

    @tl.cell(x="input", h="hidden", c="hidden", W="hidden input")
    def doubling(x, /, h, c, *, W):
        unused = tl.log(W.a @ x)
        safe = tl.where(W.a @ x > 0, unused, 0.0)
        c = 2 * c + safe
        h = tl.tanh(c)
        return h, c

    layer = tl.nn.Recurrent(doubling, input=1, hidden=2, seed=0)
    layer.W_l0 = tl.tensor(np.ones((2, 1), np.float32), requires_grad=True)
    x = np.ones((5, 1, 1), np.float32)
    x[0] = -1  # its log is nan, and not used
    found = caught(
        lambda: layer(x, (np.zeros((1, 1, 2)), np.full((1, 1, 2), 0.9e38, np.float32))), "2 * c, a part of c, is inf"
    )
    assert at(found) == ("c", "forward", 1, 0)
    with tl.detect_anomaly():
        assert np.isfinite(layer(x)[0].numpy()).all()


def test_streams_and_cells():
    layer, one = tl.nn.GRU(3, 4, seed=0), tl.nn.GRUCell(3, 4, seed=0)
    x = reach(np.nan, (3, 2, 1))
    state = None
    for _ in range(3):
        _, state = layer.step(x[0], state)  # now the fast way is prepared
    assert at(caught(lambda: layer.step(x[3], state))) == ("x", "forward", 0, 2)
    assert at(caught(lambda: one(x[3]))) == ("x", "forward", 0, 2)
    out, _ = layer.step(x[3], state)
    assert np.isnan(out.numpy()).any()


def test_with_a_recording_and_by_autodiff_of_all_kinds():
    layer = with_factor(steep, 1e4)
    x = np.zeros((20, 3, 3), np.float32)
    with tl.record(layer, "z") as seen:
        assert at(caught(lambda: layer(x)[0][-1].sum().backward(create_graph=True))) == ("h", "backward", 10, 0)
        assert caught(lambda: tl.grad(lambda x: layer(x)[0][-1].sum())(x)).quantity == "h"
    assert seen["z"].shape == (20, 3, 4)


def test_a_clean_run_is_as_outside(rng):
    """Training under the context: the same bits, nothing raised; nested; as a decorator."""
    x, y = rng.standard_normal((5, 3, 3)).astype(np.float32), rng.integers(0, 4, 3)

    def run():
        layer, head = tl.nn.LSTM(3, 8, num_layers=2, seed=0), tl.nn.Linear(8, 4, seed=1)
        optimizer = tl.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.1)
        losses = []
        for _ in range(3):
            loss = tl.nn.functional.cross_entropy(head(layer(x, lengths=[5, 2, 4])[1][0][-1]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    plain = run()
    with tl.detect_anomaly(), tl.detect_anomaly():
        assert run() == plain
    assert tl.detect_anomaly()(run)() == plain
    assert mode.guard is None and mode.quietly.__self__.__class__.__name__ == "Context"


def test_other_threads_are_left_alone():
    """The context holds for its own thread."""
    found = []
    with tl.detect_anomaly():
        other = threading.Thread(target=lambda: found.append(tl.log(tl.tensor([0.0], requires_grad=True)).item()))
        other.start()
        other.join()
    assert found == [-np.inf]
