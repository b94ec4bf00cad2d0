"""`python -m tests.benchmarks [suite ...] [--trials N]`: measure, print, and fail if a promise does not hold."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from . import run

SUITES = sorted(
    m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in ("__main__", "worker")
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "suites", nargs="*", metavar="suite", help=f"which: {', '.join(SUITES)} (all of them, if none is named)"
    )
    parser.add_argument("--trials", type=int, help="how many alternating trials (default: what the case says)")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    good = True
    for name in chosen.suites or SUITES:
        good &= run(importlib.import_module(f"tests.benchmarks.{name}").SUITE, chosen.trials)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
