"""Text as numbers: documents, vocabularies, streams for truncated backpropagation, and the n-gram models to beat; and
two recordings to learn from, `japanese_vowels()` and `sunspots()`.

From a text to a training run:

    documents = standard_library()                       # or read_documents("my_book.txt"), a folder as well
    training, held_out = split(documents)                # whole documents are held out, never parts of one
    vocabulary = Vocabulary.from_text(training)          # of the training part only
    streams = Streams(vocabulary.encode(training), batch=32, length=64)
    for x, y in streams: ...                             # (T, B) each; chunk k+1 goes on where chunk k ended
"""

from __future__ import annotations

import hashlib
import math
import os
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .errors import ArgumentError, FileError, ShapeError, message

# Not prose written by programmers: tests, tables of characters, texts of the manual, other people's packages.
_LEFT_OUT = frozenset([
    "test", "tests", "idle_test", "site-packages", "dist-packages", "lib-dynload", "encodings", "entities.py",
    "pydoc_data", "__pycache__",
])  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- documents
def standard_library(limit: int = 4_000_000) -> dict[str, str]:
    """The source of Python's own standard library, a text that every machine with Python has.

    Tests, character tables and installed packages are left out. The order is that of a hash of the names: the same on
    every machine, and the beginning and the end are each a fair sample of the whole.

    Parameters
    ----------
    limit : stop at the file with which this many characters would be exceeded.

    Returns
    -------
    name of the file, relative to the library's folder -> its text.

    Raises
    ------
    FileError : this Python came without its source.

    Examples
    --------
    >>> documents = tl.data.standard_library(limit=300_000)
    >>> sum(map(len, documents.values())) <= 300_000
    True
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = {p.relative_to(root): p for p in root.rglob("*.py") if not p.name.startswith("_sysconfigdata")}
    paths = {name.as_posix(): p for name, p in found.items() if not _LEFT_OUT.intersection(name.parts)}
    if not paths:
        remedy = "give a text of your own: read_documents('book.txt')"
        raise FileError(message("standard_library", f"no Python source in {root}", remedy=remedy))
    return _read(paths, limit)


def read_documents(path: str | os.PathLike[str], limit: int | None = None) -> dict[str, str]:
    """A UTF-8 text file, or all of them in a folder and the folders below.

    In a folder, hidden files and files that are no UTF-8 text are passed over; the order is that of
    a hash of the names.

    Parameters
    ----------
    path : a file or a folder.
    limit : stop at the file with which this many characters would be exceeded; a single file is cut.

    Returns
    -------
    name -> text; line ends are `\\n`.

    Raises
    ------
    FileError : nothing there, no UTF-8 text, or only empty files.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (pathlib.Path(folder) / "poem.txt").write_text("one\\ntwo\\n")
    ...     tl.data.read_documents(folder)
    {'poem.txt': 'one\\ntwo\\n'}
    """
    path = Path(path)
    if path.is_dir():
        found = {}
        for folder, folders, files in os.walk(path):
            folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
            for p in (Path(folder, f) for f in files if not f.startswith(".")):
                found[p.relative_to(path).as_posix()] = p
        documents = _read(found, limit)
        if not documents:
            remedy = "give a text file, or a folder of them"
            raise FileError(message("read_documents", f"no UTF-8 text in the folder {path}", remedy=remedy))
        return documents
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"{path} is not UTF-8 text (byte {error.start})"
        raise FileError(message("read_documents", problem, remedy="save it as UTF-8")) from None
    except OSError as error:
        raise FileError(message("read_documents", f"{path} cannot be read: {error.strerror or error}")) from None
    if not text.strip():
        raise FileError(message("read_documents", f"{path} holds no text"))
    return {path.name: text[:limit]}


def _read(paths: Mapping[str, Path], limit: int | None) -> dict[str, str]:
    documents: dict[str, str] = {}
    room = math.inf if limit is None else limit
    for name in sorted(paths, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()):
        try:
            text = paths[name].read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if not text.strip() or "\0" in text:
            continue
        if not documents:
            text = text[:limit]
        elif len(text) > room:
            break
        documents[name] = text
        room -= len(text)
    return documents


def split(documents: Mapping[str, str] | str, held_out: float = 0.05) -> tuple[str, str]:
    """The training part and the held-out part of a text.

    Whole documents from the end are held out, until the share is reached. A single document is cut
    at the end of a line.

    Parameters
    ----------
    documents : name -> text, or one text.
    held_out : share of the characters to hold out, between 0 and 1.

    Raises
    ------
    ArgumentError : a share outside (0, 1). ShapeError : too little text to be split.

    Examples
    --------
    >>> tl.data.split({"a": "one\\n", "b": "two\\n", "c": "three\\n"}, held_out=0.4)
    ('one\\ntwo\\n', 'three\\n')
    """
    if not 0 < held_out < 1:
        raise ArgumentError(message("split", "held_out is a share between 0 and 1", {"held_out": held_out}))
    texts = [documents] if isinstance(documents, str) else list(documents.values())
    total = sum(map(len, texts))
    k, held = len(texts), 0
    while k > 1 and held < held_out * total:
        k -= 1
        held += len(texts[k])
    training, rest = "".join(texts[:k]), "".join(texts[k:])
    if not rest or len(rest) > max(2 * held_out, 0.5) * total:  # one document, or one that is nearly everything
        everything = "".join(texts)
        cut = int(total * (1 - held_out))
        cut = everything.rfind("\n", cut // 2, cut) + 1 or cut
        training, rest = everything[:cut], everything[cut:]
    if not training or not rest:
        raise ShapeError(message("split", f"a text of {total} characters cannot be split", remedy="give a longer text"))
    return training, rest


# ---------------------------------------------------------------------------------------------------------- vocabulary
class Vocabulary:
    """The characters a model knows. Id 0 stands for every other one, and is written U+FFFD.

    Parameters
    ----------
    characters : the known characters; the first has id 1.

    Examples
    --------
    >>> vocabulary = tl.data.Vocabulary.from_text("abracadabra")
    >>> vocabulary.encode("cab!")
    array([3, 1, 2, 0], dtype=int32)
    >>> vocabulary.decode([3, 1, 2, 0])
    'cab\ufffd'
    """

    unknown = "\ufffd"

    def __init__(self, characters: str):
        self.characters = self.unknown + "".join(dict.fromkeys(characters.replace(self.unknown, "")))
        self._table = np.zeros(0x110000, np.int32)
        self._table[_code_points(self.characters)] = np.arange(len(self.characters))
        self._points = _code_points(self.characters)

    @classmethod
    def from_text(cls, text: str, minimum: int = 1) -> Vocabulary:
        """The characters that occur at least `minimum` times, in the order of their code points."""
        counts = np.bincount(_code_points(text), minlength=1)
        return cls("".join(map(chr, np.flatnonzero(counts >= max(1, minimum)))))

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text's characters, (N,) int32."""
        return self._table[_code_points(text)]

    def decode(self, ids: Any) -> str:
        """The text of ids."""
        ids = np.asarray(ids).reshape(-1)
        if ids.size and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= len(self)):
            raise ArgumentError(message("decode", f"ids are integers from 0 to {len(self) - 1}", {"ids": ids}))
        return self._points[ids.astype(np.intp)].tobytes().decode("utf-32-le", "surrogatepass")

    def __len__(self) -> int:
        return len(self.characters)

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self)}: {self.characters[1:41]!r}{'...' if len(self) > 41 else ''}>"


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


# ------------------------------------------------------------------------------------------------------------- batches
class Streams:
    """A long sequence cut into `batch` contiguous streams, served in chunks of `length` steps: for truncated BPTT.

    Stream b of chunk k+1 goes on where stream b of chunk k ended, so that states can be carried from chunk to chunk;
    the target of a step is the next entry. The last chunk may be shorter. Chunks are computed from their number alone:
    `streams[k]` is where a resumed run goes on.

    Parameters
    ----------
    ids : (N,) integers. batch : how many streams. length : steps a chunk.

    Raises
    ------
    ShapeError : the sequence is too short for so many streams.

    Examples
    --------
    >>> streams = tl.data.Streams(np.arange(9), batch=2, length=3)
    >>> x, y = streams[0]
    >>> x.T
    array([[0, 1, 2],
           [4, 5, 6]])
    >>> y.T
    array([[1, 2, 3],
           [5, 6, 7]])
    """

    def __init__(self, ids: Any, batch: int = 32, length: int = 64):
        ids = np.asarray(ids)
        if ids.ndim != 1:
            raise ShapeError(message("Streams", "ids are one sequence of numbers", {"ids": ids}))
        if batch < 1 or length < 1:
            given = {"batch": batch, "length": length}
            raise ArgumentError(message("Streams", "batch and length are at least 1", given))
        self.batch, self.length = int(batch), int(length)
        self.steps = (len(ids) - 1) // self.batch  # of each stream
        if self.steps < 1:
            problem = f"{len(ids)} entries are too few for {batch} streams"
            raise ShapeError(message("Streams", problem, {"ids": ids}, "give a longer text or a smaller batch"))
        self.ids = ids[: self.steps * self.batch + 1]
        self._starts = np.arange(self.batch) * self.steps

    def __len__(self) -> int:
        return -(-self.steps // self.length)

    def __getitem__(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Chunk k: inputs and targets, (T, B) each."""
        if not -len(self) <= k < len(self):
            raise IndexError(f"chunk {k} of {len(self)}")
        first = k % len(self) * self.length
        at = np.arange(first, min(first + self.length, self.steps))[:, None] + self._starts  # (T, B)
        return self.ids[at], self.ids[at + 1]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        return f"<Streams: {len(self)} chunks of {self.length} steps, {self.batch} streams>"


class Minibatches:
    """Rows of arrays in random groups: `for x, y in batches(epoch)`.

    The order depends on the seed and the number of the epoch only, so a resumed run sees what it would have seen.

    Parameters
    ----------
    arrays : arrays of one length. size : rows a batch. seed : of the order; None keeps the rows as they are.
    axis : which axis of every array counts the rows (1 for sequences laid out (T, B, ...)).

    Examples
    --------
    >>> batches = tl.data.Minibatches(np.arange(6), np.arange(6) ** 2, size=4, seed=0)
    >>> [len(x) for x, y in batches(epoch=0)]
    [4, 2]
    """

    def __init__(self, *arrays: Any, size: int = 32, seed: int | None = 0, axis: int = 0):
        self.arrays = [np.asarray(a) for a in arrays]
        if not arrays or size < 1:
            raise ArgumentError(message("Minibatches", "takes arrays, and a size of at least 1", {"size": size}))
        lengths = [a.shape[axis] if a.ndim > axis else None for a in self.arrays]
        if len(set(lengths)) > 1 or not lengths[0]:
            shapes = " and ".join(str(a.shape) for a in self.arrays)
            problem = f"the arrays must have one length, at least 1, along axis {axis}: {shapes}"
            raise ShapeError(message("Minibatches", problem))
        self.rows, self.size, self.seed, self.axis = int(lengths[0]), int(size), seed, axis

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def __call__(self, epoch: int = 0) -> Iterator[Any]:
        order = np.arange(self.rows)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
        for k in range(len(self)):
            rows = order[k * self.size : (k + 1) * self.size]
            parts = tuple(a.take(rows, self.axis) for a in self.arrays)
            yield parts if len(parts) > 1 else parts[0]


# -------------------------------------------------------------------------------------------------------------- n-grams
class NGram:
    """An n-gram model with interpolated Witten-Bell smoothing: what a network must beat to be worth its time.

        p_k(w | h) = (c(h w) + N(h) p_{k-1}(w | h')) / (c(h) + N(h)),    p_0 = 1 / size

    with c the counts in the training part, N(h) how many different entries follow h, and h' the context h without its
    first entry (Bell, Cleary & Witten 1990; Chen & Goodman 1999, section 2.4). Every probability is positive and each
    distribution sums to 1.

    Parameters
    ----------
    ids : the training part, integers. order : 1 unigram, 2 bigram, 3 trigram, ...
    size : how many different ids there are.

    Examples
    --------
    >>> model = tl.data.NGram(np.array([0, 1, 0, 1, 0, 1, 0]), order=2, size=2)
    >>> round(model.bits(np.array([0, 1, 0, 1])), 3)
    0.2
    """

    def __init__(self, ids: Any, order: int, size: int):
        ids = np.asarray(ids).astype(np.int64)
        if order < 1 or size < 1 or size**order >= 2**62:
            given = {"order": order, "size": size}
            raise ArgumentError(message("NGram", "order and size are at least 1, size ** order below 2 ** 62", given))
        if ids.ndim != 1 or len(ids) < order or ids.min() < 0 or ids.max() >= size:
            raise ShapeError(message("NGram", f"takes a sequence of at least {order} ids below {size}", {"ids": ids}))
        self.order, self.size = order, size
        self._tables = []
        for k in range(1, order + 1):
            grams, counts = _count(_windows(ids, k, size), size**k)
            contexts, first = np.unique(grams // size, return_index=True)
            totals, kinds = np.add.reduceat(counts, first), np.diff([*first, len(grams)])
            self._tables.append((grams, counts, contexts, totals, kinds))

    def probabilities(self, ids: Any) -> np.ndarray:
        """p(entry | the entries before it) of every entry but the first, (N-1,) float64."""
        ids = np.asarray(ids).astype(np.int64)
        p = np.full(len(ids), 1 / self.size)
        for k, (grams, counts, contexts, totals, kinds) in enumerate(self._tables, start=1):
            seen = _windows(ids, k, self.size)
            c_hw = _look_up(grams, counts, seen)
            c_h, n_h = _look_up(contexts, totals, seen // self.size), _look_up(contexts, kinds, seen // self.size)
            lower = p[k - 1 :]
            p[k - 1 :] = np.where(c_h > 0, (c_hw + n_h * lower) / np.maximum(c_h + n_h, 1), lower)
        return p[1:]

    def bits(self, ids: Any) -> float:
        """Mean of -log2 p over every entry but the first: bits a character."""
        return float(-np.log2(self.probabilities(ids)).mean())

    def __repr__(self) -> str:
        return f"<NGram of order {self.order} over {self.size} ids>"


def _windows(ids: np.ndarray, k: int, size: int) -> np.ndarray:
    """Every k neighbours as one number, in base `size`."""
    codes = np.zeros(len(ids) - k + 1, np.int64)
    for j in range(k):
        codes = codes * size + ids[j : len(ids) - k + 1 + j]
    return codes


def _count(codes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The different codes, sorted, and how often each occurs; without sorting where a table of all of them is small."""
    if limit > 1 << 24:
        return np.unique(codes, return_counts=True)
    counts = np.bincount(codes)
    return (codes := np.flatnonzero(counts)), counts[codes]


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


# ---------------------------------------------------------------------------------------------------------- recordings
_RECORDINGS = Path(__file__).parent / "recordings"  # its README.md names sources and licences


class Utterances(NamedTuple):
    """Recordings of different lengths, laid out for a recurrent layer: `layer(frames, lengths=lengths)`.

    Attributes
    ----------
    frames : (T, N, coefficients) float32, T the longest length; zero after the end of an utterance.
    lengths : (N,) frames of each utterance. speakers : (N,) who speaks, from 0.
    """

    frames: np.ndarray
    lengths: np.ndarray
    speakers: np.ndarray


def japanese_vowels() -> tuple[Utterances, Utterances]:
    """Nine men say two Japanese vowels, /ae/: who is speaking?

    Every utterance is a sequence of 7 to 29 frames, every frame 12 cepstral coefficients of a linear prediction.

    Returns
    -------
    270 utterances to learn from, 30 of each speaker, and 370 to be tested on.

    Notes
    -----
    M. Kudo, J. Toyama, M. Shimbo: Japanese Vowels, UCI Machine Learning Repository, 1999, doi 10.24432/C5NS47, under
    Creative Commons Attribution 4.0. Their own classifier (Pattern Recognition Letters 20, 1103-1111, 1999) named 94.1 %
    of the test utterances rightly, a hidden Markov model 96.2 %.

    Examples
    --------
    >>> training, test = tl.data.japanese_vowels()
    >>> training.frames.shape, test.frames.shape
    ((26, 270, 12), (29, 370, 12))
    >>> np.bincount(training.speakers).tolist()
    [30, 30, 30, 30, 30, 30, 30, 30, 30]
    """
    with np.load(_RECORDINGS / "japanese_vowels.npz") as file:
        return _utterances(file, "training"), _utterances(file, "test")


def _utterances(file: Any, part: str) -> Utterances:
    """The four bytes of every number lie apart, the frames of all utterances one after the other."""
    planes = file[f"{part}_frames"]  # (4, coefficients, frames)
    lengths = file[f"{part}_lengths"].astype(np.intp)
    flat = np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view("<i4")[..., 0].T / 1e6
    frames = np.zeros((len(lengths), lengths.max(), flat.shape[1]), np.float32)
    frames[np.arange(lengths.max()) < lengths[:, None]] = flat
    return Utterances(frames.swapaxes(0, 1).copy(), lengths, file[f"{part}_speakers"].astype(np.intp))


def sunspots() -> tuple[np.ndarray, np.ndarray]:
    """How many spots the sun had: the monthly mean relative sunspot numbers of 235 years.

    Returns
    -------
    months (2820,) datetime64[M], January 1749 to December 1983, and numbers (2820,) float32.

    Notes
    -----
    Counted at the Swiss Federal Observatory, Zurich, until 1960, then at the Tokyo Astronomical Observatory. Printed in
    D. F. Andrews, A. M. Herzberg: Data, Springer 1985; the data set `sunspots` of R.

    Examples
    --------
    >>> months, numbers = tl.data.sunspots()
    >>> f"{months[0]} {numbers[0]:.1f}, {months[-1]} {numbers[-1]:.1f}"
    '1749-01 58.0, 1983-12 33.4'
    """
    with np.load(_RECORDINGS / "sunspots.npz") as file:
        numbers = (file["tenths"] / 10).astype(np.float32)
    return np.datetime64("1749-01") + np.arange(len(numbers)), numbers
