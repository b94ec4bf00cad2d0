# %% [markdown]
# # An encoder and a decoder translate dates
#
# "dimanche 23 août 2026", "August 23, 2026", "23.08.2026", "2026年8月23日": four ways to write one day. We want a
# network that reads a date in one of six languages and writes it in another one, or in the international form
# 2026-08-23.
#
# What is new here is that a sequence goes in *and* a sequence comes out, and that they differ in length and in order:
# the year stands last in one and first in the other. So one network reads to the end (the *encoder*), what it
# remembers is handed over, and a second network writes (the *decoder*), one character after the other
# (Sutskever, Vinyals and Le 2014; Cho et al. 2014).
#
# How each language writes its dates is known to the Unicode consortium's Common Locale Data Repository, and the Python
# package Babel brings it along: `pip install 'tinygrad_lstm[examples]'`.

# %%
import datetime
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lstm as tl

try:
    from babel.dates import format_date
except ImportError:
    raise tl.MissingExtra("Babel", "examples", "the example of translated dates") from None

F = tl.nn.functional

# %% [markdown]
# ## Dates to learn from, and dates to be tested on
#
# All days of the years 1900 to 2099 are shuffled. Some thousand of them are laid aside: the network never sees these days,
# in whatever language, until the test. A language has up to three ways to write a date, from medium
# ("23 août 2026") to full, with the day of the week. We read any of them and always write the long one,
# without the day of the week.
#
# Every target has a mark, a character that is in no date. The decoder is given the mark first: this is how it
# knows what to write.

# %%
LANGUAGES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es", "Russian": "ru", "Chinese": "zh"}
MARKS = dict(zip(["ISO 8601", *LANGUAGES], "①②③④⑤⑥⑦", strict=True))
LENGTHS = ("medium", "long", "full")
FIRST, LAST = datetime.date(1900, 1, 1).toordinal(), datetime.date(2099, 12, 31).toordinal()


@cache
def written(day: int, language: str, length: str = "long") -> str:
    """A day (its number in the calendar) as it is written; in some languages Babel separates by narrow spaces."""
    date = datetime.date.fromordinal(day)
    if language == "ISO 8601":
        return date.isoformat()
    return format_date(date, length, locale=LANGUAGES[language]).replace("\u202f", " ").replace("\u00a0", " ")


def pairs(days: np.ndarray, generator: np.random.Generator) -> tuple[list[str], list[str]]:
    """For every day a source text in a random language, and mark + text in another one."""
    sources, targets = [], []
    for day in days.tolist():
        language = generator.choice(list(LANGUAGES))
        target = generator.choice([name for name in MARKS if name != language])
        sources.append(written(day, language, str(generator.choice(LENGTHS))))
        targets.append(MARKS[target] + written(day, target))
    return sources, targets


# %% [markdown]
# ## Characters as numbers
#
# A `Vocabulary` gives every character a number from 1. The 0 is left, and we use it for two things: it fills up the
# shorter texts of a batch, and in what the decoder is to write it says "the end".


# %%
def vocabulary() -> tl.data.Vocabulary:
    """Every character that occurs in a date of one year, in any language, and the marks."""
    days = range(FIRST, FIRST + 366)
    texts = [written(day, name, length) for day in days for name in LANGUAGES for length in LENGTHS]
    return tl.data.Vocabulary.from_text("".join(texts) + "0123456789-" + "".join(MARKS.values()))


def packed(texts: Sequence[str], known: tl.data.Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Ids (T, B), filled up with 0, and the length of each text (B,)."""
    lengths = np.array([len(text) for text in texts])
    ids = np.zeros((lengths.max(), len(texts)), np.int32)
    for b, text in enumerate(texts):
        ids[: len(text), b] = known.encode(text)
    return ids, lengths


# %% [markdown]
# ## The two networks
#
# The encoder reads the source from both ends. Its final hidden states (one of each direction) side by side are the first
# hidden state of the decoder, and its final cell states the first cell state. This is all the decoder gets to know
# of the source: a few hundred numbers, whatever the length of the text.
#
# The decoder is an LSTM that reads what has been written so far, beginning with the mark, and a linear layer scores the
# next character.
#
# ### Attention
#
# A human translator looks back at the text now and then, and does not learn it by heart. *Attention* does just that.
# At each of its steps t the decoder compares its output o[t] with the encoder's outputs m[1], m[2], ... at all
# characters of the source, and turns the similarities into weights w that sum to 1. The mean of the m[s] under these
# weights, r[t], is what it "looks at" (Luong, Pham and Manning 2015, the form they call "general"):
#
# ```text
# w[t, s] = softmax over s of  m[s] · A o[t]
# r[t]    = sum over s of  w[t, s] m[s]
# new[t]  = tanh(B (o[t], r[t]))
# ```
#
# It is an extension of the plain translator by two matrices, declared with `attention=True`. All of it happens after
# the recurrence, so that the decoder's LSTM still runs over all steps in one go while training. The sums are written
# with `einsum`: b counts the texts of a batch, t the steps of the decoder, s those of the encoder.


# %%
class Translator(tl.nn.Module):
    """Scores of the next character of the target, from the source and the target so far."""

    def __init__(self, characters: int, hidden: int, attention: bool, seed: int):
        generator = np.random.default_rng(seed)
        self.embedding = tl.nn.Embedding(characters, 32, seed=generator)
        self.encoder = tl.nn.LSTM(32, hidden // 2, bidirectional=True, seed=generator)
        self.decoder = tl.nn.LSTM(32, hidden, seed=generator)
        self.attention = attention
        if attention:
            self.similar = tl.nn.Linear(hidden, hidden, bias=False, seed=generator)  # A
            self.mix = tl.nn.Linear(2 * hidden, hidden, seed=generator)  # B
        self.readout = tl.nn.Linear(hidden, characters, seed=generator)

    def read(self, source: np.ndarray, lengths: np.ndarray) -> tuple[tl.Tensor, tuple[tl.Tensor, ...]]:
        """The encoder's outputs (S, B, hidden), and the states with which the decoder begins."""
        outputs, states = self.encoder(self.embedding(source), lengths=lengths)
        return outputs, tuple(tl.concatenate([*state], axis=-1)[None] for state in states)

    def look(self, o: tl.Tensor, m: tl.Tensor, lengths: np.ndarray) -> tuple[tl.Tensor, tl.Tensor]:
        """The decoder's outputs with what they look at (T, B, hidden), and the weights (T, B, S)."""
        likeness = tl.einsum("tbh,sbh->tbs", self.similar(o), m)
        beyond = np.arange(len(m)) >= lengths[:, None]  # (B, S): nothing is written there
        w = tl.softmax(tl.where(beyond, -1e9, likeness), axis=-1)
        r = tl.einsum("tbs,sbh->tbh", w, m)
        return tl.tanh(self.mix(tl.concatenate([o, r], axis=-1))), w

    def forward(self, source: np.ndarray, lengths: np.ndarray, written: np.ndarray) -> tl.Tensor:
        """source (S, B), what is written so far (T, B) -> scores of what comes next (T, B, characters)."""
        m, states = self.read(source, lengths)
        o, _ = self.decoder(self.embedding(written), states)
        return self.readout(self.look(o, m, lengths)[0] if self.attention else o)


# %% [markdown]
# ## Training
#
# While training, the decoder is always given the right characters so far and has to say the next one. So its inputs are
# known beforehand, and the whole target is one call of the layer, not a loop. (The literature calls this *teacher
# forcing*.) The gradient of its mistakes goes back through the decoder, then through the handed-over states into the
# encoder: nobody tells the encoder what to remember.
#
# Steps after the end of a target do not count; `cross_entropy` leaves out the targets that are -100.


# %%
def train(
    model: Translator,
    known: tl.data.Vocabulary,
    days: np.ndarray,
    judged: np.ndarray,
    steps: int,
    rate: float,
    seed: int,
) -> tl.train.Fit:
    """Train on random pairs of texts of these days; now and then look how many of the judged days are right."""
    generator = np.random.default_rng([seed, 1])

    def batches() -> Iterator[tuple[list[str], list[str]]]:
        while True:
            yield pairs(generator.choice(days, 64), generator)

    def step(model: Translator, batch: tuple[list[str], list[str]], states: None) -> tl.Tensor:
        (source, lengths), (target, ends) = packed(batch[0], known), packed(batch[1], known)
        following = np.concatenate([target[1:], np.zeros_like(target[:1])])
        wanted = np.where(np.arange(len(target))[:, None] < ends, following, -100)
        scores = model(source, lengths, target)
        return F.cross_entropy(scores.reshape(-1, len(known)), wanted.reshape(-1))

    sources, targets = pairs(judged, np.random.default_rng(0))
    optimizer = tl.optim.Adam(model.parameters(), lr=rate)
    return tl.fit(
        model,
        batches,
        step=step,
        optimizer=optimizer,
        schedule=tl.optim.OneCycleLR(optimizer, rate, total_steps=steps),
        clip=1.0,
        steps=steps,
        evaluate=lambda model: exact(translate(model, known, sources, [t[0] for t in targets]), targets),
        evaluate_every=max(1, steps // 12),
        generators=[generator],
        items=lambda batch: len(batch[0]),
        unit="texts",
    )


# %% [markdown]
# ## Translating
#
# Later nobody knows the right characters. The decoder then reads what it has written itself: we take the character with
# the highest score, write it down, and give it back as the next input, until it says "the end". `decoder.step` runs one
# step of the LSTM for the whole batch, without keeping what a gradient would need.
#
# A translation counts as right if every character is.


# %%
def translate(model: Translator, known: tl.data.Vocabulary, sources: Sequence[str], marks: Sequence[str]) -> list[str]:
    """What the model writes for every source, the best character at each step; the mark says in which language."""
    source, lengths = packed(sources, known)
    letter = packed(marks, known)[0][0]
    letters = []
    with tl.no_grad():
        m, states = model.read(source, lengths)
        for _ in range(40):
            o, states = model.decoder.step(model.embedding(letter), states)
            if model.attention:
                o = model.look(o[None], m, lengths)[0][0]
            letter = model.readout(o).numpy().argmax(axis=-1).astype(np.int32)
            letters.append(letter)
    return [known.decode(row).split(known.unknown)[0] for row in np.stack(letters, axis=1)]


def exact(answers: Sequence[str], targets: Sequence[str]) -> float:
    """The share of answers that are right to the last character."""
    return sum(answer == target[1:] for answer, target in zip(answers, targets, strict=True)) / len(targets)


# %% [markdown]
# ## Result
#
# We ask for 99 % of the dates to be right to the last character, on days that were never seen. Guessing a day would be
# right once in some 73,000 times.
#
# The plain translator, which has to remember everything, gets {plain:.1%} of them right; the one with attention
# {attention:.1%}, and it needs fewer steps of training and a smaller LSTM for it.
#
# ![The share of days, none of them trained on, that are translated without a mistake, as training goes
# on.](09_translation/learning.svg)
#
# What does the network look at? The weights w[t, s] tell: one row for each character that is written, one column for
# each that is read.
#
# ![Where the decoder looks while it writes the international form of a French date: bright is much
# weight.](09_translation/french.svg)
#
# It looks at the year first, which stands at the end of the source, then at the month, whose name it turns into two
# digits, then at the day. Nobody told it what a month is.
#
# ![The same for German into French, where the word changes and the order stays.](09_translation/german.svg)


# %%
def attention_map(model: Translator, known: tl.data.Vocabulary, source: str, target: str) -> tl.plot.Plot:
    """Where the model looks in the source while it writes the target."""
    answer = translate(model, known, [source], [MARKS[target]])[0]
    ids, lengths = packed([source], known)
    with tl.no_grad():
        m, states = model.read(ids, lengths)
        o, _ = model.decoder(model.embedding(packed([MARKS[target] + answer], known)[0]), states)
        _, w = model.look(o, m, lengths)  # (T + 1, 1, S): the last row is the end
    return tl.plot.gates({"attention": w.numpy()[:-1, 0].T}, source, labels=list(answer), title=f"{source} → {answer}")


def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Train both translators, test them on days they never saw, print and draw; `quick` trains for fewer steps."""
    days = np.random.default_rng(seed).permutation(np.arange(FIRST, LAST + 1))
    judged, test, training = days[:200], days[200:2200], days[2200:]
    known = vocabulary()
    sources, targets = pairs(test, np.random.default_rng(1))
    marks = [target[0] for target in targets]
    results: dict[str, Any] = {"guessing": 1 / len(days), "bar": 0.3 if quick else 0.99}
    print(f"dates in {len(LANGUAGES)} languages, {len(training):,} days to learn from, {len(test):,} to be tested on")
    print(f"  guessing a day                         {results['guessing']:9.3%}")

    runs, models, shown = {}, {}, {}
    steps = {"plain": 100, "attention": 300} if quick else {"plain": 2000, "attention": 800}
    settings = {"plain": (192, False), "attention": (128, True)}
    for name, (hidden, attention) in settings.items():
        model = models[name] = Translator(len(known), hidden, attention, seed)
        runs[name] = train(model, known, training, judged, steps[name], 5e-3, seed)
        answers = translate(model, known, sources, marks)
        results[name] = exact(answers, targets)
        shown[name] = next(((s, a) for s, a, t in zip(sources, answers, targets, strict=True) if a != t[1:]), None)
        print(f"  LSTM of {hidden}, {name + ',':<10} {runs[name].steps:5} steps        {results[name]:9.1%}")
    worst = results["attention"] if quick else min(results["plain"], results["attention"])
    results["reached"] = float(worst >= results["bar"])
    who = "by attention" if quick else "by both"
    reached = f"reached {who}" if results["reached"] else "missed"
    print(f"  the bar                                {results['bar']:9.1%}   {reached}")
    for name, mistake in shown.items():
        print(f"a mistake of {name}: {' -> '.join(mistake) if mistake else 'none'}")

    folder = Path(folder) / "09_translation"
    folder.mkdir(parents=True, exist_ok=True)
    curves = {name: tuple(np.array(run.evaluations).T) for name, run in runs.items()}
    tl.plot.lines(
        curves, x_label="step of training", y_label="dates without a mistake", title="learning to translate dates"
    ).save(folder / "learning.svg")
    day = datetime.date(2026, 8, 23).toordinal()
    for name, language, target in (("french", "French", "ISO 8601"), ("german", "German", "French")):
        attention_map(models["attention"], known, written(day, language, "full"), target).save(folder / f"{name}.svg")
    return results


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
