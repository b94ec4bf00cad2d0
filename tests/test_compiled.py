"""Compiled loops against the interpreter, and what they promise: the same bits in any company."""

import gc
import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import cells, execute, interpret
from tinygrad_lstm.cell import Cell

CELLS = {name: c for name, c in vars(cells).items() if isinstance(c, Cell)}
SNAPSHOTS = Path(__file__).parent / "snapshots"


def problem(cell, sizes, T, B, dtype, rng):
    """Inputs, states and parameters of a moderate scale."""

    def draw(*shape, scale=0.5):
        return (rng.standard_normal(shape) * scale).astype(dtype)

    xs = [draw(T, B, *[1 if a == 1 else sizes[a] for a in cell.axes[x]]) for x in cell.inputs]
    states = [draw(B, sizes[cell.axes[s][0]]) for s in cell.states]
    arrays = {f: draw(*cell.shape(f, sizes), scale=1 / np.sqrt(sizes["hidden"])) for f in cell.families}
    return xs, states, arrays


def both(cell, sizes, T, B, dtype, rng, active=None):
    """(interpreter's, compiled) outputs, finals, cotangents of inputs, of states, of families."""
    xs, states, arrays = problem(cell, sizes, T, B, dtype, rng)
    found = []
    weights = None
    for run_forward, run_backward, how in (
        (interpret.run_forward, interpret.run_backward, cell.plan),
        (execute.run_forward, execute.run_backward, cell),
    ):
        output, finals, tape = run_forward(how, arrays, xs, states, active, True)
        if weights is None:
            weights = [rng.standard_normal(a.shape).astype(dtype) for a in [output, *finals]]
        dx, ds, dp = run_backward(how, tape, weights[0], weights[1:])
        found.append([output, *finals, *(d for d in dx if d is not None), *ds, *dp.values()])
    return found


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)], ids=["float64", "float32"])
def test_compiled_is_interpreted(name, dtype, tolerance, rng):
    """Sizes that fill vectors and sizes that do not, one row and several, with and without ends."""
    for sizes in ({"input": 1, "hidden": 1, "projection": 1}, {"input": 3, "hidden": 17, "projection": 5}, {"input": 33, "hidden": 32, "projection": 16}):  # fmt: skip
        for T, B, active in ((7, 5, None), (1, 1, None), (20, 2, None), (6, 9, np.array([9, 9, 5, 5, 2, 1]))):
            for a, b in zip(*both(CELLS[name], sizes, T, B, dtype, rng, active), strict=True):
                scale = max(1.0, np.abs(a).max(initial=0))
                np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * scale, err_msg=f"{sizes} T={T} B={B}")


@pytest.fixture
def threads():
    """Set the number of threads; put it back afterwards."""
    before = tl.get_num_threads()
    yield tl.set_num_threads
    tl.set_num_threads(before)


def run(layer, x, dy=None, **more):
    """Output, states, and with dy every gradient, as arrays."""
    x = tl.tensor(x, requires_grad=True)
    for p in layer.parameters():
        p.grad = None
    out, states = layer(x, **more)
    found = [out.numpy(), *(s.numpy() for s in states)]
    if dy is not None:
        out.backward(dy)
        found += [x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())]
    return found


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_layernorm", "gru_reset_before", "lstm_projected"])
@pytest.mark.parametrize("hidden", [13, 32, 100])
def test_bits_do_not_depend_on_threads(name, hidden, rng, threads):
    sizes = {"projection": 7} if name == "lstm_projected" else {}
    layer = tl.nn.Recurrent(CELLS[name], input=11, hidden=hidden, seed=0, **sizes)
    x = rng.standard_normal((23, 19, 11)).astype(np.float32)
    dy = rng.standard_normal(layer(x)[0].shape).astype(np.float32)
    results = []
    for n in (1, 2, 3, 5):
        threads(n)
        results.append(run(layer, x, dy))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("hidden", [5, 40])
def test_bits_do_not_depend_on_who_owns_the_units(name, hidden, rng, threads, monkeypatch):
    """Threads that share the units of each row (big weights, few rows) give what one thread gives; idle ones too."""
    cell = CELLS[name]
    if cell.program.columns is None:
        assert name == "lstm_layernorm"  # its means are numbers of a whole row
        return
    sizes = {"projection": 7} if name == "lstm_projected" else {}
    layer = tl.nn.Recurrent(cell, input=9, hidden=hidden, seed=0, **sizes)
    x = rng.standard_normal((12, 3, 9)).astype(np.float32)
    dy = rng.standard_normal(layer(x)[0].shape).astype(np.float32)
    for lengths in (None, [12, 5, 0]):
        threads(1)
        expected = run(layer, x, dy, lengths=lengths)
        monkeypatch.setattr(execute, "SHARED", 0)
        for n in (2, 3, 5):
            threads(n)
            for _ in range(2):
                for a, b in zip(expected, run(layer, x, dy, lengths=lengths), strict=True):
                    np.testing.assert_array_equal(a, b)
        monkeypatch.undo()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("hidden", [13, 32])
def test_a_sequence_has_the_same_bits_in_any_company(name, hidden, rng):
    """Alone, in batches of every size, at every place, padded, in chunks, and step by step."""
    cell = CELLS[name]
    sizes = {"projection": 7} if name == "lstm_projected" else {}
    layer = tl.nn.Recurrent(cell, input=9, hidden=hidden, seed=0, **sizes)
    x = rng.standard_normal((12, 20, 9)).astype(np.float32)
    alone = [layer(x[:, b : b + 1])[0].numpy()[:, 0] for b in range(20)]
    for batch in (2, 3, 7, 8, 9, 16, 20):
        out = layer(x[:, :batch])[0].numpy()
        for b in range(batch):
            np.testing.assert_array_equal(out[:, b], alone[b])
    lengths = rng.integers(1, 13, 20)
    out, finals = layer(x, lengths=lengths)
    for b, n in enumerate(lengths):
        np.testing.assert_array_equal(out.numpy()[:n, b], alone[b][:n])
        assert not out.numpy()[n:, b].any()
        for a, c in zip(finals, layer(x[:n, b : b + 1])[1], strict=True):
            np.testing.assert_array_equal(a.numpy()[:, b], c.numpy()[:, 0])
    states, parts = None, []
    for start in range(0, 12, 5):
        part, states = layer(x[start : start + 5], states)
        parts.append(part.numpy())
    np.testing.assert_array_equal(np.concatenate(parts)[:, 3], alone[3])
    states = None
    for t in range(12):
        out, states = layer.step(x[t, :4], states)
        np.testing.assert_array_equal(out.numpy()[2], alone[2][t])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_row_stays_a_row(name, value, rng):
    sizes = {"projection": 7} if name == "lstm_projected" else {}
    layer = tl.nn.Recurrent(CELLS[name], input=5, hidden=12, seed=0, **sizes)
    x = rng.standard_normal((6, 7, 5)).astype(np.float32)
    clean = run(layer, x)[0]
    x[2, 3] = value
    out = run(layer, x)[0]
    others = [b for b in range(7) if b != 3]
    np.testing.assert_array_equal(out[:, others], clean[:, others])
    np.testing.assert_array_equal(out[:2, 3], clean[:2, 3])
    if np.isnan(value):
        assert np.isnan(out[2:, 3]).any(axis=-1).all()


@pytest.mark.parametrize(("T", "B"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_do(T, B):
    layer = tl.nn.LSTM(3, 4, seed=0)
    x = tl.zeros((T, B, 3), requires_grad=True)
    out, (h, c) = layer(x)
    assert out.shape == (T, B, 4) and h.shape == c.shape == (1, B, 4) and not h.numpy().any()
    out.sum().backward()
    assert all(not p.grad.numpy().any() for p in layer.parameters())


def test_inputs_are_not_written_to(rng):
    layer = tl.nn.GRU(6, 8, seed=0)
    x = rng.standard_normal((5, 3, 6)).astype(np.float32)
    x.flags.writeable = False
    h = rng.standard_normal((1, 3, 8)).astype(np.float32)
    before = h.copy()
    out, _ = layer(x, h)
    out.backward(np.ones(out.shape, np.float32))
    np.testing.assert_array_equal(h, before)
    strided = np.asfortranarray(x)
    np.testing.assert_array_equal(layer(strided, h)[0].numpy(), out.numpy())


def test_a_tape_outlives_other_runs(rng):
    """Memory of one run is not handed to the next while its gradient is still wanted."""
    layer = tl.nn.LSTM(4, 16, seed=0)
    xs = [rng.standard_normal((9, 3, 4)).astype(np.float32) for _ in range(3)]
    expected = []
    for x in xs:
        expected.append(run(layer, x, np.ones((9, 3, 16), np.float32)))
    for p in layer.parameters():
        p.grad = None
    outs = [layer(tl.tensor(x))[0] for x in xs]
    for out in outs[::-1]:
        out.backward(np.ones(out.shape, np.float32))
    for k, p in enumerate(layer.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), sum(e[-4 + k] for e in expected), rtol=1e-5, atol=1e-5)
    out = layer(tl.tensor(xs[0], requires_grad=True))[0]
    for p in layer.parameters():
        p.grad = None
    out.backward(np.ones(out.shape, np.float32))
    out.backward(np.ones(out.shape, np.float32))
    for k, p in enumerate(layer.parameters()):
        np.testing.assert_array_equal(p.grad.numpy(), 2 * expected[0][-4 + k])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_kernel_text_is_as_it_was(name, direction, request):
    """A refactoring that changes a kernel is seen. To accept a change: delete the file and run the test twice."""
    text = re.sub(r"  # [0-9a-f]{16}( .*)?$", "", CELLS[name].source(direction), flags=re.M)
    compile(text, name, "exec")
    path = SNAPSHOTS / f"{name}_{direction}.txt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"there was no {path.name}; it is written now")
    assert text == path.read_text()


def test_source_names_the_direction():
    assert "h_new" in cells.lstm.source("forward") and "d_c" in cells.lstm.source("backward")
    with pytest.raises(tl.ArgumentError, match="'forward' or 'backward'"):
        cells.lstm.source("sideways")


def test_what_is_kept_of_parameters_goes_with_them(rng):
    """Inference keeps packed weights and laid out runs: for many lengths once, for other weights not, and not for ever."""
    import gc

    def held():
        gc.collect()
        return len(execute._prepared)

    before = held()
    layers = [tl.nn.LSTM(6, 7, seed=k) for k in range(2)]
    with tl.no_grad():
        for T in (3, 9, 4, 3):
            x = rng.standard_normal((T, 2, 6)).astype(np.float32)
            for layer in layers:
                first = layer(x)[0].numpy()
                np.testing.assert_array_equal(layer(x)[0].numpy(), first)
                one = np.concatenate([layer(x[:, :1])[0].numpy(), layer(x[:, 1:])[0].numpy()], 1)
                np.testing.assert_array_equal(one, first)
        assert held() == before + 2
        layers[0].load_state_dict(layers[1].state_dict())
        np.testing.assert_array_equal(layers[0](x)[0].numpy(), layers[1](x)[0].numpy())
        assert held() == before + 2
    del layers, layer
    assert held() == before


def test_sharing_units_rests_where_it_does_not_pay(monkeypatch):
    """Beside busy processes threads that must meet at every step are slower than one alone."""
    now = [100.0]
    monkeypatch.setattr(execute.time, "monotonic", lambda: now[0])
    sharing = execute.Sharing(suspicious=0.004)
    sharing.took(True, 0.001)
    assert sharing.pays()
    sharing.took(True, 0.130)  # long: one alone is tried
    assert not sharing.pays()
    sharing.took(False, 0.002)
    assert sharing.pays()
    sharing.took(True, 0.100)  # longer than one alone: rests
    assert not sharing.pays()
    now[0] += 0.03
    assert sharing.pays()
    sharing.took(True, 0.100)
    now[0] += 0.03
    assert not sharing.pays()  # twice as long now
    now[0] += 0.03
    assert sharing.pays()
    for _ in range(5):
        sharing.took(True, 0.001)
    assert sharing.pays() and sharing.rest == execute.SHORTEST_REST
    slow = execute.Sharing(suspicious=0.004)  # a slow memory: long, but not longer than one alone
    slow.took(True, 0.005)
    assert not slow.pays()
    slow.took(False, 0.009)
    slow.took(True, 0.005)
    assert slow.pays()


def test_a_gradient_that_nobody_wants_is_not_computed(rng, monkeypatch):
    """The input's gradient is a product as large as a weight's; the others have the same bits without it."""
    layer = tl.nn.GRU(5, 6, seed=0)
    asked = []
    plain = execute.After._input
    monkeypatch.setattr(execute.After, "_input", lambda self, k, *rest: asked.append(k) or plain(self, k, *rest))
    execute._forms.clear()
    found = []
    for requires_grad in (True, False):
        layer.zero_grad()
        x = tl.tensor(rng.standard_normal((4, 3, 5)) * 0 + 0.5, dtype=np.float32, requires_grad=requires_grad)
        (layer(x)[0] ** 2).sum().backward()
        assert (x.grad is not None) is requires_grad
        found.append([p.grad.numpy().tobytes() for p in layer.parameters()])
    assert asked == [0] and found[0] == found[1]


def test_what_one_keeps_of_a_call_is_not_written_to_by_the_next(rng):
    """Outputs and gradients lie in memory that is used again, but only once nobody holds them, or a part of them."""
    layer = tl.nn.LSTM(20, 20, seed=0)
    kept, copies = [], []
    for k in range(6):
        layer.zero_grad()
        x = tl.tensor(rng.standard_normal((7, 3, 20)), dtype=np.float32, requires_grad=True)
        out, (h, _) = layer(x)
        (out**2).sum().backward()
        found = [out.numpy(), out.numpy()[2, 1:], h.numpy(), x.grad.numpy()[:, 0], *(p.grad.numpy() for p in layer.parameters())]
        kept.append(found[k % 2 :: 2])
        copies.append([a.copy() for a in kept[-1]])
        del found, out, h, x
        gc.collect()
    assert all(np.array_equal(a, b) for one, other in zip(kept, copies, strict=True) for a, b in zip(one, other, strict=True))
    addresses = {a.__array_interface__["data"][0] for one in kept for a in one}
    assert len(addresses) == sum(map(len, kept))
