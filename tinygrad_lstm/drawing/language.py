"""The picture language: what a shape and a colour mean, in one table for light and one for dark.

A `Sheet` collects shapes, wires and texts at positions of our own choosing and writes them as DOT: every position is
in the text (`layout=nop2`), so each Graphviz, the embedded one or any other, draws the same picture from it.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ArgumentError, message

FONT = "Helvetica"
LONGEST = 300  # characters of a label

# How signs of the table are set in a picture.
SIGNS = {
    "*": "×",
    "-": "−",
    "/": "÷",
    "**": "^",
    "sigmoid": "σ",
    "sqrt": "√",
    "<=": "≤",
    ">=": "≥",
    "!=": "≠",
    "==": "=",
}


@dataclass(frozen=True)
class Look:
    """How one kind of thing is drawn: the shape Graphviz knows it by, and its colours."""

    shape: str
    fill: str
    edge: str
    text: str
    meaning: str
    style: str = "filled"
    width: float = 1.0


LEARNED = "learned layer: weights times its inputs, a bias, then the function in the box"
POINTWISE = "pointwise operation: element by element, nothing to learn"


# fmt: off
def _looks(page: str, ink: str, faint: str, frame: str, frame_edge: str, layer: str, layer_edge: str,
           point: str, point_edge: str, given: str, given_edge: str,
           state: str, state_edge: str, weight: str, weight_edge: str) -> dict[str, Look]:
    return {
        "page":      Look("box", page, "none", ink, "the page"),
        "frame":     Look("box", frame, frame_edge, ink, "a step of a cell, a part of a model", "rounded,filled", 1.2),
        "layer":     Look("box", layer, layer_edge, ink, LEARNED, "rounded,filled", 1.2),
        "pointwise": Look("ellipse", point, point_edge, ink, POINTWISE, "filled", 1.2),
        "input":     Look("ellipse", given, given_edge, ink, "input of a step", "filled", 1.2),
        "output":    Look("ellipse", state, state_edge, ink, "output of a step", "filled", 1.2),
        "state":     Look("plaintext", page, "none", ink, "state: goes from step to step"),
        "parameter": Look("box", weight, weight_edge, ink, "parameter: learned, the same at every step", "filled", 1.2),
        "value":     Look("box", page, faint, ink, "value in between", "rounded,filled", 1.0),
        "fold":      Look("box3d", frame, frame_edge, ink, "steps folded into one", "filled", 1.0),
        "text":      Look("plaintext", page, "none", ink, "text"),
        "faint":     Look("plaintext", page, "none", faint, "text of less weight"),
    }


LIGHT = _looks("#ffffff", "#1d1d1f", "#6e6e73", "#eaf4e6", "#8db580", "#ffe487", "#b58900", "#fbc4d0", "#b3546c",
               "#cfe6fb", "#4a86b8", "#e3d6f7", "#8562b5", "#f1ede4", "#9a8f7a")
DARK = _looks("#17181c", "#f0f0f2", "#9a9aa2", "#1f2b24", "#5c8a5c", "#6b5500", "#d9b33c", "#70293d", "#e88aa0",
              "#1c4363", "#79b4e6", "#43306b", "#b99bea", "#3a362d", "#a89c85")
# fmt: on
THEMES = {"light": LIGHT, "dark": DARK}
WIRE = {"light": "#2b2b2f", "dark": "#d8d8dd"}
LIT = {"light": "#c2410c", "dark": "#ff9a52"}


def theme_of(name: str) -> str:
    if name not in THEMES:
        raise ArgumentError(message("draw", f"there is no theme {name!r}", remedy=f"it has: {', '.join(THEMES)}"))
    return name


def mix(colour: str, other: str, share: float) -> str:
    """`colour` with `share` of `other` in it."""
    if not (colour.startswith("#") and other.startswith("#")):
        return colour
    a, b = (tuple(int(c[k : k + 2], 16) for k in (1, 3, 5)) for c in (colour, other))
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in zip(a, b, strict=True))


# --------------------------------------------------------------------------------------------------------------- labels
def plain(text: Any, longest: int = LONGEST) -> str:
    """Any text on one line, without characters that no font or file format has, cut to `longest` characters."""
    text = "".join(c if c.isprintable() else " " for c in str(text)[: longest + 1])
    return text if len(text) <= longest else text[: longest - 1] + "…"


_DOTS_OWN = re.compile(r"\\(?=[NGETHLlrn])")


class Markup(str):
    """An HTML-like label of DOT, without its outer brackets. Any other label is text, whatever it looks like."""


def escaped(text: Any) -> str:
    """Any text as part of Markup. DOT reads its own names in it (\\N, \\G): a space of no width takes them apart."""
    return _DOTS_OWN.sub("\\\\\u200b", html.escape(plain(text), quote=True))


def indexed(name: str, index: str = "") -> Markup:
    """A quantity as an HTML-like label: its name in italics, its time as a subscript."""
    size = 9
    below = f'<sub><font point-size="{size}">{escaped(index)}</font></sub>{after(index)}' if index else ""
    return Markup(f"<i>{escaped(name)}</i>{after(name) if index else ''}{below}")


def sign(symbol: str) -> str:
    return SIGNS.get(symbol, symbol)


def quoted(label: str) -> str:
    """A label as DOT: Markup in brackets, any other text escaped."""
    if isinstance(label, Markup):
        return f"<{label}>"
    return '"' + label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def attributes(facts: dict[str, Any]) -> str:
    return ", ".join(f"{k}={quoted(v) if isinstance(v, str) else f'{v:g}'}" for k, v in facts.items() if v is not None)


# ---------------------------------------------------------------------------------------------------------------- sheet
Point = tuple[float, float]


def wide(letter: str) -> bool:
    """Whether a letter is as wide as it is high (Chinese, Japanese, Korean, emoji)."""
    return unicodedata.east_asian_width(letter) in "WF"


def extent(text: str) -> float:
    """About how long a line is, in heights of its font."""
    return sum(1.05 if wide(c) else 0.5 for c in text)


def letters(text: str) -> float:
    """How many letters of common width are as long as a text."""
    return 2 * extent(text)


def fitted(text: Any, longest: int) -> str:
    """Any text on one line, cut to the length of `longest` letters of common width."""
    text = plain(text, longest)
    if not any(map(wide, text)) or letters(text) <= longest + 1:
        return text
    end = len(text)
    while end > 1 and letters(text[:end]) > longest - 1:
        end -= 1
    return text[:end].removesuffix("…") + "…"


def after(text: str) -> str:
    """Room behind wide letters: Graphviz takes them for 5/6 of their width, and would print on the last one."""
    return " " * round(0.6 * sum(map(wide, text)))


@dataclass
class Sheet:
    """Shapes, wires and texts with their places, in points; x to the right, y down."""

    title: str
    theme: str = "light"
    lines: list[str] = field(default_factory=list)
    faint: list[str] = field(default_factory=list)  # drawn under the other wires
    wires: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)  # (tail, head) of every wire
    left: float = 1e9
    right: float = -1e9
    top: float = 1e9
    bottom: float = -1e9

    def look(self, kind: str) -> Look:
        return THEMES[self.theme][kind]

    @property
    def page(self) -> str:
        return THEMES[self.theme]["page"].fill

    def cover(self, x: float, y: float, width: float, height: float) -> None:
        self.left, self.right = min(self.left, x - width / 2), max(self.right, x + width / 2)
        self.top, self.bottom = min(self.top, y - height / 2), max(self.bottom, y + height / 2)

    def shape(self, kind: str, key: str, x: float, y: float, width: float, height: float, label: str = "", *,
              tip: str = "", size: float = 14, faded: bool = False, lit: bool = False) -> None:  # fmt: skip
        """One thing of the picture language, its middle at (x, y)."""
        look, page = self.look(kind), self.page
        fade = 0.72 if faded else 0.0
        outline = LIT[self.theme] if lit else look.edge
        self.cover(x, y, width, height)
        facts: dict[str, Any] = {
            "label": label, "pos": f"{x:.2f},{-y:.2f}", "width": round(width / 72, 4), "height": round(height / 72, 4),
            "shape": look.shape, "style": look.style, "fillcolor": mix(look.fill, page, fade),
            "color": mix(outline, page, fade),
            "penwidth": 2.0 if lit else look.width,
            "fontcolor": mix(look.text, page, fade), "fontsize": size, "tooltip": plain(tip) or None,
        }  # fmt: skip
        if look.shape == "plaintext":
            facts = {k: v for k, v in facts.items() if k not in ("style", "fillcolor", "color", "penwidth")}
        self.lines.append(f"  {quoted(plain(key))} [{attributes(facts)}]")

    def text(
        self, key: str, x: float, y: float, label: str, *, size: float = 12, kind: str = "text", faded: bool = False
    ) -> None:
        length = 1.12 * size * extent(html.unescape(_without_tags(label)))
        self.shape(kind, key, x, y, max(10.0, length), size * 1.3, label, size=size, faded=faded)

    def wire(
        self,
        tail: str,
        head: str,
        points: Sequence[Point],
        *,
        arrow: bool = True,
        faded: bool = False,
        lit: bool = False,
        tip: str = "",
    ) -> None:
        """A line along `points` with round corners, an arrowhead at its end."""
        colour = LIT[self.theme] if lit else WIRE[self.theme]
        facts = {
            "pos": bezier(points, arrow), "color": mix(colour, self.page, 0.78 if faded else 0.0),
            "penwidth": 2.0 if lit else 1.4,
            "arrowhead": None if arrow else "none", "arrowsize": 0.6, "tooltip": plain(tip) or None,
        }  # fmt: skip
        self.links.append((tail, head))
        line = f"  {quoted(plain(tail))} -> {quoted(plain(head))} [{attributes(facts)}]"
        if faded:
            self.faint.append(line)
        else:
            self.wires.append(line)

    def line(self, key: str, left: float, y: float, label: str, *, size: float = 14, width: float = 0) -> None:
        """A line of text that begins at `left`, in a space of at least `width`."""
        width = max(width, extent(html.unescape(_without_tags(label))) * size + 4)
        table = f'table border="0" cellborder="0" cellspacing="0" cellpadding="0" width="{width:.0f}"'
        cell = Markup(f'<{table}><tr><td align="left">{label}</td></tr></table>')
        self.shape("text", key, left + width / 2, y, width, size * 1.3, cell, size=size)

    def dot(self) -> str:
        head = attributes(
            {"layout": "nop2", "bgcolor": self.page, "fontname": FONT, "outputorder": "nodesfirst", "pad": 0.12}
        )
        node = attributes({"fontname": FONT, "fixedsize": "true", "margin": "0"})
        body = "\n".join([*self.lines, *self.faint, *self.wires])
        settings = f"  graph [{head}]\n  node [{node}]\n  edge [fontname={FONT}]"
        return f"digraph {quoted(plain(self.title))} {{\n{settings}\n{body}\n}}\n"


def _without_tags(label: str) -> str:
    out, inside = [], False
    for c in label:
        inside = True if c == "<" else inside
        if not inside:
            out.append(c)
        inside = False if c == ">" else inside
    return "".join(out)


def straightened(points: Iterable[Point]) -> list[Point]:
    """The corners of a line: points in the middle of a straight run are left out."""
    out: list[Point] = []
    for p in points:
        if out and abs(p[0] - out[-1][0]) + abs(p[1] - out[-1][1]) < 1e-9:
            continue
        if len(out) > 1:
            (ax, ay), (bx, by) = out[-2], out[-1]
            if (
                abs((bx - ax) * (p[1] - by) - (by - ay) * (p[0] - bx)) < 1e-9
                and (bx - ax) * (p[0] - bx) + (by - ay) * (p[1] - by) >= 0
            ):
                out[-1] = p
                continue
        out.append(p)
    return out


HEAD = 6.0  # length of an arrowhead


def bezier(points: Sequence[Point], arrow: bool, radius: float = 8.0) -> str:
    """Corners -> the `pos` of a DOT edge: cubic pieces, corners rounded, the end kept free for the arrowhead."""
    corners = straightened(points)
    end = corners[-1]
    if arrow:
        (ax, ay), (bx, by) = corners[-2], corners[-1]
        length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5 or 1.0
        cut = min(HEAD, 0.9 * length)
        corners[-1] = (bx - (bx - ax) / length * cut, by - (by - ay) / length * cut)
    pieces = [corners[0]]

    def straight(q: Point) -> None:
        p = pieces[-1]
        pieces.extend(
            [
                (p[0] + (q[0] - p[0]) / 3, p[1] + (q[1] - p[1]) / 3),
                (p[0] + (q[0] - p[0]) * 2 / 3, p[1] + (q[1] - p[1]) * 2 / 3),
                q,
            ]
        )

    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        r = min(radius, _distance(before, corner) / 2, _distance(corner, after) / 2)
        start, stop = _towards(corner, before, r), _towards(corner, after, r)
        straight(start)
        pieces.extend([_towards(corner, before, r * 0.45), _towards(corner, after, r * 0.45), stop])
    straight(corners[-1])
    text = " ".join(f"{x:.2f},{-y:.2f}" for x, y in pieces)
    return f"e,{end[0]:.2f},{-end[1]:.2f} {text}" if arrow else text


def _distance(a: Point, b: Point) -> float:
    return ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5


def _towards(a: Point, b: Point, length: float) -> Point:
    d = _distance(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * length / d, a[1] + (b[1] - a[1]) * length / d
