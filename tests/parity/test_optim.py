"""Optimisers, clipping and schedules against torch: 200 steps in float64."""

import math

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import optim

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

SETTINGS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.2}),
    ("AdamW", {"lr": 0.01, "maximize": True, "weight_decay": 0.0}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.001, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9}),
    ("RMSprop", {"centered": True, "maximize": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("Adagrad", {"maximize": True}),
]


def twins(rng, dtype=np.float64):
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((4, 3), (5,), ())]
    return [tl.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def give(ours, theirs, rng):
    for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        if k == 1 and rng.random() < 0.3:  # a parameter without gradient is passed over
            p.grad = q.grad = None
            continue
        g = rng.standard_normal(p.shape).astype(p.dtype) * np.exp(rng.standard_normal() * 2).astype(p.dtype)
        p.grad, q.grad = tl.tensor(g), torch.tensor(g)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-4)])
def test_200_steps(rng, name, settings, dtype, rtol):
    ours, theirs = twins(rng, dtype)
    a, b = getattr(optim, name)(ours, **settings), getattr(torch.optim, name)(theirs, **settings)
    assert {k: v for k, v in a.param_groups[0].items() if k != "params"}.items() <= b.param_groups[0].items()
    for _ in range(200):
        give(ours, theirs, rng)
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            q = q.detach().numpy()
            np.testing.assert_allclose(p.numpy(), q, rtol=rtol, atol=rtol * max(1.0, np.abs(q).max()))


def test_groups_and_changes_of_the_rate(rng):
    ours, theirs = twins(rng)
    a = optim.Adam(
        [{"params": ours[:1], "lr": 0.1, "betas": (0.5, 0.9)}, {"params": ours[1:], "weight_decay": 0.1}], lr=0.01
    )
    b = torch.optim.Adam(
        [{"params": theirs[:1], "lr": 0.1, "betas": (0.5, 0.9)}, {"params": theirs[1:], "weight_decay": 0.1}], lr=0.01
    )
    for k in range(60):
        a.param_groups[1]["lr"] = b.param_groups[1]["lr"] = 0.01 / (1 + k)
        give(ours, theirs, rng)
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("order", [1.0, 2.0, 2.5, math.inf])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clip_grad_norm(rng, order, scale):
    ours, theirs = twins(rng)
    give(ours, theirs, rng)
    for p, q in zip(ours, theirs, strict=True):
        if p.grad is not None:
            p.grad, q.grad = p.grad * scale, q.grad * scale
    norm = optim.clip_grad_norm(ours, 1.0, order)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, 1.0, order).item(), rel=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", [2.0, math.inf])
def test_clipping_what_is_not_finite(bad, order):
    p, q = tl.tensor(np.zeros(3), requires_grad=True), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    g = np.array([1.0, bad, 2.0])
    p.grad, q.grad = tl.tensor(g), torch.tensor(g)
    norm, theirs = optim.clip_grad_norm([p], 1.0, order), torch.nn.utils.clip_grad_norm_([q], 1.0, order)
    np.testing.assert_array_equal(norm, theirs.item())
    np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


S = torch.optim.lr_scheduler
SCHEDULES = [
    ("LambdaLR", ([lambda t: 0.9**t, lambda t: 1 / (1 + t)],)),
    ("StepLR", (3, 0.5)),
    ("MultiStepLR", ([2, 2, 7], 0.3)),
    ("ExponentialLR", (0.9,)),
    ("ConstantLR", (0.4, 6)),
    ("LinearLR", (0.1, 0.8, 7)),
    ("PolynomialLR", (12, 2.0)),
    ("CosineAnnealingLR", (8, 0.01)),
    ("CosineAnnealingWarmRestarts", (4, 1, 0.02)),
    ("CosineAnnealingWarmRestarts", (3, 2)),
    ("OneCycleLR", (0.5, 40)),
    ("OneCycleLR", ([0.5, 0.2], None, 8, 5, 0.25, "linear")),
    ("OneCycleLR", (0.5, 40, None, None, 0.3, "cos", True, 0.8, 0.9, 10.0, 100.0, True)),
]


def two(lib, make, name="SGD"):
    """An optimiser of two groups."""
    momentum = {"momentum": 0.9} if name == "SGD" else {}
    first, second = (make(1, requires_grad=True) for _ in range(2))
    return getattr(lib, name)([{"params": [first], "lr": 0.5}, {"params": [second]}], lr=0.1, **momentum)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize(("kind", "args"), SCHEDULES)
def test_schedules(kind, args, name):
    a, b = two(optim, tl.ones, name), two(torch.optim, torch.ones, name)
    ours, theirs = getattr(optim, kind)(a, *args), getattr(S, kind)(b, *args)
    for t in range(40):
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-10, atol=1e-16, err_msg=f"t={t}")
        for g, h in zip(a.param_groups, b.param_groups, strict=True):
            np.testing.assert_allclose(g.get("momentum", g.get("betas")), h.get("momentum", h.get("betas")), rtol=1e-12)
        ours.step()
        theirs.step()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
def test_one_schedule_after_the_other():
    a, b = two(optim, tl.ones), two(torch.optim, torch.ones)

    def sequence(lib, o):
        parts = [lib.LinearLR(o, 0.1, total_iters=4), lib.CosineAnnealingLR(o, 9), lib.ExponentialLR(o, 0.8)]
        return lib.SequentialLR(o, parts, [4, 11])

    ours, theirs = sequence(optim, a), sequence(S, b)
    for t in range(25):
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-10, err_msg=f"t={t}")
        ours.step()
        theirs.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 3])
def test_plateau(rng, mode, threshold_mode, cooldown):
    kw = {"mode": mode, "factor": 0.3, "patience": 2, "threshold": 0.05, "threshold_mode": threshold_mode}
    kw |= {"cooldown": cooldown, "min_lr": [1e-3, 1e-2], "eps": 1e-4}
    a, b = two(optim, tl.ones), two(torch.optim, torch.ones)
    ours, theirs = optim.ReduceLROnPlateau(a, **kw), S.ReduceLROnPlateau(b, **kw)
    for metric in np.cumsum(rng.standard_normal(80)) * 0.1 + 2:
        ours.step(metric)
        theirs.step(metric)
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-14)
