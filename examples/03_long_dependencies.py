# %% [markdown]
# # Long dependencies
#
# > I was born in **France** and they saw rivers then ... so I speak ___
#
# The last word is easy to guess, if one still knows the country. Between the two there may be one word or two hundred.
# A recurrent network can in principle carry the country over any gap. Whether it *learns* to is another question:
# Hochreiter (1991) and Bengio, Simard & Frasconi (1994) found out why a plain one often does not. In this chapter we
# measure two things: how many answers of three networks are right as the gap grows, and what becomes of the gradient on
# its way back.

# %%
import sys
from pathlib import Path

import numpy as np
from tqdm.std import tqdm

import tinygrad_lstm as tl

# %% [markdown]
# ## A language over a table
#
# Twenty-four countries and what is spoken there. The sentences in the gap are about this and that, and some are there
# to mislead: they mention other countries and other languages, even other people's births. Only *I was born in* counts.

# %%
SPOKEN = {
    "France": "French", "Germany": "German", "Austria": "German", "Spain": "Spanish", "Mexico": "Spanish",
    "Argentina": "Spanish", "Portugal": "Portuguese", "Brazil": "Portuguese", "Italy": "Italian", "Poland": "Polish",
    "Russia": "Russian", "China": "Chinese", "Japan": "Japanese", "Korea": "Korean", "Turkey": "Turkish",
    "Greece": "Greek", "Sweden": "Swedish", "Norway": "Norwegian", "Finland": "Finnish", "Egypt": "Arabic",
    "Morocco": "Arabic", "Iran": "Persian", "Vietnam": "Vietnamese", "Hungary": "Hungarian",
}  # fmt: skip
COUNTRIES, LANGUAGES = list(SPOKEN), sorted(set(SPOKEN.values()))
THINGS = ["music", "rain", "bread", "mountains", "rivers", "trains", "books", "tea"]
TALK = [
    "we like THING and", "they saw THING then", "she will visit COUNTRY but", "my friend was born in COUNTRY and",
    "we remember THING while it rained and", "he lives in COUNTRY and likes THING but", "they speak LANGUAGE then",
    "the winter was long and",
]  # fmt: skip
CHOICES = {"COUNTRY": COUNTRIES, "LANGUAGE": LANGUAGES, "THING": THINGS}
BEGINNING, END = "I was born in".split(), "so I speak".split()
PLAIN = [word for sentence in TALK for word in sentence.split() if word not in CHOICES]
WORDS = list(dict.fromkeys([*BEGINNING, *END, *PLAIN, *THINGS, *LANGUAGES, *COUNTRIES]))
NUMBER = {word: k for k, word in enumerate(WORDS)}


def talk(count: int, rng: np.random.Generator) -> np.ndarray:
    """So many words about this and that, as numbers."""
    words: list[str] = []
    while len(words) < count:
        words += [str(rng.choice(CHOICES[w])) if w in CHOICES else w for w in TALK[rng.integers(len(TALK))].split()]
    return np.array([NUMBER[word] for word in words[:count]])


# %% [markdown]
# The *gap* is the number of words between the country and the language asked for; all sentences of a batch have the
# same. (In the shortest gaps, only the last of *so I speak* fit in.)


# %%
def sentences(gap: int, count: int, stream: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Words (4 + 1 + gap, count), and the number of the language to be named (count,)."""
    country = rng.integers(len(COUNTRIES), size=count)
    end = np.array([NUMBER[word] for word in END[-gap:]])
    between = gap - len(end)
    starts = rng.integers(len(stream) - between, size=count)
    words = np.concatenate(
        [
            np.repeat([[NUMBER[word]] for word in BEGINNING], count, axis=1),
            np.array([NUMBER[name] for name in COUNTRIES])[country][None],
            stream[starts + np.arange(between)[:, None]],
            np.repeat(end[:, None], count, axis=1),
        ]
    )
    return words, np.array([LANGUAGES.index(SPOKEN[name]) for name in COUNTRIES])[country]


# %% [markdown]
# ## Three networks
#
# They differ only in their *cell*, which is what happens in one step: that of the plain recurrent network (RNN); the
# *gated recurrent unit* (GRU; Cho et al. 2014); and the *long short-term memory* (LSTM; Hochreiter & Schmidhuber 1997),
# which carries a second state beside $h$, the *cell state* $c$. The latter two have *gates*, numbers between 0 and 1
# that are computed anew at every step; one gate of each says how much of the old state is kept. It starts almost open,
# as is good practice: a memory that is lost at once cannot be found worth keeping. The next chapter takes an LSTM
# apart.

# %%
CELLS = {"RNN": tl.cells.rnn, "GRU": tl.cells.gru, "LSTM": tl.cells.lstm}
KEEP = 4.0  # the first bias of the gates that keep: sigmoid(4) = 0.98


class Speaker(tl.nn.Module):
    """words (T, B) -> scores of the languages (B, languages), after the last word."""

    def __init__(self, kind: str, seed: int, hidden: int = 48):
        rng = np.random.default_rng(seed)
        self.embedding = tl.nn.Embedding(len(WORDS), 24, seed=rng)
        keep = KEEP if kind == "LSTM" else None
        self.layer = tl.nn.Recurrent(CELLS[kind], input=24, hidden=hidden, forget_bias=keep, seed=rng)
        if kind == "GRU":  # its biases stand one after the other, r, z and n; z is the gate that keeps
            bias = self.layer.state_dict()["b_l0"]
            bias[hidden : 2 * hidden] = KEEP
            self.layer.load_state_dict({"b_l0": bias}, strict=False)
        self.readout = tl.nn.Linear(hidden, len(LANGUAGES), seed=rng)

    def forward(self, words: np.ndarray) -> tl.Tensor:
        outputs, _ = self.layer(self.embedding(words))
        return self.readout(outputs[-1])


# %% [markdown]
# ## Training and asking
#
# For each longest gap (5 words, 10, ... 200) and each cell, a fresh network is trained on sentences with gaps of up to
# that length, mixed at random. All get the same sentences, the same learning rate (it rises for fifty steps, then
# falls) and as many steps; one that hardly errs any more stops early. Then each is asked about new sentences with the
# longest gap.


# %%
def train(kind: str, longest: int, steps: int, seed: int, growing: bool = False) -> Speaker:
    """A network trained on gaps from 1 to `longest`; if `growing`, as many of 1 to 2 words as of 100 to 200."""
    model = Speaker(kind, seed)
    rng = np.random.default_rng([seed, 1])
    stream = talk(50_000, rng)

    def batches():
        for _ in range(steps):
            gap = round(np.exp(rng.uniform(0, np.log(longest)))) if growing else rng.integers(1, longest + 1)
            yield sentences(int(gap), 64, stream, rng)

    optimizer = tl.optim.Adam(model.parameters(), lr=0.005)
    tl.fit(
        model,
        batches(),
        loss=tl.nn.functional.cross_entropy,
        optimizer=optimizer,
        schedule=tl.optim.LambdaLR(optimizer, lambda t: min(1, (t + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * t / steps))),
        clip=1.0,
        callbacks=lambda run: run.steps > 300 and max(run.losses[-100:]) < 0.01,
        progress=False,
    )
    return model


def accuracy(model: Speaker, gap: int, seed: int, count: int = 1000) -> float:
    """The share of right answers to new sentences."""
    rng = np.random.default_rng([seed, 2, gap])
    words, wanted = sentences(gap, count, talk(20_000, rng), rng)
    with tl.no_grad():
        return float((model(words).numpy().argmax(-1) == wanted).mean())


# %% [markdown]
# ## Why: the memory map
#
# Training corrects what a network does at step $k$ by the gradient that arrives there from the answer at step $t$. On
# its way back it is multiplied by one matrix a step, the *Jacobian* $\partial s_j / \partial s_{j-1}$: the derivatives
# of every number of the state $s$ with respect to every number of the state before. From $t$ back to $k$ these make
# $\partial s_t / \partial s_k = \prod_{j=k+1}^{t} \partial s_j / \partial s_{j-1}$. If every factor makes it smaller,
# it shrinks exponentially: after some dozens of steps nothing is left, and a mistake made there goes uncorrected. This
# is the *vanishing gradient*. `tl.memory_map` computes how large these products are (their *Frobenius norm*, the root
# of the sum of all squares), exactly, for every pair of steps of a sentence and for any cell.


# %%
def memory_maps(models: dict[str, Speaker], gap: int, seed: int) -> dict[str, tl.inspection.MemoryMap]:
    """What is left of a gradient in each network, over one sentence."""
    rng = np.random.default_rng([seed, 3])
    words, _ = sentences(gap, 1, talk(2000, rng), rng)
    return {kind: tl.memory_map(model.layer, model.embedding(words).numpy()) for kind, model in models.items()}


def left_after(found: tl.inspection.MemoryMap, distance: int) -> float:
    """The share of the norm that is left so many steps back, in the state that remembers: c of an LSTM, h of others."""
    curve = found.curve("c" if "c" in found.norms else "h")
    return float(curve[distance] / curve[0])


# %% [markdown]
# ## All of it


# %%
def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Train every cell for every gap, compare, draw the memory maps; returns the results."""
    tl.plot.check()  # what the pictures need is missed now, and not at the end
    folder = Path(folder) / "03_long_dependencies"
    folder.mkdir(parents=True, exist_ok=True)
    gaps, steps, distance = ([5, 20], 500, 20) if quick else ([5, 10, 20, 50, 100, 200], 1500, 100)
    guess = max(map(list(SPOKEN.values()).count, LANGUAGES)) / len(COUNTRIES)

    untrained = memory_maps({kind: Speaker(kind, seed) for kind in CELLS}, gaps[-1], seed)
    scores: dict[str, list[float]] = {kind: [] for kind in CELLS}
    trained: dict[str, Speaker] = {}
    with tqdm(total=len(gaps) * len(CELLS) + 1, unit="network") as bar:
        for gap in gaps:
            for kind in CELLS:
                bar.set_description(f"{kind}, gaps of up to {gap}")
                trained[kind] = train(kind, gap, steps, seed)
                scores[kind].append(accuracy(trained[kind], gap, seed))
                bar.update()
        bar.set_description("RNN, short gaps more often")
        patient = train("RNN", gaps[-1], steps, seed, growing=True)
        bar.update()
    after = memory_maps({"RNN": patient, **{kind: trained[kind] for kind in ("GRU", "LSTM")}}, gaps[-1], seed)

    curves = {kind: (gaps, values) for kind, values in scores.items()}
    tl.plot.lines(
        curves, x_label="longest gap, in words (the question is that far from the country)", y_label="right answers",
        levels={"always the most frequent language": guess}, log_x=True, title="I was born in ... so I speak ___",
    ).save(folder / "accuracy.svg")  # fmt: skip
    tl.plot.memory(untrained, title="before training: what is left of a gradient").save(folder / "before.svg")
    tl.plot.memory(after, title="after training: what is left of a gradient").save(folder / "after.svg")
    tl.plot.memory(untrained["RNN"], title="the RNN before training").save(folder / "rnn.svg")
    tl.plot.memory(after["LSTM"], title="the LSTM after training").save(folder / "lstm.svg")

    results: dict[str, float | str] = {"guess": guess, "longest": str(gaps[-1]), "distance": str(distance)}
    print(f"right answers; always the most frequent language: {guess:.1%}")
    print("gap   " + "".join(f"{gap:>8}" for gap in gaps))
    for kind, values in scores.items():
        print(f"{kind:<6}" + "".join(f"{value:>8.1%}" for value in values))
        results[f"{kind.lower()}_shortest"], results[f"{kind.lower()}_longest"] = values[0], values[-1]
        results[f"{kind.lower()}_left"] = left_after(untrained[kind], distance)
        print(f"      a gradient, before training, {distance} words back: "
              f"{results[f'{kind.lower()}_left']:.1e} of what it was")  # fmt: skip
    results["rnn_factor"] = results["rnn_left"] ** (1 / distance)
    results["lstm_open"] = left_after(after["LSTM"], gaps[-1])
    print(f"      and after training, {gaps[-1]} words back: {results['lstm_open']:.1e}")
    results["rnn_patient"] = accuracy(patient, gaps[-1], seed)
    print(f"RNN, trained on short gaps more often, asked at {gaps[-1]}: {results['rnn_patient']:.1%}")
    low = min(results["gru_longest"], results["lstm_longest"])
    results["bar"] = 0.95
    results["reached"] = float(low >= 0.95 and results["rnn_longest"] < (0.95 if quick else 0.5))
    print(f"bar: GRU and LSTM 95% at the longest gap, and the RNN {'below them' if quick else 'below 50%'}: "
          f"{'reached' if results['reached'] else 'MISSED'}")  # fmt: skip
    return results


# %% [markdown]
# With gaps of up to five words all three answer well: {rnn_shortest:.1%}, {gru_shortest:.1%} and {lstm_shortest:.1%}.
# With up to {longest} words the RNN is right in {rnn_longest:.1%}, where always naming the most frequent language would
# be right in {guess:.1%}; the GRU in {gru_longest:.1%}, the LSTM in {lstm_longest:.1%}.
#
# ![Right answers against the longest gap. GRU and LSTM stay at the top, one on the other.](03_long_dependencies/accuracy.svg)
#
# The memory maps say why. First as curves: the norm, averaged over all pairs of steps that are so far apart. The axis
# is logarithmic, so a straight line down means the same factor at every step. The curves begin with the derivative of a
# state with respect to itself, the unit matrix, whose norm is $\sqrt{48}$ or about 7 for 48 units. All shares are
# relative to that.
#
# ![What is left of a gradient against the distance, before training. A curve ends where it falls below
# $10^{-12}$.](03_long_dependencies/before.svg)
#
# This is what training has to start from. The RNN's gradient shrinks to {rnn_factor:.2f} of itself at every word;
# {distance} words back, {rnn_left:.0e} of it is left. The country does influence the answer, but what comes back to it
# is lost beside what comes back to the later words. The GRU's gradient is {gru_left:.2g} times what it was, and the
# LSTM's, from cell state to cell state, {lstm_left:.2g} times. (A factor above 1 means that ways through $h$ join the
# way along the cell state. A gradient that is too long is easily cured: it is clipped. One that has vanished is not.)
#
# The map shows every pair of steps: on the diagonal a step and itself, in the lower left corner the last word and the
# first.
#
# ![The RNN before training. In the map only a band along the diagonal is bright; where it is darkest, the norm is below
# $10^{-12}$.](03_long_dependencies/rnn.svg)
#
# In the trained LSTM the gradient reaches the first words: {longest} words back it is {lstm_open:.2g} times what it
# was. Of its three curves, the solid one belongs to $h$, which is computed anew at every step; the dashed one to the
# cell state $c$; the dash-dotted one to $c$ as well, but only by the way along $c$ itself.
#
# ![The LSTM after training. The map is that of its cell state; nothing in it is dark.](03_long_dependencies/lstm.svg)
#
# ## It is the learning that fails, not the memory
#
# One more experiment, so as not to conclude too much. The same RNN, given no more sentences, but with short gaps far
# more often than long ones, answers {rnn_patient:.1%} rightly at a gap of {longest}. So a plain RNN *can* hold a
# country for {longest} words, once the short gaps have shown it which word matters. Its units then sit in stable states
# that later words do not move: a small change of them is soon gone, and so its gradient still vanishes, as the last
# picture shows. What it could not do was to *find* that solution through a gradient that does not reach. GRU and LSTM
# need no such crutch. Why, is what the next chapter is about.
#
# ![What is left of a gradient after training; the RNN is that of this last experiment.](03_long_dependencies/after.svg)

# %%
if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
