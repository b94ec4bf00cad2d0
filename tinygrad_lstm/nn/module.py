"""Modules: objects that own parameters. Nothing is registered; what a module owns is what its attributes hold.

A *parameter* is an attribute that is a Tensor leaf with `requires_grad=True`; a *part* is one that is a Module. Both
are found in lists, tuples and dicts too, under the name of the path (`layers.0.weight`). A leaf that needs no gradient
(a frozen weight, a mask) is no parameter, but it belongs to the state, as a buffer does in torch; begin its name with
`_` to keep it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..graph import ModuleCall, next_serial
from ..tensor import FLOATS, ArrayLike, Tensor, replace_value, taken

M = TypeVar("M", bound="Module")


class KeyMismatch(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of everything with parameters. Subclasses set attributes in `__init__` and define `forward`.

    Attributes
    ----------
    training : True until `eval()`; what Dropout looks at.

    Examples
    --------
    >>> class Scale(tl.nn.Module):
    ...     def __init__(self, n):
    ...         self.gain = tl.ones(n, requires_grad=True)
    ...     def forward(self, x):
    ...         return self.gain * x
    >>> scale = Scale(3)
    >>> scale(tl.tensor([1.0, 2.0, 3.0])).tolist(), [name for name, _ in scale.named_parameters()]
    ([1.0, 2.0, 3.0], ['gain'])
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; a call of the module comes here."""
        raise ArgumentError(
            message(type(self).__name__, "has no forward", remedy="define `def forward(self, x): ...` in the class")
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = next_serial()
        result = self.forward(*args, **kwargs)
        _sign(result, ModuleCall(self, start, next_serial()))
        return result

    # --------------------------------------------------------------------------------------------- what it consists of
    def named_modules(self) -> list[tuple[str, Module]]:
        """This module, under the name "", and every part of it, depth first; each once."""
        return [(path, module) for path, module, again in _tree(self) if not again]

    def modules(self) -> list[Module]:
        """This module and every part of it."""
        return [module for _, module in self.named_modules()]

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """(name, parameter) of this module and its parts, in torch's order; a shared one once, by its first name."""
        found: dict[int, tuple[str, Tensor]] = {}
        for name, leaf in _leaves(self):
            if leaf.requires_grad:
                found.setdefault(id(leaf), (name, leaf))
        return list(found.values())

    def parameters(self) -> list[Tensor]:
        """The parameters of this module and its parts: what an optimiser takes."""
        return [leaf for _, leaf in self.named_parameters()]

    @property
    def num_parameters(self) -> int:
        """How many numbers an optimiser would move."""
        return sum(leaf.size for leaf in self.parameters())

    # ------------------------------------------------------------------------------------------------------------ modes
    def train(self: M, mode: bool = True) -> M:
        """Switch to training (Dropout drops), parts included. Returns the module."""
        if not isinstance(mode, bool):
            raise ArgumentError(message("train", "mode is True or False", {"mode": mode}))
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Switch to evaluation (Dropout passes everything). Returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients: `.grad` of every parameter becomes None."""
        for leaf in self.parameters():
            leaf.grad = None

    # ------------------------------------------------------------------------------------------------------------ state
    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> copy of the value, of every parameter and every constant leaf; torch's names and order.

        A shared parameter is there under each of its names, as in torch.

        Examples
        --------
        >>> {name: value.shape for name, value in tl.nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: np.array(leaf.data, order="C") for name, leaf in _leaves(self)}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> KeyMismatch:
        """Take the values of a state dict. Everything is checked first: on an error nothing has changed.

        Parameters
        ----------
        state : name -> NumPy array, Tensor, or torch's array. A value is cast to the parameter's dtype (float64 into a
            float32 parameter is rounded), but not floats to integers, nor finite numbers to infinite ones.
        strict : every name must be here and there. If False, the names that are not are returned and passed over. A
            shared parameter needs only one of its names.

        Raises
        ------
        ShapeError : names that are missing or unexpected, wrong shapes: all of them are listed.
        ArgumentError : a value that is no array of numbers, or of a dtype that cannot be cast.
        """
        apply, mismatch = self.prepare_state_dict(state, strict)
        apply()
        return mismatch

    def prepare_state_dict(
        self, state: Mapping[str, Any], strict: bool = True
    ) -> tuple[Callable[[], None], KeyMismatch]:
        """The checks of `load_state_dict`, and the function that then does it and cannot fail."""
        owner = type(self).__name__
        if not isinstance(state, Mapping):
            raise ArgumentError(
                message("load_state_dict", "takes a dict of names and arrays", {"state": state}, "model.state_dict()")
            )
        leaves = dict(_leaves(self))
        given = {id(leaf) for name, leaf in leaves.items() if name in state}
        missing = [name for name, leaf in leaves.items() if id(leaf) not in given]
        unexpected = [str(name) for name in state if name not in leaves]
        values = {name: as_array("load_state_dict", name, value) for name, value in state.items() if name in leaves}
        problems = [
            f"{name}: is {leaves[name].shape} here, {value.shape} in the state"
            for name, value in values.items()
            if value.shape != leaves[name].shape
        ]
        if strict:
            problems += [f"{name}: missing in the state" for name in missing]
            problems += [f"{name}: unexpected, no such name here" for name in unexpected]
        if problems:
            listed = "\n    ".join(problems)
            raise ShapeError(
                message(
                    "load_state_dict",
                    f"the state does not fit {owner}; nothing was changed\n    {listed}",
                    remedy=_remedy(missing, unexpected),
                )
            )
        chosen: dict[int, tuple[str, Tensor, np.ndarray]] = {}
        for name, value in values.items():
            leaf = leaves[name]
            value = cast("load_state_dict", name, value, leaf.dtype)
            first, _, other = chosen.setdefault(id(leaf), (name, leaf, value))
            if not np.array_equal(other, value, equal_nan=value.dtype.kind == "f"):
                raise ShapeError(
                    message(
                        "load_state_dict",
                        f"{first} and {name} are one shared parameter here, but two values in the state",
                    )
                )

        def apply() -> None:
            for _, leaf, value in chosen.values():
                replace_value(leaf, value)

        return apply, KeyMismatch(missing, unexpected)

    def rng_state(self) -> dict[str, dict[str, Any]]:
        """Name -> state of every `numpy.random.Generator` the module and its parts hold (Dropout's): what a run that is
        to be resumed to the same bits needs beside the parameters."""
        return {name: dict(generator.bit_generator.state) for name, generator in _generators(self)}

    def set_rng_state(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the generators to states of `rng_state`; checked first, as in `load_state_dict`.

        Raises ArgumentError for other names or another kind of generator.
        """
        self.prepare_rng_state(states)()

    def prepare_rng_state(self, states: Mapping[str, Mapping[str, Any]]) -> Callable[[], None]:
        """The checks of `set_rng_state`, and the function that then does it and cannot fail."""
        own = dict(_generators(self))
        if not isinstance(states, Mapping) or set(states) != set(own):
            raise ArgumentError(
                message(
                    "set_rng_state",
                    f"the generators here are {sorted(own) or 'none'}",
                    {"states": states},
                    "give the result of rng_state()",
                )
            )
        for name, state in states.items():
            kind = type(own[name].bit_generator)
            if type(generator_in(state, f"{name}: ").bit_generator) is not kind:
                raise ArgumentError(
                    message("set_rng_state", f"{name} is a {kind.__name__} here, not a {state['bit_generator']}")
                )

        def apply() -> None:
            for name, state in states.items():
                own[name].bit_generator.state = dict(state)

        return apply

    # ---------------------------------------------------------------------------------------------------------- looking
    def extra_repr(self) -> str:
        """The settings that `repr` shows between the brackets; for subclasses to define."""
        return ""

    def __repr__(self) -> str:
        parts = [
            f"({name}): {part!r}"
            for name, part in _attributes(self)
            if isinstance(part, Module) and not name.startswith("_")
        ]
        count = f"{self.num_parameters:,} parameter{'s' if self.num_parameters != 1 else ''}"
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not parts:
            return f"{head})" + (f"  # {count}" if self.num_parameters else "")
        body = "".join(f"  {line}\n" for part in parts for line in part.split("\n"))
        return f"{head}  # {count}\n{body})"


def _attributes(module: Module) -> Iterator[tuple[str, Any]]:
    """The modules, tensors and generators among the attributes as they were set, lists, tuples and dicts opened."""
    stack = list(reversed(vars(module).items()))
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack.extend([(f"{name}.{key}", item) for key, item in value.items()][::-1])
        elif isinstance(value, list | tuple):
            stack.extend([(f"{name}.{k}", item) for k, item in enumerate(value)][::-1])
        elif isinstance(value, Module | Tensor | np.random.Generator):
            yield name, value


def _sign(result: Any, call: ModuleCall) -> None:
    """Let the results of a call know it, so that a picture of the computation can show what belongs to which module."""
    waiting = [result]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            if value.op is not None and value.serial > call.start:
                value.calls = (*getattr(value, "calls", ()), call)
        elif isinstance(value, tuple | list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()


def _tree(root: Module) -> Iterator[tuple[str, Module, bool]]:
    """(path, module, whether it was met before), depth first; a module inside itself is not entered again."""
    stack: list[tuple[str, Module, tuple[int, ...]]] = [("", root, ())]
    seen: set[int] = set()
    while stack:
        path, module, above = stack.pop()
        yield path, module, id(module) in seen
        seen.add(id(module))
        above = (*above, id(module))
        parts = [(name, part) for name, part in _attributes(module) if isinstance(part, Module)]
        stack.extend((_join(path, name), part, above) for name, part in reversed(parts) if id(part) not in above)


def _leaves(root: Module) -> Iterator[tuple[str, Tensor]]:
    """Every name of every leaf that belongs to the state."""
    for path, module, _ in _tree(root):
        for name, value in _attributes(module):
            if isinstance(value, Tensor) and value.op is None and (value.requires_grad or not name.startswith("_")):
                yield _join(path, name), value


def _generators(root: Module) -> Iterator[tuple[str, np.random.Generator]]:
    for path, module, _ in _tree(root):
        for name, value in _attributes(module):
            if isinstance(value, np.random.Generator):
                yield _join(path, name), value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _remedy(missing: list[str], unexpected: list[str]) -> str:
    if missing and unexpected:
        return "the state is of another model; strict=False takes the names both have"
    return "strict=False passes over names that only one side has" if missing or unexpected else ""


def as_array(call: str, name: str, value: Any) -> np.ndarray:
    """A value of somebody's state dict as an array of numbers."""
    if isinstance(value, Tensor):
        value = value.data
    elif hasattr(value, "detach"):  # torch's, which refuses to become an array while it requires a gradient
        value = value.detach()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentError(message(call, f"{name} is no array ({error})", {name: value})) from None
    if array.dtype.kind not in "fiub":
        raise ArgumentError(message(call, f"{name} must be an array of numbers", {name: value}))
    return array


def cast(call: str, name: str, array: np.ndarray, dtype: Any) -> np.ndarray:
    """A fresh array of the dtype, unless that would change more than the last digits."""
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise ArgumentError(message(call, f"{name} is {dtype} here, which cannot hold {array.dtype}", {name: array}))
    with np.errstate(all="ignore"):
        out = np.array(array, dtype=dtype, order="C")
    if out.dtype.kind == "f" and out.dtype != array.dtype and np.isinf(out).sum() != np.isinf(array).sum():
        raise ArgumentError(message(call, f"{name} holds numbers too large for {dtype}", {name: array}))
    return out


BIT_GENERATORS = (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)


def generator_in(state: Any, where: str = "") -> np.random.Generator:
    """A new generator in a state of `bit_generator.state`, which may come from anywhere: NumPy trusts the positions in
    its buffers, so they are checked here. Raises ArgumentError."""
    kinds = {kind.__name__: kind for kind in BIT_GENERATORS}
    try:
        bits = kinds[state["bit_generator"]](0)
        bits.state = state
        sound = 0 <= state.get("buffer_pos", 0) <= 4 and 0 <= state["state"].get("pos", 0) <= 624
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError):
        sound = False
    if not sound:
        raise ArgumentError(
            message(
                "set_rng_state",
                f"{where}this is no state of a generator",
                {"state": state},
                "give the result of rng_state()",
            )
        )
    return np.random.Generator(bits)


# ---------------------------------------------------------------------------------------------- what modules check
def parameter(values: np.ndarray, name: str | None = None) -> Tensor:
    """A leaf that is trained."""
    return Tensor(values, requires_grad=True, name=name)


def check_dtype(owner: str, dtype: Any) -> np.dtype:
    """float32 (None too) or float64, or an error in the name of the module."""
    try:
        kind = np.dtype(np.float32 if dtype is None else dtype)
    except TypeError:
        kind = None
    if kind is None or kind not in FLOATS:  # np.dtype('f8') == None, says NumPy
        raise ArgumentError(message(owner, "parameters are float32 or float64", {"dtype": dtype}))
    return kind


def check_size(owner: str, name: str, value: Any, least: int = 1) -> int:
    """An integer size, or an error in the name of the module."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < least:
        raise ArgumentError(message(owner, f"{name} must be an integer of at least {least}", {name: value}))
    return value.__index__()


def check_row(owner: str, name: str, value: Any, count: int) -> int:
    """The index of a row, which may be counted from the end."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not -count <= value.__index__() < count:
        raise ArgumentError(message(owner, f"{name} is a row, {-count} to {count - 1}", {name: value}))
    return value.__index__() % count


def indices(call: str, name: str, value: ArrayLike, count: int) -> np.ndarray:
    """Integers in 0 ... count - 1, or an error that says which one is not; whole floats are integers
    (`tl.tensor([0, 2])` holds floats)."""
    ids = np.asarray(value.data if isinstance(value, Tensor) else value)
    if (
        ids.dtype.kind == "f"
        and not getattr(value, "requires_grad", False)
        and np.isfinite(ids).all()
        and (ids == np.floor(ids)).all()
    ):
        ids = ids.astype(np.intp)
    if ids.dtype.kind not in "iu":
        raise ArgumentError(
            message(
                call, f"{name} must hold integers", {name: value}, "an integer array: np.array(ids), or .astype(int)"
            )
        )
    if ids.size and (ids.min() < 0 or ids.max() >= count):
        at = tuple(int(k) for k in np.argwhere((ids < 0) | (ids >= count))[0])
        raise ShapeError(
            message(call, f"{name}{list(at) if at else ''} is {ids[at]}, outside 0 ... {count - 1}", {name: value})
        )
    return taken(ids.astype(np.intp, copy=False), value)
