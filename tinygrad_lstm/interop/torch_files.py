"""PyTorch's `.pt` and `.pth` files without PyTorch.

A file of torch.save is a pickle and the bytes of its storages: since 1.6 the entries `data.pkl` and `data/0`, `data/1`,
... of a zip archive, before that one after the other. In the pickle a tensor is `_rebuild_tensor_v2(storage, offset, size,
stride, ...)`, which is all that a NumPy array needs. `pickles` reads it as data; here every number of a tensor is checked
against the bytes that are there, and only then are the arrays made.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from ..errors import ArgumentError, FileError, message
from ..files import check_readable, path_of, reason, write_whole
from ..nn.module import Module
from ..tensor import Tensor
from .archives import DAMAGE, Archive
from .pickles import PLAIN, Array, Name, Place, Refused, finish
from .pickles import read as read_pickle

# fmt: off
STORAGES = {  # torch's name -> NumPy's dtype
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
}
QUANTISED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
WRITTEN = {dtype: storage for storage, dtype in STORAGES.items() if dtype != "bfloat16"}
YOUNG = ("uint16", "uint32", "uint64")  # dtypes without a storage of their own
READ = {*STORAGES.values(), *YOUNG}
# what torch has and NumPy has not
OTHERS = ("complex32", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
          "float4_e2m1fn_x2", "quint8", "qint8", "qint32", "quint4x2", "quint2x4", "bits8", "bits16")
# fmt: on
KERAS = "model.weights.h5"
LEGACY, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
AXES = 64  # NumPy's limit, and torch's
ALIGNED = 64
HEADER = 30 + 4  # of an entry without its name, and of the field that fills up


# -------------------------------------------------------------------------------------------------- tensors as written
@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    size: int  # elements


@dataclass(frozen=True)
class _Tensor:
    storage: Any
    offset: Any
    size: Any
    stride: Any
    dtype: str
    bits: tuple[str, ...]  # of "conj", "neg": what is to be done when the numbers are looked at


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> _Tensor:
    """torch._utils._rebuild_tensor, and _v2: after the stride requires_grad, hooks and metadata."""
    bits = more[2] if len(more) > 2 and isinstance(more[2], dict) else {}
    return _Tensor(storage, offset, size, stride, storage.dtype, tuple(k for k in ("conj", "neg") if bits.get(k)))


def _tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *more: Any) -> Any:
    """torch._utils._rebuild_tensor_v3: bytes, and the dtype."""
    return _Tensor(storage, offset, size, stride, dtype.text.removeprefix("torch."), ())


def _itself(tensor: Any, *_: Any) -> Any:
    """A parameter is its tensor."""
    if not isinstance(tensor, _Tensor):
        raise TypeError("a parameter without a tensor")
    return tensor


def _typed(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2: a tensor with attributes, a buffer."""
    if kind.text not in ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"):
        raise Refused(f"holds a tensor of the class {kind.text}")
    return {"_tensor_v2": _tensor, "_tensor_v3": _tensor_v3}[function.text.removeprefix("torch._utils._rebuild")](
        *arguments
    )


def _refuse(what: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise Refused(f"holds {what}", "in torch, make it an ordinary tensor before you save it")

    return refuse


NAMES: dict[str, Any] = PLAIN | {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _itself,
    "torch._utils._rebuild_parameter_with_state": _itself,
    **dict.fromkeys(
        ["torch._utils._rebuild_sparse_tensor", "torch.serialization._get_layout"],
        _refuse("a sparse tensor: to_dense()"),
    ),
    "torch._utils._rebuild_qtensor": _refuse("a quantised tensor: dequantize()"),
    "torch._utils._rebuild_nested_tensor": _refuse("a nested tensor: to_padded_tensor(0.0)"),
    "torch._utils._rebuild_meta_tensor_no_storage": _refuse("a tensor without numbers (device='meta')"),
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": lambda *parts: ":".join(map(str, parts)),
    **dict.fromkeys(["torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"]),
    **dict.fromkeys(["torch.storage.UntypedStorage", "torch.storage._UntypedStorage"]),
    **dict.fromkeys(f"{place}.{name}" for place in ("torch", "torch.cuda") for name in (*STORAGES, *QUANTISED)),
    **dict.fromkeys(f"torch.{name}" for name in (*READ, *OTHERS)),
}


# -------------------------------------------------------------------------------------------------------------- reading
def load_torch(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote, without torch and without running anything that is in the file.

    Parameters
    ----------
    path : a `.pt`, `.pth`, `.bin` or `.ckpt` file of torch.save, in the zip format of torch 1.6 or the one before it.

    Returns
    -------
    dict : what was saved: dicts, lists, tuples, numbers and texts as they were, tensors and parameters as NumPy arrays.
        Tensors that share memory in the file share it here. bfloat16 becomes float32, which holds each of its numbers;
        devices and dtypes become texts.

    Raises
    ------
    FileError : no such file; damaged or cut off; holds an object (a whole pickled model, TorchScript) or a tensor that
        NumPy has not (sparse, quantised, float8). The message names the file, and the tensor if it is one.

    Examples
    --------
    >>> import tempfile
    >>> lstm, again = tl.nn.LSTM(3, 4, seed=0), tl.nn.LSTM(3, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tl.interop.save_torch(folder + "/model.pt", lstm)
    ...     mismatch = again.load_state_dict(tl.interop.load_torch(folder + "/model.pt"))
    >>> bool((again.weight_ih_l0 == lstm.weight_ih_l0).numpy().all())
    True
    """
    source = path_of("load_torch", path, "tl.interop.load_torch('model.pt')")
    check_readable("load_torch", source)
    try:
        with open(source, "rb") as file:
            start = file.read(16)
            file.seek(0)
            return _from_zip(source, file) if start.startswith(b"PK") else _from_stream(source, file, start)
    except Refused as error:
        raise FileError(message("load_torch", f"{source}: {error.problem}", remedy=error.remedy)) from None
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(message("load_torch", f"{source} cannot be read", remedy=reason(error))) from None


def _from_zip(source: Path, file: BinaryIO) -> Any:
    archive = Archive("load_torch", source, file)
    roots = [
        name.removesuffix("data.pkl") for name in archive.entries if name.count("/") == 1 and name.endswith("/data.pkl")
    ]
    if len(roots) != 1:
        raise Refused("is a zip archive, but none of torch.save", _instead(archive.entries))
    root = roots[0]
    if root + "constants.pkl" in archive.entries:
        raise Refused(
            "is a TorchScript archive, a program", "torch.save(torch.jit.load('model.pt').state_dict(), 'state.pt')"
        )
    order = archive.read(root + "byteorder").tobytes() if root + "byteorder" in archive.entries else b"little"
    if order not in (b"little", b"big"):
        raise Refused(f"the entry {root + 'byteorder'!r} is neither little nor big")

    def persistent(pid: Any) -> _Storage:
        _, kind, key, _, size = pid
        storage = _storage(kind, key, size)
        entry = archive.entries.get(f"{root}data/{key}")
        if entry is None:
            raise Refused(f"the entry {f'{root}data/{key}'[:100]!r} is missing")
        if entry.file_size < storage.size * _width(storage.dtype):
            raise Refused(
                f"the entry {entry.filename!r} has {entry.file_size} bytes, too few for {size} {storage.dtype}"
            )
        return storage

    pickled = archive.read(root + "data.pkl").tobytes()
    value, count = read_pickle(io.BytesIO(pickled), len(pickled), NAMES, persistent)
    return finish(
        value, _Arrays(lambda key: archive.read(f"{root}data/{key}"), "<" if order == b"little" else ">"), count
    )


def _instead(entries: Iterable[str]) -> str:
    if KERAS in entries:
        return "it is of Keras: tl.interop.load_keras(path)"
    return "torch.save(model.state_dict(), 'model.pt') writes one"


def _from_stream(source: Path, file: BinaryIO, start: bytes) -> Any:
    """Before torch 1.6: magic number, protocol, facts of the machine, the value, the keys of its storages; their bytes."""
    total = source.stat().st_size
    storages: dict[str, _Storage] = {}

    def persistent(pid: Any) -> _Storage:
        what, kind, key, *more = pid
        if what != "storage":
            raise Refused("holds a whole model, a program", "in torch: torch.save(model.state_dict(), 'model.pt')")
        _, size, view = more
        if view is not None:
            raise Refused("holds views of storages, as torch wrote them long ago", "save it anew with a torch of today")
        return storages.setdefault(key, _storage(kind, key, size))

    def part() -> tuple[Any, int]:
        return read_pickle(file, total, NAMES, persistent)

    try:
        magic = part()[0] if file.read(1) == b"\x80" and file.seek(0) == 0 else None
    except Refused:
        magic = None
    if magic != LEGACY:
        if start[8:9] == b"{":
            raise Refused("is no file of torch.save", "it looks like a safetensors file: tl.load(path, model)")
        raise Refused("is no file of torch.save", _instead([KERAS] if start.startswith(b"\x89HDF") else []))
    if part()[0] != PROTOCOL:
        raise Refused("is of an unknown version")
    part()
    value, count = part()
    keys, _ = part()
    if (
        not isinstance(keys, list)
        or {k for k in keys if isinstance(k, str)} != set(storages)
        or len(keys) != len(storages)
    ):
        raise Refused("the list of its storages is damaged")
    raw = {key: _numbers(file, total, storages[key]) for key in keys}
    return finish(value, _Arrays(raw.__getitem__, "<"), count)


def _numbers(file: BinaryIO, total: int, storage: _Storage) -> np.ndarray:
    """The bytes of one storage, which its number of elements precedes."""
    head, wanted = file.read(8), storage.size * _width(storage.dtype)
    if len(head) < 8 or wanted > total - file.tell():
        raise Refused(f"is cut off: the storage {storage.key[:100]!r} is not all there")
    if struct.unpack("<q", head)[0] != storage.size:
        raise Refused(f"the storage {storage.key[:100]!r} is damaged: its size is told twice, differently")
    return np.frombuffer(bytearray(file.read(wanted)), np.uint8) if wanted else np.empty(0, np.uint8)


def _storage(kind: Any, key: Any, size: Any) -> _Storage:
    name = kind.text.rpartition(".")[2]
    if name in QUANTISED:
        _refuse("a quantised tensor: dequantize()")()
    if not isinstance(key, str) or not _whole(size):
        raise ValueError("a storage without key or size")
    return _Storage(key, "uint8" if name.endswith("UntypedStorage") else STORAGES[name], size)


def _width(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class _Arrays:
    """Makes the array of each tensor, a view of its storage, once it fits."""

    def __init__(self, raw: Callable[[str], np.ndarray], order: Literal["<", ">"]):
        self.raw, self.order = raw, order
        self.bytes: dict[str, np.ndarray] = {}
        self.dtypes: dict[str, str] = {}
        self.storages: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
        self.done: dict[int, np.ndarray] = {}

    def __call__(self, value: Any, place: Place) -> Any:
        if isinstance(value, Name) and value.text.removeprefix("torch.") in {*READ, *OTHERS}:
            return value.text
        if isinstance(value, Array) and value.value is not None:
            return value.value
        if not isinstance(value, _Tensor):
            raise Refused(f"{place} is no tensor: {getattr(value, 'text', type(value).__name__)}")
        if id(value) not in self.done:
            self.done[id(value)] = self._array(value, place)
        return self.done[id(value)]

    def _array(self, tensor: _Tensor, place: Place) -> np.ndarray:
        storage, offset, size, stride = tensor.storage, tensor.offset, tensor.size, tensor.stride
        if tensor.dtype not in READ:
            raise Refused(
                f"{place} has the dtype {tensor.dtype}, which NumPy has not", "in torch: .float() before saving"
            )
        sound = isinstance(storage, _Storage) and isinstance(size, tuple) and isinstance(stride, tuple)
        if not sound or len(size) != len(stride) or len(size) > AXES or not all(map(_whole, (offset, *size, *stride))):
            raise Refused(f"{place} is damaged: sizes, strides and offset make no sense")
        whole = self._whole_storage(storage, tensor.dtype, tensor.bits)
        end = offset + (sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1 if all(size) else 0)
        if end > whole.size:
            raise Refused(f"{place} is damaged: it ends at number {end} of a storage of {whole.size}")
        try:
            steps = tuple(s * whole.itemsize if n > 1 else 0 for n, s in zip(size, stride, strict=True))
            return np.ndarray(size, whole.dtype, whole.data, offset * whole.itemsize, steps if all(size) else None)
        except (ValueError, OverflowError) as error:
            raise Refused(f"{place} is damaged: {error}") from None

    def _whole_storage(self, storage: _Storage, dtype: str, bits: tuple[str, ...]) -> np.ndarray:
        """All numbers of a storage, in the byte order of this machine."""
        if self.dtypes.setdefault(storage.key, dtype) != dtype:
            raise Refused(f"the storage {storage.key[:100]!r} is damaged: it is {self.dtypes[storage.key]} and {dtype}")
        if storage.key not in self.bytes:
            raw = self.raw(storage.key)
            self.bytes[storage.key] = raw[: raw.size // _width(dtype) * _width(dtype)]
        raw, key = self.bytes[storage.key], (storage.key, bits)
        if key not in self.storages:
            if dtype == "bool":
                whole = raw != 0
            elif dtype == "bfloat16":
                whole = (raw.view(self.order + "u2").astype(np.uint32) << 16).view(np.float32)
            else:
                whole = raw.view(np.dtype(dtype).newbyteorder(self.order)).astype(dtype, copy=False)
            whole = np.conj(whole) if "conj" in bits else whole
            self.storages[key] = -whole if "neg" in bits else whole
        return self.storages[key]


# -------------------------------------------------------------------------------------------------------------- writing
def save_torch(path: str | os.PathLike[str], state: Any) -> None:
    """Write a file that `torch.load` reads, weights_only=True included.

    Parameters
    ----------
    path : where, `model.pt` by custom; the folder must exist. Written whole or not at all, as by `tl.save`.
    state : a module, of which the `state_dict()` is written; or dicts, lists and tuples of modules, arrays, Tensors, numbers,
        texts and None, such as `{"model": model, "epoch": 3}`.

    Raises
    ------
    FileError : no such folder, no permission, disk full.
    ArgumentError : something that torch would not read back; it is named.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tl.interop.save_torch(folder + "/run.pt", {"model": tl.nn.Linear(3, 2, seed=0), "epoch": 3})
    ...     run = tl.interop.load_torch(folder + "/run.pt")
    >>> run["epoch"], run["model"]["weight"].shape
    (3, (2, 3))
    """
    target = path_of("save_torch", path, "tl.interop.save_torch('model.pt', model)")
    if not isinstance(state, Module | Mapping | list | tuple):
        raise ArgumentError(
            message(
                "save_torch", "takes a module or a dict", {"state": state}, "tl.interop.save_torch('model.pt', model)"
            )
        )
    pickled = _Pickled()
    try:
        text = b"\x80\x02" + pickled.write(state, Place()) + b"."
    except RecursionError:
        raise ArgumentError(message("save_torch", "state is nested too deeply, or contains itself")) from None

    def fill(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            _entry(archive, file, "data.pkl", text)
            _entry(archive, file, "byteorder", b"little")
            for k, array in enumerate(pickled.arrays):
                _entry(archive, file, f"data/{k}", array.data.cast("B") if array.size else b"")
            _entry(archive, file, "version", b"3\n")

    write_whole("save_torch", target, fill, DAMAGE)


def _entry(archive: zipfile.ZipFile, file: BinaryIO, name: str, data: Any) -> None:
    """An entry whose bytes begin at a multiple of 64, as torch's do, so that it can map the file."""
    entry = zipfile.ZipInfo("archive/" + name, (1980, 1, 1, 0, 0, 0))
    gap = -(file.tell() + HEADER + len(entry.filename)) % ALIGNED
    entry.extra = struct.pack("<2sH", b"FB", gap) + b"Z" * gap
    archive.writestr(entry, data)


class _Pickled:
    """Writes values as the instructions of a pickle; the arrays, little-endian and contiguous, are left in `arrays`."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.keys: dict[int, tuple[int, Any]] = {}  # of arrays that were met before, which are kept alive

    def write(self, value: Any, place: Place) -> bytes:
        if isinstance(value, Module):
            value = value.state_dict()
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Tensor):
            value = value.data
        if isinstance(value, np.ndarray):
            return self._array(value, place)
        if isinstance(value, Mapping):
            items = b"".join(self._key(k, place) + self.write(v, place / str(k)) for k, v in value.items())
            return b"}(" + items + b"u"
        if isinstance(value, list | tuple):
            items = b"".join(self.write(v, place / k) for k, v in enumerate(value))
            return b"](" + items + b"e" if isinstance(value, list) else b"(" + items + b"t"
        if type(value) is bytes:
            return _global("_codecs", "encode") + _plain(value.decode("latin-1")) + _plain("latin1") + b"\x86R"
        if value is None or type(value) in (bool, int, float, complex, str):
            return _plain(value)
        raise ArgumentError(
            message(
                "save_torch",
                f"{place or 'state'} cannot be written",
                {"value": value},
                "what torch reads back: arrays, Tensors, modules, numbers, texts, None, and dicts and lists of them",
            )
        )

    def _key(self, key: Any, place: Place) -> bytes:
        if type(key) not in (str, int, float, bool):
            raise ArgumentError(
                message("save_torch", f"a key of {place or 'state'} is no text and no number", {"key": key})
            )
        return _plain(key)

    def _array(self, array: np.ndarray, place: Place) -> bytes:
        dtype = array.dtype.name
        if dtype not in WRITTEN and dtype not in YOUNG:
            raise ArgumentError(
                message("save_torch", f"{place or 'state'} has a dtype that torch has not", {"value": array})
            )
        little = np.array(array, array.dtype.newbyteorder("<"), order="C", copy=None)
        if id(array) not in self.keys:
            self.keys[id(array)] = len(self.arrays), array
            self.arrays.append(little)
        key, size = self.keys[id(array)][0], little.size
        strides = tuple(math.prod(little.shape[k + 1 :]) for k in range(little.ndim))
        young = dtype in YOUNG

        kind = _global("torch.storage", "UntypedStorage") if young else _global("torch", WRITTEN[dtype])
        length = little.nbytes if young else size
        storage = b"(" + _plain("storage") + kind + _plain(str(key)) + _plain("cpu") + _plain(length) + b"tQ"
        tensor = b"(" + storage + b"K\x00" + _plain(little.shape) + _plain(strides) + b"\x89"
        tensor += _global("collections", "OrderedDict") + b")R" + (_global("torch", dtype) if young else b"") + b"t"
        return _global("torch._utils", "_rebuild_tensor_v3" if young else "_rebuild_tensor_v2") + tensor + b"R"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _plain(value: Any) -> bytes:
    """What pickle writes between the protocol and the stop."""
    return pickle.dumps(value, 2)[2:-1]
