"""Files of torch.save read here and files of ours read by torch, against torch itself."""

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import nn

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

NAMES = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
DTYPES = [getattr(torch, name) for name in NAMES.split()]
FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}, "protocol 4": {"pickle_protocol": 4}}


@pytest.fixture(params=FORMATS)
def through(request, tmp_path):
    """A function: what torch saves, as it is read here."""

    def pass_through(value):
        torch.save(value, tmp_path / "x.pt", **FORMATS[request.param])
        return tl.interop.load_torch(tmp_path / "x.pt")

    return pass_through


@pytest.mark.parametrize(
    ("ours", "theirs", "x"),
    [
        (lambda: nn.LSTM(3, 4, 2, bidirectional=True), lambda: torch.nn.LSTM(3, 4, 2, bidirectional=True), (5, 2, 3)),
        (lambda: nn.LSTM(3, 4, batch_first=True), lambda: torch.nn.LSTM(3, 4, batch_first=True), (5, 2, 3)),
        (lambda: nn.GRU(3, 4, bias=False), lambda: torch.nn.GRU(3, 4, bias=False), (5, 2, 3)),
        (lambda: nn.RNN(3, 4, nonlinearity="relu"), lambda: torch.nn.RNN(3, 4, nonlinearity="relu"), (5, 2, 3)),
        (
            lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)),
            lambda: torch.nn.Sequential(
                torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
            ),
            (5, 3),
        ),
    ],
)
def test_a_trained_model_computes_the_same(through, rng, ours, theirs, x):
    model, other = ours(), theirs()
    model.load_state_dict(through(other.state_dict()))
    x = rng.standard_normal(x).astype(np.float32)
    mine, yours = model(x), other(torch.from_numpy(x))
    if isinstance(mine, tuple):
        mine, yours = mine[0], yours[0]
    np.testing.assert_allclose(mine.numpy(), yours.detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_layout(through, rng, dtype):
    numbers = torch.from_numpy(rng.integers(0, 100, (3, 4, 5))).to(dtype)
    value = {
        "whole": numbers,
        "turned": numbers.permute(2, 0, 1),
        "part": numbers[1:, ::2, 3],
        "spread": numbers[:, :1].expand(3, 6, 5),
        "one": numbers[2, 3, 4],
        "none": numbers[:0],
        "windows": numbers.flatten().unfold(0, 7, 2),
    }
    for name, array in through(value).items():
        expected = value[name].float() if dtype == torch.bfloat16 else value[name]
        np.testing.assert_array_equal(array, expected.numpy(), err_msg=name)
        assert array.dtype == expected.numpy().dtype and array.flags.writeable


def test_numbers_at_the_ends_of_their_range(through):
    ends = {}
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        info = torch.finfo(dtype)
        ends[str(dtype)] = torch.tensor(
            [info.max, info.min, info.tiny, info.tiny * info.eps, -0.0, torch.inf, torch.nan], dtype=dtype
        )
    for name, array in through(ends).items():
        expected = (ends[name].float() if name == "torch.bfloat16" else ends[name]).numpy()
        assert array.tobytes() == expected.tobytes(), name


def test_a_whole_checkpoint(through):
    model = torch.nn.LSTM(3, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    model(torch.ones(5, 2, 3))[0].sum().backward()
    optimizer.step()
    schedule.step()
    read = through({"model": model.state_dict(), "optim": optimizer.state_dict(), "schedule": schedule.state_dict()})
    assert read["optim"]["param_groups"] == optimizer.state_dict()["param_groups"]
    assert read["schedule"] == dict(schedule.state_dict(), milestones={3: 1, 5: 1})
    for k, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            np.testing.assert_array_equal(read["optim"]["state"][k][name], value.numpy())


def test_tied_weights_stay_tied(through):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    read = through(model.state_dict())
    assert np.shares_memory(read["0.weight"], read["1.weight"]) and not np.shares_memory(read["0.bias"], read["1.bias"])


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_what_numpy_has_not_is_named(through):
    for value, said in [
        (torch.eye(3).to_sparse(), "a sparse tensor: to_dense"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "a quantised tensor: dequantize"),
        (torch.ones(3).to(torch.float8_e4m3fn), "layers.w has the dtype float8_e4m3fn"),
        (torch.ones(3, device="meta"), "without numbers"),
        (torch.nn.Linear(2, 2), "'torch.nn.modules.linear.Linear'|a whole model"),
    ]:
        with pytest.raises(tl.FileError, match=said):
            through({"layers": {"w": value}})


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_script_is_refused(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2), check_trace=False), tmp_path / "x.pt")
    with pytest.raises(tl.FileError, match="is a TorchScript archive, a program"):
        tl.interop.load_torch(tmp_path / "x.pt")


@pytest.mark.parametrize("mapped", [False, True])
def test_torch_reads_what_is_written_here(tmp_path, rng, mapped):
    model = nn.LSTM(3, 4, 2, bidirectional=True, seed=0)
    arrays = {name: rng.integers(0, 100, (2, 3)).astype(name) for name in NAMES.replace("bfloat16", "").split()}
    facts = {"epoch": 3, "losses": [0.5, float("inf")], "name": "naïve", "none": None, "raw": b"\x00", "many": -(2**70)}
    value = {"model": model, "arrays": arrays, "turned": arrays["float32"].T, "empty": np.zeros((0, 2)), **facts}
    tl.interop.save_torch(tmp_path / "x.pt", value)
    read = torch.load(tmp_path / "x.pt", weights_only=True, mmap=mapped)
    assert {name: read[name] for name in facts} == facts
    for name, array in arrays.items():
        assert read["arrays"][name].dtype == getattr(torch, name)
        np.testing.assert_array_equal(read["arrays"][name].numpy(), array)
    np.testing.assert_array_equal(read["turned"].numpy(), value["turned"])
    assert read["empty"].shape == (0, 2) and read["turned"].is_contiguous()
    theirs = torch.nn.LSTM(3, 4, 2, bidirectional=True)
    theirs.load_state_dict(read["model"])
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(
        theirs(torch.from_numpy(x))[0].detach().numpy(), model(x)[0].numpy(), rtol=1e-4, atol=1e-6
    )
