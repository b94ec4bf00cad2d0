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
from typing import Any

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
        signature = "void(int64, int64, int64[::1], int64, int64, int64, int64)"
        self.dispatch = kernels.compile_source(atomics.SOURCE + atomics.DISPATCH, "dispatch", signature)
        threads.quiet_blas()
        atexit.register(self.stop)

    def run(self, function: int, words: np.ndarray, n: int, parts: int, pieces: int, together: bool = False) -> None:
        if parts < 2 or not self._busy.acquire(blocking=False):
            if together:
                n = words[-2] = 1
            self.dispatch(0, function, words, n, 1, 0, 0)
            return
        try:
            if len(self._helpers) != parts - 1:
                self._resize(max(parts, threads.get_num_threads()) - 1)
            self.dispatch(self._board, function, words, n, pieces, len(self._helpers), self._release)
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


def run(function: int, words: np.ndarray, n: int, at_least: int = 1, grain: int = 0, slices: int = 0) -> None:
    """function(*words, lo, hi) over [0, n): a slice a thread, none smaller than `at_least`; with a grain, each in pieces
    of at most that size, which the threads take as they come; or in so many `slices`.

    function : the address of a kernel (`kernels.compile_pointer`); words : its other arguments, int64.
    While another thread of the program has the helpers, this one does all of its work itself.
    """
    if not slices and n < 2 * at_least and _team is not None:
        _team.dispatch(0, function, words, n, 1, 0, 0)
        return
    slices = slices or parts(n, at_least)
    pieces = slices * -(-n // (slices * grain)) if grain and slices > 1 else slices
    (_team or _the_team()).run(function, words, n, slices, pieces)


def run_together(function: int, words: np.ndarray) -> None:
    """function(*words, part, part + 1) for every part at the same time, one a thread.

    The last two words are filled in: how many parts there are, and the address of a counter at which they can meet.
    """
    n = words[-2] = parts(MOST)
    counter = np.zeros(1, np.int64)
    words[-1] = counter.ctypes.data
    (_team or _the_team()).run(function, words, n, n, n, together=True)


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _team, _making
    if _team is not None:
        atexit.unregister(_team.stop)
    _team, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
