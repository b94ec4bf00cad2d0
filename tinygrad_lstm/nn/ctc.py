"""Connectionist temporal classification (Graves, Fernandez, Gomez & Schmidhuber 2006).

The loss of a sequence is -log of the summed probability of all its alignments: paths of labels, one a time step, that
give the target once repeated labels are merged and blanks removed. An alignment walks through the *extended* target,
blank l_1 blank l_2 ... blank, staying, advancing by one, or by two over a blank between different labels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autodiff import sweep
from ..errors import ArgumentError, ShapeError, message
from ..functions import concatenate, full, logsumexp, mean, reshape, stack, sum, where
from ..graph import apply
from ..ops import array_row, maximum
from ..tensor import ArrayLike, Tensor, evaluate, mode
from .module import indices

NEVER = -1e30  # stands for log 0 where a gradient of -inf would be NaN


def ctc_loss(
    log_probs: ArrayLike,
    targets: ArrayLike,
    input_lengths: ArrayLike,
    target_lengths: ArrayLike,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that the alignments of each target have together.

    Parameters
    ----------
    log_probs : (T, N, C) or (T, C), as `log_softmax` gives them.
    targets : (N, S), padded with anything; or (sum of target_lengths,), one after the other. No blanks in them.
    input_lengths, target_lengths : (N,) how much of each sequence counts. For (T, C) an integer each.
    blank : the class that stands for no label.
    reduction : "none" (N,), "sum", or "mean": of each loss divided by its target's length (at least 1).
    zero_infinity : a target too long for its input has an infinite loss; count 0 for it, with no gradient.

    Returns
    -------
    Tensor : nats, of the dtype of log_probs. Computed in float64 over all sequences at once.

    Raises
    ------
    ShapeError : lengths or labels outside their range, shapes that do not fit. ArgumentError : wrong kinds.

    Notes
    -----
    The gradient is that of log_probs as they are, minus the posterior of each class at each step; through
    `log_softmax` it is torch's, whose own gradient of log_probs assumes that a `log_softmax` comes before.

    Examples
    --------
    >>> even = tl.nn.functional.log_softmax(tl.zeros((4, 1, 3)))
    >>> tl.nn.functional.ctc_loss(even, [[1, 2]], [4], [2], reduction="none")  # 15 of 81 paths
    tensor([1.686399])
    """
    call = "ctc_loss"
    x = log_probs if isinstance(log_probs, Tensor) else Tensor(log_probs)
    if x.ndim not in (2, 3) or x.dtype.kind != "f" or 0 in x.shape:
        raise ShapeError(
            message(call, "log_probs is floats of shape (T, N, C) or (T, C), none of them 0", {"log_probs": x})
        )
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(message(call, "reduction is 'mean', 'sum' or 'none'", {"reduction": reduction}))
    steps, batch, classes = x.shape if x.ndim == 3 else (x.shape[0], 1, x.shape[1])
    if isinstance(blank, bool) or not isinstance(blank, int | np.integer) or not 0 <= blank < classes:
        raise ShapeError(message(call, f"blank is one of the classes 0 ... {classes - 1}", {"blank": blank}))
    frames = _lengths(call, "input_lengths", input_lengths, batch, steps)
    sizes = _lengths(call, "target_lengths", target_lengths, batch, None)
    labels = _labels(call, targets, sizes, x, classes, int(blank))
    attr = {"labels": labels, "frames": frames, "sizes": sizes, "zero_infinity": bool(zero_infinity)}
    losses = evaluate("ctc", x if x.ndim == 3 else reshape(x, (steps, 1, classes)), **attr)
    if reduction == "sum":
        return sum(losses)
    if reduction == "mean":
        return mean(losses / np.maximum(sizes, 1).astype(x.dtype))
    return losses if x.ndim == 3 else reshape(losses, ())


# ---------------------------------------------------------------------------------------------------------------- rows
def _skips(labels: np.ndarray) -> np.ndarray:
    """(N, L) whether s may be entered from s - 2: it holds a label, and another than s - 2."""
    odd = np.arange(labels.shape[1]) % 2 == 1
    before = np.concatenate([np.full_like(labels[:, :2], -1), labels[:, :-2]], axis=1)[:, : labels.shape[1]]
    return odd & (labels != before)


def _alphas(emitted: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """(T, N, L) log probability of all walks that are at s at time t; `emitted` (T, N, L) is log p of s's class."""
    steps, batch, size = emitted.shape
    at = np.full((steps, batch, size + 2), -np.inf)  # two impossible places before the first
    at[0, :, 2:4] = emitted[0, :, :2]
    barrier = np.where(skips, 0.0, -np.inf)
    for t in range(1, steps):
        a = at[t - 1]
        at[t, :, 2:] = np.logaddexp(np.logaddexp(a[:, 2:], a[:, 1:-1]), a[:, :-2] + barrier) + emitted[t]
    return at[:, :, 2:]


def _total(alphas: np.ndarray, frames: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N,) log probability of the walks that end in the last label or the blank after it."""
    rows = np.arange(len(frames))
    last = alphas[np.maximum(frames - 1, 0), rows]
    ends = np.logaddexp(last[rows, 2 * sizes], np.where(sizes > 0, last[rows, np.maximum(2 * sizes - 1, 0)], -np.inf))
    return np.where(frames > 0, ends, np.where(sizes > 0, -np.inf, 0.0))


def _emitted(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x.astype(np.float64, copy=False), labels[None], axis=2)


def _ctc(x, labels, frames, sizes, zero_infinity):
    losses = -_total(_alphas(_emitted(x, labels), _skips(labels)), frames, sizes)
    return (np.where(np.isposinf(losses), 0.0, losses) if zero_infinity else losses).astype(x.dtype)


def _ctc_gradient(g, x, labels, frames, sizes, zero_infinity):
    """-posterior. Walks from the end are walks of the reversed sequences, so both run in one loop of 2N rows."""
    steps, (batch, size) = len(x), labels.shape
    emitted, skips, rows = _emitted(x, labels), _skips(labels), np.arange(batch)
    back_t = np.maximum(frames - 1 - np.arange(steps)[:, None], 0)  # (T, N)
    back_s = np.maximum(2 * sizes[:, None] - np.arange(size), 0)  # (N, L)
    reverse = (back_t[:, :, None], rows[None, :, None], back_s[None])
    both = np.concatenate([emitted, emitted[reverse]], axis=1)
    alphas = _alphas(both, np.concatenate([skips, _skips(labels[rows[:, None], back_s])]))
    forth, back = alphas[:, :batch], alphas[:, batch:][reverse]
    total = _total(forth, frames, sizes)
    counts = (np.arange(steps)[:, None, None] < frames[:, None]) & (np.arange(size) <= 2 * sizes[:, None])
    reached = counts & (forth > -np.inf) & (back > -np.inf)
    posterior = np.where(reached, np.exp(np.where(reached, forth + back - emitted, 0.0) - total[:, None]), 0.0)
    impossible = np.isneginf(total) & (frames > 0)
    posterior[np.broadcast_to(counts & impossible[:, None], posterior.shape)] = 0.0 if zero_infinity else np.nan
    out = np.zeros(x.shape)
    for s in range(size):  # the labels of one place are different rows of `out`
        out[:, rows, labels[:, s]] -= posterior[:, :, s]
    out *= np.where(impossible & zero_infinity, 0.0, g)[:, None]
    return out.astype(x.dtype)


def _written_out(x: Any, labels: np.ndarray, frames: np.ndarray, sizes: np.ndarray, zero_infinity: bool) -> Any:
    """The same losses as operations of the table: slow, and differentiable to every order."""
    steps, (batch, size) = x.shape[0], labels.shape
    rows = np.arange(batch)
    emitted = maximum(
        apply("getitem", x, index=(np.arange(steps)[:, None, None], rows[None, :, None], labels[None])), NEVER
    )
    skips = _skips(labels)
    edge = full((batch, 2), NEVER, x.dtype)
    at = where(np.arange(size) < 2, emitted[0], NEVER)
    for t in range(1, steps):
        wide = concatenate([edge, at], axis=1)
        after = logsumexp(stack([at, wide[:, 1:-1], where(skips, wide[:, :-2], NEVER)]), axis=0) + emitted[t]
        at = where((t < frames)[:, None], maximum(after, NEVER), at)
    ends = stack([at[rows, 2 * sizes], where(sizes > 0, at[rows, np.maximum(2 * sizes - 1, 0)], NEVER)])
    losses = -logsumexp(ends, axis=0)
    possible = (losses.data < -0.5 * NEVER) & (frames > 0)
    return where(
        possible, losses, np.where((sizes == 0) & (frames == 0) | zero_infinity, 0.0, math.inf).astype(x.dtype)
    )


def _ctc_pullback(g: Any, y: Any, x: Any, **attr: Any) -> Any:
    if not mode.recording:
        return apply("ctc_gradient", g, x, **attr)
    own = apply("reshape", x, shape=x.shape)
    return sweep([_written_out(own, **attr)], [g], stop=[own])[own.serial]


array_row("ctc", _ctc, (_ctc_pullback,), names=("log_probs",), symbol="CTC", doc="-log of the probability of all alignments")
array_row("ctc_gradient", _ctc_gradient, arity=2, names=("g", "log_probs"), doc="The derivative of ctc")


# -------------------------------------------------------------------------------------------------------------- checks
def _lengths(call: str, name: str, value: ArrayLike, batch: int, most: int | None) -> np.ndarray:
    lengths = indices(call, name, value, np.iinfo(np.int64).max if most is None else most + 1).reshape(-1)
    if len(lengths) != batch:
        raise ShapeError(message(call, f"{name} has one length a sequence, hence {batch}", {name: value}))
    return lengths


def _labels(call: str, targets: ArrayLike, sizes: np.ndarray, x: Tensor, classes: int, blank: int) -> np.ndarray:
    """(N, 2 S + 1) the extended targets, with blanks past the end of each."""
    given = np.asarray(targets.data if isinstance(targets, Tensor) else targets)
    longest = int(sizes.max(initial=0))
    inside = np.arange(longest) < sizes[:, None]
    if given.ndim == 2 and len(given) == len(sizes) and given.shape[1] >= longest:
        flat = given[:, :longest][inside]
    elif given.ndim == 1 and (given.size == sizes.sum() or (x.ndim == 2 and given.size >= longest)):
        flat = given[: sizes.sum()]
    else:
        wanted = f"({len(sizes)}, at least {longest}), padded, or ({sizes.sum()},), one after the other"
        raise ShapeError(
            message(
                call,
                f"targets of these lengths have shape {wanted}",
                {"log_probs": x, "targets": given, "target_lengths": sizes},
            )
        )
    flat = indices(call, "targets", flat, classes)
    if (flat == blank).any():
        raise ShapeError(
            message(
                call,
                f"targets hold the blank, {blank}",
                {"targets": given},
                "labels are the other classes; choose blank= accordingly",
            )
        )
    labels = np.full((len(sizes), 2 * longest + 1), blank)
    labels[:, 1::2][inside] = flat
    return labels
