"""Every elementwise row that torch has too: values and gradients, also at the extremes, NaN for NaN and inf for inf."""

import math
from itertools import product

import numpy as np
import pytest

import tinygrad_lstm as tl

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")
F = torch.nn.functional

# fmt: off
UNARY = {
    "abs": torch.abs, "neg": torch.neg, "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p,
    "sqrt": torch.sqrt, "square": torch.square, "reciprocal": torch.reciprocal, "sin": torch.sin, "cos": torch.cos, "tan": torch.tan,
    "sinh": torch.sinh, "cosh": torch.cosh, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "erf": torch.erf,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)), "silu": F.silu, "gelu": F.gelu, "leaky_relu": F.leaky_relu, "elu": F.elu,
    "sign": torch.sign, "floor": torch.floor,
}
BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow, "maximum": torch.maximum, "minimum": torch.minimum,
    "mod": torch.remainder, "floor_divide": lambda a, b: torch.div(a, b, rounding_mode="floor"),
}
# fmt: on
# where the conventions differ, or where 0 * inf is decided by the order of the factors
EXTREMES = [0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 1000.0, -1000.0, math.inf, -math.inf, math.nan]
FACTORS_DECIDE = {
    "silu": [math.inf, -math.inf],
    "gelu": [math.inf, -math.inf],
    "sin": [],
    "softplus": [math.inf, -math.inf],
    "elu": [],
    "expm1": [],
    "tan": [],
    "reciprocal": [0.0],
    "sqrt": [-math.inf],
}
OWN_NAN = ("abs", "sign", "leaky_relu")  # torch: sign(nan) = 0, and leaky_relu has the small slope at nan; here as in NumPy  # fmt: skip


def both(ours, theirs, arrays, weights=None):
    """Values and gradients of both, the same cotangents."""
    mine = [tl.tensor(a, requires_grad=True) for a in arrays]
    its = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*its)
    if weights is None:
        weights = np.ones(z.shape, arrays[0].dtype)
    y.backward(weights)
    z.backward(torch.tensor(weights))
    zeros = torch.zeros
    return (y.numpy(), *[m.grad.numpy() for m in mine]), (
        z.detach().numpy(),
        *[(zeros(i.shape) if i.grad is None else i.grad).numpy() for i in its],
    )


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unary(name, dtype, rng):
    x = np.concatenate([rng.standard_normal(500), rng.uniform(-30, 30, 500), EXTREMES]).astype(dtype)
    x = x[~np.isin(x, FACTORS_DECIDE.get(name, []))]
    if name in OWN_NAN:
        x = x[~np.isnan(x)]
    ours, theirs = both(getattr(tl, name), UNARY[name], [x], rng.standard_normal(x.shape).astype(dtype))
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary(name, dtype, rng):
    a, b = rng.uniform(-5, 5, (2, 1000)).astype(dtype)
    if name == "pow":
        a = np.abs(a)
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    ours, theirs = both(
        getattr(tl.ops, name) if name in ("mod", "floor_divide") else getattr(tl, name), BINARY[name], [a, b]
    )
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=tolerance, atol=tolerance / 10)


def test_powers_at_the_edges():
    cases = [
        (a, b)
        for a, b in product([0.0, 1.0, 2.0, -2.0, -1.0], [0.0, 1.0, 2.0, 3.0, -1.0, 0.5])
        if not (a == 0 and b < 0)
    ]
    a, b = np.array(cases).T
    ours, theirs = both(tl.pow, torch.pow, [a, b])
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-12)
    for exponent in (0, 1, 2, 3, -1, 0.5, 2.0):
        x = np.array([0.5, 2.0] if exponent in (-1, 0.5) else [0.0, 0.5, -2.0])
        for mine, its in zip(*both(lambda t, e=exponent: t**e, lambda t, e=exponent: t**e, [x]), strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-12)
    for mine, its in zip(*both(lambda t: 2**t, lambda t: 2**t, [np.array([0.0, 1.5, -3.0])]), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-12)


def test_clip_and_where(rng):
    x = rng.standard_normal(100)
    x[:2] = [-0.5, 0.5]
    for mine, its in zip(*both(lambda t: tl.clip(t, -0.5, 0.5), lambda t: torch.clamp(t, -0.5, 0.5), [x]), strict=True):
        np.testing.assert_array_equal(mine, its)
    low, high = np.array([-0.2, 0.3]), np.array([0.1, -0.3])  # the second pair is empty
    x = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
    for mine, its in zip(*both(tl.clip, torch.clamp, [x, np.tile(low, (3, 1)), np.tile(high, (3, 1))]), strict=True):
        np.testing.assert_array_equal(mine, its)
    condition = rng.random((3, 2)) > 0.5
    a = rng.standard_normal((3, 2))
    for mine, its in zip(
        *both(lambda p, q: tl.where(condition, p, q), lambda p, q: torch.where(torch.tensor(condition), p, q), [x, a]),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, its)
