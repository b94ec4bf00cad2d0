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
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
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
        except OSError:
            pass
    filename = f"<{name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    return filename


_compiled: dict[str, Callable[..., Any]] = {}
_lock = threading.RLock()


def compile_source(source: str, name: str, flags: frozenset[str] = FLAGS) -> Callable[..., Any]:
    """The jitted function `name_HASH` of a source text that defines `{function}`; compiled at most once a process.

    source : Python text in which `{function}` stands where the function's name belongs (numba's cache is keyed by it).
    flags : the fast-math flags; a kernel that sums may add "reassoc", at the price told above.
    """
    unique = f"{name}_{digest(source + ' '.join(sorted(flags)))}"
    with _lock:
        kernel = _compiled.get(unique)
        if kernel is None:
            import numba

            function, on_disk = _define(source, unique)
            kernel = _compiled[unique] = numba.njit(
                nogil=True, cache=on_disk, fastmath=set(flags), error_model="numpy"
            )(function)
        return kernel


def _define(source: str, unique: str) -> tuple[Callable[..., Any], bool]:
    """The Python function of a source text, and whether the text is on disk."""
    text = source.replace("{function}", unique)
    path = _store(text, unique, cache_folder())
    module = ModuleType(f"tinygrad_lstm.generated.{unique}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # by this name numba's cache finds the function's globals in another process
    exec(compile(text, path, "exec"), vars(module))
    return getattr(module, unique), not path.startswith("<")


_pointers: dict[str, Any] = {}


def compile_pointer(source: str, name: str, kinds: Mapping[str, str] | None = None, other: str = "int64") -> int:
    """The address of the function `name_HASH` of a source text, for calls by address; compiled and kept like a kernel.

    kinds : the types of its arguments by name, `other` for the rest: "int64", or "float32*" for where such numbers lie.
    """
    unique = f"{name}_{digest(f'{source} {sorted(FLAGS)} {kinds} {other}')}"
    with _lock:
        if unique not in _pointers:
            import numba

            function, on_disk = _define(source, unique)
            start = time.perf_counter()
            names = [(kinds or {}).get(argument, other) for argument in inspect.signature(function).parameters]
            types = [numba.types.CPointer(getattr(numba, n[:-1])) if "*" in n else numba.int64 for n in names]
            compiled = numba.cfunc(numba.void(*types), cache=on_disk, fastmath=set(FLAGS), error_model="numpy")(function)
            _pointers[unique] = compiled
            _tell(unique, time.perf_counter() - start, compiled.cache_hits)
        return _pointers[unique].address


ready: set[Any] = set()  # kernels that have machine code; a kernel's text is made for one dtype, so they need no other


def call(kernel: Any, *args: Any) -> Any:
    """Call a kernel; one thread at a time while it has no machine code, said aloud if that takes long."""
    if kernel in ready:
        return kernel(*args)
    with _lock:
        start = time.perf_counter()
        result = kernel(*args)
        spent = time.perf_counter() - start
        ready.add(kernel)
    _tell(kernel.__name__, spent, sum(kernel.stats.cache_hits.values()))
    return result


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
