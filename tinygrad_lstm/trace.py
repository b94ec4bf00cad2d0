"""A Python function of equations -> a graph, parameter families in source order, and the names of its locals.

The signature is the grammar: `def cell(inputs, /, states, *, parameters)`. The body runs once, on Nodes; what it reads
as `W.i` becomes member `i` of family `W` in the order of reading, what its local variables are called when it returns
becomes the name of those values everywhere else.
"""

from __future__ import annotations

import inspect
import linecache
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from .errors import ArgumentError, ShapeError, TraceError, message
from .graph import Node, Op, Trace, reachable, verify

_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Family:
    """A family of parameters: its axes, and its members in source order; ("",) if it is used as a single array.

    initial : the value a layer starts from, if the declaration names one (`gamma="hidden = 1"`).
    """

    name: str
    axes: tuple[Any, ...]
    members: tuple[str, ...]
    initial: float | None = None

    @property
    def leaves(self) -> tuple[str, ...]:
        return tuple(f"{self.name}.{m}" if m else self.name for m in self.members)


@dataclass(frozen=True)
class CellGraph:
    """What a body says: leaves, results, and names. Values have axes ("batch", axis), parameters their own.

    names : local names of the body. hints : serial -> what functions called by the body call a value.
    """

    inputs: tuple[Node, ...]
    states: tuple[Node, ...]
    parameters: dict[str, Node]
    output: Node
    new_states: tuple[Node, ...]
    names: dict[str, Node]
    hints: dict[int, str] = field(default_factory=dict)

    @property
    def roots(self) -> list[Node]:
        return [self.output, *self.new_states]


class _FamilyLeaf(Node):
    """What the body holds for a parameter: the single array itself, and, by attribute, its members (None after the body)."""

    __slots__ = ("_members",)
    _members: dict[str, Node] | None
    _OWN = frozenset(
        {"apply", "args", "attr", "dtype", "name", "op", "pullback", "requires_grad", "serial", "shape", "trace"}
    )

    def __getattribute__(self, key: str) -> Any:
        if key.startswith("__") or key == "_members" or self._members is None:
            return object.__getattribute__(self, key)
        if key in _FamilyLeaf._OWN and _ours(sys._getframe(1)):
            return object.__getattribute__(self, key)
        if key in _FamilyLeaf._OWN or key.startswith("_"):
            raise TraceError(
                message(f"{self.name}.{key}", f"{key!r} cannot be the name of a member", remedy="give it another name")
            )
        members = self._members
        if key not in members:
            members[key] = self.trace.leaf(f"{self.name}.{key}", self.shape)
        return members[key]


def _ours(frame: FrameType) -> bool:
    """Whether a frame is the library's own."""
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE


class _BodyTrace(Trace):
    """Products of a body are `parameter @ value`: a family's array is what is packed, multiplied and given a gradient."""

    def apply(self, op: Op, args: tuple, attr: dict) -> Node:
        left = args[0] if op.name == "linear" else None
        if isinstance(left, Node) and left.op is not None and left.shape is not None and "batch" not in left.shape:
            raise TraceError(
                message(
                    "@",
                    "the left side of a product is a parameter, not an expression",
                    {"left": left},
                    "multiply, then combine: W.a @ x + W.b @ x, 2 * (W.a @ x)",
                )
            )
        return super().apply(op, args, attr)


def _words(name: str, argument: str, axes: Any) -> tuple[Any, ...]:
    if not isinstance(axes, str):
        raise TraceError(
            message(
                name, f"the axes of {argument!r} are words in a string", {argument: axes}, f'{argument}="hidden input"'
            )
        )
    words: list[Any] = []
    for word in axes.split():
        if word == "1":
            words.append(1)
        elif word.isidentifier() and word != "batch":
            words.append(word)
        else:
            raise TraceError(
                message(
                    name, f"{word!r} (axes of {argument!r}) cannot name an axis", remedy="one word an axis, not 'batch'"
                )
            )
    return tuple(words)


def _axes_and_value(name: str, argument: str, text: Any, initial: dict[str, float | None]) -> Any:
    """Split `"hidden = 1"` into axes and initial value."""
    initial[argument] = None
    if isinstance(text, str) and "=" in text:
        text, _, value = text.partition("=")
        try:
            initial[argument] = float(value)
            if not math.isfinite(float(value)):
                raise ValueError(value)
        except ValueError:
            raise TraceError(
                message(
                    name,
                    f"{value.strip()!r} is no number for {argument!r} to start from",
                    remedy=f'{argument}="hidden = 1"',
                )
            ) from None
    return text


def trace_cell(body: Callable[..., Any], axes: dict[str, str]) -> tuple[CellGraph, dict[str, Family]]:
    """Run the body once on Nodes.

    Raises TraceError (a statement that cannot be compiled, with its line), ShapeError (axes that do not fit).
    """
    name = body.__name__
    if inspect.isgeneratorfunction(body) or inspect.iscoroutinefunction(body):
        raise TraceError(message(name, "a cell returns its new states: no `yield`, no `async`", remedy=_GRAMMAR))
    parameters = inspect.signature(body).parameters.values()
    kinds: dict[Any, list[str]] = {}
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or p.default is not p.empty:
            raise TraceError(message(name, f"argument {p.name!r}: no defaults, no *args, no **kwargs", remedy=_GRAMMAR))
        kinds.setdefault(p.kind, []).append(p.name)
    inputs = kinds.get(inspect.Parameter.POSITIONAL_ONLY, [])
    states = kinds.get(inspect.Parameter.POSITIONAL_OR_KEYWORD, [])
    families = kinds.get(inspect.Parameter.KEYWORD_ONLY, [])
    if not inputs:
        raise TraceError(message(name, "has no inputs", remedy=_GRAMMAR))
    every = [*inputs, *states, *families]
    missing, unknown = [n for n in every if n not in axes], [n for n in axes if n not in every]
    if missing or unknown:
        problem = f"no axes for {', '.join(missing)}" if missing else f"{', '.join(unknown)} is no argument"
        example = ", ".join(f'{n}="..."' for n in every)
        raise TraceError(message(name, problem, remedy=f"name the axes of every argument: @tl.cell({example})"))
    initial: dict[str, float | None] = {}
    for n in families:
        axes = {**axes, n: _axes_and_value(name, n, axes[n], initial)}
    words = {n: _words(name, n, axes[n]) for n in every}
    for n in [*inputs, *states]:
        if len(words[n]) != 1:
            raise TraceError(
                message(
                    name,
                    f"{n!r} is one vector a sample, so it has one axis",
                    {n: axes[n]},
                    f'{n}="hidden"; parameters stand after `*` in the signature',
                )
            )

    trace = _BodyTrace()
    leaves = {n: trace.leaf(n, ("batch", *words[n])) for n in [*inputs, *states]}
    holders: dict[str, _FamilyLeaf] = {}
    for n in families:
        holders[n] = _FamilyLeaf(trace, None, (), {}, words[n], True)
        holders[n].name = n
        holders[n]._members = {}
    result, local, hints = _run(body, [leaves[n] for n in [*inputs, *states]], holders)

    results = list(result) if isinstance(result, tuple | list) else [result]
    if len(results) not in (len(states), len(states) + 1) or not results:
        raise TraceError(
            message(
                name,
                f"returns {len(results)} values and has {len(states)} states ({', '.join(states)})",
                remedy="return the new states in the order of the signature, or the output first and then the states",
            )
        )
    for k, value in enumerate(results):
        if not isinstance(value, Node) or value.shape is None or value.shape[:1] != ("batch",):
            expected = ", ".join(states) or "the output"
            raise TraceError(
                message(
                    name,
                    f"returned value {k} is not computed from inputs or states",
                    {f"value {k}": value},
                    f"end with `return {expected}`",
                )
            )
    new_states = results[len(results) - len(states) :]
    for n, value in zip(states, new_states, strict=True):
        if value.shape != leaves[n].shape:
            raise ShapeError(
                message(
                    name,
                    f"state {n!r} has axis '{words[n][0]}', its new value has '{value.shape[-1]}'",
                    {"declared": leaves[n], "returned": value},
                    f"a product with a parameter of axes '{words[n][0]} {value.shape[-1]}' brings it there; "
                    f'or declare {n}="{value.shape[-1]}"',
                )
            )

    used: dict[str, Family] = {}
    nodes: dict[str, Node] = {}
    for n, holder in holders.items():
        members: dict[str, Node] = holder._members or {}
        holder._members = None
        alone = any(holder is a for v in reachable(results) for a in v.args)
        if alone and members:
            raise TraceError(
                message(
                    name,
                    f"{n!r} is used both as a single array and by members ({', '.join(members)})",
                    remedy="give every use a member",
                )
            )
        if not alone and not members:
            raise TraceError(message(name, f"parameter {n!r} is not used", remedy="remove it from the signature"))
        used[n] = Family(n, words[n], tuple(members) or ("",), initial[n])
        nodes |= dict(zip(used[n].leaves, members.values() if members else [holder], strict=True))
    named: dict[str, Node] = {}
    computed = {v.serial for v in reachable(results)}
    for n, value in local.items():
        if isinstance(value, Node) and value.trace is trace and value.op is not None and value.serial in computed:
            named[n] = value
            if value.name is None:
                value.name = n
    for n in [*inputs, *states]:
        named.setdefault(n, leaves[n])
    graph = CellGraph(
        tuple(leaves[n] for n in inputs),
        tuple(leaves[n] for n in states),
        nodes,
        results[0],
        tuple(new_states),
        named,
        hints,
    )
    verify(graph.roots, name)
    return graph, used


_GRAMMAR = "inputs before `/`, states between `/` and `*`, parameters after `*`: def cell(x, /, h, *, W, U, b)"


_ALLOWED = (
    "allowed are the elementwise functions of tl, `parameter @ value`, arithmetic with numbers, and sum, mean, max, min, "
    "softmax over axis=-1 with keepdims=True"
)


def _run(
    body: Callable[..., Any], values: list[Node], holders: dict[str, Any]
) -> tuple[Any, dict[str, Any], dict[int, str]]:
    """Call the body; its result, its local variables at the moment it returned, and names from the functions it called."""
    seen: dict[str, Any] = {}
    hints: dict[int, str] = {}
    before = sys.getprofile()

    def watch(frame: Any, event: str, _: Any) -> None:
        if event != "return":
            return
        if frame.f_code is body.__code__:
            seen.update(frame.f_locals)
        elif not _ours(frame) or frame.f_globals is body.__globals__:
            for name, value in frame.f_locals.items():
                if isinstance(value, Node) and value.op is not None:
                    hints.setdefault(value.serial, name)

    sys.setprofile(watch)
    try:
        result = body(*values, **holders)
    except (TraceError, ShapeError, ArgumentError, TypeError, AttributeError) as error:
        raise _explained(body, error) from None
    finally:
        if before is None or callable(before):
            sys.setprofile(before)
        else:  # cProfile's own, which is no function
            sys.setprofile(None)
            before.enable()
    return result, seen, hints


def _explained(body: Callable[..., Any], error: Exception) -> Exception:
    """The error of a statement of the body, with its line; Python's own complaints in the terms of a body."""
    frame, number, called = error.__traceback__, 0, ""
    while frame is not None:
        if frame.tb_frame.f_code is body.__code__:
            number, called = frame.tb_lineno, ""
        elif number and not called:
            called = frame.tb_frame.f_code.co_name
        frame = frame.tb_next
    at, text = _at(body, number), str(error)
    if "traced value has no array" in text:
        remedy = (
            "a product of parts put together is a sum of products: W.a @ x + U.a @ h"
            if called in ("concatenate", "stack")
            else _ALLOWED
        )
        return TraceError(at + message(called, "is not allowed in a declared body", remedy=remedy))
    if isinstance(error, TraceError | ShapeError | ArgumentError):
        return type(error)(at + text)
    text = re.sub(r"'?\b_FamilyLeaf\b'?( object)?(\.__\w+__)?", "a parameter", text)
    text = re.sub(r"'?\bNode\b'?( object)?(\.__\w+__)?", "a traced value", text)
    return TraceError(at + message(body.__name__, text, remedy=_ALLOWED))


def _at(body: Callable[..., Any], number: int) -> str:
    """`name, line 12 of file.py: the statement`."""
    file = body.__code__.co_filename
    return (
        f"{body.__name__}, line {number} of {os.path.basename(file)}: {linecache.getline(file, number).strip()}\n"
        if number
        else ""
    )
