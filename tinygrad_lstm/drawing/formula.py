"""Equations as labels: members and times as subscripts, σ for sigmoid, × for pointwise products as in pictures."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from ..graph import Node, reachable
from ..notation import GREEK, Style, equations, expression, text_style
from .language import SIGNS, Markup, after, escaped
from .region import Region

_TOKEN = re.compile("\ue000(\\d+)\ue001")
_WORDS = re.compile(rf"(?<!\w)({'|'.join(word for word in SIGNS if word.isalpha())})\(")

_LETTERS = dict(zip(GREEK, "αβγδεζηθικλμνξπρστυφχψω", strict=True))


def whole(graph: Any, regions: dict[int, Region]) -> dict[int, Region]:
    """The regions that are written as one function: those with no quantity inside that the cell's author named."""
    named = {n.serial for n in graph.names.values()}
    return {last: r for last, r in regions.items() if not (r.inside - {last}) & named}


def quantities(graph: Any, regions: dict[int, Region]) -> list[tuple[str, Node]]:
    """(name, value) of every equation, as `print(cell)` has them but for what a region hides; then states that are
    another value."""
    named = {n.serial for n in [*graph.names.values(), *graph.new_states, graph.output]}
    hidden: set[int] = set()
    for last, region in whole(graph, regions).items():
        hidden |= region.inside - {last}
        readers = {n.serial for n in reachable(graph.roots) if any(a is region.entry for a in n.args)}
        if readers <= region.inside:
            hidden.add(region.entry.serial)
    lines = [(name.rstrip("'"), n) for name, n in equations(graph) if n.serial in named or n.serial not in hidden]
    own = {n.serial: name for name, n in lines}
    pairs = [(str(old.name), new) for old, new in zip(graph.states, graph.new_states, strict=True)]
    return lines + [(name, new) for name, new in pairs if own.get(new.serial) != name]


def formulas(
    graph: Any,
    wanted: list[tuple[str, Any]],
    regions: dict[int, Region],
    before: str = "t−1",
    now: str = "t",
    width: int = 92,
) -> list[Markup]:
    """One HTML-like label a line, for the named values `wanted` of a cell's graph; long equations take several lines.

    regions : written as one function each, unless the author named a part of it.
    """
    names: dict[int, str] = {}
    for name, n in quantities(graph, regions):
        if n.op is not None:
            names.setdefault(n.serial, name)
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

    def of(name: str, n: Node) -> str:
        return token(name, now if "batch" in (n.shape or ()) else "")

    short: dict[int, str] = {}  # by the last value of a region: its function

    def known(n: Node) -> str | None:
        return of(names[n.serial], n) if n.serial in names else short.get(n.serial)

    style = Style(leaf, text_style().number, False)
    for last, region in sorted(whole(graph, regions).items()):
        short[last] = f"{region.label}({expression(region.entry, style, known)[0]})"
    lines: list[Markup] = []
    for name, node in wanted:
        if name and names.get(node.serial, name) != name:  # a state that is another value
            right = of(names[node.serial], node)
        else:
            right = short.get(node.serial) or expression(node, style, known, top=True)[0]
        right = (
            right.replace(", axis=-1, keepdims=True", "")
            .replace(" @ ", " ")
            .replace(" * ", " × ")
            .replace("-", "−")
            .replace(" ** ", "^")
        )
        right = _WORDS.sub(lambda m: f"{SIGNS[m[1]]}(", right)
        for line in textwrap.wrap(
            f"{of(name, node)} = {right}",
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
        below = f'<sub><font point-size="9">{escaped(index)}</font></sub>{after(index)}' if index else ""
        out += [
            escaped(line[at : m.start()]) if m.start() > at else "",
            f"<i>{escaped(_LETTERS.get(name, name))}</i>{after(name)}{below}",
        ]
        at = m.end()
    out.append(escaped(line[at:]) if at < len(line) else "")
    return Markup("".join(out))
