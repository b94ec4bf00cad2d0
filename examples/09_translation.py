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
# How each language writes its dates is recorded in the Unicode Consortium's Common Locale Data Repository, and the Python
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
# All days of the years 1900 to 2099 are shuffled, and 2,200 of them are laid aside: the network is not trained on these
# days in any language. 200 of them serve to watch the training, 2,000 for the test. Babel knows three ways to write a
# date in a language, from medium ("23 août 2026") to full, with the day of the week; some may be alike. We read any of
# them and always write the long one, without the day of the week.
#
# Every target begins with a mark, a character that is in no date, one for each language and one for the international
# form. The decoder is given the mark first: this is how it knows what to write.

# %%
LANGUAGES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es", "Russian": "ru", "Chinese": "zh"}
MARKS = dict(zip(["ISO 8601", *LANGUAGES], "①②③④⑤⑥⑦", strict=True))
LENGTHS = ("medium", "long", "full")
FIRST, LAST = datetime.date(1900, 1, 1).toordinal(), datetime.date(2099, 12, 31).toordinal()


@cache
def written(day: int, language: str, length: str = "long") -> str:
    """A day (its number in the calendar) as it is written, with plain spaces only."""
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
# A `Vocabulary` gives every character it knows a number from 1 on, and 0 to all others. No date has others, so 0 is free
# for two things: it fills up the shorter texts of a batch, and in what the decoder is to write it says "the end".


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
# The encoder reads the source [from both ends](08_speech.md). Its final hidden states (one of each direction) side by side
# are the first hidden state of the decoder, and its final cell states the first cell state. This is all the decoder gets
# to know of the source: a few hundred numbers, whatever the length of the text.
#
# The decoder is an LSTM that reads what has been written so far, beginning with the mark, and a linear layer scores the
# next character.
#
# ### Attention
#
# A human translator looks back at the text now and then, and does not learn it by heart. *Attention* does just that.
# At each of its steps $t$ the decoder compares its output $o_t$ (no gate here) with the encoder's outputs
# $m_1, m_2, ...$ at all characters of the source, and turns the similarities into weights $w_{ts}$ that sum to 1. The
# mean of the $m_s$ under these weights, $r_t$, is what it "looks at" (Luong, Pham and Manning 2015, the form they call
# "general"):
#
# $$w_{ts} = \mathrm{softmax}_s(m_s \cdot A\,o_t), \qquad r_t = \sum_s w_{ts}\, m_s$$
#
# Then $\tanh(B\,[o_t, r_t] + b)$, of the two vectors side by side, takes the place of $o_t$. $A$, $B$ and $b$ are learned;
# they are all that `attention=True` adds to the plain translator. It happens after the recurrence, so that the decoder's
# LSTM still runs over all steps in one go while training. The sums are written with `einsum`: `b` counts the texts of a
# batch, `t` the steps of the decoder, `s` those of the encoder, `h` the numbers of a vector.


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
        evaluate_every=max(1, steps // 10),
        generators=[generator],
        items=lambda batch: len(batch[0]),
        unit="texts",
    )


# %% [markdown]
# ## Translating
#
# Later nobody knows the right characters. The decoder then reads what it has written itself: we take the character with
# the highest score, write it down, and give it back as the next input, for 40 steps; what comes after the first "end" does
# not count. `decoder.step` runs one step of the LSTM for the whole batch, without keeping what a gradient would need.
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
# A date is right if it is right to the last character. The bar is {bar:.0%}, on days that were never seen; guessing a day
# would be right once in {days:,.0f} times.
#
# The plain translator, an LSTM of {plain_units:.0f} units which has to remember everything, gets {plain:.1%} of them right
# after {plain_steps:,.0f} steps of training. The one with attention, of {attention_units:.0f} units, gets {attention:.1%}
# after {attention_steps:,.0f}.
#
# ![The share of days, none of them trained on, that are translated without a mistake, as training goes on: plain and with
# attention.](09_translation/learning.svg)
#
# What does the network look at? The weights tell: one row for each character that is written, from top to bottom, one
# column for each that is read.
#
# ![Where the decoder looks while it writes the international form of a French date: bright is much
# weight.](09_translation/french.svg)
#
# The year stands at the end of the source and comes first in the target. While the four digits of 2026 are written,
# {look_year:.0%} of the weight is on the year in the source. For the two digits of the month it is {look_month:.0%} on the
# word *août* with the blanks beside it, for those of the day {look_day:.0%} on the 23. Nobody told the network what a
# month is.
#
# ![The same for German into French: the words change, the order of day, month and year does
# not.](09_translation/german.svg)


# %%
def attention_of(model: Translator, known: tl.data.Vocabulary, source: str, target: str, text: str) -> np.ndarray:
    """How much weight is on each character of the source while the text is written in the target: (len(text), S)."""
    ids, lengths = packed([source], known)
    with tl.no_grad():
        m, states = model.read(ids, lengths)
        o, _ = model.decoder(model.embedding(packed([MARKS[target] + text], known)[0]), states)
        _, w = model.look(o, m, lengths)  # (len(text) + 1, 1, S): the last row is the end
    return w.numpy()[:-1, 0]


def attention_map(model: Translator, known: tl.data.Vocabulary, source: str, target: str) -> tl.plot.Plot:
    """Where the model looks in the source while it translates it to the target."""
    answer = translate(model, known, [source], [MARKS[target]])[0]
    w = attention_of(model, known, source, target, answer)
    return tl.plot.gates({"attention": w.T}, source, labels=list(answer), title=f"{source} → {answer}")


def looks(model: Translator, known: tl.data.Vocabulary, day: int) -> dict[str, float]:
    """The weight on year, month (with the blanks) and day of a French date while they are written as by ISO 8601."""
    source, right = written(day, "French", "full"), written(day, "ISO 8601")
    w = attention_of(model, known, source, "ISO 8601", right)
    _, date, month, year = source.split(" ")
    at = {"year": source.rindex(year), "month": source.index(f" {month} "), "day": source.index(f" {date} ") + 1}
    read = {
        name: slice(at[name], at[name] + n) for name, n in (("year", 4), ("month", len(month) + 2), ("day", len(date)))
    }
    rows = {"year": slice(0, 4), "month": slice(5, 7), "day": slice(8, 10)}
    return {f"look_{name}": float(w[rows[name], read[name]].sum(axis=1).mean()) for name in rows}


def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Train both translators, test them on days never seen, print and draw; `quick` trains for fewer steps."""
    days = np.random.default_rng(seed).permutation(np.arange(FIRST, LAST + 1))
    judged, test, training = days[:200], days[200:2200], days[2200:]
    known = vocabulary()
    sources, targets = pairs(test, np.random.default_rng(1))
    marks = [target[0] for target in targets]
    results: dict[str, Any] = {"days": float(len(days)), "bar": 0.3 if quick else 0.99}
    print(f"dates in {len(LANGUAGES)} languages, {len(training):,} days to learn from, {len(test):,} to be tested on")
    print(f"  {'guessing a day':<34} {1 / len(days):8.3%}")

    runs, models, shown = {}, {}, {}
    steps = {"plain": 100, "attention": 300} if quick else {"plain": 2000, "attention": 800}
    settings = {"plain": (192, False), "attention": (128, True)}
    for name, (hidden, attention) in settings.items():
        model = models[name] = Translator(len(known), hidden, attention, seed)
        runs[name] = train(model, known, training, judged, steps[name], 5e-3, seed)
        answers = translate(model, known, sources, marks)
        results[name] = exact(answers, targets)
        results[f"{name}_units"], results[f"{name}_steps"] = float(hidden), float(runs[name].steps)
        wrong = [(s, a) for s, a, t in zip(sources, answers, targets, strict=True) if a != t[1:]]
        shown[name] = " -> ".join(wrong[0]) if wrong else "none"
        print(f"  {name + ',':<10} LSTM of {hidden}, {runs[name].steps:4} steps {results[name]:6.1%}")
    worst = results["attention"] if quick else min(results["plain"], results["attention"])
    results["reached"] = float(worst >= results["bar"])
    who = "by attention" if quick else "by both"
    reached = f"reached {who}" if results["reached"] else "missed"
    print(f"  {'the bar':<34} {results['bar']:6.1%}   {reached}")
    for name, mistake in shown.items():
        print(f"a mistake of {name}: {mistake}")

    folder = Path(folder) / "09_translation"
    folder.mkdir(parents=True, exist_ok=True)
    curves = {name: tuple(np.array(run.evaluations).T) for name, run in runs.items()}
    tl.plot.lines(
        curves, x_label="step of training", y_label="dates without a mistake", title="learning to translate dates"
    ).save(folder / "learning.svg")
    day = datetime.date(2026, 8, 23).toordinal()
    results |= looks(models["attention"], known, day)
    for name, language, target in (("french", "French", "ISO 8601"), ("german", "German", "French")):
        drawn = attention_map(models["attention"], known, written(day, language, "full"), target)
        drawn.save(folder / f"{name}.svg")
    return results


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
