"""Functions that carry NumPy's names give NumPy's results, shapes and dtypes; and their gradients are right to order 2."""

import math

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.errors import ShapeError

RNG = np.random.default_rng(7)
A = RNG.standard_normal((2, 3, 4))
B = RNG.standard_normal((3, 4))
V = RNG.standard_normal(5)
ZEROS = np.array([[0.0, 2.0, 0.0], [1.0, 3.0, 2.0]])
INTS = RNG.integers(-5, 6, (3, 4))
BOOLS = RNG.random((3, 4)) > 0.5
EMPTY = np.zeros((0, 3))
SCALAR = np.array(1.5)

AXES = [
    {},
    {"axis": 0},
    {"axis": -1},
    {"axis": (0, 2)},
    {"axis": (-1, 0)},
    {"axis": 1, "keepdims": True},
    {"keepdims": True},
    {"axis": ()},
]
REDUCTIONS = ["sum", "mean", "prod", "max", "min", "var", "std"]


def same(actual, expected, **tolerance):
    """Value, shape and dtype."""
    assert isinstance(actual, tl.Tensor)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, (
        actual.dtype,
        expected.dtype,
        actual.shape,
        expected.shape,
    )
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(actual.numpy(), expected, **({"rtol": 1e-12, "atol": 1e-14} | tolerance))
    else:
        np.testing.assert_array_equal(actual.numpy(), expected)


# ----------------------------------------------------------------------------------------------------------- reductions
@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("options", AXES, ids=str)
def test_reductions(name, options):
    same(getattr(tl, name)(tl.tensor(A), **options), getattr(np, name)(A, **options))
    if "axis" in options:
        same(getattr(tl.tensor(A), name)(**options), getattr(np, name)(A, **options))
    if not (
        name in ("var", "std") and options.get("axis") == ()
    ):  # the standard deviation of one number has no derivative
        tl.check_grads(lambda x: getattr(tl, name)(x, **options), [A])


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize(
    "array", [INTS, BOOLS, INTS.astype(np.int32), A.astype(np.float32), SCALAR], ids=lambda a: f"{a.dtype}{a.shape}"
)
def test_reductions_of_other_dtypes(name, array):
    if name in ("var", "std") and array.dtype == bool:
        return  # NumPy's own refusal of `-` on booleans; tested among the errors
    same(
        getattr(tl, name)(tl.tensor(array)), getattr(np, name)(array), rtol=1e-5 if array.dtype == np.float32 else 1e-12
    )


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "argmax", "argmin"])
def test_reductions_of_empty_arrays(name):
    same(getattr(tl, name)(tl.tensor(EMPTY), axis=1), getattr(np, name)(EMPTY, axis=1))
    if name in ("sum", "prod"):
        same(getattr(tl, name)(tl.tensor(EMPTY)), getattr(np, name)(EMPTY))
        same(getattr(tl, name)(tl.tensor(EMPTY), axis=0), getattr(np, name)(EMPTY, axis=0))
    else:
        with pytest.raises(ShapeError, match=f"`{name}`: has no value over an empty axis"):
            getattr(tl, name)(tl.tensor(EMPTY), axis=0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the reference
def test_means_of_nothing_are_nan():
    for name in ("mean", "var", "std"):
        same(getattr(tl, name)(tl.tensor(EMPTY), axis=0), getattr(np, name)(EMPTY, axis=0))
    same(tl.var(V, ddof=5), np.var(V, ddof=5))
    same(tl.var(V, ddof=7), np.var(V, ddof=7))


@pytest.mark.parametrize("ddof", [0, 1, 2])
def test_degrees_of_freedom(ddof):
    same(tl.var(A, axis=1, ddof=ddof), np.var(A, axis=1, ddof=ddof))
    same(tl.std(A, axis=(0, 1), ddof=ddof), np.std(A, axis=(0, 1), ddof=ddof))
    tl.check_grads(lambda x: tl.std(x, axis=-1, ddof=ddof), [A])


def test_products_with_zeros_have_gradients():
    x = tl.tensor(ZEROS, requires_grad=True)
    tl.prod(x, axis=1).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [6, 2, 3]]
    tl.check_grads(lambda x: tl.prod(x, axis=1), [np.array([[0.0, 2.0, 3.0, 0.5], [1.0, -2.0, 0.0, 4.0]])])


@pytest.mark.parametrize(
    "array", [A, A * 1000, INTS, A - math.inf, EMPTY + 1], ids=["", "large", "int", "-inf", "empty"]
)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_logsumexp(array, axis):
    with np.errstate(divide="ignore"):
        expected = np.logaddexp.reduce(array.astype(float), axis=axis)
    same(tl.logsumexp(array, axis=axis), expected)
    same(
        tl.logsumexp(array, axis=axis, keepdims=True),
        np.logaddexp.reduce(array.astype(float), axis=axis, keepdims=True),
    )


def test_softmax():
    x = np.array([[1000.0, 0.0, -1000.0], [0.1, 0.2, 0.3]])
    e = np.exp(x - x.max(1, keepdims=True))
    same(tl.softmax(x), e / e.sum(1, keepdims=True))
    same(tl.log_softmax(x), x - np.logaddexp.reduce(x, axis=1, keepdims=True))
    same(tl.softmax(x, axis=0).sum(axis=0), np.ones(3))
    assert tl.log_softmax(x).numpy()[0, 2] == -2000
    for f in (tl.softmax, tl.log_softmax):
        tl.check_grads(lambda a, f=f: f(a, axis=1), [A])
        assert f(np.zeros((2, 0))).shape == (2, 0)
    tl.check_grads(lambda a: tl.logsumexp(a, axis=(0, -1)), [A])


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_running_sums_and_arguments_of_extremes(axis):
    same(tl.cumsum(A, axis=axis), np.cumsum(A, axis=axis))
    same(tl.cumsum(tl.tensor(BOOLS[None]), axis=axis), np.cumsum(BOOLS[None], axis=axis))
    tl.check_grads(lambda x: tl.cumsum(x, axis=axis), [A])
    for name in ("argmax", "argmin"):
        same(getattr(tl, name)(A, axis=axis), getattr(np, name)(A, axis=axis))
        same(getattr(tl, name)(A, axis=axis, keepdims=True), getattr(np, name)(A, axis=axis, keepdims=True))
        same(getattr(tl, name)([1, math.nan, 1], axis=axis if axis is None else 0), np.asarray(1))


def test_nan_is_the_extreme_of_what_holds_one():
    assert math.isnan(tl.max([1.0, math.nan]).item()) and math.isnan(tl.min([math.nan, 1.0]).item())
    assert math.isnan(tl.maximum(1.0, math.nan).item()) and math.isnan(tl.clip(math.nan, 0, 1).item())


# ------------------------------------------------------------------------------------------------------------- products
PRODUCTS = [((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)),
            ((5, 1, 2, 3), (6, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((1, 1), (1, 1))]  # fmt: skip


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_matmul_and_dot(shapes, rng):
    a, b = (rng.standard_normal(s) for s in shapes)
    for f, g in ((tl.matmul, np.matmul), (tl.dot, np.dot)):
        same(f(a, b), g(a, b))
        if a.size and b.size:
            tl.check_grads(f, [a, b])
    same(tl.tensor(a) @ b, a @ b)
    same(a @ tl.tensor(b), a @ b)
    same(np.matmul(a, tl.tensor(b)), a @ b)


def test_dot_with_numbers_and_integers():
    same(tl.dot(2.0, B), 2 * B)
    same(tl.matmul(INTS, INTS.T), INTS @ INTS.T)
    same(tl.outer(V, B), np.outer(V, B))
    tl.check_grads(tl.outer, [V, B])


EINSUMS = [("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)),
           ("i,j->ji", (2,), (3,)), ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
           ("...i->...", (2, 3, 4)), ("ij,kj,kl->il", (2, 3), (4, 3), (4, 5)), ("iji->j", (3, 2, 3)), ("ba", (2, 3)), ("i,i,i", (4,), (4,), (4,)),
           (" i j , j k -> i k ", (2, 3), (3, 4)), ("i...,...i->...", (3, 2), (2, 3)), ("ij,jk->", (2, 3), (3, 4)), ("ij,ij->ij", (1, 3), (2, 3)),
           ("Ab,bC->CA", (2, 3), (3, 4)), (",ij->ij", (), (2, 3))]  # fmt: skip


@pytest.mark.parametrize("case", EINSUMS, ids=lambda c: c[0])
def test_einsum(case, rng):
    subscripts, *shapes = case
    operands = [rng.standard_normal(s) for s in shapes]
    same(tl.einsum(subscripts, *operands), np.einsum(subscripts, *operands))
    tl.check_grads(lambda *xs: tl.einsum(subscripts, *xs), operands)


# ---------------------------------------------------------------------------------------------------------------- shape
# fmt: off
SHAPES = {
    "reshape": [((6, 4),), (-1,), ((2, -1),), ((2, 3, 4),)],
    "transpose": [(), ((1, 0, 2),), ([2, 0, 1],), ((-1, 0, 1),)],
    "swapaxes": [(0, -1), (1, 1)],
    "moveaxis": [(0, -1), ((0, 1), (1, 2)), (-1, 0), ([2, 0], [0, 2])],
    "expand_dims": [(0,), (-1,), ((0, -1),), ((1, 3),)],
    "broadcast_to": [((5, 2, 3, 4),), ((2, 3, 4),)],
    "flip": [(), (0,), ((0, -1),), (-2,)],
    "repeat": [(2,), (3, 0), (2, -1), ([1, 0, 2], 1), (0, 0)],
    "take": [(3,), ([0, -1],), ([[0, 1], [1, 0]], 1), (np.array([2, 2, 0]), 2), (-1, 0), ([], 0)],
    "pad": [(1,), ((1, 2),), (((0, 1), (2, 0), (0, 0)),), (1, "edge"), (1, "reflect"), (2, "symmetric"), (1, "wrap"), (0,)],
    "split": [(2, -1), ([1, 3], 2), (1,), ([0, 5, 7], 1), (3, 1)],
    "clip": [(-0.5, 0.5), (None, 0.5), (-0.5, None), (np.full((3, 4), -0.1), 0.2), (0.5, -0.5)],
    "squeeze": [()],
    "cumsum": [()],
}
# fmt: on
SHAPE_CASES = [(name, args) for name, rows in SHAPES.items() for args in rows]


@pytest.mark.parametrize(("name", "args"), SHAPE_CASES, ids=str)
def test_shapes_and_their_gradients(name, args):
    ours, numpys = getattr(tl, name)(tl.tensor(A), *args), getattr(np, name)(A, *args)
    if name == "split":
        assert len(ours) == len(numpys)
        for mine, theirs in zip(ours, numpys, strict=True):
            same(mine, theirs)
    else:
        same(ours, numpys)
        same(getattr(np, name)(tl.tensor(A), *args), numpys)
    assert np.array_equal(A, RNG_COPY)
    if np.size(numpys if name != "split" else 1):
        tl.check_grads(
            lambda x: tuple(getattr(tl, name)(x, *args)) if name == "split" else getattr(tl, name)(x, *args), [A]
        )


RNG_COPY = A.copy()


def test_shapes_as_methods():
    x = tl.tensor(A)
    same(x.reshape(6, 4), A.reshape(6, 4))
    same(x.reshape((6, -1)), A.reshape(6, -1))
    same(x.transpose(), A.transpose())
    same(x.transpose(1, 0, 2), A.transpose(1, 0, 2))
    same(x.transpose((1, 0, 2)), A.transpose(1, 0, 2))
    same(x.T, A.T)
    same(x.flatten(), A.flatten())
    same(x.squeeze(), A)
    same(tl.squeeze(A[:, :1], 1), A[:, 0])
    same(x.swapaxes(0, 1), A.swapaxes(0, 1))
    same(x.astype(np.float32), A.astype(np.float32))
    same(x.repeat(2, 0), A.repeat(2, 0))
    same(x.take([0, 5]), A.take([0, 5]))
    same(x.argmax(0), A.argmax(0))
    same(x.cumsum(1), A.cumsum(1))
    same(x.clip(-1, 1), A.clip(-1, 1))


def test_padding_with_values():
    same(tl.pad(B, 1, constant_values=3.0), np.pad(B, 1, constant_values=3.0))
    same(tl.pad(B, 1, constant_values=((1, 2), (3, 4))), np.pad(B, 1, constant_values=((1, 2), (3, 4))))
    same(tl.pad(INTS, (1, 0)), np.pad(INTS, (1, 0)))
    same(np.pad(tl.tensor(B), 1, mode="constant", constant_values=2.0), np.pad(B, 1, constant_values=2.0))
    tl.check_grads(lambda x: tl.pad(x, 1, constant_values=3.0) ** 2, [B])


def test_take_with_modes():
    for mode in ("wrap", "clip"):
        same(tl.take(B, [-7, 1, 9], axis=1, mode=mode), np.take(B, [-7, 1, 9], axis=1, mode=mode))


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_joining(axis, rng):
    parts = [rng.standard_normal((2, 3)) for _ in range(3)]
    same(tl.concatenate(parts, axis=axis), np.concatenate(parts, axis=axis))
    same(np.concatenate([tl.tensor(parts[0]), *parts[1:]], axis=axis), np.concatenate(parts, axis=axis))
    tl.check_grads(lambda *xs: tl.concatenate(xs, axis=axis), parts)
    if axis is not None:
        same(tl.stack(parts, axis=axis), np.stack(parts, axis=axis))
        tl.check_grads(lambda *xs: tl.stack(xs, axis=axis), parts)


def test_joining_promotes_and_each_gradient_keeps_its_dtype():
    a, b = tl.tensor([1.0], requires_grad=True), tl.tensor(np.ones(2), requires_grad=True)
    y = tl.concatenate([a, b])
    assert y.dtype == np.float64
    (y * 2).sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (np.float32, np.float64)
    same(tl.concatenate([np.zeros((0, 3)), np.ones((2, 3))]), np.ones((2, 3)))


# ------------------------------------------------------------------------------------------------------------- indexing
MASK = A > 0
INDICES = [0, -1, slice(None), slice(1, None), slice(None, None, -1), slice(5, 1), ..., None, (0, 1), (slice(None), -1), (..., 0), (0, ..., slice(0, 2)),
           (None, 0, ..., None), [0, 1, 1], [[0, 1], [1, 0]], np.array([1, 0]), np.array([], dtype=int), MASK, A[:, :, 0] > 0, (0, MASK[0]), ([0, 1], [1, 2]),
           ([0, 1], slice(None), [2, 3]), (slice(None), [0, 2], slice(1, 3)), ([[0], [1]], [1, 2]), (0, [1, 1, 1], 2), np.int64(1), (np.int64(0), np.array(2)),
           True, False, np.bool_(True), [True, False], (), (slice(None), None, [1, 0]), [], (np.array([0]), None, 1)]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=lambda i: repr(i)[:40])
def test_indexing(index):
    same(tl.tensor(A)[index], A[index])
    if A[index].size:
        tl.check_grads(lambda x: x[index], [A])


def test_indexing_by_tensors():
    x = tl.tensor(A)
    same(x[x > 0], A[A > 0])
    same(x[tl.tensor(np.array([1, 0]))], A[[1, 0]])
    same(x[:, tl.arange(2)], A[:, np.arange(2)])


def test_an_index_that_changes_later_changes_no_gradient():
    x, index = tl.tensor([1.0, 2.0, 3.0], requires_grad=True), np.array([0, 0])
    y = x[index].sum()
    index[:] = 2
    y.backward()
    assert x.grad.tolist() == [2, 0, 0]


# --------------------------------------------------------------------------------------------------- choices, creation
def test_where():
    same(tl.where(BOOLS, B, 0.0), np.where(BOOLS, B, 0.0))
    same(np.where(tl.tensor(BOOLS), B, INTS), np.where(BOOLS, B, INTS))
    same(tl.where(BOOLS, 1, 2), np.where(BOOLS, 1, 2).astype(np.float32))
    same(tl.where(BOOLS, True, False), BOOLS)
    tl.check_grads(lambda a, b: tl.where(BOOLS, a, b), [B, V[:1]])
    grad = tl.grad(lambda x: tl.where(x > 0, tl.log(tl.where(x > 0, x, 1.0)), 0.0).sum())(tl.tensor([0.0, 2.0]))
    assert grad.tolist() == [0, 0.5]


def test_clip_keeps_integers():
    same(tl.clip(tl.tensor(INTS), 0, None), np.clip(INTS, 0, None))
    same(tl.clip(tl.tensor(INTS), a_max=2), np.clip(INTS, None, 2))
    same(tl.clip(tl.tensor(INTS), min=-1, max=2), np.clip(INTS, -1, 2))
    tl.check_grads(lambda x, low, high: tl.clip(x, low, high), [B, np.full((3, 1), -0.3), np.array(0.4)])


def test_creation():
    same(tl.zeros((2, 3)), np.zeros((2, 3), np.float32))
    same(tl.zeros(2, dtype=int), np.zeros(2, int))
    same(tl.ones([2]), np.ones(2, np.float32))
    same(tl.full((2,), 7), np.full(2, 7, np.float32))
    same(tl.full((2,), np.float64(0.1)), np.full(2, 0.1))
    same(tl.full(2, True), np.full(2, True))
    same(tl.arange(3), np.arange(3))
    same(tl.arange(1, 2, 0.25), np.arange(1, 2, 0.25, dtype=np.float32))
    same(tl.zeros_like(INTS), np.zeros_like(INTS))
    same(tl.ones_like(tl.tensor(B), dtype=np.float32), np.ones_like(B, dtype=np.float32))
    assert tl.zeros(2, requires_grad=True).requires_grad


def test_random_numbers_come_from_the_generator():
    same(tl.randn(2, 3, rng=5), np.random.default_rng(5).standard_normal((2, 3)).astype(np.float32))
    same(tl.rand((2, 3), rng=5, dtype=np.float64), np.random.default_rng(5).random((2, 3)))
    generator = np.random.default_rng(1)
    first, second = tl.randn(4, rng=generator), tl.randn(4, rng=generator)
    assert not np.array_equal(first.numpy(), second.numpy())


def test_named_functions():
    x = np.linspace(-4, 4, 9)
    same(tl.leaky_relu(x, 0.2), np.where(x > 0, x, 0.2 * x))
    same(tl.elu(x, 1.5), np.where(x > 0, x, 1.5 * np.expm1(x)))
    same(tl.gelu(x, approximate="tanh"), 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    for f in (tl.gelu, lambda a: tl.gelu(a, approximate="tanh"), tl.elu, tl.leaky_relu):
        tl.check_grads(f, [x + 0.1])


@pytest.mark.parametrize("name", ["sum", "max", "min", "argmax", "argmin"])
@pytest.mark.parametrize("axis", [0, -1, None])
def test_a_number_has_the_axis_that_numpy_grants_it(name, axis):
    assert getattr(tl, name)(tl.tensor(3.0), axis=axis).item() == getattr(np, name)(np.float32(3.0), axis=axis)


def test_too_large_a_number_is_inf_without_a_warning():
    assert tl.tensor([1e300]).tolist() == [np.inf]


def test_numpys_own_arguments_are_refused_in_our_words():
    with pytest.raises(tl.ArgumentError, match=r"(?s)`np\.mean`.*dtype"):
        np.mean(tl.tensor([1.0]), dtype=np.float64)


def test_a_rule_that_returns_no_tuple_is_named():
    double = tl.elementwise("test_double", code="{0} * 2", vjp=lambda g, y, x: g * 2)
    with pytest.raises(tl.ArgumentError, match="`test_double`: its vjp must return a tuple of 1"):
        double(tl.tensor([1.0], requires_grad=True)).sum().backward()
