"""Pictures: what is in them, that no wire runs through a box, that they grow with nothing but what they show."""

import doctest
import html
import re
import runpy
import shutil
import subprocess
import time
import xml.dom.minidom
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import cells, exp, maximum, sigmoid, tanh, where
from tinygrad_lstm.drawing import draw, render
from tinygrad_lstm.drawing.block import block, joins
from tinygrad_lstm.drawing.computation import Period, periods, summary
from tinygrad_lstm.drawing.language import plain
from tinygrad_lstm.drawing.memory import Memory, half

BUILT_IN = [c for c in vars(cells).values() if hasattr(c, "graph")]
FAMILIES = {"W": "hidden input", "U": "hidden hidden", "b": "hidden"}


# ------------------------------------------------------------------------------------------------ cells of a user's own
@tl.cell(x="input", h="hidden", c="hidden", n="hidden", m="hidden", **FAMILIES)
def slstm(x, /, h, c, n, m, *, W, U, b):
    """Beck et al. 2024: three states run along the top."""
    z = tanh(W.z @ x + U.z @ h + b.z)
    log_i = W.i @ x + U.i @ h + b.i
    log_f = W.f @ x + U.f @ h + b.f
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    top = maximum(log_f + m, log_i)
    i, f = exp(log_i - top), exp(log_f + m - top)
    c, n, m = f * c + i * z, f * n + i, top
    h = o * (c / n)
    return h, c, n, m


@tl.cell(x="input", gap="one", h="hidden", D="hidden one", **FAMILIES)
def timed(x, gap, /, h, *, W, U, b, D):
    """Two inputs; the old state is used only after it has decayed."""
    decay = exp(-tl.relu(D.h @ gap + b.d))
    h = decay * h
    z = sigmoid(W.z @ x + U.z @ h + D.z @ gap + b.z)
    h = (1 - z) * h + z * tanh(W.n @ x + U.n @ h + b.n)
    return h


@tl.cell(x="input", h="hidden", c="hidden", **FAMILIES)
def crossed(x, /, h, c, *, W, U, b):
    """The states change places."""
    a = tanh(W.a @ x + U.a @ h + b.a)
    return c, a


@tl.cell(x="hidden", h="hidden")
def average(x, /, h):
    """Nothing to learn."""
    return 0.5 * h + 0.5 * x


@tl.cell(x="input", h="hidden", g="hidden", k="hidden", **FAMILIES)
def attentive(x, /, h, g, k, *, W, U, b):
    """A softmax over the units, a choice, three states."""
    a = W.a @ x + U.a @ h
    e = exp(a - tl.max(a, axis=-1, keepdims=True))
    p = e / tl.sum(e, axis=-1, keepdims=True)
    s = sigmoid(W.s @ x + U.s @ g + b.s) * sigmoid(U.q @ k + b.q)
    g = where(s > 0.5, p * g, h)
    k = k * s + p
    h = tanh(g) - k * k
    return h, g, k


@tl.cell(x="input", h="hidden", R="out hidden", V="hidden input", **FAMILIES)
def wide(x, /, h, *, W, U, b, R, V):
    """Twelve gates on one state, and an output that is no state."""
    for n in "abcdefghijkl":
        h = h * sigmoid(getattr(W, n) @ x + getattr(U, n) @ h + getattr(b, n))
    h = h + tanh(V @ x)
    return R @ h, h


@tl.cell(x="input", h="hidden", z="hidden", y="hidden", **FAMILIES)
def shifted(x, /, h, z, y, *, W, U, b):
    """States that move on, all of them read by one layer."""
    new = tanh(W @ x + U.h @ h + U.z @ z + U.y @ y + b)
    return new, h, z


@tl.cell(x="input", h="hidden", z="hidden", y="hidden", q="hidden", **FAMILIES)
def delayed(x, /, h, z, y, q, *, W, U, b):
    """The last of four states is the one that is read."""
    new = tanh(W @ x + U @ q + b)
    return new, h, z, y


@tl.cell(x="input", y="input", h="hidden", z="hidden", V="hidden input", **FAMILIES)
def swapped(x, y, /, h, z, *, W, U, V, b):
    """Two inputs; the states change places."""
    new = tanh(W @ x + V @ y + U.h @ h + U.z @ z + b)
    return z, new


@tl.cell(x="n", p="n", q="n", r="n", s="n", t="n", **{"W": "n n", "U": "n n", "b": "n"})
def restless(x, /, p, q, r, s, t, *, W, U, b):
    """Five states: one stays, three move, the last is made of the first two."""
    g = tanh(W @ x + U @ p + b)
    return r, q, p, t, g * tanh(q)


OWN = [slstm, timed, crossed, average, attentive, wide, shifted, delayed, swapped, restless]
CELLS = [*BUILT_IN, *OWN]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)


def parts(cell):
    return {p.name or p.label: p for p in block(cell.graph).parts}


# ------------------------------------------------------------------------------------------------------------- reading
def test_lstm_is_read_as_in_the_textbook():
    read = block(cells.lstm.graph)
    assert [(p.name, p.label) for p in read.parts if p.kind == "layer"] == [
        ("i", "σ"),
        ("f", "σ"),
        ("g", "tanh"),
        ("o", "σ"),
    ]
    assert sorted(p.label for p in read.parts if p.kind == "pointwise") == sorted(["×", "×", "×", "+", "tanh"])
    assert [p.label for p in read.carried[1]] == ["×", "+"]  # the cell state runs along the top
    assert 0 not in read.carried
    (join,) = joins(read)
    assert [p.name for p in join.sources] == ["h", "x"]
    assert sum(join in p.sources for p in read.parts) == 4


def test_rnn_is_one_layer():
    (layer,) = block(cells.rnn.graph).parts
    assert (layer.kind, layer.label, [s.name for s in layer.sources]) == ("layer", "tanh", ["x", "h"])


def test_a_product_of_elements_with_a_parameter_is_a_wire_into_the_layer():
    read = {p.name: p for p in block(cells.lstm_peephole.graph).parts if p.name}
    assert [s.name for s in read["f"].sources] == ["x", "h", "c"]
    assert read["o"].sources[-1] is read["c"]  # the output gate looks at the new cell state


def test_normalised_sums_stay_layers_and_the_normalised_state_is_one_sign():
    read = block(cells.lstm_layernorm.graph)
    assert [(p.name, p.note) for p in read.parts if p.kind == "layer"] == [(n, "norm") for n in "ifgo"]
    assert sorted(p.label for p in read.parts if p.kind == "pointwise") == sorted(["×", "×", "×", "+", "norm", "tanh"])


def test_softmax_written_out_is_one_sign():
    assert parts(attentive)["p"].label == "softmax"
    assert [s.name for s in parts(attentive)["p"].sources] == ["a"]


def test_several_states_run_along_the_top():
    read = block(slstm.graph)
    assert {read.states[k].name: [p.label for p in way] for k, way in read.carried.items()} == {
        "c": ["×", "+"],
        "n": ["×", "+"],
        "m": ["+", "max"],
    }


# ------------------------------------------------------------------------------------------------------------- geometry
def runs(points):
    for (a, b), (c, d) in pairwise(points):
        assert a == c or b == d, "a wire is made of level and upright runs"
        length = max(abs(c - a), abs(d - b))
        step = ((c > a) - (c < a), (d > b) - (d < b))
        yield from (
            ((a + k * step[0], b + k * step[1]), (a + (k + 1) * step[0], b + (k + 1) * step[1])) for k in range(length)
        )


@each_cell
def test_no_wire_runs_through_a_box_or_along_another(cell):
    memory = Memory(cell)
    assert memory.stray == []
    boxes = {}
    for p in memory.block.parts:
        (x, y), (dx, dy) = memory.at[id(p)], half(p)
        for a in range(x - dx, x + dx + 1):
            for b in range(y - dy, y + dy + 1):
                assert (a, b) not in boxes, f"{p} and {boxes[a, b]} overlap"
                boxes[a, b] = p
    owner = {}
    for wire in memory.wires:
        edges = list(runs(wire.points))
        for a, b in edges:
            key = (min(a, b), max(a, b))
            assert owner.setdefault(key, wire.source) is wire.source, (
                f"{wire.source} and {owner[key]} lie on each other"
            )
        inner = {a for a, _ in edges[1:]}
        assert all(boxes.get(point) is None for point in inner), f"{wire.source} -> {wire.target} runs through a box"


@each_cell
def test_states_run_level_and_time_goes_right(cell):
    memory = Memory(cell)
    for k, way in memory.block.carried.items():
        assert len({memory.at[id(p)][1] for p in way} | {memory.levels[k]}) == 1
        columns = [memory.at[id(p)][0] for p in way]
        assert columns == sorted(set(columns))
    for p in memory.block.parts:
        for s in p.sources:
            if s in memory.block.parts and p.kind == "layer":
                assert memory.at[id(s)][0] < memory.at[id(p)][0]


@each_cell
def test_every_value_reaches_its_readers(cell):
    memory = Memory(cell)
    wanted = {(id(s), id(p)) for p in [*memory.joins, *memory.block.parts] for s in p.sources}
    drawn = {(id(w.source), id(w.target)) for w in memory.wires if not isinstance(w.target, tuple)}
    assert drawn == wanted
    ends = {w.target for w in memory.wires if isinstance(w.target, tuple)}
    assert ends == {("output", 0), *(("state", k) for k in range(len(cell.states)))}


# ------------------------------------------------------------------------------------------------------- cells as text
def texts(drawing):
    document = xml.dom.minidom.parseString(drawing.svg.encode())
    return [
        "".join(t.data for t in node.childNodes).replace("\xa0", " ").replace("\u200b", "").strip()
        for node in document.getElementsByTagName("text")
    ]


@each_cell
@pytest.mark.parametrize(
    "options", [{}, {"rolled": True}, {"steps": 3}, {"steps": 3, "detail": True}, {"equations": True}], ids=str
)
def test_every_cell_draws_in_every_way(cell, options):
    light, dark = draw(cell, **options), draw(cell, theme="dark", **options)
    shown = texts(light)
    for name in cell.inputs:
        assert plain(name, 7) in shown
    assert light.dot == draw(cell, **options).dot, "the same cell gives the same text"
    assert light.svg != dark.svg
    assert texts(dark) == shown


def test_highlight_shows_the_part_and_its_equation():
    drawing = draw(cells.lstm, highlight="f")
    assert "".join(texts(drawing)).replace(" ", "").endswith("ft=σ(Wfxt+Ufht−1+bf)")
    colours = re.findall(r'^  "f 1" \[.*color="(#\w+)", penwidth=(\d)', drawing.dot, re.M)
    assert colours == [("#c2410c", "2")]
    assert re.findall(r'^  "o 3" \[.*penwidth=([\d.]+)', drawing.dot, re.M) == ["1.2"]
    lit = re.findall(r'"([^"]+)" -> "([^"]+)" \[[^\]]*color="#c2410c"', drawing.dot)
    assert sorted(lit) == [("input x", "join 0"), ("join 0", "f 1"), ("state h", "join 0")]


def test_highlight_of_several_and_of_a_state():
    both = draw(cells.lstm, highlight=["i", "g"])
    assert [t for t in texts(both) if "tanh(" in t]
    new = draw(cells.lstm, highlight="c")
    lit = re.findall(r'-> "([^"]+)" \[[^\]]*color="#c2410c"', new.dot)
    assert "new c" in lit and "new h" not in lit and not any("join" in t for t in lit)


def test_normalisation_is_one_function_in_the_equation():
    assert (
        "".join(texts(draw(cells.lstm_layernorm, highlight="f")))
        .replace(" ", "")
        .endswith("ft=σ(norm(Wfxt+Ufht−1)×γf+bf)")
    )


def test_unrolled_shows_every_step_and_folds_many():
    shown = texts(draw(cells.gru, steps=4))
    assert shown.count("gru") == 4
    assert draw(cells.gru, steps=4).dot.count(" -> ") == 4 + 4 + 5  # inputs, outputs, states
    many = draw(cells.gru, steps=100_000)
    assert "…" in texts(many) and "99999" in texts(many)
    assert len(many.dot) < 2 * len(draw(cells.gru, steps=4).dot)


def test_rolled_has_a_loop_for_every_state():
    assert draw(cells.lstm, rolled=True).dot.count('"step" -> "step"') == 2


# --------------------------------------------------------------------------------------------------------- computations
def simple_loss(steps, dtype=np.float64):
    W, U = (tl.tensor(np.full((2, 2), 0.1), requires_grad=True, name=n) for n in "WU")
    h, hs = tl.tensor(np.zeros((1, 2))), []
    for t in range(steps):
        h = tl.tanh(tl.tensor(np.full((1, 2), float(t))) @ W + h @ U)
        hs.append(h)
    return (tl.stack(hs) ** 2).sum()


def test_a_computation_shows_operations_shapes_values_and_gradients():
    x = tl.tensor(np.array([[1.0, 2.0]]), requires_grad=True, name="x")
    loss = (x * 3.0).sum()
    before = draw(loss)
    assert "gradient" not in before.dot
    loss.backward()
    shown = texts(draw(loss))
    assert {"x", "× 3", "sum", "1×2 float64", "[1, 2]", "[3, 6]", "9", "gradient [3, 3]"} <= set(shown)
    assert "[1, 2]" not in texts(draw(loss, values=False))
    assert "gradient [3, 3]" not in texts(draw(loss, gradients=False))


def test_a_leaf_read_many_times_is_drawn_once():
    x = tl.tensor([2.0], requires_grad=True, name="x")
    drawing = draw(x * x + x)
    assert texts(drawing).count("x") == 1
    assert drawing.dot.count(" -> ") == 4  # x twice into the product, x and the product into the sum


@pytest.mark.parametrize("steps", [5, 50, 500])
def test_time_folds_and_the_picture_does_not_grow(steps):
    drawing = draw(simple_loss(steps))
    shown = texts(drawing)
    assert sorted(t for t in shown if t.startswith("step")) == sorted(
        ["step 0", "step 1", f"step {steps - 1}", f"steps 2 to {steps - 2}"]
    )
    assert shown.count("tanh") == 3
    assert drawing.dot.count("\n") == draw(simple_loss(7)).dot.count("\n")


def test_few_steps_are_framed_and_none_is_folded():
    shown = texts(draw(simple_loss(4)))
    assert [t for t in sorted(shown) if t.startswith("step")] == ["step 0", "step 1", "step 2", "step 3"]
    assert shown.count("tanh") == 4


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_time_goes_right_and_steps_stand_side_by_side(direction):
    for steps in (4, 9):
        document = xml.dom.minidom.parseString(draw(simple_loss(steps), direction=direction).svg.encode())
        frames = {}
        for group in document.getElementsByTagName("g"):
            title = "".join(n.firstChild.data for n in group.getElementsByTagName("title")[:1])
            if group.getAttribute("class") == "cluster":
                (outline,) = group.getElementsByTagName("path")
                xs = [float(x) for x in re.findall(r"(-?[\d.]+),", outline.getAttribute("d"))]
                frames[int(title.split()[2])] = (min(xs), max(xs))
        places = [frames[t] for t in sorted(frames)]
        assert len(places) == (4 if steps == 4 else 3)
        assert all(a[1] <= b[0] for a, b in pairwise(places))


def test_unfolded_text_is_linear_in_the_values():
    short, long = (len(draw(simple_loss(n), fold=None).dot) for n in (200, 800))
    assert 3.5 < long / short < 4.5


def test_a_deep_unrolling_draws():
    began = time.perf_counter()
    drawing = draw(simple_loss(10_000))
    assert "steps 2 to 9998" in texts(drawing)
    assert len(drawing.svg) < 60_000
    assert time.perf_counter() - began < 30  # seconds; about 1 where nothing else runs


def test_depth_cuts_and_says_so():
    y = tl.tensor([1.0], requires_grad=True, name="start")
    for _ in range(5):
        y = tl.sin(tl.cos(y))
    shown = texts(draw(y, depth=2))
    assert shown.count("sin") == 2 and shown.count("cos") == 1 and "…" in shown and "start" not in shown


def test_directions():
    x = tl.tensor([1.0], requires_grad=True)
    y = tl.tanh(x * tl.tensor([2.0]))
    assert draw(y, direction="both").dot.count(" -> ") == 3 + 2  # no gradient flows to the constant
    backward = draw(y, direction="backward")
    assert backward.dot.count('dir="back"') == 2 and "constant" not in texts(backward)


def test_several_roots_and_a_bare_leaf():
    x = tl.tensor([1.0], name="x")
    assert "x" in texts(draw(x))
    y = tl.tensor([1.0], requires_grad=True)
    assert {"sin", "cos"} <= set(texts(draw([tl.sin(y), tl.cos(y)])))


@pytest.mark.parametrize(
    "sequence, found",
    [
        ("abcabcabcabc", [Period(0, 3, 4)]),
        ("zzabcabcabcy", [Period(2, 3, 3)]),
        ("abcdefghijkl", []),
        ("aaaaaaaaaaaa", [Period(0, 1, 12)]),
        ("ababababxyzxyzxyz", [Period(0, 2, 4), Period(8, 3, 3)]),
        ("", []),
    ],
)
def test_periods(sequence, found):
    numbers = np.array([ord(c) for c in sequence], dtype=np.int64)
    assert periods(numbers, numbers) == found


def test_the_first_step_is_known_by_its_operations():
    kinds = np.array([1, 2, 3] * 5)
    signatures = kinds.copy()
    signatures[1] = 9  # it reads the first state
    assert periods(signatures, kinds) == [Period(0, 3, 5)]


@pytest.mark.parametrize(
    "array, words",
    [
        (np.float32(1.5), "1.5"),
        (np.array([1.0, -2.0]), "[1, −2]"),
        (np.arange(10.0), "0 … 4.5 … 9"),
        (np.array([np.nan] * 3 + [1.0] * 5), "1 … 1 … 1, 3 not finite"),
        (np.full(9, np.inf), "9 not finite"),
        (np.array([]), "empty"),
        (np.arange(10) < 3, "3 of 10 true"),
        (np.full(8, 1e300), "1e+300 … 1e+300 … 1e+300"),
    ],
)
def test_summary(array, words):
    assert summary(array) == words


def test_an_operation_with_several_results_draws():
    layer = tl.nn.LSTM(3, 4, num_layers=2)
    out, _ = layer(tl.tensor(np.ones((6, 2, 3), np.float32)))
    loss = (out**2).mean()
    loss.backward()
    shown = texts(draw(loss))
    assert {"mean", "lstm over time"} <= set(shown) or any("over time" in t for t in shown)
    assert any(t.startswith("gradient") for t in shown)


# -------------------------------------------------------------------------------------------------------------- modules
def test_modules_with_their_parameter_counts():
    model = tl.nn.Sequential(tl.nn.Linear(3, 4), tl.nn.Dropout(0.5), tl.nn.Linear(4, 2))
    shown = texts(draw(model))
    assert {
        "Sequential",
        "Linear",
        "26 parameters",
        "16 parameters",
        "10 parameters",
        "nothing to learn",
        "weight  (4, 3)",
    } <= set(shown)
    assert draw(model).dot.count(" -> ") == 2
    assert "Linear" not in " ".join(texts(draw(model, depth=0)))


# ---------------------------------------------------------------------------------------------------- letters and files
HOSTILE = [
    '"',
    "\\",
    "<b>&amp;</b>",
    "]]>",
    "a\nb",
    "\x00\x1b",
    "\ud800",
    "中文 门",
    "😀",
    "<",
    "<table>",
    "&",
    "}",
    "x" * 10_000,
    "",
    "\\N",
    "<script>",
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda n: ascii(n[:12]))
def test_every_name_survives(name):
    x = tl.tensor([1.0, 2.0], requires_grad=True, name=name)
    y = x * x
    y.name = name
    drawing = draw(y)
    if name:
        assert plain(name).strip() in texts(drawing)
        assert max(map(len, texts(drawing))) <= 300
    assert "<script>" not in drawing.html.replace(page_script(drawing), "")


def page_script(drawing):
    return re.search(r"<script>\n.*?</script>", drawing.html, re.S).group()


def test_plain():
    assert plain("a" * 300) == "a" * 300
    assert plain("a" * 301) == "a" * 299 + "…"
    assert plain("a\nb\x00") == "a b "


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs the program dot of Graphviz")
@pytest.mark.parametrize("cell", [cells.lstm, slstm], ids=lambda c: c.name)
def test_the_text_is_valid_for_graphviz_and_says_where_things_are(cell):
    for drawing in (draw(cell), draw(cell, steps=2), draw(cell, rolled=True), draw(simple_loss(6)), draw.legend()):
        done = subprocess.run(["dot", "-Tsvg"], input=drawing.dot.encode(), capture_output=True, check=True)
        theirs = xml.dom.minidom.parseString(done.stdout)
        ours = xml.dom.minidom.parseString(drawing.svg.encode())
        for kind in ("ellipse", "polygon"):
            assert len(theirs.getElementsByTagName(kind)) == len(ours.getElementsByTagName(kind))


def test_files_of_every_kind(tmp_path):
    drawing = draw(cells.gru, highlight="z")
    starts = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF-1.4", ".dot": b"digraph", ".html": b"<!doctype html>"}
    for suffix, start in starts.items():
        path = drawing.save(tmp_path / f"picture{suffix}")
        assert path.read_bytes().startswith(start)
        again = tmp_path / f"again{suffix}"
        draw(cells.gru, highlight="z").save(again)
        assert again.read_bytes() == path.read_bytes(), "the same input gives the same bytes"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f"{n}{s}" for n in ("picture", "again") for s in starts]
    )
    small, large = (len(drawing.png(dpi)) for dpi in (48, 192))
    assert small < large


def test_pdf_holds_the_words_and_a_right_table_of_places():
    data = draw(cells.lstm).pdf()
    for k, place in enumerate(re.findall(rb"(\d{10}) 00000 n", data), 1):
        assert data[int(place) :].startswith(b"%d 0 obj" % k)
    stream = zlib.decompress(re.search(rb"stream\n(.*?)\nendstream", data, re.S).group(1))
    assert stream.count(f"<{b'tanh'.hex()}> Tj".encode()) == 2
    assert b"<73> Tj" in stream  # sigma, in the font Symbol


def test_pdf_with_chinese_letters_holds_no_hour():
    if shutil.which("dot") is None:
        pytest.skip("letters that the embedded fonts lack are set by a dot on PATH")
    assert b"/CreationDate (D:19700101000000Z" in draw(chinese).pdf()


def test_without_a_dot_program_everything_works(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for drawing in (draw(cells.lstm), draw(tl.tensor([1.0], requires_grad=True, name="门") * 2)):
        for suffix in (".svg", ".png", ".pdf", ".html"):
            assert drawing.save(tmp_path / f"a{suffix}").stat().st_size > 500


def test_without_any_engine_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(render, "embedded", lambda: None)
    monkeypatch.setenv("PATH", "")
    drawing = draw(cells.rnn)
    assert drawing.dot.startswith("digraph")
    with pytest.raises(tl.FileError, match="pip install graphviz-pure"):
        drawing.svg  # noqa: B018


def test_a_notebook_gets_the_svg():
    bundle = draw(cells.rnn)._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"] == "<drawing of rnn>"


def test_the_legend_names_every_sign():
    shown = " ".join(texts(draw.legend()))
    for words in (
        "learned layer",
        "pointwise operation",
        "input",
        "output",
        "parameter",
        "concatenated",
        "several places",
    ):
        assert words in shown
    assert draw.legend("dark").svg != draw.legend().svg


@pytest.mark.parametrize("documented", [type(draw), render.Drawing], ids=lambda d: d.__name__)
def test_the_examples_in_the_docstrings(documented):
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder().find(documented, globs={"tl": tl, "np": np}):
        runner.run(example)
    assert runner.summarize().attempted > 0
    assert runner.summarize().failed == 0


def test_the_gallery_is_what_the_library_draws():
    folder = Path(__file__).parent.parent / "docs" / "gallery"
    build = runpy.run_path(str(folder / "build.py"))
    pictures = build["pictures"]()
    assert sorted(p.name for p in folder.glob("*.svg")) == sorted(pictures)
    for name, picture in pictures.items():
        assert (folder / name).read_text(encoding="utf-8") == picture.svg, f"{name}: run docs/gallery/build.py"
    assert (folder / "README.md").read_text(encoding="utf-8") == build["text"]()


# ------------------------------------------------------------------------------------------------------------- bad calls
SCALAR = tl.tensor([1.0], requires_grad=True) * 2


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: draw(3), tl.ArgumentError, "cannot draw number 3"),
        (lambda: draw([]), tl.ArgumentError, "cannot draw"),
        (lambda: draw(tl.nn.Linear), tl.ArgumentError, r"cannot draw the class Linear\n  make one of it first"),
        (lambda: draw(cells.lstm, highlight="q"), tl.ArgumentError, r"no quantity 'q'.*\n.*it has: i, f, g, o, c, h"),
        (lambda: draw(cells.lstm, highlight=3), tl.ArgumentError, "highlight is a name"),
        (lambda: draw(cells.lstm, steps=0), tl.ArgumentError, "at least 1"),
        (lambda: draw(cells.lstm, steps=2.5), tl.ArgumentError, "number of steps"),
        (lambda: draw(cells.lstm, steps=2, rolled=True), tl.ArgumentError, "either rolled or unrolled"),
        (lambda: draw(cells.lstm, steps=2, highlight="f"), tl.ArgumentError, "leave out"),
        (lambda: draw(cells.lstm, theme="blue"), tl.ArgumentError, "no theme 'blue'.*\n.*light, dark"),
        (lambda: draw(cells.lstm, colour="red"), tl.ArgumentError, "a cell is not drawn with colour="),
        (lambda: draw(SCALAR, steps=3), tl.ArgumentError, "a computation is not drawn with steps="),
        (lambda: draw(SCALAR, fold="space"), tl.ArgumentError, "fold is 'time' or None"),
        (lambda: draw(SCALAR, direction="up"), tl.ArgumentError, "direction is"),
        (lambda: draw(SCALAR, depth=-1), tl.ArgumentError, "depth is a number"),
        (lambda: draw(tl.nn.Linear(2, 2), depth="a"), tl.ArgumentError, "depth is a number of levels"),
        (lambda: draw(cells.rnn).save("picture.bmp"), tl.ArgumentError, "'picture.bmp' does not end in a known suffix"),
        (lambda: draw(cells.rnn).save("picture"), tl.ArgumentError, ".svg .png .pdf .dot .html"),
        (lambda: draw(cells.rnn).save("nowhere/at/all.svg"), tl.FileError, "'nowhere/at' does not exist"),
        (lambda: draw(cells.rnn).save("n" * 300 + "/a.svg"), tl.FileError, "does not exist"),
        (lambda: draw(cells.rnn).save("n" * 300 + ".svg"), tl.FileError, "cannot write .*too long"),
        (lambda: draw(cells.rnn).save("\0.svg"), tl.FileError, "cannot write .*null"),
        (lambda: draw(cells.rnn).save(3), tl.ArgumentError, "takes a path"),
        (lambda: draw(cells.rnn).png(dpi=0), tl.ArgumentError, "positive"),
    ],
)
def test_bad_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_folder_or_a_place_without_permission(tmp_path, monkeypatch):
    (tmp_path / "a.svg").mkdir()
    with pytest.raises(tl.FileError, match=r"a\.svg' is a folder"):
        draw(cells.rnn).save(tmp_path / "a.svg")
    with pytest.raises(tl.FileError, match=r"the folder .*test_drawing.py. does not exist"):
        draw(cells.rnn).save(Path(__file__) / "a.svg")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(render.tempfile, "mkstemp", refuse)
    with pytest.raises(tl.FileError, match=r"cannot write to .*Permission denied"):
        draw(cells.rnn).save(tmp_path / "b.svg")
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.svg"
    path.write_text("old")
    monkeypatch.setattr(
        render.os, "replace", lambda a, b: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(tl.FileError, match=r"cannot write .*No space left"):
        draw(cells.rnn).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"] and path.read_text() == "old"


# -------------------------------------------------------------------------------- pictures say what the equations say
WEIGHTS = {"x": "input", "h": "hidden", "W": "hidden input", "U": "hidden hidden"}


def lines_of(cell, **options):
    """The equations of a picture without spaces, one a line."""
    drawing = draw(cell, **{"equations": True, **options})
    labels = re.findall(r'^  "equation \d+" \[label=<(.*?)>, pos=', drawing.dot, re.M)
    return [html.unescape(re.sub(r"<[^>]*>|\s", "", label)).replace("\u00a0", "") for label in labels]


@tl.cell(**WEIGHTS)
def scaled(x, /, h, *, W, U):
    a = tanh(W @ x + U @ h)
    return 0.5 * h + a * exp(-tl.mean(a, axis=-1, keepdims=True))


@tl.cell(**WEIGHTS)
def shared_out(x, /, h, *, W, U):
    a = tanh(W @ x + U @ h)
    return a / (1 + tl.sum(a, axis=-1, keepdims=True))


@tl.cell(**WEIGHTS)
def chosen(x, /, h, *, W, U):
    a = tanh(W @ x + U @ h)
    return where(a > tl.mean(a, axis=-1, keepdims=True), a, 0)


@tl.cell(**WEIGHTS)
def spread(x, /, h, *, W, U):
    a = tanh(W @ x + U @ h)
    return a * (tl.max(a, axis=-1, keepdims=True) - tl.min(a, axis=-1, keepdims=True))


@tl.cell(**WEIGHTS)
def rooted(x, /, h, *, W, U):
    a = tanh(W @ x + U @ h)
    return a / tl.sqrt(tl.mean(a * a, axis=-1, keepdims=True) + 1e-5)


@tl.cell(**WEIGHTS)
def twice_soft(x, /, h, *, W, U):
    a = tanh(W @ x + U @ h)
    e = exp(a)
    return e / tl.sum(a, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("cell", "equation", "labels"),
    [
        (scaled, "ht=0.5×ht−1+at×exp(−mean(at))", {"mean", "exp", "×", "+"}),
        (shared_out, "ht=at/(1+sum(at))", {"sum", "1+", "÷"}),
        (chosen, "ht=where(at>mean(at),at,0)", {"mean", ">", "where"}),
        (spread, "ht=at×(max(at)−min(at))", {"max", "min", "−", "×"}),
        (rooted, "ht=at/sqrt(mean(at×at)+1e−05)".replace("sqrt", "√"), {"mean", "√", "÷"}),
        (twice_soft, "ht=et/sum(at)", {"sum", "÷", "exp"}),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_reduction_is_drawn_and_written_as_what_it_is(cell, equation, labels):
    assert lines_of(cell)[-1] == equation
    shown = {p.label for p in block(cell.graph).parts}
    assert labels <= shown
    assert not {"softmax", "norm"} & shown
    assert Memory(cell).stray == []


def test_a_softmax_does_not_take_in_what_follows_it():
    @tl.cell(c="hidden", q="hidden", h="hidden")
    def following(c, q, /, h):
        p = tl.softmax(c * q, axis=-1)
        h = abs(p * c) / (1 + tl.sum(p * p, axis=-1, keepdims=True)) - tl.minimum(c, 0)
        return h

    found = parts(following)
    assert found["p"].label == "softmax" and found["h"].label == "−"
    assert lines_of(following)[0] == "pt=softmax(ct×qt)"
    assert lines_of(following)[-1].startswith("ht=abs(") and "softmax" not in lines_of(following)[-1]
    assert lines_of(following, equations=False, highlight="p") == ["pt=softmax(ct×qt)"]
    lit = [re.findall(r'"([^"]+)" -> "([^"]+)" \[[^\]]*#c2410c', draw(following, highlight=n).dot) for n in "ph"]
    assert lit[0] != lit[1]


def test_a_gain_belongs_to_a_norm_and_to_nothing_else():
    @tl.cell(h="hidden", s="hidden", x="hidden")
    def doubled(x, /, h, *, s):
        return s * tl.softmax(x + h)

    assert [p.label for p in block(doubled.graph).parts] == ["+", "softmax", "linear"]

    @tl.cell(h="hidden", x="hidden")
    def less(x, /, h):
        a = x + h
        d = a - tl.mean(a, axis=-1, keepdims=True)
        return 1 - d / tl.sqrt(tl.mean(d**2, axis=-1, keepdims=True) + 1e-5)

    assert [p.label for p in block(less.graph).parts] == ["+", "norm", "1−"]


def test_every_equation_that_is_printed_is_in_the_picture():
    @tl.cell(
        x="input", h="hidden", z="hidden", k="hidden", gain="hidden", b="hidden", W="hidden input", U="hidden hidden"
    )
    def steps(x, /, h, z, k, *, W, U, gain, b):
        a = W @ x + U @ h
        mu = tl.mean(a, axis=-1, keepdims=True)
        v = tl.mean((a - mu) * (a - mu), axis=-1, keepdims=True)
        n = (a - mu) / tl.sqrt(v + 1e-5)
        h = tanh(gain * n + b)
        return h, h, z

    assert [line.partition("=")[0] for line in lines_of(steps) if "part" not in line.partition("=")[0]] == [
        "at", "mut".replace("mu", "μ"), "vt", "nt", "ht", "zt", "kt"
    ]  # fmt: skip
    assert "zt=ht" in lines_of(steps) and "kt=zt−1" in lines_of(steps)
    assert "ht=tanh(gain×nt+b)" in lines_of(steps)
    assert len(lines_of(steps)) == len(str(steps).split("\n\n")[1].splitlines())


def test_an_operation_of_a_users_own_keeps_its_name():
    hardsigmoid = tl.elementwise(
        "hardsigmoid", symbol="hardsigmoid", code="0.5 + 0.2 * {0}", vjp=lambda g, y, x: (0.2 * g,)
    )

    @tl.cell(**WEIGHTS)
    def hard(x, /, h, *, W, U):
        return hardsigmoid(W @ x) * sigmoid(U @ h)

    assert lines_of(hard) == ["ht=hardsigmoid(Wxt)×σ(Uht−1)"]


def test_constants_are_written_in_full():
    @tl.cell(x="hidden", h="hidden")
    def constant(x, /, h):
        return 0.123456789 * h + 1234567.0 * x

    assert lines_of(constant) == ["ht=0.123456789×ht−1+1234567×xt"]


def test_a_value_read_many_times_costs_no_more_time():
    @tl.cell(x="hidden", h="hidden")
    def logistic(x, /, h):
        h = sigmoid(x + h)
        for _ in range(24):
            h = 3.7 * h * (1 - h)
        return h

    began = time.process_time()
    drawing = draw(logistic, equations=True)
    spent = time.process_time() - began
    assert len(drawing.dot) < 100_000
    assert spent < 5, f"{spent:.1f} s: exponential in the steps"
    assert len(draw(logistic, highlight="h").dot) < 100_000


@tl.cell(输入="input", 状态="hidden", 记忆="hidden", W="hidden input", U="hidden hidden", b="hidden")
def chinese(输入, /, 状态, 记忆, *, W, U, b):
    """Wide letters everywhere."""
    遗忘门 = sigmoid(W.遗忘 @ 输入 + U.遗忘 @ 状态 + b.遗忘)
    候选 = tanh(W.候选 @ 输入 + U.候选 @ 状态 + b.候选)
    记忆 = 遗忘门 * 记忆 + (1 - 遗忘门) * 候选
    状态 = tanh(记忆)
    return 状态, 记忆


@pytest.mark.parametrize("options", [{"equations": True}, {"steps": 2}, {"rolled": True}], ids=str)
def test_nothing_is_printed_on_wide_letters_and_circles_hold_them(options):
    document = xml.dom.minidom.parseString(draw(chinese, **options).svg.encode())
    seen = 0
    for group in document.getElementsByTagName("g"):
        runs = [n for n in group.childNodes if n.nodeName == "text" and n.firstChild and n.firstChild.data.strip()]
        spans = []
        for n in runs:
            text, size = n.firstChild.data, float(n.getAttribute("font-size"))
            width = sum(1.0 if ord(c) > 0x2E7F else 0.0 for c in text) * size
            begin = float(n.getAttribute("x")) - (width / 2 if n.getAttribute("text-anchor") == "middle" else 0)
            blank = 0.27 * size * (len(text) - len(text.lstrip()))
            spans.append((n.getAttribute("y"), begin + blank, begin + blank + width))
            seen += width > 0
        for (y, _, end), (v, begin, _) in pairwise(spans):
            assert y != v or end <= begin + 1.0
        for circle in (n for n in group.childNodes if n.nodeName == "ellipse"):
            left = float(circle.getAttribute("cx")) - float(circle.getAttribute("rx"))
            right = float(circle.getAttribute("cx")) + float(circle.getAttribute("rx"))
            assert all(left < begin and end < right for _, begin, end in spans)
    assert seen > 3


def test_equations_stand_below_every_picture_of_a_cell():
    below = lines_of(cells.gru)
    assert len(below) == 4
    assert lines_of(cells.gru, rolled=True) == below
    assert lines_of(cells.gru, steps=3) == below
    assert lines_of(cells.gru, steps=3, detail=True) == below


@pytest.mark.parametrize("options", [{"detail": True}, {"rolled": True, "detail": True}], ids=str)
def test_detail_without_steps_is_refused(options):
    with pytest.raises(tl.errors.ArgumentError, match="give the number of steps too: steps=3"):
        draw(cells.gru, **options)


def test_every_operation_of_a_computation_has_a_name():
    layer = tl.nn.LSTM(2, 3, seed=0)
    out, _ = layer(tl.tensor(np.ones((4, 2, 2), np.float32)), lengths=[4, 2])
    drawing = draw((out * out).sum())
    assert re.findall(r"label=<(?:<br/>|>)", drawing.dot) == []
    assert {"arrange", "put_back"} & set(texts(drawing))


def test_an_old_state_that_becomes_another_runs_level_and_upright():
    @tl.cell(x="input", h="hidden", z="hidden", W="hidden input", U="hidden hidden", b="hidden")
    def delayed(x, /, h, z, *, W, U, b):
        new = tanh(W @ x + U @ z + b)
        return new, h

    memory = Memory(delayed)
    assert memory.stray == []
    for wire in memory.wires:
        assert all(a == c or b == d for (a, b), (c, d) in pairwise(wire.points))
    assert ("state", 1) in [w.target for w in memory.wires if w.source.name == "h"]


def test_long_names_of_modules_stay_in_their_boxes():
    class Model(tl.nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("n" * 10_000, "循环神经网络的隐藏层和输出层" * 3):
                setattr(self, name, tl.nn.Linear(2, 3, seed=0))

    document = xml.dom.minidom.parseString(draw(Model()).svg.encode())
    boxes = [re.findall(r"(-?[\d.]+),", n.getAttribute("d")) for n in document.getElementsByTagName("path")]
    left = min(float(x) for box in boxes for x in box)
    bold = [n for n in document.getElementsByTagName("text") if n.getAttribute("font-weight") == "bold"]
    assert len(bold) == 3
    for n in bold:
        assert float(n.getAttribute("x")) > left + 10
    kinds = [n for n in document.getElementsByTagName("text") if n.firstChild.data.strip() == "Linear"]
    for n, behind in zip(bold[1:], kinds, strict=True):
        text = n.firstChild.data
        assert text.endswith("…")
        width = 13 * sum(1.0 if ord(c) > 0x2E7F else 0.55 for c in text)
        blank = 13 * 0.27 * (len(behind.firstChild.data) - len("Linear"))
        assert float(n.getAttribute("x")) + width < float(behind.getAttribute("x")) + blank
        assert float(behind.getAttribute("x")) < 300


def test_an_input_that_is_the_output():
    @tl.cell(x="hidden", y="hidden", h="hidden")
    def passing(x, y, /, h):
        return y, h

    memory = Memory(passing)
    assert memory.stray == [] and {w.source.name for w in memory.wires} == {"y", "h"}
    assert texts(draw(passing)).count("yt") + texts(draw(passing)).count("y") == 2


def boxes(drawing):
    """The keys of everything in a picture of a cell -> its left and right end, and the size of its letters."""
    found = {}
    for key, facts in re.findall(r'^  "([^"]*)" \[(.*)\]$', drawing.dot, re.M):
        x, width, size = (float(re.search(rf'{k}="?(-?[\d.]+)', facts)[1]) for k in ("pos", "width", "fontsize"))
        found[key] = (x - 36 * width, x + 36 * width, size)
    return found


@pytest.mark.parametrize("options", [{"rolled": True}, {"steps": 3}, {"steps": 3, "detail": True}], ids=str)
def test_a_step_stands_on_all_of_its_inputs(options):
    @tl.cell(x="n", gap_length="n", 上下文="n", y="n", z="n", h="n")
    def many(x, gap_length, 上下文, y, z, /, h):
        return x + gap_length + 上下文 + y * z + h

    found = boxes(draw(many, **options))
    step, lead = ("step", "") if "rolled" in options else ("2 step", "2 ")
    left, right, _ = found[step]
    for name in ("x", "gap_length", "上下文", "y", "z"):
        begin, end, _ = found[f"{lead}input {name}"]
        assert left < (begin + end) / 2 < right


@pytest.mark.parametrize("cell", BUILT_IN, ids=lambda c: c.name)
def test_the_name_of_a_cell_stands_whole_in_its_step(cell):
    drawing = draw(cell, rolled=True)
    left, right, size = boxes(drawing)["step"]
    assert cell.name in texts(drawing) and right - left > 0.52 * size * len(cell.name) and size >= 12


def test_the_name_of_a_function_is_large_enough_to_read_at_half_the_size():
    lazy = tl.elementwise("lazy_sigmoid", symbol="lazy_sigmoid", code="{0}", vjp=lambda g, y, x: (g,))

    @tl.cell(x="input", h="hidden", **FAMILIES)
    def lazily(x, /, h, *, W, U, b):
        a = lazy(W.a @ x + U.a @ h + b.a)
        e = tl.softplus(W.e @ x + U.e @ h + b.e)
        return lazy(a * h) + e

    found = {key.split()[0]: box for key, box in boxes(draw(lazily)).items() if not key.endswith("name")}
    for key, letters in (("a", 12), ("e", 8), ("lazy_sigmoid", 12)):
        left, right, size = found[key]
        assert size >= 10 and right - left > 0.52 * size * letters
    assert Memory(lazily).stray == []
