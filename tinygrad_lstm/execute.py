"""Run a compiled plan: memory, packed weights, threads; and what the backward loop leaves for later.

One thread owns a slice of the batch for the whole sequence, so threads never wait for each other inside a call. After the
backward loop the cotangents of inputs are one product over all steps and samples, those of weights likewise, split over
threads by units and never by terms: no result depends on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from . import interpret, kernels
from .cell import Cell
from .graph import Node, reachable
from .kernels import native
from .loops import BLOCKED, Loop, is_op, sums_of_products
from .plan import varies
from .interpret import Interpreter

SLICE = 1  # rows of a batch that are worth a thread


def aligned(shape: Sequence[int], dtype: Any, zero: bool = False) -> np.ndarray:
    """An array whose first element lies at a multiple of 64 bytes: a vector never straddles two cache lines."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = (np.zeros if zero else np.empty)(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Program:
    """What is compiled for a cell: its two loops, and where backward finds and leaves things."""

    def __init__(self, cell: Cell):
        self.cell, self.plan = cell, cell.plan
        plan, graph = self.plan, cell.graph
        new = {n.serial for n in graph.new_states if n.op is not None}
        inputs = {f"input{k}": [x] for k, x in enumerate(graph.inputs)}
        states = {f"state{k}": [s] for k, s in enumerate(graph.states)}
        self.output_state = next((k for k, n in enumerate(graph.new_states) if n is graph.output and n.op is not None), None)

        position = {graph.parameters[leaf].serial: (f.name, k) for f in plan.families.values() for k, leaf in enumerate(f.leaves)}
        self.outers = [n for n in plan.back_static if is_op(n, "outer_sum")]
        self.column_sums = [n for n in plan.back_static if is_op(n, "sum_to") and varies(n.args[0])]
        self.saved = self._residuals(new)
        given = {n.serial for n in [*graph.inputs, *graph.states, *self.saved]} | new

        later: list[Node] = [n.args[0] for n in [*self.outers, *self.column_sums]]
        later += [n.args[1] for n in self.outers if n.args[1].serial not in given]
        self.input_sums: list[Any] = []
        for g in plan.input_cotangents:
            found = sums_of_products(reachable([g]), [g], position)[0].get(g.serial) if g is not None else None
            self.input_sums.append(found)
            if found is not None:
                later += [*(f.operand for f in found.factors), *(a for a in found.addends if isinstance(a, Node))]
            elif g is not None:
                later.append(g)
        every = [g for g in plan.cotangents.values()]
        users = {n.args[1].serial: position[n.args[0].serial] for n in reversed(reachable(every)) if is_op(n, "linear_t")}
        order = {f: k for k, f in enumerate(plan.families)}
        kept = {n.serial: n for n in later if n.serial not in given and n is not plan.output_seed}
        key = lambda n: (order[users[n.serial][0]], users[n.serial][1]) if n.serial in users else (len(order), 0)
        self.kept = sorted(kept.values(), key=key)

        self.forward = Loop(
            plan,
            cell.name,
            known={**inputs, **states},
            homes={
                **{f"state{k}": [n] for k, n in enumerate(graph.new_states)},
                **({"output": [graph.output]} if self.output_state is None else {}),
                "tape": self.saved,
            },
            backward=False,
        )
        self.backward = Loop(
            plan,
            cell.name,
            known={
                **inputs,
                **{f"state{k}": [s, *([n] if n.op is not None else [])] for k, (s, n) in enumerate(zip(graph.states, graph.new_states, strict=True))},
                "tape": self.saved,
                "d_output": [plan.output_seed],
                **{f"carry{k}": [s] for k, s in enumerate(plan.seeds)},
            },
            homes={**{f"carry{k}": [g] for k, g in enumerate(plan.state_cotangents) if g is not None}, "kept": self.kept},
            backward=True,
        )

    def _residuals(self, new: set[int]) -> list[Node]:
        """What BPTT keeps of every step: what backward reads, less the states, less what follows elementwise from the rest."""
        graph = self.cell.graph
        available = {n.serial for n in [*graph.inputs, *graph.states]} | new
        operands = {n.args[1].serial for n in self.outers}
        saved = []
        for n in self.plan.saved:
            if n.serial in new:
                continue
            assert n.op is not None
            cheap = n.op.code is not None and all(not isinstance(a, Node) or not varies(a) or a.serial in available for a in n.args)
            if not cheap or n.serial in operands:
                saved.append(n)
            available.add(n.serial)
        return saved

    def source(self, direction: str, dtype: Any) -> str:
        return (self.forward if direction == "forward" else self.backward).source(dtype)


@lru_cache(maxsize=None)
def program(cell: Cell) -> Program:
    return Program(cell)


@lru_cache(maxsize=None)
def kernel(cell: Cell, direction: str, dtype: np.dtype) -> tuple[Any, Loop]:
    p = program(cell)
    loop = p.forward if direction == "forward" else p.backward
    return kernels.compile_source(loop.source(dtype), f"{cell.name}_{direction}"), loop


@lru_cache(maxsize=None)
def helper(name: str, dtype: np.dtype) -> Any:
    return kernels.compile_source(native.gemm.source(name, dtype), name)


@lru_cache(maxsize=None)
def product(dtype: np.dtype) -> int:
    """The address of gemm, which all kernels share."""
    return kernels.compile_pointer(native.gemm.source("gemm", dtype), "gemm", native.gemm.ARGUMENTS)


class Weights:
    """The products' weights in panels, for one call: offsets into one array by (family, way)."""

    def __init__(self, cell: Cell, arrays: Mapping[str, np.ndarray], wanted: Sequence[tuple[str, str]], dtype: np.dtype):
        lanes = native.gemm.lanes(dtype)
        self.at: dict[tuple[str, str], int] = {}
        self.member: dict[tuple[str, str], int] = {}
        self.panel: dict[tuple[str, str], int] = {}
        size = 0
        jobs = []
        for family, way in wanted:
            f = cell.families[family]
            W = np.ascontiguousarray(arrays[family])
            members = len(f.members)
            rows, cols = W.shape[0] // members, W.shape[1]
            pad_rows, pad_cols = native.gemm.padded(rows, dtype), native.gemm.padded(cols, dtype)
            self.at[family, way] = size
            if way == "N":
                self.member[family, way], self.panel[family, way] = pad_rows * cols, cols * lanes
                total, panels = members * pad_rows * cols, members * pad_rows // lanes
            else:
                self.member[family, way], self.panel[family, way] = pad_rows * lanes, members * pad_rows * lanes
                total, panels = members * pad_rows * pad_cols, pad_cols // lanes
            jobs.append((way, W, rows, cols, members, size, panels, total))
            size += total
        self.array = aligned((max(1, size),), dtype)
        base = self.array.ctypes.data
        for way, W, rows, cols, members, start, panels, total in jobs:
            pack = helper("pack" if way == "N" else "pack_transposed", dtype)
            P, source = base + start * dtype.itemsize, W.ctypes.data

            def job(lo: int, hi: int, pack: Any = pack, source: int = source, P: int = P, rows: int = rows, cols: int = cols, members: int = members) -> None:
                kernels.call(pack, source, rows, cols, members, P, lo, hi)

            kernels.run_slices(job, panels, at_least=max(1, panels * 65536 // max(1, total)))


class Run:
    """Memory and numbers of one call of a loop."""

    def __init__(self, cell: Cell, loop: Loop, sizes: Mapping[Any, int], dtype: np.dtype, weights: Weights):
        self.cell, self.loop, self.sizes, self.dtype, self.weights = cell, loop, sizes, dtype, weights
        self.arrays: dict[str, np.ndarray] = {"packed": weights.array}
        self.rows: dict[str, int] = {}
        self.slots: dict[str, int] = {}
        self.offsets = {name: memory.offsets(self.pad) for name, memory in loop.memories.items()}

    def pad(self, axis: Any) -> int:
        return native.gemm.lanes(self.dtype) if axis == 1 else native.gemm.padded(self.sizes[axis], self.dtype)

    def give(self, memory: str, array: np.ndarray) -> None:
        """An array (slots, B, row) as a memory."""
        self.arrays[memory] = array
        if array.ndim == 3:
            self.slots[memory], self.rows[memory] = array.shape[0], array.strides[1] // array.itemsize

    def row(self, memory: str) -> int:
        return self.offsets[memory][-1]

    def place(self) -> np.ndarray:
        out = []
        for kind, *what in self.loop.numbers:
            if kind == "size":
                out.append(self.sizes[what[0]])
            elif kind == "pad":
                out.append(self.pad(what[0]))
            elif kind == "panels":
                out.append(self.pad(what[0]) // native.gemm.lanes(self.dtype))
            elif kind == "row":
                out.append(self.rows[what[0]])
            elif kind == "slots":
                out.append(self.slots[what[0]])
            elif kind == "at":
                out.append(self.offsets[what[0]][what[1]])
            else:
                out.append({"packed": self.weights.at, "member": self.weights.member, "panel": self.weights.panel}[kind][what[0], what[1]])
        return np.array(out, np.int64)

    def address(self) -> np.ndarray:
        return np.array([product(self.dtype), *(self.arrays[m].ctypes.data for m in self.loop.addresses)], np.int64)

    def vectors(self, machine: Interpreter) -> None:
        """Parameters and static values that the loop reads, a block each; the starting values of the sums."""
        out = np.zeros(max(1, self.row("vectors")), self.dtype)
        for k, node in enumerate(self.loop.memories["vectors"].blocks.values()):
            value = np.asarray(machine.static[node.serial]).reshape(-1)
            start = self.offsets["vectors"][k]
            out[start : start + value.size] = value
        self.arrays["vectors"] = out
        biases = np.zeros(max(1, self.row("z")), self.dtype)
        for k, node in enumerate(self.loop.memories["z"].blocks.values()):
            start = self.offsets["z"][k]
            for vector in self.loop.sums[node.serial].vectors:
                value = np.asarray(machine.static[vector.serial]).reshape(-1)
                biases[start : start + self.sizes[node.shape[-1]] if node.shape[-1] != 1 else start + 1] += value
        self.arrays["biases"] = biases
        widest = max([native.gemm.lanes(self.dtype), *(self.pad(a) for a in self.sizes if a != 1)])
        self.arrays["zeros"] = np.zeros(widest, self.dtype)

    def wanted(self) -> list[tuple[str, str]]:
        return [(w[1], w[2]) for w in self.loop.numbers if w[0] == "packed"]


def wanted_weights(loop: Loop) -> list[tuple[str, str]]:
    return [(w[1], w[2]) for w in loop.numbers if w[0] == "packed"]


class Tape:
    """What the forward run leaves for the backward one."""

    def __init__(self, machine: Interpreter, run: Run, xs: Sequence[np.ndarray], active: np.ndarray, ragged: bool):
        self.machine, self.run, self.xs, self.active, self.ragged = machine, run, xs, active, ragged


def padded_copy(x: np.ndarray, width: int) -> np.ndarray:
    """(T, B, n) with rows of `width`, zeros behind; x itself if it is that already."""
    if x.shape[-1] == width and x.flags.c_contiguous:
        return x
    out = aligned((*x.shape[:-1], width), x.dtype, zero=True)
    out[..., : x.shape[-1]] = x
    return out


def run_forward(cell: Cell, arrays: Mapping[str, np.ndarray], xs: Sequence[np.ndarray], states: Sequence[np.ndarray], active: np.ndarray | None, keep: bool) -> tuple[np.ndarray, list[np.ndarray], Any]:  # fmt: skip
    """All steps; xs: (T, B, axis) each; states: (B, axis); active: how many samples still run at each step, or None.

    Returns the outputs (T, B, axis), to be ignored where a sequence has ended; the final states; and, to `keep`, the tape.
    """
    T, B = xs[0].shape[:2]
    if T == 0 or B == 0:
        return interpret.run_forward(cell.plan, arrays, xs, states, active, keep)
    p, dtype, graph = program(cell), xs[0].dtype, cell.graph
    loop_kernel, loop = kernel(cell, "forward", dtype)
    machine = Interpreter(p.plan, arrays)
    for node, value in zip([*graph.inputs, *graph.states], [*xs, *states], strict=True):
        machine.sizes.setdefault(node.shape[-1], value.shape[-1])
    machine.run(p.plan.static, machine.static)
    run = Run(cell, loop, machine.sizes, dtype, Weights(cell, arrays, wanted_weights(loop), dtype))
    run.vectors(machine)
    read = _read_elementwise(p)
    given = []
    for k, (node, x) in enumerate(zip(graph.inputs, xs, strict=True)):
        own = padded_copy(x, run.pad(node.shape[-1])) if node.serial in read else np.ascontiguousarray(x)
        given.append(own)
        run.give(f"input{k}", own)
    ragged = active is not None
    whole = T + 1 if keep or ragged else 2
    for k, (node, s) in enumerate(zip(graph.states, states, strict=True)):
        slots = T + 1 if k == p.output_state else whole
        history = aligned((slots, B, run.pad(node.shape[-1])), dtype, zero=ragged)
        history[0] = 0
        history[0, :, : s.shape[-1]] = s
        run.give(f"state{k}", history)
    if p.output_state is None:
        run.give("output", aligned((T, B, run.pad(graph.output.shape[-1])), dtype, zero=ragged))
    hoisted = any(loop.hoists(s) for s in loop.sums.values())
    rows = max(1, -(-B // kernels.get_num_threads()))
    chunk = max(1, min(T, -(-64 // rows))) if hoisted else 1
    run.give("z", aligned((chunk, B, run.row("z")), dtype))
    run.give("scratch", aligned((1, B, run.row("scratch")), dtype))
    run.give("tape", aligned((T if keep else 1, B, run.row("tape")), dtype, zero=ragged and keep))
    running = np.full(T, B, np.int64) if active is None else active.astype(np.int64)
    address, place = run.address(), run.place()
    kernels.run_slices(lambda lo, hi: kernels.call(loop_kernel, address, place, running, T, B, lo, hi, chunk), B, at_least=SLICE)
    if p.output_state is not None:
        width = machine.sizes[graph.output.shape[-1]]
        output = run.arrays[f"state{p.output_state}"][1:, :, :width]
    else:
        output = run.arrays["output"][:, :, : machine.sizes[graph.output.shape[-1]]]
    finals = []
    for k, node in enumerate(graph.states):
        history, width = run.arrays[f"state{k}"], machine.sizes[node.shape[-1]]
        if ragged:
            ends = (running[:, None] > np.arange(B)[None, :]).sum(0)
            finals.append(history[ends, np.arange(B), :width])
        else:
            finals.append(history[T % history.shape[0], :, :width].copy())
    return output, finals, Tape(machine, run, given, running, ragged) if keep else None


@lru_cache(maxsize=None)
def _read_elementwise_of(cell: Cell) -> frozenset[int]:
    p = program(cell)
    found = set()
    for loop in (p.forward, p.backward):
        for n in loop.order:
            if n.serial not in loop.inside or not is_op(n, "linear", "linear_t"):
                found |= {a.serial for a in n.args if isinstance(a, Node)} if not is_op(n, "linear", "linear_t") else set()
        found |= {n.serial for n in loop.copied}
    return frozenset(found)


def _read_elementwise(p: Program) -> frozenset[int]:
    return _read_elementwise_of(p.cell)


def run_backward(cell: Cell, tape: Any, d_output: np.ndarray | None, d_states: Sequence[np.ndarray | None]) -> tuple[list, list, dict[str, np.ndarray]]:
    """Cotangents of inputs, initial states and family arrays; None where there is none."""
    if not isinstance(tape, Tape):
        return interpret.run_backward(cell.plan, tape, d_output, d_states)
    p, machine, before = program(cell), tape.machine, tape.run
    plan, graph, dtype = p.plan, cell.graph, before.dtype
    loop_kernel, loop = kernel(cell, "backward", dtype)
    T, B = tape.xs[0].shape[:2]
    ways = dict.fromkeys([*wanted_weights(loop), *((f.family, "T") for s in p.input_sums if s is not None for f in s.factors)])
    run = Run(cell, loop, machine.sizes, dtype, Weights(cell, machine.arrays, list(ways), dtype))
    run.vectors(machine)
    for k, x in enumerate(tape.xs):
        run.give(f"input{k}", x)
    for k in range(len(graph.states)):
        run.give(f"state{k}", before.arrays[f"state{k}"])
    run.give("tape", before.arrays["tape"])
    width = run.pad(graph.output.shape[-1])
    if d_output is None:
        dy = aligned((1, B, width), dtype, zero=True)
    else:
        if tape.ragged:
            d_output = np.where(np.arange(B)[None, :, None] < tape.active[:, None, None], d_output, 0).astype(dtype, copy=False)
        dy = padded_copy(d_output, width)
    run.give("d_output", dy)
    for k, (node, d) in enumerate(zip(graph.states, d_states, strict=True)):
        carry = aligned((2, B, run.pad(node.shape[-1])), dtype, zero=True)
        if d is not None:
            carry[T % 2, :, : d.shape[-1]] = d
        run.give(f"carry{k}", carry)
    run.give("z", aligned((1, B, run.row("z")), dtype))
    run.give("scratch", aligned((1, B, run.row("scratch")), dtype))
    run.give("kept", aligned((T, B, run.row("kept")), dtype, zero=tape.ragged))
    address, place = run.address(), run.place()
    kernels.run_slices(lambda lo, hi: kernels.call(loop_kernel, address, place, tape.active, T, B, lo, hi), B, at_least=SLICE)
    d_initial = [run.arrays[f"carry{k}"][0, :, : machine.sizes[s.shape[-1]]].copy() for k, s in enumerate(graph.states)]
    later = After(p, run, T, B)
    d_inputs = [later.input(k) for k in range(len(graph.inputs))]
    return d_inputs, d_initial, later.parameters(machine)


class After:
    """What is left when the backward loop is done: products over all steps and samples at once."""

    def __init__(self, p: Program, run: Run, T: int, B: int):
        self.p, self.run, self.T, self.B = p, run, T, B
        self.dtype, self.depth = run.dtype, T * B

    def rows_of(self, node: Node) -> tuple[int, int, int]:
        """(address, row stride, width) of a quantity over all steps and samples."""
        run, loop = self.run, self.run.loop
        memory = "kept" if node.serial in loop.memories["kept"].blocks else loop.known[node.serial]
        array = run.arrays[memory]
        offset = run.offsets[memory][loop.memories[memory].index(node)] if memory in BLOCKED else 0
        if memory.startswith("state") and node.op is not None:
            offset += self.B * run.rows[memory]
        return array.ctypes.data + offset * self.dtype.itemsize, run.rows[memory], 1 if node.shape[-1] == 1 else run.sizes[node.shape[-1]]

    def value(self, node: Node) -> np.ndarray:
        """The same as an array (T, B, width)."""
        run, loop = self.run, self.run.loop
        memory = "kept" if node.serial in loop.memories["kept"].blocks else loop.known[node.serial]
        array = run.arrays[memory]
        offset = run.offsets[memory][loop.memories[memory].index(node)] if memory in BLOCKED else 0
        width = 1 if node.shape[-1] == 1 else run.sizes[node.shape[-1]]
        first = 1 if memory.startswith("state") and node.op is not None else 0
        if array.shape[0] == 1:
            array = np.broadcast_to(array, (self.T, *array.shape[1:]))
        return array[first : first + self.T, :, offset : offset + width]

    def input(self, k: int) -> np.ndarray | None:
        """d x = sum of W'(d z) over all rows, and what reaches x elementwise."""
        g, s = self.p.plan.input_cotangents[k], self.p.input_sums[k]
        if g is None:
            return None
        if s is None:
            return np.ascontiguousarray(self.value(g))
        run, dtype = self.run, self.dtype
        axis = g.shape[-1]
        width = run.pad(axis)
        out = aligned((self.T, self.B, width), dtype)
        C, zeros = out.ctypes.data, run.arrays["zeros"].ctypes.data
        rows_product = helper("product", dtype)
        first = True
        for f in s.factors:
            A, row, K = self.rows_of(f.operand)
            P = run.weights.array.ctypes.data + (run.weights.at[f.family, "T"] + f.member * run.weights.member[f.family, "T"]) * dtype.itemsize
            stride, panels = run.weights.panel[f.family, "T"], width // native.gemm.lanes(dtype)
            D, row_D = (zeros, 0) if first else (C, width)

            def job(lo: int, hi: int, A: int = A, row: int = row, K: int = K, P: int = P, stride: int = stride, D: int = D, row_D: int = row_D, panels: int = panels) -> None:
                kernels.call(rows_product, product(dtype), A, row, K, P, stride, C, width, D, row_D, panels, lo, hi)

            kernels.run_slices(job, self.depth, at_least=32)
            first = False
        result = out[:, :, : 1 if axis == 1 else run.sizes[axis]]
        for a in s.addends:
            result = result + (self.value(a) if isinstance(a, Node) else a)
        return result

    def outer(self, lefts: Sequence[Node], right: Node, out: np.ndarray) -> None:
        """out (units, width) = sum over rows of left right'; the lefts lie side by side."""
        run, dtype = self.run, self.dtype
        R, right_row, width = self.rows_of(right)
        padded = native.gemm.padded(width, dtype)
        zeros = np.zeros(padded, dtype)
        outer = helper("outer", dtype)
        units = out.shape[0] // len(lefts)
        direct = out.shape[1] == padded and out.flags.c_contiguous
        target = out if direct else aligned((out.shape[0], padded), dtype)
        side_by_side = native.gemm.padded(units, dtype) == units
        groups = [list(lefts)] if side_by_side else [[left] for left in lefts]
        start = 0
        for group in groups:
            A, left_row, _ = self.rows_of(group[0])
            n = units * len(group)
            C = target.ctypes.data + start * padded * dtype.itemsize

            def job(lo: int, hi: int, A: int = A, left_row: int = left_row, C: int = C) -> None:
                panel = aligned((native.gemm.DEEP * padded,), dtype)
                kernels.call(outer, product(dtype), A, left_row, R, right_row, width, self.depth, panel.ctypes.data, C, padded, zeros.ctypes.data, lo, hi)

            kernels.run_slices(job, n, at_least=max(8, 200_000 // max(1, self.depth * width)))
            start += n
        if not direct:
            out[...] = target[:, :width]

    def parameters(self, machine: Interpreter) -> dict[str, np.ndarray]:
        plan, run = self.p.plan, self.run
        values: dict[int, Any] = {}
        gradients = {name: np.zeros(machine.arrays[name].shape, self.dtype) for name in plan.families}
        leaf_of = {g.serial: leaf for leaf, g in plan.parameter_cotangents.items()}
        place = {leaf: (f.name, k) for f in plan.families.values() for k, leaf in enumerate(f.leaves)}

        def rows(family: str, first: int, count: int) -> np.ndarray:
            n = gradients[family].shape[0] // len(plan.families[family].members)
            return gradients[family][first * n : (first + count) * n]

        groups: list[tuple[str | None, int, list[Node], Node]] = []
        for n in sorted(self.p.outers, key=lambda n: place.get(leaf_of.get(n.serial, ""), ("", 0))):
            leaf = leaf_of.get(n.serial)
            family, member = place[leaf] if leaf else (None, 0)
            last = groups[-1] if groups else None
            if last and family and last[0] == family and last[3] is n.args[1] and last[1] + len(last[2]) == member and run.loop.adjacent(last[2][-1], n.args[0]):
                last[2].append(n.args[0])
            else:
                groups.append((family, member, [n.args[0]], n.args[1]))
                if family is None:
                    values[n.serial] = np.empty((run.sizes[n.shape[0]], run.sizes[n.shape[1]]), self.dtype)
                    self.outer([n.args[0]], n.args[1], values[n.serial])
        for family, member, lefts, right in groups:
            if family is not None:
                self.outer(lefts, right, rows(family, member, len(lefts)))
        for n in self.p.outers:
            if n.serial in leaf_of:
                family, member = place[leaf_of[n.serial]]
                values[n.serial] = rows(family, member, 1)
        sums = helper("column_sums", self.dtype)
        for n in self.p.column_sums:
            A, row, width = self.rows_of(n.args[0])
            total, part = np.empty(width, self.dtype), np.empty(width, self.dtype)
            kernels.call(sums, A, row, self.depth, total.ctypes.data, part.ctypes.data, 0, width)
            shape = tuple(1 if a == 1 else run.sizes[a] for a in n.shape)
            values[n.serial] = total.reshape(shape) if total.size == int(np.prod(shape)) else total.sum().reshape(shape)
        machine.run([n for n in plan.back_static if n.serial not in values], values)
        for leaf, g in plan.parameter_cotangents.items():
            family, k = place[leaf]
            f = plan.families[family]
            if f.axes:
                target = rows(family, k, 1)
                if target.ctypes.data != np.asarray(values[g.serial]).ctypes.data:
                    target[...] = values[g.serial]
            else:
                gradients[family][k if f.members != ("",) else ()] = values[g.serial]
        return gradients


