"""Losses and layers as functions, with torch's arguments and results.

`reduction` is, for every loss: "mean" (over the elements, unless the loss says otherwise), "sum", or "none".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..functions import elu, gelu, generator, leaky_relu, mean, moveaxis, reshape, sum, where
from ..functions import log_softmax as _log_softmax
from ..functions import softmax as _softmax
from ..graph import apply
from ..ops import abs, array_row, detach, relu, sigmoid, silu, softplus, sqrt, square, tanh
from ..tensor import ArrayLike, Tensor, evaluate
from .ctc import ctc_loss
from .module import check_row, indices

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "huber_loss",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]


# -------------------------------------------------------------------------------------------------- rows of this room
# `target` (N,) and `index` are integer arrays, constants of the value. Each row's derivative is made of rows.
def _rows(x: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(len(x)), target


def _shifted(x):
    """x less its largest entry, row by row: exp of it cannot overflow. NumPy's argmax is vectorised, its max of short
    rows is not."""
    return x - x[_rows(x, x.argmax(axis=1))][:, None]


def _row_sums(x):
    return np.einsum("ij->i", x)  # three times as fast as x.sum(axis=1) on short rows


def _cross_entropy(x, target):
    z = _shifted(x)
    picked = z[_rows(z, target)]
    return np.log(_row_sums(np.exp(z, out=z))) - picked


def _cross_entropy_gradient(g, x, target):
    z = _shifted(x)
    np.exp(z, out=z)
    z *= (g / _row_sums(z))[:, None]
    z[_rows(z, target)] -= g
    return z


def _unpick(g, target, classes):
    z = np.zeros((len(target), classes), g.dtype)
    z[_rows(z, target)] = g
    return z


def _add_rows(g, index, count):
    """Row k is the sum of the rows of g whose index is k: sorted, then summed in runs (np.add.at is 3 times slower)."""
    width = g.shape[index.ndim :]
    z = np.zeros((count, *width), g.dtype)
    if index.size:
        flat = index.reshape(-1)
        order = np.argsort(flat, kind="stable")
        ordered = flat[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        z[ordered[starts]] = np.add.reduceat(np.take(g.reshape(-1, *width), order, axis=0), starts, axis=0)
    return z


def _cotangent_of_g(c, y, g, x, target):
    """In y = g (softmax(x) - onehot)."""
    return sum(c * apply("softmax", x, axis=1), axis=1) - apply("pick", c, target=target)


def _cotangent_of_x(c, y, g, x, target):
    """In y = g (softmax(x) - onehot)."""
    p = apply("softmax", x, axis=1)
    c = c * reshape(g, (-1, 1))
    return p * (c - sum(p * c, axis=1, keepdims=True))


def _scale(x, eps):
    """x less its row means, and 1 / sqrt(var + eps) as a column."""
    d = x - (_row_sums(x) / x.dtype.type(x.shape[1]))[:, None]
    return d, (1 / np.sqrt(np.einsum("ij,ij->i", d, d) / x.dtype.type(x.shape[1]) + x.dtype.type(eps)))[:, None]


def _standardise(x, eps):
    d, r = _scale(x, eps)
    d *= r
    return d


def _standardise_rule(g, y, x, eps):
    d = x - mean(x, axis=1, keepdims=True)
    r = 1 / sqrt(mean(square(d), axis=1, keepdims=True) + eps)
    return r * (g - mean(g, axis=1, keepdims=True) - y * mean(g * y, axis=1, keepdims=True))


def _standardise_arrays(g, y, wanted, x, eps):
    n = x.dtype.type(x.shape[1])
    out = y * (np.einsum("ij,ij->i", g, y) / -n)[:, None]
    out += g
    out -= (_row_sums(g) / n)[:, None]
    out *= _scale(x, eps)[1]
    return (out,)


# fmt: off
array_row("cross_entropy", _cross_entropy,
          (lambda g, y, x, target: apply("cross_entropy_gradient", g, x, target=target),), names=("input",),
          doc="-log softmax(input)[target] of every row")
array_row("cross_entropy_gradient", _cross_entropy_gradient, (_cotangent_of_g, _cotangent_of_x), arity=2,
          doc="The gradient of cross_entropy: g (softmax(x) - onehot(target))")
array_row("pick", lambda x, target: x[_rows(x, target)],
          (lambda g, y, x, target: apply("unpick", g, target=target, classes=x.shape[1]),),
          doc="The entry at target of every row")
array_row("unpick", _unpick,
          (lambda c, y, g, target, classes: apply("pick", c, target=target),),
          doc="Rows of zeros with g at target: the gradient of pick")
array_row("take_rows", lambda w, index: np.take(w, index, axis=0),
          (lambda g, y, w, index: apply("add_rows", g, index=index, count=w.shape[0]),), names=("weight",),
          doc="The rows of weight at integer indices")
array_row("add_rows", _add_rows,
          (lambda c, y, g, index, count: apply("take_rows", c, index=index),),
          doc="Rows added up at integer indices: the gradient of take_rows")
array_row("standardise", _standardise, (_standardise_rule,), arrays=_standardise_arrays,
          doc="(x - mean) / sqrt(var + eps) of every row")
# fmt: on


# ------------------------------------------------------------------------------------------------------ classification
def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The negative logarithm of the probability that the logits give to the target, -log softmax(input)[target].

    Parameters
    ----------
    input : logits, (C,), (N, C) or (N, C, d1, ...): any real numbers, no softmax before.
    target : class indices, of input's shape without C; or probabilities (floats), of input's shape.
    weight : (C,), a factor for each class. With indices the mean is the weighted one: sum / sum of weight[target].
    ignore_index : a target of this value counts for nothing (class indices only).
    reduction : "mean", "sum" or "none" (target's shape without C).
    label_smoothing : e in [0, 1]; the target becomes (1 - e) * target + e / C.

    Returns
    -------
    Tensor : nats, of input's dtype. A mean over nothing is NaN.

    Raises
    ------
    ShapeError : shapes that do not belong together, a target outside the classes. ArgumentError : wrong kinds.

    Examples
    --------
    >>> logits = tl.tensor([[2.0, 0.0], [0.0, 1000.0]])
    >>> tl.nn.functional.cross_entropy(logits, [0, 1], reduction="none")
    tensor([0.12692805, 0.        ])
    """
    call = "cross_entropy"
    x, w = _classes(call, input, weight)
    _check_reduction(call, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(message(call, "label_smoothing lies between 0 and 1", {"label_smoothing": label_smoothing}))
    rows = _class_rows(x)
    classes = rows.shape[1]
    outer = (x.shape[0], *x.shape[2:]) if x.ndim > 1 else ()
    if np.shape(target) == x.shape and np.ndim(target) == x.ndim:  # probabilities
        t = _lift(target)
        if t.dtype.kind != "f":
            raise ArgumentError(
                message(
                    call,
                    "a target of input's shape is probabilities, hence floats",
                    {"input": x, "target": t},
                    f"class indices have shape {outer}",
                )
            )
        t = _class_rows(t)
        if label_smoothing:
            t = t * (1.0 - label_smoothing) + label_smoothing / classes
        losses = -sum(_log_softmax(rows, -1) * (t if w is None else t * w), axis=1)
        return _reduced(reshape(losses, outer), reduction, count=max(1, math.prod(outer)) if outer else 1)
    ids, kept = _targets(call, x, target, outer, ignore_index)
    each = _gathered(w, ids, kept)
    if label_smoothing:
        logp = _log_softmax(rows, -1)
        spread = -sum(logp if w is None else logp * w, axis=1)
        hits = -apply("pick", logp, target=ids)
        losses = _masked(hits if w is None else hits * each, kept) * (1.0 - label_smoothing)
        losses = losses + _masked(spread, kept) * (label_smoothing / classes)
    else:
        losses = apply("cross_entropy", rows, target=ids)
        losses = _masked(losses if w is None else losses * each, kept)
    return _reduced(losses if len(outer) == 1 else reshape(losses, outer), reduction, _total(w, each, kept, ids))


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input[target] for log-probabilities `input`, as `log_softmax` gives them; arguments of `cross_entropy`.

    Examples
    --------
    >>> tl.nn.functional.nll_loss(tl.log([[0.25, 0.75]]), [1])
    tensor(0.2876821)
    """
    call = "nll_loss"
    x, w = _classes(call, input, weight)
    _check_reduction(call, reduction)
    outer = (x.shape[0], *x.shape[2:]) if x.ndim > 1 else ()
    ids, kept = _targets(call, x, target, outer, ignore_index)
    each = _gathered(w, ids, kept)
    losses = -apply("pick", _class_rows(x), target=ids)
    losses = _masked(losses if w is None else losses * each, kept)
    return _reduced(reshape(losses, outer), reduction, _total(w, each, kept, ids))


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Tensor:
    """-(p t log s(x) + (1 - t) log(1 - s(x))), s the sigmoid, computed as p t softplus(-x) + (1 - t) softplus(x).

    Parameters
    ----------
    input : logits x, any shape. target : probabilities t, of the same shape.
    weight : a factor for each element, broadcast. pos_weight : p, a factor for the positives, broadcast (one a class).
    reduction : "mean", "sum" or "none".

    Examples
    --------
    >>> logits, truth = tl.tensor([0.0, 1000.0]), tl.tensor([1.0, 0.0])
    >>> tl.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    tensor([6.931472e-01, 1.000000e+03])
    """
    call = "binary_cross_entropy_with_logits"
    x, t = _pair(call, input, target)
    _check_reduction(call, reduction)
    positive = t if pos_weight is None else t * _broadcastable(call, "pos_weight", pos_weight, x)
    losses = positive * softplus(-x) + (1.0 - t) * softplus(x)
    return _reduced(losses if weight is None else losses * _broadcastable(call, "weight", weight, x), reduction)


# ---------------------------------------------------------------------------------------------------------- regression
def mse_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean", weight: ArrayLike | None = None) -> Tensor:
    """(input - target)**2.

    Parameters
    ----------
    input, target : of one shape. A number is allowed as target; other broadcasting is an error, for it hides mistakes.
    reduction : "mean", "sum" or "none". weight : a factor for each element; the mean is then divided by its sum.

    Examples
    --------
    >>> tl.nn.functional.mse_loss(tl.tensor([1.0, 3.0]), tl.tensor([1.0, 1.0]))
    tensor(2.)
    """
    x, t = _pair("mse_loss", input, target)
    return _weighted("mse_loss", square(x - t), weight, reduction)


def l1_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean", weight: ArrayLike | None = None) -> Tensor:
    """|input - target|; arguments of `mse_loss`. The derivative where they are equal is 0.

    Examples
    --------
    >>> tl.nn.functional.l1_loss(tl.tensor([1.0, 3.0]), tl.tensor([1.0, 1.0]))
    tensor(1.)
    """
    x, t = _pair("l1_loss", input, target)
    return _weighted("l1_loss", abs(x - t), weight, reduction)


def huber_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0, weight: ArrayLike | None = None
) -> Tensor:
    """d**2 / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = input - target (Huber 1964).

    Arguments of `mse_loss`; delta > 0 is where the parabola becomes a line. The mean with a weight divides by the
    number of elements (torch's, unlike that of `mse_loss`).

    Examples
    --------
    >>> tl.nn.functional.huber_loss(tl.tensor([0.5, 3.0]), tl.zeros(2), reduction="none")
    tensor([0.125, 2.5  ])
    """
    if not delta > 0:
        raise ArgumentError(message("huber_loss", "delta must be above 0", {"delta": delta}))
    x, t = _pair("huber_loss", input, target)
    _check_reduction("huber_loss", reduction)
    d = x - t
    inside = abs(d) <= delta
    near, far = (
        where(inside, d, 0.0),
        where(inside, 0.0, delta * (abs(d) - 0.5 * delta)),
    )  # neither sees the other's infinity
    losses = 0.5 * square(near) + far
    return _reduced(losses if weight is None else losses * _like("huber_loss", weight, losses), reduction)


def smooth_l1_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` with delta = beta, divided by beta; `l1_loss` for beta = 0 (Girshick 2015).

    Examples
    --------
    >>> tl.nn.functional.smooth_l1_loss(tl.tensor([0.5, 3.0]), tl.zeros(2), reduction="none", beta=2.0)
    tensor([0.0625, 2.    ])
    """
    if not beta >= 0:
        raise ArgumentError(message("smooth_l1_loss", "beta must be at least 0", {"beta": beta}))
    return huber_loss(input, target, reduction, beta) / beta if beta > 0 else l1_loss(input, target, reduction)


# -------------------------------------------------------------------------------------------------------------- layers
def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Tensor:
    """W x + b for every row x: input (..., in), weight (out, in), bias (out,) -> (..., out).

    Examples
    --------
    >>> tl.nn.functional.linear(tl.tensor([[1.0, 2.0]]), tl.tensor([[3.0, 4.0], [5.0, 6.0]]), tl.tensor([0.5, 0.0]))
    tensor([[11.5, 17. ]])
    """
    x, w = _lift(input), _lift(weight)
    if w.ndim != 2 or x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise ShapeError(
            message(
                "linear", "the last axis of input must be the second of weight (out, in)", {"input": x, "weight": w}
            )
        )
    y = evaluate("linear", w, x)
    return y if bias is None else y + bias


def embedding(input: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Tensor:
    """The rows of `weight` (n, dim) at the integers `input` (any shape) -> (*input.shape, dim).

    padding_idx : a row that gets no gradient.

    Raises
    ------
    ShapeError : an index outside 0 ... n - 1, with its place. ArgumentError : indices that are no integers.

    Examples
    --------
    >>> tl.nn.functional.embedding([2, 0], tl.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))
    tensor([[4., 5.],
            [0., 1.]])
    """
    w = _lift(weight)
    if w.ndim != 2:
        raise ShapeError(message("embedding", "weight has two axes (rows, dim)", {"weight": w}))
    ids = indices("embedding", "input", input, w.shape[0])
    y = evaluate("take_rows", w, index=ids)
    if padding_idx is None:
        return y
    return where((ids == check_row("embedding", "padding_idx", padding_idx, w.shape[0]))[..., None], detach(y), y)


def layer_norm(
    input: ArrayLike,
    normalized_shape: Any,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes (Ba, Kiros & Hinton 2016); var divides by n.

    normalized_shape : the sizes of these axes, an integer or a tuple; weight and bias have this shape.

    Examples
    --------
    >>> tl.nn.functional.layer_norm(tl.tensor([[1.0, 3.0], [0.0, 10.0]]), 2).numpy().round(3)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """
    x = _lift(input)
    shape = _last_axes("layer_norm", x, normalized_shape)
    y = reshape(evaluate("standardise", reshape(x, (-1, math.prod(shape))), eps=float(eps)), x.shape)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def dropout(input: ArrayLike, p: float = 0.5, training: bool = True, rng: Any = None) -> Tensor:
    """Zero each element with probability p and divide the others by 1 - p (Srivastava et al. 2014).

    The input itself if not training.

    rng : a numpy.random.Generator or a seed; fresh entropy if None.

    Examples
    --------
    >>> tl.nn.functional.dropout(tl.ones(6), 0.5, rng=0)
    tensor([2., 2., 2., 0., 0., 0.])
    """
    x = _lift(input)
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(message("dropout", "p is a probability between 0 and 1", {"p": p}))
    if not training or p == 0.0:
        return x
    kept = generator(rng).random(x.shape, np.float32) >= p
    return x * (kept.astype(x.dtype) * x.dtype.type(1.0 / (1.0 - p) if p < 1.0 else 0.0))


def softmax(input: ArrayLike, dim: int = -1) -> Tensor:
    """exp(x) / sum of exp(x) along the axis `dim`.

    Examples
    --------
    >>> tl.nn.functional.softmax(tl.zeros((1, 4)), dim=1)
    tensor([[0.25, 0.25, 0.25, 0.25]])
    """
    return _softmax(input, dim)


def log_softmax(input: ArrayLike, dim: int = -1) -> Tensor:
    """x - log(sum of exp(x)) along the axis `dim`.

    Examples
    --------
    >>> tl.nn.functional.log_softmax(tl.tensor([0.0, 1000.0]))
    tensor([-1000.,     0.])
    """
    return _log_softmax(input, dim)


# -------------------------------------------------------------------------------------------------------------- checks
def _lift(value: ArrayLike) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(value)


def _pair(call: str, input: ArrayLike, target: ArrayLike) -> tuple[Tensor, Any]:
    x = _lift(input)
    if isinstance(target, int | float):
        return x, target
    t = _lift(target)
    if t.shape != x.shape:
        raise ShapeError(
            message(
                call,
                "input and target must have one shape",
                {"input": x, "target": t},
                "reshape one of them: x.squeeze(-1), t.reshape(...)",
            )
        )
    return x, t


def _broadcastable(call: str, name: str, value: ArrayLike, x: Tensor) -> Tensor:
    w = _lift(value)
    try:
        fits = np.broadcast_shapes(w.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(message(call, f"{name} does not broadcast to input", {"input": x, name: w}))
    return w


def _check_reduction(call: str, reduction: Any) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(message(call, "reduction is 'mean', 'sum' or 'none'", {"reduction": reduction}))


def _reduced(losses: Tensor, reduction: str, count: Any = None) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum(losses)
    if count is None and losses.size:
        return mean(losses)
    return sum(losses) / (math.nan if count is None else count)


def _weighted(call: str, losses: Tensor, weight: ArrayLike | None, reduction: str) -> Tensor:
    _check_reduction(call, reduction)
    if weight is None:
        return _reduced(losses, reduction)
    w = _like(call, weight, losses)
    return _reduced(losses * w, reduction, sum(w))


def _like(call: str, weight: ArrayLike, losses: Tensor) -> Tensor:
    w = _lift(weight)
    if w.shape != losses.shape:
        raise ShapeError(message(call, "weight must have the shape of input", {"input": losses, "weight": w}))
    return w


def _classes(call: str, input: ArrayLike, weight: ArrayLike | None) -> tuple[Tensor, Tensor | None]:
    x = _lift(input)
    if x.ndim == 0 or x.dtype.kind != "f":
        raise ShapeError(message(call, "input is floats of shape (C,), (N, C) or (N, C, d1, ...)", {"input": x}))
    classes = x.shape[0] if x.ndim == 1 else x.shape[1]
    if classes == 0:
        raise ShapeError(message(call, "there are no classes", {"input": x}))
    if weight is None:
        return x, None
    w = _lift(weight)
    if w.shape != (classes,):
        raise ShapeError(message(call, f"weight has one factor a class, shape ({classes},)", {"input": x, "weight": w}))
    return x, w


def _class_rows(x: Tensor) -> Tensor:
    """(C,), (N, C) or (N, C, d1, ...) -> (rows, C)."""
    if x.ndim == 1:
        return reshape(x, (1, -1))
    return (
        x if x.ndim == 2 else reshape(moveaxis(x, 1, -1), (-1, x.shape[1])) if x.size else reshape(x, (0, x.shape[1]))
    )


def _targets(
    call: str, x: Tensor, target: ArrayLike, outer: tuple[int, ...], ignore_index: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Class indices (rows,), those to be ignored set to 0; which are kept, None if all."""
    if np.shape(target) != outer:
        classes = x.shape[0] if x.ndim == 1 else x.shape[1]
        expected = f"class indices of shape {outer}" + (
            f", or probabilities of shape {x.shape}" if call == "cross_entropy" else ""
        )
        raise ShapeError(
            message(
                call,
                f"with {classes} classes target is {expected}",
                {"input": x, "target": _lift(target)},
                "classes are axis 1 of input",
            )
        )
    ids = np.asarray(target.data if isinstance(target, Tensor) else target).reshape(-1)
    ignored = ids == ignore_index
    kept = None
    if ignored.any():
        kept, ids = ~ignored, np.where(ignored, np.zeros_like(ids), ids)
    return indices(call, "target", target if kept is None else ids, x.shape[0] if x.ndim == 1 else x.shape[1]).reshape(
        -1
    ), kept


def _gathered(w: Tensor | None, ids: np.ndarray, kept: np.ndarray | None) -> Any:
    """The factor of each row's class."""
    return None if w is None else _masked(evaluate("take_rows", w, index=ids), kept)


def _masked(losses: Tensor, kept: np.ndarray | None) -> Tensor:
    return losses if kept is None else where(kept, losses, 0.0)


def _total(w: Tensor | None, each: Any, kept: np.ndarray | None, ids: np.ndarray) -> Any:
    """What a mean divides by."""
    if w is not None:
        return sum(each)
    return None if kept is None else np.float64(kept.sum()).item() or math.nan


def _last_axes(call: str, x: Tensor, shape: Any) -> tuple[int, ...]:
    dims = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not dims or x.shape[-len(dims) :] != dims:
        raise ShapeError(
            message(call, f"the last axes of input must be {dims}", {"input": x, "normalized_shape": shape})
        )
    return dims
