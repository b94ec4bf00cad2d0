"""A cell over time in ONNX: the operators LSTM, GRU and RNN for the cells they mean, a Scan of its equations for any other.

ONNX stacks blocks in the orders i o f c (LSTM; peepholes i o f) and z r h (GRU). The gates are found by the names of the
members, so nothing here repeats an order of `cells`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .. import cells, notation
from ..cell import Cell
from ..graph import Node, reachable
from .builder import BOOL, INT, Builder, Term
from .rows import Call, translate


@dataclass(frozen=True)
class Recurrence:
    """One call of a cell over time. xs (T, B, axis); states (B, axis), None for zeros; arrays by family; lengths (B,)."""

    cell: Cell
    xs: list[Term]
    states: list[Term | None]
    zeros: list[Any]  # makes the zeros of a state where they are needed
    arrays: dict[str, Term]
    lengths: Term | None
    reverse: bool


def write(b: Builder, r: Recurrence) -> list[Term]:
    """The output (T, B, axis) and the final states (B, axis)."""
    operator = _operator(r.cell) if r.xs[0].dtype == np.float32 else None  # ONNX Runtime has them for float32 alone
    if operator is None or any(a.constant is None for a in r.arrays.values()):
        return _scan(b, r)
    kind, attributes, pack = operator
    W, R, B, P = pack(r.cell, {f: np.asarray(a.constant) for f, a in r.arrays.items()})
    names = {f: b.root.wanted.get(a.name, a.name) for f, a in r.arrays.items()}
    hidden = R.shape[1]
    inputs: list[Term | None] = [
        r.xs[0],
        b.constant(W[None], names["W"]),
        b.constant(R[None], names["U"]),
        b.constant(B[None], names["b"]),
        None if r.lengths is None else b.cast(r.lengths, np.int32),
        *[None if s is None else b.unsqueeze(s, 0) for s in r.states],
    ]
    if P is not None:
        inputs += [None] * (7 - len(inputs)) + [b.constant(P[None], names["p"])]
    dtype = r.xs[0].dtype
    outputs = [(dtype, 4)] + [(dtype, 3)] * len(r.states)
    direction = "reverse" if r.reverse else "forward"
    y, *finals = b.ops(kind, inputs, outputs, hidden_size=hidden, direction=direction, **attributes)
    last = [b.squeeze(f, 0) for f in finals]
    if r.lengths is not None:
        # ONNX leaves zeros for a sequence of no steps; here it ends with the states it began with
        none = b.unsqueeze(b.op("Equal", r.lengths, b.constant(np.zeros((), r.lengths.dtype)), dtype=BOOL), 1)
        last = [f if s is None else b.op("Where", none, s, f, dtype=dtype) for s, f in zip(r.states, last, strict=True)]
    return [b.squeeze(y, 1), *last]


# ------------------------------------------------------------------------------------------------------ ONNX's operators
def _blocks(cell: Cell, family: str, array: np.ndarray, order: str) -> np.ndarray:
    """The members of a family in another order."""
    members = cell.families[family].members
    n = len(array) // len(members)
    parts = [array[k * n : (k + 1) * n] for k in (members.index(m) for m in order)]
    return np.concatenate(parts)


def _pack_rnn(cell: Cell, a: dict[str, np.ndarray]) -> tuple[Any, ...]:
    return a["W"], a["U"], np.concatenate([a["b"], 0 * a["b"]]), None


def _pack_lstm(cell: Cell, a: dict[str, np.ndarray]) -> tuple[Any, ...]:
    W, R, b = (_blocks(cell, f, a[f], "iofg") for f in "WUb")
    return W, R, np.concatenate([b, np.zeros_like(b)]), None


def _pack_peephole(cell: Cell, a: dict[str, np.ndarray]) -> tuple[Any, ...]:
    return *_pack_lstm(cell, a)[:3], _blocks(cell, "p", a["p"], "iof")


def _pack_coupled(cell: Cell, a: dict[str, np.ndarray]) -> tuple[Any, ...]:
    """ONNX couples f = 1 - i; here i = 1 - f, and 1 - sigmoid(a) = sigmoid(-a)."""

    def pack(family: str) -> np.ndarray:
        f, g, o = (_blocks(cell, family, a[family], m) for m in "fgo")
        return np.concatenate([-f, o, f, g])

    b = pack("b")
    return pack("W"), pack("U"), np.concatenate([b, np.zeros_like(b)]), None


def _pack_gru(cell: Cell, a: dict[str, np.ndarray]) -> tuple[Any, ...]:
    W, R, b = (_blocks(cell, f, a[f], "zrn") for f in "WUb")
    d = np.zeros_like(b)
    if "d" in a:
        d[-len(a["d"]) :] = a["d"]
    return W, R, np.concatenate([b, d]), None


_OPERATORS: list[tuple[Cell, str, dict[str, Any], Any]] = [
    (cells.rnn, "RNN", {"activations": ["Tanh"]}, _pack_rnn),
    (cells.rnn_relu, "RNN", {"activations": ["Relu"]}, _pack_rnn),
    (cells.lstm, "LSTM", {}, _pack_lstm),
    (cells.lstm_peephole, "LSTM", {}, _pack_peephole),
    (cells.lstm_coupled, "LSTM", {"input_forget": 1}, _pack_coupled),
    (cells.gru, "GRU", {"linear_before_reset": 1}, _pack_gru),
    (cells.gru_reset_before, "GRU", {"linear_before_reset": 0}, _pack_gru),
]


def _equations(cell: Cell) -> Any:
    """What makes two cells the same."""
    graph = cell.graph
    families = [(f.name, f.axes, f.members) for f in cell.families.values()]
    new = [notation.equation_lines(graph), [n.name for n in graph.new_states], graph.output.name]
    return cell.inputs, cell.states, list(cell.axes.values()), families, new


@cache
def _operator(cell: Cell) -> tuple[str, dict[str, Any], Any] | None:
    """The operator that is this cell, by its equations: one's own LSTM is an LSTM."""
    for known, kind, attributes, pack in _OPERATORS:
        if cell is known or _equations(cell) == _equations(known):
            return kind, attributes, pack
    return None


# ---------------------------------------------------------------------------------------------------------------- Scan
def _scan(b: Builder, r: Recurrence) -> list[Term]:
    """The cell's graph as the body of a Scan. Products of inputs are one product over all steps before it, and members
    of a family that multiply the same value are one product."""
    cell, graph = r.cell, r.cell.graph
    dtype = r.xs[0].dtype
    body = b.body(dtype)
    states = [zero() if s is None else s for s, zero in zip(r.states, r.zeros, strict=True)]
    values: dict[int, Term] = {}

    def declare(name: str, kind: Any, ndim: int) -> Term:
        return Term(b.name(f"{b.label}{cell.name}.{name}"), np.dtype(kind), ndim)

    carried = [declare(str(n.name), dtype, 2) for n in graph.states]
    values |= {n.serial: t for n, t in zip(graph.states, carried, strict=True)}
    nodes = [n for n in reachable(graph.roots) if n.op is not None]
    leaves = {node.serial: name for name, node in graph.parameters.items()}
    members = _Members(b, cell, r.arrays)
    products = _products(nodes, leaves, members)
    inputs = {n.serial: x for n, x in zip(graph.inputs, r.xs, strict=True)}
    scanned: list[tuple[Term, Term]] = []  # before the loop (T, ...), within it
    waiting: dict[int, list[Node]] = {}  # products within the loop, by the first of them
    for group in products:
        operand = group[0].args[1].serial
        if operand in inputs:
            whole = b.op(
                "MatMul", inputs[operand], members.transposed([leaves[n.args[0].serial] for n in group]), ndim=3
            )
            step = declare(f"{group[0].args[1].name}.products", dtype, 2)
            scanned.append((whole, step))
            for node, part in zip(group, _cut(body, step, group, leaves, members), strict=True):
                values[node.serial] = part
        else:
            waiting |= {n.serial: group for n in group}
    read = {a.serial for n in nodes if n.serial not in values for a in n.args if isinstance(a, Node)}
    for node, x in zip(graph.inputs, r.xs, strict=True):
        if node.serial in read or node.serial in {n.serial for n in graph.roots}:
            values[node.serial] = declare(str(node.name), dtype, 2)
            scanned.append((x, values[node.serial]))
    runs = None
    if r.lengths is not None or not scanned:
        steps = b.op("Range", b.constant(np.int64(0)), _steps(b, r.xs[0]), b.constant(np.int64(1)), dtype=INT, ndim=1)
        clock = declare("step", INT, 0)
        scanned.append((steps, clock))
        if r.lengths is not None:
            ends = b.cast(r.lengths, INT)
            runs = body.unsqueeze(body.op("Less", clock, ends, dtype=BOOL, ndim=1), 1)
    for node in nodes:
        if node.serial in values:
            continue
        if node.serial in waiting:
            group = waiting[node.serial]
            factor = members.transposed([leaves[n.args[0].serial] for n in group])
            whole = body.op("MatMul", values[node.args[1].serial], factor, ndim=2)
            for other, part in zip(group, _cut(body, whole, group, leaves, members), strict=True):
                values[other.serial] = part
            continue
        args = [
            (values[a.serial] if a.serial in values else members.one(leaves[a.serial])) if isinstance(a, Node) else a
            for a in node.args
        ]
        assert node.op is not None
        values[node.serial] = translate(body, Call(node.op, args, node.attr))
    new = [values[n.serial] for n in graph.new_states]
    out = values[graph.output.serial]
    if runs is not None:
        zero = b.constant(np.zeros((), dtype))
        new = [body.op("Where", runs, a, s, dtype=dtype) for a, s in zip(new, carried, strict=True)]
        out = body.op("Where", runs, out, zero, dtype=dtype)
    results = [body.op("Identity", body.cast(t, dtype)) for t in [*new, out]]
    make = b.onnx.helper.make_tensor_value_info
    kinds = b.onnx.helper.np_dtype_to_tensor_dtype
    inner = b.onnx.helper.make_graph(
        body.nodes,
        cell.name,
        [make(t.name, kinds(t.dtype), [None] * t.ndim) for t in [*carried, *(t for _, t in scanned)]],
        [make(t.name, kinds(t.dtype), [None] * t.ndim) for t in results],
        doc_string=str(cell),
    )
    ways = {"scan_input_directions": [1] * len(scanned), "scan_output_directions": [1]} if r.reverse else {}
    *finals, output = b.ops(
        "Scan",
        [*states, *(t for t, _ in scanned)],
        [*((dtype, 2) for _ in new), (dtype, 3)],
        body=inner,
        num_scan_inputs=len(scanned),
        **ways,
    )
    return [output, *finals]


def _steps(b: Builder, x: Term) -> Term:
    return b.op("Gather", b.op("Shape", x, dtype=INT, ndim=1), b.constant(np.int64(0)), ndim=0, axis=0)


def _products(nodes: Sequence[Node], leaves: dict[int, str], members: _Members) -> list[list[Node]]:
    """The products, those of one family with one value together, in the order of the family."""
    groups: dict[Any, list[Node]] = {}
    for node in nodes:
        if node.op is not None and node.op.name == "linear":
            family = leaves[node.args[0].serial].partition(".")[0]
            groups.setdefault((family, node.args[1].serial), []).append(node)
    return [sorted(g, key=lambda n: members.index(leaves[n.args[0].serial])) for g in groups.values()]


def _cut(body: Builder, whole: Term, group: Sequence[Node], leaves: dict[int, str], members: _Members) -> list[Term]:
    """The parts of a product of several members."""
    if len(group) == 1:
        return [whole]
    rows = members.rows(leaves[group[0].args[0].serial])
    return body.split(whole, whole.ndim - 1, [rows] * len(group))


class _Members:
    """The members of a cell's families as they are needed: one by one, or transposed and side by side for a product."""

    def __init__(self, b: Builder, cell: Cell, arrays: dict[str, Term]):
        self.b, self.cell, self.arrays = b, cell, arrays
        self._single: dict[str, list[Term]] = {}
        self._made: dict[tuple[str, ...], Term] = {}

    def index(self, leaf: str) -> int:
        family, _, member = leaf.partition(".")
        return self.cell.families[family].members.index(member)

    def rows(self, leaf: str) -> int:
        """How many rows a member has."""
        family = leaf.partition(".")[0]
        array = self.arrays[family].constant
        assert array is not None
        return len(array) // len(self.cell.families[family].members)

    def one(self, leaf: str) -> Term:
        family = leaf.partition(".")[0]
        array = self.arrays[family]
        f = self.cell.families[family]
        if len(f.members) == 1:
            if f.members == ("",) or f.axes:
                return array
            return self.b.squeeze(array, 0)
        if family not in self._single:
            parts = self.b.split(array, 0, [self.rows(leaf)] * len(f.members))
            self._single[family] = parts if f.axes else [self.b.squeeze(p, 0) for p in parts]
        return self._single[family][self.index(leaf)]

    def transposed(self, chosen: Sequence[str]) -> Term:
        """(columns, rows of all)."""
        key = tuple(chosen)
        if key not in self._made:
            family = chosen[0].partition(".")[0]
            if len(chosen) == len(self.cell.families[family].members):
                whole = self.arrays[family]
            else:
                parts = [self.one(leaf) for leaf in chosen]
                whole = parts[0] if len(parts) == 1 else self.b.op("Concat", *parts, axis=0)
            self._made[key] = self.b.op("Transpose", whole, perm=[1, 0])
        return self._made[key]
