# %% [markdown]
# # Gradients by machine
#
# A network learns by small corrections: each of its numbers is moved a little, in the direction that makes the error
# smaller. The direction is the *gradient*: how much the error changes with each number. Real networks have millions of
# numbers, and their errors are long chains of operations. Nobody differentiates these by hand. In this chapter we write a
# program that does, in sixty lines, and let it teach a small network. Then we look at the library's own, which does the
# same on whole arrays.

# %%
import math
import sys
import time
from pathlib import Path

import numpy as np

import tinygrad_lstm as tl

# %% [markdown]
# ## The chain rule, step by step
#
# Take $y = \tanh(w x + b)$. A computer takes three steps: $p = w x$, then $s = p + b$, then $y = \tanh s$. Each step is
# so simple that its derivative is in every table:
#
# - a product: $\partial p / \partial w = x$ and $\partial p / \partial x = w$,
# - a sum: $\partial s / \partial p = 1$ and $\partial s / \partial b = 1$,
# - $\tanh$: $\partial y / \partial s = 1 - y^2$.
#
# The chain rule multiplies along the way back: $\partial y / \partial w = (1 - y^2) \cdot 1 \cdot x$. If a value is used
# twice, the contributions add up. That is all of it. *Reverse mode* means to go from the end to the beginning once: every
# step hands what it got from behind, times its own derivative, to what it was computed from. One such sweep gives the
# derivatives by all inputs together, at about the price of the computation itself.
#
# ## Sixty lines
#
# A `Number` remembers what it was computed from, and the derivative by each of these. The operators of Python make new
# Numbers. `backward` goes through them, the latest first: whatever a number was used for was made after it, so when its
# turn comes, its derivative is complete.


# %%
class Number:
    """A number that knows where it came from."""

    count = 0

    def __init__(self, value: float, parents: tuple[tuple["Number", float], ...] = ()):
        self.value = value
        self.parents = parents  # (number, derivative of this by it)
        self.grad = 0.0
        Number.count += 1
        self.order = Number.count

    def __add__(self, other: "Number | float") -> "Number":
        other = as_number(other)
        return Number(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: "Number | float") -> "Number":
        other = as_number(other)
        return Number(self.value * other.value, ((self, other.value), (other, self.value)))

    def __pow__(self, power: float) -> "Number":
        return Number(self.value**power, ((self, power * self.value ** (power - 1)),))

    def tanh(self) -> "Number":
        y = math.tanh(self.value)
        return Number(y, ((self, 1 - y * y),))

    def exp(self) -> "Number":
        y = math.exp(self.value)
        return Number(y, ((self, y),))

    def log(self) -> "Number":
        return Number(math.log(self.value), ((self, 1 / self.value),))

    def __neg__(self) -> "Number":
        return self * -1.0

    def __sub__(self, other: "Number | float") -> "Number":
        return self + -as_number(other)

    def __truediv__(self, other: "Number | float") -> "Number":
        return self * as_number(other) ** -1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        """Give every number that this one was computed from its derivative, in `grad`."""
        found, waiting = {self}, [self]
        while waiting:
            for parent, _ in waiting.pop().parents:
                if parent not in found:
                    found.add(parent)
                    waiting.append(parent)
        self.grad = 1.0
        for number in sorted(found, key=lambda number: -number.order):
            for parent, derivative in number.parents:
                parent.grad += number.grad * derivative


def as_number(value: "Number | float") -> Number:
    return value if isinstance(value, Number) else Number(float(value))


# %% [markdown]
# ## Is it right?
#
# The derivative is a limit, so one can measure it: change an input a little and see what the output does. We do this for
# an expression with all the operations, and ask the library too. It takes the same function: it only wants the operators
# and the names.


# %%
def expression(a, b, tanh, exp, log):
    """Something with everything in it; `a` is used three times."""
    return tanh(a * b + exp(-a)) / (b**2 + 1.5) - log(a) * b


def derivatives(a: float, b: float) -> dict[str, tuple[float, float]]:
    """By a and by b: our engine's, the library's, and the measured ones."""
    ours = Number(a), Number(b)
    expression(*ours, Number.tanh, Number.exp, Number.log).backward()
    theirs = [tl.tensor(np.float64(v), requires_grad=True) for v in (a, b)]
    expression(*theirs, tl.tanh, tl.exp, tl.log).backward()

    def at(a, b):
        return expression(a, b, math.tanh, math.exp, math.log)

    h = 1e-5
    measured = (at(a + h, b) - at(a - h, b)) / (2 * h), (at(a, b + h) - at(a, b - h)) / (2 * h)
    return {"ours": tuple(n.grad for n in ours), "library": tuple(t.grad.item() for t in theirs), "measured": measured}


# %% [markdown]
# ## Teaching a network
#
# *Exclusive or*: 1 if exactly one of two inputs is 1. No straight line separates the cases, so it takes a layer between:
# eight units, each the tanh of a weighted sum. The error is the mean of the squared differences. After each sweep, every
# weight moves against its gradient.

# %%
CASES = [((0.0, 0.0), 0.0), ((0.0, 1.0), 1.0), ((1.0, 0.0), 1.0), ((1.0, 1.0), 0.0)]
UNITS, RATE = 8, 0.1


def first_weights(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "W": rng.normal(size=(UNITS, 2)),
        "b": rng.normal(size=UNITS),
        "v": rng.normal(size=UNITS) / math.sqrt(UNITS),
        "d": np.zeros(1),
    }


def with_numbers(weights: dict[str, np.ndarray], steps: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """Training with our engine: the losses, and the gradients of the first step."""
    values = {name: array.copy() for name, array in weights.items()}
    losses, first = [], {}
    for _ in range(steps):
        p = {name: np.vectorize(Number, otypes=[object])(array) for name, array in values.items()}
        loss = Number(0.0)
        for x, wanted in CASES:
            hidden = [(w[0] * x[0] + w[1] * x[1] + b).tanh() for w, b in zip(p["W"], p["b"], strict=True)]
            answer = sum((v * h for v, h in zip(p["v"], hidden, strict=True)), p["d"][0])
            loss = loss + (answer - wanted) ** 2 * 0.25
        loss.backward()
        grads = {name: np.vectorize(lambda n: n.grad, otypes=[float])(array) for name, array in p.items()}
        values = {name: values[name] - RATE * grads[name] for name in values}
        losses.append(loss.value)
        first = first or grads
    return losses, first


# %% [markdown]
# The same with the library. A `Tensor` is a whole array that remembers where it came from; one operation on it stands for
# thousands on Numbers. Nothing else is new.


# %%
def network(p: dict[str, tl.Tensor], x: np.ndarray) -> tl.Tensor:
    return tl.tanh(x @ p["W"].T + p["b"]) @ p["v"] + p["d"]


def with_tensors(weights: dict[str, np.ndarray], steps: int) -> tuple[list[float], dict[str, np.ndarray], np.ndarray]:
    """Training with the library: the losses, the gradients of the first step, the answers at the end."""
    x, wanted = np.array([x for x, _ in CASES]), np.array([y for _, y in CASES])
    p = {name: tl.tensor(array, requires_grad=True, name=name) for name, array in weights.items()}
    optimizer = tl.optim.SGD(list(p.values()), lr=RATE)
    losses, first = [], {}
    for _ in range(steps):
        optimizer.zero_grad()
        loss = tl.mean((network(p, x) - wanted) ** 2)
        loss.backward()
        losses.append(loss.item())
        first = first or {name: tensor.grad.numpy().copy() for name, tensor in p.items()}
        optimizer.step()
    return losses, first, network(p, x).numpy()


# %% [markdown]
# ## Drawn
#
# `tl.draw` shows a computation: what was given, the operations, every value, and after `backward` every gradient. Read it
# downwards for the values and upwards for the gradients.


# %%
def draw(folder: Path) -> None:
    w, x, b = (tl.tensor(value, requires_grad=True, name=name) for name, value in (("w", 2.0), ("x", 0.5), ("b", -0.4)))
    product = w * x
    total = product + b
    y = tl.tanh(total)
    product.name, total.name, y.name = "p", "s", "y"
    y.backward(retain_grads=True)
    tl.draw(y).save(folder / "neuron.svg")
    a, c = (tl.tensor(value, requires_grad=True, name=name) for name, value in (("a", 0.7), ("b", 1.3)))
    out = expression(a, c, tl.tanh, tl.exp, tl.log)
    out.backward(retain_grads=True)
    tl.draw(out).save(folder / "expression.svg")


# %% [markdown]
# ## All of it


# %%
def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Check the engine, train with it and with the library, draw; returns the results."""
    tl.plot.check()  # what the pictures need is missed now, and not at the end
    folder = Path(folder) / "01_autograd"
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder)

    found = derivatives(0.7, 1.3)
    print(f"{'derivative':<10} {'by a':>14} {'by b':>14}")
    for name, (by_a, by_b) in found.items():
        print(f"{name:<10} {by_a:>14.9f} {by_b:>14.9f}")
    off = max(abs(p - q) for p, q in zip(found["ours"], found["library"], strict=True))
    off_measured = max(abs(p - q) for p, q in zip(found["ours"], found["measured"], strict=True))

    steps = 400 if quick else 2000
    weights = first_weights(seed)
    begin = time.perf_counter()
    own, own_grads = with_numbers(weights, steps)
    middle = time.perf_counter()
    losses, grads, answers = with_tensors(weights, steps)
    end = time.perf_counter()
    difference = max(float(np.abs(grads[name] - own_grads[name]).max()) for name in grads)
    tl.plot.lines(
        {"sixty lines": own, "the library": losses}, log_y=True, marks=False, x_label="step of training",
        y_label="mean squared error", levels={"always one half": 0.25}, title="learning exclusive or",
    ).save(folder / "loss.svg")  # fmt: skip

    second = tl.grad(tl.grad(lambda x: tl.tanh(x)))(np.float64(0.3)).item()
    t = math.tanh(0.3)
    results: dict[str, float | str] = {
        "off": off,
        "off_measured": off_measured,
        "difference": difference,
        "first_loss": losses[0],
        "loss": losses[-1],
        "steps": str(steps),
        "ratio": (middle - begin) / (end - middle),
        "second": abs(second + 2 * t * (1 - t * t)),
    }
    for (x, wanted), answer in zip(CASES, answers, strict=True):
        print(f"{x[0]:.0f} xor {x[1]:.0f}: {round(answer, 3) + 0.0:.3f}   (wanted: {wanted:.0f})")
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.2e} in {steps} steps; always one half: 0.25")
    print(f"the first gradients, sixty lines against the library, differ by {difference:.1e} at most")
    bar = 0.05 if quick else 0.001
    results["bar"] = bar
    right = all(abs(answer - wanted) < 0.5 for (_, wanted), answer in zip(CASES, answers, strict=True))
    reached = right and losses[-1] < bar and max(off, difference, results["second"]) < 1e-12 and off_measured < 1e-8
    results["reached"] = float(reached)
    print(f"bar: all four right, loss below {bar}, gradients equal to 1e-12: {'reached' if reached else 'MISSED'}")
    return results


# %% [markdown]
# ![A neuron: w times x, plus b, then tanh; below each value its gradient](01_autograd/neuron.svg)
#
# Our engine and the library differ by {off:.1g} in the derivatives of the expression, and both agree with the measured
# ones to {off_measured:.1g}.
#
# ![The expression as a graph: a is used three times, its three gradients add up](01_autograd/expression.svg)
#
# Trained from the same first weights, both take the same way: the gradients of the first step differ by at most
# {difference:.1g}, and the error falls from {first_loss:.2f} to {loss:.1e} in {steps} steps.
#
# ![The error while training: two curves, one on the other](01_autograd/loss.svg)
#
# The library keeps the same record as our sixty lines. What it does more: whole arrays at a time, broadcasting, some
# hundred operations, gradients of gradients (`tl.grad(tl.grad(tl.tanh))` is off by {second:.1g}), and compiled kernels
# for what runs in loops. Loops are the subject from here on: the next chapter gives a network one.

# %%
if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
