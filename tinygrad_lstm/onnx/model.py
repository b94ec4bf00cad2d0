"""`tl.onnx.load`: an ONNX file as something to run, its recurrences on this library's compiled kernels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileError, ShapeError, message
from ..files import check_readable, path_of
from ..tensor import Tensor
from .operators import OPERATORS, NodeFacts, Refused, Run
from .package import NO_PATH, package
from .recurrent import recurrent

BODIES = ("Scan", "If", "Loop")
RECURRENT = ("LSTM", "GRU", "RNN")
NUMBERS = {np.dtype(t) for t in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")}
OLDEST = 7  # the first version whose broadcasting is NumPy's


# ------------------------------------------------------------------------------------------------------------- results
class Results(tuple):
    """The outputs of a run: a tuple of arrays in the model's order, as ONNX Runtime's list, and by name.

    `y, h = model.run(x)`, `results[0]`, `results["h"]`, `results.names`, `dict(results)`.
    """

    names: tuple[str, ...]

    def __new__(cls, names: Sequence[str], arrays: Sequence[np.ndarray]) -> Results:
        made = super().__new__(cls, arrays)
        made.names = tuple(names)
        return made

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self.names:
                raise KeyError(
                    message("onnx", f"there is no output {key!r}", remedy=f"the outputs are: {', '.join(self.names)}")
                )
            key = self.names.index(key)
        return super().__getitem__(key)

    def keys(self) -> tuple[str, ...]:
        """The names; `dict(results)` is a dict."""
        return self.names

    def items(self) -> list[tuple[str, np.ndarray]]:
        """(name, array) of each, in order."""
        return list(zip(self.names, self, strict=True))

    def __reduce__(self) -> Any:
        return Results, (self.names, tuple(self))

    def __repr__(self) -> str:
        return "\n".join(f"{n}: {np.asarray(a)!r}" for n, a in zip(self.names, self, strict=True))


@dataclass(frozen=True)
class Port:
    """An input or output: its dtype, and its shape: an int, a name, or None for each axis; None if nothing is said."""

    name: str
    dtype: np.dtype
    shape: tuple[Any, ...] | None

    def __str__(self) -> str:
        shape = "..." if self.shape is None else ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} ({shape}) {self.dtype}"


# -------------------------------------------------------------------------------------------------------------- graphs
@dataclass(frozen=True)
class Step:
    """A node ready to run. last : the values that nobody reads after it."""

    run: Run
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    scope: bool
    last: tuple[str, ...] = ()


class Graph:
    """A graph as a list of steps. A body reads names of the graphs around it, which come as `scope`."""

    def __init__(self, onnx: Any, proto: Any, opset: int, folder: Path | None, problems: list[str], outer: set[str]):
        self.name = proto.name
        self.constants: dict[str, np.ndarray] = {}
        for tensor in proto.initializer:
            self.constants[tensor.name] = _array(onnx, tensor, folder)
        if len(proto.sparse_initializer):
            problems.append("sparse initializers")
        self.inputs = [i.name for i in proto.input if i.name not in self.constants]
        self.outputs = [o.name for o in proto.output]
        known = outer | set(self.constants) | {i.name for i in proto.input}
        self.fixed = set(self.constants) - {i.name for i in proto.input}  # what a caller cannot replace
        steps: list[Step] = []
        for k, node in enumerate(proto.node):
            label = f"{node.name or f'node {k}'} ({node.op_type})"
            missing = [n for n in node.input if n and n not in known]
            if missing:
                raise Refused(f"{label} reads {missing[0]!r}, which nothing before it makes")
            known |= set(filter(None, node.output))
            made = self._step(onnx, node, label, opset, folder, problems, known)
            if made is not None:
                steps.append(made)
        unmade = [n for n in self.outputs if n not in known]
        if unmade:
            raise Refused(f"the output {unmade[0]!r} is made by no node")
        self.steps = self._with_last(steps)

    def _step(
        self, onnx: Any, node: Any, label: str, opset: int, folder: Path | None, problems: list[str], known: set[str]
    ) -> Step | None:
        if node.domain not in ("", "ai.onnx"):
            problems.append(f"{label} of the domain {node.domain!r}")
            return None
        inputs, outputs = tuple(node.input), tuple(node.output)
        if node.op_type == "Constant":
            self.constants[outputs[0]] = _constant(onnx, node, folder)
            self.fixed.add(outputs[0])
            return None
        attr: dict[str, Any] = {}
        for a in node.attribute:
            if a.type == onnx.AttributeProto.GRAPH:
                attr[a.name] = Graph(onnx, a.g, opset, folder, problems, known)
            elif a.type == onnx.AttributeProto.TENSOR:
                attr[a.name] = _array(onnx, a.t, folder)
            elif a.type in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS, onnx.AttributeProto.FLOAT,
                            onnx.AttributeProto.FLOATS, onnx.AttributeProto.STRING, onnx.AttributeProto.STRINGS):  # fmt: skip
                attr[a.name] = onnx.helper.get_attribute_value(a)
            else:
                problems.append(f"{label}: its attribute {a.name!r} is of a kind that is not known here")
        constants = tuple(self.constants[n] if n in self.fixed else None for n in inputs)
        facts = NodeFacts(node.op_type, node.name, attr, opset, inputs, outputs, constants)
        scoped = node.op_type in BODIES
        try:
            if scoped:
                run = {"Scan": _scan, "If": _if, "Loop": _loop}[node.op_type](facts)
            elif node.op_type in RECURRENT:
                run = recurrent(facts)
            elif node.op_type == "Cast":
                run = _cast(onnx, facts)
            elif node.op_type == "CastLike":
                run = lambda x, like: x.astype(like.dtype)
            elif node.op_type == "ConstantOfShape":
                run = _constant_of_shape(facts)
            elif node.op_type in OPERATORS:
                run = OPERATORS[node.op_type](facts)
            else:
                problems.append(label)
                return None
        except Refused as error:
            problems.append(f"{label}: {error}")
            return None
        return Step(run, node.op_type, label, inputs, outputs, scoped)

    def _with_last(self, steps: list[Step]) -> list[Step]:
        """Tell every step which values it is the last to read."""
        kept = set(self.outputs) | set(self.constants)
        out = []
        for step in reversed(steps):
            reads = set(filter(None, step.inputs))
            for value in _graphs(step):
                reads |= value
            last = tuple(sorted((reads | set(filter(None, step.outputs))) - kept))
            kept |= reads
            out.append(replace(step, last=last))
        return out[::-1]

    @cached_property
    def reads(self) -> set[str]:
        """The names of the graphs around it that it needs."""
        own = set(self.constants) | set(self.inputs)
        found: set[str] = set(self.outputs)
        for step in self.steps:
            found |= set(step.inputs)
            for value in _graphs(step):
                found |= value
        made = {n for step in self.steps for n in step.outputs}
        return found - own - made - {""}

    def run(self, values: Mapping[str, Any], scope: Mapping[str, Any] | None = None) -> list[np.ndarray]:
        env: dict[str, Any] = {**(scope or {}), **self.constants, **values}
        for step in self.steps:
            args = [env[n] if n else None for n in step.inputs]
            while args and args[-1] is None:
                args.pop()
            try:
                result = step.run(env, *args) if step.scope else step.run(*args)
            except (
                Refused,
                ValueError,
                TypeError,
                IndexError,
                OverflowError,
                KeyError,
                MemoryError,
                np.linalg.LinAlgError,
            ) as error:
                if isinstance(error, ArgumentError | ShapeError) and str(error).startswith("`onnx"):
                    raise
                given = {n: env[n] for n in step.inputs if n}
                reason = f"{error}" or type(error).__name__
                raise ShapeError(message("onnx", f"{step.name} cannot run: {reason}", given)) from None
            results = result if type(result) is tuple else (result,)
            for name, array in zip(step.outputs, results, strict=False):
                if name:
                    env[name] = array if type(array) is np.ndarray else np.asarray(array)
            for name in step.last:
                env.pop(name, None)
        return [env[n] for n in self.outputs]


def _graphs(step: Step) -> Iterator[set[str]]:
    """What the bodies of a step read of the graph around."""
    for graph in getattr(step.run, "graphs", ()):
        yield graph.reads


def _array(onnx: Any, tensor: Any, folder: Path | None) -> np.ndarray:
    """A tensor of the file as an array, checked: its bytes are as many as its shape says."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _outside(onnx, tensor, folder)
    if any(n < 0 for n in tensor.dims):
        raise Refused(f"the tensor {tensor.name!r} has a negative size")
    try:
        if tensor.HasField("raw_data"):
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            if tensor.data_type <= 16 and len(tensor.raw_data) != math.prod(tensor.dims) * dtype.itemsize:
                raise ValueError("its bytes are not as many as its shape says")
        array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, MemoryError, OverflowError) as error:
        raise Refused(f"the tensor {tensor.name!r} cannot be read: {error}") from None
    if array.dtype not in NUMBERS:
        raise Refused(f"the tensor {tensor.name!r} holds {array.dtype}, no numbers of NumPy's")
    return array


def _outside(onnx: Any, tensor: Any, folder: Path | None) -> np.ndarray:
    """A tensor kept in a file beside the model: in the same folder and nowhere else."""
    facts = {e.key: e.value for e in tensor.external_data}
    location = facts.get("location", "")
    if folder is None or not location or Path(location).name != location or "\\" in location:
        raise Refused(
            f"the tensor {tensor.name!r} is kept in {location!r}: only files in the model's own folder are read"
        )
    file = folder / location
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    try:
        offset = int(facts.get("offset", "0"))
        want = math.prod(tensor.dims) * dtype.itemsize
        if (
            dtype not in NUMBERS
            or any(n < 0 for n in tensor.dims)
            or offset < 0
            or int(facts.get("length", want)) != want
        ):
            raise ValueError("its length does not fit its shape")
        if file.is_symlink() or not file.is_file() or file.stat().st_size < offset + want:
            raise ValueError("the file is not there, a link, or too short")
        with open(file, "rb") as stream:
            stream.seek(offset)
            data = stream.read(want)
    except (ValueError, OSError) as error:
        raise Refused(f"the tensor {tensor.name!r} in {location!r} cannot be read: {error}") from None
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(tuple(tensor.dims))


def _constant(onnx: Any, node: Any, folder: Path | None) -> np.ndarray:
    (a,) = node.attribute
    if a.name == "value":
        return _array(onnx, a.t, folder)
    value = onnx.helper.get_attribute_value(a)
    kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    if a.name not in kinds:
        raise Refused(f"{node.name or 'a node'} (Constant) has {a.name}, which is not known here")
    return np.array(value, kinds[a.name])


def _cast(onnx: Any, node: NodeFacts) -> Run:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(node.attr["to"])
    if dtype not in NUMBERS:
        raise Refused(f"casts to {dtype}")
    return lambda x: x.astype(dtype)


def _constant_of_shape(node: NodeFacts) -> Run:
    value = node.get("value", np.zeros(1, np.float32)).reshape(-1)
    return lambda shape: np.full([int(n) for n in shape], value[0], value.dtype)


# ---------------------------------------------------------------------------------------------------------- with a body
def _holding(run: Any, *graphs: Graph) -> Run:
    run.graphs = graphs
    return run


def _scan(node: NodeFacts) -> Run:
    body: Graph = node.attr["body"]
    count = node.attr["num_scan_inputs"]
    carried = len(node.inputs) - count
    if node.opset < 9:
        raise Refused("the Scan of opset 8, which has a batch axis")
    if carried < 0 or len(body.inputs) != carried + count:
        raise Refused("its body does not take what it is given")
    ways = list(node.get("scan_input_directions", [0] * count))
    places = list(node.get("scan_input_axes", [0] * count))
    out_ways = node.get("scan_output_directions", [0] * (len(node.outputs) - carried))
    out_places = node.get("scan_output_axes", [0] * (len(node.outputs) - carried))

    def run(env: Any, *args: Any) -> Any:
        around = {n: env[n] for n in body.reads}
        states = list(args[:carried])
        xs = [
            np.moveaxis(x, axis, 0)[:: -1 if way else 1]
            for x, axis, way in zip(args[carried:], places, ways, strict=True)
        ]
        steps = {len(x) for x in xs}
        if len(steps) != 1:
            raise ValueError(f"its sequences differ in length: {sorted(steps)}")
        rows: list[list[Any]] = [[] for _ in out_ways]
        for t in range(steps.pop()):
            results = body.run(dict(zip(body.inputs, [*states, *(x[t] for x in xs)], strict=True)), around)
            states = results[:carried]
            for row, y in zip(rows, results[carried:], strict=True):
                row.append(y)
        if rows and not rows[0]:
            raise ValueError("a Scan of no steps does not say the shapes of its outputs")
        stacked = [
            np.moveaxis(np.stack(r[::-1] if way else r), 0, axis)
            for r, way, axis in zip(rows, out_ways, out_places, strict=True)
        ]
        return (*states, *stacked)

    return _holding(run, body)


def _if(node: NodeFacts) -> Run:
    yes, no = node.attr["then_branch"], node.attr["else_branch"]
    return _holding(lambda env, condition: tuple((yes if condition.item() else no).run({}, env)), yes, no)


def _loop(node: NodeFacts) -> Run:
    body: Graph = node.attr["body"]
    carried = len(body.inputs) - 2

    def run(env: Any, count: Any = None, condition: Any = None, *states: Any) -> Any:
        values = list(states)
        rows: list[list[Any]] = [[] for _ in range(len(body.outputs) - 1 - carried)]
        limit = None if count is None else int(count.item())
        go = True if condition is None else bool(condition.item())
        around = {n: env[n] for n in body.reads}
        t = 0
        while go and (limit is None or t < limit):
            step, flag = np.array(t, np.int64), np.array(go)
            again, *results = body.run(dict(zip(body.inputs, [step, flag, *values], strict=True)), around)
            go = bool(again.item())
            values = results[:carried]
            for row, y in zip(rows, results[carried:], strict=True):
                row.append(y)
            t += 1
        if rows and not rows[0]:
            raise ValueError("a Loop of no rounds does not say the shapes of its outputs")
        return (*values, *map(np.stack, rows))

    return _holding(run, body)


# --------------------------------------------------------------------------------------------------------------- models
class Model:
    """An ONNX model that runs here.

    Attributes
    ----------
    inputs, outputs : name -> Port (dtype and shape; an axis of any size has a name). parameters : name -> array, of the
    constants in the file. num_parameters : how many numbers they are. notes : what the file says of itself; of an export,
    which axes keep the example's size, and why.
    """

    def __init__(self, graph: Graph, inputs: list[Port], outputs: list[Port], notes: str = ""):
        self.notes = notes
        self._graph = graph
        self.inputs = {p.name: p for p in inputs}
        self.outputs = {p.name: p for p in outputs}

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The arrays of floats in the file, by name."""
        return {n: a for n, a in self._graph.constants.items() if a.dtype.kind == "f" and a.ndim}

    @property
    def num_parameters(self) -> int:
        return sum(a.size for a in self.parameters.values())

    @property
    def dynamic(self) -> list[tuple[int, int]]:
        """The axes of any size, as (input, axis)."""
        return [
            (k, i)
            for k, p in enumerate(self.inputs.values())
            for i, n in enumerate(p.shape or ())
            if not isinstance(n, int)
        ]

    def run(self, inputs: Any) -> Results:
        """What the model gives for these inputs.

        Parameters
        ----------
        inputs : a dict name -> array; or a list or tuple of arrays in order; or the one array. Floats are cast to the
            model's dtype.

        Returns
        -------
        Results : a tuple of arrays in the model's order, as of ONNX Runtime; and by name: `results["h"]`.

        Raises
        ------
        ArgumentError : names or dtypes that the model has not. ShapeError : other sizes than the model's; a node that
            cannot run, with its name and type.
        """
        values = self._named(inputs)
        sizes: dict[str, tuple[int, str]] = {}
        for name, port in self.inputs.items():
            if name in values:
                values[name] = self._fitting(port, values[name], sizes)
        with np.errstate(all="ignore"):
            arrays = self._graph.run(values)
        return Results(list(self.outputs), [np.ascontiguousarray(a).reshape(a.shape) for a in arrays])

    def _named(self, inputs: Any) -> dict[str, Any]:
        names = list(self.inputs)
        if not isinstance(inputs, Mapping):
            given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
            if len(given) != len(names):
                raise ArgumentError(
                    message("onnx.run", f"the model has {len(names)} inputs ({', '.join(names)}), {len(given)} given")
                )
            return dict(zip(names, given, strict=True))
        wrong = [str(n) for n in inputs if n not in self.inputs and n not in self._graph.constants]
        missing = [n for n in names if n not in inputs]
        if wrong or missing:
            problem = f"no input is called {', '.join(wrong)}" if wrong else f"{', '.join(missing)} is missing"
            raise ArgumentError(
                message("onnx.run", problem, remedy=f"the inputs are: {', '.join(map(str, self.inputs.values()))}")
            )
        return dict(inputs)

    def _fitting(self, port: Port, value: Any, sizes: dict[str, tuple[int, str]]) -> np.ndarray:
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, port.dtype, "same_kind"):
            raise ArgumentError(message("onnx.run", f"{port.name} is {port.dtype}", {port.name: array}))
        if port.shape is not None and (
            array.ndim != len(port.shape)
            or any(isinstance(n, int) and n != m for n, m in zip(port.shape, array.shape, strict=True))
        ):
            raise ShapeError(message("onnx.run", f"the model takes {port}", {port.name: array}))
        for n, m in zip(port.shape or (), array.shape, strict=False):
            if isinstance(n, str) and n.isidentifier():
                size, other = sizes.setdefault(n, (m, port.name))
                if size != m:
                    raise ShapeError(
                        message(
                            "onnx.run", f"the axis {n!r} is {size} in {other}, {m} in {port.name}", {port.name: array}
                        )
                    )
        return array.astype(port.dtype, copy=False)

    def __repr__(self) -> str:
        takes, gives = ", ".join(map(str, self.inputs.values())), ", ".join(map(str, self.outputs.values()))
        kinds = [s.kind for s in self._graph.steps]
        counts = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        lines = ["<onnx model", f"takes {takes}", f"gives {gives}", f"{len(kinds)} nodes: {counts}"]
        lines += [f"note: {note}" for note in self.notes.splitlines()[:10]]
        return "\n    ".join([*lines, f"{self.num_parameters:,} parameters>"])


def load(path: str | os.PathLike[str]) -> Model:
    """Read an ONNX model, made here or elsewhere, to run it: the recurrent operators on the compiled kernels, all others
    by NumPy.

    Parameters
    ----------
    path : the file. Tensors kept outside of it are read from its own folder only.

    Returns
    -------
    Model : `model.run(inputs)`; its repr shows inputs, outputs, nodes and the number of parameters.

    Raises
    ------
    FileError : no file, damaged, no ONNX model, or one that its checker refuses. ArgumentError : operators that do not
        run here; all are listed, by name and type. MissingExtra : no onnx; `pip install 'tinygrad_lstm[onnx]'`.

    Examples
    --------
    >>> import tempfile
    >>> layer = tl.nn.GRU(3, 5, seed=0)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = tl.onnx.export(layer, folder + "/gru.onnx", x)
    ...     model = tl.onnx.load(folder + "/gru.onnx")
    >>> output, h = model.run(x[:4])
    >>> bool(np.allclose(output, layer(x[:4])[0], atol=1e-6))
    True
    """
    onnx = package("load")
    source = path_of("onnx.load", path, "tl.onnx.load('model.onnx')", NO_PATH)
    check_readable("onnx.load", source)
    try:
        data = source.read_bytes()
        proto = onnx.ModelProto()
        proto.ParseFromString(data)
        if not len(proto.graph.node) and not len(proto.graph.output):
            raise ValueError("it holds no graph")
        _check(onnx, proto, source)
    except OSError as error:
        raise FileError(message("onnx.load", f"{source} cannot be read: {error.strerror}")) from None
    except Exception as error:
        problem = " ".join(str(error).split())[:300]
        raise FileError(
            message("onnx.load", f"{source} is damaged, cut off, or no ONNX model", remedy=problem)
        ) from None
    return from_proto(proto, str(source), source.parent)


def _check(onnx: Any, proto: Any, source: Path) -> None:
    """ONNX's checker, but for what runtimes do not ask for: that inputs and outputs say how many axes they have."""
    bare = [i for i in (*proto.graph.input, *proto.graph.output) if not i.type.tensor_type.HasField("shape")]
    if not bare:
        onnx.checker.check_model(str(source))
        return
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    for info in (*whole.graph.input, *whole.graph.output):
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.shape.SetInParent()
    if not any(t.data_location == onnx.TensorProto.EXTERNAL for t in whole.graph.initializer):
        onnx.checker.check_model(whole)


def from_proto(proto: Any, where: str, folder: Path | None = None) -> Model:
    """A parsed model, verified and made ready to run."""
    onnx = package("load")
    if len(proto.functions):
        from onnx import inliner

        proto = inliner.inline_local_functions(proto)
    versions = {o.domain: o.version for o in proto.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset < OLDEST:
        raise ArgumentError(
            message(
                "onnx.load",
                f"{where} is of opset {opset}; from {OLDEST} on they run here",
                remedy="onnx.version_converter brings it up",
            )
        )
    problems: list[str] = []
    try:
        graph = Graph(onnx, proto.graph, opset, folder, problems, set())
        inputs = [_port(onnx, i) for i in proto.graph.input if i.name in graph.inputs]
        outputs = [_port(onnx, o) for o in proto.graph.output]
    except Refused as error:
        raise FileError(message("onnx.load", f"{where}: {error}")) from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError, RecursionError) as error:
        raise FileError(message("onnx.load", f"{where} makes no sense ({type(error).__name__})")) from None
    if problems:
        listed = "\n    ".join(problems)
        raise ArgumentError(message("onnx.load", f"{where} has what does not run here\n    {listed}"))
    return Model(graph, inputs, outputs, proto.doc_string)


def _port(onnx: Any, info: Any) -> Port:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not kind.elem_type:
        raise Refused(f"{info.name!r} is no tensor")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype not in NUMBERS:
        raise Refused(f"{info.name!r} holds {dtype}, no numbers of NumPy's")
    if not kind.HasField("shape"):
        return Port(info.name, dtype, None)
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    return Port(info.name, dtype, tuple(dims))
