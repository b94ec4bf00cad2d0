"""The demo from end to end: text, baselines, training, judgement, a sample, pictures, a page."""

from __future__ import annotations

import hashlib
import math
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import numpy as np

from ..checkpoint import load
from ..data import NGram, Streams, Vocabulary, read_documents, split, standard_library
from ..drawing import draw
from ..errors import ArgumentError, FileError, message
from ..optim import Adam, LambdaLR
from ..train import Fit, fit
from .chart import line_chart
from .model import CharacterModel, held_out_bits, read, training_step, window, write
from .page import unit_page
from .units import Match, properties, search

BATCH, LENGTH = 16, 64  # streams, and steps of each between two updates
RATE, WARM_UP = 6e-3, 50  # of Adam; steps until it is reached
LARGEST = 4_000_000  # characters of text that are read
NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}
TEMPERATURE = 0.7
FOLDER = Path("tinygrad-lstm-demo")


@dataclass
class Settings:
    """What the run is. `text` is a file or folder, None for the standard library."""

    steps: int = 6000
    hidden: int = 192
    seed: int = 0
    text: str | None = None


@dataclass
class Corpus:
    """A text in numbers: its training part, its held-out part, and who knows which character."""

    name: str
    vocabulary: Vocabulary
    training: np.ndarray
    held_out: np.ndarray
    digest: str


def read_corpus(text: str | None) -> Corpus:
    """The text, split; characters too rare to be learned are one unknown character, for every model alike."""
    if text is None:
        documents = standard_library(LARGEST)
        version = ".".join(platform.python_version_tuple()[:2])
        name = f"{len(documents)} files of Python {version}'s standard library"
    else:
        documents = read_documents(text, LARGEST)
        name = Path(text).name if len(documents) == 1 else f"{len(documents)} files of {text}"
    training, held_out = split(documents)
    vocabulary = Vocabulary.from_text(training, minimum=max(1, len(training) // 200_000))
    ids, rest = vocabulary.encode(training), vocabulary.encode(held_out)
    if len(rest) < 200:
        problem = f"{name}: {len(training) + len(rest):,} characters are too few to learn from"
        raise ArgumentError(message("demo", problem, remedy="give a longer text: some 100,000 characters"))
    everything = vocabulary.characters.encode("utf-8", "surrogatepass") + ids.tobytes() + rest.tobytes()
    return Corpus(name, vocabulary, ids, rest, hashlib.sha256(everything).hexdigest())


def run(
    folder: Path, given: Mapping[str, Any] | None = None, resume: bool = False, say: Callable[[str], None] = print
) -> Fit:
    """Train, or go on training, and write everything into the folder; returns the run.

    Parameters
    ----------
    given : the settings that differ from the defaults; or, on resuming, `steps`, to train longer.

    Raises
    ------
    FileError : nothing to resume, a text that cannot be read or has changed, a folder that cannot be written.
    ArgumentError : a run cannot be resumed with another text, seed or size.
    """
    path = folder / "model.safetensors"
    settings, digest = _saved(path, given or {}) if resume else (Settings(**(given or {})), None)
    corpus = read_corpus(settings.text)
    if digest not in (None, corpus.digest):
        raise FileError(message("demo", f"{corpus.name}: the text has changed since the run in {folder} began"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(message("demo", f"the folder {folder} cannot be made: {error.strerror}")) from None

    characters = len(corpus.vocabulary)
    model = CharacterModel(characters, settings.hidden, seed=settings.seed)
    streams = Streams(corpus.training, BATCH, LENGTH)
    judged = Streams(corpus.held_out, batch=min(64, len(corpus.held_out) // 100), length=128)
    targets = corpus.held_out[: len(judged.ids)]  # every model is judged on the same characters
    baselines = {name: NGram(corpus.training, k, characters).bits(targets) for k, name in NAMES.items()}
    say(_heading(corpus, settings, model, baselines))

    optimizer = Adam(model.parameters(), lr=RATE)
    run = fit(
        model,
        streams,
        step=training_step,
        steps=settings.steps,
        optimizer=optimizer,
        schedule=LambdaLR(optimizer, lambda t: _rate(t, settings.steps)),
        clip=1.0,
        evaluate=lambda model: held_out_bits(model, judged),
        evaluate_every=max(1, settings.steps // 8),
        checkpoint=path,
        checkpoint_every=max(1, settings.steps // 5),
        resume=resume,
        facts={"demo": asdict(settings), "text": corpus.digest, "vocabulary": corpus.vocabulary.characters[1:]},
        items=lambda batch: batch[1].size,
        unit="chars",
    )
    if run.interrupted:
        where = "" if folder == FOLDER else f" --out {folder}"
        say(f"\nstopped after {run.steps} steps; saved. Go on with:\n  tinygrad-lstm demo --resume{where}")
        return run

    scores = {**baselines, "LSTM": run.evaluations[-1][1]}
    say(_table(scores))
    sample = _sample(model, corpus, settings.seed, say)
    best = _pictures(folder, model, corpus, run, scores, sample)
    say(_ending(folder, best))
    return run


def _saved(path: Path, given: Mapping[str, Any]) -> tuple[Settings, str]:
    """The settings of a run that is to go on, and the digest of its text."""
    if not path.exists():
        remedy = "begin with: tinygrad-lstm demo"
        raise FileError(message("demo", f"there is nothing to resume: no {path}", remedy=remedy))
    facts = load(path)
    if not isinstance(facts.get("demo"), dict):
        raise FileError(message("demo", f"{path} is not of the demo", remedy="begin anew in another folder: --out"))
    settings = Settings(**facts["demo"])
    for name, value in given.items():
        if name != "steps" and value != getattr(settings, name):
            problem = f"the run in {path.parent} has --{name} {getattr(settings, name)}, not {value}"
            raise ArgumentError(message("demo", problem, remedy="leave it out, or begin anew without --resume"))
    return replace(settings, **given), facts["text"]


def _rate(t: int, steps: int) -> float:
    """The share of the learning rate: up in a straight line, then down along half a cosine to a hundredth."""
    warm_up = min(WARM_UP, 1 + steps // 10)
    return min(1.0, (t + 1) / warm_up) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, t / max(1, steps)))))


# ------------------------------------------------------------------------------------------------------------- printed
def _heading(corpus: Corpus, settings: Settings, model: CharacterModel, baselines: dict[str, float]) -> str:
    sizes = f"{len(corpus.training):,} characters to learn from, {len(corpus.held_out):,} held out"
    scores = ", ".join(f"{name} {bits:.2f}" for name, bits in baselines.items())
    return "\n".join(
        [
            f"text      {corpus.name}",
            f"          {sizes}",
            f"model     LSTM of {settings.hidden} units, {model.num_parameters:,} parameters, seed {settings.seed}",
            f"to beat   {scores} bits per character",
            "",
        ]
    )


def _table(scores: dict[str, float]) -> str:
    scale = 44 / max(scores.values())
    lines = [f"  {name:<8} {bits:5.2f}  {_bar(bits * scale)}" for name, bits in scores.items()]
    return "\n".join(["", "bits per character on the held-out text, less is better", *lines, ""])


def _bar(length: float) -> str:
    if not _unicode():
        return "#" * round(length)
    whole, eighths = divmod(round(length * 8), 8)
    return "█" * whole + (" ▏▎▍▌▋▊▉"[eighths].strip())


def _unicode() -> bool:
    return (getattr(sys.stdout, "encoding", "") or "").lower().startswith("utf")


def _sample(model: CharacterModel, corpus: Corpus, seed: int, say: Callable[[str], None]) -> str:
    """What the model writes, up to 16 lines of it."""
    prompt = "\ndef " if "def " in corpus.vocabulary.decode(corpus.training[:100_000]) else "\n"
    known = corpus.vocabulary.encode(prompt)
    letters, lines = [prompt[1:]], 0
    for id in write(model, known, TEMPERATURE, seed):
        letter = corpus.vocabulary.decode([id])
        letters.append(letter)
        lines += letter == "\n"
        if lines == 16 or len(letters) == 800:
            break
    sample = "".join(letters)
    say(f"a sample, at temperature {TEMPERATURE}\n")
    for line in sample.rstrip("\n").split("\n"):
        say(f"  {_cut(''.join(c if c.isprintable() else ' ' for c in line), 77)}")
    return sample


def _cut(line: str, columns: int) -> str:
    """What fits into so many columns; a Chinese character takes two."""
    widths = [2 if east_asian_width(c) in "WF" else 1 for c in line]
    if sum(widths) <= columns:
        return line
    return line[: int(np.searchsorted(np.cumsum(widths), columns - 3, side="right"))] + "..."


def _ending(folder: Path, best: tuple[Match, str] | None) -> str:
    found = [""]
    if best is not None:
        match, name = best
        found += [f'{name} follows "{match.property}": r = {match.correlation:+.2f} on held-out text', ""]
    files = {
        "model.safetensors": "the model and the run; --resume --steps MORE goes on",
        "loss.svg": "the loss curve",
        "cell.svg": "the cell",
        "graph.svg": "the graph of two steps of training",
        "page.html": "the sample, coloured by one unit: open it in a browser",
    }
    return "\n".join([*found, f"{folder}/", *(f"  {name:<18} {what}" for name, what in files.items())])


# ------------------------------------------------------------------------------------------------------------- written
def _pictures(
    folder: Path, model: CharacterModel, corpus: Corpus, run: Fit, scores: dict[str, float], sample: str
) -> tuple[Match, str] | None:
    levels = {name: bits for name, bits in scores.items() if name in NAMES.values()}
    steps = list(range(1, run.steps + 1))
    smooth = _smooth(np.array(run.metrics["bits/char"]))
    held = ([at for at, _ in run.evaluations], [value for _, value in run.evaluations])
    chart = line_chart(
        "Learning to write", {"training": (steps, smooth)}, {"held out": held}, levels, "steps", "bits per character"
    )
    (folder / "loss.svg").write_text(chart, encoding="utf-8")
    draw(model.lstm.cell).save(folder / "cell.svg")
    loss = window(model, corpus.held_out[:3])
    loss.backward(retain_grads=True)
    draw(loss).save(folder / "graph.svg")
    page, best = _page(model, corpus, scores, sample)
    (folder / "page.html").write_text(page, encoding="utf-8")
    return best


def _smooth(values: np.ndarray, keep: float = 0.95) -> list[float]:
    """A running mean of the latest 20 or so, unbiased at the beginning."""
    out, total, weight = [], 0.0, 0.0
    for value in values.tolist():
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight)
    return out


def _page(
    model: CharacterModel, corpus: Corpus, scores: dict[str, float], sample: str
) -> tuple[str, tuple[Match, str] | None]:
    """Search the units on held-out text, and colour a piece of it, and the sample."""
    rows = Streams(corpus.held_out, batch=min(48, max(1, len(corpus.held_out) // 100)), length=1000)
    x = rows[0][0]  # (T, B)
    states = read(model, x)  # (T, B, units)
    at = np.arange(rows.batch)[:, None] * rows.steps + np.arange(len(x))  # (B, T): where in the held-out text
    found = properties(corpus.vocabulary.decode(corpus.held_out))
    joined = {name: values[at].reshape(-1) for name, values in found.items()}
    matches = search(states.swapaxes(0, 1).reshape(at.size, -1), joined)
    hidden = states.shape[-1] // 2
    units = [(m, f"{'hidden unit' if m.unit < hidden else 'cell unit'} {m.unit % hidden}") for m in matches]
    chosen, signs = [m.unit for m in matches], np.sign([m.correlation for m in matches])
    usual = states[:, :, chosen].reshape(at.size, -1)
    middle, spread = usual.mean(axis=0), 2 * usual.std(axis=0) + 1e-9

    def coloured(values: np.ndarray) -> np.ndarray:
        return signs * (values[:, chosen] - middle) / spread

    of_sample = read(model, corpus.vocabulary.encode(sample)[:, None])[:, 0]
    facts = [
        f"An LSTM of {hidden} units read {corpus.name} and reached {scores['LSTM']:.2f} bits per character on text it "
        f"had never seen (a trigram model: {scores['trigram']:.2f}).",
        "For each property of the text, the unit whose value follows it most closely was chosen on one half of the "
        "held-out text; r is their correlation on the other half. Blue is more of the property, red is less: the value "
        "of the unit, less its mean, over two standard deviations, with the sign of r.",
    ]
    pieces = [
        ("A sample of the model's own writing", sample, coloured(of_sample)),
        ("Held-out text, written by people", corpus.vocabulary.decode(x[:, -1]), coloured(states[:, -1])),
    ]
    return unit_page("What one unit has learned", facts, units, pieces), (units[0] if units else None)
