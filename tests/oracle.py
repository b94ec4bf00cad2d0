"""Recurrence by hand: the body of a cell as plain Python on eager tensors, one sample and one step at a time.

Nothing of the tracer, the plan or the interpreter takes part, so whatever they do must agree with this.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np

import tinygrad_lstm as tl
from tinygrad_lstm import notation


def families(cell, arrays):
    """What the body receives after `*`: an object with the members as attributes, or the single array."""
    given = {}
    for f in cell.families.values():
        array, count = arrays[f.name], len(f.members)
        if f.members == ("",):
            given[f.name] = array
            continue
        rows = array.shape[0] // count
        cut = [array[k * rows : (k + 1) * rows] if f.axes else array[k] for k in range(count)]
        given[f.name] = type("Family", (), dict(zip(f.members, cut, strict=True)))()
    return given


def by_hand(cell, xs, states, arrays, lengths=None, reverse=False):
    """xs: (T, B, axis) each, states: (B, axis) each, all Tensors. Returns the output (T, B, axis) and the final states."""
    T, B = xs[0].shape[:2]
    given = families(cell, arrays)
    outputs = [[None] * B for _ in range(T)]
    finals = [[None] * B for _ in states]
    width = None
    for b in range(B):
        now = [s[b] for s in states]
        n = T if lengths is None else int(lengths[b])
        for t in reversed(range(n)) if reverse else range(n):
            result = cell.body(*[x[t, b] for x in xs], *now, **given)
            result = list(result) if isinstance(result, tuple | list) else [result]
            now = result[len(result) - len(states) :]
            outputs[t][b] = result[0]
            width = result[0].shape[-1]
        for k, s in enumerate(now):
            finals[k][b] = s
    blank = tl.zeros((width or 1,), xs[0].dtype)
    rows = [tl.stack([o if o is not None else blank for o in row]) for row in outputs]
    return tl.stack(rows), [tl.stack(f) for f in finals]


def sample(cell, rng, *, T=4, B=3, sizes=None, scale=0.6, dtype=np.float64):
    """Random inputs, states and family arrays of a cell as arrays: a list in the order that `scan` takes them."""
    sizes = sizes or {a: 2 + k for k, a in enumerate(cell.axis_names)}
    width = lambda name: 1 if cell.axes[name][0] == 1 else sizes[cell.axes[name][0]]
    xs = [rng.standard_normal((T, B, width(x))) for x in cell.inputs]
    states = [rng.standard_normal((B, width(s))) for s in cell.states]
    arrays = [scale * rng.standard_normal(cell.shape(f, sizes)) for f in cell.families]
    return [a.astype(dtype) for a in [*xs, *states, *arrays]]


def split(cell, values):
    """The flat list of `sample` as inputs, states and {family: array}."""
    i, s = len(cell.inputs), len(cell.states)
    return list(values[:i]), list(values[i : i + s]), dict(zip(cell.families, values[i + s :], strict=True))


def weighed(results, rng):
    """The scalar sum of all entries with random weights, so that every entry of every result counts."""
    return sum((r * rng.standard_normal(r.shape)).sum() for r in results)


def leaves(values):
    return [tl.tensor(v, requires_grad=True) for v in values]


def gradients(run, values, seed=0):
    """Results of run(*leaves) as arrays, and the gradient of their weighed sum for every leaf."""
    given = leaves(values)
    results = run(*given)
    weighed(results, np.random.default_rng(seed)).backward()
    return [r.numpy() for r in results], [np.zeros(g.shape) if g.grad is None else g.grad.numpy() for g in given]


def directional(f, values, direction, eps):
    """Central difference of the array-valued f along a direction in all values at once."""
    moved = lambda e: f(*[v + e * d for v, d in zip(values, direction, strict=True)])
    return [(a - b) / (2 * eps) for a, b in zip(moved(eps), moved(-eps), strict=True)]


def assert_equal(found, expected, rtol=1e-10, atol=1e-12, note=""):
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol, err_msg=f"{note} value {k}")


# What an equation may call, as the body would have written it.
_REDUCTIONS = {f.__name__: partial(f, axis=-1, keepdims=True) for f in (tl.sum, tl.mean, tl.max, tl.min)}


def typed_back(cell, **more):
    """Evaluate the printed equations in the cell's own trace: [(name, the value that was printed, the value it gave)].

    more : functions of the body that are not of tl, by name.

    Equal operations on equal arguments are one Node, so a faithful text gives the very same Nodes.
    """
    graph = cell.graph
    namespace = {**{f.op.name: f for f in more.values()}, **{n: getattr(tl, n) for n in tl.__all__}, **_REDUCTIONS, "inf": np.inf}
    namespace["elu"] = lambda x, alpha: tl.elu(x, float(alpha))  # its alpha is 1.0, printed as 1
    namespace |= {str(n.name): n for n in [*graph.inputs, *graph.states]}
    for f in cell.families.values():
        members = {m: graph.parameters[leaf] for m, leaf in zip(f.members, f.leaves, strict=True)}
        namespace[f.name] = members[""] if f.members == ("",) else type("Family", (), members)()
    printed = dict(notation.equations(graph))
    new = dict(zip(cell.states, graph.new_states, strict=True))
    plain = lambda text: re.sub(r"(\w+)'", r"\1_new", text)
    out = []
    for name, text in notation.equation_lines(graph):
        value = eval(plain(text), namespace)
        namespace[plain(name)] = value
        out.append((name, printed.get(name, new.get(name[:-1])), value))
    return out
