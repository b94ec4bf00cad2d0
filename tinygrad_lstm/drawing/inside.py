"""A cell over time is one operation of a computation; here it becomes the graph of its equations again, step by step.

What a compiled loop computed is computed once more on Tensors by the same rows, from the same arrays; gradients come
from those that the loop's results kept (`backward(retain_grads=True)`). The values of the whole computation are then
copied into `Seen` values, whose arguments lead through the opened steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from math import prod
from typing import Any, NamedTuple

from ..graph import ModuleCall, Value, reachable
from .frames import calls, changed, in_order

MOST = 20_000  # values, and
LARGEST = 20_000_000  # numbers, that are computed once more for one drawing


class Seen(Value):
    """A copy of `source`, to be drawn.

    It lies in calls of modules (`around`), in an opened loop (`scope`, its number and name) and in a `step` of it;
    `member`: it is a part of a parameter, W.i.
    """

    def __init__(self, source: Any, args: tuple[Any, ...], serial: int, around: tuple[ModuleCall, ...],
                 scope: tuple[int, str] | None = None, step: int | None = None, member: bool = False):  # fmt: skip
        self.op, self.args, self.attr, self.name = source.op, args, source.attr, source.name
        self.requires_grad, self.serial, self.source = source.requires_grad, serial, source
        self.data, self.grad = getattr(source, "data", None), getattr(source, "grad", None)
        self.shape, self.dtype = None if isinstance(self.data, tuple) else source.shape, getattr(source, "dtype", None)
        self.around, self.scope, self.step, self.member = around, scope, step, member


class Replay(NamedTuple):
    """The steps of a loop: all values in the order of computation, the loop's results, the leaves they start from."""

    values: list[Any]
    results: list[Any]
    leaves: list[Any]
    steps: dict[int, int]  # by id, of what belongs to a step


def opened(roots: Sequence[Value]) -> list[Value]:
    """The roots, and behind them the same computation with its loops opened; the roots themselves if there are none.

    The steps of a loop are marked as such; a loop of one step, as of `LSTMCell`, becomes part of what is around it.
    Stays closed: a loop over sequences of several lengths, one that is too large, one whose parameters an optimiser has
    changed since, and one whose results need no gradient here and now (`no_grad`).
    """
    order = in_order(roots)
    loops = [v for v in order if is_loop(v)]
    room = MOST - len(order)
    replays: dict[int, Replay] = {}
    for v in loops:
        found = None if outdated(v) else _replay(v, order, room)
        if found is not None:
            replays[id(v)] = found
            room -= len(found.values)
    if not replays:
        return list(roots)
    seen: dict[int, Any] = {}
    place, number, around = count(), {id(v): k for k, v in enumerate(loops)}, calls(order)

    def copy(value: Any, lies_in: tuple[ModuleCall, ...], *where: Any) -> None:
        args = tuple(seen.get(id(a), a) for a in value.args)
        seen[id(value)] = Seen(value, args, next(place), lies_in, *where)

    for v in order:
        source = v.args[0] if v.op is not None and v.op.name == "item" and v.args else None
        if id(v) in replays:
            cell, replay = v.attr["cell"], replays[id(v)]
            names = [*cell.inputs, *cell.states, *cell.families]
            for name, argument, leaf in zip(names, v.args, replay.leaves, strict=True):
                seen[id(leaf)] = behind = seen[id(argument)]
                if behind.op is None and behind.name is None:
                    behind.name = name
            scope = (number[id(v)], f"{cell.name} over time") if v.args[0].shape[0] > 1 else None
            for value in replay.values:
                if id(value) not in seen:
                    step = replay.steps.get(id(value))
                    copy(value, around[id(v)], scope, step, step is None and value.name is not None)
        elif id(source) in replays:
            seen[id(v)] = seen[id(replays[id(source)].results[v.attr["index"]])]
        else:
            copy(v, around[id(v)])
    return [seen[id(r)] for r in roots]


def is_loop(v: Value) -> bool:
    """Whether a value is the results of a loop over time that can be opened."""
    cell = v.attr.get("cell") if v.op is not None else None
    return hasattr(cell, "graph") and hasattr(cell, "members") and v.attr.get("active") is None


def outdated(v: Value) -> bool:
    """Whether what a loop was computed from has changed since: computed once more it would show other numbers."""
    return any(changed(a, v) for a in v.args if isinstance(a, Value))


def _replay(v: Value, order: Sequence[Value], room: int) -> Replay | None:
    """A loop computed step by step, `room` values at the most, with the gradients that its results pass back."""
    cell = v.attr["cell"]
    graph, steps = cell.graph, v.args[0].shape[0]
    body = [n for n in reachable(graph.roots) if n.op is not None]
    batch, width = v.args[0].shape[1], max(a.shape[-1] if a.shape else 1 for a in v.args)
    if not steps or steps * (len(body) + 2) > room or prod((steps, len(body), batch, width)) > LARGEST:
        return None
    own = []
    for a in v.args:
        leaf = a.detach()
        leaf.requires_grad = a.requires_grad
        own.append(leaf)
    i, s = len(cell.inputs), len(cell.states)
    xs, states = own[:i], own[i : i + s]
    parameters = cell.members(dict(zip(cell.families, own[i + s :], strict=True)))
    known = {id(leaf) for leaf in own}
    for name, p in parameters.items():
        if id(p) not in known:
            p.name = name
    names = {n.serial: name for name, n in graph.names.items()}
    names |= {
        n.serial: str(old.name) for old, n in zip(graph.states, graph.new_states, strict=True) if n.op is not None
    }
    outputs: list[Any] = []
    times: dict[int, int] = {}
    for t in range(steps):
        values: dict[int, Any] = {graph.parameters[k].serial: p for k, p in parameters.items()}
        values |= {n.serial: x[t] for n, x in zip(graph.inputs, xs, strict=True)}
        values |= {n.serial: state for n, state in zip(graph.states, states, strict=True)}
        for n in graph.inputs:
            values[n.serial].name = f"{n.name}_{t}" if steps > 1 else n.name
            times[id(values[n.serial])] = t
        for n in body:
            args = [values[a.serial] if isinstance(a, Value) else a for a in n.args]
            values[n.serial] = next(a for a in args if isinstance(a, Value)).apply(n.op, *args, **n.attr)
            times[id(values[n.serial])] = t
            if n.serial in names:
                values[n.serial].name = names[n.serial]
        outputs.append(values[graph.output.serial])
        states = [values[n.serial] for n in graph.new_states]
    results = [_stacked(outputs), *states]
    if not any(r.op is not None for r in results):
        return None  # nothing is recorded here
    for item in order:
        if item.op is not None and item.op.name == "item" and item.args[0] is v:
            result, grad = results[item.attr["index"]], getattr(item, "grad", None)
            if grad is not None and result.requires_grad:
                result.backward(grad, retain_grads=True)
    return Replay(reachable(results), results, own, times)


def _stacked(outputs: Sequence[Any]) -> Any:
    """The outputs of all steps as one value, (T, B, axis)."""
    return outputs[0].apply("concatenate", *[o[None] for o in outputs], axis=0)
