"""Random cells: whatever the grammar allows, plan and kernels do what the body says, forward and backward.

Every cell runs through the interpreter of its plan, every tenth also compiled (a compiler takes its time). With
RANDOM_CELLS=200 in the environment there are more of them, with RANDOM_COMPILED=1 all are compiled.
"""

import os

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import interpret
from tinygrad_lstm.scan import scan, unrolled

from .oracle import assert_equal, by_hand, directional, gradients, leaves, sample, split, typed_back, weighed

CASES = int(os.environ.get("RANDOM_CELLS", "60"))
EVERY = 1 if os.environ.get("RANDOM_COMPILED") else 10
AXES = ["input", "hidden", "memory"]
UNARY = ["tanh", "sigmoid", "sin", "cos", "softplus", "silu", "gelu", "erf", "abs", "relu", "square", "-", "elu", "leaky_relu"]
SAFE = [  # functions of a narrower domain, with an argument brought into it
    "tl.log({0} * {0} + 0.5)",
    "tl.sqrt({0} * {0} + 0.3)",
    "tl.reciprocal({0} * {0} + 0.7) * {1}",
    "{0} / (1.5 + tl.sin({1}))",
    "tl.exp(tl.tanh({0} + {1}))",
    "({0} * {0} + 0.4) ** 1.5",
    "({0}) ** 3 - {1}",
    "tl.log1p({0} * {0}) + tl.expm1(tl.tanh({1}))",
    "tl.clip({0}, -0.8, 0.9) * {1}",
    "tl.detach({0}) * {1}",
    "2 ** ({0}) - {1}",
]


class Writer:
    """Writes the source of one random cell: statements on values whose axis it knows."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        rng = self.rng
        self.inputs = {f"x{k}" if k else "x": self.pick(["input", "input", "1", "hidden"]) for k in range(rng.integers(1, 3))}
        self.states = {n: self.pick(["hidden", "hidden", "memory", "1"]) for n in "hcm"[: rng.integers(0, 4)]}
        self.values = {**self.inputs, **self.states}
        self.members = {}  # family -> (axes, members used)
        self.lines = []

    def pick(self, options):
        return options[self.rng.integers(len(options))]

    def member(self, axes):
        """`W.i`, of a family with these axes; now and then of one without members."""
        name = "P" + "_".join("one" if a == "1" else a for a in axes.split()) if axes else "scalar"
        single = self.rng.random() < 0.15
        name += "_only" if single else ""
        _, used = self.members.setdefault(name, (axes, []))
        if single:
            return name
        member = "abcd"[self.rng.integers(4)]
        if member not in used:
            used.append(member)
        return f"{name}.{member}"

    def vector(self, axis):
        """An expression of parameters alone that broadcasts against the axis."""
        kind = self.rng.integers(6)
        if kind == 0:
            return self.member("")
        if kind == 1:
            return f"tl.sigmoid({self.member('')})"
        if kind == 2:
            return f"tl.tanh({self.member(axis)} * {self.member(axis)})"
        if kind == 3:
            return f"({self.member('')} + {self.member(axis)})"
        return self.member(axis)

    def value(self, axis, depth):
        """An expression with the axis."""
        same = [n for n, a in self.values.items() if a == axis]
        if depth <= 0:
            if same:
                return self.pick(same)
            name = self.pick(list(self.values))
            return f"({self.member(f'{axis} {self.values[name]}')} @ {name})"
        a, b = (lambda: self.value(axis, depth - 1)), (lambda: self.value(axis, depth - 2))
        kind = self.rng.integers(15)
        if kind < 3:
            f = self.pick(UNARY)
            return f"-({a()})" if f == "-" else f"tl.{f}({a()})"
        if kind == 3:
            return self.pick(SAFE).format(self.value(axis, 0), self.value(axis, 0))
        if kind < 6:
            return f"({a()}) {self.pick('+-*')} ({b()})"
        if kind == 6:
            return f"({a()}) {self.pick('+*')} {self.vector(axis)}"
        if kind < 10:
            other = self.pick(list(self.values.values()))
            return f"{self.member(f'{axis} {other}')} @ ({self.value(other, depth - 1)}) + {self.value(axis, 0)}"
        if kind == 10:
            return f"tl.where({self.value(axis, 0)} {self.pick(['>', '<', '>=', '<='])} {self.value(axis, 0)}, {a()}, {b()})"
        if kind == 11:
            reduction = self.pick(["mean", "sum", "max", "min"])
            return f"({a()}) - tl.{reduction}({b()}, axis=-1, keepdims=True)"
        if kind == 12:
            return f"tl.softmax({a()})" if self.rng.random() < 0.7 else f"norm({a()}, {self.vector(axis)})"
        if kind == 13:
            gate = f"tl.sigmoid({b()})"
            return f"{gate} * ({a()}) + (1 - {gate}) * ({self.value(axis, 0)})"
        return f"tl.maximum({a()}, {self.pick([self.vector(axis), '-0.25', self.value(axis, 0)])})"

    def write(self):
        for k in range(self.rng.integers(1, 5)):
            axis = self.pick([*self.values.values(), "hidden"])
            self.lines.append(f"v{k} = {self.value(axis, 3)}")
            self.values[f"v{k}"] = axis
        results = []
        for n, axis in self.states.items():
            kind = self.rng.random()
            if kind < 0.1:
                results.append(n)  # passed on unchanged
            elif kind < 0.2 and any(a == axis for v, a in self.values.items()):
                results.append(self.pick([v for v, a in self.values.items() if a == axis]))
            elif kind < 0.6:
                self.lines.append(f"{n} = tl.tanh({self.value(axis, 3)})")
                results.append(n)
            else:
                results.append(f"tl.tanh({self.value(axis, 2)})")
        if not self.states or self.rng.random() < 0.4:
            kind = self.rng.random()
            self.values = {n: a for n, a in self.values.items() if kind > 0.3 or n in self.inputs}
            results.insert(0, self.value(self.pick([*self.values.values(), "memory"]), self.rng.integers(0, 4)))
        parameters = ", ".join(self.members)
        signature = f"{', '.join(self.inputs)}, /" + "".join(f", {s}" for s in self.states)
        signature += f", *, {parameters}" if parameters else ""
        axes = {**self.inputs, **self.states, **{n: a for n, (a, _) in self.members.items()}}
        keywords = ", ".join(f'{n}="{a}"' for n, a in axes.items())
        body = "\n    ".join([*self.lines, f"return {', '.join(results)}"])
        return f"@tl.cell({keywords})\ndef cell({signature}):\n    {body}\n"


HELPERS = """
def norm(a, scale):
    centred = a - tl.mean(a, axis=-1, keepdims=True)
    return centred / tl.sqrt(tl.mean(centred * centred, axis=-1, keepdims=True) + 0.1) * scale

"""


def random_cell(seed, without="\0"):
    """A cell, and its source; one with a parameter that no result needs is refused, then the next is tried."""
    for attempt in range(50):
        source = Writer([seed, attempt]).write()
        if without in source:
            continue
        namespace = {"tl": tl}
        try:
            exec(HELPERS + source, namespace)
        except tl.TraceError as error:
            assert "is not used" in str(error), f"{source}\n{error}"
            continue
        return namespace["cell"], source
    raise AssertionError(f"no cell from seed {seed}")


@pytest.fixture
def interpreted(monkeypatch):
    """Run plans by their interpreter, so that nothing is compiled."""
    monkeypatch.setattr("tinygrad_lstm.scan.run_forward", lambda cell, *rest: interpret.run_forward(cell.plan, *rest))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("seed", range(CASES))
def test_the_plan_is_the_body_run_by_hand(seed):
    agrees_with_the_body(seed)


@pytest.mark.parametrize("seed", range(0, CASES, EVERY))
def test_the_kernels_are_the_body_run_by_hand(seed):
    agrees_with_the_body(seed)


def agrees_with_the_body(seed):
    """Results and all gradients against the body on single samples, the gradients against differences too."""
    cell, source = random_cell(seed)
    rng = np.random.default_rng(seed)
    values = sample(cell, rng)
    lengths = [None, np.array([2, 4, 1]), np.array([0, 3, 4])][seed % 3]
    reverse = bool(seed % 2)

    def over_time(*args):
        xs, states, arrays = split(cell, args)
        out, last = scan(cell, xs, states, arrays, lengths, reverse)
        return [out, *last]

    def reference(*args):
        xs, states, arrays = split(cell, args)
        out, last = by_hand(cell, xs, states, arrays, lengths, reverse)
        return [out, *last]

    found, slopes = gradients(over_time, values)
    expected, expected_slopes = gradients(reference, values)
    assert_equal(found, expected, rtol=1e-9, note=source)
    assert_equal(slopes, expected_slopes, rtol=1e-8, atol=1e-10, note=source)

    if "detach" in source:  # what it hides from the gradient a difference sees
        return
    direction = [rng.standard_normal(v.shape) for v in values]
    plain = lambda *args: [weighed(over_time(*map(tl.tensor, args)), np.random.default_rng(0)).item()]
    (difference,) = directional(plain, values, direction, 1e-6)
    along = sum((g * d).sum() for g, d in zip(slopes, direction, strict=True))
    assert abs(difference - along) <= 1e-4 * max(1.0, abs(along)), (source, difference, along)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("seed", range(0, CASES, 3))
def test_second_order(seed):
    """The gradient's own derivative along a direction is the difference of gradients."""
    cell, source = random_cell(seed, without="detach")
    rng = np.random.default_rng(seed)
    values = sample(cell, rng, T=3, B=2)
    direction = [rng.standard_normal(v.shape) for v in values]
    lengths = [None, np.array([1, 3])][seed // 3 % 2]

    def loss(*args):
        xs, states, arrays = split(cell, args)
        out, last = scan(cell, xs, states, arrays, lengths)
        return weighed([out, *last], np.random.default_rng(0))

    slope = tl.grad(loss, tuple(range(len(values))))
    curvature = tl.grad(lambda *a: sum((g * d).sum() for g, d in zip(slope(*a), direction, strict=True)), tuple(range(len(values))))
    differences = directional(lambda *a: [g.numpy() for g in slope(*a)], values, direction, 1e-5)
    size = max(1.0, max(abs(d).max() for d in differences))
    assert_equal([c.numpy() / size for c in curvature(*values)], [d / size for d in differences], rtol=1e-4, atol=1e-5, note=source)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("seed", range(CASES))
def test_unrolled_is_scan(seed):
    cell, source = random_cell(seed)
    values = leaves(sample(cell, np.random.default_rng(seed)))
    out, last = unrolled(cell, values, None)
    xs, states, arrays = split(cell, values)
    found, found_last = scan(cell, xs, states, arrays)
    assert_equal([found.numpy(), *(s.numpy() for s in found_last)], [out.numpy(), *(s.numpy() for s in last)], rtol=1e-9, note=source)


@pytest.mark.parametrize("seed", range(CASES))
def test_printed_equations_are_the_body(seed):
    cell, source = random_cell(seed)
    for name, printed, value in typed_back(cell):
        assert value is printed, f"{name}\n{source}\n{cell}"
    assert max(map(len, str(cell).splitlines())) <= 80
    latex = cell.latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")
