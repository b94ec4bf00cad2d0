"""Every cell of `tl.cells`, tested the day it is written: equations, plan, values, gradients, lengths, NaN."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import notation
from tinygrad_lstm.cell import Cell
from tinygrad_lstm.graph import reachable, verify
from tinygrad_lstm.scan import scan, unrolled

from .oracle import assert_equal, by_hand, directional, gradients, leaves, sample, split, typed_back, weighed

CELLS = {name: c for name, c in vars(tl.cells).items() if isinstance(c, Cell)}
each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
LENGTHS = {"whole": None, "ragged": np.array([2, 5, 1]), "one empty": np.array([0, 3, 5]), "all short": np.array([3, 2, 3])}
each_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
each_way = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@tl.cell(x="input", gap="1", h="hidden", W="hidden input", U="hidden hidden", d="hidden", b="hidden", s="")
def decay(x, gap, /, h, *, W, U, d, b, s):
    """Che et al. 2018 in short: the state fades with the time since the last input; a scalar sharpens the gate."""
    fade = tl.exp(-tl.softplus(d) * tl.abs(gap))
    h = fade * h
    z = tl.sigmoid(tl.exp(s.z) * (W.z @ x + U.z @ h + b.z))
    h = z * h + (1 - z) * tl.tanh(W.h @ x + b.h)
    return h


@tl.cell(x="input", h="hidden", W="hidden input", U="hidden hidden")
def risky(x, /, h, *, W, U):
    """Not a number for an input of 0, which is what padding often holds."""
    a = tl.log(x * x) / x
    h = tl.tanh(W.a @ a + U @ h)
    return h / tl.sqrt(tl.sum(h * h, axis=-1, keepdims=True)), h


softsign = tl.elementwise(
    "softsign_of_test_cells", code="{0} / (1 + abs({0}))", vjp=lambda g, y, x: (g / (1 + abs(x)) ** 2,)
)


@tl.fuse
def gated(a, b):
    """A declared function in a declared cell."""
    return tl.tanh(a) * tl.sigmoid(b)


@tl.cell(x="input", h="hidden", before="hidden", fixed="hidden", W="hidden input", U="hidden hidden", b="hidden", s="")
def corners(x, /, h, before, fixed, *, W, U, b, s):
    """Rows of the user's own, conditions, products of products, a delay, a state that stays, static values."""
    x = tl.clip(x, -2, 2)
    a = gated(W.a @ x + U.a @ h + b.a, softsign(W.b @ x + U.b @ (U.c @ before)))
    rises = tl.logical_and(a > h, tl.logical_not(fixed > 0))
    a = tl.where(rises, a, 2 * h) * tl.sign(a) + tl.floor(3 * a) * (a == h) - (a % 2) / 3 + (a // 0.3) * fixed
    scale = tl.exp(s.scale) * tl.softplus(b.scale)
    top = tl.max(a, axis=-1, keepdims=True)
    return scale * (a - top) ** 2, tl.tanh(a - tl.min(a, axis=-1, keepdims=True) * tl.log_softmax(h)), h, fixed


def over_time(cell, lengths=None, reverse=False, run=scan):
    """The scan (or another way to run it) as a function of Tensors that returns a list of all results."""

    def function(*values):
        xs, states, arrays = split(cell, values)
        out, last = run(cell, xs, states, arrays, lengths, reverse)
        return [out, *last]

    return function


# ------------------------------------------------------------------------------------------------------------ what it says
def test_every_cell_of_the_contract_is_there():
    named = "rnn lstm gru lstm_peephole lstm_coupled lstm_projected lstm_layernorm gru_reset_before mgu indrnn"
    assert set(named.split()) <= set(CELLS)


@each_cell
def test_a_cell_prints_its_own_equations(cell):
    text = str(cell)
    assert max(map(len, text.splitlines())) <= 80
    for name, printed, value in typed_back(cell):
        assert value is printed, (name, text)
    for family in cell.families.values():
        assert f"    {family.name} " in text
        assert " ".join(family.members).strip() in text
    assert cell.__doc__.split()[0] in text
    assert repr(cell) == f"<cell {text.splitlines()[0]}>"


def test_what_was_declared_here_prints_too():
    for cell in (decay, risky, corners):
        for name, printed, value in typed_back(cell, softsign=softsign, gated=gated):
            assert value is printed, (name, str(cell))
    assert str(corners) == (
        "corners(x: input; h: hidden, before: hidden, fixed: hidden)\n"
        "    Rows of the user's own, conditions, products of products, a delay, a state\n"
        "    that stays, static values.\n"
        "\n"
        "    x_1        = clip(x, -2, 2)\n"
        "    part_rises = tanh(W.a @ x_1 + U.a @ h + b.a) *\n"
        "                 sigmoid(softsign_of_test_cells(W.b @ x_1 + U.b @ (U.c @\n"
        "                 before)))\n"
        "    rises      = logical_and(part_rises > h, logical_not(fixed > 0))\n"
        "    a          = where(rises, part_rises, 2 * h) * sign(part_rises) + floor(3 *\n"
        "                 part_rises) * (part_rises == h) - part_rises % 2 / 3 +\n"
        "                 part_rises // 0.3 * fixed\n"
        "    scale      = exp(s.scale) * softplus(b.scale)\n"
        "    top        = max(a)\n"
        "    output     = scale * (a - top) ** 2\n"
        "    part_h     = detach(max(h))\n"
        "    h'         = tanh(a - min(a) * (h - (log(sum(exp(h - part_h))) + part_h)))\n"
        "    before'    = h\n"
        "    fixed'     = fixed\n"
        "\n"
        "    output output, states h, before, fixed\n"
        "    W (2*hidden, input)   a b\n"
        "    U (3*hidden, hidden)  a b c\n"
        "    b (2*hidden)          a scale\n"
        "    s (1)                 scale"
    )
    lines = corners.latex().splitlines()
    assert r"  \mathrm{rises}_t &= \left(\mathrm{part}^{\mathrm{rises}}_t > h_{t-1}\right) \land \lnot \left(\mathrm{fixed}_{t-1} > 0\right) \\" in lines
    assert r"  \mathrm{scale} &= \exp\left(s_{\mathrm{scale}}\right) \odot \mathrm{softplus}\left(b_{\mathrm{scale}}\right) \\" in lines
    assert r"\mathrm{softsign\_of\_test\_cells}" in corners.latex()
    assert lines[-3:-1] == [r"  \mathrm{before}_t &= h_{t-1} \\", r"  \mathrm{fixed}_t &= \mathrm{fixed}_{t-1}"]


BRACKETS = {
    # written in a body: how it is printed, how it is typeset
    "h - (x - c)": ("h - (x - c)", r"h_{t-1} - \left(x_t - c_{t-1}\right)"),
    "(h - x) - c": ("h - x - c", r"h_{t-1} - x_t - c_{t-1}"),
    "h + (x + c)": ("h + (x + c)", r"h_{t-1} + x_t + c_{t-1}"),
    "-(h + x)": ("-(h + x)", r"-\left(h_{t-1} + x_t\right)"),
    "-h * x": ("-h * x", r"-h_{t-1} \odot x_t"),
    "-(h * x)": ("-(h * x)", r"-h_{t-1} \odot x_t"),
    "h * -x": ("h * -x", r"h_{t-1} \odot \left(-x_t\right)"),
    "h - -x": ("h - -x", r"h_{t-1} - \left(-x_t\right)"),
    "-(-h)": ("-(-h)", r"-\left(-h_{t-1}\right)"),
    "h / (x * c)": ("h / (x * c)", r"\frac{h_{t-1}}{x_t \odot c_{t-1}}"),
    "h / x * c": ("h / x * c", r"\frac{h_{t-1}}{x_t} \odot c_{t-1}"),
    "h * (x / c)": ("h * (x / c)", r"h_{t-1} \odot \frac{x_t}{c_{t-1}}"),
    "(h ** x) ** c": ("(h ** x) ** c", r"{\left({h_{t-1}}^{x_t}\right)}^{c_{t-1}}"),
    "h ** (x ** c)": ("h ** x ** c", r"{h_{t-1}}^{{x_t}^{c_{t-1}}}"),
    "(-h) ** 2": ("(-h) ** 2", r"{\left(-h_{t-1}\right)}^{2}"),
    "-h ** 2": ("-h ** 2", r"-{h_{t-1}}^{2}"),
    "2 ** -h": ("2 ** (-h)", r"{2}^{-h_{t-1}}"),
    "(h / x) ** 2": ("(h / x) ** 2", r"{\left(\frac{h_{t-1}}{x_t}\right)}^{2}"),
    "2 * (3 * h)": ("2 * (3 * h)", r"2 \cdot 3 \, h_{t-1}"),
    "h * 2": ("h * 2", r"h_{t-1} \cdot 2"),
    "h * -2": ("h * -2", r"h_{t-1} \, \left(-2\right)"),
    "1e-5 * h": ("1e-05 * h", r"10^{-5} \, h_{t-1}"),
    "1 / (1 + h)": ("1 / (1 + h)", r"\frac{1}{1 + h_{t-1}}"),
    "tl.reciprocal(1 + h)": ("reciprocal(1 + h)", r"\frac{1}{1 + h_{t-1}}"),
    "tl.square(h + x)": ("square(h + x)", r"{\left(h_{t-1} + x_t\right)}^{2}"),
    "abs(h - x)": ("abs(h - x)", r"\left|h_{t-1} - x_t\right|"),
    "tl.leaky_relu(h)": ("leaky_relu(h, 0.01)", r"\mathrm{leaky\_relu}\left(h_{t-1}, 0.01\right)"),
    "(h > x) * c": ("(h > x) * c", r"\left(h_{t-1} > x_t\right) \odot c_{t-1}"),
    "(h > x) == (x > c)": ("(h > x) == (x > c)", r"\left(h_{t-1} > x_t\right) = \left(x_t > c_{t-1}\right)"),
    "h + x > c * 2": ("h + x > c * 2", r"h_{t-1} + x_t > c_{t-1} \cdot 2"),
    "tl.where(h > x, c, -c) + 1": ("where(h > x, c, -c) + 1", r"\left(c_{t-1} \text{ if } h_{t-1} > x_t \text{ else } -c_{t-1}\right) + 1"),
    "c * (W @ x)": ("c * (W @ x)", r"c_{t-1} \odot W x_t"),
    "(W @ x) * c": ("(W @ x) * c", r"W x_t \odot c_{t-1}"),
    "-(W @ x)": ("-(W @ x)", r"-W x_t"),
    "c - W @ x": ("c - W @ x", r"c_{t-1} - W x_t"),
    "W @ (W @ x)": ("W @ (W @ x)", r"W \left(W x_t\right)"),
    "W @ -x": ("W @ -x", r"W \left(-x_t\right)"),
    "W @ (x * c)": ("W @ (x * c)", r"W \left(x_t \odot c_{t-1}\right)"),
}


@pytest.mark.parametrize("written", BRACKETS)
def test_brackets_stand_where_they_are_needed(written):
    printed, typeset = BRACKETS[written]
    namespace = {"tl": tl}
    exec(f"def cell(x, /, h, c, *, W):\n    y = {written}\n    return y, tl.tanh(W @ x + y), c", namespace)
    cell = tl.cell(x="hidden", h="hidden", c="hidden", W="hidden hidden")(namespace["cell"])
    assert dict(notation.equation_lines(cell.graph))["y"] == printed
    assert dict(line.split(" &= ") for line in notation.latex_lines(cell.graph))["y_t"] == typeset
    assert all(value is expected for _, expected, value in typed_back(cell))


def test_the_lstm_on_paper():
    assert str(tl.cells.lstm) == (
        "lstm(x: input; h: hidden, c: hidden)\n"
        "    Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber &\n"
        "    Cummins 2000.\n"
        "\n"
        "    i  = sigmoid(W.i @ x + U.i @ h + b.i)\n"
        "    f  = sigmoid(W.f @ x + U.f @ h + b.f)\n"
        "    g  = tanh(W.g @ x + U.g @ h + b.g)\n"
        "    o  = sigmoid(W.o @ x + U.o @ h + b.o)\n"
        "    c' = f * c + i * g\n"
        "    h' = o * tanh(c')\n"
        "\n"
        "    output h', states h, c\n"
        "    W (4*hidden, input)   i f g o\n"
        "    U (4*hidden, hidden)  i f g o\n"
        "    b (4*hidden)          i f g o"
    )
    assert tl.cells.lstm.latex().splitlines()[5:7] == [
        r"  c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\",
        r"  h_t &= o_t \odot \tanh\left(c_t\right)",
    ]


@each_cell
def test_latex_is_typeset(cell):
    mathtext = pytest.importorskip("matplotlib.mathtext", reason="typesets the equations; pip install matplotlib")
    parser = mathtext.MathTextParser("path")
    lines = notation.latex_lines(cell.graph)
    assert len(lines) == len(notation.equation_lines(cell.graph))
    assert cell.latex() == "\\begin{aligned}\n" + " \\\\\n".join("  " + line for line in lines) + "\n\\end{aligned}"
    for line in lines:
        left, right = line.split(" &= ")
        assert parser.parse(f"${left} = {right}$").width > 0


# ---------------------------------------------------------------------------------------------------------------- the plan
@each_cell
def test_a_plan_computes_everything_once_and_in_order(cell):
    plan = cell.plan
    verify(cell.graph.roots, cell.name)
    verify([g for g in [*plan.state_cotangents, *plan.input_cotangents, *plan.parameter_cotangents.values()] if g is not None])
    known = {n.serial for n in [*cell.graph.inputs, *cell.graph.states, *cell.graph.parameters.values()]}

    def run(nodes):
        for node in nodes:
            assert all(a.serial in known for a in node.args if hasattr(a, "serial")), node
            assert node.serial not in known, node
            known.add(node.serial)

    for region in (plan.static, plan.before, plan.loop, plan.after):
        run(region)
    assert {n.serial for n in reachable(cell.graph.roots)} == known
    known &= {n.serial for n in [*plan.saved, *cell.graph.inputs, *cell.graph.states, *cell.graph.parameters.values(), *plan.static]}
    known |= {n.serial for n in [*plan.seeds, plan.output_seed]}
    for region in (plan.back_loop, plan.back_after, plan.back_static):
        run(region)


def test_an_lstm_is_two_products_forward_and_one_back():
    forward, backward = tl.cells.lstm.source("forward"), tl.cells.lstm.source("backward")
    assert "# W.i, W.f, W.g, W.o @ x: all steps of the chunk" in forward and "# U.i, U.f, U.g, U.o @ h\n" in forward
    assert forward.count("gemm(product") == 3  # the products of the inputs, over rows or over steps, and those of the state
    assert backward.count("gemm(product") == 1 and backward.count(".T @ ") == 4
    assert [n.name for n in tl.cells.lstm.plan.saved] == ["i", "f", "g", "o", None]  # and tanh(c); c itself is a state
    assert [n.name for n in tl.cells.lstm.program.saved] == ["i", "f", "g", "o"]  # tanh(c) follows from c


# ------------------------------------------------------------------------------------------------------------------ values
@each_cell
@each_length
@each_way
def test_scan_is_the_body_run_by_hand(cell, lengths, reverse, rng):
    values = sample(cell, rng, T=5)
    found, slopes = gradients(over_time(cell, lengths, reverse), values)
    expected, expected_slopes = gradients(over_time(cell, lengths, reverse, by_hand), values)
    assert_equal(found, expected)
    assert_equal(slopes, expected_slopes, rtol=1e-9, atol=1e-11)
    if lengths is not None:
        for b, n in enumerate(lengths):
            assert not found[0][n:, b].any()
            assert not slopes[0][n:, b].any()


@each_cell
@each_length
def test_gradients_to_order_two(cell, lengths, rng):
    values = sample(cell, rng, T=5)
    tl.check_grads(lambda *args: tuple(over_time(cell, lengths)(*args)), values, order=1)
    direction = [rng.standard_normal(v.shape) for v in values]
    every = tuple(range(len(values)))
    slope = tl.grad(lambda *args: weighed(over_time(cell, lengths)(*args), np.random.default_rng(1)), every)
    along = lambda *args: sum((g * d).sum() for g, d in zip(slope(*args), direction, strict=True))
    differences = directional(lambda *a: [g.numpy() for g in slope(*a)], values, direction, 1e-5)
    size = max(abs(d).max() for d in differences)
    assert_equal([g.numpy() / size for g in tl.grad(along, every)(*values)], [d / size for d in differences], rtol=1e-5, atol=1e-6)


@each_cell
def test_unrolled_is_scan(cell, rng):
    values = leaves(sample(cell, rng))
    out, last = unrolled(cell, values, None)
    assert_equal([r.numpy() for r in over_time(cell)(*values)], [out.numpy(), *(s.numpy() for s in last)])


@each_cell
def test_float32_is_float64_to_its_precision(cell, rng):
    values = sample(cell, rng, T=5)
    lengths = LENGTHS["ragged"]
    wide, wide_slopes = gradients(over_time(cell, lengths), values)
    single, single_slopes = gradients(over_time(cell, lengths), [v.astype(np.float32) for v in values])
    assert {a.dtype for a in [*single, *single_slopes]} == {np.dtype(np.float32)}
    assert_equal(single, wide, rtol=2e-5, atol=2e-6)
    assert_equal(single_slopes, wide_slopes, rtol=2e-4, atol=2e-5)


@each_cell
def test_saturated_gates_stay_finite(cell, rng):
    values = [1000 * v for v in sample(cell, rng)]
    found, slopes = gradients(over_time(cell), values)
    bounded = cell.name not in ("rnn_relu", "indrnn")  # these two grow by the weights' powers, as they should
    assert not bounded or all(np.isfinite(a).all() for a in [*found, *slopes])
    expected, expected_slopes = gradients(over_time(cell, run=by_hand), values)
    assert_equal(found, expected)
    assert_equal(slopes, expected_slopes, rtol=1e-7)


# ------------------------------------------------------------------------------------------------ one sample and the others
@each_cell
@each_way
def test_nan_stays_in_its_row(cell, reverse, rng):
    values, lengths = sample(cell, rng, T=5, B=4), np.array([2, 5, 4, 0])
    clean, clean_slopes = gradients(over_time(cell, lengths, reverse), values)
    dirty = [v.copy() for v in values]
    for x in range(len(cell.inputs)):
        dirty[x][3:, 0] = np.nan  # padding: read by nobody
        dirty[x][4:, 2] = np.inf
        dirty[x][:, 3] = np.nan
        dirty[x][1, 1] = np.nan  # a sample of its own misfortune
    found, slopes = gradients(over_time(cell, lengths, reverse), dirty)
    others = [0, 2, 3]
    n = len(cell.inputs)
    assert np.isnan(found[0][:, 1]).any()
    for k, (a, b) in enumerate(zip(found, clean, strict=True)):
        a, b = (a[:, others], b[:, others]) if k == 0 else (a[others], b[others])
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=0)
    for a, b in zip(slopes[:n], clean_slopes[:n], strict=True):
        np.testing.assert_allclose(a[:, others], b[:, others], rtol=1e-9, atol=1e-12)
    for a, b in zip(slopes[n : n + len(cell.states)], clean_slopes[n : n + len(cell.states)], strict=True):
        np.testing.assert_allclose(a[others], b[others], rtol=1e-9, atol=1e-12)


@each_cell
@each_way
def test_what_padding_holds_changes_no_bit(cell, reverse, rng):
    values, lengths = sample(cell, rng, T=5, B=4), np.array([2, 5, 4, 0])
    clean = gradients(over_time(cell, lengths, reverse), values)
    for filler in (np.nan, np.inf, 1e300):
        dirty = [v.copy() for v in values]
        for x in dirty[: len(cell.inputs)]:
            x[np.arange(5)[:, None] >= lengths] = filler
        again = gradients(over_time(cell, lengths, reverse), dirty)
        for a, b in zip([*clean[0], *clean[1]], [*again[0], *again[1]], strict=True):
            np.testing.assert_array_equal(a, b)


@each_cell
@each_way
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sequence_has_the_same_bits_alone_and_in_any_batch(cell, reverse, dtype, rng):
    values, lengths = sample(cell, rng, T=6, B=9, dtype=dtype), np.array([3, 6, 1, 4, 6, 2, 0, 5, 3])
    xs, states, arrays = split(cell, values)
    together = over_time(cell, lengths, reverse)(*map(tl.tensor, values))
    for b, n in enumerate(lengths):
        alone = [*(x[:n, b : b + 1] for x in xs), *(s[b : b + 1] for s in states), *arrays.values()]
        out, *last = over_time(cell, None, reverse)(*map(tl.tensor, alone))
        np.testing.assert_array_equal(together[0].numpy()[:n, b : b + 1], out.numpy())
        for s, t in zip(together[1:], last, strict=True):
            np.testing.assert_array_equal(s.numpy()[b : b + 1], t.numpy())


@each_cell
def test_threads_change_no_bit(cell, rng):
    values, lengths = sample(cell, rng, T=6, B=9, sizes={a: 17 + k for k, a in enumerate(cell.axis_names)}), np.array([3, 6, 1, 4, 6, 2, 0, 5, 3])
    before = tl.get_num_threads()
    try:
        found = []
        for n in (1, 2, 3):
            tl.set_num_threads(n)
            found.append(gradients(over_time(cell, lengths), values))
    finally:
        tl.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip([*found[0][0], *found[0][1]], [*other[0], *other[1]], strict=True):
            np.testing.assert_array_equal(a, b)


@each_cell
def test_a_cut_sequence_goes_on_from_its_states(cell, rng):
    values = sample(cell, rng, T=6)
    xs, states, arrays = split(cell, list(map(tl.tensor, values)))
    out, last = scan(cell, xs, states, arrays)
    first, between = scan(cell, [x[:2] for x in xs], states, arrays)
    second, final = scan(cell, [x[2:] for x in xs], between, arrays)
    assert_equal([np.concatenate([first.numpy(), second.numpy()]), *(s.numpy() for s in final)], [out.numpy(), *(s.numpy() for s in last)], rtol=0, atol=0)


@each_length
@each_way
@pytest.mark.parametrize("cell", [decay, risky, corners], ids=["decay", "risky", "corners"])
def test_declared_here(cell, lengths, reverse, rng):
    values = sample(cell, rng, T=5)
    found, slopes = gradients(over_time(cell, lengths, reverse), values)
    expected, expected_slopes = gradients(over_time(cell, lengths, reverse, by_hand), values)
    assert_equal(found, expected)
    assert_equal(slopes, expected_slopes, rtol=1e-9, atol=1e-11)


@each_way
def test_padding_where_the_equations_have_no_value(reverse, rng):
    """log 0 and 1/0 in the padding, 0/0 in the states past an end: parameters' gradients stay those of the samples."""
    values, lengths = sample(risky, rng, T=5, B=4), np.array([2, 4, 0, 3])
    expected = gradients(over_time(risky, lengths, reverse, by_hand), values)
    for filler in (0.0, np.nan):
        padded = [v.copy() for v in values]
        padded[0][np.arange(5)[:, None] >= lengths] = filler
        found = gradients(over_time(risky, lengths, reverse), padded)
        assert_equal(found[0], expected[0])
        assert_equal(found[1], expected[1], rtol=1e-9)
    every = (0, 1, 2, 3)
    slope = tl.grad(lambda *a: weighed(over_time(risky, lengths, reverse)(*a), np.random.default_rng(0)), every)
    curved = tl.grad(lambda *a: sum((g * g).sum() for g in slope(*a)), every)(*padded)
    assert all(np.isfinite(g.numpy()).all() for g in curved)


# ------------------------------------------------------------------------------------------------------- inputs do not change
@each_cell
def test_nothing_given_is_written_to(cell, rng):
    values = sample(cell, rng)
    given = leaves(values)
    before = [g.data.copy() for g in given]
    results = over_time(cell, np.array([2, 4, 0]))(*given)
    weighed(results, rng).backward()
    assert_equal([g.data for g in given], before, rtol=0, atol=0)


def test_backward_twice_through_one_scan(rng):
    given = leaves(sample(tl.cells.lstm, rng))
    loss = weighed(over_time(tl.cells.lstm)(*given), rng)
    loss.backward()
    once = [g.grad.numpy().copy() for g in given]
    loss.backward()
    assert_equal([g.grad.numpy() for g in given], [2 * g for g in once], rtol=1e-12)


def test_only_what_is_asked_has_a_gradient(rng):
    values = sample(tl.cells.lstm, rng)
    given = [tl.tensor(v, requires_grad=k == 2) for k, v in enumerate(values)]
    weighed(over_time(tl.cells.lstm)(*given), rng).backward()
    assert [g.grad is not None for g in given] == [False, False, True, False, False, False]
    with tl.no_grad():
        out = over_time(tl.cells.lstm)(*given)[0]
    assert not out.requires_grad


def test_a_cell_is_one_thing_however_it_is_copied():
    assert copy.copy(tl.cells.lstm) is tl.cells.lstm
    assert copy.deepcopy({"cell": tl.cells.gru})["cell"] is tl.cells.gru
    assert pickle.loads(pickle.dumps(tl.cells.mgu)) is tl.cells.mgu


@each_cell
def test_quantities_by_name(cell):
    for name in cell.graph.names:
        assert cell.quantity(name).serial in {n.serial for n in reachable(cell.graph.roots)}
    for state, new in zip(cell.states, cell.graph.new_states, strict=True):
        assert cell.quantity(state) is new
    with pytest.raises(tl.ArgumentError, match=r"has no quantity 'nothing'.*\n.*it has: "):
        cell.quantity("nothing")


@each_cell
def test_sizes_and_members(cell, rng):
    sizes = {a: 3 + k for k, a in enumerate(cell.axis_names)}
    arrays = {f: tl.tensor(rng.standard_normal(cell.shape(f, sizes))) for f in cell.families}
    assert cell.parameter_count(sizes) == sum(a.size for a in arrays.values())
    members = cell.members(arrays)
    for f in cell.families.values():
        own = [members[leaf].numpy() for leaf in f.leaves]
        assert {m.shape for m in own} == {tuple(1 if a == 1 else sizes[a] for a in f.axes)}
        if f.members != ("",):
            np.testing.assert_array_equal(np.concatenate(own) if f.axes else np.array(own), arrays[f.name].numpy())
            assert [cell.member(f.name, m) for m in f.members] == list(range(len(f.members)))
