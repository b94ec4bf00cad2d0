"""ONNX graphs as they are written: names, constants, nodes, sizes that follow the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .history import Size

INT = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)


@dataclass(frozen=True)
class Term:
    """A value of the graph that is written: its name and dtype, the number of its axes, and itself if it is constant."""

    name: str
    dtype: np.dtype
    ndim: int
    constant: np.ndarray | None = None


class Builder:
    """Nodes in order, and constants. A body (of a Scan) has a builder of its own, which reads the names of the outer one.

    real : the float dtype of a body, where a Python number has no other to go by.
    """

    def __init__(self, onnx: Any, opset: int, outer: Builder | None = None, real: Any = None):
        self.onnx, self.opset, self.real = onnx, opset, real
        self.nodes: list[Any] = []
        self.outer = outer
        self.root: Builder = outer.root if outer else self
        self.label = ""
        if outer is None:
            self.constants: dict[str, np.ndarray] = {}
            self.wanted: dict[str, str] = {}  # the names that constants would have if they were free
            self._known: dict[Any, Term] = {}
            self._used: dict[str, int] = {}
            self.places: dict[str, tuple[Term, int]] = {}  # axis by name -> an input and its axis
            self._sizes: dict[Any, Term] = {}

    def body(self, real: np.dtype) -> Builder:
        return Builder(self.onnx, self.opset, self, real)

    def name(self, wanted: str) -> str:
        """A name that nothing in the whole model has."""
        used = self.root._used
        count = used.get(wanted, 0)
        used[wanted] = count + 1
        if not count:
            return wanted
        return self.name(f"{wanted}_{count}")

    # ----------------------------------------------------------------------------------------------------------- constants
    def constant(self, array: Any, name: str = "", dtype: Any = None) -> Term:
        array = np.ascontiguousarray(array, dtype=dtype).reshape(np.shape(array))
        root = self.root
        key = (array.dtype.str, array.shape, array.tobytes()) if not name and array.size < 64 else None
        if key is not None and key in root._known:
            return root._known[key]
        label = self.name(name or "constant")
        root.constants[label] = array
        if name:
            root.wanted[label] = name
        term = Term(label, array.dtype, array.ndim, array)
        if key is not None:
            root._known[key] = term
        return term

    def ints(self, *numbers: int) -> Term:
        return self.constant(np.array(numbers, np.int64))

    # --------------------------------------------------------------------------------------------------------------- nodes
    def op(
        self,
        kind: str,
        *inputs: Term | None,
        dtype: Any = None,
        ndim: int | None = None,
        **attributes: Any,
    ) -> Term:
        """One node with one output; dtype and ndim are those of the first input unless told."""
        first = next(t for t in inputs if t is not None)
        wide = max(t.ndim for t in inputs if t is not None)
        return self.ops(kind, inputs, [(dtype or first.dtype, wide if ndim is None else ndim)], **attributes)[0]

    def ops(
        self, kind: str, inputs: Sequence[Term | None], outputs: Sequence[tuple[Any, int]], **attributes: Any
    ) -> list[Term]:
        """One node with these outputs, as (dtype, number of axes)."""
        label = self.name(f"{self.root.label}{kind.lower()}")
        names = [label] if len(outputs) == 1 else [self.name(f"{label}.{k}") for k in range(len(outputs))]
        given = [t.name if t is not None else "" for t in inputs]
        while given and not given[-1]:
            given.pop()
        self.nodes.append(self.onnx.helper.make_node(kind, given, names, name=label, **attributes))
        return [Term(n, np.dtype(d), k) for n, (d, k) in zip(names, outputs, strict=True)]

    def cast(self, term: Term, dtype: Any) -> Term:
        dtype = np.dtype(dtype)
        if term.dtype == dtype:
            return term
        if term.constant is not None and term.constant.size < 64:
            return self.constant(term.constant.astype(dtype))
        to = self.onnx.helper.np_dtype_to_tensor_dtype(dtype)
        return self.op("Cast", term, dtype=dtype, to=to)

    def reduce(self, kind: str, x: Term, axes: Sequence[int], keepdims: bool) -> Term:
        ndim = x.ndim if keepdims else x.ndim - len(axes)
        if kind == "ReduceSum" or self.opset >= 18:
            return self.op(kind, x, self.ints(*axes), ndim=ndim, keepdims=int(keepdims))
        return self.op(kind, x, ndim=ndim, keepdims=int(keepdims), axes=list(axes))

    def squeeze(self, x: Term, axis: int) -> Term:
        return self.op("Squeeze", x, self.ints(axis), ndim=x.ndim - 1)

    def unsqueeze(self, x: Term, axis: int) -> Term:
        return self.op("Unsqueeze", x, self.ints(axis), ndim=x.ndim + 1)

    def split(self, x: Term, axis: int, sizes: Sequence[int]) -> list[Term]:
        if len(sizes) == 1:
            return [x]
        return self.ops("Split", [x, self.ints(*sizes)], [(x.dtype, x.ndim)] * len(sizes), axis=axis)

    # --------------------------------------------------------------------------------------------------------------- sizes
    def size(self, n: Any) -> Term:
        """An int or a `Size` as a vector of one int64."""
        if not isinstance(n, Size):
            return self.ints(int(n))
        root = self.root
        if n in root._sizes:
            return root._sizes[n]
        total: Term | None = None
        for axes, factor in n.terms:
            term = self._axis(axes[0])
            for axis in axes[1:]:
                term = root.op("Mul", term, self._axis(axis))
            if factor != 1:
                term = root.op("Mul", term, root.ints(factor))
            total = term if total is None else root.op("Add", total, term)
        assert total is not None
        term = root.op("Add", total, root.ints(n.offset)) if n.offset else total
        root._sizes[n] = term
        return term

    def _axis(self, axis: str) -> Term:
        """The size of a dynamic axis, read off an input."""
        root = self.root
        key = Size((((axis,), 1),))
        if key not in root._sizes:
            term, place = root.places[axis]
            shape = root.op("Shape", term, dtype=INT, ndim=1)
            root._sizes[key] = root.op("Gather", shape, root.ints(place), ndim=1, axis=0)
        return root._sizes[key]

    def shape(self, shape: Sequence[Any]) -> Term:
        """A shape as a vector of int64."""
        if not any(isinstance(n, Size) for n in shape):
            return self.ints(*map(int, shape))
        parts = [self.size(n) for n in shape]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def scalar(self, n: Any) -> Term:
        """An int or a `Size` as an int64 without axes."""
        return self.squeeze(self.size(n), 0) if isinstance(n, Size) else self.constant(np.array(n, np.int64))

    def reshape(self, x: Term, shape: Sequence[Any]) -> Term:
        return self.op("Reshape", x, self.shape(shape), ndim=len(shape), allowzero=1)

    def filled(self, shape: Sequence[Any], value: np.ndarray) -> Term:
        """An array of one number."""
        tensor = self.onnx.numpy_helper.from_array(np.asarray(value).reshape(1))
        return self.op("ConstantOfShape", self.shape(shape), dtype=value.dtype, ndim=len(shape), value=tensor)
