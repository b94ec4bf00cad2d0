"""Wrong calls of the public face, and what each is told: the operation, what is wrong, what was given, what to do."""

import inspect

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import errors
from tinygrad_lstm.errors import (
    ArgumentError,
    BoundsError,
    GradientError,
    MissingExtra,
    ShapeError,
    TraceError,
    describe,
    message,
)

x = tl.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
v = tl.tensor([1.0, 2.0])
integers = tl.tensor(np.arange(3))

# fmt: off
TABLE = [
    # creation
    ("tl.tensor([[1, 2], [3]])", ShapeError, "`tensor`: its rows have different lengths", "give every row the same length, or pad"),
    ("tl.tensor(['a'])", ArgumentError, "`tensor`: holds numbers and booleans, not text", "list ['a']"),
    ("tl.tensor(None)", ArgumentError, "not Python objects", "data = None"),
    ("tl.tensor(np.array([1, None]))", ArgumentError, "not Python objects"),
    ("tl.tensor(1j)", ArgumentError, "not complex numbers"),
    ("tl.tensor([1.0], dtype='nonsense')", ArgumentError, "floats, integers or booleans", "'nonsense'", "dtype=np.float32"),
    ("tl.tensor([1], dtype=np.int64, requires_grad=True)", GradientError, "only floats have gradients, this is int64", "dtype=np.float32"),
    ("tl.tensor([x, x])", ArgumentError, "a history would lose it", "tl.stack"),
    ("tl.zeros(-1)", ShapeError, "`zeros`: the shape is a non-negative integer", "shape = number -1"),
    ("tl.ones((2, 1.5))", ShapeError, "`ones`: the shape", "(2, 1.5)"),
    ("tl.zeros(2, dtype=complex)", ArgumentError, "`zeros`: a tensor holds floats"),
    ("tl.full(2, 'a')", ArgumentError, "not text"),
    ("tl.arange(1, 2, 0)", ArgumentError, "`arange`: takes stop, or start, stop and step"),
    ("tl.randn(2, rng='seed')", ArgumentError, "a seed (an int of at least 0) or a numpy.random.Generator", "str 'seed'"),
    ("tl.rand(-1)", ShapeError, "`rand`: the shape"),
    # elementwise
    ("x + v", ShapeError, "`add`: shapes (2, 3) and (2,) do not broadcast", "a = (2, 3) float32", "b = (2,) float32", "counted from the last"),
    ("x * None", ArgumentError, "`mul`: takes tensors, arrays and numbers, not NoneType"),
    ("x - 'a'", ArgumentError, "`sub`: ", "b = str 'a'"),
    ("x / [1, 'b']", ArgumentError, "`div`: ", "list [1, 'b']"),
    ("integers ** -1", ShapeError, "`pow`: Integers to negative integer powers"),
    ("tl.tensor(np.uint8(3)) + 300", ShapeError, "300 out of bounds for uint8"),
    ("tl.clip(x)", ArgumentError, "needs a_min, a_max or both"),
    ("tl.gelu(x, approximate='erf')", ArgumentError, "'none' or 'tanh'", "str 'erf'"),
    # products
    ("x @ v", ShapeError, "`matmul`: the last axis of a and the second last of b must agree: (2, 3) @ (2,)"),
    ("x @ x", ShapeError, "(2, 3) @ (2, 3)", "a = (2, 3) float32"),
    ("x @ 2", ShapeError, "a number has no axis to sum over", "use `*`"),
    ("tl.dot(tl.zeros((2, 3)), tl.zeros((4, 5, 6)))", ShapeError, "`dot`: the last axis of a"),
    ("tl.einsum('ij,jk->ik', x, x)", ShapeError, "label 'j' is 3 and, in operand 1, 2", "operand 0 = (2, 3) float32"),
    ("tl.einsum('ij', x, x)", ShapeError, "names 1 operands, 2 were given"),
    ("tl.einsum('ijk->i', x)", ShapeError, "does not name every axis once"),
    ("tl.einsum('ij->iz', x)", ShapeError, "the result's labels 'iz'"),
    ("tl.einsum(x, x)", ArgumentError, "the first argument is the subscripts", "einsum('ij,jk->ik', a, b)"),
    # axes
    ("x.sum(axis=2)", ShapeError, "`sum`: axis 2 does not exist: the value has 2 axes, -2 to 1"),
    ("x.mean(axis=(0, 0))", ShapeError, "`mean`: an axis is named twice"),
    ("x.std(axis=1.5)", ArgumentError, "`var`: an axis is an integer", "axis = number 1.5"),
    ("tl.zeros((0, 3)).max(axis=0)", ShapeError, "`max`: has no value over an empty axis", "a    = (0, 3) float32"),
    ("tl.argmin(tl.zeros(0))", ShapeError, "`argmin`: has no value over an empty axis"),
    ("x.argmax(axis=(0, 1))", ArgumentError, "`argmax`: an axis is an integer"),
    ("tl.softmax(1.0)", ShapeError, "`softmax`: axis -1 does not exist: the value has none"),
    ("tl.cumsum(x, axis=-3)", ShapeError, "`cumsum`: axis -3 does not exist"),
    # shapes
    ("x.reshape(4)", ShapeError, "`reshape`: cannot reshape array of size 6 into shape (4,)"),
    ("x.reshape('a')", ArgumentError, "`reshape`: ", "shape=('a',)"),
    ("x.transpose(0)", ShapeError, "every axis must be named once: (0,) for 2 axes"),
    ("x.swapaxes(0, 3)", ShapeError, "`swapaxes`: axis 3 does not exist"),
    ("tl.moveaxis(x, 0, (0, 1))", ShapeError, "as many destinations as sources"),
    ("x.squeeze(0)", ShapeError, "`squeeze`: axis 0 has length 2, not 1"),
    ("tl.expand_dims(x, 5)", ShapeError, "`expand_dims`: axis 5 does not exist"),
    ("tl.broadcast_to(x, (3, 3))", ShapeError, "`broadcast_to`: axes must be equal or 1", "shape=(3, 3)"),
    ("tl.concatenate([])", ShapeError, "needs at least one array"),
    ("tl.concatenate([x, v])", ShapeError, "all shapes must agree but for axis 0: array 0 is (2, 3), array 1 is (2,)"),
    ("tl.concatenate([1.0, 2.0])", ShapeError, "numbers have no axis to be joined along", "use tl.stack"),
    ("tl.concatenate(3)", ArgumentError, "takes a list of arrays", "concatenate([a, b])"),
    ("tl.stack([x, v])", ShapeError, "`stack`: all shapes must be equal: (2, 3), (2,)"),
    ("tl.split(x, 4, axis=1)", ShapeError, "axis 1 of length 3 has no 4 equal parts"),
    ("tl.split(x, 'a')", ArgumentError, "a number of equal parts, or the indices to cut at"),
    ("tl.pad(x, -1)", ShapeError, "widths cannot be negative", "slice instead"),
    ("tl.pad(x, ((1, 2, 3),))", ShapeError, "pad_width is n, (before, after)"),
    ("tl.pad(x, 1, mode='odd')", ArgumentError, "mode is 'constant', 'edge'"),
    ("tl.pad(tl.zeros(0), 1, mode='edge')", ShapeError, "an empty array has nothing to pad with"),
    ("tl.repeat(x, -1)", ShapeError, "`repeat`: ", "repeats = number -1"),
    ("tl.take(x, 7)", BoundsError, "index 7 is out of bounds"),
    ("tl.take(x, 1.5)", ArgumentError, "`take`: indices are integers"),
    ("tl.take(x, 0, mode='loop')", ArgumentError, "'raise', 'wrap' or 'clip'"),
    ("tl.take(tl.zeros(0), 1, mode='wrap')", BoundsError, "an empty axis has no entries to take"),
    ("x.astype('text')", ArgumentError, "`astype`: a tensor holds floats"),
    # indexing, writing
    ("x[2]", BoundsError, "`x[...]`: index 2 is out of bounds for axis 0 with size 2", "x = (2, 3) float32"),
    ("x[0, 0, 0]", BoundsError, "too many indices"),
    ("x['a']", BoundsError, "index='a'"),
    ("x[[0, 1], [0, 1, 2]]", BoundsError, "could not be broadcast"),
    ("x[[[0], [1, 2]]]", ShapeError, "a list of indices must be rectangular"),
    ("x.__setitem__(0, 1.0)", ArgumentError, "`x[...] = y`: a tensor's value never changes", "tl.where(mask, y, x)"),
    ("np.add(x, x, out=np.zeros((2, 3)))", ArgumentError, "`np.add`: has no gradient rule here with out="),
    ("np.zeros(2).__iadd__(v)", ArgumentError, "`np.add`: has no gradient rule here with out="),
    # one number
    ("bool(x)", ShapeError, "the truth of several elements is ambiguous", ".numpy().any()"),
    ("float(x)", ShapeError, "`item`: takes a tensor of one element"),
    ("len(tl.tensor(1.0))", ArgumentError, "a tensor without axes has no length"),
    ("[1, 2][tl.tensor(1.0)]", ArgumentError, "only integers index"),
    # gradients
    ("x.backward()", GradientError, "a value of several elements needs a cotangent", "y.sum().backward(), or y.backward(g) with g of shape (2, 3)"),
    ("v.sum().backward()", GradientError, "nothing this value was computed from requires a gradient", "requires_grad=True"),
    ("x.sum().backward([1.0, 2.0])", ShapeError, "the cotangent must have the shape of the value", "gradient = (2,) float32"),
    ("tl.grad(lambda x: x)(np.arange(3))", ArgumentError, "cannot differentiate by an argument of int64", "use floats"),
    ("tl.grad(lambda x: x, argnums='x')", ArgumentError, "argnums is the position of an argument"),
    ("tl.grad(lambda x: x)()", ArgumentError, "but 0 arguments were given"),
    ("tl.check_grads(lambda x: x, 3.0)", ArgumentError, "args is a list of the arguments", "check_grads(f, [x])"),
    ("tl.check_grads(lambda x: 3, [1.0])", ArgumentError, "f must return Tensors"),
    # NumPy's functions
    ("np.linalg.norm(x)", ArgumentError, "`np.norm`: has no gradient rule here", "x.numpy()"),
    ("x & x", ArgumentError, "`&`: combines conditions", "(x > 0) & (x < 1)"),
    ("(x > 0) | 1.5", ArgumentError, "`|`: combines conditions", "b = number 1.5"),
    ("~integers", ArgumentError, "`~`: combines conditions"),
    ("np.bitwise_and(integers, integers)", ArgumentError, "combines conditions"),
    ("np.add.reduce(x)", ArgumentError, "`np.add.reduce`: has no gradient rule here"),
    ("np.tanh(x, where=True)", ArgumentError, "has no gradient rule here with where="),
    # declared functions
    ("tl.fuse(lambda a: a if a > 0 else -a)", TraceError, "a traced value has no truth value", "tl.where(condition, a, b)"),
    ("tl.fuse(lambda a: a[0])", TraceError, "cannot be indexed"),
    ("tl.fuse(lambda a: sorted(a))", TraceError, "cannot be looped over"),
    ("tl.fuse(lambda a: a * x)", TraceError, "a traced value meets Tensor"),
]
# fmt: on


@pytest.mark.parametrize(("call", "kind", "said"), [(c, k, s) for c, k, *s in TABLE], ids=[row[0] for row in TABLE])
def test_a_wrong_call_is_told(call, kind, said):
    with pytest.raises(kind) as caught:
        eval(call)
    for part in said:
        assert part in str(caught.value)
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)


def test_every_kind_of_error_is_a_python_kind_too():
    kinds = {
        ShapeError: ValueError,
        BoundsError: IndexError,
        ArgumentError: TypeError,
        TraceError: TypeError,
        GradientError: RuntimeError,
        MissingExtra: ImportError,
    }
    for ours, pythons in kinds.items():
        assert issubclass(ours, pythons) and ours.__doc__


def test_messages_have_one_layout():
    text = message("op", "went wrong", {"a": np.ones((2, 3)), "long": 1.5}, "do this")
    assert text == "`op`: went wrong\n    a    = (2, 3) float64\n    long = number 1.5\n  do this"
    assert describe("x" * 100) == "str 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    assert describe(None) == "None" and describe(True) == "True"
    assert (
        str(MissingExtra("matplotlib", "plot", "plotting"))
        == "plotting needs matplotlib: pip install 'tinygrad_lstm[plot]'"
    )


def test_every_kind_of_error_is_a_public_name():
    kinds = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert "BoundsError" in kinds
    assert {name: getattr(tl, name, None) for name in kinds} == kinds


def test_a_gradient_is_given_as_a_tensor_like_the_value():
    w = tl.tensor(np.zeros((2, 3)), requires_grad=True)
    with pytest.raises(ArgumentError, match="a Tensor or None") as told:
        w.grad = np.zeros((2, 3))
    assert "(2, 3) float64" in str(told.value) and "x.grad = tl.tensor(grad)" in str(told.value)
    with pytest.raises(ShapeError, match="the shape of its value"):
        w.grad = tl.tensor(np.zeros(3))
    with pytest.raises(ArgumentError, match="the dtype of its value") as told:
        w.grad = tl.zeros((2, 3))
    assert "tl.astype(grad, np.float64)" in str(told.value) and w.grad is None
    w.grad = given = tl.tensor(np.ones((2, 3)))
    assert w.grad is given
    w.sum().backward()
    np.testing.assert_array_equal(w.grad, np.full((2, 3), 2.0))
    w.grad = None
    assert w.grad is None
