"""The computation that made a Tensor: one box a value, with its shape, what it holds and its gradient.

Laid out by Graphviz. A loop over time repeats the same operations with the same distances between them; such periods
are found in the order of creation (no marks are left by the loop), each step gets a frame, and steps beyond a few are
folded into one, so that a picture does not grow with time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ArgumentError, message
from ..graph import NUMBERS, ModuleCall, Value
from .frames import Frame, calls, frames, in_order
from .language import (
    FONT,
    LIT,
    THEMES,
    WIRE,
    Look,
    Markup,
    Sheet,
    attributes,
    escaped,
    extent,
    mix,
    plain,
    quoted,
    sign,
    theme_of,
    wide,
)  # fmt: skip
from .layers import TALL, WIDE, layers

KEPT = 4  # steps drawn one by one; beyond: the first two, the folded ones, the last
SMALL = 6  # values of so many elements are written out
VIEWS = ("getitem", "reshape", "transpose", "expand_dims", "squeeze", "broadcast_to")
BIG = 500  # boxes from which on the room `layers` places them
MANY = 150  # boxes from which on Graphviz stops to better its layout early: hundreds in frames would take it a minute
EARLY = {"nslimit": 0.2, "nslimit1": 0.2, "mclimit": 0.1}


# --------------------------------------------------------------------------------------------------------- periods
@dataclass(frozen=True)
class Period:
    """`count` repetitions of `length` values, from place `start` of the order of creation on; a `word` for one of them."""

    start: int
    length: int
    count: int
    word: str = "step"

    @property
    def stop(self) -> int:
        return self.start + self.length * self.count


def periods(signatures: np.ndarray, kinds: np.ndarray, least: int = 3) -> list[Period]:
    """The repetitions in a sequence of values, without overlap, each at least `least` long.

    signatures : equal for equal operations at equal distances from what they read. kinds : equal for equal operations:
    the first step reads the first state, not the step before, so it is known by its operations alone.
    """
    found: list[Period] = []
    waiting = [(0, len(signatures))]
    while waiting:
        start, stop = waiting.pop()
        best = _period(signatures[start:stop], kinds[start:stop], least)
        if best is not None:
            best = Period(best.start + start, best.length, best.count)
            found.append(best)
            waiting += [(start, best.start), (best.stop, stop)]
    return sorted(found, key=lambda p: p.start)


def _period(s: np.ndarray, kinds: np.ndarray, least: int) -> Period | None:
    """The shortest period around some place, tried at several places; a run of 6 values is the least."""
    n = len(s)
    if n < 6:
        return None
    for k in (4, 2, 6, 1, 3, 5, 7):
        anchor = n * k // 8
        same = np.flatnonzero(s[:anchor] == s[anchor])[::-1][:64]
        for p in (anchor - same).tolist():
            broken = np.flatnonzero(s[p:] != s[:-p])
            place = int(np.searchsorted(broken, anchor - p))
            low = int(broken[place - 1]) + 1 if place > 0 else 0
            high = int(broken[place]) if place < len(broken) else n - p
            if not low <= anchor - p < high:
                continue
            first = low
            while first > 0 and low - first < p and kinds[first - 1] == kinds[first - 1 + p]:
                first -= 1
            count = (high - first) // p + 1
            if count >= least and p * count >= 6:
                return Period(first, p, count)
    return None


def _of_modules(p: Period, made: Sequence[Value], around: Mapping[int, tuple[ModuleCall, ...]]) -> Period | None:
    """The period, called layers where each of its steps has weights of its own; None if that is no chain of many.

    Modules of one kind repeat what they compute, as steps in time do, but each has its own parameters: the queries, keys
    and values of attention stand side by side, and the blocks of a deep network have frames of their own.
    """
    owned = {id(w) for c in {c.start: c for v in made for c in around[id(v)]}.values() for w in c.module.parameters()}
    step = {id(v): i // p.length for i, v in enumerate(made)}
    readers: dict[int, set[int]] = {}
    linked = set()
    for v in made:
        for a in v.args:
            if isinstance(a, Value):
                leaf, here = id(getattr(a, "source", a)), step[id(v)]
                if leaf in owned:
                    readers.setdefault(leaf, set()).add(here)
                if step.get(id(a)) == here - 1:
                    linked.add(here)
    own = set().union(*(steps for steps in readers.values() if len(steps) == 1))
    if len(own) < p.count or any(len(steps) > 1 for steps in readers.values()):
        return p
    return replace(p, word="layer") if p.count > KEPT and len(linked) == p.count - 1 else None


# ------------------------------------------------------------------------------------------------------ what is shown
def summary(array: Any) -> str:
    """A value in a few words: its numbers if they are few, else smallest, mean and largest; and what is not finite."""
    array = np.asarray(array)
    if array.size == 0:
        return "empty"
    if array.size <= SMALL:
        numbers = ", ".join(short(v) for v in array.ravel().tolist())
        return numbers if array.ndim == 0 else f"[{numbers}]"
    if array.dtype.kind == "b":
        return f"{int(array.sum())} of {array.size} true"
    with np.errstate(all="ignore"):
        finite = np.isfinite(array)
        bad = array.size - int(finite.sum())
        good = array[finite] if bad else array
        if good.size == 0:
            return f"{bad} not finite"
        low, mean, high = float(good.min()), float(good.mean(dtype=np.float64)), float(good.max())
    text = f"{short(low)} … {short(mean)} … {short(high)}"
    return f"{text}, {bad} not finite" if bad else text


def short(value: Any) -> str:
    return str(value) if isinstance(value, bool) else f"{value:.3g}".replace("-", "−")


def shape_of(v: Value) -> Any:
    """The shape of a value; None for the several results of one operation."""
    return None if isinstance(getattr(v, "data", None), tuple) else v.shape


def kind_of(v: Value) -> str:
    if v.op is None:
        return "parameter" if v.requires_grad else "input"
    if getattr(v, "member", False):
        return "parameter"
    if v.op.elementwise:
        return "pointwise"
    return "layer" if v.op.name in ("linear", "matmul", "einsum") or "cell" in v.attr else "value"


def cell_of(v: Value) -> str:
    """A cell's name, and that it runs over time where it makes more than one step."""
    name = str(v.attr["cell"].name)
    return f"{name} over time" if v.args[0].shape[0] > 1 else name


def head_of(v: Value, name: str | None = None) -> str:
    """The operation as it is written, with its numbers: × 0.5; the name of a leaf (or `name`) and of a part of one."""
    if v.op is None or getattr(v, "member", False):
        return plain(name or v.name or ("parameter" if v.requires_grad else "constant"))
    if hasattr(v.attr.get("cell"), "name"):
        return plain(cell_of(v))
    text = sign(v.op.symbol or v.op.name)
    numbers = [(k, a) for k, a in enumerate(v.args) if isinstance(a, NUMBERS)]
    if numbers and len(v.args) == 2:
        k, a = numbers[0]
        text = f"{short(a)} {text}" if k == 0 else f"{text} {short(a)}"
    return plain(f"{v.name} = {text}" if v.name else text)


def _label(v: Value, values: bool, gradients: bool, faint: str, name: str | None = None) -> Markup:
    """A box's text: the operation, then shape and dtype, value and gradient in smaller letters."""
    data, grad, shape = getattr(v, "data", None), getattr(v, "grad", None), shape_of(v)
    if isinstance(data, tuple):
        facts = [f"{len(data)} results"]
    elif shape and isinstance(shape[0], str):  # a traced value: axes by name
        facts = [" ".join(map(str, shape))]
    else:
        facts = [f"{'×'.join(map(str, shape or ())) or 'number'} {getattr(v, 'dtype', None) or ''}".strip()]
    if values and isinstance(data, np.ndarray):
        facts.append(summary(data))
    if gradients and grad is not None and isinstance(grad.data, np.ndarray):
        facts.append(f"gradient {summary(grad.data)}")
    rows = "".join(f'<br/><font point-size="9" color="{faint}">{escaped(f)}</font>' for f in facts if f)
    return Markup(f"{escaped(head_of(v, name))}{rows}")


# ------------------------------------------------------------------------------------------------------------ the graph
def _operation(v: Value) -> Any:
    """Equal for equal operations."""
    return (v.op.name, shape_of(v), len(v.args))  # type: ignore[union-attr]


class Picture:
    """Which values are drawn, which stand for others, and the frames around steps."""

    def __init__(self, roots: Sequence[Value], fold: str | None, depth: int | None):
        self.values: list[Value] = in_order(roots)
        if depth is not None:
            near, front = {id(r) for r in roots}, list(roots)
            for _ in range(depth):
                behind = {id(a): a for v in front for a in v.args if isinstance(a, Value) and id(a) not in near}
                near |= behind.keys()
                front = list(behind.values())
            self.cut = {id(v) for v in self.values if id(v) not in near}
            self.values = [v for v in self.values if id(v) in near]
        else:
            self.cut = set()
        self.made = [v for v in self.values if v.op is not None]
        free = [v for v in self.made if getattr(v, "scope", None) is None]
        signatures, kinds = self._signatures(free)
        around = calls(self.values)
        self.periods: list[Period] = []
        self.step: dict[int, tuple[int, int]] = {}  # value -> (period, step)
        for found in periods(signatures, kinds):
            made = free[found.start : found.stop]
            p = _of_modules(found, made, around)
            if p is None or any(id(v) in self.step for v in made):
                continue
            k = len(self.periods)
            self.periods.append(p)
            self.step |= {id(v): (k, i // p.length) for i, v in enumerate(made)}
            self._last_step(k, free, kinds)
        self._opened()
        self._satellites()
        self._own_leaves()
        self.frames, self.names = frames(self.values, self.step, around, [p.word for p in self.periods])
        self.folded: dict[int, str] = {}  # value -> the name of what stands for it
        self.folds: dict[str, tuple[int, int]] = {}
        for k, p in enumerate(self.periods):
            if fold == "time" and p.count > KEPT:
                self.folds[f"fold {k}"] = (2, p.count - 1)
        self.around: dict[str, tuple[Frame, ...]] = {}  # fold -> the frames around it
        for v, (k, step) in list(self.step.items()):
            start, stop = self.folds.get(f"fold {k}", (0, 0))
            if start <= step < stop:
                self.folded[v] = name = f"fold {k}"
                self.around[name] = tuple(itertools.takewhile(lambda f: f.kind != "step", self.frames[v]))
                del self.step[v]

    def word(self, fold: str) -> str:
        """What is folded: a step, or a layer."""
        return self.periods[int(fold.split()[1])].word

    def _last_step(self, k: int, free: Sequence[Value], kinds: np.ndarray) -> None:
        """The last step may lack what only a next one would read: it is known by the operations that it has."""
        p = self.periods[k]
        pattern = kinds[p.start : p.start + p.length].tolist()
        found, place = [], 0
        for i in range(p.stop, min(p.stop + p.length, len(free))):
            if id(free[i]) in self.step or kinds[i] not in pattern[place:]:
                break
            place = pattern.index(kinds[i], place) + 1
            found.append(free[i])
        linked = any(self.step.get(id(a)) == (k, p.count - 1) for v in found for a in v.args)
        if linked and 2 * len(found) >= p.length:
            self.step |= {id(v): (k, p.count) for v in found}
            self.periods[k] = replace(p, count=p.count + 1)

    def _opened(self) -> None:
        """The steps of an opened loop are known."""
        loops: dict[tuple[int, str], int] = {}
        for v in self.values:
            scope, step = getattr(v, "scope", None), getattr(v, "step", None)
            if scope is not None and step is not None:
                k = loops.setdefault(scope, len(self.periods) + len(loops))
                self.step[id(v)] = (k, step)
        for k in loops.values():
            self.periods.append(Period(0, 1, 1 + max(t for place, t in self.step.values() if place == k)))

    def _satellites(self) -> None:
        """What is computed after the loop, once for every step and from that step alone, belongs to the step."""
        candidates: dict[tuple[int, Any], list[tuple[Value, int]]] = {}
        for v in self.made:
            kind = _operation(v)
            if id(v) in self.step or len(v.args) > 8:
                continue
            where = {self.step.get(id(a)) for a in v.args if isinstance(a, Value) and a.op is not None}
            if len(where) == 1 and (place := where.pop()) is not None:
                candidates.setdefault((place[0], kind), []).append((v, place[1]))
        for (k, _), found in candidates.items():
            if len({step for _, step in found}) >= max(3, self.periods[k].count // 2):
                self.step |= {id(v): (k, step) for v, step in found}

    def _own_leaves(self) -> None:
        """A leaf that one step alone reads (its input) belongs to the step."""
        readers: dict[int, set[tuple[int, int] | None]] = {}
        for v in self.made:
            for a in v.args:
                if isinstance(a, Value) and a.op is None:
                    readers.setdefault(id(a), set()).add(self.step.get(id(v)))
        for leaf, where in readers.items():
            if len(where) == 1 and (place := where.pop()) is not None:
                self.step[leaf] = place

    def _signatures(self, made: list[Value]) -> tuple[np.ndarray, np.ndarray]:
        """Two integers for every value made: equal for equal operations at equal distances from what they read; and
        for equal operations."""
        place = {id(v): k for k, v in enumerate(made)}
        known: dict[Any, int] = {}
        views: set[int] = set()  # a part or another shape of a leaf is read at any distance, as the leaf itself
        for v in made:
            if len(v.args) == 1 and v.op.name in VIEWS and (v.args[0].op is None or id(v.args[0]) in views):  # type: ignore[union-attr]
                views.add(id(v))
        out, kinds = np.empty(len(made), dtype=np.int64), np.empty(len(made), dtype=np.int64)
        for k, v in enumerate(made):
            if len(v.args) > 8:
                key: Any = ("many", k)
            else:
                far = tuple(
                    "number"
                    if not isinstance(a, Value)
                    else k - place[id(a)]
                    if id(a) in place and id(a) not in views
                    else "leaf"
                    for a in v.args
                )
                key = (v.op.name, shape_of(v), far)  # type: ignore[union-attr]
                if v.op.name in ("getitem", "item"):  # type: ignore[union-attr]  # what every step takes its part of
                    key = (v.op.name, shape_of(v))  # type: ignore[union-attr]
            out[k] = known.setdefault(key, len(known))
            kinds[k] = known.setdefault(_operation(v), len(known))
        return out, kinds


def computation(roots: Sequence[Value], theme: str = "light", values: bool = True, gradients: bool = True,
                fold: str | None = "time", direction: str = "forward",
                depth: int | None = None, inside: bool = True) -> tuple[str, str]:  # fmt: skip
    """(DOT text, title) of the computation of `roots`."""
    if not isinstance(inside, bool):
        raise ArgumentError(message("draw", "inside is True or False", {"inside": inside}))
    looks = THEMES[theme_of(theme)]
    if fold not in ("time", None):
        raise ArgumentError(message("draw", "fold is 'time' or None", {"fold": fold}))
    if direction not in ("forward", "backward", "both"):
        raise ArgumentError(message("draw", "direction is 'forward', 'backward' or 'both'", {"direction": direction}))
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ArgumentError(message("draw", "depth is a number of operations, or None", {"depth": depth}))
    picture = Picture(roots, fold, depth)
    shown = [v for v in picture.values if id(v) not in picture.folded]
    if direction == "backward":  # no gradient reaches a constant
        shown = [v for v in shown if v.requires_grad or any(v is r for r in roots)]
    names = {id(v): f"v{k}" for k, v in enumerate(shown)}
    names |= dict(picture.folded.items())
    faint = looks["faint"].text
    if len(shown) > BIG:
        return _spread(roots, shown, picture, theme, values, gradients), title_of(roots)

    boxes: dict[tuple[Frame, ...], list[str]] = {}
    for v in shown:
        look = looks[kind_of(v)]
        facts: dict[str, Any] = {
            "label": _label(v, values, gradients, faint, picture.names.get(id(v))),
            "fillcolor": look.fill,
            "color": look.edge,
            "fontcolor": look.text,
        }
        if v.name and any(wide(c) for c in plain(v.name)):  # the engine has no such letters to measure
            heading = plain(v.name) + (f" = {v.op.name}" if v.op is not None else "")
            facts["width"] = round((extent(heading) * 13 + 16) / 72, 2)
        if any(v is r for r in roots):
            facts["penwidth"] = 2.0
        if v.op is None:
            facts["shape"] = "box" if v.requires_grad else "ellipse"
            facts["style"] = "filled"
        if v.op is not None and v.op.doc:
            facts["tooltip"] = plain(v.op.doc)
        boxes.setdefault(picture.frames[id(v)], []).append(f"{names[id(v)]} [{attributes(facts)}]")
    for name, (start, stop) in picture.folds.items():
        look = looks["fold"]
        word = picture.word(name)
        small = f'<font point-size="9" color="{faint}">{stop - start:,} {word}s like the others</font>'
        facts = {"label": Markup(f"{word}s {start} to {stop - 1}<br/>{small}"), "shape": "box3d", "style": "filled"}
        facts |= {"fillcolor": look.fill, "color": look.edge, "fontcolor": look.text}
        boxes.setdefault(picture.around[name], []).append(f'"{name}" [{attributes(facts)}]')

    lines = _framed(boxes, looks)
    lines += _edges(picture, names, theme, direction)
    lines += _order_of_time(picture, shown, names) if picture.periods else _order_of_modules(picture, shown, names)

    general: dict[str, Any] = {
        "bgcolor": looks["page"].fill, "fontname": FONT, "rankdir": "LR" if picture.periods else "TB",
        "nodesep": 0.22, "ranksep": 0.35, "pad": 0.15, "newrank": "true",
    }  # fmt: skip
    if len(shown) > MANY:
        general |= EARLY
    title = title_of(roots)
    head = f"digraph {quoted(title)} {{\n  graph [{attributes(general)}]\n"
    node = attributes(
        {
            "fontname": FONT,
            "shape": "box",
            "style": "rounded,filled",
            "fontsize": 13,
            "margin": "0.09,0.05",
            "height": 0.3,
            "width": 0.4,
        }
    )
    edge = attributes({"color": WIRE[theme], "arrowsize": 0.6, "penwidth": 1.1, "fontname": FONT})
    return head + f"  node [{node}]\n  edge [{edge}]\n" + "\n".join(lines) + "\n}\n", title


def _framed(boxes: dict[tuple[Frame, ...], list[str]], looks: Mapping[str, Look]) -> list[str]:
    """The lines of all boxes, those of a frame in a subgraph: a step is a filled area, a module an outline."""
    inside: dict[tuple[Frame, ...], dict[tuple[Frame, ...], None]] = {(): {}}
    for around in boxes:
        for k in range(len(around)):
            inside.setdefault(around[:k], {})[around[: k + 1]] = None
            inside.setdefault(around[: k + 1], {})
    lines: list[str] = []
    waiting: list[tuple[Frame, ...] | None] = [()]
    level = 0
    while waiting:
        frame = waiting.pop()
        if frame is None:
            lines.append("  " * level + "}")
            level -= 1
            continue
        if frame:
            level += 1
            look, filled = looks["frame"], frame[-1].kind == "step"
            facts = {"label": frame[-1].label, "style": "rounded,filled" if filled else "rounded", "color": look.edge,
                     "fontcolor": looks["faint"].text, "fontsize": 10, "labeljust": "c" if filled else "l"}  # fmt: skip
            if filled:
                facts["fillcolor"] = look.fill
            name = quoted("cluster {} {}".format(*frame[-1].key) if filled else f"cluster module {len(lines)}")
            lines += ["  " * level + f"subgraph {name} {{", "  " * level + f"  graph [{attributes(facts)}]"]
            waiting.append(None)
        lines += ["  " * level + f"  {line}" for line in boxes.get(frame, ())]
        waiting += reversed(inside[frame])
    return lines


def _spread(
    roots: Sequence[Value], shown: list[Value], picture: Picture, theme: str, values: bool, gradients: bool
) -> str:
    """The DOT text of a graph that is too big for a fine layout: every value, at its depth."""
    sheet = Sheet(title_of(roots), theme)
    places, names = layers(shown), {id(v): f"v{k}" for k, v in enumerate(shown)}
    faint = sheet.look("faint").text
    for v in shown:
        label = _label(v, values, gradients, faint, picture.names.get(id(v)))
        sheet.shape(kind_of(v), names[id(v)], *places[id(v)], WIDE, TALL, label, size=13)
    for v in shown:
        for a in {id(a): a for a in v.args if isinstance(a, Value) and id(a) in places}.values():
            (x, y), (u, w) = places[id(a)], places[id(v)]
            sheet.wire(names[id(a)], names[id(v)], [(x + WIDE / 2, y), (u - WIDE / 2, w)], faded=a.op is None)
    for name in picture.folds:
        start, stop = picture.folds[name]
        sheet.text(name, 0, sheet.bottom + TALL, f"{picture.word(name)}s {start} to {stop - 1} are not shown")
    return sheet.dot()


def _edges(picture: Picture, names: dict[int, str], theme: str, direction: str) -> list[str]:
    lines: list[str] = []
    seen: set[tuple[Any, Any]] = set()
    back = attributes({"color": LIT[theme], "style": "dashed", "constraint": "false"})
    given = attributes({"color": mix(WIRE[theme], THEMES[theme]["page"].fill, 0.5), "penwidth": 0.9})  # from a leaf
    for v in picture.made:
        for a in v.args:
            if not isinstance(a, Value):
                continue
            if id(a) in picture.cut:
                if (id(a), id(v)) not in seen:
                    seen.add((id(a), id(v)))
                    name = f"more {len(seen)}"
                    lines.append(
                        f'  "{name}" [label="…", shape=plaintext, style="", fontcolor="{THEMES[theme]["faint"].text}"]'
                    )
                    lines.append(f'  "{name}" -> {names[id(v)]} [style=dotted]')
                continue
            if direction == "backward" and not a.requires_grad:
                continue
            tail, head = names[id(a)], names[id(v)]
            if tail == head or ((tail, head) in seen and (id(a) in picture.folded or id(v) in picture.folded)):
                continue
            seen.add((tail, head))
            if direction in ("forward", "both"):
                lines.append(f'  "{tail}" -> "{head}"' + (f" [{given}]" if a.op is None else ""))
            if a.requires_grad and direction == "both":
                lines.append(f'  "{head}" -> "{tail}" [{back}]')
            if a.requires_grad and direction == "backward":  # the same places, the arrows turned round
                lines.append(
                    f'  "{tail}" -> "{head}" [{attributes({"color": LIT[theme], "style": "dashed", "dir": "back"})}]'
                )
    return lines


def _order_of_time(picture: Picture, shown: Sequence[Value], names: dict[int, str]) -> list[str]:
    """Invisible edges from the end of every step to the beginnings of the next: steps stand side by side."""
    steps: dict[tuple[int, int], list[Value]] = {}
    for v in shown:
        if (at := picture.step.get(id(v))) is not None:
            steps.setdefault(at, []).append(v)
    starts: dict[tuple[int, int], list[str]] = {}
    for at, values in steps.items():
        here = {id(v) for v in values}
        starts[at] = [names[id(v)] for v in values if not any(id(a) in here for a in v.args)]
    ends = {at: [names[id(values[-1])]] for at, values in steps.items()}
    for name, (start, _) in picture.folds.items():
        at = (int(name.split()[1]), start)
        starts[at] = ends[at] = [name]
    pairs = [(a, b) for a, b in itertools.pairwise(sorted(starts)) if a[0] == b[0]]
    return [f'  "{tail}" -> "{head}" [style=invis]' for a, b in pairs for tail in ends[a] for head in starts[b]]


def _order_of_modules(picture: Picture, shown: Sequence[Value], names: dict[int, str]) -> list[str]:
    """Invisible edges from what a module reads to its own leaves: modules stand one below the other."""
    entry: dict[Frame, Value] = {}  # the last value that is made outside and read inside
    for v in shown:
        for a in v.args:
            if isinstance(a, Value) and a.op is not None and id(a) in names:
                for frame in picture.frames[id(v)]:
                    known = entry.get(frame)
                    if frame not in picture.frames[id(a)] and (known is None or known.serial < a.serial):
                        entry[frame] = a
    return [
        f'  "{names[id(entry[frame])]}" -> "{names[id(v)]}" [style=invis]'
        for v in shown
        if v.op is None
        for frame in picture.frames[id(v)]
        if frame in entry
    ]


def title_of(roots: Sequence[Value]) -> str:
    return plain(", ".join(r.name or (r.op.name if r.op is not None else "value") for r in roots))
