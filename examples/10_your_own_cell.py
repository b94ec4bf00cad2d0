# %% [markdown]
# # A cell of your own
#
# Researchers have changed nearly every part of the LSTM, and each change raises the same questions. Is my gradient right?
# How much slower is it than the built-in one? Does it learn better? Here we take one idea from the
# literature through all of them: from an equation on paper to a compiled layer, its picture, its gradient check, its speed
# and a comparison with four others.
#
# The idea is that of Gu, Gulcehre, Paine, Hoffman and Pascanu
# ([Improving the gating mechanism of recurrent neural networks](https://arxiv.org/abs/1910.09890), 2020). A forget gate
# $f$ that is to remember for a long time must be close to 1, where the sigmoid is flat and its gradient nearly zero: it
# learns slowly exactly where it matters. So a second gate $r$ is added that *refines* the first, moving it up, as far as
# $1 - (1-f)^2$, or down, as far as $f^2$:
#
# $$k = r \cdot (1 - (1 - f)^2) + (1 - r) \cdot f^2$$
#
# The refined gate $k$ decides what is kept of the cell state, and $1 - k$ what is written.

# %%
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lstm as tl

F = tl.nn.functional

# %% [markdown]
# ## Declare it
#
# A cell is a function that does one step. Before the `/` stand the inputs of a step, between `/` and `*` the states,
# after `*` the parameters. The decorator says which axes each has. `W.f` is the member `f` of the family of weights `W`;
# members come into being by being used. That is all there is to write; the backward pass is derived from it.


# %%
@tl.cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", b="hidden")
def refined(x, /, h, c, *, W, U, b):
    """Gu, Gulcehre, Paine, Hoffman & Pascanu 2020: a second gate refines the forget gate."""
    f = tl.sigmoid(W.f @ x + U.f @ h + b.f)  # forget gate
    r = tl.sigmoid(W.r @ x + U.r @ h + b.r)  # refine gate
    k = r * (1 - (1 - f) * (1 - f)) + (1 - r) * f * f  # what is kept
    g = tl.tanh(W.g @ x + U.g @ h + b.g)  # candidate values
    o = tl.sigmoid(W.o @ x + U.o @ h + b.o)  # output gate
    c = k * c + (1 - k) * g
    h = o * tl.tanh(c)
    return h, c


# %% [markdown]
# `print(refined)` shows the equations as the library has understood them, and what parameters follow from them. A prime
# marks a new state; `part_k` is a value that is used twice and that we gave no name:
#
# ```text
# {equations}
# ```
#
# `refined.latex()` gives them for a paper, and `tl.draw(refined)` draws the [memory block](04_memory_block.md); with
# `highlight="k"` it shows what the refined gate is made of, and fades the rest.
#
# ![The cell as a memory block: the cell state runs along the top, the gates decide what it keeps.](10_your_own_cell/cell.svg)
#
# ![The same block, with the part in colour that computes the refined gate.](10_your_own_cell/refined_gate.svg)
#
# A statement that cannot be compiled is refused at once, when the cell is declared, and the message says in which line and
# what to write instead. The cell below asks by `if` whether `new` is positive, but `new` has many units, and each would have
# to decide for itself:


# %%
def refusal() -> str:
    """What the library says of a cell that asks a value whether it is positive, in lines of 80 columns."""
    try:

        @tl.cell(x="input", h="hidden", W="hidden input", U="hidden hidden")
        def undecided(x, /, h, *, W, U):
            new = tl.tanh(W.h @ x + U.h @ h)
            if new > 0:
                h = new
            return h

    except tl.TraceError as error:
        lines = str(error).split("\n")
        return "\n".join(textwrap.fill(line, 80, subsequent_indent="    ") for line in lines)
    return "it was accepted"


# %% [markdown]
# ```text
# {refusal}
# ```
#
# ## Is the gradient right?
#
# `tl.check_grads` compares the derived backward pass with finite differences: it moves the arguments a little in a random
# direction and looks whether the result moves as the gradient says, for first and second derivatives. If anything is off,
# it raises an error that shows the worst entry. We check the whole layer over 5 steps, in 64-bit numbers, with respect to
# the input and to every parameter.


# %%
def check_gradients(cell: Any, seed: int) -> int:
    """How many arrays were checked; raises GradientError if one gradient is wrong."""
    layer = tl.nn.Recurrent(cell, input=3, hidden=4, dtype=np.float64, seed=seed)
    xs = np.random.default_rng(seed).standard_normal((5, 2, 3))  # (T, B, input)
    names, arrays = list(layer.state_dict()), list(layer.state_dict().values())

    def outputs(xs: tl.Tensor, *arrays: tl.Tensor) -> tl.Tensor:
        for name, array in zip(names, arrays, strict=True):
            setattr(layer, name, array)
        return layer(xs)[0]

    tl.check_grads(outputs, [xs, *arrays], order=2)
    return 1 + len(arrays)


# %% [markdown]
# It is right: no error was raised for the input and the {families:.0f} families of parameters.
#
# ## How fast is it?
#
# A recurrence of your own is often written as a loop over small operations, and this costs several times as much as a
# built-in layer, whose code somebody wrote by hand ([other libraries measured](../performance.md)). Here both come out
# of the same compiler. We time a step of training (forwards, and backwards to all gradients) for the built-in LSTM, for
# our cell, and for our cell as a loop over the library's own operations, one equation after the other. The three take
# turns, and we compare them turn by turn: what else the machine does meanwhile slows them alike.
#
# Our cell takes {own_to_builtin:.2f} times as long as the built-in LSTM, and the loop {loop_to_own:.1f} times as long as
# our cell. (The LSTM computes as many matrix products, four of the input and four of the hidden state.)


# %%
def turn(layer: Any, xs: np.ndarray, loop: bool = False) -> float:
    """Seconds for one step of training, (T, B, input); compiled, or as a loop over operations."""
    begin = time.perf_counter()
    if loop:
        states = [tl.zeros((xs.shape[1], layer.sizes["hidden"])) for _ in layer.cell.states]
        parts = layer.cell.members({name: getattr(layer, f"{name}_l0") for name in layer.cell.families})
        total = tl.zeros(())
        for x in tl.tensor(xs):
            out, states = layer.cell.step([x], states, parts)
            total = total + out.sum()
    else:
        total = layer(xs)[0].sum()
    total.backward()
    return time.perf_counter() - begin


def speed(cell: Any, trials: int, seed: int) -> tuple[float, float]:
    """Own cell to built-in LSTM, and loop to own cell: medians of ratios of turns side by side."""
    xs = np.random.default_rng(seed).standard_normal((64, 32, 64)).astype(np.float32)
    builtin = tl.nn.LSTM(64, 128, seed=seed)
    own = tl.nn.Recurrent(cell, input=64, hidden=128, seed=seed)
    turns = []
    for _ in range(trials + 1):
        turns.append((turn(builtin, xs), turn(own, xs), turn(own, xs, loop=True)))
    times = np.array(turns[1:])  # the first turn compiles
    return float(np.median(times[:, 1] / times[:, 0])), float(np.median(times[:, 2] / times[:, 1]))


# %% [markdown]
# ## Does it learn?
#
# The *adding problem* goes back to the first paper on the LSTM (Hochreiter and Schmidhuber 1997). In the form used here,
# the network reads at each of 60 steps a random number between 0 and 1 and a mark. Two of the marks are 1, one in the
# first half and one in the second, all others are 0. After the last step the network has to say the sum of the two marked
# numbers. It must keep the first one for a long time, and must not let the many others disturb it.
#
# Who has learned nothing does best to say always 1. The mean squared error is then the variance of the sum of two such
# numbers, 1/6 or about 0.167.


# %%
STEPS, BATCH = 60, 64


def additions(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (T, B, 2) of number and mark, and the sums (B,)."""
    numbers = generator.random((STEPS, count), np.float32)
    marks = np.zeros((STEPS, count), np.float32)
    marks[generator.integers(0, STEPS // 2, count), np.arange(count)] = 1
    marks[generator.integers(STEPS // 2, STEPS, count), np.arange(count)] = 1
    return np.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=0)


class Adder(tl.nn.Module):
    """A layer of any cell, and a number read from its last output."""

    def __init__(self, cell: Any, seed: int):
        generator = np.random.default_rng(seed)
        bias = 1.0 if any("f" in family.members for family in cell.families.values()) else None
        self.memory = tl.nn.Recurrent(cell, input=2, hidden=48, forget_bias=bias, seed=generator)
        self.readout = tl.nn.Linear(48, 1, seed=generator)

    def forward(self, xs: np.ndarray) -> tl.Tensor:
        outputs, _ = self.memory(xs)
        return self.readout(outputs[-1])[:, 0]


def train(cell: Any, steps: int, seed: int) -> tuple[float, tl.train.Fit]:
    """Train on sequences that never repeat; the mean squared error on 2000 others, and the run."""
    model, generator = Adder(cell, seed), np.random.default_rng([seed, 1])
    optimizer = tl.optim.Adam(model.parameters(), lr=1e-2)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            yield additions(BATCH, generator)

    run = tl.fit(
        model,
        batches,
        F.mse_loss,
        optimizer=optimizer,
        schedule=tl.optim.OneCycleLR(optimizer, 1e-2, total_steps=steps),
        clip=1.0,
        steps=steps,
        generators=[generator],
        unit="sequences",
    )
    xs, sums = additions(2000, np.random.default_rng([seed, 2]))
    with tl.no_grad():
        return F.mse_loss(model(xs), sums).item(), run


# %% [markdown]
# Five cells get the same task, the same number of units, of steps and the same learning rate: the plain network, the
# LSTM, the GRU, the LSTM with coupled gates (it writes as much as it forgets, $i = 1 - f$) and ours. Forget gates start
# with a bias of 1, so that they remember rather than forget at first (Jozefowicz, Zaremba and Sutskever 2015). The GRU has
# none by that name and starts without.
#
# ![The error while the five cells learn to add, on a logarithmic axis: faint for every step, bold for the running mean;
# the dotted line is what one gets for always saying 1.](10_your_own_cell/adding.svg)
#
# On sequences never seen, the refined gate ends at an error of {refined:.1e}, the coupled gates at {lstm_coupled:.1e}, the
# GRU at {gru:.1e}, the LSTM at {lstm:.1e} and the plain network at {rnn:.1e}. This is one task and one run of each; for a
# paper one would give each cell its own best learning rate, and several seeds.


# %%
def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Show, check, time and train the cell, print and draw; `quick` trains for fewer steps."""
    folder = Path(folder) / "10_your_own_cell"
    folder.mkdir(parents=True, exist_ok=True)
    tl.draw(refined).save(folder / "cell.svg")
    tl.draw(refined, highlight="k").save(folder / "refined_gate.svg")
    results: dict[str, Any] = {"equations": str(refined), "refusal": refusal()}
    print(refined, results["refusal"], sep="\n\n", end="\n\n")

    results["families"] = float(check_gradients(refined, seed) - 1)
    print(f"gradients of input and {results['families']:.0f} families agree with finite differences, to order 2")
    results["own_to_builtin"], results["loop_to_own"] = speed(refined, 5 if quick else 20, seed)
    print(f"a step of training takes {results['own_to_builtin']:.2f} times as long as the built-in LSTM's,")
    print(f"and a loop over single operations {results['loop_to_own']:.1f} times as long as that\n")

    cells = [tl.cells.rnn, tl.cells.lstm, tl.cells.gru, tl.cells.lstm_coupled, refined]
    runs = {}
    results["nothing_learned"], results["bar"] = 1 / 6, 0.12 if quick else 0.01
    print(f"adding two of {STEPS} numbers: mean squared error on sequences never seen")
    print(f"  {'always saying 1':<16} {results['nothing_learned']:9.5f}")
    for cell in cells:
        results[cell.name], runs[cell.name] = train(cell, 300 if quick else 1500, seed)
        print(f"  {cell.name:<16} {results[cell.name]:9.5f}")
    results["reached"] = float(results["refined"] <= results["bar"])
    reached = "reached" if results["reached"] else "missed"
    print(f"  {'the bar':<16} {results['bar']:9.5f}   {reached} by refined")
    tl.plot.losses(
        runs, baselines={"always saying 1": 1 / 6}, y_label="mean squared error", log=True, title="learning to add"
    ).save(folder / "adding.svg")
    return results


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
