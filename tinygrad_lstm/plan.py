"""What a cell's graph becomes when it is run over time: a list of regions, derived once per cell.

    forward   static   of parameters alone                       once a call
              before   of inputs and parameters                  all steps at once
              loop     what the new states need                  step by step
              after    what only the output needs                all steps at once
    backward  loop     the cotangents of the states              step by step, from the last
              after    the cotangents of inputs and parameters   all steps at once: weight gradients are one product
              static   back through `static`                     once a call

What backward reads of the forward pass, `saved`, is derived as well. The room `loops` makes kernels of a plan: there
products are packed and split from what is elementwise; the room `interpret` runs it as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .autodiff import sweep
from .graph import Node, reachable, verify
from .trace import CellGraph, Family


@dataclass(frozen=True)
class Plan:
    graph: CellGraph
    families: dict[str, Family]
    static: list[Node]
    before: list[Node]
    loop: list[Node]
    after: list[Node]
    saved: list[Node]
    seeds: list[Node]
    output_seed: Node
    state_cotangents: list[Node | None]
    back_loop: list[Node]
    back_after: list[Node]
    back_static: list[Node]
    input_cotangents: list[Node | None]
    parameter_cotangents: dict[str, Node]
    kept_cotangents: list[Node]
    cotangents: dict[int, Node]  # of every forward value, by its serial

    @cached_property
    def members(self) -> dict[int, tuple[Family, int]]:
        """Which member of which family a parameter is, by its serial."""
        return {
            self.graph.parameters[leaf].serial: (f, k) for f in self.families.values() for k, leaf in enumerate(f.leaves)
        }


def varies(node: Node) -> bool:
    """Whether a value differs between samples (and steps), or is made of parameters alone."""
    return bool(node.shape) and node.shape[0] == "batch"


def derive(graph: CellGraph, families: dict[str, Family]) -> Plan:
    """All passes, each verified."""
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
    found = sweep([graph.output, *graph.new_states], [output_seed, *seeds], keep=True)
    cot = {serial: g for serial, g in found.items() if isinstance(g, Node)}
    state_cotangents = [cot.get(s.serial) for s in graph.states]
    input_cotangents = [cot.get(x.serial) for x in graph.inputs]
    parameter_cotangents = {leaf: cot[p.serial] for leaf, p in graph.parameters.items() if p.serial in cot}
    verify([g for g in state_cotangents if g is not None], "backward")

    forward = {n.serial for n in order}
    results = [g for g in [*state_cotangents, *input_cotangents, *parameter_cotangents.values()] if g is not None]
    back = [n for n in reachable(results) if n.op is not None and n.serial not in forward]
    in_loop = {n.serial for n in reachable([g for g in state_cotangents if g is not None])}
    back_loop = [n for n in back if n.serial in in_loop]
    back_after = [n for n in back if n.serial not in in_loop and varies(n)]
    back_static = [n for n in back if n.serial not in in_loop and not varies(n)]

    read = {a.serial for n in back for a in n.args if isinstance(a, Node)}
    saved = [n for n in order if varies(n) and n.serial in read]
    late = {a.serial for n in [*back_after, *back_static] for a in n.args if isinstance(a, Node)}
    late |= {g.serial for g in results}
    kept = [n for n in [*seeds, output_seed, *back_loop] if n.serial in late]
    return Plan(
        graph, families, static, before, loop, after, saved, seeds, output_seed, state_cotangents, back_loop, back_after, back_static,
        input_cotangents, parameter_cotangents, kept, cot,
    )  # fmt: skip
