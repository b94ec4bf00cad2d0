# %% [markdown]
# # A label for every step
#
# An editor colours a program while it is being typed: names, numbers, strings and comments each in their own colour.
# What a character is depends on what stands before it. The word `for` is a name (a keyword, to be exact) in
#
# ```python
# for line in file:
# ```
#
# and a part of a text in
#
# ```python
# """What this module is for, and who wrote it ...
# ```
#
# Inside a long string the characters themselves do not tell. The three quotes that opened it may stand a thousand
# characters back, and only who remembers them can be sure. That makes this task a good measure of memory: we train an
# LSTM and a plain recurrent network (RNN) to label every character the moment it is read, and look how often they are
# right *by the distance from the opening quote*.

# %%
import io
import sys
import token
import tokenize
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lstm as tl

F = tl.nn.functional

# %% [markdown]
# ## The truth: Python's own tokenizer
#
# The text is the source of Python's standard library, which every machine with Python has. Python's module `tokenize`
# says where each token begins and ends, and of which kind it is. What belongs to no token (spaces, line ends) is
# the kind "space". Since version 3.12, Python cuts an f-string into pieces, between `FSTRING_START` and `FSTRING_END`; we
# take it as one string.

# %%
KINDS = ["space", "name", "number", "operator", "string", "comment"]
STRING = KINDS.index("string")
COLUMNS = 72  # of the pictures of text
KIND = {token.NAME: 1, token.NUMBER: 2, token.OP: 3, token.STRING: STRING, tokenize.COMMENT: 5}


def labels(text: str) -> np.ndarray:
    """The kind of every character, (N,) integers."""
    lines = io.StringIO(text).readlines()
    begins = np.cumsum([0, *map(len, lines), 0])  # of every line, and of the one after the last
    kinds = np.zeros(len(text), np.intp)
    opened: list[int] = []  # where the f-strings began that are not closed yet
    for piece in tokenize.generate_tokens(io.StringIO(text).readline):
        start, end = (int(begins[row - 1]) + column for row, column in (piece.start, piece.end))
        name = token.tok_name[piece.type]
        if name == "FSTRING_START":
            opened.append(start)
        elif name == "FSTRING_END":
            kinds[opened.pop() : end] = STRING
        elif piece.type in KIND and not opened:
            kinds[start:end] = KIND[piece.type]
    return kinds


# %% [markdown]
# The last tenth of the files is kept for the test. A file that this Python cannot read is left out.


# %%
class Source:
    """Characters as ids, their kinds, and how far each is behind the first of its kind in a row, (N,) each."""

    def __init__(self, documents: dict[str, str], known: tl.data.Vocabulary | None = None):
        kinds = [labels(text) for text in documents.values()]
        self.text = "".join(documents.values())
        self.known = known or tl.data.Vocabulary.from_text(self.text, minimum=20)
        self.ids, self.kinds = self.known.encode(self.text), np.concatenate(kinds)
        position = np.arange(len(self.kinds))
        changes = np.append(True, self.kinds[1:] != self.kinds[:-1])
        self.distance = position - np.maximum.accumulate(np.where(changes, position, 0))


def readable(text: str) -> bool:
    """Whether this Python's tokenizer accepts the text."""
    try:
        for _ in tokenize.generate_tokens(io.StringIO(text).readline):
            pass
    except (tokenize.TokenError, SyntaxError):
        return False
    return True


def sources(characters: int) -> tuple[Source, Source]:
    """What is learned from, and what is tested on."""
    documents = {name: text for name, text in tl.data.standard_library(characters).items() if readable(text)}
    names = list(documents)
    cut = len(names) * 9 // 10
    training = Source({name: documents[name] for name in names[:cut]})
    return training, Source({name: documents[name] for name in names[cut:]}, training.known)


# %% [markdown]
# ## What is to be beaten: eight characters of memory
#
# A table needs no network. For every eight neighbouring characters of the training part we note which kind the
# last of them has most often; for those that are not in the table we ask a table of seven, and so on down to
# one. This classifier remembers exactly eight characters, and nothing before them.


# %%
class Table:
    """The commonest kind of a character, given it and at most `width - 1` before it."""

    def __init__(self, source: Source, width: int = 8):
        self.tables = []
        for n in range(1, width + 1):
            seen, at = np.unique(windows(source, n), return_inverse=True)
            counts = np.bincount(at * len(KINDS) + source.kinds[n - 1 :], minlength=len(seen) * len(KINDS))
            self.tables.append((seen, counts.reshape(-1, len(KINDS)).argmax(axis=1)))

    def __call__(self, source: Source) -> np.ndarray:
        """The kinds of all characters, (N,)."""
        answer = np.zeros(len(source.ids), np.intp)
        for n, (seen, kinds) in enumerate(self.tables, start=1):
            codes = windows(source, n)
            at = np.searchsorted(seen, codes).clip(max=len(seen) - 1)
            answer[n - 1 :] = np.where(seen[at] == codes, kinds[at], answer[n - 1 :])
        return answer


def windows(source: Source, n: int) -> np.ndarray:
    """Every n neighbours as one number, whose digits they are."""
    codes = np.zeros(len(source.ids) - n + 1, np.int64)
    for k in range(n):
        codes = codes * len(source.known) + source.ids[k : len(source.ids) - n + 1 + k]
    return codes


# %% [markdown]
# ## A score for every step
#
# The network is short. An [embedding](02_recurrent.md) turns a character into 32 numbers, a recurrent layer reads one
# after the other, and a linear layer turns *each* of its outputs into 6 scores, one a kind. The layer's output has one row
# a step, so nothing special is needed to label every step.
#
# `tl.nn.Recurrent` takes any cell. We use it with the LSTM and with the plain RNN; the RNN gets twice as many units,
# which makes the number of weights about the same.


# %%
class Labeller(tl.nn.Module):
    """Characters (T, B) and states -> scores of the kinds (T, B, 6), and the states to go on from."""

    def __init__(self, cell: Any, characters: int, hidden: int, seed: int):
        generator = np.random.default_rng(seed)
        bias = 1.0 if cell is tl.cells.lstm else None
        self.embedding = tl.nn.Embedding(characters, 32, seed=generator)
        self.memory = tl.nn.Recurrent(cell, input=32, hidden=hidden, forget_bias=bias, seed=generator)
        self.readout = tl.nn.Linear(hidden, len(KINDS), seed=generator)

    def forward(self, ids: np.ndarray, states: Any = None) -> tuple[tl.Tensor, Any]:
        outputs, states = self.memory(self.embedding(ids), states)
        return self.readout(outputs), states


# %% [markdown]
# ## Training in pieces that go on
#
# As in the [chapter before](06_language_model.md), the text is cut into long streams, 32 here, that are read side by
# side, 200 characters at a time. The states at the end of a piece are those with which the next piece begins, so the
# network can remember further back than 200 characters; only the gradient ends at the seam (truncated backpropagation
# through time). `tl.data.Streams` serves the pieces, and `tl.fit` carries the states from step to step and cuts the
# gradient.
#
# We let the streams serve positions in the text; from them follow the characters and the kinds. Now and then a piece
# holds something odd, a table of characters for instance, and its gradient would undo much of what was learned:
# `clip=0.25` shortens every gradient that is longer than that. Both networks have the same learning rate; with 0.002 or
# 0.01 neither did better on average over three seeds.


# %%
def train(cell: Any, hidden: int, source: Source, steps: int, seed: int) -> tuple[Labeller, tl.train.Fit]:
    """A labeller with so many units, trained on so many pieces."""
    model = Labeller(cell, len(source.known), hidden, seed)
    optimizer = tl.optim.Adam(model.parameters(), lr=5e-3)

    def step(model: Labeller, batch: tuple[np.ndarray, np.ndarray], states: Any) -> tuple[tl.Tensor, Any]:
        at, _ = batch  # (T, B) positions
        scores, states = model(source.ids[at], states)
        return F.cross_entropy(scores.reshape(-1, len(KINDS)), source.kinds[at].reshape(-1)), states

    run = tl.fit(
        model,
        tl.data.Streams(np.arange(len(source.ids)), batch=32, length=200),
        step=step,
        optimizer=optimizer,
        schedule=tl.optim.OneCycleLR(optimizer, 5e-3, total_steps=steps),
        clip=0.25,
        steps=steps,
        unit="chars",
    )
    return model, run


def probabilities(model: Labeller, source: Source) -> np.ndarray:
    """How probable each kind is for every character of the text, (N, 6); read in 32 streams from beginning to end."""
    streams = tl.data.Streams(np.arange(len(source.ids)), batch=32, length=500)
    found, states = np.zeros((len(source.ids), len(KINDS)), np.float32), None
    with tl.no_grad():
        for at, _ in streams:
            scores, states = model(source.ids[at], states)
            found[at] = tl.softmax(scores, axis=-1).numpy()
    return found


# %% [markdown]
# ## Right by distance
#
# Now the question of the chapter: of all characters that are 1, 2 or 3, 4 to 7, ... behind an opening quote, still within
# the same string, how many are recognised as a string?
#
# ![How many of the characters of strings are recognised, against their distance from the opening quote, on a logarithmic
# axis: the table, the RNN and the LSTM.](07_label_every_step/distance.svg)


# %%
def by_distance(right: np.ndarray, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Distances 1, 2, 4, ..., 512 and how many of the string characters from there to the next one are right."""
    edges = 2 ** np.arange(10)
    group = np.searchsorted(edges, source.distance, side="right") - 1  # the last one has no end
    within = [(source.kinds == STRING) & (group == k) for k in range(len(edges))]
    kept = [k for k, chosen in enumerate(within) if chosen.sum() >= 100]
    return edges[kept], np.array([right[within[k]].mean() for k in kept])


# %% [markdown]
# ## Result
#
# Of all characters {table_all:.1%} are labelled rightly by the table, {rnn_all:.1%} by the RNN and {lstm_all:.1%} by the
# LSTM. Most characters are easy: eight characters of memory do for them. Far inside a string, a hundred characters or
# more behind its opening quote, it is {table_far:.1%}, {rnn_far:.1%} and {lstm_far:.1%}.
#
# The pictures show lines of a held-out file, at most 500 characters of one string. Of all that begin a hundred or more
# behind the opening quote (and are not too wide to be drawn) they are those where the LSTM is surer than the RNN by most;
# the quote is {behind} characters before them. Everything in them belongs to the string. The bluer a character, the surer
# the network is of that.
#
# ![The RNN far inside a long string: where the blue is missing, it takes the text for something
# else.](07_label_every_step/rnn.svg)
#
# ![The LSTM on the same piece.](07_label_every_step/lstm.svg)
#
# ![The loss while training, on a logarithmic axis: faint for every step, bold for the running
# mean.](07_label_every_step/losses.svg)


# %%
def where_they_differ(source: Source, rnn: np.ndarray, lstm: np.ndarray, length: int = 500) -> slice:
    """Lines of a string, 100 characters or more behind its quote, where the LSTM is surer than the RNN by most."""
    far = (source.kinds == STRING) & (source.distance >= 100)
    begins = np.flatnonzero((source.ids[:-1] == source.known.encode("\n")[0]) & far[1:]) + 1
    changes = np.append(np.flatnonzero(np.diff(source.kinds)) + 1, len(source.kinds))
    last = np.minimum(begins + length, changes[np.searchsorted(changes, begins, side="right")])
    pieces = [slice(int(k), source.text.rfind("\n", k, n) + 1) for k, n in zip(begins, last, strict=True)]
    narrow = [piece for piece in pieces if max(map(len, source.text[piece].split("\n"))) <= COLUMNS]
    return max(narrow, key=lambda piece: float((lstm - rnn)[piece].sum()))


def main(quick: bool = False, seed: int = 0, folder: str | Path = "pictures") -> dict[str, float | str]:
    """Train both, test both, print and draw; `quick` uses less text and fewer steps."""
    training, test = sources(600_000 if quick else 1_500_000)
    answers = {"table": Table(training)(test)}
    settings = {"RNN": (tl.cells.rnn, 256), "LSTM": (tl.cells.lstm, 128)}
    runs, surely = {}, {}
    for name, (cell, hidden) in settings.items():
        model, runs[name] = train(cell, hidden, training, 150 if quick else 1000, seed)
        found = probabilities(model, test)
        answers[name], surely[name] = found.argmax(axis=-1), found[:, STRING]

    far = (test.kinds == STRING) & (test.distance >= 100)
    results: dict[str, Any] = {"bar": 0.5 if quick else 0.85}
    for name, answer in answers.items():
        results[f"{name.lower()}_all"] = float((answer == test.kinds).mean())
        results[f"{name.lower()}_far"] = float((answer == test.kinds)[far].mean())
    print(f"labelled rightly, of {len(test.ids):,} characters of files never seen")
    print("(far: 100 characters or more behind an opening quote)")
    print("                            all      far")
    what = {"table": "the latest 8 characters", "RNN": "RNN, 256 units", "LSTM": "LSTM, 128 units"}
    for name in answers:
        print(f"  {what[name]:<23} {results[f'{name.lower()}_all']:6.1%}   {results[f'{name.lower()}_far']:6.1%}")
    results["reached"] = float(results["lstm_far"] >= results["bar"])
    reached = "reached" if results["reached"] else "missed"
    print(f"  {'the bar of the LSTM':<23} {'':6}   {results['bar']:6.1%}   {reached}")

    folder = Path(folder) / "07_label_every_step"
    folder.mkdir(parents=True, exist_ok=True)
    curves = {name: by_distance(answer == test.kinds, test) for name, answer in answers.items()}
    tl.plot.lines(
        curves, x_label="characters behind the opening quote", y_label="recognised as a string",
        log_x=True, title="inside a string",
    ).save(folder / "distance.svg")  # fmt: skip
    tl.plot.losses(runs, y_label="cross-entropy", log=True, title="learning the kinds").save(folder / "losses.svg")
    shown = where_they_differ(test, surely["RNN"], surely["LSTM"])
    results["behind"] = str(test.distance[shown.start])
    for name, values in surely.items():
        title = f"{name}: how surely a string"
        tl.plot.text(test.text[shown], values[shown], limit=1.0, columns=COLUMNS, title=title).save(
            folder / f"{name.lower()}.svg"
        )
    return results


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
