"""What the interactive page is given of a computation: values, the groups they fold into, what each holds.

A scene is plain data, ready for JSON. Values come in columns (one list a fact), since there may be thousands. Every
item, a value or a group, has a number: values first, in the order of computation, then groups; `parent` holds the
group of each, -1 outside. The page lays out whatever is unfolded.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import NUMBERS, Op, Value
from .arrays import packed
from .computation import KEPT, Period, Picture, cell_of, head_of, kind_of, shape_of, short
from .frames import Frame, in_order
from .inside import is_loop, opened, outdated
from .language import plain, sign

MOST = 4000  # values in a page
CELLS = 400_000  # cells of all maps of a page together


COLUMNS = ("name", "head", "kind", "form", "shape", "dtype", "doc", "args", "tracked", "value", "gradient")


class Pool:
    """Texts by number: what thousands of values share is written once."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))


def computation_scene(roots: Sequence[Value], values: bool = True, gradients: bool = True, fold: str | None = "time",
                      direction: str = "forward", depth: int | None = None, inside: bool = True,
                      **_: Any) -> dict[str, Any]:  # fmt: skip
    """The scene of the computation of `roots`; options as of `tl.draw`, but that loops are opened unless told not to."""
    closed = inside and any(is_loop(v) and outdated(v) for v in in_order(roots))
    if inside:
        roots = opened(roots)
    picture = Picture(roots, None, depth)
    shown = picture.values
    if direction == "backward":
        shown = [v for v in shown if v.requires_grad or any(v is r for r in roots)]
    step = dict(picture.step)
    lost = _too_many(shown, step, [p.count for p in picture.periods])
    kept = [v for v in shown if id(v) not in lost]
    number = {id(v): k for k, v in enumerate(kept)}
    texts = Pool()
    maps = sum(_holds(v) + (_gradient(v) is not None) for v in kept)
    cells = int(np.clip(CELLS // max(maps, 1), 16, 256))

    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for v in kept:
        data, grad = getattr(v, "data", None), _gradient(v)
        here = values and _holds(v)
        name = picture.names.get(id(v), v.name)
        columns["name"].append(texts(plain(name)) if name else None)
        columns["head"].append(texts(head_of(v, picture.names.get(id(v)))))
        columns["kind"].append(texts(kind_of(v)))
        columns["form"].append(texts(form(v)))
        columns["shape"].append(texts(_shape_text(v)))
        columns["dtype"].append(texts(str(getattr(v, "dtype", None) or "") if _holds(v) else ""))
        columns["doc"].append(texts(plain(v.op.doc) if v.op is not None else ""))
        columns["args"].append([number[id(a)] if id(a) in number else lost.get(id(a), -1) for a in v.args
                                if isinstance(a, Value)])  # fmt: skip
        columns["tracked"].append(int(bool(v.requires_grad)))
        columns["value"].append(packed(data, cells) if here else None)
        columns["gradient"].append(packed(grad, cells) if gradients and grad is not None else None)
    groups, parents = _groups(kept, number, picture.frames, fold, picture.periods, lost)
    notes = [f"{len(shown):,} values"]
    if lost:
        notes.append(f"{len(lost):,} of them are left out of this page")
    if closed:
        notes.append("loops stay closed whose parameters an optimiser has changed since: draw before its step")
    return {
        "notes": notes,
        "texts": list(texts.texts),
        "values": columns,
        "groups": groups,
        "parents": parents,
        "roots": [number[id(r)] for r in roots],
        "cut": [k for k, v in enumerate(kept) if any(isinstance(a, Value) and id(a) in picture.cut for a in v.args)],
    }


def leaf_columns(leaves: Sequence[tuple[str, Any]], texts: Pool) -> dict[str, list[Any]]:
    """The columns of named parameters that stand alone."""
    cells = int(np.clip(CELLS // max(2 * len(leaves), 1), 16, 256))
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for name, p in leaves:
        grad = _gradient(p)
        row = {"name": texts(plain(name)), "head": texts(plain(name)), "kind": texts("parameter"), "form": texts(""),
               "shape": texts(_shape_text(p)), "dtype": texts(str(p.dtype)), "doc": texts(""), "args": [], "tracked": 1,
               "value": packed(p.data, cells), "gradient": None if grad is None else packed(grad, cells)}  # fmt: skip
        for key, entry in row.items():
            columns[key].append(entry)
    return columns


def _holds(v: Value) -> bool:
    return isinstance(getattr(v, "data", None), np.ndarray)


def _gradient(v: Value) -> np.ndarray | None:
    data = getattr(getattr(v, "grad", None), "data", None)
    return data if isinstance(data, np.ndarray) else None


def _too_many(shown: list[Value], step: dict[int, tuple[int, int]], counts: list[int]) -> dict[int, int]:
    """The values that do not go into a page -> -2 - k for those of left out steps of loop k, -1 for others.

    Steps in the middle go first: what is left shows the beginning and the last step of every loop. What is then still
    too much goes from the beginning.
    """
    if len(shown) <= MOST:
        return {}
    room = max(MOST - (len(shown) - len(step)), 0) / max(len(step), 1)
    kept = [max(int(room * count) - 1, 3) for count in counts]
    lost = {}
    for v in shown:
        k, t = step.get(id(v), (-1, 0))
        if k >= 0 and kept[k] <= t < counts[k] - 1:
            lost[id(v)] = -2 - k
    left = [v for v in shown if id(v) not in lost]
    if len(left) > MOST:
        read = {id(a) for v in left[-MOST:] for a in v.args}
        lost |= {id(v): -1 for v in left[:-MOST] if v.op is not None or id(v) not in read}
    return lost


def _groups(inside: list[Value], number: dict[int, int], around: Mapping[int, tuple[Frame, ...]], fold: str | None,
            periods: Sequence[Period], lost: dict[int, int]) -> tuple[list[dict[str, Any]], list[int]]:  # fmt: skip
    """The groups, and the parent of every item: the frames, and around steps in the middle of a long loop one more."""
    groups: list[dict[str, Any]] = []
    above: list[int] = []
    base = len(inside)
    known: dict[tuple[Frame, ...], int] = {(): -1}
    left_out = {-2 - place for place in lost.values()}
    steps: dict[int, dict[int, tuple[Frame, ...]]] = {}  # loop -> step -> the frames down to that of the step
    for v in inside:
        for k, frame in enumerate(around[id(v)], 1):
            if frame.kind == "step":
                steps.setdefault(frame.key[0], {})[frame.key[1]] = around[id(v)][:k]
    loops = len({frame for frames in around.values() for frame in frames if frame.kind == "loop"})

    def group(label: str, unfolded: bool, parent: int) -> int:
        groups.append({"label": label, "open": unfolded})
        above.append(parent)
        return base + len(groups) - 1

    def enter(frames: tuple[Frame, ...]) -> int:
        """The group of the innermost of `frames`, made with those around it where it is new."""
        for k in range(1, len(frames) + 1):
            if frames[:k] not in known:
                known[frames[:k]] = group(
                    frames[k - 1].label, frames[k - 1].kind != "loop" or loops == 1, known[frames[: k - 1]]
                )
        return known[frames]

    for k, here in sorted(steps.items()):
        count, word = periods[k].count, periods[k].word
        long = fold == "time" and count > KEPT
        order = sorted(here)
        run = outside = enter(here[order[0]][:-1])
        for s, after in itertools.zip_longest(order, order[1:]):
            if long and s == 2:
                run = group(f"{word}s 2 to {count - 2}", False, outside)
            middle = long and 2 <= s < count - 1
            place = group(f"{word} {s}", not middle and len(order) <= 400, run if middle else outside)
            known[here[s]] = place
            if k in left_out and after is not None and after != s + 1:
                group(f"{word}s {s + 1} to {after - 1}, left out of this page", False, run if middle else outside)
                groups[-1] |= {"gone": k, "after": place}
    parents = [enter(around[id(v)]) for v in inside]
    return groups, parents + above


def _shape_text(v: Value) -> str:
    data, shape = getattr(v, "data", None), shape_of(v)
    if isinstance(data, tuple):
        return f"{len(data)} results"
    if shape and isinstance(shape[0], str):
        return " ".join(map(str, shape))
    return "×".join(map(str, shape or ())) or "number"


def form(v: Value) -> str:
    """How a value is computed, its arguments as {0} {1} ...: `{0} × {1}`, `tanh({0})`, `sum({0}, axis=1)`."""
    if v.op is None:
        return ""
    op: Op = v.op
    holes = iter(range(len(v.args)))
    args = [short(a) if isinstance(a, NUMBERS) else f"{{{next(holes)}}}" for a in v.args]
    symbol = sign(op.symbol or op.name)
    if op.name in ("linear", "matmul") and len(args) == 2:
        return f"{args[0]} @ {args[1]}"
    if op.infix and len(args) == 2:
        return f"{args[0]} {symbol} {args[1]}"
    if op.infix and len(args) == 1:
        return f"{symbol}{args[0]}"
    if op.name == "getitem" and "index" in v.attr:
        return plain(f"{args[0]}[{_index(v.attr['index'])}]")
    if hasattr(v.attr.get("cell"), "name"):
        return plain(f"{cell_of(v)} ({', '.join(args)})")
    plain_kinds = (bool, int, float, str, tuple, list)
    named = [f"{k}={a}" for k, a in v.attr.items() if isinstance(a, plain_kinds) and a is not False]
    return plain(f"{symbol}({', '.join([*args, *named])})")


def _index(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return ", ".join(_slice(p) for p in parts)


def _slice(part: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if e is None else str(e) for e in (part.start, part.stop, part.step)]
        return ":".join(ends if ends[2] else ends[:2])
    return "…" if part is Ellipsis else str(part) if isinstance(part, NUMBERS) or part is None else "array"
