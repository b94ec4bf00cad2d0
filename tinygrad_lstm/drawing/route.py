"""Wires as the crow may not fly: shortest ways on a grid, along its lines, around boxes.

A wire starts anywhere on what is already drawn of its value (a copy), turns as little as it can, may cross other
wires at right angles and never lies on one. Lee 1961, with A* (Hart, Nilsson & Raphael 1968) and a price on turns.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from heapq import heappop, heappush

Point = tuple[int, int]
Goals = dict[tuple[Point, Point], float]
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
TURN, CROSS, BESIDE, NEAR = 5.0, 6.0, 1.5, 0.5


@dataclass
class Net:
    """All wires of one value: the points they cover, each with the point before it (None at the start)."""

    key: object
    before: dict[Point, Point | None] = field(default_factory=dict)

    def way(self, point: Point) -> list[Point]:
        """From the start to a point of the net."""
        out: list[Point] = []
        at: Point | None = point
        while at is not None:
            out.append(at)
            at = self.before[at]
        return out[::-1]


class Board:
    """A grid with boxes on it and the wires drawn so far."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.blocked: set[Point] = set()
        self.lying: dict[tuple[Point, bool], object] = {}  # (point, horizontal) -> the net that runs through
        self.turning: dict[Point, object] = {}  # corners, branches and ends

    def block(self, x: int, y: int, dx: int, dy: int) -> None:
        self.blocked.update((a, b) for a in range(x - dx, x + dx + 1) for b in range(y - dy, y + dy + 1))

    def free(self, point: Point, net: Net) -> bool:
        """Whether a wire may turn, branch or end here."""
        return (
            all(self.lying.get((point, h), net.key) is net.key for h in (True, False))
            and self.turning.get(point, net.key) is net.key
        )

    def connect(self, net: Net, goals: Goals, starts: dict[Point, int | None]) -> list[Point] | None:
        """The cheapest way to one of `goals`: (end point, the direction in which to arrive) -> a price of its own.

        starts : where the net may begin -> the direction in which it must leave; used while nothing of it is drawn.
        """
        heap: list[tuple[float, int, float, Point, int]] = []
        best: dict[tuple[Point, int], float] = {}
        back: dict[tuple[Point, int], tuple[Point, int] | None] = {}
        left, right = min(x for (x, _), _ in goals), max(x for (x, _), _ in goals)
        low, high = min(y for (_, y), _ in goals), max(y for (_, y), _ in goals)
        count = 0

        def far(p: Point) -> float:
            return max(left - p[0], 0, p[0] - right) + max(low - p[1], 0, p[1] - high)

        def offer(p: Point, d: int, price: float, origin: tuple[Point, int] | None) -> None:
            nonlocal count
            if price < best.get((p, d), 1e18):
                best[p, d] = price
                back[p, d] = origin
                count += 1
                heappush(heap, (price + far(p), count, price, p, d))

        if net.before:
            for p, q in net.before.items():
                if p in self.blocked or not self.free(p, net):
                    continue
                came = (
                    STEPS.index(((p[0] > q[0]) - (p[0] < q[0]), (p[1] > q[1]) - (p[1] < q[1])))
                    if q is not None
                    else None
                )
                for d in range(4):
                    if came is None or d != (came + 2) % 4:
                        offer(p, d, 0.0 if d == came else TURN * 0.5, None)
        else:
            for p, leave in starts.items():
                for d in range(4) if leave is None else (leave,):
                    offer(p, d, 0.0, None)
        while heap:
            _, _, price, p, d = heappop(heap)
            if price > best[p, d]:
                continue
            if (p, STEPS[d]) in goals and back[p, d] is not None:
                return self._draw(net, (p, d), back)
            if p in self.blocked and back[p, d] is not None and p not in net.before:
                continue  # a goal inside a box is an end, not a passage
            x, y = p[0] + STEPS[d][0], p[1] + STEPS[d][1]
            q = (x, y)
            if not (0 <= x < self.width and 0 <= y < self.height) or q in net.before:
                continue
            if q in self.blocked and (q, STEPS[d]) not in goals:
                continue
            flat = d % 2 == 0
            if self.lying.get((q, flat), None) is not None or q in self.turning:
                continue
            cost = price + 1.0 + goals.get((q, STEPS[d]), 0.0)
            crossing = self.lying.get((q, not flat)) is not None and (q, STEPS[d]) not in goals
            if crossing:
                cost += CROSS
            sides = STEPS[(d + 1) % 4], STEPS[(d + 3) % 4]
            for s in sides:
                if self.lying.get(((x + s[0], y + s[1]), flat), net.key) is not net.key:
                    cost += BESIDE
                elif (x + s[0], y + s[1]) in self.blocked:
                    cost += NEAR
            offer(q, d, cost, (p, d))
            if not crossing and q not in self.blocked:
                for turn in ((d + 1) % 4, (d + 3) % 4):
                    offer(q, turn, cost + TURN, (p, d))
        return None

    def _draw(
        self, net: Net, end: tuple[Point, int], back: dict[tuple[Point, int], tuple[Point, int] | None]
    ) -> list[Point]:
        states = [end]
        while (origin := back[states[-1]]) is not None:
            states.append(origin)
        path = [p for p, _ in reversed(states)]
        self.lay(net, path)
        return net.way(path[-1])

    def lay(self, net: Net, path: list[Point]) -> None:
        """Put a way on the board: its runs, its corners and its ends."""
        net.before.setdefault(path[0], None)
        for a, b in itertools.pairwise(path):
            net.before.setdefault(b, a)
            flat = a[1] == b[1]
            for p in (a, b):
                self.lying[p, flat] = net.key
        for a, b, c in zip(path, path[1:], path[2:], strict=False):
            if (b[0] - a[0], b[1] - a[1]) != (c[0] - b[0], c[1] - b[1]):
                self.turning[b] = net.key
        self.turning[path[0]] = self.turning[path[-1]] = net.key
