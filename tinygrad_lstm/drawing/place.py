"""Where the parts of a cell's block stand: columns from left to right, rows from bottom to top.

Layers stand in one row, left to right in the order in which the states that run along the top need them. A pointwise
part stands above the layer it reads last; one that reads carried states only (tanh of the new cell state) hangs
between them and its reader. So most wires are short and straight before anything is routed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .block import Block, Part


@dataclass
class Places:
    """column and row of every part; rows: 0 for layers, 1, 2 ... above, then the carried states from `rails` on."""

    column: dict[int, int] = field(default_factory=dict)  # by id(part)
    row: dict[int, int] = field(default_factory=dict)
    columns: int = 0
    rows: int = 0
    rails: dict[int, int] = field(default_factory=dict)  # place of a carried state -> its row


class _Order:
    """Columns as a list of tokens, so that one can be put between two others."""

    def __init__(self) -> None:
        self.tokens: list[object] = []

    def last(self) -> object:
        self.tokens.append(token := object())
        return token

    def after(self, token: object | None) -> object:
        self.tokens.insert(0 if token is None else self.tokens.index(token) + 1, new := object())
        return new

    def latest(self, tokens: list[object | None]) -> object | None:
        known = [t for t in tokens if t is not None]
        return max(known, key=self.tokens.index) if known else None

    def rank(self, token: object | None) -> int:
        return -1 if token is None else self.tokens.index(token)


def place(block: Block) -> Places:
    """Columns and rows for every part but inputs, old states and joins."""
    rail_of = {id(p): (k, i) for k, way in block.carried.items() for i, p in enumerate(way)}
    readers: dict[int, list[Part]] = {}
    for p in block.parts:
        for s in p.sources:
            readers.setdefault(id(s), []).append(p)
    key = _urgency(block, rail_of, readers)
    above = _claims(block, rail_of)  # what stands directly on a part: id(below) -> part

    order = _Order()
    column: dict[int, object] = {}
    height: dict[int, int] = {}
    ready: dict[int, object | None] = {}  # the column from which on a part can be read
    used: set[tuple[object, int]] = set()
    hanging: list[Part] = []
    waiting = list(block.parts)
    made = {id(p) for p in [*block.inputs, *block.states]}

    def sources(p: Part) -> list[Part]:
        return [t for s in p.sources for t in (s.sources if s.kind == "join" else [s])]

    while waiting:
        open_ = [p for p in waiting if all(id(s) in made for s in sources(p))]
        p = min(open_, key=lambda p: (p.kind == "layer", key[id(p)], p.serial))
        waiting.remove(p)
        made.add(id(p))
        since = order.latest([ready.get(id(s)) for s in sources(p)])
        standing = [s for s in p.sources if id(s) in column and id(s) not in rail_of]
        if p.kind == "layer":
            column[id(p)], height[id(p)] = order.last(), 0
        elif id(p) in rail_of:
            state, i = rail_of[id(p)]
            behind = column[id(block.carried[state][i - 1])] if i else None
            below = next((s for s in standing if above.get(id(s)) is p), None)
            if (
                below is not None
                and order.rank(column[id(below)]) > order.rank(behind)
                and order.rank(column[id(below)]) >= order.rank(since)
            ):
                column[id(p)] = column[id(below)]
            else:
                column[id(p)] = order.after(order.latest([behind, since]))
        elif not standing and p.sources:
            hanging.append(p)
            ready[id(p)] = since
            continue
        else:
            below = next((s for s in standing if above.get(id(s)) is p), None)
            level = 1 + max(
                (height[id(s)] for s in standing if below is not None and column[id(s)] is column[id(below)]), default=0
            )
            if (
                below is not None
                and order.rank(column[id(below)]) >= order.rank(since)
                and (column[id(below)], level) not in used
            ):
                column[id(p)], height[id(p)] = column[id(below)], level
            else:
                column[id(p)], height[id(p)] = order.after(since), 1
            used.add((column[id(p)], height[id(p)]))
        ready[id(p)] = column[id(p)]
    for p in reversed(hanging):  # readers are placed before what hangs on them
        mine = [r for r in readers.get(id(p), []) if id(r) in column and r.kind != "layer" and id(r) not in rail_of]
        reader = mine[0] if mine else None
        spot = (column[id(reader)], height[id(reader)] + 1) if reader is not None else None
        if spot is not None and spot not in used and order.rank(spot[0]) >= order.rank(ready[id(p)]):
            column[id(p)], height[id(p)] = spot
        elif mine:
            column[id(p)], height[id(p)] = order.after(ready[id(p)]), height[id(mine[0])]
        else:
            column[id(p)], height[id(p)] = order.after(ready[id(p)]), 1
        used.add((column[id(p)], height[id(p)]))

    places = Places(columns=len(order.tokens))
    rails = 1 + max(height.values(), default=0)
    for i, k in enumerate(reversed(block.carried)):
        places.rails[k] = rails + i
    places.rows = rails + len(block.carried)
    for p in block.parts:
        places.column[id(p)] = order.rank(column[id(p)])
        places.row[id(p)] = places.rails[rail_of[id(p)][0]] if id(p) in rail_of else height[id(p)]
    return places


def _urgency(block: Block, rail_of: dict[int, tuple[int, int]], readers: dict[int, list[Part]]) -> dict[int, float]:
    """When a part is needed: the place on its rail of what it leads to; before all, what only feeds another layer."""
    time: dict[int, float] = {}  # when a part can be ready: the last rail part it depends on
    for p in block.parts:
        own = float(rail_of[id(p)][1]) if id(p) in rail_of else -1.0
        time[id(p)] = max([own, *(time.get(id(s), -1.0) for s in p.sources)])
    key: dict[int, float] = {}
    for p in reversed(block.parts):
        uses = []
        for r in readers.get(id(p), []):
            base = float(rail_of[id(r)][1]) if id(r) in rail_of else -1.0 if r.kind == "layer" else key[id(r)]
            partner = max((time.get(id(s), -1.0) for s in r.sources if s is not p), default=-1.0)
            uses.append(base if id(r) in rail_of else max(base, partner + 0.5 if partner >= 0 else -1.0))
        key[id(p)] = min(uses, default=1e9)
    return key


def _claims(block: Block, rail_of: dict[int, tuple[int, int]]) -> dict[int, Part]:
    """Who stands directly on whom: each part carries one other at most, carried states choose first."""
    above: dict[int, Part] = {}
    for p in sorted(block.parts, key=lambda p: id(p) not in rail_of):
        if p.kind == "pointwise":
            for s in reversed(p.sources):
                if s.kind in ("layer", "pointwise") and id(s) not in rail_of and id(s) not in above:
                    above[id(s)] = p
                    break
    return above
