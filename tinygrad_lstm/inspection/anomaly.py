"""`detect_anomaly`: the first value that is not finite, by quantity, step and sample.

Nothing is looked at outside the context. Inside, every eager result and gradient is checked as it comes, and of a layer
its inputs, parameters, states and gradients; only when one of these is not finite, the run is replayed (`replay`),
equation by equation, to find the quantity it began with.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ContextDecorator
from typing import Any, NoReturn

import numpy as np

from ..autodiff import sweep
from ..cell import Cell
from ..errors import AnomalyError, describe
from ..execute import Tape
from ..graph import Node, Op, Slot, reachable
from ..scan import Place
from ..tensor import Tensor, changes, enable_grad, mode
from .replay import GROWS, LAST, REMEDIES, UNCLEAN, Replay, anomaly, finite, first, spot

# They hand values on: whoever computes with these is told, a layer by the names of its inputs, steps and samples.
MOVES = "reshape transpose broadcast_to getitem put concatenate astype item arrange put_back".split()


class detect_anomaly(ContextDecorator):
    """Find the first value that is nan or inf: `with tl.detect_anomaly(): loss = f(x); loss.backward()`.

    Raised as an `AnomalyError` where it happens, forward and backward: in an eager operation its name and the index;
    within the compiled loops of a layer the quantity by its name in the cell's body, the step and the sample, counted from
    0, and how the norms of the states, or of their gradients, grew in the steps before. An inf in an input or a
    parameter counts, and is named as such. Steps are those of the input, in a reverse layer too.

    Inside the context everything is checked and takes longer; outside nothing is. It holds for this thread, and is a
    decorator as well.

    Raises
    ------
    AnomalyError : with `.quantity .phase .step .sample .index .value`; its text also says what to do.

    Examples
    --------
    >>> with tl.detect_anomaly():
    ...     tl.log(tl.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    tinygrad_lstm.errors.AnomalyError: `log`: gives -inf at index 1, the first value that is not finite
        x = (2,) float32, there 0.0
      keep its argument above 0: tl.log(tl.maximum(x, 1e-12)), or tl.log1p(x)
    """

    _open = 0
    _plain: Callable[..., Any] = Tensor.pullback
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._before: list[tuple[Any, Any]] = []

    def __enter__(self) -> None:
        self._before.append((mode.guard, mode.quietly))
        if mode.guard is None:
            mode.guard = guard = Guard(mode.quietly)
            mode.quietly = guard.quietly
        changes[0] += 1  # what is prepared for streams runs unseen
        with detect_anomaly._lock:
            detect_anomaly._open += 1
            type.__setattr__(Tensor, "pullback", _seen_pullback)

    def __exit__(self, *_: Any) -> None:
        mode.guard, mode.quietly = self._before.pop()
        with detect_anomaly._lock:
            detect_anomaly._open -= 1
            if not detect_anomaly._open:
                type.__setattr__(Tensor, "pullback", detect_anomaly._plain)


def _seen_pullback(y: Tensor, g: Any, wanted: tuple[bool, ...]) -> Sequence[Any]:
    """In the place of `Tensor.pullback` while a context is open, in whatever thread."""
    guard, plain = mode.guard, detect_anomaly._plain
    return plain(y, g, wanted) if guard is None or guard.inside else guard.pullback(plain, y, g, wanted)


class Guard:
    """Looks at everything that one thread computes."""

    def __init__(self, plain: Callable[..., Any]):
        self.plain = plain
        self.inside = False  # within one derivative: only what it gives counts
        self.results: deque[tuple[str, float]] = deque(maxlen=LAST)
        self.gradients: deque[tuple[str, float]] = deque(maxlen=LAST)

    # ------------------------------------------------------------------------------------------------- eager, forward
    def quietly(self, function: Callable[..., Any], *values: Any, **attr: Any) -> Any:
        """In the place of `mode.quietly`."""
        data = self.plain(function, *values, **attr)
        if not self.inside:
            caller = sys._getframe(1).f_locals  # the operation, and the Tensors, which know their names
            row, args = caller.get("row"), caller.get("args", values)
            for part in data if isinstance(data, tuple | list) else (data,):
                array = np.asarray(part)
                if not finite(array):
                    self._check_result(row, values, args, array)
                if array.dtype.kind == "f":
                    self.results.append((getattr(row, "name", "?"), _largest(array)))
        return data

    def _check_result(self, row: Any, values: Sequence[Any], args: Sequence[Any], data: np.ndarray) -> None:
        name, labels = getattr(row, "name", "an operation"), _labels(row, args)
        given = {label: describe(v) for label, v in zip(labels, values, strict=False)}
        for label, v in zip(labels, values, strict=False):
            if isinstance(v, np.ndarray) and not finite(v):
                if name in MOVES:
                    return
                at = first(v)
                problem = f"its argument {label} came in as {v[at]}{spot(at)}"
                raise anomaly(name, problem, v[at], label, given=given, remedy=UNCLEAN, index=at)
        _within(row, args)
        at = first(data)
        for label, v in zip(labels, values, strict=False):
            if isinstance(v, np.ndarray) and v.ndim and v.shape == data.shape:
                given[label] += f", there {v[at]}"
        found = [_listed("the largest entries of the results before", self.results)]
        remedy = REMEDIES.get(name, GROWS)
        problem = f"gives {data[at]}{spot(at)}"
        raise anomaly(name, problem, data[at], name, given=given, found=found, remedy=remedy, index=at)

    # ------------------------------------------------------------------------------------------------ eager, backward
    def pullback(self, plain: Callable[..., Any], y: Tensor, g: Any, wanted: tuple[bool, ...]) -> Sequence[Any]:
        """The gradients of y's arguments, checked; and y's own, which was given or is a sum."""
        assert y.op is not None
        for place, part in g.items() if type(g) is dict else [("", g)]:
            array = np.asarray(part)
            if not finite(array):
                note = "it was given to backward, or is a sum of finite ones"
                self._raise_gradient(y, f"the gradient of its result {place}".rstrip(), y.op.name, array, {}, [note])
            self.gradients.append((y.op.name, _largest(array)))
        self.inside = True
        try:
            terms = plain(y, g, wanted)
        finally:
            self.inside = False
        labels = _labels(y.op, y.args)
        for arg, label, term in zip(y.args, labels, terms, strict=False):
            array = np.asarray(term.cotangent if type(term) is Slot else 0.0 if term is None else term)
            if not finite(array):
                _within(y.op, y.args, g)
                given = {n: describe(a) for n, a in zip(labels, y.args, strict=True)}
                if isinstance(arg, Tensor) and arg.op is not None and type(arg.data) is tuple:
                    given[label] = arg.op.name
                elif array.shape == np.shape(arg):
                    given[label] += f", there {np.asarray(arg)[first(array)]}"
                found = [_listed("the largest entries of the gradients before", self.gradients)]
                self._raise_gradient(y, f"the gradient of its argument {label}", label, array, given, found)
        return terms

    def _raise_gradient(
        self, y: Tensor, what: str, quantity: str, array: np.ndarray, given: Mapping[str, str], found: Iterable[str]
    ) -> NoReturn:
        assert y.op is not None
        at, remedy = first(array), REMEDIES.get(y.op.name, GROWS)
        problem = f"{what} is {array[at]}{spot(at)}"
        raise anomaly(
            y.op.name, problem, array[at], quantity, "backward", given=given, found=found, remedy=remedy, index=at
        )

    # --------------------------------------------------------------------------------------------------------- layers
    def scan_forward(
        self,
        cell: Cell,
        args: Sequence[Tensor],
        active: np.ndarray | None,
        place: Place,
        tape: Any,
        results: Sequence[np.ndarray],
    ) -> None:
        """Of a layer: its parameters, its inputs, the output, and the states after every step."""
        replay = Replay(cell, args, active, place)
        replay.check_parameters()
        if isinstance(tape, Tape):
            widths = [s.shape[-1] for s in replay.states]
            histories = [tape.run.view(f"state{k}")[: replay.T + 1, :, :w] for k, w in enumerate(widths)]
            if not all(map(finite, [*replay.xs, *histories, results[0]])):
                replay.find_forward(histories, results[0])

    def scan_backward(
        self,
        cell: Cell,
        args: Sequence[Tensor],
        active: np.ndarray | None,
        place: Place,
        seeds: Sequence[np.ndarray | None],
        results: tuple[Sequence[np.ndarray | None], Sequence[np.ndarray], Mapping[str, np.ndarray]],
    ) -> None:
        """Of a layer: the gradients of inputs, initial states and parameters."""
        dx, ds, dp = results
        gradients = {**dict(zip(cell.inputs, dx, strict=True)), **dict(zip(cell.states, ds, strict=True)), **dp}
        broken = {name: d for name, d in gradients.items() if d is not None and not finite(d)}
        if broken:
            Replay(cell, args, active, place).find_backward(seeds, broken)


def _within(row: Op | None, args: Sequence[Any], g: Any = None) -> None:
    """Run a fused operation, and with a cotangent its derivative, one operation after the other: the one to blame raises."""
    if row is None or row.graph is None:
        return
    inputs, output = row.graph
    data = [a.data if isinstance(a, Tensor) else np.asarray(a, getattr(g, "dtype", np.float32)) for a in args]
    leaves = [Tensor(d, requires_grad=d.dtype.kind == "f") for d in data]
    for leaf, name in zip(leaves, row.names, strict=True):
        leaf.name = name
    values: dict[int, Any] = {n.serial: leaf for n, leaf in zip(inputs, leaves, strict=True)}
    try:
        with enable_grad():
            for node in reachable([output]):
                if node.op is not None:
                    given = [values[a.serial] if isinstance(a, Node) else a for a in node.args]
                    values[node.serial] = leaves[0].apply(node.op, *given, **node.attr)
            if g is not None:
                sweep([values[output.serial]], [g])
    except AnomalyError as error:
        text = f"`{row.name}`: in its {error}"
        raise AnomalyError(text, error.quantity, error.phase, error.value, index=error.index) from None


def _labels(row: Any, args: Sequence[Any]) -> list[str]:
    """What the arguments are called: a Tensor with a name by that, all others as the operation calls them."""
    names = getattr(row, "names", ()) or tuple("abcdefgh")
    return [getattr(a, "name", None) or (names[k] if k < len(names) else f"argument {k}") for k, a in enumerate(args)]


def _largest(array: np.ndarray) -> float:
    return float(abs(array).max(initial=0))


def _listed(what: str, sizes: Iterable[tuple[str, float]]) -> str:
    text = ", ".join(f"{name} {size:.3g}" for name, size in sizes)
    return f"{what}: {text}" if text else ""
