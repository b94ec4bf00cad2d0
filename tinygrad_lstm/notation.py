"""Equations in text and in LaTeX, read off a graph: one equation a named quantity, everything unnamed written inline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .graph import Node, reachable

GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
).split()  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How leaves, numbers, infix operations and calls are written."""

    leaf: Callable[[Node], str]
    number: Callable[[Any], str]
    latex: bool


def _text_number(value: Any) -> str:
    return repr(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else repr(value)


def expression(node: Any, style: Style, known: Callable[[Node], str | None], top: bool = False) -> tuple[str, int]:
    """The text of a value and how tightly it binds (9: a name or a call). `known` values are written by their name.

    Works through an explicit stack: an unnamed chain may be as long as it likes.
    """
    done: dict[int, tuple[str, int]] = {}
    stack: list[Any] = [node]

    def of(value: Any) -> tuple[str, int] | None:
        if not isinstance(value, Node):
            text = style.number(value)
            return text, 3 if text.startswith("-") else 9
        if not (top and value is node):
            name = known(value)
            if name is not None:
                return name, 9
        return done.get(value.serial)

    while stack:
        value = stack[-1]
        if of(value) is not None:
            stack.pop()
            continue
        waiting = [a for a in value.args if of(a) is None]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        done[value.serial] = _write(value, [of(a) for a in value.args], style)
    answer = of(node)
    assert answer is not None
    return answer


def _write(node: Node, args: Sequence[Any], style: Style) -> tuple[str, int]:
    op = node.op
    if op is None:
        return style.leaf(node), 9

    def bracket(part: tuple[str, int], level: int) -> str:
        text, binds = part
        if binds >= level:
            return text
        return rf"\left({text}\right)" if style.latex else f"({text})"

    if op.name == "linear":
        a, b = args
        if style.latex:
            return f"{bracket(a, 5)} {bracket(b, 9)}", 3
        return f"{bracket(a, 2)} @ {bracket(b, 3)}", 2
    if op.infix > 0 and len(args) == 2:
        level = op.infix
        right = level if op.name in ("add", "mul") else level + 1
        if style.latex:
            if op.name == "div":
                return rf"\frac{{{args[0][0]}}}{{{args[1][0]}}}", 9
            if op.name == "pow":
                return f"{{{bracket(args[0], 5)}}}^{{{args[1][0]}}}", 4
            if op.name == "mul" and not all(isinstance(a, Node) for a in node.args):
                return f"{bracket(args[0], 2)} \\, {bracket(args[1], 2)}", 2
            return op.latex.format(bracket(args[0], level), bracket(args[1], right)), level
        return f"{bracket(args[0], level)} {op.symbol} {bracket(args[1], right)}", level
    if op.infix > 0:
        return f"{op.symbol}{bracket(args[0], op.infix)}", op.infix
    if op.infix < 0:
        texts = [bracket(a, 1) for a in args]
        return (op.latex.format(*texts) if style.latex else f" {op.symbol} ".join(texts)), 0
    texts = [a[0] for a in args]
    if style.latex:
        if op.elementwise:
            return op.latex.format(*[bracket(a, 4) if op.name == "square" else a[0] for a in args]), 9
        return rf"\mathrm{{{op.name}}}\left({', '.join(texts)}\right)", 9
    extra = ", axis=-1, keepdims=True" if "axis" in node.attr else ""
    return f"{op.name}({', '.join(texts)}{extra})", 9


# --------------------------------------------------------------------------------------------------------- of a cell
def equations(graph: Any) -> list[tuple[str, Node]]:
    """(name, value) of every named quantity in the order of computation; the name of a new state gets a prime."""
    order = {n.serial: n for n in reachable(graph.roots)}
    names: dict[int, str] = {}
    for state, value in zip(graph.states, graph.new_states, strict=True):
        if value.op is not None:
            names.setdefault(value.serial, f"{state.name}'")
    for name, value in graph.names.items():
        if value.op is not None and value.serial in order:
            names.setdefault(value.serial, name)
    if graph.output.op is not None:
        names.setdefault(graph.output.serial, "output")
    return [(names[s], order[s]) for s in sorted(names)]


def text_style() -> Style:
    return Style(lambda n: str(n.name), _text_number, False)


def equation_lines(graph: Any) -> list[tuple[str, str]]:
    """(name, right-hand side) as text."""
    pairs = equations(graph)
    known = {n.serial: name for name, n in pairs}
    return [(name, expression(n, text_style(), lambda v: known.get(v.serial), top=True)[0]) for name, n in pairs]


_PRIME = "'"


def latex_name(name: str) -> str:
    """`h` `c_bar` `gamma` `tanh_c` as mathematics."""
    head, _, rest = name.partition("_")
    head = f"\\{head}" if head in GREEK else head if len(head) == 1 else rf"\mathrm{{{head}}}"
    return f"{head}^{{{rest.replace('_', ' ')}}}" if rest else head


def latex_lines(graph: Any) -> list[str]:
    """One aligned line an equation; x_t, h_{t-1}, W_i, element products as a circled dot."""
    pairs = equations(graph)
    states = {n.serial for n in graph.states}
    inputs = {n.serial for n in graph.inputs}

    def leaf(n: Node) -> str:
        name = str(n.name)
        if n.serial in states:
            return f"{latex_name(name)}_{{t-1}}"
        if n.serial in inputs:
            return f"{latex_name(name)}_t"
        family, _, member = name.partition(".")
        if not member:
            return latex_name(family)
        index = member if len(member) == 1 else rf"\mathrm{{{member}}}"
        return f"{latex_name(family)}_{{{index}}}"

    style = Style(leaf, _text_number, True)
    known = {n.serial: f"{latex_name(name.rstrip(_PRIME))}_t" for name, n in pairs}
    return [f"{known[n.serial]} &= {expression(n, style, lambda v: known.get(v.serial), top=True)[0]}" for _, n in pairs]
