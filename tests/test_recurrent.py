"""`nn.Recurrent`: a declared cell in layers and directions, with every way to give it its inputs."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.scan import scan

from .oracle import assert_equal, by_hand

SEQUENCES = pytest.mark.parametrize("lengths", [None, np.array([3, 5, 0, 1])], ids=["whole", "ragged"])


@tl.cell(x="input", gap="1", h="hidden", c="memory", W="hidden input", U="hidden hidden", V="memory hidden", d="hidden", s="")
def fading(x, gap, /, h, c, *, W, U, V, d, s):
    """Two inputs, two axes, a scalar, an output apart from the states."""
    h = tl.exp(-tl.softplus(d) * gap) * h
    h = tl.tanh(W.h @ x + U @ h)
    c = tl.sigmoid(s.keep) * c + V @ h
    return tl.tanh(c) + tl.mean(h, axis=-1, keepdims=True), h, c


@tl.cell(x="hidden", h="hidden", W="hidden hidden", gain="hidden = 2", shift="hidden = -0.5", U="hidden hidden")
def residual(x, /, h, *, W, gain, shift, U):
    """Input and output on one axis; some families start from a value."""
    h = x + gain * tl.tanh(W @ x + U @ h + shift)
    return h


@tl.cell(level="1", h="hidden", W="hidden 1", U="hidden hidden")
def of_numbers(level, /, h, *, W, U):
    """One number a step."""
    h = tl.tanh(W @ level + U @ h)
    return h


@tl.cell(x="input", W="hidden input")
def memoryless(x, /, *, W):
    """No state at all."""
    return tl.tanh(W @ x)


def reference(layer, xs, states, lengths=None):
    """A stack by hand: directions beside each other, layers on top of each other, (T, B, axis) throughout."""
    finals, out = [], xs[0]
    for k in range(layer.num_layers):
        ways = []
        for d, way in enumerate(("", "_reverse")[: layer.directions]):
            arrays = {f: getattr(layer, f"{f}_l{k}{way}") for f in layer.cell.families}
            at = k * layer.directions + d
            y, last = by_hand(layer.cell, [out, *xs[1:]], [s[at] for s in states], arrays, lengths, reverse=d == 1)
            ways.append(y)
            finals.append(last)
        out = tl.concatenate(ways, axis=-1)
    return out, [tl.stack([f[k] for f in finals]) for k in range(len(states))]


def initial(layer, B, rng):
    n = layer.num_layers * layer.directions
    return [tl.tensor(rng.standard_normal((n, B, layer.sizes[layer.cell.axes[s][0]])), requires_grad=True) for s in layer.cell.states]


# -------------------------------------------------------------------------------------------------------- against the oracle
@pytest.mark.parametrize("cell", [tl.cells.lstm, tl.cells.gru, tl.cells.lstm_projected, tl.cells.sru, residual], ids=lambda c: c.name)
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (3, False), (1, True), (2, True)])
@SEQUENCES
def test_stacks_and_directions(cell, num_layers, bidirectional, lengths, rng):
    if cell is residual and bidirectional and num_layers > 1:
        with pytest.raises(tl.ShapeError, match="cannot be stacked: its input has axis 'hidden' of size 3, the layer below puts out 6"):
            tl.nn.Recurrent(cell, hidden=3, num_layers=2, bidirectional=True)
        return
    sizes = {a: 4 - k for k, a in enumerate(cell.axis_names)} if cell is not residual else {"hidden": 3}
    layer = tl.nn.Recurrent(cell, **sizes, num_layers=num_layers, bidirectional=bidirectional, dtype=np.float64, seed=1)
    x = tl.tensor(rng.standard_normal((5, 4, sizes[cell.axes[cell.inputs[0]][0]])), requires_grad=True)
    states = initial(layer, 4, rng)
    leaves = [x, *states, *layer.parameters()]
    results = {}
    for run in ("layer", "hand"):
        for leaf in leaves:
            leaf.grad = None
        out, last = layer(x, states, lengths) if run == "layer" else reference(layer, [x], states, lengths)
        weights = np.random.default_rng(3)
        sum((r * weights.standard_normal(r.shape)).sum() for r in (out, *last)).backward()
        results[run] = [r.numpy() for r in (out, *last)], [leaf.grad.numpy() for leaf in leaves]
    assert_equal(results["layer"][0], results["hand"][0])
    assert_equal(results["layer"][1], results["hand"][1], rtol=1e-9, atol=1e-11)
    if lengths is not None:
        assert not results["layer"][0][0][np.arange(5)[:, None] >= lengths].any()


@SEQUENCES
@pytest.mark.parametrize("bidirectional", [False, True])
def test_several_inputs(lengths, bidirectional, rng):
    layer = tl.nn.Recurrent(fading, input=2, hidden=3, memory=4, num_layers=2, bidirectional=bidirectional, dtype=np.float64, seed=0)
    x, gap = rng.standard_normal((5, 4, 2)), rng.random((5, 4, 1))
    states = initial(layer, 4, rng)
    out, last = layer((x, gap), states, lengths)
    expected, expected_last = reference(layer, [tl.tensor(x), tl.tensor(gap)], states, lengths)
    assert_equal([out.numpy(), *(s.numpy() for s in last)], [expected.numpy(), *(s.numpy() for s in expected_last)])
    for given in ((x, gap[..., 0]), [x, gap], (tl.tensor(x), gap[..., 0].tolist())):
        if given[1] is gap or isinstance(given[1], np.ndarray):
            np.testing.assert_array_equal(layer(given, states, lengths)[0].numpy(), out.numpy())
        else:  # Python numbers are float32 first
            np.testing.assert_allclose(layer(given, states, lengths)[0].numpy(), out.numpy(), rtol=1e-5, atol=1e-6)
    layer.batch_first = True
    turned = layer((x.swapaxes(0, 1), gap[..., 0].T), states, lengths)[0].numpy()
    np.testing.assert_array_equal(turned.swapaxes(0, 1), out.numpy())


@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched_is_a_batch_of_one(batch_first, rng):
    layer = tl.nn.Recurrent(fading, input=2, hidden=3, memory=4, num_layers=2, bidirectional=True, batch_first=batch_first, dtype=np.float64, seed=0)
    x, gap = rng.standard_normal((5, 2)), rng.random((5, 1))
    states = initial(layer, 1, rng)
    axis = 0 if batch_first else 1
    batch = (np.expand_dims(x, axis), np.expand_dims(gap, axis))
    out, last = layer(batch, states, [4])
    for given in ((x, gap), (x, gap[:, 0])):
        for lengths in (4, [4], np.array(4), tl.tensor([4.0])):
            alone, alone_last = layer(given, [s[:, 0] for s in states], lengths)
            assert_equal([alone.numpy(), *(s.numpy() for s in alone_last)], [np.take(out.numpy(), 0, axis), *(s.numpy()[:, 0] for s in last)], rtol=0)


def test_batch_first_turns_inputs_and_outputs_but_not_states(rng):
    x = rng.standard_normal((2, 5, 3))
    layer = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=4, num_layers=2, dtype=np.float64, seed=0)
    first = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=4, num_layers=2, dtype=np.float64, seed=0, batch_first=True)
    states = initial(layer, 2, rng)
    out, last = layer(x.swapaxes(0, 1), states)
    turned, turned_last = first(x, states)
    assert_equal([turned.numpy().swapaxes(0, 1), *(s.numpy() for s in turned_last)], [out.numpy(), *(s.numpy() for s in last)], rtol=0)


def test_one_number_a_step(rng):
    layer = tl.nn.Recurrent(of_numbers, hidden=3, dtype=np.float64, seed=0)
    level = rng.standard_normal((6, 2, 1))
    out, (h,) = layer(level)
    expected, _ = reference(layer, [tl.tensor(level)], [tl.zeros((1, 2, 3), np.float64)])
    assert_equal([out.numpy(), h.numpy()[0]], [expected.numpy(), expected.numpy()[-1]])
    np.testing.assert_allclose(layer(level[:, 0])[0].numpy(), expected.numpy()[:, 0], rtol=1e-12)
    with pytest.raises(tl.ShapeError, match="axis 1 is 1 but level has 2"):
        layer(level[..., 0])
    with pytest.raises(tl.ShapeError, match="cannot be stacked: its input has axis 1 of size 1, the layer below puts out 3"):
        tl.nn.Recurrent(of_numbers, hidden=3, num_layers=2)


def test_a_cell_without_states(rng):
    layer = tl.nn.Recurrent(memoryless, input=3, hidden=2, dtype=np.float64, seed=0)
    x = rng.standard_normal((4, 2, 3))
    out, states = layer(x, lengths=[4, 1])
    expected = np.tanh(x @ layer.W_l0.numpy().T)
    expected[1:, 1] = 0
    assert states == ()
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 0, 2)], ids=["no steps", "no samples"])
@pytest.mark.parametrize("lengths", [False, True])
def test_nothing_to_do(shape, lengths):
    layer = tl.nn.Recurrent(tl.cells.lstm, input=2, hidden=3, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    x = tl.tensor(np.zeros(shape), requires_grad=True)
    h = tl.tensor(np.full((4, shape[1], 3), 0.5), requires_grad=True)
    out, (h_n, c_n) = layer(x, (h, None), np.zeros(shape[1], int) if lengths else None)
    assert out.shape == (*shape[:2], 6)
    if not shape[0]:
        np.testing.assert_array_equal(h_n.numpy(), h.numpy())
        np.testing.assert_array_equal(c_n.numpy(), 0 * h.numpy())
    (out.sum() + (h_n * 3).sum()).backward()
    np.testing.assert_array_equal(h.grad.numpy(), np.full(h.shape, 3.0))
    assert all(not p.grad.numpy().any() for p in layer.parameters())


def test_all_lengths_zero(rng):
    layer = tl.nn.Recurrent(tl.cells.gru, input=2, hidden=3, bidirectional=True, dtype=np.float64, seed=0)
    x = tl.tensor(np.full((4, 2, 2), np.nan), requires_grad=True)
    h = tl.tensor(rng.standard_normal((2, 2, 3)), requires_grad=True)
    out, (last,) = layer(x, h, [0, 0])
    np.testing.assert_array_equal(out.numpy(), np.zeros((4, 2, 6)))
    np.testing.assert_array_equal(last.numpy(), h.numpy())
    (out.sum() + (last * last).sum()).backward()
    np.testing.assert_array_equal(h.grad.numpy(), 2 * h.numpy())
    assert all(not p.grad.numpy().any() for p in layer.parameters())
    tl.check_grads(lambda h: (layer(x.numpy(), h, [0, 0])[1][0] ** 3), [h], order=2)


# ------------------------------------------------------------------------------------------------------------------- streaming
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", [tl.cells.lstm, tl.cells.gru, tl.cells.lstm_layernorm, tl.cells.mingru], ids=lambda c: c.name)
def test_step_by_step_has_the_bits_of_the_sequence(cell, num_layers, rng):
    layer = tl.nn.Recurrent(cell, input=3, hidden=4, num_layers=num_layers, dropout=0.5, batch_first=True, dtype=np.float64, seed=0)
    xs = rng.standard_normal((2, 6, 3))
    layer.eval()
    out, last = layer(xs)
    layer.train()
    states = None
    for t in range(6):
        y, states = layer.step(xs[:, t], states)
        np.testing.assert_array_equal(y.numpy(), out.numpy()[:, t])
        assert not y.requires_grad
    assert_equal([s.numpy() for s in states], [s.numpy() for s in last], rtol=0, atol=0)
    alone = None
    for t in range(6):
        y, alone = layer.step(xs[1, t], alone)
        np.testing.assert_array_equal(y.numpy(), out.numpy()[1, t])
    assert layer.training
    assert layer.batch_first


def test_a_step_with_several_inputs(rng):
    layer = tl.nn.Recurrent(fading, input=2, hidden=3, memory=4, dtype=np.float64, seed=0)
    x, gap = rng.standard_normal((5, 4, 2)), rng.random((5, 4))
    out, _ = layer((x, gap))
    states = alone = None
    for t in range(5):
        y, states = layer.step((x[t], gap[t]), states)
        z, alone = layer.step((x[t, 1], gap[t, 1]), alone)
        np.testing.assert_allclose(y.numpy(), out.numpy()[t], rtol=1e-12)
        np.testing.assert_allclose(z.numpy(), out.numpy()[t, 1], rtol=1e-12)
    with pytest.raises(tl.ArgumentError, match=r"fading has 2 inputs \(x, gap\), 3 given"):
        layer.step((x[0], gap[0], gap[0]))


# ------------------------------------------------------------------------------------------------------------------ parameters
def test_state_dict_has_one_array_a_family_layer_and_direction():
    layer = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=5, num_layers=2, bidirectional=True)
    shapes = {n: p.shape for n, p in layer.named_parameters()}
    assert shapes == {
        "W_l0": (20, 3), "U_l0": (20, 5), "b_l0": (20,), "W_l0_reverse": (20, 3), "U_l0_reverse": (20, 5), "b_l0_reverse": (20,),
        "W_l1": (20, 10), "U_l1": (20, 5), "b_l1": (20,), "W_l1_reverse": (20, 10), "U_l1_reverse": (20, 5), "b_l1_reverse": (20,),
    }  # fmt: skip
    other = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=5, num_layers=2, bidirectional=True, seed=9)
    other.load_state_dict(layer.state_dict())
    x = np.ones((4, 2, 3), np.float32)
    np.testing.assert_array_equal(other(x)[0].numpy(), layer(x)[0].numpy())


def test_families_of_every_kind():
    layer = tl.nn.Recurrent(fading, input=2, hidden=3, memory=4, seed=0)
    shapes = {n: p.shape for n, p in layer.named_parameters()}
    assert shapes == {"W_l0": (3, 2), "U_l0": (3, 3), "V_l0": (4, 3), "d_l0": (3,), "s_l0": (1,)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, "float64"])
def test_dtype_and_seed(dtype):
    make = lambda seed: tl.nn.Recurrent(tl.cells.gru, input=3, hidden=5, dtype=dtype, seed=seed)
    a, b, c = make(7), make(np.random.default_rng(7)), make(8)
    for p, q, r in zip(a.parameters(), b.parameters(), c.parameters(), strict=True):
        assert p.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(p.numpy(), q.numpy())
        assert (p.numpy() != r.numpy()).all()
    x = np.ones((4, 2, 3), np.float64)
    out, (h,) = a(x, np.zeros((1, 2, 5)))
    assert out.dtype == h.dtype == np.dtype(dtype)
    out.sum().backward()
    assert {p.grad.dtype for p in a.parameters()} == {np.dtype(dtype)}


def test_initial_values():
    layer = tl.nn.Recurrent(tl.cells.lstm_layernorm, input=30, hidden=40, seed=0)
    state = layer.state_dict()
    assert (state["gamma_l0"] == 1).all()
    assert not state["beta_l0"].any()
    assert not state["b_l0"].any()
    assert 0.9 / np.sqrt(40) < abs(state["W_l0"]).max() <= 1 / np.sqrt(40)
    own = tl.nn.Recurrent(residual, hidden=3).state_dict()
    assert own["gain_l0"].tolist() == [2, 2, 2]
    assert own["shift_l0"].tolist() == [-0.5, -0.5, -0.5]


def test_forget_bias():
    layer = tl.nn.Recurrent(tl.cells.lstm_peephole, input=3, hidden=2, num_layers=2, bidirectional=True, forget_bias=1.5, seed=0)
    plain = tl.nn.Recurrent(tl.cells.lstm_peephole, input=3, hidden=2, num_layers=2, bidirectional=True, seed=0)
    rest = [0, 1, 4, 5, 6, 7]
    for name, value in layer.state_dict().items():
        if name.startswith("b_"):
            assert value[2:4].tolist() == [1.5, 1.5]
            np.testing.assert_array_equal(value[rest], plain.state_dict()[name][rest])
        else:
            np.testing.assert_array_equal(value, plain.state_dict()[name])


def test_forget_bias_of_the_drop_in_classes():
    for layer in (tl.nn.LSTM(3, 2, num_layers=2, forget_bias=1.0), tl.nn.LSTMCell(3, 2, forget_bias=1.0)):
        state = layer.state_dict()
        for name in [n for n in state if n.startswith("bias_ih")]:
            assert (state[name] + state[name.replace("ih", "hh")])[2:4].tolist() == [1.0, 1.0]


# --------------------------------------------------------------------------------------------------------------------- dropout
def test_dropout_falls_between_layers_while_training(rng):
    x = rng.standard_normal((7, 3, 2))
    layer = tl.nn.Recurrent(tl.cells.gru, input=2, hidden=50, num_layers=2, dropout=0.4, dtype=np.float64, seed=0)
    plain = tl.nn.Recurrent(tl.cells.gru, input=2, hidden=50, num_layers=2, dtype=np.float64)
    plain.load_state_dict(layer.state_dict())
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), plain(x)[0].numpy())
    layer.train()
    out, (h,) = layer(x)
    _, (plain_h,) = plain(x)
    np.testing.assert_array_equal(h.numpy()[0], plain_h.numpy()[0])  # the lowest layer sees no dropout
    assert abs(h.numpy()[1] - plain_h.numpy()[1]).max() > 1e-3
    assert (layer(x)[0].numpy() != out.numpy()).any()
    again = tl.nn.Recurrent(tl.cells.gru, input=2, hidden=50, num_layers=2, dropout=0.4, dtype=np.float64, seed=0)
    np.testing.assert_array_equal(again(x)[0].numpy(), out.numpy())
    lower = {f: getattr(layer, f"{f}_l1") for f in tl.cells.gru.families}
    zero = scan(tl.cells.gru, [tl.zeros((7, 3, 50), np.float64)], [tl.zeros((3, 50), np.float64)], lower)[0]
    full = tl.nn.Recurrent(tl.cells.gru, input=2, hidden=50, num_layers=2, dropout=1.0, dtype=np.float64)
    full.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(full(x)[0].numpy(), zero.numpy())


# --------------------------------------------------------------------------------------------------------------------- objects
def test_what_a_layer_says_of_itself():
    assert repr(tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=4)).startswith("Recurrent(lstm, input=3, hidden=4)")
    layer = tl.nn.Recurrent(tl.cells.gru, input=3, hidden=4, num_layers=2, bidirectional=True, dropout=0.25, batch_first=True)
    assert repr(layer).startswith(
        "Recurrent(gru, input=3, hidden=4, num_layers=2, bidirectional=True, dropout=0.25, batch_first=True)"
    )


def test_a_copy_is_another_layer_of_the_same_cell():
    layer = tl.nn.Recurrent(fading, input=2, hidden=3, memory=4, seed=0)
    twin = copy.deepcopy(layer)
    assert twin.cell is layer.cell
    assert twin.W_l0 is not layer.W_l0
    np.testing.assert_array_equal(twin.W_l0.numpy(), layer.W_l0.numpy())


def test_a_gradient_penalty_reaches_the_weights(rng):
    """Order two through a whole layer: the squared gradient of the input is itself differentiated by the weights."""
    layer = tl.nn.Recurrent(tl.cells.lstm, input=2, hidden=3, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    x = rng.standard_normal((4, 2, 2))
    names = [n for n, _ in layer.named_parameters()]

    def penalty():
        g = tl.grad(lambda x: (layer(x, lengths=[4, 2])[0] ** 2).sum())(tl.tensor(x, requires_grad=True))
        return (g * g).sum()

    penalty().backward()
    for name in (names[0], names[4], names[-1]):
        exact = getattr(layer, name).grad.numpy().ravel()[1]
        before, values = layer.state_dict(), []
        for e in (1e-5, -1e-5):
            moved = {k: v.copy() for k, v in before.items()}
            moved[name].ravel()[1] += e
            layer.load_state_dict(moved)
            values.append(penalty().item())
        layer.load_state_dict(before)
        assert abs((values[0] - values[1]) / 2e-5 - exact) < 1e-6 * max(1, abs(exact))


def test_inputs_of_lower_precision_keep_their_own_gradient_dtype(rng):
    layer = tl.nn.Recurrent(tl.cells.gru, input=2, hidden=3, dtype=np.float64, seed=0)
    x = tl.tensor(rng.standard_normal((4, 2, 2)).astype(np.float32), requires_grad=True)
    layer(x)[0].sum().backward()
    assert x.grad.dtype == np.float32


def test_a_step_of_a_cell_whose_state_meets_no_parameter(rng):
    @tl.cell(x="input", h="hidden", n="count")
    def average(x, /, h, n):
        h = h * 0.9 + tl.mean(x, axis=-1, keepdims=True)
        n = n + 1.0
        return h, n

    layer = tl.nn.Recurrent(average, input=2, hidden=3, count=4)
    x = rng.standard_normal((5, 6, 2)).astype(np.float32)
    out, (h, n) = layer(x)
    states = None
    for t in range(5):
        step, states = layer.step(x[t], states)
        np.testing.assert_array_equal(step.numpy(), out.numpy()[t])
    np.testing.assert_array_equal(states[0].numpy(), h.numpy())
    np.testing.assert_array_equal(states[1].numpy(), np.full((1, 6, 4), 5, np.float32))
    np.testing.assert_array_equal(n.numpy(), states[1].numpy())


def test_numbers_in_use_cannot_be_written_to(rng):
    """What is packed of a parameter is kept by its array, so nobody may write there; a new value is seen at once."""
    layer = tl.nn.LSTM(3, 4, seed=0)
    x = rng.standard_normal((2, 1, 3)).astype(np.float32)
    with tl.no_grad():
        before = layer(x)[0].numpy()
        with pytest.raises(ValueError, match="read-only"):
            layer.weight_hh_l0.data[...] = 0
        layer.load_state_dict({**layer.state_dict(), "bias_ih_l0": np.ones(16)})
        after = layer(x)[0].numpy()
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, layer(x)[0].numpy())


# ------------------------------------------------------------------------------------- what a layer keeps of its last calls
@pytest.mark.parametrize("make", [lambda: tl.nn.LSTM(3, 4, num_layers=2, seed=0), lambda: tl.nn.GRU(3, 4, seed=0)])
def test_what_is_kept_of_calls_is_no_part_of_the_layer(make, rng):
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    layer, fresh = make(), make()
    names = list(layer.state_dict())
    with tl.no_grad():
        before = layer(x)[0].numpy()
    assert list(layer.state_dict()) == names == [n for n, _ in layer.named_parameters()]
    fresh.load_state_dict(layer.state_dict())
    _, states = layer.step(x[0])
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert list(copied.state_dict()) == names
        own = None
        for t in range(5):
            out, own = copied.step(x[t], own)
            np.testing.assert_array_equal(out.numpy(), before[t])
    out, _ = layer.step(x[1], states)
    np.testing.assert_array_equal(out.numpy(), before[1])


def test_streams_of_several_threads_on_one_layer(rng):
    layer = tl.nn.LSTM(8, 16, dropout=0.0, batch_first=True, seed=0)
    xs = rng.standard_normal((6, 40, 8)).astype(np.float32)
    expected = layer(xs)[0].numpy()
    wrong = []

    def stream(k):
        states = None
        for t in range(40):
            out, states = layer.step(xs[k, t], states)
            if not np.array_equal(out.numpy(), expected[k, t]):
                wrong.append((k, t))
        if not np.array_equal(layer(xs)[0].numpy(), expected):
            wrong.append((k, "sequence"))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=stream, args=(k,)) for k in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == [] and layer.batch_first and layer.training
