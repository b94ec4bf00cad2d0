"""Losses against torch: values, gradients, gradients of gradients."""

import itertools

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.nn import functional as F

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

T = torch.nn.functional
REDUCTIONS = ["mean", "sum", "none"]


def agree(ours, theirs, arrays, rtol=1e-11, atol=1e-13, order=2):
    """Both functions of the same arrays: values, gradients, and gradients of the gradients' squares."""
    a = [tl.tensor(x, requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    y, z = ours(*a), theirs(*b)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=rtol, atol=atol)
    if order == 1:
        y.sum().backward()
        z.sum().backward()
    else:
        first = tl.grad(lambda *a: tl.square(ours(*a)).sum(), tuple(range(len(a))))
        second = tl.grad(lambda *a: sum(tl.square(g).sum() for g in first(*a)), tuple(range(len(a))))(*a)
        for p, g in zip(a, second, strict=True):
            p.grad = g
        gradients = torch.autograd.grad(z.square().sum(), b, create_graph=True)
        sum(g.square().sum() for g in gradients).backward()
    for p, q in zip(a, b, strict=True):
        scale = np.abs(np.nan_to_num(q.grad.numpy())).max(initial=1.0)
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=rtol, atol=max(atol, rtol * scale))


@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 5, 3), (2, 5, 3, 2)])
def test_cross_entropy(rng, shape):
    x, w = rng.standard_normal(shape) * 3, rng.random(5)
    outer = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    target = rng.integers(0, 5, outer)
    ignoring = np.where(rng.random(outer) < 0.3, -100, target) if outer else target
    t = rng.random(shape)
    for reduction, smoothing in itertools.product(REDUCTIONS, [0.0, 0.2]):
        kw = {"reduction": reduction, "label_smoothing": smoothing}
        for ids in (target, ignoring):
            agree(lambda x: F.cross_entropy(x, ids, **kw), lambda x: T.cross_entropy(x, torch.tensor(ids), **kw), [x])
            agree(
                lambda x: F.cross_entropy(x, ids, w, **kw),
                lambda x: T.cross_entropy(x, torch.tensor(ids), torch.tensor(w), **kw),
                [x],
            )
        agree(lambda x, t: F.cross_entropy(x, t, **kw), lambda x, t: T.cross_entropy(x, t, **kw), [x, t])
        agree(
            lambda x, t: F.cross_entropy(x, t, w, **kw),
            lambda x, t: T.cross_entropy(x, t, torch.tensor(w), **kw),
            [x, t],
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss(rng, reduction):
    x, w, ids = rng.standard_normal((4, 5, 3)), rng.random(5), rng.integers(0, 5, (4, 3))
    ids[0, 1] = 3
    for ignore, weight in itertools.product([-100, 3], [None, w]):
        agree(
            lambda x: F.nll_loss(x, ids, weight, ignore, reduction),
            lambda x: T.nll_loss(
                x,
                torch.tensor(ids),
                None if weight is None else torch.tensor(w),
                ignore_index=ignore,
                reduction=reduction,
            ),
            [x],
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_regression(rng, reduction):
    x, t = rng.standard_normal((2, 4, 3)) * 2
    x[0] = [1000, -1000, 0]
    kw = {"reduction": reduction}
    for ours, theirs in [(F.mse_loss, T.mse_loss), (F.l1_loss, T.l1_loss), (F.huber_loss, T.huber_loss), (F.smooth_l1_loss, T.smooth_l1_loss)]:  # fmt: skip
        agree(lambda x, t: ours(x, t, **kw), lambda x, t: theirs(x, t, **kw), [x, t])
    agree(lambda x, t: F.huber_loss(x, t, delta=0.3, **kw), lambda x, t: T.huber_loss(x, t, delta=0.3, **kw), [x, t])
    agree(
        lambda x, t: F.smooth_l1_loss(x, t, beta=2.0, **kw), lambda x, t: T.smooth_l1_loss(x, t, beta=2.0, **kw), [x, t]
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_logits(rng, reduction):
    x, t, w, p = rng.standard_normal((4, 3)) * 3, rng.random((4, 3)), rng.random((4, 3)), rng.random(3) * 4
    x[0] = [1000, -1000, 0]
    bce, theirs = F.binary_cross_entropy_with_logits, T.binary_cross_entropy_with_logits
    agree(lambda x, t: bce(x, t, reduction=reduction), lambda x, t: theirs(x, t, reduction=reduction), [x, t])
    agree(
        lambda x, t: bce(x, t, w, reduction, p),
        lambda x, t: theirs(x, t, torch.tensor(w), reduction=reduction, pos_weight=torch.tensor(p)),
        [x, t],
    )


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ctc(rng, reduction, zero_infinity):
    x, target = rng.standard_normal((12, 5, 6)), rng.integers(1, 6, (5, 4))
    frames, sizes = np.array([12, 9, 12, 2, 5]), np.array([4, 3, 0, 4, 2])
    kw = {"reduction": reduction, "zero_infinity": zero_infinity}
    joined = np.concatenate([row[:n] for row, n in zip(target, sizes, strict=True)])
    for targets in (target, joined):
        agree(
            lambda x: F.ctc_loss(F.log_softmax(x), targets, frames, sizes, **kw),
            lambda x: T.ctc_loss(torch.log_softmax(x, -1), *map(torch.tensor, (targets, frames, sizes)), **kw),
            [x],
            order=1,
        )
    agree(
        lambda x: F.ctc_loss(F.log_softmax(x), target[0] - 1, 12, 4, blank=5, **kw),
        lambda x: T.ctc_loss(torch.log_softmax(x, -1), torch.tensor(target[0] - 1), torch.tensor(12), torch.tensor(4), blank=5, **kw),
        [x[:, 0]],
        order=1,
    )  # fmt: skip


def test_float32_extremes(rng):
    x = (rng.standard_normal((20, 7)) * 1000).astype(np.float32)
    ids = rng.integers(0, 7, 20)
    agree(lambda x: F.cross_entropy(x, ids), lambda x: T.cross_entropy(x, torch.tensor(ids)), [x], rtol=1e-5, order=1)
    agree(
        lambda x: F.cross_entropy(x, ids, label_smoothing=0.1),
        lambda x: T.cross_entropy(x, torch.tensor(ids), label_smoothing=0.1),
        [x],
        rtol=1e-5,
        order=1,
    )
