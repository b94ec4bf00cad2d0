"""`tl.onnx.export`: what a model does, as an ONNX file that runs anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..files import path_of, write_whole
from ..nn.module import Module, _leaves
from ..tensor import Tensor
from .builder import Builder, Term
from .history import (
    FAILURES,
    LARGE,
    Axis,
    Example,
    History,
    Recording,
    Ref,
    Size,
    Unexplained,
    find_axes,
    named_axes,
    one_array,
    record,
)
from .model import Model, from_proto
from .package import NO_PATH, package
from .recurrence import Recurrence
from .recurrence import write as write_recurrence
from .rows import Call, array_term, translate

OLDEST, OPSET = 14, 18
LARGEST = 2_000_000_000  # bytes of arrays in a file


def export(
    model: Module,
    path: str | os.PathLike[str] | None,
    example: Any,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic: bool | Mapping[str, Any] = True,
    opset: int = OPSET,
) -> Model:
    """Write a model as an ONNX file: for ONNX Runtime, a browser, a phone, without this library.

    The model runs on the example, in evaluation mode (no dropout); the operations it does become the file. The layers'
    own recurrences become the operators LSTM, GRU and RNN where ONNX has the cell, and a Scan of its equations for every
    other, one's own too. Parameters keep the names of the state dict (those of an operator are in ONNX's order of
    gates; what is computed of several is named after all of them, with +).

    Before it is written the file is checked by ONNX's checker, and run, at several sizes, against the model.

    Parameters
    ----------
    model : a Module. path : the file, written whole or not at all; None writes none.
    example : what the model is called with: an array, a tuple of its arguments, or a dict of them by name. Arrays, also
        in tuples and lists of numbers, become inputs; anything else stays as it is.
    input_names, output_names : default: the names of forward's arguments; output, output_1, ... or a dict's keys.
    dynamic : True: every axis that can have another size in the model may have one in the file. A dict gives the axes,
        and their names: `{"x": {0: "steps", 1: "batch"}}`; the same name is the same size. False: as in the example.
    opset : the version of ONNX's operators, at least 14.

    Returns
    -------
    Model : the file, as `tl.onnx.load` gives it. Its repr shows which axes are dynamic.

    Raises
    ------
    ArgumentError : an operation that ONNX has not, by name, with the module it ran in; values that follow the input by
        way of NumPy. ShapeError : an axis that was said to be dynamic, and at which the model does other things.
    FileError : no folder, no permission. MissingExtra : no onnx; `pip install 'tinygrad_lstm[onnx]'`.

    Examples
    --------
    >>> import tempfile
    >>> model = tl.nn.LSTM(3, 5, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shipped = tl.onnx.export(model, folder + "/lstm.onnx", np.zeros((7, 2, 3), np.float32))
    >>> shipped
    <onnx model
        takes input (steps, batch, 3) float32
        gives output (steps, batch, 5) float32, output_1 (1, batch, 5) float32, output_2 (1, batch, 5) float32
        6 nodes: 1 LSTM, 3 Squeeze, 2 Unsqueeze
        200 parameters>
    """
    onnx = package("export")
    if not isinstance(model, Module):
        raise ArgumentError(
            message("onnx.export", "model must be a Module", {"model": model}, "tl.onnx.export(model, path, example)")
        )
    usage = "tl.onnx.export(model, 'model.onnx', example)"
    target = None if path is None else path_of("onnx.export", path, usage, NO_PATH)
    newest = onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST <= opset <= newest:
        raise ArgumentError(
            message(
                "onnx.export", f"opset is from {OLDEST} to {newest}, the newest that onnx knows here", {"opset": opset}
            )
        )
    if not isinstance(dynamic, bool | Mapping):
        remedy = 'True, False, or {"x": {0: "steps", 1: "batch"}}'
        raise ArgumentError(
            message("onnx.export", "dynamic says which axes may have any size", {"dynamic": dynamic}, remedy)
        )
    sample = Example(model, example)
    inputs = _names("input_names", input_names, sample.names)

    def write(axes: list[Axis]) -> Any:
        history = record(model, sample, axes)
        history = history if isinstance(dynamic, Mapping) else history.renamed()
        return _Writer(onnx, model, history, sample, inputs, output_names, opset).proto()

    notes: list[str] = []
    named = named_axes(sample, inputs, dynamic) if isinstance(dynamic, Mapping) else None
    Recording(model, sample, sample.arrays)  # a call that fails fails here, in the model's own words
    try:
        if named is not None:
            proto = _with_axes(write, named)
        elif dynamic:
            axes, notes = find_axes(model, sample, inputs)
            proto = _as_many(write, axes, sample, inputs, notes)
        else:
            proto = write([])
    except Unexplained as error:
        raise ArgumentError(message("onnx.export", str(error))) from None
    proto.doc_string = "\n".join(notes)
    shipped = from_proto(proto, "the export")
    _compare(model, sample, shipped)
    if target is not None:
        data = proto.SerializeToString(deterministic=True)
        write_whole("onnx.export", target, lambda file: file.write(data))
    return shipped


def _names(what: str, given: Sequence[str] | None, own: Sequence[str]) -> list[str]:
    if given is None:
        return list(own)
    if (
        isinstance(given, str)
        or len(given) != len(own)
        or len(set(given)) != len(own)
        or not all(isinstance(n, str) and n for n in given)
    ):
        raise ArgumentError(
            message("onnx.export", f"{what} are {len(own)} different names, for {', '.join(own)}", {what: given})
        )
    return list(given)


def _with_axes(write: Callable[[list[Axis]], Any], axes: list[Axis]) -> Any:
    """The file with exactly these axes dynamic."""
    try:
        return write(axes)
    except (Unexplained, *FAILURES) as error:
        proto = write([])  # what has no translation at all has nothing to do with sizes
        if not axes:
            return proto
        problem = str(error) if isinstance(error, Unexplained) else f"the model does not run at other sizes: {error}"
        remedy = "name only axes at which the model does the same"
        raise ShapeError(message("onnx.export", problem, remedy=remedy)) from None


def _as_many(
    write: Callable[[list[Axis]], Any], axes: list[Axis], sample: Example, inputs: list[str], notes: list[str]
) -> Any:
    """The file with all these axes dynamic, or with as many as it can be; of the others a note is made."""
    try:
        return write(axes)
    except (Unexplained, *FAILURES) as error:
        if not axes:
            raise
        proto = write([])  # what has no translation at all is an error
        if len(axes) == 1:
            notes.append(_note(axes[0], sample, inputs, error))
            return proto
    kept: list[Axis] = []
    for axis in axes:
        try:
            proto = write([*kept, axis])
            kept.append(axis)
        except (Unexplained, *FAILURES) as error:
            notes.append(_note(axis, sample, inputs, error))
    return proto


def _note(axis: Axis, sample: Example, inputs: list[str], error: Exception) -> str:
    k, place = axis.places[0]
    reason = str(error).splitlines()[0]
    return f"axis {place} of {inputs[k]} is {sample.arrays[k].shape[place]}: {reason}"


def _compare(model: Module, sample: Example, shipped: Model) -> None:
    """The file, run here, against the model: at two sizes if it takes others than the example's."""
    shapes = [a.shape for a in sample.arrays]
    grown = {(k, i): shapes[k][i] + 1 for k, i in shipped.dynamic}
    small = {place: min(n, 7) for place, n in grown.items()}
    for sizes in (small, grown) if grown else ({},):
        arrays = sample.resized(sizes, 1)
        try:
            want = [y.data for y in Recording(model, sample, arrays).outputs]
        except FAILURES:
            continue  # lengths of the example, for instance, in fewer steps
        for name, a, b in zip(shipped.outputs, want, shipped.run(arrays), strict=True):
            alike = a.shape == b.shape and a.dtype == b.dtype
            if not alike or not np.allclose(a, b, 1e-3, 1e-4 * _scale(a), equal_nan=True):
                raise ArgumentError(
                    message(
                        "onnx.export",
                        f"the file does not do what the model does: {name} differs; nothing was written",
                        {"model": a, "file": b},
                        "does the model draw random numbers, or look at its input through NumPy?",
                    )
                )
        if small != grown and max((n for shape in shapes for n in shape), default=0) > LARGE:
            break  # rounding grows over a long sequence, and one size is enough


def _scale(a: np.ndarray) -> float:
    finite = np.abs(a[np.isfinite(a)]) if a.dtype.kind == "f" else np.zeros(0)
    return max(1.0, float(finite.max())) if finite.size else 1.0


class _Writer:
    """A history as an ONNX model."""

    def __init__(
        self, onnx: Any, model: Module, history: History, sample: Example, inputs: list[str], outputs: Any, opset: int
    ):
        self.onnx, self.model, self.history, self.opset = onnx, model, history, opset
        self.b = Builder(onnx, opset)
        self.terms: dict[int, Any] = {}  # position -> Term, or a list of them
        self.leaves: dict[int, str] = {}
        for name, leaf in _leaves(model):
            self.leaves.setdefault(id(leaf), name)
        own = history.first.paths  # a dict's keys; "_0", "_1" of a tuple's items
        if not own:
            raise ArgumentError(message("onnx.export", f"{type(model).__name__}.forward returns no Tensor"))
        if not own[0] or own[0].startswith("_"):
            own = [f"output_{k}" if k else "output" for k in range(len(own))]
        own = [f"{name}_out" if name in inputs else name for name in own]
        self.output_names = _names("output_names", outputs, own)
        clash = [name for name in self.output_names if name in inputs]
        if clash:
            raise ArgumentError(message("onnx.export", f"{', '.join(clash)} would be an input and an output"))
        for name in [*inputs, *self.output_names, *self.leaves.values()]:
            self.b.name(name)
        self.input_names = inputs
        for k, (place, name) in enumerate(zip(history.inputs, inputs, strict=True)):
            array = sample.arrays[k]
            self.terms[place] = Term(name, array.dtype, array.ndim)
        for axis in history.axes:
            k, place = axis.places[0]
            self.b.places[axis.name] = self.terms[history.inputs[k]], place

    # ------------------------------------------------------------------------------------------------------------- values
    def term(self, k: int) -> Any:
        """The value at a position; everything it reads first, without recursion."""
        waiting = [k]
        while waiting:
            at = waiting[-1]
            if at in self.terms:
                waiting.pop()
                continue
            missing = [j for j in self._reads(at) if j not in self.terms]
            if missing:
                waiting += missing
                continue
            try:
                self.terms[at] = self._make(at)
            except Unexplained as error:
                op = self.history.op(at)
                what = f"`{op.name}`" if op else "a constant"
                raise Unexplained(f"{what} {self.history.where(at, self.model)}: {error}") from None
            waiting.pop()
        return self.terms[k]

    def _reads(self, k: int) -> list[int]:
        """The positions that must be known first."""
        h = self.history
        if h.op(k) is None or self._folds(k) or self._same(k) is not None:
            same = self._same(k)
            return [same] if same is not None else []
        first = h.first
        return [first.place[id(a)] for a in first.read(h.value(k)) if isinstance(a, Tensor)]

    def _same(self, k: int) -> int | None:
        """`where(c, detach(y), y)`, how a row is kept from its gradient, is y."""
        value = self.history.value(k)
        if value.op is None or value.op.name != "where":
            return None
        _, a, b = value.args
        if (
            isinstance(a, Tensor)
            and isinstance(b, Tensor)
            and a.op is not None
            and a.op.name == "detach"
            and a.args[0] is b
        ):
            return self.history.first.place[id(b)]
        return None

    def _folds(self, k: int) -> bool:
        """Whether a value is the same whatever the inputs: it is computed now."""
        seen = self.history.constants(k)
        if self.history.follows[k] or type(seen[0]) is tuple:
            return False
        return one_array(seen)

    def _make(self, k: int) -> Any:
        h, b = self.history, self.b
        value, op = h.value(k), h.op(k)
        same = self._same(k)
        if same is not None:
            return self.terms[same]
        if op is None or self._folds(k):
            return self._leaf(k)
        if op.name == "item":
            return self.terms[h.first.place[id(value.args[0])]][value.attr["index"]]
        args = [self.terms[a.place] if isinstance(a, Ref) else a for a in h.args(k)]
        if op.name == "recurrence":
            return self._recurrence(k, args)
        attr = {} if op.name in ("reshape", "broadcast_to") else self._attributes(h.attr(k))
        first = next((h.first.place[id(a)] for a in value.args if isinstance(a, Tensor)), k)
        return translate(b, Call(op, args, attr, value.dtype, lambda: h.shape(k), lambda: h.shape(first)))

    def _attributes(self, attr: Any) -> Any:
        """Attributes with the values of the graph among them as Terms."""
        if isinstance(attr, Ref):
            return self.terms[attr.place]
        if isinstance(attr, dict):
            return {key: self._attributes(item) for key, item in attr.items()}
        return type(attr)([self._attributes(item) for item in attr]) if type(attr) in (tuple, list) else attr

    def _leaf(self, k: int) -> Term:
        value = self.history.value(k)
        name = self.leaves.get(id(value), self._sources(k) if value.op is not None else "")
        found = self.history.explained(self.history.constants(k))
        return array_term(self.b, found, name)

    def _sources(self, k: int) -> str:
        """The parameters that a folded value is made of, joined by +."""
        names: dict[str, None] = {}
        waiting = [self.history.value(k)]
        while waiting:
            value = waiting.pop()
            if id(value) in self.leaves:
                names[self.leaves[id(value)]] = None
            waiting += [a for a in reversed(value.args) if isinstance(a, Tensor)]
        return "+".join(names)

    def _recurrence(self, k: int, args: list[Any]) -> list[Term]:
        h = self.history
        attr = h.value(k).attr
        cell = attr["cell"]
        i, s = len(cell.inputs), len(cell.states)
        given = h.args(k)[i : i + s]
        lengths = None
        if attr["lengths"] is not None:
            found = h.one([r.values[k].attr["lengths"] for r in h.recordings])
            lengths = array_term(self.b, self._attributes(found))
        states: list[Term | None] = []
        for ref, term in zip(given, args[i : i + s], strict=True):
            data = h.constants(ref.place)
            zero = not h.follows[ref.place] and all(type(d) is np.ndarray and not d.any() for d in data)
            states.append(None if zero else term)
        zeros = [lambda term=term: term for term in args[i : i + s]]
        arrays = dict(zip(cell.families, args[i + s :], strict=True))
        return write_recurrence(self.b, Recurrence(cell, args[:i], states, zeros, arrays, lengths, attr["reverse"]))

    # -------------------------------------------------------------------------------------------------------------- model
    def proto(self) -> Any:
        h, b, onnx = self.history, self.b, self.onnx
        make = onnx.helper.make_tensor_value_info
        kind = onnx.helper.np_dtype_to_tensor_dtype
        terms = [self.term(k) for k in h.outputs]
        made = {name for node in b.nodes for name in node.output}
        names: dict[str, str] = {}  # other names for values: of outputs, and a parameter's own for what is kept of it
        results = []
        for k, term, name in zip(h.outputs, terms, self.output_names, strict=True):
            if term.name in made and term.name not in names:
                names[term.name] = name
            else:  # an input or a constant, or an output twice
                label = b.name(f"{name}_as_output")
                b.nodes.append(onnx.helper.make_node("Identity", [term.name], [name], name=label))
            try:
                gives: list[Any] = [str(n) if isinstance(n, Size) else n for n in h.shape(k)]
            except Unexplained:
                gives = [None] * term.ndim
            results.append(make(name, kind(term.dtype), gives))
        inputs = []
        for k, name in enumerate(self.input_names):
            shape: list[Any] = list(h.first.inputs[k].shape)
            for axis in h.axes:
                for i, place in axis.places:
                    if i == k:
                        shape[place] = axis.name
            inputs.append(make(name, kind(h.first.inputs[k].dtype), shape))
        nodes = _needed(b.nodes, {*names, *self.output_names})
        read = _read(nodes)
        kept = {name: a for name, a in b.constants.items() if name in read}
        used = {*self.input_names, *self.output_names}
        for name in kept:
            best = b.wanted.get(name, name)
            names[name] = name if best in used else best
            used.add(names[name])
        _rename(nodes, names)
        if sum(a.nbytes for a in kept.values()) > LARGEST:
            raise Unexplained("an ONNX file holds less than 2 GB, and these parameters are more")
        tensors = [onnx.numpy_helper.from_array(a, names[name]) for name, a in kept.items()]
        graph = onnx.helper.make_graph(nodes, type(self.model).__name__, inputs, results, tensors)
        versions = [onnx.helper.make_opsetid("", self.opset)]
        proto = onnx.helper.make_model(graph, opset_imports=versions, producer_name="tinygrad_lstm")
        proto.ir_version = onnx.helper.find_min_ir_version_for(versions)
        try:
            onnx.checker.check_model(proto, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise Unexplained(f"ONNX's checker refuses what became of it: {error}") from None
        return proto


def _bodies(node: Any) -> list[Any]:
    return [a.g for a in node.attribute if a.HasField("g")]


def _read(nodes: Sequence[Any]) -> set[str]:
    """The names that nodes read, those in their bodies too."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for body in _bodies(node):
            found |= _read(body.node)
    return found


def _rename(nodes: Sequence[Any], names: Mapping[str, str]) -> None:
    """Other names for what nodes read and make."""
    for node in nodes:
        for k, name in enumerate(node.output):
            node.output[k] = names.get(name, name)
        for k, name in enumerate(node.input):
            node.input[k] = names.get(name, name)
        for body in _bodies(node):
            _rename(body.node, names)


def _needed(nodes: Sequence[Any], outputs: Iterable[str]) -> list[Any]:
    """The nodes that some output comes from."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= _read([node])
    return kept[::-1]
