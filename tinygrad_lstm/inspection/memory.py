"""`memory_map`: how much of what was known at one step is still felt at another, exactly.

A step's own derivatives (the plan's backward region, run once for every unit of the new states as a seed) give the
Jacobian of every step; products of these give all the rest. Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..cell import Cell
from ..errors import ArgumentError, ShapeError, message
from ..execute import Tape
from ..graph import reachable
from ..interpret import Interpreter, run_forward
from ..nn.recurrent import _Stack
from ..tensor import Tensor, no_grad
from .recording import Part, Recording, parts

Norm = Callable[[np.ndarray], np.ndarray]
MEMORY = 1 << 22  # numbers that the arrays of one pass hold


@dataclass(frozen=True)
class MemoryMap:
    """What `memory_map` gives: norms of derivatives of states by earlier states.

    Attributes
    ----------
    cell, steps, norm, states : of what, over how many steps, which norm, the names.
    norms : state -> (steps + 1, steps + 1): entry [t, k] is the norm of d state_t / d state_k; index 0 is the initial
        state, t the state after t steps; zero where k > t.
    direct : the same for the path through this state alone. indirect : for all other paths; derivative = direct + indirect.
    cross : (state, other) -> the same for d state_t / d other_k.
    """

    cell: str
    steps: int
    norm: str
    states: tuple[str, ...]
    norms: dict[str, np.ndarray] = field(repr=False)
    direct: dict[str, np.ndarray] = field(repr=False)
    indirect: dict[str, np.ndarray] = field(repr=False)
    cross: dict[tuple[str, str], np.ndarray] = field(repr=False)

    def curve(self, state: str | None = None, path: str = "total") -> np.ndarray:
        """The mean norm at every distance: entry d is the mean of d state_t / d state_{t-d} over t, for d = 0 ... steps.

        state : a name; the first if left out. path : "total", "direct" or "indirect".

        Raises ArgumentError for another name.
        """
        state = self.states[0] if state is None else state
        table = {"total": self.norms, "direct": self.direct, "indirect": self.indirect}
        if state not in self.norms or path not in table:
            raise ArgumentError(
                message(
                    "curve",
                    "there is no such curve",
                    {"state": state, "path": path},
                    f"states: {', '.join(self.states)}; paths: {', '.join(table)}",
                )
            )
        found = table[path][state]
        return np.array([np.diagonal(found, -d).mean() for d in range(self.steps + 1)])

    def __repr__(self) -> str:
        far = [d for d in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if d < self.steps] + [self.steps]
        lines = [f"memory of {self.cell} over {self.steps} steps: mean {self.norm} norm by distance"]
        lines.append(f"    {'distance':<20}" + "".join(f"{d:>9}" for d in far))
        for s in self.states:
            for path, label in (("total", f"d {s}_t / d {s}_k"), ("direct", f"  through {s} alone")):
                if path == "total" or len(self.states) > 1:
                    curve = self.curve(s, path)
                    lines.append(f"    {label:<20}" + "".join(f"{curve[d]:>9.2g}" for d in far))
        return "\n".join(lines)


def memory_map(module: Any, xs: Any, states: Any = None, *, norm: str = "frobenius", part: str = "") -> MemoryMap:
    """How far the memory of a layer reaches, measured: the norm of d state_t / d state_k for all k <= t, exactly.

    With s = (h, c, ...) all states of a cell, A_j = d s_j / d s_{j-1} the Jacobian of step j, and E_k the derivative of
    s_k by the value that the body calls, say, c in step k (which h_k = o tanh(c) reads as well):

        d s_t / d c_k  =  A_t A_{t-1} ... A_{k+1} E_k     total, as the gradients of `tl.record` are
        direct         =  the product of d c_j / d c_{j-1} for j = k+1 ... t, all other states held fixed
        indirect       =  total - direct     everything that took another way at least once

    For the plain network h' = tanh(W x + U h + b) this is the product of diag(1 - h_j^2) U, whose norm vanishes or
    explodes with the distance (Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013, eq. 5).
    For an LSTM the direct path of c is the product of diag(f_j), the cell state as a conveyor (Hochreiter & Schmidhuber
    1997); its indirect part, and everything of h but the direct path through U, went through the other state. A cell
    with a single state has the direct path only. A state that the body hands on as it is counts as a value of its own.

    Parameters
    ----------
    module : a recurrent layer of any cell, or a module that holds one; it is run once, as in evaluation.
    xs : one sequence, as the module takes it: (T, input) or (T, 1, input), (1, T, input) with batch_first.
    states : the initial states, as the layer takes them.
    norm : "frobenius", the root of the sum of squares, or "spectral", the largest singular value (slower).
    part : of a layer of several parts "l0", "l1", "l0_reverse", ...; the first if left out. In a reverse part step 1 is
        the last of the sequence.

    Returns
    -------
    MemoryMap : `.norms["h"]` (T+1, T+1), `.direct`, `.indirect`, `.cross["h", "c"]`, `.curve("h")` by distance t - k.

    Notes
    -----
    In float64 whatever the layer's dtype is, so that 1e-60 is a number. S = the sum of the states' sizes; the time is that
    of T^2 S^3 multiplications: T = 200, H = 64 takes seconds.

    Raises
    ------
    ShapeError : more than one sequence, or none. ArgumentError : no recurrent layer, another norm, an unknown part.

    Examples
    --------
    >>> layer = tl.nn.Recurrent(tl.cells.rnn, input=3, hidden=5, seed=0)
    >>> seen = tl.memory_map(layer, np.ones((30, 3)))
    >>> seen.norms["h"].shape
    (31, 31)
    >>> curve = seen.curve("h")
    >>> bool(curve[20] < 1e-4 * curve[1])
    True
    """
    norms: dict[str, Norm] = {"frobenius": _frobenius, "spectral": _spectral}
    if norm not in norms:
        raise ArgumentError(message("memory_map", "the norm is 'frobenius' or 'spectral'", {"norm": norm}))
    chosen = _chosen(parts("memory_map", module), part)
    cell = chosen.layer.cell
    inputs, initial = _run(module, chosen, xs, states)
    arrays = {f: a.data.astype(np.float64) for f, a in _arrays(chosen).items()}
    with np.errstate(all="ignore"):
        A, E = _jacobians(cell, arrays, inputs, initial)
        found = _products(cell.states, [s.shape[-1] for s in initial], A, E, norms[norm])
    return MemoryMap(cell.name, len(A), norm, cell.states, *found)


# ------------------------------------------------------------------------------------------------------- what is mapped
def _chosen(known: list[Part], name: str) -> Part:
    names = [p.prefix + p.suffix.lstrip("_") for p in known]
    if name and name not in names:
        remedy = f"the parts are: {', '.join(n for n in names if n) or 'one, leave it out'}"
        raise ArgumentError(message("memory_map", f"there is no part {name!r}", remedy=remedy))
    part = known[names.index(name) if name else 0]
    if not part.layer.cell.states:
        raise ArgumentError(message("memory_map", f"{part.layer.cell.name} has no states, hence no memory"))
    return part


def _arrays(part: Part) -> dict[str, Tensor]:
    layer = part.layer
    return layer._arrays(part.suffix) if isinstance(layer, _Stack) else layer._families(layer.gates, part.suffix)


@contextmanager
def _evaluation(module: Any) -> Iterator[None]:
    """Without dropout and without a graph."""
    before = [(m, m.training) for m in module.modules()]
    try:
        for m, _ in before:
            m.training = False
        with no_grad():
            yield
    finally:
        for m, training in before:
            m.training = training


def _run(module: Any, part: Part, xs: Any, states: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs (T, 1, axis) of the part in the order of its steps, and its initial states (1, axis), in float64."""
    cell = part.layer.cell
    names = [part.prefix + x + part.ending for x in cell.inputs]
    with _evaluation(module), Recording(module, tuple(names)) as seen:
        module(xs) if states is None else module(xs, states)
    passages = seen.passages(part)
    if not passages or not all(isinstance(p.tape, Tape) for p in passages):
        raise ShapeError(
            message("memory_map", "there are no steps to map", {"xs": xs}, "xs is (T, input), T at least 1")
        )
    batch = passages[0].tape.run.layout.batch
    if batch != 1:
        rows_first = not isinstance(part.layer, _Stack) or part.layer.batch_first
        remedy = "xs[:1]" if rows_first else "xs[:, :1]"
        raise ShapeError(message("memory_map", f"maps one sequence, {batch} are given", {"xs": xs}, remedy))
    inputs = [np.concatenate([p.value(x) for p in passages]).astype(np.float64) for x in cell.inputs]
    if passages[0].place.reverse:
        inputs = [x[::-1] for x in inputs]
    first = passages[0].tape.run
    widths = [first.layout.width(s) for s in cell.graph.states]
    return inputs, [first.view(f"state{k}")[0, :, :w].astype(np.float64) for k, w in enumerate(widths)]


# ------------------------------------------------------------------------------------------------------ the derivatives
def _jacobians(
    cell: Cell, arrays: dict[str, np.ndarray], inputs: list[np.ndarray], initial: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """A (T, S, S): the states after every step by those before; E, for each state (T, S, axis), the states by the value
    of the body that becomes it; None where that is the identity."""
    plan, graph = cell.plan, cell.graph
    _, _, tape = run_forward(plan, arrays, inputs, initial, None, True)
    machine: Interpreter = tape[0]
    whole = tape[1]
    T, widths = len(inputs[0]), [s.shape[-1] for s in initial]
    ends = np.cumsum([0, *widths])
    S = int(ends[-1])
    identity = np.eye(S)
    own = [plan.cotangents.get(n.serial) if n.op is not None else None for n in graph.new_states]
    inner = [None if g is seed else g for g, seed in zip(own, plan.seeds, strict=True)]
    forward = {n.serial for n in [*plan.static, *plan.before, *plan.loop, *plan.after]}
    wanted = [g for g in [*plan.state_cotangents, *inner] if g is not None]
    nodes = [n for n in reachable(wanted) if n.op is not None and n.serial not in forward]
    A = np.zeros((T, S, S))
    E: list[np.ndarray | None] = [
        None if g is None else np.empty((T, S, w)) for g, w in zip(inner, widths, strict=True)
    ]
    length = max(1, MEMORY // (S * S))
    for start in range(0, T, length):
        at = slice(start, min(start + length, T))
        values = {serial: value[at] for serial, value in whole.items()}  # (steps, 1, axis)
        values[plan.output_seed.serial] = np.zeros((1, 1, machine.sizes[graph.output.shape[-1]]))
        for k, seed in enumerate(plan.seeds):
            values[seed.serial] = identity[None, :, ends[k] : ends[k + 1]]  # (1, S, axis): one row a unit
        machine.run(nodes, values)
        for k, g in enumerate(plan.state_cotangents):
            if g is not None:
                A[at, :, ends[k] : ends[k + 1]] = values[g.serial]
        for into, g in zip(E, inner, strict=True):
            if into is not None and g is not None:
                into[at] = values[g.serial]
    return A, E


def _products(
    names: tuple[str, ...], widths: list[int], A: np.ndarray, E: list[np.ndarray | None], norm: Norm
) -> tuple[dict, dict, dict, dict]:
    """norms, direct, indirect, cross: the products from every k on, for some k at a time side by side."""
    T, S, ends = len(A), A.shape[-1], np.cumsum([0, *widths])
    own = [slice(ends[i], ends[i + 1]) for i in range(len(names))]
    table = lambda keys: {key: np.zeros((T + 1, T + 1)) for key in keys}
    norms, direct, indirect = table(names), table(names), table(names)
    cross = table((a, b) for a in names for b in names if a != b)
    together = max(1, min(T + 1, MEMORY // (S * S)))
    several = len(names) > 1  # a single state has the direct path only
    for first in range(0, T + 1, together):
        n = min(together, T + 1 - first)
        J = np.zeros((S, n, S))  # d s_t / d s_k
        D = [np.zeros((w, n, w)) for w in widths if several]
        for t in range(first, T + 1):
            begun, k = min(t - first, n), slice(first, min(first + n, t + 1))
            for left, right in [(A[t - 1], J), *((A[t - 1, o, o], d) for o, d in zip(own, D, strict=False))]:
                flat = right.reshape(len(right), -1)[:, : begun * len(right)]
                flat[...] = left @ flat
            if t < first + n:
                J[:, begun] = np.eye(S)
                for o, e in zip(own, E, strict=True):
                    if e is not None and t:
                        J[:, begun, o] = e[t - 1]
                for d in D:
                    d[:, begun] = np.eye(len(d))
            now = J[:, : k.stop - first]
            for a, o in zip(names, own, strict=True):
                norms[a][t, k] = norm(now[o, :, o])
            for a, o, d in zip(names, own, D, strict=False):
                alone = d[:, : k.stop - first]
                direct[a][t, k], indirect[a][t, k] = norm(alone), norm(now[o, :, o] - alone)
            for a, b in cross:
                cross[a, b][t, k] = norm(now[own[names.index(a)], :, own[names.index(b)]])
    if not several:
        direct = {a: table.copy() for a, table in norms.items()}
    return norms, direct, indirect, cross


def _frobenius(matrices: np.ndarray) -> np.ndarray:
    """(rows, n, columns) -> (n,). A sum of squares that under- or overflows is found again, scaled."""
    squares = np.einsum("ikj,ikj->k", matrices, matrices)
    odd = np.flatnonzero(~((squares > 1e-290) & (squares < np.inf)))
    found = np.sqrt(squares)
    if odd.size:
        part = matrices[:, odd]
        scale = abs(part).max(axis=(0, 2))
        safe = np.where((scale > 0) & (scale < np.inf), scale, 1)
        scaled = part / safe[:, None]
        found[odd] = safe * np.sqrt(np.einsum("ikj,ikj->k", scaled, scaled))
    return found


def _spectral(matrices: np.ndarray) -> np.ndarray:
    stacked = np.ascontiguousarray(matrices.transpose(1, 0, 2))
    found = np.full(len(stacked), np.nan)
    good = np.isfinite(stacked).all(axis=(1, 2))
    found[good] = np.linalg.norm(stacked[good], 2, axis=(1, 2))
    return found
