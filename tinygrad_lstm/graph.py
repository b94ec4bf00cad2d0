"""One graph shape for two interpreters.

A `Value` is the result of an operation on values: `.op .args .attr .shape`. `Tensor` (room `tensor`) computes its
array at once; `Node` (here) only remembers what was asked, for the functions that are compiled. Whatever walks a
graph (the reverse sweep, printing, drawing) is written once, against `Value`.

An argument of an operation is a `Value` or a Python number. Arguments are always made before the values that read
them, so the order of creation, `serial`, is a topological order: no walk here recurses, and none needs a post-order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from .errors import ArgumentError, ShapeError, TraceError, message

NUMBERS = (bool, int, float)
next_serial = count().__next__


# ---------------------------------------------------------------------------------------------------- operations
@dataclass(frozen=True, eq=False)
class Op:
    """One row of the table: everything that is known of an operation.

    numpy   the eager kernel, ndarrays (and numbers) -> ndarray.
    vjp     the derivative: one rule `(g, y, *args, **attr) -> cotangent` per argument, None where there is none;
            or one function for all that returns a tuple. Rules speak the operators of `Value`, hence are called on
            Tensors (eager and higher-order gradients) and on Nodes (compiled backward kernels) alike.
    code    elementwise only: scalar Python source, `{0}` `{1}` ... the arguments, inlined into generated kernels.
    axes    shape rule for Nodes: (shapes of the arguments, attr) -> shape. None: not allowed in a declared body.
    symbol  how it is written in text and labels, `infix` between its arguments; latex: the same with placeholders.
    domain  per argument the interval that tests draw from; jit: a kernel beats NumPy on big arrays.
    arrays  vjp once more on plain ndarrays, (g, y, wanted, *args, **attr) -> tuple, for the rows of arrays that are too hot
            for Tensors in between.
    """

    name: str
    arity: int | None
    numpy: Callable[..., Any]
    vjp: tuple[Callable[..., Any] | None, ...] | Callable[..., Any] | None = None
    code: str | None = None
    axes: Callable[..., Any] | None = None
    symbol: str = ""
    latex: str = ""
    infix: int = 0
    domain: tuple[tuple[float, float], ...] = ()
    jit: bool = False
    doc: str = ""
    names: tuple[str, ...] = ()
    arrays: Callable[..., tuple] | None = None
    graph: tuple[tuple[Node, ...], Node] | None = field(default=None, repr=False)  # fused: its arguments and its value

    @property
    def elementwise(self) -> bool:
        return self.code is not None or self.graph is not None

    def pullback(self, g: Any, y: Value, wanted: Sequence[bool]) -> list[Any]:
        """The cotangents of y's arguments, given y's; None where not wanted or where there is none."""
        if isinstance(self.vjp, tuple):
            args, attr = y.args, y.attr
            return [rule(g, y, *args, **attr) if w and rule else None for rule, w in zip(self.vjp, wanted, strict=True)]
        assert self.vjp is not None
        terms = self.vjp(g, y, *y.args, **y.attr)
        if not isinstance(terms, tuple | list) or len(terms) != len(wanted):
            raise ArgumentError(
                message(
                    self.name,
                    f"its vjp must return a tuple of {len(wanted)}, one cotangent an argument",
                    remedy="lambda g, y, x: (g * ...,)",
                )
            )
        return [t if w else None for t, w in zip(terms, wanted, strict=True)]

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}


# -------------------------------------------------------------------------------------------------------- values
class Value:
    """What a Tensor and a Node have in common: the operators, each written as the name of a row of the table."""

    __slots__ = ()
    __hash__ = object.__hash__

    op: Op | None
    args: tuple[Any, ...]
    attr: dict[str, Any]
    shape: Any
    serial: int
    name: str | None
    requires_grad: bool

    eager: ClassVar[Callable[..., Any]]  # the interpreter of calls without any Value; the room `tensor` sets it

    def apply(self, op: str | Op, *args: Any, **attr: Any) -> Any:
        """Make the value of a row of the table on these arguments: the one thing an interpreter has to define."""
        raise TypeError(f"{type(self).__name__} does not interpret operations")

    def pullback(self, g: Any, wanted: Sequence[bool]) -> list[Any]:
        """The cotangents of the arguments, given one's own."""
        assert self.op is not None
        return self.op.pullback(g, self, wanted)

    # fmt: off
    def __add__(self, other: Any): return self.apply("add", self, other)
    def __radd__(self, other: Any): return self.apply("add", other, self)
    def __sub__(self, other: Any): return self.apply("sub", self, other)
    def __rsub__(self, other: Any): return self.apply("sub", other, self)
    def __mul__(self, other: Any): return self.apply("mul", self, other)
    def __rmul__(self, other: Any): return self.apply("mul", other, self)
    def __truediv__(self, other: Any): return self.apply("div", self, other)
    def __rtruediv__(self, other: Any): return self.apply("div", other, self)
    def __pow__(self, other: Any): return self.apply("pow", self, other)
    def __rpow__(self, other: Any): return self.apply("pow", other, self)
    def __floordiv__(self, other: Any): return self.apply("floor_divide", self, other)
    def __rfloordiv__(self, other: Any): return self.apply("floor_divide", other, self)
    def __mod__(self, other: Any): return self.apply("mod", self, other)
    def __rmod__(self, other: Any): return self.apply("mod", other, self)
    def __neg__(self): return self.apply("neg", self)
    def __pos__(self): return self
    def __abs__(self): return self.apply("abs", self)
    def __lt__(self, other: Any): return self.apply("less", self, other)
    def __le__(self, other: Any): return self.apply("less_equal", self, other)
    def __gt__(self, other: Any): return self.apply("greater", self, other)
    def __ge__(self, other: Any): return self.apply("greater_equal", self, other)
    def __and__(self, other: Any): return self.apply("logical_and", self, other)
    def __rand__(self, other: Any): return self.apply("logical_and", other, self)
    def __or__(self, other: Any): return self.apply("logical_or", self, other)
    def __ror__(self, other: Any): return self.apply("logical_or", other, self)
    def __invert__(self): return self.apply("logical_not", self)
    def __eq__(self, other: Any): return self.apply("equal", self, other)
    def __ne__(self, other: Any): return self.apply("not_equal", self, other)
    # fmt: on


V = TypeVar("V", bound=Value)


def apply(op: str | Op, *args: Any, **attr: Any) -> Any:
    """Apply a row to anything: the first Value among the arguments decides who interprets it, else eager."""
    for arg in args:
        if isinstance(arg, Value):
            return arg.apply(op, *args, **attr)
    return Value.eager(op, *args, **attr)


# --------------------------------------------------------------------------------------------------------- walks
def reachable(roots: Iterable[V], follow: Callable[[V], bool] = lambda v: True, stop: Iterable[V] = ()) -> list[V]:
    """Every value the roots are computed from (and the roots), arguments first. `stop` values are not entered."""
    seen = {id(v) for v in stop}
    found: list[V] = []
    stack = list(roots)
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        found.append(value)
        for arg in value.args:
            if isinstance(arg, Value) and id(arg) not in seen and follow(arg):  # type: ignore[arg-type]
                stack.append(arg)  # type: ignore[arg-type]
    found.sort(key=_serial)
    return found


def _serial(value: Value) -> int:
    return value.serial


class ModuleCall(NamedTuple):
    """A call of a module: what was computed in it has a serial between `start` and `stop`."""

    module: Any
    start: int
    stop: int


# --------------------------------------------------------------------------------------------------------- nodes
class Slot(NamedTuple):
    """The cotangent of one of several results of one operation."""

    place: int
    cotangent: Any


class Node(Value):
    """A symbolic value: equal operations on equal arguments are one Node (within one trace).

    `shape` is a tuple of axis names ("batch", "hidden"), or None in a fused function, where every shape is allowed.
    """

    __slots__ = ("args", "attr", "name", "op", "requires_grad", "serial", "shape", "trace")
    dtype = None  # a trace holds for every dtype

    def __init__(self, trace: Trace, op: Op | None, args: tuple, attr: dict, shape: tuple | None, requires_grad: bool):
        self.trace, self.op, self.args, self.attr, self.shape = trace, op, args, attr, shape
        self.requires_grad = requires_grad
        self.serial = next_serial()
        self.name = None

    def apply(self, op: str | Op, *args: Any, **attr: Any) -> Node:
        return self.trace.apply(OPS[op] if isinstance(op, str) else op, args, attr)

    def __bool__(self) -> bool:
        raise TraceError(
            message(
                self.op.name if self.op else str(self.name),
                "a traced value has no truth value: the equations are read once, not once per number",
                remedy="write tl.where(condition, a, b) instead of `if`, `and`, `or`, `not` or min()/max()",
            )
        )

    def __iter__(self) -> Iterator[Any]:
        raise TraceError(
            message(
                "iter", f"a traced value ({self}) cannot be looped over or unpacked", remedy="name its parts as members"
            )
        )

    def __getitem__(self, index: Any) -> Any:
        raise TraceError(
            message(
                "getitem",
                f"a traced value ({self}) cannot be indexed",
                remedy="give each part a name of its own: a member of a family (W.i, W.f), an input or a state",
            )
        )

    def __matmul__(self, other: Any) -> Node:
        return self.apply("linear", self, other)

    def __rmatmul__(self, other: Any) -> Node:
        return self.apply("linear", other, self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """`array * node`, `np.tanh(node)`: the row of this function, which says what it takes."""
        row = next((op for op in OPS.values() if op.numpy is ufunc and op.elementwise), None)
        if row is None or method != "__call__" or options:
            self.__array__()
        return self.apply(row, *inputs)  # type: ignore[arg-type]

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TraceError(
            message("numpy", f"a NumPy function was called on a traced value ({self})", remedy="use its namesake in tl")
        )

    def __float__(self) -> float:
        raise TraceError(message("float", f"a traced value ({self}) has no number", remedy="keep it symbolic"))

    __int__ = __index__ = __float__

    def __repr__(self) -> str:
        """The name, or the operation and what it reads: one step deep, for a shared graph written out grows exponentially."""
        if self.name or self.op is None:
            return self.name or "?"
        parts = [a.name or f"{a.op.name}(...)" if isinstance(a, Node) and a.op else repr(a) for a in self.args]
        return f"{self.op.name}({', '.join(parts)})"


BOOLEAN = (
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "equal",
    "not_equal",
    "logical_and",
    "logical_or",
    "logical_not",
)


class Trace:
    """The maker of Nodes, with its own table of what was made: names and sharing never leak between traces."""

    def __init__(self) -> None:
        self._made: dict[Any, Node] = {}

    def leaf(self, name: str, shape: tuple | None = None, requires_grad: bool = True) -> Node:
        node = Node(self, None, (), {}, shape, requires_grad)
        node.name = name
        return node

    def apply(self, op: Op, args: tuple, attr: dict) -> Node:
        if op.axes is None:
            raise TraceError(
                message(
                    op.name,
                    "is not allowed in a declared body",
                    remedy="allowed are elementwise operations, `parameter @ value`, arithmetic with numbers, and sum, mean, max, "
                    "min, softmax over axis=-1 with keepdims=True",
                )
            )
        args = tuple([a.item() if isinstance(a, np.generic) else a for a in args])
        for arg in args:
            if not isinstance(arg, Node):
                if isinstance(arg, NUMBERS):
                    continue
                raise TraceError(
                    message(
                        op.name,
                        f"a traced value meets {type(arg).__name__}, which the equations cannot hold",
                        dict(zip(op.names or "abcdefgh", args, strict=False)),
                        "declare it as a parameter (after `*` in the signature), or use a Python number",
                    )
                )
            if arg.trace is not self:
                raise TraceError(
                    message(op.name, f"{arg!r} belongs to another declared function", remedy="pass it as an argument")
                )
        if op.name in ("add", "sub", "neg") and all(isinstance(a, Node) and a.op and a.op.name in BOOLEAN for a in args):
            raise TraceError(
                message(
                    op.name,
                    "counts with comparisons alone, which NumPy takes for `or`",
                    remedy="make numbers of them: tl.where(a > b, 1.0, 0.0), or 1.0 * (a > b)",
                )
            )
        key = (
            op.name,
            id(op),
            tuple(a.serial if isinstance(a, Node) else (type(a), repr(a)) for a in args),
            tuple(sorted(attr.items())),
        )
        node = self._made.get(key)
        if node is None:
            shape = op.axes([a.shape if isinstance(a, Node) else () for a in args], **attr)
            tracked = op.vjp is not None and any(isinstance(a, Node) and a.requires_grad for a in args)
            node = self._made[key] = Node(self, op, args, attr, shape, tracked)
        return node


def broadcast_axes(shapes: Sequence[tuple | None], **_: Any) -> tuple | None:
    """NumPy's broadcasting on axis names: equal names match, 1 matches everything, missing axes lead."""
    if any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    out: list[Any] = []
    for k in range(1, max(map(len, known), default=0) + 1):
        axes = {s[-k] for s in known if len(s) >= k} - {1}
        if len(axes) > 1:
            names = " and ".join(f"'{a}'" for a in dict.fromkeys(s[-k] for s in known if len(s) >= k) if a != 1)
            raise ShapeError(
                message(
                    "elementwise",
                    f"axes {names} do not match",
                    {f"argument {i + 1}": _Axes(s) for i, s in enumerate(known)},
                    "bring them to one axis with a product: parameter @ value",
                )
            )
        out.append(axes.pop() if axes else 1)
    return tuple(reversed(out))


@dataclass(frozen=True)
class _Axes:
    shape: tuple


def verify(roots: Iterable[Node], where: str = "graph") -> None:
    """The specification of a graph, checked after every pass: rows, arity, order, shapes."""
    for node in reachable(roots):
        if node.op is None:
            assert node.name and not node.args, f"{where}: a leaf needs a name and has no arguments: {node!r}"
            continue
        assert node.op.arity in (None, len(node.args)), (
            f"{where}: {node.op.name} takes {node.op.arity} arguments: {node!r}"
        )
        assert all(a.serial < node.serial for a in node.args if isinstance(a, Node)), f"{where}: out of order: {node!r}"
        assert node.op.axes is not None, f"{where}: {node.op.name} has no shape rule"
        shape = node.op.axes([a.shape if isinstance(a, Node) else () for a in node.args], **node.attr)
        assert shape == node.shape, f"{where}: {node!r} has axes {node.shape}, its rule says {shape}"
