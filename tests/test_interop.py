"""Files of torch.save without torch: what they hold is right, and what is damaged or hostile is refused by name.

`data/torch.pt` and `data/torch_legacy.pt` were made by torch (`data/make_torch.py`); the hostile files are made here.
"""

import io
import os
import pickle
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_lstm as tl
from tinygrad_lstm import nn
from tinygrad_lstm.interop import load_torch, save_torch

DATA = Path(__file__).parent / "data"
FILES = ["torch.pt", "torch_legacy.pt"]


def same(actual, expected):
    """Equal to the bits and the dtypes, in dicts and lists too."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            same(actual[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            same(a, e)
    elif isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        assert actual.tobytes() == expected.tobytes()
    else:
        assert actual == expected or (actual != actual and expected != expected)


# -------------------------------------------------------------------------------------------------------- made by torch
@pytest.mark.parametrize("file", FILES)
def test_everything_that_torch_saved_is_there(file):
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    numbers = np.array([0, 1, 2, 100])
    names = (
        "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
    )
    expected = {
        "model": {
            "whole": whole,
            "column": whole[:, 1],
            "turned": whole[1:, ::2].T,
            "spread": np.full((2, 3), 7, np.float32),
            "parameter": np.arange(2, dtype=np.float32),
            "attributed": np.arange(3, dtype=np.float32),
            "buffer": np.arange(4),
            "empty": np.zeros((0, 3), np.float32),
            "scalar": np.array(2.5),
            "conjugate": np.array([1 - 2j, 3 + 4j], np.complex64),
            "imaginary": np.array([-2, 4], np.float32),
        },
        "dtypes": {name: numbers.astype(name.replace("bfloat16", "float32")) for name in names.split()},
        "epoch": 3,
        "losses": [1.5, float("inf"), -(2**70)],
        "betas": (0.9, 0.999),
        "name": "naïve",
        "none": None,
        "yes": True,
        "raw": b"\x00\xff",
        "kinds": {1, 2},
        "count": {30: 1},
        "z": 1 + 2j,
        "size": (2, 3),
        "device": "cuda:1",
        "dtype": "torch.bfloat16",
        "best": np.float64(0.25),
        "table": np.arange(6, dtype=">i2").reshape(2, 3),
    }
    same(load_torch(DATA / file), expected)


@pytest.mark.parametrize("file", FILES)
def test_tensors_that_share_memory_share_it_here(file):
    model = load_torch(str(DATA / file))["model"]
    model["whole"][1, 1] = -1
    assert model["column"][1] == -1 and model["scalar"] == 2.5


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_was_cut_off_or_changed_is_refused_or_harmless(file, tmp_path, rng):
    """Whatever the bytes are: a value, or a FileError that names the file; no other exception, no warning."""
    data = (DATA / file).read_bytes()
    path = tmp_path / "model.pt"
    for end in [*range(0, 200), *rng.integers(200, len(data), 100)]:
        path.write_bytes(data[:end])
        with pytest.raises(tl.FileError, match=r"model\.pt"):
            load_torch(path)
    for _ in range(300):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        path.write_bytes(changed)
        try:
            load_torch(path)
        except tl.FileError as error:
            assert "model.pt" in str(error)


# ---------------------------------------------------------------------------------------------------------- round trips
def test_a_model_goes_out_and_comes_in(tmp_path):
    model, again = nn.LSTM(3, 4, num_layers=2, seed=0), nn.LSTM(3, 4, num_layers=2, seed=1)
    save_torch(tmp_path / "model.pt", model)
    again.load_state_dict(load_torch(tmp_path / "model.pt"))
    same(again.state_dict(), model.state_dict())


DTYPES = st.sampled_from("? u1 i1 i2 i4 i8 u2 u4 u8 f2 f4 f8 c8 c16 >f4 >i8".split()).map(np.dtype)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
KEYS = st.one_of(st.text(max_size=5), st.integers())
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), ARRAYS)
VALUES = st.dictionaries(
    KEYS, st.recursive(PLAIN, lambda inner: st.one_of(st.lists(inner), st.dictionaries(KEYS, inner)), max_leaves=8)
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_values_keep_their_bits(value):
    def native(value):
        if isinstance(value, np.ndarray):
            return np.ascontiguousarray(value).astype(value.dtype.newbyteorder("=")).reshape(value.shape)
        if isinstance(value, dict):
            return {k: native(v) for k, v in value.items()}
        return [native(v) for v in value] if isinstance(value, list) else value

    with tempfile.TemporaryDirectory() as folder:
        save_torch(folder + "/x.pt", value)
        same(load_torch(folder + "/x.pt"), native(value))


def test_layout_sharing_and_other_scalars(tmp_path):
    one = np.arange(6.0).reshape(2, 3)
    save_torch(
        tmp_path / "x.pt", {"a": one, "b": one, "t": one.T, "s": np.float32(0.5), "x": tl.tensor([1.0]), "u": (1, ())}
    )
    read = load_torch(tmp_path / "x.pt")
    same(read, {"a": one, "b": one, "t": one.T.copy(), "s": 0.5, "x": np.ones(1, np.float32), "u": (1, ())})
    assert read["a"] is not read["b"] and np.shares_memory(read["a"], read["b"])


def test_the_file_is_laid_out_as_torch_does_and_the_same_each_time(tmp_path):
    state = {"a": np.arange(3.0), "b": np.zeros((0, 2)), "c": np.arange(5, dtype=np.int8)}
    for name in ("one.pt", "other.pt"):
        save_torch(tmp_path / name, state)
    data = (tmp_path / "one.pt").read_bytes()
    assert data == (tmp_path / "other.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.pt") as archive:
        assert archive.testzip() is None
        assert [e.filename for e in archive.infolist()] == [
            f"archive/{name}" for name in ("data.pkl", "byteorder", "data/0", "data/1", "data/2", "version")
        ]
        for entry in archive.infolist():
            name, extra = struct.unpack("<HH", data[entry.header_offset + 26 : entry.header_offset + 30])
            assert (entry.header_offset + 30 + name + extra) % 64 == 0


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (3, r"`save_torch`: takes a module or a dict\n    state = number 3"),
        ({"a": {"b": [np.zeros(2, "U3")]}}, r"a\.b\[0\] has a dtype that torch has not"),
        ({"a": np.zeros(2, np.longdouble)}, "a has a dtype that torch has not"),
        ({"a": object()}, "a cannot be written(.|\n)*what torch reads back"),
        ({"a": {(1, 2): 3}}, "a key of a is no text and no number"),
    ],
)
def test_what_torch_would_not_read_is_not_written(tmp_path, state, said):
    with pytest.raises(tl.ArgumentError, match=said):
        save_torch(tmp_path / "x.pt", state)
    assert os.listdir(tmp_path) == []


def test_a_value_inside_itself_is_not_written(tmp_path):
    state = {}
    state["again"] = state
    with pytest.raises(tl.ArgumentError, match="nested too deeply, or contains itself"):
        save_torch(tmp_path / "x.pt", state)
    with pytest.raises(
        tl.ArgumentError, match=r"the path of the file comes first(.|\n)*save_torch\('model\.pt', model\)"
    ):
        save_torch({"a": 1}, tmp_path / "x.pt")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    save_torch(path, {"a": 1})
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(tl.FileError, match=r"x\.pt could not be written: No space left"):
        save_torch(path, {"a": 2})
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.pt"]
    with pytest.raises(tl.FileError, match="make it first"):
        save_torch(tmp_path / "no" / "x.pt", {"a": 2})


# -------------------------------------------------------------------------------------------------------- hostile files
def glob(module, name):
    return f"c{module}\n{name}\n".encode()


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def plain(value):
    return pickle.dumps(value, 2)[2:-1]


def storage(key="0", size=6, kind="FloatStorage"):
    return b"(" + text("storage") + glob("torch", kind) + plain(key) + text("cpu") + plain(size) + b"tQ"


def tensor(offset=0, size=(2, 3), stride=(3, 1), held=None, more=b""):
    return (
        glob("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + (storage() if held is None else held)
        + plain(offset)
        + plain(size)
        + plain(stride)
        + b"\x89}"
        + more
        + b"tR"
    )


def named(value, name="weight"):
    return b"}" + text(name) + value + b"s"


SIX = np.arange(6, dtype="<f4").tobytes()


def made(path, pickled, entries=None, root="archive/", compression=zipfile.ZIP_STORED):
    """A file like one of torch.save around a pickle of ours."""
    entries = {"data/0": SIX} if entries is None else entries
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of two entries with one name
        archive.writestr(root + "data.pkl", b"\x80\x02" + pickled + b".")
        for name, data in entries.items() if isinstance(entries, dict) else entries:
            archive.writestr(root + name, data)
    return path


def refused(path):
    with pytest.raises(tl.FileError) as caught:
        load_torch(path)
    said = str(caught.value)
    assert said.startswith(f"`load_torch`: {path}"), said
    return said


def test_the_files_of_these_tests_are_right_when_nothing_is_wrong(tmp_path):
    same(load_torch(made(tmp_path / "x.pt", named(tensor()))), {"weight": np.frombuffer(SIX, "f4").reshape(2, 3)})
    big = {"data/0": np.arange(6, dtype=">f4").tobytes(), "byteorder": b"big"}
    same(load_torch(made(tmp_path / "x.pt", named(tensor()), big)), {"weight": np.frombuffer(SIX, "f4").reshape(2, 3)})


@pytest.mark.parametrize(
    "code",
    [
        glob("os", "system") + b"(" + text("touch canary") + b"tR",
        glob("posix", "system") + b"(" + text("touch canary") + b"tR",
        b"(" + text("touch canary") + b"ios\nsystem\n",
        b"(" + glob("os", "system") + text("touch canary") + b"o",
        glob("builtins", "eval") + b"(" + text("open('canary', 'w')") + b"tR",
        glob("builtins", "getattr") + b"(" + glob("torch", "Size") + text("mro") + b"tR",
        glob("numpy", "load") + b"(" + text("canary") + b"tR",
        text("builtins") + text("exec") + b"\x93" + b"(" + text("open('canary', 'w')") + b"tR",
        glob("torch.serialization", "load") + b"(" + text("canary") + b"tR",
        glob("torch.nn.modules.linear", "Linear") + b")\x81}b",
        glob("mymodel", "Net") + b")\x81}" + text("training") + b"\x88sb",
        glob("argparse", "Namespace") + b")\x81}b",
        glob("collections", "OrderedDict") + glob("torch", "Size") + b"\x85\x81",
        glob("collections", "OrderedDict") + b"\x8c\x06update" + b"\x93",
        b"\x82\x01",
        b"\x82\x01)R",
        glob("torch", "Size") + b")}\x92",
        b"\x97",
    ],
)
def test_nothing_of_a_file_is_run(tmp_path, code, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(made(tmp_path / "x.pt", named(code)))
    refused(legacy(tmp_path / "x.pt", named(code)))
    assert os.listdir(tmp_path) == ["x.pt"]


def test_a_whole_model_is_refused_with_what_to_do(tmp_path):
    said = refused(made(tmp_path / "x.pt", glob("mymodel", "Net") + b")\x81}b"))
    assert "holds an object of Python, 'mymodel.Net'" in said
    assert "torch.save(model.state_dict(), 'model.pt')" in said


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (tensor(offset=1), "weight is damaged: it ends at number 7 of a storage of 6"),
        (tensor(stride=(3, 2)), "weight is damaged: it ends at number 8 of a storage of 6"),
        (tensor(offset=7, size=(0, 3)), "weight is damaged: it ends at number 7"),
        (tensor(offset=-1), "weight is damaged: sizes, strides and offset make no sense"),
        (tensor(stride=(-3, 1)), "make no sense"),
        (tensor(size=(-2, 3)), "make no sense"),
        (tensor(size=(2,)), "make no sense"),
        (tensor(size=6), "make no sense"),
        (tensor(size=(True, 3)), "make no sense"),
        (tensor(size=(2.0, 3)), "make no sense"),
        (tensor(offset="0"), "make no sense"),
        (tensor(size=(1,) * 65, stride=(1,) * 65), "make no sense"),
        (tensor(size=(2**40, 2**40), stride=(0, 0)), "weight is damaged: "),
        (tensor(size=(2**70,), stride=(0,)), "weight is damaged: "),
        (tensor(size=(2**70,), stride=(1,)), "weight is damaged: it ends at number 1180591620717411303424"),
        (tensor(size=(2**70, 0), stride=(1, 1)), "weight is damaged: "),
        (tensor(held=storage(size=7)), "the entry 'archive/data/0' has 24 bytes, too few for 7 float32"),
        (tensor(held=storage(size=2**62)), "too few for 4611686018427387904 float32"),
        (tensor(held=storage(size=-1)), "its pickle is damaged"),
        (tensor(held=storage(size=True)), "its pickle is damaged"),
        (tensor(held=storage("1")), "the entry 'archive/data/1' is missing"),
        (tensor(held=storage("../../../etc/passwd")), "is missing"),
        (tensor(held=storage("../data.pkl")), "is missing"),
        (tensor(held=storage(7)), "its pickle is damaged"),
        (tensor(held=storage(kind="QInt8Storage")), "holds a quantised tensor: dequantize()"),
        (tensor(held=text("no storage")), "its pickle is damaged"),
        (tensor(held=text("no id") + b"Q"), "its pickle is damaged"),
        (
            b"(" + tensor() + text("b") + tensor(held=storage(size=3, kind="LongStorage")) + b"d",
            "it is float32 and int64",
        ),
        (
            glob("torch._utils", "_rebuild_tensor_v3")
            + b"("
            + storage(size=24, kind="ByteStorage")
            + b"K\x00K\x06\x85K\x01\x85\x89}"
            + glob("torch", "float8_e5m2")
            + b"tR",
            "weight has the dtype float8_e5m2, which NumPy has not",
        ),
        (glob("torch._utils", "_rebuild_sparse_tensor") + b")R", "holds a sparse tensor: to_dense"),
        (glob("torch._utils", "_rebuild_parameter") + b"(" + text("x") + b"\x88}tR", "its pickle is damaged"),
        (storage(), "weight is no tensor: _Storage"),
        (glob("torch", "FloatStorage"), "weight is no tensor: torch.FloatStorage"),
        (glob("numpy", "dtype") + b"(" + text("f4") + b"\x89\x88tR", "weight is no tensor"),
        (glob("numpy", "dtype") + b"(" + text("O8") + b"\x89\x88tR", "holds NumPy's dtype 'O8', and only numbers"),
        (tensor() + b"}b", "sets the attributes of something that is no dict"),
        (b"]}(" + text("a") + b"K\x01ub", "no dict"),
        (b"h\x07", "its pickle is damaged"),
        (b"0", "its pickle is damaged"),
        (b"t", "its pickle is damaged"),
        (b"(", "its pickle is damaged"),
        (b"K\x01K\x02a", "its pickle is damaged"),
        (b"}]K\x01s", "its pickle is damaged"),
        (b"}}K\x01s", "its pickle is damaged"),
        (b"}" + tensor() + b"K\x01s", "its pickle is damaged"),
        (b"\x8d" + struct.pack("<Q", 2**62), "its pickle is damaged"),
        (b"\x8b" + struct.pack("<I", 2**31 - 1), "its pickle is damaged"),
        (b"I" + b"9" * 5000 + b"\n", "its pickle is damaged"),
        (b"\xff", "its pickle is damaged"),
    ],
)
def test_a_tensor_or_a_pickle_that_makes_no_sense(tmp_path, pickled, said):
    if pickled.startswith(b"("):
        pickled = b"(" + text("weight") + pickled[1:] if pickled.endswith(b"d") else named(pickled)
        assert said in refused(made(tmp_path / "x.pt", pickled))
    else:
        assert said in refused(made(tmp_path / "x.pt", named(pickled)))


def test_a_tensor_in_a_list_is_named(tmp_path):
    said = refused(made(tmp_path / "x.pt", named(b"](K\x01" + named(tensor(offset=1), "h.bias") + b"e", "layers")))
    assert "layers[1].h.bias is damaged" in said


BOMBS = {
    "a memo slot far away": b"}r" + struct.pack("<I", 2**32 - 1),
    "a list in itself": b"]q\x00h\x00a",
    "a dict in itself": b"}q\x00" + text("a") + b"h\x00s",
    "twice as long forty times": b"]" + b"q\x000](h\x00h\x00e" * 40,
    "deep lists": b"]" * 100_000 + b"a" * 99_999,
    "deep tuples": b")" + b"\x85" * 1_000_000,
    "a key of deep tuples": b"}" + b")" + b"\x85" * 1_000_000 + b"K\x01s",
    "copies of a long list": b"("
    + glob("torch", "Size")
    + b"q\x00]("
    + b"N" * 10_000
    + b"e\x85q\x01"
    + b"h\x00h\x01R" * 10_000
    + b"t",
    "copies of a long text": b"("
    + glob("_codecs", "encode")
    + b"q\x00("
    + text("x" * 10_000)
    + text("latin1")
    + b"tq\x01"
    + b"h\x00h\x01R" * 10_000
    + b"t",
    "dicts of a long tuple": b"("
    + glob("collections", "OrderedDict")
    + b"q\x00("
    + b"(K\x00K\x00t" * 10_000
    + b"tq\x01"
    + b"h\x00h\x01\x85R" * 10_000
    + b"t",
    "a thousand long names": named(b"]" * 90 + b"(" + b"N" * 10_000 + b"e" + b"a" * 89, "x" * 1_000_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little_memory_and_time(tmp_path, name):
    path = made(tmp_path / "x.pt", BOMBS[name])
    if name in ("a memo slot far away", "a thousand long names"):
        assert type(load_torch(path)) is dict
    else:
        said = refused(path)
        assert "nested too deeply" in said or "copies of copies" in said or "a key is a tuple" in said


def test_a_tensor_that_repeats_one_number_takes_no_memory(tmp_path):
    state = load_torch(made(tmp_path / "x.pt", named(tensor(size=(2**20, 2**20), stride=(0, 0)))))
    assert state["weight"].shape == (2**20, 2**20) and state["weight"].strides == (0, 0)
    with pytest.raises(tl.ShapeError, match=r"weight: is \(2, 3\) here, \(1048576, 1048576\) in the state"):
        nn.Linear(3, 2).load_state_dict(state, strict=False)


@pytest.mark.parametrize("kind", ["BoolStorage", "BFloat16Storage"])
def test_what_is_converted_is_converted_once(tmp_path, kind):
    size = 500_000 if kind == "BoolStorage" else 250_000
    many = b"](" + tensor(0, (2,), (1,), storage(size=size, kind=kind)) * 2000 + b"e"
    read = load_torch(made(tmp_path / "x.pt", many, {"data/0": bytes(500_000)}))
    assert len(read) == 2000 and all(np.shares_memory(read[0], other) for other in read)


def test_archives_that_grow_are_refused(tmp_path):
    bomb = made(tmp_path / "x.pt", named(tensor()), {"data/0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED)
    assert "is compressed, which neither torch.save nor Keras does" in refused(bomb)
    twice = made(tmp_path / "x.pt", named(tensor()), [("data/0", SIX), ("data/0", SIX[::-1])])
    assert "has two entries 'archive/data/0'" in refused(twice)
    data = bytearray(made(tmp_path / "x.pt", named(tensor()), {"data/0": SIX, "data/1": bytes(2000)}).read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:  # the second storage is said to begin at the first entry too
        start = archive.start_dir
    first = data.index(b"PK\x01\x02", start)
    last = data.rindex(b"PK\x01\x02")
    data[last + 42 : last + 46] = data[first + 42 : first + 46]
    data[first + 20 : first + 28] = struct.pack("<II", 2000, 2000)
    (tmp_path / "x.pt").write_bytes(data)
    assert "they overlap" in refused(tmp_path / "x.pt")


def test_a_changed_number_is_found_by_its_checksum(tmp_path):
    path = made(tmp_path / "x.pt", named(tensor()))
    data = bytearray(path.read_bytes())
    data[data.index(SIX) + 5] ^= 1
    path.write_bytes(data)
    said = refused(path)
    assert "the entry 'archive/data/0' is damaged (Bad CRC-32" in said and "set_crc32_options(False)" in said


def test_changed_pickles_are_refused_or_harmless(tmp_path, rng):
    """Bytes of the pickle changed under a right checksum: a value, or an error that names the file."""
    with zipfile.ZipFile(DATA / "torch.pt") as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    pickled = entries.pop("data.pkl")[2:-1]
    outcomes = set()
    for _ in range(300):
        changed = bytearray(pickled)
        for at in rng.integers(0, len(changed), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        made(tmp_path / "x.pt", bytes(changed), entries)
        try:
            load_torch(tmp_path / "x.pt")
            outcomes.add("read")
        except tl.FileError as error:
            assert str(tmp_path / "x.pt") in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_other_files_are_told_apart(tmp_path):
    path = tmp_path / "x.pt"
    with pytest.raises(tl.FileError, match="there is no such file"):
        load_torch(path)
    with pytest.raises(tl.FileError, match="is a folder"):
        load_torch(tmp_path)
    with pytest.raises(tl.ArgumentError, match=r"tl\.interop\.load_torch\('model\.pt'\)"):
        load_torch(None)
    for data in (b"", b"hello", pickle.dumps({"a": 1}), b"\x80\x02}."):
        path.write_bytes(data)
        assert "is no file of torch.save" in refused(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    assert "tl.interop.load_keras(path)" in refused(path)
    tl.save(path, nn.Linear(2, 2))
    assert "tl.load(path, model)" in refused(path)
    assert "is a zip archive, but none of torch.save" in refused(made(path, b"}", root="a/b/"))
    assert "tl.interop.load_keras" in refused(made(path, b"}", {"model.weights.h5": b""}, root=""))
    said = refused(made(path, named(tensor()), {"constants.pkl": b"", "data/0": SIX}))
    assert "is a TorchScript archive, a program" in said and "torch.jit.load('model.pt').state_dict()" in said
    assert "neither little nor big" in refused(made(path, named(tensor()), {"byteorder": b"pdp", "data/0": SIX}))


# -------------------------------------------------------------------------------------------------------- before torch 1.6
BYTES = struct.pack("<q", 6) + SIX


def legacy(path, pickled, keys=("0",), data=BYTES, protocol=1001):
    parts = [0x1950A86A20F9469CFC6C, protocol, {"little_endian": True}]
    head = b"".join(pickle.dumps(part, 2) for part in parts)
    path.write_bytes(head + b"\x80\x02" + pickled + b"." + pickle.dumps(list(keys), 2) + data)
    return path


def held(view=b"N", size=6):
    return (
        b"(" + text("storage") + glob("torch", "FloatStorage") + plain("0") + text("cpu") + plain(size) + view + b"tQ"
    )


def test_the_older_format(tmp_path):
    path = legacy(tmp_path / "x.pt", named(tensor(held=held())))
    same(load_torch(path), {"weight": np.frombuffer(SIX, "f4").reshape(2, 3)})
    for pickled, said, more in [
        (named(tensor(held=held(b"(K\x00K\x00K\x06t"))), "holds views of storages, as torch wrote them long ago", {}),
        (b"(" + text("module") + b"NNNtQ", "holds a whole model", {}),
        (named(tensor(held=held(size=5))), "its size is told twice, differently", {}),
        (named(tensor(held=held(size=2**60))), "is cut off: the storage '0' is not all there", {}),
        (named(tensor(held=held())), "the list of its storages is damaged", {"keys": ("1",)}),
        (named(tensor(held=held())), "the list of its storages is damaged", {"keys": ("0", "0")}),
        (named(tensor(held=held())), "is of an unknown version", {"protocol": 1002}),
        (named(tensor(held=held())), "is cut off", {"data": b"\x06"}),
    ]:
        assert said in refused(legacy(tmp_path / "x.pt", pickled, **more))
