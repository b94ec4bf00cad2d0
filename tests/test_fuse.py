"""A fused function is one operation: the same values and gradients as the operations it is made of, small or big."""

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import codegen
from tinygrad_lstm.errors import ArgumentError, ShapeError, TraceError


@tl.fuse
def swish(x):
    """x * sigmoid(x)"""
    return x * tl.sigmoid(x)


@tl.fuse
def gate(x, y, z=0.5):
    mask = x * (y > 0)
    return tl.where(mask < z, tl.tanh(mask + y), y**2) + tl.clip(x, -1, 1) / 3


@tl.fuse
def same(x):
    return x


def plain_gate(x, y, z=0.5):
    return gate.__wrapped__(x, y, z)


BIG = codegen.BIG


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shapes", [((3, 4), (4,)), ((BIG,), (BIG,)), ((BIG // 8, 8), (8,)), ((2, BIG), (2, 1)), ((BIG,), ())], ids=str
)
def test_values_and_gradients_are_those_of_the_parts(dtype, shapes, rng):
    x, y = (rng.standard_normal(s).astype(dtype) for s in shapes)
    found = []
    for function in (gate, plain_gate):
        leaves = [tl.tensor(a, requires_grad=True) for a in (x, y)]
        result = function(*leaves)
        assert result.dtype == dtype
        (result * result).sum().backward()
        found.append([result.numpy(), *[leaf.grad.numpy() for leaf in leaves]])
    for fused, parts in zip(*found, strict=True):
        tolerance = 2e-5 if dtype == np.float32 else 1e-11  # sums over a broadcast axis
        np.testing.assert_allclose(fused, parts, rtol=tolerance, atol=tolerance * np.abs(parts).max())


def test_gradients_of_every_order(rng):
    tl.check_grads(swish, [rng.standard_normal((2, 3))], order=3)
    tl.check_grads(gate, [rng.standard_normal((2, 3)), rng.standard_normal(3)])
    tl.check_grads(lambda x: swish(swish(x) * x), [rng.standard_normal(4)])
    slope = tl.grad(tl.grad(lambda x: swish(x)))
    assert np.isclose(slope(np.array(0.0)).item(), 0.5)


def test_extremes_without_warnings():
    x = np.array([0.0, 1000.0, -1000.0, np.inf, np.nan, -30.0])
    for dtype in (np.float32, np.float64):
        expected = [0, 1000, 0, np.inf, np.nan, -30 / (1 + np.exp(30.0))]
        for copies in (1, BIG):
            result = swish(tl.tensor(np.tile(x, copies).astype(dtype)))
            np.testing.assert_allclose(result.numpy()[:6], expected, rtol=4 * np.finfo(dtype).eps)


def test_numpy_functions_and_numbers_are_rows_too():
    f = tl.fuse(lambda x: np.float64(2) * np.tanh(x))
    assert f(tl.tensor([0.5])).tolist() == (2 * tl.tanh([0.5])).tolist()


def test_fused_functions_inside_one_another():
    @tl.fuse
    def twice(x):
        return swish(swish(x))

    x = np.array([0.3, -2.0])
    np.testing.assert_allclose(twice(x).numpy(), swish(swish(x)).numpy(), rtol=1e-14)
    tl.check_grads(twice, [x])


def test_a_function_that_returns_its_argument():
    x = tl.tensor([1.0, 2.0], requires_grad=True)
    y = same(x)
    (y * y).sum().backward()
    assert y.tolist() == [1, 2] and x.grad.tolist() == [2, 4]


def test_calls_like_the_function_it_was_made_from():
    assert (
        gate(tl.tensor([1.0]), y=tl.tensor([2.0])).tolist() == plain_gate(tl.tensor([1.0]), tl.tensor([2.0])).tolist()
    )
    assert swish(1.0).dtype == np.float32 and swish([1.0, 2.0]).shape == (2,)
    assert swish.__doc__ == "x * sigmoid(x)" and repr(swish) == "<fused swish(x)>"
    with tl.no_grad():
        assert not swish(tl.tensor([1.0], requires_grad=True)).requires_grad


def test_the_kernels_can_be_read():
    forward, backward = swish.source(), swish.source("backward", dtype="float64")
    assert forward.splitlines()[-4:] == [
        "        x = x_[j]",
        "        sigmoid_ = sigmoid(x)",
        "        mul_ = x * sigmoid_",
        "        out0[j] = mul_",
    ]
    assert "def swish_backward(g_, x_, out0, lo, hi):" in backward and "float64 as real" in backward
    compile(forward, "swish", "exec")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda x: x if x > 0 else -x, "no truth value"),
        (lambda x: x[0], "cannot be indexed"),
        (lambda x: tl.sum(x), "reduces the last axis"),
        (lambda x: x @ x, "product"),
        (lambda x: x * np.ones(3), "meets ndarray"),
        (lambda x: x + np.add.reduce(x), "NumPy"),
        (lambda x: np.isnan(x), "NumPy"),
        (lambda x: np.ones(3) * x, "meets ndarray"),
        (lambda x: float(x), "has no number"),
        (lambda x: None, "must return one value"),
        (lambda x: (x, x), "must return one value"),
        (lambda *x: x[0], "positional arguments only"),
        (lambda: 1, "positional arguments only"),
    ],
)
def test_what_cannot_be_fused_is_refused_at_once(body, said):
    with pytest.raises(TraceError) as caught:
        tl.fuse(body)
    assert said in str(caught.value)


def test_wrong_calls():
    with pytest.raises(ArgumentError, match=r"`gate`: missing a required argument: 'y'; it takes \(x, y, z\)"):
        gate(1.0)
    with pytest.raises(ShapeError, match=r"`gate`: shapes \(2,\) and \(3,\) do not broadcast"):
        gate(tl.zeros(2), tl.zeros(3))
    with pytest.raises(ArgumentError, match="'forward' or 'backward'"):
        swish.source("sideways")


def test_more_arguments_than_a_kernel_takes(rng):
    names = [f"x{k}" for k in range(60)]
    scope = {}
    exec(f"def weighted({', '.join(names)}):\n    return {' + '.join(f'{k} * {n}' for k, n in enumerate(names))}", scope)
    xs = [tl.tensor(rng.standard_normal(codegen.BIG), requires_grad=True) for _ in names]
    y = tl.fuse(scope["weighted"])(*xs)
    np.testing.assert_allclose(y.numpy(), sum(k * x.numpy() for k, x in enumerate(xs)), rtol=1e-12, atol=1e-10)
    y.sum().backward()
    assert all((x.grad.numpy() == k).all() for k, x in enumerate(xs))


def test_a_lambda_is_fused_at_every_size():
    double = tl.fuse(lambda x: 2 * tl.sqrt(x))
    for n in (3, 100_000):
        x = tl.tensor(np.full(n, 4.0), requires_grad=True)
        y = double(x)
        y.sum().backward()
        assert (y.numpy() == 4.0).all() and (x.grad.numpy() == 0.5).all()
    assert repr(double) == "<fused fused(x)>"
