"""Equations in text and in LaTeX, read off a graph: one equation a named quantity, everything unnamed written inline.

The text is Python: typed back into a body it makes the same graph, value for value (a new state carries a prime, and
a row reduction leaves out its axis, which is always the last one). The LaTeX is what a paper prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from .graph import Node, reachable

GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "chi",
    "psi",
    "omega",
]


_PRIME = "'"


@dataclass(frozen=True)
class Style:
    """How leaves, numbers, infix operations and calls are written."""

    leaf: Callable[[Node], str]
    number: Callable[[Any], str]
    latex: bool


SUM, PRODUCT, MATRIX, NEGATIVE, POWER, NAME = (
    1,
    2,
    1.75,
    3,
    4,
    9,
)  # how tightly; `a @ b` is bracketed in products, not in sums


def _text_number(value: Any) -> str:
    return repr(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else repr(value)


def _latex_number(value: Any) -> str:
    text = _text_number(value)
    mantissa, e, exponent = text.partition("e")
    if e:
        return (rf"{mantissa} \cdot " if mantissa != "1" else "") + f"10^{{{int(exponent)}}}"
    return {"inf": r"\infty", "-inf": r"-\infty", "nan": r"\mathrm{nan}"}.get(text, text)


def expression(node: Any, style: Style, known: Callable[[Node], str | None], top: bool = False) -> tuple[str, float]:
    """The text of a value and how tightly it binds (9: a name or a call). `known` values are written by their name.

    Works through an explicit stack: an unnamed chain may be as long as it likes.
    """
    done: dict[int, tuple[str, float]] = {}
    stack: list[Any] = [node]

    def of(value: Any) -> tuple[str, float] | None:
        if not isinstance(value, Node):
            text = style.number(value)
            return text, NEGATIVE if text.startswith("-") else PRODUCT if " " in text else NAME
        if not (top and value is node):
            name = known(value)
            if name is not None:
                return name, NAME
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


def _write(node: Node, args: Sequence[Any], style: Style) -> tuple[str, float]:
    if node.op is None:
        return style.leaf(node), NAME
    return (_write_latex if style.latex else _write_text)(node, args)


def _write_text(node: Node, args: Sequence[Any]) -> tuple[str, float]:
    op = node.op
    assert op is not None

    def bracket(part: tuple[str, float], level: float) -> str:
        return part[0] if part[1] >= level else f"({part[0]})"

    if op.name == "linear":
        return f"{bracket(args[0], PRODUCT)} @ {bracket(args[1], NEGATIVE)}", MATRIX
    if op.name == "pow":  # binds to the right
        return f"{bracket(args[0], POWER + 1)} ** {bracket(args[1], POWER)}", POWER
    if op.name == "neg":
        return f"-{bracket(args[0], POWER)}", NEGATIVE
    if op.infix > 0:
        return f"{bracket(args[0], op.infix)} {op.symbol} {bracket(args[1], op.infix + 0.5)}", op.infix
    if op.infix == -1:
        return f"{bracket(args[0], SUM)} {op.symbol} {bracket(args[1], SUM)}", 0
    return f"{op.name}({', '.join(text for text, _ in args)})", NAME


def _write_latex(node: Node, args: Sequence[Any]) -> tuple[str, float]:
    op = node.op
    assert op is not None
    texts = [text for text, _ in args]

    def bracket(part: tuple[str, float], level: float, inside: bool = False) -> str:
        text, binds = part
        return rf"\left({text}\right)" if binds < level or (inside and text.startswith("-")) else text

    if op.name == "linear":
        return f"{bracket(args[0], POWER + 1)} {bracket(args[1], NAME)}", PRODUCT
    if op.name in ("div", "reciprocal"):
        return rf"\frac{{{texts[0] if op.name == 'div' else 1}}}{{{texts[-1]}}}", POWER
    if op.name in ("pow", "square"):
        return f"{{{bracket(args[0], POWER + 1)}}}^{{{texts[1] if op.name == 'pow' else 2}}}", POWER
    if op.name == "neg":
        return f"-{bracket(args[0], PRODUCT, inside=True)}", NEGATIVE
    if op.name == "mul":
        left, right = bracket(args[0], PRODUCT), bracket(args[1], PRODUCT, inside=True)
        dot = r"\odot" if all(isinstance(a, Node) for a in node.args) else r"\cdot" if right[0].isdigit() else r"\,"
        return f"{left} {dot} {right}", PRODUCT
    if op.infix > 0:
        right = bracket(args[1], op.infix if op.name == "add" else op.infix + 0.5, inside=True)
        return op.latex.format(bracket(args[0], op.infix), right), op.infix
    if op.infix < 0:
        return op.latex.format(*[bracket(a, SUM) for a in args]), 0
    if op.name == "logical_not":
        return op.latex.format(bracket(args[0], NAME)), NAME
    if op.elementwise:  # a row named `leaky_relu` is no `leaky` with an index
        return op.latex.replace(op.symbol, op.symbol.replace("_", r"\_")).format(*texts), NAME
    return rf"\mathrm{{{op.name}}}\left({', '.join(texts)}\right)", NAME


# --------------------------------------------------------------------------------------------------------- of a cell
def equations(graph: Any) -> list[tuple[str, Node]]:
    """(name, value) of every quantity with an equation of its own, in the order of computation.

    The new value of a state has the state's name with a prime, a local variable its own name. A local that covers the
    name of an argument (`x = W.x @ x`) is x_1. What is written out twice otherwise gets a name too: after the variable
    of the function that computed it, and after the quantity that it is for (`centred_i`).
    """
    order = {n.serial: n for n in reachable(graph.roots)}
    names: dict[int, str] = {}
    taken = {str(n.name).partition(".")[0] for n in [*graph.inputs, *graph.states, *graph.parameters.values()]}

    def give(value: Node, name: str) -> None:
        if value.op is None or value.serial not in order or value.serial in names:
            return
        free = (n for k in count() if (n := f"{name}_{k}" if k else name) not in taken)
        names[value.serial] = next(free)
        taken.add(names[value.serial])

    for state, value in zip(graph.states, graph.new_states, strict=True):
        give(value, f"{state.name}'")
    for name, value in graph.names.items():
        give(value, name)
    give(graph.output, "output")

    readers: dict[int, int] = {}
    for n in order.values():
        for a in n.args:
            if isinstance(a, Node):
                readers[a.serial] = readers.get(a.serial, 0) + 1
    for serial in sorted(names):
        stack, entered = list(order[serial].args), set()
        while stack:
            n = stack.pop()
            if not isinstance(n, Node) or n.op is None or n.serial in names or n.serial in entered:
                continue
            entered.add(n.serial)
            stack.extend(n.args)
        for shared in sorted(entered):
            if readers[shared] > 1 and any(isinstance(a, Node) and a.op is not None for a in order[shared].args):
                give(order[shared], f"{graph.hints.get(shared, 'part')}_{names[serial].rstrip(_PRIME)}")
    return [(names[s], order[s]) for s in sorted(names)]


def _kept(graph: Any, name: Callable[[Node], str]) -> list[tuple[Node, str]]:
    """(state, what it becomes) for states whose new value has its equation under another name, or none: c' = h."""
    own = {n.serial: title for title, n in equations(graph)}
    pairs = zip(graph.states, graph.new_states, strict=True)
    return [(s, name(v)) for s, v in pairs if own.get(v.serial) != f"{s.name}'"]


def text_style() -> Style:
    return Style(lambda n: str(n.name), _text_number, False)


def equation_lines(graph: Any) -> list[tuple[str, str]]:
    """(name, right-hand side) as text."""
    pairs = equations(graph)
    known = {n.serial: name for name, n in pairs}
    lines = [(name, expression(n, text_style(), lambda v: known.get(v.serial), top=True)[0]) for name, n in pairs]
    return lines + [(f"{s.name}'", value) for s, value in _kept(graph, lambda v: known.get(v.serial) or str(v.name))]


def _word(name: str) -> str:
    """One letter in italics, a word upright."""
    return name if len(name) == 1 else r"\mathrm{" + name.replace("_", r"\ ") + "}"


def latex_name(name: str) -> str:
    """`h` `c_bar` `gamma` `tanh_c` as mathematics."""
    head, _, rest = name.partition("_")
    head = f"\\{head}" if head in GREEK else _word(head)
    return f"{head}^{{{_word(rest)}}}" if rest else head


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
        return f"{latex_name(family)}_{{{_word(member)}}}"

    style = Style(leaf, _latex_number, True)
    known = {
        n.serial: latex_name(name.rstrip(_PRIME)) + ("_t" if "batch" in (n.shape or ()) else "") for name, n in pairs
    }
    lines = [
        f"{known[n.serial]} &= {expression(n, style, lambda v: known.get(v.serial), top=True)[0]}" for _, n in pairs
    ]
    return lines + [
        f"{latex_name(str(s.name))}_t &= {value}" for s, value in _kept(graph, lambda v: known.get(v.serial) or leaf(v))
    ]
