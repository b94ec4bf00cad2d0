"""Weights of Keras: our layers compute what Keras computed, there and back, and files are read with suspicion.

`data/keras.safetensors` holds arrays, inputs and outputs of Keras' layers, `data/keras.keras` and `data/keras_legacy.h5` a model
in both formats; `data/make_keras.py` made them with Keras.
"""

import io
import json
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import tinygrad_lstm as tl
from tinygrad_lstm import cells, nn
from tinygrad_lstm.interop import KerasWeights, from_keras, load_keras, to_keras

DATA = Path(__file__).parent / "data"
ARRAYS = load_file(DATA / "keras.safetensors")
FILES = ["keras.keras", "keras_legacy.h5"]


def of(name):
    """The arrays of a case in their order."""
    numbered = {int(key.rpartition("/")[2]): array for key, array in ARRAYS.items() if key.startswith(name + "/")}
    return [numbered[k] for k in range(len(numbered))]


def recurrent(cell, **settings):
    return lambda **more: nn.Recurrent(cell, input=3, hidden=5, batch_first=True, **settings, **more)


def layer(kind, **settings):
    return lambda **more: kind(3, 5, batch_first=True, **settings, **more)


RECURRENT = [
    ("lstm", layer(nn.LSTM)),
    ("lstm", recurrent(cells.lstm)),
    ("lstm_unbiased", layer(nn.LSTM, bias=False)),
    ("lstm_unbiased", recurrent(cells.lstm)),
    ("gru", layer(nn.GRU)),
    ("gru", recurrent(cells.gru)),
    ("gru_unbiased", layer(nn.GRU, bias=False)),
    ("gru_unbiased", recurrent(cells.gru)),
    ("gru_reset_before", recurrent(cells.gru_reset_before)),
    ("rnn", layer(nn.RNN)),
    ("rnn", recurrent(cells.rnn)),
    ("rnn_relu", layer(nn.RNN, nonlinearity="relu")),
    ("rnn_relu", recurrent(cells.rnn_relu)),
    ("lstm_both", layer(nn.LSTM, bidirectional=True)),
    ("lstm_both", recurrent(cells.lstm, bidirectional=True)),
    ("lstm_stacked", layer(nn.LSTM, num_layers=2)),
    ("lstm_stacked", recurrent(cells.lstm, num_layers=2)),
]
CASES = pytest.mark.parametrize(("name", "make"), RECURRENT, ids=lambda v: v if isinstance(v, str) else "")


def close(actual, expected, **more):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=2e-5, atol=1e-6, **more)


# ---------------------------------------------------------------------------------------------------------- conventions
@CASES
def test_a_recurrent_layer_computes_what_keras_does(name, make):
    ours = make()
    assert from_keras(ours, of(f"{name}/weights")) is ours
    out, states = ours(of(f"{name}/in")[0])
    expected, *finals = of(f"{name}/out")
    close(out, expected)
    states = states if isinstance(states, tuple) else (states,)
    if finals:  # [h, c], of one direction after the other
        close([s.numpy()[k] for k in range(len(states[0].numpy())) for s in states], finals)


@CASES
def test_what_goes_in_comes_out(name, make):
    ours = make(seed=0)
    given = of(f"{name}/weights")
    back = to_keras(from_keras(ours, given))
    if "unbiased" in name and isinstance(ours, nn.Recurrent):  # whose cells have a bias, which is 0
        back, zeros = [w for w in back if w.shape[0] > 2], [w for w in back if w.shape[0] in (2, 15, 20)]
        assert not any(z.any() for z in zeros if z.ndim == 1 or z.shape[0] == 2)
        back = back[: len(given)]
    assert len(back) == len(given)
    for a, b in zip(back, given, strict=True):
        if name == "gru" and isinstance(ours, nn.Recurrent) and a.shape == (2, 15):  # the sum is what counts
            a, b = (
                np.concatenate([a.sum(0)[:10], a[:, 10:].ravel()]),
                np.concatenate([b.sum(0)[:10], b[:, 10:].ravel()]),
            )
            np.testing.assert_allclose(a, b, rtol=1e-6)
        else:
            np.testing.assert_array_equal(a, b)
        assert a.flags.c_contiguous


@pytest.mark.parametrize(("name", "make"), [case for case in RECURRENT if "unbiased" not in case[0]])
def test_a_layer_of_ours_goes_there_and_comes_back(name, make):
    ours, again = make(seed=0, dtype=np.float64), make(seed=1, dtype=np.float64)
    from_keras(again, to_keras(ours))
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    np.testing.assert_allclose(again(x)[0].numpy(), ours(x)[0].numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["lstm_masked", "lstm_masked_zero", "gru_both_masked"])
def test_a_mask_is_a_length(name):
    """The last states and the outputs of the steps that count are Keras'; past them outputs are 0 here."""
    x, mask = of(f"{name}/in")
    kind = nn.GRU if "gru" in name else nn.LSTM
    ours = from_keras(kind(3, 5, batch_first=True, bidirectional="both" in name), of(f"{name}/weights"))
    out, states = ours(x, lengths=mask.sum(axis=1))
    expected, *finals = of(f"{name}/out")
    close(out.numpy()[mask], expected[mask])
    assert not out.numpy()[~mask].any()
    assert expected[~mask].any() == (name == "lstm_masked")  # Bidirectional asks for zeros
    states = states if isinstance(states, tuple) else (states,)
    close(np.concatenate([np.asarray(s) for s in states]), finals)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_take_the_arrays_of_layers(kind):
    name = {nn.LSTMCell: "lstm", nn.GRUCell: "gru", nn.RNNCell: "rnn"}[kind]
    ours = from_keras(kind(3, 5), of(f"{name}/weights"))
    state = None
    for x in of(f"{name}/in")[0].swapaxes(0, 1):
        state = ours(x, state)
    close(state[0] if isinstance(state, tuple) else state, of(f"{name}/out")[1])
    for a, b in zip(to_keras(ours), of(f"{name}/weights"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("dense", nn.Linear(3, 2)),
        ("embedding", nn.Embedding(7, 3)),
        ("norm", nn.LayerNorm(3, eps=1e-3)),
        ("norm_scale", nn.LayerNorm(3, eps=1e-3, bias=False)),
    ],
)
def test_other_layers_compute_what_keras_does(name, ours):
    close(from_keras(ours, of(f"{name}/weights"))(of(f"{name}/in")[0]), of(f"{name}/out")[0])
    for a, b in zip(to_keras(ours), of(f"{name}/weights"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_of_keras_become_one_stack():
    first, second = of("lstm_stacked/weights")[:3], of("lstm_stacked/weights")[3:]
    one = from_keras(nn.LSTM(3, 5, num_layers=2, batch_first=True), first, second)
    close(one(of("lstm_stacked/in")[0])[0], of("lstm_stacked/out")[0])


# -------------------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("ours", "weights", "said"),
    [
        (nn.GRU(3, 5), "gru_reset_before", r"reset_after=False is tl\.nn\.Recurrent\(tl\.cells\.gru_reset_before"),
        (recurrent(cells.gru_reset_before)(), "gru", r"a GRU with reset_after=True is tl\.nn\.GRU"),
        (nn.LSTM(3, 5), "lstm_unbiased", "use_bias=False is one with bias=False here"),
        (nn.LSTM(3, 5), "lstm_both", "a Bidirectional of Keras is a layer with bidirectional=True"),
        (nn.LSTM(5, 3), "lstm", r"the sizes of a layer(.|\n)*tl\.nn\.LSTM\(input, units\)"),
        (nn.LSTM(3, 5), "gru", r"given +=(.|\n)*\(3, 15\)(.|\n)*expected +=(.|\n)*\(3, 20\)"),
        (nn.Linear(2, 3), "dense", r"expected = \(\(2, 3\), \(3,\)\)"),
        (nn.LayerNorm(3), "norm_scale", r"center=False is tl\.nn\.LayerNorm\(n, bias=False\)"),
    ],
)
def test_arrays_that_do_not_fit(ours, weights, said):
    before = ours.state_dict()
    with pytest.raises(tl.ShapeError, match=said):
        from_keras(ours, of(f"{weights}/weights"))
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_layers_that_keras_has_not():
    for ours in (
        nn.LSTM(3, 5, proj_size=2),
        nn.Recurrent(cells.mgu, input=3, hidden=5),
        nn.Sequential(nn.Linear(2, 2)),
        3,
    ):
        with pytest.raises(tl.ArgumentError, match="is no layer that Keras has too"):
            from_keras(ours, of("lstm/weights"))
        with pytest.raises(tl.ArgumentError, match=r"`to_keras`: (.|\n)*is no layer that Keras has too"):
            to_keras(ours)
    with pytest.raises(tl.ArgumentError, match="a Recurrent of the cell mgu"):
        to_keras(nn.Recurrent(cells.mgu, input=3, hidden=5))
    with pytest.raises(tl.ArgumentError, match=r"takes the arrays of a layer as a list(.|\n)*get_weights\(\)"):
        from_keras(nn.Linear(3, 2), np.ones((3, 2)))
    with pytest.raises(tl.ArgumentError, match=r"weights\[0\]\[1\] must be an array of numbers"):
        from_keras(nn.Linear(3, 2), [np.ones((3, 2)), "b"])


def wrapped(**settings):
    inner = {"class_name": "LSTM", "config": {"name": "inner", **settings}}
    return {
        "class_name": "Bidirectional",
        "layer": inner,
        "backward_layer": inner | {"config": inner["config"] | {"go_backwards": True}},
    }


@pytest.mark.parametrize(
    ("ours", "name", "kind", "config", "said"),
    [
        (nn.LSTM(3, 5), "lstm", "LSTM", {"recurrent_activation": "hard_sigmoid"}, "recurrent_activation is 'hard_sigmoid' in Keras' layer 'L', but 'sigmoid' here"),
        (nn.LSTM(3, 5), "lstm", "LSTM", {"activation": "relu"}, "activation is 'relu'"),
        (nn.LSTM(3, 5), "lstm", "LSTM", {"activation": {"class_name": "Mine"}}, "activation is {'class_name': 'Mine'}"),
        (nn.LSTM(3, 5), "lstm", "LSTM", {"go_backwards": True}, "go_backwards is True"),
        (nn.GRU(3, 5, bias=False), "gru_unbiased", "GRU", {"reset_after": False}, "reset_after is False in Keras' layer 'L', but True here"),
        (nn.RNN(3, 5), "rnn", "SimpleRNN", {"activation": "relu"}, "activation is 'relu'(.|\n)*but 'tanh' here"),
        (nn.LSTM(3, 5), "lstm", "GRU", {}, "the class is 'GRU' in Keras' layer 'L', but 'LSTM' here"),
        (nn.Linear(3, 2), "dense", "LSTM", {}, "the class is 'LSTM'"),
        (nn.LayerNorm(3), "norm", "LayerNormalization", {"epsilon": 1e-3}, "epsilon is 0.001 in Keras' layer 'L', but 1e-05 here"),
        (nn.LayerNorm(3, bias=False), "norm_scale", "LayerNormalization", {"epsilon": 1e-5, "scale": False}, "scale is False"),
        (nn.LSTM(3, 5, bidirectional=True), "lstm_both", "Bidirectional", {"merge_mode": "sum"}, "merge_mode is 'sum'"),
        (nn.LSTM(3, 5, bidirectional=True), "lstm_both", "Bidirectional", wrapped(activation="elu"), "activation is 'elu' in Keras' layer 'inner'"),
        (nn.LSTM(3, 5), "lstm", "RNN", {"cell": {"class_name": "GRUCell", "config": {}}}, "the class is 'GRUCell'"),
        (nn.LSTM(3, 5, 2), "lstm_stacked", "Bidirectional", {}, "the class is 'Bidirectional' in Keras' layer 'L', but 'LSTM of one direction' here"),
        (nn.LSTM(3, 5, bidirectional=True), "lstm_both", "LSTM", {}, "but 'LSTM of two directions' here"),
        (nn.LSTM(3, 5, 2), "lstm_stacked", "RNN", {"cell": {"class_name": "S", "config": {"cells": [{"class_name": "LSTMCell", "config": {"activation": "elu"}}]}}}, "is 'elu'"),
    ],
)  # fmt: skip
def test_settings_that_would_compute_something_else(ours, name, kind, config, said):
    weights = KerasWeights(of(f"{name}/weights"), kind, {"name": "L"} | config)
    with pytest.raises(tl.ArgumentError, match=said):
        from_keras(ours, weights)
    from_keras(ours, list(weights))


def test_settings_that_agree():
    config = wrapped(activation="tanh", recurrent_activation="sigmoid", go_backwards=False) | {"merge_mode": "concat"}
    from_keras(nn.LSTM(3, 5, bidirectional=True), KerasWeights(of("lstm_both/weights"), "Bidirectional", config))
    from_keras(nn.LayerNorm(3, eps=1e-3), KerasWeights(of("norm/weights"), "LayerNormalization", {"epsilon": 1e-3}))
    from_keras(nn.Linear(3, 2), KerasWeights(of("dense/weights"), "Dense", {"activation": "softmax"}))


# ---------------------------------------------------------------------------------------------------------------- files
@pytest.fixture
def h5py():
    return pytest.importorskip("h5py", reason="files of Keras; pip install 'tinygrad_lstm[keras]'")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for file in FILES:
        with pytest.raises(
            tl.MissingExtra, match=r"reading Keras' files needs h5py: pip install 'tinygrad_lstm\[keras\]'"
        ):
            load_keras(DATA / file)


def run(weights):
    """The model of the files, built of ours."""
    deep = weights.get("inner/deep", weights.get("inner"))
    words = from_keras(nn.Embedding(7, 3), weights["words"])
    reader = from_keras(nn.LSTM(3, 2, batch_first=True, bidirectional=True), weights["reader"])
    rnn = from_keras(nn.RNN(4, 2, batch_first=True), deep)
    gru = from_keras(nn.GRU(2, 3, batch_first=True), weights["a_gru"])
    norm = from_keras(nn.LayerNorm(3, eps=1e-3), weights["norm"])
    answer = from_keras(nn.Linear(3, 2), weights["answer"])
    _, h = gru(rnn(reader(words(of("model/in")[0]))[0])[0])
    return answer(norm(h[0]))


@pytest.mark.parametrize("file", FILES)
def test_a_model_of_keras_computes_the_same_here(h5py, file):
    weights = load_keras(str(DATA / file))
    deep = "inner/deep" if file == "keras.keras" else "inner"
    assert list(weights) == ["words", "reader", deep, "a_gru", "norm", "answer"]
    assert [w.kind for w in weights.values()][:2] == ["Embedding", "Bidirectional"]
    assert weights["a_gru"].config["reset_after"] is True
    close(run(weights), of("model/out")[0])
    for array in (a for w in weights.values() for a in w):
        assert array.dtype == np.float32 and array.flags.writeable


@pytest.fixture
def inside():
    """The HDF5 file within the `.keras` file: what `model.save_weights("model.weights.h5")` writes."""
    with zipfile.ZipFile(DATA / "keras.keras") as archive:
        return archive.read("model.weights.h5")


def test_a_file_of_weights_alone(h5py, inside, tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(inside)
    weights = load_keras(path)
    assert {(name, w.kind) for name, w in weights.items()} == {
        (name, "") for name in ("words", "reader", "inner/deep", "a_gru", "norm", "answer")
    }
    close(run(weights), of("model/out")[0])


def test_older_files_number_the_classes_of_layers(h5py, inside, tmp_path):
    """Without the layers' names; where the settings are there, they say which is which."""
    data = io.BytesIO(inside)
    with h5py.File(data, "r+") as file:
        named = []
        file.visititems(lambda _, group: named.append(group) if "name" in group.attrs else None)
        for group in named:
            del group.attrs["name"]
    (tmp_path / "x.weights.h5").write_bytes(data.getvalue())
    expected = {"embedding", "bidirectional", "sequential/simple_rnn", "gru", "layer_normalization", "dense"}
    assert set(load_keras(tmp_path / "x.weights.h5")) == expected
    path = packed(tmp_path / "x.keras", {"model.weights.h5": data.getvalue()})
    assert list(load_keras(path)) == list(load_keras(DATA / "keras.keras"))
    close(run(load_keras(path)), of("model/out")[0])


def packed(path, changed=None, compression=zipfile.ZIP_STORED, drop=()):
    """The `.keras` file with some entries changed."""
    with zipfile.ZipFile(DATA / "keras.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name not in drop} | (changed or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def refused(path):
    with pytest.raises(tl.FileError) as caught:
        load_keras(path)
    said = str(caught.value)
    assert said.startswith(f"`load_keras`: {path}"), said
    return said


def test_archives_that_are_not_what_they_should_be(h5py, tmp_path, inside):
    path = tmp_path / "x.keras"
    assert "is compressed" in refused(packed(path, compression=zipfile.ZIP_DEFLATED))
    assert "has no model.weights.h5 and config.json" in refused(packed(path, drop=["config.json"]))
    assert "'config.json' is damaged" in refused(packed(path, {"config.json": b"{"}))
    assert "'config.json' is damaged" in refused(packed(path, {"config.json": b"[" * 100_000}))
    assert "is damaged or cut off" in refused(packed(path, {"model.weights.h5": b"hello"}))
    assert "is damaged or cut off" in refused(packed(path, {"model.weights.h5": inside[:-2000]}))
    odd = [
        1,
        "x",
        {"config": 3},
        {"config": {"layers": [1, {"config": []}, {"config": {"name": ["a"]}}]}},
        {"config": [3]},
    ]
    for config in odd:
        weights = load_keras(packed(path, {"config.json": json.dumps(config).encode()}))
        assert len(weights) == 6 and weights["answer"].config == {}


def test_other_files_are_told_apart(tmp_path):
    path = tmp_path / "x.keras"
    with pytest.raises(tl.FileError, match="there is no such file"):
        load_keras(path)
    with pytest.raises(tl.FileError, match="is a folder"):
        load_keras(tmp_path)
    with pytest.raises(tl.ArgumentError, match=r"tl\.interop\.load_keras\('model\.keras'\)"):
        load_keras(None)
    path.write_bytes(b"")
    assert "is no file of Keras" in refused(path)
    tl.interop.save_torch(path, {"a": np.ones(3)})
    assert "tl.interop.load_torch(path)" in refused(path)


def bad(h5py, path, make):
    """An HDF5 file like Keras', one thing of which `make(group of arrays)` does otherwise."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group["0"] = np.ones((3, 2), np.float32)
        make(group)
    return path


def test_files_that_point_elsewhere_or_grow(h5py, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["0"] = np.ones(3)
    (tmp_path / "raw").write_bytes(bytes(range(12)))

    def external(group):
        group["1"] = h5py.ExternalLink(str(secret), "/0")

    def soft(group):
        group["1"] = h5py.SoftLink("/layers/dense/vars/0")

    def raw(group):
        group.create_dataset("1", (3,), "f4", external=[(str(tmp_path / "raw"), 0, 12)])

    def virtual(group):
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "0", (3,))
        group.create_virtual_dataset("1", layout)

    def promised(group):
        group.create_dataset("1", (10**12,), "f4", chunks=(1024,))

    def unwritten(group):
        space = h5py.h5s.create_simple((10**12,))
        h5py.h5d.create(group.id, b"1", h5py.h5t.NATIVE_FLOAT, space)

    def compressed(group):
        group.create_dataset("1", data=np.zeros(10**6, np.float32), compression="gzip")

    def circle(group):
        group["1"] = group.parent

    def outer(group):
        group.file["layers/again"] = group.file["layers"]

    def words(group):
        group["1"] = ["a", "b"]

    def twice(group):
        for k in range(1, 20):
            group[str(k)] = group["0"] if k > 1 else np.ones(10_000, np.float32)
        for k in range(20, 40):
            group[str(k)] = group["1"]

    for make, said in [
        (external, "/layers/dense/vars/1 points somewhere else"),
        (soft, "/layers/dense/vars/1 points somewhere else"),
        (raw, "/layers/dense/vars/1 is in another file"),
        (virtual, "/layers/dense/vars/1 is in another file"),
        (promised, "/layers/dense/vars/1 is compressed or not all there"),
        (unwritten, "/layers/dense/vars/1 is compressed or not all there"),
        (compressed, "/layers/dense/vars/1 is compressed or not all there"),
        (circle, "stands in two places, or in itself"),
        (outer, "stands in two places, or in itself"),
        (words, "/layers/dense/vars/1 holds no numbers"),
        (twice, "its arrays are together larger than the file"),
    ]:
        assert said in refused(bad(h5py, tmp_path / f"{make.__name__}.h5", make)), make.__name__


def test_half_numbers_and_what_is_no_layer(h5py, tmp_path):
    def make(group):
        bits = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
        group["1"] = bits.view("V2")
        group["1"].attrs["dtype"] = "bfloat16"
        group.file["optimizer/vars/0"] = np.ones(3)
        group.file["layers/dense/seed_generator/vars/0"] = np.ones(2, np.uint32)
        group.file["layers/empty/vars/x"] = np.ones(0)
        group.file["layers/big/vars/0"] = np.ones(3, ">f8")

    weights = load_keras(bad(h5py, tmp_path / "x.h5", make))
    assert set(weights) == {"dense", "empty", "big"}
    np.testing.assert_array_equal(weights["dense"][1], np.array([1.5, -2.0], np.float32))
    assert weights["big"][0].dtype == np.dtype("f8").newbyteorder("=")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.create_group("layers")
    assert "holds no weights of layers" in refused(tmp_path / "none.h5")


def test_layers_in_their_order(h5py, tmp_path):
    """The second before the tenth, the forward direction first, a name that is there twice."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for k in range(11):
            file[f"layers/rnn/cell/cells/lstm_cell{f'_{k}' if k else ''}/vars/0"] = np.full(1, k)
        for k, part in enumerate(["forward_layer", "backward_layer"]):
            file[f"layers/bidirectional/{part}/cell/vars/0"] = np.full(1, k)
        for key in ("dense", "dense_1"):
            file[f"layers/{key}/vars/0"] = np.ones(1)
            file[f"layers/{key}/vars"].attrs["name"] = "same"
    weights = load_keras(tmp_path / "x.h5")
    assert [int(a[0]) for a in weights["rnn"]] == list(range(11))
    assert [int(a[0]) for a in weights["bidirectional"]] == [0, 1]
    assert set(weights) == {"rnn", "bidirectional", "same", "dense_1"}


def test_long_lists_of_names_and_bytes(h5py, tmp_path):
    """As Keras 2 wrote them: bytes, and in pieces when there are many."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names0"] = np.array([b"b"])
        file.attrs["layer_names1"] = np.array([b"a"])
        for name in "ab":
            file[f"{name}/{name}/kernel:0"] = np.ones((3, 2), np.float32)
            file[name].attrs["weight_names"] = np.array([f"{name}/kernel:0".encode()])
    assert list(load_keras(tmp_path / "x.h5")) == ["b", "a"]
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["a"].attrs["weight_names"] = np.array([b"../b/b/kernel:0"])
    assert "points somewhere else" in refused(tmp_path / "x.h5")


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_was_cut_off_is_refused(h5py, file, tmp_path, rng):
    data = (DATA / file).read_bytes()
    for end in rng.integers(0, len(data), 60):
        (tmp_path / "model").write_bytes(data[:end])
        refused(tmp_path / "model")


def test_a_file_that_was_changed_is_refused_or_harmless(h5py, tmp_path, rng):
    data = (DATA / "keras.keras").read_bytes()
    path = tmp_path / "model"
    for _ in range(150):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        path.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                load_keras(path)
            except tl.FileError as error:
                assert str(path) in str(error)
