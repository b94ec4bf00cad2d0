"""A cell as its memory block: states running through, learned layers in a row, pointwise operations between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product, takewhile
from typing import Any

from ..errors import ArgumentError, message
from ..graph import reachable
from ..notation import equation_lines, equations
from .block import Block, Part, block, joins, output_name
from .formula import quantities
from .language import Markup, Sheet, escaped, fitted, indexed, letters, plain
from .place import Places, place
from .route import Board, Goals, Net, Point

WIDE, HIGH = 8, 6  # lines of the grid a column and a row
LAYER, SIGN, OVAL, JOIN, LONG = (2, 1), (1, 1), (2, 1), (1, 1), (3, 1)  # half sizes, in lines
UNIT = 12.0  # points between the lines of a box
TRACK, EMPTY = 12.0, 5.0  # points from a line that holds a wire, or none, to the next
RIM = 9.0  # points between the lines at the rim
APART = 8  # lines between two inputs
END = 26.0  # size of the circle of an input or output


@dataclass
class Wire:
    """The way of one value to one reader; `target` is a Part, or an end of the block: ("state", k), ("output", 0)."""

    source: Part
    target: Any
    points: list[Point]


def half(p: Part) -> tuple[int, int]:
    if p.kind in ("layer", "pointwise") and len(p.label) > 7:
        return LONG
    if p.kind == "pointwise":
        return SIGN if len(p.label) < 3 else OVAL
    return {"layer": LAYER, "join": JOIN}.get(p.kind, (0, 0))


def end(name: str) -> float:
    """The width of the circle of an input or output."""
    return END if letters(name) < 3 else min(16.0 + 6.0 * letters(name), 46.0)


def end_label(name: str, index: str) -> str:
    return (
        indexed(name, index)
        if letters(name) < 3
        else Markup(f'<font point-size="10">{indexed(fitted(name, 7), index)}</font>')
    )


def _lines(name: str) -> int:
    """Lines of the grid that a name beside a part takes."""
    return 1 + min(int(letters(name)), 10) // 2


class Memory:
    """The block of one cell, placed and routed on a grid; `draw` puts it on a sheet, as often as wanted."""

    def __init__(self, cell: Any):
        self.cell = cell
        self.block: Block = block(cell.graph)
        self.places: Places = place(self.block)
        self.joins = joins(self.block)
        lines = equation_lines(cell.graph)
        self.tips = {
            n.serial: f"{name} = {text}" for (_, n), (name, text) in zip(equations(cell.graph), lines, strict=False)
        }
        # more lines between the boxes, until every wire finds its way; one that found none goes first
        for room, early in product(range(4), (False, True)):
            self._on_grid(room)
            self._route(early)
            if self.stray:
                self._route(early, [(w.source, w.target) for w in self.stray])
            if not self.stray:
                break
        self._measure()

    # ------------------------------------------------------------------------------------------------------- the grid
    def _on_grid(self, room: int) -> None:
        b, places = self.block, self.places
        wide, high = WIDE + 3 * room, HIGH + 3 * room
        loose = [k for k in range(len(b.states)) if k not in b.carried]
        top, rows = (
            (5 if b.carried else 9) + 3 * room,
            places.rows,
        )  # without a carried state on top, room for wires above the layers
        # the column of the first layer
        first = 6 + 3 * room + wide * max(1, len(self.joins)) + APART * (len(b.inputs) - 1)
        floor = top + (rows - 1) * high
        self.at: dict[int, Point] = {}
        for p in b.parts:
            self.at[id(p)] = (first + places.column[id(p)] * wide, top + (rows - 1 - places.row[id(p)]) * high)
        bus = floor + high
        for k, join in enumerate(self.joins):
            self.at[id(join)] = (first - wide * (len(self.joins) - k), bus + 3 * k)
        self.levels = {}
        for k in range(len(b.states)):
            self.levels[k] = top + (rows - 1 - places.rails[k]) * high if k in b.carried else bus + 3 * loose.index(k)
        self.height = bus + 3 * max(len(loose), len(self.joins), 1) + 4
        for k, p in enumerate(b.states):
            self.at[id(p)] = (0, self.levels[k])
        taken: list[int] = []
        for p in b.inputs:  # from below, under the join or the layer that reads it first
            readers = [r for r in [*self.joins, *b.parts] if p in r.sources]
            x = self.at[id(readers[0])][0] if readers else first
            side = -APART if x < first else APART
            while any(abs(x - t) < APART for t in taken):
                x += side
            taken.append(x)
            self.at[id(p)] = (x, self.height - 1)
        self.exit_x = max([first + places.columns * wide, *(x + 3 for x in taken)])
        self.right = self.exit_x + 5

    # ------------------------------------------------------------------------------------------------------ the wires
    def _route(self, early: bool = False, first: Sequence[tuple[Part, Any]] = ()) -> None:
        """Lay the wires, those of `first` first; `early`: old states that become other states before what is read from
        below."""
        b = self.block
        self.board = Board(self.right + 1, self.height)
        for p in [*b.parts, *self.joins]:
            (x, y), (dx, dy) = self.at[id(p)], half(p)
            self.board.block(x, y, dx, dy)
            if p.name and p.kind != "join":  # room for its name, at the upper right
                start, level = (x + 1, y - dy - 1) if p.kind == "layer" else (x + dx + 1, y - dy)
                self.board.blocked.update((start + k, level) for k in range(_lines(p.name)))
        doors = {point for p in [*b.inputs, *b.states] for point in self._door(p)} | {
            (self.exit_x, y) for y in range(4)
        }
        doors |= {(x, y) for y in self.levels.values() for x in range(self.right - 4, self.right + 1)}
        rim = {
            (x, y)
            for x in range(self.right + 1)
            for y in range(self.height)
            if x < 4 or x > self.right - 4 or y < 4 or y > self.height - 4
        }
        self.board.blocked |= rim - doors
        self.wires: list[Wire] = []
        self.stray: list[Wire] = []  # wires that found no way and are drawn straight
        nets: dict[int, Net] = {}
        jobs: list[tuple[float, int, Part, Any]] = []
        for p in [*self.joins, *b.parts]:
            late = 200.0 if early else 0.0
            jobs += [
                (self._price(s, p) + late * (s.kind == "input"), len(jobs) + k, s, p) for k, s in enumerate(p.sources)
            ]
        jobs += [
            (
                1.0 if k in b.carried else 150.0 if early and new.kind == "state" else 1e4,
                len(jobs) + k,
                new,
                ("state", k),
            )
            for k, new in enumerate(b.new_states)
        ]
        jobs.append((2e4, len(jobs), b.output, ("output", 0)))
        for _, _, source, target in sorted(jobs, key=lambda j: ((j[2], j[3]) not in first, *j[:2])):
            net = nets.setdefault(id(source), Net(source.serial if source.node is not None else id(source)))
            goals = self._goals(target)
            path = self.board.connect(net, goals, self._starts(source)) if goals else None
            if path is None:
                self.stray.append(Wire(source, target, [self.at[id(source)], self._middle(target)]))
            else:
                self.wires.append(Wire(source, target, path))

    def _door(self, p: Part) -> list[Point]:
        """Where a state or an input comes in through the rim."""
        x, y = self.at[id(p)]
        return [(k, y) for k in range(5)] if p.kind == "state" else [(x, y - k) for k in range(5)]

    def _price(self, s: Part, p: Part) -> float:
        """Which wires are drawn first: those along a carried state, then straight ones, then short ones."""
        for k, way in self.block.carried.items():
            chain = [self.block.states[k], *way]
            if p in way and chain[way.index(p)] is s:
                return 0.0
        (x, y), (u, v) = self.at[id(s)], self.at[id(p)]
        far = abs(x - u) + abs(y - v)
        if p.kind == "join":
            return 100.0 + far * (x != u and y != v)
        return far if x == u or y == v else 200.0 - far / 1000 if s.kind == "join" else 1000.0 + far

    def _starts(self, p: Part) -> dict[Point, int | None]:
        """Where a wire may leave a part, and in which direction (0 right, 1 down, 2 left, 3 up)."""
        (x, y), (dx, dy) = self.at[id(p)], half(p)
        if p.kind in ("state", "join"):
            return {(x + dx, y): 0}
        if p.kind in ("layer", "input"):
            return {(x, y - dy): 3}
        if any(p in way for way in self.block.carried.values()):
            return {(x + dx, y): 0}
        every = {(x + dx, y): 0, (x, y - dy): 3, (x, y + dy): 1}
        return {point: d for point, d in every.items() if point not in self.board.turning}

    def _goals(self, target: Any) -> Goals:
        """Where a wire may reach a part, in which direction, and at what price."""
        up, down, right, left = (0, -1), (0, 1), (1, 0), (-1, 0)
        if isinstance(target, tuple):
            kind, k = target
            return {((self.right, self.levels[k]), right): 0.0} if kind == "state" else {((self.exit_x, 0), up): 0.0}
        (x, y), (dx, dy) = self.at[id(target)], half(target)
        ends: Goals = {((x, y + dy), up): 0.0, ((x - dx, y), right): 2.5}
        if target.kind == "layer":
            ends |= {((x - 1, y + dy), up): 3.0, ((x + 1, y + dy), up): 3.0, ((x + dx, y), left): 9.0}
        else:
            ends |= {((x, y - dy), down): 0.0}
            if target.kind == "pointwise":
                ends |= {((x + dx, y), left): 5.0}
            if target.kind == "join":
                ends |= {
                    (point, way): 1.0 + k for k, point in enumerate(self._merging(target)) for way in (right, left)
                }
            if (dx, dy) in (OVAL, LONG):
                ends |= {((x + k, y + side * dy), up if side > 0 else down): 3.0 for k in (-1, 1) for side in (-1, 1)}
        return {(p, way): price for (p, way), price in ends.items() if p not in self.board.turning}

    def _merging(self, join: Part) -> list[Point]:
        """Where a wire may end in the one that comes to the join from straight below."""
        (x, y), (_, dy) = self.at[id(join)], half(join)
        comes = {w.points[-1]: w.points[-2] for w in self.wires if w.target is join}
        if comes.get((x, y + dy)) != (x, y + dy + 1):
            return []
        key = self.board.lying.get(((x, y + dy + 1), False))
        ends = takewhile(lambda p: self.board.lying.get((p, False)) is key, ((x, y + dy + k) for k in (1, 2, 3)))
        return list(ends)

    def _middle(self, target: Any) -> Point:
        if isinstance(target, tuple):
            return (self.right, self.levels[target[1]]) if target[0] == "state" else (self.exit_x, 0)
        return self.at[id(target)]

    # -------------------------------------------------------------------------------------------------- in points
    def _measure(self) -> None:
        """Lines that hold nothing move together; lines of boxes keep their distance."""
        upright, flat = set(), set()
        for w in [*self.wires, *self.stray]:
            for a, b in zip(w.points, w.points[1:], strict=False):
                if a[0] == b[0]:
                    upright.add(a[0])
                if a[1] == b[1]:
                    flat.add(a[1])
        boxes_x: set[int] = set()
        boxes_y: set[int] = set()
        for p in [*self.block.parts, *self.joins]:
            (x, y), (dx, dy) = self.at[id(p)], half(p)
            boxes_x.update(range(x - dx, x + dx))
            boxes_y.update(range(y - dy, y + dy))
            if p.name and p.kind == "layer":
                boxes_y.add(y - dy - 1)
            if p.name and p.kind == "pointwise":
                boxes_x.update(range(x + dx, x + dx + _lines(p.name)))
        self.xs, self.ys = [0.0], [0.0]
        for places, size, boxes, busy in (
            (self.xs, self.right, boxes_x, upright),
            (self.ys, self.height - 1, boxes_y, flat),
        ):
            for k in range(size):
                rim = k < 3 or k >= size - 3
                places.append(
                    places[-1]
                    + (UNIT if k in boxes else RIM if rim else TRACK if k in busy or k + 1 in busy else EMPTY)
                )

    def spot(self, point: Point) -> tuple[float, float]:
        return self.xs[point[0]], self.ys[point[1]]

    @property
    def size(self) -> tuple[float, float]:
        return self.xs[-1], self.ys[-1]

    # ------------------------------------------------------------------------------------------------------- drawing
    def draw(self, sheet: Sheet, left: float = 0.0, top: float = 0.0, *, before: str = "t−1", now: str = "t",
             key: str = "", light: Light | None = None,
             arriving: bool = True, leaving: bool = True) -> None:  # fmt: skip
        """Put the block on a sheet, its upper left corner at (left, top).

        before, now : the index of old and new values. key : a prefix that makes its names in the DOT text unique.
        light : what to show in colour and what to fade. arriving, leaving : whether old and new states are named.
        """
        b = self.block
        light = light or Light(self)

        def shown(point: Point) -> tuple[float, float]:
            x, y = self.spot(point)
            return left + x, top + y

        (x0, y0), (x1, y1) = shown((3, 2)), shown((self.right - 3, self.height - 3))
        sheet.shape("frame", f"{key}step", (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, tip=str(self.cell.name))
        self.keys: dict[Any, str] = {
            id(p): f"{key}{self._key(p)}" for p in [*b.inputs, *b.states, *self.joins, *b.parts]
        }
        for p in b.states:
            x, y = shown(self.at[id(p)])
            if arriving:
                sheet.text(
                    self.keys[id(p)],
                    x - 12 - 4 * min(letters(p.name), 8),
                    y,
                    indexed(fitted(p.name, 8), before),
                    size=15,
                    kind="state",
                    faded=light.fades(p),
                )
        for p in b.inputs:
            x, y = shown(self.at[id(p)])
            sheet.shape(
                "input",
                self.keys[id(p)],
                x,
                y + END / 2,
                end(p.name),
                END,
                end_label(p.name, now),
                size=13,
                faded=light.fades(p),
            )
        for p in self.joins:
            x, y = shown(self.at[id(p)])
            sheet.shape("faint", self.keys[id(p)], x, y, 2, 2, tip=f"[{p.name}]")
        for p in b.parts:
            self._part(sheet, p, shown, now, light)
        x, y = shown((self.exit_x, 0))
        name = output_name(self.cell.graph)
        self.keys["output", 0] = f"{key}output {name}"
        sheet.shape(
            "output",
            self.keys["output", 0],
            x,
            y - END / 2,
            end(name),
            END,
            end_label(name, now),
            size=13,
            faded=light.fades(b.output, True),
        )
        for k, p in enumerate(b.new_states):
            x, y = shown((self.right, self.levels[k]))
            self.keys["state", k] = f"{key}new {b.states[k].name}"
            if leaving:
                sheet.text(
                    self.keys["state", k],
                    x + 10 + 4 * min(letters(b.states[k].name), 8),
                    y,
                    indexed(fitted(b.states[k].name, 8), now),
                    size=15,
                    kind="state",
                    faded=light.fades(p, True),
                )
            else:
                sheet.shape("faint", self.keys["state", k], x, y, 1, 1)
        for w in [*self.wires, *self.stray]:
            lit = light.on(w)
            points = [shown(p) for p in (w.points if lit else light.beside(w, self.wires))]
            merging = isinstance(w.target, Part) and w.target.kind == "join"
            if merging:  # it turns into the wire that leaves the join
                (x_, y_), (dx, _) = self.at[id(w.target)], half(w.target)
                points += [shown((x_, y_)), shown((x_ + dx, y_))]
            head = self.keys[id(w.target)] if isinstance(w.target, Part) else self.keys[w.target]
            sheet.wire(
                self.keys[id(w.source)],
                head,
                points,
                arrow=not merging and (leaving or not isinstance(w.target, tuple) or w.target[0] != "state"),
                faded=light.given and not lit,
                lit=light.given and lit,
            )

    def quantities(self) -> list[tuple[str, Any]]:
        """(name, value) of every equation, in the order of computation."""
        return quantities(self.cell.graph, self.block.regions)

    def _key(self, p: Part) -> str:
        if p.kind in ("input", "state"):
            return f"{p.kind} {p.name}"
        if p.kind == "join":
            return f"join {self.joins.index(p)}"
        return f"{p.name or p.label} {self.block.parts.index(p)}"

    def _part(self, sheet: Sheet, p: Part, shown: Any, now: str, light: Light) -> None:
        (x, y), (dx, dy) = self.at[id(p)], half(p)
        (x0, y0), (x1, y1) = shown((x - dx, y - dy)), shown((x + dx, y + dy))
        mx, my = shown((x, y))
        size = 16 if len(p.label) < 2 else 13 if len(p.label) < 6 else 11 if len(p.label) < 11 else 10
        label = (
            plain(p.label, 12)
            if not p.note
            else Markup(f'{escaped(p.label)} <font point-size="8">{escaped(p.note)}</font>')
        )
        key, faded = self.keys[id(p)], light.fades(p)
        sheet.shape(
            p.kind,
            key,
            mx,
            my,
            x1 - x0,
            y1 - y0,
            label,
            size=min(size, 11 if len(p.label) > 2 else 15) if p.note else size,
            tip=self._tip(p),
            faded=faded,
            lit=light.given and id(p) in light.parts,
        )
        if p.name:
            tx, ty = (mx + 10, y0 - 8) if p.kind == "layer" else (x1 + 7, y0 - 1)
            name, small = fitted(p.name, 10), 12 if letters(p.name) < 4 else 10
            sheet.text(
                f"{key} name", tx + 0.25 * small * (letters(name) - 1), ty, indexed(name, now), size=small, faded=faded
            )

    def _tip(self, p: Part) -> str:
        return self.tips.get(p.serial, p.label)


def _along(points: list[Point]) -> list[Point]:
    """Every point of the grid on a way."""
    out = points[:1]
    for (a, b), (c, d) in pairwise(points):
        steps = max(abs(c - a), abs(d - b))
        out += [(a + (c - a) * k // steps, b + (d - b) * k // steps) for k in range(1, steps + 1)]
    return out


class Light:
    """What is shown in colour: the parts that compute the named quantities, up to the next named ones.

    `parts` are computed here, `edge` is what they read; both are ids. Without names everything is shown plainly.
    """

    def __init__(self, memory: Memory, names: Sequence[str] = ()):
        self.given = bool(names)
        self.parts: set[int] = set()
        self.edge: set[int] = set()
        self.nodes: list[tuple[str, Any]] = []
        self.targets: set[int] = set()
        b = memory.block
        for name in names:
            target = self._find(memory, name)
            self.targets.add(id(target))
            stack = [target]
            while stack:
                p = stack.pop()
                if id(p) in self.parts:
                    continue
                self.parts.add(id(p))
                for s in p.sources:
                    if s.kind == "join" or (s.kind in ("layer", "pointwise") and not s.name):
                        stack.append(s)
                    else:
                        self.edge.add(id(s))
        if self.given:  # with what is named inside the parts in colour, on the way to what is asked for
            lit = {s for p in b.parts if id(p) in self.parts for s in (*p.covers, p.serial)}
            lit &= {n.serial for n in reachable([n for _, n in self.nodes])}
            asked = dict(self.nodes)
            self.nodes = [(n, v) for n, v in memory.quantities() if v.serial in lit and asked.get(n, v) is v]
        else:
            self.edge = {id(p) for p in [*b.inputs, *b.states, *b.parts, *memory.joins]}

    def _find(self, memory: Memory, name: str) -> Part:
        graph, b = memory.cell.graph, memory.block
        values = {
            **graph.names,
            **{str(old.name): new for old, new in zip(graph.states, graph.new_states, strict=True)},
        }
        inside = {s: p for p in b.parts for s in (*p.covers, p.serial)}
        known = sorted((n for n, v in values.items() if v.serial in inside), key=lambda n: values[n].serial)
        if name not in known:
            raise ArgumentError(
                message(
                    "draw",
                    f"{memory.cell.name} has no quantity {plain(name, 60)!r} to highlight",
                    remedy=f"it has: {', '.join(known)}",
                )
            )
        self.nodes.append((name, values[name]))
        return inside[values[name].serial]

    def fades(self, p: Part, end: bool = False) -> bool:
        """Whether a part is faded; `end`: whether the name of its value outside the block is."""
        if not self.given:
            return False
        return id(p) not in self.targets if end else id(p) not in self.parts and id(p) not in self.edge

    def beside(self, wire: Wire, wires: Sequence[Wire]) -> list[Point]:
        """A faded wire without what it shares with one in colour: what Graphviz draws last would cover the colour."""
        shared = {p for w in wires if w.source is wire.source and self.on(w) for p in _along(w.points)}
        points = _along(wire.points)
        start = next((k for k, p in enumerate(points) if p not in shared), len(points) - 1)
        return points[max(start - 1, 0) :] if shared else wire.points

    def on(self, wire: Wire) -> bool:
        return not self.given or (
            id(wire.target) in self.parts if isinstance(wire.target, Part) else id(wire.source) in self.targets
        )
