"""Equations as labels: members and times as subscripts, σ for sigmoid, × for pointwise products as in pictures."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from ..graph import Node
from ..notation import GREEK, Style, expression
from .language import SIGNS, Markup, escaped
from .region import Region

_TOKEN = re.compile("\ue000(\\d+)\ue001")


_LETTERS = dict(zip(GREEK, "αβγδεζηθικλμνξπρστυφχψω", strict=True))


def formulas(
    graph: Any,
    wanted: list[tuple[str, Any]],
    regions: dict[int, Region],
    before: str = "t−1",
    now: str = "t",
    width: int = 92,
) -> list[Markup]:
    """One HTML-like label a line, for the named values `wanted` of a cell's graph; long equations take several lines.

    regions : written as one function each.
    """
    names: dict[int, str] = {}
    for name, n in graph.names.items():
        if n.op is not None:
            names.setdefault(n.serial, name)
    for old, new in zip(graph.states, graph.new_states, strict=True):
        if new.op is not None:
            names[new.serial] = str(old.name)
    olds, inputs = {n.serial for n in graph.states}, {n.serial for n in graph.inputs}
    written: list[tuple[str, str]] = []  # (name, subscript) of each token

    def token(name: str, index: str) -> str:
        if (name, index) not in written:
            written.append((name, index))
        return f"\ue000{written.index((name, index))}\ue001"

    def leaf(n: Node) -> str:
        if n.serial in olds:
            return token(str(n.name), before)
        if n.serial in inputs:
            return token(str(n.name), now)
        family, _, member = str(n.name).partition(".")
        return token(family, member)

    def known(n: Node) -> str | None:
        if n.serial in names:
            return token(names[n.serial], now)
        if n.serial in regions:
            region = regions[n.serial]
            return f"{region.label}({expression(region.entry, style, known)[0]})"
        return None

    style = Style(leaf, lambda v: f"{v:g}" if isinstance(v, float) else str(v), False)
    lines: list[Markup] = []
    for name, node in wanted:
        right = expression(node, style, known, top=True)[0]
        right = (
            right.replace(", axis=-1, keepdims=True", "")
            .replace(" @ ", " ")
            .replace(" * ", " × ")
            .replace("-", "−")
            .replace(" ** ", "^")
        )
        for word, sign in SIGNS.items():
            if word.isalpha():
                right = right.replace(f"{word}(", f"{sign}(")
        whole = f"{token(name, now)} = {right}"
        for line in textwrap.wrap(
            whole,
            width,
            subsequent_indent="        ",
            break_long_words=False,
            drop_whitespace=True,
            max_lines=4,
            placeholder=" …",
        ):
            lines.append(_expanded(line, written))
    return lines


def _expanded(line: str, written: list[tuple[str, str]]) -> Markup:
    out, at = [], 0
    for m in _TOKEN.finditer(line):
        name, index = written[int(m.group(1))]
        below = f'<sub><font point-size="9">{escaped(index)}</font></sub>' if index else ""
        out += [
            escaped(line[at : m.start()]) if m.start() > at else "",
            f"<i>{escaped(_LETTERS.get(name, name))}</i>{below}",
        ]
        at = m.end()
    out.append(escaped(line[at:]) if at < len(line) else "")
    return Markup("".join(out))
