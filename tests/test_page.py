"""The interactive page: its data against NumPy, and what it does in a real browser."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import cells
from tinygrad_lstm.drawing import draw
from tinygrad_lstm.drawing.arrays import BAD, LEVELS, packed, shrunk
from tinygrad_lstm.drawing.scene import MOST, form

BUILT_IN = [c for c in vars(cells).values() if hasattr(c, "graph")]
HOSTILE = '</script><script>hacked = 1</script><img src=x onerror="hacked = 2">&amp;"\'\\\n\u2028 ${hacked} 门 🐈'


def unrolled_lstm(steps, batch=2, hidden=8):
    """The loss of an LSTM computed step by step, with every gradient kept."""
    random = np.random.default_rng(0)

    def leaf(*shape, name):
        return tl.tensor(random.normal(0, 0.3, shape).astype(np.float32), requires_grad=True, name=name)

    W, U, b = ({k: leaf(*shape, name=f"{n}.{k}") for k in "ifgo"}
               for n, shape in (("W", (hidden, hidden)), ("U", (hidden, hidden)), ("b", (hidden,))))  # fmt: skip
    h = c = tl.zeros((batch, hidden))
    seen = []
    for t in range(steps):
        x = tl.tensor(random.normal(size=(batch, hidden)).astype(np.float32), name=f"x_{t}")
        before, h_before = {}, h
        for k in "ifgo":
            before[k] = x @ W[k] + h_before @ U[k] + b[k]
        i, f, g, o = tl.sigmoid(before["i"]), tl.sigmoid(before["f"]), tl.tanh(before["g"]), tl.sigmoid(before["o"])
        c = f * c + i * g
        h = o * tl.tanh(c)
        for name, value in {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}.items():
            value.name = name
        seen.append(h)
    loss = (tl.stack(seen) ** 2).mean()
    loss.name = "loss"
    loss.backward(retain_grads=True)
    return loss


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="scene">(.*?)</script>', text, re.S)[1])


def column(data, name):
    return [data["texts"][k] if k is not None else None for k in data["values"][name]]


# --------------------------------------------------------------------------------------------------------------- arrays
def test_a_small_array_is_whole():
    array = np.array([[1.0, -2.5, np.inf], [0.0, np.nan, 1e-20]], np.float32)
    low, mean, high, deviation, bad, rows, columns, scale, numbers = packed(array, 256)
    assert [low, high, bad, rows, columns, scale] == [-2.5, 1, 2, 2, 3, None]
    good = np.array([1, -2.5, 0, 1e-20])
    assert math.isclose(mean, good.mean(), rel_tol=1e-3) and math.isclose(deviation, good.std(), rel_tol=1e-3)
    assert numbers == [1, -2.5, "inf", 0, "nan", 1e-20]


def test_a_large_array_is_a_map_of_means():
    array = np.random.default_rng(1).normal(size=(40, 60))
    *facts, bad, rows, columns, scale, text = packed(array, 256)
    np.testing.assert_allclose(facts, [array.min(), array.mean(), array.max(), array.std()], rtol=1e-3)
    assert bad == 0 and rows * columns <= 256 and len(text) == rows * columns
    starts = [[*(np.arange(n) * size // n).tolist(), size] for n, size in ((rows, 40), (columns, 60))]
    for r in range(rows):
        for c in range(columns):
            block = array[starts[0][r] : starts[0][r + 1], starts[1][c] : starts[1][c + 1]]
            level = (LEVELS.index(text[r * columns + c]) - 32) / 32 * scale
            # columns are averaged over rows of blocks; the last digit of a level is worth scale / 32
            assert abs(level - block.mean()) <= scale / 64 + 1e-3 * scale


@pytest.mark.parametrize(
    "shape, cells, expected",
    [
        ((3, 4), 64, (3, 4)),
        ((1000, 1), 64, (64, 1)),
        ((1, 1000), 64, (1, 64)),
        ((8, 512), 64, (1, 64)),
        ((64, 64), 64, (8, 8)),
    ],
)
def test_maps_keep_proportions(shape, cells, expected):
    assert shrunk(np.ones(shape), cells).shape == expected
    assert (shrunk(np.ones(shape), cells) == 1).all()


def test_what_is_not_finite_does_not_spoil_a_map():
    array = np.full((60, 60), 2.0)
    array[:30, :] = np.nan
    array[59, 59] = np.inf
    *_, bad, rows, _, scale, text = packed(array, 36)
    assert bad == 1801 and scale == 2 and set(text) == {BAD, LEVELS[-1]}
    assert text.startswith(BAD * (len(text) // rows)) and text.endswith(LEVELS[-1])


def test_extremes_of_arrays():
    assert packed(np.zeros(0), 9) is None and packed(np.array(["a"]), 9) is None
    assert packed(np.zeros((50, 50)), 16)[7:] == [0, LEVELS[32] * 16]
    huge = packed(np.full((50, 50), 1e308), 16)
    assert huge[5:7] == [4, 4] and json.dumps(huge, allow_nan=False)
    assert packed(np.arange(10) < 3, 64)[:3] == [0, 0.3, 1]
    assert packed(np.array(-7), 64)[5:] == [1, 1, None, [-7]]


# ---------------------------------------------------------------------------------------------------------------- scenes
def test_the_scene_of_a_computation():
    x = tl.tensor([[1.0, 2.0]], requires_grad=True, name="x")
    y = (tl.tanh(x * 3.0)[:, 1:] / 2.0).sum(axis=0)
    y.backward(np.array([1.0], np.float32), retain_grads=True)
    data = data_of(draw(y).html)
    assert column(data, "form") == ["", "{0} × 3", "tanh({0})", "{0}[:, 1:]", "{0} ÷ 2", "sum({0}, axis=(0,))"]
    assert column(data, "shape") == ["1×2"] * 3 + ["1×1"] * 2 + ["1"]
    assert data["values"]["args"] == [[], [0], [1], [2], [3], [4]]
    assert data["roots"] == [5] and data["parents"] == [-1] * 6
    assert data["values"]["value"][0][8] == [1, 2]
    assert data["values"]["gradient"][3][8] == [0.5]


def test_a_value_read_twice_is_an_argument_twice():
    x = tl.tensor([2.0], requires_grad=True)
    y = x * x
    assert form(y) == "{0} × {1}" and data_of(draw(y).html)["values"]["args"] == [[], [0, 0]]


def test_options_of_a_drawing_hold_for_its_page():
    x = tl.tensor([1.0], requires_grad=True)
    y = tl.exp(tl.sin(x) * tl.tensor([2.0]))
    y.backward()
    assert not any(data_of(draw(y, values=False).html)["values"]["value"])
    assert not any(data_of(draw(y, gradients=False).html)["values"]["gradient"])
    assert len(data_of(draw(y, direction="backward").html)["parents"]) == 4  # not the constant
    cut = data_of(draw(y, depth=1).html)
    assert column(cut, "head") == ["×", "exp"] and cut["values"]["args"][0] == [-1, -1]


def test_steps_fold_into_groups():
    data = data_of(draw(unrolled_lstm(8)).html)
    names = [g["label"] for g in data["groups"]]
    assert names == ["step 0", "step 1", "steps 2 to 6", *(f"step {t}" for t in range(2, 7)), "step 7"]
    opened = [g["label"] for g in data["groups"] if g["open"]]
    assert opened == ["step 0", "step 1", "step 7"]
    base, parents = len(data["values"]["head"]), data["parents"]
    assert [parents[base + k] for k in range(len(names))] == [-1, -1, -1, *[base + 2] * 5, -1]
    for k, name in enumerate(column(data, "name")):
        if name and name.startswith("x_"):
            assert names[parents[k] - base] == f"step {name[2:]}"
        if name and name.startswith(("W.", "U.", "b.")):
            assert parents[k] == -1, "shared by all steps"
    unfolded = data_of(draw(unrolled_lstm(8), fold=None).html)
    assert all(g["open"] for g in unfolded["groups"]) and len(unfolded["groups"]) == 8


def test_a_very_long_loop_leaves_steps_out_and_says_so():
    drawing = draw(unrolled_lstm(160))
    data = data_of(drawing.html)
    assert len(data["values"]["head"]) <= MOST and "left out" in data["notes"][1]
    (gone,) = [g for g in data["groups"] if "gone" in g]
    assert re.fullmatch(r"steps \d+ to 158, left out of this page", gone["label"])
    assert len(drawing.html) < 2_000_000


def test_a_huge_graph_without_a_loop_keeps_its_end():
    y, random = tl.tensor([1.0], requires_grad=True, name="start"), np.random.default_rng(0)
    for k in random.integers(0, 3, MOST + 100):
        y = (tl.sin, tl.cos, tl.tanh)[k](y)
    data = data_of(draw(y, fold=None).html)
    assert len(data["values"]["head"]) <= MOST and data["roots"] == [len(data["values"]["head"]) - 1]


def values_of(data, name, what="value"):
    """Every value of this name, in order, as arrays."""
    found = []
    for k, n in enumerate(column(data, "name")):
        packed_ = data["values"][what][k]
        if n == name and packed_ is not None:
            found.append(np.array(packed_[8], float).reshape(packed_[5:7]))
    return found


def numpy_lstm(x, W, U, b, hidden):
    """The gates of an LSTM at every step, rows i f g o, by the textbook."""
    h = c = np.zeros((x.shape[1], hidden))
    out = []
    for x_t in x:
        i, f, g, o = np.split(x_t @ W.T + h @ U.T + b, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        out.append({"i": i, "f": f, "g": np.tanh(g), "o": o, "c": c, "h": h})
    return out


def test_the_loop_of_a_layer_opens_into_its_steps():
    layer = tl.nn.LSTM(3, 2, seed=0)
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    out, (h, _) = layer(tl.tensor(x))
    loss = (out**2).sum() + h.sum()
    loss.backward(retain_grads=True)
    own = {n: p.grad.numpy().copy() for n, p in layer.named_parameters()}
    data = data_of(draw(loss).html)
    assert all(np.array_equal(p.grad.numpy(), own[n]) for n, p in layer.named_parameters()), "drawing changes nothing"
    labels = [g["label"] for g in data["groups"]]
    assert labels[:3] == ["LSTM", "lstm over time", "step 0"] and "steps 2 to 4" in labels and labels[-1] == "step 5"
    W, U, b_i, b_h = (p.numpy() for p in layer.parameters())
    expected = numpy_lstm(x, W, U, b_i + b_h, 2)
    for name in "ifgo":
        got = values_of(data, name)
        assert len(got) == 6
        for t in range(6):
            np.testing.assert_allclose(got[t], expected[t][name], rtol=2e-3, atol=1e-6)
    inside = column(data, "name")
    gradients = {n: values_of(data, n, "gradient")[0] for n in inside if n and n[:2] in ("W.", "U.")}
    for k, gate in enumerate("ifgo"):
        np.testing.assert_allclose(gradients[f"W.{gate}"], own["weight_ih_l0"][2 * k : 2 * k + 2], rtol=2e-3, atol=1e-5)
        np.testing.assert_allclose(gradients[f"U.{gate}"], own["weight_hh_l0"][2 * k : 2 * k + 2], rtol=2e-3, atol=1e-5)
    assert "lstm over time" in draw(loss).dot and not any("scan" in f for f in column(data, "form"))


def test_several_loops_open_as_groups_of_their_own():
    layer = tl.nn.Recurrent(cells.gru, input=3, hidden=2, num_layers=2, bidirectional=True, seed=0)
    out, _ = layer(tl.tensor(np.ones((5, 1, 3), np.float32)))
    data = data_of(draw(out.sum()).html)
    base = len(data["values"]["head"])
    loops = [g for g, parent in zip(data["groups"], data["parents"][base:], strict=True) if parent == base]
    assert data["groups"][0]["label"] == "Recurrent" and data["parents"][base] == -1
    assert [g["label"] for g in loops] == ["gru over time"] * 4 and not any(g["open"] for g in loops)
    np.testing.assert_allclose(
        data["values"]["value"][data["roots"][0]][8], [float(f"{out.numpy().sum():.4g}")], rtol=1e-3
    )


def test_loops_that_stay_closed():
    layer = tl.nn.Recurrent(cells.rnn, input=2, hidden=2, seed=0)
    x = tl.tensor(np.ones((4, 2, 2), np.float32))
    out, _ = layer(x)
    closed = [draw(out.sum(), inside=False), draw(layer(x, lengths=[4, 2])[0].sum())]
    big = tl.nn.Recurrent(cells.rnn, input=2, hidden=2, seed=0)(tl.tensor(np.ones((9000, 1, 2), np.float32)))[0]
    for drawing in [*closed, draw(big.sum())]:
        data = data_of(drawing.html)
        assert [g["label"] for g in data["groups"]] == ["Recurrent"] and "rnn over time" in column(data, "head")
    with tl.no_grad():
        assert data_of(draw(out.sum() if out.requires_grad else out).html)["groups"] == []
    with pytest.raises(tl.ArgumentError, match="inside is True or False"):
        draw(out.sum(), inside=3)


def test_the_scene_of_a_model():
    model = tl.nn.Sequential(tl.nn.Linear(3, 4), tl.nn.Dropout(0.5), tl.nn.Linear(4, 2))
    data = data_of(draw(model).html)
    assert [g["label"] for g in data["groups"]] == ["Sequential", "0: Linear", "1: Dropout", "2: Linear"]
    assert [g["note"] for g in data["groups"]] == [
        "26 parameters",
        "16 parameters",
        "nothing to learn",
        "10 parameters",
    ]
    assert column(data, "name") == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert data["parents"] == [5, 5, 7, 7, -1, 4, 4, 4] and data["edges"] == [[5, 6], [6, 7]]
    assert data["values"]["value"][0][8] == [float(f"{v:.4g}") for v in model.parameters()[0].numpy().ravel()]


def test_a_page_is_the_same_bytes_for_the_same_input():
    assert draw(unrolled_lstm(6)).html == draw(unrolled_lstm(6)).html
    assert draw(cells.gru, steps=3).html == draw(cells.gru, steps=3).html


@pytest.mark.parametrize("drawing", [draw(cells.lstm, highlight="f"), draw.legend("dark"), draw(tl.nn.Linear(2, 2)),
                                     draw(tl.tensor([1.0]))], ids=lambda d: d.title)  # fmt: skip
def test_the_page_needs_nothing_else(drawing):
    text = drawing.html
    assert text.startswith("<!doctype html>") and drawing.title in text
    assert not re.search(r"""\b(src|href)\s*=\s*["'](?!#)|url\((?!#)|@import|\bfetch\(|XMLHttpRequest""", text)
    assert "default-src 'none'" in text and len(text) < 160_000


def test_nothing_in_the_data_ends_the_script():
    y = tl.tensor([1.0], requires_grad=True, name=HOSTILE * 300) * 2
    y.name = HOSTILE
    text = draw(y).html
    assert text.count("</script>") == 2 and "<img" not in text and "\u2028" not in text
    assert len(text) < 100_000  # names are cut


# --------------------------------------------------------------------------------------------------------------- browser
@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip(
        "playwright.sync_api", reason="the page in a browser; pip install 'tinygrad_lstm[browser]'"
    )
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on PATH: the page is not opened in a browser")
    with sync.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


class Opened:
    """A page from disk, with everything it asked for and complained about."""

    def __init__(self, browser, path, **options):
        self.page = browser.new_page(**{"viewport": {"width": 1200, "height": 760}, **options})
        self.asked, self.errors = [], []
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("dialog", lambda d: self.errors.append(d.message))
        self.page.goto(path.as_uri())

    def __getattr__(self, name):
        return getattr(self.page, name)

    def item(self, name):
        """The number of the value of this name, the last one if several steps have it."""
        return self.page.evaluate(
            "n => { for (let i = scene.total - 1; i >= 0; i--) if (scene.name(i) === n) return i; }", name
        )

    def wait_until(self, condition, start=None):
        """(Playwright's own waiting needs eval, which the page's policy forbids.)"""
        for _ in range(300):
            if self.page.evaluate(f"start => {condition}", start):
                return
            self.page.wait_for_timeout(30)
        raise AssertionError(f"it never came to {condition}")

    def click_box(self, i):
        self.page.evaluate("i => view.bring(i, true)", i)
        self.page.click(f'[data-item="{i}"]', position={"x": 6, "y": 6})

    def view(self):
        return self.page.evaluate("view.view()")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pages that are opened: an LSTM over 50 steps, a small computation, a cell, a model."""
    place = tmp_path_factory.mktemp("pages")
    draw(unrolled_lstm(50)).save(place / "long.html")
    draw(unrolled_lstm(7, hidden=4)).save(place / "middle.html")
    draw(cells.lstm, equations=True).save(place / "cell.html")
    draw(tl.nn.Sequential(tl.nn.Linear(3, 4), tl.nn.Sequential(tl.nn.Linear(4, 2)))).save(place / "model.html")
    x = tl.tensor([[1.0, -2.0, 0.5]], requires_grad=True, name="x")
    w = tl.tensor(np.array([[3.0, -1.0], [0.0, 2.0], [1.0, 1.0]], np.float32), requires_grad=True, name="w")
    y = tl.tanh(x @ w)
    y.name = "y"
    y.sum().backward(retain_grads=True)
    draw(y.sum()).save(place / "small.html")
    return place


@pytest.fixture
def opened(browser, folder):
    """Opens a page of the folder; at the end nothing may have been asked of the network, nor gone wrong."""
    pages = []

    def open_it(name, **options):
        pages.append(Opened(browser, folder / name, **options))
        return pages[-1]

    yield open_it
    for page in pages:
        assert page.errors == [] and all(u.startswith(("file:", "data:")) for u in page.asked)
        assert sum(u.startswith("file:") for u in page.asked) == 1
        page.close()


def test_zoom_and_move(opened):
    page = opened("small.html")
    start = page.view()
    page.click("#in")
    assert page.view()["scale"] == pytest.approx(start["scale"] * 1.25)
    page.keyboard.press("-")
    assert page.view()["scale"] == pytest.approx(start["scale"])
    page.mouse.move(300, 300)
    spot = page.evaluate("[(300 - view.view().x) / view.view().scale]")[0]
    page.mouse.wheel(0, -400)
    page.wait_until("view.view().scale > 1.5 * start", start["scale"])
    assert page.evaluate("(300 - view.view().x) / view.view().scale") == pytest.approx(
        spot
    )  # the point under the mouse
    before = page.view()
    page.mouse.move(500, 700)
    page.mouse.down()
    page.mouse.move(560, 690)
    page.mouse.up()
    assert (page.view()["x"] - before["x"], page.view()["y"] - before["y"]) == (60, -10)
    page.keyboard.press("ArrowRight")
    assert page.view()["x"] == before["x"]
    page.keyboard.press("0")
    assert page.view() == start


def test_a_click_tells_formula_shape_numbers_and_use(opened):
    page = opened("small.html")
    w = page.item("w")
    page.click_box(w)
    about = page.inner_text("#about")
    assert "parameter · 3×2 · float32" in about and "USED IN" in about.upper()
    assert re.search(r"smallest\s*−1\s*mean\s*1\s*largest\s*3\s*deviation\s*1.29", about)
    colours = page.evaluate("""[...document.querySelectorAll("#about canvas")].map(c =>
        [c.width, c.height, [...c.getContext("2d").getImageData(0, 0, 2, 2).data]])""")
    assert len(colours) == 2 and colours[0][:2] == [2, 3]
    value = np.array(colours[0][2]).reshape(2, 2, 4)
    assert value[0, 0, 2] > value[0, 0, 0] and value[0, 1, 0] > value[0, 1, 2]  # 3 is blue, -1 amber
    assert value[..., 3].tolist() == [[255, 85], [0, 170]]  # as strong as they are large
    page.hover("#about canvas >> nth=0", position={"x": 4, "y": 4})
    assert page.inner_text("#about output >> nth=0") == "row 0, column 0: 3"
    page.click("#about .links .link")  # where it is used
    assert page.inner_text("#about h2") == "@" and page.inner_text("#about .formula").split() == ["x", "@", "w"]
    page.click('#about .formula .link:text-is("x")')
    assert page.inner_text("#about h2") == "x"
    page.keyboard.press("Escape")
    assert page.is_hidden("#about")


def test_search_finds_what_is_folded(opened):
    page = opened("long.html")
    page.keyboard.press("/")
    page.keyboard.type("x_27")
    assert page.inner_text("#found") == "1 found"
    folded = page.item("steps 2 to 48")
    assert page.evaluate("i => picture.element(i).classList.contains('hit')", folded)
    page.keyboard.press("Enter")
    assert page.inner_text("#about h2") == "x_27"
    box = page.locator(f'[data-item="{page.item("x_27")}"]').bounding_box()
    assert 0 < box["x"] < 1200 - 312 and 0 < box["y"] < 760
    page.fill("#search", "x_2")  # a name as a whole comes before names that begin so
    assert page.inner_text("#found") == "1 found"
    page.fill("#search", "nowhere")
    assert page.inner_text("#found") == "0 found" and page.locator(".hit").count() == 0


def shown(page):
    return page.evaluate("picture.shown().map(i => scene.name(i))")


def test_steps_and_everything_fold_and_unfold(opened):
    page = opened("long.html")
    assert "steps 2 to 48" in shown(page) and "step 7" not in shown(page)
    few = len(shown(page))
    page.click_box(page.item("steps 2 to 48"))
    assert {f"step {t}" for t in range(2, 49)} <= set(shown(page))
    page.click_box(page.item("step 7"))
    assert "x_7" in shown(page) and "x_8" not in shown(page)
    page.evaluate("i => choose(i, true)", page.item("x_7"))
    page.keyboard.press("f")
    assert "x_7" not in shown(page) and page.inner_text("#about h2") == "step 7"
    page.keyboard.press("u")
    assert len(shown(page)) == page.evaluate("scene.count")
    page.keyboard.press("c")
    assert {n for n in shown(page) if n.startswith("step")} == {"step 0", "step 1", "steps 2 to 48", "step 49"}
    assert len(shown(page)) < few


GEOMETRY = """() => {
  const boxes = picture.shown().map(i => ({ i, ...picture.place(i) }));
  const groups = scene.groups().filter(g => scene.open(g) && picture.place(g)).map(i => ({ i, ...picture.place(i) }));
  const wires = [...document.querySelectorAll(".wire")].map(e => {
    const n = e.getTotalLength(), points = [];
    for (let k = 1; k < 12; k++) { const p = e.getPointAtLength(n * k / 12); points.push([p.x, p.y]); }
    return points; });
  return { boxes, groups, wires, parents: Object.fromEntries([...boxes, ...groups].map(b => [b.i, scene.parent(b.i)])) };
}"""


@pytest.mark.parametrize(
    "name, keys", [("long.html", ""), ("long.html", "c"), ("middle.html", "u"), ("small.html", ""), ("model.html", "u")]
)
def test_no_box_lies_on_another_and_no_wire_runs_through_one(opened, name, keys):
    page = opened(name)
    for key in keys:
        page.keyboard.press(key)
    found = page.evaluate(GEOMETRY)
    x, y, w, h = (np.array([b[k] for b in found["boxes"]]) for k in "xywh")
    beside = (x[:, None] + w[:, None] <= x) | (y[:, None] + h[:, None] <= y)
    together = ~(beside | beside.T) & ~np.eye(len(x), dtype=bool)
    assert not together.any(), np.argwhere(together)
    groups = {g["i"]: g for g in found["groups"]}
    for inner in [*found["boxes"], *found["groups"]]:
        outer = groups.get(found["parents"][str(inner["i"])])
        if outer:
            assert outer["x"] <= inner["x"] and inner["x"] + inner["w"] <= outer["x"] + outer["w"]
            assert outer["y"] + 20 <= inner["y"] and inner["y"] + inner["h"] <= outer["y"] + outer["h"]
    points = np.array(found["wires"]).reshape(-1, 2)
    assert len(points) or name == "model.html"
    for b in found["boxes"]:
        inside = (points > [b["x"] + 1, b["y"] + 1]).all(1) & (points < [b["x"] + b["w"] - 1, b["y"] + b["h"] - 1]).all(
            1
        )
        assert not inside.any(), b


def test_wires_end_at_their_boxes(opened):
    page = opened("small.html")
    ends = page.evaluate("""picture.shown().flatMap(i => picture.wires((a, b) => b === i).filter(e => e.hasAttribute("marker-end"))
        .map(e => { const p = e.getPointAtLength(e.getTotalLength()), b = picture.place(i); return [p.x - b.x, p.y - b.y, b.h]; }))""")
    assert len(ends) == 4  # x and w into the product, then tanh, sum
    for dx, dy, tall in ends:
        assert abs(dx) < 0.5 and 0 <= dy <= tall


def test_the_forward_pass_shows_values_as_they_come(opened):
    page = opened("small.html")
    page.keyboard.press(".")
    assert page.inner_text("#says").startswith("1 / 3 @")
    assert page.evaluate(
        "picture.shown().filter(i => picture.element(i).classList.contains('reached')).map(scene.label)"
    ) == ["x", "w", "@"]
    hidden = page.evaluate(
        "i => getComputedStyle(picture.element(i).querySelector('.says')).visibility", page.item("y")
    )
    assert hidden == "hidden"
    assert page.locator(".wire.flow").count() == 2
    page.keyboard.press(".")
    assert (
        page.evaluate("i => getComputedStyle(picture.element(i).querySelector('.says')).visibility", page.item("y"))
        == "visible"
    )
    page.keyboard.press(",")
    assert page.inner_text("#says").startswith("1 / 3 @")
    page.keyboard.press("s")
    page.keyboard.press("s")
    page.keyboard.press("s")
    page.click("#play")
    page.wait_until("passes.state().at === 3 && !passes.state().playing")
    assert page.locator(".reached").count() == 5
    page.keyboard.press("Escape")
    assert page.locator(".playing").count() == 0


def test_the_backward_pass_shows_gradients_as_they_come_back(opened):
    page = opened("small.html")
    page.keyboard.press("b")
    page.keyboard.press(".")
    page.keyboard.press(".")
    y = np.tanh(np.array([1.0, -2.0, 0.5]) @ np.array([[3.0, -1.0], [0.0, 2.0], [1.0, 1.0]]))
    assert page.inner_text("#says") == "2 / 5 y ∂ [1, 1]"
    page.keyboard.press(".")
    assert page.inner_text("#says").startswith(f"3 / 5 @ ∂ [{1 - y[0] ** 2:.3g}, ")
    page.keyboard.press(".")
    page.keyboard.press(".")
    assert page.locator(".reached").count() == 5
    page.click("#turn")
    assert page.inner_text("#turn") == "forward"


def test_a_pass_over_folded_steps_takes_a_fold_as_one(opened):
    page = opened("long.html")
    page.keyboard.press("c")
    page.keyboard.press(".")
    assert "step 0" in page.inner_text("#says")
    page.evaluate("passes.go(3)")
    assert "steps 2 to 48" in page.inner_text("#says")
    order = page.evaluate("(passes.go(1e9), passes.state())")
    assert order["at"] == order["of"] == 7  # four boxes of steps, stack, square, mean


def test_a_cell_is_walked_through(opened):
    page = opened("cell.html")
    lines = []
    page.keyboard.press(".")
    page.keyboard.press("n")
    for _ in range(page.evaluate("passes.state().of")):
        lines.append(
            page.inner_text("#about .formula").replace("\u200b", "") if page.locator("#about .formula").count() else ""
        )
        page.keyboard.press(".")
    flat = [re.sub(r"\s", "", line) for line in lines]
    assert (
        "it=σ(Wixt+Uiht−1+bi)" in flat
        and "ct=ft×ct−1+it×gt" in flat
        and flat.index("it=σ(Wixt+Uiht−1+bi)") < flat.index("ct=ft×ct−1+it×gt")
    )
    assert page.locator("#folding").is_hidden()


FEW = [cells.rnn, cells.lstm_peephole, cells.lstm_projected]


@pytest.mark.parametrize(
    "options, shown",
    [
        ({}, BUILT_IN),
        ({"highlight": "h"}, FEW),
        ({"steps": 3}, FEW),
        ({"steps": 4, "detail": True}, FEW),
        ({"steps": 30}, FEW),
        ({"rolled": True}, FEW),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else f"{len(v)} cells",
)
def test_every_part_of_a_cell_is_found_in_its_picture(browser, options, shown, tmp_path):
    page = Opened(browser, draw(shown[0], **options).save(tmp_path / "0.html"))
    for k, cell in enumerate(shown):
        if k:
            page.goto(draw(cell, **options).save(tmp_path / f"{k}.html").as_uri())
        missing = page.evaluate(
            "[...Array(scene.total).keys()].filter(i => !picture.element(i)).map(i => scene.key(i))"
        )
        assert missing == [] and page.errors == [], cell.name
        unread = page.evaluate("scene.edges.filter(([a, b]) => !picture.wires((u, v) => u === a && v === b).length)")
        assert unread == [] and page.evaluate("scene.edges.length") > 0, cell.name
    page.close()


@pytest.mark.parametrize("scheme, page_colour", [("light", 255), ("dark", 23)])
def test_light_and_dark(opened, scheme, page_colour):
    for name in ("small.html", "cell.html"):
        page = opened(name, color_scheme=scheme)
        colour = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(colour).startswith(f"rgb({page_colour}, ")
        page.keyboard.press("t")
        other = 278 - page_colour
        assert page.evaluate(colour).startswith(f"rgb({other}, ")
        assert page.inner_text("#theme") == {"light": "dark", "dark": "light"}[scheme]
        page.click("#theme")
        assert page.evaluate(colour).startswith(f"rgb({page_colour}, ")
        picture = page.screenshot()
        assert picture.startswith(b"\x89PNG") and len(set(picture)) == 256


def test_what_is_not_finite_and_what_is_not_there(browser, tmp_path):
    x = tl.tensor([1.0, 0.0, -1.0], requires_grad=True, name="x")
    y = tl.log(x)
    y.name = "y"
    page = Opened(browser, draw(y.sum()).save(tmp_path / "a.html"))
    page.evaluate("i => choose(i, true)", page.item("y"))
    about = page.inner_text("#about")
    assert re.search(r"not finite\s*2", about) and "no gradient yet: call backward()" in about
    assert page.evaluate("scene.value(scene.args(2)[0]) && says(scene.value(1))") == "[0, −inf, nan]"
    pixels = page.evaluate(
        "[...document.querySelector('#about canvas').getContext('2d').getImageData(0, 0, 3, 1).data]"
    )
    assert pixels[3] == 0 and pixels[4:8] == pixels[8:12] == [220, 38, 38, 255]
    assert page.errors == []
    y.sum().backward(np.float32(2.0))
    page.goto(draw(y.sum()).save(tmp_path / "b.html").as_uri())
    page.evaluate("i => choose(i, true)", page.item("y"))
    assert "backward(retain_grads=True) keeps it" in page.inner_text("#about")
    page.close()


def test_a_model_does_not_play(opened):
    page = opened("model.html")
    page.keyboard.press(".")
    page.keyboard.press("b")
    assert page.evaluate("passes.state().at") is None and page.locator("#passes").is_hidden()
    page.keyboard.press("c")
    assert shown(page) == ["Sequential"]
    page.keyboard.press("/")
    page.keyboard.type("0.weight")
    page.keyboard.press("Enter")
    assert page.inner_text("#about h2") == "0.weight" and "4×3 · float32" in page.inner_text("#about")


def test_a_telephone(opened):
    page = opened("long.html", viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    page.evaluate("i => choose(i, true)", page.item("loss"))
    panel = page.locator("#about").bounding_box()
    assert panel["x"] == 0 and panel["width"] == 390 and panel["y"] > 200
    box = page.locator(f'[data-item="{page.item("loss")}"]').bounding_box()
    assert box["y"] + box["height"] < panel["y"], "what is asked about stays in sight"
    for button in page.locator("footer button, header button").all():
        if button.is_visible():
            assert button.bounding_box()["height"] >= 30


def test_the_page_of_the_documentation(tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "docs" / "gallery" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(layer = .*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {"tl": tl, "np": np})
    data = data_of((tmp_path / "loss.html").read_text(encoding="utf-8"))
    assert [g["label"] for g in data["groups"]][:2] == ["LSTM", "lstm over time"]
    kept = [g for n, g in zip(column(data, "name"), data["values"]["gradient"], strict=True) if n == "f"]
    assert len(kept) == 50 and None not in kept


def test_help_lists_every_key(opened):
    page = opened("small.html")
    page.keyboard.press("?")
    text = page.inner_text("#help")
    documented = (Path(__file__).parent.parent / "docs" / "gallery" / "README.md").read_text(encoding="utf-8")
    names = {
        " ": "space",
        "ArrowLeft": "←",
        "ArrowRight": "→",
        "ArrowUp": "↑",
        "ArrowDown": "↓",
        "-": "−",
        "=": "+",
        "Escape": "Esc",
        "?": "?",
    }
    for key in page.evaluate("Object.keys(KEYS)"):
        assert names.get(key, key) in text, key
        assert key.startswith("Arrow") or key == "=" or {" ": "space", "Escape": "Esc"}.get(key, key) in documented, key
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('help').open")


def test_hostile_names_stay_names(browser, tmp_path):
    leaf = tl.tensor([1.0, 2.0], requires_grad=True, name=HOSTILE)
    y = tl.sin(leaf)
    y.name = HOSTILE * 400
    page = Opened(browser, draw(y.sum()).save(tmp_path / "a.html"))
    page.evaluate("choose(0, true); document.getElementById('search').value = 'HACKED'; search()")
    assert page.evaluate("typeof hacked") == "undefined" and page.errors == []
    assert (
        page.locator("img").count() == 0
        and "onerror" in page.inner_text("#about h2")
        and "🐈" in page.inner_text("#about h2")
    )
    assert page.inner_text("#found") == "2 found"
    page.close()


def test_a_long_lstm_is_small_and_quick(opened, folder):
    assert (folder / "long.html").stat().st_size < 2_000_000
    page = opened("long.html")
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    assert timing < 5000  # milliseconds; about 200 where nothing else runs
    assert (
        page.evaluate("(() => { const t = performance.now(); foldAll(true); return performance.now() - t; })()") < 8000
    )
