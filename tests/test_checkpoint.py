"""Files of `save`: bit-exact, whole or not at all, and believed only after they were checked."""

import errno
import json
import os
import stat
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import tinygrad_lstm as tl
from tinygrad_lstm import checkpoint, nn


def make(seed=0, dtype=np.float64, hidden=4):
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.Linear(3, hidden, dtype=dtype, seed=rng),
        nn.Dropout(0.5, seed=seed + 1),
        nn.Linear(hidden, 2, dtype=dtype, seed=rng),
    )
    return model, tl.optim.Adam(model.parameters(), lr=0.01 * (seed + 1))


def train(model, optimizer, steps):
    for k in range(steps):
        optimizer.zero_grad()
        x = np.cos(np.arange(6.0).reshape(2, 3) + k).astype(model[0].weight.dtype)
        tl.square(model(x)).sum().backward()
        optimizer.step()


def everything(model, optimizer):
    """All that a file may change, as bytes."""
    state = optimizer.state_dict()
    arrays = {**model.state_dict(), **state["arrays"]}
    return {k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays.items()}, state["groups"], repr(model.rng_state())


@pytest.fixture
def saved(tmp_path):
    model, optimizer = make()
    train(model, optimizer, 3)
    path = tmp_path / "run.safetensors"
    tl.save(path, model, optimizer, step=3, losses=[1.5, 0.5], note="é\n", table=np.arange(5))
    return path, model, optimizer


# ---------------------------------------------------------------------------------------------------------- round trips
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, dtype):
    model, optimizer = make(dtype=dtype)
    train(model, optimizer, 3)
    tl.save(tmp_path / "run.safetensors", model, optimizer, step=3)
    train(model, optimizer, 4)
    again, other = make(seed=5, dtype=dtype)
    assert tl.load(str(tmp_path / "run.safetensors"), again, other) == {"step": 3}
    train(again, other, 4)
    assert everything(again, other) == everything(model, optimizer)


def test_special_values_keep_their_bits(tmp_path):
    model = nn.Linear(4, 2, dtype=np.float64)
    bits = np.array([0x7FF8000000000123, 0xFFF0000000000000, 0x8000000000000000, 1], np.uint64).view(np.float64)
    model.load_state_dict({"weight": np.stack([bits, bits]), "bias": bits[:2]})
    tl.save(tmp_path / "x", model)
    again = nn.Linear(4, 2, dtype=np.float64)
    tl.load(tmp_path / "x", again)
    assert again.weight.numpy().tobytes() == model.weight.numpy().tobytes()


def test_layout_does_not_matter(tmp_path):
    class Odd(nn.Module):
        def __init__(self, fill):
            self.turned = tl.tensor(np.asfortranarray(np.arange(6.0).reshape(2, 3) * fill), requires_grad=True)
            self.scalar = tl.tensor(np.array(2.5 * fill), requires_grad=True)
            self.empty = tl.tensor(np.zeros((0, 3)), requires_grad=True)
            self.mask = tl.tensor(np.array([True, False]) & bool(fill))

    tl.save(tmp_path / "x", Odd(1))
    odd = Odd(0)
    tl.load(tmp_path / "x", odd)
    assert np.array_equal(odd.turned.numpy(), np.arange(6.0).reshape(2, 3))
    assert odd.scalar.item() == 2.5 and odd.empty.shape == (0, 3) and odd.mask.tolist() == [True, False]


def test_facts_come_back(tmp_path):
    rng = np.random.Generator(np.random.MT19937(3))
    rng.random(10)
    facts = {
        "number": 7, "real": 0.1, "nan": float("nan"), "inf": -float("inf"), "yes": True, "none": None,
        "text": "α\n\"\\", "huge": 2**200,
        "nested": {"list": [1, [2.5, "x"], {"deep": None}], "empty": {}}, "pair": (1, 2),
        "single": np.float32(0.1), "count": np.int64(5),
        "flag": np.bool_(True),
        "array": np.array([[1, 2]], np.uint8), "half": np.array([np.nan, 1], np.float16),
        "tensor": tl.tensor([1.0, 2.0]), "arrays": [np.zeros(2), np.ones(1)],
        "rng": rng, "generators": [np.random.default_rng(4)], "swapped": np.array([1.0, 2.0], ">f8"),
    }  # fmt: skip
    tl.save(tmp_path / "x", nn.Linear(1, 1), **facts)
    found = tl.load(tmp_path / "x")
    same = ("number", "real", "inf", "yes", "none", "text", "huge", "nested", "count", "flag")
    assert {k: found[k] for k in same} == {k: facts[k] for k in same}
    assert [type(found[k]) for k in ("number", "yes", "count", "flag")] == [int, bool, int, bool]
    assert found["nan"] != found["nan"] and found["pair"] == [1, 2] and found["single"] == float(np.float32(0.1))
    assert found["array"].dtype == np.uint8 and np.array_equal(found["array"], [[1, 2]])
    assert found["half"].tobytes() == facts["half"].tobytes()
    assert found["tensor"].dtype == np.float32 and found["tensor"].tolist() == [1.0, 2.0]
    assert found["swapped"].tolist() == [1.0, 2.0]
    assert [a.tolist() for a in found["arrays"]] == [[0, 0], [1]]
    assert found["rng"].random(5).tolist() == rng.random(5).tolist()
    assert found["generators"][0].random() == np.random.default_rng(4).random()
    found["array"][0, 0] = 9  # it is the caller's


def test_any_reader_of_safetensors_reads_the_model(saved):
    path, model, _ = saved
    tensors = load_file(path)
    assert all(np.array_equal(tensors[name], value) for name, value in model.state_dict().items())


def test_a_file_of_somebody_else_is_taken_if_it_fits(tmp_path):
    model, _ = make()
    state = {name: value + 1 for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "x", {"format": "pt"})
    assert tl.load(tmp_path / "x", model) == {}
    assert all(np.array_equal(model.state_dict()[name], value) for name, value in state.items())
    with pytest.raises(tl.FileError, match="no state of an optimiser"):
        tl.load(tmp_path / "x", *make())


def test_loading_the_model_alone_or_the_facts_alone(saved):
    path, model, _ = saved
    again, other = make(3)
    untouched = everything(*make(3))[1]
    assert tl.load(path, again)["step"] == 3
    assert np.array_equal(again[0].weight.numpy(), model[0].weight.numpy())
    assert other.state_dict()["groups"] == untouched
    assert tl.load(path)["note"] == "é\n"


# -------------------------------------------------------------------------------------------------- whole or not at all
def test_no_other_file_is_left(saved):
    path, model, optimizer = saved
    for k in range(3):
        tl.save(path, model, optimizer, step=k)
    assert os.listdir(path.parent) == [path.name]
    assert tl.load(path, model)["step"] == 2


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_file(saved, monkeypatch, where, error):
    path, model, optimizer = saved
    before = path.read_bytes()

    def fail(*_):
        raise error

    if where == "write":
        monkeypatch.setattr(checkpoint, "serialise", fail)
    else:
        monkeypatch.setattr(os, where, fail)
    if isinstance(error, OSError):
        with pytest.raises(tl.FileError, match="could not be written: No space left"):
            tl.save(path, model, optimizer, step=4)
    else:
        with pytest.raises(KeyboardInterrupt):
            tl.save(path, model, optimizer, step=4)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_fact_that_cannot_be_written_leaves_the_old_file(saved):
    path, model, optimizer = saved
    before = path.read_bytes()
    with pytest.raises(tl.ArgumentError):
        tl.save(path, model, optimizer, step=object())
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")
def test_modes_and_links_are_kept(tmp_path):
    model = nn.Linear(1, 1)
    mask = os.umask(0o027)
    try:
        tl.save(tmp_path / "a", model)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    (tmp_path / "a").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    tl.save(tmp_path / "link", model, step=1)
    assert (tmp_path / "link").is_symlink() and tl.load(tmp_path / "a")["step"] == 1
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


# ---------------------------------------------------------------------------------------------------- damage and malice
def refused(path, model, optimizer):
    before = everything(model, optimizer)
    with pytest.raises(tl.FileError) as error:
        tl.load(path, model, optimizer)
    assert everything(model, optimizer) == before
    assert path.name in str(error.value)
    return str(error.value)


def header_of(data):
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(header, body):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def test_any_damaged_byte_is_found(saved):
    path, model, optimizer = saved
    data = path.read_bytes()
    damaged = path.with_name("damaged")
    for k in [*range(0, 40), *range(40, len(data), 23)]:
        one = bytearray(data)
        one[k] ^= 1 << (k % 8)
        damaged.write_bytes(one)
        refused(damaged, model, optimizer)


def test_a_damaged_tensor_is_named(saved):
    path, model, optimizer = saved
    header, body = header_of(path.read_bytes())
    for name in ("2.weight", "__optimizer__.1.exp_avg", "__fact__.facts.table"):
        one = bytearray(body)
        one[header[name]["data_offsets"][0] + 3] ^= 4
        path.write_bytes(with_header(header, one))
        assert f"the tensor {name!r} is damaged" in refused(path, model, optimizer)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, 2000, -1, -8])
def test_a_file_cut_off_is_refused(saved, size):
    path, model, optimizer = saved
    path.write_bytes(path.read_bytes()[:size])
    refused(path, model, optimizer)


def test_nonsense_is_refused(tmp_path, rng):
    model, optimizer = make()
    path = tmp_path / "nonsense"
    deep = b"[" * 100_000
    for data in (
        b"PK\x03\x04 a zip", rng.bytes(5000), b"\xff" * 64, struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]", struct.pack("<Q", len(deep)) + deep,
        with_header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"0000"),
        with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"0000"),
        with_header({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 4]}}, b"0000"),
        with_header({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"0000"),
    ):  # fmt: skip
        path.write_bytes(data)
        refused(path, model, optimizer)


@pytest.mark.parametrize(
    "texts",
    [
        {"facts": "[" * 50_000},
        {"facts": "7"},
        {"facts": '{"a": {"__array__": "elsewhere"}}'},
        {"facts": '{"a": {"__array__": [1]}}'},
        {"facts": '{"a": {"__generator__": {"bit_generator": "os.system"}}}'},
        {"facts": '{"a": {"__generator__": {"bit_generator": "PCG64", "state": {"state": 1e999, "inc": 1}}}}'},
        {"facts": "1" * 5000},
        {"optimizer": "[]"},
        {"optimizer": '{"kind": "Adam", "groups": 5}'},
        {"optimizer": '{"kind": "Adam", "groups": [{"params": 4}]}'},
        {"optimizer": '{"kind": "Adam", "groups": [{"params": 4, "lr": [], "betas": 3}]}'},
        {"rng": '{"1.rng": {"bit_generator": "PCG64", "state": []}}'},
        {"rng": '{"1.rng": {"bit_generator": "MT19937", "state": {"key": [], "pos": 99999}}}'},
        {"rng": "[1]"},
        {"sha256": "[]"},
        {"sha256": "5"},
        {"sha256": "{"},
    ],
)
def test_a_header_sealed_by_somebody_hostile(saved, texts):
    """Whoever can write the file can seal it: what is in it must be harmless still."""
    path, model, optimizer = saved
    header, body = header_of(path.read_bytes())
    header["__metadata__"].update(texts)
    header["__metadata__"]["header"] = checkpoint._seal(header["__metadata__"])
    path.write_bytes(with_header(header, body))
    refused(path, model, optimizer)


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    import pickle

    path = tmp_path / "trap"
    path.write_bytes(pickle.dumps(Trap()))
    refused(path, *make())
    np.savez(tmp_path / "trap.npz", x=np.array([Trap()], object))
    refused(tmp_path / "trap.npz", *make())
    assert not (tmp_path / "sprung").exists()


# -------------------------------------------------------------------------------------------------------------- misfits
def test_a_file_of_another_model_says_what_differs(saved):
    path, *_ = saved
    text = refused(path, *make(hidden=5))
    assert "0.weight: is (5, 3) here, (4, 3) in the state" in text and "2.weight: is (2, 5) here" in text
    assert "1.weight: missing" not in text


def test_the_optimiser_is_checked_before_the_model_changes(saved):
    path, _, _ = saved
    again, _ = make(1)
    sgd = tl.optim.SGD(again.parameters())
    assert "state of Adam" in refused(path, again, sgd)
    assert "groups of [2]" in refused(path, again, tl.optim.Adam(again.parameters()[:2]))
    other = nn.Sequential(nn.Linear(3, 4), nn.Dropout(seed=np.random.Generator(np.random.Philox(1))), nn.Linear(4, 2))
    assert "1.rng is a Philox here, not a PCG64" in refused(path, other, tl.optim.Adam(other.parameters()))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda d, m: tl.save(d / "no" / "x", m), tl.FileError, ["no folder", "make it first"]),
        (lambda d, m: tl.save(d, m), tl.FileError, ["is a folder"]),
        (lambda d, m: tl.save(m, d / "x"), tl.ArgumentError, ["path of the file comes first"]),
        (lambda d, m: tl.save(d / "x", {"w": 1}), tl.ArgumentError, ["must be a Module"]),
        (lambda d, m: tl.save(d / "x", m, 7), tl.ArgumentError, ["optimizer must be", "name a fact"]),
        (lambda d, m: tl.save(d / "x", m, f=print), tl.ArgumentError, ["facts.f cannot be written"]),
        (lambda d, m: tl.save(d / "x", m, f=[0, {"a": {1}}]), tl.ArgumentError, ["facts.f[1].a cannot"]),
        (lambda d, m: tl.save(d / "x", m, f={1: 2}), tl.ArgumentError, ["facts.f", "strings, not 1"]),
        (lambda d, m: tl.save(d / "x", m, f={"__array__": 2}), tl.ArgumentError, ["__array__"]),
        (lambda d, m: tl.save(d / "x", m, f=np.array([None])), tl.ArgumentError, ["facts.f", "dtype"]),
        (lambda d, m: tl.save(d / "x", m, f=np.array([1j])), tl.ArgumentError, ["facts.f", "dtype"]),
        (lambda d, m: tl.load(d / "none", m), tl.FileError, ["none: there is no such file"]),
        (lambda d, m: tl.load(d, m), tl.FileError, ["is a folder"]),
        (lambda d, m: tl.load(Path(os.devnull), m), tl.FileError, ["no ordinary file"]),
        (lambda d, m: tl.load(None, m), tl.ArgumentError, ["path of the file comes first"]),
    ],
)
def test_wrong_calls_say_what_is_wrong(tmp_path, call, kind, words):
    with pytest.raises(kind) as error:
        call(tmp_path, nn.Linear(1, 1))
    assert all(word in str(error.value) for word in words), error.value
    assert os.listdir(tmp_path) == []


def test_circular_facts_are_refused(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(tl.ArgumentError, match="contains itself"):
        tl.save(tmp_path / "x", nn.Linear(1, 1), loop=loop)


def test_the_files_own_names_are_not_for_models(tmp_path):
    class Bad(nn.Module):
        pass

    bad = Bad()
    vars(bad)["__optimizer__"] = tl.ones(1, requires_grad=True)
    with pytest.raises(tl.ArgumentError, match="begin with __"):
        tl.save(tmp_path / "x", bad)


def test_errors_of_the_format_library_are_translated(saved, monkeypatch):
    path, model, _ = saved

    def fail(*_):
        raise SafetensorError("broken")

    monkeypatch.setattr(checkpoint, "serialise", fail)
    with pytest.raises(tl.FileError, match="broken"):
        tl.save(path, model)
