"""The other end of the pipe: make one competitor's trial, warm it up, time it whenever a line arrives."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

AT_LEAST = float(os.environ.get("BENCHMARK_AT_LEAST", "0.1"))  # seconds a trial lasts; short calls are repeated


def once(trial: Callable[[], Any]) -> tuple[float, bool]:
    """What a call takes, and whether it measured that itself."""
    start = time.perf_counter()
    own = trial()
    return (own, True) if type(own) is float else (time.perf_counter() - start, False)


def main() -> None:
    answer, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not look like an answer
    name, _, arguments = sys.argv[1].partition(" ")
    module, function = name.split(":")
    try:
        trial = getattr(importlib.import_module(module), function)(*json.loads(arguments or "[]"))
        calls, itself = 1, once(trial)[1]
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answer, flush=True)
        return
    if not itself:
        calls = max(1, round(AT_LEAST / max(once(trial)[0], 1e-7)))
        for _ in range(calls):
            once(trial)
    print(json.dumps({"ready": calls}), file=answer, flush=True)
    for _ in sys.stdin:
        value = sum(once(trial)[0] for _ in range(calls)) / calls
        print(json.dumps({"value": value}), file=answer, flush=True)


if __name__ == "__main__":
    main()
