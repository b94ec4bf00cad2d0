"""The eager value: dtypes, NumPy's protocols, histories, threads, copies."""

import copy
import gc
import math
import pickle
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.errors import ArgumentError, GradientError, ShapeError
from tinygrad_lstm.tensor import replace_value


# --------------------------------------------------------------------------------------------------------------- dtypes
def test_python_numbers_are_float32_and_arrays_keep_their_dtype():
    for numbers in (1, 1.5, [1, 2], [[1.0, 2.0]], (1, 2), []):
        assert tl.tensor(numbers).dtype == np.float32
    for dtype in (np.float32, np.float64, np.float16, np.int64, np.int8, np.uint16, bool):
        assert tl.tensor(np.zeros(2, dtype)).dtype == dtype
        assert tl.tensor([np.zeros(2, dtype)]).dtype == dtype
    assert tl.tensor(True).dtype == bool and tl.tensor([True, False]).dtype == bool
    assert tl.tensor(np.float64(1)).dtype == np.float64
    assert tl.tensor([1, 2], dtype=np.int64).dtype == np.int64
    assert tl.tanh(1.0).dtype == np.float32 and tl.maximum(1, 2).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_python_numbers_never_widen(dtype):
    x = tl.tensor(np.ones(2, dtype))
    for y in (x + 1, 1 - x, x * 2.5, 1 / x, x**2, 2**x, x**0.5, x / 3, x // 2, x % 2, tl.maximum(x, 0.5), tl.where(x > 0, x, 0.0), tl.clip(x, 0, 1),
              x.sum() * 0.1, x.mean(), x.std(), tl.sigmoid(x), tl.gelu(x), tl.softplus(x), tl.leaky_relu(x), tl.elu(x), tl.erf(x), -x, abs(x)):  # fmt: skip
        assert y.dtype == dtype
    assert (x + np.ones(2)).dtype == np.float64
    assert (tl.tensor(np.arange(2)) / 2).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("other", [np.float32, np.float64])
def test_gradients_have_the_shape_and_dtype_of_their_leaf(dtype, other):
    x = tl.tensor(np.ones((3, 1), dtype), requires_grad=True)
    w = tl.tensor(np.full((1, 4), 2, other), requires_grad=True)
    ((x * w) ** 2 + tl.where(x > 0, x, w) + x @ w + 2**x).sum().backward()
    for leaf in (x, w):
        assert (leaf.grad.shape, leaf.grad.dtype) == (leaf.shape, leaf.dtype)
    np.testing.assert_allclose(x.grad.numpy(), 4 * 2 * 4 + 4 + 8 + 4 * 2 * math.log(2), rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------- NumPy
def test_numpy_functions_and_arrays_on_either_side():
    x = tl.tensor(np.array([0.5, -2.0]), requires_grad=True)
    a = np.array([3.0, 4.0])
    for y, expected in ((a * x, a * x.data), (x * a, a * x.data), (a - x, a - x.data), (a / x, a / x.data), (np.float64(2) * x, 2 * x.data),
                        (np.tanh(x), np.tanh(x.data)), (np.add(a, x), a + x.data), (np.maximum(a, x), np.maximum(a, x.data)), (a**x, a**x.data),
                        (np.sum(x), x.data.sum()), (np.mean(x, axis=0, keepdims=True), x.data.mean(0, keepdims=True)), (np.exp(x), np.exp(x.data)),
                        (np.stack([x, a]), np.stack([x.data, a])), (np.where(a > 3, x, a), np.where(a > 3, x.data, a)), (np.amax(x), x.data.max()),
                        (a @ x, a @ x.data), (np.einsum("i,i", a, x), a @ x.data), (np.clip(x, -1, 1), np.clip(x.data, -1, 1))):  # fmt: skip
        assert isinstance(y, tl.Tensor) and y.requires_grad
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-14)
    for y, expected in (
        (a < x, a < x.data),
        (x >= a, x.data >= a),
        (np.isnan(x), np.isnan(x.data)),
        (np.isfinite(x), [True, True]),
    ):
        assert y.dtype == bool and np.array_equal(y.numpy(), expected)
    (np.ones(2) * np.tanh(x)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 - np.tanh(x.data) ** 2, rtol=1e-14)
    assert np.allclose(x, x.data) and np.array_equal(np.asarray(x), x.data) and np.shape(x) == (2,)
    assert np.asarray(x, dtype=np.float32).dtype == np.float32


def test_conditions_combine():
    x = tl.tensor([-1.0, 0.5, 2.0])
    a, b = x.numpy() > 0, x.numpy() < 1
    for mine, numpys in (((x > 0) & (x < 1), a & b), ((x > 0) | b, a | b), (a & (x < 1), a & b), (b | (x > 0), a | b), (~(x > 0), ~a),
                         ((x > 0) & True, a), (np.logical_and(x > 0, b), a & b)):  # fmt: skip
        assert isinstance(mine, tl.Tensor) and np.array_equal(mine.numpy(), numpys)
    assert bool(np.any(x > 1)) and not bool(np.all(x > 1)) and np.all(x > -2, axis=0).item()
    between = tl.fuse(lambda v: tl.where((v > 0) & ~(v > 1), v, 0.0))
    assert between(x).tolist() == [0, 0.5, 0]


def test_values_are_read_only_views_and_fresh_copies():
    source = np.ones(3)
    x = tl.tensor(source)
    source[:] = 5
    assert x.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 2
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 2
    owned = np.array(x)
    owned[0] = 2
    assert x.tolist() == [1, 1, 1]


def test_looking():
    x = tl.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 2), 2, 4, 2)
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]] and 3.0 in x and 7.0 not in x
    assert tl.tensor(2.5).item() == 2.5 and float(tl.tensor([[2.5]])) == 2.5 and int(tl.tensor(2.5)) == 2
    assert f"{tl.tensor(1 / 3):.3f}" == "0.333"
    assert bool(tl.tensor(1.0)) and not tl.tensor([0.0])
    assert [10, 20, 30][tl.tensor(np.array(1))] == 20
    assert repr(x) == "tensor([[1., 2.],\n        [3., 4.]])"
    assert repr(tl.tensor(np.ones(1), requires_grad=True)) == "tensor([1.], dtype=float64, requires_grad=True)"
    assert len({x, x}) == 1


def test_rebinding_is_not_writing():
    x = tl.tensor([1.0], requires_grad=True)
    y = x
    y += 1
    y *= 3
    assert x.tolist() == [1] and y.tolist() == [6]
    y.sum().backward()
    assert x.grad.tolist() == [3]


# ---------------------------------------------------------------------------------------------------------- histories
def test_a_value_used_twice_counts_twice():
    x = tl.tensor([3.0], requires_grad=True)
    (x * x).backward()
    assert x.grad.tolist() == [6]
    x.grad = None
    y = x * 2
    (y * y + y).backward()
    assert x.grad.tolist() == [26]


def test_gradients_accumulate_until_cleared():
    x = tl.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [4, 8]
    assert not x.grad.requires_grad
    x.grad = None
    (x * 3).backward([1.0, 10.0])
    assert x.grad.tolist() == [3, 30]


def test_recorded_gradients_can_be_differentiated():
    x = tl.tensor(2.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    slope, x.grad = x.grad, None
    assert slope.item() == 12 and slope.requires_grad
    slope.backward()
    assert x.grad.item() == 12


def test_values_in_between_keep_their_gradients_when_asked():
    x = tl.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    z = (y * y).sum()
    z.backward(retain_grads=True)
    assert y.grad.tolist() == [6, 12] and z.grad.item() == 1 and x.grad.tolist() == [18, 36]


def test_histories_end_where_nothing_is_wanted():
    x, c = tl.tensor([1.0], requires_grad=True), tl.tensor([2.0])
    assert (c * c).op is None and (c * c).args == ()
    assert not (x > 0).requires_grad and not x.argmax().requires_grad and not x.astype(np.int64).requires_grad
    y = x * c
    y.backward()
    assert c.grad is None
    with tl.no_grad():
        assert not (x * 2).requires_grad
        with tl.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_nests_decorates_and_survives_errors():
    x = tl.tensor([1.0], requires_grad=True)
    quiet = tl.no_grad()
    with quiet, quiet:
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), tl.no_grad():
        raise KeyError
    assert (x * 2).requires_grad

    @tl.no_grad()
    def double(a):
        """Twice a."""
        return a * 2

    assert not double(x).requires_grad and double.__doc__ == "Twice a." and (x * 2).requires_grad


def test_each_thread_has_its_own_no_grad():
    x = tl.tensor([1.0], requires_grad=True)
    inside, checked, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        seen.append((x * 2).requires_grad)
        with tl.no_grad():
            seen.append((x * 2).requires_grad)
        checked.set()

    thread = threading.Thread(target=other)
    thread.start()
    with tl.no_grad():
        inside.set()
        checked.wait()
        assert not (x * 2).requires_grad
    thread.join()
    assert seen == [True, False]


def test_threads_differentiate_at_the_same_time():
    w = np.random.default_rng(0).standard_normal((8, 8))
    found = {}

    def work(k):
        x = tl.tensor(np.full((4, 8), 0.1 * k), requires_grad=True)
        for _ in range(30):
            x.grad = None
            tl.tanh(x @ w).sum().backward()
        found[k] = x.grad.numpy()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, g in found.items():
        np.testing.assert_allclose(g, (1 - np.tanh(np.full((4, 8), 0.1 * k) @ w) ** 2) @ w.T, rtol=1e-12)


def test_a_replaced_leaf_refuses_the_old_graph():
    x = tl.tensor([1.0], requires_grad=True, name="weight")
    y = x * x
    replace_value(x, np.array([5.0], np.float32))
    with pytest.raises(GradientError, match="`weight`: its value was replaced after `mul` had read it"):
        y.backward()


# -------------------------------------------------------------------------------------------------------- size, memory
def test_a_million_operations_differentiate():
    x = tl.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(1_000_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 1_000_001
    last = weakref.ref(y)
    del y
    assert last() is None  # no cycle: the chain goes as soon as its last value does, without recursion


def test_memory_is_given_back():
    x = tl.tensor(np.ones(10_000), requires_grad=True)

    def chain(n):
        y = x
        for _ in range(n):
            y = y * 1.0
        y.sum().backward()
        x.grad = None

    chain(3)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        chain(50)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 80_000  # less than one of the fifty arrays
    assert peak - before < 60 * 80_000  # the cotangents go as they are used: not twice fifty


def test_leaves_are_copied_and_pickled_histories_are_not():
    x = tl.tensor(np.array([1.0, 2.0]), requires_grad=True, name="w")
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), copy.copy(x)):
        assert (
            other is not x
            and other.tolist() == x.tolist()
            and other.requires_grad
            and other.name == "w"
            and other.dtype == x.dtype
        )
        (other * 2).sum().backward()
        assert x.grad is None
    with pytest.raises(ArgumentError, match="history cannot be copied or pickled"):
        copy.deepcopy(x * 2)


def test_shape_errors_are_numpys_kinds_too():
    for error in (ShapeError, ArgumentError, GradientError):
        assert issubclass(error, (ValueError, TypeError, RuntimeError))
    with pytest.raises(IndexError):
        tl.tensor([1.0])[3]


def test_threads_that_share_a_leaf_lose_no_gradient():
    """`.grad` is read, added to and written: two threads must not do so at once."""
    w = tl.tensor(np.zeros(3), requires_grad=True)
    together = threading.Barrier(4)

    def work():
        together.wait()
        for _ in range(300):
            w.sum().backward()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    np.testing.assert_array_equal(w.grad, np.full(3, 1200.0))
