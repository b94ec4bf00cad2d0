"""Run a compiled plan: memory, packed weights, threads; and what the backward loop leaves for later.

One thread owns a slice of the batch for the whole sequence, so threads never wait for each other inside a call. After the
backward loop the cotangents of inputs are one product over all steps and samples, those of weights likewise, split over
threads by units and never by terms: no result depends on how many threads there are.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import interpret, kernels, team, threads
from .cell import Cell
from .graph import Node
from .interpret import Interpreter
from .kernels import native
from .loops import BLOCKED, Factor, Loop
from .program import Program


class Block:
    """Memory that goes back to a pool when nobody holds it: a fresh page costs more than its use."""

    # by size; no lock: each touch is one step of Python's
    _pool: ClassVar[dict[int, list[tuple[np.ndarray, int, int]]]] = {}
    _held: ClassVar[int] = 0
    KEEP = 1 << 28  # bytes the pool may hold, about

    def __init__(self, size: int):
        step = 1 << max(6, size.bit_length() - 5)  # 16 sizes between two powers of two
        self._raw: Any = None
        self._size = -(-size // step) * step
        try:
            self._raw, self._start, self.address = Block._pool[self._size].pop()
            Block._held -= self._size
        except (KeyError, IndexError):
            self._raw = np.empty(self._size + 64, np.uint8)
            self._start = -self._raw.ctypes.data % 64  # a vector never straddles two cache lines
            self.address = self._raw.ctypes.data + self._start

    def __reduce__(self) -> Any:
        raise TypeError("memory that kernels know by its address cannot be copied")

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What NumPy asks for: an array of the bytes, which keeps this block alive."""
        return {"data": (self.address, False), "shape": (self._size,), "typestr": "|u1", "version": 3}

    def view(self, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array within it, for the one who holds it."""
        return np.ndarray(shape, dtype, self._raw, self._start + offset)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of it, for others to keep, which holds it."""
        return np.ndarray(shape, dtype, np.asarray(self))

    def __del__(self) -> None:
        if self._raw is None:  # there was no memory for it
            return
        Block._pool.setdefault(self._size, []).append((self._raw, self._start, self.address))
        Block._held += self._size
        for size in list(Block._pool) if Block._held > Block.KEEP else ():  # a list: other threads put sizes in meanwhile
            rest = Block._pool[size]
            while rest and Block._held > Block.KEEP:
                with suppress(IndexError):
                    rest.pop()
                    Block._held -= size


@cache
def kernel(cell: Cell, direction: str, dtype: np.dtype, columns: bool = False) -> tuple[int, Loop]:
    p = cell.program
    loops = p.columns if columns else (p.forward, p.backward)
    assert loops is not None
    loop = loops[direction == "backward"]
    name, memories = f"{cell.name}_{direction}{'_columns' * columns}", ("address", "place", "active")
    return kernels.compile_pointer(loop.source(dtype), name, dict.fromkeys(memories, "int64*")), loop


def shares_units(cell: Cell, arrays: Mapping[str, np.ndarray], T: int, B: int) -> bool:
    """Whether threads had better share the units of each row than the rows: few rows, and weights that fill the cache.

    Then the weights' way from the memory takes the time, and two cores read two halves at once; but they must meet at
    every step, which costs about as much as reading 100 kB.
    """
    n = threads.get_num_threads()
    weights = sum(arrays[f.name].nbytes for f in cell.families.values() if len(f.axes) == 2)
    return n > 1 and 2 * n >= B and T >= 8 and weights >= SHARED and cell.program.columns is not None


SHARED = 400_000  # bytes of weights


@cache
def helper(name: str, dtype: np.dtype) -> int:
    """The address of one of the kernels around the loop, or of `gemm`, which all kernels share."""
    return kernels.compile_pointer(native.gemm.source(name, dtype), name)


@dataclass(frozen=True)
class Packing:
    """How one family's products are packed: `way` "N" for W, "T" for its transpose; sizes in elements."""

    family: str
    way: str
    rows: int
    cols: int
    members: int
    at: int
    member: int
    panel: int
    panels: int
    size: int


class Fixed:
    """What a run reads and never writes, made of the parameters; and the runs that may go on with it."""

    def __init__(self, offsets: dict[str, int], size: int):
        self.offsets, self.block = offsets, Block(size)
        self.idle: dict[Layout, Run] = {}
        self.sources: list[weakref.ref] = []


_prepared: dict[Any, Fixed] = {}  # of parameters that do not change (inference)


class Layout:
    """Where everything lies, and every run-time number, for one loop at one size. Derived once, used by every such call.

    Memories inside the call's block have an offset there; the caller's own (inputs, outputs) are patched in by name.
    """

    def __init__(
        self,
        loop: Loop,
        cell: Cell,
        sizes: Mapping[Any, int],
        dtype: np.dtype,
        slots: Mapping[str, int],
        batch: int,
        outside: Sequence[str],
        more: Sequence[tuple[str, str]] = (),
        others: Sequence[str] = (),
    ):
        """outside : memories of the caller; more : packed weights that the loop does not read; others : memories that only
        what runs before and after the loop knows."""
        self.loop, self.sizes, self.dtype, self.batch = loop, dict(sizes), dtype, batch
        self.lanes = native.gemm.lanes(dtype)
        self.slots = dict(slots)
        self.blocks = {name: memory.offsets(self.pad) for name, memory in loop.memories.items()}
        self.rows = {m: self._row(m) for m in self.slots}
        self.packings: dict[tuple[str, str], Packing] = {}
        at = 0
        for family, way in dict.fromkeys([*((w[1], w[2]) for w in loop.numbers if w[0] == "packed"), *more]):
            self.packings[family, way] = packing = self._packing(cell, family, way, at)
            at += packing.size
        self.offsets, self.size = self._one_after_the_other(
            {m: n * batch * self.rows[m] for m, n in self.slots.items() if m not in outside}
        )
        zeros = max(self.pad(a) for a in self.sizes)
        vectors, biases = self.blocks["vectors"][-1], self.blocks["sums"][-1]
        self.fixed, self.fixed_size = self._one_after_the_other(
            {"packed": at, "vectors": vectors, "biases": biases, "zeros": zeros}
        )
        self.place = np.array([self._number(*what) for what in loop.numbers], np.int64)
        names = ["gemm", *loop.addresses]
        more_names = ("address", "active", *self.slots, *self.fixed, *(f"parameter {f}" for f in cell.families), *others)
        names += [m for m in more_names if m not in names]
        self.which = {m: k for k, m in enumerate(names)}
        self.inside = np.array([*(self.offsets.get(m, 0) for m in names), 0], np.int64)
        self.fixed_which = [(self.which[m], offset) for m, offset in self.fixed.items()]

    def at(self, memory: str, shift: int = 0) -> team.At:
        """The place so many bytes into a memory."""
        return team.At(self.which[memory], shift)

    def packing_jobs(self) -> team.Jobs:
        """Bring the weights into panels."""
        jobs = team.Jobs()
        for (family, way), packing in self.packings.items():
            pack = helper("pack" if way == "N" else "pack_transposed", self.dtype)
            to = self.at("packed", packing.at * self.dtype.itemsize)
            given: list[int | team.At] = [self.at(f"parameter {family}"), packing.rows, packing.cols, packing.members, to]
            jobs.add(pack, given, packing.panels, at_least=max(1, packing.panels * 8192 // max(1, packing.size)))
        return jobs

    def loop_jobs(self, kernel: int, columns: bool, *sizes: int, at_least: int = 1) -> team.Jobs:
        """Run the loop; `columns`: the threads share the units of a row; at_least : rows a thread."""
        jobs = team.Jobs()
        given: list[int | team.At] = [self.at("address"), self.place.ctypes.data, self.at("active"), *sizes]
        if columns:
            jobs.add_together(kernel, given)
        else:
            jobs.add(kernel, given, self.batch, at_least)
        return jobs

    def _one_after_the_other(self, spaces: Mapping[str, int]) -> tuple[dict[str, int], int]:
        """Where each begins, in bytes, and where all end; spaces in elements."""
        offsets, end = {}, 0
        for m, n in spaces.items():
            offsets[m] = end
            end += -(-n * self.dtype.itemsize // 64) * 64 + 64
        return offsets, end

    def pad(self, axis: Any) -> int:
        return self.lanes if axis == 1 else -(-self.sizes[axis] // self.lanes) * self.lanes

    def _row(self, memory: str) -> int:
        """The length of a row; a multiple of a kilobyte would send the rows to the same few sets of the cache."""
        if memory in self.blocks and memory in BLOCKED:
            n = self.blocks[memory][-1]
            return n + self.lanes if n and n * self.dtype.itemsize % 1024 == 0 else n
        first = next(iter(self.loop.memories[memory].blocks.values()))
        return self.pad(first.shape[-1])

    def _packing(self, cell: Cell, family: str, way: str, at: int) -> Packing:
        f = cell.families[family]
        rows, cols = (1 if a == 1 else self.sizes[a] for a in f.axes)
        pad_rows, pad_cols, n = self.pad(f.axes[0]), self.pad(f.axes[1]), len(f.members)
        if way == "N":
            return Packing(
                family,
                way,
                rows,
                cols,
                n,
                at,
                pad_rows * cols,
                cols * self.lanes,
                n * pad_rows // self.lanes,
                n * pad_rows * cols,
            )
        return Packing(
            family,
            way,
            rows,
            cols,
            n,
            at,
            pad_rows * self.lanes,
            n * pad_rows * self.lanes,
            pad_cols // self.lanes,
            n * pad_rows * pad_cols,
        )

    def _number(self, kind: str, *what: Any) -> int:
        if kind == "size":
            return self.sizes[what[0]]
        if kind in ("pad", "panels"):
            return self.pad(what[0]) // (self.lanes if kind == "panels" else 1)
        if kind == "row":
            return self.rows[what[0]]
        if kind == "slots":
            return self.slots[what[0]]
        if kind == "at":
            return self.blocks[what[0]][what[1]]
        packing = self.packings[what[0], what[1]]
        return {"packed": packing.at, "member": packing.member, "panel": packing.panel}[kind]

    def prepared(self, arrays: Mapping[str, np.ndarray]) -> Fixed | None:
        """What was made and kept of these arrays. One is never written to: the same array means the same numbers."""
        found = _prepared.get((self.loop, *map(id, arrays.values())))
        if found is None or found.offsets != self.fixed:
            return None
        same = all(ref() is array for ref, array in zip(found.sources, arrays.values(), strict=True))
        return found if same else None

    def prepare(self, machine: Interpreter) -> Fixed:
        """The parameters that a run reads as vectors, what the sums of products start from, zeros; room for the panels."""
        machine.run(machine.plan.static, machine.static)
        fixed = Fixed(self.fixed, self.fixed_size)
        size = (self.fixed_size - self.fixed["vectors"]) // self.dtype.itemsize
        numbers = fixed.block.view(self.fixed["vectors"], (size,), self.dtype)
        numbers.fill(0)
        for start, node in zip(self.blocks["vectors"], self.loop.memories["vectors"].blocks.values(), strict=False):
            value = np.asarray(machine.static[node.serial]).reshape(-1)
            numbers[start : start + value.size] = value
        numbers = numbers[(self.fixed["biases"] - self.fixed["vectors"]) // self.dtype.itemsize :]
        for start, node in zip(self.blocks["sums"], self.loop.memories["sums"].blocks.values(), strict=False):
            for vector in self.loop.sums[node.serial].vectors:
                numbers[start : start + self.width(node)] += np.asarray(machine.static[vector.serial]).reshape(-1)
        return fixed

    def keep(self, fixed: Fixed, arrays: Mapping[str, np.ndarray]) -> None:
        """The same parameters are likely to come again (inference): what is made of them is kept while they live."""
        for oldest in list(_prepared)[: max(0, len(_prepared) - 63)]:
            _prepared.pop(oldest, None)
        key = (self.loop, *map(id, arrays.values()))
        fixed.sources = [weakref.ref(array, lambda _: _prepared.pop(key, None)) for array in arrays.values()]
        _prepared[key] = fixed

    def width(self, node: Node) -> int:
        return 1 if node.shape[-1] == 1 else self.sizes[node.shape[-1]]


class Run:
    """One call of a loop: its block, what is made of the parameters, and the arrays of the caller."""

    def __init__(self, layout: Layout, fixed: Fixed):
        self.layout = layout
        self.fixed: Block | None = fixed.block
        self.block = Block(layout.size)
        self.room: Block | None = None  # for what comes after a backward loop
        self.address = layout.inside + self.block.address
        self.address[0], self.address[-1] = helper("gemm", layout.dtype), 0
        for k, offset in layout.fixed_which:
            self.address[k] = fixed.block.address + offset
        self.address[layout.which["address"]] = self.address.ctypes.data
        self.given: dict[str, np.ndarray] = {}
        self.before: Run | None = None
        self._views: dict[str, np.ndarray] = {}

    def view(self, memory: str) -> np.ndarray:
        """A memory as an array (slots, B, row)."""
        if memory in self.given:
            return self.given[memory]
        own = self.layout
        if memory not in own.offsets and self.before is not None:
            return self.before.view(memory)
        if memory not in self._views:
            shape = (own.slots[memory], own.batch, own.rows[memory])
            self._views[memory] = self.block.view(own.offsets[memory], shape, own.dtype)
        return self._views[memory]

    def give(self, memory: str, array: np.ndarray) -> None:
        """An array of the caller as a memory; its rows must be as long as the layout says."""
        self.given[memory] = array
        self.address[self.layout.which[memory]] = array.ctypes.data

    def make(self, memory: str, shape: tuple[int, ...]) -> np.ndarray:
        """A new array as a memory, for the caller to keep."""
        block = Block(math.prod(shape) * self.layout.dtype.itemsize)
        self.given[memory] = array = block.array(shape, self.layout.dtype)
        self.address[self.layout.which[memory]] = block.address
        return array

    def go_on_from(self, before: Run, here: np.ndarray, there: np.ndarray) -> None:
        """Memories of a run before: where they are known here, and where they are known there."""
        self.before, self.address[here] = before, before.address[there]

    def give_parameters(self, arrays: Mapping[str, np.ndarray]) -> None:
        """What the packing reads."""
        for name, array in arrays.items():
            self.give(f"parameter {name}", np.ascontiguousarray(array))

    def release(self) -> None:
        """Give back what was made of the parameters: the loop has run."""
        self.fixed = None


def padded(run: Run, memory: str, x: np.ndarray) -> None:
    """Give (T, B, n) to a run, with rows as long as the layout says, zeros behind; x itself if it is that already."""
    width = run.layout.rows[memory]
    if x.shape[-1] == width and x.flags.c_contiguous:
        run.give(memory, x)
        return
    out = run.make(memory, (*x.shape[:-1], width))
    out[..., : x.shape[-1]] = x
    out[..., x.shape[-1] :] = 0


def forward_slots(
    p: Program, T: int, chunk: int, keep: bool = False, whole: bool = False
) -> tuple[dict[str, int], str]:
    """How many steps each memory of the forward loop holds, and which is the output.

    keep : for a backward run; whole : states of all steps, not only of the last two.
    """
    graph = p.plan.graph
    exposed = "output" if p.output_state is None else f"state{p.output_state}"
    slots = {f"input{k}": T for k in range(len(graph.inputs))}
    slots |= {s: T + 1 if whole or s == exposed else 2 for s in (f"state{k}" for k in range(len(graph.states)))}
    slots |= {"sums": chunk, "scratch": 1, "tape": T if keep else 1}
    return slots | ({"output": T} if p.output_state is None else {}), exposed


class Call(NamedTuple):
    """What a forward run is given. keep : for a backward one; ragged : not all samples run to the end."""

    cell: Cell
    arrays: Mapping[str, np.ndarray]
    xs: Sequence[np.ndarray]
    states: Sequence[np.ndarray]
    keep: bool
    ragged: bool


class Form:
    """What calls of one size have in common: kernels, layouts, sizes. Derived once, used by every such call."""

    def __init__(self, call: Call, alone: bool = False):
        """alone : threads do not share the units of a row."""
        cell, arrays, xs, states, keep, ragged = call
        p = cell.program
        self.cell, self.dtype, self.ragged, (self.T, self.B) = cell, xs[0].dtype, ragged, xs[0].shape[:2]
        self.shapes = {name: array.shape for name, array in arrays.items()}
        self.sizes = interpret.axis_sizes(p.plan, arrays, [a.shape[-1] for a in (*xs, *states)])
        self.columns = not alone and shares_units(cell, arrays, self.T, self.B)
        weights = sum(array.nbytes for array in arrays.values())
        self.sharing = Sharing(self.T * (weights / 40e9 + 10e-6)) if self.columns else None
        self.alone: Form | None = None
        address, loop = kernel(cell, "forward", self.dtype, self.columns)
        rows = self.B if self.columns else -(-self.B // threads.get_num_threads())
        self.chunk = max(1, min(self.T, -(-64 // rows))) if p.hoists else 1
        slots, self.exposed = forward_slots(p, self.T, self.chunk, keep, whole=keep or ragged)
        outside = [*(f"input{k}" for k in range(len(xs))), self.exposed]
        self.layout = own = Layout(loop, cell, self.sizes, self.dtype, slots, self.B, outside)
        self.jobs = own.loop_jobs(address, self.columns, self.T, self.B, self.chunk)
        self.jobs_at_first = own.packing_jobs() + self.jobs
        self.everybody = np.full(self.T, self.B, np.int64)
        self._backward: dict[tuple[bool, ...], Backward] = {}

    def backward(self, seeded: bool, wanted: Sequence[bool]) -> Backward:
        """seeded : the output has a cotangent; wanted : of which inputs."""
        key = seeded, *wanted
        if key not in self._backward:
            address, loop = kernel(self.cell, "backward", self.dtype, self.columns)
            left = self.layout.slots.items()
            slots = {m: n for m, n in left if m in loop.memories and m not in ("sums", "scratch")}
            shared = tuple(slots)
            slots |= {"d_output": self.T if seeded else 1, "sums": 1, "scratch": 1, "kept": self.T}
            slots |= {f"carry{k}": 2 for k in range(len(self.cell.graph.states))}
            p, outside = self.cell.program, (*shared, "d_output")
            own = Layout(
                loop, self.cell, self.sizes, self.dtype, slots, self.B, outside, p.later_weights, After.memories(p)
            )
            after = After(p, own, self.T, self.B, wanted, self.shapes)
            jobs = own.packing_jobs() + own.loop_jobs(address, self.columns, self.T, self.B) + after.jobs
            known = (*shared, "active", *(f"parameter {f}" for f in p.plan.families))
            here, there = (np.array([layout.which[m] for m in known]) for layout in (own, self.layout))
            self._backward[key] = Backward(own, here, there, jobs, after)
        return self._backward[key]


class Backward(NamedTuple):
    """What the backward runs of a form have in common; here, there : where they and the forward run know the memories
    that both use."""

    layout: Layout
    here: np.ndarray
    there: np.ndarray
    jobs: team.Jobs
    after: After


_forms: dict[Any, Form] = {}


def form(call: Call) -> Form:
    """The form of a call, derived if it is the first of its size."""
    cell, arrays, xs, states, keep, ragged = call
    shapes = [a.shape for a in (*arrays.values(), *xs, *states)]
    key = (cell, xs[0].dtype, keep, ragged, threads.get_num_threads(), SHARED, *shapes)
    found = _forms.get(key)
    if found is None:
        if len(_forms) >= 256:
            _forms.clear()
        found = _forms[key] = Form(call)
    if found.sharing is None or found.sharing.pays():
        return found
    if found.alone is None:
        found.alone = Form(call, alone=True)
        found.alone.sharing = found.sharing
    return found.alone


SHORTEST_REST = 0.02  # seconds


class Sharing:
    """Whether threads that share the units of a row are faster just now than one alone, for calls of one form.

    All must run at the same time: where other programs want the cores as well, every step waits for a thread that does
    not run (measured beside two busy processes: 2 ms became 130). So when a call takes suspiciously long, one thread alone
    is tried, and whenever sharing takes longer than that did, it rests: 20 ms, then twice as long, up to eight seconds.
    """

    def __init__(self, suspicious: float):
        self.suspicious, self.doubted = suspicious, False  # seconds
        self.alone, self.until, self.rest = math.inf, 0.0, SHORTEST_REST

    def pays(self) -> bool:
        return not (self.doubted and self.alone == math.inf) and (not self.until or time.monotonic() >= self.until)

    def took(self, shared: bool, seconds: float) -> None:
        if not shared:
            self.alone = min(self.alone, seconds)
        elif seconds > 1.5 * self.alone:
            self.until, self.rest = time.monotonic() + self.rest, min(2 * self.rest, 8.0)
        elif seconds > self.suspicious:
            self.doubted = True
        else:
            self.until, self.rest = 0.0, max(self.rest / 2, SHORTEST_REST)


class Tape:
    """What the forward run leaves for the backward one."""

    def __init__(self, form: Form, machine: Interpreter, run: Run, active: np.ndarray):
        self.form, self.machine, self.run, self.active = form, machine, run, active
        self.after: list[Left] = []  # what the backward runs left, if something is watched


def run_forward(
    cell: Cell,
    arrays: Mapping[str, np.ndarray],
    xs: Sequence[np.ndarray],
    states: Sequence[np.ndarray],
    active: np.ndarray | None,
    keep: bool,
) -> tuple[np.ndarray, list[np.ndarray], Any]:
    """All steps. xs: (T, B, axis) each; states: (B, axis); active: how many samples still run at each step, or None.

    Returns the outputs (T, B, axis), zero where a sequence has ended; the final states; and, to `keep`, the tape.
    """
    T, B = xs[0].shape[:2]
    if T == 0 or B == 0:
        return interpret.run_forward(cell.plan, arrays, xs, states, active, keep)
    what = form(Call(cell, arrays, xs, states, keep, active is not None))
    own, graph, ragged = what.layout, cell.graph, what.ragged
    machine = None
    fixed = None if keep else own.prepared(arrays)
    jobs = what.jobs
    if fixed is None:
        machine, jobs = Interpreter(cell.program.plan, arrays, what.sizes), what.jobs_at_first
        fixed = own.prepare(machine)
    run = fixed.idle.pop(own, None) or Run(own, fixed)
    if machine is not None:
        run.give_parameters(arrays)
    for k, x in enumerate(xs):
        padded(run, f"input{k}", x)
    outputs = run.make(what.exposed, (own.slots[what.exposed], B, own.rows[what.exposed]))
    histories = [run.view(f"state{k}") for k in range(len(states))]
    for s, history in zip(states, histories, strict=True):
        if ragged:
            history.fill(0)
        history[0, :, : s.shape[-1]] = s
        history[0, :, s.shape[-1] :] = 0
    if ragged:
        for memory in ("output", "tape"):
            if memory in own.slots:
                run.view(memory).fill(0)
    running = what.everybody if active is None else active.astype(np.int64)
    run.give("active", running)
    start = time.perf_counter()
    jobs.run(run.address)
    if what.sharing is not None:
        what.sharing.took(what.columns, time.perf_counter() - start)
    finals = []
    for node, history in zip(graph.states, histories, strict=True):
        if active is not None:
            ends = (running[:, None] > np.arange(B)[None, :]).sum(0)
            finals.append(history[ends, np.arange(B), : own.width(node)])
        else:
            finals.append(history[T % len(history), :, : own.width(node)].copy())
    if keep:
        assert machine is not None
        run.release()
        return outputs[-T:, :, : own.width(graph.output)], finals, Tape(what, machine, run, running)
    if machine is not None:
        own.keep(fixed, arrays)
    if own.size <= SMALL and len(fixed.idle) < 8:
        run.given.clear()  # the next call of this size with these parameters goes on with its memory
        fixed.idle[own] = run
    return outputs[-T:, :, : own.width(graph.output)], finals, None


SMALL = 1 << 20  # bytes of a run's memory that are kept for the next of its size
ALONE = 500_000  # multiply-adds of a step that another thread would hardly shorten


class Stepper:
    """Layers of a cell, one step at a time: everything is laid out and packed once, a step copies in, runs, copies out.

    The kernel is the one that runs sequences, so a step has the same bits. Not for several threads at a time.
    """

    def __init__(
        self,
        cell: Cell,
        layers: Sequence[Mapping[str, np.ndarray]],
        widths: Sequence[Sequence[int]],
        held: Sequence[int],
        batch: int | None,
        dtype: np.dtype,
    ):
        """layers : the family arrays of each; widths : the sizes of the inputs of each; held : of the states.

        batch : None for no such axis.
        """
        p, graph = cell.program, cell.graph
        address, loop = kernel(cell, "forward", dtype)
        at = slice(None) if batch is not None else 0
        batch = batch if batch is not None else 1
        active = np.full(1, batch, np.int64)
        weights = sum(array.size for array in layers[0].values())
        self.runs: list[tuple[Any, ...]] = []
        self._held: list[Run] = []
        slots, exposed = forward_slots(p, T=1, chunk=1)
        for arrays in layers:
            sizes = interpret.axis_sizes(p.plan, arrays, [*widths[len(self.runs)], *held])
            machine = Interpreter(p.plan, arrays, sizes)
            own = Layout(loop, cell, sizes, dtype, slots, batch, ())
            run = Run(own, own.prepare(machine))
            run.give_parameters(arrays)
            run.give("active", active)
            own.packing_jobs().run(run.address)
            for memory in slots:
                run.view(memory).fill(0)
            inputs = [run.view(f"input{k}")[0, at, : own.width(x)] for k, x in enumerate(graph.inputs)]
            states = [run.view(f"state{k}")[:, at, : own.width(s)] for k, s in enumerate(graph.states)]
            output = run.view(exposed)[-1, at, : own.width(graph.output)]
            self._held.append(run)
            step = own.loop_jobs(address, False, 1, batch, 1, at_least=max(1, ALONE // max(1, weights)))
            self.runs.append((step.bound(run.address), inputs, [s[:1] for s in states], [s[1:] for s in states], output))

    def __call__(self, xs: Sequence[np.ndarray], states: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """xs: (B, axis) each; states: (layers, B, axis). Returns the output of the last layer and the new states."""
        if len(self.runs) == 1:
            run, inputs, before, after, output = self.runs[0]
            for room, x in zip(inputs, xs, strict=True):
                room[...] = x
            for room, s in zip(before, states, strict=True):
                room[...] = s
            run()
            return output.copy(), [s.copy() for s in after]
        first = xs[0]
        for k, (run, inputs, before, _, output) in enumerate(self.runs):
            for room, x in zip(inputs, (first, *xs[1:]), strict=True):
                room[...] = x
            for room, s in zip(before, states, strict=True):
                room[...] = s[k : k + 1]
            run()
            first = output
        return first.copy(), [np.concatenate([layer[3][j] for layer in self.runs]) for j in range(len(states))]


def run_backward(
    cell: Cell,
    tape: Any,
    d_output: np.ndarray | None,
    d_states: Sequence[np.ndarray | None],
    wanted: Sequence[bool] | None = None,
) -> tuple[list, list, dict[str, np.ndarray]]:
    """Cotangents of inputs (T, B, axis), of initial states (B, axis) and of family arrays; None where there is none.

    wanted : of which inputs (default all); each is a product over all steps.
    """
    if not isinstance(tape, Tape):
        return interpret.run_backward(cell.plan, tape, d_output, d_states)
    what, machine, T, B = tape.form, tape.machine, tape.form.T, tape.form.B
    graph, watched = cell.graph, bool(cell.program.watched)
    if wanted is None or watched:
        wanted = [True] * len(graph.inputs)
    own, here, there, jobs, after = what.backward(d_output is not None, wanted)
    run = Run(own, own.prepare(machine))
    run.go_on_from(tape.run, here, there)
    if d_output is None:
        run.make("d_output", (1, B, own.rows["d_output"])).fill(0)
    elif what.ragged:
        running = np.arange(B)[None, :, None] < tape.active[:, None, None]
        padded(run, "d_output", np.where(running, d_output, 0).astype(what.dtype, copy=False))
    else:
        padded(run, "d_output", d_output)
    for k, d in enumerate(d_states):
        carry = run.view(f"carry{k}")
        carry.fill(0)
        if d is not None:
            carry[T % 2, :, : d.shape[-1]] = d
    if what.ragged:
        run.view("kept").fill(0)
    after.begin(run)
    jobs.run(run.address)
    d_initial = [run.view(f"carry{k}")[0, :, : own.width(s)].copy() for k, s in enumerate(graph.states)]
    left = Left(run, T)
    d_inputs, gradients = after.end(left, machine)
    if watched:
        tape.after.append(left)
    return d_inputs, d_initial, gradients


def found_at(own: Layout, node: Node) -> tuple[str, int, int]:
    """(memory, elements from the beginning of a row, first step) of a quantity of a loop."""
    loop = own.loop
    if "kept" in loop.memories and node.serial in loop.memories["kept"].blocks:
        memory = "kept"
    else:
        memory = loop.known.get(node.serial) or loop.homes[node.serial][0]
    offset = own.blocks[memory][loop.memories[memory].index(node)] if memory in BLOCKED else 0
    return memory, offset, 1 if memory.startswith("state") and node.op is not None else 0


class Left:
    """What a run leaves behind: its quantities over all steps, and `values`, by serial, of what was found in the end."""

    def __init__(self, run: Run, T: int):
        self.run, self.T = run, T
        self.values: dict[int, Any] = {}

    def value(self, node: Node) -> np.ndarray:
        """A quantity of all steps, (T, B, width)."""
        memory, offset, first = found_at(self.run.layout, node)
        array = self.run.view(memory)
        if len(array) == 1:
            array = np.broadcast_to(array, (self.T, *array.shape[1:]))
        return array[first : first + self.T, :, offset : offset + self.run.layout.width(node)]


class After:
    """What is left when the backward loop is done: products over all steps and samples at once, as jobs of one form."""

    def __init__(self, p: Program, own: Layout, T: int, B: int, wanted: Sequence[bool], shapes: dict[str, tuple[int, ...]]):
        """wanted : of which inputs; shapes : of the family arrays."""
        self.p, self.own, self.T, self.B, self.depth, self.shapes = p, own, T, B, T * B, shapes
        self.dtype, self.jobs = own.dtype, team.Jobs()
        self.room = self.totals = 0  # bytes; elements
        self.inputs = [
            (k, g, s)
            for k, (g, s) in enumerate(zip(p.plan.input_cotangents, p.input_sums, strict=True))
            if g is not None and wanted[k]
        ]
        for k, g, s in self.inputs:
            if s is not None:
                self._input(k, own.pad(g.shape[-1]), s.factors)
        self.outers: list[tuple[int, str, slice]] = []  # serial, where, rows
        for group in p.weight_groups:
            f = p.plan.families[group.family]
            n = 1 if f.axes[0] == 1 else own.sizes[f.axes[0]]
            row = math.prod(1 if a == 1 else own.sizes[a] for a in f.axes[1:]) * self.dtype.itemsize
            self._outer(group.lefts, group.right, own.at(f"d {group.family}", group.member * n * row))
            for k, node in enumerate(group.nodes, group.member):
                self.outers.append((node.serial, f"d {group.family}", slice(k * n, (k + 1) * n)))
        for node in p.other_outers:
            self._outer(node.args[:1], node.args[1], own.at(f"outer {node.serial}"))
            self.outers.append((node.serial, f"outer {node.serial}", slice(None)))
        self.sums: list[tuple[int, slice, tuple[int, ...]]] = []  # serial, where among the totals, shape
        for nodes in p.sum_groups:
            self._column_sums(nodes)
        members = {(g.family, g.member + k) for g in p.weight_groups for k in range(len(g.nodes))}
        members |= {(family, k) for family, k, _ in p.written}
        families = p.plan.families.values()
        self.whole = {f.name for f in families if all((f.name, k) in members for k in range(len(f.members)))}
        read = {a.serial for n in p.back_rest for a in n.args if isinstance(a, Node)} | {g.serial for *_, g in p.written}
        self.outers = [o for o in self.outers if o[0] in read or p.watched]

    @staticmethod
    def memories(p: Program) -> list[str]:
        """The memories that only these jobs know."""
        names = [*(f"d_input{k}" for k in range(len(p.input_sums))), *(f"d {f}" for f in p.plan.families)]
        return [*names, *(f"outer {node.serial}" for node in p.other_outers), "room", "totals"]

    def _rows(self, node: Node) -> tuple[team.At, int, int]:
        """(where it begins, row stride, width) of a quantity over all steps and samples."""
        own = self.own
        memory, offset, first = found_at(own, node)
        row = own.rows[memory]
        return own.at(memory, (first * self.B * row + offset) * self.dtype.itemsize), row, own.width(node)

    def _input(self, k: int, width: int, all_factors: Sequence[Factor]) -> None:
        """d x = sum of W'(d z) over all rows."""
        own, dtype = self.own, self.dtype
        C, D, row_D = own.at(f"d_input{k}"), own.at("zeros"), 0
        for factors in self._merged(all_factors):
            A, row, K = self._rows(factors[0].operand)
            packing = own.packings[factors[0].family, "T"]
            P = own.at("packed", (packing.at + factors[0].member * packing.member) * dtype.itemsize)
            inner = len(factors) * own.pad(factors[0].operand.shape[-1]) if len(factors) > 1 else K
            given = [helper("gemm", dtype), A, row, inner, P, packing.panel, C, width, D, row_D, width // own.lanes]
            self.jobs.add(helper("product", dtype), given, self.depth, at_least=32)
            D, row_D = C, width

    def _merged(self, factors: Sequence[Factor]) -> list[list[Factor]]:
        """Members whose operands lie side by side make one product with a longer sum."""
        out: list[list[Factor]] = []
        for f in sorted(factors, key=lambda f: (f.family, f.member)):
            last = out[-1][-1] if out else None
            if (
                last
                and last.family == f.family
                and last.member + 1 == f.member
                and self.own.loop.adjacent(last.operand, f.operand)
            ):
                out[-1].append(f)
            else:
                out.append([f])
        return out

    def _outer(self, lefts: Sequence[Node], right: Node, target: team.At) -> None:
        """target (units, width) = sum over rows of left right'; the lefts lie side by side."""
        own, dtype = self.own, self.dtype
        R, right_row, width = self._rows(right)
        A, left_row, units = self._rows(lefts[0])
        members, padded = len(lefts), -(-width // own.lanes) * own.lanes
        padded_units = own.pad(lefts[0].shape[-1]) if members > 1 else units
        direct = width == padded and units == padded_units
        n, at_least = members * padded_units, max(8, 500_000 // max(1, self.depth * width))
        result = 0 if direct else n * padded * dtype.itemsize
        slices = team.parts(n, at_least)
        self.room = max(self.room, result + slices * native.gemm.DEEP * padded * dtype.itemsize)
        C, panels = target if direct else own.at("room"), own.at("room", result)
        given = [helper("gemm", dtype), A, left_row, R, right_row, width, self.depth, C, padded, own.at("zeros"), panels]
        self.jobs.add(helper("outer", dtype), [*given, slices, n], n, at_least)
        if not direct:
            at_least = max(1, 65536 // width)
            self.jobs.add(
                helper("unpad", dtype), [C, padded_units, padded, target, units, width], members * units, at_least
            )

    def _column_sums(self, nodes: Sequence[Node]) -> None:
        """Sums over all rows of quantities that lie side by side."""
        own, size = self.own, self.dtype.itemsize
        A, row, width = self._rows(nodes[0].args[0])
        step, first = own.pad(nodes[0].args[0].shape[-1]), self.totals
        for k, node in enumerate(nodes):
            shape = tuple(1 if a == 1 else own.sizes[a] for a in node.shape)
            self.sums.append((node.serial, slice(first + k * step, first + k * step + width), shape))
        n = step * (len(nodes) - 1) + width
        self.totals += n
        self.room = max(self.room, n * size)
        given: list[int | team.At] = [A, row, self.depth, own.at("totals", first * size), own.at("room")]
        self.jobs.add(helper("column_sums", self.dtype), given, n, at_least=max(64, 65536 // self.depth))

    # ------------------------------------------------------------------------------------------------------ at run time
    def begin(self, run: Run) -> None:
        """Give the run memory for what the jobs find."""
        own = self.own
        for k, g, s in self.inputs:
            if s is not None:
                run.make(f"d_input{k}", (self.T, self.B, own.pad(g.shape[-1])))
        for name, shape in self.shapes.items():
            array = run.make(f"d {name}", shape)
            if name not in self.whole:
                array.fill(0)
        for node in self.p.other_outers:
            run.make(f"outer {node.serial}", tuple(own.sizes[a] for a in node.shape))
        run.make("totals", (self.totals,))
        run.room = Block(self.room)
        run.address[own.which["room"]] = run.room.address

    def end(self, left: Left, machine: Interpreter) -> tuple[list[np.ndarray | None], dict[str, np.ndarray]]:
        """The cotangents of inputs, and of family arrays: most are found, the rest follows from `values`."""
        p, own, run, values = self.p, self.own, left.run, left.values
        d_inputs: list[np.ndarray | None] = [None] * len(p.input_sums)
        for k, g, s in self.inputs:
            if s is None:
                found = np.ascontiguousarray(left.value(g))
            else:
                found = run.given[f"d_input{k}"][:, :, : own.width(g)]
                for a in s.addends:
                    found = found + (left.value(a) if isinstance(a, Node) else a)
            d_inputs[k] = values[g.serial] = found
        gradients = {f: run.given[f"d {f}"] for f in p.plan.families}
        for serial, memory, rows in self.outers:
            values[serial] = run.given[memory][rows]
        totals = run.given["totals"]
        for serial, where, shape in self.sums:
            total = totals[where]
            values[serial] = total.reshape(shape) if total.size == math.prod(shape) else total.sum().reshape(shape)
        machine.run(p.back_rest, values)
        for family, k, node in p.written:
            members = p.plan.families[family].members
            target = gradients[family]
            n = len(target) // len(members) if target.ndim else 0
            target[
                slice(k * n, (k + 1) * n) if own.loop.plan.families[family].axes else k if members != ("",) else ()
            ] = values[node.serial]
        return d_inputs, gradients
