"""The table is iterated: a row is tested the day it is written, and a row without a reference fails.

Values against mpmath, gradients against differences to order 2, extremes without narrowing a domain, and the fused
kernels against the NumPy functions.
"""

import math
from itertools import product

import mpmath
import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import codegen, ops
from tinygrad_lstm.codegen import Pointwise
from tinygrad_lstm.errors import ArgumentError
from tinygrad_lstm.graph import OPS, Trace

ROWS = [op for op in OPS.values() if op.code is not None and op.name not in ops._users]
each_row = pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
EXTREMES = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 88.0, -88.0, 1000.0, -1000.0, math.inf, -math.inf, math.nan]

# fmt: off
REFERENCE = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": mpmath.power, "neg": lambda x: -x, "abs": abs, "exp": mpmath.exp, "expm1": mpmath.expm1, "log": mpmath.log,
    "log1p": mpmath.log1p, "sqrt": mpmath.sqrt, "square": lambda x: x * x, "reciprocal": lambda x: 1 / x,
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "relu": lambda x: max(x, 0), "erf": mpmath.erf,
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)), "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.ncdf(x), "leaky_relu": lambda x, slope: x if x > 0 else slope * x,
    "elu": lambda x, alpha: x if x > 0 else alpha * mpmath.expm1(x), "sign": mpmath.sign, "floor": mpmath.floor,
    "maximum": max, "minimum": min, "where": lambda c, a, b: a if c else b, "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b, "greater": lambda a, b: a > b, "greater_equal": lambda a, b: a >= b,
    "equal": lambda a, b: a == b, "not_equal": lambda a, b: a != b, "logical_and": lambda a, b: bool(a) and bool(b),
    "logical_or": lambda a, b: bool(a) or bool(b), "logical_not": lambda x: not x, "detach": lambda x: x,
    "clip": lambda x, low, high: min(max(x, low), high), "mod": lambda a, b: a - b * mpmath.floor(a / b),
    "floor_divide": lambda a, b: mpmath.floor(a / b),
}
#               -inf         -1000       0        1000         inf
LIMITS = {
    "tanh":     (-1.0,       -1.0,       0.0,     1.0,         1.0),
    "sigmoid":  (0.0,        0.0,        0.5,     1.0,         1.0),
    "exp":      (0.0,        0.0,        1.0,     math.inf,    math.inf),
    "expm1":    (-1.0,       -1.0,       0.0,     math.inf,    math.inf),
    "log":      (math.nan,   math.nan,   -math.inf, math.log(1000), math.inf),
    "log1p":    (math.nan,   math.nan,   0.0,     math.log(1001), math.inf),
    "softplus": (0.0,        0.0,        math.log(2), 1000.0,  math.inf),
    "erf":      (-1.0,       -1.0,       0.0,     1.0,         1.0),
    "relu":     (0.0,        0.0,        0.0,     1000.0,      math.inf),
    "sqrt":     (math.nan,   math.nan,   0.0,     math.sqrt(1000), math.inf),
    "square":   (math.inf,   1e6,        0.0,     1e6,         math.inf),
    "sinh":     (-math.inf,  -math.inf,  0.0,     math.inf,    math.inf),
    "cosh":     (math.inf,   math.inf,   1.0,     math.inf,    math.inf),
    "abs":      (math.inf,   1000.0,     0.0,     1000.0,      math.inf),
    "sign":     (-1.0,       -1.0,       0.0,     1.0,         1.0),
}
# fmt: on


def samples(op, shape, rng, dtype=np.float64):
    return [rng.uniform(low, high, shape).astype(dtype) for low, high in op.domain]


def exact(op, arguments):
    """The row in 40 digits, rounded to float64."""
    with mpmath.workdps(40):
        rows = zip(*[np.ravel(a) for a in arguments], strict=True)
        return np.array([float(REFERENCE[op.name](*[mpmath.mpf(float(v)) for v in row])) for row in rows])


@each_row
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_follow_the_definition(op, dtype, rng):
    arguments = samples(op, 200, rng, dtype)
    expected = exact(op, arguments)
    actual = tl.tensor(0.0).apply(op, *map(tl.tensor, arguments)).numpy()
    if actual.dtype == bool:
        assert np.array_equal(actual, expected.astype(bool))
        return
    assert actual.dtype == dtype
    scale = np.spacing(np.abs(expected).astype(dtype)).astype(np.float64)
    bound = 4 if dtype == np.float32 else 40  # float64: 1e-14 relative is 45 units at least
    if op.name in ("gelu", "tan", "silu", "elu"):  # products of several rounded factors, and their cancellation
        scale = np.maximum(scale, np.spacing(dtype(0.25)))
    assert np.max(np.abs(actual - expected) / scale) <= bound


@pytest.mark.parametrize("op", [op for op in ROWS if op.name != "detach"], ids=lambda op: op.name)
def test_gradients_to_order_two(op, rng):
    shapes = [(3, 4), (4,), (3, 1)][: op.arity]
    arguments = [rng.uniform(low, high, shape) for (low, high), shape in zip(op.domain, shapes, strict=True)]
    tl.check_grads(ops.function(op), arguments, order=2)


@each_row
def test_extremes_raise_no_warning_and_arrays_agree_with_tensors(op):
    """The two ways backward: derived arrays (plain sweep) and rules on Tensors (create_graph) give the same numbers."""
    arguments = [np.array(column, np.float32) for column in zip(*product(EXTREMES, repeat=op.arity), strict=True)]
    grads = []
    for create_graph in (False, True):
        leaves = [tl.tensor(a, requires_grad=True) for a in arguments]
        y = leaves[0].apply(op, *leaves)
        if not y.requires_grad:
            return
        y.backward(np.ones(y.shape), create_graph=create_graph)
        grads.append([leaf.grad.numpy() for leaf in leaves])
    for plain, recorded in zip(*grads, strict=True):
        np.testing.assert_allclose(plain, recorded, rtol=1e-6)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits(name, dtype):
    function = getattr(tl, name)
    x = np.array([-math.inf, -1000, 0, 1000, math.inf, math.nan], dtype)
    actual = function(tl.tensor(x)).numpy()
    np.testing.assert_allclose(actual, [*LIMITS[name], math.nan], rtol=4 * np.finfo(dtype).eps)
    assert actual.dtype == dtype


def all_rows():
    """Every row with a float result as outputs of one function of three arguments, and the derivatives of those that have one."""
    trace = Trace()
    leaves = [trace.leaf(n) for n in "abc"]
    g = trace.leaf("g")
    values, cotangents, names = [], [], []
    for op in ROWS:
        y = trace.apply(op, tuple(leaves[: op.arity]), {})
        values.append(ops.where(y, 1.0, 0.0) if np.asarray(op.numpy(*[np.ones(1)] * op.arity)).dtype == bool else y)
        if op.vjp is None:
            continue
        for k, term in enumerate(op.pullback(g, y, [True] * op.arity)):
            if term is not None and term is not g:
                cotangents.append(term)
                names.append(f"{op.name}, argument {k}")
    return [*leaves, g], values, cotangents, names


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_agree_with_numpy_also_at_the_extremes(dtype, rng, monkeypatch):
    inputs, values, cotangents, names = all_rows()
    grid = np.array(list(product(EXTREMES, repeat=3)), dtype)
    inside = rng.uniform(-3, 3, (2000, 3)).astype(dtype)
    columns = [np.ascontiguousarray(c) for c in np.concatenate([grid, inside]).T]
    columns.append(rng.standard_normal(columns[0].size).astype(dtype))
    everything = [*zip([op.name for op in ROWS], values, strict=True), *zip(names, cotangents, strict=True)]
    for some in (everything[k : k + 16] for k in range(0, len(everything), 16)):
        labels, outputs = zip(*some, strict=True)
        function = Pointwise("some_rows", inputs, outputs)
        with np.errstate(all="ignore"):
            expected = function.whole(*columns)
        monkeypatch.setattr(codegen, "BIG", 1)
        actual = function(*columns)
        monkeypatch.undo()
        for label, e, a in zip(labels, expected, actual, strict=True):
            e = np.broadcast_to(np.asarray(e, dtype), a.shape)
            tiny = np.finfo(dtype).tiny  # NumPy's own denormals may differ
            # where factors cancel (1 - y*y at a saturated y), a last digit of y is many of the difference
            np.testing.assert_allclose(
                a,
                e,
                rtol=40 * np.finfo(dtype).eps,
                atol=8 * np.finfo(dtype).eps * max(1, tiny),
                err_msg=label,
            )


def test_powers_at_zero():
    def slope(f, x):
        return tl.grad(f)(x).item()

    assert slope(lambda x: x**2, 0.0) == 0
    assert slope(lambda x: x**1, 0.0) == 1
    assert slope(lambda x: x**0, 0.0) == 0
    assert slope(lambda x: x**3, -2.0) == 12
    assert slope(lambda x: x**0.5, 0.0) == math.inf
    assert slope(lambda x: 0.0**x, 2.0) == 0
    assert math.isclose(slope(lambda x: 2**x, 3.0), 8 * math.log(2), rel_tol=1e-6)
    assert slope(tl.grad(lambda x: x**2), 0.0) == 2
    assert slope(tl.grad(lambda x: x**3), 0.0) == 0
    assert slope(tl.grad(tl.grad(lambda x: x**3)), 0.0) == 6
    exponent = tl.grad(lambda b: tl.tensor(0.0) ** b)
    assert exponent(0.0).item() == 0 and exponent(2.0).item() == 0


def test_a_detached_value_has_no_gradient():
    x = tl.tensor(2.0, requires_grad=True)
    assert not tl.detach(x).requires_grad and not x.detach().requires_grad
    (x * tl.detach(x)).backward()
    assert x.grad.item() == 2


def test_steps_have_a_gradient_of_zero():
    for step in (tl.floor, tl.sign, lambda x: x // 2):
        x = tl.tensor([0.5, -1.5], requires_grad=True)
        step(x).sum().backward()
        assert x.grad.tolist() == [0, 0]


def test_ties_share_their_gradient():
    da, db = tl.grad(tl.maximum, (0, 1))(1.0, 1.0)
    assert (da.item(), db.item()) == (0.5, 0.5)
    assert tl.grad(lambda x: tl.max(x))(tl.tensor([2.0, 1.0, 2.0])).tolist() == [0.5, 0.0, 0.5]
    assert tl.grad(lambda x: tl.clip(x, 0.0, 1.0).sum())(tl.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [
        0,
        1,
        1,
        1,
        0,
    ]


def test_a_row_of_ones_own(rng):
    softsign = tl.elementwise("own_softsign", code="{0} / (1 + abs({0}))", vjp=lambda g, y, x: (g / (1 + abs(x)) ** 2,))
    x = rng.standard_normal(5)
    np.testing.assert_allclose(softsign(x).numpy(), x / (1 + np.abs(x)), rtol=1e-15)
    tl.check_grads(softsign, [x])
    assert softsign(tl.tensor([1.0])).dtype == np.float32
    hinge = tl.elementwise("own_hinge", code="{0} * {1} if {0} > 0 and not {1} < 0 else -1", vjp=(None, None))
    assert hinge([2.0, -2.0, 2.0], [3.0, 3.0, -3.0]).tolist() == [6.0, -1.0, -1.0]
    band = tl.elementwise("own_band", code="max(0, {0}) if -1 < {0} <= {1} else min({0}, {1})", vjp=(None, None))
    assert band([-3.0, -0.5, 1.0, 5.0, np.nan], 2.0).tolist()[:4] == [-3.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("min(1.0, max(0.0, {0}))", lambda x: np.clip(x, 0, 1)),
        ("max(max({0}, -{0}), min({0}, 1) - 1)", np.abs),
        ("min({0} if {0} > 0 else 2, 1.5)", lambda x: np.minimum(np.where(x > 0, x, 2), 1.5)),
        ("2 * max({0} > 0 and {0} < 2, {0})", lambda x: 2 * np.maximum((x > 0) & (x < 2), x)),
    ],
)
def test_min_and_max_of_whatever_one_likes(code, expected):
    own = tl.elementwise("own_extremes", code=code, vjp=(None,))
    x = np.linspace(-3, 3, codegen.BIG, dtype=np.float32)
    for given in (x[:: len(x) // 50], x):
        np.testing.assert_array_equal(own(given).numpy(), expected(given).astype(np.float32))


def test_kernels_know_what_a_row_may_call():
    assert set(codegen.VECTORMATH + codegen.MATH + codegen.NUMPY) == set(ops.CALLABLE) - {"abs", "min", "max"}


def test_a_row_of_ones_own_in_a_kernel(rng):
    band = tl.elementwise(
        "own_kernel",
        code="max(0, {0}) * tanh({0}) if -1 < {0} <= {1} else min({0}, {1})",
        vjp=lambda g, y, a, b: (g * a * b, None),
    )
    for dtype in (np.float32, np.float64):
        x = rng.standard_normal(codegen.BIG).astype(dtype)
        x[:2] = np.nan, np.inf
        leaf = tl.tensor(x, requires_grad=True)
        y = band(leaf, 0.5)
        np.testing.assert_allclose(y.numpy(), OPS["own_kernel"].numpy(x, 0.5), rtol=4 * np.finfo(dtype).eps)
        y.sum().backward()
        np.testing.assert_allclose(leaf.grad.numpy(), x * dtype(0.5), rtol=1e-6)


def test_a_numpy_function_of_ones_own_may_call_operations():
    nested = tl.elementwise(
        "own_nested", code="tanh({0})", numpy=lambda x: tl.tanh(x).numpy(), vjp=lambda g, y, x: (g * (1 - y * y),)
    )
    assert nested(tl.tensor([0.5])).tolist() == np.tanh(np.array([0.5], np.float32)).tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "tanh", "code": "{0}", "vjp": (None,)}, "taken by the library"),
        ({"name": "two words", "code": "{0}", "vjp": (None,)}, "not an identifier"),
        ({"name": "own_bad", "code": "1 + 1", "vjp": (None,)}, "names no argument"),
        ({"name": "own_bad", "code": "{0} +", "vjp": (None,)}, "not an expression"),
        ({"name": "own_bad", "code": "frobnicate({0})", "vjp": (None,)}, "'frobnicate', which no kernel knows"),
        ({"name": "own_bad", "code": "relu({0})", "vjp": (None,)}, "'relu', which no kernel knows"),
        ({"name": "own_bad", "code": "{0}.real", "vjp": (None,)}, "must be arithmetic"),
        ({"name": "own_bad", "code": "[{0}]", "vjp": (None,)}, "must be arithmetic"),
        ({"name": "own_bad", "code": "{0} + 'a'", "vjp": (None,)}, "must be arithmetic"),
        ({"name": "own_bad", "code": "{0}", "vjp": (None, None)}, "1 rules in a tuple"),
    ],
)
def test_a_wrong_row_is_refused(arguments, said):
    with pytest.raises(ArgumentError, match="`elementwise`: ") as caught:
        tl.elementwise(**arguments)
    assert said in str(caught.value)
