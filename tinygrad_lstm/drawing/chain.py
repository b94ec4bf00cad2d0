"""A cell over time, drawn coarsely: the network with its loop, and the chain of equal steps that it unrolls to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .block import output_name
from .language import Sheet, fitted, indexed, letters
from .memory import END, Memory, end, end_label

BOX, TALL, GAP = 84.0, 58.0, 46.0  # a step, and the room between two
LONGEST = 24  # letters of a cell's name
MOST = 12  # steps drawn one by one


def rolled(cell: Any, sheet: Sheet) -> None:
    """One step, its inputs below, its output above, and a loop for every state."""
    states = [str(n.name) for n in cell.graph.states]
    tall = max(TALL, 30.0 + 22.0 * len(states))
    box = _wide(cell)
    sheet.shape("frame", "step", 0, 0, box, tall, fitted(cell.name, LONGEST), size=_size(cell.name))
    _ends(cell, sheet, 0.0, tall, "step", "", "t")
    for k, name in enumerate(states):
        y, x = 10.0 + 9.0 * (len(states) - 1 - k), box / 2 + 30.0 + 26.0 * (len(states) - 1 - k)
        sheet.wire("step", "step", [(box / 2, -y), (x, -y), (x, y), (box / 2, y)], tip=f"{name} goes to the next step")
        sheet.text(f"loop {name}", x + _beside(name) - 2, 0, indexed(fitted(name, 8)), size=14, kind="state")


def unrolled(cell: Any, sheet: Sheet, steps: int, memory: Memory | None = None) -> list[tuple[int, bool]]:
    """`steps` equal steps from left to right; the states go from each to the next. `memory`: the middle one in full.

    Returns the steps that are drawn, each with whether it is drawn in full.
    """
    states = [str(n.name) for n in cell.graph.states]
    shown: list[int | None] = list(range(steps)) if steps <= MOST else [0, 1, 2, None, steps - 2, steps - 1]
    times = [t for t in shown if t is not None]
    middle = times[len(times) // 2] if memory is not None else -1
    if memory is not None:
        tall = memory.spot((0, memory.height - 3))[1] - memory.spot((0, 2))[1]
        level = [memory.spot((0, memory.levels[k]))[1] - memory.spot((0, 2))[1] - tall / 2 for k in range(len(states))]
    else:
        tall = max(TALL, 26.0 + 22.0 * len(states))
        level = [22.0 * (k - (len(states) - 1) / 2) for k in reversed(range(len(states)))]
    x = 0.0
    before = [f"old {n}" for n in states]
    for k, n in enumerate(states):
        sheet.text(before[k], x - _beside(n), level[k], indexed(fitted(n, 8), "−1"), size=14, kind="state")
    begin = [x] * len(states)
    for place, t in enumerate(shown):
        last = place == len(shown) - 1
        if t is not None and t == middle and memory is not None:
            rim = memory.spot((3, 0))[0]
            left = x + GAP - 10 - rim
            for k, n in enumerate(states):  # the wire from before ends where the block's own begins
                sheet.wire(before[k], f"{t} step", [(begin[k], level[k]), (left + 1, level[k])], arrow=False, tip=n)
            memory.draw(
                sheet,
                left,
                -memory.spot((0, 2))[1] - tall / 2,
                before=str(t - 1),
                now=str(t),
                key=f"{t} ",
                arriving=False,
                leaving=last,
            )
            for p in memory.block.states:
                sheet.shape("faint", memory.keys[id(p)], left, level[memory.block.states.index(p)], 1, 1)
            x = left + memory.size[0] - (rim if not last else 0)
            before = [f"{t} new {n}" for n in states]
            begin = [left + memory.size[0]] * len(states)
            if last:
                break
            continue
        wide = 30.0 if t is None else _wide(cell)
        centre = x + GAP + wide / 2
        key = "more" if t is None else f"{t} step"
        if t is None:
            sheet.text(key, centre, 0, "…", size=24, kind="faint")
        else:
            sheet.shape("frame", key, centre, 0, wide, tall, fitted(cell.name, LONGEST), size=_size(cell.name))
            _ends(cell, sheet, centre, tall, key, f"{t} ", str(t))
        for k, n in enumerate(states):
            sheet.wire(before[k], key, [(begin[k], level[k]), (centre - wide / 2, level[k])], tip=n)
        x = centre + wide / 2
        before, begin = [key] * len(states), [x] * len(states)
    drawn = [(t, t == middle) for t in times]
    if drawn[-1][1]:  # in full: it has the ends of its own states
        return drawn
    for k, n in enumerate(states):
        sheet.text(
            f"new {n}",
            x + GAP - 12 + _beside(n),
            level[k],
            indexed(fitted(n, 8), str(steps - 1)),
            size=14,
            kind="state",
        )
        sheet.wire(before[k], f"new {n}", [(begin[k], level[k]), (x + GAP - 12, level[k])], tip=n)
    return drawn


def _beside(name: str) -> float:
    """From the end of a wire to the middle of the name of a state."""
    return 10 + 4 * min(letters(name), 8)


def _size(name: str) -> float:
    """Smaller letters for a longer name."""
    return 15 if letters(name) < 8 else 12


def _wide(cell: Any) -> float:
    """The width of a step: its name stands in it, and it stands on all of its inputs."""
    name, inputs = str(cell.name), [str(n.name) for n in cell.graph.inputs]
    return max(BOX, 20 + 0.52 * _size(name) * letters(fitted(name, LONGEST)), 30 + (len(inputs) - 1) * _apart(inputs))


def _apart(inputs: Sequence[str]) -> float:
    """From the middle of an input to that of the next."""
    return max(map(end, inputs), default=0.0) + 5


def _ends(cell: Any, sheet: Sheet, x: float, tall: float, box: str, key: str, index: str) -> None:
    """The inputs below a step and its output above."""
    inputs = [str(n.name) for n in cell.graph.inputs]
    reach = 28.0
    for k, name in enumerate(inputs):
        at = x + (k - (len(inputs) - 1) / 2) * _apart(inputs)
        sheet.shape(
            "input",
            f"{key}input {name}",
            at,
            tall / 2 + reach + END / 2,
            end(name),
            END,
            end_label(name, index),
            size=13,
        )
        sheet.wire(f"{key}input {name}", box, [(at, tall / 2 + reach), (at, tall / 2)])
    name = output_name(cell.graph)
    sheet.shape(
        "output", f"{key}output {name}", x, -tall / 2 - reach - END / 2, end(name), END, end_label(name, index), size=13
    )
    sheet.wire(box, f"{key}output {name}", [(x, -tall / 2), (x, -tall / 2 - reach)])
