"""What is compiled for a cell: its two loops, what they keep, and what the backward one leaves for later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .graph import Node, reachable
from .loops import Loop, is_op, sums_of_products
from .plan import Plan, varies


@dataclass(frozen=True)
class WeightGroup:
    """Members of a family whose gradients are one sum of outer products: their left factors lie side by side."""

    family: str
    member: int
    nodes: list[Node]
    lefts: list[Node]
    right: Node


class Program:
    """What is compiled for a cell: its two loops, and where backward finds and leaves things."""

    def __init__(self, plan: Plan, name: str, watched: Sequence[Node] = ()):
        """watched : values that the loops leave behind for a recording, the backward one their cotangents."""
        self.plan, graph = plan, plan.graph
        self.watched = list(watched)
        inner = [
            n for n in self.watched if not any(n is x for x in graph.inputs)
        ]  # those of inputs are found in the end
        cotangents = [plan.cotangents.get(n.serial) for n in inner]
        self.watched_cotangents = [g for g in cotangents if g is not None and varies(g)]
        new = {n.serial for n in graph.new_states if n.op is not None}
        inputs = {f"input{k}": [x] for k, x in enumerate(graph.inputs)}
        states = {f"state{k}": [s] for k, s in enumerate(graph.states)}
        self.output_state = next(
            (k for k, n in enumerate(graph.new_states) if n is graph.output and n.op is not None), None
        )

        position = {
            graph.parameters[leaf].serial: (f.name, k)
            for f in plan.families.values()
            for k, leaf in enumerate(f.leaves)
        }
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
        later += self.watched_cotangents
        every = list(plan.cotangents.values())
        users = {
            n.args[1].serial: position[n.args[0].serial] for n in reversed(reachable(every)) if is_op(n, "linear_t")
        }
        order = {f: k for k, f in enumerate(plan.families)}
        kept = {n.serial: n for n in later if n.serial not in given and n is not plan.output_seed}
        key = lambda n: (order[users[n.serial][0]], users[n.serial][1]) if n.serial in users else (len(order), 0)
        self.kept = sorted(kept.values(), key=key)

        self.later_weights = [(f.family, "T") for s in self.input_sums if s is not None for f in s.factors]
        held = {
            f"state{k}": [s, *([n] if n.op is not None else [])]
            for k, (s, n) in enumerate(zip(graph.states, graph.new_states, strict=True))
        }
        self._forward: dict[str, Any] = {
            "known": {**inputs, **states},
            "homes": {
                **{f"state{k}": [n] for k, n in enumerate(graph.new_states)},
                **({"output": [graph.output]} if self.output_state is None else {}),
                "tape": self.saved,
            },
        }
        self._backward: dict[str, Any] = {
            "known": {
                **inputs,
                **held,
                "tape": self.saved,
                "d_output": [plan.output_seed],
                **{f"carry{k}": [s] for k, s in enumerate(plan.seeds)},
            },
            "homes": {
                **{f"carry{k}": [g] for k, g in enumerate(plan.state_cotangents) if g is not None},
                "kept": self.kept,
            },
        }
        self.forward = Loop(plan, name, **self._forward, backward=False)
        self.backward = Loop(plan, name, **self._backward, backward=True)
        self.hoists = any(self.forward.hoists(s) for s in self.forward.sums.values())

        self._gradients(position)

    @cached_property
    def columns(self) -> tuple[Loop, Loop] | None:
        """The loops whose threads share the units of a row instead of the rows; None where numbers of whole rows are needed."""
        if any(n.shape[-1] == 1 for loop in (self.forward, self.backward) for n in loop.order):
            return None
        forward = Loop(self.plan, self.forward.name, **self._forward, backward=False, columns=True)
        return forward, Loop(self.plan, self.backward.name, **self._backward, backward=True, columns=True)

    def _gradients(self, position: dict[int, tuple[str, int]]) -> None:
        """How the gradients of the families come about once the backward loop is done."""
        plan = self.plan
        owner = {
            g.serial: position[plan.graph.parameters[leaf].serial] for leaf, g in plan.parameter_cotangents.items()
        }
        own = sorted((n for n in self.outers if n.serial in owner), key=lambda n: owner[n.serial])
        self.other_outers = [n for n in self.outers if n.serial not in owner]
        self.weight_groups: list[WeightGroup] = []
        for n in own:
            (family, member), (left, right) = owner[n.serial], n.args
            last = self.weight_groups[-1] if self.weight_groups else None
            if (
                last
                and (last.family, last.member + len(last.nodes)) == (family, member)
                and last.right is right
                and self.backward.adjacent(last.lefts[-1], left)
            ):
                last.nodes.append(n)
                last.lefts.append(left)
            else:
                self.weight_groups.append(WeightGroup(family, member, [n], [left], right))
        self.sum_groups: list[list[Node]] = []
        for n in sorted(self.column_sums, key=lambda n: owner.get(n.serial, ("", 0))):
            if self.sum_groups and self.backward.adjacent(self.sum_groups[-1][-1].args[0], n.args[0]):
                self.sum_groups[-1].append(n)
            else:
                self.sum_groups.append([n])
        done = {n.serial for n in [*self.outers, *self.column_sums]}
        self.back_rest = [n for n in plan.back_static if n.serial not in done]
        in_place = {(g.family, g.member + k) for g in self.weight_groups for k in range(len(g.nodes))}
        leaves = [(*position[plan.graph.parameters[leaf].serial], g) for leaf, g in plan.parameter_cotangents.items()]
        self.written = [(family, k, g) for family, k, g in leaves if (family, k) not in in_place]

    def _residuals(self, new: set[int]) -> list[Node]:
        """What BPTT keeps of every step: what backward reads, less the states, less what follows elementwise from the rest."""
        graph = self.plan.graph
        available = {n.serial for n in [*graph.inputs, *graph.states]} | new
        operands = {n.args[1].serial for n in self.outers} | {n.serial for n in self.watched}
        saved = []
        for n in self._read() if self.watched else self.plan.saved:
            if n.serial in new:
                continue
            assert n.op is not None
            cheap = n.op.code is not None and all(
                not isinstance(a, Node) or not varies(a) or a.serial in available for a in n.args
            )
            if not cheap or n.serial in operands:
                saved.append(n)
            available.add(n.serial)
        return saved

    def _read(self) -> list[Node]:
        """What backward reads if it has to find the cotangents of what is watched as well, and what is watched itself."""
        plan = self.plan
        forward = sorted([*plan.before, *plan.loop, *plan.after], key=lambda n: n.serial)
        back = reachable(self.watched_cotangents, stop=forward)
        read = {a.serial for n in back for a in n.args if isinstance(a, Node)}
        read |= {n.serial for n in plan.saved} | {n.serial for n in self.watched if n is not plan.graph.output}
        return [n for n in forward if n.serial in read]

    def source(self, direction: str, dtype: Any) -> str:
        return (self.forward if direction == "forward" else self.backward).source(dtype)

    # --------------------------------------------------------------------------------------------------- for readers
    def schedule(self) -> list[tuple[str, str]]:
        """(when, what) of everything that runs, in order; products by their names, elementwise work as a count."""
        rows = []
        for loop, direction in ((self.forward, "forward"), (self.backward, "backward")):
            loop.source("float32")  # gives the quantities their names
            for s in range(-1, loop.stages):
                for text in loop.products(s):
                    rows.append((f"{direction}, {'all steps at once' if s < 0 else 'each step'}", text))
                count = len(loop.work(s))
                if count:
                    many = "operations" if count > 1 else "operation"
                    rows.append((f"{direction}, each step", f"{count} {many} in one loop over rows and units"))
        for k, found in enumerate(self.input_sums):
            if found is not None:
                members = ", ".join(sorted({f"{f.family}" for f in found.factors}))
                rows.append(
                    (
                        "backward, all steps at once",
                        f"d_{self.plan.graph.inputs[k].name}: transposed products of {members}",
                    )
                )
        for g in self.weight_groups:
            leaves = self.plan.families[g.family].leaves[g.member : g.member + len(g.nodes)]
            rows.append(("backward, all steps at once", f"d_{', d_'.join(leaves)}: one product"))
        return rows

    def cost(self, sizes: Mapping[str, int], itemsize: int = 4) -> dict[str, int]:
        """Of one step of one sample: floating-point operations forward and backward, bytes kept for backward."""

        def length(n: Node) -> int:
            return 1 if n.shape[-1] == 1 else sizes[n.shape[-1]]

        products = sum(2 * length(s.node) * length(f.operand) for s in self.forward.sums.values() for f in s.factors)
        ahead, back = (
            sum(length(n) for s in range(loop.stages) for n in loop.work(s)) for loop in (self.forward, self.backward)
        )
        kept = sum(length(n) for n in [*self.saved, *self.plan.graph.states])
        return {"forward": products + ahead, "backward": 2 * products + back, "kept": kept * itemsize}
