"""The one reverse sweep, over Tensors (now) and over Nodes (into a compiled backward pass).

    cotangent of x  =  sum over the values y that read x of  vjp(cotangent of y, y, ..., x, ...)

Broadcasting is undone here and nowhere else. No recursion: values are visited in the reverse order of their creation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .errors import GradientError, message
from .graph import Slot, Value, reachable


def tracked(value: Value) -> bool:
    return value.requires_grad


def fit(cotangent: Any, like: Any) -> Any:
    """Undo broadcasting: a cotangent has the shape and dtype of its value."""
    if cotangent.shape != like.shape and like.shape is not None:
        cotangent = cotangent.apply("sum_to", cotangent, shape=like.shape)
    if cotangent.dtype != like.dtype:
        cotangent = cotangent.apply("astype", cotangent, dtype=like.dtype)
    return cotangent


def sweep(roots: Sequence[Any], seeds: Sequence[Any], stop: Iterable[Any] = (), keep: bool = False) -> dict[int, Any]:
    """Cotangents by `serial`: of the leaves and of `stop` (whose own history is not entered); of all values with `keep`.

    A value's cotangent is given back to the memory as soon as its arguments have theirs.
    """
    stops = {v.serial for v in stop}
    order = reachable(roots, follow=tracked) if not stops else _until(roots, stops)
    cotangents: dict[int, Any] = {}
    for root, seed in zip(roots, seeds, strict=True):
        accumulate(cotangents, root.serial, seed)
    while order:
        y = order.pop()
        if y.op is None or y.serial in stops:
            continue
        g = cotangents.get(y.serial) if keep else cotangents.pop(y.serial, None)
        if g is None:
            continue
        args = y.args
        wanted = [isinstance(a, Value) and a.requires_grad for a in args]
        for arg, term in zip(args, y.pullback(g, wanted), strict=True):
            if term is None:
                continue
            if arg.serial > y.serial:
                raise GradientError(
                    message(
                        str(arg.name or "a leaf"),
                        f"its value was replaced after `{y.op.name}` had read it, so the gradient would be of other numbers",
                        remedy="compute the forward pass again after an optimiser's step or load_state_dict, then backward",
                    )
                )
            accumulate(cotangents, arg.serial, term if type(term) is Slot else fit(term, arg))
    return cotangents


def accumulate(cotangents: dict[int, Any], key: int, term: Any) -> None:
    have = cotangents.get(key)
    if type(term) is Slot:
        slots = have if have is not None else {}
        slots[term.index] = slots[term.index] + term.cotangent if term.index in slots else term.cotangent
        cotangents[key] = slots
    else:
        cotangents[key] = term if have is None else have + term


def _until(roots: Sequence[Any], stops: set[int]) -> list[Any]:
    """The values between the roots and the stops."""
    order = reachable(roots, follow=tracked)
    depends = set(stops)
    for value in order:
        if value.serial not in stops and any(isinstance(a, Value) and a.serial in depends for a in value.args):
            depends.add(value.serial)
    return [v for v in order if v.serial in depends]
