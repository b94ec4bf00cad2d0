"""A run of a cell that met a value which is not finite, gone through again, equation by equation, to find the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from .. import interpret, notation
from ..cell import Cell
from ..errors import AnomalyError, describe, message
from ..graph import Node, reachable
from ..interpret import Interpreter, axis_sizes
from ..plan import varies
from ..scan import Place
from ..tensor import Tensor

LAST = 6  # so many steps, or results, before it are told
BROKEN = "an earlier update broke it: tl.optim.clip_grad_norm(parameters, 1.0) before optimizer.step(), or a smaller lr"
UNCLEAN = "look at the data, np.isfinite(x).all(); replace or leave out what is not finite"
GROWS = (
    "if it grew: a smaller lr or smaller weights, and tl.optim.clip_grad_norm(parameters, 1.0) before optimizer.step(); "
    "tl.memory_map(layer, xs) shows by how much a step amplifies"
)
REMEDIES = {
    "log": "keep its argument above 0: tl.log(tl.maximum(x, 1e-12)), or tl.log1p(x)",
    "sqrt": "keep its argument above 0: tl.sqrt(x + 1e-12); at 0 its slope is infinite",
    "div": "keep the denominator away from 0: a / (b + 1e-12)",
    "reciprocal": "keep its argument away from 0",
    "exp": "it overflows: subtract the largest first, as tl.softmax and tl.logsumexp do",
    "pow": "keep the base above 0, or the exponent small",
}


# --------------------------------------------------------------------------------------------------------------- words
def anomaly(
    op: str,
    problem: str,
    value: Any,
    quantity: str,
    phase: str = "forward",
    given: Mapping[str, str] | None = None,
    found: Iterable[str] = (),
    remedy: str = GROWS,
    step: int | None = None,
    sample: int | None = None,
    index: tuple[int, ...] = (),
) -> AnomalyError:
    """The error in the layout of all messages; `found`: lines between the arguments and the remedy."""
    width = max(map(len, given or ()), default=0)
    lines = [f"{problem}, the first value that is not finite"]
    lines += [f"{name:<{width}} = {text}" for name, text in (given or {}).items()]
    text = message(op, "\n    ".join([*lines, *filter(None, found)]), remedy=remedy)
    return AnomalyError(text, quantity, phase, float(value), step, sample, index)


def finite(array: Any) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def first(array: np.ndarray) -> tuple[int, ...]:
    """The index of the first entry that is not finite."""
    return tuple(map(int, np.argwhere(~np.isfinite(array))[0]))


def spot(index: tuple[int, ...]) -> str:
    return f" at index {index[0] if len(index) == 1 else index}" if index else ""


def growth(what: str, norms: Sequence[float] | np.ndarray) -> str:
    """The last norms, and the factor a step between the first and the last of them."""
    if not len(norms):
        return ""
    text = f"the norm of {what} before: {', '.join(f'{n:.3g}' for n in norms)}"
    start, end = float(norms[0]), float(norms[-1])
    if len(norms) > 1 and 0 < start < np.inf and 0 < end < np.inf:
        text += f" (times {np.exp((np.log(end) - np.log(start)) / (len(norms) - 1)):.3g} a step)"
    return text


def nearest(node: Node, order: Iterable[Node], names: Mapping[int, str]) -> str | None:
    """The name of a value, or of the first named one that is computed from it."""
    if node.serial in names:
        return names[node.serial]
    made = {node.serial}
    for n in order:
        if any(isinstance(a, Node) and a.serial in made for a in n.args):
            if n.serial in names:
                return names[n.serial]
            made.add(n.serial)
    return None


# ----------------------------------------------------------------------------------------------------------- the replay
class Replay:
    """One run of a cell over time, by its inputs (T, B, axis), initial states (B, axis) and parameters."""

    def __init__(self, cell: Cell, args: Sequence[Tensor], active: np.ndarray | None, place: Place):
        i, s = len(cell.inputs), len(cell.states)
        self.cell, self.active, self.place = cell, active, place
        data = [a.data for a in args]
        self.xs, self.states = data[:i], data[i : i + s]
        self.arrays = dict(zip(cell.families, data[i + s :], strict=True))
        self.T, self.B = self.xs[0].shape[:2]
        named = [a.name for a in args[i + s :] if a.name]
        self.title = f"{cell.name} with {', '.join(named)}" if named else cell.name
        steps = np.full(self.T, self.B) if active is None else active
        self.runs = np.arange(self.B) < steps[:, None]  # (T, B)

    def _raise(
        self,
        what: str,
        quantity: str,
        phase: str,
        at: tuple[int, int, int],
        value: Any,
        found: Iterable[str] = (),
        remedy: str = GROWS,
    ) -> NoReturn:
        """at : step, row and unit in the loop."""
        step, sample = self.place.of(at[0], at[1])
        problem = f"{what} is {value:g} at step {step} of {self.place.steps}, sample {sample}, unit {at[2]}"
        index = self.place.index(*at)
        raise anomaly(
            self.title,
            problem,
            value,
            quantity,
            phase,
            found=found,
            remedy=remedy,
            step=step,
            sample=sample,
            index=index,
        )

    # -------------------------------------------------------------------------------------------------------- forward
    def check_parameters(self) -> None:
        for f in self.cell.families.values():
            array = self.arrays[f.name]
            if finite(array):
                continue
            at, leaf, inner = first(array), f.name, first(array)
            if f.members != ("",):
                n = len(array) // len(f.members)
                leaf, inner = f.leaves[at[0] // n], (at[0] % n, *at[1:]) if f.axes else ()
            problem = f"parameter {leaf} is {array[at]}{spot(inner)}"
            given = {f.name: describe(array)}
            raise anomaly(self.title, problem, array[at], leaf, given=given, remedy=BROKEN, index=inner)

    def find_forward(self, histories: Sequence[np.ndarray], output: np.ndarray) -> None:
        """Raise at the first value of the first step with an input, a state or an output that is not finite.

        histories : (T + 1, B, axis) of every state. Of that step only what led there counts.
        """
        cell, graph = self.cell, self.cell.graph
        for name, state in zip(cell.states, self.states, strict=True):
            if not finite(state):
                row, unit = first(state)
                sample = self.place.of(0, row)[1]
                problem = f"the initial {name} is {state[row, unit]} in sample {sample}, unit {unit}"
                given = {name: describe(state)}
                raise anomaly(
                    self.title, problem, state[row, unit], name, given=given, remedy=UNCLEAN, sample=sample,
                    index=(sample, unit),
                )  # fmt: skip
        seen = [*zip(graph.inputs, self.xs, strict=True), (graph.output, output)]
        seen += [(n, past[1:]) for n, past in zip(graph.new_states, histories, strict=True)]
        bad = [(node, array, ~np.isfinite(array).all(-1) & self.runs) for node, array in seen]
        steps = np.flatnonzero(np.any([where for *_, where in bad], axis=(0, 2)))
        if not steps.size:  # only beyond the ends of sequences
            return
        t = int(steps[0])
        bad = [(node, array, where) for node, array, where in bad if where[t].any()]
        rows = np.any([where[t] for *_, where in bad], axis=0)
        order = reachable([node for node, *_ in bad])
        values = self._step(t, histories)
        for node in order:
            value = np.asarray(values[node.serial])
            if varies(node):
                value = np.broadcast_to(value.reshape(-1, value.shape[-1]), (self.B, value.shape[-1]))
                wrong = rows[:, None] & ~np.isfinite(value)
                if value.dtype.kind == "f" and wrong.any():
                    row, unit = map(int, np.argwhere(wrong)[0])
                    self._raise_forward(node, order, (t, row, unit), value[row, unit], histories)
            elif not finite(value):
                at = (t, int(np.argmax(rows)), 0)
                self._raise_forward(node, order, at, value[first(value)], histories)
        node, array, where = bad[0]  # the loops round otherwise than the interpreter
        row = int(np.argmax(where[t]))
        unit = first(array[t, row])[0]
        self._raise_forward(node, order, (t, row, unit), array[t, row, unit], histories)

    def _step(self, t: int, histories: Sequence[np.ndarray]) -> dict[int, Any]:
        """Every value of step t, (1, B, axis), from the states before it."""
        plan, graph = self.cell.plan, self.cell.graph
        sizes = axis_sizes(plan, self.arrays, [a.shape[-1] for a in (*self.xs, *self.states)])
        machine = Interpreter(plan, self.arrays, sizes)
        values = {n.serial: x[t : t + 1] for n, x in zip(graph.inputs, self.xs, strict=True)}
        values |= {n.serial: past[t : t + 1] for n, past in zip(graph.states, histories, strict=True)}
        with np.errstate(all="ignore"):
            machine.run(plan.static, machine.static)
            machine.run([*plan.before, *plan.loop, *plan.after], values)
        return {**machine.static, **values}

    def _raise_forward(
        self, node: Node, order: Sequence[Node], at: tuple[int, int, int], value: Any, histories: Sequence[np.ndarray]
    ) -> NoReturn:
        t, row, _ = at
        pasts = zip(self.cell.states, histories, strict=True)
        found = [growth(s, _norms(past[max(0, t - LAST + 1) : t + 1, row])) for s, past in pasts]
        if node.op is None:
            kind = "input" if node.name in self.cell.inputs else "state"
            self._raise(f"{kind} {node.name}", str(node.name), "forward", at, value, found, UNCLEAN)
        graph = self.cell.graph
        names = {n.serial: name for name, n in notation.equations(graph)}
        whose = nearest(node, order, names) or "output"
        what = whose.rstrip("'")
        if node.serial not in names:
            part, _ = notation.expression(node, notation.text_style(), lambda v: names.get(v.serial))
            what = f"{part}, a part of {what},"
        equations = [f"{name} = {text}" for name, text in notation.equation_lines(graph) if name == whose]
        remedy = REMEDIES.get(node.op.name, GROWS)
        self._raise(what, whose.rstrip("'"), "forward", at, value, [*equations, *found], remedy)

    # ------------------------------------------------------------------------------------------------------- backward
    def find_backward(self, seeds: Sequence[np.ndarray | None], broken: Mapping[str, np.ndarray]) -> NoReturn:
        """Raise at the first gradient that is not finite, from the last step to the first, then of the parameters.

        seeds : cotangents of the output and of the final states. broken : the loops' results that are not finite.
        """
        cell, plan = self.cell, self.cell.plan
        names = self._cotangents()
        order = [*plan.back_loop, *plan.back_after, *plan.back_static]
        norms: dict[str, list[np.ndarray]] = {s: [] for s in cell.states}

        def watch(t: int, now: Mapping[int, Any]) -> None:
            if t < 0:
                self._look_after(now, order, names)
                return
            for s, seed in zip(cell.states, plan.seeds, strict=True):
                norms[s].append(_norms(now[seed.serial]))
            for node in plan.back_loop:
                value = np.asarray(now[node.serial])
                if not finite(value):
                    row, unit = first(value)
                    pasts = {s: [n[row] for n in past[-LAST:] if row < len(n)] for s, past in norms.items()}
                    found = [growth(f"the gradient of {s}", past) for s, past in pasts.items()]
                    self._raise_backward(node, order, names, (t, row, unit), value[row, unit], found)

        with np.errstate(all="ignore"):
            _, _, tape = interpret.run_forward(plan, self.arrays, self.xs, self.states, self.active, True)
            interpret.run_backward(plan, tape, seeds[0], seeds[1:], watch)
        name, d = next(iter(broken.items()))  # the loops round otherwise than the interpreter
        at = first(d)
        raise anomaly(self.title, f"the gradient of {name} is {d[at]}{spot(at)}", d[at], name, "backward", index=at)

    def _cotangents(self) -> dict[int, str]:
        """The names of cotangents: of what the body names, of the states before the step, of parameters."""
        cell, graph = self.cell, self.cell.graph
        named = [(name, cell.quantity(name)) for name in [*cell.states, *graph.names]]
        named += [(str(s.name), s) for s in graph.states] + list(graph.parameters.items())
        found: dict[int, str] = {}
        for name, node in named:
            g = cell.plan.cotangents.get(node.serial)
            if g is not None:
                found.setdefault(g.serial, name)
        return found

    def _raise_backward(
        self,
        node: Node,
        order: Sequence[Node],
        names: Mapping[int, str],
        at: tuple[int, int, int],
        value: Any,
        found: Iterable[str] = (),
    ) -> NoReturn:
        quantity = nearest(node, order, names) or self.cell.inputs[0]
        what = f"{'' if node.serial in names else 'a term of '}the gradient of {quantity}"
        source = self._differentiated(node)
        if source is None or source.op is None or source.op.name not in REMEDIES:
            self._raise(what, quantity, "backward", at, value, found)
        graph = self.cell.graph
        forward = {n.serial: name for name, n in notation.equations(graph)}
        whose = nearest(source, reachable(graph.roots), forward)
        part, _ = notation.expression(source, notation.text_style(), lambda n: forward.get(n.serial), top=True)
        equations = [f"{name} = {text}" for name, text in notation.equation_lines(graph) if name == whose]
        remedy = REMEDIES[source.op.name]
        self._raise(f"{what}, through {part},", quantity, "backward", at, value, [*equations, *found], remedy)

    def _differentiated(self, node: Node) -> Node | None:
        """The value of the body whose derivative a node of the backward pass belongs to; None if it is a sum of several.

        A trace keeps one Node for equal operations: a row's rule, asked again, answers with the Nodes that are there.
        """
        for y in reversed(reachable(self.cell.graph.roots)):
            g = self.cell.plan.cotangents.get(y.serial)
            if y.op is not None and g is not None:
                wanted = [isinstance(a, Node) and a.requires_grad for a in y.args]
                terms = [t for t in y.pullback(g, wanted) if isinstance(t, Node)]
                if node.serial in {n.serial for n in reachable(terms, stop=[g])}:
                    return y
        return None

    def _look_after(self, values: Mapping[int, Any], order: Sequence[Node], names: Mapping[int, str]) -> None:
        """What is computed when the loop is done: of all steps, and, summed over them, of the parameters."""
        late: list[tuple[int, int, Node, tuple[int, int, int], Any]] = []
        for k, node in enumerate(self.cell.plan.back_after):
            value = np.asarray(values[node.serial])
            if not finite(value):
                value = np.broadcast_to(value, (self.T, self.B, value.shape[-1]))
                for t, row, unit in np.argwhere(~np.isfinite(value) & self.runs[..., None])[-1:].tolist():
                    late.append((-t, k, node, (t, row, unit), value[t, row, unit]))
        for _, _, node, at, number in sorted(late, key=lambda entry: entry[:2]):
            self._raise_backward(node, order, names, at, number)
        for node in self.cell.plan.back_static:
            value = np.asarray(values[node.serial])
            if not finite(value):
                quantity, index = nearest(node, order, names) or "a parameter", first(value)
                problem = f"the gradient of {quantity}, a sum over steps and samples, is {value[index]}{spot(index)}"
                raise anomaly(self.title, problem, value[index], quantity, "backward", index=index)


def _norms(rows: np.ndarray) -> np.ndarray:
    """Of every row, also where the squares would overflow."""
    rows = rows.astype(np.float64)
    scale = abs(rows).max(axis=-1)
    with np.errstate(all="ignore"):
        return scale * np.linalg.norm(rows / np.where(scale > 0, scale, 1)[..., None], axis=-1)
