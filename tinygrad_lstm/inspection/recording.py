"""`record`: the values, and the gradients, of any named quantity of a layer, as the compiled loops leave them.

While a recording is open, the layer's loops are a variant that keeps the named quantities (`Cell.watching`): most of
them are kept for backward anyway, so a recording costs about the writing of the others. Nothing is copied before it is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..cell import Cell
from ..errors import ArgumentError, GradientError, message
from ..execute import Left, Tape
from ..loops import is_boolean
from ..nn.module import Module
from ..nn.recurrent import _OneStep, _Stack
from ..plan import varies
from ..scan import Place


class Part(NamedTuple):
    """One cell over time within a module: a layer, which of its parts, and how both are written in a name."""

    layer: Any
    suffix: str
    prefix: str
    ending: str


def quantities(cell: Cell) -> list[str]:
    """The names of the body, inputs first, states last: what a recording, a picture and an error call them."""
    return list(dict.fromkeys([*cell.inputs, *(n for n in cell.graph.names if n not in cell.states), *cell.states]))


def parts(call: str, module: Any) -> list[Part]:
    """Every cell over time that a module holds, in the order of its parameters."""
    if not isinstance(module, Module):
        remedy = "with tl.record(layer, 'f') as seen: ..., where layer = tl.nn.Recurrent(cell, input=..., hidden=...)"
        raise ArgumentError(
            message(call, "takes a recurrent layer, or a module that holds one", {"module": module}, remedy)
        )
    layers = [(path, m) for path, m in module.named_modules() if isinstance(m, _Stack | _OneStep)]
    if not layers:
        raise ArgumentError(message(call, f"there is no recurrent layer in {type(module).__name__}"))
    out = []
    for path, layer in layers:
        suffixes = layer.suffixes if isinstance(layer, _Stack) else [""]
        for suffix in suffixes:
            out.append(Part(layer, suffix, f"{path}." if len(layers) > 1 else "", suffix if len(suffixes) > 1 else ""))
    return out


@dataclass
class Passage:
    """What one run over time left behind: (T, B, axis) of any quantity that was watched."""

    cell: Cell
    tape: Any
    place: Place
    tracked: bool
    batched: bool

    @property
    def reached(self) -> bool:
        """Whether a gradient has come through."""
        return self.tracked and (not isinstance(self.tape, Tape) or bool(self.tape.after))

    def _blank(self, node: Any) -> np.ndarray:
        machine = self.tape.machine if isinstance(self.tape, Tape) else self.tape[0]
        axes = [machine.sizes[a] for a in node.shape if a != "batch"]
        if not varies(node):
            return np.zeros(axes, next(iter(machine.arrays.values())).dtype)
        x = (
            self.tape.run.view("input0")
            if isinstance(self.tape, Tape)
            else self.tape[1][self.cell.graph.inputs[0].serial]
        )
        return np.zeros((self.place.steps, x.shape[1], *axes), x.dtype)

    def _read(self, after: Left, node: Any) -> np.ndarray:
        if not varies(node):
            return np.array(after.values.get(node.serial, 0)) + self._blank(node)
        found = after.values.get(node.serial)
        return np.array(self.place.restore(after.value(node) if found is None else found))

    def value(self, name: str) -> np.ndarray:
        node, tape = self.cell.quantity(name), self.tape
        if not isinstance(tape, Tape):
            found = self._blank(node)
        elif not varies(node):
            found = np.array(tape.machine.static[node.serial])
        else:
            found = self._read(Left(tape.run, len(tape.active)), node)
        return found.astype(bool) if is_boolean(node) else found

    def gradient(self, name: str) -> np.ndarray:
        """The cotangent, added up over the backward runs, as in `Tensor.grad`; zero if none has come."""
        node = self.cell.quantity(name)
        g = self.cell.plan.cotangents.get(node.serial)
        if g is None:
            raise GradientError(
                message("record", f"no gradient flows through {name!r}: what reads it has no derivative by it")
            )
        if not self.reached or not isinstance(self.tape, Tape):
            return self._blank(node)
        total = self._read(self.tape.after[0], g)
        for after in self.tape.after[1:]:
            total = total + self._read(after, g)
        return total

    def goes_on_from(self, earlier: Passage) -> bool:
        """Whether the initial states are the final ones of an earlier passage."""
        own, other = self.tape, earlier.tape
        if not (isinstance(own, Tape) and isinstance(other, Tape)) or self.batched != earlier.batched:
            return False
        return all(
            np.array_equal(own.run.view(f"state{k}")[0], other.run.view(f"state{k}")[len(other.active)], equal_nan=True)
            for k in range(len(self.cell.states))
        )


class Gradients:
    """name -> the gradient of the loss by that quantity; see `record`."""

    def __init__(self, recording: Recording):
        self._recording = recording

    def __getitem__(self, name: str) -> np.ndarray:
        return self._recording._find(name, True)

    def keys(self) -> tuple[str, ...]:
        return self._recording.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._recording

    def items(self) -> list[tuple[str, np.ndarray]]:
        return [(name, self[name]) for name in self]

    def __repr__(self) -> str:
        return f"<gradients of {', '.join(self)}>"


class Recording:
    """What `record` gives: name -> array, and `.grad`: name -> gradient. Holds the last call of every layer.

    Attributes
    ----------
    grad : the gradients by the same names. names (or keys()) : what is recorded.
    """

    def __init__(self, module: Any, names: tuple[str, ...]):
        self._parts = parts("record", module)
        self._title = type(module).__name__
        every = {p.prefix + q + p.ending: (p, q) for p in self._parts for q in quantities(p.layer.cell)}
        short: dict[str, tuple[Part, str]] = {}
        for p in self._parts:
            for q in quantities(p.layer.cell):
                for name in (p.prefix + q, p.prefix + q + p.suffix, *([] if p.prefix else [q])):
                    short.setdefault(name, (p, q))
        self._known = {**short, **every}
        for name in names:
            if not isinstance(name, str):
                raise ArgumentError(
                    message("record", "a name is a string", {"name": name}, 'tl.record(layer, "f", "c")')
                )
            if name not in self._known:
                raise ArgumentError(
                    message("record", f"{self._title} has no quantity {name!r}", remedy=self._listed(every))
                )
        self.names = tuple(dict.fromkeys(names)) or tuple(every)
        self._wanted = dict.fromkeys(self._known[name] for name in self.names)
        self._first = {id(p.layer): bool(getattr(p.layer, "batch_first", False)) for p in self._parts}
        self._passages: dict[tuple[int, str], list[Passage]] = {}
        self._ready: dict[tuple[Part, str, int], np.ndarray] = {}

    @property
    def grad(self) -> Gradients:
        """name -> the gradient of the loss by that quantity, after a backward."""
        return Gradients(self)

    @staticmethod
    def _listed(every: Any) -> str:
        return f"it has: {', '.join(every)}"

    # --------------------------------------------------------------------------------------------------- the context
    def _layers(self) -> list[Any]:
        return list({id(p.layer): p.layer for p in self._parts}.values())

    def __enter__(self) -> Recording:
        for layer in self._layers():
            layer._recordings = (*layer._recordings, self)
        return self

    def __exit__(self, *_: Any) -> None:
        for layer in self._layers():
            layer._recordings = tuple(r for r in layer._recordings if r is not self)
            if not layer._recordings:
                del layer._recordings  # what the class says: nothing

    # ---------------------------------------------------------------------------------------- what the layers tell it
    def wanted(self, layer: Any, suffix: str) -> list[str]:
        return [q for p, q in self._wanted if p.layer is layer and p.suffix == suffix]

    def take(
        self, layer: Any, suffix: str, batched: bool, stream: bool, cell: Cell, tape: Any, place: Place, tracked: bool
    ) -> None:
        new = Passage(cell, tape, place, tracked, batched)
        before = self._passages.get((id(layer), suffix))
        if stream and before and new.goes_on_from(before[-1]):
            before.append(new)
        else:
            self._passages[id(layer), suffix] = [new]
        self._ready.clear()

    # ------------------------------------------------------------------------------------------------------- reading
    def passages(self, part: Part) -> list[Passage]:
        """What the last call of a part left: one, or one a step."""
        return self._passages.get((id(part.layer), part.suffix), [])

    def _find(self, name: str, gradient: bool) -> np.ndarray:
        if name not in self._known or self._known[name] not in self._wanted:
            raise ArgumentError(
                message("record", f"{name!r} is not recorded", remedy=f"these are: {', '.join(self.names)}")
            )
        part, quantity = self._known[name]
        passages = self.passages(part)
        if not passages:
            raise ArgumentError(
                message(
                    "record", "nothing was recorded yet", remedy="call the layer within `with tl.record(...) as seen:`"
                )
            )
        if gradient and not any(p.reached for p in passages):
            why = (
                "no backward has come through yet"
                if any(p.tracked for p in passages)
                else "the call was not differentiable"
            )
            remedy = "call loss.backward() first" if any(p.tracked for p in passages) else (
                "it ran under no_grad, as a step of a stream, or with nothing that requires a gradient"
            )  # fmt: skip
            raise GradientError(message(f"seen.grad[{name!r}]", why, remedy=remedy))
        backward_runs = sum(len(p.tape.after) for p in passages if isinstance(p.tape, Tape))
        key = (part, quantity, backward_runs if gradient else -1)
        if key not in self._ready:
            self._ready[key] = self._arranged(part, quantity, passages, gradient)
        return self._ready[key]

    def _arranged(self, part: Part, quantity: str, passages: list[Passage], gradient: bool) -> np.ndarray:
        found = [p.gradient(quantity) if gradient else p.value(quantity) for p in passages]
        if not varies(part.layer.cell.quantity(quantity)):
            return np.sum(found, 0) if gradient else found[-1]
        whole = found[0] if len(found) == 1 else np.concatenate(found)
        if not passages[0].batched:
            return whole[:, 0]
        return whole.swapaxes(0, 1) if self._first[id(part.layer)] else whole

    def __getitem__(self, name: str) -> np.ndarray:
        return self._find(name, False)

    def keys(self) -> tuple[str, ...]:
        return self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._known and self._known[str(name)] in self._wanted

    def items(self) -> list[tuple[str, np.ndarray]]:
        return [(name, self[name]) for name in self.names]

    def __repr__(self) -> str:
        steps = (
            f"{sum(p.place.steps for p in next(iter(self._passages.values())))} steps"
            if self._passages
            else "nothing yet"
        )
        return f"<recording of {self._title}: {', '.join(self.names)}; {steps}>"


def record(module: Any, *names: str) -> Recording:
    """Record quantities of a recurrent layer by their names in the cell's body: `with tl.record(layer, "f", "c") as seen:`.

    Afterwards `seen["f"]` is the value at every step, and, after a backward, `seen.grad["f"]` its gradient:

        seen.grad["f"][t, b, j]  =  d loss / d f_t[b, j]

    the total derivative, through everything that reads f_t in this step and later, as `Tensor.grad` is.

    Parameters
    ----------
    module : a layer (`tl.nn.Recurrent`, `LSTM`, `LSTMCell`, ...), or a module that holds some.
    names : local names of the body, its inputs and its states; none for all. A state is the new one, after the step;
        a name that the body binds twice is the last. In a layer of several parts a name takes the ending of the
        parameters: "f_l1", "f_l0_reverse"; without one it is the first part's. If the module holds several layers, the
        path comes first: "encoder.f_l1".

    Returns
    -------
    A context manager, and a mapping of names to NumPy arrays of the layer's dtype: (T, B, axis), (B, T, axis) of a layer
    with batch_first, (T, axis) without a batch; step t is the step of the input, in a reverse part too. Past a
    sequence's end there are zeros. A comparison gives booleans; what is made of parameters alone has their shape.

    Notes
    -----
    The last call counts; `layer.step`, and a call of an `LSTMCell`, that starts from the states the last one ended with
    adds its step. A backward after the context fills `.grad` all the same, several backwards of one call add up. The
    first recording of a new set of names compiles a variant of the cell's loops, which is kept on disk. Results have
    the same bits as without, except that a name for a part of a sum (`a = W.i @ x`, then `a + U.i @ h`) adds it up apart.

    Raises
    ------
    ArgumentError : an unknown name (all names are listed), or nothing recorded yet. GradientError : `.grad` without a
    backward, under no_grad, or of what no gradient flows through.

    Examples
    --------
    >>> layer = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=5, seed=0)
    >>> with tl.record(layer, "f", "c") as seen:
    ...     out, states = layer(np.ones((7, 2, 3)))
    >>> out[-1].sum().backward()
    >>> seen["f"].shape, seen.grad["c"].shape
    ((7, 2, 5), (7, 2, 5))
    >>> bool(abs(seen.grad["c"][0]).max() < abs(seen.grad["c"][-1]).max())
    True
    """
    return Recording(module, names)
