"""Errors in the voice of the user's call: what was asked, what was given, what to do instead."""

from __future__ import annotations

from typing import Any


class ShapeError(ValueError):
    """Shapes, axes or indices that do not fit together."""


class BoundsError(ShapeError, IndexError):
    """An index outside its axis, or of a kind that does not index."""


class ArgumentError(TypeError):
    """An argument of a kind that the operation does not take."""


class TraceError(TypeError):
    """A statement in a declared function (a cell, a fused function) that cannot be compiled."""


class GradientError(RuntimeError):
    """A gradient that was asked for and would be wrong or does not exist."""


class AnomalyError(ArithmeticError):
    """The first nan or inf under `tl.detect_anomaly`.

    Attributes
    ----------
    quantity : what holds it: a name of the cell's body, a parameter (`U.f`), or an operation (`log`).
    phase : "forward" or "backward" (then it is in the gradient of the quantity). value : the number.
    step, sample : where in a sequence, counted from 0; None outside of one. index : the place in the array.
    """

    def __init__(
        self,
        text: str,
        quantity: str = "",
        phase: str = "forward",
        value: float = float("nan"),
        step: int | None = None,
        sample: int | None = None,
        index: tuple[int, ...] = (),
    ):
        super().__init__(text)
        self.quantity, self.phase, self.value = quantity, phase, value
        self.step, self.sample, self.index = step, sample, index


class FileError(OSError):
    """A file that cannot be written, read or trusted."""


class MissingExtra(ImportError):
    """A library is needed that a plain install does not bring."""

    def __init__(self, library: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs {library}: pip install 'tinygrad_lstm[{extra}]'")


def describe(value: Any) -> str:
    """One argument as a user would say it: `(2, 3) float32`, `number 2.0`, `str 'abc'`."""
    if isinstance(value, type):
        return f"class {value.__qualname__}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple):
        return f"{tuple(shape)} {dtype}" if dtype is not None else f"axes {' '.join(map(str, shape)) or '()'}"
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int | float):
        return f"number {value!r}"
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def message(op: str, problem: str, given: dict[str, Any] | None = None, remedy: str = "") -> str:
    """The one layout of all errors: operation and problem, the arguments by name, the remedy."""
    lines = [f"`{op}`: {problem}"]
    if given:
        width = max(map(len, given))
        lines += [f"    {name:<{width}} = {describe(value)}" for name, value in given.items()]
    if remedy:
        lines.append(f"  {remedy}")
    return "\n".join(lines)
