"""Public functions that are more than a row: arguments are checked and brought to the form the rows take.

Names, argument names and edge cases are NumPy's where NumPy has the function.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from . import ops
from .errors import ArgumentError, BoundsError, ShapeError, message
from .graph import NUMBERS, Node, Value, apply
from .ops import exp, log, sqrt, tanh
from .tensor import NUMPY_FUNCTIONS, ArrayLike, Tensor, _plain_index, _wrap, evaluate, real_dtype, taken

Axis = int | Sequence[int] | None


# ------------------------------------------------------------------------------------------------------------ creation
def tensor(data: ArrayLike, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """A Tensor of a copy of `data`.

    Parameters
    ----------
    data : a number, a nested list, an array or a Tensor. Python numbers become float32; NumPy arrays keep their dtype.
    dtype : another dtype. requires_grad : collect gradients here (floats only). name : for drawings and errors.

    Raises
    ------
    ShapeError : a ragged list. ArgumentError : not numbers.

    Examples
    --------
    >>> tl.tensor([[1, 2], [3, 4]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    return Tensor(data, requires_grad, dtype, name)


def _filled(name: str, make: Callable[..., np.ndarray], shape: Any, dtype: Any, requires_grad: bool) -> Tensor:
    dtype = real_dtype(name, dtype)
    try:
        if isinstance(shape, Tensor):
            shape = shape.tolist()
        return Tensor(make(shape, dtype=dtype), requires_grad)
    except (ValueError, TypeError) as error:
        if isinstance(error, ShapeError | ArgumentError):
            raise
        raise ShapeError(
            message(name, f"the shape is a non-negative integer or a tuple of them ({error})", {"shape": shape})
        ) from None


def zeros(shape: int | Sequence[int], dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """A Tensor of zeros, float32 unless told.

    Examples
    --------
    >>> tl.zeros((2, 3)).shape
    (2, 3)
    """
    return _filled("zeros", np.zeros, shape, dtype, requires_grad)


def ones(shape: int | Sequence[int], dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """A Tensor of ones, float32 unless told.

    Examples
    --------
    >>> tl.ones(3)
    tensor([1., 1., 1.])
    """
    return _filled("ones", np.ones, shape, dtype, requires_grad)


def full(shape: int | Sequence[int], fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor filled with one value: float32 for a Python number, else the value's dtype.

    Examples
    --------
    >>> tl.full((2, 2), 0.5)
    tensor([[0.5, 0.5],
            [0.5, 0.5]])
    """
    value = _lift(fill_value).data
    dtype = value.dtype if dtype is None else dtype
    return _filled("full", lambda shape, dtype: np.full(shape, value, dtype), shape, dtype, requires_grad)


def arange(*args: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """`arange(stop)` or `arange(start, stop, step=1)`: integers of integers (int64), float32 as soon as one is a float.

    Examples
    --------
    >>> tl.arange(3)
    tensor([0, 1, 2], dtype=int64)
    >>> tl.arange(0, 1, 0.25)
    tensor([0.  , 0.25, 0.5 , 0.75])
    """
    if dtype is None:
        dtype = np.float32 if builtins.any(type(a) is float for a in args) else None
    try:
        return Tensor(np.arange(*args, dtype=dtype), requires_grad)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ArgumentError(message("arange", f"takes stop, or start, stop and step: {error}")) from None


def zeros_like(a: ArrayLike, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of a.

    Examples
    --------
    >>> tl.zeros_like(np.ones((2, 2)))
    tensor([[0., 0.],
            [0., 0.]], dtype=float64)
    """
    return Tensor(np.zeros_like(_lift(a).data, dtype=dtype), requires_grad)


def ones_like(a: ArrayLike, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of a.

    Examples
    --------
    >>> tl.ones_like([1.0, 2.0])
    tensor([1., 1.])
    """
    return Tensor(np.ones_like(_lift(a).data, dtype=dtype), requires_grad)


def generator(rng: Any = None) -> np.random.Generator:
    """A `numpy.random.Generator`, from itself, from a seed, or (None) from fresh entropy."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or (isinstance(rng, int | np.integer) and not isinstance(rng, bool) and rng >= 0):
        return np.random.default_rng(rng)
    raise ArgumentError(
        message(
            "random", "the source of chance is a seed (an int of at least 0) or a numpy.random.Generator", {"rng": rng}
        )
    )


def randn(*shape: int, rng: Any = None, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Independent samples of the standard normal distribution. rng : a numpy.random.Generator or a seed.

    Examples
    --------
    >>> tl.randn(2, 3, rng=0).shape
    (2, 3)
    """
    return _filled(
        "randn",
        lambda s, dtype: np.asarray(generator(rng).standard_normal(s, np.float64), dtype),
        _shape_of(shape),
        dtype,
        requires_grad,
    )


def rand(*shape: int, rng: Any = None, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Independent samples, uniform on [0, 1). rng : a numpy.random.Generator or a seed.

    Examples
    --------
    >>> x = tl.rand(1000, rng=0)
    >>> bool(x.min() >= 0) and bool(x.max() < 1)
    True
    """
    kind = np.float32 if np.dtype(dtype) == np.float32 else np.float64
    return _filled(
        "rand",
        lambda s, dtype: np.asarray(generator(rng).random(s, kind), dtype),
        _shape_of(shape),
        dtype,
        requires_grad,
    )


def _shape_of(shape: tuple) -> Any:
    return shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape


def _lift(a: ArrayLike) -> Tensor:
    return a if isinstance(a, Tensor) else Tensor(a)


def _value(a: ArrayLike) -> Any:
    """Tensors and Nodes as they are, everything else as a Tensor."""
    return a if isinstance(a, Value) else Tensor(a)


# ----------------------------------------------------------------------------------------------------------------- axes
def _axis(name: str, axis: Any, ndim: int) -> int:
    try:
        k = axis.__index__()
    except (AttributeError, TypeError):
        raise ArgumentError(message(name, "an axis is an integer", {"axis": axis})) from None
    if not -ndim <= k < ndim:
        raise ShapeError(
            message(
                name,
                f"axis {k} does not exist: the value has {ndim} axes, {-ndim} to {ndim - 1}"
                if ndim
                else f"axis {k} does not exist: the value has none",
            )
        )
    return k % ndim


def _axes(name: str, axis: Axis, ndim: int) -> tuple[int, ...] | None:
    if axis is None:
        return None
    if isinstance(axis, tuple | list):
        axes = tuple(_axis(name, a, ndim) for a in axis)
        if len(set(axes)) != len(axes):
            raise ShapeError(message(name, "an axis is named twice", {"axis": axis}))
        return axes
    return (_axis(name, axis, ndim),)


_ONLY = (0, -1, (0,), (-1,))  # NumPy takes these for the axis that a number does not have (but not in mean)


def _reduce(name: str, a: ArrayLike, axis: Axis, keepdims: bool) -> Any:
    a = _value(a)
    if isinstance(a, Node):
        return a.apply(name, a, axis=axis, keepdims=keepdims)
    axes = _axes(name, None if a.ndim == 0 and name != "mean" and axis in _ONLY else axis, a.ndim)
    if (
        name in ("max", "min")
        and a.size == 0
        and math.prod(a.shape if axes is None else (a.shape[k] for k in axes)) == 0
    ):
        raise ShapeError(message(name, "has no value over an empty axis", {"a": a, "axis": axis}))
    return evaluate(name, a, axis=axes, keepdims=bool(keepdims))


# ----------------------------------------------------------------------------------------------------------- reductions
def sum(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over axes (all, if None). d sum / d a = 1.

    Examples
    --------
    >>> tl.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    tensor([4., 6.])
    """
    return _reduce("sum", a, axis, keepdims)


def mean(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over axes: sum / n.

    Examples
    --------
    >>> tl.mean([[1.0, 2.0], [3.0, 4.0]], axis=-1, keepdims=True)
    tensor([[1.5],
            [3.5]])
    """
    return _reduce("mean", a, axis, keepdims)


def max(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest entry over axes; NaN if there is one. Entries that tie for it share its gradient evenly.

    Raises
    ------
    ShapeError : the axes are empty.

    Examples
    --------
    >>> tl.max([[1.0, 5.0], [3.0, 4.0]], axis=1)
    tensor([5., 4.])
    >>> tl.grad(tl.max)([2.0, 1.0, 2.0])
    tensor([0.5, 0. , 0.5])
    """
    return _reduce("max", a, axis, keepdims)


def min(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest entry over axes; NaN if there is one. Entries that tie for it share its gradient evenly.

    Raises
    ------
    ShapeError : the axes are empty.

    Examples
    --------
    >>> tl.min([3.0, 1.0, 2.0]).item()
    1.0
    """
    return _reduce("min", a, axis, keepdims)


def prod(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over axes, multiplied pairwise, so that its gradient is right where entries are zero.

    Examples
    --------
    >>> tl.grad(tl.prod)([0.0, 2.0, 3.0])
    tensor([6., 0., 0.])
    """
    a = _lift(a)
    axes = _axes("prod", axis, a.ndim)
    if a.dtype.kind != "f":
        return _wrap(np.prod(a.data, axis=axes, keepdims=keepdims))
    kept = tuple(1 if axes is None or i in axes else n for i, n in enumerate(a.shape))
    rest = tuple(i for i in range(a.ndim) if axes is not None and i not in axes)
    order = (*(i for i in range(a.ndim) if i not in rest), *rest)
    x = (
        reshape(transpose(a, order), (-1, *(a.shape[i] for i in rest)))
        if a.size
        else ones((1, *(a.shape[i] for i in rest)), a.dtype)
    )
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        pairs = x[:half] * x[half : 2 * half]
        x = concatenate([pairs, x[2 * half :]]) if x.shape[0] % 2 else pairs
    return reshape(x, kept if keepdims else tuple(a.shape[i] for i in rest))


def var(a: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The variance over axes: sum((a - mean)**2) / (n - ddof).

    Examples
    --------
    >>> tl.var([1.0, 2.0, 3.0, 4.0], ddof=1).item()
    1.6666666269302368
    """
    a = _lift(a)
    axes = _axes("var", axis, a.ndim)
    n = math.prod(a.shape if axes is None else (a.shape[k] for k in axes))
    centred = a - mean(a, axis, keepdims=True)
    return sum(centred * centred, axis, keepdims) / builtins.max(n - ddof, 0)


def std(a: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The standard deviation over axes: the square root of `var`. Its derivative at 0 is not a number.

    Examples
    --------
    >>> tl.std([1.0, 1.0, 3.0, 3.0]).item()
    1.0
    """
    return sqrt(var(a, axis, ddof, keepdims))


def logsumexp(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(a))) over axes, without overflow: the largest entry is taken out first.

    Examples
    --------
    >>> tl.logsumexp([1000.0, 1000.0]).item()
    1000.6931762695312
    """
    a = _value(a)
    if isinstance(a, Node):
        top = ops.detach(max(a, axis, keepdims))
        return log(sum(exp(a - top), axis, keepdims)) + top
    return _reduce("logsumexp", a, axis, keepdims)


def cumsum(a: ArrayLike, axis: int | None = None) -> Tensor:
    """Running sums along an axis; of all entries in order if axis is None.

    Examples
    --------
    >>> tl.cumsum([1.0, 2.0, 3.0])
    tensor([1., 3., 6.])
    """
    a = _lift(a)
    if axis is None:
        a, axis = reshape(a, (-1,)), 0
    return evaluate("cumsum", a, axis=_axis("cumsum", axis, a.ndim))


def _arg(name: str, a: ArrayLike, axis: int | None, keepdims: bool) -> Tensor:
    a = _lift(a)
    k = None if axis is None or (a.ndim == 0 and axis in _ONLY) else _axis(name, axis, a.ndim)
    if (a.size if k is None else a.shape[k]) == 0:
        raise ShapeError(message(name, "has no value over an empty axis", {"a": a}))
    return evaluate(name, a, axis=k, keepdims=bool(keepdims))


def argmax(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest entry (the first one at a tie), int64; into the flattened array if axis is None.

    Raises
    ------
    ShapeError : the axis is empty.

    Examples
    --------
    >>> tl.argmax([[1.0, 5.0], [7.0, 4.0]], axis=1)
    tensor([1, 0], dtype=int64)
    """
    return _arg("argmax", a, axis, keepdims)


def argmin(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest entry (the first one at a tie), int64; into the flattened array if axis is None.

    Raises
    ------
    ShapeError : the axis is empty.

    Examples
    --------
    >>> tl.argmin([3.0, 1.0, 2.0]).item()
    1
    """
    return _arg("argmin", a, axis, keepdims)


def softmax(a: ArrayLike, axis: int = -1) -> Tensor:
    """exp(a) / sum(exp(a)) along an axis, without overflow.

    Examples
    --------
    >>> tl.softmax([0.0, 0.0, 1000.0])
    tensor([0., 0., 1.])
    """
    a = _value(a)
    if isinstance(a, Node):
        e = exp(a - ops.detach(max(a, axis, True)))
        return e / sum(e, axis, True)
    return evaluate("softmax", a, axis=_axis("softmax", axis, a.ndim))


def log_softmax(a: ArrayLike, axis: int = -1) -> Tensor:
    """log(softmax(a)) = a - logsumexp(a), without overflow and without log 0.

    Examples
    --------
    >>> tl.log_softmax([0.0, -1000.0])
    tensor([    0., -1000.])
    """
    a = _value(a)
    if isinstance(a, Node):
        return a - logsumexp(a, axis, True)
    return evaluate("log_softmax", a, axis=_axis("log_softmax", axis, a.ndim))


# ---------------------------------------------------------------------------------- elementwise, with named arguments
def leaky_relu(x: ArrayLike, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope * x.

    Examples
    --------
    >>> tl.leaky_relu([-2.0, 3.0], 0.1)
    tensor([-0.2,  3. ])
    """
    return apply("leaky_relu", x, negative_slope)


def elu(x: ArrayLike, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (e**x - 1) (Clevert, Unterthiner & Hochreiter 2015).

    Examples
    --------
    >>> tl.elu([-1.0, 2.0])
    tensor([-0.63212055,  2.        ])
    """
    return apply("elu", x, alpha)


def gelu(x: ArrayLike, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016); approximate="tanh" for their formula
    0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3))).

    Raises
    ------
    ArgumentError : `approximate` is neither.

    Examples
    --------
    >>> tl.gelu([-1.0, 0.0, 1.0])
    tensor([-0.15865526,  0.        ,  0.8413447 ])
    """
    if approximate == "none":
        return ops.gelu(x)
    if approximate != "tanh":
        raise ArgumentError(message("gelu", "approximate is 'none' or 'tanh'", {"approximate": approximate}))
    x = _value(x)
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def clip(a: ArrayLike, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    """a limited to [a_min, a_max]; None leaves a side open. `min=` and `max=` are the same limits by their short names.

    Raises
    ------
    ArgumentError : no limit at all.

    Examples
    --------
    >>> tl.clip([-2.0, 0.5, 3.0], 0, 1)
    tensor([0. , 0.5, 1. ])
    >>> tl.clip([-2.0, 0.5, 3.0], max=1)
    tensor([-2. ,  0.5,  1. ])
    """
    low, high = a_min if a_min is not None else min, a_max if a_max is not None else max
    if low is None and high is None:
        raise ArgumentError(message("clip", "needs a_min, a_max or both"))
    a = _value(a)
    if (
        isinstance(a, Tensor) and a.dtype.kind != "f" and (low is None or high is None)
    ):  # an infinite limit would make floats of them
        return ops.minimum(a, high) if low is None else ops.maximum(a, low)
    return apply("clip", a, -math.inf if low is None else low, math.inf if high is None else high)


def where(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Tensor:
    """x where the condition holds, else y, with broadcasting; the gradient goes to the one chosen.

    Examples
    --------
    >>> x = tl.tensor([-1.0, 2.0])
    >>> tl.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    return apply("where", condition, x, y)


# ------------------------------------------------------------------------------------------------------- products
def matmul(a: ArrayLike, b: ArrayLike) -> Tensor:
    """NumPy's `a @ b`: (..., n, k) @ (..., k, m) -> (..., n, m); vectors are rows on the left, columns on the right.

    Raises
    ------
    ShapeError : the summed axes have different lengths, or one is a number.

    Examples
    --------
    >>> tl.matmul([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    tensor([3., 7.])
    """
    a, b = _value(a), _value(b)
    if isinstance(a, Node) or isinstance(b, Node):
        return apply("linear", a, b)
    if a.ndim >= 2 and b.ndim >= 2:
        return evaluate("matmul", a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(message("matmul", "a number has no axis to sum over", {"a": a, "b": b}, "use `*`"))
    if a.shape[-1] != (b.shape[-2] if b.ndim > 1 else b.shape[0]):
        raise ShapeError(
            message(
                "matmul",
                f"the last axis of a and the second last of b must agree: {a.shape} @ {b.shape}",
                {"a": a, "b": b},
            )
        )
    y = evaluate("matmul", a if a.ndim > 1 else reshape(a, (1, -1)), b if b.ndim > 1 else reshape(b, (-1, 1)))
    shape = y.shape
    if b.ndim == 1:
        shape = shape[:-1]
    if a.ndim == 1:
        shape = shape[:-2] + shape[-1:] if b.ndim > 1 else shape[:-1]
    return reshape(y, shape)


def dot(a: ArrayLike, b: ArrayLike) -> Tensor:
    """NumPy's dot: the sum over the last axis of a and the second last of b (of a vector, the only); numbers multiply.

    Raises
    ------
    ShapeError : the summed axes have different lengths.

    Examples
    --------
    >>> tl.dot([1.0, 2.0], [3.0, 4.0]).item()
    11.0
    """
    a, b = _lift(a), _lift(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if (a.ndim <= 2 and b.ndim <= 2) or b.ndim == 1:
        return matmul(a, b)
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            message(
                "dot",
                f"the last axis of a and the second last of b must agree: {a.shape} and {b.shape}",
                {"a": a, "b": b},
            )
        )
    k = b.shape[-2]
    rest = b.shape[:-2] + b.shape[-1:]
    right = reshape(moveaxis(b, -2, 0), (k, -1))
    return reshape(matmul(reshape(a, (-1, k)), right), a.shape[:-1] + rest)


def outer(a: ArrayLike, b: ArrayLike) -> Tensor:
    """All products of an entry of a and one of b: (n,), (m,) -> (n, m); other shapes are flattened.

    Examples
    --------
    >>> tl.outer([1.0, 2.0], [3.0, 4.0])
    tensor([[3., 4.],
            [6., 8.]])
    """
    return reshape(_lift(a), (-1, 1)) * reshape(_lift(b), (1, -1))


def einsum(subscripts: str, *operands: ArrayLike) -> Tensor:
    """Einstein's sum: `einsum("ij,jk->ik", a, b)`. With or without `->`, with `...` and with repeated labels.

    Raises
    ------
    ShapeError : labels that do not fit the operands' axes.

    Examples
    --------
    >>> tl.einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0])
    tensor([21., 43.])
    >>> tl.einsum("ii", [[1.0, 2.0], [3.0, 4.0]]).item()
    5.0
    """
    values = [_lift(x) for x in operands]
    if not isinstance(subscripts, str):
        raise ArgumentError(
            message(
                "einsum",
                "the first argument is the subscripts, a string",
                {"subscripts": subscripts},
                "einsum('ij,jk->ik', a, b)",
            )
        )
    given = {f"operand {k}": v for k, v in enumerate(values)}
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(values):
        raise ShapeError(
            message("einsum", f"{subscripts!r} names {len(terms)} operands, {len(values)} were given", given)
        )
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in text]
    lengths = [x.ndim - len(t.replace("...", "")) for t, x in zip(terms, values, strict=True)]
    dots = builtins.max([n for n, t in zip(lengths, terms, strict=True) if "..." in t], default=0)
    if builtins.any(n < 0 if "..." in t else n != 0 for n, t in zip(lengths, terms, strict=True)):
        raise ShapeError(message("einsum", f"{subscripts!r} does not name every axis once", given))
    hidden = "".join(spare[:dots])
    terms = [t.replace("...", hidden[dots - n :]) if "..." in t else t for n, t in zip(lengths, terms, strict=True)]
    if arrow:
        right = right.replace("...", hidden)
    else:
        labels = "".join(terms)
        right = hidden + "".join(sorted(c for c in set(labels) if labels.count(c) == 1 and c not in hidden))
    if len(set(right)) != len(right) or not set(right) <= set("".join(terms)):
        raise ShapeError(
            message("einsum", f"the result's labels {right!r} must be distinct labels of the operands", given)
        )
    sizes: dict[str, int] = {}
    for k, (term, x) in enumerate(zip(terms, values, strict=True)):
        for label, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(label, n) not in (n, 1) and n != 1:
                raise ShapeError(
                    message("einsum", f"label {label!r} is {sizes[label]} and, in operand {k}, {n}", given)
                )
            sizes[label] = builtins.max(sizes[label], n) if n else 0
    for k, term in enumerate(terms):
        while len(set(term)) < len(term):  # a repeated label is a diagonal
            label = next(c for c in term if term.count(c) > 1)
            i, j = [p for p, c in enumerate(term) if c == label][:2]
            x = moveaxis(values[k], (i, j), (0, 1))
            index = np.arange(x.shape[0])
            values[k] = x[index, index]
            term = label + "".join(c for p, c in enumerate(term) if p not in (i, j))
        terms[k] = term
    return evaluate("einsum", *values, subscripts=",".join(terms) + "->" + right)


# ---------------------------------------------------------------------------------------------------------- shape
def reshape(a: ArrayLike, shape: int | Sequence[int]) -> Tensor:
    """The same entries in another shape; one size may be -1.

    Raises
    ------
    ShapeError : another number of entries.

    Examples
    --------
    >>> tl.reshape(tl.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]], dtype=int64)
    """
    a = _lift(a)
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    return a if shape == a.shape else evaluate("reshape", a, shape=shape)


def transpose(a: ArrayLike, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order; reversed if None.

    Raises
    ------
    ShapeError : an axis is missing, twice or outside.

    Examples
    --------
    >>> tl.transpose([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 3.],
            [2., 4.]])
    """
    a = _lift(a)
    order = tuple(range(a.ndim))[::-1] if axes is None else _axes("transpose", tuple(axes), a.ndim)
    assert order is not None
    if len(order) != a.ndim:
        raise ShapeError(
            message("transpose", f"every axis must be named once: {tuple(axes or ())} for {a.ndim} axes", {"a": a})
        )
    return evaluate("transpose", a, axes=order)


def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged.

    Examples
    --------
    >>> tl.swapaxes(tl.zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    a = _lift(a)
    i, j = _axis("swapaxes", axis1, a.ndim), _axis("swapaxes", axis2, a.ndim)
    order = list(range(a.ndim))
    order[i], order[j] = j, i
    return evaluate("transpose", a, axes=tuple(order))


def moveaxis(a: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Axes moved to other places, the rest in order.

    Examples
    --------
    >>> tl.moveaxis(tl.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    a = _lift(a)
    src, dst = _axes("moveaxis", source, a.ndim), _axes("moveaxis", destination, a.ndim)
    if src is None or dst is None or len(src) != len(dst):
        raise ShapeError(
            message("moveaxis", "needs as many destinations as sources", {"source": source, "destination": destination})
        )
    order = [i for i in range(a.ndim) if i not in src]
    for d, s in sorted(zip(dst, src, strict=True)):
        order.insert(d, s)
    return evaluate("transpose", a, axes=tuple(order))


def expand_dims(a: ArrayLike, axis: int | Sequence[int]) -> Tensor:
    """New axes of length 1 at these places of the result.

    Examples
    --------
    >>> tl.expand_dims(tl.zeros((2, 3)), (0, -1)).shape
    (1, 2, 3, 1)
    """
    a = _lift(a)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    axes = _axes("expand_dims", axis, a.ndim + count)
    rest = iter(a.shape)
    return reshape(a, tuple(1 if i in (axes or ()) else next(rest) for i in range(a.ndim + count)))


def squeeze(a: ArrayLike, axis: Axis = None) -> Tensor:
    """Without its axes of length 1, or without these.

    Raises
    ------
    ShapeError : an axis named is longer than 1.

    Examples
    --------
    >>> tl.squeeze(tl.zeros((1, 3, 1))).shape
    (3,)
    """
    a = _lift(a)
    axes = _axes("squeeze", axis, a.ndim)
    wrong = [i for i in axes or () if a.shape[i] != 1]
    if wrong:
        raise ShapeError(message("squeeze", f"axis {wrong[0]} has length {a.shape[wrong[0]]}, not 1", {"a": a}))
    return reshape(a, tuple(n for i, n in enumerate(a.shape) if not (n == 1 if axes is None else i in axes)))


def broadcast_to(a: ArrayLike, shape: int | Sequence[int]) -> Tensor:
    """Repeated along new axes and along axes of length 1, without copying.

    Raises
    ------
    ShapeError : a shape that does not broadcast to this one.

    Examples
    --------
    >>> tl.broadcast_to([1.0, 2.0], (2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """
    return evaluate("broadcast_to", _lift(a), shape=(shape,) if isinstance(shape, int | np.integer) else tuple(shape))


def _several(name: str, arrays: Any) -> list[Tensor]:
    if (isinstance(arrays, Tensor) and arrays.ndim == 0) or not hasattr(arrays, "__iter__"):
        raise ArgumentError(message(name, "takes a list of arrays", {"arrays": arrays}, f"{name}([a, b])"))
    return [_lift(a) for a in arrays]


def concatenate(arrays: Sequence[ArrayLike], axis: int | None = 0) -> Tensor:
    """Joined along an existing axis (None: all flattened first).

    Raises
    ------
    ShapeError : shapes that differ elsewhere, or numbers (then `stack`).

    Examples
    --------
    >>> tl.concatenate([[1.0, 2.0], [3.0]])
    tensor([1., 2., 3.])
    """
    values = _several("concatenate", arrays)
    if not values:
        raise ShapeError(message("concatenate", "needs at least one array"))
    if axis is None:
        values, axis = [reshape(a, (-1,)) for a in values], 0
    if values[0].ndim == 0:
        raise ShapeError(message("concatenate", "numbers have no axis to be joined along", remedy="use tl.stack"))
    k = _axis("concatenate", axis, values[0].ndim)
    first = values[0].shape
    for n, a in enumerate(values):
        if a.ndim != len(first) or builtins.any(
            i != k and p != q for i, (p, q) in enumerate(zip(a.shape, first, strict=True))
        ):
            raise ShapeError(
                message(
                    "concatenate", f"all shapes must agree but for axis {k}: array 0 is {first}, array {n} is {a.shape}"
                )
            )
    return evaluate("concatenate", *values, axis=k)


def stack(arrays: Sequence[ArrayLike], axis: int = 0) -> Tensor:
    """Joined along a new axis.

    Raises
    ------
    ShapeError : different shapes.

    Examples
    --------
    >>> tl.stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    values = _several("stack", arrays)
    if len({a.shape for a in values}) != 1:
        shapes = ", ".join(dict.fromkeys(str(a.shape) for a in values))
        raise ShapeError(
            message("stack", f"all shapes must be equal: {shapes}" if values else "needs at least one array")
        )
    return concatenate(
        [expand_dims(a, _axis("stack", axis, a.ndim + 1)) for a in values], _axis("stack", axis, values[0].ndim + 1)
    )


def split(a: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut along an axis into equal parts, or at these indices.

    Raises
    ------
    ShapeError : no equal parts.

    Examples
    --------
    >>> tl.split(tl.arange(6), 3)
    [tensor([0, 1], dtype=int64), tensor([2, 3], dtype=int64), tensor([4, 5], dtype=int64)]
    >>> tl.split(tl.arange(6), [1, 4])[1]
    tensor([1, 2, 3], dtype=int64)
    """
    a = _lift(a)
    k = _axis("split", axis, a.ndim)
    n = a.shape[k]
    if isinstance(indices_or_sections, int | np.integer):
        parts = int(indices_or_sections)
        if parts < 1 or n % parts:
            raise ShapeError(message("split", f"axis {k} of length {n} has no {parts} equal parts", {"a": a}))
        edges = [n * i // parts for i in range(parts + 1)]
        pairs = list(pairwise(edges))
    else:
        try:
            cuts = [c.__index__() for c in indices_or_sections]
        except (TypeError, AttributeError):
            raise ArgumentError(
                message(
                    "split",
                    "takes a number of equal parts, or the indices to cut at",
                    {"indices_or_sections": indices_or_sections},
                )
            ) from None
        pairs = list(zip([0, *cuts], [*cuts, None], strict=True))
    return [a[(slice(None),) * k + (slice(lo, hi),)] for lo, hi in pairs]


def flip(a: ArrayLike, axis: Axis = None) -> Tensor:
    """The entries in reverse order along axes (all, if None).

    Examples
    --------
    >>> tl.flip([1.0, 2.0, 3.0])
    tensor([3., 2., 1.])
    """
    a = _lift(a)
    axes = _axes("flip", axis, a.ndim)
    return a[tuple(slice(None, None, -1) if axes is None or i in axes else slice(None) for i in range(a.ndim))]


def pad(a: ArrayLike, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Tensor:
    """Entries added at the ends of axes: `pad_width` as NumPy's; mode constant, edge, reflect, symmetric or wrap.

    Raises
    ------
    ShapeError : widths that are negative or do not fit. ArgumentError : another mode.

    Examples
    --------
    >>> tl.pad([1.0, 2.0], (1, 2))
    tensor([0., 1., 2., 0., 0.])
    >>> tl.pad([1.0, 2.0, 3.0], 2, mode="reflect")
    tensor([3., 2., 1., 2., 3., 2., 1.])
    """
    a = _lift(a)
    try:
        widths = np.broadcast_to(np.asarray(pad_width, np.intp), (a.ndim, 2))
    except (ValueError, TypeError):
        raise ShapeError(
            message(
                "pad",
                f"pad_width is n, (before, after), or one such pair for each of {a.ndim} axes",
                {"pad_width": pad_width},
            )
        ) from None
    if (widths < 0).any():
        raise ShapeError(message("pad", "widths cannot be negative", {"pad_width": pad_width}, "slice instead: a[1:]"))
    if mode == "constant":
        shape = tuple(int(n + w.sum()) for n, w in zip(a.shape, widths, strict=True))
        index = tuple(slice(int(b), int(b) + n) for n, (b, _) in zip(a.shape, widths, strict=True))
        inner = evaluate("put", a, index=index, shape=shape)
        if isinstance(constant_values, NUMBERS) and constant_values == 0:
            return inner
        frame = np.pad(np.zeros(a.shape, a.dtype), widths, constant_values=constant_values)
        return inner + frame
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ArgumentError(
            message("pad", "mode is 'constant', 'edge', 'reflect', 'symmetric' or 'wrap'", {"mode": mode})
        )
    if a.size == 0:
        raise ShapeError(message("pad", f"an empty array has nothing to pad with in mode {mode!r}", {"a": a}))
    source = np.pad(np.arange(a.size).reshape(a.shape), widths, mode=mode)  # type: ignore[call-overload]
    return reshape(a, (-1,))[source]


def repeat(a: ArrayLike, repeats: Any, axis: int | None = None) -> Tensor:
    """Every entry (along an axis) several times, one after the other.

    Raises
    ------
    ShapeError : counts that are negative or do not fit.

    Examples
    --------
    >>> tl.repeat([1.0, 2.0], [1, 3])
    tensor([1., 2., 2., 2.])
    """
    a = _lift(a)
    if axis is None:
        a, axis = reshape(a, (-1,)), 0
    k = _axis("repeat", axis, a.ndim)
    try:
        index = np.repeat(np.arange(a.shape[k]), repeats.data if isinstance(repeats, Tensor) else repeats)
    except (ValueError, TypeError) as error:
        raise ShapeError(message("repeat", f"{error}", {"a": a, "repeats": repeats})) from None
    return a[(slice(None),) * k + (index,)]


def take(a: ArrayLike, indices: ArrayLike, axis: int | None = None, mode: str = "raise") -> Tensor:
    """The entries at integer indices along an axis (of the flattened array if None); mode "raise", "wrap" or "clip".

    Raises
    ------
    ShapeError : an index outside (an IndexError too). ArgumentError : indices that are no integers.

    Examples
    --------
    >>> tl.take([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [2, 0], axis=1)
    tensor([[3., 1.],
            [6., 4.]])
    """
    a = _lift(a)
    index = np.asarray(indices.data if isinstance(indices, Tensor) else indices)
    if index.dtype.kind not in "iu" and index.size:
        raise ArgumentError(message("take", "indices are integers", {"a": a, "indices": index}))
    if axis is None:
        a, axis = reshape(a, (-1,)), 0
    k = _axis("take", axis, a.ndim)
    index = taken(index.astype(np.intp), indices)
    if a.shape[k] == 0 and index.size:
        raise BoundsError(message("take", "an empty axis has no entries to take", {"a": a}))
    if mode == "wrap":
        index = index % a.shape[k]
    elif mode == "clip":
        index = np.clip(index, 0, a.shape[k] - 1)
    elif mode != "raise":
        raise ArgumentError(message("take", "mode is 'raise', 'wrap' or 'clip'", {"mode": mode}))
    return evaluate("getitem", a, index=(slice(None),) * k + (_plain_index(index),))


def astype(a: ArrayLike, dtype: Any) -> Tensor:
    """The same values in another dtype; the gradient comes back in the old one.

    Examples
    --------
    >>> tl.astype([1.7, -1.7], np.int64)
    tensor([ 1, -1], dtype=int64)
    """
    a = _lift(a)
    kind = real_dtype("astype", dtype)
    return a if kind == a.dtype else evaluate("astype", a, dtype=kind)


# ------------------------------------------------------------------------------- methods, and NumPy's own functions
def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = function.__name__
    method.__doc__ = function.__doc__
    return method


def _reducing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction as a method; np.sum(x) and its like hand over dtype and out, which must be unset."""

    def method(self: Value, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
        return function(self, axis, *args, **kwargs)

    method.__name__ = method.__qualname__ = function.__name__
    method.__doc__ = function.__doc__
    return method


def _shaping(function: Callable[..., Any]) -> Callable[..., Any]:
    """`x.reshape(2, 3)` as well as `x.reshape((2, 3))`."""

    def method(self: Tensor, *shape: Any) -> Any:
        if len(shape) == 1 and (shape[0] is None or isinstance(shape[0], tuple | list)):
            return function(self, shape[0])
        return function(self, shape) if shape or function is not transpose else function(self)

    method.__name__ = method.__qualname__ = function.__name__
    method.__doc__ = function.__doc__
    return method


_f: Callable[..., Any]
for _f in (sum, mean, prod, max, min, var, std, logsumexp, argmax, argmin, cumsum):
    setattr(Value, _f.__name__, _reducing(_f))
for _f in (reshape, transpose):
    setattr(Tensor, _f.__name__, _shaping(_f))
for _f in (
    moveaxis,
    swapaxes,
    squeeze,
    expand_dims,
    repeat,
    take,
    clip,
    astype,
    dot,
    flip,
    split,
    softmax,
    log_softmax,
):
    setattr(Tensor, _f.__name__, _method(_f))
for _f in (ops.exp, ops.log, ops.sqrt, ops.tanh, ops.sigmoid, ops.relu, ops.sin, ops.cos, ops.square, ops.abs):
    setattr(Value, _f.__name__, _method(_f))


def _flatten(self: Tensor) -> Tensor:
    """All entries along one axis."""
    return reshape(self, (-1,))


Tensor.flatten = Tensor.ravel = _flatten  # type: ignore[attr-defined]

NUMPY_FUNCTIONS.update(
    {
        getattr(np, f.__name__): f
        for f in (sum, mean, prod, max, min, var, std, cumsum, argmax, argmin, clip, where, matmul, dot, outer, einsum,
                  reshape, transpose, swapaxes, moveaxis, expand_dims, squeeze, broadcast_to, concatenate, stack, split,
                  flip, pad, repeat, take, zeros_like, ones_like)
    }
)  # fmt: skip
NUMPY_FUNCTIONS[np.amax], NUMPY_FUNCTIONS[np.amin] = max, min
NUMPY_FUNCTIONS[np.any] = lambda a, *args, **kw: _wrap(np.any(a.data, *args, **kw))
NUMPY_FUNCTIONS[np.all] = lambda a, *args, **kw: _wrap(np.all(a.data, *args, **kw))
NUMPY_FUNCTIONS[np.shape] = lambda a: a.shape
NUMPY_FUNCTIONS[np.ndim] = lambda a: a.ndim
NUMPY_FUNCTIONS[np.size] = lambda a: a.size
NUMPY_FUNCTIONS[np.allclose] = lambda a, b, *args, **kw: np.allclose(np.asarray(a), np.asarray(b), *args, **kw)
NUMPY_FUNCTIONS[np.array_equal] = lambda a, b, *args, **kw: np.array_equal(np.asarray(a), np.asarray(b), *args, **kw)
NUMPY_FUNCTIONS[np.isclose] = lambda a, b, *args, **kw: np.isclose(np.asarray(a), np.asarray(b), *args, **kw)
