"""The equations of a cell -> what a textbook draws: learned layers, pointwise operations, states that run through.

A *layer* is a function of a sum of products with parameters: sigmoid(W x + U h + b) is one yellow box with the wires x
and h. Its sum may also hold products of elements (`p * c`, a peephole) and normalisations of a sum. What is left is
*pointwise*. A state whose new value is reached from the old one through pointwise operations only is *carried*: it
runs straight along the top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ..graph import Node, Value, reachable
from ..notation import text_style
from .language import plain, sign
from .region import Region, find


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
    regions: dict[int, Region]  # by the last value


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
        self.order: list[Node] = reachable(
            graph.roots if hasattr(graph, "roots") else [graph.output, *graph.new_states]
        )
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
        self.regions, self.normal = self._regions()
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
            region = self.normal[n.serial]
            inner = self.sums.get(region.entry.serial)
            if region.label == "norm" and inner is not None and self._inside(region.entry, region.inside):
                within = [*inner.covers, region.entry.serial, *sorted(region.inside)]
                return _Sum(inner.sources, within, inner.learned, True)
            return None
        moving = self.moving(n)
        if n.op.name == "linear":
            return _Sum(moving, [], True)
        if n.op.name in ("mul", "div") and self._scales(n):
            inner = self.sums.get(moving[0].serial)
            weights = [a for a in _values(n) if a.serial in self.fixed]
            if inner is not None and self.alone(moving[0]):
                return _Sum(
                    inner.sources, [*inner.covers, moving[0].serial], inner.learned or bool(weights), inner.normalised
                )
            if n.op.name == "mul" and weights:
                return _Sum(moving, [], True)
            return None
        if n.op.name in ("add", "sub"):
            sources: list[Node] = []
            covered: list[int] = []
            normalised = False
            for a in moving:
                inner = self.sums.get(a.serial)
                if inner is None or not self.alone(a):
                    return None
                sources += inner.sources
                covered += [*inner.covers, a.serial]
                normalised = normalised or inner.normalised
            return _Sum(list({s.serial: s for s in sources}.values()), covered, True, normalised)
        return None

    def _scales(self, n: Node) -> bool:
        """Whether n is one moving value times, or divided by, something fixed."""
        places = [k for k, a in enumerate(n.args) if isinstance(a, Value) and a.serial not in self.fixed]
        return len(places) == 1 and not (n.op is not None and n.op.name == "div" and places == [1])

    def _inside(self, entry: Node, covers: Collection[int]) -> bool:
        return entry.serial not in self.exits and all(u.serial in covers for u in self.users[entry.serial])

    def _regions(self) -> tuple[dict[int, Region], dict[int, Region]]:
        """Regions by their last value; and the same with the gain and the shift, both learned, that follow a norm."""
        order = [n for n in self.order if n.serial not in self.fixed]
        pure = find(order, self.users, self.exits)
        full = dict(pure)
        for n in order:
            moving = self.moving(n)
            if len(moving) == 1 and self.alone(moving[0]) and _named(n, "mul", "add") and len(_values(n)) == 2:
                before = full.get(moving[0].serial)
                gain = _named(n, "mul") and moving[0].serial in pure
                shift = _named(n, "add") and not _named(moving[0], "add")
                if before is not None and before.label == "norm" and (gain or shift):
                    full[n.serial] = Region(before.entry, before.inside | {n.serial}, before.label)
        return pure, full

    # ------------------------------------------------------------------------------------------------------- reading
    def read(self) -> Block:
        graph = self.graph
        names = _names(graph)
        parts: dict[int, Part] = {}
        inputs = [Part("input", str(n.name), n, name=str(n.name)) for n in graph.inputs]
        states = [Part("state", str(n.name), n, name=str(n.name)) for n in graph.states]
        for p in [*inputs, *states]:
            parts[p.serial] = p
        read: dict[int, list[Node]] = {}
        wanted = {*self.exits}
        for n in reversed(self.order):  # which values are seen: readers before what they read
            if n.serial in wanted and n.serial not in parts:
                parts[n.serial], read[n.serial] = self._part(n)
                parts[n.serial].name = names.get(n.serial, "")
                wanted |= {s.serial for s in read[n.serial]}
        made = [parts[n.serial] for n in self.order if n.serial in parts]
        for p in made:
            p.sources = [parts[s.serial] for s in read.get(p.serial, [])]
        new_states = [parts[n.serial] for n in graph.new_states]
        result = Block(
            inputs,
            states,
            [p for p in made if p.kind not in ("input", "state")],
            new_states,
            parts[graph.output.serial],
            {},
            self.regions,
        )
        taken: set[int] = set()
        for k, (old, new) in enumerate(zip(states, new_states, strict=True)):
            way = _way(old, new, taken)
            if way is not None:
                result.carried[k] = way
                taken |= {p.serial for p in way}
        return result

    def _part(self, n: Node) -> tuple[Part, list[Node]]:
        """The shape of one value, and the values it reads."""
        if n.op is None or n.serial in self.fixed:  # a parameter shown as it is: an output that nothing moves
            return Part("pointwise", str(n.name or "constant"), n), []
        if n.serial in self.normal and n.serial not in self.sums:
            region = self.normal[n.serial]
            return Part("pointwise", region.label, n, covers=tuple(sorted(region.inside))), [region.entry]
        moving = self.moving(n)
        label, inner, extra = "linear", self.sums.get(n.serial), tuple[int, ...]()
        if inner is None and n.op.elementwise and len(moving) == 1 and n.op.infix == 0 and self.alone(moving[0]):
            label, inner, extra = sign(n.op.symbol), self.sums.get(moving[0].serial), (moving[0].serial,)
        if inner is not None and inner.learned:
            note = "norm" if inner.normalised else ""
            return Part("layer", label, n, note=note, covers=(*inner.covers, *extra)), inner.sources
        return Part("pointwise", self._written(n), n), moving

    def _written(self, n: Node) -> str:
        """A pointwise operation as a sign: ×, 1−, tanh, +γ."""
        op = n.op
        assert op is not None
        symbol = sign(op.symbol or op.name)
        others = [a for a in n.args if not (isinstance(a, Value) and a.serial not in self.fixed)]
        if not others or op.infix == 0:
            return symbol
        moves_first = isinstance(n.args[0], Value) and n.args[0].serial not in self.fixed
        text = _number(others[0]) if not isinstance(others[0], Value) else str(others[0].name or "w")
        return f"{symbol}{text}" if moves_first else f"{text}{symbol}"


def _named(n: Node, *names: str) -> bool:
    return n.op is not None and n.op.name in names


def _values(n: Node) -> list[Node]:
    return [a for a in n.args if isinstance(a, Value)]  # type: ignore[misc]


def _number(value: Any) -> str:
    return plain(text_style().number(value), 8)


def _names(graph: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    for name, n in graph.names.items():
        if n.op is not None:
            names.setdefault(n.serial, name)
    for old, new in zip(reversed(graph.states), reversed(graph.new_states), strict=True):  # the first of two has it
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


def output_name(graph: Any) -> str:
    """What the output is called: the state it is, or the local name it had, or y."""
    for old, new in zip(graph.states, graph.new_states, strict=True):
        if new is graph.output:
            return str(old.name)
    return next((name for name, n in graph.names.items() if n is graph.output), "y")


# -------------------------------------------------------------------------------------------------------------- wires
def joins(result: Block) -> list[Part]:
    """Let inputs and old states that go to the same layers go there as one wire; the joins made, in order.

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
