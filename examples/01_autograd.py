# %% [markdown]
# # Gradients by machine
#
# A neural network is a function with many adjustable numbers, its *weights*. It learns from examples, by small
# corrections: every weight is moved a little, so that the error becomes smaller. Which way, the *gradient* says: the
# derivatives of the error with respect to all the weights. Large networks have millions of weights, and their errors
# are long chains of operations. Nobody differentiates these by hand. In this chapter we write a program that does, in
# sixty lines, and let it teach a small network. Then we do the same with the library, which works on whole arrays.

# %%
import math
import sys
from pathlib import Path

import numpy as np

import tinygrad_lstm as tl

# %% [markdown]
# ## The chain rule, step by step
#
# Take $y = \tanh(w x + b)$, where $\tanh$ is a smooth curve that squashes every number to between -1 and 1. A computer
# takes three steps: $p = w x$, then $s = p + b$, then $y = \tanh s$. Each is so simple that its derivative is in every
# table:
#
# - a product: $\partial p / \partial w = x$ and $\partial p / \partial x = w$,
# - a sum: $\partial s / \partial p = 1$ and $\partial s / \partial b = 1$,
# - $\tanh$: $\partial y / \partial s = 1 - y^2$.
#
# The chain rule multiplies along the way back: $\partial y / \partial w = (1 - y^2) \cdot 1 \cdot x$. If a value is
# used more than once, the contributions add up. That is all of it. *Reverse mode* goes from the end to the beginning
# once: every value takes the derivative of the result with respect to itself, multiplies it by the derivatives of its
# own step, and hands the products to the values it was computed from. One such sweep gives the derivatives with respect
# to all inputs together, for a few times the work of the computation itself.
#
# ## Sixty lines
#
# A `Number` remembers what it was computed from, its *parents*, and its derivative with respect to each of them.
# Python's operators on Numbers make new Numbers. `backward` goes through them, the latest first: whatever a number was
# used for was made after it, so when its turn comes, all contributions to its derivative have arrived.


# %%
class Number:
    """A number that knows where it came from."""

    count = 0

    def __init__(self, value: float, parents: tuple[tuple["Number", float], ...] = ()):
        self.value = value
        self.parents = parents  # (number, derivative of this one with respect to it)
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
        """Give every number that this one was computed from, in `grad`, the derivative of this one."""
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
# The derivative is a limit, so one can measure it: change an input a little and see what the output does. We do this
# for an expression with all the operations, and ask the library too. All three use one and the same function: it takes
# Numbers, the library's Tensors or plain floats, each with the tanh, exp and log that go with them.


# %%
def expression(a, b, tanh, exp, log):
    """Something with everything in it; `a` is used three times."""
    return tanh(a * b + exp(-a)) / (b**2 + 1.5) - log(a) * b


def derivatives(a: float, b: float) -> dict[str, tuple[float, float]]:
    """With respect to a and b: those of our sixty lines, the library's, and the measured ones."""
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
# The network shall learn *exclusive or*: 1 if exactly one of two inputs is 1, else 0. A weighted sum of the inputs is
# not enough: no straight line separates the two cases of 1 from the two of 0. So it takes a *layer* between: eight
# *units*, each the tanh of a weighted sum of the inputs plus a constant, its *bias*. The answer is a weighted sum of
# the units, plus a bias again. The error, or *loss*, is the mean squared difference between answers and wanted values
# over the four cases. After each sweep every weight moves against its derivative: by `RATE` times it, the *learning
# rate*.

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
    """Training with our sixty lines: the losses, and the gradients of the first step."""
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
# The same with the library. A `Tensor` is a whole array that remembers where it came from; one operation on it does
# what took an operation for each of its numbers. `SGD`, *stochastic gradient descent*, is the rule above: it moves
# every weight by the learning rate times its derivative.


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
# `tl.draw` shows a computation: what was given is grey, every operation pink; in each box stand the value and, after
# `backward`, the gradient: the derivative of the last box with respect to this one. Read values downwards and gradients
# upwards.
#
# ![$\tanh(w x + b)$ with its three steps: the gradient of w is that of p times the value of x.](01_autograd/neuron.svg)
#
# ![The expression from above: a is used three times, and its gradient is the sum of three.](01_autograd/expression.svg)


# %%
def draw(folder: Path) -> None:
    w, x, b = (tl.tensor(value, requires_grad=True, name=name) for name, value in (("w", 2.0), ("x", 0.5), ("b", -0.4)))
    product = w * x
    total = product + b
    y = tl.tanh(total)
    product.name, total.name, y.name = "p", "s", "y"
    y.backward(retain_grads=True)  # those of p and s too, not only of what was given
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
    print(f"{'derivative':<10} {'for a':>14} {'for b':>14}")
    for name, (by_a, by_b) in found.items():
        print(f"{name:<10} {by_a:>14.9f} {by_b:>14.9f}")
    off = max(abs(p - q) for p, q in zip(found["ours"], found["library"], strict=True))
    off_measured = max(abs(p - q) for p, q in zip(found["ours"], found["measured"], strict=True))

    steps = 400 if quick else 2000
    weights = first_weights(seed)
    own, own_grads = with_numbers(weights, steps)
    losses, grads, answers = with_tensors(weights, steps)
    difference = max(float(np.abs(grads[name] - own_grads[name]).max()) for name in grads)
    tl.plot.lines(
        {"sixty lines": own, "the library": losses}, log_y=True, marks=False, x_label="step of training",
        y_label="mean squared error", levels={"answering always 1/2": 0.25}, title="learning exclusive or",
    ).save(folder / "loss.svg")  # fmt: skip

    second = tl.grad(tl.grad(lambda x: tl.tanh(x)))(np.float64(0.3)).item()
    t = math.tanh(0.3)
    by_hand = -2 * t * (1 - t * t)
    results: dict[str, float | str] = {
        "off": off,
        "off_measured": off_measured,
        "difference": difference,
        "first_loss": losses[0],
        "loss": losses[-1],
        "steps": str(steps),
        "half": 0.25,
        "second": second,
        "by_hand": by_hand,
    }
    for (x, wanted), answer in zip(CASES, answers, strict=True):
        print(f"{x[0]:.0f} xor {x[1]:.0f}: {round(answer, 3) + 0.0:.3f}   (wanted: {wanted:.0f})")
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.2e} in {steps} steps; answering always 1/2: 0.25")
    print(f"the first gradients, sixty lines against the library, differ by {difference:.1e} at most")
    bar = 0.05 if quick else 0.001
    results["bar"] = bar
    right = all(abs(answer - wanted) < 0.5 for (_, wanted), answer in zip(CASES, answers, strict=True))
    exact = max(off, difference, abs(second - by_hand)) < 1e-12 and off_measured < 1e-8
    reached = right and losses[-1] < bar and exact
    results["reached"] = float(reached)
    print(f"bar: all four right, loss below {bar}, gradients equal to 1e-12: {'reached' if reached else 'MISSED'}")
    return results


# %% [markdown]
# In the derivatives of the expression, our sixty lines and the library differ by {off:.1g}, which is rounding. The
# measured ones agree to {off_measured:.1g}; they are not exact, since the change of the input is small but not zero.
# (The last line holds the run to a *bar* that was set beforehand. Every chapter has one.)
#
# Trained from the same first weights, both do the same: the gradients of the first step differ by at most
# {difference:.1g}, and the loss falls from {first_loss:.2f} to {loss:.1e} in {steps} steps. Whoever always answers 1/2
# has {half}.
#
# ![The loss while training: two curves, one on the other. They end where only rounding errors are left.](01_autograd/loss.svg)
#
# The library keeps the same record as our sixty lines. What it does beyond them: whole arrays at a time, broadcasting
# as in NumPy, many more operations, derivatives of derivatives (`tl.grad(tl.grad(tl.tanh))` at 0.3 is {second:.6f}, and
# $-2 \tanh(0.3) \, (1 - \tanh^2(0.3))$ is {by_hand:.6f}), and compiled code for what runs in loops. Loops are the
# subject from here on: the next chapter gives a network one.

# %%
if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
