"""Losses against their formulas in NumPy, their gradients to order 2, their extremes and their errors."""

import itertools
import math

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.nn import functional as F

REDUCTIONS = ["mean", "sum", "none"]


def reduced(losses, reduction, total=None):
    if reduction == "none":
        return losses
    return losses.sum() / (1 if reduction == "sum" else losses.size if total is None else total)


def log_softmax(x, axis):
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


# -------------------------------------------------------------------------------------------------------- cross entropy
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 5, 3), (2, 5, 3, 2)])
def test_cross_entropy_of_classes(rng, shape, ignore, weighted, smoothing, reduction):
    x = rng.standard_normal(shape)
    outer = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    target = rng.integers(0, 5, outer)
    kept = np.ones(outer, bool)
    if ignore and outer:
        kept.flat[0] = False
        target = np.where(kept, target, 3)
        target.flat[0] = -1
    w = rng.random(5) + 0.1 if weighted else np.ones(5)

    logp = np.moveaxis(log_softmax(x, 1 if outer else 0), 1 if outer else 0, -1)
    losses, total = np.zeros(outer), 0.0
    for at in np.ndindex(outer):
        if kept[at]:
            k = target[at]
            total += w[k]
            losses[at] = -(1 - smoothing) * w[k] * logp[at][k] - smoothing / 5 * (w * logp[at]).sum()
    expected = reduced(losses, reduction, total)

    def f(x, *w):
        return F.cross_entropy(x, target, *w, ignore_index=-1, reduction=reduction, label_smoothing=smoothing)

    args = [x, w] if weighted else [x]
    np.testing.assert_allclose(f(*map(tl.tensor, args)).numpy(), expected, rtol=1e-12)
    tl.check_grads(f, args, order=2)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 5, 3)])
def test_cross_entropy_of_probabilities(rng, shape, smoothing, reduction):
    axis = 1 if len(shape) > 1 else 0
    x, w = rng.standard_normal(shape), rng.random(5)
    t = rng.random(shape)
    t /= t.sum(axis, keepdims=True)
    column = w.reshape(-1, *[1] * (len(shape) - 2)) if len(shape) > 1 else w
    smooth = t * (1 - smoothing) + smoothing / 5
    expected = reduced(-(log_softmax(x, axis) * smooth * column).sum(axis), reduction)

    def f(x, t, w):
        return F.cross_entropy(x, t, w, reduction=reduction, label_smoothing=smoothing)

    np.testing.assert_allclose(f(*map(tl.tensor, (x, t, w))).numpy(), expected, rtol=1e-12)
    tl.check_grads(f, [x, t, w], order=2)


def test_one_hot_probabilities_are_the_class(rng):
    x, target = rng.standard_normal((7, 4)), rng.integers(0, 4, 7)
    a, b = F.cross_entropy(x, target), F.cross_entropy(x, np.eye(4)[target])
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_at_extremes(dtype):
    x = tl.tensor(
        np.array([[1000, 0, -1000], [1000, 0, -1000], [-1000, -1000, -1000], [0, -np.inf, 0]], dtype),
        requires_grad=True,
    )
    y = F.cross_entropy(x, [0, 2, 1, 0], reduction="none")
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), [0, 2000, math.log(3), math.log(2)], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(
        x.grad.numpy(), [[0, 0, 0], [1, 0, -1], [1 / 3, -2 / 3, 1 / 3], [-0.5, 0, 0.5]], rtol=1e-6
    )
    near = F.cross_entropy(tl.tensor(np.array([[1000, 999, -1000]], dtype)), [1])
    np.testing.assert_allclose(near.numpy(), 1 + math.log1p(math.exp(-1)), rtol=1e-6)


def test_cross_entropy_passes_nan_and_inf_on():
    x = np.array([[np.nan, 0.0], [np.inf, 0.0], [-np.inf, 0.0], [0.0, 0.0]])
    y = F.cross_entropy(x, [1, 1, 0, 0], reduction="none").numpy()
    np.testing.assert_array_equal(y, [np.nan, np.nan, np.inf, np.log(2)])


def test_rows_do_not_depend_on_their_company(rng):
    x, target = rng.standard_normal((50, 9)).astype(np.float32) * 30, rng.integers(0, 9, 50)
    together = F.cross_entropy(x, target, reduction="none").numpy()
    alone = [F.cross_entropy(x[k : k + 1], target[k : k + 1], reduction="none").item() for k in range(50)]
    assert together.tolist() == alone


def test_what_is_ignored_counts_for_nothing():
    x = tl.tensor(np.array([[1.0, 2.0], [np.nan, np.inf]]), requires_grad=True)
    y = F.cross_entropy(x, [0, -100], reduction="none")
    np.testing.assert_allclose(y.numpy(), [math.log1p(math.e), 0.0])
    assert math.isnan(F.cross_entropy(np.ones((2, 3)), [-100, -100]).item())
    assert F.cross_entropy(np.ones((2, 3)), [-100, -100], reduction="sum").item() == 0.0
    assert math.isnan(F.cross_entropy(np.ones((0, 3)), np.zeros(0, int)).item())


def test_nll_loss(rng):
    logp = np.log(rng.dirichlet(np.ones(4), (3, 2))).transpose(0, 2, 1)  # (3, 4, 2)
    target, w = rng.integers(0, 4, (3, 2)), rng.random(4)
    picked = np.take_along_axis(logp, target[:, None], 1)[:, 0]
    for reduction in REDUCTIONS:
        np.testing.assert_allclose(
            F.nll_loss(logp, target, reduction=reduction).numpy(), reduced(-picked, reduction), rtol=1e-13
        )
        weighted = reduced(-picked * w[target], reduction, w[target].sum())
        np.testing.assert_allclose(F.nll_loss(logp, target, w, reduction=reduction).numpy(), weighted, rtol=1e-13)
    tl.check_grads(lambda x, w: tl.square(F.nll_loss(x, target, w)), [logp, w])
    assert F.nll_loss(logp[0, :, 0], target[0, 0]).item() == -picked[0, 0]


# ----------------------------------------------------------------------------------------------------------- regression
def huber(d, delta=1.0):
    return np.where(np.abs(d) <= delta, d * d / 2, delta * (np.abs(d) - delta / 2))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (F.mse_loss, lambda d: d * d),
        (F.l1_loss, np.abs),
        (F.huber_loss, huber),
        (lambda x, t, **k: F.huber_loss(x, t, delta=0.4, **k), lambda d: huber(d, 0.4)),
        (F.smooth_l1_loss, huber),
        (lambda x, t, **k: F.smooth_l1_loss(x, t, beta=0.4, **k), lambda d: huber(d, 0.4) / 0.4),
        (lambda x, t, **k: F.smooth_l1_loss(x, t, beta=0.0, **k), np.abs),
    ],
)
def test_regression(rng, loss, reference, reduction):
    x, t = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(
        loss(x, t, reduction=reduction).numpy(), reduced(reference(x - t), reduction), rtol=1e-13
    )
    tl.check_grads(lambda x, t: loss(x, t, reduction=reduction), [x, t])


def test_weights_of_elements(rng):
    x, t, w = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), rng.random((3, 4))
    for loss, reference, total in (
        (F.mse_loss, np.square, w.sum()),
        (F.l1_loss, np.abs, w.sum()),
        (F.huber_loss, huber, w.size),
    ):
        for reduction in REDUCTIONS:
            y = loss(x, t, reduction=reduction, weight=w)
            np.testing.assert_allclose(y.numpy(), reduced(reference(x - t) * w, reduction, total), rtol=1e-13)


def test_a_number_as_target():
    assert F.mse_loss(tl.tensor([1.0, 3.0]), 1.0).item() == 2.0
    assert F.mse_loss(tl.tensor(3.0), tl.tensor(1.0)).item() == 4.0


def test_regression_at_extremes():
    x = tl.tensor(np.array([1000, -1000, 0, np.inf, -np.inf, np.nan], np.float32), requires_grad=True)
    zero = np.zeros(6, np.float32)
    y = F.huber_loss(x, zero, reduction="none")
    np.testing.assert_array_equal(y.numpy(), [999.5, 999.5, 0, np.inf, np.inf, np.nan])
    y.backward(np.ones(6))
    np.testing.assert_array_equal(x.grad.numpy()[:5], [1, -1, 0, 1, -1])
    x.grad = None
    F.l1_loss(x, zero, reduction="none").backward(np.ones(6))
    np.testing.assert_array_equal(x.grad.numpy()[:5], [1, -1, 0, 1, -1])
    np.testing.assert_array_equal(F.mse_loss(x, zero, reduction="none").numpy(), [1e6, 1e6, 0, np.inf, np.inf, np.nan])


# -------------------------------------------------------------------------------------------------- binary, with logits
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy(rng, reduction):
    x, t, w, p = rng.standard_normal((4, 3)), rng.random((4, 3)), rng.random((4, 1)), rng.random(3) * 3
    s = 1 / (1 + np.exp(-x))
    plain = -(t * np.log(s) + (1 - t) * np.log(1 - s))
    full = -(p * t * np.log(s) + (1 - t) * np.log(1 - s)) * w
    bce = F.binary_cross_entropy_with_logits
    np.testing.assert_allclose(bce(x, t, reduction=reduction).numpy(), reduced(plain, reduction), rtol=1e-12)
    np.testing.assert_allclose(bce(x, t, w, reduction, p).numpy(), reduced(full, reduction), rtol=1e-12)
    tl.check_grads(lambda x, t, w, p: bce(x, t, w, reduction, p), [x, t, w, p])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_at_extremes(dtype):
    x = tl.tensor(np.array([1000, 1000, -1000, -1000, 0, -30], dtype), requires_grad=True)
    t = np.array([1, 0, 1, 0, 0.5, 0], dtype)
    y = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), [0, 1000, 1000, 0, math.log(2), math.exp(-30)], rtol=1e-6)
    y.backward(np.ones(6))
    np.testing.assert_allclose(x.grad.numpy(), [0, 1, -1, 0, 0, 0], atol=1e-6)


# ------------------------------------------------------------------------------------------------------------------ CTC
def all_paths(logp, target, blank=0):
    """-log of the sum over every path of classes that collapses to the target, one by one."""
    steps, classes = logp.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        merged = [c for k, c in enumerate(path) if k == 0 or c != path[k - 1]]
        if [c for c in merged if c != blank] == list(target):
            total += math.exp(sum(logp[t, c] for t, c in enumerate(path)))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_counts_every_path(rng, blank):
    logp = log_softmax(rng.standard_normal((5, 7, 3)), 2)
    a, b = [c for c in range(3) if c != blank]
    targets = [[a, b], [a, a], [a], [], [a, b, a], [b, b, b], [a, b, a, b, a]]
    frames = [5, 5, 3, 4, 4, 4, 5]
    padded = np.full((7, 6), 99)
    for row, target in zip(padded, targets, strict=True):
        row[: len(target)] = target
    sizes = [len(t) for t in targets]
    expected = [all_paths(logp[:n, k], t, blank) for k, (n, t) in enumerate(zip(frames, targets, strict=True))]
    assert expected[5] == math.inf
    losses = F.ctc_loss(logp, padded, frames, sizes, blank, "none")
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-12)
    joined = F.ctc_loss(logp, [c for target in targets for c in target], frames, sizes, blank, "none")
    assert np.array_equal(losses.numpy(), joined.numpy())
    finite = np.where(np.isinf(expected), 0, expected)
    clean = F.ctc_loss(logp, padded, frames, sizes, blank, "none", zero_infinity=True)
    np.testing.assert_allclose(clean.numpy(), finite, rtol=1e-12)
    total = F.ctc_loss(logp, padded, frames, sizes, blank, "sum", zero_infinity=True)
    np.testing.assert_allclose(total.numpy(), finite.sum(), rtol=1e-12)
    mean = F.ctc_loss(logp, padded, frames, sizes, blank, zero_infinity=True)
    np.testing.assert_allclose(mean.numpy(), (finite / np.maximum(sizes, 1)).mean(), rtol=1e-12)
    one = F.ctc_loss(logp[:5, 0], targets[0], 5, 2, blank, "none")
    np.testing.assert_allclose(one.numpy(), expected[0], rtol=1e-12)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc_gradients(rng, zero_infinity):
    x = rng.standard_normal((6, 4, 4))
    target, frames, sizes = rng.integers(1, 4, (4, 3)), [6, 5, 6, 4], [3, 2, 0, 1]

    def f(x):
        return F.ctc_loss(x, target, frames, sizes, reduction="none", zero_infinity=zero_infinity)

    tl.check_grads(f, [log_softmax(x, 2)], order=2)
    tl.check_grads(lambda x: F.ctc_loss(F.log_softmax(x), target, frames, sizes), [x], order=2)


def test_ctcs_two_ways_agree(rng):
    """The forward-backward algorithm and the recursion written out, differentiated."""
    x = tl.tensor(rng.standard_normal((9, 3, 5)), requires_grad=True)
    args = rng.integers(1, 5, (3, 4)), [9, 7, 8], [4, 0, 2]
    F.ctc_loss(x, *args).backward()
    quick, x.grad = x.grad.numpy(), None
    F.ctc_loss(x, *args).backward(create_graph=True)
    np.testing.assert_allclose(x.grad.numpy(), quick, rtol=1e-10, atol=1e-14)


def test_ctc_at_extremes():
    x = np.full((4, 2, 3), -1000.0, np.float32)
    x[[0, 1, 2, 3], :, [1, 0, 2, 2]] = 1000.0
    leaf = tl.tensor(x, requires_grad=True)
    losses = F.ctc_loss(F.log_softmax(leaf), [[1, 2], [2, 1]], [4, 4], [2, 2], reduction="none")
    np.testing.assert_allclose(losses.numpy(), [0, 4000], rtol=1e-5)  # "2 1" takes two of the unlikely classes
    losses.sum().backward()
    assert np.isfinite(leaf.grad.numpy()).all()
    impossible = tl.tensor(np.log(np.full((2, 1, 3), 1 / 3)), requires_grad=True)
    loss = F.ctc_loss(impossible, [[1, 1]], [2], [2], zero_infinity=True)
    loss.backward()
    assert loss.item() == 0.0 and np.array_equal(impossible.grad.numpy(), np.zeros((2, 1, 3)))
    never = tl.tensor(np.array([[[-0.7, -0.7, -np.inf]]] * 2), requires_grad=True)
    F.ctc_loss(never, [[1]], [2], [1]).backward()
    assert np.isfinite(never.grad.numpy()).all() and np.all(never.grad.numpy()[:, :, 2] == 0)


# --------------------------------------------------------------------------------------------------------------- errors
X = np.zeros((4, 3))
LP = np.zeros((5, 2, 4))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: F.cross_entropy(X, [0, 1, 2, 3]), tl.ShapeError, ["target[3] is 3", "0 ... 2"]),
        (
            lambda: F.cross_entropy(X, [0, 1]),
            tl.ShapeError,
            ["class indices of shape (4,)", "probabilities of shape (4, 3)"],
        ),
        (lambda: F.cross_entropy(X, np.zeros((4, 1), int)), tl.ShapeError, ["(4, 1)"]),
        (lambda: F.cross_entropy(X, np.zeros((4, 3), int)), tl.ArgumentError, ["probabilities", "floats"]),
        (lambda: F.cross_entropy(X, [0.5, 1, 2, 0]), tl.ArgumentError, ["integers"]),
        (lambda: F.cross_entropy(X, [0, 1, 2, 0], [1.0, 2.0]), tl.ShapeError, ["weight", "(3,)"]),
        (
            lambda: F.cross_entropy(X, [0, 1, 2, 0], reduction="avg"),
            tl.ArgumentError,
            ["'mean', 'sum' or 'none'", "avg"],
        ),
        (lambda: F.cross_entropy(X, [0, 1, 2, 0], label_smoothing=2), tl.ArgumentError, ["label_smoothing"]),
        (lambda: F.cross_entropy(X.astype(int), [0, 1, 2, 0]), tl.ShapeError, ["floats"]),
        (lambda: F.cross_entropy(np.zeros((4, 0)), [0, 1, 2, 0]), tl.ShapeError, ["no classes"]),
        (lambda: F.nll_loss(X, [0, 1, 5, -100]), tl.ShapeError, ["is 5"]),
        (lambda: F.mse_loss(X, X[:, :1]), tl.ShapeError, ["one shape", "(4, 3)", "(4, 1)", "reshape"]),
        (lambda: F.mse_loss(X, X, "total"), tl.ArgumentError, ["reduction"]),
        (lambda: F.mse_loss(X, X, weight=np.ones(3)), tl.ShapeError, ["weight"]),
        (lambda: F.huber_loss(X, X, delta=0.0), tl.ArgumentError, ["delta"]),
        (lambda: F.smooth_l1_loss(X, X, beta=-1.0), tl.ArgumentError, ["beta"]),
        (lambda: F.binary_cross_entropy_with_logits(X, X, pos_weight=np.ones(4)), tl.ShapeError, ["pos_weight"]),
        (lambda: F.binary_cross_entropy_with_logits(X, X[0]), tl.ShapeError, ["one shape"]),
        (lambda: F.ctc_loss(LP, [[1, 0], [1, 2]], [5, 5], [2, 2]), tl.ShapeError, ["blank"]),
        (lambda: F.ctc_loss(LP, [[1, 4], [1, 2]], [5, 5], [2, 2]), tl.ShapeError, ["is 4", "0 ... 3"]),
        (lambda: F.ctc_loss(LP, [[1, 2], [1, 2]], [6, 5], [2, 2]), tl.ShapeError, ["input_lengths[0] is 6", "0 ... 5"]),
        (lambda: F.ctc_loss(LP, [[1, 2], [1, 2]], [5, 5], [3, 2]), tl.ShapeError, ["at least 3"]),
        (lambda: F.ctc_loss(LP, [[1, 2], [1, 2]], [5], [2, 2]), tl.ShapeError, ["one length a sequence"]),
        (lambda: F.ctc_loss(LP, [1, 2, 1], [5, 5], [2, 2]), tl.ShapeError, ["(4,)"]),
        (lambda: F.ctc_loss(LP, [[1, 2], [1, 2]], [5, 5], [2, 2], blank=4), tl.ShapeError, ["blank"]),
        (lambda: F.ctc_loss(LP[0, 0], [1], 5, 1), tl.ShapeError, ["(T, N, C)"]),
        (lambda: F.ctc_loss(LP, [[1, 2], [1, 2]], [5, 5], [2, 2], reduction="x"), tl.ArgumentError, ["reduction"]),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, kind, words):
    with pytest.raises(kind) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
