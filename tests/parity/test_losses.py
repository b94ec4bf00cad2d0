"""Losses against torch: values, gradients, gradients of gradients."""

import itertools

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.nn import functional as F

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

T = torch.nn.functional
REDUCTIONS = ["mean", "sum", "none"]


def agree(ours, theirs, variables, *constants, rtol=1e-11, order=2, **settings):
    """Both functions of the same arrays: values, gradients, and the gradient of the gradients' sum of squares."""
    held = {k: v for k, v in settings.items() if isinstance(v, np.ndarray)}
    a = [tl.tensor(x, requires_grad=True) for x in variables]
    b = [torch.tensor(x, requires_grad=True) for x in variables]
    fixed, settings_b = (
        [torch.tensor(c) for c in constants],
        {**settings, **{k: torch.tensor(v) for k, v in held.items()}},
    )

    def f(*a):
        return ours(*a, *constants, **settings)

    y, z = f(*a), theirs(*b, *fixed, **settings_b)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=rtol, atol=1e-13)
    if order == 1:
        y.sum().backward()
        z.sum().backward()
    else:
        every = tuple(range(len(a)))
        first = tl.grad(lambda *a: tl.square(f(*a)).sum(), every)
        second = tl.grad(lambda *a: sum(tl.square(g).sum() for g in first(*a)), every)(*a)
        for p, g in zip(a, second, strict=True):
            p.grad = g
        gradients = torch.autograd.grad(z.square().sum(), b, create_graph=True)
        sum(g.square().sum() for g in gradients).backward()
    for p, q in zip(a, b, strict=True):
        scale = np.abs(np.nan_to_num(q.grad.numpy())).max(initial=1.0)
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 5, 3), (2, 5, 3, 2)])
def test_cross_entropy(rng, shape, smoothing, reduction):
    x, w, t = rng.standard_normal(shape) * 3, rng.random(5), rng.random(shape)
    outer = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    target = rng.integers(0, 5, outer)
    ignoring = np.where(rng.random(outer) < 0.3, -100, target) if outer else target
    both, kw = (F.cross_entropy, T.cross_entropy), {"reduction": reduction, "label_smoothing": smoothing}
    for ids in (target, ignoring):
        agree(*both, [x], ids, **kw)
        agree(*both, [x], ids, weight=w, **kw)
    agree(*both, [x, t], **kw)
    agree(*both, [x, t], weight=w, **kw)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss(rng, reduction):
    x, w, ids = rng.standard_normal((4, 5, 3)), rng.random(5), rng.integers(0, 5, (4, 3))
    ids[0, 1] = 3
    for ignore, weight in itertools.product([-100, 3], [None, w]):
        agree(F.nll_loss, T.nll_loss, [x], ids, weight=weight, ignore_index=ignore, reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mse_loss", {}),
        ("l1_loss", {}),
        ("huber_loss", {}),
        ("huber_loss", {"delta": 0.3}),
        ("smooth_l1_loss", {}),
        ("smooth_l1_loss", {"beta": 2.0}),
        ("smooth_l1_loss", {"beta": 0.0}),
    ],
)
def test_regression(rng, name, settings, reduction):
    x, t = rng.standard_normal((2, 4, 3)) * 2
    x[0] = [1000, -1000, 0]
    both = getattr(F, name), getattr(T, name)
    agree(*both, [x, t], reduction=reduction, **settings)
    if name != "smooth_l1_loss":
        agree(*both, [x, t], reduction=reduction, weight=rng.random((4, 3)), **settings)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_logits(rng, reduction):
    x, t, w, p = rng.standard_normal((4, 3)) * 3, rng.random((4, 3)), rng.random((4, 3)), rng.random(3) * 4
    x[0] = [1000, -1000, 0]
    both = F.binary_cross_entropy_with_logits, T.binary_cross_entropy_with_logits
    agree(*both, [x, t], reduction=reduction)
    agree(*both, [x, t], weight=w, pos_weight=p, reduction=reduction)


def ctc(x, *args, **settings):
    return F.ctc_loss(F.log_softmax(x), *args, **settings)


def torchs_ctc(x, *args, **settings):
    return T.ctc_loss(T.log_softmax(x, -1), *args, **settings)


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ctc(rng, reduction, zero_infinity):
    x, target = rng.standard_normal((12, 5, 6)), rng.integers(1, 6, (5, 4))
    frames, sizes = np.array([12, 9, 12, 2, 5]), np.array([4, 3, 0, 4, 2])
    kw = {"reduction": reduction, "zero_infinity": zero_infinity, "order": 1}
    joined = np.concatenate([row[:n] for row, n in zip(target, sizes, strict=True)])
    agree(ctc, torchs_ctc, [x], target, frames, sizes, **kw)
    agree(ctc, torchs_ctc, [x], joined, frames, sizes, **kw)
    agree(ctc, torchs_ctc, [x[:, 0]], target[0] - 1, np.array(12), np.array(4), blank=5, **kw)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_float32_extremes(rng, smoothing):
    x, ids = (rng.standard_normal((20, 7)) * 1000).astype(np.float32), rng.integers(0, 7, 20)
    agree(F.cross_entropy, T.cross_entropy, [x], ids, label_smoothing=smoothing, rtol=1e-5, order=1)
