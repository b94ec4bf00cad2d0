"""Optimisers, gradient clipping and schedules: torch's update rules to the last formula.

An optimiser keeps its buffers as NumPy arrays and works on them in place; a parameter's value is replaced, never
written to. In the formulas g is the gradient (its negative with `maximize`), p the parameter, t the number of the step.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import ArgumentError, GradientError, ShapeError, message
from .tensor import Tensor, replace_value

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]
State = dict[str, Any]


# ---------------------------------------------------------------------------------------------------------- optimisers
class Optimizer:
    """What all optimisers share: groups of parameters, `step`, `zero_grad`, the state.

    A subclass gives `slots` (names of its buffers) and `update(p, g, state, group)`, which returns p's new value.

    Attributes
    ----------
    param_groups : one dict a group: "params" and the settings ("lr", ...), which may be changed between steps.
    lr : the learning rate of the first group; setting it sets that of all groups.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, params: Parameters, defaults: dict[str, Any]):
        call = type(self).__name__
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            raise ArgumentError(
                message(call, "takes a list of parameters", {"params": params}, "pass model.parameters()")
            )
        given = list(params)
        if not given:
            raise ArgumentError(
                message(call, "got no parameters", remedy="pass model.parameters() of a model that has some")
            )
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, State] = {}  # by position of the parameter, counted over all groups
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)  # type: ignore[arg-type]

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group: {"params": [...], "lr": ..., ...}; settings that are not named are the optimiser's.

        Raises ArgumentError for a setting that does not exist, a tensor that is no parameter, or one given twice.
        """
        call = type(self).__name__
        if not isinstance(group, dict) or "params" not in group:
            raise ArgumentError(
                message(call, 'a group is a dict with "params"', {"group": group}, '{"params": [...], "lr": 0.1}')
            )
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        unknown = [name for name in group if name not in self.defaults and name != "params"]
        if unknown:
            raise ArgumentError(
                message(call, f"has no setting {unknown[0]!r}", remedy=f"it has {', '.join(self.defaults)}")
            )
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for k, p in enumerate(params):
            if not isinstance(p, Tensor) or p.op is not None:
                what = "is computed, no leaf" if isinstance(p, Tensor) else "is no Tensor"
                raise ArgumentError(message(call, f"parameter {k} {what}", {"parameter": p}, "pass model.parameters()"))
            if id(p) in known:
                raise ArgumentError(message(call, f"parameter {k} is given twice", {"parameter": p}))
            known.add(id(p))
        settings = {**self.defaults, **{name: value for name, value in group.items() if name != "params"}}
        self.check(settings)
        self.param_groups.append({"params": params, **settings})

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise ArgumentError if a setting is out of its range."""
        for name, value in settings.items():
            if name in ("params", "betas") or isinstance(value, bool):
                continue
            if not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
                raise ArgumentError(
                    message(type(self).__name__, f"{name} must be a number of at least 0", {name: value})
                )
        for k, beta in enumerate(settings.get("betas", ())):
            if not 0.0 <= beta < 1.0:
                raise ArgumentError(
                    message(type(self).__name__, f"betas[{k}] must lie in [0, 1)", {"betas": settings["betas"]})
                )

    @property
    def lr(self) -> float:
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            self.check({**group, "lr": value})
            group["lr"] = value

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters of all groups, in order."""
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self) -> None:
        """Forget the gradients: `.grad` of every parameter becomes None."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient; the others, and their buffers, stay as they are."""
        k = 0
        with np.errstate(all="ignore"):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        state = self.state.setdefault(k, {"step": 0})
                        state["step"] += 1
                        g = p.grad.data.reshape(-1)
                        new = self.update(p.data.reshape(-1), -g if group["maximize"] else g, state, group)
                        replace_value(p, new.astype(p.dtype, copy=False).reshape(p.shape))
                    k += 1

    def update(self, p: np.ndarray, g: np.ndarray, state: State, group: Mapping[str, Any]) -> np.ndarray:
        """The new value of a parameter, a fresh array. p, g and the buffers in `state` are vectors, whatever the
        parameter's shape; state["step"] counts from 1."""
        raise AssertionError("defined by each optimiser")

    # ------------------------------------------------------------------------------------------------------------ state
    def state_dict(self) -> dict[str, Any]:
        """{"kind": name, "groups": [settings, ...], "arrays": {"0.exp_avg": array, "0.step": array, ...}}.

        The numbers before the dot are positions in `parameters`; arrays are copies; all the rest is plain JSON.
        """
        groups = [
            {name: list(v) if isinstance(v, tuple) else v for name, v in group.items() if name != "params"}
            | {"params": len(group["params"])}
            for group in self.param_groups
        ]
        shapes = [p.shape for p in self.parameters]
        arrays = {
            f"{k}.{name}": np.array(value) if name == "step" else value.reshape(shapes[k]).copy()
            for k, state in sorted(self.state.items())
            for name, value in state.items()
        }
        return {"kind": type(self).__name__, "groups": groups, "arrays": arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same kind of optimiser on parameters of the same shapes, settings included.

        Everything is checked first: on an error nothing has changed.

        Raises
        ------
        ArgumentError : the state of another kind of optimiser, or no such state.
        ShapeError : other groups, or a buffer of another shape than its parameter.
        """
        self.prepare_state_dict(state)()

    def prepare_state_dict(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """The checks of `load_state_dict`, and the function that then does it and cannot fail."""
        call = type(self).__name__
        if not isinstance(state, Mapping) or not {"kind", "groups", "arrays"} <= set(state):
            raise ArgumentError(
                message(call, "this is no state of an optimiser", {"state": state}, "give the result of state_dict()")
            )
        if state["kind"] != call:
            raise ArgumentError(
                message(call, f"this is the state of {state['kind']}", remedy=f"make a tl.optim.{state['kind']}")
            )
        sizes = [len(group["params"]) for group in self.param_groups]
        try:
            counts = [group["params"] for group in state["groups"]]
            settings = [{name: v for name, v in group.items() if name != "params"} for group in state["groups"]]
            settings = [s | ({"betas": tuple(s["betas"])} if "betas" in s else {}) for s in settings]
        except (TypeError, KeyError, AttributeError):
            raise ArgumentError(
                message(call, "the groups of this state are damaged", {"groups": state["groups"]})
            ) from None
        if counts != sizes:
            raise ShapeError(message(call, f"groups of {sizes} parameters here, of {counts} in the state"))
        for group in settings:
            if not set(self.defaults) <= set(group):
                raise ArgumentError(
                    message(call, f"the state lacks the setting {min(set(self.defaults) - set(group))!r}")
                )
            self.check(group)
        parameters = self.parameters
        loaded: dict[int, State] = {}
        for name, value in state["arrays"].items():
            position, _, slot = str(name).partition(".")
            k = int(position) if position.isdecimal() else -1
            if not 0 <= k < len(parameters) or slot not in ("step", *self.slots):
                raise ShapeError(message(call, f"{name}: no such buffer here"))
            array = np.asarray(value)
            like = parameters[k].data
            if slot == "step":
                if array.shape != () or array.dtype.kind not in "iu":
                    raise ShapeError(message(call, f"{name}: is no count of steps", {name: array}))
                loaded.setdefault(k, {})["step"] = int(array)
            elif array.shape != like.shape or array.dtype.kind != "f":
                raise ShapeError(message(call, f"{name}: does not fit its parameter", {name: array, "parameter": like}))
            else:
                loaded.setdefault(k, {})[slot] = np.array(array, dtype=like.dtype, order="C").reshape(-1)
        for k, buffers in loaded.items():
            if "step" not in buffers:
                raise ShapeError(message(call, f"{k}.step: missing in the state"))

        def apply() -> None:
            self.state = loaded
            for group, values in zip(self.param_groups, settings, strict=True):
                group.update(values)

        return apply

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            count = len(group["params"])
            shown = ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            lines.append(f"{shown}  # {count} parameter{'s' if count != 1 else ''}")
        return (
            f"{type(self).__name__}({lines[0]})"
            if len(lines) == 1
            else "\n".join([f"{type(self).__name__}(", *(f"  {s}" for s in lines), ")"])
        )


def _buffer(state: State, name: str, p: np.ndarray, value: float = 0.0) -> np.ndarray:
    if name not in state:
        state[name] = np.full(p.shape, value, p.dtype)
    return state[name]


def _decayed(p: np.ndarray, g: np.ndarray, weight_decay: float) -> np.ndarray:
    """g + weight_decay p: the gradient of weight_decay / 2 |p|**2 added."""
    return g + weight_decay * p if weight_decay else g


def _towards(average: np.ndarray, value: np.ndarray, weight: float) -> None:
    """average += weight (value - average), in place."""
    change = value - average
    change *= weight
    average += change


def _decay_square(average: np.ndarray, g: np.ndarray, keep: float) -> None:
    """average = keep average + (1 - keep) g**2, in place."""
    average *= keep
    square = np.square(g)
    square *= 1.0 - keep
    average += square


class SGD(Optimizer):
    """Stochastic gradient descent.

        g <- g + weight_decay p;   b <- momentum b + (1 - dampening) g   (b = g in the first step)
        p <- p - lr (g + momentum b if nesterov else b)

    Parameters
    ----------
    params : parameters, or groups of them. lr, momentum, dampening, weight_decay, nesterov : as above.
    maximize : climb instead of descending.

    Raises
    ------
    ArgumentError : a setting out of its range; nesterov without momentum or with dampening.

    Notes
    -----
    Sutskever, Martens, Dahl & Hinton 2013 for the momentum, in torch's form.

    Examples
    --------
    >>> w = tl.tensor([1.0], requires_grad=True)
    >>> step = tl.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward(); step.step(); w
    tensor([0.8], requires_grad=True)
    """

    slots = ("momentum_buffer",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ):
        names = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**names, "nesterov": nesterov, "maximize": maximize})

    def check(self, settings: Mapping[str, Any]) -> None:
        super().check(settings)
        if settings["nesterov"] and (settings["momentum"] <= 0 or settings["dampening"] != 0):
            raise ArgumentError(message("SGD", "nesterov needs a momentum above 0 and no dampening"))

    def update(self, p: np.ndarray, g: np.ndarray, state: State, group: Mapping[str, Any]) -> np.ndarray:
        momentum = group["momentum"]
        g = _decayed(p, g, group["weight_decay"])
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = g.copy()
            else:
                buffer *= momentum
                buffer += (1.0 - group["dampening"]) * g
            g = g + momentum * buffer if group["nesterov"] else buffer
        return p - group["lr"] * g


class Adam(Optimizer):
    """Adam: steps of about lr, whatever the scale of the gradient (Kingma & Ba 2014, algorithm 1).

        m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g**2
        p <- p - lr / (1 - b1**t) m / (sqrt(v) / sqrt(1 - b2**t) + eps)

    Parameters
    ----------
    params : parameters, or groups of them. lr, betas = (b1, b2), eps : as above.
    weight_decay : g <- g + weight_decay p before all else; see AdamW for the decoupled one.
    amsgrad : divide by the largest v so far (Reddi, Kale & Kumar 2018). maximize : climb instead of descending.

    Examples
    --------
    >>> w = tl.tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = tl.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); w
    tensor([ 0.9, -1.9], dtype=float64, requires_grad=True)
    """

    slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ):
        betas = _two_betas(type(self).__name__, betas)
        names = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**names, "amsgrad": amsgrad, "maximize": maximize})

    def update(self, p: np.ndarray, g: np.ndarray, state: State, group: Mapping[str, Any]) -> np.ndarray:
        lr, (beta1, beta2), decay, t = group["lr"], group["betas"], group["weight_decay"], state["step"]
        if self.decoupled:
            p = p * (1.0 - lr * decay) if decay else p
        else:
            g = _decayed(p, g, decay)
        m, v = _buffer(state, "exp_avg", p), _buffer(state, "exp_avg_sq", p)
        _towards(m, g, 1.0 - beta1)
        _decay_square(v, g, beta2)
        if group["amsgrad"]:
            v = np.maximum(_buffer(state, "max_exp_avg_sq", p), v, out=state["max_exp_avg_sq"])
        change = np.sqrt(v)
        change /= math.sqrt(1.0 - beta2**t)
        change += group["eps"]
        np.divide(m, change, out=change)
        change *= -lr / (1.0 - beta1**t)
        change += p
        return change


class AdamW(Adam):
    """Adam with decoupled weight decay, p <- (1 - lr weight_decay) p before the step (Loshchilov & Hutter 2017).

    Arguments of `Adam`; weight_decay is 0.01 unless told.

    Examples
    --------
    >>> w = tl.tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = tl.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward(); optimizer.step(); w  # 5 % smaller first, then 0.1 towards 0
    tensor([ 0.85, -1.8 ], dtype=float64, requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """The gradient divided by a running root mean square of itself (Hinton 2012, lecture 6e; centered: Graves 2013).

        v <- alpha v + (1 - alpha) g**2;   d = sqrt(v - a**2 if centered else v) + eps,   a <- alpha a + (1 - alpha) g
        b <- momentum b + g / d;           p <- p - lr b

    Parameters
    ----------
    params : parameters, or groups of them. lr, alpha, eps, momentum, centered : as above.
    weight_decay : g <- g + weight_decay p before all else. maximize : climb instead of descending.

    Examples
    --------
    >>> w = tl.tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = tl.optim.RMSprop([w], lr=0.1, alpha=0.75)
    >>> (w * w).sum().backward(); optimizer.step(); w  # a first step of lr / sqrt(1 - alpha), whatever the gradient
    tensor([ 0.8, -1.8], dtype=float64, requires_grad=True)
    """

    slots = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ):
        names = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**names, "centered": centered, "maximize": maximize})

    def update(self, p: np.ndarray, g: np.ndarray, state: State, group: Mapping[str, Any]) -> np.ndarray:
        g = _decayed(p, g, group["weight_decay"])
        v = _buffer(state, "square_avg", p)
        _decay_square(v, g, group["alpha"])
        if group["centered"]:
            average = _buffer(state, "grad_avg", p)
            _towards(average, g, 1.0 - group["alpha"])
            v = v - np.square(average)
        change = np.sqrt(v)
        change += group["eps"]
        np.divide(g, change, out=change)
        if group["momentum"]:
            buffer = _buffer(state, "momentum_buffer", p)
            buffer *= group["momentum"]
            buffer += change
            change = buffer
        return p - group["lr"] * change


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far (Duchi, Hazan & Singer 2011).

        s <- s + g**2;   p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    Parameters
    ----------
    params : parameters, or groups of them. lr, lr_decay, eps : as above. initial_accumulator_value : s at the start.
    weight_decay : g <- g + weight_decay p before all else. maximize : climb instead of descending.

    Examples
    --------
    >>> w = tl.tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = tl.optim.Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); w
    tensor([ 0.9, -1.9], dtype=float64, requires_grad=True)
    """

    slots = ("sum",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ):
        names = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        super().__init__(
            params, {**names, "initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        )

    def update(self, p: np.ndarray, g: np.ndarray, state: State, group: Mapping[str, Any]) -> np.ndarray:
        g = _decayed(p, g, group["weight_decay"])
        total = _buffer(state, "sum", p, group["initial_accumulator_value"])
        total += np.square(g)
        change = np.sqrt(total)
        change += group["eps"]
        np.divide(g, change, out=change)
        change *= -group["lr"] / (1.0 + (state["step"] - 1) * group["lr_decay"])
        change += p
        return change


def _two_betas(call: str, betas: Any) -> tuple[float, float]:
    try:
        first, second = betas
        return float(first), float(second)
    except (TypeError, ValueError):
        raise ArgumentError(
            message(call, "betas is a pair of numbers", {"betas": betas}, "betas=(0.9, 0.999)")
        ) from None


# ------------------------------------------------------------------------------------------------------------ clipping
def clip_grad_norm(
    params: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients together so that their norm, as of one long vector, is at most max_norm.

        g <- g min(1, max_norm / (norm + 1e-6))                      (Pascanu, Mikolov & Bengio 2013)

    Parameters
    ----------
    params : parameters; those without a gradient are passed over. max_norm : the bound.
    norm_type : p of the p-norm; math.inf for the largest entry.
    error_if_nonfinite : raise GradientError, and change nothing, if the norm is NaN or infinite. Else, as in torch, an
        infinite norm makes gradients 0 (NaN where they were infinite) and a NaN norm makes them NaN.

    Returns
    -------
    float : the norm before scaling; 0 if there is no gradient.

    Examples
    --------
    >>> w = tl.tensor([3.0, 4.0], requires_grad=True)
    >>> (0.5 * w * w).sum().backward()
    >>> tl.optim.clip_grad_norm([w], 1.0), w.grad.numpy().round(4).tolist()
    (5.0, [0.6000000238418579, 0.800000011920929])
    """
    params = _with_grad("clip_grad_norm", params)
    if not isinstance(max_norm, int | float | np.number) or not max_norm >= 0:
        raise ArgumentError(
            message("clip_grad_norm", "max_norm must be a number of at least 0", {"max_norm": max_norm})
        )
    if not isinstance(norm_type, int | float | np.number) or not norm_type > 0:
        raise ArgumentError(
            message("clip_grad_norm", "norm_type must be above 0, or math.inf", {"norm_type": norm_type})
        )
    norm = _norm([p.grad.data.reshape(-1) for p in params], float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        raise GradientError(
            message(
                "clip_grad_norm",
                f"the norm of the gradients is {norm}",
                remedy="look for the first value that is not finite",
            )
        )
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1.0:  # NaN too
        with np.errstate(all="ignore"):
            for p in params:
                p.grad = Tensor(p.grad.data * p.dtype.type(scale))
    return norm


def clip_grad_value(params: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every entry of every gradient to [-clip_value, clip_value].

    Examples
    --------
    >>> w = tl.tensor([3.0, -0.5], requires_grad=True)
    >>> (0.5 * w * w).sum().backward()
    >>> tl.optim.clip_grad_value([w], 1.0); w.grad
    tensor([ 1. , -0.5])
    """
    if not clip_value >= 0:
        raise ArgumentError(message("clip_grad_value", "clip_value must be at least 0", {"clip_value": clip_value}))
    for p in _with_grad("clip_grad_value", params):
        p.grad = Tensor(np.clip(p.grad.data, -clip_value, clip_value))


def _with_grad(call: str, params: Tensor | Iterable[Tensor]) -> list[Tensor]:
    if not isinstance(params, Tensor | Iterable):
        raise ArgumentError(message(call, "takes parameters", {"params": params}, "pass model.parameters()"))
    listed = [params] if isinstance(params, Tensor) else list(params)
    for p in listed:
        if not isinstance(p, Tensor):
            raise ArgumentError(message(call, "takes parameters", {"params": p}, "pass model.parameters()"))
    return [p for p in listed if p.grad is not None]


def _norm(parts: list[np.ndarray], order: float) -> float:
    """The p-norm of all parts together; nothing overflows that the result does not."""
    parts = [g for g in parts if g.size]
    if not parts:
        return 0.0
    with np.errstate(all="ignore"):
        if order == math.inf:
            return float(np.max([np.max(np.abs(g)) for g in parts]))
        if order == 2.0:
            total = (
                math.fsum(float(g @ g) for g in parts)
                if all(g.dtype == np.float64 for g in parts)
                else sum(float(g @ g) for g in parts)
            )
            if 1e-30 < total < 1e30:
                return math.sqrt(total)
        largest = float(np.max([np.max(np.abs(g)) for g in parts]))
        if largest == 0.0 or not math.isfinite(largest):
            return largest
        return largest * float(sum(np.sum((np.abs(g.astype(np.float64)) / largest) ** order) for g in parts)) ** (
            1.0 / order
        )


# ----------------------------------------------------------------------------------------------------------- schedules
class LRScheduler:
    """A learning rate as a function of the number of calls of `step()`, t = 0 before the first.

    A subclass defines `value(base, t, k)`: the rate of group k at time t, if its rate was `base` when the first
    schedule was made ("initial_lr"). A closed form: a run that is resumed needs t only.

    Attributes
    ----------
    last_epoch : t.

    Examples
    --------
    >>> class Slower(tl.optim.LRScheduler):
    ...     def value(self, base, t, k):
    ...         return base / (1 + t)
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = Slower(optimizer)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(3)]
    [1.0, 0.5, 0.3333333333333333]
    """

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                message(type(self).__name__, "takes an optimiser of tl.optim", {"optimizer": optimizer})
            )
        self.optimizer = optimizer
        self.last_epoch = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._set()

    def value(self, base: float, t: int, k: int) -> float:
        """The learning rate of group k at time t."""
        raise AssertionError("defined by each schedule")

    def step(self) -> None:
        """Go to t + 1; call it after the optimiser's step."""
        self.last_epoch += 1
        self._set()

    def _set(self) -> None:
        for k, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self.value(group["initial_lr"], self.last_epoch, k)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The time, as plain JSON; the learning rates are the optimiser's."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same kind of schedule, and set the learning rates."""
        own = self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(own):
            raise ArgumentError(
                message(type(self).__name__, f"the state of this schedule has {', '.join(own)}", {"state": state})
            )
        for name, value in state.items():
            setattr(self, name, value)
        self._set()


class LambdaLR(LRScheduler):
    """base * f(t); one function, or a list with one for each group.

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.LambdaLR(optimizer, lambda t: 0.5**t)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(3)]
    [1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]):
        self.lr_lambdas = _per_group("LambdaLR", "lr_lambda", optimizer, lr_lambda)
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return base * self.lr_lambdas[k](t)


class StepLR(LRScheduler):
    """base * gamma ** (t // step_size).

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size, self.gamma = _at_least_one("StepLR", "step_size", step_size), gamma
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """base * gamma ** (number of milestones up to t).

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(5)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """base * gamma ** t.

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.ExponentialLR(optimizer, gamma=0.5)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(3)]
    [1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = gamma
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return base * self.gamma**t


class ConstantLR(LRScheduler):
    """base * factor while t < total_iters, then base.

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(4)]
    [0.5, 0.5, 1.0, 1.0]
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3.0, total_iters: int = 5):
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return base * self.factor if t < self.total_iters else base


class LinearLR(LRScheduler):
    """base times a factor that goes linearly from start_factor to end_factor in total_iters steps: a warm-up.

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3.0, end_factor: float = 1.0, total_iters: int = 5
    ):
        if not 0.0 < start_factor <= 1.0 or not 0.0 <= end_factor <= 1.0:
            raise ArgumentError(
                message(
                    "LinearLR",
                    "factors lie between 0 and 1, the first above 0",
                    {"start_factor": start_factor, "end_factor": end_factor},
                )
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _at_least_one("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return base * (
            self.start_factor + (self.end_factor - self.start_factor) * min(t, self.total_iters) / self.total_iters
        )


class PolynomialLR(LRScheduler):
    """base * (1 - t / total_iters) ** power, 0 from total_iters on.

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.PolynomialLR(optimizer, total_iters=4)
    >>> [(optimizer.lr, schedule.step())[0] for _ in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0):
        self.total_iters, self.power = _at_least_one("PolynomialLR", "total_iters", total_iters), power
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return base * (1.0 - min(t, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov & Hutter 2016, without restarts).

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.CosineAnnealingLR(optimizer, T_max=3)
    >>> [(round(optimizer.lr, 4), schedule.step())[0] for _ in range(4)]
    [1.0, 0.75, 0.25, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max, self.eta_min = _at_least_one("CosineAnnealingLR", "T_max", T_max), eta_min
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * t / self.T_max)) / 2.0


class CosineAnnealingWarmRestarts(LRScheduler):
    """A half cosine from base to eta_min in T_0 steps, then again in T_0 * T_mult, ... (Loshchilov & Hutter 2016).

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> [(round(optimizer.lr, 4), schedule.step())[0] for _ in range(5)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0):
        self.T_0 = _at_least_one("CosineAnnealingWarmRestarts", "T_0", T_0)
        self.T_mult, self.eta_min = _at_least_one("CosineAnnealingWarmRestarts", "T_mult", T_mult), eta_min
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        length = self.T_0
        if self.T_mult == 1:
            t %= length
        while t >= length:
            t, length = t - length, length * self.T_mult
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * t / length)) / 2.0


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to the first rate / final_div_factor (Smith & Topin 2017).

    Parameters
    ----------
    max_lr : the top, for all groups or a list. total_steps, epochs, steps_per_epoch : the
        length of the cycle, as steps or as epochs of so many steps.
    pct_start : the part of it that goes up. anneal_strategy : "cos" or "linear".
    cycle_momentum : momentum (or betas[0]) goes from max_momentum down to base_momentum and up again meanwhile.
    three_phase : down to the start in the same time as up, and only then to the end.

    Raises
    ------
    ArgumentError : arguments out of range; a step after the end of the cycle.

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = tl.optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.4, anneal_strategy="linear")
    >>> [(round(optimizer.lr, 3), schedule.step())[0] for _ in range(4)]
    [0.04, 1.0, 0.667, 0.333]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ):
        call = "OneCycleLR"
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError(message(call, "needs total_steps, or epochs and steps_per_epoch"))
            total_steps = epochs * steps_per_epoch
        self.total_steps = _at_least_one(call, "total_steps", total_steps)
        if not 0.0 <= pct_start <= 1.0 or anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                message(
                    call,
                    "pct_start lies in [0, 1], anneal_strategy is 'cos' or 'linear'",
                    {"pct_start": pct_start, "anneal_strategy": anneal_strategy},
                )
            )
        self.max_lrs = _per_group(call, "max_lr", optimizer, max_lr)
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ArgumentError(
                message(call, f"{type(optimizer).__name__} has no momentum to cycle", remedy="cycle_momentum=False")
            )
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        self.momenta = (base_momentum, max_momentum)
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        up = float(pct_start * total_steps) - 1
        self.ends = [up, 2 * up, total_steps - 1.0] if three_phase else [up, total_steps - 1.0]
        for group, top in zip(optimizer.param_groups, self.max_lrs, strict=True):
            group["initial_lr"] = top / div_factor
        super().__init__(optimizer)

    def value(self, base: float, t: int, k: int) -> float:
        top = self.max_lrs[k]
        low = top / self.div_factor
        rates = [low, top, *([low] if len(self.ends) == 3 else []), low / self.final_div_factor]
        return self._anneal(rates, t)

    def _anneal(self, levels: Sequence[float], t: int) -> float:
        """The level at time t, going from one to the next, each phase ending at its own of `ends`."""
        phase = min(sum(t > end for end in self.ends), len(self.ends) - 1)
        start = self.ends[phase - 1] if phase else 0.0
        done = (t - start) / (self.ends[phase] - start)
        begin, end = levels[phase], levels[phase + 1]
        if self.anneal_strategy == "linear":
            return (end - begin) * done + begin
        return end + (begin - end) / 2.0 * (1.0 + math.cos(math.pi * done))

    def _set(self) -> None:
        if self.last_epoch > self.total_steps:
            raise ArgumentError(message("OneCycleLR", f"the cycle has {self.total_steps} steps, this is one more"))
        super()._set()
        if self.cycle_momentum:
            low, high = self.momenta
            momentum = self._anneal([high, low, *[high] * (len(self.ends) - 1)], self.last_epoch)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                else:
                    group["momentum"] = momentum


class SequentialLR(LRScheduler):
    """One schedule after the other: schedulers[i] from milestones[i - 1] on, each counting from its own beginning.

    Examples
    --------
    >>> optimizer = tl.optim.Adam([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> warm, decay = tl.optim.LinearLR(optimizer, 0.5, total_iters=2), tl.optim.ExponentialLR(optimizer, 0.9)
    >>> schedule = tl.optim.SequentialLR(optimizer, [warm, decay], milestones=[2])
    >>> [(round(optimizer.lr, 4), schedule.step())[0] for _ in range(4)]
    [0.5, 0.75, 1.0, 0.9]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]):
        if len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                message(
                    "SequentialLR", f"{len(schedulers)} schedules have {len(schedulers) - 1} milestones between them"
                )
            )
        if any(s.optimizer is not optimizer for s in schedulers):
            raise ArgumentError(message("SequentialLR", "all schedules must be of its optimiser"))
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def _set(self) -> None:
        now = bisect_right(self.milestones, self.last_epoch)
        schedule = self.schedulers[now]
        schedule.last_epoch = self.last_epoch - (self.milestones[now - 1] if now else 0)
        schedule._set()


class ReduceLROnPlateau(LRScheduler):
    """lr * factor whenever a metric has not become better for more than `patience` calls of `step(metric)`.

    Parameters
    ----------
    mode : "min" or "max", which is better. factor : below 1. patience, cooldown : in calls of `step`.
    threshold, threshold_mode : what counts as better: best * (1 -+ threshold) for "rel", best -+ threshold for "abs".
    min_lr : never below it, for all groups or a list. eps : smaller changes are not made.

    Examples
    --------
    >>> optimizer = tl.optim.SGD([tl.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = tl.optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> [(schedule.step(loss), optimizer.lr)[1] for loss in (3.0, 2.0, 2.0, 2.0)]
    [1.0, 1.0, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ):
        call = "ReduceLROnPlateau"
        if not factor < 1.0 or mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            given = {"factor": factor, "mode": mode, "threshold_mode": threshold_mode}
            raise ArgumentError(
                message(call, "factor is below 1, mode 'min' or 'max', threshold_mode 'rel' or 'abs'", given)
            )
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        super().__init__(optimizer)
        self.min_lrs = _per_group(call, "min_lr", optimizer, min_lr)

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Look at the newest value of the metric."""
        current = float(metrics)
        self.last_epoch += 1
        if self._better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                new = max(group["lr"] * self.factor, least)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _better(self, current: float) -> bool:
        if self.mode == "min":
            return current < (
                self.best * (1.0 - self.threshold) if self.threshold_mode == "rel" else self.best - self.threshold
            )
        return current > (
            self.best * (1.0 + self.threshold) if self.threshold_mode == "rel" else self.best + self.threshold
        )

    def _set(self) -> None:
        """The rates are a matter of the past, kept by the optimiser."""

    def state_dict(self) -> dict[str, Any]:
        names = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter")
        return {name: getattr(self, name) for name in names}


def _per_group(call: str, name: str, optimizer: Any, value: Any) -> list[Any]:
    groups = len(optimizer.param_groups) if isinstance(optimizer, Optimizer) else 1
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ArgumentError(message(call, f"{name} has {len(values)} entries for {groups} parameter groups"))
    return values


def _at_least_one(call: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ArgumentError(message(call, f"{name} must be an integer of at least 1", {name: value}))
    return value.__index__()
