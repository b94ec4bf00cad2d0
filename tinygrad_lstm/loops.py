"""A plan -> the source of its two time loops, readable, in the cell's own names.

Forward, for the rows lo..hi of a batch, which one thread owns for the whole sequence:

    for a chunk of steps:   the products of the inputs, all steps of the chunk
        for each step:      stage 0: products of the states;     one loop over rows and units: what follows from them
                            stage 1: products of those results;  ...

Backward is the same from the last step to the first, with the transposed products; what can wait until all steps are
done (the cotangents of inputs and weights) is left to the executor.

Products that are added up share one block of a row of `sums`: each starts from what is there, the first from the biases.
A value that is read in another stage, by a product, by the other loop or by the caller has a block in some memory; all
others live in registers. Every quantity has a scope of its own (see `gemm`), and every row is computed by the same
instructions in the same order, whatever rows are beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .codegen import Names, imports, number, typed_code
from .graph import BOOLEAN, Node, reachable
from .kernels import native
from .plan import Plan, varies

REDUCTIONS = ("sum", "mean", "max", "min", "sum_to")


def is_op(value: Any, *names: str) -> bool:
    return isinstance(value, Node) and value.op is not None and value.op.name in names


# -------------------------------------------------------------------------------------------------- sums of products
@dataclass(frozen=True)
class Factor:
    """One product of a sum: member `member` of a family, or its transpose, times `operand`."""

    family: str
    member: int
    transposed: bool
    operand: Node


@dataclass
class Sum:
    """node = sum of products + sum of vectors (parameters and what is made of them) + sum of addends."""

    node: Node
    factors: list[Factor] = field(default_factory=list)
    vectors: list[Node] = field(default_factory=list)
    addends: list[Any] = field(default_factory=list)


def sums_of_products(
    order: Sequence[Node], targets: Iterable[Node], position: dict[int, tuple[str, int]]
) -> tuple[dict[int, Sum], set[int]]:
    """The largest sums that products take part in, by the serial of their value; and what exists only inside them."""
    readers: dict[int, list[Node]] = {}
    for n in order:
        for a in n.args:
            if isinstance(a, Node):
                readers.setdefault(a.serial, []).append(n)
    for target in targets:
        readers.setdefault(target.serial, []).extend((target, target))
    root: dict[int, Node] = {}
    for n in reversed(order):
        if is_op(n, "linear", "linear_t", "add") and varies(n):
            who = readers.get(n.serial, [])
            alone = len(who) == 1 and is_op(who[0], "add") and who[0].serial in root and who[0].shape == n.shape
            root[n.serial] = root[who[0].serial] if alone else n
    found = {root[n.serial].serial: Sum(root[n.serial]) for n in order if is_op(n, "linear", "linear_t")}
    inside: set[int] = set()
    for s in found.values():
        stack: list[Any] = [s.node]
        while stack:
            n = stack.pop()
            if isinstance(n, Node) and n.serial in root and root[n.serial] is s.node:
                if n is not s.node:
                    inside.add(n.serial)
                if is_op(n, "add"):
                    stack.extend(reversed(n.args))
                else:
                    assert n.op is not None
                    s.factors.append(Factor(*position[n.args[0].serial], n.op.name == "linear_t", n.args[1]))
            elif isinstance(n, Node) and not varies(n) and n.shape == s.node.shape[1:]:
                s.vectors.append(n)
            else:
                s.addends.append(n)
    return found, inside


# ------------------------------------------------------------------------------------------------------------- memory
class Memory:
    """Rows of blocks, one block a quantity; offsets are run-time numbers."""

    def __init__(self, name: str):
        self.name = name
        self.blocks: dict[int, Node] = {}

    def add(self, node: Node) -> None:
        self.blocks.setdefault(node.serial, node)

    def index(self, node: Node) -> int:
        return list(self.blocks).index(node.serial)

    def offsets(self, pad: Any) -> list[int]:
        """The offset of every block and, last, the length of a row."""
        ends = [0]
        for node in self.blocks.values():
            ends.append(ends[-1] + pad(node.shape[-1] if node.shape else 1))
        return ends


@dataclass(frozen=True)
class Access:
    """Where a value is found: the local name of the address of its row at a step, and the offset of its block."""

    base: str
    stride: str
    offset: str
    memory: str


class Text:
    """Lines with indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def __call__(self, *lines: str) -> Text:
        self.lines += ["    " * self.depth + line if line else "" for line in lines]
        return self

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: Any) -> None:
        self.depth -= 1


# -------------------------------------------------------------------------------------------------------------- loops
class Loop:
    """One direction of a plan as a kernel.

    known : memory -> the values that are given in it. homes : memory -> the values that have to be left there.
    columns : a thread owns a slice of the units of all rows, instead of a slice of the rows: for batches so small that the
        weights' way from the memory is what takes the time. The threads meet before the products of every stage.

    Attributes
    ----------
    memories : name -> Memory: the rows that the executor allocates. addresses : the memories in the order of `address`.
    numbers : what every entry of `place` is: ("size", axis), ("pad", axis), ("panels", axis), ("row", memory),
        ("slots", memory), ("at", memory, block), ("packed" | "member" | "panel", family, "N" | "T").
    """

    def __init__(
        self,
        plan: Plan,
        name: str,
        known: dict[str, list[Node]],
        homes: dict[str, list[Node]],
        backward: bool,
        columns: bool = False,
    ):
        graph = plan.graph
        self.plan, self.name, self.backward, self.columns = plan, name, backward, columns
        self.position = {
            graph.parameters[leaf].serial: (f.name, k)
            for f in plan.families.values()
            for k, leaf in enumerate(f.leaves)
        }
        self.known = {n.serial: memory for memory, nodes in known.items() for n in nodes}
        self.homes: dict[int, list[str]] = {}
        self.memories: dict[str, Memory] = {m: Memory(m) for m in ("sums", "scratch", "vectors")}
        for memory, nodes in [*known.items(), *homes.items()]:
            self.memories[memory] = self.memories.get(memory) or Memory(memory)
            for n in nodes:
                self.memories[memory].add(n)
        for memory, nodes in homes.items():
            for n in nodes:
                self.homes.setdefault(n.serial, []).append(memory)
        targets = [n for nodes in homes.values() for n in nodes]
        given = [n for nodes in known.values() for n in nodes]
        static = [n for n in reachable(targets, stop=given) if not varies(n)]
        self.order = [n for n in reachable(targets, stop=[*given, *static]) if n.op is not None]
        self.copied = list({n.serial: n for n in targets if n.serial in self.known}.values())
        self.sums, self.inside = sums_of_products(self.order, targets, self.position)
        self._schedule()
        self._place()
        self.addresses: list[str] = []
        self.numbers: list[tuple[Any, ...]] = []

    # --------------------------------------------------------------------------------------------------- schedule
    def _schedule(self) -> None:
        """The stage of every value, and within a stage its pass: a loop ends where a reduction must be known."""
        stage: dict[int, int] = dict.fromkeys(self.known, -1)
        self.passes: dict[int, int] = {}
        for n in self.order:
            if n.serial in self.inside:
                continue
            s = self.sums.get(n.serial)
            args = [a for a in (n.args if s is None else s.addends) if isinstance(a, Node) and varies(a)]
            at = max(
                [0, *(stage[a.serial] for a in args), *(stage[f.operand.serial] + 1 for f in (s.factors if s else ()))]
            )
            earlier = [a for a in args if a.serial in self.passes and stage[a.serial] == at]
            stage[n.serial] = at
            self.passes[n.serial] = max([0, *(self.passes[a.serial] + reduces(a) for a in earlier)])
        self.stage = stage
        self.stages = max([0, *stage.values()]) + 1

    def hoists(self, s: Sum) -> bool:
        return not self.backward and any(self._is_input(f.operand) for f in s.factors)

    def _is_input(self, n: Node) -> bool:
        return any(n is x for x in self.plan.graph.inputs)

    def _direct(self, s: Sum) -> bool:
        """A sum of products alone with one home: gemm leaves it there."""
        return not s.addends and not s.vectors and len(self.homes.get(s.node.serial, ())) == 1 and not self.hoists(s)

    def _in_z(self, n: Node) -> bool:
        """A sum of products and vectors only: its value is what stands in its block of z."""
        return n.serial in self.sums and not self.sums[n.serial].addends and n.serial not in self.homes

    def _place(self) -> None:
        """Blocks of `sums` for sums, of `scratch` for what is read in another stage or pass, or by a product or reduction."""
        for s in sorted(self.sums.values(), key=lambda s: min((f.family, f.transposed, f.member) for f in s.factors)):
            if not self._direct(s):
                self.memories["sums"].add(s.node)
        for n in self.order:
            if n.serial in self.inside:
                continue
            total = self.sums.get(n.serial)
            for f in total.factors if total else ():
                self._need(f.operand, None)
            for a in n.args if total is None else total.addends:
                self._need(a, None if reduces(n) else n)

    def _need(self, a: Any, reader: Node | None) -> None:
        if not isinstance(a, Node):
            return
        if not varies(a):
            self.memories["vectors"].add(a)
        elif a.serial in self.passes and a.serial not in self.homes and not self._in_z(a):
            same_stage = reader is not None and self.stage[a.serial] == self.stage[reader.serial]
            same_pass = reader is not None and same_stage and self.passes[a.serial] == self.passes[reader.serial]
            if not same_pass and not (a.shape[-1] == 1 and same_stage):
                self.memories["scratch"].add(a)

    def adjacent(self, a: Node, b: Node) -> bool:
        """Whether b lies right behind a in memory."""
        for memory in ("kept", "scratch"):
            blocks = self.memories[memory].blocks if memory in self.memories else {}
            if a.serial in blocks and b.serial in blocks and memory == self._memory_of(a) == self._memory_of(b):
                return self.memories[memory].index(b) == self.memories[memory].index(a) + 1 and a.shape == b.shape
        return False

    # ----------------------------------------------------------------------------------------------- run-time names
    def number(self, *what: Any) -> str:
        if what not in self.numbers:
            self.numbers.append(what)
        return "_".join(str(w) for w in what)

    def address(self, memory: str) -> str:
        if memory not in self.addresses:
            self.addresses.append(memory)
        return memory

    def scope(self, node: Node, memory: str) -> int:
        """One scope a quantity; but the old and the new value of a state share a memory, as do its cotangents."""
        key = memory if memory.startswith(("state", "carry")) else f"{memory} {node.serial}"
        return self._scopes.setdefault(key, len(self._scopes)) % 63

    def _memory_of(self, node: Node) -> str:
        if not varies(node):
            return "vectors"
        if node.serial in self.known:
            return self.known[node.serial]
        if node.serial in self.homes:
            return self.homes[node.serial][0]
        return "sums" if self._in_z(node) else "scratch"

    def access(self, node: Node, memory: str | None = None) -> Access:
        """Where to read a value; or, with `memory`, where to write it."""
        written = memory is not None
        memory = memory or self._memory_of(node)
        step = "t"
        if memory.startswith("state") and (written or node.op is not None):
            step = "t + 1"  # states: before step t at t, after it at t + 1
        if memory.startswith("carry") and not written:
            step = "t + 1" if node.serial in self.known else "t"
        self.address(memory)
        block = self.memories[memory].index(node) if memory in BLOCKED else 0
        offset = self.number("at", memory, block) if block else ""
        if memory == "vectors":
            return Access(memory, "", offset, memory)
        base = memory + ("_t" if step == "t" else "_next")
        slot = f"t % {self.number('slots', memory)}" if step == "t" else f"(t + 1) % {self.number('slots', memory)}"
        row = self.number("row", memory)
        self.bases.setdefault(base, f"{base} = {memory} + {slot} * B * {row} * SIZE")
        return Access(base, row, offset, memory)

    # ------------------------------------------------------------------------------------------------------- the text
    def source(self, dtype: Any) -> str:
        """The kernel's text; `{function}` stands for its name."""
        self.bases: dict[str, str] = {}
        self.started: set[int] = set()
        self.used: set[str] = set()
        self._scopes: dict[str, int] = {}
        self.addresses, self.numbers = [], []
        self._name_everything()
        self.axes: dict[Any, None] = {}
        body = Text()
        body.depth = 1
        if self.backward:
            body("for t in range(T - 1, -1, -1):")
            body.depth = 2
            if self.columns and self.memories["scratch"].blocks:
                self._meet(body)
        else:
            body("for start in range(0, T, chunk):", "    steps = min(chunk, T - start)")
            body.depth = 2
            self._hoisted(body)
            body("for t in range(start, start + steps):")
            body.depth = 3
        body("rows, turn = min(max(active[t] - lo, 0), hi - lo), 1 - 2 * (t % 2)")
        marker = len(body.lines)
        for s in range(self.stages):
            self._stage(body, s)
        if self.backward:
            self._idle_rows(body)
        body.lines[marker:marker] = ["    " * body.depth + line for line in self.bases.values()]

        kind = np.dtype(dtype).name
        what = "backward, from the last step to the first" if self.backward else "forward, step by step"
        head = Text()
        head(
            f'"""{self.name}, {what}, for the rows lo to hi of the batch."""', "", *imports(self.used, np.dtype(dtype))
        )
        head(
            f"from tinygrad_lstm.gemm import gemm, load_{kind} as load, store_{kind} as store  # {native.gemm.fingerprint}",
            *([f"from tinygrad_lstm.atomics import meet  # {native.atomics.fingerprint}"] if self.columns else []),
        )
        head(
            "",
            f"SIZE = {np.dtype(dtype).itemsize}",
            *([f"LANES = {native.gemm.lanes(dtype)}"] if self.columns else []),
            "",
            "",
        )
        more = "" if self.backward else ", chunk"
        more += ", parts, meeting, part, next_part" if self.columns else ", lo, hi"
        head(f"def {{function}}(address, place, active, T, B{more}):")
        head.depth = 1
        if self.columns:
            head("lo, hi, met = 0, B, 0")
        head("product = address[0]", *(f"{memory} = address[{k + 1}]" for k, memory in enumerate(self.addresses)))
        if self.columns:
            for axis in self.axes:
                self.number("panels", axis)
        head(*(f"{self.number(*what)} = place[{k}]" for k, what in enumerate(self.numbers)))
        if self.columns:
            head(
                *(
                    f"first_{a}, last_{a} = panels_{a} * part // parts, panels_{a} * next_part // parts"
                    for a in self.axes
                )
            )
        return "\n".join([*head.lines, *body.lines]) + "\n"

    def _name_everything(self) -> None:
        """Names as the page has them: `c_new` the new state, `z_i` the sum that i is made of, `d_i` the cotangent of i."""
        self.names = Names(RESERVED)
        graph = self.plan.graph

        def give(node: Node, name: str) -> None:
            if node.serial not in self.names.of:
                before, node.name = node.name, name
                self.names(node)
                node.name = before

        for state, new in zip(graph.states, graph.new_states, strict=True):
            self.names(state)
            if new.op is not None:
                give(new, f"{state.name}_new")
        for name, node in graph.names.items():
            give(node, name)
        for n in reachable(graph.roots):
            if n.name and n.op is not None and len(n.args) == 1 and is_op(n.args[0], "add", "linear"):
                give(n.args[0], f"z_{n.name}")
        for seed in self.plan.seeds:
            give(seed, str(seed.name).replace("'", "_new"))
        for serial, g in self.plan.cotangents.items():
            if serial in self.names.of and g.op is not None:
                give(g, f"d_{self.names.of[serial]}")

    def _hoisted(self, text: Text) -> None:
        """Products of inputs leave the time loop: they are the first of their sums. Few rows: the steps take their part."""
        for call in self._calls([(s, f) for s in self.sums.values() for f in s.factors if self._is_input(f.operand)]):
            x = self.address(self._memory_of(call.operand))
            row, z, z_row, slots = (
                self.number("row", x),
                self.address("sums"),
                self.number("row", "sums"),
                self.number("slots", "sums"),
            )
            at = f" + {call.offset} * SIZE" if call.offset else ""
            A = f"{x} + (start * B + lo) * {row} * SIZE"
            C = f"{z} + (start % {slots} * B + lo) * {z_row} * SIZE{at}"
            D = f"{self.address('biases')}{at}" if call.first else C
            d = ("0", "0") if call.first else (f"B * {z_row}", z_row)
            panels, shift, column = self._own(call)
            C, D = C + column, D + column
            weights = f"1, {call.inner}, {call.weights}{shift}, {call.stride}"
            text(f"# {call.comment}: all steps of the chunk", "if hi - lo >= 8 or hi - lo >= steps:")
            text(
                f"    gemm(product, {A}, steps, B * {row}, hi - lo, {row}, {weights}, "
                f"{C}, B * {z_row}, {z_row}, {D}, {d[0]}, {d[1]}, {panels})"
            )
            text("else:")
            text(
                f"    gemm(product, {A}, hi - lo, {row}, steps, B * {row}, {weights}, "
                f"{C}, {z_row}, B * {z_row}, {D}, {d[1]}, {d[0]}, {panels})"
            )

    def _calls(self, factors: Sequence[tuple[Sum, Factor]]) -> list[_Call]:
        """Products as calls of gemm: members that follow one another, and go to blocks that do, in one call."""
        groups: dict[Any, list[tuple[Sum, Factor]]] = {}
        for s, f in factors:
            groups.setdefault((f.family, f.transposed, s.node.serial if f.transposed else f.operand.serial), []).append(
                (s, f)
            )
        calls: list[_Call] = []
        for group in groups.values():
            group.sort(key=lambda p: p[1].member)
            for s, f in group:
                first = s.node.serial not in self.started
                self.started.add(s.node.serial)
                memory = self.homes[s.node.serial][0] if self._direct(s) else "sums"
                block = self.memories[memory].index(s.node) if memory in BLOCKED else 0
                if not (calls and calls[-1].takes(s, f, first, memory, block)):
                    calls.append(_Call(self, first, memory, block))
                calls[-1].factors.append((s, f))
        return calls

    def work(self, stage: int) -> list[Node]:
        """What the loop over rows and units of a stage computes."""
        mine = [n for n in self.order if n.serial not in self.inside and self.stage[n.serial] == stage]
        return [
            n for n in mine if not self._in_z(n) and not (n.serial in self.sums and self._direct(self.sums[n.serial]))
        ]

    def products(self, stage: int) -> list[str]:
        """The products before that loop, a line a call; stage -1: those that leave the time loop."""
        self.started = set()
        pairs = [(s, f) for s in self.sums.values() for f in s.factors]
        early = [(s, f) for s, f in pairs if not self.backward and self._is_input(f.operand)]
        taken = {id(f) for _, f in early}
        late = [(s, f) for s, f in pairs if id(f) not in taken and self.stage[f.operand.serial] + 1 == stage]
        return [call.comment for call in self._calls(early if stage < 0 else late)]

    def _own(self, call: _Call) -> tuple[str, str, str]:
        """This thread's panels of a call: how many, and how much further their weights and columns lie."""
        if not self.columns:
            return call.panels, "", ""
        axis = call.factors[0][0].node.shape[-1]
        self.axes[axis] = None
        return (
            f"(last_{axis} - first_{axis})",
            f" + first_{axis} * {call.stride} * SIZE",
            f" + first_{axis} * LANES * SIZE",
        )

    def _units(self, axis: Any) -> str:
        """The range of this thread's units."""
        if not self.columns:
            return self.number("pad", axis)
        self.axes[axis] = None
        return f"first_{axis} * LANES, last_{axis} * LANES"

    def _meet(self, text: Text) -> None:
        text("met += parts", "meet(meeting, met)")

    def _stage(self, text: Text, stage: int) -> None:
        """The products of a stage, then one loop over its rows."""
        now = [(s, f) for s in self.sums.values() for f in s.factors if self.stage[f.operand.serial] + 1 == stage]
        calls = self._calls([(s, f) for s, f in now if self.backward or not self._is_input(f.operand)])
        if calls and self.columns:
            self._meet(text)
        for call in calls:
            panels, shift, column = self._own(call)
            a = self.access(call.operand)
            c = self.access(call.factors[0][0].node, memory=call.memory)
            A = f"{a.base} + lo * {a.stride} * SIZE" + (f" + {a.offset} * SIZE" if a.offset else "")
            at = (f" + {call.offset} * SIZE" if call.offset else "") + column
            C = f"{c.base} + lo * {c.stride} * SIZE{at}"
            D = (
                f"{C}, 0, {c.stride}"
                if not call.first
                else f"{self.address('biases')}{at}, 0, 0"
                if call.memory == "sums"
                else f"{self.address('zeros')}, 0, 0"
            )
            text(f"# {call.comment}")
            text(
                f"gemm(product, {A}, 1, 0, rows, {a.stride}, 1, {call.inner}, {call.weights}{shift}, {call.stride}, "
                f"{C}, 0, {c.stride}, {D}, turn * {panels})"
            )
        mine = self.work(stage)
        copies = self.copied if stage == self.stages - 1 else []
        if not mine and not copies:
            return
        text("for row in range(lo, lo + rows):")
        with text:
            marker = len(text.lines)
            self.rows: dict[str, str] = {}
            self.scalars: dict[int, str] = {}
            for p in range(max([0, *(self.passes[n.serial] for n in mine)]) + 1):
                self._pass(text, [n for n in mine if self.passes[n.serial] == p])
            for n in copies:
                self._copy(text, n)
            text.lines[marker:marker] = ["    " * text.depth + line for line in self.rows.values()]

    def _pass(self, text: Text, nodes: Sequence[Node]) -> None:
        for n in nodes:
            if n.shape[-1] == 1 and not reduces(n):
                loads: list[str] = []
                own = self._value(n, {}, loads, "0")
                text(*loads, own, *self._stores(n, "0"))
                self.scalars[n.serial] = self.names(n)
        for axis in dict.fromkeys(n.shape[-1] for n in nodes if n.shape[-1] != 1):
            here: dict[int, str] = {}
            lines: list[str] = []
            for n in nodes:
                if n.shape[-1] == axis:
                    loads = []
                    own = self._value(n, here, loads, "j")
                    lines += [*loads, own, *self._stores(n, "j")]
                    here[n.serial] = self.names(n)
            text(f"for j in range({self._units(axis)}):")
            with text:
                text(*lines)
        for n in nodes:
            if reduces(n):
                self._reduction(text, n)

    # ------------------------------------------------------------------------------------------------------- statements
    def _row(self, a: Access, label: str) -> str:
        """The local name of an address in this row."""
        inner = (
            f"row * {a.stride} + {a.offset}" if a.stride and a.offset else f"row * {a.stride}" if a.stride else a.offset
        )
        self.rows.setdefault(label, f"{label} = {a.base} + ({inner}) * SIZE" if inner else f"{label} = {a.base}")
        return label

    def _load(self, n: Node, j: str) -> str:
        a = self.access(n)
        index = j if n.shape and n.shape[-1] != 1 else "0"
        text = f"load({self._row(a, self.names(n) + '_at')}, {index}, {self.scope(n, a.memory)})"
        return f"{text} != 0" if is_boolean(n) else text

    def _operand(self, a: Any, here: dict[int, str], loads: list[str], j: str) -> str:
        """An argument's text: a number, a value of this loop, a scalar of this row, or a load."""
        if not isinstance(a, Node):
            return number(a)
        if a.serial in here:
            return here[a.serial]
        if a.serial in self.scalars:
            return self.scalars[a.serial]
        here[a.serial] = self.names(a)
        loads.append(f"{self.names(a)} = {self._load(a, j)}")
        return here[a.serial]

    def _value(self, n: Node, here: dict[int, str], loads: list[str], j: str) -> str:
        assert n.op is not None
        name, s = self.names(n), self.sums.get(n.serial)
        if s is not None:
            z = f"{name}_products"
            place = self._row(self.access(n, memory="sums"), f"{z}_at")
            loads.append(f"{z} = load({place}, {j}, {self.scope(n, 'sums')})")
            return f"{name} = {' + '.join([z, *(self._operand(a, here, loads, j) for a in s.addends)])}"
        args = [self._operand(a, here, loads, j) for a in n.args]
        if n.op.name in (
            "broadcast_to",
            *REDUCTIONS,
        ):  # a reduction only reaches here over a single unit: it is the unit
            return f"{name} = {args[0]}"
        if n.op.name == "spread":
            return f"{name} = {args[0]} / real({self.number('size', n.shape[-1])})"
        assert n.op.code is not None, n.op.name
        code = typed_code(n.op.code, len(args)).format(*args)
        self.used |= set("".join(c if c.isalnum() or c == "_" else " " for c in code).split())
        return f"{name} = {code[1:-1] if wrapped(code) else code}"

    def _stores(self, n: Node, j: str) -> list[str]:
        homes = self.homes.get(n.serial, ["scratch"] if n.serial in self.memories["scratch"].blocks else [])
        value = f"real({self.names(n)})" if is_boolean(n) else self.names(n)
        return [
            f"store({self._row(self.access(n, memory=m), f'{self.names(n)}_to_{m}')}, {j}, {value}, {self.scope(n, m)})"
            for m in homes
        ]

    def _copy(self, text: Text, n: Node) -> None:
        """A given value that has to be left elsewhere as well: an unchanged state, an output that is an input."""
        text(f"for j in range({self._units(n.shape[-1])}):")
        with text:
            text(f"{self.names(n)} = {self._load(n, 'j')}", *self._stores(n, "j"))

    def _reduction(self, text: Text, n: Node) -> None:
        """sum, mean, max, min of a row: over its units, without the padding."""
        assert n.op is not None
        source, name = n.args[0], self.names(n)
        a = self.access(source)
        at, scope, size = (
            self._row(a, f"{self.names(source)}_row"),
            self.scope(source, a.memory),
            self.number("size", source.shape[-1]),
        )
        if n.op.name in ("max", "min"):
            better = ">" if n.op.name == "max" else "<"
            text(f"{name} = load({at}, 0, {scope})", f"for j in range(1, {size}):")
            text(
                f"    entry = load({at}, j, {scope})",
                f"    {name} = entry if entry {better} {name} or entry != entry else {name}",
            )
        else:
            text(f"{name} = real(0)", f"for j in range({size}):", f"    {name} += load({at}, j, {scope})")
            if n.op.name == "mean":
                text(f"{name} = {name} / real({size})")
        text(*self._stores(n, "0"))
        self.scalars[n.serial] = name

    def _idle_rows(self, text: Text) -> None:
        """Rows whose sequence ends before step t hand their cotangents on; a state that nothing depends on has none."""
        for k, g in enumerate(self.plan.state_cotangents):
            carry, row = self.address(f"carry{k}"), self.number("row", f"carry{k}")
            slots = self.number("slots", f"carry{k}")
            to, at = f"{carry} + t % {slots} * B * {row} * SIZE", f"{carry} + (t + 1) % {slots} * B * {row} * SIZE"
            live = [("lo", "(lo + rows)", "real(0)")] if g is None else []
            for first, last, value in [("(lo + rows)", "hi", f"load({at}, {{}}, 63)"), *live]:
                if not self.columns:
                    text(f"for j in range({first} * {row}, {last} * {row}):", f"    store({to}, j, {value.format('j')}, 63)")
                    continue
                units = self._units(self.plan.graph.states[k].shape[-1])  # threads need not be at the same step
                j = f"row * {row} + j"
                text(f"for row in range({first}, {last}):", f"    for j in range({units}):")
                text(f"        store({to}, {j}, {value.format(j)}, 63)")


class _Call:
    """One call of gemm in the making."""

    def __init__(self, loop: Loop, first: bool, memory: str, block: int):
        self.loop, self.first, self.memory, self.block = loop, first, memory, block
        self.factors: list[tuple[Sum, Factor]] = []

    def takes(self, s: Sum, f: Factor, first: bool, memory: str, block: int) -> bool:
        last_sum, last = self.factors[-1]
        if (f.family, f.transposed, memory) != (
            last.family,
            last.transposed,
            self.memory,
        ) or f.member != last.member + 1:
            return False
        if f.transposed:  # one more term of the same sum: its operand must lie right behind the last
            return last_sum is s and self.loop.adjacent(last.operand, f.operand)
        if self.loop.columns:  # each member's units are cut for themselves
            return False
        same_place = (
            memory in BLOCKED and block == self.block + len(self.factors) and s.node.shape == last_sum.node.shape
        )
        return f.operand is last.operand and first == self.first and same_place

    @property
    def factor(self) -> Factor:
        return self.factors[0][1]

    @property
    def operand(self) -> Node:
        return self.factor.operand

    @property
    def _way(self) -> str:
        return "T" if self.factor.transposed else "N"

    @property
    def offset(self) -> str:
        return self.loop.number("at", self.memory, self.block) if self.block else ""

    @property
    def inner(self) -> str:
        """The length of the sums: the operand's axis; over several members, theirs with the padding between."""
        axis = self.operand.shape[-1]
        many = self.factor.transposed and len(self.factors) > 1
        return f"{len(self.factors)} * {self.loop.number('pad', axis)}" if many else self.loop.number("size", axis)

    @property
    def weights(self) -> str:
        f, loop = self.factor, self.loop
        base = f"{loop.address('packed')} + {loop.number('packed', f.family, self._way)} * SIZE"
        return f"{base} + {f.member} * {loop.number('member', f.family, self._way)} * SIZE" if f.member else base

    @property
    def stride(self) -> str:
        return self.loop.number("panel", self.factor.family, self._way)

    @property
    def panels(self) -> str:
        text = self.loop.number("panels", self.factors[0][0].node.shape[-1])
        return f"{len(self.factors)} * {text}" if not self.factor.transposed and len(self.factors) > 1 else text

    @property
    def comment(self) -> str:
        leaves = [(self.loop.plan.families[f.family].leaves[f.member], f) for _, f in self.factors]
        if self.factor.transposed:
            return " + ".join(f"{leaf}.T @ {self.loop.names(f.operand)}" for leaf, f in leaves)
        return f"{', '.join(leaf for leaf, _ in leaves)} @ {self.loop.names(self.operand)}"


BLOCKED = ("sums", "scratch", "vectors", "tape", "kept")  # memories whose rows hold several quantities
RESERVED = (
    "t row j entry rows turn lo hi T B chunk start steps address place active load store gemm product real SIZE "
    "LANES part next_part parts meeting met meet "
    "nan inf exp expm1 log log1p tanh sigmoid erf softplus sqrt sin cos tan sinh cosh floor abs min max "
    "range sums scratch vectors tape kept biases zeros packed output d_output "
).split()


def is_boolean(n: Node) -> bool:
    return is_op(n, *BOOLEAN)


def reduces(n: Node) -> bool:
    """Whether a value is a number made of a whole row."""
    return is_op(n, *REDUCTIONS) and varies(n) and n.shape[-1] == 1 and n.args[0].shape[-1] != 1


def wrapped(code: str) -> bool:
    """Whether the first bracket closes at the end."""
    depth = 0
    for k, c in enumerate(code):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return k == len(code) - 1 and code.startswith("(")
    return False
