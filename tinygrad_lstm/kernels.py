"""Where generated source becomes machine code: the source store and the JIT.

The only room that imports numba, and only when the first kernel is wanted. A kernel's source is a real file in the
user's cache directory, named by the hash of its text, so that tracebacks show its lines and numba's own cache keeps the
machine code beside it across processes. Where that directory cannot be written there is no cache, and no error.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import linecache
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

# The liberties the compiler gets. Not nnan, ninf: NaN and inf propagate. Not arcp: it makes 1 / sqrt(0) a NaN. Not
# reassoc: it moves a factor into an inlined exponential, which then no longer overflows where it should (g * cosh(1000)).
FLAGS = frozenset({"contract", "nsz"})
SLOW_COMPILE = 1.0  # seconds after which a first call says why it took so long


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The folder of sources and machine code, or None where none can be written. `TINYGRAD_LSTM_CACHE` overrides."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("TINYGRAD_LSTM_CACHE")
    folder = Path(chosen) if chosen else user_cache_path("tinygrad_lstm") / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def _store(source: str, name: str, folder: Path | None) -> str:
    """Write the source whole or not at all; its path, or a name under which tracebacks still find the lines."""
    if folder is not None:
        path = folder / f"{name}.py"
        try:
            if not (path.exists() and path.read_text() == source):
                handle, partial = tempfile.mkstemp(dir=folder, suffix=".tmp")
                try:
                    with os.fdopen(handle, "w") as file:
                        file.write(source)
                    os.replace(partial, path)
                except OSError:
                    os.unlink(partial)
                    raise
            return str(path)
        except (OSError, ValueError):  # no place for it, or no text in its place
            with suppress(OSError):
                os.unlink(folder / f"{name}.py")
    filename = f"<{name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    return filename


_compiled: dict[str, Any] = {}
_lock = threading.RLock()


def compile_source(source: str, name: str, signature: str) -> Callable[..., Any]:
    """The jitted function `name_HASH` of a source text that defines `{function}`, for calls from Python.

    source : Python text in which `{function}` stands where the function's name belongs (numba's cache is keyed by it).
    signature : the types of its arguments and result, as numba writes them. Compiled at most once a process.
    """

    def make(function: Callable[..., Any], cache: bool) -> Any:
        import numba

        kernel = numba.njit(nogil=True, cache=cache, fastmath=set(FLAGS), error_model="numpy")(function)
        kernel.compile(signature)
        return kernel, sum(kernel.stats.cache_hits.values())

    return _made(source, name, signature, make)


def compile_pointer(source: str, name: str, kinds: Mapping[str, str] | None = None, other: str = "int64") -> int:
    """The address of the function `name_HASH` of a source text, for calls by address; compiled and kept likewise.

    kinds : the types of its arguments by name, `other` for the rest: "int64", or "float32*" for where such numbers lie.
    """

    def make(function: Callable[..., Any], cache: bool) -> Any:
        import numba

        names = [(kinds or {}).get(argument, other) for argument in inspect.signature(function).parameters]
        types = [numba.types.CPointer(getattr(numba, n[:-1])) if "*" in n else numba.int64 for n in names]
        kernel = numba.cfunc(numba.void(*types), cache=cache, fastmath=set(FLAGS), error_model="numpy")(function)
        return kernel, kernel.cache_hits

    return _made(source, name, f"{kinds} {other}", make).address


def _made(source: str, name: str, types: str, make: Callable[[Callable[..., Any], bool], tuple[Any, int]]) -> Any:
    """What `make` makes of a source text: one thread at a time, once a process, said aloud if it takes long."""
    unique = f"{name}_{digest(f'{source} {sorted(FLAGS)} {types}')}"
    found = _compiled.get(unique)
    if found is not None:
        return found
    with _lock:
        if unique not in _compiled:
            function, on_disk = _define(source, unique)
            start = time.perf_counter()
            _compiled[unique], hits = _with_cache(lambda cache: make(function, cache), unique, on_disk)
            _tell(unique, time.perf_counter() - start, hits)
        return _compiled[unique]


def _with_cache(make: Callable[[bool], Any], unique: str, on_disk: bool) -> Any:
    """make(True), with numba's cache: where what it keeps is damaged, without that; where it can keep nothing, make(False)."""
    for _ in range(2 if on_disk else 0):
        try:
            return make(True)
        except Exception:  # whatever numba and pickle say of a damaged file or a full disk; an error in the text comes again
            for kept in (cache_folder() or Path()).glob(f"__pycache__/{unique}*"):
                with suppress(OSError):
                    shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    return make(False)


def _define(source: str, unique: str) -> tuple[Callable[..., Any], bool]:
    """The Python function of a source text, and whether the text is on disk."""
    text = source.replace("{function}", unique)
    path = _store(text, unique, cache_folder())
    module = ModuleType(f"tinygrad_lstm.generated.{unique}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # by this name numba's cache finds the function's globals in another process
    exec(compile(text, path, "exec"), vars(module))
    return getattr(module, unique), not path.startswith("<")


def _tell(name: str, seconds: float, hits: int) -> None:
    if seconds > SLOW_COMPILE and not hits:
        print(f"tinygrad_lstm: compiled {name} in {seconds:.1f} s; kept for next time", file=sys.stderr)


class _Native:
    """The rooms written for the compiler, `native.gemm` and `native.vectormath`: they import numba, so they come when used."""

    def __getattr__(self, room: str) -> Any:
        return importlib.import_module(f"{__package__}.{room}")


native = _Native()


def _fresh_lock() -> None:
    """A forked child must not wait for a thread of its parent's."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)
