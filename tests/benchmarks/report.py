"""What a run found, as JSON, and from that as Markdown tables. The picture is in `plot`."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from tinygrad_lstm import gemm
from tinygrad_lstm.threads import allowed_cores

from . import OURS, ROOT, THREADS, Result, Verdict, show

Run = dict[str, Any]  # what the JSON file holds
LIBRARIES = ("numpy", "numba", "torch", "jax", "onnxruntime", "autograd")
BEGIN, END = "<!-- results: python -m tests.benchmarks -->", "<!-- end of results -->"


# ------------------------------------------------------------------------------------------------------------ the run
def machine() -> dict[str, str]:
    """What the figures depend on: processor, cores, width of its vectors, caches, memory, versions."""
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = "absent"
    return {
        "processor": _processor(),
        "cores": f"{len(allowed_cores())}, {THREADS} threads for each library",
        "vectors": f"{gemm.BYTES * 8} bits" + ("" if gemm.FUSED else ", no fused multiply-add"),
        "caches": ", ".join(_caches()) or "unknown",
        "memory": _memory(),
        "system": f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{n} {v}" for n, v in libraries.items()),
        "commit": _commit(),
        "load before": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    name = facts.get("model name", platform.machine())
    return f"{name}, family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else name


def _caches() -> list[str]:
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return found


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown"


def _commit() -> str:
    ask = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    run = subprocess.run(ask, capture_output=True, text=True, cwd=ROOT)
    return run.stdout.strip() or "unknown"


def new_run(quick: bool) -> Run:
    return {"machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "quick": quick, "suites": {}}


def add(run: Run, name: str, title: str, results: Sequence[Result], verdicts: Sequence[Verdict]) -> None:
    every = [*(v for r in results for v in r.verdicts()), *verdicts]
    run["suites"][name] = {
        "title": title,
        "results": [r.as_json() for r in results],
        "verdicts": [{"holds": v.holds, "text": v.text} for v in every],
    }


def write(path: str, text: str) -> None:
    """A file; or, where its text has a place for results between two marks, that place."""
    file = Path(path)
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    if BEGIN in old and END in old:
        before, rest = old.split(BEGIN, 1)
        text = f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END, 1)[1]}"
    file.write_text(text, encoding="utf-8")


def as_json(run: Run) -> str:
    return json.dumps(run, indent=1) + "\n"


# ----------------------------------------------------------------------------------------------------------- Markdown
def markdown(run: Run, picture: str | None = None) -> str:
    """Tables of all suites; `picture` is where the plot lies, seen from the page."""
    lines = [f"![Times ours that the others take, suite by suite; every figure is in the tables below]({picture})", ""] if picture else []
    lines += ["| the machine | |", "| --- | --- |"]
    lines += [f"| {name} | {text} |" for name, text in run["machine"].items()]
    lines += [f"| date | {run['date']} |", ""]
    if run["quick"]:
        lines += ["A quick run, of few sizes and trials: the figures are rough.", ""]
    for name, suite in run["suites"].items():
        lines += [f"### {name}", "", suite["title"], ""]
        for part in _tables(suite["results"]):
            lines += [*part, ""]
        verdicts = suite["verdicts"]
        lines += [f"- {'holds' if v['holds'] else '**fails**'}: {v['text']}" for v in verdicts]
        lines += [""] if verdicts else []
        gone = {f"{n}: {why}" for r in suite["results"] for n, why in r["missing"].items()}
        lines += [*(f"- not run: {text}" for text in sorted(gone)), ""] if gone else []
    return "\n".join(lines).rstrip() + "\n"


def ratio(result: Mapping[str, Any], rival: str) -> float | None:
    values = result["values"]
    return values[rival]["median"] / values[OURS]["median"] if rival in values and values.get(OURS, {}).get("median") else None


def _tables(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """One table for each stretch of results with the same competitors."""
    groups: list[list[Mapping[str, Any]]] = []
    for r in results:
        if groups and groups[-1][-1]["competitors"] == r["competitors"]:
            groups[-1].append(r)
        else:
            groups.append([r])
    best = max((rate for r in results if "hidden" not in r["facts"] and (rate := fastest(r))), default=None)
    return [_table(group, best) for group in groups]


def fastest(result: Mapping[str, Any]) -> float | None:
    """Operations a second of whoever was fastest."""
    times = [v["median"] for v in result["values"].values()]
    return result["flops"] / min(times) if result["flops"] and times else None


def _table(group: Sequence[Mapping[str, Any]], best: float | None) -> list[str]:
    names = [n for n in group[0]["competitors"] if any(n in r["values"] for r in group)]
    rivals = [n for n in names if n != OURS] if OURS in names else []
    rated = OURS in names and all(r["flops"] for r in group)
    head = ["", *names, *(["GFLOP/s"] if rated else []), *(["of the best"] if rated and best else [])]
    lines = [_row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    for r in group:
        cells = [r["title"]]
        for n in names:
            value = r["values"].get(n)
            times = ratio(r, n) if n != OURS else None
            text = show(value["median"], r["unit"]) if value else "not run"
            cells.append(text + (f" ({times:.2f} x)" if times is not None else ""))
        if rated:
            rate = r["flops"] / r["values"][OURS]["median"] if OURS in r["values"] else math.nan
            cells += [f"{rate / 1e9:.0f}", *([f"{rate / best:.0%}"] if best else [])]
        lines.append(_row(cells))
    if rivals and len(group) > 1:
        extra = [""] * (len(head) - 1 - len(names))
        for label, of in (("geometric mean", geometric_mean), ("smallest", min)):
            lines.append(_row([label, *(_over(group, n, of) if n != OURS else "" for n in names), *extra]))
    return lines


def _over(group: Sequence[Mapping[str, Any]], rival: str, of: Callable[[list[float]], float]) -> str:
    ratios = [x for r in group if (x := ratio(r, rival)) is not None]
    return f"{of(ratios):.2f} x" if ratios else ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
