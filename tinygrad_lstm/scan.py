"""Run a cell over time: the row `scan`, whose forward and backward are the cell's plan.

Time runs forward over the arrays; samples are sorted by length, longest first, so that the samples that are still
running are always the first rows and what lies past a sequence's end is never read. Where an array has room past an
end, the sample's last step stands there again: products over all steps meet it with a cotangent of zero, and zero times
a number is zero, while a padded 0 may have made an inf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .autodiff import sweep
from .cell import Cell
from .execute import run_backward, run_forward
from .functions import concatenate, flip, stack, where, zeros
from .graph import Op
from .tensor import Tensor, _make, _wrap, mode, no_grad


# --------------------------------------------------------------------------------------------------------------- the row
def _scan_vjp(
    g: Mapping[int, Tensor], y: Tensor, *args: Tensor, cell: Cell, active: np.ndarray | None, tape: Any, place: Place
) -> tuple:
    """g: cotangents of the output (0) and of the final states (1, 2, ...), those that there are."""
    if mode.recording and not cell.watched:
        return _unrolled_vjp(g, args, cell, active)
    states = [g[k + 1].data if k + 1 in g else None for k in range(len(cell.states))]
    output = g[0].data if 0 in g else None
    wanted = [a.requires_grad for a in args[: len(cell.inputs)]] if mode.guard is None else None
    dx, ds, dp = run_backward(cell, tape, output, states, wanted)
    if mode.guard is not None:
        mode.guard.scan_backward(cell, args, active, place, (output, *states), (dx, ds, dp))
    if mode.recording:
        return _unrolled_vjp(g, args, cell, active)
    return (*(None if d is None else _wrap(d) for d in dx), *map(_wrap, ds), *(_wrap(dp[f]) for f in cell.families))


def _unrolled_vjp(g: Mapping[int, Tensor], args: Sequence[Tensor], cell: Cell, active: np.ndarray | None) -> tuple:
    """A gradient that can be differentiated again: through the cell's equations, step by step, on Tensors."""
    own = [a.apply("reshape", a, shape=a.shape) if a.requires_grad else a for a in args]
    output, states = unrolled(cell, own, active)
    roots, seeds = [], []
    for k, root in enumerate([output, *states]):
        if k in g and root.requires_grad:
            roots.append(root)
            seeds.append(g[k])
    stop = [a for a in own if a.requires_grad]
    found = sweep(roots, seeds, stop=stop)
    return tuple(found.get(a.serial) if a.requires_grad else None for a in own)


def unrolled(cell: Cell, args: Sequence[Tensor], active: np.ndarray | None) -> tuple[Tensor, list[Tensor]]:
    """The scan as a graph of Tensors, one copy of the equations a step: slow, clear, differentiable to any order."""
    i, s = len(cell.inputs), len(cell.states)
    xs, states, arrays = args[:i], list(args[i : i + s]), dict(zip(cell.families, args[i + s :], strict=True))
    parameters = cell.members(arrays)
    outputs = []
    T, B = xs[0].shape[:2]
    for t in range(T):
        out, new = cell.step([x[t] for x in xs], states, parameters)
        if active is not None and active[t] < B:
            runs = np.arange(B)[:, None] < active[t]
            out = where(runs, out, 0.0)
            new = [where(runs, a, b) for a, b in zip(new, states, strict=True)]
        outputs.append(out)
        states = new
    if not outputs:
        out, _ = cell.step([zeros((B, x.shape[2]), x.dtype) for x in xs], states, parameters)
        return out[None][:0], states
    return stack(outputs), states


@dataclass(frozen=True)
class Place:
    """Where the loop's steps and rows lie in the caller's arrays.

    steps : how many there are. rows : the caller's sample of every row, and ends : its steps; None if all run to the end.
    axes : which of step (0) and sample (1) the caller's arrays have, in their order: (1, 0) with batch_first.
    """

    steps: int
    reverse: bool = False
    rows: np.ndarray | None = None
    ends: np.ndarray | None = None
    axes: tuple[int, ...] = (0, 1)

    def of(self, step: int, row: int) -> tuple[int, int]:
        """(step, sample) of the caller."""
        end = self.steps if self.ends is None else int(self.ends[row])
        return end - 1 - step if self.reverse else step, row if self.rows is None else int(self.rows[row])

    def index(self, step: int, row: int, unit: int) -> tuple[int, ...]:
        """Of one number in the caller's array."""
        at = self.of(step, row)
        return (*(at[axis] for axis in self.axes), unit)

    def restore(self, array: np.ndarray) -> np.ndarray:
        """(T, B, axis) of the loop as the caller's (steps, B, axis): zero past a sequence's end."""
        if self.rows is None or self.ends is None:
            return array[::-1] if self.reverse else array
        t = np.arange(len(array))[:, None]
        runs = t < self.ends
        at = np.where(runs, self.ends - 1 - t, t) if self.reverse else np.broadcast_to(t, runs.shape)
        out = np.zeros((self.steps, *array.shape[1:]), array.dtype)
        out[at[runs], np.broadcast_to(self.rows, runs.shape)[runs]] = array[runs]
        return out


@dataclass(frozen=True)
class Watch:
    """What is to be recorded of one scan: the names, and who takes (cell, tape, place, whether there will be gradients)."""

    names: tuple[str, ...]
    take: Callable[[Cell, Any, Place, bool], None]


def _put_back(g: Any, steps: np.ndarray, rows: np.ndarray, runs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, g.dtype)
    out[steps[runs], rows[runs]] = g[runs]  # no place is named twice among those that run, so nothing is to be added
    return out


def _kept_only(x: Any, runs: np.ndarray) -> Any:
    return where(runs[..., None], x, 0.0)


# (T, B, n) rearranged along its first two axes, and back; what does not run is filled in as a constant
ARRANGE: Op = Op(
    "arrange",
    1,
    lambda x, steps, rows, runs: x[steps, rows],
    (lambda g, y, x, **at: g.apply(PUT_BACK, g, **at, shape=x.shape),),
)
PUT_BACK: Op = Op(
    "put_back",
    1,
    _put_back,
    (
        lambda c, y, g, steps, rows, runs, shape: _kept_only(
            c.apply(ARRANGE, c, steps=steps, rows=rows, runs=runs), runs
        ),
    ),
)
SCAN = Op("scan", None, lambda *_: None, _scan_vjp, symbol="scan")
RECURRENCE = Op("recurrence", None, lambda *_: None, symbol="scan")  # a whole call of `scan`, for who reads the graph


def scan(
    cell: Cell,
    xs: Sequence[Tensor],
    states: Sequence[Tensor],
    arrays: Mapping[str, Tensor],
    lengths: np.ndarray | None = None,
    reverse: bool = False,
    watch: Watch | None = None,
    axes: tuple[int, ...] = (0, 1),
) -> tuple[Tensor, list[Tensor]]:
    """Run a cell over time.

    xs : (T, B, axis) for each input. states : (B, axis). arrays : one stacked array a family.
    lengths : (B,) integers from 0 to T: outputs past them are zero, the final states are those at a sequence's own end.
    reverse : from the last step (of each sequence) to the first; outputs stay where their inputs are.
    watch : what a recording wants. axes : the caller's, see `Place`.

    Returns the outputs (T, B, output axis) and the final states.
    """
    if mode.history is not None:
        return _remembered(cell, xs, states, arrays, lengths, reverse)
    T = xs[0].shape[0]
    active = order = None
    longest = T
    place = Place(T, reverse, axes=axes)
    if lengths is not None and (lengths < T).any():
        order = np.argsort(-lengths, kind="stable")
        ends = lengths[order]
        place = Place(T, reverse, order, ends, axes)
        longest = int(ends[0])
        t = np.arange(longest)[:, None]
        runs = t < ends
        active = runs.sum(1)
        rows = np.broadcast_to(np.where(ends > 0, order, order[0]), runs.shape)
        last = np.where(ends > 0, ends, longest) - 1
        steps = np.where(runs, t, np.where(ends > 0, last, 0))
        steps = last - steps if reverse else steps
        xs = [x.apply(ARRANGE, x, steps=steps, rows=rows, runs=runs) for x in xs]
        states = [s[order] for s in states]
    elif reverse:
        xs = [flip(x, 0) for x in xs]
    output, *finals = _run(cell, [*xs, *states, *(arrays[f] for f in cell.families)], active, place, watch)
    if order is not None and lengths is not None:
        back = np.argsort(order, kind="stable")
        t = np.arange(longest)[:, None]
        steps = np.where(t < lengths, lengths - 1 - t, t) if reverse else t
        steps, rows = np.broadcast_to(steps, runs.shape), np.broadcast_to(back, runs.shape)
        output = output.apply(ARRANGE, output, steps=steps, rows=rows, runs=np.ones_like(runs))
        if longest < T:
            output = concatenate([output, zeros((T - longest, *output.shape[1:]), output.dtype)])
        finals = [s[back] for s in finals]
    elif reverse:
        output = flip(output, 0)
    return output, finals


def _remembered(
    cell: Cell,
    xs: Sequence[Tensor],
    states: Sequence[Tensor],
    arrays: Mapping[str, Tensor],
    lengths: np.ndarray | None,
    reverse: bool,
) -> tuple[Tensor, list[Tensor]]:
    """The call as one operation of a complete history."""
    kept, mode.history = mode.history, None
    try:
        with no_grad():
            output, finals = scan(cell, xs, states, arrays, lengths, reverse)
    finally:
        mode.history = kept
    data = tuple(y.data for y in (output, *finals))
    attr = {"cell": cell, "lengths": lengths, "reverse": reverse}
    bundle = _make(data, RECURRENCE, (*xs, *states, *(arrays[f] for f in cell.families)), attr, False)
    output, *finals = [bundle.apply("item", bundle, index=k) for k in range(len(data))]
    return output, finals


def _run(
    cell: Cell, args: Sequence[Tensor], active: np.ndarray | None, place: Place, watch: Watch | None
) -> list[Tensor]:
    """The output and the final states."""
    tracked = mode.recording and any(a.requires_grad for a in args)
    i, s = len(cell.inputs), len(cell.states)
    data = [a.data for a in args]
    cell = cell if watch is None else cell.watching(watch.names)
    keep = tracked or watch is not None or mode.guard is not None
    with np.errstate(all="ignore"):
        output, finals, tape = run_forward(
            cell, dict(zip(cell.families, data[i + s :], strict=True)), data[:i], data[i : i + s], active, keep
        )
    if mode.guard is not None:
        mode.guard.scan_forward(cell, args, active, place, tape, (output, *finals))
    if watch is not None:
        watch.take(cell, tape, place, tracked)
    if not tracked:
        return [_wrap(output), *map(_wrap, finals)]
    attr = {"cell": cell, "active": active, "tape": tape, "place": place}
    bundle = _make((output, *finals), SCAN, tuple(args), attr, True)
    return [bundle.apply("item", bundle, index=k) for k in range(1 + len(finals))]
