"""Wrong declarations and wrong calls: what each one says. A row is a name, what is written, and what must be in the message."""

import linecache

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import interpret
from tinygrad_lstm.cell import Cell

AXES = {"x": "input", "h": "hidden", "W": "hidden input", "U": "hidden hidden", "b": "hidden"}
SIGNATURE = "x, /, h, *, W, U, b"
SUM = "W.h @ x + U.h @ h + b.h"
CONSTANT, ARRAY = tl.tensor([1.0, 2.0]), np.ones(2)


def declare(body, signature=SIGNATURE, axes=AXES, returns="return h"):
    """Declare the cell of a body given as text, statements apart by `;`."""
    lines = [f"def cell({signature}):", *body.split(";"), *([returns] if returns else [])]
    source = "\n    ".join(line.strip() for line in lines) + "\n"
    linecache.cache["<body>"] = (len(source), None, source.splitlines(keepends=True), "<body>")
    namespace = {"tl": tl, "np": np, "CONSTANT": CONSTANT, "ARRAY": ARRAY, "inner": inner}
    exec(compile(source, "<body>", "exec"), namespace)
    return tl.cell(**axes)(namespace["cell"])


def inner(a):
    """A helper of a body, in which the error happens."""
    return a[0]


def said(error, *parts):
    text = str(error)
    for part in parts:
        assert part in text, f"{part!r} is not in\n{text}"
    assert "Node" not in text
    assert "FamilyLeaf" not in text


# fmt: off
BODIES = [
    # name, body, line that is to blame, error, what it says
    ("if", f"a = {SUM}; h = a if a > 0 else -a", 3, tl.TraceError, ["no truth value", "tl.where(condition, a, b)"]),
    ("and", f"a = {SUM}; h = (a > 0) and a", 3, tl.TraceError, ["no truth value", "tl.where"]),
    ("not", f"h = not ({SUM})", 2, tl.TraceError, ["no truth value", "tl.where"]),
    ("chained comparison", f"a = {SUM}; h = tl.where(0 < a < 1, a, 0)", 3, tl.TraceError, ["no truth value"]),
    ("built-in max", f"h = max({SUM}, 0)", 2, tl.TraceError, ["no truth value", "min()/max()"]),
    ("index", f"a = {SUM}; h = a[0]", 3, tl.TraceError, ["cannot be indexed", "a member of a family"]),
    ("slice", f"a = {SUM}; h = a[:, :2]", 3, tl.TraceError, ["cannot be indexed"]),
    ("in a helper", f"a = {SUM}; h = inner(a)", 3, tl.TraceError, ["cannot be indexed"]),
    ("item assignment", f"a = {SUM}; a[0] = 1; h = a", 3, tl.TraceError, ["a traced value does not support item assignment", "allowed are"]),
    ("unpack", "a, c = W.h @ x; h = a", 2, tl.TraceError, ["cannot be looped over or unpacked"]),
    ("built-in sum", f"h = sum({SUM})", 2, tl.TraceError, ["cannot be looped over"]),
    ("len", f"a = {SUM}; h = a / len(a)", 3, tl.TraceError, ["has no len", "allowed are"]),
    ("float", f"h = float({SUM})", 2, tl.TraceError, ["has no number"]),
    ("format", f"a = {SUM}; h = f'{{a:.2f}}'", 3, tl.TraceError, ["unsupported format string"]),
    ("NumPy ufunc without a row", f"h = np.arctan({SUM})", 2, tl.TraceError, ["a NumPy function was called on a traced value", "namesake in tl"]),
    ("NumPy ufunc into an array", f"h = np.tanh({SUM}, out=ARRAY)", 2, tl.TraceError, ["a NumPy function was called on a traced value"]),
    ("NumPy function", "h = W.h @ np.concatenate([x, h])", 2, tl.TraceError, ["a NumPy function", "namesake in tl"]),
    ("concatenate", "h = W.h @ tl.concatenate([x, h])", 2, tl.TraceError, ["`concatenate`: is not allowed", "W.a @ x + U.a @ h"]),
    ("stack", "h = W.h @ tl.stack([x, h])", 2, tl.TraceError, ["`stack`: is not allowed", "W.a @ x + U.a @ h"]),
    ("reshape", f"h = tl.reshape({SUM}, (2,))", 2, tl.TraceError, ["`reshape`: is not allowed", "`parameter @ value`"]),
    ("cumsum", f"h = tl.cumsum({SUM}, axis=-1)", 2, tl.TraceError, ["`cumsum`: is not allowed"]),
    ("argmax", f"h = h + tl.argmax({SUM}, axis=-1)", 2, tl.TraceError, ["`argmax`: is not allowed"]),
    ("einsum", "h = tl.einsum('hi,bi->bh', W.h, x)", 2, tl.TraceError, ["`einsum`: is not allowed"]),
    ("method T", f"a = {SUM}; h = a.T", 3, tl.TraceError, ["a traced value has no attribute 'T'", "allowed are"]),
    ("method unknown", f"a = {SUM}; h = a.view()", 3, tl.TraceError, ["a traced value has no attribute 'view'"]),
    ("comparisons added", "h = 0.5 * h + 0.1 * ((x > 0) + (x < 0.3))", 2, tl.TraceError, ["counts with comparisons alone", "tl.where(a > b, 1.0, 0.0)"]),
    ("a comparison negated", "h = h * -(x > 0)", 2, tl.TraceError, ["counts with comparisons alone"]),
    ("tensor on the right", f"h = {SUM} + CONSTANT", 2, tl.TraceError, ["meets Tensor", "(2,) float32", "declare it as a parameter"]),
    ("tensor on the left", f"h = CONSTANT * ({SUM})", 2, tl.TraceError, ["meets Tensor", "declare it as a parameter"]),
    ("array on the right", f"h = {SUM} + ARRAY", 2, tl.TraceError, ["meets ndarray", "(2,) float64", "declare it as a parameter"]),
    ("array on the left", f"h = ARRAY * ({SUM})", 2, tl.TraceError, ["meets ndarray", "declare it as a parameter"]),
    ("fresh zeros", f"h = tl.zeros((2,)) + {SUM}", 2, tl.TraceError, ["meets Tensor"]),
    ("list", f"h = {SUM} + [1.0, 2.0]", 2, tl.TraceError, ["meets list"]),
    ("string", f"h = {SUM} + 'a'", 2, tl.TraceError, ["meets str", "or use a Python number"]),
    ("None", f"h = {SUM} + None", 2, tl.TraceError, ["meets NoneType"]),
    ("value @ parameter", "h = x @ W.h + U.h @ h + b.h", 2, tl.TraceError, ["a product is `parameter @ value`", "batch input", "hidden input"]),
    ("value @ value", f"h = x @ h + {SUM}", 2, tl.TraceError, ["a product is `parameter @ value`"]),
    ("parameter @ parameter", f"h = W.h @ b.h + {SUM}", 2, tl.TraceError, ["a product is `parameter @ value`"]),
    ("parameter @ number", f"h = W.h @ 2.0 + {SUM}", 2, tl.TraceError, ["a product is `parameter @ value`"]),
    ("vector @ value", f"h = b.h @ h + {SUM}", 2, tl.TraceError, ["a product is `parameter @ value`", "with two axes"]),
    ("expression @ value", "h = (W.h + W.k) @ x + U.h @ h + b.h", 2, tl.TraceError, ["a parameter, not an expression", "W.a @ x + W.b @ x"]),
    ("scaled @ value", "h = (2 * W.h) @ x + U.h @ h + b.h", 2, tl.TraceError, ["a parameter, not an expression", "2 * (W.a @ x)"]),
    ("product of wrong axes", "h = W.h @ h + U.h @ h + b.h", 2, tl.ShapeError, ["axes 'hidden input' multiplies a value with axis 'input', not 'hidden'"]),
    ("sum of wrong axes", f"h = {SUM} + x", 2, tl.ShapeError, ["axes 'hidden' and 'input' do not match", "batch hidden", "a product: parameter @ value"]),
    ("matrix by elements", f"h = {SUM} + W.h * x", 2, tl.ShapeError, ["axes 'hidden' and 'batch' do not match"]),
    ("mean of everything", f"a = {SUM}; h = a - tl.mean(a)", 3, tl.TraceError, ["reduces the last axis", "tl.mean(a, axis=-1, keepdims=True)"]),
    ("mean over the batch", f"a = {SUM}; h = a - tl.mean(a, axis=0, keepdims=True)", 3, tl.TraceError, ["tl.mean(a, axis=-1, keepdims=True)"]),
    ("sum without keepdims", f"a = {SUM}; h = a - tl.sum(a, axis=-1)", 3, tl.TraceError, ["tl.sum(a, axis=-1, keepdims=True)"]),
    ("max method", f"a = {SUM}; h = a - a.max()", 3, tl.TraceError, ["tl.max(a, axis=-1, keepdims=True)"]),
    ("softmax over the batch", f"h = tl.softmax({SUM}, axis=0)", 2, tl.TraceError, ["axis=-1"]),
    ("reserved member", f"h = {SUM} + b.serial", 2, tl.TraceError, ["`b.serial`: 'serial' cannot be the name of a member", "another name"]),
    ("private member", f"h = {SUM} + b._f", 2, tl.TraceError, ["'_f' cannot be the name of a member"]),
    ("member is set", f"W.h = 3; h = {SUM}", 2, tl.TraceError, ["a parameter has no attribute 'h'"]),
    ("arity", f"h = tl.where({SUM}, 1.0)", 2, tl.TraceError, ["missing 1 required positional argument"]),
]

WHOLE = [
    # name, what differs from a good declaration, error, what it says
    ("returns nothing", {"returns": None}, tl.TraceError, ["returned value 0 is not computed from inputs or states", "None", "end with `return h`"]),
    ("returns a number", {"returns": "return 0.5"}, tl.TraceError, ["returned value 0", "number 0.5"]),
    ("returns a parameter", {"returns": "return b.h"}, tl.TraceError, ["returned value 0 is not computed from inputs or states", "axes hidden"]),
    ("returns a dict", {"returns": "return {'h': h}"}, tl.TraceError, ["returned value 0", "dict"]),
    ("returns too many", {"returns": "return h, h, h"}, tl.TraceError, ["returns 3 values and has 1 states (h)", "the output first and then the states"]),
    ("returns another axis", {"returns": "return x"}, tl.ShapeError,
     ["state 'h' has axis 'hidden', its new value has 'input'", "batch input", "'hidden input'", 'h="input"']),
    ("yields", {"returns": "yield h"}, tl.TraceError, ["no `yield`", "parameters after `*`"]),
    ("unused parameter", {"body": "h = tl.tanh(W.h @ x + U.h @ h)"}, tl.TraceError, ["parameter 'b' is not used", "remove it from the signature"]),
    ("member and whole", {"body": f"h = {SUM} + b"}, tl.TraceError, ["'b' is used both as a single array and by members (h)", "give every use a member"]),
    ("no axes", {"axes": {k: v for k, v in AXES.items() if k not in "UW"}}, tl.TraceError, ["no axes for W, U", '@tl.cell(x="...", h="...", W="...", U="...", b="...")']),
    ("axes too many", {"axes": {**AXES, "V": "hidden"}}, tl.TraceError, ["V is no argument", "@tl.cell(x="]),
    ("default", {"signature": "x, /, h, *, W, U, b=1"}, tl.TraceError, ["argument 'b': no defaults", "inputs before `/`"]),
    ("star", {"signature": "x, /, h, *args, W, U, b"}, tl.TraceError, ["argument 'args'", "no *args"]),
    ("no slash", {"signature": "x, h, *, W, U, b"}, tl.TraceError, ["has no inputs", "inputs before `/`, states between `/` and `*`, parameters after `*`"]),
    ("no star", {"signature": "x, /, h, W, U, b"}, tl.TraceError, ["'W' is one vector a sample, so it has one axis", "hidden input", "after `*`"]),
    ("no axis", {"axes": {**AXES, "x": ""}}, tl.TraceError, ["'x' is one vector a sample"]),
    ("two axes of an input", {"axes": {**AXES, "x": "time input"}}, tl.TraceError, ["'x' is one vector a sample", "time input"]),
    ("axes as a tuple", {"axes": {**AXES, "W": ("hidden", "input")}}, tl.TraceError, ["the axes of 'W' are words in a string", 'W="hidden input"']),
    ("axis as a number", {"axes": {**AXES, "W": "hidden 3"}}, tl.TraceError, ["'3' (axes of 'W') cannot name an axis", "one word an axis"]),
    ("axis with a comma", {"axes": {**AXES, "W": "hidden, input"}}, tl.TraceError, ["'hidden,' (axes of 'W')"]),
    ("batch", {"axes": {**AXES, "x": "batch"}}, tl.TraceError, ["'batch' (axes of 'x') cannot name an axis"]),
    ("initial value of a state", {"axes": {**AXES, "h": "hidden = 0"}}, tl.TraceError, ["'=' (axes of 'h') cannot name an axis"]),
    ("initial value no number", {"axes": {**AXES, "b": "hidden = one"}}, tl.TraceError, ["'one' is no number for 'b' to start from", 'b="hidden = 1"']),
    ("initial value nan", {"axes": {**AXES, "b": "hidden = nan"}}, tl.TraceError, ["'nan' is no number for 'b' to start from"]),
]

CELL, LAYER, LSTM = tl.cells.lstm, tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=4), tl.nn.LSTM(3, 4)
PEEP = tl.nn.Recurrent(tl.cells.gru, input=3, hidden=4, bidirectional=True, batch_first=True)
X, H = np.zeros((5, 2, 3), np.float32), np.zeros((1, 2, 4), np.float32)


@tl.cell(x="input", gap="1", h="hidden", W="hidden input", d="hidden")
def two(x, gap, /, h, *, W, d):
    """Two inputs."""
    h = tl.tanh(W @ x) * tl.exp(-gap * d) + h
    return h


TWO = tl.nn.Recurrent(two, input=3, hidden=4)
make = tl.nn.Recurrent

CALLS = [
    # name, call, error, what it says
    ("decorator without axes", lambda: tl.cell(lambda x: x), tl.ArgumentError, ["the axes of the arguments come first", '@tl.cell(x="input"']),
    ("decorator on a number", lambda: tl.cell(x="input")(3), tl.ArgumentError, ["decorates a function", "number 3", "def lstm("]),
    ("decorator on a class", lambda: tl.cell(x="input")(int), tl.ArgumentError, ["decorates a function"]),
    ("decorator on a cell", lambda: tl.cell(x="input")(CELL), tl.ArgumentError, ["decorates a function"]),
    ("a cell is called", lambda: CELL(X), tl.ArgumentError, ["`lstm`: is a declaration", "tl.nn.Recurrent(lstm, input=..., hidden=...)"]),
    ("unknown quantity", lambda: CELL.quantity("q"), tl.ArgumentError, ["has no quantity 'q'", "i, f, g, o"]),
    ("unknown family", lambda: CELL.shape("Q", {}), tl.ArgumentError, ["has no family 'Q'", "W U b"]),
    ("unknown member", lambda: CELL.member("W", "q"), tl.ArgumentError, ["family 'W' has no member 'q'", "i f g o"]),
    ("shape without sizes", lambda: CELL.shape("W", {"hidden": 2}), tl.ArgumentError, ["the size of axis 'input' is missing"]),
    ("no cell", lambda: make(lambda x: x), tl.ArgumentError, ["`Recurrent`: takes a cell", "tl.cells.lstm", "@tl.cell"]),
    ("no sizes", lambda: make(CELL), tl.ArgumentError, ["the size of axis 'input', 'hidden' is missing", "tl.nn.Recurrent(lstm, input=..., hidden=...)"]),
    ("one size", lambda: make(CELL, input=3), tl.ArgumentError, ["the size of axis 'hidden' is missing"]),
    ("unknown size", lambda: make(CELL, input=3, hidden=4, units=3), tl.ArgumentError, ["has no axis 'units'", "its axes are: input, hidden"]),
    ("size 0", lambda: make(CELL, input=3, hidden=0), tl.ShapeError, ["axis 'hidden' must be an integer of at least 1", "number 0"]),
    ("size a float", lambda: make(CELL, input=3, hidden=4.0), tl.ShapeError, ["axis 'hidden' must be an integer", "number 4.0"]),
    ("size True", lambda: make(CELL, input=True, hidden=4), tl.ShapeError, ["axis 'input' must be an integer"]),
    ("num_layers 0", lambda: make(CELL, input=3, hidden=4, num_layers=0), tl.ArgumentError, ["num_layers must be an integer of at least 1"]),
    ("dropout 1.5", lambda: make(CELL, input=3, hidden=4, dropout=1.5), tl.ArgumentError, ["dropout is a probability from 0 to 1", "1.5"]),
    ("dtype int", lambda: make(CELL, input=3, hidden=4, dtype=int), tl.ArgumentError, ["float32 or float64"]),
    ("dtype unknown", lambda: make(CELL, input=3, hidden=4, dtype="nope"), tl.ArgumentError, ["float32 or float64", "nope"]),
    ("seed", lambda: make(CELL, input=3, hidden=4, seed="a"), tl.ArgumentError, ["a seed (an int of at least 0) or a numpy.random.Generator"]),
    ("no forget gate", lambda: make(tl.cells.gru, input=3, hidden=4, forget_bias=1.0), tl.ArgumentError, ["`gru`: has no forget gate bias", "leave forget_bias out"]),
    ("forget bias no number", lambda: make(CELL, input=3, hidden=4, forget_bias="1"), tl.ArgumentError, ["forget_bias is a number"]),
    ("wrong width", lambda: LAYER(np.zeros((5, 2, 4))), tl.ShapeError, ["axis 'input' is 3 but x has 4", "(5, 2, 4)", "x is (steps, batch, input=3)"]),
    ("wrong width, batch first", lambda: PEEP(np.zeros((5, 2, 4))), tl.ShapeError, ["x is (batch, steps, input=3)"]),
    ("one axis", lambda: LAYER(np.zeros(5)), tl.ShapeError, ["x has 1 axes", "(steps, batch, input=3)", "no batch axis"]),
    ("four axes", lambda: LAYER(X[None]), tl.ShapeError, ["x has 4 axes"]),
    ("integers", lambda: LAYER(X.astype(int)), tl.ArgumentError, ["x must be floats, it is int64", "tl.nn.Embedding"]),
    ("text", lambda: LAYER("abc"), tl.ArgumentError, ["numbers and booleans"]),
    ("ragged", lambda: LAYER([[[1, 2, 3]], [[1, 2]]]), tl.ShapeError, ["rows have different lengths", "or pad"]),
    ("two inputs for one", lambda: LAYER((X, X)), tl.ArgumentError, ["lstm has 1 input (x), 2 given", "layer(x, states)"]),
    ("one input for two", lambda: TWO(X), tl.ArgumentError, ["two has 2 inputs (x, gap), 1 given", "layer((x, gap))"]),
    ("three inputs for two", lambda: TWO((X, X, X)), tl.ArgumentError, ["two has 2 inputs (x, gap), 3 given"]),
    ("inputs that differ", lambda: TWO((X, np.zeros((4, 2, 1)))), tl.ShapeError, ["the inputs differ in steps or batch", "(5, 2, 3)", "(4, 2, 1)"]),
    ("second input's width", lambda: TWO((X, X)), tl.ShapeError, ["axis 1 is 1 but gap has 3", "(steps, batch, 1)"]),
    ("second input's axes", lambda: TWO((X, np.zeros(5))), tl.ShapeError, ["gap has 1 axes"]),
    ("one state of two", lambda: LAYER(X, H), tl.ArgumentError, ["lstm has 2 states (h, c), 1 given", "layer(x, (h, c))"]),
    ("state's shape", lambda: LAYER(X, (H, H[0])), tl.ShapeError, ["the initial c must be (1, 2, 4): (layers*directions, batch, hidden)", "(2, 4)"]),
    ("state's batch", lambda: PEEP(np.zeros((2, 5, 3)), H), tl.ShapeError, ["the initial h must be (2, 2, 4)", "(1, 2, 4)"]),
    ("state of integers", lambda: LAYER(X, (H, H.astype(int))), tl.ArgumentError, ["c must be floats, it is int64", "astype"]),
    ("unbatched state", lambda: LAYER(X[:, 0], (H, H)), tl.ShapeError, ["the initial h must be (1, 4): (layers*directions, hidden)"]),
    ("lengths too long", lambda: LAYER(X, lengths=[1, 6]), tl.ShapeError, ["a length is from 0 to 5, the number of steps; sequence 1 has 6"]),
    ("lengths negative", lambda: LAYER(X, lengths=[-1, 5]), tl.ShapeError, ["sequence 0 has -1"]),
    ("lengths too few", lambda: LAYER(X, lengths=[1]), tl.ShapeError, ["lengths must be 2 integers, one a sequence", "(1,)"]),
    ("lengths fractional", lambda: LAYER(X, lengths=[1.5, 2]), tl.ShapeError, ["lengths must be 2 integers"]),
    ("lengths nan", lambda: LAYER(X, lengths=[np.nan, 2]), tl.ShapeError, ["lengths must be 2 integers"]),
    ("lengths text", lambda: LAYER(X, lengths=["a", 2]), tl.ShapeError, ["lengths must be 2 integers"]),
    ("lengths a mask", lambda: LAYER(X, lengths=np.ones((5, 2), bool)), tl.ShapeError, ["lengths must be 2 integers"]),
    ("step of a sequence", lambda: LAYER.step(X), tl.ShapeError, ["a step takes (batch, input=3) or (input=3,)", "(5, 2, 3)"]),
    ("step of another width", lambda: LAYER.step(X[0, :, :2]), tl.ShapeError, ["a step takes (batch, input=3)", "(2, 2)"]),
    ("step with one state", lambda: LAYER.step(X[0], (H,)), tl.ArgumentError, ["lstm has 2 states (h, c), 1 given"]),
    ("bidirectional step", lambda: PEEP.step(X[0]), tl.ArgumentError, ["cannot be run step by step", "reads the future"]),
    ("LSTM width", lambda: LSTM(np.zeros((5, 2, 4))), tl.ShapeError, ["`LSTM`: axis 'input' is 3 but x has 4"]),
    ("LSTM one state", lambda: LSTM(X, H), tl.ArgumentError, ["`LSTM`: lstm has 2 states (h, c), 1 given"]),
    ("LSTM proj_size", lambda: tl.nn.LSTM(3, 4, proj_size=4), tl.ArgumentError, ["proj_size must be smaller than hidden_size"]),
    ("LSTM hidden 0", lambda: tl.nn.LSTM(3, 0), tl.ArgumentError, ["hidden_size must be an integer of at least 1"]),
    ("LSTM without bias", lambda: tl.nn.LSTM(3, 4, bias=False, forget_bias=1.0), tl.ArgumentError, ["forget_bias needs bias=True"]),
    ("RNN nonlinearity", lambda: tl.nn.RNN(3, 4, nonlinearity="x"), tl.ArgumentError, ["'tanh' or 'relu'"]),
    ("LSTMCell width", lambda: tl.nn.LSTMCell(3, 4)(np.zeros((2, 4))), tl.ShapeError, ["input is (batch, 3) or (3,)"]),
    ("LSTMCell integers", lambda: tl.nn.LSTMCell(3, 4)(X[0].astype(int)), tl.ArgumentError, ["input must be floats"]),
    ("LSTMCell one state", lambda: tl.nn.LSTMCell(3, 4)(X[0], H[0]), tl.ArgumentError, ["takes 2 states (h, c), 1 given"]),
    ("LSTMCell state", lambda: tl.nn.LSTMCell(3, 4)(X[0], (H[0], H[0, :1])), tl.ShapeError, ["c must be (2, 4)", "(1, 4)"]),
    ("GRUCell two states", lambda: tl.nn.GRUCell(3, 4)(X[0], (H[0], H[0])), tl.ArgumentError, ["takes 1 states (h), 2 given"]),
]
# fmt: on


@pytest.mark.parametrize(("body", "line", "error", "parts"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_that_cannot_be_compiled(body, line, error, parts):
    with pytest.raises(error) as caught:
        declare(body)
    statement = ["", *(s.strip() for s in body.split(";"))][line - 1]
    said(caught.value, f"cell, line {line} of <body>: {statement}\n", *parts)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("change", "error", "parts"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
def test_a_declaration_that_does_not_fit(change, error, parts):
    with pytest.raises(error) as caught:
        declare(**{"body": f"h = {SUM}", **change})
    said(caught.value, "`cell`: ", *parts)


@pytest.mark.parametrize(("call", "error", "parts"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_a_wrong_call(call, error, parts):
    with pytest.raises(error) as caught:
        call()
    said(caught.value, *parts)


def test_a_value_of_another_declaration():
    kept = []

    def body(x, /, h, *, W):
        kept.append(h)
        return W @ x + kept[0]

    axes = {"x": "input", "h": "hidden", "W": "hidden input"}
    tl.cell(**axes)(body)
    with pytest.raises(tl.TraceError, match=r"(?s)body, line \d+ of test_declaration_errors.py: return W @ x .*`add`: h belongs to another declared function.*pass it as an argument"):
        tl.cell(**axes)(body)


def test_pythons_own_errors_keep_their_traceback():
    with pytest.raises(NameError, match="nowhere"):
        declare("h = W.h @ x + nowhere")
    with pytest.raises(ZeroDivisionError):
        declare("h = W.h @ x + 1 / 0")


def test_the_profiler_of_the_user_is_left_alone():
    import sys

    calls = []
    watch = lambda *event: calls.append(event)
    sys.setprofile(watch)
    try:
        with pytest.raises(tl.TraceError):
            declare("h = x[0]")
        declare(f"h = {SUM}")
        assert sys.getprofile() is watch
    finally:
        sys.setprofile(None)


def test_an_endless_sharing_of_values_is_printed_short():
    """A value read twice, sixty times over, is 2**60 terms when written out."""
    with pytest.raises(tl.TraceError, match="cannot be indexed"):
        declare("\n    ".join([f"h = {SUM}", *["h = h + h * h"] * 60, "h = h[0]"]))
    cell = declare("\n    ".join([f"h = {SUM}", *["h = h + h * h"] * 60]))
    assert str(cell).count("\n") < 80


# ------------------------------------------------------------------------------------------------------ allowed all the same
def test_members_may_have_the_names_of_methods():
    cell = declare("h = tl.tanh(W.exp @ x + U.max @ h + b.T + b.sum + b.mean * b.numpy + b.tanh)")
    assert {f.name: f.members for f in cell.families.values()} == {
        "W": ("exp",), "U": ("max",), "b": ("T", "sum", "mean", "numpy", "tanh"),
    }  # fmt: skip
    layer = tl.nn.Recurrent(cell, input=2, hidden=3, seed=0)
    assert layer.b_l0.shape == (15,)
    assert np.isfinite(layer(np.ones((3, 2, 2), np.float32))[0].numpy()).all()


@pytest.mark.parametrize(
    "body",
    [
        f"a = {SUM}; h = tl.where(tl.logical_and(a > 0, h > 0), a, -a)",
        f"a = {SUM}; h = np.tanh(a) * np.maximum(a, 0.5) + np.exp(-abs(a))",
        f"a = {SUM}; a += h; a *= 2; a -= 1; a /= 3; h = a",
        f"a = {SUM}; h = a.tanh() * a.exp() / (1 + a.square())",
        f"a = {SUM}; h = a * np.float32(0.5) + np.float64(2) * a + np.int64(1)",
        f"a = {SUM}; h = +abs(-a) ** 0.5 // 1 % 2",
        f"a = {SUM}; h = tl.matmul(W.m, x) + a",
        f"a = {SUM}; h = sum([a, h, a * h])",
        "for gate in 'pq': h = tl.tanh(getattr(W, gate) @ x + U.h @ h + b.h);",
    ],
)
def test_python_that_is_welcome(body, monkeypatch):
    monkeypatch.setattr("tinygrad_lstm.scan.run_forward", lambda cell, *rest: interpret.run_forward(cell.plan, *rest))
    cell = declare(body)
    assert isinstance(cell, Cell)
    layer = tl.nn.Recurrent(cell, input=2, hidden=3, seed=0)
    assert np.isfinite(layer(np.ones((3, 2, 2), np.float32))[0].numpy()).all()


def test_scalars_of_numpy_never_widen():
    cell = declare(f"h = np.float64(0.5) * tl.tanh({SUM}) * np.float64(2)")
    layer = tl.nn.Recurrent(cell, input=2, hidden=3)
    assert layer(np.ones((3, 2, 2)))[0].dtype == np.float32
