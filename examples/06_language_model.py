# %% [markdown]
# # A network that learns to write
#
# Take a text, cover it up, and uncover one character after the other. Before each, guess what comes. Who guesses well
# knows a lot: the spelling of words, which words follow each other, and that a bracket which was opened must be
# closed. A *language model* does nothing but this, and the text is all it needs to learn from.
#
# We give an LSTM the source code of Python's standard library, measure how well it guesses on files that it has never
# seen, let it write some code of its own, and then look for single units in it that mean something to us.

# %%
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lstm as tl

F = tl.nn.functional

# %% [markdown]
# ## The text
#
# Whole files are held out for the test. The *vocabulary* numbers the characters that occur often enough in the
# training part; all rare ones are one unknown character.


# %%
def texts(characters: int) -> tuple[str, str, tl.data.Vocabulary]:
    """What is learned from, what is tested on, and the vocabulary of the former."""
    training, held_out = tl.data.split(tl.data.standard_library(characters))
    return training, held_out, tl.data.Vocabulary.from_text(training, minimum=20)


# %% [markdown]
# ## How good is a guess?
#
# The network does not name one character, it gives a probability to each. If the one that comes had the probability
# $p$, we count $-\log_2 p$ *bits*: none if it was certain, 1 if it was one of two equally probable ones, 3 if one of
# eight. The mean over the held-out text is the measure, in bits per character; less is better.
#
# How far does one get by counting alone? An *n-gram model* looks at the $n-1$ characters before and counts what followed
# them in the training part. Into this it mixes what followed the latest $n-2$, into that what followed the latest $n-3$,
# and so on: the less often it has seen the longer ones, the more it trusts the shorter ones (Witten and Bell's
# smoothing).


# %%
def ngram_bits(training: np.ndarray, held_out: np.ndarray, size: int) -> dict[int, float]:
    """Bits per character of n-gram models, n from 1 to 6."""
    return {n: tl.data.NGram(training, n, size).bits(held_out) for n in range(1, 7)}


# %% [markdown]
# ## The network
#
# Every character has 32 numbers of its own (an [embedding](02_recurrent.md), learned like all else), an LSTM reads them
# one after the other, and a linear layer turns its output at every step into scores of the next character. A softmax of
# the scores gives the probabilities. The forget gates get a bias of 1 at the start, so that they are
# [rather open than shut](04_memory_block.md).


# %%
class Writer(tl.nn.Module):
    """Characters (T, B) and states -> scores of the next at each step (T, B, characters), and the states."""

    def __init__(self, characters: int, hidden: int, seed: int):
        generator = np.random.default_rng(seed)
        self.embedding = tl.nn.Embedding(characters, 32, seed=generator)
        self.memory = tl.nn.Recurrent(tl.cells.lstm, input=32, hidden=hidden, forget_bias=1.0, seed=generator)
        self.readout = tl.nn.Linear(hidden, characters, seed=generator)

    def forward(self, ids: np.ndarray, states: Any = None) -> tuple[tl.Tensor, Any]:
        outputs, states = self.memory(self.embedding(ids), states)
        return self.readout(outputs), states

    def step(self, ids: np.ndarray, states: Any = None) -> tuple[tl.Tensor, Any]:
        """One character of each stream (B,) -> scores (B, characters), and the states."""
        with tl.no_grad():
            output, states = self.memory.step(self.embedding(ids), states)
            return self.readout(output), states


# %% [markdown]
# ## Training
#
# The text is cut into 16 streams that are read side by side, 64 characters at a time. At every step the target is simply
# the next character. The states at the end of a piece are carried over to the next one; the gradient goes back to
# the beginning of its piece only (*truncated backpropagation through time*). The loss is the cross-entropy; it is taken
# with natural logarithms, and divided by $\log 2$ it is the number of bits. The learning rate first rises and then falls
# (`OneCycleLR`).


# %%
def loss_of(model: Writer, batch: tuple[np.ndarray, np.ndarray], states: Any) -> tuple[tl.Tensor, Any]:
    """The cross-entropy over a piece (x, y), (T, B) each, and the states after it."""
    x, y = batch
    scores, states = model(x, states)
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1)), states


def bits(model: Writer, held_out: np.ndarray) -> float:
    """Bits per character on a text."""
    streams, total, states = tl.data.Streams(held_out, batch=16, length=200), 0.0, None
    with tl.no_grad():
        for batch in streams:
            loss, states = loss_of(model, batch, states)
            total += loss.item() * batch[1].size
    return float(total / np.log(2) / (streams.steps * streams.batch))


def train(model: Writer, training: np.ndarray, held_out: np.ndarray, steps: int) -> tl.train.Fit:
    """So many steps; now and then the bits on the held-out text are noted."""
    optimizer = tl.optim.Adam(model.parameters(), lr=6e-3)
    return tl.fit(
        model,
        tl.data.Streams(training, batch=16, length=64),
        step=loss_of,
        optimizer=optimizer,
        schedule=tl.optim.OneCycleLR(optimizer, 6e-3, total_steps=steps, pct_start=0.1),
        clip=1.0,
        steps=steps,
        evaluate=lambda model: bits(model, held_out),
        evaluate_every=max(1, steps // 8),
        unit="chars",
    )


# %% [markdown]
# ## Result
#
# The best n-gram model looks back {best_n:.0f} characters and needs {ngram:.2f} bits per character. The LSTM, which may
# remember as far as it likes, needs {lstm:.2f}.
#
# ![Bits per character while training: faint for every piece of text, bold for their running mean, dots for the held-out
# files. The dotted lines are n-gram models.](06_language_model/learning.svg)
#
# ## Writing
#
# Now the network writes: it gets a beginning and gives probabilities for the next character; one is drawn by them and
# becomes the next input. The *temperature* says how daring the choice is. The scores are divided by it before the
# softmax: below 1 the probable becomes more probable still, at 1 the network writes as its probabilities say.


# %%
def write(model: Writer, known: tl.data.Vocabulary, start: str, length: int, temperature: float, seed: int) -> str:
    """The beginning, and so many characters drawn one after the other."""
    generator = np.random.default_rng(seed)
    ids = known.encode(start).tolist()
    states = None
    for id in ids:
        scores, states = model.step(np.array([id]), states)
    for _ in range(length):
        z = scores.numpy()[0].astype(float) / temperature
        z[0] = -np.inf  # never the unknown character
        p = np.exp(z - z.max())
        ids.append(int(generator.choice(len(p), p=p / p.sum())))
        scores, states = model.step(np.array(ids[-1:]), states)
    return known.decode(ids)


def excerpt(text: str, length: int = 400) -> str:
    """Its beginning; long lines are cut to 80 columns."""
    lines = text[:length].strip("\n").rstrip().split("\n")
    return "\n".join(line if len(line) <= 80 else line[:77] + "..." for line in lines)


def share_known(text: str, training: str) -> float:
    """How many of the words of a text, of four letters or more, are words of the training part as well."""
    known, words = set(re.findall(r"[A-Za-z]{4,}", training)), re.findall(r"[A-Za-z]{4,}", text)
    return sum(word in known for word in words) / max(1, len(words))


# %% [markdown]
# At temperature 0.5, the first 400 characters (of long lines only the beginning):
#
# ```text
# {sample_cautious}
# ```
#
# At temperature 1:
#
# ```text
# {sample_daring}
# ```
#
# None of it makes sense. Is it more than letters? We let the network write ten times as much at each temperature,
# and look up its words of four letters or more: {words_cautious:.0%} of those written at temperature 0.5 are words of the
# training part, and {words_daring:.0%} at temperature 1. (In the held-out files, written by people, it is
# {words_held_out:.0%}.) Nobody told the network what a word is.
#
# ## Units that mean something
#
# To guess well inside a string, the network must know that it is inside a string. Where does it keep this? Karpathy,
# Johnson and Fei-Fei ([2015](https://arxiv.org/abs/1506.02078)) found that sometimes a single unit of the cell state does
# it, and can be read by us. They found their units by eye; we search. For every character of the held-out text we note
# three things that can be known exactly: whether it is inside a string, how deep its line is indented, and how many
# brackets are open.


# %%
def facts(text: str) -> dict[str, np.ndarray]:
    """Three things that are true of a text after every character, (N,) each; found by Python's tokenizer."""
    lines = io.StringIO(text).readlines()
    begins = np.cumsum([0, *map(len, lines), 0])
    string, depth, opened = np.zeros(len(text)), np.zeros(len(text) + 1), []
    try:
        for piece in tokenize.generate_tokens(io.StringIO(text).readline):
            start, end = (int(begins[row - 1]) + column for row, column in (piece.start, piece.end))
            name = tokenize.tok_name[piece.type]
            if name == "FSTRING_START":
                opened.append(start)
            elif name in ("STRING", "FSTRING_END"):
                string[opened.pop() if name == "FSTRING_END" else start : end - 1] = 1  # until the last quote
            elif name == "OP" and not opened and piece.string in "([{}])":
                depth[start] += 1 if piece.string in "([{" else -1
    except (tokenize.TokenError, SyntaxError):
        pass  # the rest of the text has no strings and no brackets
    leading = [len(line) - len(line.lstrip(" ")) if line.strip() else 0 for line in lines]
    indentation = np.repeat(leading, [len(line) for line in lines]).astype(float)
    return {"inside a string": string, "indentation": indentation, "open brackets": depth[:-1].cumsum()}


# %% [markdown]
# Then the network reads the text, and we look how closely each unit follows each of the three: the correlation $r$, 1 if
# it rises and falls with it exactly, -1 if it falls when the other rises, 0 if it has nothing to do with it. A unit that
# was the best of {units:.0f} on a text is partly so by luck. So it is chosen on the first half of the text, and judged on
# the second. And it is compared with the best unit of the same network before training: one that happens to react to
# blanks may follow the indentation without having learned anything.
#
# The cell state is no output of the layer. `tl.record(layer, "c")` opens a recording of it: what is called `c` in the
# equations of the cell, at every step, while the layer runs. We take its tanh, as the cell does for its output.


# %%
def cell_states(model: Writer, ids: np.ndarray) -> np.ndarray:
    """tanh of the cell state after every character: ids (T, B) -> (T, B, hidden)."""
    with tl.no_grad(), tl.record(model.memory, "c") as seen:
        model(ids)
    return np.tanh(seen["c"])


def correlation(units: np.ndarray, fact: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every unit (N, hidden) with a fact (N,): (hidden,)."""
    a, b = units - units.mean(axis=0), fact - fact.mean()
    return (a * b[:, None]).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum() + 1e-12)


def search(model: Writer, known: tl.data.Vocabulary, text: str) -> dict[str, tuple[int, float]]:
    """fact -> the unit that follows it best in the first half of a text, and its correlation in the second."""
    streams = tl.data.Streams(np.arange(len(text)), batch=16, length=len(text))
    at, _ = streams[0]  # (T, B) positions
    states = cell_states(model, known.encode(text)[at])
    half = streams.batch // 2
    found = {}
    for name, fact in facts(text).items():
        first, second = (
            correlation(states[:, part].reshape(-1, states.shape[-1]), fact[at[:, part]].reshape(-1))
            for part in (slice(0, half), slice(half, None))
        )
        unit = int(np.abs(first).argmax())
        found[name] = unit, float(second[unit])
    return found


# %% [markdown]
# The best unit for strings reaches a correlation of {r_string:.2f} (before training {untrained_string:.2f}), the one for
# indentation {r_indentation:.2f} ({untrained_indentation:.2f}), the one for open brackets {r_brackets:.2f}
# ({untrained_brackets:.2f}). The sign is left out: a unit may as well go down inside a string. In the pictures blue is more
# of the fact and red is less, whatever the sign of the unit. Blue in a wrong place, or red, shows what a correlation
# below 1 means: the unit has other things to do, too.
#
# ![A piece of held-out source, coloured by the unit that follows strings best: what stands between quotes should be
# blue.](06_language_model/string.svg)
#
# ![The same piece and the unit for indentation: lines further to the right should be bluer.](06_language_model/indentation.svg)
#
# ![The same piece and the unit for open brackets: from an opening bracket to its closing one it should be
# blue.](06_language_model/brackets.svg)
#
# Nobody asked for such units. The only task was the next character.


# %%
def passage(text: str, length: int = 700, columns: int = 64) -> tuple[int, int]:
    """Beginning and end of some short lines, in the second half, in which all three facts change a lot."""
    spreads = facts(text).values()
    half = text.index("\n", len(text) // 2) + 1
    begins = [text.rfind("\n", 0, k) + 1 for k in range(half, len(text) - length, 50)]

    def worth(k: int) -> tuple[bool, bool, float]:
        change = float(np.prod([fact[k : k + length].std() for fact in spreads]))
        return change > 0, max(map(len, text[k : k + length].split("\n"))) <= columns, change

    best = max(begins, key=worth)
    return best, text.rfind("\n", best, best + length) + 1


def pictures(
    folder: Path,
    model: Writer,
    known: tl.data.Vocabulary,
    text: str,
    run: tl.train.Fit,
    found: dict[str, tuple[int, float]],
    counted: dict[int, float],
) -> None:
    """The loss in bits, and the passage coloured by the three units."""
    folder.mkdir(parents=True, exist_ok=True)
    in_bits = tl.train.Fit(losses=[loss / np.log(2) for loss in run.losses], evaluations=run.evaluations)
    levels = {f"{n}-gram": counted[n] for n in (1, 2, 3, min(counted, key=counted.__getitem__))}
    unit = "bits per character"
    tl.plot.losses(in_bits, baselines=levels, y_label=unit, evaluation=unit, title="learning to write").save(
        folder / "learning.svg"
    )
    start, end = passage(text)
    before = max(0, start - 2000)  # read first, so that the states are those of somebody who reads on
    states = cell_states(model, known.encode(text[before:end])[:, None])[start - before :, 0]
    for (name, (unit, r)), file in zip(found.items(), ("string", "indentation", "brackets"), strict=True):
        values = np.sign(r) * (states[:, unit] - states[:, unit].mean())
        title = f"unit {unit}: {name}, r = {abs(r):.2f}"
        tl.plot.text(text[start:end], values, columns=64, title=title).save(folder / f"{file}.svg")


def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Count, train, write, search, print and draw; `quick`: less text, a smaller network, fewer steps."""
    training, text, known = texts(400_000 if quick else 2_000_000)
    ids, held_out = known.encode(training), known.encode(text)
    counted = ngram_bits(ids, held_out, len(known))
    best = min(counted, key=counted.__getitem__)
    model = Writer(len(known), 96 if quick else 192, seed)
    before = search(model, known, text)
    run = train(model, ids, held_out, 300 if quick else 3000)
    found = search(model, known, text)

    results: dict[str, Any] = {"ngram": counted[best], "best_n": best - 1.0, "lstm": bits(model, held_out)}
    results["units"] = float(model.memory.sizes["hidden"])
    results["bar"] = counted[2 if quick else best]
    results["reached"] = float(results["lstm"] < results["bar"])
    print(f"{len(ids):,} characters to learn from, {len(text):,} of files never seen;")
    print("bits per character of these, less is better")
    for n, value in counted.items():
        print(f"  {n}-gram                {value:6.2f}")
    print(f"  LSTM of {results['units']:<12.0f}  {results['lstm']:6.2f}")
    print(f"  the bar               {results['bar']:6.2f}   {'reached' if results['reached'] else 'missed'}")
    print("units of the cell state that follow the text,\njudged on another part of it, and before training")
    for (name, (unit, r)), short in zip(found.items(), ("string", "indentation", "brackets"), strict=True):
        results[f"r_{short}"], results[f"untrained_{short}"] = abs(r), abs(before[name][1])
        print(f"  {name:<15}  unit {unit:<3}  r = {abs(r):.2f}  {abs(before[name][1]):.2f}")
    results["words_held_out"] = share_known(text, training)
    for name, temperature in (("cautious", 0.5), ("daring", 1.0)):
        written = write(model, known, "\n\ndef ", 4000, temperature, seed)
        results[f"sample_{name}"], results[f"words_{name}"] = excerpt(written), share_known(written, training)
        print(f"at temperature {temperature}, {results[f'words_{name}']:.0%} of the words known:")
        print(f"{results[f'sample_{name}']}\n")
    pictures(Path(folder) / "06_language_model", model, known, text, run, found, counted)
    return results


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
