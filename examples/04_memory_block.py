# %% [markdown]
# # The memory block
#
# In the chapter before, the gradient was multiplied by one more factor at every step on its way back through a plain
# network, and vanished. Hochreiter and Schmidhuber (1997) built a network in which remembering is not something to be
# learned with difficulty but what happens if nothing is done: the *long short-term memory*, LSTM. Here it is taken
# apart, with weights set by hand. The next chapter looks into a trained one.

# %%
import sys
from pathlib import Path

import numpy as np
from tqdm.std import tqdm

import tinygrad_lstm as tl

# %% [markdown]
# ## How to read the pictures
#
# ![The shapes and colours of the pictures and what they mean.](04_memory_block/legend.svg)
#
# A line carries a whole vector from one thing to the next. A yellow box is a learned layer: weights times its inputs,
# plus a bias, then the function that stands in the box, tanh or the *sigmoid* $\sigma(a) = 1 / (1 + e^{-a})$, which
# gives numbers between 0 and 1. A pink circle works number by number and has nothing to learn. Where a line forks, both
# branches carry the same values.
#
# ## Two chains
#
# All recurrent networks are chains of one repeated module. In the plain one it is a single tanh layer:
#
# ![Three steps of a plain recurrent network, the middle one opened.](04_memory_block/rnn.svg)
#
# In an LSTM, where the module is also called a *memory block*, there are four layers instead of one, and two lines
# that run from step to step instead of one:
#
# ![Three steps of an LSTM, the middle one opened.](04_memory_block/lstm.svg)


# %%
def draw_the_modules(folder: Path) -> None:
    tl.draw.legend().save(folder / "legend.svg")
    tl.draw(tl.cells.rnn, steps=3, detail=True).save(folder / "rnn.svg")
    tl.draw(tl.cells.lstm, steps=3, detail=True).save(folder / "lstm.svg")
    tl.draw(tl.cells.lstm, equations=True).save(folder / "equations.svg")
    tl.draw(tl.cells.lstm, highlight="c").save(folder / "conveyor.svg")


# %% [markdown]
# The same in equations; the picture was drawn from them. Three of the layers are *gates*: the input gate $i$, the
# forget gate $f$ and the output gate $o$. The fourth gives the *candidate values* $g$. The cross multiplies number by
# number.
#
# ![The LSTM and its equations.](04_memory_block/equations.svg)
#
# And one step in NumPy:


# %%
def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def lstm_step(x, h, c, W, U, b):
    """One step of an LSTM: x (B, input), h and c (B, hidden); W, U and b hold the four layers i, f, g, o in this order."""
    i, f, g, o = np.split(x @ W.T + h @ U.T + b, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return h, c


def same_by_hand(seed: int) -> float:
    """The largest difference between the library's outputs and those of the step above, over 50 steps."""
    layer = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=5, dtype=np.float64, seed=seed)
    xs = np.random.default_rng(seed).normal(size=(50, 2, 3))
    h = c = np.zeros((2, 5))
    mine = []
    for x in xs:
        h, c = lstm_step(x, h, c, layer.W_l0.numpy(), layer.U_l0.numpy(), layer.b_l0.numpy())
        mine.append(h)
    return float(np.abs(layer(xs)[0].numpy() - np.stack(mine)).max())


# %% [markdown]
# ## A gate
#
# A gate is a sigmoid layer. Its numbers, between 0 and 1, are multiplied with those on a line, and say how much of each
# goes through: nothing at 0, everything at 1. An input of -6 all but shuts it, one of +6 all but opens it; both ends
# are approached as closely as one likes.
#
# ![How much a gate lets through against its input.](04_memory_block/gate.svg)


# %%
def draw_a_gate(folder: Path) -> None:
    a = np.linspace(-8, 8, 161)
    tl.plot.lines(
        {"lets through": (a, tl.sigmoid(a).numpy())}, x_label="input of the gate's layer: W x + U h + b",
        y_label="share that goes through", levels={"everything": 1.0, "nothing": 0.0}, marks=False, title="a gate",
    ).save(folder / "gate.svg")  # fmt: skip


# %% [markdown]
# ## The conveyor
#
# ![The line along the top is the cell state; all that happens to it is one multiplication and one addition.](04_memory_block/conveyor.svg)
#
# The line along the top is the *cell state* $c$. It runs through the whole chain like a conveyor belt. Each step does
# two things to it: the forget gate may take something off (times $f$), the input gate may put something on (plus
# $i * g$). With $f = 1$ and $i = 0$ it does not change at all, for as many steps as one likes. (The forget gate was
# added by Gers, Schmidhuber & Cummins, 2000; before, the state could only be added to.)
#
# Let us see that. We set the weights of an LSTM with one unit by hand. It has three inputs: a value, and two buttons,
# *store* and *drop*. Its input gate is shut unless *store* is pressed; its forget gate is open unless *drop* or *store*
# is.

# %%
OPEN = 12.0  # sigmoid(12) is 1 but for six millionths


def memory_cell() -> tl.nn.Recurrent:
    """An LSTM of one unit that stores the tanh of a value when told so, and drops it when told so."""
    layer = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=1, dtype=np.float64, seed=0)
    W = np.array(
        [[0, 2 * OPEN, 0], [0, -2 * OPEN, -2 * OPEN], [1, 0, 0], [0, 0, 0]]
    )  # value, store, drop -> i, f, g, o
    b = np.array([-OPEN, OPEN, 0, OPEN])
    layer.load_state_dict({"W_l0": W, "U_l0": np.zeros((4, 1)), "b_l0": b})
    return layer


def show_the_cell(folder: Path) -> None:
    """Store a value at step 5, another at step 30, drop it at step 50; other values pass by and are ignored."""
    xs = np.zeros((60, 1, 3))
    xs[:, 0, 0] = np.random.default_rng(3).normal(size=60)
    xs[5, 0, :2], xs[30, 0, :2] = (1.5, 1), (-0.7, 1)
    xs[50, 0, 2] = 1
    layer = memory_cell()
    with tl.no_grad(), tl.record(layer, "i", "f", "c") as seen:
        layer(xs)
    names = {"input gate i": seen["i"], "forget gate f": seen["f"], "cell state c": seen["c"]}
    tl.plot.gates(names, over=xs[:, 0, 0], labels=[""], title="a memory cell, set by hand").save(folder / "cell.svg")


# %% [markdown]
# ![A gate is yellow where it is open and dark where it is shut; the state is blue above zero and red below. A value is
# stored at step 5, replaced at step 30 and dropped at step 50; all others pass by.](04_memory_block/cell.svg)
#
# ## What a plain network can hold
#
# A plain network of one unit has no such line. Its state goes through $h_t = \tanh(u\,h_{t-1} + ...)$ at every step,
# even if nothing happens. We make it as easy as possible for it: a value is there at the start, and then the input is
# zero. If $u$ is below 1 the value fades. If it is above 1 every value drifts to one of two points, and only its sign
# is left. At exactly 1 it fades more slowly. We try many, from {u_least:g} to {u_most:g}, and take the best.

# %%
VALUES = np.linspace(-0.9, 0.9, 19)


def held_by_rnn(u: float, steps: int) -> np.ndarray:
    """What is left of the values after every step, (steps, values)."""
    layer = tl.nn.Recurrent(tl.cells.rnn, input=1, hidden=1, dtype=np.float64, seed=0)
    layer.load_state_dict({"W_l0": [[0.0]], "U_l0": [[u]], "b_l0": [0.0]})
    with tl.no_grad():
        return layer(np.zeros((steps, len(VALUES), 1)), (VALUES[None, :, None],))[0].numpy()[..., 0]


def held_by_lstm(steps: int) -> np.ndarray:
    """The same for the memory cell, with other values passing by."""
    xs = np.zeros((steps + 1, len(VALUES), 3))
    xs[:, :, 0] = np.random.default_rng(4).normal(size=(steps + 1, 1))
    xs[0, :, 0], xs[0, :, 1] = np.arctanh(VALUES), 1
    layer = memory_cell()
    with tl.no_grad(), tl.record(layer, "c") as seen:
        layer(xs)
    return seen["c"][1:, :, 0]


# %% [markdown]
# ## And the gradient
#
# On the way back the conveyor does the same: along it, the gradient is multiplied by the forget gates and nothing else,
# $\partial c_t / \partial c_k = f_t * f_{t-1} * ... * f_{k+1}$. Open gates let it through unharmed. We compare what
# `backward` finds with that product, for gates from half open to almost entirely open. (In our cell there is no other
# way back: the weights $U$ of the hidden state are zero. In a trained one, ways through $h$ come on top.)


# %%
def gradient_along_the_conveyor(gate: float, steps: int = 200) -> tuple[float, float]:
    """dc_T / dc_0 by backward, and the product of the forget gates, for gates that stand at a value."""
    layer = memory_cell()
    bias = layer.state_dict()["b_l0"]
    bias[1] = np.log(gate / (1 - gate))
    layer.load_state_dict({"b_l0": bias}, strict=False)
    h, c = tl.zeros((1, 1, 1), np.float64), tl.ones((1, 1, 1), np.float64, requires_grad=True)
    _, (_, last) = layer(np.zeros((steps, 1, 3)), (h, c))
    last.sum().backward()
    return c.grad.item(), gate**steps


# %% [markdown]
# ## All of it


# %%
def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Draw the block, compare it with NumPy, hold values, go back along the conveyor; returns the results."""
    tl.plot.check()  # what the pictures need is missed now, and not at the end
    folder = Path(folder) / "04_memory_block"
    folder.mkdir(parents=True, exist_ok=True)
    draw_the_modules(folder)
    draw_a_gate(folder)
    show_the_cell(folder)
    print(tl.cells.lstm)

    steps = 200
    lstm = held_by_lstm(steps)
    factors = np.round(np.arange(0.5, 2.01, 0.05 if quick else 0.01), 2).tolist()
    errors = {u: float(np.abs(held_by_rnn(u, steps)[-1] - VALUES).mean()) for u in tqdm(factors, unit="network")}
    best = min(errors, key=errors.__getitem__)
    results: dict[str, float | str] = {
        "difference": same_by_hand(seed),
        "lstm_error": float(np.abs(lstm[-1] - VALUES).mean()),
        "rnn_error": errors[best],
        "rnn_factor": best,
        "nothing": float(np.abs(VALUES).mean()),
        "steps": str(steps),
        "u_least": factors[0],
        "u_most": factors[-1],
    }
    value = int(np.argmin(np.abs(VALUES - 0.3)))
    curves = {"LSTM": lstm, **{f"plain, u = {u:g}": held_by_rnn(u, steps) for u in (0.9, 1.0, 1.1, 1.5)}}
    tl.plot.lines(
        {name: held[:, value] for name, held in curves.items()}, x_label="steps since it was stored", y_label="what is held",
        levels={"the value": float(VALUES[value])}, marks=False, title="holding a value",
    ).save(folder / "held.svg")  # fmt: skip
    print(f"\nholding a number between -0.9 and 0.9 for {steps} steps; mean error:")
    print(f"  LSTM, set by hand         {results['lstm_error']:.4f}   while other values pass by")
    print(f"  plain, best u of {len(factors):<3}      {results['rnn_error']:.4f}   at u = {best:g}, with zero input")
    print(f"  holding nothing           {results['nothing']:.4f}")

    worst = 0.0
    print(f"the gradient over {steps} steps, by backward and as the product of the forget gates")
    for gate in (0.5, 0.9, 0.99, 0.999, 0.99999):
        found, product = gradient_along_the_conveyor(gate, steps)
        worst = max(worst, abs(found / product - 1))
        print(f"  f = {gate:<8g} {found:.6e}  {product:.6e}")
        results[f"left_{gate:g}".replace(".", "_")] = found
    results["gradient_off"] = worst
    print(f"the library and NumPy, step by step, differ by {results['difference']:.1e} at most")
    results["bar"] = 0.01
    reached = results["lstm_error"] < 0.01 < 0.1 < results["rnn_error"] and max(results["difference"], worst) < 1e-9
    results["reached"] = float(reached)
    print(f"bar: LSTM holds to 0.01, no plain one to 0.1, library = NumPy: {'reached' if reached else 'MISSED'}")
    return results


# %% [markdown]
# The step in NumPy and the library agree to {difference:.0e}. After {steps} steps the memory cell is off by
# {lstm_error:.4f} on average; the best plain unit (u = {rnn_factor:g}) by {rnn_error:.2f}. Holding nothing at all would
# be off by {nothing:.2f}.
#
# ![One of the values, and what is held of it. Only the LSTM stays on it.](04_memory_block/held.svg)
#
# The gradient that `backward` finds is the product of the forget gates, to {gradient_off:.0e} of it. With gates at 0.9,
# {left_0_9:.0e} of a gradient is left after {steps} steps; at 0.999, {left_0_999:.2f}. So an LSTM forgets too if its
# gates tell it to, and what matters is that it *can* keep. A gate at $f$ keeps for about $1 / (1 - f)$ steps: ten at
# 0.9, a thousand at 0.999. This is why forget gates are often given a bias at the start that opens them (Gers,
# Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015).
#
# How does a trained network use its gates? That is the next chapter.

# %%
if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
