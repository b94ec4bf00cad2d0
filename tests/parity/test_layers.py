"""Layers against torch, with torch's own state dicts."""

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import nn

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")


def numbers(module):
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def agree(ours, theirs, x, rtol=1e-11):
    """Values and all gradients, after taking torch's state dict name by name."""
    ours.load_state_dict(numbers(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    floats = x.dtype.kind == "f"
    a, b = tl.tensor(x, requires_grad=floats), torch.tensor(x, requires_grad=floats)
    y, z = ours(a), theirs(b)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=rtol, atol=1e-12)
    tl.square(y).sum().backward()
    z.square().sum().backward()
    if floats:
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=rtol, atol=1e-11)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=rtol, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (5, 4, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(rng, shape, bias):
    x = rng.standard_normal(shape)
    agree(nn.Linear(3, 2, bias, dtype=np.float64), torch.nn.Linear(3, 2, bias, dtype=torch.float64), x)


@pytest.mark.parametrize("padding", [None, 0, -2])
def test_embedding(rng, padding):
    ids = rng.integers(0, 7, (5, 40))
    agree(nn.Embedding(7, 3, padding, dtype=np.float64), torch.nn.Embedding(7, 3, padding, dtype=torch.float64), ids)


@pytest.mark.parametrize("shape", [4, (3, 4)])
@pytest.mark.parametrize("kw", [{}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.1}])
def test_layer_norm(rng, shape, kw):
    theirs = torch.nn.LayerNorm(shape, **kw, dtype=torch.float64)
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    agree(nn.LayerNorm(shape, **kw, dtype=np.float64), theirs, rng.standard_normal((2, 3, 4)) * 4)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Tanh", ()),
        ("Sigmoid", ()),
        ("ReLU", ()),
        ("LeakyReLU", (0.3,)),
        ("ELU", (2.0,)),
        ("SiLU", ()),
        ("GELU", ()),
        ("GELU", ("tanh",)),
        ("Softplus", ()),
        ("Softmax", (1,)),
        ("LogSoftmax", (0,)),
    ],
)
def test_activations(rng, name, args):
    x = np.concatenate([rng.standard_normal((3, 4)), [[0.0, 15.0, -15.0, -700.0]]])
    agree(getattr(nn, name)(*args), getattr(torch.nn, name)(*args), x, rtol=1e-8)  # torch's Softplus is x from 20 on


def test_a_whole_network(rng):
    def build(lib, dtype):
        return lib.Sequential(
            lib.Embedding(9, 5, dtype=dtype), lib.LayerNorm(5, dtype=dtype), lib.Linear(5, 6, dtype=dtype), lib.Tanh(),
            lib.Sequential(lib.Linear(6, 6, bias=False, dtype=dtype), lib.Dropout(0.0)), lib.Linear(6, 2, dtype=dtype),
        )  # fmt: skip

    agree(build(nn, np.float64), build(torch.nn, torch.float64), rng.integers(0, 9, (4, 3)))


def test_state_dicts_travel_both_ways():
    ours = nn.Sequential(nn.Linear(3, 2, seed=0), nn.LayerNorm(2))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    x = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(ours(x).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4)
    ours.load_state_dict(dict(theirs.named_parameters()))  # torch's Parameters as they are


def test_default_initialisation_has_torchs_range():
    for ours, theirs in ((nn.Linear(64, 500), torch.nn.Linear(64, 500)), (nn.Linear(1, 900), torch.nn.Linear(1, 900))):
        for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            q = q.detach().numpy()
            assert abs(p.numpy().std() / q.std() - 1) < 0.1, name
            assert abs(np.abs(p.numpy()).max() / np.abs(q).max() - 1) < 0.03, name


@pytest.mark.parametrize("name", ["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"])
def test_initialisers(name):
    for shape in ((300, 200), (30, 40, 50)):
        theirs = getattr(torch.nn.init, name + "_")(torch.empty(shape)).numpy()
        assert abs(getattr(tl.init, name)(shape, rng=0).std() / theirs.std() - 1) < 0.03


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"])
def test_gains(name):
    assert tl.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    assert tl.init.calculate_gain("leaky_relu", 0.2) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.2))
