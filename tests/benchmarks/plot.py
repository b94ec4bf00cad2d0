"""One picture of a run: how many times ours every competitor takes, and how costs grow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import geometric_mean
from typing import Any
from xml.sax.saxutils import escape

from . import OURS, show
from .layers import PRODUCT
from .report import Run, ratio

INK, PALE, GRID = "#222222", "#666666", "#dddddd"
COLOURS = {  # by how a name begins; Okabe & Ito 2008: told apart by everybody
    OURS: INK, "torch,": "#e69f00", "torch": "#d55e00", "jax": "#0072b2", "ONNX": "#009e73", "NumPy": "#cc79a7",
    "HIPS": "#56b4e9", "": PALE,
}  # fmt: skip
WIDTH, LEFT, RIGHT, LINE = 900, 340, 30, 20  # a label has at most 46 letters, of 7 points


def svg(run: Run) -> str:
    """The suites below one another."""
    parts: list[str] = []
    y = 20.0
    for suite in run["suites"].values():
        results = [r for r in suite["results"] if r["title"] != PRODUCT]
        if any("axis" in r["facts"] for r in results):
            part, height = _growth(suite["title"], results, y)
        elif any(r["values"].keys() > {OURS} for r in results if OURS in r["values"]):
            part, height = _ratios(suite["title"], results, y)
        else:
            continue
        parts += part
        y += height + 30
    style = "font-family: system-ui, sans-serif; font-size: 12px"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}" height="{y:.0f}" style="{style}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{y:.0f}" fill="white"/>', *parts, "</svg>"]) + "\n"


# -------------------------------------------------------------------------------------------------------------- pieces
def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = INK, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str = GRID, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width}"/>'


def _dot(x: float, y: float, colour: str, title: str, diamond: bool = False) -> str:
    shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"' if not diamond else f'<path d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"'
    return f'{shape} fill="{colour}" stroke="white"><title>{escape(title)}</title>{"</path>" if diamond else "</circle>"}'


def _colour(name: str) -> str:
    return next(colour for start, colour in COLOURS.items() if name.startswith(start))


def _heading(title: str, names: Sequence[str], y: float) -> list[str]:
    """The title and, below it, which colour is whose."""
    parts, x = [_text(20, y, title, weight="bold")], 26.0
    for name in names:
        parts += [_dot(x, y + 18, _colour(name), name), _text(x + 10, y + 22, name, fill=PALE)]
        x += 30 + 6.6 * len(name)
    return parts


# -------------------------------------------------------------------------------------------------------------- panels
def _ratios(title: str, results: Sequence[Mapping[str, Any]], y: float) -> tuple[list[str], float]:
    """A row for each case, a dot for each competitor, on a logarithmic axis; right of the line ours takes less."""
    rows = [(r["title"], {n: x for n in r["competitors"] if n != OURS and (x := ratio(r, n)) is not None}, r) for r in results]
    names = list(dict.fromkeys(n for _, dots, _ in rows for n in dots))
    every = [x for _, dots, _ in rows for x in dots.values()]
    low, high = math.floor(min(0.0, *map(math.log2, every))), math.ceil(max(1.0, *map(math.log2, every)))
    place = lambda v: LEFT + (math.log2(v) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    same = [r for r in rows if r[1].keys() == rows[-1][1].keys()]
    parts = _heading(title, names, y)
    top = y + 40
    bottom = top + LINE * (len(rows) + (len(same) > 1))
    step = 1 if high - low <= 10 else 2
    for k in range(low, high + 1, step):
        x = place(2.0**k)
        parts += [_line(x, top, x, bottom, INK if k == 0 else GRID), _text(x, bottom + 15, f"{2.0**k:g}", "middle", PALE)]
    parts.append(_text(WIDTH - RIGHT, bottom + 30, "times ours: what the others take, ours being 1", "end", PALE))
    for k, (label, dots, _) in enumerate(rows):
        at = top + LINE * (k + 0.5)
        parts.append(_text(LEFT - 12, at + 4, label if len(label) < 46 else label[:44] + "…", "end"))
        for name, value in dots.items():
            parts.append(_dot(place(value), at, _colour(name), f"{label}, {name}: {value:.2f} times ours"))
    if len(same) > 1:
        at = top + LINE * (len(rows) + 0.5)
        parts.append(_text(LEFT - 12, at + 4, "geometric mean", "end", weight="bold"))
        for name in same[-1][1]:
            mean = geometric_mean(dots[name] for _, dots, _ in same)
            parts.append(_dot(place(mean), at, _colour(name), f"{name}: {mean:.2f} times ours", diamond=True))
    return parts, bottom + 35 - y


def _growth(title: str, results: Sequence[Mapping[str, Any]], y: float) -> tuple[list[str], float]:
    """Cost against T, B and H, both axes logarithmic, side by side."""
    axes = list(dict.fromkeys(r["facts"]["axis"] for r in results))
    names = list(dict.fromkeys(n for r in results for n in r["values"]))
    parts = _heading(title, names, y)
    room = (WIDTH - 40) / len(axes)
    top, bottom = y + 45, y + 245
    for k, axis in enumerate(axes):
        some = [r for r in results if r["facts"]["axis"] == axis and r["values"]]
        if some:
            box = (20 + room * k + 50, top, 20 + room * (k + 1) - 15, bottom)
            parts += _curves(f"{axis}: {KINDS.get(axis, '')}", some, box)
    return parts, bottom + 40 - y


def _curves(label: str, results: Sequence[Mapping[str, Any]], box: tuple[float, ...]) -> list[str]:
    left, top, right, bottom = box
    at = [r["facts"]["at"] for r in results]
    costs = [v["median"] for r in results for v in r["values"].values()]
    x0, x1 = math.log10(min(at)), math.log10(max(at))
    y0, y1 = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))

    def across(value: float) -> float:
        return left + (math.log10(value) - x0) / max(x1 - x0, 1e-9) * (right - left)

    def up(value: float) -> float:
        return bottom - (math.log10(value) - y0) / max(y1 - y0, 1) * (bottom - top)

    parts = []
    for power in range(y0, y1 + 1):
        y = up(10.0**power)
        tick = show(10.0**power).replace(".00", "").replace(".0", "")
        parts += [_line(left, y, right, y), _text(left - 6, y + 4, tick, "end", PALE)]
    for value in sorted(set(at))[:: max(1, len(set(at)) // 4)]:
        parts.append(_text(across(value), bottom + 16, str(value), "middle", PALE))
    parts.append(_text((left + right) / 2, bottom + 34, label, "middle"))
    for name in dict.fromkeys(n for r in results for n in r["values"]):
        ran = [(r, r["values"][name]["median"]) for r in results if name in r["values"]]
        places = [(across(r["facts"]["at"]), up(cost)) for r, cost in ran]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(name)}" stroke-width="1.5"/>')
        parts += [_dot(*xy, _colour(name), f"{r['title']}, {name}: {show(c)}") for xy, (r, c) in zip(places, ran, strict=True)]
    return parts


KINDS = {"T": "steps", "B": "samples", "H": "units"}
