"""Weights that Keras has saved: `.keras`, `.weights.h5` and the older `.h5`, read with h5py alone.

A `.keras` file is a zip archive of `config.json` and `model.weights.h5`. In that, and in a `.weights.h5` of its own, a group
`layers/lstm/cell/vars` holds the arrays `0`, `1`, `2` of a layer; an `.h5` of Keras 2 lists its layers and weights by
name. An HDF5 file can point to other files, promise arrays that are not in it and contain itself: all that is refused.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import FileError, MissingExtra, message
from ..files import check_readable, path_of, reason
from .archives import Archive

WEIGHTS = "model.weights.h5"
NESTED = ("layers", "_layer_checkpoint_dependencies")  # what holds the layers of a model
PARTS = ("vars", "cell", "cells", "forward_layer", "backward_layer", "layer")  # what only a layer has
NO_LAYERS = ("optimizer", "seed_generator")
DEPTH = 50
DAMAGE = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError)


class KerasWeights(list[np.ndarray]):
    """The arrays of a Keras layer, in the order of its `get_weights()`, and what the file says about the layer.

    Attributes
    ----------
    kind : the class, `"LSTM"`; empty if the file does not say. config : its settings, such as `{"units": 16, ...}`.
    """

    def __init__(self, arrays: Any = (), kind: str = "", config: dict[str, Any] | None = None):
        super().__init__(arrays)
        self.kind, self.config = kind, config or {}


def load_keras(path: str | os.PathLike[str]) -> dict[str, KerasWeights]:
    """The weights of a file that Keras has written, by layer; without Keras.

        weights = tl.interop.load_keras("model.keras")
        lstm = tl.interop.from_keras(tl.nn.LSTM(8, 16, batch_first=True), weights["lstm"])

    Parameters
    ----------
    path : a `.keras` or `.weights.h5` file of Keras 3, or an `.h5` file of Keras 2 or 3, with the model or of weights alone.

    Returns
    -------
    dict : name of the layer -> `KerasWeights`, the arrays in the order of its `get_weights()`; a layer of a model within the
        model is `"inner/lstm"` (in an `.h5` file it is part of its model). Layers without arrays are left out. A file
        with the model has the order of the model, one of weights alone none to rely on. bfloat16 becomes float32.

    Raises
    ------
    MissingExtra : no h5py. FileError : no such file; damaged or cut off, of another format; with links to other files, or
        arrays that are compressed or not all there. The message names the file, and the array if it is one.
    """
    source = path_of("load_keras", path, "tl.interop.load_keras('model.keras')")
    check_readable("load_keras", source)
    try:
        with open(source, "rb") as file:
            start = file.read(8)
            file.seek(0)
            if start.startswith(b"PK"):
                return _from_archive(source, file)
            if start == b"\x89HDF\r\n\x1a\n":
                return _Weights(source, file, source.stat().st_size).read()
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(message("load_keras", f"{source} cannot be read", remedy=reason(error))) from None
    raise FileError(
        message("load_keras", f"{source}: is no file of Keras", remedy="model.save('model.keras') writes one")
    )


def _from_archive(source: Path, file: BinaryIO) -> dict[str, KerasWeights]:
    archive = Archive("load_keras", source, file)
    if not {WEIGHTS, "config.json"} <= set(archive.entries):
        raise archive.refusal(
            f"is a zip archive, but has no {WEIGHTS} and config.json",
            "a file of torch.save: tl.interop.load_torch(path)",
        )
    try:
        config = json.loads(archive.read("config.json").tobytes())
    except (ValueError, RecursionError):
        raise archive.refusal("the entry 'config.json' is damaged") from None
    data = archive.read(WEIGHTS).tobytes()
    return _Weights(source, io.BytesIO(data), len(data)).read(config)


class _Weights:
    """An HDF5 file, walked through with suspicion."""

    def __init__(self, source: Path, file: BinaryIO, size: int):
        try:
            import h5py
        except ImportError:
            raise MissingExtra("h5py", "keras", "reading Keras' files") from None
        self.h5 = h5py
        self.source, self.file, self.size = source, file, size
        self.left = size  # bytes that arrays may still have
        self.seen: set[Any] = set()
        self.found: dict[str, KerasWeights] = {}
        self.named = False  # whether the file has the layers' names; older ones number their classes

    def refusal(self, problem: str, remedy: str = "") -> FileError:
        return FileError(message("load_keras", f"{self.source}: {problem}", remedy=remedy))

    def read(self, config: Any = None) -> dict[str, KerasWeights]:
        try:
            with self.h5.File(self.file, "r") as root:
                legacy = self._child(root, "model_weights") if "model_weights" in root else root
                if config is None:
                    config = json.loads(root.attrs.get("model_config", "null"))
                if self._listed(legacy, "layer_names") is not None:
                    self.named = True
                    self._legacy(legacy)
                else:
                    self._model(root, "", 0)
        except FileError:
            raise
        except DAMAGE as error:
            said = " ".join(str(error).split())[:100] or type(error).__name__
            raise self.refusal(f"is damaged or cut off ({said})") from None
        if not self.found:
            raise self.refusal("holds no weights of layers")
        return self._in_order(config)

    # ------------------------------------------------------------------------------------------------------- Keras 3
    def _model(self, group: Any, path: str, depth: int) -> None:
        """The layers below a group that is no layer itself, under path."""
        self._enter(group, depth)
        for key in sorted(group, key=_natural):
            child = self._child(group, key)
            if not isinstance(child, self.h5.Group) or key.startswith(NO_LAYERS) or key == "vars":
                continue
            if key in NESTED:
                self._model(child, path, depth + 1)
                continue
            name = f"{path}/{self._name(child, key)}".removeprefix("/")
            if any(part in child for part in PARTS[1:]) or ("vars" in child and not any(n in child for n in NESTED)):
                arrays = list(self._arrays(child, depth + 1))
                if arrays:
                    self.found[name if name not in self.found else f"{path}/{key}".removeprefix("/")] = KerasWeights(
                        arrays
                    )
            else:
                self._model(child, name, depth + 1)

    def _name(self, group: Any, key: str) -> str:
        """The layer's own name, which newer files have beside its arrays."""
        name = self._child(group, "vars").attrs.get("name") if "vars" in group else None
        self.named |= isinstance(name, str)
        return name if isinstance(name, str) else key

    def _arrays(self, group: Any, depth: int) -> Iterator[np.ndarray]:
        """All arrays of a layer: its own, and those of its cells, of which the forward one comes first."""
        self._enter(group, depth)
        for key in sorted(group, key=lambda key: (key != "vars", key != "forward_layer", _natural(key))):
            child = self._child(group, key)
            if isinstance(child, self.h5.Dataset):
                yield self._array(child)
            elif not key.startswith(NO_LAYERS):
                yield from self._arrays(child, depth + 1)

    # ------------------------------------------------------------------------------------------------------- Keras 2
    def _legacy(self, group: Any) -> None:
        for layer in self._listed(group, "layer_names") or []:
            below = self._child(group, layer)
            arrays = []
            for name in self._listed(below, "weight_names") or []:
                at = below
                for step in name.split("/"):
                    at = self._child(at, step)
                arrays.append(self._array(at))
            if arrays:
                self.found[layer] = KerasWeights(arrays)

    def _listed(self, group: Any, key: str) -> list[str] | None:
        """A list of names among the attributes, which is cut in pieces if it is long."""
        numbered = itertools.takewhile(group.attrs.__contains__, (f"{key}{k}" for k in itertools.count()))
        pieces = [key] if key in group.attrs else list(numbered)
        if not pieces:
            return None
        names = [name for piece in pieces for name in group.attrs[piece]]
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names]

    # -------------------------------------------------------------------------------------------------------- caution
    def _enter(self, group: Any, depth: int) -> None:
        place = self.h5.h5o.get_info(group.id).addr
        if depth > DEPTH or place in self.seen:
            raise self.refusal(f"the group {group.name!r} stands in two places, or in itself")
        self.seen.add(place)

    def _child(self, group: Any, key: str) -> Any:
        if not isinstance(group.get(key, getlink=True), self.h5.HardLink):
            raise self.refusal(f"{group.name}/{key} points somewhere else, which files of Keras do not")
        return group[key]

    def _array(self, data: Any) -> np.ndarray:
        if not isinstance(data, self.h5.Dataset):
            raise self.refusal(f"{data.name} is no array")
        if data.external or data.is_virtual:
            raise self.refusal(f"{data.name} is in another file, which those of Keras are not")
        half = data.attrs.get("dtype") == "bfloat16" and data.dtype.itemsize == 2
        if data.dtype.kind not in "fiub" and not half:
            raise self.refusal(f"{data.name} holds no numbers: {data.dtype}")
        size = math.prod(data.shape) * data.dtype.itemsize
        if data.chunks or data.id.get_storage_size() != size:
            raise self.refusal(f"{data.name} is compressed or not all there, which arrays of Keras are not")
        self.left -= size
        if self.left < 0:
            raise self.refusal("its arrays are together larger than the file")
        array = data[()] if data.shape else np.asarray(data[()])
        if half:
            return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    # ------------------------------------------------------------------------------------------------------- settings
    def _in_order(self, config: Any) -> dict[str, KerasWeights]:
        """In the order of the model and with the layers' settings, if the file says what they are."""
        ordered: dict[str, KerasWeights] = {}
        for name, numbered, kind, settings in _layers(config, "", "", 0):
            weights = self.found.pop(name if self.named else numbered, None)
            if weights is not None:
                weights.kind, weights.config = kind, settings
                ordered[name] = weights
        return ordered | self.found


def _layers(config: Any, path: str, place: str, depth: int) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(name, numbered class, class, settings) of every layer that `get_config()` describes, models within the model opened."""
    inner = config.get("config") if isinstance(config, dict) else None
    listed = inner.get("layers") if isinstance(inner, dict) else inner  # a list in Keras before 2.2.3
    if not isinstance(listed, list) or depth > DEPTH:
        return
    met: dict[str, int] = {}
    for layer in listed:
        settings = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(settings, dict):
            continue
        kind = str(layer.get("class_name"))
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", kind).lower()
        met[snake] = met.get(snake, -1) + 1
        name = f"{path}/{settings.get('name')}".removeprefix("/")
        numbered = f"{place}/{snake}{f'_{met[snake]}' if met[snake] else ''}".removeprefix("/")
        yield name, numbered, kind, settings
        yield from _layers(layer, name, numbered, depth + 1)


def _natural(key: str) -> tuple[str, int]:
    """`lstm_2` before `lstm_10`, and `lstm` before both."""
    match = re.fullmatch(r"(.*?)_?(\d{1,9})", key)
    return (match[1], int(match[2])) if match else (key, -1)
