"""Parts of a graph that are a function with a name of its own: layer normalisation, softmax. Drawn as one sign.

A part is taken for one only when its operations are exactly that function's and nothing outside reads what lies
between: a picture that says softmax is to show a softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..graph import Node


@dataclass(frozen=True)
class Region:
    """What lies between `entry` and the last value; `inside` are serials, the last one's among them."""

    entry: Node
    inside: frozenset[int]
    label: str


def find(order: Sequence[Node], users: dict[int, list[Node]], exits: set[int]) -> dict[int, Region]:
    """The last value of every region -> the region.

    order : nodes, arguments first. users : who reads a node. exits : serials of nodes that are read from outside.
    """
    found: dict[int, Region] = {}
    for n in order:
        for label, read in (("softmax", _softmax), ("norm", _norm)):
            match = read(n)
            if match is None:
                continue
            entry, between = match
            inside = frozenset(b.serial for b in between)
            hidden = inside - {n.serial}
            if not hidden & exits and all(u.serial in inside for s in hidden for u in users[s]):
                found[n.serial] = Region(entry, inside, label)
    return found


def _softmax(n: Node) -> tuple[Node, list[Node]] | None:
    """exp(q) / sum(exp(q)), or the same of q - max(q): what is read, and the operations, the last one first."""
    if (
        not _is(n, "div")
        or not _row(n.args[1], "sum")
        or n.args[1].args[0] is not n.args[0]
        or not _is(n.args[0], "exp")
    ):
        return None
    power, total = n.args
    shifted = power.args[0]
    if _is(shifted, "sub"):
        q, top = shifted.args
        most = top.args[0] if _is(top, "detach") else top
        if _row(most, "max") and most.args[0] is q:
            return q, list({b.serial: b for b in (n, total, power, shifted, top, most)}.values())
    return (shifted, [n, total, power]) if isinstance(shifted, Node) else None


def _norm(n: Node) -> tuple[Node, list[Node]] | None:
    """(q - mean(q)) / sqrt(mean((q - mean(q))²) + a small number), of Ba, Kiros & Hinton 2016."""
    if not _is(n, "div") or not _is(n.args[0], "sub") or not _is(n.args[1], "sqrt"):
        return None
    centred, root = n.args
    q, centre = centred.args
    shifted = root.args[0]
    if not _row(centre, "mean") or centre.args[0] is not q or not _is(shifted, "add"):
        return None
    variance, small = shifted.args if isinstance(shifted.args[0], Node) else reversed(shifted.args)
    if isinstance(small, Node) or not 0 <= small <= 0.01 or not _row(variance, "mean"):
        return None
    square = variance.args[0]
    if not _is(square, "mul", "square", "pow") or square.args[0] is not centred:
        return None
    if not (_is(square, "square") or (square.args[1] is centred if _is(square, "mul") else _equals(square.args[1], 2))):
        return None
    return q, [n, root, shifted, variance, square, centred, centre]


def _is(value: Any, *names: str) -> bool:
    return isinstance(value, Node) and value.op is not None and value.op.name in names


def _row(value: Any, name: str) -> bool:
    """Whether a value is this reduction of rows."""
    return _is(value, name) and value.attr.get("axis") in (-1, (-1,)) and value.attr.get("keepdims") is True


def _equals(value: Any, number: float) -> bool:
    return not isinstance(value, Node) and bool(value == number)
