"""Layers and initialisers against their definitions, written in NumPy here."""

import math

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import nn

F = nn.functional


# -------------------------------------------------------------------------------------------------------------- Linear
@pytest.mark.parametrize("lead", [(), (4,), (5, 4), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(rng, lead, bias):
    layer = nn.Linear(3, 2, bias, dtype=np.float64, seed=rng)
    x = rng.standard_normal((*lead, 3))
    expected = np.einsum("oi,...i->...o", layer.weight.numpy(), x) + (layer.bias.numpy() if bias else 0.0)
    y = layer(x)
    assert y.shape == (*lead, 2)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-13)
    tl.check_grads(F.linear, [x, layer.weight, layer.bias] if bias else [x, layer.weight])


def test_linear_of_no_features():
    assert np.array_equal(
        nn.Linear(0, 2, seed=0)(np.zeros((3, 0), np.float32)).numpy(),
        np.zeros((3, 2)) + nn.Linear(0, 2, seed=0).bias.numpy(),
    )


def test_defaults_are_torchs_distributions():
    layer = nn.Linear(16, 4000, seed=0)
    for values in (layer.weight.numpy(), layer.bias.numpy()):
        assert 0.249 < values.max() < 0.25 and -0.25 < values.min() < -0.249
        assert abs(values.std() - 0.5 / math.sqrt(12)) < 0.005
    table = nn.Embedding(300, 300, seed=0).weight.numpy()
    assert abs(table.mean()) < 0.01 and abs(table.std() - 1) < 0.01


def test_one_seed_gives_one_model_in_both_dtypes():
    single, double = nn.Linear(3, 2, seed=7), nn.Linear(3, 2, seed=7, dtype=np.float64)
    assert single.weight.dtype == np.float32 and double.weight.dtype == np.float64
    assert np.array_equal(single.weight.numpy(), double.weight.numpy().astype(np.float32))
    shared = np.random.default_rng(7)
    first, second = nn.Linear(3, 2, seed=shared), nn.Linear(3, 2, seed=shared)
    assert np.array_equal(first.weight.numpy(), single.weight.numpy())
    assert not np.array_equal(second.weight.numpy(), first.weight.numpy())


# ----------------------------------------------------------------------------------------------------------- Embedding
def test_embedding_and_its_gradient(rng):
    table = nn.Embedding(6, 3, dtype=np.float64, seed=rng)
    ids = rng.integers(0, 6, (4, 5))
    y = table(ids)
    assert np.array_equal(y.numpy(), table.weight.numpy()[ids])
    g = rng.standard_normal((4, 5, 3))
    y.backward(g)
    expected = np.zeros((6, 3))
    for place in np.ndindex(4, 5):
        expected[ids[place]] += g[place]
    np.testing.assert_allclose(table.weight.grad.numpy(), expected, rtol=1e-13)
    tl.check_grads(lambda w: tl.square(F.embedding(ids, w)), [table.weight])


def test_embedding_takes_whole_floats_lists_and_nothing():
    table = nn.Embedding(6, 3, seed=0)
    rows = table.weight.numpy()[[0, 5]]
    for ids in ([0, 5], tl.tensor([0, 5]), np.array([0, 5], np.uint8), tl.tensor(np.array([0, 5]))):
        assert np.array_equal(table(ids).numpy(), rows)
    assert table(np.zeros((2, 0), int)).shape == (2, 0, 3)
    assert np.array_equal(table(5).numpy(), rows[1])


@pytest.mark.parametrize("padding", [2, -4])
def test_padding_is_zero_and_stays_zero(rng, padding):
    table = nn.Embedding(6, 3, padding_idx=padding, dtype=np.float64, seed=rng)
    assert np.array_equal(table.weight.numpy()[2], np.zeros(3)) and np.all(table.weight.numpy()[[0, 1, 3, 4, 5]] != 0)
    ids = np.array([2, 1, 2, 2])
    table(ids).backward(np.ones((4, 3)))
    expected = np.zeros((6, 3))
    expected[1] = 1
    assert np.array_equal(table.weight.grad.numpy(), expected)
    second = tl.grad(lambda w: (tl.grad(lambda v: (F.embedding(ids, v, padding) ** 3).sum())(w) ** 2).sum())(
        table.weight
    )
    np.testing.assert_allclose(second.numpy(), expected * 36 * table.weight.numpy() ** 3, rtol=1e-12)


# --------------------------------------------------------------------------------------------------- Dropout, LayerNorm
def test_dropout_keeps_the_mean_and_is_seeded():
    x = np.ones(100_000, np.float32)
    y = nn.Dropout(0.25, seed=0)(x).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.01
    assert np.array_equal(y, nn.Dropout(0.25, seed=0)(x).numpy())
    drop = nn.Dropout(0.25, seed=0)
    assert not np.array_equal(drop(x).numpy(), drop(x).numpy())
    assert np.array_equal(drop.eval()(x).numpy(), x)


def test_dropout_at_the_ends():
    x = tl.tensor([1.0, -2.0], requires_grad=True)
    assert nn.Dropout(0.0)(x) is x
    y = nn.Dropout(1.0)(x)
    assert np.array_equal(y.numpy(), [0.0, 0.0])
    y.backward([1.0, 1.0])
    assert np.array_equal(x.grad.numpy(), [0.0, 0.0])


def test_dropouts_gradient_is_its_mask():
    x = tl.tensor(np.arange(1.0, 9.0), requires_grad=True)
    y = nn.Dropout(0.5, seed=3)(x)
    y.backward(np.ones(8))
    np.testing.assert_array_equal(x.grad.numpy() * x.numpy(), y.numpy())
    assert {0.0, 2.0} == set(x.grad.numpy())


@pytest.mark.parametrize("shape", [4, (4,), (3, 4)])
def test_layer_norm(rng, shape):
    layer = nn.LayerNorm(shape, dtype=np.float64)
    dims = (shape,) if isinstance(shape, int) else shape
    layer.load_state_dict({name: rng.standard_normal(dims) for name in ("weight", "bias")})
    x = rng.standard_normal((2, 3, 4)) * 5 + 3
    axes = tuple(range(-len(dims), 0))
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(x).numpy(), expected * layer.weight.numpy() + layer.bias.numpy(), rtol=1e-12)
    tl.check_grads(lambda x, w, b: F.layer_norm(x, shape, w, b), [x, layer.weight, layer.bias])


def test_layer_norm_of_constants_and_extremes():
    x = np.array([[1000.0, 1000.0], [-1000.0, 1000.0], [np.nan, 1.0], [np.inf, 1.0]], np.float32)
    y = nn.LayerNorm(2)(x).numpy()
    np.testing.assert_allclose(y[:2], [[0, 0], [-1, 1]], rtol=1e-6)
    assert np.isnan(y[2:]).all()
    assert nn.LayerNorm(2, elementwise_affine=False).parameters() == []
    assert [name for name, _ in nn.LayerNorm(2, bias=False).named_parameters()] == ["weight"]


# ---------------------------------------------------------------------------------------------- Sequential, activations
def test_sequential():
    net = nn.Sequential(nn.Linear(3, 4, seed=0), tl.tanh, nn.Linear(4, 1, seed=1))
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(net(x).numpy(), net[2](tl.tanh(net[0](x))).numpy())
    assert len(net) == 3 and net[-1] is net[2]
    assert list(net[1:].state_dict()) == ["2.weight", "2.bias"]
    named = nn.Sequential({"encode": nn.Linear(3, 2), "decode": nn.Linear(2, 3)})
    assert list(named.state_dict()) == ["encode.weight", "encode.bias", "decode.weight", "decode.bias"]
    assert nn.Sequential()(x) is x


@pytest.mark.parametrize(
    ("module", "reference"),
    [
        (nn.Tanh(), np.tanh),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.ELU(1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x))),
        (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
        (nn.GELU(), lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
        (nn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (nn.Softmax(dim=0), lambda x: np.exp(x) / np.exp(x).sum(0, keepdims=True)),
        (nn.LogSoftmax(), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    ],
    ids=lambda m: repr(m) if isinstance(m, nn.Module) else "",
)
def test_activation_modules(rng, module, reference):
    x = rng.standard_normal((3, 4))
    np.testing.assert_allclose(module(x).numpy(), reference(x), rtol=1e-12)


# --------------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: nn.Linear(3, 2)(np.ones((4, 5))), tl.ShapeError, ["in_features = 3", "(4, 5)"]),
        (lambda: nn.Linear(3, 2)(1.0), tl.ShapeError, ["in_features = 3"]),
        (lambda: nn.Linear(3.5, 2), tl.ArgumentError, ["`Linear`", "in_features", "3.5"]),
        (lambda: nn.Linear(3, -1), tl.ArgumentError, ["out_features"]),
        (lambda: nn.Linear(3, 2, dtype=np.int32), tl.ArgumentError, ["float32 or float64"]),
        (lambda: nn.Linear(3, 2, dtype="nonsense"), tl.ArgumentError, ["float32 or float64"]),
        (lambda: nn.Linear(3, 2, seed="x"), tl.ArgumentError, ["seed"]),
        (lambda: nn.Embedding(5, 2)([[1, 5]]), tl.ShapeError, ["`Embedding`", "ids[0, 1] is 5", "0 ... 4"]),
        (lambda: nn.Embedding(5, 2)([-1]), tl.ShapeError, ["ids[0] is -1"]),
        (lambda: nn.Embedding(5, 2)([0.5]), tl.ArgumentError, ["integers"]),
        (lambda: nn.Embedding(5, 2)([np.nan]), tl.ArgumentError, ["integers"]),
        (lambda: nn.Embedding(5, 2)([True]), tl.ArgumentError, ["integers"]),
        (lambda: nn.Embedding(5, 2, padding_idx=5), tl.ArgumentError, ["padding_idx", "-5 to 4"]),
        (lambda: nn.Embedding(0, 2), tl.ArgumentError, ["num_embeddings"]),
        (lambda: nn.Dropout(1.5), tl.ArgumentError, ["probability", "1.5"]),
        (lambda: nn.Dropout("x"), tl.ArgumentError, ["probability"]),
        (lambda: F.dropout(tl.ones(2), -0.1), tl.ArgumentError, ["probability"]),
        (lambda: nn.LayerNorm(3)(np.ones((2, 4))), tl.ShapeError, ["last axes", "(3,)"]),
        (lambda: nn.LayerNorm(()), tl.ShapeError, ["at least one axis"]),
        (lambda: nn.LayerNorm(0), tl.ArgumentError, ["normalized_shape"]),
        (lambda: nn.Sequential(nn.Tanh(), 3), tl.ArgumentError, ["part 1"]),
        (lambda: nn.Sequential({"forward": nn.Tanh()}), tl.ArgumentError, ["'forward'"]),
        (lambda: F.linear(np.ones(3), np.ones(3)), tl.ShapeError, ["weight (out, in)"]),
        (lambda: tl.init.xavier_uniform(3), tl.ShapeError, ["at least two axes"]),
        (lambda: tl.init.kaiming_normal((3, 3), mode="fan"), tl.ArgumentError, ["fan_in"]),
        (lambda: tl.init.calculate_gain("foo"), tl.ArgumentError, ["foo", "leaky_relu"]),
        (lambda: tl.init.uniform((2, -1)), tl.ShapeError, ["negative"]),
        (lambda: tl.init.uniform("ab"), tl.ArgumentError, ["shape"]),
        (lambda: tl.init.eye((3, 2)), tl.ShapeError, ["identities"]),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, kind, words):
    with pytest.raises(kind) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value


# --------------------------------------------------------------------------------------------------------- initialisers
def test_initialisers_have_their_spread():
    shape, n = (200, 300), 60_000
    cases = {
        "xavier_uniform": math.sqrt(2 / 500),
        "xavier_normal": math.sqrt(2 / 500),
        "kaiming_uniform": math.sqrt(2 / 300),
        "kaiming_normal": math.sqrt(2 / 300),
    }
    for name, std in cases.items():
        values = getattr(tl.init, name)(shape, rng=0, dtype=np.float64)
        assert abs(values.std() / std - 1) < 5 / math.sqrt(n), name
        assert abs(values.mean()) < 5 * std / math.sqrt(n), name
        if name.endswith("uniform"):
            assert np.abs(values).max() <= std * math.sqrt(3)
    field = tl.init.kaiming_normal((50, 20, 5), mode="fan_out", nonlinearity="linear", rng=0, dtype=np.float64)
    assert abs(field.std() / math.sqrt(1 / 250) - 1) < 0.05


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal(shape):
    q = tl.init.orthogonal(shape, gain=2.0, rng=0, dtype=np.float64).reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)
    assert tl.init.orthogonal(shape, rng=0).flags.writeable


def test_eye_and_constants():
    assert np.array_equal(tl.init.eye((4, 2)), np.vstack([np.eye(2), np.eye(2)]))
    assert np.array_equal(tl.init.constant(3, 2.5), np.full(3, 2.5, np.float32))
    assert np.array_equal(tl.init.zeros((2, 1)), np.zeros((2, 1))) and np.array_equal(tl.init.ones(2), np.ones(2))
