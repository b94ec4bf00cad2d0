"""The one reverse sweep, over Tensors (now) and over Nodes (into a compiled backward pass).

    cotangent of x  =  sum over the values y that read x of  vjp(cotangent of y, y, ..., x, ...)

Cotangents are Values where they will be differentiated or compiled in turn, and plain ndarrays where they will not: the
seeds decide. Broadcasting is undone here and nowhere else. No recursion: values are visited in the reverse order of
their creation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from numpy import ndarray

from .errors import GradientError, message
from .graph import OPS, Slot, Value

LARGE = 1 << 14  # elements from which memory of one's own is dearer than a warm cache


def fit(cotangent: Any, like: Any) -> Any:
    """Undo broadcasting: a cotangent has the shape and dtype of its value."""
    shape = like.shape
    if cotangent.shape != shape and shape is not None:
        cotangent = _apply("sum_to", cotangent, shape=shape)
    if cotangent.dtype != like.dtype:
        cotangent = _apply("astype", cotangent, dtype=like.dtype)
    return cotangent


def _apply(op: str, x: Any, **attr: Any) -> Any:
    return x.apply(op, x, **attr) if isinstance(x, Value) else OPS[op].numpy(x, **attr)


def history(roots: Sequence[Any]) -> list[Any]:
    """The values that the roots' gradients pass through, arguments first (`graph.reachable`, where time counts)."""
    seen: set[int] = set()
    found: list[Any] = []
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value.serial in seen:
            continue
        seen.add(value.serial)
        found.append(value)
        for arg in value.args:
            if isinstance(arg, Value) and arg.requires_grad:
                stack.append(arg)
    found.sort(key=attrgetter("serial"))
    return found


def sweep(
    roots: Sequence[Any],
    seeds: Sequence[Any],
    stop: Iterable[Any] = (),
    keep: bool = False,
    order: list[Any] | None = None,
) -> dict[int, Any]:
    """Cotangents by `serial`: of the leaves and of `stop` (whose own history is not entered); of all with `keep`.

    seeds : the roots' cotangents, Values or ndarrays; all others are of their kind. order : `history(roots)`, if known
    already; it is used up. A value's cotangent is given back to the memory as soon as its arguments have theirs.
    """
    stops = {v.serial for v in stop}
    if order is None:
        order = history(roots)
    if stops:
        order = _after(order, stops)
    cotangents: dict[int, Any] = {}
    for root, seed in zip(roots, seeds, strict=True):
        have = cotangents.get(root.serial)
        cotangents[root.serial] = seed if have is None else have + seed
    sums: set[int] = set()  # whose cotangent is a large array made here: it is added to in place
    plain = not any(isinstance(seed, Value) for seed in seeds)
    get = cotangents.get
    take = get if keep else cotangents.pop
    while order:
        y = order.pop()
        serial = y.serial
        if y.op is None or serial in stops:
            continue
        g = take(serial, None)
        if g is None:
            continue
        args = y.args
        wanted = tuple([isinstance(a, Value) and a.requires_grad for a in args])
        terms = y.pullback(g, wanted)
        for k, arg in enumerate(args):  # a zip that checks lengths costs as much as a small sum
            term = terms[k]
            if term is None:
                continue
            key = arg.serial
            if key > serial:
                raise _replaced(arg, y)
            if type(term) is Slot:
                slots = cotangents.setdefault(key, {})
                slots[term.place] = slots[term.place] + term.cotangent if term.place in slots else term.cotangent
                continue
            like = arg.data if plain else arg
            if term.shape != like.shape or term.dtype is not like.dtype:
                term = fit(term, like)
            have = get(key)
            if have is None:
                cotangents[key] = term
            elif key in sums:
                have += term
            else:
                cotangents[key] = total = have + term
                if type(total) is ndarray and total.size >= LARGE:
                    sums.add(key)
    return cotangents


def _replaced(leaf: Any, reader: Any) -> GradientError:
    return GradientError(
        message(
            str(leaf.name or "a leaf"),
            f"its value was replaced after `{reader.op.name}` had read it, so the gradient would be of other numbers",
            remedy="compute the forward pass again after an optimiser's step or load_state_dict, then backward",
        )
    )


def _after(order: list[Any], stops: set[int]) -> list[Any]:
    """Those that are computed from a stop, and the stops."""
    depends = set(stops)
    for value in order:
        if value.serial not in stops and any(isinstance(a, Value) and a.serial in depends for a in value.args):
            depends.add(value.serial)
    return [v for v in order if v.serial in depends]
