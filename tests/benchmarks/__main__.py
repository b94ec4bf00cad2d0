"""`python -m tests.benchmarks train infer ... | all`: measure, print, write, and fail if a promise does not hold."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

from . import Result, measure, table
from .plot import svg
from .report import add, as_json, markdown, new_run, write

SUITES = ("train", "infer", "custom", "compile", "stream", "memory", "scale", "demo", "eager")


def suite(name: str) -> ModuleType:
    return importlib.import_module(f"tests.benchmarks.{name}")


def main(arguments: list[str] | None = None) -> int:
    listed = "\n".join(f"  {name:<9} {suite(name).__doc__}" for name in SUITES)
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=f"{__doc__}\n\n{listed}", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="suite", help="one or more of the above, or all; none: the list")
    parser.add_argument("--quick", action="store_true", help="few sizes, few short trials: whether it runs; nothing is judged")
    parser.add_argument("--odd", action="store_true", help="sizes beside the grid, too")
    parser.add_argument("--trials", type=int, help="how many alternating trials (default: what the case says)")
    parser.add_argument("--with", dest="earlier", metavar="FILE", help="take what is not measured now from the JSON of an earlier run")
    parser.add_argument("--json", metavar="FILE", help="write everything, every median with its lowest and highest trial")
    parser.add_argument("--markdown", metavar="FILE", help="write tables; into a file with a place for them, there (docs/performance.md)")
    parser.add_argument("--plot", metavar="FILE.svg", help="write one picture")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.suites) - {*SUITES, "all"}
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}, all")
    if not chosen.suites and not chosen.earlier:
        print(listed)
        return 0
    names = SUITES if "all" in chosen.suites else tuple(dict.fromkeys(chosen.suites))
    if chosen.quick:
        os.environ.setdefault("BENCHMARK_AT_LEAST", "0.01")
    earlier = json.loads(Path(chosen.earlier).read_text(encoding="utf-8")) if chosen.earlier else None
    run = new_run(chosen.quick) if names or earlier is None else earlier
    run["suites"] = {**(earlier["suites"] if earlier else {})}
    good = True
    for name in names:
        module = suite(name)
        print(f"\n== {name}: {module.__doc__}", flush=True)
        results: list[Result] = []
        for case in module.cases(chosen.quick, chosen.odd):
            results.append(measure(case, chosen.trials or (3 if chosen.quick else None)))
            print(table(results[-1]), flush=True)
        verdicts = module.verdicts(results) if hasattr(module, "verdicts") else []
        print("".join(f"\n{v}" for v in verdicts), flush=True)
        add(run, name, module.__doc__ or name, results, verdicts)
        good &= all(v.holds for v in [*(v for r in results for v in r.verdicts()), *verdicts])
    run["suites"] = {name: run["suites"][name] for name in SUITES if name in run["suites"]}
    if chosen.json:
        write(chosen.json, as_json(run))
    if chosen.plot:
        write(chosen.plot, svg(run))
    if chosen.markdown:
        folder = Path(chosen.markdown).resolve().parent
        write(chosen.markdown, markdown(run, os.path.relpath(chosen.plot, folder) if chosen.plot else None))
    return 0 if good or chosen.quick else 1


if __name__ == "__main__":
    sys.exit(main())
