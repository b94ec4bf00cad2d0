"""`@cell`: the equations of one step, and what is read off them."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from . import notation
from .errors import ArgumentError, ShapeError, message
from .graph import Node, reachable
from .plan import Plan, derive
from .program import Program
from .tensor import Tensor
from .trace import CellGraph, Family, trace_cell


class Cell:
    """A recurrent cell, as declared by `@tl.cell`. Immutable; holds no numbers, only equations.

    Attributes
    ----------
    name, __doc__ : of the function. inputs, states : the names of its inputs and states, in the order of the signature.
    families : name -> Family(name, axes, members). axes : the axis of every input and state.
    output_axis : the axis of the output. graph : the traced equations. plan : how they run over time.
    """

    def __init__(self, body: Callable[..., Any], axes: dict[str, str]):
        self.body = self.__wrapped__ = body
        self.name = self.__name__ = body.__name__
        self.__qualname__ = body.__qualname__
        self.__doc__ = body.__doc__
        self.__module__ = body.__module__
        self.graph: CellGraph
        self.families: dict[str, Family]
        self.graph, self.families = trace_cell(body, axes)
        self.inputs = tuple(str(n.name) for n in self.graph.inputs)
        self.states = tuple(str(n.name) for n in self.graph.states)
        self.axes = {str(n.name): n.shape[1:] for n in [*self.graph.inputs, *self.graph.states]}
        self.output_axis = self.graph.output.shape[-1]
        self.watched: tuple[str, ...] = ()
        self._watching: dict[tuple[str, ...], Cell] = {}

    @cached_property
    def plan(self) -> Plan:
        """Regions, packed products, derived backward pass, what is saved; see `tinygrad_lstm.plan`."""
        return derive(self.graph, self.families)

    @cached_property
    def program(self) -> Program:
        """The two loops that are compiled: schedule, memories, text; see `tinygrad_lstm.program`."""
        return Program(self.plan, self.name)

    def watching(self, names: Sequence[str]) -> Cell:
        """The same cell with loops that leave these quantities, and their cotangents, for a recording."""
        found = self._watching.get(tuple(names))
        if found is None:
            found = object.__new__(Cell)
            found.__dict__.update(self.__dict__)
            found.watched = tuple(names)
            found.__dict__["program"] = Program(self.plan, self.name, [self.quantity(n) for n in names])
            self._watching[tuple(names)] = found
        return found

    def source(self, direction: str = "forward", dtype: Any = np.float32) -> str:
        """The generated kernel, as it is compiled, for direction "forward" or "backward": one statement a quantity."""
        if direction not in ("forward", "backward"):
            raise ArgumentError(
                message(f"{self.name}.source", "the direction is 'forward' or 'backward'", {"direction": direction})
            )
        return self.program.source(direction, dtype).replace("{function}", f"{self.name}_{direction}")

    # ---------------------------------------------------------------------------------------------------- sizes
    @property
    def axis_names(self) -> tuple[str, ...]:
        """Every axis of the cell, in order of appearance."""
        every = [a for axes in self.axes.values() for a in axes] + [a for f in self.families.values() for a in f.axes]
        return tuple(a for a in dict.fromkeys(every) if a != 1)

    def shape(self, family: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of a family's array: its members stacked along the first axis."""
        f = self._family(family)
        missing = [a for a in f.axes if a != 1 and a not in sizes]
        if missing:
            raise ArgumentError(
                message(
                    self.name, f"the size of axis {', '.join(map(repr, missing))} is missing", {"sizes": dict(sizes)}
                )
            )
        own = tuple(1 if a == 1 else sizes[a] for a in f.axes)
        return (len(f.members) * own[0], *own[1:]) if own else (len(f.members),) if f.members != ("",) else ()

    def member(self, family: str, member: str) -> int:
        """The place of a member in its family's array."""
        members = self._family(family).members
        if member not in members:
            known = " ".join(members) or "none: it is a single array"
            raise ArgumentError(
                message(self.name, f"family {family!r} has no member {member!r}", remedy=f"its members are: {known}")
            )
        return members.index(member)

    def _family(self, name: str) -> Family:
        if name not in self.families:
            raise ArgumentError(
                message(self.name, f"has no family {name!r}", remedy=f"its families are: {' '.join(self.families)}")
            )
        return self.families[name]

    def parameter_count(self, sizes: Mapping[str, int]) -> int:
        return sum(math.prod(self.shape(f, sizes)) for f in self.families)

    def __reduce__(self) -> str:
        return self.__qualname__  # as a function: copies are the cell itself, pickles its name in its module

    # ------------------------------------------------------------------------------------------------- equations
    def __str__(self) -> str:
        """The equations, from the graph: one line a named quantity, then the parameters with their axes."""
        lines = [f"{self.name}({self._arguments()})"]
        doc = (self.__doc__ or "").strip().split("\n")[0]
        lines += _folded("    ", doc) if doc else []
        pairs = notation.equation_lines(self.graph)
        width = max((len(n) for n, _ in pairs), default=0)
        lines.append("")
        for name, text in pairs:
            lines += _folded(f"    {name:<{width}} = ", text)
        new = {n.serial: name for name, n in notation.equations(self.graph)}
        output = new.get(self.graph.output.serial, self.graph.output.name)
        lines += ["", f"    output {output}" + (f", states {', '.join(self.states)}" if self.states else "")]
        rows = []
        for f in self.families.values():
            stacked = (
                f"{len(f.members)}*{f.axes[0]}" if len(f.members) > 1 and f.axes else str(f.axes[0] if f.axes else "")
            )
            shape = (
                ", ".join([stacked, *map(str, f.axes[1:])])
                if f.axes
                else str(len(f.members) if f.members != ("",) else "")
            )
            rows.append((f.name, f"({shape})", " ".join(f.members)))
        wide, deep = max((len(r[0]) for r in rows), default=0), max((len(r[1]) for r in rows), default=0)
        for name, shape, members in rows:
            lines += [text.rstrip() for text in _folded(f"    {name:<{wide}} {shape:<{deep}}  ", members)]
        return "\n".join(lines)

    def _arguments(self) -> str:
        def group(names: Sequence[str]) -> str:
            return ", ".join(f"{n}: {' '.join(map(str, self.axes[n]))}" for n in names)

        return group(self.inputs) + (f"; {group(self.states)}" if self.states else "")

    def __repr__(self) -> str:
        return f"<cell {self.name}({self._arguments()})>"

    def latex(self) -> str:
        """The equations as a LaTeX `aligned` block, with time as index: h_t from x_t and h_{t-1}."""
        body = " \\\\\n".join("  " + line for line in notation.latex_lines(self.graph))
        return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def quantity(self, name: str) -> Node:
        """The value that is called `name` in the body (a rebound name: its last value; a state: its new value)."""
        if name in self.states:
            return self.graph.new_states[self.states.index(name)]
        if name in self.graph.names:
            return self.graph.names[name]
        known = ", ".join(n for n, v in self.graph.names.items())
        raise ArgumentError(message(self.name, f"has no quantity {name!r}", remedy=f"it has: {known}"))

    # ------------------------------------------------------------------------------------------------- one step
    def step(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor], parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """One step by the equations as written, on Tensors: the reference for everything compiled, differentiable to any order.

        inputs, states : (B, axis) each; parameters : "W.i" -> its array. Returns the output and the new states.
        """
        values: dict[int, Any] = {}
        for node, value in zip([*self.graph.inputs, *self.graph.states], [*inputs, *states], strict=True):
            values[node.serial] = value
        for name, node in self.graph.parameters.items():
            values[node.serial] = parameters[name]
        for node in reachable(self.graph.roots):
            if node.op is not None:
                args = [values[a.serial] if isinstance(a, Node) else a for a in node.args]
                values[node.serial] = (
                    args[0].apply(node.op, *args, **node.attr)
                    if isinstance(args[0], Tensor)
                    else _first(args).apply(node.op, *args, **node.attr)
                )
        return values[self.graph.output.serial], [values[n.serial] for n in self.graph.new_states]

    def members(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Family arrays cut into members: {"W": ...} -> {"W.i": ..., "W.f": ...}."""
        out: dict[str, Tensor] = {}
        for f in self.families.values():
            array = arrays[f.name]
            if f.members == ("",):
                out[f.name] = array
                continue
            n = array.shape[0] // len(f.members)
            for k, leaf in enumerate(f.leaves):
                out[leaf] = array[k * n : (k + 1) * n] if f.axes else array[k]
        return out

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise ArgumentError(
            message(
                self.name,
                "is a declaration and holds no parameters",
                remedy=f"tl.nn.Recurrent({self.name}, {', '.join(f'{a}=...' for a in self.axis_names)})",
            )
        )


def _folded(prefix: str, text: str) -> list[str]:
    """Lines of at most 80 columns, the later ones indented to where the text began."""
    lines = textwrap.wrap(text, max(80 - len(prefix), 30), break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{prefix if k == 0 else ' ' * len(prefix)}{line}" for k, line in enumerate(lines)]


def _first(args: Sequence[Any]) -> Tensor:
    return next(a for a in args if isinstance(a, Tensor))


def cell(body: Any = None, /, **axes: str) -> Any:
    """Declare a recurrent cell by its equations.

    The function's signature is the grammar: inputs of a step before `/`, states between `/` and `*`, parameters after
    `*`. The keywords name the axes of each argument, one word an axis. In the body `W.i` is member i of family W;
    allowed are the elementwise operations of `tl`, `parameter @ value`, arithmetic with Python numbers, and sum, mean,
    max, min, softmax over axis=-1 with keepdims=True. It returns the new states in the order of the signature (the
    first is the output), or the output and then the states.

    Raises
    ------
    TraceError : a statement that cannot be compiled, with its line. ShapeError : axes that do not match.

    Examples
    --------
    >>> @tl.cell(x="input", h="hidden", W="hidden input", U="hidden hidden", b="hidden")
    ... def plain(x, /, h, *, W, U, b):
    ...     h = tl.tanh(W.h @ x + U.h @ h + b.h)
    ...     return h
    >>> print(plain)
    plain(x: input; h: hidden)
    <BLANKLINE>
        h' = tanh(W.h @ x + U.h @ h + b.h)
    <BLANKLINE>
        output h', states h
        W (hidden, input)   h
        U (hidden, hidden)  h
        b (hidden)          h
    """
    if body is not None:
        raise ArgumentError(
            message(
                "cell",
                "the axes of the arguments come first",
                remedy='@tl.cell(x="input", h="hidden", W="hidden input", ...)',
            )
        )

    def declare(function: Callable[..., Any]) -> Cell:
        if not inspect.isfunction(function):
            raise ArgumentError(
                message("cell", "decorates a function", {"given": function}, "def lstm(x, /, h, c, *, W, U, b): ...")
            )
        return Cell(function, axes)

    return declare


def check_sizes(cell: Cell, sizes: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of exactly the cell's axes, or an error that says which are missing."""
    missing = [a for a in cell.axis_names if a not in sizes]
    unknown = [a for a in sizes if a not in cell.axis_names]
    if missing or unknown:
        problem = (
            f"the size of axis {', '.join(map(repr, missing))} is missing"
            if missing
            else f"has no axis {', '.join(map(repr, unknown))}"
        )
        example = ", ".join(f"{a}=..." for a in cell.axis_names)
        raise ArgumentError(
            message(
                cell.name,
                problem,
                remedy=f"its axes are: {', '.join(cell.axis_names)}; write tl.nn.Recurrent({cell.name}, {example})",
            )
        )
    for a, n in sizes.items():
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ShapeError(message(cell.name, f"axis {a!r} must be an integer of at least 1", {a: n}))
    return {a: int(sizes[a]) for a in cell.axis_names}
