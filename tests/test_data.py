"""Text as numbers, against plain Python that does the same slowly."""

import doctest
from collections import Counter

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import data

TEXT = "the cat sat on the mat;\nthe dog sat on the log.\n" * 20


# ----------------------------------------------------------------------------------------------------------- documents
def test_the_standard_library_is_source_and_the_same_every_time():
    one, two = data.standard_library(200_000), data.standard_library(200_000)
    assert list(one.items()) == list(two.items())
    assert 150_000 < sum(map(len, one.values())) <= 200_000
    assert all(name.endswith(".py") and not set(name.split("/")) & {"test", "tests", "site-packages"} for name in one)
    joined = "".join(one.values())
    assert joined.count("def ") > 200 and "\r" not in joined
    fewer = data.standard_library(100_000)
    assert list(fewer) == list(one)[: len(fewer)] and len(fewer) < len(one)


def test_a_file_and_a_folder_are_read(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffgrüße\r\nzeile\r\n".encode())
    assert data.read_documents(tmp_path / "a.txt") == {"a.txt": "grüße\nzeile\n"}
    assert data.read_documents(tmp_path / "a.txt", limit=3) == {"a.txt": "grü"}
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name, content in {
        "sub/b.md": b"more",
        ".hidden/c": b"secret",
        "d.bin": b"\xff\xfe\x00",
        "e": b"x\0y",
        "f": b" \n",
    }.items():
        (tmp_path / name).write_bytes(content)
    assert set(data.read_documents(tmp_path)) == {"a.txt", "sub/b.md"}
    both = data.read_documents(str(tmp_path))
    first = next(iter(both))
    assert data.read_documents(tmp_path, limit=2) == {first: both[first][:2]}


def test_what_is_no_text_says_so(tmp_path):
    (tmp_path / "latin").write_bytes("grüße".encode("latin-1"))
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "folder").mkdir()
    for name, words in {
        "latin": "not UTF-8 text (byte 2)",
        "empty": "no text",
        "none": "cannot be read",
        "folder": "no UTF-8 text in",
    }.items():
        with pytest.raises(tl.FileError) as caught:
            data.read_documents(tmp_path / name)
        assert words in str(caught.value) and name in str(caught.value)


def test_whole_documents_are_held_out():
    documents = {str(k): f"{k}" * 99 + "\n" for k in range(10)}
    training, held_out = data.split(documents, 0.15)
    assert held_out == documents["8"] + documents["9"]
    assert training == "".join(documents[str(k)] for k in range(8))


def test_one_document_is_cut_at_the_end_of_a_line():
    for documents in (TEXT, {"a": TEXT}, {"tiny": "x\n", "a": TEXT}):
        training, held_out = data.split(documents, 0.1)
        whole = documents if isinstance(documents, str) else "".join(documents.values())
        assert training + held_out == whole and training.endswith("\n")
        assert 0.1 <= len(held_out) / len(whole) < 0.2
    assert data.split("abcdefghij", 0.3) == ("abcdefg", "hij")


def test_splits_that_cannot_be():
    for share in (0, 1, -0.1, 1.5):
        with pytest.raises(tl.ArgumentError, match="between 0 and 1"):
            data.split(TEXT, share)
    with pytest.raises(tl.ShapeError, match="cannot be split"):
        data.split("a")


# ---------------------------------------------------------------------------------------------------------- vocabulary
def test_vocabulary_round_trip():
    text = "zażółć gęślą jaźń 漢字 😀\n"
    vocabulary = data.Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text and len(vocabulary) == len(set(text)) + 1
    assert ids.dtype == np.int32 and ids.min() == 1
    assert vocabulary.characters[1:] == "".join(sorted(set(text)))
    again = data.Vocabulary(vocabulary.characters[1:])
    np.testing.assert_array_equal(again.encode(text), ids)
    assert vocabulary.encode("").shape == (0,) and vocabulary.decode([]) == ""


def test_rare_and_unseen_characters_are_one():
    vocabulary = data.Vocabulary.from_text("aaabbc\ud800", minimum=2)
    assert vocabulary.characters == "\ufffdab"
    np.testing.assert_array_equal(vocabulary.encode("abc\ufffd\ud800"), [1, 2, 0, 0, 0])
    assert vocabulary.decode([0, 1]) == "\ufffda" and "of 3: 'ab'" in repr(vocabulary)
    for ids in ([3], [-1], [0.5]):
        with pytest.raises(tl.ArgumentError, match="from 0 to 2"):
            vocabulary.decode(ids)


# ------------------------------------------------------------------------------------------------------------- streams
@pytest.mark.parametrize(("n", "batch", "length"), [(100, 4, 7), (101, 1, 100), (30, 29, 5), (64, 7, 1), (12, 3, 50)])
def test_streams_go_on_where_they_ended(n, batch, length):
    ids = np.random.default_rng(0).permutation(n)
    streams = data.Streams(ids, batch, length)
    x = np.concatenate([x for x, _ in streams])  # (steps, B)
    y = np.concatenate([y for _, y in streams])
    steps = (n - 1) // batch
    assert len(streams) == -(-steps // length) == len(list(streams))
    np.testing.assert_array_equal(x.T.reshape(-1), ids[: steps * batch])
    np.testing.assert_array_equal(y.T.reshape(-1), ids[1 : steps * batch + 1])
    last = streams[len(streams) - 1]
    np.testing.assert_array_equal(last[0], streams[-1][0])
    with pytest.raises(IndexError):
        streams[len(streams)]


def test_minibatches_depend_on_seed_and_epoch_alone():
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    batches = data.Minibatches(x, y, size=4, seed=3)
    first = list(batches(0))
    for (a, b), (c, d) in zip(first, data.Minibatches(x, y, size=4, seed=3)(0), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
        np.testing.assert_array_equal(a[:, 0], 2 * b)
    orders = [np.concatenate([b for _, b in batches(epoch)]).tolist() for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(10)) for order in orders) and len({tuple(o) for o in orders}) == 3
    assert [len(b) for _, b in first] == [4, 4, 2] and len(batches) == 3
    np.testing.assert_array_equal(np.concatenate(list(data.Minibatches(y, seed=None)())), y)
    sequences = np.arange(30).reshape(3, 10)
    (only,) = data.Minibatches(sequences, size=10, axis=1, seed=None)()
    np.testing.assert_array_equal(only, sequences)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: data.Streams(np.zeros((2, 3))), tl.ShapeError, "one sequence"),
        (lambda: data.Streams(np.arange(4), batch=4), tl.ShapeError, "too few for 4 streams"),
        (lambda: data.Streams(np.arange(4), batch=0), tl.ArgumentError, "at least 1"),
        (lambda: data.Minibatches(), tl.ArgumentError, "takes arrays"),
        (lambda: data.Minibatches(np.zeros(3), np.zeros(4)), tl.ShapeError, "(3,) and (4,)"),
        (lambda: data.NGram(np.arange(3), 4, 9), tl.ShapeError, "at least 4 ids"),
        (lambda: data.NGram(np.arange(3), 1, 2), tl.ShapeError, "ids below 2"),
        (lambda: data.NGram(np.arange(3), 0, 9), tl.ArgumentError, "at least 1"),
        (lambda: data.NGram(np.arange(3), 9, 1000), tl.ArgumentError, "2 ** 62"),
    ],
)
def test_messages(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- n-grams
def witten_bell(text, order, size):
    """p(w | h) by the recursion as printed, with dictionaries."""
    grams = [Counter(text[i : i + k] for i in range(len(text) - k + 1)) for k in range(order + 1)]

    def p(w, h):
        followers = {g[-1]: c for g, c in grams[len(h) + 1].items() if g[:-1] == h}
        lower = p(w, h[1:]) if h else 1 / size
        if not followers:
            return lower
        return (followers.get(w, 0) + len(followers) * lower) / (sum(followers.values()) + len(followers))

    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngrams_are_witten_bells(order):
    training, held_out = TEXT[:150], "the rat sat; on the"
    size = 30
    letters = sorted(set(training + held_out))
    encode = np.vectorize(letters.index)
    p = witten_bell(training, order, size)
    expected = [p(held_out[i], held_out[max(0, i - order + 1) : i]) for i in range(1, len(held_out))]
    model = data.NGram(encode(list(training)), order, size)
    np.testing.assert_allclose(model.probabilities(encode(list(held_out))), expected, rtol=1e-12)
    assert model.bits(encode(list(held_out))) == pytest.approx(-np.log2(expected).mean())


@pytest.mark.parametrize("size", [5, 3000])  # counted in a table, and by sorting
def test_ngram_distributions_sum_to_one(size):
    ids = np.random.default_rng(0).integers(0, 5, 300)
    model = data.NGram(ids, 3, size)
    for context in ([0, 1], [4, 4], [2, 3]):
        total = sum(model.probabilities(np.array([*context, w]))[-1] for w in range(size))
        assert total == pytest.approx(1, abs=1e-12)


def test_more_context_is_better_on_real_text():
    training, held_out = data.split(data.standard_library(300_000), 0.1)
    vocabulary = data.Vocabulary.from_text(training)
    bits = [
        data.NGram(vocabulary.encode(training), k, len(vocabulary)).bits(vocabulary.encode(held_out)) for k in (1, 2, 3)
    ]
    assert 6 > bits[0] > bits[1] + 0.5 > bits[2] + 1 > 2


# ---------------------------------------------------------------------------------------------------------- recordings
def test_the_vowels_are_those_of_the_repository():
    """Counts as its page says; the first frame and the last as its files print them."""
    training, test = data.japanese_vowels()
    np.testing.assert_array_equal(np.bincount(training.speakers), [30] * 9)
    np.testing.assert_array_equal(np.bincount(test.speakers), [31, 35, 88, 44, 29, 24, 40, 50, 29])
    assert (training.lengths.min(), training.lengths.max()) == (7, 26)
    assert (test.lengths.min(), test.lengths.max()) == (7, 29)
    first = [1.860936, -0.207383, 0.261557, -0.214562, -0.171253, -0.118167, -0.277557, 0.025668, 0.126701, -0.306756]
    np.testing.assert_allclose(training.frames[0, 0, :10], np.float32(first), rtol=0)
    for part in (training, test):
        assert part.frames.dtype == np.float32 and part.frames.shape[2] == 12
        beyond = np.arange(len(part.frames))[:, None] >= part.lengths
        assert not part.frames[beyond].any() and part.frames[~beyond].any(axis=-1).all()


def test_the_sun_had_these_spots():
    months, numbers = data.sunspots()
    assert months[0] == np.datetime64("1749-01") and months[-1] == np.datetime64("1983-12")
    assert np.diff(months).astype(int).tolist() == [1] * (len(numbers) - 1)
    np.testing.assert_array_equal(numbers[:3], np.float32([58.0, 62.6, 70.0]))
    np.testing.assert_array_equal(numbers[-3:], np.float32([55.8, 33.3, 33.4]))
    assert months[numbers.argmax()] == np.datetime64("1957-10") and numbers.max() == np.float32(253.8)
    assert numbers.mean(dtype=float) == pytest.approx(51.27, abs=0.01)  # R: mean(sunspots)


def test_the_examples_in_the_docstrings_are_true():
    done = doctest.testmod(data, extraglobs={"tl": tl, "np": np})
    assert done.attempted > 10 and done.failed == 0
