"""What a cell's graph becomes when it is run over time: a list of regions, derived once per cell.

    forward   static   of parameters alone                       once a call
              before   of inputs and parameters                  all steps at once
              loop     what the new states need                  step by step
              after    what only the output needs                all steps at once
    backward  loop     the cotangents of the states              step by step, from the last
              after    the cotangents of inputs and parameters   all steps at once: weight gradients are one product
              static   back through `static`                     once a call

Within a region products of one family with the same operand are one product (`Product`), in the order of the source.
What backward reads of the forward pass, `saved`, is derived as well: BPTT keeps it for every step and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .autodiff import sweep
from .graph import Node, reachable, verify
from .trace import CellGraph, Family


@dataclass(frozen=True)
class Product:
    """nodes[k] = W[members[k]] @ operand: one product, several results."""

    family: str
    members: tuple[int, ...]
    operand: Node
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Term:
    """sum over k of W[members[k]].T @ operands[k]: one product whose inner axis runs over the members."""

    family: str
    members: tuple[int, ...]
    operands: tuple[Node, ...]


@dataclass(frozen=True)
class Gather:
    """node = sum of the terms + sum of the addends."""

    terms: tuple[Term, ...]
    addends: tuple[Node, ...]
    node: Node


Step = Node | Product | Gather


@dataclass(frozen=True)
class Plan:
    graph: CellGraph
    families: dict[str, Family]
    static: list[Step]
    before: list[Step]
    loop: list[Step]
    after: list[Step]
    saved: list[Node]
    seeds: list[Node]
    output_seed: Node
    state_cotangents: list[Node | None]
    back_loop: list[Step]
    back_after: list[Step]
    back_static: list[Step]
    input_cotangents: list[Node | None]
    parameter_cotangents: dict[str, Node]
    kept_cotangents: list[Node]
    cotangents: dict[int, Node]  # of every forward value, by its serial


def varies(node: Node) -> bool:
    """Whether a value differs between samples (and steps), or is made of parameters alone."""
    return bool(node.shape) and node.shape[0] == "batch"


def derive(graph: CellGraph, families: dict[str, Family]) -> Plan:
    """All passes, each verified."""
    place = {leaf: (f.name, k) for f in families.values() for k, leaf in enumerate(f.leaves)}
    position = {graph.parameters[leaf].serial: at for leaf, at in place.items()}

    # ------------------------------------------------------------------------------- forward: who runs when
    order = [n for n in reachable(graph.roots) if n.op is not None]
    recurrent = {s.serial for s in graph.states}
    for n in order:
        if any(isinstance(a, Node) and a.serial in recurrent for a in n.args):
            recurrent.add(n.serial)
    for_states = {n.serial for n in reachable(graph.new_states)}
    static = [n for n in order if not varies(n)]
    before = [n for n in order if varies(n) and n.serial not in recurrent]
    loop = [n for n in order if n.serial in recurrent and n.serial in for_states]
    after = [n for n in order if n.serial in recurrent and n.serial not in for_states]

    # ---------------------------------------------------------------------------------- backward, from the rows
    trace = graph.inputs[0].trace
    output_seed = trace.leaf("d_output", graph.output.shape)
    seeds = [trace.leaf(f"d_{s.name}'", s.shape) for s in graph.states]
    found = sweep([graph.output, *graph.new_states], [output_seed, *seeds])
    cot = {serial: g for serial, g in found.items() if isinstance(g, Node)}
    state_cotangents = [cot.get(s.serial) for s in graph.states]
    input_cotangents = [cot.get(x.serial) for x in graph.inputs]
    parameter_cotangents = {leaf: cot[p.serial] for leaf, p in graph.parameters.items() if p.serial in cot}
    verify([g for g in state_cotangents if g is not None], "backward")

    forward = {n.serial for n in order}
    back = [
        n
        for n in reachable(
            [g for g in [*state_cotangents, *input_cotangents, *parameter_cotangents.values()] if g is not None]
        )
    ]
    back = [n for n in back if n.op is not None and n.serial not in forward]
    in_loop = {n.serial for n in reachable([g for g in state_cotangents if g is not None])}
    back_loop = [n for n in back if n.serial in in_loop]
    back_after = [n for n in back if n.serial not in in_loop and varies(n)]
    back_static = [n for n in back if n.serial not in in_loop and not varies(n)]

    read = {a.serial for n in back for a in n.args if isinstance(a, Node)}
    saved = [n for n in order if varies(n) and n.serial in read]
    late = {a.serial for n in [*back_after, *back_static] for a in n.args if isinstance(a, Node)}
    late |= {g.serial for g in [*input_cotangents, *parameter_cotangents.values()] if g is not None}
    kept = [n for n in [*seeds, output_seed, *back_loop] if n.serial in late]
    readers = readers_of([*order, *back], graph.roots)
    results = [g for g in [*state_cotangents, *input_cotangents, *parameter_cotangents.values()] if g is not None]
    back_readers = readers_of(back, results)
    return Plan(
        graph, families, list(static), *(pack(part, position, readers) for part in (before, loop, after)), saved, seeds, output_seed,
        state_cotangents, *(pack(part, position, back_readers) for part in (back_loop, back_after)), list(back_static), input_cotangents,
        parameter_cotangents, kept, cot,
    )  # fmt: skip


def readers_of(nodes: Iterable[Node], results: Iterable[Node]) -> dict[int, list[Node]]:
    """Who reads each value; a result is also read from outside, which counts as two, so that no sum swallows it."""
    readers: dict[int, list[Node]] = {}
    for n in nodes:
        for a in n.args:
            if isinstance(a, Node):
                readers.setdefault(a.serial, []).append(n)
    for n in results:
        readers.setdefault(n.serial, []).extend((n, n))
    return readers


def pack(nodes: Sequence[Node], position: dict[int, tuple[str, int]], readers: dict[int, list[Node]]) -> list[Step]:
    """Products of one family become one: with the same operand (forward), or in the same sum (backward)."""

    def sole_reader(n: Node) -> Node | None:
        who = readers.get(n.serial, ())
        return who[0] if len(who) == 1 else None

    def is_op(n: Any, name: str) -> bool:
        return isinstance(n, Node) and n.op is not None and n.op.name == name

    own = {n.serial for n in nodes}
    inner: dict[int, Node] = {}  # serial of an addition or transposed product -> the sum it is part of
    for n in reversed(nodes):
        reader = sole_reader(n)
        if (
            (is_op(n, "add") or is_op(n, "linear_t"))
            and reader is not None
            and reader.serial in own
            and is_op(reader, "add")
            and reader.args[0] is not reader.args[1]
        ):
            inner[n.serial] = inner.get(reader.serial, reader)
    sums: dict[int, list[Node]] = {}
    for n in nodes:
        root = inner.get(n.serial, n)
        if is_op(n, "linear_t"):
            sums.setdefault(root.serial, []).append(n)

    groups: dict[Any, list[Node]] = {}
    for n in nodes:
        if is_op(n, "linear"):
            groups.setdefault((position[n.args[0].serial][0], n.args[1].serial), []).append(n)

    steps: list[Step] = []
    for n in nodes:
        if n.serial in sums and n.serial not in inner:
            products = {p.serial for p in sums[n.serial]}
            addends = (
                [] if n.serial in products else [v for v in leaves_of_sum(n, inner, own) if v.serial not in products]
            )
            steps.append(Gather(terms(sums[n.serial], position), tuple(addends), n))
        elif n.serial in inner and inner[n.serial].serial in sums:
            continue
        elif is_op(n, "linear"):
            group = groups[position[n.args[0].serial][0], n.args[1].serial]
            if n is group[0]:
                for run in runs(group, position):
                    members = tuple(position[m.args[0].serial][1] for m in run)
                    steps.append(Product(position[n.args[0].serial][0], members, n.args[1], tuple(run)))
        else:
            steps.append(n)
    return steps


def leaves_of_sum(root: Node, inner: dict[int, Node], own: set[int]) -> list[Node]:
    """What a tree of additions adds up, left to right."""
    out: list[Node] = []
    stack: list[Any] = [root]
    while stack:
        n = stack.pop()
        if (
            n is root
            or (isinstance(n, Node)
            and n.op is not None
            and n.op.name == "add"
            and inner.get(n.serial) is root
            and n.serial in own)
        ):
            stack.extend(reversed(n.args))
        else:
            out.append(n)
    return out


def terms(products: list[Node], position: dict[int, tuple[str, int]]) -> tuple[Term, ...]:
    """Transposed products of one sum, by family and stretches of members."""
    families: dict[str, list[Node]] = {}
    for n in products:
        families.setdefault(position[n.args[0].serial][0], []).append(n)
    out = []
    for family, group in families.items():
        for run in runs(group, position):
            members = tuple(position[n.args[0].serial][1] for n in run)
            out.append(Term(family, members, tuple(n.args[1] for n in run)))
    return tuple(out)


def runs(group: Iterable[Node], position: dict[int, tuple[str, int]]) -> list[list[Node]]:
    """Split into stretches whose members follow one another in the family's array."""
    out: list[list[Node]] = []
    for n in sorted(group, key=lambda n: position[n.args[0].serial][1]):
        k = position[n.args[0].serial][1]
        if out and position[out[-1][-1].args[0].serial][1] == k - 1:
            out[-1].append(n)
        else:
            out.append([n])
    return out
