"""ONNX's operators by NumPy, one row each: `OPERATORS[type](node)` reads a node's attributes once and gives the function
of its inputs. The recurrent operators are in `recurrent`, those with a body (Scan, Loop, If) and casts in `model`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..graph import OPS

Run = Callable[..., Any]


@dataclass(frozen=True)
class NodeFacts:
    """What a node says before it runs: its type and name, attributes, opset, outputs wanted, and constant inputs."""

    kind: str
    name: str
    attr: dict[str, Any]
    opset: int
    inputs: tuple[str, ...]  # "": left out
    outputs: tuple[str, ...]
    constants: tuple[np.ndarray | None, ...]  # of every input: its value if it is constant

    def get(self, key: str, default: Any = None) -> Any:
        return self.attr.get(key, default)


class Refused(Exception):
    """A node that cannot run here, and why."""


OPERATORS: dict[str, Callable[[NodeFacts], Run]] = {}


def operator(*names: str) -> Callable[[Callable[[NodeFacts], Run]], Callable[[NodeFacts], Run]]:
    def enter(make: Callable[[NodeFacts], Run]) -> Callable[[NodeFacts], Run]:
        OPERATORS.update(dict.fromkeys(names, make))
        return make

    return enter


def _plain(function: Run) -> Callable[[NodeFacts], Run]:
    return lambda node: function


def _many(function: Run) -> Callable[[NodeFacts], Run]:
    def run(*xs: Any) -> Any:
        out = xs[0]
        for x in xs[1:]:
            out = function(out, x)
        return out

    return lambda node: run


def _typed(function: Run) -> Callable[[NodeFacts], Run]:
    """A function whose result has the dtype of its first argument, in spite of Python numbers and promotions."""
    return lambda node: lambda x, *more: np.asarray(function(x, *more)).astype(x.dtype, copy=False)


def _divide(a: Any, b: Any) -> Any:
    """Of integers: rounded towards zero."""
    if a.dtype.kind == "f":
        return np.true_divide(a, b)
    q = np.floor_divide(a, b)
    return q + ((q < 0) & (q * b != a)) if a.dtype.kind == "i" else q


def _gelu(node: NodeFacts) -> Run:
    if node.get("approximate", b"none") in (b"tanh", "tanh"):
        return lambda x: (0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))).astype(x.dtype)
    return lambda x: OPS["gelu"].numpy(x).astype(x.dtype, copy=False)


# fmt: off
OPERATORS |= {
    "Add": _plain(np.add), "Sub": _plain(np.subtract), "Mul": _plain(np.multiply), "Div": _plain(_divide),
    "Pow": _typed(np.power), "Neg": _plain(np.negative), "Abs": _plain(np.abs), "Reciprocal": _typed(lambda x: 1 / x),
    "Exp": _plain(np.exp), "Log": _plain(np.log), "Sqrt": _plain(np.sqrt), "Floor": _plain(np.floor), "Ceil": _plain(np.ceil),
    "Round": _plain(np.rint), "Sign": _plain(np.sign), "Sin": _plain(np.sin), "Cos": _plain(np.cos), "Tan": _plain(np.tan),
    "Asin": _plain(np.arcsin), "Acos": _plain(np.arccos), "Atan": _plain(np.arctan), "Sinh": _plain(np.sinh), "Cosh": _plain(np.cosh),
    "Asinh": _plain(np.arcsinh), "Acosh": _plain(np.arccosh), "Atanh": _plain(np.arctanh), "Tanh": _plain(np.tanh),
    "Sigmoid": _typed(OPS["sigmoid"].numpy), "Relu": _typed(lambda x: np.maximum(x, 0)), "Softplus": _typed(OPS["softplus"].numpy),
    "Softsign": _typed(lambda x: x / (1 + np.abs(x))), "Erf": _typed(OPS["erf"].numpy), "Gelu": _gelu,
    "Max": _many(np.maximum), "Min": _many(np.minimum), "Sum": _many(np.add),
    "Mean": lambda node: lambda *xs: (sum(xs[1:], xs[0]) / len(xs)).astype(xs[0].dtype),
    "Equal": _plain(np.equal), "Less": _plain(np.less), "LessOrEqual": _plain(np.less_equal), "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal), "And": _plain(np.logical_and), "Or": _plain(np.logical_or),
    "Xor": _plain(np.logical_xor), "Not": _plain(np.logical_not), "IsNaN": _plain(np.isnan), "Where": _plain(np.where),
    "Identity": _plain(lambda x: x), "MatMul": _plain(np.matmul), "Det": _plain(np.linalg.det),
    "BitwiseAnd": _plain(np.bitwise_and), "BitwiseOr": _plain(np.bitwise_or), "BitwiseXor": _plain(np.bitwise_xor),
    "BitwiseNot": _plain(np.bitwise_not), "GlobalAveragePool": lambda node: lambda x: x.mean(tuple(range(2, x.ndim)), keepdims=True),
    "GlobalMaxPool": lambda node: lambda x: x.max(tuple(range(2, x.ndim)), keepdims=True),
    "Size": _plain(lambda x: np.array(x.size, np.int64)), "Mish": _typed(lambda x: x * np.tanh(OPS["softplus"].numpy(x))),
    "HardSwish": _typed(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
}
# fmt: on


@operator("Mod")
def _mod(node: NodeFacts) -> Run:
    return np.fmod if node.get("fmod", 0) else np.mod


@operator("IsInf")
def _isinf(node: NodeFacts) -> Run:
    plus, minus = node.get("detect_positive", 1), node.get("detect_negative", 1)
    return lambda x: (np.isposinf(x) & bool(plus)) | (np.isneginf(x) & bool(minus))


@operator("LeakyRelu", "Elu", "Celu", "Selu", "HardSigmoid", "ThresholdedRelu", "PRelu", "Shrink", "Swish")
def _activation(node: NodeFacts) -> Run:
    kind = node.kind
    alpha = node.get("alpha", {"LeakyRelu": 0.01, "HardSigmoid": 0.2, "Selu": 1.6732632423543772}.get(kind, 1.0))
    beta, gamma = node.get("beta", 0.5), node.get("gamma", 1.0507009873554805)
    bias, lambd = node.get("bias", 0.0), node.get("lambd", 0.5)
    # fmt: off
    functions: dict[str, Run] = {
        "LeakyRelu": lambda x: np.where(x < 0, alpha * x, x),
        "PRelu": lambda x, slope: np.where(x < 0, slope * x, x),
        "Elu": lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
        "Celu": lambda x: np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha)),
        "Selu": lambda x: gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
        "HardSigmoid": lambda x: np.clip(alpha * x + beta, 0, 1),
        "ThresholdedRelu": lambda x: np.where(x > alpha, x, 0),
        "Shrink": lambda x: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)),
        "Swish": lambda x: x * OPS["sigmoid"].numpy(alpha * x),
    }
    # fmt: on
    return _typed(functions[kind])(node)


@operator("Clip")
def _clip(node: NodeFacts) -> Run:
    if node.opset < 11:
        low, high = node.get("min", -np.inf), node.get("max", np.inf)
        return lambda x: np.clip(x, x.dtype.type(low), x.dtype.type(high))

    def run(x: Any, low: Any = None, high: Any = None) -> Any:
        x = x if low is None else np.maximum(x, low)
        return x if high is None else np.minimum(x, high)

    return run


# -------------------------------------------------------------------------------------------------------- reductions
def _axes(node: NodeFacts, given: Any) -> tuple[int, ...] | None:
    axes = node.get("axes") if given is None else given.reshape(-1).tolist()
    return None if axes is None or len(axes) == 0 else tuple(int(a) for a in axes)


def _log_sum_exp(x: Any, axis: Any, keepdims: bool) -> Any:
    return OPS["logsumexp"].numpy(x, axis=axis, keepdims=keepdims)


def _least(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def _greatest(dtype: Any) -> Any:
    return np.inf if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max


_REDUCTIONS: dict[str, Run] = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims, initial=_least(x.dtype)),
    "ReduceMin": lambda x, axis, keepdims: np.min(x, axis=axis, keepdims=keepdims, initial=_greatest(x.dtype)),
    "ReduceProd": np.prod,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceL1": lambda x, axis, keepdims: np.sum(np.abs(x), axis=axis, keepdims=keepdims),
    "ReduceL2": lambda x, axis, keepdims: np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims)),
    "ReduceLogSum": lambda x, axis, keepdims: np.log(np.sum(x, axis=axis, keepdims=keepdims)),
    "ReduceSumSquare": lambda x, axis, keepdims: np.sum(np.square(x), axis=axis, keepdims=keepdims),
}


@operator(*_REDUCTIONS)
def _reduce(node: NodeFacts) -> Run:
    function, keepdims = _REDUCTIONS[node.kind], bool(node.get("keepdims", 1))

    def run(x: Any, axes: Any = None) -> Any:
        chosen = _axes(node, axes)
        if chosen is None and node.get("noop_with_empty_axes", 0):
            return x
        return np.asarray(function(x, axis=chosen, keepdims=keepdims)).astype(x.dtype, copy=False)

    return run


@operator("ArgMax", "ArgMin")
def _arg(node: NodeFacts) -> Run:
    function, axis = (np.argmax if node.kind == "ArgMax" else np.argmin), node.get("axis", 0)
    keepdims, last = bool(node.get("keepdims", 1)), node.get("select_last_index", 0)

    def run(x: Any) -> Any:
        if not last:
            return function(x, axis=axis, keepdims=keepdims)
        return x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=keepdims)

    return run


@operator("Softmax", "LogSoftmax", "Hardmax")
def _softmax(node: NodeFacts) -> Run:
    axis = node.get("axis", -1 if node.opset >= 13 else 1)

    def of(x: Any, axis: int) -> Any:
        if node.kind == "Hardmax":
            return (np.arange(x.shape[axis]).reshape([-1 if k == axis % x.ndim else 1 for k in range(x.ndim)])
                    == np.argmax(x, axis=axis, keepdims=True)).astype(x.dtype)  # fmt: skip
        return OPS["softmax" if node.kind == "Softmax" else "log_softmax"].numpy(x, axis=axis)

    def run(x: Any) -> Any:
        if node.opset >= 13:
            return of(x, axis)
        lead = math.prod(x.shape[: axis % x.ndim if x.ndim else 0])
        return of(x.reshape(lead, -1), 1).reshape(x.shape)

    return run


@operator("CumSum")
def _cumsum(node: NodeFacts) -> Run:
    exclusive, backwards = node.get("exclusive", 0), node.get("reverse", 0)

    def run(x: Any, axis: Any) -> Any:
        k = int(axis)
        x = np.flip(x, k) if backwards else x
        y = np.cumsum(x, axis=k, dtype=x.dtype)
        y = y - x if exclusive else y
        return np.flip(y, k) if backwards else y

    return run


@operator("LayerNormalization")
def _layer_normalization(node: NodeFacts) -> Run:
    axis, eps = node.get("axis", -1), node.get("epsilon", 1e-5)

    def run(x: Any, scale: Any, bias: Any = None) -> Any:
        axes = tuple(range(axis % x.ndim, x.ndim))
        mean = x.mean(axis=axes, keepdims=True)
        inverse = 1 / np.sqrt(np.square(x - mean).mean(axis=axes, keepdims=True) + x.dtype.type(eps))
        y = (x - mean) * inverse * scale
        return ((y if bias is None else y + bias).astype(x.dtype, copy=False), mean, inverse)[: len(node.outputs)]

    return run


@operator("BatchNormalization")
def _batch_normalization(node: NodeFacts) -> Run:
    if node.get("training_mode", 0):
        raise Refused("training_mode=1: only inference runs here")
    eps = node.get("epsilon", 1e-5)

    def run(x: Any, *vectors: Any) -> Any:
        scale, bias, mean, variance = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in vectors)
        return ((x - mean) / np.sqrt(variance + x.dtype.type(eps)) * scale + bias).astype(x.dtype, copy=False)

    return run


@operator("Dropout")
def _dropout(node: NodeFacts) -> Run:
    def run(x: Any, ratio: Any = None, training: Any = None) -> Any:
        if training is not None and bool(training):
            raise Refused("training_mode is true: only inference runs here")
        return (x, np.ones(x.shape, bool))[: len(node.outputs)]

    return run


# ---------------------------------------------------------------------------------------------------------- products
@operator("Gemm")
def _gemm(node: NodeFacts) -> Run:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    ta, tb = node.get("transA", 0), node.get("transB", 0)

    def run(a: Any, b: Any, c: Any = None) -> Any:
        y = (a.T if ta else a) @ (b.T if tb else b)
        y = y if alpha == 1 else y * y.dtype.type(alpha)
        return y if c is None else y + (c if beta == 1 else c * y.dtype.type(beta))

    return run


@operator("Einsum")
def _einsum(node: NodeFacts) -> Run:
    equation = text(node.attr["equation"])
    return lambda *xs: np.einsum(equation, *xs, optimize=len(xs) > 2)


@operator("Conv")
def _conv(node: NodeFacts) -> Run:
    group = node.get("group", 1)

    def run(x: Any, w: Any, bias: Any = None) -> Any:
        n = x.ndim - 2
        strides, dilations = node.get("strides", [1] * n), node.get("dilations", [1] * n)
        pads = _conv_pads(node, x.shape[2:], w.shape[2:], strides, dilations)
        x = np.pad(x, [(0, 0), (0, 0), *pads])
        windows = np.lib.stride_tricks.sliding_window_view(
            x, [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)], axis=tuple(range(2, 2 + n))
        )
        windows = windows[(slice(None),) * 2 + tuple(slice(None, None, s) for s in strides)]
        windows = windows[(slice(None),) * (2 + n) + tuple(slice(None, None, d) for d in dilations)]
        parts = []
        for xs, ws in zip(np.split(windows, group, 1), np.split(w, group, 0), strict=True):
            y = np.tensordot(xs, ws, axes=([1, *range(2 + n, 2 + 2 * n)], [1, *range(2, 2 + n)]))
            parts.append(np.moveaxis(y, -1, 1))
        y = np.concatenate(parts, 1) if group > 1 else parts[0]
        return y if bias is None else y + bias.reshape(-1, *[1] * n)

    return run


def _conv_pads(node: NodeFacts, sizes: Any, kernel: Any, strides: Any, dilations: Any) -> list[tuple[int, int]]:
    n = len(sizes)
    mode = text(node.get("auto_pad", b"NOTSET"))
    if mode in ("NOTSET", "VALID"):
        pads = node.get("pads", [0] * 2 * n) if mode == "NOTSET" else [0] * 2 * n
        return list(zip(pads[:n], pads[n:], strict=True))
    out = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small = total // 2
        out.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
    return out


# ------------------------------------------------------------------------------------------------------------- shapes
def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@operator("Shape")
def _shape(node: NodeFacts) -> Run:
    start, end = node.get("start", 0), node.get("end")
    return lambda x: np.array(x.shape[start:end], np.int64)


@operator("Reshape")
def _reshape(node: NodeFacts) -> Run:
    allowzero, fixed = node.get("allowzero", 0), node.get("shape")

    def run(x: Any, shape: Any = None) -> Any:
        wanted = list(fixed) if shape is None else shape.tolist()
        return x.reshape([x.shape[k] if n == 0 and not allowzero else n for k, n in enumerate(wanted)])

    return run


@operator("Flatten")
def _flatten(node: NodeFacts) -> Run:
    axis = node.get("axis", 1)
    return lambda x: (
        x.reshape(math.prod(x.shape[: axis if axis >= 0 else x.ndim + axis]), -1)
        if x.size
        else x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    )


@operator("Transpose")
def _transpose(node: NodeFacts) -> Run:
    perm = node.get("perm")
    return lambda x: np.transpose(x, perm)


@operator("Squeeze")
def _squeeze(node: NodeFacts) -> Run:
    return lambda x, axes=None: np.squeeze(x, _axes(node, axes))


@operator("Unsqueeze")
def _unsqueeze(node: NodeFacts) -> Run:
    return lambda x, axes=None: np.expand_dims(x, _axes(node, axes) or ())


@operator("Expand")
def _expand(node: NodeFacts) -> Run:
    return lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))


@operator("Tile")
def _tile(node: NodeFacts) -> Run:
    return lambda x, repeats: np.tile(x, repeats.tolist())


@operator("Concat")
def _concat(node: NodeFacts) -> Run:
    axis = node.attr["axis"]
    return lambda *xs: np.concatenate(xs, axis)


@operator("Split")
def _split(node: NodeFacts) -> Run:
    axis, count = node.get("axis", 0), len(node.outputs)

    def run(x: Any, sizes: Any = None) -> Any:
        parts = node.get("split") if sizes is None else sizes.tolist()
        if parts is None:
            each = -(-x.shape[axis] // count)
            parts = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
        if sum(parts) != x.shape[axis]:
            raise ValueError(f"parts {parts} of an axis of {x.shape[axis]}")
        return tuple(np.split(x, np.cumsum(parts)[:-1], axis))

    return run


@operator("Slice")
def _slice(node: NodeFacts) -> Run:
    def run(x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
        if starts is None:
            starts, ends = np.array(node.attr["starts"]), np.array(node.attr["ends"])
            axes = None if node.get("axes") is None else np.array(node.attr["axes"])
        chosen = range(len(starts)) if axes is None else axes.tolist()
        index: list[Any] = [slice(None)] * x.ndim
        for k, a in enumerate(chosen):
            step = 1 if steps is None else int(steps[k])
            start, end, n = int(starts[k]), int(ends[k]), x.shape[a]
            if step < 0 and end < 0 and end + n < 0:
                index[a] = slice(start, None, step)
            else:
                index[a] = slice(start, end, step)
        return x[tuple(index)]

    return run


@operator("Pad")
def _pad(node: NodeFacts) -> Run:
    mode = text(node.get("mode", b"constant"))
    names = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in names:
        raise Refused(f"mode {mode!r}")

    def run(x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
        given = list(node.attr.get("pads", ())) if pads is None else pads.tolist()
        chosen = list(range(x.ndim)) if axes is None else [a % x.ndim for a in axes.tolist()]
        widths = [(0, 0)] * x.ndim
        for k, a in enumerate(chosen):
            widths[a] = (given[k], given[k + len(chosen)])
        cut = tuple(
            slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(x.shape, widths, strict=True)
        )
        widths = [(max(before, 0), max(after, 0)) for before, after in widths]
        if mode != "constant":
            return np.pad(x[cut], widths, mode=names[mode])  # type: ignore[call-overload]
        return np.pad(x[cut], widths, constant_values=node.get("value", 0) if value is None else value.item())

    return run


@operator("Gather")
def _gather(node: NodeFacts) -> Run:
    axis = node.get("axis", 0)
    return lambda x, index: np.take(x, index, axis=axis)


@operator("GatherElements")
def _gather_elements(node: NodeFacts) -> Run:
    axis = node.get("axis", 0)
    return lambda x, index: np.take_along_axis(
        x[tuple(slice(None) if k == axis % x.ndim else slice(n) for k, n in enumerate(index.shape))], index, axis
    )


@operator("GatherND")
def _gather_nd(node: NodeFacts) -> Run:
    batch = node.get("batch_dims", 0)

    def run(x: Any, index: Any) -> Any:
        if not batch:
            return x[tuple(np.moveaxis(index, -1, 0))]
        lead = index.shape[:batch]
        parts = [x[at][tuple(np.moveaxis(index[at], -1, 0))] for at in product(*map(range, lead))]
        return np.stack(parts).reshape(*lead, *parts[0].shape)

    return run


@operator("ScatterElements", "Scatter")
def _scatter_elements(node: NodeFacts) -> Run:
    if text(node.get("reduction", b"none")) != "none":
        raise Refused("reduction: only 'none' runs here")
    axis = node.get("axis", 0)

    def run(x: Any, index: Any, updates: Any) -> Any:
        at = list(np.indices(index.shape))
        at[axis] = index
        out = x.copy()
        out[tuple(at)] = updates
        return out

    return run


@operator("ScatterND")
def _scatter_nd(node: NodeFacts) -> Run:
    if text(node.get("reduction", b"none")) != "none":
        raise Refused("reduction: only 'none' runs here")

    def run(x: Any, index: Any, updates: Any) -> Any:
        out = x.copy()
        out[tuple(np.moveaxis(index, -1, 0))] = updates
        return out

    return run


@operator("OneHot")
def _one_hot(node: NodeFacts) -> Run:
    axis = node.get("axis", -1)

    def run(index: Any, depth: Any, values: Any) -> Any:
        n = int(np.asarray(depth).reshape(-1)[0])
        inside = (index >= -n) & (index < n)
        hot = (np.where(inside, index % n, -1)[..., None] == np.arange(n)).astype(bool)
        return np.moveaxis(np.where(hot, values[1], values[0]), -1, axis)

    return run


@operator("Range")
def _range(node: NodeFacts) -> Run:
    return lambda start, limit, delta: np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator("Trilu")
def _trilu(node: NodeFacts) -> Run:
    function = np.triu if node.get("upper", 1) else np.tril
    return lambda x, k=None: function(x, 0 if k is None else int(k))


@operator("NonZero")
def _non_zero(node: NodeFacts) -> Run:
    return lambda x: np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)


@operator("ReverseSequence")
def _reverse_sequence(node: NodeFacts) -> Run:
    batch, time = node.get("batch_axis", 1), node.get("time_axis", 0)

    def run(x: Any, lengths: Any) -> Any:
        moved = np.moveaxis(x, (time, batch), (0, 1))
        t = np.arange(len(moved))[:, None]
        at = np.where(t < lengths, lengths - 1 - t, t)
        return np.moveaxis(moved[at, np.arange(moved.shape[1])], (0, 1), (time, batch))

    return run


@operator("TopK")
def _top_k(node: NodeFacts) -> Run:
    axis, largest = node.get("axis", -1), node.get("largest", 1)

    def run(x: Any, k: Any = None) -> Any:
        n = int(node.attr["k"] if k is None else k.reshape(-1)[0])
        order = np.argsort(np.flip(x, axis) if largest else x, axis=axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(order, axis) if largest else order  # the first of equals first
        order = np.take(order, np.arange(n), axis=axis)
        return np.take_along_axis(x, order, axis), order.astype(np.int64)

    return run
