"""A plan run with NumPy, one array operation a node: slow, plain, and the reference for the compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .graph import Node
from .plan import Plan

Arrays = dict[int, np.ndarray]


def axis_sizes(plan: Plan, arrays: Mapping[str, np.ndarray], widths: Sequence[int] | None = None) -> dict[Any, int]:
    """The sizes of the axes that parameters have, and of those of the inputs and states, whose `widths` come in order."""
    sizes: dict[Any, int] = {1: 1}
    for f in plan.families.values():
        if f.axes:
            array = arrays[f.name]
            sizes.update(zip(f.axes, (array.shape[0] // len(f.members), *array.shape[1:]), strict=True))
    if widths is not None:
        for node, width in zip([*plan.graph.inputs, *plan.graph.states], widths, strict=True):
            sizes.setdefault(node.shape[-1], width)
    return sizes


class _Static(dict[int, np.ndarray]):
    """What depends on parameters alone: the members of the families, cut out when they are asked for, and what follows."""

    def __init__(self, plan: Plan, arrays: Mapping[str, np.ndarray]):
        super().__init__()
        self.plan, self.arrays = plan, arrays

    def __missing__(self, serial: int) -> np.ndarray:
        f, k = self.plan.members[serial]
        array = self.arrays[f.name]
        n = array.shape[0] // len(f.members) if f.axes else 0
        own = array if f.members == ("",) else array[k * n : (k + 1) * n] if f.axes else array[k]
        self[serial] = own
        return own


class Interpreter:
    """Executes the regions of a plan with NumPy, one array operation a node: the reference for compiled plans.

    Arrays of values that vary have leading axes (T, B) in a region over all steps and (B,) in the loop; members of a
    family are rows of its array.
    """

    def __init__(self, plan: Plan, arrays: Mapping[str, np.ndarray], sizes: dict[Any, int] | None = None):
        """sizes : of the axes, where they are known already; else those of the parameters."""
        self.plan, self.arrays = plan, arrays
        self.static: Arrays = _Static(plan, arrays)
        self.sizes = sizes if sizes is not None else axis_sizes(plan, arrays)

    def run(self, nodes: Sequence[Node], values: Arrays) -> None:
        """Compute the nodes of a region; `values` holds what is known and receives the results."""

        def of(a: Any) -> Any:
            if not isinstance(a, Node):
                return a
            return values[a.serial] if a.serial in values else self.static[a.serial]

        for node in nodes:
            values[node.serial] = self._node(node, [of(a) for a in node.args])

    def _node(self, node: Node, args: list[Any]) -> Any:
        assert node.op is not None
        name, attr = node.op.name, node.attr
        if name in ("broadcast_to", "sum_to", "spread"):
            shape = attr["shape"]
            x = args[0]
            own = tuple(self.sizes[a] for a in shape if a != "batch")
            if shape[:1] == ("batch",):
                attr = {**attr, "shape": (*(x.shape[:-1] if x.ndim else ()), *own)}
            else:
                attr = {**attr, "shape": own}
        return node.op.numpy(*args, **attr)


def run_forward(
    plan: Plan,
    arrays: Mapping[str, np.ndarray],
    xs: Sequence[np.ndarray],
    states: Sequence[np.ndarray],
    active: np.ndarray | None,
    keep: bool,
) -> tuple[np.ndarray, list[np.ndarray], Any]:
    """All steps. xs: (T, B, axis) each; states: (B, axis); active: how many samples still run at each step, or None.

    Returns the outputs (T, B, axis), zero where a sequence has ended; the final states; and what backward needs.
    """
    graph = plan.graph
    machine = Interpreter(plan, arrays, axis_sizes(plan, arrays, [a.shape[-1] for a in (*xs, *states)]))
    T, B = xs[0].shape[:2]
    whole: Arrays = {node.serial: x for node, x in zip(graph.inputs, xs, strict=True)}
    machine.run(plan.static, machine.static)
    machine.run(plan.before, whole)
    history = [np.empty((T + 1, *s.shape), s.dtype) for s in states]
    for past, s in zip(history, states, strict=True):
        past[0] = s
    read_after = {a.serial for n in plan.after for a in n.args if isinstance(a, Node)}
    wanted = {n.serial for n in plan.saved} | read_after | {graph.output.serial}
    stored: Arrays = {}
    kept = [n for n in plan.loop if n.serial in wanted]
    known = [(n, whole[n.serial]) for n in [*graph.inputs, *plan.before]]
    for t in range(T):
        n = B if active is None else int(active[t])
        now: Arrays = {node.serial: value[t, :n] for node, value in known}
        for node, past in zip(graph.states, history, strict=True):
            now[node.serial] = past[t, :n]
        machine.run(plan.loop, now)
        for node, past in zip(graph.new_states, history, strict=True):
            past[t + 1, :n] = now[node.serial] if node.serial in now else machine.static[node.serial]
            past[t + 1, n:] = past[t, n:]
        for node in kept:
            value = now[node.serial]
            room = stored.get(node.serial)
            if room is None:
                room = stored[node.serial] = np.empty((T, B, machine.sizes[node.shape[-1]]), value.dtype)
            room[t, :n] = value
            room[t, n:] = room[t - 1, n:] if t else value[:1]
    for node in kept:
        if node.serial not in stored:
            stored[node.serial] = np.zeros((T, B, machine.sizes[node.shape[-1]]), xs[0].dtype)
    whole |= stored
    for node, past in zip(graph.states, history, strict=True):
        whole[node.serial] = past[:T] if active is None else _held(past[:T], active)
    machine.run(plan.after, whole)
    output = np.ascontiguousarray(
        np.broadcast_to(whole[graph.output.serial], (T, B, machine.sizes[graph.output.shape[-1]]))
    )
    if active is not None:
        output = np.where(np.arange(B)[None, :, None] < active[:, None, None], output, 0).astype(
            output.dtype, copy=False
        )
    tape = None
    if keep:
        needed = {n.serial for n in [*plan.saved, *graph.inputs, *graph.states]}
        tape = (machine, {k: v for k, v in whole.items() if k in needed}, active)
    return output, [past[T] for past in history], tape


def _held(values: np.ndarray, active: np.ndarray) -> np.ndarray:
    """(T, B, axis), past a sequence's end its last step again; for a sequence without steps the first of the longest."""
    out = values.copy()
    for t, n in enumerate(active):
        out[t, n:] = out[t - 1, n:] if t else out[0, :1]
    return out


def run_backward(
    plan: Plan,
    tape: Any,
    d_output: np.ndarray | None,
    d_states: Sequence[np.ndarray | None],
    watch: Callable[[int, Arrays], None] | None = None,
) -> tuple[list, list, dict[str, np.ndarray]]:
    """The cotangents of inputs (T, B, axis), of the initial states (B, axis) and of the family arrays.

    watch : is shown every step and its values, from the last to the first, and in the end -1 and those of all steps.
    """
    machine, whole, active = tape
    graph = plan.graph
    T, B = whole[graph.inputs[0].serial].shape[:2]
    dtype = whole[graph.inputs[0].serial].dtype
    width = lambda node: machine.sizes[node.shape[-1]]
    if d_output is None:
        d_output = np.zeros((T, B, width(graph.output)), dtype)
    carried = [
        np.array(d, dtype) if d is not None else np.zeros((B, width(s)), dtype)
        for d, s in zip(d_states, graph.states, strict=True)
    ]
    stored: Arrays = {
        n.serial: np.zeros((T, B, width(n)), dtype) for n in plan.kept_cotangents if n.serial != plan.output_seed.serial
    }
    past = list(whole.items())
    for t in range(T - 1, -1, -1):
        n = B if active is None else int(active[t])
        now: Arrays = {serial: value[t, :n] for serial, value in past}
        now[plan.output_seed.serial] = d_output[t, :n]
        for seed, d in zip(plan.seeds, carried, strict=True):
            now[seed.serial] = d[:n]
        machine.run(plan.back_loop, now)
        if watch is not None:
            watch(t, now)
        for serial, room in stored.items():
            room[t, :n] = now[serial]
        for k, g in enumerate(plan.state_cotangents):
            before = np.zeros_like(carried[k]) if g is None else np.empty_like(carried[k])
            if g is not None:
                before[:n] = now[g.serial]
            before[n:] = carried[k][n:]
            carried[k] = before
    if active is not None:
        d_output = np.where(np.arange(B)[None, :, None] < active[:, None, None], d_output, 0)
    everything = {**whole, **stored, plan.output_seed.serial: d_output}
    machine.run(plan.back_after, everything)
    machine.run(plan.back_static, everything)
    if watch is not None:
        watch(-1, everything)
    d_inputs = [
        None if g is None else np.broadcast_to(everything[g.serial], (T, B, width(x)))
        for x, g in zip(graph.inputs, plan.input_cotangents, strict=True)
    ]
    d_families = {}
    for f in plan.families.values():
        d = d_families[f.name] = np.zeros(machine.arrays[f.name].shape, dtype)
        for k, leaf in enumerate(f.leaves):
            g = plan.parameter_cotangents.get(leaf)
            if g is not None:
                n = d.shape[0] // len(f.members) if f.axes else 0
                at = slice(k * n, (k + 1) * n) if f.axes else k if f.members != ("",) else ()
                d[at] = everything[g.serial]
    return d_inputs, carried, d_families
