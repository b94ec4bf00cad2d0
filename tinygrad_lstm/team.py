"""The threads that share a kernel's work: helpers that stay in machine code between two calls.

A kernel of some ten microseconds is over before a sleeping thread has been woken (30 to 50 us). So a helper looks for
the next piece of work for a moment before it sleeps, and to give it one takes no lock of Python's: the caller writes the
job on a board in memory, and everybody takes pieces from there, the caller first. One that comes late takes fewer.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import kernels, threads
from .kernels import native

PATIENCE = 30_000  # looks for work before a helper sleeps: some 200 us
MOST = 255  # helpers


def _lock_function(name: str, result: Any, *arguments: Any) -> Any:
    """One of the functions behind Python's own locks: machine code may call them as well."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_allocate_lock = _lock_function("PyThread_allocate_lock", ctypes.c_void_p)
_acquire_lock = _lock_function("PyThread_acquire_lock", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_release_lock = _lock_function("PyThread_release_lock", None, ctypes.c_void_p)


class _Team:
    """The board and the helpers of this process."""

    def __init__(self) -> None:
        atomics = native.atomics
        line, lines = atomics.LINE // 8, 3 + 2 * MOST
        memory = np.zeros((lines + 1) * line, np.int64)
        skip = -memory.ctypes.data % atomics.LINE // 8
        self._lines = memory[skip : skip + lines * line].reshape(lines, line)
        for core in threads.allowed_cores():
            if core < 64 * line:
                self._lines[2].view(np.uint64)[core // 64] |= np.uint64(1 << core % 64)
        self._board = self._lines.ctypes.data
        self._helpers: list[tuple[threading.Thread, int]] = []
        self._busy = threading.Lock()
        self._acquire, self._release = (
            ctypes.cast(function, ctypes.c_void_p).value for function in (_acquire_lock, _release_lock)
        )
        self._help = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(
            kernels.compile_pointer(atomics.SOURCE + atomics.HELP, "help")
        )
        signature = f"void({', '.join(['int64'] * 6)})"
        self.dispatch = kernels.compile_source(atomics.SOURCE + atomics.DISPATCH, "dispatch", signature)
        threads.quiet_blas()
        atexit.register(self.stop)

    def run(self, table: int, jobs: int, words: int, parts: int) -> None:
        """The jobs of a table, see `Jobs`, in at most so many parts; table and words by address."""
        if parts < 2 or not self._busy.acquire(blocking=False):
            self.dispatch(0, table, jobs, words, 0, 0)
            return
        try:
            if len(self._helpers) != parts - 1:
                self._resize(max(parts, threads.get_num_threads()) - 1)
            self.dispatch(self._board, table, jobs, words, len(self._helpers), self._release)
        finally:
            self._busy.release()

    def _resize(self, n: int) -> None:
        """Have n helpers. Only for whom the team is busy."""
        while len(self._helpers) < min(n, MOST):
            k, lock = len(self._helpers), _allocate_lock()
            _acquire_lock(lock, 1)
            self._lines[3 + 2 * k, :3] = 0, lock, 0
            given = (self._board, k, self._acquire, PATIENCE)
            thread = threading.Thread(target=self._help, args=given, name=f"tinygrad_lstm {k}", daemon=True)
            thread.start()
            self._helpers.append((thread, lock))
        while len(self._helpers) > n:
            thread, lock = self._helpers.pop()
            own = self._lines[3 + 2 * len(self._helpers)]
            own[2] = 1
            while thread.is_alive():
                if own[0]:
                    own[0] = 0
                    _release_lock(lock)
                thread.join(0.001)

    def stop(self) -> None:
        """Before Python ends: no thread of ours is left in machine code."""
        with self._busy:
            self._resize(0)


_team: _Team | None = None
_making = threading.Lock()


def _the_team() -> _Team:
    global _team
    with _making:
        if _team is None:
            _team = _Team()
        return _team


def parts(n: int, at_least: int = 1) -> int:
    """How many slices `run` makes of n."""
    return max(1, min(threads.get_num_threads(), MOST + 1, n // at_least))


def run(function: int, words: np.ndarray, n: int, at_least: int = 1, grain: int = 0) -> None:
    """function(*words, lo, hi) over [0, n): a slice a thread, none smaller than `at_least`; with a grain, each in pieces
    of at most that size, which the threads take as they come.

    function : the address of a kernel (`kernels.compile_pointer`); words : its other arguments, int64.
    While another thread of the program has the helpers, this one does all of its work itself.
    """
    slices = parts(n, at_least)
    pieces = slices * -(-n // (slices * grain)) if grain and slices > 1 else slices
    table = np.array((function, 0, len(words), n, pieces, 0), np.int64)
    (_team or _the_team()).run(table.ctypes.data, 1, words.ctypes.data, slices)


class At(NamedTuple):
    """A word that is an address: so many bytes from the beginning of a memory, which is known by its number."""

    memory: int
    shift: int = 0


class Jobs:
    """Kernels to run one after the other, each by all threads. Written down once, run as often as wanted.

    A word is a number or an `At`, whose memory is looked up at every run.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._memories: list[int] = []
        self._rows: list[tuple[int, ...]] = []
        self._parts = 1
        self._arrays: tuple[np.ndarray, ...] = ()

    def add(self, function: int, words: Sequence[int | At], n: int, at_least: int = 1) -> None:
        """function(*words, lo, hi) over [0, n), as `run`."""
        self._add(function, words, n, parts(n, at_least))

    def add_together(self, function: int, words: Sequence[int | At]) -> None:
        """function(*words, count, counter, part, part + 1) for every part at the same time, one a thread.

        count : how many there are; counter : the address of a word, 0 at first, at which they can meet.
        """
        n = parts(MOST)
        self._add(function, [*words, 0, 0, 0], n, n, together=True)

    def _add(self, function: int, words: Sequence[int | At], n: int, pieces: int, together: bool = False) -> None:
        self._rows.append((function, len(self._numbers), len(words) - together, n, pieces, together))
        self._numbers += [w.shift if isinstance(w, At) else w for w in words]
        self._memories += [w.memory if isinstance(w, At) else -1 for w in words]
        self._parts = max(self._parts, pieces)
        self._arrays = ()

    def __add__(self, other: Jobs) -> Jobs:
        both = Jobs()
        for jobs in (self, other):
            both._rows += [(function, first + len(both._numbers), *rest) for function, first, *rest in jobs._rows]
            both._numbers += jobs._numbers
            both._memories += jobs._memories
            both._parts = max(both._parts, jobs._parts)
        return both

    def run(self, addresses: np.ndarray) -> None:
        """addresses : of the memories, and 0 at the end."""
        self.bound(addresses)()

    def bound(self, addresses: np.ndarray) -> Callable[[], None]:
        """What runs the jobs on these memories."""
        if not self._arrays:
            self._arrays = tuple(np.array(a, np.int64) for a in (self._rows, self._numbers, self._memories))
        table, numbers, memories = self._arrays
        words = numbers + addresses[memories]
        at, jobs, to, parts = table.ctypes.data, len(self._rows), words.ctypes.data, self._parts
        held = table, words  # known to machine code by their addresses

        def run(_: Any = held) -> None:
            (_team or _the_team()).run(at, jobs, to, min(parts, threads.get_num_threads()))

        return run


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _team, _making
    if _team is not None:
        atexit.unregister(_team.stop)
    _team, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
