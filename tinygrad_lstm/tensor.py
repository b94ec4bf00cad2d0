"""The eager value: an array, and, if a gradient will be wanted, how it was computed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from functools import wraps
from operator import attrgetter
from typing import Any

import numpy as np

from . import codegen, ops
from .autodiff import history, sweep
from .errors import ArgumentError, BoundsError, GradientError, ShapeError, TraceError, describe, message
from .graph import NUMBERS, ModuleCall, Node, Op, Slot, Value, next_serial

ArrayLike = Any  # Tensor, ndarray, number or nested list of numbers
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class _Mode(threading.local):
    """What holds for this thread: whether operations remember what they were computed from, and `quietly(f, *args)`,
    a call in which NumPy does not warn. (np.errstate costs more than a small product; its state lives in a context
    variable, so a context in which it was set once does the same for a tenth.)"""

    recording = True
    guard: Any = None  # who looks for what is not finite (`detect_anomaly`)
    history: dict[int, tuple[np.ndarray, Any]] | None = None  # kept of every value, see `complete_history`

    def __init__(self) -> None:
        self.before: list[bool] = []
        self.quietly: Callable[..., Any] = Context().run
        self.quietly(np.seterr, all="ignore")


mode = _Mode()
_adding = threading.Lock()  # threads that go backward through one model add to the same gradients


def _fresh_lock() -> None:
    """A forked child must not wait for a thread of its parent's."""
    global _adding
    _adding = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


class no_grad:
    """Compute without remembering how: no gradient, less memory. A context (`with tl.no_grad():`) or a decorator.

    Examples
    --------
    >>> w = tl.tensor([1.0], requires_grad=True)
    >>> with tl.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """

    _recording = False

    def __enter__(self) -> None:
        mode.before.append(mode.recording)
        mode.recording = self._recording

    def __exit__(self, *_: Any) -> None:
        mode.recording = mode.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return inside


class complete_history:
    """Every value remembers how it was computed, also where no gradient flows: a context, for who reads the graph.

    It gives a dict: id of an array that became an attribute (indices, lengths) -> (the array, the Tensor it is the value of).
    """

    def __enter__(self) -> dict[int, tuple[np.ndarray, Any]]:
        self.before, mode.history = mode.history, {}
        return mode.history

    def __exit__(self, *_: Any) -> None:
        mode.history = self.before


def taken(array: np.ndarray, source: Any) -> np.ndarray:
    """The array, which becomes an attribute; a complete history notes whose value it is (a Tensor's, or an array's like it)."""
    if mode.history is not None:
        if isinstance(source, Tensor):
            mode.history[id(array)] = array, source
        elif id(source) in mode.history:
            mode.history[id(array)] = array, mode.history[id(source)][1]
    return array


class enable_grad(no_grad):
    """Remember how values are computed, also inside `no_grad`.

    Examples
    --------
    >>> w = tl.tensor([1.0], requires_grad=True)
    >>> with tl.no_grad(), tl.enable_grad():
    ...     y = w * 2
    >>> y.requires_grad
    True
    """

    _recording = True


_NO_ATTR: dict[str, Any] = {}
_NO_ARGS: tuple[Any, ...] = ()


def evaluate(op: str | Op, *args: Any, **attr: Any) -> Any:
    """Compute a row now. Links to the arguments are kept only if one of them requires a gradient."""
    row = ops.OPS[op] if isinstance(op, str) else op
    values: list[Any] = []
    tracked = False
    for a in args:
        if isinstance(a, Tensor):
            values.append(a.data)
            if a.requires_grad:
                tracked = True
        elif type(a) in NUMBERS:
            values.append(a)
        else:
            return _evaluate_mixed(row, args, attr)
    if not tracked and all(type(a) in NUMBERS for a in args):
        return evaluate(row, *[Tensor(a) for a in args], **attr)  # Python numbers alone are float32, as in tl.tensor
    try:
        if row.graph is not None or (row.jit and getattr(values[0], "size", codegen.BIG) >= codegen.BIG):
            data = mode.quietly(codegen.forward(row), *values)[0]
        else:
            data = mode.quietly(row.numpy, *values, **attr)
    except RuntimeError:  # the context is in use: an operation's own NumPy function called an operation
        with np.errstate(all="ignore"):
            data = row.numpy(*values, **attr)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise explain(row, args, attr, error) from None
    if type(data) is not np.ndarray and type(data) is not tuple:
        data = np.asarray(data, dtype=np.float32 if type(data) is float else None)
    if tracked and mode.recording and row.vjp is not None and (type(data) is tuple or data.dtype.kind == "f"):
        return _fill(_new(Tensor), data, row, args, attr or _NO_ATTR, True)
    if mode.history is not None:
        return _fill(_new(Tensor), data, row, args, attr or _NO_ATTR, False)
    return _fill(_new(Tensor), data, None, _NO_ARGS, _NO_ATTR, False)


def _evaluate_mixed(op: Op, args: tuple, attr: dict[str, Any]) -> Any:
    """Arguments that are not all Tensors and numbers: a Node takes over, arrays and lists become Tensors."""
    for a in args:
        if isinstance(a, Node):
            return a.apply(op, *args, **attr)
    return evaluate(
        op, *[a if isinstance(a, Tensor) or type(a) in NUMBERS else _argument(op, args, a) for a in args], **attr
    )


class Tensor(Value):
    """An array with its history. Made by `tl.tensor`, by the creation functions and by every operation.

    Operators, indexing and NumPy's own functions (`np.tanh(x)`) work as on arrays and give Tensors; reductions and changes
    of shape are methods too: `x.sum(axis=0)`, `x.reshape(2, 3)`. A Tensor's value never changes: `x += y` rebinds the name
    x, and `x[0] = y` is refused.

    Attributes
    ----------
    shape, ndim, size, dtype : as of a NumPy array. T : the transpose.
    requires_grad : whether gradients flow to or through this tensor.
    grad : after `backward`, for a leaf made with `requires_grad=True`: a Tensor of the same shape and dtype; else None.
    name : what drawings and errors call it; free to set.

    Examples
    --------
    >>> x = tl.tensor([[1.0, 2.0]], requires_grad=True)
    >>> w = tl.tensor(np.eye(2), requires_grad=True)
    >>> y = (tl.tanh(x @ w) * tl.sigmoid(x)).sum()
    >>> y.backward()
    >>> x.grad.shape, x.grad.dtype, w.grad.dtype
    ((1, 2), dtype('float32'), dtype('float64'))
    """

    __slots__ = ("__weakref__", "_grad", "args", "attr", "calls", "data", "name", "op", "requires_grad", "serial")
    __array_priority__ = 1000

    data: np.ndarray
    _grad: Tensor | None
    calls: tuple[ModuleCall, ...]  # of the modules that returned this tensor, the inner ones first; else not there

    def __init__(self, data: ArrayLike, requires_grad: bool = False, dtype: Any = None, name: str | None = None):
        _fill(self, _to_array(data, dtype), None, _NO_ARGS, _NO_ATTR, bool(requires_grad))
        if requires_grad and self.data.dtype.kind != "f":
            raise GradientError(
                message(
                    "tensor",
                    f"only floats have gradients, this is {self.data.dtype}",
                    remedy="pass dtype=np.float32 or np.float64",
                )
            )
        # what is made of a parameter's numbers (packed weights) is kept by their array
        self.data.flags.writeable = False
        self.name = name

    # ------------------------------------------------------------------------------------------- the interpreter
    apply = staticmethod(evaluate)

    def pullback(self, g: Any, wanted: tuple[bool, ...]) -> Sequence[Any]:  # type: ignore[override]
        """The cotangents of the arguments: of a Tensor Tensors (with a history if one is recorded), of an array arrays.

        Arrays need no histories, so they may take the short ways: the derived NumPy function or fused kernel of an
        elementwise row, the rules on arrays of a row that has them.
        """
        op = self.op
        assert op is not None
        if type(g) is not np.ndarray and _has_history(g):
            return op.pullback(g, self, wanted)
        if op.code is not None or op.graph is not None:
            kernel = codegen.backward(op, wanted)
            run = kernel if self.data.size >= codegen.BIG else kernel.whole
            return run(g, self.data, *[a.data if isinstance(a, Tensor) else g.dtype.type(a) for a in self.args])
        if op.arrays is not None:
            values, attr = [a.data if isinstance(a, Tensor) else a for a in self.args], self.attr
            return op.arrays(g, self.data, wanted, *values, **attr)
        lifted = {k: _wrap(part) for k, part in g.items()} if type(g) is dict else _wrap(g)
        with no_grad():
            return [_bare(term) for term in op.pullback(lifted, self, wanted)]

    def backward(self, gradient: ArrayLike = None, create_graph: bool = False, retain_grads: bool = False) -> None:
        """Add the derivative of this value to `.grad` of every leaf it was computed from.

        grad(x) += sum over paths of products of the operations' derivatives (reverse mode).

        Parameters
        ----------
        gradient : the gradient with respect to this value, of its shape; may be left out for a value of one element (then 1.0).
        create_graph : make gradients that can be differentiated again.
        retain_grads : keep `.grad` of the values in between as well (for drawings).

        Raises
        ------
        GradientError : nothing here requires a gradient; a non-scalar without `gradient`; a leaf changed in between.

        Examples
        --------
        >>> x = tl.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
        """
        seed = _seed("backward", self, gradient)
        order = history([self])
        values = order if retain_grads else [v for v in order if v.op is None]
        with enable_grad() if create_graph else no_grad(), np.errstate(all="ignore"):
            found = sweep([self], [seed if create_graph else seed.data], keep=retain_grads, order=list(order))
            with _adding:
                for value in values:
                    g = found.get(value.serial)
                    if type(g) is dict or (g is None and value.op is not None):
                        continue
                    g = g if isinstance(g, Tensor) else _wrap(np.zeros_like(value.data) if g is None else g)
                    value._grad = g if value._grad is None else value._grad + g

    # --------------------------------------------------------------------------------------------------- looking
    shape = property(attrgetter("data.shape"), doc="The lengths of the axes.")
    dtype = property(attrgetter("data.dtype"), doc="The NumPy dtype.")
    ndim = property(attrgetter("data.ndim"), doc="How many axes there are.")
    size = property(attrgetter("data.size"), doc="How many entries there are.")

    def _set_grad(self, grad: Tensor | None) -> None:
        if grad is not None and (not isinstance(grad, Tensor) or grad.shape != self.shape or grad.dtype != self.dtype):
            raise _no_gradient(self, grad)
        self._grad = grad

    grad = property(attrgetter("_grad"), _set_grad, doc="The gradient, of the value's shape and dtype; or None.")

    @property
    def T(self) -> Tensor:
        return self.apply("transpose", self, axes=tuple(range(self.data.ndim))[::-1])

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array: read-only, for it never changes. `np.array(x)` makes a copy to write to."""
        view = self.data.view()
        view.flags.writeable = False
        return view

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        if self.data.size != 1:
            raise ShapeError(
                message("item", "takes a tensor of one element", {"x": self}, "index it first, or use x.numpy()")
            )
        return self.data.item()

    def tolist(self) -> Any:
        """The value as nested lists of Python numbers."""
        return self.data.tolist()

    def detach(self) -> Tensor:
        """The same value without its history: no gradient flows through it."""
        return _wrap(self.data) if mode.history is None else evaluate("detach", self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy:
            return np.array(self.data, dtype=dtype)
        return self.numpy() if dtype is None or dtype == self.data.dtype else self.data.astype(dtype)

    def __len__(self) -> int:
        if self.data.ndim == 0:
            raise ArgumentError(message("len", "a tensor without axes has no length", {"x": self}))
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ShapeError(
                message(
                    "bool",
                    "the truth of several elements is ambiguous",
                    {"x": self},
                    "use .numpy().any() or .numpy().all()",
                )
            )
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iu":
            raise ArgumentError(message("index", "only integers index", {"x": self}))
        return int(self.item())

    def __contains__(self, value: Any) -> bool:
        return bool((self.data == (value.data if isinstance(value, Tensor) else value)).any())

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="tensor(", threshold=1000)
        facts = "" if self.data.dtype == np.float32 or self.data.dtype.kind == "b" else f", dtype={self.data.dtype}"
        facts += f", shape={self.shape}" if self.data.size > 1000 or self.data.size == 0 else ""
        facts += ", requires_grad=True" if self.requires_grad and self.op is None else ""
        facts += f", op={self.op.name}" if self.op is not None else ""
        return f"tensor({text}{facts})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __reduce__(self) -> Any:
        if self.op is not None:
            raise ArgumentError(
                message("pickle", "a tensor with a history cannot be copied or pickled", {"x": self}, "use x.detach()")
            )
        return _restore, (self.data, self.requires_grad, self.name)

    # --------------------------------------------------------------------------------------------- NumPy's protocols
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and ufunc in _CONSTANT_UFUNCS:
            data = ufunc(*[x.data if isinstance(x, Tensor) else x for x in inputs])
            return _wrap(data) if mode.history is None else _make(data, Op(ufunc.__name__, 1, ufunc), inputs, {}, False)
        if method == "__call__" and not kwargs and ufunc in _MASK_UFUNCS:
            return evaluate(_MASK_UFUNCS[ufunc], *_masks(ufunc.__name__, *inputs))
        if method == "__call__" and not kwargs and ufunc is np.matmul:
            return NUMPY_FUNCTIONS[ufunc](*inputs)
        op = _UFUNCS.get(ufunc)
        if op is None or method != "__call__" or kwargs:
            asked = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
            detail = f" with {', '.join(kwargs)}=" if kwargs and op is not None and method == "__call__" else ""
            raise ArgumentError(
                message(
                    f"np.{asked}",
                    f"has no gradient rule here{detail}",
                    remedy="use its namesake in tl, or x.numpy() for a constant",
                )
            )
        return evaluate(op, *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        ours = NUMPY_FUNCTIONS.get(function)
        if ours is None:
            raise ArgumentError(
                message(f"np.{function.__name__}", "has no gradient rule here", remedy="use x.numpy() for a constant")
            )
        try:
            return ours(*args, **kwargs)
        except TypeError as error:
            if isinstance(error, ArgumentError | TraceError) or "unexpected keyword" not in str(error):
                raise
            raise ArgumentError(
                message(f"np.{function.__name__}", f"{error}", remedy="use x.numpy() for a constant")
            ) from None

    # ------------------------------------------------------------------------------------------------------- indexing
    def __getitem__(self, index: Any) -> Tensor:
        return evaluate("getitem", self, index=_plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        raise ArgumentError(
            message(
                "x[...] = y",
                "a tensor's value never changes",
                {"x": self},
                "build the new value: tl.where(mask, y, x), tl.concatenate, tl.stack",
            )
        )

    def __and__(self, other: Any) -> Any:
        return evaluate("logical_and", *_masks("&", self, other))

    def __rand__(self, other: Any) -> Any:
        return evaluate("logical_and", *_masks("&", other, self))

    def __or__(self, other: Any) -> Any:
        return evaluate("logical_or", *_masks("|", self, other))

    def __ror__(self, other: Any) -> Any:
        return evaluate("logical_or", *_masks("|", other, self))

    def __invert__(self) -> Any:
        return evaluate("logical_not", *_masks("~", self))

    def __pow__(self, other: Any) -> Any:
        return evaluate("square", self) if type(other) in (int, float) and other == 2 else evaluate("pow", self, other)

    def __matmul__(self, other: Any) -> Any:
        if type(other) is Tensor and self.data.ndim == 2 == other.data.ndim:
            return evaluate("matmul", self, other)
        return NUMPY_FUNCTIONS[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS[np.matmul](other, self)


NUMPY_FUNCTIONS: dict[Any, Callable[..., Any]] = {}  # filled by the room `functions`


def _fill(tensor: Tensor, data: Any, op: Op | None, args: tuple, attr: dict, requires_grad: bool) -> Tensor:
    tensor.data = data
    tensor.op = op
    tensor.args = args
    tensor.attr = attr
    tensor.requires_grad = requires_grad
    tensor.serial = next_serial()
    tensor._grad = None
    tensor.name = None
    return tensor


def _make(data: Any, op: Op | None, args: tuple, attr: dict, requires_grad: bool) -> Tensor:
    """A Tensor of this very array, not of a copy."""
    return _fill(_new(Tensor), data, op, args, attr, requires_grad)


_new = Tensor.__new__


def _wrap(data: Any) -> Tensor:
    """A constant of this very array, not of a copy."""
    return _fill(_new(Tensor), data if type(data) is np.ndarray else np.asarray(data), None, _NO_ARGS, _NO_ATTR, False)


def _has_history(g: Any) -> bool:
    """Whether a cotangent (or one of the parts of several) is a Tensor, not an array."""
    return isinstance(g, Value) or (type(g) is dict and any(isinstance(part, Value) for part in g.values()))


def _bare(term: Any) -> Any:
    """The array of a cotangent."""
    if type(term) is Slot:
        return Slot(term.place, _bare(term.cotangent))
    return term.data if isinstance(term, Tensor) else term


def _masks(symbol: str, *values: Any) -> tuple[Any, ...]:
    """The operands of & | ~, which here combine conditions, not bits."""
    for value in values:
        if np.asarray(value).dtype.kind != "b":
            given = dict(zip("ab", values, strict=False))
            problem, remedy = "combines conditions, that is booleans", "for instance (x > 0) & (x < 1)"
            raise ArgumentError(message(symbol, problem, given, remedy))
    return values


def _restore(data: np.ndarray, requires_grad: bool, name: str | None) -> Tensor:
    return Tensor(data, requires_grad, name=name)


def _plain_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_plain_index, index))
    if isinstance(index, Tensor):
        return taken(index.data, index)
    if isinstance(index, np.ndarray):
        return taken(index.copy(), index)  # the caller's may change before a gradient is put back
    if isinstance(index, list):
        try:
            return np.array([_plain_index(i) for i in index], dtype=None if index else np.intp)
        except ValueError as error:
            raise ShapeError(
                message("x[...]", f"a list of indices must be rectangular ({error})", {"index": index})
            ) from None
    return index


def _to_array(data: Any, dtype: Any = None) -> np.ndarray:
    """A fresh array: NumPy's dtype is kept, Python numbers become float32."""
    if isinstance(data, Node):
        raise ArgumentError(message("tensor", "a traced value has no array", {"data": data}))
    if isinstance(data, Tensor):
        data = data.data
    if isinstance(data, list | tuple) and _tracked_within(data):
        raise ArgumentError(
            message(
                "tensor",
                "a list of tensors with a history would lose it",
                {"data": data},
                "tl.stack or tl.concatenate keeps the gradient",
            )
        )
    kind = None if dtype is None else real_dtype("tensor", dtype)
    try:
        array = np.array(data, dtype=kind)
    except (ValueError, TypeError, OverflowError) as error:
        ragged = "inhomogeneous" in str(error)
        problem = "its rows have different lengths" if ragged else f"this is no array of numbers ({error})"
        raise ShapeError(
            message("tensor", problem, {"data": data}, "give every row the same length, or pad" if ragged else "")
        ) from None
    if array.dtype.kind not in "fiub":
        what = {"U": "text", "S": "bytes", "O": "Python objects", "c": "complex numbers"}.get(
            array.dtype.kind, str(array.dtype)
        )
        raise ArgumentError(message("tensor", f"holds numbers and booleans, not {what}", {"data": data}))
    if (
        dtype is None
        and not isinstance(data, np.ndarray | np.generic)
        and array.dtype.kind in "fiu"
        and not _holds_numpy(data)
    ):
        with np.errstate(over="ignore"):  # too large for float32: inf, as in every operation
            array = array.astype(np.float32)
    return array


def real_dtype(name: str, dtype: Any) -> np.dtype:
    """A dtype that a tensor can have."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or kind.kind not in "fiub":
        raise ArgumentError(
            message(
                name,
                "a tensor holds floats, integers or booleans",
                {"dtype": str(dtype)},
                "for instance dtype=np.float32",
            )
        )
    return kind


def _tracked_within(data: Any) -> bool:
    return any(
        a.requires_grad if isinstance(a, Tensor) else isinstance(a, list | tuple) and _tracked_within(a) for a in data
    )


def _holds_numpy(data: Any) -> bool:
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return hasattr(data, "dtype")


Value.eager = staticmethod(evaluate)


def _argument(op: Any, args: Sequence[Any], a: Any) -> Tensor:
    try:
        return _wrap(_to_array(a))
    except (ArgumentError, ShapeError):
        names = op.names or tuple("abcdefgh")
        raise ArgumentError(
            message(
                op.name,
                f"takes tensors, arrays and numbers, not {type(a).__name__}",
                dict(zip(names, args, strict=False)),
            )
        ) from None


def explain(op: Any, args: Sequence[Any], attr: dict[str, Any], error: Exception) -> Exception:
    """NumPy's complaint in the user's terms."""
    given: dict[str, Any] = dict(zip(op.names or tuple("abcdefgh"), args, strict=False))
    shown = {k: v for k, v in attr.items() if k not in ("keepdims",)}
    shapes = [a.shape for a in args if isinstance(a, Tensor)]
    facts = "".join(f", {k}={v!r}"[:80] for k, v in shown.items())
    if op.name in ("matmul", "linear"):
        return ShapeError(
            message(
                "matmul",
                f"the last axis of a and the second last of b must agree: {' @ '.join(map(str, shapes))}",
                given,
            )
        )
    if op.elementwise and len(shapes) > 1:
        return ShapeError(
            message(
                op.name,
                f"shapes {' and '.join(map(str, shapes))} do not broadcast",
                given,
                "axes must be equal or 1, counted from the last",
            )
        )
    if isinstance(error, IndexError):
        return BoundsError(message("x[...]", f"{error}{facts}", {"x": args[0]}))
    if op.name == "broadcast_to":
        return ShapeError(message(op.name, f"axes must be equal or 1, counted from the last{facts}", given))
    kind = ArgumentError if isinstance(error, TypeError) else ShapeError
    return kind(message(op.name, f"{error}{facts}", given))


def _seed(call: str, y: Tensor, gradient: Any) -> Tensor:
    if not y.requires_grad:
        raise GradientError(
            message(
                call,
                "nothing this value was computed from requires a gradient",
                {"y": y},
                "make a leaf with requires_grad=True; and not under no_grad()",
            )
        )
    if gradient is None:
        if y.size != 1:
            raise GradientError(
                message(
                    call,
                    "a value of several elements needs a cotangent",
                    {"y": y},
                    f"y.sum().{call}(), or y.{call}(g) with g of shape {y.shape}",
                )
            )
        return _wrap(np.ones_like(y.data))
    g = gradient if isinstance(gradient, Tensor) else _wrap(_to_array(gradient))
    if g.shape != y.shape:
        raise ShapeError(message(call, "the cotangent must have the shape of the value", {"y": y, "gradient": g}))
    return g if g.dtype == y.dtype else g.apply("astype", g, dtype=y.dtype)


def _no_gradient(x: Tensor, grad: Any) -> Exception:
    """What is wrong with a gradient that was assigned."""
    given, remedy = {"x": x, "grad": grad}, ""
    if not isinstance(grad, Tensor):
        remedy = "x.grad = tl.tensor(grad), or None to forget it"
        return ArgumentError(message("x.grad", "a gradient is a Tensor or None", given, remedy))
    if grad.shape != x.shape:
        return ShapeError(message("x.grad", "a gradient has the shape of its value", given))
    remedy = f"tl.astype(grad, np.{x.dtype})"
    return ArgumentError(message("x.grad", "a gradient has the dtype of its value", given, remedy))


changes = [0]  # how often a leaf was given new numbers: what was prepared from them is old when it has moved on


def replace_value(leaf: Tensor, data: np.ndarray) -> None:
    """Give a leaf new numbers (optimisers, load_state_dict). Its serial moves on, so that a graph made of the old ones
    is refused by the sweep instead of giving a gradient of others."""
    assert leaf.op is None and data.shape == leaf.data.shape and data.dtype == leaf.data.dtype, describe(leaf)
    data.flags.writeable = False
    leaf.data = data
    leaf.serial = next_serial()
    changes[0] += 1


_UFUNCS: dict[np.ufunc, Op] = {
    **{op.numpy: op for op in ops.OPS.values() if isinstance(op.numpy, np.ufunc) and op.elementwise},
    np.reciprocal: ops.OPS["reciprocal"],
    np.fabs: ops.OPS["abs"],
}
_MASK_UFUNCS = {np.bitwise_and: "logical_and", np.bitwise_or: "logical_or", np.invert: "logical_not"}
_CONSTANT_UFUNCS = (np.isnan, np.isfinite, np.isinf, np.signbit)
