"""A line chart as SVG text, so that a plain install has one: lines, dots, levels, labels clear of each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

Series = tuple[Sequence[float], Sequence[float]]
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 592, 60, 354  # of the plot; labels of the series stand to the right of it
COLOURS = ("#4063d8", "#cb3c33", "#389826", "#9558b2")
STYLE = """
svg { background: #ffffff; font: 12px Helvetica, Arial, sans-serif; }
text { fill: #333333; } .title { font-size: 16px; font-weight: bold; } .name { font-weight: bold; }
.grid { stroke: #e6e6e6; } .axis { stroke: #888888; } .level { stroke: #888888; stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
svg { background: #16181d; } text { fill: #d8dae0; } .grid { stroke: #2c3038; }
}"""


def line_chart(
    title: str,
    lines: Mapping[str, Series],
    points: Mapping[str, Series] | None = None,
    levels: Mapping[str, float] | None = None,
    x_label: str = "",
    y_label: str = "",
) -> str:
    """SVG of one plot; x begins at 0.

    Parameters
    ----------
    lines : name -> (x, y), drawn through. points : name -> (x, y), drawn as dots. levels : name -> y, across the plot.

    Notes
    -----
    A line of more than 600 points becomes the means of 600 equal pieces. Colours follow the reader's choice of dark or
    light (`prefers-color-scheme`).
    """
    points, levels = dict(points or {}), dict(levels or {})
    series = {name: (np.asarray(x, float), np.asarray(y, float)) for name, (x, y) in {**lines, **points}.items()}
    every_y = np.concatenate([*(y for _, y in series.values()), np.array(list(levels.values()), float)])
    every_y = every_y[np.isfinite(every_y)] if np.isfinite(every_y).any() else np.array([0.0, 1.0])
    right = max([1.0, *(float(x.max()) for x, _ in series.values() if len(x))])
    y_ticks = _ticks(float(every_y.min()), float(every_y.max()))

    def at_x(x: float) -> float:
        return round(LEFT + x / right * (RIGHT - LEFT), 1)

    def at_y(y: float) -> float:
        return round(BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (BOTTOM - TOP), 1)

    out = [_text(title, LEFT, 24, "title"), _text(y_label, LEFT, 42), _text(x_label, RIGHT, HEIGHT - 10, anchor="end")]
    for tick in y_ticks:
        out.append(_rule("grid", LEFT, at_y(tick), RIGHT, at_y(tick)))
        out.append(_text(f"{tick:g}", LEFT - 8, at_y(tick) + 4, "tick", "end"))
    for tick in (t for t in _ticks(0.0, right) if t <= right):
        out.append(_rule("axis", at_x(tick), BOTTOM, at_x(tick), BOTTOM + 4))
        out.append(_text(f"{tick:g}", at_x(tick), BOTTOM + 18, "tick", "middle"))
    out.append(_rule("axis", LEFT, BOTTOM, RIGHT, BOTTOM))

    labels = [(at_y(y), f"{name} {y:.2f}", "") for name, y in levels.items()]
    out += [_rule("level", LEFT, at_y(y), RIGHT, at_y(y)) for y in levels.values()]
    for k, (name, (x, y)) in enumerate(series.items()):
        colour = COLOURS[k % len(COLOURS)]
        if name in lines:
            x, y = _thinned(x, y)
        places = [(at_x(a), at_y(b)) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
        if name in lines:
            path = " ".join(f"{a},{b}" for a, b in places)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        else:
            out += [f'<circle cx="{a}" cy="{b}" r="4" fill="{colour}"/>' for a, b in places]
        if places:
            labels.append((places[-1][1], f"{name} {y[np.isfinite(y)][-1]:.2f}", colour))
    out += [_text(text, RIGHT + 8, where + 4, "name", colour=colour) for where, text, colour in _apart(labels)]
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{escape(title)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>\n<style>{STYLE}\n</style>\n' + "\n".join(out) + "\n</svg>\n"
    )


def _text(text: str, x: float, y: float, kind: str = "tick", anchor: str = "start", colour: str = "") -> str:
    paint = f' style="fill:{colour}"' if colour else ""
    return f'<text class="{kind}" x="{x}" y="{round(y, 1)}" text-anchor="{anchor}"{paint}>{escape(text)}</text>'


def _rule(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`."""
    span = max(high - low, 1e-9)
    unit = 10 ** math.floor(math.log10(span / about))
    step = unit * next(m for m in (1, 2, 2.5, 5, 10) if span / (unit * m) <= about + 1)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


def _thinned(x: np.ndarray, y: np.ndarray, most: int = 600) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= most:
        return x, y
    edges = np.linspace(0, len(x), most + 1).astype(int)
    counts = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / counts, np.add.reduceat(y, edges[:-1]) / counts


def _apart(labels: list[tuple[float, str, str]], least: float = 15.0) -> list[tuple[float, str, str]]:
    """The labels from above, each pushed down until clear of the one over it; all lifted if the last falls out."""
    placed: list[tuple[float, str, str]] = []
    for where, text, colour in sorted(labels):
        placed.append((max(where, placed[-1][0] + least) if placed else where, text, colour))
    over = max(0.0, placed[-1][0] - BOTTOM) if placed else 0.0
    return [(where - over, text, colour) for where, text, colour in placed]
