"""Frames in pictures of computations: what belongs to which module and to which step of a loop."""

import re
import resource

import numpy as np
import pytest

import tinygrad_lstm as tl
from tests.test_page import column, data_of
from tinygrad_lstm import draw, nn


class Tagger(nn.Module):
    """A module in modules: embedding, layer, head."""

    def __init__(self):
        self.embedding = nn.Embedding(7, 3, seed=0)
        self.lstm = nn.LSTM(3, 4, seed=0)
        self.head = nn.Sequential(nn.Linear(4, 5, seed=0), nn.Linear(5, 2, seed=1))

    def forward(self, ids):
        out, _ = self.lstm(self.embedding(ids))
        return self.head(out)


class Walker(nn.Module):
    """A loop over time in Python; the last memory cell is read by nobody."""

    def __init__(self):
        self.cell, self.head = nn.LSTMCell(3, 4, seed=0), nn.Linear(4, 2, seed=0)

    def forward(self, xs):
        h = c = tl.zeros((1, 4))
        ys = []
        for x in xs:
            h, c = self.cell(x, (h, c))
            ys.append(self.head(h))
        return tl.stack(ys)


def walk(steps):
    return (Walker()(tl.ones((steps, 1, 3))) ** 2).sum()


def tagged():
    return Tagger()(np.arange(6).reshape(3, 2)).sum()


def framed(dot):
    """What every box is in: the first line of its label -> the labels of the frames around it, the outermost first."""
    found, around = [], []
    for line in dot.splitlines():
        if line.strip().startswith("subgraph"):
            around.append(None)
        elif line.strip() == "}" and around:
            around.pop()
        elif line.strip().startswith("graph") and around:
            around[-1] = re.search(r'label="([^"]*)"', line)[1]
        elif (box := re.match(r'\s*"?(?:v\d+|fold \d+)"? \[.*label=<([^<]*)<', line)) is not None:
            found.append((box[1], tuple(around)))
    return found


def grouped(html):
    """The same of the interactive page: the name or operation of every value -> the groups around it."""
    data = data_of(html)
    base, found = len(data["values"]["head"]), []
    for k, head in enumerate(column(data, "head")):
        around, p = [], data["parents"][k]
        while p >= 0:
            around.insert(0, data["groups"][p - base]["label"])
            p = data["parents"][p]
        found.append((head, tuple(around)))
    return found


def test_every_operation_is_in_the_frames_of_its_modules():
    inside = framed(draw(tagged()).dot)
    model = "Tagger"
    assert ("sum", ()) in inside
    assert ("take_rows", (model, "embedding: Embedding")) in inside
    assert ("lstm over time", (model, "lstm: LSTM")) in inside
    for part in ("0: Linear", "1: Linear"):
        assert [n for n, f in inside if f == (model, "head: Sequential", part)] == ["weight", "bias", "@", "+"]
    assert [n for n, f in inside if f == (model, "embedding: Embedding")] == ["weight", "take_rows"]
    assert len([n for n, _ in inside if "weight" in n or "bias" in n]) == len(Tagger().parameters())


def test_the_page_has_the_same_groups_around_opened_loops():
    inside = grouped(draw(tagged()).html)
    assert ("weight_ih_l0", ("Tagger", "lstm: LSTM")) in inside
    assert ("W.i", ("Tagger", "lstm: LSTM", "lstm over time")) in inside
    assert [f for n, f in inside if n == "f = σ"] == [
        ("Tagger", "lstm: LSTM", "lstm over time", f"step {t}") for t in range(3)
    ]
    assert ("weight", ("Tagger", "head: Sequential", "1: Linear")) in inside and ("sum", ()) in inside


def test_modules_called_at_every_step_lie_in_the_step_and_the_loop_in_its_module():
    inside = framed(draw(walk(4), values=False).dot)
    assert [f for n, f in inside if n == "@"] == [("Walker", f"step {t}", "head: Linear") for t in range(4)]
    assert [f for n, f in inside if n == "lstm"] == [("Walker", f"step {t}", "cell: LSTMCell") for t in range(4)]
    shared = {n for n, f in inside if f == ("Walker",)}
    assert {"cell.weight_ih", "cell.weight_hh", "head.weight", "head.bias"} <= shared


@pytest.mark.parametrize("steps", [5, 30])
def test_folded_steps_stand_in_the_module(steps):
    drawing = draw(walk(steps))
    inside = framed(drawing.dot)
    assert ("steps 2 to " + str(steps - 2), ("Walker",)) in inside
    assert {f[1] for n, f in inside if n == "@"} == {"step 0", "step 1", f"step {steps - 1}"}
    pages = grouped(drawing.html)
    assert ("f = σ", ("Walker", "step 0", "cell: LSTMCell")) in pages
    assert ("f = σ", ("Walker", f"steps 2 to {steps - 2}", "step 2", "cell: LSTMCell")) in pages


def test_a_call_that_covers_part_of_a_loop_has_no_frame():
    gate = nn.Linear(2, 2, seed=0)

    class Two(nn.Module):
        def forward(self, h, x):
            return tl.tanh(gate(tl.tanh(gate(h) + x)) + x)

    two, h = Two(), tl.ones((1, 2))
    x = tl.tensor(np.ones((1, 2), np.float32), requires_grad=True, name="x")
    for _ in range(6):
        h = two(h, x)
    labels = {f for _, frames in framed(draw(h.sum(), fold=None).dot) for f in frames}
    assert {f"step {t}" for t in range(12)} <= labels and "Two" not in labels and "Linear" in labels


class Attention(nn.Module):
    """Three modules of one kind side by side."""

    def __init__(self):
        self.q, self.k, self.v = (nn.Linear(3, 3, seed=k) for k in range(3))

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        return tl.softmax(q @ k.T, axis=-1) @ v


class Residual(nn.Module):
    """Blocks one after another, each with weights of its own."""

    def __init__(self, n):
        self.blocks = [nn.Linear(3, 3, seed=k) for k in range(n)]

    def forward(self, x):
        for block in self.blocks:
            x = x + tl.tanh(block(x))
        return x


def test_modules_of_one_kind_side_by_side_are_no_steps():
    x = tl.tensor(np.ones((2, 3), np.float32), requires_grad=True, name="x")
    drawing = draw(Attention()(x).sum())
    around = {f for n, f in framed(drawing.dot) if n in ("@", "+") and len(f) > 1}
    assert around == {("Attention", f"{name}: Linear") for name in "qkv"}
    assert not [f for _, f in grouped(drawing.html) if any("step" in label for label in f)]


def test_few_blocks_are_modules_and_many_are_layers():
    few, many = (draw(Residual(n)(tl.ones((1, 3))).sum()) for n in (3, 8))
    assert {f for n, f in framed(few.dot) if n == "@"} == {("Residual", f"blocks.{k}: Linear") for k in range(3)}
    assert "step" not in few.dot + many.dot
    inside = framed(many.dot)
    assert {f for n, f in inside if n == "@"} == {("Residual", f"layer {k}", f"blocks.{k}: Linear") for k in (0, 1, 7)}
    assert "layers 2 to 6" in [n for n, _ in inside] and "5 layers like the others" in many.svg
    assert ("@", ("Residual", "layers 2 to 6", "layer 3", "blocks.3: Linear")) in grouped(many.html)


def test_a_loop_whose_steps_hold_modules_of_one_kind():
    attention, head = Attention(), nn.Linear(3, 3, seed=4)
    h = tl.zeros((2, 3))
    for t in range(9):
        h = tl.tanh(head(attention(tl.full((2, 3), 0.1 * t))) + h)
    frames = [f for _, f in framed(draw(h.sum()).dot)]
    assert {f[0] for f in frames if f} == {"step 0", "step 1", "step 8"}
    assert frames.count(("step 8", "Attention", "k: Linear")) == frames.count(("step 0", "Attention", "k: Linear")) > 1


def test_after_an_optimiser_step_the_picture_is_that_of_the_old_numbers():
    """New numbers of a parameter move its serial on; it is drawn before what read it, in the frames of its module."""
    cell, head = nn.LSTMCell(2, 3, seed=0), nn.Linear(3, 1, seed=0)
    optimizer = tl.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.1)
    h, _ = cell(tl.ones((1, 2)), (tl.zeros((1, 3)), tl.zeros((1, 3))))
    loss = (head(h) ** 2).sum()
    loss.backward()
    before = draw(loss)
    seen, page = framed(before.dot), data_of(before.html)
    assert "f = σ" in column(page, "head") and "closed" not in " ".join(page["notes"])
    optimizer.step()
    after = draw(loss)
    assert sorted(framed(after.dot)) == sorted(seen)
    page = data_of(after.html)
    assert sorted(grouped(after.html)) == sorted(seen)
    assert "f = σ" not in column(page, "head") and "an optimiser has changed since" in " ".join(page["notes"])
    assert all(a < k for k, args in enumerate(page["values"]["args"]) for a in args)


def test_modules_side_by_side_and_once_more():
    first, second = nn.Linear(2, 2, seed=0), nn.Linear(2, 2, seed=1)
    x = tl.ones((1, 2))
    inside = framed(draw(first(x) + second(first(x))).dot)
    assert [f for n, f in inside if n == "@"] == [("Linear",)] * 3
    frames = [f for n, f in inside if n == "weight"]
    assert sorted(frames) == [(), ("Linear",)], "a parameter that two calls read is in neither"


def test_parameters_of_a_model_that_is_called_twice_are_told_apart():
    model, x = Attention(), tl.ones((2, 3))
    names = [n for n, f in framed(draw(model(model(x))).dot) if f == ()]
    assert sorted(names) == sorted(["constant", *(f"{k}.{p}" for k in "qkv" for p in ("weight", "bias"))])


def test_a_module_that_returns_what_it_was_given_has_no_frame():
    x = tl.tensor([1.0, 2.0], requires_grad=True)
    assert "subgraph" not in draw(nn.Dropout(0.5).eval()(x * 2.0)).dot


def test_tuples_lists_and_dictionaries_of_results():
    class Many(nn.Module):
        def forward(self, x):
            return {"pair": (x * 2.0, [x * 3.0])}

    x = tl.tensor([1.0], requires_grad=True)
    out = Many()(x)["pair"]
    assert [f for n, f in framed(draw(out[0] + out[1][0]).dot) if n.startswith(("× ", "2", "3"))] == [("Many",)] * 2


def test_names_of_modules_are_escaped():
    class Odd(nn.Module):
        def __init__(self):
            self.parts = {'a"b<c>&\n\\': nn.Linear(2, 2, seed=0)}

        def forward(self, x):
            return next(iter(self.parts.values()))(x)

    drawing = draw(Odd()(tl.ones((1, 2))))
    assert "b&lt;c&gt;&amp;" in drawing.svg and "<c>" not in drawing.svg + drawing.html


def test_many_boxes_in_frames_are_laid_out_in_seconds():
    class Tangle(nn.Module):
        def __init__(self, depth):
            self.cells = [nn.LSTMCell(3, 3, seed=k) for k in range(2)]
            self.parts = [Tangle(depth - 1) for _ in range(2)] if depth else [nn.Linear(3, 3, seed=0)]

        def forward(self, x):
            for part in self.parts * 2:
                h = part(x)
                x = x + tl.tanh(sum(cell(h)[0] for cell in self.cells) + h)
            return x

    drawing = draw(Tangle(1)(tl.ones((2, 3))).sum(), fold=None)
    assert drawing.dot.count("label=<") > 150 and drawing.dot.count("subgraph") > 20
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    drawing = draw(Tangle(1)(tl.ones((2, 3))).sum(), fold=None)
    assert drawing.svg.startswith("<svg")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 10


def test_the_same_bytes_for_the_same_model():
    assert draw(tagged()).dot == draw(tagged()).dot and draw(walk(9)).svg == draw(walk(9)).svg


def test_a_result_that_is_kept_is_freed():
    import gc
    import weakref

    model = Walker()
    alive = weakref.ref(model)
    y = model(tl.ones((3, 1, 3)))
    del model
    assert alive() is not None and draw(y).dot
    del y
    gc.collect()
    assert alive() is None
