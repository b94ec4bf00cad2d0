"""One file for a model, its optimiser and the facts of a run: safetensors, written whole or not at all.

Any reader of safetensors can open it: the model's tensors have their state-dict names. The optimiser's begin with
`__optimizer__.`, arrays among the facts with `__fact__.`. The header's metadata holds

    facts, optimizer, rng   JSON texts
    sha256                  JSON text: name of each tensor -> digest of its dtype, shape and bytes
    header                  digest of the four texts above

so that damage is found, and found by name, before anything is changed. Reading parses JSON and copies numbers; nothing
in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialise

from .errors import ArgumentError, FileError, ShapeError, message
from .files import check_readable, path_of, reason, write_whole
from .nn.module import Module, generator_in
from .optim import Optimizer
from .tensor import Tensor

OPTIMIZER, FACT = "__optimizer__.", "__fact__."
TEXTS = ("facts", "optimizer", "rng", "sha256")
DTYPES = {np.dtype(t) for t in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")}
ARRAY, GENERATOR = "__array__", "__generator__"


def save(path: str | os.PathLike[str], model: Module, optimizer: Optimizer | None = None, **facts: Any) -> None:
    """Write a model, and what else a run needs to go on, to one file.

    Parameters
    ----------
    path : where; the folder must exist. An old file of this name is replaced in one instant, when the new one is
        complete on the disk; until then, and if anything fails, it stays as it was.
    model : its `state_dict()` is written bit for bit, and the state of its generators (Dropout's).
    optimizer : its `state_dict()` likewise.
    **facts : anything else, by name: numbers, strings, booleans, None, lists and dicts of them, arrays (bit for bit),
        a `numpy.random.Generator` with its state. Tuples come back as lists, Tensors as arrays.

    Raises
    ------
    FileError : no such folder, no permission, disk full, path is a folder.
    ArgumentError : a fact that cannot be written; it is named.

    Examples
    --------
    >>> import tempfile
    >>> model, again = tl.nn.Linear(3, 2, seed=0), tl.nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tl.save(folder + "/model.safetensors", model, step=7, rng=np.random.default_rng(1))
    ...     facts = tl.load(folder + "/model.safetensors", again)
    >>> facts["step"], bool((again.weight == model.weight).numpy().all())
    (7, True)
    """
    target = path_of("save", path, "tl.save('model.safetensors', model)")
    if not isinstance(model, Module):
        raise ArgumentError(
            message("save", "model must be a Module", {"model": model}, "tl.save(path, model, optimizer)")
        )
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            message("save", "optimizer must be one of tl.optim", {"optimizer": optimizer}, "name a fact: step=...")
        )
    tensors = model.state_dict()
    for name in tensors:
        if name.startswith("__"):
            raise ArgumentError(
                message(
                    "save", f"names that begin with __ are the file's own, not {name!r}", remedy="rename the attribute"
                )
            )
    state = optimizer.state_dict() if optimizer is not None else None
    if state is not None:
        tensors |= {OPTIMIZER + name: array for name, array in state.pop("arrays").items()}
    for name, array in tensors.items():
        if array.dtype.newbyteorder("=") not in DTYPES:
            raise ArgumentError(message("save", f"{name} has a dtype that the file format has not", {name: array}))
    texts = {
        "facts": _encode(facts, "facts", tensors),
        "optimizer": _encode(state, "optimizer", tensors),
        "rng": _encode(model.rng_state(), "rng", tensors),
        "sha256": json.dumps({name: _digest(array) for name, array in tensors.items()}),
    }
    metadata = {"format": "np", **texts, "header": _seal(texts)}
    write_whole("save", target, lambda file: file.write(serialise(tensors, metadata)), (SafetensorError,))


def load(
    path: str | os.PathLike[str], model: Module | None = None, optimizer: Optimizer | None = None
) -> dict[str, Any]:
    """Read a file of `save` back into a model and an optimiser, and return the facts.

    The whole file is read and checked first (digests, names, shapes): on an error nothing has changed. A safetensors
    file of somebody else, without digests, is taken too, if its names and shapes fit; it has no facts.

    Parameters
    ----------
    path : the file. model : of the shapes it was saved with; None to read the facts alone.
    optimizer : of the kind it was saved with.

    Returns
    -------
    dict : the facts by name.

    Raises
    ------
    FileError : no file, no permission, damaged or cut off, not of this format, tensors that do not fit the model: the
        message names the file, and the tensor if it is one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tl.save(folder + "/model.safetensors", tl.nn.Linear(3, 2), note="of today")
    ...     tl.load(folder + "/model.safetensors")  # without a model: the facts alone
    {'note': 'of today'}
    """
    source = path_of("load", path, "tl.load('model.safetensors', model)")
    tensors, texts = _read(source)
    own = {name: array for name, array in tensors.items() if not name.startswith("__")}
    changes: list[Callable[[], None]] = []
    try:
        facts, state, rng = (_decode(texts[name], tensors) for name in TEXTS[:3]) if texts else ({}, None, {})
        if not isinstance(facts, dict) or not isinstance(state, dict | None):
            raise TypeError("facts and the state of an optimiser are dicts")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, ArgumentError) as error:
        raise FileError(message("load", f"{source}: its header makes no sense ({type(error).__name__})")) from None
    try:
        if model is not None:
            if not isinstance(model, Module):
                raise ArgumentError(
                    message(
                        "load", "model must be a Module", {"model": model}, "facts = tl.load(path, model, optimizer)"
                    )
                )
            changes.append(model.prepare_state_dict(own)[0])
            if rng:
                changes.append(model.prepare_rng_state(rng))
        if optimizer is not None:
            if not isinstance(optimizer, Optimizer):
                raise ArgumentError(message("load", "optimizer must be one of tl.optim", {"optimizer": optimizer}))
            if state is None:
                raise ShapeError("it holds no state of an optimiser: it was saved without one")
            arrays = {
                name.removeprefix(OPTIMIZER): array for name, array in tensors.items() if name.startswith(OPTIMIZER)
            }
            changes.append(optimizer.prepare_state_dict({**state, "arrays": arrays}))
    except (ShapeError, ArgumentError) as error:
        if isinstance(error, ArgumentError) and str(error).startswith("`load`"):
            raise
        raise FileError(message("load", f"{source} does not fit; nothing was changed", remedy=str(error))) from None
    for change in changes:
        change()
    return facts


# --------------------------------------------------------------------------------------------------------------- bytes
def _read(source: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors and our texts (none: a file of somebody else), verified."""
    check_readable("load", source)
    try:
        data = source.read_bytes()
        tensors = parse(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except KeyError as error:
        raise FileError(message("load", f"{source}: holds tensors of the dtype {error}, which NumPy has not")) from None
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        damage = "cannot be read" if isinstance(error, OSError) else "is damaged, cut off, or no safetensors file"
        raise FileError(message("load", f"{source} {damage}", remedy=reason(error))) from None
    if not {*TEXTS, "header"} & set(metadata) and not any(name.startswith("__") for name in tensors):
        return tensors, {}
    texts = {name: metadata.get(name, "") for name in TEXTS}
    if metadata != {"format": "np", "header": _seal(texts), **texts}:
        raise FileError(message("load", f"{source}: the header is damaged (its digest does not match)"))
    try:
        digests = dict(json.loads(texts["sha256"]))
    except (ValueError, TypeError, RecursionError):
        digests = {}
    if set(digests) != set(tensors):
        wrong = min(set(digests) ^ set(tensors))
        raise FileError(message("load", f"{source}: the list of tensors is damaged at {wrong!r}"))
    for name, array in tensors.items():
        if _digest(array) != digests[name]:
            raise FileError(message("load", f"{source}: the tensor {name!r} is damaged (its digest does not match)"))
    return tensors, texts


def _digest(array: np.ndarray) -> str:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape} ".encode())
    digest.update(np.array(little, order="C", copy=None).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _seal(texts: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(texts[name] for name in TEXTS).encode()).hexdigest()


# --------------------------------------------------------------------------------------------------------------- facts
def _encode(value: Any, where: str, tensors: dict[str, np.ndarray]) -> str:
    try:
        return json.dumps(_plain(value, where, tensors))
    except RecursionError:
        raise ArgumentError(message("save", f"{where} is nested too deeply, or contains itself")) from None


def _plain(value: Any, where: str, tensors: dict[str, np.ndarray]) -> Any:
    """The value as JSON; arrays go to the tensors and leave their name."""
    if value is None or isinstance(value, str | bool | int | float):
        return value if type(value) in (str, bool, int, float, type(None)) else _unsubclassed(value)
    if isinstance(value, np.generic):
        return _plain(value.item(), where, tensors)
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.ndarray):
        if value.dtype.newbyteorder("=") not in DTYPES:
            raise ArgumentError(message("save", f"{where} has a dtype that the file format has not", {where: value}))
        name = f"{FACT}{where}"
        tensors[name] = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {ARRAY: name}
    if isinstance(value, np.random.Generator):
        return {GENERATOR: _plain(value.bit_generator.state, where, tensors)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key in (ARRAY, GENERATOR):
                raise ArgumentError(
                    message("save", f"{where}: the keys of a dict must be strings, not {key!r}", remedy="use str(key)")
                )
        return {key: _plain(item, f"{where}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{k}]", tensors) for k, item in enumerate(value)]
    raise ArgumentError(
        message(
            "save",
            f"{where} cannot be written",
            {where: value},
            "facts are numbers, strings, None, arrays, generators, and lists and dicts of them",
        )
    )


def _unsubclassed(value: Any) -> Any:
    return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))


def _decode(text: str, tensors: Mapping[str, np.ndarray]) -> Any:
    def revive(value: dict[str, Any]) -> Any:
        if set(value) == {ARRAY}:
            return np.array(tensors[value[ARRAY]])
        if set(value) == {GENERATOR}:
            return generator_in(value[GENERATOR])
        return value

    return json.loads(text, object_hook=revive)
