"""A model as the graph of what it does: recorded on inputs of several sizes, and made one.

Every size that a recorded operation mentions (the 12 of a reshape, the 7 of a slice) is a Python integer, made by the
model's own code in ways that nobody sees. So the model runs on inputs of a few sizes, and where its graphs differ in an
integer, that integer is a factor times a product of input sizes, or the sum of two such
products, plus an offset; or the model is refused. What does not differ
is the same for every size. Nothing is guessed of a model: an axis is dynamic if the model runs with another size of it
and does the same operations.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..graph import ModuleCall, Op, Value
from ..nn.module import Module
from ..tensor import Tensor, complete_history, enable_grad


class Unexplained(Exception):
    """What differs between recordings and does not follow from the sizes of the inputs."""


@dataclass(frozen=True)
class Size:
    """An integer that follows the inputs: the sum of factor * product of the sizes of axes (by name), plus the offset."""

    terms: tuple[tuple[tuple[str, ...], int], ...]
    offset: int = 0

    @property
    def axis(self) -> str | None:
        """The axis whose size it is, if it is no more than that."""
        ((axes, factor), *more) = self.terms
        return axes[0] if (len(axes), factor, more, self.offset) == (1, 1, [], 0) else None

    def __str__(self) -> str:
        parts = ["*".join([str(factor)] * (factor != 1) + list(axes)) for axes, factor in self.terms]
        return " + ".join([*parts, str(self.offset)] if self.offset else parts).replace("+ -", "- ")


@dataclass(frozen=True)
class Ref:
    """A value of the graph, by its position."""

    place: int


@dataclass(frozen=True)
class Axis:
    """A dynamic axis: its name, and the places it has in the inputs, as (input, axis)."""

    name: str
    places: tuple[tuple[int, int], ...]


# -------------------------------------------------------------------------------------------------- arguments as inputs
class Example:
    """The arguments of a call, with the arrays among them as named inputs; all else stays as it is."""

    def __init__(self, model: Module, example: Any):
        if isinstance(example, Mapping):
            self.args: list[Any] = []
            self.kwargs = dict(example)
        else:
            self.args = list(example) if type(example) is tuple else [example]
            self.kwargs = {}
        try:
            bound = inspect.signature(model.forward).bind(*self.args, **self.kwargs)
        except TypeError as error:
            raise ArgumentError(
                message(
                    "onnx.export",
                    f"the example does not fit {type(model).__name__}.forward: {error}",
                    remedy="an array, a tuple of the arguments, or a dict of them by name",
                )
            ) from None
        self.names: list[str] = []
        self.arrays: list[np.ndarray] = []
        self.args, self.kwargs = list(bound.args), dict(bound.kwargs)
        labels = list(inspect.signature(model.forward).parameters)
        variadic = [k for k, p in inspect.signature(model.forward).parameters.items() if p.kind is p.VAR_POSITIONAL]
        for k in range(len(self.args)):
            label = labels[k] if k < len(labels) and labels[k] not in variadic else f"{variadic[0]}_{k}"
            self.args[k] = self._lift(label, self.args[k])
        self.kwargs = {label: self._lift(label, value) for label, value in self.kwargs.items()}
        if not self.arrays:
            raise ArgumentError(message("onnx.export", "the example holds no array", {"example": example}))

    def _lift(self, label: str, value: Any) -> Any:
        """The argument with a `_Place` for every array in it."""
        if isinstance(value, Tensor):
            value = value.data
        if isinstance(value, tuple) or (
            isinstance(value, list) and any(isinstance(v, Tensor | np.ndarray) for v in value)
        ):
            items = [self._lift(f"{label}_{k}", item) for k, item in enumerate(value)]
            return tuple(items) if isinstance(value, tuple) else items
        if isinstance(value, list):
            try:
                value = np.array(value, np.float32 if np.asarray(value).dtype.kind == "f" else None)
            except ValueError:
                raise ArgumentError(
                    message("onnx.export", f"the rows of {label} have different lengths", {label: value})
                ) from None
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "fiub":
                raise ArgumentError(message("onnx.export", f"{label} is no array of numbers", {label: value}))
            self.names.append(label)
            self.arrays.append(np.array(value))
            return _Place(len(self.arrays) - 1)
        return value

    def call(self, model: Module, arrays: Sequence[np.ndarray]) -> tuple[list[Tensor], Any]:
        tensors = [Tensor(a) for a in arrays]

        def fill(value: Any) -> Any:
            if isinstance(value, _Place):
                return tensors[value.index]
            items = [fill(v) for v in value] if isinstance(value, tuple | list) else value
            return tuple(items) if isinstance(value, tuple) else items

        return tensors, model(*map(fill, self.args), **{k: fill(v) for k, v in self.kwargs.items()})

    def resized(self, sizes: Mapping[tuple[int, int], int], turn: int) -> list[np.ndarray]:
        """The arrays with other sizes of these axes and other values, so that what is made of values shows: their own
        entries, drawn anew, and noise on floats that are no whole numbers (or all the same)."""
        rng = np.random.default_rng(turn)
        out = []
        for k, array in enumerate(self.arrays):
            for axis in range(array.ndim):
                n = array.shape[axis]
                if n:
                    array = np.take(array, rng.integers(0, n, sizes.get((k, axis), n)), axis=axis)
            own = self.arrays[k]
            if own.dtype.kind == "f" and own.size:
                finite = own[np.isfinite(own)]
                whole = bool((finite == np.floor(finite)).all()) and len(np.unique(finite)) > 1
                scale = float(finite.std()) if finite.size and finite.std() else 1.0
                array = array if whole else (array + scale * rng.standard_normal(array.shape)).astype(own.dtype)
            out.append(array)
        return out


@dataclass(frozen=True)
class _Place:
    index: int


# ------------------------------------------------------------------------------------------------------------- recording
class Recording:
    """One run of a model: the values its results come from, arguments first."""

    def __init__(self, model: Module, example: Example, arrays: Sequence[np.ndarray]):
        training = [(m, m.training) for m in model.modules()]
        try:
            model.eval()
            with enable_grad(), complete_history() as self.taken:
                self.inputs, result = example.call(model, arrays)
        finally:
            for module, flag in training:
                module.training = flag
        self.outputs: list[Tensor] = []
        self.paths: list[str] = []
        self._collect(result, "")
        self.values = self._walk()
        self.place = {id(v): k for k, v in enumerate(self.values)}

    def _collect(self, result: Any, path: str) -> None:
        if isinstance(result, Tensor):
            self.outputs.append(result)
            self.paths.append(path)
        elif isinstance(result, tuple | list):
            for k, item in enumerate(result):
                self._collect(item, f"{path}_{k}")
        elif isinstance(result, Mapping):
            for k, item in result.items():
                self._collect(item, f"{path}_{k}" if path else str(k))
        elif result is not None:
            raise ArgumentError(
                message(
                    "onnx.export",
                    "the model must return Tensors, or tuples, lists and dicts of them",
                    {"result": result},
                )
            )

    def source(self, array: Any) -> Tensor | None:
        """The Tensor whose value an array among the attributes is."""
        found = self.taken.get(id(array))
        return found[1] if found else None

    def read(self, value: Tensor) -> list[Any]:
        """What a value is computed from: its arguments, and the Tensors whose values became attributes."""
        sources = map(self.source, _arrays_in(value.attr))
        return [*value.args, *(s for s in sources if s is not None)]

    def _walk(self) -> list[Tensor]:
        seen: set[int] = set()
        found: list[Tensor] = []
        waiting: list[Tensor] = [*self.outputs, *self.inputs]
        while waiting:
            value = waiting.pop()
            if id(value) not in seen:
                seen.add(id(value))
                found.append(value)
                waiting += [a for a in self.read(value) if isinstance(a, Tensor)]
        return sorted(found, key=lambda v: v.serial)

    def shape_of_graph(self) -> list[Any]:
        """What recordings of one model must have in common."""
        rows: list[Any] = []
        for v in self.values:
            args = tuple(self.place[id(a)] if isinstance(a, Tensor) else "number" for a in self.read(v))
            shapes = [np.ndim(d) for d in v.data] if type(v.data) is tuple else v.data.ndim
            rows.append((v.op.name if v.op else "", args, shapes))
        return [rows, [self.place[id(v)] for v in (*self.inputs, *self.outputs)], self.paths]

    def calls(self) -> list[ModuleCall]:
        return [call for v in self.values for call in getattr(v, "calls", ())]


def _arrays_in(attr: Any) -> list[np.ndarray]:
    if isinstance(attr, np.ndarray):
        return [attr]
    items = attr.values() if isinstance(attr, dict) else attr if isinstance(attr, tuple | list) else ()
    return [a for item in items for a in _arrays_in(item)]


# -------------------------------------------------------------------------------------------------------- one of several
class History:
    """The recordings of a model as one graph, in which an integer is an int or a `Size`.

    values : positions in every recording. Attributes and shapes are made one when they are asked for: what nobody
    needs may differ.
    """

    def __init__(self, recordings: Sequence[Recording], sizes: Sequence[Mapping[str, int]], axes: Sequence[Axis]):
        self.recordings, self.sizes, self.axes = recordings, sizes, axes
        self.first = recordings[0]
        self.inputs = [self.first.place[id(v)] for v in self.first.inputs]
        self.outputs = [self.first.place[id(v)] for v in self.first.outputs]
        count = len(self.first.values)
        self.follows = np.zeros(count, bool)  # which values are computed from the inputs
        self.follows[self.inputs] = True
        for k, v in enumerate(self.first.values):
            if any(self.follows[self.first.place[id(a)]] for a in self.first.read(v) if isinstance(a, Tensor)):
                self.follows[k] = True

    def renamed(self) -> History:
        """With the axes of a recurrence called steps and batch."""
        names: dict[str, str] = {}
        for v in self.first.values:
            if v.op is not None and v.op.name == "recurrence":
                for size, name in zip(self.shape(self.first.place[id(v.args[0])])[:2], ("steps", "batch"), strict=True):
                    if isinstance(size, Size) and size.axis is not None:
                        names.setdefault(size.axis, name)
        used = [axis.name for axis in self.axes]
        names = {old: new for old, new in names.items() if list(names.values()).count(new) == 1 and new not in used}
        axes = [Axis(names.get(a.name, a.name), a.places) for a in self.axes]
        sizes = [{names.get(n, n): size for n, size in s.items()} for s in self.sizes]
        return History(self.recordings, sizes, axes)

    def value(self, k: int) -> Tensor:
        return self.first.values[k]

    def op(self, k: int) -> Op | None:
        return self.first.values[k].op

    def args(self, k: int) -> list[Any]:
        """The arguments: a `Ref`, or the number."""
        out: list[Any] = []
        for j, a in enumerate(self.first.values[k].args):
            if isinstance(a, Value):
                out.append(Ref(self.first.place[id(a)]))
            else:
                out.append(self.one([r.values[k].args[j] for r in self.recordings]))
        return out

    def attr(self, k: int) -> dict[str, Any]:
        return self.one([r.values[k].attr for r in self.recordings])

    def shape(self, k: int, part: int | None = None) -> tuple[Any, ...]:
        shapes = [(r.values[k].data if part is None else r.values[k].data[part]).shape for r in self.recordings]
        return self.one(shapes)

    def constants(self, k: int) -> list[np.ndarray]:
        """The arrays of a value in every recording."""
        return [r.values[k].data for r in self.recordings]

    def one(self, seen: Sequence[Any]) -> Any:
        """One thing of what the recordings have in its place."""
        first = seen[0]
        if isinstance(first, dict):
            if any(list(s) != list(first) for s in seen):
                raise Unexplained("attributes differ")
            return {key: self.one([s[key] for s in seen]) for key in first}
        if isinstance(first, tuple | list):
            if any(len(s) != len(first) for s in seen):
                raise Unexplained("lengths differ")
            return type(first)([self.one(part) for part in zip(*seen, strict=True)])
        if isinstance(first, slice):
            ends = [self.one([getattr(s, end) for s in seen]) for end in ("start", "stop", "step")]
            return slice(*ends)
        if isinstance(first, np.ndarray):
            sources = [r.source(a) for r, a in zip(self.recordings, seen, strict=True)]
            if sources[0] is not None:
                return Ref(self.first.place[id(sources[0])])
            return self.explained(seen)
        if isinstance(first, bool) or not isinstance(first, int | np.integer):
            same = all(
                s is first or (type(s) is type(first) and (s == first or (s != s and first != first))) for s in seen
            )
            if not same:
                if isinstance(first, int | float):
                    raise Unexplained("a number that follows the inputs, but not by operations of tl")
                raise Unexplained(f"{first!r} at one size, {next(s for s in seen if s != first)!r} at another")
            return first
        return self.integer([int(s) for s in seen])

    def integer(self, seen: Sequence[int]) -> Any:
        """An int that all have, or the simplest `Size` that all follow: of one product, or the sum of two."""
        if len(set(seen)) == 1:
            return seen[0]
        names = [axis.name for axis in self.axes]
        products = [chosen for n in range(1, len(names) + 1) for chosen in combinations(names, n)]
        columns = {chosen: [math.prod(sizes[a] for a in chosen) for sizes in self.sizes] for chosen in products}
        for count in (1, 2):
            for chosen in combinations(products, count):
                rows = [[*(columns[c][p] for c in chosen), 1] for p in range(len(seen))]
                *factors, offset = (round(k) for k in np.linalg.lstsq(np.array(rows, float), np.array(seen, float))[0])
                found = Size(tuple(zip(chosen, factors, strict=True)), offset)
                if all(factors) and all(
                    sum(a * k for a, k in zip(row, [*factors, offset], strict=True)) == s
                    for row, s in zip(rows, seen, strict=True)
                ):
                    return found
        raise Unexplained(f"the size {', '.join(map(str, seen))} does not follow from the sizes of the inputs")

    def explained(self, seen: Sequence[np.ndarray]) -> Any:
        """Constants: the same array everywhere, or one number everywhere (`Filled`), or a row of integers (`Counted`)."""
        first = seen[0]
        if one_array(seen):
            return first
        if all(s.shape == first.shape for s in seen):
            raise Unexplained("its values follow the inputs, but not by operations of tl")
        shape = self.one([s.shape for s in seen])
        flat = next((s.flat[0] for s in seen if s.size), np.zeros((), first.dtype))
        if all((s == flat).all() for s in seen):
            return Filled(shape, np.asarray(flat, first.dtype))
        if first.ndim == 1 and all(s.size > 1 for s in seen):
            start, step = first[0], first[1] - first[0]
            if all(np.array_equal(s, (start + step * np.arange(len(s))).astype(s.dtype)) for s in seen):
                return Counted(shape[0], np.asarray(start, first.dtype), np.asarray(step, first.dtype))
        raise Unexplained(
            f"an array of numbers, {first.shape} in the example, is made anew for every size of the inputs"
        )

    def where(self, k: int, model: Module) -> str:
        """In which module a value was computed, for messages."""
        serial = self.first.values[k].serial
        inside = [c for c in self.first.calls() if c.start < serial < c.stop]
        if not inside:
            return f"in {type(model).__name__}"
        innermost = max(inside, key=lambda c: c.start).module
        path = next((name for name, module in model.named_modules() if module is innermost), "")
        return f"in {path + ', a ' if path else ''}{type(innermost).__name__}"


def one_array(seen: Sequence[np.ndarray]) -> bool:
    """Whether all are the same numbers."""
    first = seen[0]
    return all(
        s is first or (s.shape == first.shape and np.array_equal(s, first, equal_nan=s.dtype.kind == "f")) for s in seen
    )


@dataclass(frozen=True, eq=False)
class Filled:
    """An array of one number, whose shape follows the inputs."""

    shape: tuple[Any, ...]
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Counted:
    """start, start + step, ...: as many as there are."""

    count: Any
    start: np.ndarray
    step: np.ndarray


# ----------------------------------------------------------------------------------------------------- dynamic axes
PROBES = 5
LARGE = 16
FAILURES = (ShapeError, ArgumentError, ValueError, TypeError, IndexError)  # of a model at a size that it has not
OTHERWISE = "the model does other operations at other sizes"


def _sizes(axes: Sequence[Axis], example: Example, most: float) -> list[dict[str, int]]:
    """Sizes to record at, from the example's, or from `most` if that is less: no axis moves as another does."""
    rng = np.random.default_rng(0)
    steps = [rng.permutation(13)[:PROBES] for _ in axes]
    starts = [min(max(2, example.arrays[k].shape[i]), most) for k, i in (axis.places[0] for axis in axes)]
    return [
        {a.name: int(n + s[p]) + k for k, (a, n, s) in enumerate(zip(axes, starts, steps, strict=True))}
        for p in range(PROBES)
    ]


def record(model: Module, example: Example, axes: Sequence[Axis]) -> History:
    """The model's graph, right for every size of these axes.

    Raises Unexplained where the model does other operations at other sizes.
    """
    if max((n for a in example.arrays for n in a.shape), default=0) > LARGE and axes:
        try:  # small sizes take less time, if the model has no objection
            return _record(model, example, axes, _sizes(axes, example, LARGE))
        except (Unexplained, *FAILURES):
            pass
    return _record(model, example, axes, _sizes(axes, example, math.inf) if axes else [{}, {}])


def _record(model: Module, example: Example, axes: Sequence[Axis], sizes: Sequence[dict[str, int]]) -> History:
    recordings = []
    for turn, chosen in enumerate(sizes):
        places = {place: chosen[axis.name] for axis in axes for place in axis.places}
        recordings.append(Recording(model, example, example.resized(places, turn)))
    graphs = [r.shape_of_graph() for r in recordings]
    if any(g != graphs[0] for g in graphs):
        raise Unexplained(OTHERWISE)
    return History(recordings, sizes, axes)


def _runs(model: Module, example: Example, places: Sequence[tuple[int, int]], base: list[Any]) -> bool | None:
    """Whether the model does the same with one size more of these axes; None if it does not run."""
    grown = {place: example.arrays[place[0]].shape[place[1]] + 1 for place in places}
    try:
        return Recording(model, example, example.resized(grown, 0)).shape_of_graph() == base
    except FAILURES:
        return None


def find_axes(model: Module, example: Example, names: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """The axes that may have another size, alone or together with axes of the same size in other inputs; and which
    might, but for what the model does."""
    base = Recording(model, example, example.arrays).shape_of_graph()
    shapes = [a.shape for a in example.arrays]
    free = [(k, i) for k, s in enumerate(shapes) for i, n in enumerate(s) if n]
    found: list[Axis] = []
    notes: list[str] = []
    taken: set[tuple[int, int]] = set()
    for place in free:
        if place in taken:
            continue
        size = shapes[place[0]][place[1]]
        alike = [p for p in free if p not in taken and p[0] != place[0] and shapes[p[0]][p[1]] == size]
        others = [[p for p in alike if p[0] == k] for k in dict.fromkeys(p[0] for p in alike)]
        joint = product(*[[*((p,) for p in options), ()] for options in others[:6]])
        choices = [(place,), *((place, *(p for part in picked for p in part)) for picked in joint if any(picked))]
        for chosen in choices[:64]:
            runs = _runs(model, example, chosen, base)
            if runs:
                found.append(Axis(f"{names[place[0]]}_{place[1]}", tuple(sorted(chosen))))
                taken.update(chosen)
            elif runs is not None:
                notes.append(f"axis {place[1]} of {names[place[0]]} is {size}: {OTHERWISE}")
                taken.update(chosen)
            if runs is not None:
                break
    return found, notes


def named_axes(example: Example, names: Sequence[str], dynamic: Mapping[Any, Any]) -> list[Axis]:
    """The axes as a caller names them: {"x": {0: "steps", 1: "batch"}}, or {"x": [0, 1]}; one name is one size."""
    places: dict[str, list[tuple[int, int]]] = {}
    for label, axes in dynamic.items():
        if label not in names:
            raise ArgumentError(
                message(
                    "onnx.export",
                    f"dynamic names {label!r}, which is no input",
                    remedy=f"the inputs are: {', '.join(names)}",
                )
            )
        k = names.index(label)
        if not isinstance(axes, Mapping):
            axes = {axis: f"{label}_{axis}" for axis in axes}
        for axis, name in axes.items():
            ndim = example.arrays[k].ndim
            if not isinstance(axis, int) or not -ndim <= axis < ndim:
                raise ArgumentError(message("onnx.export", f"{label} has no axis {axis!r}", {label: example.arrays[k]}))
            if not isinstance(name, str) or not name:
                raise ArgumentError(message("onnx.export", f"the name of an axis is a string, not {name!r}"))
            places.setdefault(name, []).append((k, axis % ndim))
    for name, where in places.items():
        sizes = {example.arrays[k].shape[i] for k, i in where}
        if len(sizes) > 1:
            raise ShapeError(
                message("onnx.export", f"the axis {name!r} has several sizes in the example: {sorted(sizes)}")
            )
    return [Axis(name, tuple(sorted(where))) for name, where in places.items()]
