"""grad, value_and_grad and check_grads: they nest, follow structures, and refuse what has no gradient."""

import math
from collections import namedtuple

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.errors import ArgumentError, GradientError
from tinygrad_lstm.graph import OPS
from tinygrad_lstm.ops import array_row


def test_derivatives_of_every_order():
    f = tl.sin
    for expected in (math.sin, math.cos, lambda x: -math.sin(x), lambda x: -math.cos(x), math.sin, math.cos):
        assert math.isclose(f(np.array(0.7)).item(), expected(0.7), rel_tol=1e-12)
        f = tl.grad(f)


@pytest.mark.parametrize(
    "function",
    [tl.tanh, tl.sigmoid, tl.exp, lambda x: x**4, lambda x: 2**x, lambda x: 1 / x, tl.softplus, tl.gelu],
    ids=str,
)
def test_the_third_derivative(function):
    third = tl.grad(tl.grad(tl.grad(function)))
    second = tl.grad(tl.grad(function))
    x, step = np.array(0.6), 1e-5
    assert math.isclose(third(x).item(), (second(x + step).item() - second(x - step).item()) / (2 * step), rel_tol=1e-7)


def test_a_gradient_inside_a_gradient_keeps_variables_apart():
    """d/dx [x * d/dy (x * y)] = 2x: the classic test for confused perturbations."""
    assert tl.grad(lambda x: x * tl.grad(lambda y: x * y)(3.0))(5.0).item() == 10
    assert tl.grad(lambda x: tl.grad(lambda x: x * x)(x) * x)(2.0).item() == 8


def test_hessians_and_mixed_derivatives(rng):
    a = rng.standard_normal((3, 3))
    x = rng.standard_normal(3)
    rows = [tl.grad(lambda v, k=k: tl.grad(lambda u: u @ a @ u)(v)[k])(x).numpy() for k in range(3)]
    np.testing.assert_allclose(rows, a + a.T, rtol=1e-12)
    mixed = tl.grad(lambda b: tl.grad(lambda c: tl.sin(c * b))(2.0))(np.array(0.5)).item()
    assert math.isclose(mixed, math.cos(1.0) - 1.0 * math.sin(1.0), rel_tol=1e-6)


def test_arguments_by_position_and_structure():
    f = lambda x, y, z: x * y**2 + z
    assert [g.item() for g in tl.grad(f, (0, 1))(3.0, 2.0, 1.0)] == [4, 12]
    assert tl.grad(f, -1)(3.0, 2.0, 1.0).item() == 1
    assert tl.grad(f, np.int64(1))(3.0, 2.0, 1.0).item() == 12

    Point = namedtuple("Point", "x y")
    value, g = tl.value_and_grad(lambda p: (p["a"] * p["b"][0]).sum() + p["b"][1].x * p["b"][1].y)(
        {"a": tl.tensor([1.0, 2.0]), "b": [tl.tensor([3.0, 4.0]), Point(tl.tensor(5.0), np.array(6.0))]}
    )
    assert value.item() == 41
    assert g["a"].tolist() == [3, 4] and g["b"][0].tolist() == [1, 2]
    assert isinstance(g["b"][1], Point) and g["b"][1].x.item() == 6 and g["b"][1].y.item() == 5
    assert g["b"][1].y.dtype == np.float64
    assert tl.grad(lambda x: (x * x).sum())([1.0, 2.0]).tolist() == [2, 4]


def test_values_with_company():
    (value, aux), g = tl.value_and_grad(lambda x: (x * x, {"twice": x.item() * 2}), has_aux=True)(3.0)
    assert (value.item(), aux, g.item()) == (9, {"twice": 6.0}, 6)


def test_what_does_not_depend_has_a_gradient_of_zeros():
    g = tl.grad(lambda x, y: (x * 2).sum(), (0, 1))(tl.tensor([1.0]), np.ones((2, 2)))
    assert g[1].tolist() == [[0, 0], [0, 0]] and g[1].dtype == np.float64
    assert tl.grad(lambda x: tl.tensor(1.0))(2.0).item() == 0


def test_other_leaves_stay_connected_or_no_graph_is_kept():
    w = tl.tensor(3.0, requires_grad=True)
    value, slope = tl.value_and_grad(lambda x: w * x * x)(2.0)
    assert slope.requires_grad and value.requires_grad
    slope.backward()
    assert w.grad.item() == 4
    value, slope = tl.value_and_grad(lambda x: x * x)(2.0)
    assert not slope.requires_grad and not value.requires_grad
    with tl.no_grad():
        assert tl.grad(lambda x: x * x)(2.0).item() == 4


def test_check_grads_finds_a_wrong_rule_and_names_the_worst_entry():
    wrong = tl.elementwise("own_wrong", code="{0} * {0}", vjp=lambda g, y, x: (g * x,))
    with pytest.raises(GradientError, match=r"wrong gradient; the worst entry is at order 1: argument 0, entry \(1,\)"):
        tl.check_grads(wrong, [np.array([1.0, -3.0])])
    wrong_twice = tl.elementwise("own_wrong_twice", code="{0} * {0}", vjp=lambda g, y, x: (g * 2 * tl.detach(x),))
    tl.check_grads(wrong_twice, [np.array([1.0, -3.0])], order=1)
    with pytest.raises(GradientError, match="order 2"):
        tl.check_grads(wrong_twice, [np.array([1.0, -3.0])], order=2)


def test_check_grads_finds_a_wrong_shape():
    array_row("own_shapeless", lambda x: x, (lambda g, y, x: g.sum(),))
    try:
        with pytest.raises((GradientError, ValueError)):
            tl.check_grads(lambda x: x.apply("own_shapeless", x), [np.ones((2, 3))])
    finally:
        del OPS["own_shapeless"]


def test_refusals():
    with pytest.raises(ArgumentError, match="cannot differentiate by an argument of int64"):
        tl.grad(lambda x: x * 1.0)(np.arange(3))
    with pytest.raises(GradientError, match="must return a single number"):
        tl.grad(lambda x: x * 2)(tl.tensor([1.0, 2.0]))
    with pytest.raises(GradientError, match="must return a Tensor"):
        tl.grad(lambda x: 3.0)(1.0)
    with pytest.raises(ArgumentError, match="but 1 arguments were given"):
        tl.grad(lambda x: x, 1)(1.0)
    with pytest.raises(ArgumentError, match=r"grad\(f\)\(x\), not grad\(f\(x\)\)"):
        tl.grad(tl.tensor(1.0))
