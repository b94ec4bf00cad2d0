"""Parts of a graph with one way in and one way out that reduce rows: layer normalisation, softmax. Drawn as one sign.

The way in of a value is its nearest dominator: every way from the inputs to the value leads through it (Prosser 1959).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..graph import Node


@dataclass(frozen=True)
class Region:
    """What lies between `entry` and the last value; `inside` are serials, the last one's among them."""

    entry: Node
    inside: frozenset[int]
    label: str


class Finder:
    """Finds the regions of a graph.

    order : its nodes, arguments first, without what does not change from step to step. moving : the arguments of a node
    that change. users : who reads a node. exits : serials of nodes that are read from outside.
    """

    def __init__(
        self, order: Sequence[Node], moving: Callable[[Node], list[Node]], users: dict[int, list[Node]], exits: set[int]
    ):
        self.order, self.moving, self.users, self.exits = order, moving, users, exits
        self.by_serial = {n.serial: n for n in order}
        self.reductions = {n.serial for n in order if n.op and not n.op.elementwise and n.op.name != "linear"}

    def find(self) -> dict[int, Region]:
        """The last value of every region -> the region; regions in a row are one."""
        found: dict[int, Region] = {}
        if not self.reductions:
            return found
        dominators: dict[int, set[int]] = {}
        for n in self.order:
            moving = self.moving(n)
            common = set.intersection(*(dominators[a.serial] for a in moving)) if moving else set()
            dominators[n.serial] = common | {n.serial}
            if not common or len(moving) < 2:
                continue
            entry = self.by_serial[max(common)]
            between = self._between(entry, n)
            if between & self.reductions and self.closed(between - {n.serial}, between):
                entry, between = self._extended(entry, between, found)
                found = {last: r for last, r in found.items() if last not in between}
                found[n.serial] = Region(entry, frozenset(between), self._label(between))
        return found

    def closed(self, serials: set[int], inside: set[int]) -> bool:
        """Whether nothing outside reads any of `serials`."""
        return not serials & self.exits and all(u.serial in inside for s in serials for u in self.users[s])

    def _between(self, entry: Node, last: Node) -> set[int]:
        found, stack = {last.serial}, [last]
        while stack:
            for a in self.moving(stack.pop()):
                if a is not entry and a.serial not in found:
                    found.add(a.serial)
                    stack.append(a)
        return found

    def _extended(self, entry: Node, inside: set[int], found: dict[int, Region]) -> tuple[Node, set[int]]:
        """A region that another one leads into, directly or through a function of one argument, takes it in."""
        while self.closed({entry.serial}, inside):
            before = entry if entry.serial in found else next(iter(self.moving(entry)), None)
            if before is None or before.serial not in found or (len(self.moving(entry)) != 1 and before is not entry):
                break
            if before is not entry and not self.closed({before.serial}, inside | {entry.serial}):
                break
            region = found[before.serial]
            inside = inside | {entry.serial} | region.inside
            entry = region.entry
        return entry, inside

    def _label(self, inside: set[int]) -> str:
        names = {op.name for s in inside if (op := self.by_serial[s].op)}
        if "sqrt" in names or "pow" in names:
            return "norm"
        if {"exp", "sum"} <= names:
            return "softmax"
        return " ".join(sorted(op.name for s in inside & self.reductions if (op := self.by_serial[s].op)))
