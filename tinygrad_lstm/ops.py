"""The table. Everything the library knows about an operation is its row, and a row is one place.

An elementwise row gives the eager function, the derivative of every order, the fused kernels (the rule is traced on
Nodes), the label, the LaTeX, the documentation line, and, by `domain`, its tests. Calculus only: broadcasting is undone
in `autodiff`, and the rows of arrays further down are closed under differentiation, so order 2 is not a special case.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from . import threads
from .errors import ArgumentError, ShapeError, TraceError, message
from .graph import NUMBERS, OPS, Op, Slot, Value, apply, broadcast_axes

Function = Callable[..., Any]


# ------------------------------------------------------------------------------------------- making rows and functions
def function(op: Op) -> Function:
    """The public function of an elementwise row: Tensors, Nodes, arrays and numbers -> the value of the row."""
    if op.arity == 1:

        def call(x: Any, /) -> Any:
            return x.apply(op, x) if isinstance(x, Value) else Value.eager(op, x)

    elif op.arity == 2:

        def call(a: Any, b: Any, /) -> Any:  # type: ignore[misc]
            return apply(op, a, b)

    else:

        def call(*args: Any) -> Any:  # type: ignore[misc]
            if len(args) != op.arity:
                raise ArgumentError(
                    message(op.name, f"takes {op.arity} arguments ({', '.join(op.names)}), got {len(args)}")
                )
            return apply(op, *args)

    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.doc if op.name in _users else _documented(op)
    positional = inspect.Parameter.POSITIONAL_ONLY
    call.__signature__ = inspect.Signature([inspect.Parameter(n, positional) for n in op.names])  # type: ignore[attr-defined]
    call.op = op  # type: ignore[attr-defined]
    return call


_users: set[str] = set()  # names of rows that `elementwise` added


def _documented(op: Op) -> str:
    """A row's line, how it takes its arguments, and one value of it as an example."""
    sample = [round(low + (0.75 - 0.15 * k) * (high - low), 2) for k, (low, high) in enumerate(op.domain)]
    value = op.numpy(*[np.float32(a) for a in sample])
    call = f"tl.{op.name}({', '.join(map(str, sample))}).item()"
    shown = (
        f">>> {call}\n    {bool(value)}"
        if value.dtype == bool
        else f">>> round({call}, 3)\n    {round(float(value), 3)}"
    )
    return f"""{op.doc}.

    Elementwise over {", ".join(f"`{n}`" for n in op.names)}, with NumPy's broadcasting: Tensors, arrays, lists, values in the body of a
    cell, or Python numbers, which are float32 and never widen a dtype.

    Examples
    --------
    {shown}
    """


def elementwise_row(
    name: str,
    code: str,
    numpy: Function,
    vjp: Any,
    *,
    arity: int | None = None,
    symbol: str | None = None,
    latex: str | None = None,
    infix: int = 0,
    domain: Sequence[tuple[float, float]] = (),
    jit: bool = False,
    doc: str = "",
) -> Function:
    arity = arity or (len(vjp) if isinstance(vjp, tuple) else 1)
    names = {1: ("x",), 2: ("a", "b")}.get(arity, tuple("abcdefgh"[:arity]))
    symbol = symbol if symbol is not None else name
    if latex is None:
        latex = rf"\mathrm{{{{{symbol}}}}}\left(" + ", ".join(f"{{{k}}}" for k in range(arity)) + r"\right)"
    op = Op(
        name,
        arity,
        numpy,
        vjp,
        code,
        broadcast_axes,
        symbol,
        latex,
        infix,
        tuple(domain) or ((-3.0, 3.0),) * arity,
        jit,
        doc,
        names,
    )
    OPS[name] = op
    return function(op)


def array_row(name: str, numpy: Function, vjp: Any = None, *, arity: int | None = 1, axes: Any = None, symbol: str = "", latex: str = "", doc: str = "", names: tuple[str, ...] = ("a",), arrays: Any = None) -> Op:  # fmt: skip
    OPS[name] = op = Op(name, arity, numpy, vjp, None, axes, symbol or name, latex, 0, (), False, doc, names, arrays)
    return op


# ------------------------------------------------------------------------------------------ eager kernels NumPy has not
def _sigmoid(x):
    z = np.exp(-np.abs(x))  # in (0, 1]: neither tail overflows or loses relative accuracy
    return np.where(x >= 0, 1, z) / (1 + z)


def _softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def _erf(x):
    x = np.asarray(x)
    return np.asarray(_erf_each(x), dtype=x.dtype if x.dtype.kind == "f" else np.float64)


_erf_each = np.frompyfunc(math.erf, 1, 1)


def _where(condition, a, b):
    if (
        type(a) in NUMBERS and type(b) in NUMBERS and not type(a) is type(b) is bool
    ):  # (np.float64 is a float, but no Python number)
        a = np.float32(a)  # two Python numbers: float32, as everywhere
    return np.where(condition, a, b)


def _normal_cdf(x):
    return 0.5 * (1 + erf(x * math.sqrt(0.5)))


def _pow_base(g, y, a, b):
    if isinstance(b, Value):
        a = where(logical_and(equal(a, 0), equal(b, 0)), 1.0, a)  # 0**0 is 1, and does not move with its base
        return g * (b * a ** (b - 1))
    return g * 0.0 if b == 0 else g if b == 1 else g * (b * a ** (b - 1))


def _pow_exponent(g, y, a, b):
    if isinstance(a, Value):
        still = logical_and(
            equal(a, 0), greater_equal(b, 0)
        )  # 0**b does not move with b; log 0 must not be met, in any order
        return g * where(still, 0.0, y * log(where(still, 1.0, a)))
    return g * (y * math.log(a)) if a > 0 else g * (y * 0.0 if a == 0 else y * math.nan)


_LARGER, _LOWER = "({0} if {0} >= {1} or {0} != {0} else {1})", "({0} if {0} <= {1} or {0} != {0} else {1})"


def _split_tie(first: bool):
    """max(a, b) and min(a, b) move with the one chosen; at a tie each gets half."""
    return lambda g, y, a, b: where(equal(a, b), 0.5 * g, where(equal(y, a if first else b), g, 0.0))


# ----------------------------------------------------------------------------------------------- the elementwise table
# Rules that mention rows further down: known to a type checker from here on.
sign: Function
floor: Function
cos: Function
cosh: Function
where: Function
less_equal: Function
minimum: Function

# fmt: off
#                 name        scalar code                 numpy         vjp, one rule (g, y, *args) an argument
add = elementwise_row("add", "({0} + {1})", np.add, (lambda g, y, a, b: g, lambda g, y, a, b: g), symbol="+", latex="{0} + {1}", infix=1, doc="a + b")
sub = elementwise_row("sub", "({0} - {1})", np.subtract, (lambda g, y, a, b: g, lambda g, y, a, b: -g), symbol="-", latex="{0} - {1}", infix=1, doc="a - b")
mul = elementwise_row("mul", "({0} * {1})", np.multiply, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a), symbol="*", latex=r"{0} \odot {1}", infix=2, doc="a * b, elementwise (the Hadamard product)")
div = elementwise_row("div", "({0} / {1})", np.true_divide, (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b), symbol="/", latex="{0} / {1}", infix=2, domain=((-3, 3), (0.3, 3)), doc="a / b")
pow = elementwise_row("pow", "({0} ** {1})", np.power, (_pow_base, _pow_exponent), symbol="**", latex="{{{0}}}^{{{1}}}", infix=4, domain=((0.2, 3), (-2, 2)), doc="a ** b")
floor_divide = elementwise_row("floor_divide", "({0} // {1})", np.floor_divide, (None, None), symbol="//", latex=r"\lfloor {0} / {1} \rfloor", infix=2, domain=((-3, 3), (0.3, 3)), doc="The largest integer not above a / b; the derivative is 0")
mod = elementwise_row("mod", "({0} % {1})", np.mod, (lambda g, y, a, b: g, lambda g, y, a, b: -g * floor(a / b)), symbol="%", latex=r"{0} \bmod {1}", infix=2, domain=((-3, 3), (0.3, 3)), doc="a - b * floor(a / b): the remainder, with the sign of b")
neg = elementwise_row("neg", "(-{0})", np.negative, (lambda g, y, x: -g,), symbol="-", latex="-{0}", infix=3, doc="-x")
abs = elementwise_row("abs", "abs({0})", np.absolute, (lambda g, y, x: g * sign(x),), latex=r"\left|{0}\right|", doc="|x|; the derivative at 0 is 0")
exp = elementwise_row("exp", "exp({0})", np.exp, (lambda g, y, x: g * y,), latex=r"\exp\left({0}\right)", jit=True, doc="e**x")
expm1 = elementwise_row("expm1", "expm1({0})", np.expm1, (lambda g, y, x: g * (y + 1),), jit=True, doc="e**x - 1, accurate near 0")
log = elementwise_row("log", "log({0})", np.log, (lambda g, y, x: g / x,), latex=r"\log\left({0}\right)", domain=((0.1, 5),), jit=True, doc="The natural logarithm")
log1p = elementwise_row("log1p", "log1p({0})", np.log1p, (lambda g, y, x: g / (1 + x),), domain=((-0.8, 5),), jit=True, doc="log(1 + x), accurate near 0")
sqrt = elementwise_row("sqrt", "sqrt({0})", np.sqrt, (lambda g, y, x: 0.5 * g / y,), latex=r"\sqrt{{{0}}}", domain=((0.1, 5),), doc="The square root")
square = elementwise_row("square", "({0} * {0})", np.square, (lambda g, y, x: 2 * g * x,), latex="{{{0}}}^2", doc="x * x")
reciprocal = elementwise_row("reciprocal", "(1 / {0})", np.reciprocal, (lambda g, y, x: -g * y * y,), latex="1 / {0}", domain=((0.3, 3),), doc="1 / x")
sin = elementwise_row("sin", "sin({0})", np.sin, (lambda g, y, x: g * cos(x),), latex=r"\sin\left({0}\right)", doc="sin x, x in radians")
cos = elementwise_row("cos", "cos({0})", np.cos, (lambda g, y, x: -g * sin(x),), latex=r"\cos\left({0}\right)", doc="cos x, x in radians")
tan = elementwise_row("tan", "tan({0})", np.tan, (lambda g, y, x: g * (1 + y * y),), latex=r"\tan\left({0}\right)", domain=((-1.3, 1.3),), doc="tan x, x in radians")
sinh = elementwise_row("sinh", "sinh({0})", np.sinh, (lambda g, y, x: g * cosh(x),), latex=r"\sinh\left({0}\right)", doc="(e**x - e**-x) / 2")
cosh = elementwise_row("cosh", "cosh({0})", np.cosh, (lambda g, y, x: g * sinh(x),), latex=r"\cosh\left({0}\right)", doc="(e**x + e**-x) / 2")
tanh = elementwise_row("tanh", "tanh({0})", np.tanh, (lambda g, y, x: g * (1 - y * y),), latex=r"\tanh\left({0}\right)", jit=True, doc="(e**x - e**-x) / (e**x + e**-x)")
sigmoid = elementwise_row("sigmoid", "sigmoid({0})", _sigmoid, (lambda g, y, x: g * (y * (1 - y)),), latex=r"\sigma\left({0}\right)", jit=True, doc="1 / (1 + e**-x), accurate in both tails")
relu = elementwise_row("relu", "({0} if not {0} <= 0 else 0)", lambda x: np.maximum(x, 0), (lambda g, y, x: where(less_equal(x, 0), 0.0, g),), doc="max(x, 0); the derivative at 0 is 0")
erf = elementwise_row("erf", "erf({0})", _erf, (lambda g, y, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x),), jit=True, doc="2/sqrt(pi) times the integral of e**(-t*t) from 0 to x")
softplus = elementwise_row("softplus", "softplus({0})", _softplus, (lambda g, y, x: g * sigmoid(x),), jit=True, doc="log(1 + e**x), without overflow")
silu = elementwise_row("silu", "({0} * sigmoid({0}))", lambda x: x * _sigmoid(x), (lambda g, y, x: g * (sigmoid(x) * (1 + x * (1 - sigmoid(x)))),), jit=True, doc="x * sigmoid(x) (Elfwing, Uchibe & Doya 2017)")
gelu = elementwise_row("gelu", "(0.5 * {0} * (1 + erf({0} * 0.7071067811865476)))", lambda x: 0.5 * x * (1 + _erf(x * math.sqrt(0.5))), (lambda g, y, x: g * (_normal_cdf(x) + x * exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))),), jit=True, doc="x times the normal distribution function of x (Hendrycks & Gimpel 2016, the exact form)")
leaky_relu_row = elementwise_row("leaky_relu", "({0} if not {0} <= 0 else {1} * {0})", lambda x, slope: np.where(x <= 0, slope * x, x), (lambda g, y, x, slope: where(less_equal(x, 0), slope * g, g), lambda g, y, x, slope: where(less_equal(x, 0), x * g, 0.0)), domain=((-3, 3), (0.01, 0.5)), doc="x where x > 0, else slope * x")
elu_row = elementwise_row("elu", "({0} if not {0} <= 0 else {1} * expm1({0}))", lambda x, alpha: np.where(x <= 0, alpha * np.expm1(np.minimum(x, 0)), x), (lambda g, y, x, alpha: where(less_equal(x, 0), g * alpha * exp(minimum(x, 0.0)), g), lambda g, y, x, alpha: where(less_equal(x, 0), g * expm1(minimum(x, 0.0)), 0.0)), domain=((-3, 3), (0.5, 2)), jit=True, doc="x where x > 0, else alpha * (e**x - 1) (Clevert, Unterthiner & Hochreiter 2015)")
sign = elementwise_row("sign", "(1 if {0} > 0 else (-1 if {0} < 0 else 0 * {0}))", np.sign, (None,), doc="-1, 0 or 1; the derivative is 0")
floor = elementwise_row("floor", "floor({0})", np.floor, (None,), latex=r"\lfloor {0} \rfloor", doc="The largest integer not above x; the derivative is 0")
maximum = elementwise_row("maximum", _LARGER, np.maximum, (_split_tie(True), _split_tie(False)), symbol="max", latex=r"\max\left({0}, {1}\right)", doc="The larger of a and b; NaN if one is NaN. At a tie each gets half of the gradient")
minimum = elementwise_row("minimum", _LOWER, np.minimum, (_split_tie(True), _split_tie(False)), symbol="min", latex=r"\min\left({0}, {1}\right)", doc="The smaller of a and b; NaN if one is NaN. At a tie each gets half of the gradient")
where = elementwise_row("where", "({1} if {0} else {2})", _where, (None, lambda g, y, c, a, b: where(c, g, 0.0), lambda g, y, c, a, b: where(c, 0.0, g)), latex=r"\left({1} \text{{ if }} {0} \text{{ else }} {2}\right)", doc="a where the condition c holds, else b")
less = elementwise_row("less", "({0} < {1})", np.less, (None, None), symbol="<", latex="{0} < {1}", infix=-1, doc="a < b")
less_equal = elementwise_row("less_equal", "({0} <= {1})", np.less_equal, (None, None), symbol="<=", latex=r"{0} \le {1}", infix=-1, doc="a <= b")
greater = elementwise_row("greater", "({0} > {1})", np.greater, (None, None), symbol=">", latex="{0} > {1}", infix=-1, doc="a > b")
greater_equal = elementwise_row("greater_equal", "({0} >= {1})", np.greater_equal, (None, None), symbol=">=", latex=r"{0} \ge {1}", infix=-1, doc="a >= b")
equal = elementwise_row("equal", "({0} == {1})", np.equal, (None, None), symbol="==", latex="{0} = {1}", infix=-1, doc="a == b")
not_equal = elementwise_row("not_equal", "({0} != {1})", np.not_equal, (None, None), symbol="!=", latex=r"{0} \ne {1}", infix=-1, doc="a != b")
logical_and = elementwise_row("logical_and", "({0} and {1})", np.logical_and, (None, None), symbol="and", latex=r"{0} \land {1}", infix=-2, doc="a and b")
logical_or = elementwise_row("logical_or", "({0} or {1})", np.logical_or, (None, None), symbol="or", latex=r"{0} \lor {1}", infix=-2, doc="a or b")
logical_not = elementwise_row("logical_not", "(not {0})", np.logical_not, (None,), symbol="not", latex=r"\lnot {0}", doc="not x")
detach = elementwise_row("detach", "{0}", lambda x: x, None, latex="{0}", doc="x, as a constant: no gradient flows through")
# fmt: on


clip_row = elementwise_row(
    "clip",
    _LOWER.format(_LARGER, "{2}"),
    lambda x, low, high: np.minimum(np.maximum(x, low), high),
    (
        lambda g, y, x, low, high: where(logical_or(less(x, low), greater(x, high)), 0.0, g),
        lambda g, y, x, low, high: where(logical_and(less(x, low), less_equal(low, high)), g, 0.0),
        lambda g, y, x, low, high: where(greater(maximum(x, low), high), g, 0.0),
    ),
    domain=((-3, 3), (-2, -1), (1, 2)),
    doc="x limited to [low, high]; on the boundary the gradient is x's",
)


def elementwise(
    name: str,
    *,
    code: str,
    vjp: Any,
    symbol: str | None = None,
    latex: str | None = None,
    numpy: Function | None = None,
    domain: Sequence[tuple[float, float]] = (),
    doc: str = "",
) -> Function:
    """Add an elementwise operation to the table, for Tensors, cells, fused functions and drawings at once.

    Parameters
    ----------
    name : the name of the function and of its row. A name of the library cannot be taken; your own may be redefined.
    code : a Python expression in `{0}`, `{1}`, ... (the arguments), for one element: `"{0} / (1 + abs({0}))"`. It may use
        arithmetic, comparisons, `and`, `or`, `not`, `a if c else b`, and abs, min, max, floor, sqrt, exp, expm1, log, log1p,
        sin, cos, tan, sinh, cosh, tanh, sigmoid, softplus, erf. It is inlined into compiled kernels.
    vjp : the derivative, `(g, y, *args) -> tuple` with one cotangent per argument (None where there is none), written
        with operators and functions of `tl`, so that it can itself be differentiated. Or a tuple of such functions.
    symbol, latex : how it is written in labels and in equations. numpy : the eager function; derived from `code` if left out.
    domain : per argument the interval from which `check_grads` and tests may draw.

    Returns
    -------
    The function, taking Tensors, arrays or numbers, with NumPy's broadcasting.

    Raises
    ------
    ArgumentError : `code` is no expression of its arguments, or the name is taken.

    Examples
    --------
    >>> softsign = tl.elementwise("softsign", code="{0} / (1 + abs({0}))", vjp=lambda g, y, x: (g / (1 + abs(x)) ** 2,))
    >>> softsign(tl.tensor([1.0, -3.0]))
    tensor([ 0.5 , -0.75])
    """
    if not name.isidentifier():
        raise ArgumentError(message("elementwise", f"the name {name!r} is not an identifier"))
    if name in OPS and name not in _users:
        raise ArgumentError(
            message("elementwise", f"the name {name!r} is taken by the library", remedy="choose another name")
        )
    arity = 0
    while f"{{{arity}}}" in code:
        arity += 1
    if arity == 0:
        raise ArgumentError(
            message("elementwise", f"code {code!r} names no argument", remedy="write the arguments as {0}, {1}, ...")
        )
    if not (callable(vjp) or (isinstance(vjp, tuple) and len(vjp) == arity)):
        raise ArgumentError(
            message("elementwise", f"vjp must be a function (g, y, *args) -> tuple, or {arity} rules in a tuple")
        )
    derived = numpy_of_code(name, code, arity)
    text, names = _read_code(code, arity)
    for k, x in reversed(list(enumerate(names))):
        text = re.sub(rf"\b{x}\b", f"{{{k}}}", text)
    _users.add(name)
    return elementwise_row(
        name,
        f"({text})",
        numpy or derived,
        vjp,
        arity=arity,
        symbol=symbol,
        latex=latex,
        domain=domain,
        jit=True,
        doc=doc,
    )


# What generated kernels can call; a row's code may use these and arithmetic, comparisons, `and`, `or`, `not`, `a if c else b`.
CALLABLE = ("abs", "min", "max", "floor", "sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sigmoid", "softplus", "erf")  # fmt: skip
_ALLOWED = (
    ast.Expression, ast.Name, ast.Constant, ast.Load, ast.Call, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


class _Scalar(ast.NodeTransformer):
    """min and max of two as choices, which treat NaN alike in every dialect."""

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and len(node.args) == 2:
            a, b = (f"({ast.unparse(arg)})" for arg in node.args)
            return _expression((_LOWER if node.func.id == "min" else _LARGER).format(a, b))
        return node


class _Whole(ast.NodeTransformer):
    """Choices and logic of one element -> functions of whole arrays."""

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        self.generic_visit(node)
        return _call("where", node.test, node.body, node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        self.generic_visit(node)
        return _fold("logical_and" if isinstance(node.op, ast.And) else "logical_or", node.values)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        self.generic_visit(node)
        return _call("logical_not", node.operand) if isinstance(node.op, ast.Not) else node

    def visit_Compare(self, node: ast.Compare) -> Any:
        self.generic_visit(node)
        operands = [node.left, *node.comparators]
        links: list[ast.expr] = [
            ast.Compare(a, [op], [b]) for a, op, b in zip(operands, node.ops, operands[1:], strict=False)
        ]
        return _fold("logical_and", links)


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _call(name: str, *args: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def _fold(name: str, values: list[ast.expr]) -> ast.expr:
    out, *rest = values
    for value in rest:
        out = _call(name, out, value)
    return out


def _read_code(code: str, arity: int) -> tuple[str, list[str]]:
    """A user's scalar expression, checked, in the arguments x0, x1, ..."""
    names = [f"x{k}" for k in range(arity)]
    try:
        tree = ast.parse(code.format(*names), mode="eval")
    except (SyntaxError, IndexError, KeyError, ValueError) as error:
        raise ArgumentError(message("elementwise", f"code {code!r} is not an expression: {error}")) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in CALLABLE and node.id not in names:
            raise ArgumentError(
                message(
                    "elementwise",
                    f"code {code!r} uses {node.id!r}, which no kernel knows",
                    remedy=f"there are: {', '.join(CALLABLE)}",
                )
            )
        if not isinstance(node, _ALLOWED) or (isinstance(node, ast.Constant) and not isinstance(node.value, NUMBERS)):
            raise ArgumentError(message("elementwise", f"code {code!r} must be arithmetic on its arguments"))
    return ast.unparse(_Scalar().visit(tree)), names


def numpy_of_code(name: str, code: str, arity: int) -> Function:
    """The eager function of a scalar expression: its namesakes on arrays, `a if c else b` as a choice per element."""
    text, names = _read_code(code, arity)
    whole = ast.unparse(_Whole().visit(ast.parse(text, mode="eval")))
    scope = {op.name: op.numpy for op in OPS.values() if op.code is not None}
    return eval(compile(f"lambda {', '.join(names)}: {whole}", f"<{name}>", "eval"), scope)


# ------------------------------------------------------------------------------------------------------- rows of arrays
# Closed under differentiation: linear, linear_t, outer | sum_to, broadcast_to | sum | mean, spread | getitem, put | ...
def _product_axes(shapes: list, **_: Any) -> tuple:
    W, v = shapes
    if W is None or v is None:
        raise TraceError(
            message(
                "@", "a fused function is elementwise: it has no products", remedy="multiply outside, or declare a cell"
            )
        )
    if len(W) != 2 or "batch" in W or not v or "batch" not in v:
        raise TraceError(
            message(
                "@",
                "a product is `parameter @ value`, the parameter with two axes (rows columns)",
                {"left": _show(W), "right": _show(v)},
            )
        )
    if W[1] != v[-1]:
        raise ShapeError(
            message(
                "@",
                f"a parameter with axes '{W[0]} {W[1]}' multiplies a value with axis '{W[1]}', not '{v[-1]}'",
                {"left": _show(W), "right": _show(v)},
            )
        )
    return (*v[:-1], W[0])


class _show:
    def __init__(self, shape):
        self.shape = shape


def _product_t_axes(shapes: list, **_: Any) -> tuple:
    W, g = shapes
    return (*g[:-1], W[1])


def _outer_axes(shapes: list, **_: Any) -> tuple:
    g, v = shapes
    return (g[-1], v[-1])


def _flat(v):
    return v.reshape(math.prod(v.shape[:-1]), v.shape[-1])


def times(a, b):
    """a @ b of two matrices; big ones in blocks of rows (or columns), as many at a time as there are threads."""
    if a.size * b.shape[1] < BIG_PRODUCT:
        return a.dot(b)  # the same product, a quarter of a small one's time less
    out = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    if a.shape[0] >= 2 * BLOCK:
        threads.blocks(lambda lo, hi: np.matmul(a[lo:hi], b, out=out[lo:hi]), a.shape[0], BLOCK)
    else:
        threads.blocks(lambda lo, hi: np.matmul(a, b[:, lo:hi], out=out[:, lo:hi]), b.shape[1], BLOCK)
    return out


BIG_PRODUCT = 1 << 21  # multiplications that are worth a second thread
BLOCK = 128  # rows of a block: enough that packing the other factor for each costs little


def _rows_times(v, M):
    """Every row of v times M as one product: np.matmul of (T, B, n) would be T small ones."""
    return v @ M if v.ndim < 2 else times(v, M) if v.ndim == 2 else times(_flat(v), M).reshape(*v.shape[:-1], M.shape[1])


linear = array_row(
    "linear",
    lambda W, v: _rows_times(v, W.T),
    (lambda g, y, W, v: apply("outer_sum", g, v), lambda g, y, W, v: apply("linear_t", W, g)),
    arity=2,
    axes=_product_axes,
    symbol="@",
    latex="{0} {1}",
    names=("W", "v"),
    doc="W v, as equations have it, for every row v of a batch: (..., n), (m, n) -> (..., m)",
)
linear_t = array_row(
    "linear_t",
    lambda W, g: _rows_times(g, W),
    (lambda c, y, W, g: apply("outer_sum", g, c), lambda c, y, W, g: apply("linear", W, c)),
    arity=2,
    axes=_product_t_axes,
    symbol="T@",
    latex=r"{0}^\top {1}",
    names=("W", "g"),
    doc="The transposed product, W' g, for every row g: (..., m), (m, n) -> (..., n)",
)
outer_sum = array_row(
    "outer_sum",
    lambda g, v: _flat(g).T @ _flat(v),
    (lambda c, y, g, v: apply("linear", c, v), lambda c, y, g, v: apply("linear_t", c, g)),
    arity=2,
    axes=_outer_axes,
    symbol="outer",
    latex=r"\sum {0} {1}^\top",
    names=("g", "v"),
    doc="The sum over all rows of the outer products g v': (..., m), (..., n) -> (m, n)",
)


def _row_axes(name: str) -> Function:
    def axes(shapes: list, axis: Any = None, keepdims: bool = False, **_: Any) -> tuple:
        (shape,) = shapes
        if shape is None or axis not in (-1, (-1,)) or not keepdims or len(shape) < 2:
            raise TraceError(
                message(
                    name,
                    "in a declared body reduces the last axis of a value and keeps it",
                    remedy=f"write tl.{name}(a, axis=-1, keepdims=True)",
                )
            )
        return (*shape[:-1], 1)

    return axes


def _sum_to(x, shape):
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1)
    return np.sum(x, axis=axes, keepdims=True).reshape(shape) if axes else x


def _to_shape(shapes: list, shape: tuple) -> tuple:
    return shape


array_row("sum_to", _sum_to, (lambda g, y, x, shape: apply("broadcast_to", g, shape=x.shape),), axes=_to_shape, doc="The sum down to a shape that broadcasts to this one")
array_row("broadcast_to", lambda x, shape: np.broadcast_to(x, shape), (lambda g, y, x, shape: g,), axes=_to_shape)


def expand_reduced(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """Bring a reduction's cotangent (or result) back to the number of axes of its argument."""
    if keepdims or (isinstance(axis, int) and axis == -1 and keepdims):
        return g
    return apply("reshape", g, shape=_kept(x.shape, axis))


def _kept(shape: tuple, axis: Any) -> tuple:
    axes = (
        range(len(shape)) if axis is None else [a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))]
    )
    return tuple(1 if i in set(axes) else n for i, n in enumerate(shape))


def _reduced_count(shape: tuple, axis: Any) -> int:
    return math.prod(shape if axis is None else (shape[a] for a in (axis if isinstance(axis, tuple) else (axis,))))


def _extreme(g, y, x, axis, keepdims):
    """The gradient of max and min, shared evenly by all entries that attain it."""
    attains = where(equal(x, expand_reduced(y, y, x, axis, keepdims)), 1.0, 0.0)
    return expand_reduced(g, y, x, axis, keepdims) * attains / apply("sum", attains, axis=axis, keepdims=True)


def _top(x, axis):
    """The largest entries, taken out before an exponential; an empty axis has none and needs none."""
    return np.max(x, axis=axis, keepdims=True) if x.size else np.sum(x, axis=axis, keepdims=True)


def _logsumexp(x, axis, keepdims):
    top = _top(x, axis)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype, copy=False)
    y = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else np.squeeze(y, axis=axis)


def _softmax(x, axis):
    e = np.exp(x - _top(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


def _log_softmax(x, axis):
    x = x - _top(x, axis)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


def _spread_out(g, shape):
    """np.broadcast_to as an array of its own: the gradient of a sum is something one can write to."""
    out = np.empty(shape, g.dtype)
    out[...] = g
    return out


def _sum(x, axis, keepdims):
    return x.sum(axis=axis, keepdims=keepdims)


def _matmul(a, b):
    return times(a, b) if b.ndim == 2 == a.ndim else np.matmul(a, b)


def _matmul_arrays(g, y, wanted, a, b):
    if b.ndim == 2 == a.ndim:
        return times(g, b.T) if wanted[0] else None, times(a.T, g) if wanted[1] else None
    return np.matmul(g, b.mT) if wanted[0] else None, np.matmul(a.mT, g) if wanted[1] else None


# fmt: off
array_row("sum", _sum, (lambda g, y, x, axis, keepdims: apply("broadcast_to", expand_reduced(g, y, x, axis, keepdims), shape=x.shape),), axes=_row_axes("sum"), arrays=lambda g, y, wanted, x, axis, keepdims: (_spread_out(g if keepdims or g.ndim == 0 else g.reshape(_kept(x.shape, axis)), x.shape),))
array_row("mean", lambda x, axis, keepdims: np.mean(x, axis=axis, keepdims=keepdims), (lambda g, y, x, axis, keepdims: apply("spread", expand_reduced(g, y, x, axis, keepdims), shape=x.shape, axis=axis),), axes=_row_axes("mean"))
array_row("spread", lambda g, shape, axis: np.broadcast_to(g / _reduced_count(shape, axis), shape), (lambda c, y, g, shape, axis: apply("mean", c, axis=axis, keepdims=True),), axes=lambda shapes, shape, axis: shape, doc="g / n in each of the n places of a mean: the gradient of mean")
array_row("max", lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims), (_extreme,), axes=_row_axes("max"))
array_row("min", lambda x, axis, keepdims: np.min(x, axis=axis, keepdims=keepdims), (_extreme,), axes=_row_axes("min"))
array_row("argmax", lambda x, axis, keepdims: np.argmax(x, axis=axis, keepdims=keepdims))
array_row("argmin", lambda x, axis, keepdims: np.argmin(x, axis=axis, keepdims=keepdims))
array_row("cumsum", lambda x, axis: np.cumsum(x, axis=axis), (lambda g, y, x, axis: flipped(apply("cumsum", flipped(g, axis), axis=axis), axis),))
array_row("logsumexp", _logsumexp, (lambda g, y, x, axis, keepdims: expand_reduced(g, y, x, axis, keepdims) * exp(x - expand_reduced(y, y, x, axis, keepdims)),))
array_row("softmax", _softmax, (lambda g, y, x, axis: y * (g - apply("sum", g * y, axis=axis, keepdims=True)),))
array_row("log_softmax", _log_softmax, (lambda g, y, x, axis: g - exp(y) * apply("sum", g, axis=axis, keepdims=True),))
array_row("matmul", _matmul, (lambda g, y, a, b: apply("matmul", g, swapped(b)), lambda g, y, a, b: apply("matmul", swapped(a), g)), arity=2, symbol="@", names=("a", "b"), arrays=_matmul_arrays)
array_row("reshape", lambda x, shape: x.reshape(shape), (lambda g, y, x, shape: apply("reshape", g, shape=x.shape),))
array_row("transpose", lambda x, axes: x.transpose(axes), (lambda g, y, x, axes: apply("transpose", g, axes=inverse(axes)),))
array_row("getitem", lambda x, index: x[index], (lambda g, y, x, index: apply("put", g, index=index, shape=x.shape),), doc="x[index], as in NumPy")
array_row("astype", lambda x, dtype: x.astype(dtype), (lambda g, y, x, dtype: apply("astype", g, dtype=x.dtype),))
# fmt: on


def flipped(x: Any, axis: int) -> Any:
    return apply("getitem", x, index=(slice(None),) * (axis % len(x.shape)) + (slice(None, None, -1),))


def swapped(x: Any) -> Any:
    n = len(x.shape)
    return apply("transpose", x, axes=(*range(n - 2), n - 1, n - 2))


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _put(g, index, shape):
    """Zeros of `shape` with g added at index: what getitem takes out is put back, repeated entries summed."""
    z = np.zeros(shape, g.dtype)
    if all(
        isinstance(i, slice | int | type(Ellipsis) | None) for i in (index if isinstance(index, tuple) else (index,))
    ):
        z[index] = g
    else:
        np.add.at(z, index, g)
    return z


array_row("put", _put, (lambda c, y, g, index, shape: apply("getitem", c, index=index),), doc="Zeros with g added at an index: the gradient of getitem")


def _concatenate_vjp(g, y, *parts, axis):
    edges = np.cumsum([0] + [p.shape[axis] for p in parts])
    lead = (slice(None),) * axis
    return tuple(
        apply("getitem", g, index=(*lead, slice(int(a), int(b)))) for a, b in pairwise(edges)
    )


array_row(
    "concatenate",
    lambda *parts, axis: np.concatenate(parts, axis=axis),
    _concatenate_vjp,
    arity=None,
    symbol="concat",
    names=(),
)


def _einsum_vjp(g, y, *operands, subscripts):
    """Each operand's cotangent is the same sum with its own labels and the result's exchanged."""
    inputs, output = subscripts.split("->")
    labels = inputs.split(",")
    terms = []
    for k, (own, x) in enumerate(zip(labels, operands, strict=True)):
        rest = [labels[j] for j in range(len(labels)) if j != k]
        known = set(output).union(*rest)
        kept = "".join(c for c in own if c in known)
        others = [operands[j] for j in range(len(labels)) if j != k]
        t = apply("einsum", g, *others, subscripts=",".join([output, *rest]) + "->" + kept)
        if kept != own:  # a label summed over this operand alone: the cotangent is constant along it
            sizes = dict(zip(kept, t.shape, strict=True))
            t = apply("reshape", t, shape=tuple(sizes.get(c, 1) for c in own))
            t = apply("broadcast_to", t, shape=tuple(sizes.get(c, n) for c, n in zip(own, x.shape, strict=True)))
        terms.append(t)
    return tuple(terms)


array_row(
    "einsum",
    lambda *operands, subscripts: np.einsum(subscripts, *operands, optimize=len(operands) > 2),
    _einsum_vjp,
    arity=None,
    names=(),
)
array_row("item", lambda bundle, index: bundle[index], (lambda g, y, bundle, index: Slot(index, g),), symbol="part", doc="One of several results of an operation")
