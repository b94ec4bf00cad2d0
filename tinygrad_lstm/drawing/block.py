"""The equations of a cell -> what a textbook draws of them: learned layers, pointwise operations, states that run through.

A *layer* is a function of a sum of products with parameters: sigmoid(W x + U h + b) is one yellow box with the wires x
and h. Its sum may also hold products of elements (`p * c`, a peephole) and normalisations of a sum. What is left is
*pointwise*. A state whose new value is reached from the old one through pointwise operations only is *carried*: it
runs straight along the top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..graph import Node, Value, reachable
from .language import sign


@dataclass(eq=False)
class Part:
    """One shape of the block. `kind`: layer, pointwise, input, state (an old one), join (wires that merge)."""

    kind: str
    label: str
    node: Any  # the Node it computes
    sources: list[Part] = field(default_factory=list)
    note: str = ""
    name: str = ""
    covers: tuple[int, ...] = ()  # serials of the nodes inside

    @property
    def serial(self) -> int:
        return self.node.serial if self.node is not None else -1

    def __repr__(self) -> str:
        return f"<{self.kind} {self.label or self.name}>"


@dataclass
class Block:
    """What one step of a cell looks like. `parts` in the order of computation, without inputs and states."""

    inputs: list[Part]
    states: list[Part]
    parts: list[Part]
    new_states: list[Part]
    output: Part
    carried: dict[int, list[Part]]  # place of a state -> the pointwise parts on its way, in order
    regions: dict[int, tuple[Node, str]]  # last value of a normalisation -> (what is normalised, its name)


def block(graph: Any) -> Block:
    """Read a cell's graph."""
    return _Reader(graph).read()


@dataclass
class _Sum:
    """A value that is affine in some others: parameters times sources, added."""

    sources: list[Node]
    covers: list[int]
    learned: bool
    normalised: bool = False


class _Reader:
    def __init__(self, graph: Any):
        self.graph = graph
        self.order: list[Node] = reachable(graph.roots if hasattr(graph, "roots") else [graph.output, *graph.new_states])
        given = {n.serial for n in [*graph.inputs, *graph.states]}
        self.fixed: set[int] = set()  # parameters, and what is computed from parameters alone
        for n in self.order:
            if n.serial not in given and all(a.serial in self.fixed for a in _values(n)):
                self.fixed.add(n.serial)
        self.exits = {n.serial for n in [graph.output, *graph.new_states]}
        self.users: dict[int, list[Node]] = {n.serial: [] for n in self.order}
        for n in self.order:
            for a in {a.serial: a for a in _values(n)}.values():
                self.users[a.serial].append(n)
        self.regions: dict[int, tuple[Node, str]] = {}
        self.normal = self._normalisations()
        self.sums: dict[int, _Sum] = {}
        for n in self.order:
            found = self._sum(n)
            if found is not None:
                self.sums[n.serial] = found

    def moving(self, n: Node) -> list[Node]:
        """The distinct arguments that change from step to step."""
        return list({a.serial: a for a in _values(n) if a.serial not in self.fixed}.values())

    def alone(self, n: Node) -> bool:
        """Whether n is read once, and by nothing outside, so that it may disappear into its reader."""
        return n.serial not in self.exits and len(self.users[n.serial]) == 1

    # ----------------------------------------------------------------------------------------------------- affine sums
    def _sum(self, n: Node) -> _Sum | None:
        if n.op is None or n.serial in self.fixed:
            return None
        if n.serial in self.normal:
            entry, covers, label = self.normal[n.serial]
            inner = self.sums.get(entry.serial)
            if label == "norm" and inner is not None and self._inside(entry, covers):
                return _Sum(inner.sources, [*inner.covers, entry.serial, *covers], inner.learned, True)
            return None
        moving = self.moving(n)
        if n.op.name == "linear":
            return _Sum(moving, [], True)
        if n.op.name in ("mul", "div") and self._scales(n):
            inner = self.sums.get(moving[0].serial)
            weights = [a for a in _values(n) if a.serial in self.fixed]
            if inner is not None and self.alone(moving[0]):
                return _Sum(inner.sources, [*inner.covers, moving[0].serial], inner.learned or bool(weights), inner.normalised)
            if n.op.name == "mul" and weights:
                return _Sum(moving, [], True)
            return None
        if n.op.name in ("add", "sub"):
            sources: list[Node] = []
            covers: list[int] = []
            normalised = False
            for a in moving:
                inner = self.sums.get(a.serial)
                if inner is None or not self.alone(a):
                    return None
                sources += inner.sources
                covers += [*inner.covers, a.serial]
                normalised = normalised or inner.normalised
            return _Sum(list({s.serial: s for s in sources}.values()), covers, True, normalised)
        return None

    def _scales(self, n: Node) -> bool:
        """Whether n is one moving value times, or divided by, something fixed."""
        places = [k for k, a in enumerate(n.args) if isinstance(a, Value) and a.serial not in self.fixed]
        return len(places) == 1 and not (n.op is not None and n.op.name == "div" and places == [1])

    def _inside(self, entry: Node, covers: Sequence[int]) -> bool:
        return entry.serial not in self.exits and all(u.serial in covers for u in self.users[entry.serial])

    # ------------------------------------------------------------------------------------------------- normalisations
    def _normalisations(self) -> dict[int, tuple[Node, tuple[int, ...], str]]:
        """Values computed from one other alone through a reduction of rows: last node -> (entry, nodes inside, label).

        The entry of a value is its nearest dominator: every way from the inputs to it leads through the entry.
        """
        reductions = {n.serial for n in self.order if n.op is not None and not n.op.elementwise and n.op.name != "linear" and n.serial not in self.fixed}
        if not reductions:
            return {}
        above: dict[int, set[int]] = {}
        by_serial = {n.serial: n for n in self.order}
        found: dict[int, tuple[Node, tuple[int, ...], str]] = {}
        for n in self.order:
            if n.serial in self.fixed:
                continue
            moving = self.moving(n)
            common = set.intersection(*(above[a.serial] for a in moving)) if moving else set()
            above[n.serial] = common | {n.serial}
            if len(moving) == 1 and moving[0].serial in found and self.alone(moving[0]) and n.op.name in ("mul", "div", "add", "sub") and self._scales(n):  # type: ignore[union-attr]
                entry, covers, label = found[moving[0].serial]  # its gain and its shift belong to it
                found[n.serial] = (entry, (*covers, n.serial), label)
            if not common or len(moving) < 2:
                continue
            entry = by_serial[max(common)]
            inside = [v for v in self.order if entry.serial < v.serial <= n.serial and entry.serial in above.get(v.serial, ()) and v is not entry and self._reaches(v, n)]
            serials = {v.serial for v in inside}
            if not serials & reductions or any(v is not n and (v.serial in self.exits or any(u.serial not in serials for u in self.users[v.serial])) for v in inside):
                continue
            while True:  # a chain of such regions, or one through a function of one argument, is one region
                before = found.get(entry.serial)
                if before is not None and self._inside(entry, tuple(serials)):
                    serials |= {entry.serial, *before[1]}
                    entry = before[0]
                elif entry.op is not None and len(self.moving(entry)) == 1 and self.moving(entry)[0].serial in found and self._inside(entry, tuple(serials)):
                    serials.add(entry.serial)
                    entry = self.moving(entry)[0]
                else:
                    break
            names = {by_serial[s].op.name for s in serials}  # type: ignore[union-attr]
            label = "norm" if "sqrt" in names or "pow" in names else "softmax" if {"exp", "sum"} <= names else " ".join(sorted(by_serial[s].op.name for s in serials & reductions))  # type: ignore[union-attr]
            found[n.serial] = (entry, tuple(sorted(serials)), label)
            self.regions = {s: r for s, r in self.regions.items() if s not in serials} | {n.serial: (entry, label)}
        return found

    def _reaches(self, v: Node, n: Node) -> bool:
        seen, stack = set(), [v]
        while stack:
            u = stack.pop()
            if u is n:
                return True
            if u.serial not in seen and u.serial < n.serial:
                seen.add(u.serial)
                stack += self.users[u.serial]
        return False

    # ------------------------------------------------------------------------------------------------------- reading
    def read(self) -> Block:
        graph = self.graph
        names = _names(graph)
        parts: dict[int, Part] = {}
        inputs = [Part("input", str(n.name), n, name=str(n.name)) for n in graph.inputs]
        states = [Part("state", str(n.name), n, name=str(n.name)) for n in graph.states]
        for p in [*inputs, *states]:
            parts[p.serial] = p
        wanted = {*self.exits}
        for n in reversed(self.order):  # which values are seen: readers before what they read
            if n.serial in wanted and n.serial not in parts:
                part = self._part(n)
                part.name = names.get(n.serial, "")
                parts[n.serial] = part
                wanted |= {s.serial for s in part.sources}  # type: ignore[misc]
        made = [parts[n.serial] for n in self.order if n.serial in parts]
        for p in made:
            p.sources = [parts[s.serial] for s in p.sources]
        new_states = [parts[n.serial] for n in graph.new_states]
        result = Block(inputs, states, [p for p in made if p.kind not in ("input", "state")], new_states, parts[graph.output.serial], {}, self.regions)
        taken: set[int] = set()
        for k, (old, new) in enumerate(zip(states, new_states, strict=True)):
            way = _way(old, new, taken)
            if way is not None:
                result.carried[k] = way
                taken |= {p.serial for p in way}
        return result

    def _part(self, n: Node) -> Part:
        """The shape of one value; its sources are still Nodes."""
        if n.op is None or n.serial in self.fixed:  # a parameter shown as it is: an output that nothing moves
            return Part("pointwise", str(n.name or "constant"), n)
        if n.serial in self.normal and n.serial not in self.sums:
            entry, covers, label = self.normal[n.serial]
            return Part("pointwise", label, n, [entry], covers=covers)  # type: ignore[list-item]
        moving = self.moving(n)
        if n.serial in self.sums and self.sums[n.serial].learned:
            return self._layer(n, "linear", self.sums[n.serial], [])
        if n.op.elementwise and len(moving) == 1 and n.op.infix == 0:
            inner = self.sums.get(moving[0].serial)
            if inner is not None and inner.learned and self.alone(moving[0]):
                return self._layer(n, sign(n.op.symbol), inner, [moving[0].serial])
        return Part("pointwise", self._written(n), n, moving)  # type: ignore[arg-type]

    def _layer(self, n: Node, label: str, inner: _Sum, extra: list[int]) -> Part:
        return Part("layer", label, n, inner.sources, note="norm" if inner.normalised else "", covers=(*inner.covers, *extra))  # type: ignore[arg-type]

    def _written(self, n: Node) -> str:
        """A pointwise operation as a sign: ×, 1−, tanh, +γ."""
        op = n.op
        assert op is not None
        symbol = sign(op.symbol)
        others = [a for a in n.args if not (isinstance(a, Value) and a.serial not in self.fixed)]
        if not others or op.infix == 0:
            return symbol
        moves_first = isinstance(n.args[0], Value) and n.args[0].serial not in self.fixed
        text = _number(others[0]) if not isinstance(others[0], Value) else str(others[0].name or "w")
        return f"{symbol}{text}" if moves_first else f"{text}{symbol}"


def _values(n: Node) -> list[Node]:
    return [a for a in n.args if isinstance(a, Value)]  # type: ignore[misc]


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(graph: Any) -> dict[int, str]:
    names = {}
    for name, n in graph.names.items():
        if n.op is not None:
            names.setdefault(n.serial, name)
    for old, new in zip(graph.states, graph.new_states, strict=True):
        if new.op is not None:
            names[new.serial] = str(old.name)
    return names


def _way(old: Part, new: Part, taken: set[int]) -> list[Part] | None:
    """The shortest way from an old state to its new value through pointwise parts that no other state runs through."""
    if new is old:
        return []
    before: dict[int, list[Part]] = {new.serial: [new]}
    if new.kind != "pointwise" or new.serial in taken:
        return None
    front = [new]
    while front:
        behind = []
        for p in front:
            for s in p.sources:
                if s is old:
                    return before[p.serial]
                if s.kind == "pointwise" and s.serial not in before and s.serial not in taken:
                    before[s.serial] = [s, *before[p.serial]]
                    behind.append(s)
        front = behind
    return None


# -------------------------------------------------------------------------------------------------------------- wires
def joins(result: Block) -> list[Part]:
    """Let inputs and old states that go to the same layers go there as one wire; the joins made, each before its readers.

    The set shared by most layers comes first: in an LSTM [h, x] for all four gates.
    """
    layers = [p for p in result.parts if p.kind == "layer"]
    made: list[Part] = []
    while True:
        leaves = {id(p): frozenset(id(s) for s in p.sources if s.kind in ("input", "state")) for p in layers}
        sets = [s for s in leaves.values() if len(s) > 1]
        candidates = dict.fromkeys([*sets, *(a & b for a in sets for b in sets if len(a & b) > 1)])
        score: Counter[frozenset[int]] = Counter()
        for c in candidates:
            readers = [p for p in layers if c <= leaves[id(p)]]
            whole = any(len(p.sources) == len(c) for p in readers)
            score[c] = (len(readers) - 1) * (len(c) - 1) * 4 + whole * len(c)
        if not score or max(score.values()) <= 0:
            return made
        best = max(score, key=lambda c: (score[c], len(c)))
        members = [p for p in [*result.states, *result.inputs] if id(p) in best]
        join = Part("join", "", None, members, name=", ".join(p.name for p in members))
        made.append(join)
        for p in layers:
            if best <= leaves[id(p)]:
                p.sources = [join, *(s for s in p.sources if id(s) not in best)]
