"""Places for graphs too big for Graphviz's own layout: one pass, columns by depth, rows near what is read.

Graphviz takes 11 s for a thousand values and more than a minute for two thousand; this takes time linear in the graph,
and the picture is as good as such a picture can be.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Value

WIDE, TALL = 150.0, 54.0  # a box
FAR, SLOT = 196.0, 64.0  # from column to column, from row to row


def layers(values: Sequence[Value]) -> dict[int, tuple[float, float]]:
    """The middle of every value's box, by id; arguments stand to the left of what reads them."""
    shown = {id(v) for v in values}
    rank: dict[int, int] = {}
    first: dict[int, int] = {}  # where a leaf is read first
    for v in values:  # arguments come first
        if v.op is not None:
            rank[id(v)] = 1 + max((rank[id(a)] for a in v.args if isinstance(a, Value) and id(a) in rank), default=0)
            for a in v.args:
                if isinstance(a, Value) and a.op is None and id(a) in shown:
                    first[id(a)] = min(first.get(id(a), 1 << 60), rank[id(v)])
    for v in values:
        if v.op is None:
            rank[id(v)] = first.get(id(v), 1) - 1
    columns: dict[int, list[Value]] = {}
    for v in values:
        columns.setdefault(rank[id(v)], []).append(v)
    places: dict[int, tuple[float, float]] = {}
    for r in sorted(columns):
        wished = []
        for k, v in enumerate(columns[r]):
            above = [places[id(a)][1] for a in v.args if isinstance(a, Value) and id(a) in places and a.op is not None]
            wished.append((sum(above) / len(above) if above else SLOT * k, k, v))
        wished.sort(key=lambda w: w[:2])
        middle = sum(w[0] for w in wished) / len(wished)
        low = -1e18
        rows = []
        for y, _, _ in wished:
            low = max(y, low + SLOT)
            rows.append(low)
        shift = middle - sum(rows) / len(rows)
        for (_, _, v), y in zip(wished, rows, strict=True):
            places[id(v)] = (r * FAR, y + shift)
    return places
