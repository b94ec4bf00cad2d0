"""tl.plot: what is drawn is what was given; the same bytes every time; files that open; errors that help."""

import doctest
import html
import inspect
import re
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_lstm as tl

matplotlib = pytest.importorskip("matplotlib", reason="pictures; pip install 'tinygrad_lstm[plot]'")

WORDS = "Anna comes in . she waits .".split()
T, B, H = len(WORDS), 3, 4


@pytest.fixture
def gate(rng):
    return rng.random((T, B, H))


@pytest.fixture
def state(rng):
    return rng.normal(size=(T, B, H))


def pictures(gate, state):
    """One plot of every kind."""
    layer = tl.nn.Recurrent(tl.cells.lstm, input=2, hidden=3, seed=0)
    seen = tl.memory_map(layer, np.ones((6, 2), np.float32))
    return {
        "gates": tl.plot.gates({"f": gate, "c": state}, over=WORDS),
        "signal": tl.plot.gates(state, over=np.arange(T)),
        "text": tl.plot.text(WORDS, state[:, 0, 0]),
        "memory": tl.plot.memory(seen),
        "memories": tl.plot.memory({"one": seen, "two": seen}),
        "losses": tl.plot.losses([3.0, 2.0, 1.0], baselines={"guessing": 2.5}),
        "lines": tl.plot.lines({"a": [1, 2, 3], "b": ([0, 5], [1, 0])}, levels={"level": 1.0}),
    }


# --------------------------------------------------------------------------------------------------- gates and states
def image(axes):
    return np.asarray(axes.images[0].get_array())


def test_gates_shows_every_unit_at_every_step(gate, state):
    figure = tl.plot.gates({"f": gate, "c": state}, over=WORDS, sample=1).figure
    f, c = figure.axes[:2]
    np.testing.assert_array_equal(image(f), gate[:, 1].T)
    np.testing.assert_array_equal(image(c), state[:, 1].T)
    assert f.images[0].get_clim() == (0.0, 1.0)  # a gate: from nothing to everything, whatever occurs
    top = np.abs(state[:, 1]).max()
    assert c.images[0].get_clim() == (-top, top)  # a state: zero is the middle
    assert f.images[0].get_cmap().name == "viridis" and c.images[0].get_cmap().name == "RdBu"
    assert [label.get_text() for label in c.get_xticklabels()] == WORDS
    assert (f.get_title("left"), c.get_title("left")) == ("f", "c")


def test_maps_of_one_scale_can_be_compared(gate, state):
    wide = {"narrow": state, "wide": 3 * state}
    apart, together = (tl.plot.gates(wide, shared=shared).figure.axes[:2] for shared in (False, True))
    top = 3 * np.abs(state[:, 0]).max()  # of the sequence that is shown
    assert [ax.images[0].get_clim() for ax in apart] == [(-top / 3, top / 3), (-top, top)]
    assert [ax.images[0].get_clim() for ax in together] == [(-top, top)] * 2
    mixed = tl.plot.gates({"f": gate, "c": state}, shared=True).figure.axes[:2]
    assert [ax.images[0].get_cmap().name for ax in mixed] == ["RdBu"] * 2
    gates = tl.plot.gates({"f": gate, "i": gate / 2}, shared=True).figure.axes[:2]
    assert [ax.images[0].get_clim() for ax in gates] == [(0.0, 1.0)] * 2


def test_gates_of_chosen_units_in_their_order(state):
    axes = tl.plot.gates(state, units=[2, 0, -1]).figure.axes[0]
    np.testing.assert_array_equal(image(axes), state[:, 0, [2, 0, 3]].T)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "0", "-1"]
    named = tl.plot.gates(state[:, 0], labels=["p", "q", "r", "s"]).figure.axes[0]
    assert [label.get_text() for label in named.get_yticklabels()] == ["p", "q", "r", "s"]


def test_gates_of_units_found_by_numpy(state):
    order = np.argsort(state.std((0, 1)))[:2]
    figure = tl.plot.gates(state, units=order).figure
    np.testing.assert_array_equal(image(figure.axes[0]), state[:, 0, order].T)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [str(u) for u in order]


def test_gates_over_a_signal(state, rng):
    signal = rng.normal(size=(T, 1))
    above, below = tl.plot.gates(state, over=tl.tensor(signal)).figure.axes[:2]
    np.testing.assert_array_equal(above.lines[0].get_ydata(), signal[:, 0])
    assert above.get_xlim() == below.get_xlim()  # a step is above itself


def test_gates_of_a_recording():
    layer = tl.nn.Recurrent(tl.cells.lstm, input=2, hidden=3, seed=0)
    with tl.record(layer, "f", "c") as seen:
        layer(np.ones((5, 1, 2), np.float32))
    figure = tl.plot.gates(seen).figure
    np.testing.assert_allclose(image(figure.axes[0]), seen["f"][:, 0].T)
    np.testing.assert_allclose(image(figure.axes[1]), seen["c"][:, 0].T)


def test_a_long_text_names_every_few_steps():
    axes = tl.plot.gates(np.zeros((1000, 1)), over="x" * 1000).figure.axes[0]
    places = axes.get_xticks()
    assert 50 < len(places) < 120 and len({*np.diff(places)}) == 1


def test_steps_are_counted_in_whole_numbers():
    for picture in (tl.plot.gates(np.zeros((20, 2))), tl.plot.losses([2.0, 1.0]), tl.plot.lines({"a": np.arange(20)})):
        ticks = picture.figure.axes[0].get_xticks()
        np.testing.assert_array_equal(ticks, np.round(ticks))
    ticks = tl.plot.lines({"a": ([0.0, 0.25, 1.0], [1, 2, 3])}).figure.axes[0].get_xticks()
    assert np.any(ticks != np.round(ticks))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_left_blank(odd, gate):
    gate[2, 0, 1] = odd
    picture = tl.plot.gates(gate)
    assert picture.figure.axes[0].images[0].get_clim() == (0.0, 1.0)
    assert "<svg" in picture.svg
    assert "<svg" in tl.plot.gates(np.full((3, 2), odd)).svg


# ------------------------------------------------------------------------------------------------------- coloured text
def test_text_in_html_can_be_read_and_copied():
    text = "if a < b:\n    print('&')\n"
    values = np.linspace(-2, 2, len(text))
    page = tl.plot.text(text, values, title="<b>").html
    spans = re.findall(
        r'<span style="background:rgb\((\d+) (\d+) (\d+) / ([\d.]+)\)" title="([-\d.]+)">(.*?)</span>', page, re.S
    )
    assert html.unescape("".join(piece for *_, piece in spans)) == text
    assert [float(v) for *_, v, _ in spans] == [round(v, 2) for v in values.tolist()]
    alphas = np.array([float(a) for _, _, _, a, _, _ in spans])
    np.testing.assert_allclose(alphas, np.abs(values) / 2 * 0.7, atol=0.006)
    red_first = [int(r) > int(b) for r, _, b, *_ in spans]
    assert red_first[:3] == [True] * 3 and red_first[-3:] == [False] * 3
    assert "<title>&lt;b&gt;</title>" in page and "<b>" not in page


def test_text_as_a_picture_has_the_colours_behind_the_letters():
    picture = tl.plot.text("ab\ncd", [1.0, 0.0, 0.0, -1.0, 0.5], limit=2.0, columns=4)
    axes = picture.figure.axes[0]
    paper = image(axes)
    np.testing.assert_allclose(paper[..., 3] / 0.7, [[0.5, 0, 0, 0], [0.5, 0.25, 0, 0]], atol=1e-12)
    assert paper[0, 0, 2] > paper[0, 0, 0] and paper[1, 0, 0] > paper[1, 0, 2]  # blue above zero, red below
    assert [t.get_text() for t in axes.texts] == ["ab", "cd"]


def test_text_wraps_words_and_counts_wide_letters_twice():
    axes = tl.plot.text(["one", "two", "three"], [1.0, 0.0, 1.0], columns=8).figure.axes[0]
    assert [t.get_text().replace("\u00a0", " ") for t in axes.texts] == ["one two", "three"]
    wide = tl.plot.text("记忆ab", [1.0, 1.0, 0.0, 1.0], columns=8)
    np.testing.assert_allclose(image(wide.figure.axes[0])[0, :, 3] / 0.7, [1, 1, 1, 1, 0, 1, 0, 0])
    assert [(t.get_text(), t.get_position()[0]) for t in wide.figure.axes[0].texts] == [
        ("记", 0.17),
        ("忆", 2.17),
        ("ab", 4),
    ]
    assert wide.png().startswith(b"\x89PNG")


def test_text_without_values_of_note():
    assert "/ 0.00)" in tl.plot.text("ab", [0.0, np.nan]).html
    assert "<svg" in tl.plot.text("", []).svg


# ---------------------------------------------------------------------------------------------- memory, losses, curves
class Map:
    """Of two states, one that falls by half a step and one that stays."""

    norm = "spectral"

    def __init__(self, steps=60):
        t, k = np.indices((steps, steps))
        self.norms = {"h": np.where(t >= k, 0.5 ** np.maximum(t - k, 0), 0.0), "c": np.where(t >= k, 1.0 + k, 0.0)}
        self.direct = {"h": self.norms["h"] / 2, "c": self.norms["c"] / 4}


def test_memory_is_the_mean_norm_at_every_distance():
    found = Map()
    curves, map = tl.plot.memory(found).figure.axes[:2]
    h, c, alone = (line.get_ydata() for line in curves.lines)
    assert [line.get_label() for line in curves.lines] == ["h", "c", "c, by way of c alone"]
    np.testing.assert_allclose(h[:40], 0.5 ** np.arange(40))
    assert np.isnan(h[40:]).all()  # below 1e-12 nothing is left
    np.testing.assert_allclose(c, [1 + np.arange(60 - d).mean() for d in range(60)])
    np.testing.assert_allclose(alone, c / 4)
    assert "spectral" in curves.get_ylabel() and curves.get_yscale() == "log"
    drawn = map.images[0].get_array()
    lower = np.tri(60, dtype=bool)
    np.testing.assert_allclose(drawn[lower], np.log10(found.norms["c"][lower]))
    assert np.ma.getmaskarray(drawn)[~lower].all()  # the future has no influence
    np.testing.assert_allclose(map.images[0].get_clim(), (-12, np.log10(60)))  # one scale for all maps
    lost = SimpleNamespace(norm="spectral", norms={"h": np.full((3, 3), np.nan)})
    assert tl.plot.memory(lost).figure.axes[1].images[0].get_clim() == (-12, 0)


def test_memories_are_compared_by_their_last_state():
    curves = tl.plot.memory({"RNN": Map(), "LSTM": Map(30)}).figure.axes[0]
    assert [line.get_label() for line in curves.lines] == ["RNN c", "LSTM c"]
    assert len(tl.plot.memory({"RNN": Map()}, state="h").figure.axes[0].lines[0].get_ydata()) == 60


def test_losses_smoothed_and_dotted():
    run = SimpleNamespace(losses=[4.0, 2.0, 1.0], evaluations=[(2, {"loss": 2.5})])
    (axes,) = tl.plot.losses(run, baselines={"guessing": 3.0}).figure.axes
    raw, smooth, dots, level = axes.lines
    np.testing.assert_array_equal(raw.get_ydata(), [4.0, 2.0, 1.0])
    weights = 0.05 * 0.95 ** np.arange(3)[::-1]
    by_hand = [np.dot(weights[-k:], [4.0, 2.0, 1.0][:k]) / weights[-k:].sum() for k in (1, 2, 3)]
    np.testing.assert_allclose(smooth.get_ydata(), by_hand)
    assert (list(dots.get_xdata()), list(dots.get_ydata())) == ([2], [2.5])
    assert list(level.get_ydata()) == [3.0, 3.0] and axes.texts[0].get_text() == "guessing"


def test_evaluations_that_are_no_losses_have_their_own_scale():
    run = SimpleNamespace(
        losses=[4.0, 2.0, 1.0], evaluations=[(2, {"loss": 2.5, "accuracy": 0.5}), (3, {"accuracy": 1.0})]
    )
    plain = SimpleNamespace(losses=[5.0, 4.0], evaluations=[(1, 0.25), (2, np.float32(0.5))])
    above, accuracy, other = tl.plot.losses({"a": run, "b": plain}).figure.axes
    assert [ax.get_ylabel() for ax in (above, accuracy, other)] == ["loss", "accuracy", "evaluation"]
    assert [ax.get_xlabel() for ax in (above, accuracy, other)] == ["", "", "step of training"]
    assert above.get_xlim() == accuracy.get_xlim() == other.get_xlim()  # a step is above itself
    points = [[line.get_xydata().tolist() for line in ax.lines] for ax in (accuracy, other)]
    assert points == [[[[2, 0.5], [3, 1.0]]], [[[1, 0.25], [2, 0.5]]]]
    assert [line.get_xydata().tolist() for line in above.lines if line.get_linestyle() == "None"] == [[[2, 2.5]]]
    assert accuracy.lines[0].get_color() == above.lines[0].get_color() != other.lines[0].get_color()
    both = tl.plot.losses({"a": run, "b": plain}, evaluation="accuracy").figure.axes
    assert [len(ax.lines) for ax in both] == [5, 2]
    (together,) = tl.plot.losses(plain, y_label="bits", evaluation="bits").figure.axes
    assert together.lines[-1].get_xydata().tolist() == [[1, 0.25], [2, 0.5]]
    assert together.lines[-1].get_label() == "held out"


def test_losses_of_what_fit_returns():
    model = tl.nn.Linear(2, 1, seed=0)
    batches = [(np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32))] * 5
    run = tl.fit(
        model, batches, tl.nn.functional.mse_loss, optimizer=tl.optim.SGD(model.parameters(), lr=0.1), progress=False
    )
    lines = tl.plot.losses({"a": run, "b": run.losses}).figure.axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), run.losses)
    np.testing.assert_array_equal(lines[1].get_ydata(), lines[3].get_ydata())


def test_lines_over_their_places():
    axes = tl.plot.lines(
        {"a": ([1, 10, 100], [3, 2, 1]), "b": tl.tensor([5.0, 6.0])}, log_x=True, log_y=True
    ).figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 10, 100])
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), [0, 1])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (
        len({line.get_color() for line in axes.lines}) == len({str(line.get_linestyle()) for line in axes.lines}) == 2
    )


# --------------------------------------------------------------------------------------------------------------- files
def test_the_same_values_give_the_same_bytes(gate, state):
    first, second = pictures(gate, state), pictures(gate, state)
    for name in first:
        assert first[name].svg == second[name].svg, name
        assert first[name].html == second[name].html, name
    assert first["gates"].png() == second["gates"].png()
    assert first["gates"].pdf() == second["gates"].pdf()


def test_the_readers_settings_change_nothing(gate, state):
    plain = pictures(gate, state)["lines"].svg
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert pictures(gate, state)["lines"].svg == plain
        assert dict(matplotlib.rcParams) == before


def test_svg_stands_alone_in_light_and_dark(gate, state):
    for name, picture in pictures(gate, state).items():
        root = ElementTree.fromstring(picture.svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.attrib["aria-label"] == picture.title, name
        style = picture.svg.split("<style>", 1)[1].split("</style>", 1)[0]
        assert "prefers-color-scheme: dark" in style
        for colour in set(
            re.findall(r"(?:fill|stroke): (#(?:1d1d1f|6e6e73|d9dce3|ffffff))", picture.svg.split("</style>", 1)[1])
        ):
            assert f": {colour}" in style, f"{name}: {colour} has no counterpart in the dark"
        assert "date" not in picture.svg.lower().split("<style>")[0]
        assert not re.search(r"(?:href|src)=\"http", picture.svg), "needs the network"


@pytest.mark.parametrize(
    ("suffix", "head"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("html", b"<!DOCTYPE html>")]
)
def test_save(tmp_path, suffix, head):
    picture = tl.plot.lines({"a": [1, 2]}, title="two points")
    path = picture.save(tmp_path / f"a.{suffix}")
    assert path.read_bytes().startswith(head)
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{suffix}"]
    assert picture._repr_mimebundle_()["image/svg+xml"] == picture.svg
    assert repr(picture) == "<plot of two points>"


ODD = "a\x00b\x0cc\x1bd\ufffee\ud800f"
SEEN = "a\u2400b\u240cc\u241bd\ufffde\ufffdf"
DOLLARS = r"$x_{ to $20, \$5"


def drawings(name):
    """Every place of every plot that a name of the user's comes to."""
    levels = {f"{name} level": 1.0}
    layer = tl.nn.Recurrent(tl.cells.rnn, input=2, hidden=3, seed=0)
    seen = tl.memory_map(layer, np.ones((4, 2), np.float32))
    return {
        "gates": (tl.plot.gates({name: np.eye(2)}, over=[name, "b"], labels=[name, "b"], title=f"{name} title"), 4),
        "text": (tl.plot.text([name, "b"], [1.0, -1.0], title=f"{name} title"), 2),
        "memory": (tl.plot.memory({name: seen, "b": seen}, title=f"{name} title"), 2),
        "losses": (tl.plot.losses({name: [1, 2], "b": [1, 2]}, baselines=levels, y_label=name, title=f"{name} title"), 4),
        "lines": (tl.plot.lines({name: [1, 2], "b": [1, 2]}, levels=levels, x_label=name, y_label=name, log_y=True, title=f"{name} title"), 5),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "shown"), [(ODD, SEEN), (DOLLARS, DOLLARS), ("cost in $ and $", "cost in $ and $")])
def test_names_are_shown_letter_by_letter(name, shown):
    for kind, (drawn, times) in drawings(name).items():
        words = "".join(" ".join(ElementTree.fromstring(drawn.svg).itertext()).split()).replace("\u00a0", "")
        assert words.count(shown.replace(" ", "")) == times, kind
        assert drawn.title == f"{shown} title"
        assert f"<title>{html.escape(shown)} title</title>".encode() in drawn.html.encode()
        assert drawn.png(dpi=20).startswith(b"\x89PNG") and drawn.pdf().startswith(b"%PDF")


def test_a_logarithmic_axis_has_powers():
    words = "".join(ElementTree.fromstring(tl.plot.lines({"a": [1, 1000]}, log_y=True).svg).itertext())
    assert "$" not in words and "mathdefault" not in words


def covered(drawn):
    """The curves behind a legend."""
    drawn.png()
    ax = drawn.figure.axes[0]
    (legend,) = [held for held in [*drawn.figure.legends, ax.get_legend()] if held is not None]
    box = legend.get_window_extent()
    curves = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    return [c.get_label() for c in curves if c.get_path().transformed(c.get_transform()).intersects_bbox(box, False)]


def test_a_legend_covers_no_curve():
    t = np.arange(200)
    levels = (0.0, 0.1, 0.3, 0.5, 0.86)
    full = tl.plot.lines({f"at {y}": y + (0.3 - y) * 0.8**t for y in levels}, marks=False)
    assert covered(full) == [] and full.figure.legends
    free = tl.plot.lines({"a": 0.5**t, "b": 0.4**t}, levels={"level": 0.9}, marks=False)
    assert covered(free) == [] and not free.figure.legends


def test_many_curves_are_told_apart():
    curves = {str(k): [1.0, 2.0] for k in range(36)}
    for drawn, every in ((tl.plot.lines(curves), 1), (tl.plot.losses(curves), 2)):
        found = drawn.figure.axes[0].get_lines()[every - 1 :: every]
        assert len({(line.get_color(), str(line._dash_pattern)) for line in found}) == 36


# -------------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: tl.plot.gates(np.zeros((3, 2)), over="ab"), tl.ShapeError, "there are 3 steps, and 2 words over them"),
        (lambda: tl.plot.gates(np.zeros((3, 2)), over=[1.0, 2.0]), tl.ShapeError, "3 steps, and 2 numbers over them"),
        (lambda: tl.plot.gates(np.zeros((3, 2)), over=np.zeros((3, 2))), tl.ShapeError, "one number a step"),
        (lambda: tl.plot.gates({"f": np.zeros((3, 2)), "c": np.zeros((4, 2))}), tl.ShapeError, "c has 4, not 3"),
        (lambda: tl.plot.gates(np.zeros((3, 2)), units=[2]), tl.ShapeError, "value has units 0 to 1, not 2"),
        (lambda: tl.plot.gates(np.zeros((3, 2)), units=[]), tl.ShapeError, "none chosen"),
        (lambda: tl.plot.gates(np.zeros((3, 5, 2)), sample=5), tl.ShapeError, "there is no sample 5 of 5"),
        (lambda: tl.plot.gates(np.zeros((0, 2))), tl.ShapeError, "value is (steps, units) or (steps, batch, units)"),
        (lambda: tl.plot.gates(np.zeros((3, 2)), labels=["a"]), tl.ShapeError, "value has 2 rows and 1 labels"),
        (lambda: tl.plot.gates({}), tl.ArgumentError, "there is no value to show"),
        (lambda: tl.plot.gates("f"), tl.ArgumentError, "value must be numbers"),
        (lambda: tl.plot.text("abc", [1.0]), tl.ShapeError, "3 characters take as many values"),
        (lambda: tl.plot.text(["a"], [[1.0, 2.0]]), tl.ShapeError, "one unit of one sequence"),
        (lambda: tl.plot.text("a", [1.0], limit=0), tl.ArgumentError, "limit is a positive number"),
        (lambda: tl.plot.text(["abcdef"], [1.0], columns=5), tl.ArgumentError, "'abcdef' is wider than 5 columns"),
        (lambda: tl.plot.memory(np.zeros((3, 3))), tl.ArgumentError, "takes what tl.memory_map returns"),
        (lambda: tl.plot.memory(Map(), state="g"), tl.ArgumentError, "it has: h, c"),
        (lambda: tl.plot.losses([]), tl.ShapeError, "at least one"),
        (lambda: tl.plot.losses({"a": "b"}), tl.ArgumentError, "a must be numbers"),
        (lambda: tl.plot.losses({}), tl.ArgumentError, "there is no run to show"),
        (lambda: tl.plot.lines({"a": ([1, 2], [1])}), tl.ShapeError, "a: x and y are lists of one length"),
        (lambda: tl.plot.lines({}), tl.ArgumentError, "there is no curve to show"),
        (lambda: tl.plot.lines([1, 2]), tl.ArgumentError, "takes curves by name"),
        (lambda: tl.plot.lines({"a": 5}), tl.ShapeError, "a: x and y are lists of one length"),
        (lambda: tl.plot.lines({"a": (1, 2)}), tl.ShapeError, "a: x and y are lists of one length"),
        (lambda: tl.plot.gates(np.zeros((3, 2)), units=3), tl.ArgumentError, "units are whole numbers"),
        (lambda: tl.plot.gates(np.zeros((3, 2)), units=[1.5]), tl.ArgumentError, "units=[0, 3]"),
        (lambda: tl.plot.gates(np.zeros((3, 5, 2)), sample=1.0), tl.ArgumentError, "sample is a whole number"),
        (lambda: tl.plot.text("abc", [1, 2, 3], columns=2.5), tl.ArgumentError, "columns is a whole number"),
        (lambda: tl.plot.text("", [], columns=0), tl.ArgumentError, "columns is at least 1"),
        (lambda: tl.plot.text("a", [1.0], limit="b"), tl.ArgumentError, "limit is a positive number"),
        (lambda: tl.plot.lines({"a": [1]}).save(None), tl.ArgumentError, "takes the path of a file"),
        (lambda: tl.plot.lines({"a": [1]}).save("a.jpg"), tl.ArgumentError, ".svg .png .pdf .html"),
        (lambda: tl.plot.lines({"a": [1]}).save("no/such/folder/a.svg"), tl.FileError, "make it first"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(tl.MissingExtra, match=r"tl.plot needs matplotlib: pip install 'tinygrad_lstm\[plot\]'"):
        tl.plot.lines({"a": [1, 2]})
    with pytest.raises(tl.MissingExtra, match="matplotlib"):
        tl.plot.check()


@pytest.mark.parametrize("name", ["gates", "text", "memory", "losses", "lines", "check"])
def test_examples_of_the_docstrings_run(name):
    function = getattr(tl.plot, name)
    parsed = doctest.DocTestParser().get_doctest(
        inspect.cleandoc(function.__doc__), {"tl": tl, "np": np}, name, None, 0
    )
    assert parsed.examples
    assert doctest.DocTestRunner().run(parsed).failed == 0
