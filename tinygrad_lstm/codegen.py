"""A region of a graph -> readable Python source, in two dialects: whole NumPy arrays, and one scalar loop for numba.

The NumPy dialect is what small arrays run (no compiler is waited for), the loop what big arrays run; both are written
from the same graph, whose rows carry both spellings.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from . import kernels, team
from .autodiff import sweep
from .graph import OPS, Node, Op, Trace, reachable
from .kernels import native

VECTORMATH = (
    "exp",
    "expm1",
    "log",
    "log1p",
    "sinh",
    "cosh",
    "tanh",
    "sigmoid",
    "softplus",
    "erf",
)  # ours: accurate, and vectorised
MATH = ("sqrt", "sin", "cos", "tan")
NUMPY = ("floor",)  # math.floor would give an integer


# ------------------------------------------------------------------------------------------------ naming, writing
class Names:
    """A name for every node: its own if it has one, else one minted from its operation."""

    def __init__(self, taken: Iterable[str] = ()):
        self.taken = dict.fromkeys(taken)
        self.of: dict[int, str] = {}

    def __call__(self, node: Node) -> str:
        name = self.of.get(node.serial)
        if name is None:
            base = node.name or (node.op.name if node.op else "v")
            base = "".join(c if c.isalnum() or c == "_" else "_" for c in base)
            base = base if not base[:1].isdigit() and base not in OPS and base not in ("real", "j") else base + "_"
            name, k = base, 1
            while name in self.taken:
                k += 1
                name = f"{base}{k}"
            self.taken[name] = None
            self.of[node.serial] = name
        return name


def number(value: Any, real: str = "real") -> str:
    if isinstance(value, bool):
        return repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"{real}({'nan' if math.isnan(value) else 'inf' if value > 0 else '-inf'})"
    return f"{real}({float(value)!r})" if real else repr(value)


class _Typed(ast.NodeTransformer):
    """Literals of a row's code take the kernel's type: a bare 0.5 would widen float32 to float64."""

    def visit_Constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return ast.Call(ast.Name("real", ast.Load()), [ast.Constant(float(node.value))], [])
        return node


@cache
def typed_code(code: str, arity: int) -> str:
    marks = [f"_{k}_" for k in range(arity)]
    text = ast.unparse(_Typed().visit(ast.parse(code.format(*marks), mode="eval")))
    for k, mark in enumerate(marks):
        text = text.replace(mark, f"{{{k}}}")
    return f"({text})" if any(c in text for c in " -") else text


def scalar_lines(roots: Sequence[Node], known: Iterable[Node], names: Names) -> tuple[list[str], set[str]]:
    """One statement a quantity, for one element; and the functions that the statements call."""
    lines, used = [], set()
    for node in reachable(roots, stop=known):
        if node.op is None:
            continue
        args = [names(a) if isinstance(a, Node) else number(a) for a in node.args]
        op = node.op
        assert op.code is not None, f"{op.name} is not elementwise"
        code = typed_code(op.code, len(args))
        used |= {n.id for n in ast.walk(ast.parse(code.format(*args), mode="eval")) if isinstance(n, ast.Name)}
        text = code.format(*args)
        lines.append(f"{names(node)} = {text[1:-1] if text.startswith('(') and _one_group(text) else text}")
    return lines, used


def _one_group(text: str) -> bool:
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and k < len(text) - 1:
            return False
    return True


def imports(used: set[str], dtype: np.dtype) -> list[str]:
    lines = [f"from numpy import {dtype.name} as real"]
    for module, group in (("math", MATH), ("numpy", NUMPY)):
        wanted = [f for f in group if f in used]
        if wanted:
            lines.append(f"from {module} import {', '.join(wanted)}")
    if {"nan", "inf"} & used:
        lines.append("from math import inf, nan")
    wanted = [f for f in VECTORMATH if f in used]
    if wanted:
        from .vectormath import fingerprint

        lines.append(f"from tinygrad_lstm.vectormath import {', '.join(wanted)}  # {fingerprint}")
    return lines


# ---------------------------------------------------------------------------------------------------------- pointwise
class Pointwise:
    """Elementwise results of elementwise inputs: a NumPy function for small arrays, a fused loop for big ones.

    An output may be None (nobody wants it; so is its result) or an input (handed through, not copied).
    """

    def __init__(self, name: str, inputs: Sequence[Node], outputs: Sequence[Node | None]):
        self.name, self.inputs, self.outputs = name, list(inputs), list(outputs)
        own = {n.serial for n in inputs}
        self.made = [o for o in outputs if o is not None and o.serial not in own]  # what a loop has to compute
        steps = reachable(self.made, stop=inputs)
        used = {a.serial for n in steps for a in n.args if isinstance(a, Node)}
        self.reads = [k for k, n in enumerate(inputs) if n.serial in used]
        self.whole = self._numpy_function()
        self._loops: dict[Any, Any] = {}

    def _numpy_function(self) -> Callable[..., tuple]:
        names = Names()
        args = [names(n) for n in self.inputs]
        scope: dict[str, Any] = {"nan": math.nan, "inf": math.inf}
        lines = []
        for node in reachable(self.made, stop=self.inputs):
            assert node.op is not None
            scope[f"np_{node.op.name}"] = node.op.numpy
            given = ", ".join(names(a) if isinstance(a, Node) else number(a, "") for a in node.args)
            lines.append(f"    {names(node)} = np_{node.op.name}({given})")
        lines.append(f"    return ({''.join(f'{names(o) if o is not None else None}, ' for o in self.outputs)})")
        exec(compile("\n".join([f"def whole({', '.join(args)}):", *lines]), f"<{self.name}>", "exec"), scope)
        return scope["whole"]

    def source(self, dtype: Any = np.float32, scalars: Sequence[bool] | None = None) -> str:
        """The fused loop over elements lo to hi: one statement a quantity. `scalars`: which of the inputs are numbers."""
        inputs = [self.inputs[k] for k in self.reads]
        scalars = scalars if scalars is not None else [False] * len(inputs)
        names = Names()
        args = [names(n) for n in inputs]
        lines, used = scalar_lines(self.made, inputs, names)
        outs = [f"out{k}" for k in range(len(self.made))]
        load = {s: [f"{a} = {a}_[{0 if s else 'j'}]" for a, t in zip(args, scalars, strict=True) if t == s] for s in (0, 1)}
        store = [f"{o}[j] = {names(n)}" for o, n in zip(outs, self.made, strict=True)]
        signature = ", ".join([*(f"{a}_" for a in args), *outs])
        return (
            "\n".join(
                [*imports(used, np.dtype(dtype)), "", "", f"def {{function}}({signature}, lo, hi):"]
                + ["    " + line for line in load[True]]
                + ["    for j in range(lo, hi):"]
                + ["        " + line for line in load[False] + lines + store]
            )
            + "\n"
        )

    def __call__(self, *values: Any) -> tuple:
        """values: ndarrays or numbers, one for each input -> one array for each output."""
        arrays = [v for v in values if isinstance(v, np.ndarray)]
        if not self.made or max([a.size for a in arrays], default=0) < BIG:
            return self.whole(*values)
        dtype = arrays[0].dtype
        if dtype not in _REAL or any(a.dtype != dtype for a in arrays):
            return self.whole(*values)
        if len(self.reads) + len(self.made) > native.atomics.WORDS:
            return self.whole(*values)
        shape = arrays[0].shape
        if any(a.shape != shape for a in arrays):
            shape = np.broadcast_shapes(*[a.shape for a in arrays])
        made = iter(self._run([values[k] for k in self.reads], shape, dtype))
        given = {n.serial: v for n, v in zip(self.inputs, values, strict=True)}
        return tuple(
            [None if o is None else given[o.serial] if o.serial in given else next(made) for o in self.outputs]
        )

    def _run(self, values: list[Any], shape: tuple[int, ...], dtype: np.dtype) -> list[np.ndarray]:
        scalars = tuple([not isinstance(v, np.ndarray) or v.size == 1 for v in values])
        loop = self._loops.get((dtype, scalars))
        if loop is None:
            text, ends = self.source(dtype, scalars), {"lo": "int64", "hi": "int64"}
            loop = self._loops[dtype, scalars] = kernels.compile_pointer(text, self.name, ends, f"{dtype.name}*")
        read = [
            np.array(v, dtype).reshape(-1) if s else _flat(v, shape) for v, s in zip(values, scalars, strict=True)
        ]
        made = [np.empty(shape, dtype) for _ in self.made]
        words = np.array([a.ctypes.data for a in (*read, *made)], np.int64)
        team.run(loop, words, made[0].size, at_least=PER_THREAD, grain=GRAIN)
        return made


def _flat(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return (a if a.shape == shape else np.broadcast_to(a, shape)).ravel()  # a copy only of what is not contiguous


_REAL = (np.dtype(np.float32), np.dtype(np.float64))
# Measured (a core with AVX-512, float32, us, NumPy / one thread of the kernel): a call of a kernel costs 6.5, a second
# thread 10 to 15 more.
#     elements   sigmoid        x * sigmoid(x)   erf            derivative of tanh   exp
#      8 192      12 /  7.9      12 /  7.8        440 /  8.7     2.6 /  7.9           2.9 /  7.7
#     32 768      75 / 11.7      78 / 12.0      1 800 / 15       6.6 /  9.1            11 / 11.2
#    131 072     556 / 28       566 / 29        8 400 / 43        36 / 22              41 / 25
BIG = 1 << 15  # elements from which every fused loop pays; below, NumPy, and nobody waits for a compiler
PER_THREAD = 1 << 16  # elements that make waking another thread worth while
GRAIN = 1 << 17  # elements of a piece: this thread is at work while the others wake, and takes more of them


@cache
def forward(op: Op) -> Pointwise:
    """The elementwise function of a row: (*args) -> (y,)."""
    if op.graph is not None:
        inputs, output = op.graph
        return Pointwise(op.name, inputs, [output])
    trace = Trace()
    leaves = [trace.leaf(n) for n in op.names]
    return Pointwise(op.name, leaves, [trace.apply(op, tuple(leaves), {})])


@cache
def backward(op: Op, wanted: tuple[bool, ...]) -> Pointwise:
    """The derivative of a row as one elementwise function (g, y, *args) -> a cotangent for every argument wanted."""
    args: Sequence[Node]
    if op.graph is not None:
        args, y = op.graph
        g = y.trace.leaf("g")
        found = sweep([y], [g])
        terms = [found.get(a.serial) if w else None for a, w in zip(args, wanted, strict=True)]
        y = y.trace.leaf("y")  # computed again on the way, not read
    else:
        trace = Trace()
        args = [trace.leaf(n) for n in op.names]
        y, g = trace.apply(op, tuple(args), {}), trace.leaf("g")
        terms = op.pullback(g, y, wanted)
    return Pointwise(f"{op.name}_backward", [g, y, *args], terms)
