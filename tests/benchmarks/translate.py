"""Any declared cell as a loop of another library's operations, the way somebody who knows that library writes it.

From a cell's graph come two functions in plain Python:

    before(inputs, families) -> what does not change from step to step, what is computed for all steps at once
    step(fixed, row, states) -> output, new states

Products of the same operand are one product; those of inputs leave the time loop, with the biases that are added to
them. So a loop of torch operations is not made to look slow by being written naively, and every competitor that runs a
declared cell runs the same text: with torch, under `jax.lax.scan`, or, as the check of all this, with NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from tinygrad_lstm.cell import Cell
from tinygrad_lstm.graph import Node, reachable

INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "floor_divide": "//", "mod": "%", "less": "<",
    "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
PLAIN = (
    "abs", "exp", "expm1", "log", "log1p", "sqrt", "square", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sign",
    "floor", "where", "reciprocal", "maximum", "minimum",
)  # fmt: skip
KEPT = ("before", "step", "fixed", "row", "states", "rows", "cut", "addmm", "linear")
OTHERS = ("sigmoid", "relu", "softplus", "silu", "sum", "mean", "max", "min")


@dataclass(frozen=True)
class Sum:
    """top = products of families and operands + parameters + addends: what the additions below it come to."""

    top: Node
    products: tuple[Node, ...]
    vectors: tuple[Node, ...]
    addends: tuple[Any, ...]


class Translation:
    """The text of `before` and `step` for a cell."""

    def __init__(self, cell: Cell):
        graph = cell.graph
        self.cell = cell
        self.order = [n for n in reachable(graph.roots) if n.op is not None]
        self.position = {
            graph.parameters[leaf].serial: (f.name, k) for f in cell.families.values() for k, leaf in enumerate(f.leaves)
        }
        self.recurrent = {s.serial for s in graph.states}
        for n in self.order:
            if any(isinstance(a, Node) and a.serial in self.recurrent for a in n.args):
                self.recurrent.add(n.serial)
        self.names = {n.serial: str(n.name) for n in [*graph.inputs, *graph.states]}
        self.taken = {*self.names.values(), *cell.families, *PLAIN, *OTHERS, *KEPT}
        self.fixed: dict[str, str] = {}  # name in `step` -> expression in `before`
        self.hoisted: list[str] = []
        self.head: list[str] = []
        self.body: list[str] = []
        self.groups = {s.top.serial: group for group in self._groups() for s in group}
        self.source = self._write()

    # -------------------------------------------------------------------------------------------------------- sums
    def _groups(self) -> list[list[Sum]]:
        """Sums whose products differ by their member only, members in a row: each list is one packed product."""
        readers: dict[int, list[Node]] = {}
        for n in self.order:
            for a in n.args:
                if isinstance(a, Node):
                    readers.setdefault(a.serial, []).append(n)
        for root in self.cell.graph.roots:
            readers.setdefault(root.serial, []).extend((root, root))
        top: dict[int, Node] = {}
        for n in reversed(self.order):
            if n.op.name in ("add", "linear"):  # type: ignore[union-attr]
                who = readers[n.serial]
                sole = len(who) == 1 and who[0].serial in top and who[0].op.name == "add" and who[0].shape == n.shape  # type: ignore[union-attr]
                top[n.serial] = top[who[0].serial] if sole else n
        self.inside = {serial for serial, root in top.items() if root.serial != serial}
        sums = []
        for root in {top[n.serial].serial: top[n.serial] for n in self.order if n.op.name == "linear"}.values():  # type: ignore[union-attr]
            leaves: list[Any] = []
            stack: list[Any] = [root]
            while stack:
                n = stack.pop()
                inner = isinstance(n, Node) and n.serial in top and top[n.serial] is root and n.op.name == "add"  # type: ignore[union-attr]
                if inner:
                    stack.extend(reversed(n.args))
                else:
                    leaves.append(n)
            nodes = [n for n in leaves if isinstance(n, Node)]
            products = [n for n in nodes if n.op is not None and n.op.name == "linear"]
            vectors = [n for n in nodes if n.serial in self.position and n.shape == root.shape[1:]]
            chosen = {n.serial for n in [*products, *vectors]}
            addends = [n for n in leaves if not (isinstance(n, Node) and n.serial in chosen)]
            sums.append(Sum(root, tuple(products), tuple(vectors), tuple(addends)))
        sums.sort(key=lambda s: (self._key(s), self._members(s)))
        groups: list[list[Sum]] = []
        for _, alike in groupby(sums, self._key):
            for s in alike:
                last = groups[-1][-1] if groups else None
                next_to = last and self._key(last) == self._key(s) and all(b == a + 1 for a, b in zip(self._members(last), self._members(s), strict=True))
                if next_to:
                    groups[-1].append(s)
                else:
                    groups.append([s])
        return groups

    def _key(self, s: Sum) -> tuple[Any, ...]:
        products = tuple((self.position[p.args[0].serial][0], p.args[1].serial) for p in s.products)
        return products, tuple(self.position[v.serial][0] for v in s.vectors)

    def _members(self, s: Sum) -> list[int]:
        return [self.position[n.serial][1] for n in [*(p.args[0] for p in s.products), *s.vectors]]

    # -------------------------------------------------------------------------------------------------------- names
    def _name(self, wish: str) -> str:
        base, k = "".join(c if c.isalnum() else "_" for c in wish), 1
        name = base
        while name in self.taken:
            k += 1
            name = f"{base}{k}"
        self.taken.add(name)
        return name

    def _rows(self, leaf: Node, count: int = 1) -> str:
        """`count` members of a family, from that of `leaf` on."""
        family, k = self.position[leaf.serial]
        f = self.cell.families[family]
        if len(f.members) == count:
            return family
        return f"rows({family}, {len(f.members)}, {k}, {k + count})" if f.axes else f"{family}[{k}]"

    def _fix(self, wish: str, expression: str) -> str:
        known = next((name for name, text in self.fixed.items() if text == expression), None)
        if known is None:
            known = self._name(wish)
            self.fixed[known] = expression
        return known

    def _hoist(self, name: str) -> str:
        self.hoisted += [name] if name not in self.hoisted else []
        return name

    def _of(self, a: Any, in_step: bool) -> str:
        """An argument as it is called in `step` or in `before`."""
        if not isinstance(a, Node):
            return f"({a!r})" if a < 0 else repr(a)
        if a.serial in self.position:
            return self._fix(str(a.name), self._rows(a)) if in_step else self._rows(a)
        name = self.names[a.serial]
        if in_step and a.serial not in self.recurrent:
            if a.shape and a.shape[0] == "batch":
                self._hoist(name)
            else:
                self.fixed[name] = name
        return name

    # --------------------------------------------------------------------------------------------------------- text
    def _write(self) -> str:
        cell, graph = self.cell, self.cell.graph
        for n in self.order:
            if n.serial in self.inside:
                continue
            in_step = n.serial in self.recurrent
            lines = self.body if in_step else self.head
            group = self.groups.get(n.serial)
            if group and group[0].top.serial not in self.names:
                self._product(group)
            if group:
                s = next(s for s in group if s.top is n)
                if not s.addends:
                    continue
                known = all(p.args[1].serial not in self.recurrent for p in s.products)
                start = self._hoist(self.names[n.serial]) if known and in_step else self.names[n.serial]
                text = " + ".join([start, *(self._of(a, in_step) for a in s.addends)])
            else:
                text = self._expression(n, in_step)
            self.names[n.serial] = self._name(n.name or n.op.name)  # type: ignore[union-attr]
            lines.append(f"{self.names[n.serial]} = {text}")
        returned = [self._of(a, True) for a in [graph.output, *graph.new_states]]
        fixed, hoisted = "".join(f"{n}, " for n in self.fixed), "".join(f"{n}, " for n in self.hoisted)
        values = "".join(f"{text}, " for text in self.fixed.values())
        states = "".join(f"{s}, " for s in cell.states)
        head = [f"def before({', '.join([*cell.inputs, *cell.families])}):", *("    " + line for line in self.head)]
        head += [f"    return ({values}), ({hoisted})"]
        body = ["def step(fixed, row, states):"]
        pairs = ((fixed, "fixed"), (hoisted, "row"), (states, "states"))
        body += [f"    {names.strip()} = {source}" for names, source in pairs if names]
        body += ["    " + line for line in self.body]
        body += [f"    return {returned[0]}, ({''.join(f'{r}, ' for r in returned[1:])})"]
        return "\n".join([*head, "", "", *body]) + "\n"

    def _product(self, group: list[Sum]) -> None:
        """All members of a group at once: what is known before the loop there, the rest added to it step by step."""
        first, count = group[0], len(group)
        family, k = self.position[first.products[0].args[0].serial]
        members = self.cell.families[family].members[k : k + count]
        label = "_".join(members) if count < 6 else "gates"
        early = [p for p in first.products if p.args[1].serial not in self.recurrent]
        late = [p for p in first.products if p.args[1].serial in self.recurrent]
        vectors = " + ".join(self._rows(v, count) for v in first.vectors)
        start = None
        if early:
            terms = [f"linear({self._of(p.args[1], False)}, {self._rows(p.args[0], count)})" for p in early]
            terms[0] = terms[0][:-1] + (f", {vectors})" if vectors else ")")
            start = self._name(f"early_{label}")
            self.head.append(f"{start} = {' + '.join(terms)}")
            if late:
                self._hoist(start)
        elif vectors:
            start = self._fix(f"bias_{label}", vectors)
        for p in late:
            weight = self._fix(f"{self.position[p.args[0].serial][0]}_{label}", f"{self._rows(p.args[0], count)}.T")
            operand = self._of(p.args[1], True)
            text = f"addmm({start}, {operand}, {weight})" if start else f"{operand} @ {weight}"
            start = self._name(f"sum_{label}") if p is late[0] else start
            self.body.append(f"{start} = {text}")
        assert start is not None
        lines = self.body if late else self.head
        if count == 1:
            self.names[first.top.serial] = start
            return
        for s, member in zip(group, members, strict=True):
            self.names[s.top.serial] = self._name(f"sum_{member}")
        lines.append(f"{', '.join(self.names[s.top.serial] for s in group)} = cut({start}, {count})")

    def _expression(self, n: Node, in_step: bool) -> str:
        assert n.op is not None
        args = [self._of(a, in_step) for a in n.args]
        op = n.op.name
        if op in INFIX:
            return f"{args[0]} {INFIX[op]} {args[1]}"
        if op == "neg":
            return f"-{args[0]}"
        if op not in (*PLAIN, *OTHERS):
            raise ValueError(f"{self.cell.name}: no translation of {op}")
        return f"{op}({', '.join([*args, *(f'{k}={v!r}' for k, v in n.attr.items())])})"

    def functions(self, dialect: Mapping[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """`before` and `step` with the functions of a library."""
        namespace: dict[str, Any] = {"rows": rows, **dialect}
        exec(compile(self.source, f"<{self.cell.name} translated>", "exec"), namespace)
        return namespace["before"], namespace["step"]


def rows(family: Any, members: int, first: int, last: int) -> Any:
    n = family.shape[0] // members
    return family[first * n : last * n]


# ----------------------------------------------------------------------------------------------------------- dialects
def numpy_dialect() -> dict[str, Any]:
    """float64 or float32, as the data; for checks."""
    return {name: getattr(np, name) for name in (*PLAIN, "sum", "mean", "max", "min")} | {
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "relu": lambda x: np.maximum(x, 0),
        "softplus": lambda x: np.logaddexp(x, 0),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "linear": lambda x, W, b=0.0: x @ W.T + b,
        "addmm": lambda c, a, b: c + a @ b,
        "cut": lambda z, n: np.split(z, n, -1),
    }


def torch_dialect() -> dict[str, Any]:
    import torch
    from torch.nn.functional import linear, relu, silu, softplus

    def of_two(function: Any) -> Callable[[Any, Any], Any]:
        return lambda a, b: function(torch.as_tensor(a), torch.as_tensor(b))

    def along(function: Any) -> Callable[..., Any]:
        return lambda x, axis, keepdims: function(x, dim=axis, keepdim=keepdims)

    return {name: getattr(torch, name) for name in PLAIN} | {
        "maximum": of_two(torch.maximum), "minimum": of_two(torch.minimum), "sigmoid": torch.sigmoid, "relu": relu,
        "softplus": softplus, "silu": silu, "sum": along(torch.sum), "mean": along(torch.mean), "max": along(torch.amax),
        "min": along(torch.amin), "linear": linear, "addmm": torch.addmm, "cut": lambda z, n: z.chunk(n, -1),
    }  # fmt: skip


def jax_dialect() -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    return {name: getattr(jnp, name) for name in (*PLAIN, "sum", "mean", "max", "min")} | {
        "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "softplus": jax.nn.softplus, "silu": jax.nn.silu,
        "linear": lambda x, W, b=0.0: x @ W.T + b, "addmm": lambda c, a, b: c + a @ b, "cut": lambda z, n: jnp.split(z, n, -1),
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- loops
def loop(cell: Cell, dialect: Mapping[str, Any], stack: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """run(inputs, states, families) -> outputs (T, B, axis), final states: a Python loop over the steps."""
    before, step = Translation(cell).functions(dialect)

    def run(inputs: Sequence[Any], states: Any, families: Mapping[str, Any]) -> tuple[Any, Any]:
        fixed, hoisted = before(*inputs, *(families[f] for f in cell.families))
        steps = [h.unbind(0) if hasattr(h, "unbind") else list(h) for h in hoisted]
        outputs = []
        for row in zip(*steps, strict=True) if steps else [()] * len(inputs[0]):
            output, states = step(fixed, row, states)
            outputs.append(output)
        return stack(outputs), states

    return run


def scanned(cell: Cell) -> Callable[..., Any]:
    """run(inputs, states, families), as `loop`: a `jax.lax.scan`."""
    import jax

    before, step = Translation(cell).functions(jax_dialect())

    def run(inputs: Sequence[Any], states: Any, families: Mapping[str, Any]) -> tuple[Any, Any]:
        fixed, hoisted = before(*inputs, *(families[f] for f in cell.families))

        def one(states: Any, row: Any) -> tuple[Any, Any]:
            output, states = step(fixed, row, states)
            return states, output

        states, outputs = jax.lax.scan(one, states, hoisted, length=len(inputs[0]))
        return outputs, states

    return run
