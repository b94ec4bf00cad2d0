"""Optimisers against their formulas, clipping, schedules, and what their states promise."""

import math

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import optim


def leaf(*values, dtype=np.float64):
    return tl.tensor(np.array(values, dtype), requires_grad=True)


def give(p, *values):
    p.grad = tl.tensor(np.array(values, p.dtype).reshape(p.shape))


ALL = [
    (optim.SGD, {}),
    (optim.SGD, {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optim.Adam, {}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    (optim.AdamW, {}),
    (optim.RMSprop, {"centered": True, "momentum": 0.5}),
    (optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.2}),
]
every = pytest.mark.parametrize(("kind", "settings"), ALL)


# ------------------------------------------------------------------------------------------------------------- formulas
def test_sgd_by_hand():
    w = leaf(1.0)
    o = optim.SGD([w], lr=0.1, momentum=0.5, dampening=0.2, weight_decay=0.1)
    give(w, 2.0)
    o.step()  # g = 2.1, b = g
    assert w.item() == pytest.approx(1 - 0.1 * 2.1, rel=1e-15)
    p = w.item()
    give(w, 1.0)
    o.step()  # b = 0.5 * 2.1 + 0.8 * g
    assert w.item() == pytest.approx(p - 0.1 * (1.05 + 0.8 * (1 + 0.1 * p)), rel=1e-15)


def test_adam_by_hand():
    w = leaf(1.0)
    o = optim.Adam([w], lr=0.1, betas=(0.5, 0.75), eps=0.01)
    m = v = 0.0
    p = 1.0
    for t, g in enumerate((2.0, -1.0, 0.5), 1):
        give(w, g)
        o.step()
        m, v = 0.5 * m + 0.5 * g, 0.75 * v + 0.25 * g * g
        p -= 0.1 * (m / (1 - 0.5**t)) / (math.sqrt(v / (1 - 0.75**t)) + 0.01)
        assert w.item() == pytest.approx(p, rel=1e-14)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_falls(kind, settings, dtype):
    w = leaf(3.0, -2.0, dtype=dtype)
    o = kind([w], lr=0.05, **settings)
    for _ in range(200):
        o.zero_grad()
        ((w - np.array([1.0, 1.0], dtype)) ** 2).sum().backward()
        o.step()
    assert w.dtype == dtype
    slow = kind is optim.Adagrad
    assert np.abs(w.numpy() - 1).max() < (2.9 if slow else 0.5), w


@every
def test_maximize_is_the_negative_gradient(kind, settings):
    settings = {**settings, "weight_decay": 0.0}
    a, b = leaf(1.0, 2.0), leaf(1.0, 2.0)
    up, down = kind([a], maximize=True, **settings), kind([b], **settings)
    for g in ((1.0, -0.5), (0.3, 0.2)):
        give(a, *g)
        give(b, *(-np.array(g)))
        up.step()
        down.step()
    assert np.array_equal(a.numpy(), b.numpy())


@every
def test_every_shape_and_layout(kind, settings, rng):
    """A scalar, a transposed and an empty parameter move as the same numbers in a vector do."""
    values, gradients = rng.standard_normal(6), rng.standard_normal((3, 6))
    flat = leaf(*values)
    parts = [
        tl.tensor(values[:1].reshape(()), requires_grad=True),
        tl.tensor(values[1:].reshape(1, 5), requires_grad=True),
    ]
    parts += [tl.tensor(np.zeros((0, 3)), requires_grad=True)]
    one, many = kind([flat], **settings), kind(parts, **settings)
    for g in gradients:
        give(flat, *g)
        for p, share in zip(parts, (g[:1], g[1:], []), strict=True):
            give(p, *share)
        one.step()
        many.step()
    np.testing.assert_array_equal(np.concatenate([p.numpy().ravel() for p in parts]), flat.numpy())
    assert parts[0].shape == () and parts[1].shape == (1, 5) and parts[2].shape == (0, 3)


@every
def test_parameters_without_gradient_stay(kind, settings):
    a, b = leaf(1.0), leaf(2.0)
    o = kind([a, b], **settings)
    give(a, 1.0)
    o.step()
    assert a.item() != 1.0 and b.item() == 2.0
    assert not any(name.startswith("1.") for name in o.state_dict()["arrays"])
    give(b, 1.0)
    o.step()
    assert o.state_dict()["arrays"]["0.step"] == 2 and o.state_dict()["arrays"]["1.step"] == 1


@every
def test_neither_gradients_nor_old_values_are_written_to(kind, settings):
    w = leaf(1.0, 2.0)
    o = kind([w], **settings)
    old, view = w.numpy(), w.numpy().copy()
    for _ in range(3):
        give(w, 0.5, -0.5)
        g = w.grad
        o.step()
        assert np.array_equal(g.numpy(), [0.5, -0.5])
    assert np.array_equal(old, view)


def test_numpy_numbers_do_not_widen():
    w = leaf(1.0, 2.0, dtype=np.float32)
    o = optim.Adam([w], lr=np.float64(0.1))
    o.param_groups[0]["weight_decay"] = np.float64(0.1)
    give(w, 1.0, 1.0)
    o.step()
    assert w.dtype == np.float32


# --------------------------------------------------------------------------------------------------------------- groups
def test_groups_have_their_own_settings():
    a, b = leaf(1.0), leaf(1.0)
    o = optim.SGD([{"params": [a], "lr": 0.5}, {"params": b}], lr=0.1)
    for p in (a, b):
        give(p, 1.0)
    o.step()
    assert a.item() == 0.5 and b.item() == 0.9
    o.param_groups[1]["lr"] = 0.0
    o.step()
    assert a.item() == 0.0 and b.item() == 0.9
    assert o.lr == 0.5
    o.lr = 0.25
    assert [g["lr"] for g in o.param_groups] == [0.25, 0.25]
    c = leaf(1.0)
    o.add_param_group({"params": [c], "lr": 1.0})
    give(c, 1.0)
    o.step()
    assert c.item() == 0.0


# ---------------------------------------------------------------------------------------------------------------- state
@every
def test_going_on_from_a_state_gives_the_same_bits(kind, settings, rng):
    gradients = rng.standard_normal((8, 2, 3))

    def run(p, o, steps):
        for g in gradients[steps]:
            give(p, *g.ravel())
            o.step()

    w = tl.tensor(np.ones((2, 3)), requires_grad=True)
    whole = kind([w], lr=0.1, **settings)
    run(w, whole, slice(0, 8))
    a = tl.tensor(np.ones((2, 3)), requires_grad=True)
    first = kind([a], lr=0.1, **settings)
    run(a, first, slice(0, 5))
    state = first.state_dict()
    b = tl.tensor(a.numpy(), requires_grad=True)
    second = kind([b])
    second.load_state_dict(state)
    run(a, first, slice(5, 6))  # must not move the state that was taken
    run(b, second, slice(5, 8))
    assert np.array_equal(b.numpy(), w.numpy())
    assert second.lr == 0.1


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda s: s.update(kind="SGD"), tl.ArgumentError, ["state of SGD", "tl.optim.SGD"]),
        (lambda s: s.pop("groups"), tl.ArgumentError, ["no state of an optimiser"]),
        (lambda s: s["groups"].append(s["groups"][0]), tl.ShapeError, ["groups of [2]"]),
        (lambda s: s["groups"].__setitem__(0, 5), tl.ArgumentError, ["damaged"]),
        (lambda s: s["groups"][0].pop("lr"), tl.ArgumentError, ["lacks the setting 'lr'"]),
        (lambda s: s["groups"][0].update(lr="x"), tl.ArgumentError, ["lr"]),
        (lambda s: s["arrays"].update({"0.exp_avg": np.zeros(3)}), tl.ShapeError, ["0.exp_avg", "does not fit"]),
        (lambda s: s["arrays"].update({"2.exp_avg": np.zeros(2)}), tl.ShapeError, ["2.exp_avg: no such buffer"]),
        (lambda s: s["arrays"].update({"0.foo": np.zeros(2)}), tl.ShapeError, ["0.foo"]),
        (lambda s: s["arrays"].update({"0.step": np.zeros(2)}), tl.ShapeError, ["0.step"]),
        (lambda s: s["arrays"].pop("1.step"), tl.ShapeError, ["1.step: missing"]),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, kind, words):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    o = optim.Adam([a, b])
    for p in (a, b):
        give(p, 1.0, 1.0)
    o.step()
    before = o.state_dict()
    state = o.state_dict()
    state["groups"][0]["lr"] = 0.7
    change(state)
    with pytest.raises(kind) as error:
        o.load_state_dict(state)
    assert all(word in str(error.value) for word in words), error.value
    after = o.state_dict()
    assert after["groups"] == before["groups"]
    assert all(np.array_equal(before["arrays"][name], value) for name, value in after["arrays"].items())


# --------------------------------------------------------------------------------------------------------------- errors
W = tl.tensor([1.0], requires_grad=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: optim.Adam([]), ["no parameters", "model.parameters()"]),
        (lambda: optim.Adam(W), ["list of parameters"]),
        (lambda: optim.Adam(tl.nn.Linear(1, 1)), ["model.parameters()"]),
        (lambda: optim.Adam([W * 2]), ["parameter 0 is computed"]),
        (lambda: optim.Adam([W, np.ones(2)]), ["parameter 1 is no Tensor"]),
        (lambda: optim.Adam([W, W]), ["parameter 1 is given twice"]),
        (lambda: optim.Adam([W], lr=-1), ["lr", "-1"]),
        (lambda: optim.Adam([W], lr="fast"), ["lr", "'fast'"]),
        (lambda: optim.Adam([W], lr=math.nan), ["lr"]),
        (lambda: optim.Adam([W], betas=(0.9, 1.0)), ["betas[1]"]),
        (lambda: optim.Adam([W], betas=0.9), ["pair of numbers"]),
        (lambda: optim.Adam([{"params": [W], "speed": 1}]), ["no setting 'speed'", "betas"]),
        (lambda: optim.Adam([{"lr": 1}]), ['"params"']),
        (lambda: optim.SGD([W], nesterov=True), ["nesterov", "momentum"]),
        (lambda: optim.SGD([W], momentum=-0.1), ["momentum"]),
        (lambda: setattr(optim.SGD([W]), "lr", -1.0), ["lr"]),
        (lambda: optim.clip_grad_norm(5, 1.0), ["takes parameters"]),
        (lambda: optim.clip_grad_norm(["x"], 1.0), ["takes parameters"]),
        (lambda: optim.clip_grad_norm([W], -1.0), ["max_norm"]),
        (lambda: optim.clip_grad_norm([W], 1.0, norm_type=0), ["norm_type"]),
        (lambda: optim.clip_grad_value([W], -1.0), ["clip_value"]),
        (lambda: optim.StepLR("x", 3), ["optimiser"]),
        (lambda: optim.StepLR(optim.SGD([W]), 0), ["step_size"]),
        (lambda: optim.LinearLR(optim.SGD([W]), 0.0), ["factors"]),
        (lambda: optim.LambdaLR(optim.SGD([W]), [abs, abs]), ["lr_lambda has 2"]),
        (lambda: optim.OneCycleLR(optim.SGD([W]), 0.1), ["total_steps"]),
        (lambda: optim.OneCycleLR(optim.Adagrad([W]), 0.1, 10), ["no momentum", "cycle_momentum=False"]),
        (lambda: optim.ReduceLROnPlateau(optim.SGD([W]), factor=2.0), ["factor"]),
        (lambda: optim.SequentialLR(optim.SGD([W]), [], [3]), ["milestones"]),
        (lambda: optim.StepLR(optim.SGD([W]), 3).load_state_dict({}), ["last_epoch"]),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, words):
    with pytest.raises(tl.ArgumentError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value


# ------------------------------------------------------------------------------------------------------------- clipping
@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping(rng, order, dtype):
    parts = [rng.standard_normal(s).astype(dtype) for s in ((3, 4), (5,), ())]
    whole = np.concatenate([g.ravel() for g in parts])
    expected = float(np.linalg.norm(whole.astype(float), order))
    for bound in (expected / 3, expected * 3):
        ps = [tl.tensor(np.zeros(g.shape, dtype), requires_grad=True) for g in parts]
        for p, g in zip(ps, parts, strict=True):
            p.grad = tl.tensor(g)
        ps.append(tl.tensor(np.zeros(2, dtype), requires_grad=True))  # has no gradient
        norm = optim.clip_grad_norm(ps, bound, order)
        assert isinstance(norm, float) and norm == pytest.approx(expected, rel=1e-6 if dtype == np.float32 else 1e-13)
        scale = min(1.0, bound / (expected + 1e-6))
        for p, g in zip(ps, parts, strict=False):
            np.testing.assert_allclose(p.grad.numpy(), g * scale, rtol=1e-6)
            assert p.grad.dtype == dtype


def test_clipping_does_not_overflow_before_its_result():
    for scale in (1e30, 1e-30):
        w = leaf(0.0, 0.0, dtype=np.float32)
        give(w, 3 * scale, 4 * scale)
        assert optim.clip_grad_norm(w, 1.0) == pytest.approx(5 * scale, rel=1e-6)
    np.testing.assert_allclose(w.grad.numpy(), [3e-30, 4e-30], rtol=1e-6)


def test_clipping_what_is_not_finite():
    w = leaf(0.0, 0.0)
    give(w, np.inf, 1.0)
    with pytest.raises(tl.GradientError, match="norm of the gradients is inf"):
        optim.clip_grad_norm([w], 1.0, error_if_nonfinite=True)
    assert np.array_equal(w.grad.numpy(), [np.inf, 1.0])
    assert optim.clip_grad_norm([w], 1.0) == math.inf
    np.testing.assert_array_equal(w.grad.numpy(), [np.nan, 0.0])
    assert math.isnan(optim.clip_grad_norm([w], 1.0))
    np.testing.assert_array_equal(w.grad.numpy(), [np.nan, np.nan])
    assert math.isnan(optim.clip_grad_norm([w], 1.0, math.inf))


def test_clipping_nothing():
    assert optim.clip_grad_norm([], 1.0) == 0.0
    assert optim.clip_grad_norm([leaf(1.0)], 1.0) == 0.0


def test_clip_grad_value():
    w = leaf(0.0, 0.0, 0.0)
    give(w, -3.0, 0.1, np.inf)
    optim.clip_grad_value([w], 0.5)
    assert np.array_equal(w.grad.numpy(), [-0.5, 0.1, 0.5])


# ------------------------------------------------------------------------------------------------------------ schedules
SCHEDULES = {
    "LambdaLR": (lambda o: optim.LambdaLR(o, lambda t: 0.5**t), lambda t: 0.5**t),
    "StepLR": (lambda o: optim.StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
    "MultiStepLR": (lambda o: optim.MultiStepLR(o, [2, 5], 0.1), lambda t: 1.0 if t < 2 else 0.1 if t < 5 else 0.01),
    "ExponentialLR": (lambda o: optim.ExponentialLR(o, 0.9), lambda t: 0.9**t),
    "ConstantLR": (lambda o: optim.ConstantLR(o, 0.25, 4), lambda t: 0.25 if t < 4 else 1.0),
    "LinearLR": (lambda o: optim.LinearLR(o, 0.2, 1.0, 4), lambda t: min(1.0, 0.2 + 0.2 * t)),
    "PolynomialLR": (lambda o: optim.PolynomialLR(o, 5, 2.0), lambda t: max(0.0, 1 - t / 5) ** 2),
    "CosineAnnealingLR": (lambda o: optim.CosineAnnealingLR(o, 6), lambda t: (1 + math.cos(math.pi * t / 6)) / 2),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    make, factor = SCHEDULES[name]
    o = optim.SGD([{"params": [leaf(1.0)], "lr": 2.0}, {"params": [leaf(1.0)]}], lr=0.5)
    schedule = make(o)
    for t in range(9):
        assert schedule.last_epoch == t
        assert schedule.get_last_lr() == [g["lr"] for g in o.param_groups]
        np.testing.assert_allclose(schedule.get_last_lr(), [2.0 * factor(t), 0.5 * factor(t)], rtol=1e-12, atol=1e-15)
        schedule.step()


@pytest.mark.parametrize(
    "name", [*SCHEDULES, "OneCycleLR", "ReduceLROnPlateau", "SequentialLR", "CosineAnnealingWarmRestarts"]
)
def test_a_schedule_goes_on_from_its_state(name):
    def make():
        o = optim.SGD([leaf(1.0)], lr=1.0, momentum=0.9)
        more = {
            "OneCycleLR": lambda: optim.OneCycleLR(o, 1.0, 12),
            "ReduceLROnPlateau": lambda: optim.ReduceLROnPlateau(o, patience=1),
            "SequentialLR": lambda: optim.SequentialLR(o, [optim.LinearLR(o, 0.1), optim.ExponentialLR(o, 0.5)], [4]),
            "CosineAnnealingWarmRestarts": lambda: optim.CosineAnnealingWarmRestarts(o, 3, 2),
        }
        return o, more[name]() if name in more else SCHEDULES[name][0](o)

    def go(schedule, steps):
        for _ in range(steps):
            schedule.step(1.0) if name == "ReduceLROnPlateau" else schedule.step()

    whole, schedule = make()
    go(schedule, 10)
    first, schedule = make()
    go(schedule, 6)
    second, again = make()
    second.load_state_dict(first.state_dict())
    again.load_state_dict(schedule.state_dict())
    go(again, 4)
    assert second.param_groups[0]["lr"] == whole.param_groups[0]["lr"]
    assert second.param_groups[0]["momentum"] == whole.param_groups[0]["momentum"]


def test_the_cycle_ends():
    schedule = optim.OneCycleLR(optim.SGD([leaf(1.0)], momentum=0.5), 1.0, 5)
    for _ in range(5):
        schedule.step()
    with pytest.raises(tl.ArgumentError, match="5 steps"):
        schedule.step()


def test_plateau():
    o = optim.SGD([leaf(1.0)], lr=1.0)
    schedule = optim.ReduceLROnPlateau(o, factor=0.5, patience=2, cooldown=1, min_lr=0.2)
    rates = []
    for metric in [3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, math.nan, math.nan, math.nan, math.nan]:
        schedule.step(tl.tensor(float(metric)))
        rates.append(o.lr)
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]


def test_repr_shows_the_settings():
    assert repr(optim.SGD([leaf(1.0)], lr=0.5)) == (
        "SGD(lr=0.5, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False  # 1 parameter)"
    )
