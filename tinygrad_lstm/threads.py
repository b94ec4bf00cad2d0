"""How many threads there are for the work, and NumPy's big products in blocks for them.

Two pools that spin beside each other cost more than the second one brings, so the pool of NumPy's linear algebra is told
to keep to the calling thread; `blocks` gives big products to ours instead. Kernels share theirs in the room `team`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .errors import ArgumentError, message


def allowed_cores() -> list[int]:
    """The cores that this process may use."""
    try:
        return sorted(os.sched_getaffinity(os.getpid()))
    except AttributeError:
        return list(range(os.cpu_count() or 1))


_threads = len(allowed_cores())
_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def get_num_threads() -> int:
    """How many threads a kernel may use; at first the number of cores that this process may run on.

    Examples
    --------
    >>> tl.get_num_threads() >= 1
    True
    """
    return _threads


def set_num_threads(n: int) -> None:
    """Let kernels use n threads, this one included. Results do not depend on it, to the bit.

    Raises
    ------
    ArgumentError : n is no integer or is below 1.

    Examples
    --------
    >>> before = tl.get_num_threads()
    >>> tl.set_num_threads(1); tl.get_num_threads()
    1
    >>> tl.set_num_threads(before)
    """
    global _threads, _pool
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ArgumentError(message("set_num_threads", "n must be an integer of at least 1", {"n": n}))
    with _lock:
        _threads, _pool = n, None


def blocks(job: Callable[[int, int], Any], n: int, size: int) -> None:
    """job(lo, hi) over [0, n) in blocks of `size`, whatever the number of threads: its results cannot depend on it."""
    global _pool
    cuts = [(lo, min(n, lo + size)) for lo in range(0, n, size)]
    if _threads == 1 or len(cuts) == 1:
        for lo, hi in cuts:
            job(lo, hi)
        return
    with _lock:
        if _pool is None:
            quiet_blas()
            _pool = ThreadPoolExecutor(_threads, "tinygrad_lstm")
        pool = _pool
    for _ in pool.map(lambda cut: job(*cut), cuts):
        pass


def quiet_blas() -> None:
    """Let NumPy's linear algebra keep to the thread that calls it."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
