# %% [markdown]
# # Who is speaking?
#
# Nine men were asked to say two Japanese vowels, one after the other: /ae/. Every recording was cut into short
# frames, and every frame became 12 numbers that describe the shape of the speaker's vocal tract at that moment
# (experts call them the cepstral coefficients of a linear prediction). From such a sequence of frames we want to know
# which of the nine men is speaking.
#
# Not every utterance takes as long as the next: they last from 7 to 29 frames. A network that reads step by step does not
# mind. It reads as long as there is something to read, and what it remembers at the end is the same number of values for
# a short utterance as for a long one.
#
# The recordings are M. Kudo, J. Toyama and M. Shimbo's *Japanese Vowels* (UCI Machine Learning Repository, 1999,
# [doi 10.24432/C5NS47](https://doi.org/10.24432/C5NS47), CC BY 4.0); they come with this library.

# %%
import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lstm as tl

F = tl.nn.functional

# %% [markdown]
# ## Sequences of different lengths
#
# `tl.data.japanese_vowels()` gives 270 utterances to learn from and 370 to be tested on. A part has three arrays:
#
# - `frames` has the shape (T, N, 12): T steps, N utterances, 12 coefficients. T is the length of the longest utterance;
#   the shorter ones are filled up with zeros at the end. This is called *padding*.
# - `lengths` has the shape (N,) and says how many of the T frames each utterance really has.
# - `speakers` has the shape (N,): who speaks, from 0 to 8.
#
# The layout "steps first" is the natural one for a network that walks through time: `frames[t]` is the t-th frame of
# all utterances.
#
# The first coefficients vary more than the last ones. We bring all to the same scale: subtract the mean over all
# training frames and divide by their standard deviation. The padding must not count in either, and is set to zero again.
#
# ![Two utterances, of two speakers, after this: one row a coefficient, one column a frame; blue is above the average
# frame, red below.](08_speech/utterances.svg)


# %%
def real(part: tl.data.Utterances) -> np.ndarray:
    """Which frames belong to an utterance: (T, N) booleans, False for the padding."""
    return np.arange(len(part.frames))[:, None] < part.lengths


def standardised(training: tl.data.Utterances, test: tl.data.Utterances) -> tuple[np.ndarray, np.ndarray]:
    """The frames of both parts, (T, N, 12) each, on the scale of the training part."""
    known = training.frames[real(training)]  # (all frames, 12)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    first, second = ((part.frames - mean) / deviation * real(part)[..., None] for part in (training, test))
    return first, second


# %% [markdown]
# ## What is to be beaten
#
# Before training anything, we need to know what can be had for less. Two classifiers know nothing of time: one always
# names the same speaker (each has 30 utterances in the training part, so it may be any of them); the other averages the
# frames of an utterance and names the speaker whose average training utterance is nearest.


# %%
def nearest_mean(xs: np.ndarray, speakers: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The average frame of every utterance (N, 12), and of every speaker (9, 12)."""
    averages = xs.sum(axis=0) / lengths[:, None]
    return averages, np.stack([averages[speakers == k].mean(axis=0) for k in range(9)])


def baselines(
    xs: np.ndarray, xs_test: np.ndarray, training: tl.data.Utterances, test: tl.data.Utterances
) -> dict[str, float]:
    """The share of test utterances that simple rules name rightly."""
    own, centres = nearest_mean(xs, training.speakers, training.lengths)
    averages = xs_test.sum(axis=0) / test.lengths[:, None]
    scale = own.std(axis=0)
    distances = (((averages[:, None] - centres) / scale) ** 2).sum(axis=-1)  # (N, 9)
    return {
        "guessing": float((test.speakers == 0).mean()),
        "nearest_mean": float((distances.argmin(axis=1) == test.speakers).mean()),
    }


# %% [markdown]
# ## A network that reads from both ends
#
# An LSTM walks through the frames and keeps two vectors, the hidden state and the cell state. Its hidden state after
# the last frame depends on the whole utterance. With `bidirectional=True` there is a second LSTM beside it that reads
# the same frames from the last to the first. We put the two final hidden states side by side, and a linear layer turns
# them into 9 scores, one for each speaker.
#
# The argument `lengths=` is what makes different lengths work: the final state of an utterance is the one at its own
# last frame, not the one after the padding, and the backward LSTM starts at that frame too. Nothing need be sorted or
# masked by hand.
#
# `Dropout` sets a random part of the values to zero at each step of training, so that no single one is relied upon. It
# does nothing after training (`model.eval()` says that it is over).


# %%
class Listener(tl.nn.Module):
    """Scores of the speakers (N, 9) from frames (T, N, 12) and lengths (N,)."""

    def __init__(self, hidden: int, bidirectional: bool, seed: int):
        generator = np.random.default_rng(seed)
        self.lstm = tl.nn.LSTM(12, hidden, bidirectional=bidirectional, seed=generator)
        self.dropout = tl.nn.Dropout(0.3, seed=generator)
        self.readout = tl.nn.Linear(hidden * (2 if bidirectional else 1), 9, seed=generator)

    def forward(self, frames: np.ndarray, lengths: np.ndarray) -> tl.Tensor:
        _, (h, _) = self.lstm(frames, lengths=lengths)  # h (directions, N, hidden)
        return self.readout(self.dropout(tl.concatenate([*h], axis=-1)))


# %% [markdown]
# ## Training
#
# 270 utterances are few. A network could learn each of them by heart and nothing about the speakers. So it never gets
# exactly the same utterance twice: a little noise is added to every frame, anew each time. A change that small does not
# make another man of the speaker, and the network must learn so.
#
# The rest is the usual loop, and `tl.fit` runs it: the loss is the [cross-entropy](02_recurrent.md), `AdamW` (Adam that
# also draws every weight a little towards zero) changes the parameters, and the learning rate first rises and then falls
# (`OneCycleLR`). An *epoch* is one way through all utterances, in random order.


# %%
def train(
    frames: np.ndarray, part: tl.data.Utterances, bidirectional: bool, epochs: int, seed: int
) -> tuple[Listener, tl.train.Fit]:
    """A listener that has gone through the training part so many times."""
    model = Listener(64, bidirectional, seed)
    batches = tl.data.Minibatches(np.arange(len(part.speakers)), size=30, seed=seed)
    optimizer = tl.optim.AdamW(model.parameters(), lr=5e-3)
    noise = np.random.default_rng([seed, 1])

    def step(model: Listener, rows: np.ndarray, states: None) -> tl.Tensor:
        heard = frames[:, rows] + 0.3 * noise.standard_normal((len(frames), len(rows), 12), np.float32)
        return F.cross_entropy(model(heard, part.lengths[rows]), part.speakers[rows])

    run = tl.fit(
        model,
        batches,
        step=step,
        optimizer=optimizer,
        schedule=tl.optim.OneCycleLR(optimizer, 5e-3, total_steps=epochs * len(batches)),
        clip=1.0,
        epochs=epochs,
        generators=[noise],
        unit="utterances",
    )
    return model, run


def answers(model: Listener, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Who speaks, by the model's highest score: (N,)."""
    model.eval()
    with tl.no_grad():
        return model(frames, lengths).numpy().argmax(axis=1)


# %% [markdown]
# ## How much must be heard?
#
# Because every utterance carries its own length, we can ask the trained network what it thinks after the first frame
# alone, after two, after three: the frames are the same, only `lengths` says less. It was trained on whole utterances
# only. After five frames the one that reads forwards is right for {forwards_5:.0%}, the one that reads from both ends
# (its backward LSTM begins at the fifth frame then) for {both_5:.0%}; after ten it is {forwards_10:.0%} and
# {both_10:.0%}.
#
# ![How many of the test utterances are named rightly after so many frames. An utterance that ends before counts with all
# its frames.](08_speech/frames.svg)


# %%
def accuracy_after(
    model: Listener, frames: np.ndarray, test: tl.data.Utterances, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Number of frames heard, and the share of utterances that is named rightly after them."""
    heard = np.arange(1, most + 1)
    right = [answers(model, frames, np.minimum(test.lengths, n)) == test.speakers for n in heard]
    return heard, np.mean(right, axis=1)


# %% [markdown]
# ## Padding does not change a bit
#
# An utterance in a batch stands beside longer ones, and is padded with zeros. Does that change what the network remembers
# of it? In this library it does not, not even in the last bit: we let every tenth utterance be read alone, without any
# padding, and compare its final hidden states with those in the batch. The largest difference over all of them
# is {alone:g}.


# %%
def difference_alone(model: Listener, frames: np.ndarray, lengths: np.ndarray) -> float:
    """The largest difference between the states of an utterance in the batch and of the same one alone."""
    with tl.no_grad():
        _, (together, _) = model.lstm(frames, lengths=lengths)  # (2, N, hidden)
        pairs = []
        for n in range(0, len(lengths), 10):
            _, (alone, _) = model.lstm(frames[: lengths[n], n : n + 1])
            pairs.append(np.abs(alone.numpy()[:, 0] - together.numpy()[:, n]).max())
    return float(max(pairs))


# %% [markdown]
# ## The result
#
# In their paper of 1999 (Pattern Recognition Letters 20, 1103-1111), the authors of the recordings named 94.1% of the test
# utterances rightly with a method of their own, and 96.2% with a hidden Markov model, the usual way with speech in those
# years. The bar for the network that reads from both ends is {bar:.0%}.
#
# The nearest average frame, which knows nothing of the order of the frames, is right for {nearest_mean:.1%} of the test
# utterances: who speaks can mostly be told without listening to how the vowel changes. The LSTM that reads forwards
# names {forwards:.1%} rightly, the one that reads from both ends {accuracy:.1%}. (One of 370 utterances is 0.3%: do not
# read much into a difference of that size.)
#
# ![The loss while training, on a logarithmic axis: faint for every step, bold for the running
# mean.](08_speech/losses.svg)


# %%
def pictures(
    folder: Path,
    frames: np.ndarray,
    part: tl.data.Utterances,
    runs: dict[str, tl.train.Fit],
    heard: dict[str, tuple[np.ndarray, np.ndarray]],
    guessing: float,
) -> None:
    """Two utterances, the losses, and the accuracy against the number of frames."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {"speaker 0": 0, "speaker 3": int(np.flatnonzero((part.speakers == 3) & (part.lengths == 20))[0])}
    length = min(part.lengths[n] for n in chosen.values())
    maps = {name: frames[:length, n] for name, n in chosen.items()}
    names = [f"{k}" for k in range(1, 13)]
    title = "12 coefficients over the frames of two utterances"
    tl.plot.gates(maps, labels=names, shared=True, title=title).save(folder / "utterances.svg")
    tl.plot.losses(runs, y_label="cross-entropy", log=True, title="learning to tell speakers apart").save(
        folder / "losses.svg"
    )
    tl.plot.lines(
        heard,
        x_label="frames heard",
        y_label="share named rightly",
        levels={"always the same speaker": guessing},
        title="how much must be heard",
    ).save(folder / "frames.svg")


def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Train, test, print and draw; `quick` goes through the data fewer times."""
    training, test = tl.data.japanese_vowels()
    xs, xs_test = standardised(training, test)
    results: dict[str, Any] = dict(baselines(xs, xs_test, training, test))
    epochs = 15 if quick else 60
    models, runs, heard = {}, {}, {}
    for name, both in (("forwards", False), ("both ends", True)):
        models[name], runs[name] = train(xs, training, both, epochs, seed)
        heard[name] = accuracy_after(models[name], xs_test, test, 20)
    results["forwards"], results["accuracy"] = (
        float((answers(model, xs_test, test.lengths) == test.speakers).mean()) for model in models.values()
    )
    for name, key in (("forwards", "forwards"), ("both ends", "both")):
        results[f"{key}_5"], results[f"{key}_10"] = (float(heard[name][1][n - 1]) for n in (5, 10))
    results["alone"] = difference_alone(models["both ends"], xs_test, test.lengths)
    results["bar"] = 0.9 if quick else 0.96

    print("named rightly, of 370 test utterances by 9 speakers")
    print(f"  always the same speaker     {results['guessing']:6.1%}")
    print(f"  nearest average frame       {results['nearest_mean']:6.1%}")
    print("  hidden Markov model, 1999    96.2%")
    print(f"  LSTM, forwards              {results['forwards']:6.1%}")
    print(f"  LSTM, from both ends        {results['accuracy']:6.1%}")
    results["reached"] = float(results["accuracy"] >= results["bar"])
    reached = "reached" if results["reached"] else "missed"
    print(f"  the bar                     {results['bar']:6.1%}   {reached}")
    print(f"after 5 frames: forwards {results['forwards_5']:.1%}, from both ends {results['both_5']:.1%}")
    print(f"an utterance alone and in the batch: states differ by {results['alone']:g}")
    pictures(Path(folder) / "08_speech", xs, training, runs, heard, results["guessing"])
    return results


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
