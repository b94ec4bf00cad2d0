"""A layer or a model: its modules one below the other, each with its parameters, their shapes and their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ArgumentError, message
from .language import Sheet, after, escaped, fitted, letters, plain, theme_of
from .scene import Pool, leaf_columns

ROW, WIDE, INDENT, GAP = 34.0, 400.0, 18.0, 12.0


class _Tree:
    """A module with those inside it."""

    def __init__(self, name: str, module: Any):
        self.name, self.module = name, module
        self.children: list[_Tree] = []

    @property
    def kind(self) -> str:
        return type(self.module).__name__

    def own(self) -> list[tuple[str, tuple[int, ...]]]:
        """Its parameters that belong to none of its children."""
        inside = {f"{c.name}." for c in self.children}
        named = [(str(n), tuple(p.shape)) for n, p in self.module.named_parameters()]
        return [(n, s) for n, s in named if not any(n.startswith(i) for i in inside)]

    def count(self) -> int:
        return sum(_size(p.shape) for _, p in self.module.named_parameters())


def _size(shape: Any) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def _tree(module: Any) -> _Tree:
    named = list(module.named_modules()) if callable(getattr(module, "named_modules", None)) else [("", module)]
    root = _Tree("", module)
    by_name = {"": root}
    for name, part in named:
        if name == "":
            continue
        parent = max((n for n in by_name if n == "" or name.startswith(f"{n}.")), key=len)
        tree = _Tree(name[len(parent) + 1 :] if parent else name, part)
        by_name[name] = tree
        by_name[parent].children.append(tree)
    return root


def modules(module: Any, theme: str = "light", depth: int | None = None) -> tuple[str, str]:
    """(DOT text, title) of a module; `depth`: how many levels of modules are opened."""
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ArgumentError(message("draw", "depth is a number of levels, or None", {"depth": depth}))
    tree = _tree(module)
    sheet = Sheet(tree.kind, theme_of(theme))
    order: list[tuple[_Tree, float, float, float, int]] = []  # (module, left, top, bottom, level): outer ones first
    _lay(tree, 0.0, 0.0, 0, depth, order)
    key = {id(t): f"module {k}" for k, (t, *_) in enumerate(order)}
    for t, left, top, bottom, level in order:
        opened = bool(t.children) and (depth is None or level < depth)
        width = WIDE - 2 * INDENT * level
        middle = left + width / 2
        sheet.shape(
            "frame" if opened or not level else "layer" if t.own() else "value",
            key[id(t)],
            middle,
            (top + bottom) / 2,
            width,
            bottom - top,
            tip=t.kind,
        )
        count = _counted(t)
        room = max(8, int((width - 40 - 0.56 * 11 * len(count)) / (0.58 * 13)))  # letters beside the count
        kind = fitted(t.kind, room if not t.name else max(6, room - min(int(letters(t.name)), room // 2)))
        own = fitted(t.name, max(4, room - int(letters(kind)) - 2))
        name = f"<b>{escaped(own)}</b>{after(own)}  {escaped(kind)}" if t.name else f"<b>{escaped(kind)}</b>"
        sheet.line(f"{key[id(t)]} name", left + 12, top + 16, name, size=13, width=width - 36 - 0.52 * 11 * len(count))
        sheet.text(f"{key[id(t)]} count", left + width - 12 - 0.26 * 11 * len(count), top + 16, count, size=11)
        for k, line in enumerate(_facts(t, opened, int((width - 24) / 5.6))):
            sheet.line(f"{key[id(t)]} fact {k}", left + 12, top + 36 + 15 * k, escaped(line), size=10, width=width - 24)
    for a, b in _follows(tree, depth, 0):
        if id(a) in key and id(b) in key:
            (_, left, _, bottom, level), (_, _, top, _, _) = (next(o for o in order if o[0] is t) for t in (a, b))
            middle = left + WIDE / 2 - INDENT * level
            sheet.wire(key[id(a)], key[id(b)], [(middle, bottom), (middle, top)])
    return sheet.dot(), tree.kind


def module_scene(module: Any, depth: int | None = None, **_: Any) -> dict[str, Any]:
    """What the interactive page is given of a module: parameters in groups, a group a module, folded within `depth`."""
    root = _tree(module)
    everyone: list[tuple[_Tree, int, int]] = []  # (module, place of what it is in, level)
    leaves: list[tuple[str, Any, int]] = []  # (name from the outside, parameter, place of its module)
    waiting = [(root, -1, 0, "")]
    while waiting:
        t, above, level, path = waiting.pop()
        own = {name for name, _ in t.own()}
        leaves += [(path + n, p, len(everyone)) for n, p in t.module.named_parameters() if n in own]
        everyone.append((t, above, level))
        waiting += [(c, len(everyone) - 1, level + 1, f"{path}{c.name}.") for c in reversed(t.children)]
    texts, base, number = Pool(), len(leaves), {id(t): k for k, (t, _, _) in enumerate(everyone)}
    groups = []
    for t, _above, level in everyone:
        opened = bool(t.children) and (depth is None or level < depth)
        label = plain(f"{t.name}: {t.kind}" if t.name else t.kind)
        groups.append({"label": label, "open": opened, "note": _counted(t)})
    return {
        "notes": [_counted(root)],
        "values": leaf_columns([(name, p) for name, p, _ in leaves], texts),
        "texts": list(texts.texts),
        "groups": groups,
        "parents": [base + place for _, _, place in leaves] + [base + a if a >= 0 else -1 for _, a, _ in everyone],
        "edges": [(base + number[id(a)], base + number[id(b)]) for a, b in _follows(root, None, 0)],
        "still": True,
    }


def _counted(t: _Tree) -> str:
    return f"{t.count():,} parameters" if t.count() else "nothing to learn"


def _facts(t: _Tree, opened: bool, room: int = 60) -> list[str]:
    """Its parameters, one a line of at most `room` letters."""
    own = t.own() if opened or not t.children else []
    shapes = [f"  ({', '.join(map(str, shape))})" for _, shape in own]
    lines = [fitted(name, max(8, room - len(shape))) + shape for (name, _), shape in zip(own, shapes, strict=True)]
    return lines if len(lines) <= 12 else [*lines[:10], f"… and {len(lines) - 10} more"]


def _lay(t: _Tree, left: float, top: float, level: int, depth: int | None, order: list[Any]) -> float:
    """Give a module and those in it their places; the bottom of the module."""
    place = len(order)
    order.append(None)
    opened = bool(t.children) and (depth is None or level < depth)
    y = top + ROW + 15 * len(_facts(t, opened))
    if opened:
        for child in t.children:
            y = _lay(child, left + INDENT, y, level + 1, depth, order) + GAP
    bottom = y + (4 if opened else 0)
    order[place] = (t, left, top, bottom, level)
    return bottom


def _follows(t: _Tree, depth: int | None, level: int) -> Iterator[tuple[_Tree, _Tree]]:
    """Modules that run one after the other: the children of a Sequential."""
    if depth is not None and level >= depth:
        return
    if t.kind == "Sequential":
        yield from zip(t.children, t.children[1:], strict=False)
    for child in t.children:
        yield from _follows(child, depth, level + 1)
