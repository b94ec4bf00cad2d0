"""The table's rows in the words of ONNX.

An elementwise row is translated from its own scalar code, so that every row of the table, a user's too, has an export
the day it is written; a few have an operator of their own in ONNX, which runtimes know better. The rows of arrays are
written out. `TRANSLATIONS[name](builder, call)` writes the nodes of one operation and returns its value.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Node, Op, reachable
from .builder import BOOL, INT, Builder, Term
from .history import Counted, Filled, Size, Unexplained

LAST, FIRST = np.iinfo(np.int64).max, np.iinfo(np.int64).min


@dataclass(frozen=True)
class Call:
    """One operation: its arguments (Terms and Python numbers), attributes, and the dtype and shape of its value.

    An array among the attributes that is a value of the graph is a Term there. dtype and the shapes, of the value and of
    the first argument, are None in a body.
    """

    op: Op
    args: list[Any]
    attr: dict[str, Any]
    dtype: np.dtype | None = None
    shape: Callable[[], tuple[Any, ...]] | None = None
    before: Callable[[], tuple[Any, ...]] | None = None


TRANSLATIONS: dict[str, Callable[[Builder, Call], Term]] = {}


def row(*names: str) -> Callable[[Callable[[Builder, Call], Term]], Callable[[Builder, Call], Term]]:
    def enter(function: Callable[[Builder, Call], Term]) -> Callable[[Builder, Call], Term]:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return enter


def translate(b: Builder, call: Call) -> Term:
    """The value of one operation. Raises Unexplained if ONNX has no means for it."""
    known = TRANSLATIONS.get(call.op.name)
    if known is not None:
        out = known(b, call)
    elif call.op.graph is not None:
        out = fused(b, call)
    elif call.op.code is not None:
        out = lifted(b, from_code(b, call.op.code, call.args))
    else:
        raise Unexplained("ONNX has no translation for it here")
    return out if call.dtype is None else b.cast(out, call.dtype)


def fused(b: Builder, call: Call) -> Term:
    """A function of `tl.fuse`: its rows one by one."""
    assert call.op.graph is not None
    leaves, result = call.op.graph
    values: dict[int, Any] = {leaf.serial: a for leaf, a in zip(leaves, call.args, strict=True)}
    for node in reachable([result]):
        if node.op is not None:
            args = [values[a.serial] if isinstance(a, Node) else a for a in node.args]
            values[node.serial] = translate(b, Call(node.op, args, node.attr))
    return values[result.serial]


# ------------------------------------------------------------------------------------------------------ scalar code
def common(b: Builder, *values: Any) -> np.dtype:
    """The dtype of a combination, by NumPy's rules: Python numbers do not widen."""
    dtype = np.result_type(*[v.dtype if isinstance(v, Term) else 1 if isinstance(v, Size) else v for v in values])
    terms = [v for v in values if isinstance(v, Term)]
    if dtype == np.float64 and not any(t.dtype == dtype for t in terms):
        if b.real is not None:
            return np.dtype(b.real)
        if not any(t.dtype.kind in "iu" for t in terms) and not any(t.dtype == BOOL for t in terms):
            return np.dtype(np.float32)
    return dtype


def lifted(b: Builder, value: Any, dtype: Any = None) -> Term:
    if isinstance(value, Term):
        return value if dtype is None else b.cast(value, dtype)
    if isinstance(value, Size):
        return b.cast(b.scalar(value), dtype or INT)
    return b.constant(np.array(value, dtype or common(b, value)))


def binary(b: Builder, kind: str, x: Any, y: Any, result: Any = None) -> Term:
    dtype = common(b, x, y)
    return b.op(kind, lifted(b, x, dtype), lifted(b, y, dtype), dtype=result or dtype)


def unary(b: Builder, kind: str, x: Any) -> Term:
    """A function of floats; integers become floats first."""
    dtype = common(b, x)
    dtype = dtype if dtype.kind == "f" else np.dtype(b.real or np.float64)
    return b.op(kind, lifted(b, x, dtype))


def divide(b: Builder, x: Any, y: Any) -> Term:
    dtype = common(b, x, y)
    dtype = dtype if dtype.kind == "f" else np.dtype(b.real or np.float64)
    return b.op("Div", lifted(b, x, dtype), lifted(b, y, dtype))


def floor_divide(b: Builder, x: Any, y: Any) -> Term:
    if common(b, x, y).kind == "f":
        return b.op("Floor", binary(b, "Div", x, y))
    return binary(b, "Div", binary(b, "Sub", x, binary(b, "Mod", x, y)), y)


def remainder(b: Builder, x: Any, y: Any) -> Term:
    """The remainder with the sign of y."""
    if common(b, x, y).kind != "f":
        return binary(b, "Mod", x, y)
    return binary(b, "Sub", x, binary(b, "Mul", y, floor_divide(b, x, y)))


def compare(b: Builder, kind: str, x: Any, y: Any) -> Term:
    dtype = common(b, x, y)
    if dtype == BOOL and kind not in ("Equal", "NotEqual"):
        dtype = np.dtype(np.int32)
    x, y = lifted(b, x, dtype), lifted(b, y, dtype)
    if kind == "NotEqual":
        return b.op("Not", b.op("Equal", x, y, dtype=BOOL))
    return b.op(kind, x, y, dtype=BOOL)


def choose(b: Builder, condition: Any, x: Any, y: Any) -> Term:
    if not isinstance(x, Term) and not isinstance(y, Term):
        dtype = BOOL if type(x) is type(y) is bool else np.dtype(b.real or np.float32)
    else:
        dtype = common(b, x, y)
    return b.op("Where", lifted(b, condition, BOOL), lifted(b, x, dtype), lifted(b, y, dtype), dtype=dtype)


def expm1(b: Builder, x: Any) -> Term:
    """2 t / (1 - t) with t = tanh(x / 2) near 0, where e**x - 1 would lose its digits."""
    t = unary(b, "Tanh", binary(b, "Mul", x, 0.5))
    near = divide(b, binary(b, "Mul", t, 2.0), binary(b, "Sub", 1.0, t))
    far = binary(b, "Sub", unary(b, "Exp", x), 1.0)
    return choose(b, compare(b, "Less", b.op("Abs", lifted(b, x)), 1.0), near, far)


def log1p(b: Builder, x: Any) -> Term:
    """x log(u) / (u - 1) with u = 1 + x as rounded near 0 (Goldberg 1991, theorem 4), log(u) elsewhere."""
    u = binary(b, "Add", x, 1.0)
    log = unary(b, "Log", u)
    near = divide(b, binary(b, "Mul", x, log), binary(b, "Sub", u, 1.0))
    far = choose(b, compare(b, "Less", b.op("Abs", lifted(b, x)), 1.0), near, log)
    return choose(b, compare(b, "Equal", u, 1.0), x, far)


# fmt: off
_FUNCTIONS: dict[str, Any] = {
    "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "sin": "Sin", "cos": "Cos", "tan": "Tan", "sinh": "Sinh", "cosh": "Cosh",
    "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus", "erf": "Erf", "floor": "Floor",
    "expm1": expm1, "log1p": log1p,
    "abs": lambda b, x: b.op("Abs", lifted(b, x)),
    "max": lambda b, *xs: many(b, "Max", xs), "min": lambda b, *xs: many(b, "Min", xs),
}
_BINARY: dict[type, Any] = {
    ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Pow: "Pow",
    ast.Div: divide, ast.FloorDiv: floor_divide, ast.Mod: remainder,
}
_COMPARE: dict[type, str] = {
    ast.Lt: "Less", ast.LtE: "LessOrEqual", ast.Gt: "Greater", ast.GtE: "GreaterOrEqual", ast.Eq: "Equal", ast.NotEq: "NotEqual",
}
# fmt: on


def many(b: Builder, kind: str, xs: Sequence[Any]) -> Term:
    dtype = common(b, *xs)
    return b.op(kind, *[lifted(b, x, dtype) for x in xs], dtype=dtype)


def from_code(b: Builder, code: str, args: Sequence[Any]) -> Any:
    """A scalar expression of the table on whole arrays: `a if c else b` is a Where, the rest its namesakes."""
    names = [f"x{k}" for k in range(len(args))]
    return _expression(b, ast.parse(code.format(*names).strip(), mode="eval").body, dict(zip(names, args, strict=True)))


def _expression(b: Builder, node: ast.expr, scope: dict[str, Any]) -> Any:
    def of(child: ast.expr) -> Any:
        return _expression(b, child, scope)

    match node:
        case ast.Name(id=name):
            return scope[name]
        case ast.Constant(value=number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = of(operand)
            return b.op("Neg", value) if isinstance(value, Term) else -value
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return of(operand)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return b.op("Not", lifted(b, of(operand), BOOL))
        case ast.BinOp(left=left, op=op, right=right):
            x, y, means = of(left), of(right), _BINARY[type(op)]
            return binary(b, means, x, y) if isinstance(means, str) else means(b, x, y)
        case ast.BoolOp(op=op, values=values):
            out = lifted(b, of(values[0]), BOOL)
            for value in values[1:]:
                out = b.op("And" if isinstance(op, ast.And) else "Or", out, lifted(b, of(value), BOOL))
            return out
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            operands = [of(left), *map(of, comparators)]
            links = [compare(b, _COMPARE[type(o)], x, y) for x, o, y in zip(operands, ops, operands[1:], strict=False)]
            out = links[0]
            for link in links[1:]:
                out = b.op("And", out, link)
            return out
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return choose(b, of(test), of(body), of(orelse))
        case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
            means = _FUNCTIONS[name]
            return unary(b, means, of(args[0])) if isinstance(means, str) else means(b, *map(of, args))
    raise Unexplained(f"its code has no translation: {ast.unparse(node)}")


# ----------------------------------------------------------------------------- elementwise rows that ONNX has by itself
@row("detach")
def _same(b: Builder, call: Call) -> Term:
    return lifted(b, call.args[0])


@row("relu", "sign", "neg")
def _own(b: Builder, call: Call) -> Term:
    return b.op(call.op.name.capitalize(), lifted(b, call.args[0]))


@row("maximum", "minimum")
def _extreme_of_two(b: Builder, call: Call) -> Term:
    return many(b, call.op.name[:3].capitalize(), call.args)


@row("softplus")
def _softplus(b: Builder, call: Call) -> Term:
    """ONNX Runtime's own overflows in float64."""
    x = lifted(b, call.args[0])
    if x.dtype == np.float32:
        return b.op("Softplus", x)
    tail = log1p(b, unary(b, "Exp", b.op("Neg", b.op("Abs", x))))
    return binary(b, "Add", many(b, "Max", (x, 0.0)), tail)


@row("clip")
def _clip(b: Builder, call: Call) -> Term:
    x, low, high = call.args
    out = x if not isinstance(low, Term) and low == -math.inf else many(b, "Max", (x, low))
    return lifted(b, out if not isinstance(high, Term) and high == math.inf else many(b, "Min", (out, high)))


@row("where")
def _where(b: Builder, call: Call) -> Term:
    return choose(b, *call.args)


@row("isnan")
def _isnan(b: Builder, call: Call) -> Term:
    return b.op("IsNaN", call.args[0], dtype=BOOL)


@row("isinf")
def _isinf(b: Builder, call: Call) -> Term:
    return b.op("IsInf", call.args[0], dtype=BOOL)


# ------------------------------------------------------------------------------------------------------- reductions
def _places(axis: Any, ndim: int) -> list[int]:
    if axis is None:
        return list(range(ndim))
    return [a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))]


def _reduced(b: Builder, kind: str, x: Term, call: Call) -> Term:
    axes = _places(call.attr["axis"], x.ndim)
    return b.reduce(kind, x, axes, call.attr["keepdims"]) if axes else x


@row("sum", "mean")
def _sum(b: Builder, call: Call) -> Term:
    x = call.args[0] if call.dtype is None else b.cast(call.args[0], call.dtype)
    x = b.cast(x, b.real) if x.dtype == BOOL and b.real is not None else x
    return _reduced(b, f"Reduce{call.op.name.capitalize()}", x, call)


@row("max", "min")
def _max(b: Builder, call: Call) -> Term:
    x = b.cast(call.args[0], np.int32) if call.args[0].dtype == BOOL else call.args[0]
    return _reduced(b, f"Reduce{call.op.name.capitalize()}", x, call)


@row("logsumexp")
def _logsumexp(b: Builder, call: Call) -> Term:
    return _reduced(b, "ReduceLogSumExp", lifted(b, call.args[0], call.dtype), call)


@row("argmax", "argmin")
def _argmax(b: Builder, call: Call) -> Term:
    x, axis, keepdims = call.args[0], call.attr["axis"], call.attr["keepdims"]
    kind = "ArgMax" if call.op.name == "argmax" else "ArgMin"
    if axis is None or x.ndim == 0:
        flat = b.op("Reshape", x, b.ints(-1), ndim=1)
        out = b.op(kind, flat, dtype=INT, ndim=0, axis=0, keepdims=0)
        return b.reshape(out, (1,) * x.ndim) if keepdims and x.ndim else out
    return b.op(kind, x, dtype=INT, ndim=x.ndim - (not keepdims), axis=axis, keepdims=int(keepdims))


@row("cumsum")
def _cumsum(b: Builder, call: Call) -> Term:
    x = b.cast(call.args[0], call.dtype)
    return b.op("CumSum", x, b.constant(np.array(call.attr["axis"], np.int64)))


@row("softmax")
def _softmax(b: Builder, call: Call) -> Term:
    return b.op("Softmax", lifted(b, call.args[0], call.dtype), axis=call.attr["axis"])


@row("log_softmax")
def _log_softmax(b: Builder, call: Call) -> Term:
    return b.op("LogSoftmax", lifted(b, call.args[0], call.dtype), axis=call.attr["axis"])


@row("standardise")
def _standardise(b: Builder, call: Call) -> Term:
    """(x - mean) / sqrt(variance + eps) over axis 1."""
    x = call.args[0]
    centred = b.op("Sub", x, b.reduce("ReduceMean", x, [1], True))
    variance = b.reduce("ReduceMean", b.op("Mul", centred, centred), [1], True)
    return b.op("Div", centred, b.op("Sqrt", binary(b, "Add", variance, call.attr["eps"])))


# --------------------------------------------------------------------------------------------------------- products
@row("matmul")
def _matmul(b: Builder, call: Call) -> Term:
    return binary(b, "MatMul", *call.args)


@row("linear")
def _linear(b: Builder, call: Call) -> Term:
    W, v = (b.cast(a, common(b, *call.args)) for a in call.args)
    if v.ndim == 2:
        return b.op("Gemm", v, W, transB=1)
    return b.op("MatMul", v, b.op("Transpose", W, perm=[1, 0]), ndim=v.ndim)


@row("einsum")
def _einsum(b: Builder, call: Call) -> Term:
    dtype = common(b, *call.args)
    terms = [b.cast(a, dtype) for a in call.args]
    return b.op("Einsum", *terms, ndim=len(call.attr["subscripts"].split("->")[1]), equation=call.attr["subscripts"])


# ------------------------------------------------------------------------------------------------------------ shapes
def _shape(call: Call) -> tuple[Any, ...]:
    assert call.shape is not None
    return call.shape()


@row("reshape")
def _reshape(b: Builder, call: Call) -> Term:
    """A reshape; where only axes of length 1 come or go, an Unsqueeze or Squeeze."""
    assert call.before is not None
    x, old, new = call.args[0], call.before(), _shape(call)
    if len(old) != len(new):
        places = _ones(old, new) if len(new) > len(old) else _ones(new, old)
        if places is not None:
            kind = "Unsqueeze" if len(new) > len(old) else "Squeeze"
            return b.op(kind, x, b.ints(*places), ndim=len(new))
    return b.reshape(x, new)


def _ones(short: Sequence[Any], long: Sequence[Any]) -> list[int] | None:
    """Where `long` has the axes of length 1 that `short` has not; None if that is not all."""
    places, k = [], 0
    for i, n in enumerate(long):
        if k < len(short) and short[k] == n:
            k += 1
        elif n == 1 and not isinstance(n, Size):
            places.append(i)
        else:
            return None
    return places if k == len(short) else None


@row("broadcast_to")
def _broadcast_to(b: Builder, call: Call) -> Term:
    shape = _shape(call)
    return b.op("Expand", call.args[0], b.shape(shape), ndim=len(shape))


@row("transpose")
def _transpose(b: Builder, call: Call) -> Term:
    return b.op("Transpose", call.args[0], perm=list(call.attr["axes"]))


@row("concatenate")
def _concatenate(b: Builder, call: Call) -> Term:
    dtype = common(b, *call.args)
    return b.op("Concat", *[b.cast(a, dtype) for a in call.args], axis=call.attr["axis"])


@row("astype")
def _astype(b: Builder, call: Call) -> Term:
    return b.cast(call.args[0], call.attr["dtype"])


@row("put")
def _put(b: Builder, call: Call) -> Term:
    """What `tl.pad` does: slices filled, zeros around."""
    index, shape = call.attr["index"], call.attr["shape"]
    index = index if isinstance(index, tuple) else (index,)
    if len(index) != len(shape) or not all(
        isinstance(i, slice) and i.step in (None, 1) and i.stop is not None for i in index
    ):
        raise Unexplained("entries put into zeros have a translation only as padding")
    before = [b.size(i.start or 0) for i in index]
    after = [b.op("Sub", b.size(n), b.size(i.stop)) for n, i in zip(shape, index, strict=True)]
    zero = b.constant(np.zeros((), call.args[0].dtype))
    return b.op(
        "Pad", call.args[0], b.op("Concat", *before, *after, axis=0), zero, ndim=call.args[0].ndim, mode="constant"
    )


@row("cross_entropy")
def _cross_entropy(b: Builder, call: Call) -> Term:
    """-log softmax(x)[k, target[k]] for every row k."""
    index = b.unsqueeze(array_term(b, call.attr["target"]), 1)
    return b.op("Neg", b.squeeze(b.op("GatherElements", b.op("LogSoftmax", call.args[0], axis=1), index, axis=1), 1))


@row("take_rows")
def _take_rows(b: Builder, call: Call) -> Term:
    index = array_term(b, call.attr["index"])
    return b.op("Gather", call.args[0], index, ndim=index.ndim + call.args[0].ndim - 1, axis=0)


@row("pick")
def _pick(b: Builder, call: Call) -> Term:
    """x[k, target[k]] for every row k."""
    index = b.unsqueeze(array_term(b, call.attr["target"]), 1)
    return b.squeeze(b.op("GatherElements", call.args[0], index, axis=1), 1)


def array_term(b: Builder, array: Any, name: str = "") -> Term:
    """An array of attributes (or a leaf): a value of the graph, a constant, or one whose shape follows the inputs."""
    if isinstance(array, Term):
        return b.cast(array, INT) if array.dtype.kind in "iuf" else array
    if isinstance(array, Filled):
        return b.filled(array.shape, array.value)
    if isinstance(array, Counted):
        kind = INT if array.start.dtype.kind in "iu" else array.start.dtype
        count = b.op("Mul", b.cast(b.scalar(array.count), kind), b.constant(array.step, dtype=kind))
        start = b.constant(array.start, dtype=kind)
        counted = b.op("Range", start, b.op("Add", count, start), b.constant(array.step, dtype=kind), ndim=1)
        return b.cast(counted, array.start.dtype)
    return b.constant(array, name)


@row("getitem")
def _getitem(b: Builder, call: Call) -> Term:
    """NumPy's indexing: slices first, then integers or arrays, then new axes."""
    x, index = call.args[0], call.attr["index"]
    parts = list(index) if isinstance(index, tuple) else [index]
    parts = [p.constant if isinstance(p, Term) and p.constant is not None and p.dtype == BOOL else p for p in parts]
    if any(_is_mask(p) for p in parts):
        raise Unexplained("how many entries a boolean index takes depends on their values: tl.where keeps the shape")
    taken = sum(p is not None and p is not Ellipsis for p in parts)
    if Ellipsis not in [p if p is Ellipsis else None for p in parts]:
        parts.append(Ellipsis)
    at = next(k for k, p in enumerate(parts) if p is Ellipsis)
    parts[at : at + 1] = [slice(None)] * (x.ndim - taken)

    starts, ends, axes, steps = [], [], [], []
    kinds: list[Any] = []  # of every place: "slice", "new", or an index
    axis = 0
    for p in parts:
        if p is None:
            kinds.append("new")
            continue
        if isinstance(p, slice):
            kinds.append("slice")
            step = 1 if p.step is None else p.step
            if not (p.start in (None, 0) and p.stop is None and step == 1):
                starts.append((0 if step > 0 else LAST) if p.start is None else p.start)
                ends.append((LAST if step > 0 else FIRST) if p.stop is None else p.stop)
                axes.append(axis)
                steps.append(step)
        else:
            kinds.append((axis, p))
        axis += 1
    if axes:
        x = b.op("Slice", x, b.shape(starts), b.shape(ends), b.ints(*axes), b.ints(*steps), ndim=x.ndim)
    chosen = [k for k in kinds if isinstance(k, tuple)]
    arrays = [(a, p) for a, p in chosen if not isinstance(p, int | Size)]
    if not arrays:
        for a, p in reversed(chosen):
            x = b.op("Gather", x, b.scalar(p), ndim=x.ndim - 1, axis=a)
        kinds = [k for k in kinds if isinstance(k, str)]
        return _new_axes(b, x, [i for i, k in enumerate(kinds) if k == "new"])
    if len(chosen) == 1:
        a, p = chosen[0]
        picked = array_term(b, p)
        x = b.op("Gather", x, picked, ndim=x.ndim - 1 + picked.ndim, axis=a)
        where = kinds.index(chosen[0])
        kinds[where : where + 1] = ["slice"] * picked.ndim
        return _new_axes(b, x, [i for i, k in enumerate(kinds) if k == "new"])
    return _gather_several(b, x, kinds, chosen)


def _gather_several(b: Builder, x: Term, kinds: list[Any], chosen: list[tuple[int, Any]]) -> Term:
    """Several index arrays broadcast together; their axes stand where they were, or first if they were apart."""
    indices = [array_term(b, p) if not isinstance(p, int | Size) else b.scalar(p) for _, p in chosen]
    width = max(t.ndim for t in indices)
    whole = indices[0]
    for t in indices[1:]:
        whole = b.op("Add", whole, t)
    zero = b.op("Sub", whole, whole)
    stacked = b.op("Concat", *[b.unsqueeze(b.op("Add", t, zero, ndim=width), width) for t in indices], axis=width)
    own = [a for a, _ in chosen]
    rest = [a for a in range(x.ndim) if a not in own]
    x = b.op("Transpose", x, perm=own + rest)
    x = b.op("GatherND", x, stacked, ndim=width + len(rest))
    places = [k for k, kind in enumerate(kinds) if isinstance(kind, tuple)]
    together = places[-1] - places[0] == len(places) - 1
    first = sum(kind == "slice" for kind in kinds[: places[0]]) if together else 0
    if first:
        x = b.op("Transpose", x, perm=[*range(width, width + first), *range(width), *range(width + first, x.ndim)])
    left = [kind for kind in kinds if isinstance(kind, str)]
    where = places[0] if together else 0
    left[where:where] = ["slice"] * width
    return _new_axes(b, x, [i for i, k in enumerate(left) if k == "new"])


def _is_mask(part: Any) -> bool:
    return (
        isinstance(part, bool)
        or (isinstance(part, Term | np.ndarray) and part.dtype == BOOL)
        or (isinstance(part, Filled) and part.value.dtype == BOOL)
    )


def _new_axes(b: Builder, x: Term, places: list[int]) -> Term:
    return b.op("Unsqueeze", x, b.ints(*places), ndim=x.ndim + len(places)) if places else x
