"""The one pool of threads: slices of a job, one a thread, this one included.

Two pools that spin beside each other cost more than the second one brings, so the pool of NumPy's linear algebra is
told to keep to the calling thread when ours first wakes; `blocks` gives big products to ours instead.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

from .errors import ArgumentError, message

_lock = threading.RLock()


def available_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class _Helper(threading.Thread):
    """A thread that waits for slices. (A ThreadPoolExecutor does the same; its futures cost 20 us a call more.)"""

    def __init__(self) -> None:
        super().__init__(name="tinygrad_lstm", daemon=True)
        self.slices: SimpleQueue[Any] = SimpleQueue()
        self.start()

    def run(self) -> None:
        for task in iter(self.slices.get, None):
            _help(*task)
            del task  # or the arrays of the last slice would live until the next


Slices = deque[tuple[int, int]]  # a deque hands each of its entries to one thread only


def _help(job: Callable[[int, int], Any], waiting: Slices, core: int, done: SimpleQueue[BaseException | None]) -> None:
    _leave(core)
    while True:
        try:
            lo, hi = waiting.pop()
        except IndexError:
            return  # the caller, or another, has taken the rest
        try:
            job(lo, hi)
        except BaseException as error:
            done.put(error)
        else:
            done.put(None)


def _current_core() -> Callable[[], int]:
    """sched_getcpu of the C library, where there is one."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            return ctypes.PyDLL(None).sched_getcpu
    return lambda: -1


current_core = _current_core()


def _leave(core: int) -> None:
    """Keep this thread off the core of the thread that called it.

    Linux likes to wake a thread on the core of its waker, and a slice is over before it thinks again: both would take
    turns on one core and leave the other idle (measured: 190 us for what takes 110).
    """
    if core >= 0 and core == current_core():
        others = os.sched_getaffinity(os.getpid()) - {core}
        if others:
            with suppress(OSError):
                os.sched_setaffinity(0, others)


_threads = available_cores()
_helpers: list[_Helper] = []


def get_num_threads() -> int:
    """How many threads a kernel may use; by default the cores this process may run on."""
    return _threads


def set_num_threads(n: int) -> None:
    """Let kernels use n threads, this one included. Results do not depend on it, to the bit.

    Raises ArgumentError if n is no integer or is below 1.
    """
    global _threads
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ArgumentError(message("set_num_threads", "n must be an integer of at least 1", {"n": n}))
    with _lock:
        _threads = n
        while len(_helpers) >= n:
            _helpers.pop().slices.put(None)  # it ends after what it has been given


def run_slices(job: Callable[[int, int], Any], n: int, at_least: int = 1, grain: int = 0) -> None:
    """job(lo, hi) over [0, n), a slice a thread, none smaller than `at_least`; or, with a grain, in pieces of about that
    size, which the threads take as they come: one that wakes late takes fewer.

    This thread takes the first, then whatever no other has begun.
    """
    parts = max(1, min(_threads, n // max(1, at_least)))
    if parts == 1:
        job(0, n)
        return
    pieces = max(parts, n // grain) if grain else parts
    cuts = [n * k // pieces for k in range(pieces + 1)]
    waiting: Slices = deque(pairwise(cuts[1:]))
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    core = current_core()
    with _lock:
        if not _helpers:
            _quiet_blas()
        while len(_helpers) < parts - 1:
            _helpers.append(_Helper())
        for k in range(1, parts):
            _helpers[k - 1].slices.put((job, waiting, core, done))
    given = pieces - 1
    try:
        job(cuts[0], cuts[1])
        while waiting:  # a helper whose core is busy elsewhere may not have begun: its slice is done here
            try:
                lo, hi = waiting.popleft()
            except IndexError:
                break
            given -= 1
            job(lo, hi)
    finally:
        with suppress(IndexError):
            while waiting.pop():
                given -= 1
        errors = [done.get() for _ in range(given)]
    for error in errors:
        if error is not None:
            raise error


def blocks(job: Callable[[int, int], Any], n: int, size: int) -> None:
    """job(lo, hi) over [0, n) in blocks of `size`, whatever the number of threads: its results cannot depend on it."""

    def some(first: int, last: int) -> None:
        for k in range(first, last):
            job(k * size, min(n, (k + 1) * size))

    run_slices(some, -(-n // size))


def _quiet_blas() -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


def _forget_helpers() -> None:
    """A forked child has none of its parent's threads."""
    global _lock
    _lock = threading.RLock()
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
