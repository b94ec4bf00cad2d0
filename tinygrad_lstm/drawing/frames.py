"""Frames around values that belong together: what the call of a module computed, a loop, a step of it.

Frames lie in one another. A module that runs within one step is a frame in the frame of the step; one that runs over
a whole loop is a frame around it; a call that covers some steps of a loop and not others has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..graph import ModuleCall, Value, reachable
from .language import plain

Step = tuple[int, int]  # (which loop, which step)


class Frame(NamedTuple):
    """`kind` is "module", "loop" or "step"; `key` tells it from others of its kind."""

    kind: str
    key: Any
    label: str


def frames(
    values: Sequence[Value],
    step: Mapping[int, Step],
    around: Mapping[int, tuple[ModuleCall, ...]],
    words: Sequence[str],
) -> tuple[dict[int, tuple[Frame, ...]], dict[int, str]]:
    """The frames around every value, by id, the outermost first; and what parameters are called there: `head.weight`.

    step : where the values are that belong to a step. around : the calls that each was made in. words : for every loop,
    what a step of it is called.
    """
    kept = _kept(values, step, around)
    labels = _labels(around.values())
    found: dict[int, tuple[Frame, ...]] = {}
    for v in values:
        here, at, scope = around[id(v)], step.get(id(v)), getattr(v, "scope", None)
        framed = [(kept[c.start], Frame("module", c.start, labels[c.start])) for c in here if c.start in kept]
        found[id(v)] = (
            *(frame for inside, frame in framed if not inside),
            *([Frame("loop", scope, scope[1])] if scope is not None else []),
            *([Frame("step", at, f"{words[at[0]]} {at[1]}")] if at is not None else []),
            *(frame for inside, frame in framed if inside),
        )
    return found, _own_parameters(values, around, found)


def in_order(roots: Iterable[Value]) -> list[Value]:
    """What the roots are computed from, and the roots, arguments first.

    That is the order of serials, but for leaves that were given new numbers since (by an optimiser): theirs have moved on.
    """
    values = reachable(roots)
    first: dict[int, int] = {}  # such a leaf -> the serial of its first reader
    for v in values:
        for a in v.args:
            if isinstance(a, Value) and changed(a, v):
                first.setdefault(id(a), v.serial)
    return sorted(values, key=lambda v: (first.get(id(v), v.serial), v.op is not None)) if first else values


def changed(leaf: Value, reader: Value) -> bool:
    """Whether a leaf was given new numbers after `reader` was computed from the old ones."""
    return leaf.op is None and leaf.serial > reader.serial


def calls(values: Sequence[Value]) -> dict[int, tuple[ModuleCall, ...]]:
    """The calls in which each value was made, by id, the outermost first. values : in order."""
    if values and hasattr(values[-1], "around"):  # copies, which know
        return {id(v): getattr(v, "around", ()) for v in values}
    waiting = sorted({c.start: c for v in values for c in getattr(v, "calls", ())}.values(), key=lambda c: -c.start)
    open_ones: list[ModuleCall] = []
    found: dict[int, tuple[ModuleCall, ...]] = {}
    now: tuple[ModuleCall, ...] = ()
    moment = [v.serial for v in values]
    for k in range(len(moment) - 2, -1, -1):  # leaves with new numbers are as old as what reads them
        moment[k] = min(moment[k], moment[k + 1])
    for v, now_at in zip(values, moment, strict=True):
        while waiting and waiting[-1].start < now_at:
            while open_ones and open_ones[-1].stop < waiting[-1].start:
                open_ones.pop()
            open_ones.append(waiting.pop())
        while open_ones and open_ones[-1].stop < now_at:
            open_ones.pop()
        if len(open_ones) != len(now) or (now and now[-1] is not open_ones[-1]):
            now = tuple(open_ones)
        found[id(v)] = now
    return found


def _kept(
    values: Sequence[Value], step: Mapping[int, Step], around: Mapping[int, tuple[ModuleCall, ...]]
) -> dict[int, bool]:
    """The calls that get a frame, by `start`: True within a step, False around whole loops or beside them."""
    steps: dict[int, dict[Step | None, int]] = {}  # call -> how many of its values are in which step
    all_of: dict[int, int] = {}  # loop -> how many values are in it
    for v in values:
        at = step.get(id(v))
        if v.op is None:
            continue
        if at is not None:
            all_of[at[0]] = all_of.get(at[0], 0) + 1
        for c in around[id(v)]:
            held = steps.setdefault(c.start, {})
            held[at] = held.get(at, 0) + 1
    kept = {}
    for start, held in steps.items():
        in_loop: dict[int, int] = {}
        for at, count in held.items():
            if at is not None:
                in_loop[at[0]] = in_loop.get(at[0], 0) + count
        if all(count == all_of[k] for k, count in in_loop.items()):
            kept[start] = False
        elif len(held) == 1:
            kept[start] = True
    return kept


def _labels(chains: Iterable[tuple[ModuleCall, ...]]) -> dict[int, str]:
    """What is written on the frame of a call: `0: Linear`, the name as a part of the module whose call it is in."""
    labels: dict[int, str] = {}
    for chain in set(chains):
        for outer, call in zip((None, *chain), chain, strict=False):
            if call.start not in labels:
                parts = {} if outer is None else {id(m): name for name, m in outer.module.named_modules()}
                name, kind = parts.get(id(call.module), ""), type(call.module).__name__
                labels[call.start] = plain(f"{name}: {kind}" if name else kind)
    return labels


def _own_parameters(
    values: Sequence[Value], around: Mapping[int, tuple[ModuleCall, ...]], found: dict[int, tuple[Frame, ...]]
) -> dict[int, str]:
    """Put parameters into the innermost frame that holds all their readers and whose module owns them."""
    readers: dict[int, tuple[Frame, ...]] = {}  # leaf -> the frames common to all that read it
    first: dict[int, tuple[ModuleCall, ...]] = {}  # leaf -> the calls around the first that reads it
    for v in values:
        for a in v.args:
            if isinstance(a, Value) and a.op is None and id(a) in found:
                first.setdefault(id(a), around[id(v)])
                readers[id(a)] = _common(readers.get(id(a), found[id(v)]), found[id(v)])
    owned: dict[Any, dict[int, str]] = {}
    for c in {c.start: c for chain in around.values() for c in chain}.values():
        owned[c.start] = {id(p): name for name, p in c.module.named_parameters()}
    names = {}
    for v in values:
        if v.op is None and id(v) in readers:
            outside, leaf = readers[id(v)], id(getattr(v, "source", v))
            held = [f in found[id(v)] or leaf in owned.get(f.key, ()) for f in outside]
            outside = outside[: len(held) - held[::-1].index(True) if any(held) else 0]
            inner = next((owned[f.key][leaf] for f in reversed(outside) if leaf in owned.get(f.key, ())), "")
            name = inner or next((owned[c.start][leaf] for c in first[id(v)] if leaf in owned[c.start]), "")
            if name and (v.name is None or name.endswith(v.name)):
                names[id(v)] = name
            found[id(v)] = outside
    return names


def _common(a: tuple[Frame, ...], b: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return a[: next((k for k, (f, g) in enumerate(zip(a, b, strict=False)) if f != g), min(len(a), len(b)))]
