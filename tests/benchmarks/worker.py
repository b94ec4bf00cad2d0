"""The other end of the pipe: make one competitor's trial, warm it up, time it whenever a line arrives."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

AT_LEAST = 0.05  # seconds a trial lasts; short calls are repeated and averaged


def once(trial: Callable[[], Any]) -> float:
    start = time.perf_counter()
    own = trial()
    return own if isinstance(own, float) else time.perf_counter() - start


def main() -> None:
    answer, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not look like an answer
    module, function = sys.argv[1].split(":")
    try:
        trial = getattr(importlib.import_module(module), function)()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answer, flush=True)
        return
    once(trial)
    calls = max(1, round(AT_LEAST / max(once(trial), 1e-7)))
    for _ in range(calls):
        once(trial)
    print(json.dumps({"ready": calls}), file=answer, flush=True)
    for _ in sys.stdin:
        seconds = sum(once(trial) for _ in range(calls)) / calls
        print(json.dumps({"seconds": seconds}), file=answer, flush=True)


if __name__ == "__main__":
    main()
