"""Derivatives of functions: `grad` and `value_and_grad`, which nest, and `check_grads`, which does not believe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from operator import index
from typing import Any

import numpy as np

from .autodiff import history, sweep
from .errors import ArgumentError, GradientError, message
from .tensor import FLOATS, Tensor, _seed, _to_array, _wrap, enable_grad, no_grad


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that returns (f(*args), gradient of f(*args)).

    Parameters
    ----------
    f : a function of Tensors, arrays or numbers whose result has one element.
    argnums : the position of the argument to differentiate by, or a tuple of them (then a tuple of gradients).
        Such an argument may also be a list, tuple or dict of Tensors: its gradient has the same structure.
    has_aux : f returns (value, anything); the result is then ((value, anything), gradient).

    Raises
    ------
    GradientError : f's result is no single number. ArgumentError : argnums points to no argument, or to integers.

    Notes
    -----
    Reverse mode; it nests: `grad(grad(f))`. The result stays connected to everything else that f read and that
    requires a gradient; if there is nothing of that kind, no graph is kept.

    Examples
    --------
    >>> value, slope = tl.value_and_grad(lambda x: x ** 3)(2.0)
    >>> value.item(), slope.item()
    (8.0, 12.0)
    """
    if not callable(f):
        raise ArgumentError(message("grad", "takes a function", {"f": f}, "grad(f)(x), not grad(f(x))"))
    many = isinstance(argnums, Sequence)
    try:
        places = tuple(map(index, argnums)) if many else (index(argnums),)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(
            message("grad", "argnums is the position of an argument, or a tuple of positions", {"argnums": argnums})
        ) from None

    @wraps(f)
    def derived(*args: Any, **kwargs: Any) -> Any:
        if any(not -len(args) <= k < len(args) for k in places):
            raise ArgumentError(message("grad", f"argnums={argnums!r}, but {len(args)} arguments were given"))
        inputs: list[Tensor] = []
        given = list(args)
        for k in places:
            given[k] = _map(args[k], lambda a: inputs.append(_fresh(a)) or inputs[-1])  # type: ignore[func-returns-value]
        with enable_grad():
            result = f(*given, **kwargs)
        y, aux = result if has_aux else (result, None)
        if not isinstance(y, Tensor):
            raise GradientError(message("grad", "the function must return a Tensor", {"result": y}))
        if y.size != 1:
            raise GradientError(
                message(
                    "grad",
                    "the function must return a single number",
                    {"result": y},
                    "sum it: grad(lambda x: f(x).sum())",
                )
            )
        if y.requires_grad:
            seed = _seed("grad", y, None)
            own = {x.serial for x in inputs}
            order = history([y])
            outside = any(v.requires_grad and v.op is None and v.serial not in own for v in order)
            with enable_grad() if outside else no_grad(), np.errstate(all="ignore"):
                found = sweep([y], [seed if outside else seed.data], stop=inputs, order=order)
            if not outside:
                y = y.detach()
        else:
            found = {}
        parts = [found.get(x.serial) for x in inputs]
        gradients = iter(
            [
                g if isinstance(g, Tensor) else _wrap(np.zeros_like(x.data) if g is None else g)
                for g, x in zip(parts, inputs, strict=True)
            ]
        )
        answer = tuple(_map(args[k], lambda _: next(gradients)) for k in places)
        return ((y, aux) if has_aux else y), (answer if many else answer[0])

    return derived


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The gradient of f as a function of the same arguments; see `value_and_grad`.

    Examples
    --------
    >>> tl.grad(tl.grad(lambda x: x ** 3))(2.0).item()
    12.0
    """
    both = value_and_grad(f, argnums)

    @wraps(f)
    def derived(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return derived


def _fresh(argument: Any) -> Tensor:
    """A new variable of the argument's value, connected to it if it is itself tracked."""
    if isinstance(argument, Tensor) and argument.requires_grad:
        with enable_grad():
            return argument.apply("reshape", argument, shape=argument.shape)
    data = argument.data if isinstance(argument, Tensor) else _to_array(argument)
    if data.dtype.kind != "f":
        raise ArgumentError(
            message(
                "grad", f"cannot differentiate by an argument of {data.dtype}", {"argument": argument}, "use floats"
            )
        )
    x = _wrap(data)
    x.requires_grad = True
    return x


def _map(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {k: _map(v, leaf) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(v, leaf) for v in tree))
    if isinstance(tree, list | tuple) and any(isinstance(v, Tensor | np.ndarray | dict | list | tuple) for v in tree):
        return type(tree)(_map(v, leaf) for v in tree)
    return leaf(tree)


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    *,
    eps: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    directions: int = 2,
) -> None:
    """Compare the gradients of f with central differences, along random directions, up to an order.

    At order n the function compared is the (n-1)-fold directional derivative. Floats are checked in float64 whatever
    their dtype, so that differences mean something.

    Parameters
    ----------
    f : a function of Tensors returning a Tensor (any shape) or a tuple of them.
    args : its arguments; floats (arrays, Tensors, numbers) are differentiated, all else is passed as it is.
    order : 1 or 2 (or more). eps : step of the differences. rtol, atol : what is still called equal.
    directions : how many random directions are tried.

    Raises
    ------
    GradientError : the worst entry, with its place, both numbers and the order.

    Examples
    --------
    >>> tl.check_grads(lambda x: tl.tanh(x) * x, [np.array([0.3, -1.0])], order=2)
    """
    if not isinstance(args, tuple | list):
        raise ArgumentError(
            message("check_grads", "args is a list of the arguments", {"args": args}, "check_grads(f, [x])")
        )
    rng = np.random.default_rng(seed)
    values = [_wide(a) for a in args]
    places = [k for k, v in enumerate(values) if isinstance(v, np.ndarray)]
    if not places:
        raise ArgumentError(message("check_grads", "none of the arguments is a float"))
    eps = eps or 1e-5
    rtol = rtol if rtol is not None else 1e-5
    atol = atol if atol is not None else 1e-7
    shapes = None

    def scalar(*xs: Any) -> Tensor:
        """f made scalar by fixed random weights, so that every entry of its result counts."""
        nonlocal shapes
        y = f(*xs)
        ys = y if isinstance(y, tuple | list) else (y,)
        for t in ys:
            if not isinstance(t, Tensor):
                raise ArgumentError(message("check_grads", "f must return Tensors", {"result": t}))
        if shapes is None:
            shapes = [rng.standard_normal(t.shape) for t in ys]
        total = None
        for t, w in zip(ys, shapes, strict=True):
            term = (t * w).sum()
            total = term if total is None else total + term
        assert total is not None
        return total

    name = getattr(f, "__name__", "f")
    current: Callable[..., Tensor] = scalar
    for n in range(1, order + 1):
        gradients = grad(current, tuple(places))(*values)
        for k, g in zip(places, gradients, strict=True):
            if g.shape != values[k].shape:
                raise GradientError(
                    message(name, f"the gradient of argument {k} has shape {g.shape}, the argument {values[k].shape}")
                )
        _compare_entries(name, n, current, values, places, gradients, eps, rtol, atol, rng)
        if n < order:
            direction = [rng.standard_normal(values[k].shape) for k in places]

            def along(*xs: Any, inner: Callable[..., Tensor] = current, direction: list = direction) -> Tensor:
                parts = grad(inner, tuple(places))(*xs)
                total = None
                for g, v in zip(parts, direction, strict=True):
                    term = (g * v).sum()
                    total = term if total is None else total + term
                assert total is not None
                return total

            current = along


def _compare_entries(
    name: str,
    order: int,
    f: Any,
    values: list,
    places: list[int],
    gradients: Any,
    eps: float,
    rtol: float,
    atol: float,
    rng: Any,
) -> None:
    """Every entry of small arguments, a random choice of the entries of large ones."""
    worst: tuple[float, str] | None = None
    for k, g in zip(places, gradients, strict=True):
        x = values[k]
        entries = list(np.ndindex(x.shape))
        if len(entries) > 24:
            entries = [entries[i] for i in rng.choice(len(entries), 24, replace=False)]
        for at in entries:
            step = eps * max(1.0, abs(float(x[at])))

            def shifted(s: float, k: int = k, at: Any = at, x: np.ndarray = x) -> float:
                moved = x.copy()
                moved[at] += s
                return float(
                    f(
                        *[
                            Tensor(moved if i == k else v) if isinstance(v, np.ndarray) else v
                            for i, v in enumerate(values)
                        ]
                    ).data
                )

            numeric = (shifted(step) - shifted(-step)) / (2 * step)
            exact = float(g.data[at])
            error = abs(numeric - exact) / (atol + rtol * max(abs(numeric), abs(exact), 1.0))
            bad = error if error == error else np.inf
            if bad > 1 and (worst is None or bad > worst[0]):
                worst = (
                    bad,
                    f"order {order}: argument {k}, entry {at}: gradient {exact:.10g}, difference {numeric:.10g}",
                )
    if worst:
        raise GradientError(
            message(name, f"wrong gradient; the worst entry is at {worst[1]} ({worst[0]:.3g} times the tolerance)")
        )


def _wide(a: Any) -> Any:
    data = a.data if isinstance(a, Tensor) else a
    if isinstance(data, float) or getattr(data, "dtype", None) in FLOATS:
        return np.array(data, np.float64)
    if isinstance(data, list):
        return np.array(data, np.float64)
    return a
