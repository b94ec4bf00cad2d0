"""Measurements beside a clear version and an expert's, in one run: `python -m tests.benchmarks train`.

A case names its competitors. Each runs in a process of its own (two libraries' thread pools in one process disturb each
other), warmed up once, and is then asked over a pipe for one trial at a time: trials alternate, so that whatever else the
machine does meets all alike, and medians are compared. Every process gets the same number of threads.

A suite is a module of this package with `cases(quick, odd)`, and perhaps `verdicts(results)` on all of them together; a
competitor is a function that makes a trial:

    def torch_tanh(size):             # imports and data: not timed
        import torch
        x = torch.randn(size)
        return lambda: torch.tanh(x)  # timed; or it returns what it measured itself, a float: seconds, bytes, a number
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))
SETTLE = 0.02  # seconds before a trial: a pool of threads spins on after the one before
ROOT = Path(__file__).parents[2]
WIDTH = 80
OURS = "tinygrad_lstm"


def factory(function: Callable[..., Any], *arguments: Any) -> str:
    """A competitor as a line of text that another process understands: `module:function [1, 2]`."""
    return f"{function.__module__}:{function.__name__} {json.dumps(arguments)}"


# ------------------------------------------------------------------------------------------------ cases and promises
@dataclass(frozen=True)
class Verdict:
    """Whether a promise holds, and the figures that say so."""

    holds: bool
    text: str

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'FAILS'}: {self.text}"


@dataclass(frozen=True)
class Bar:
    """What is promised of one case.

    `name` takes at least `times` what we take; or, with `above`, we take at most so much more; or, with `limit`, `name`
    itself takes at most so much.
    """

    name: str
    times: float = 1.0
    above: float | None = None
    limit: float | None = None

    def judge(self, values: dict[str, float], unit: str) -> Verdict | None:
        """None if a competitor that is needed was not run."""
        if self.name not in values or (self.limit is None and OURS not in values):
            return None
        theirs = values[self.name]
        if self.limit is not None:
            return Verdict(theirs <= self.limit, f"{self.name}: {show(theirs, unit)}, at most {show(self.limit, unit)}")
        ours = values[OURS]
        if self.above is not None:
            more = ours - theirs
            return Verdict(more <= self.above, f"{show(more, unit)} above {self.name}, at most {show(self.above, unit)}")
        return Verdict(theirs / ours >= self.times, f"{self.name} takes {theirs / ours:.2f} times ours, at least {self.times:g}")


@dataclass(frozen=True)
class Case:
    """title; competitors: what is printed -> what makes the trial (`factory`); bars: what must hold.

    unit : of what is measured: "s", "B", "" for a count, "s/character". flops : of one call, for rates. facts : the
    sizes, for tables.
    """

    title: str
    competitors: dict[str, str]
    bars: Sequence[Bar] = ()
    trials: int = 15
    unit: str = "s"
    flops: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A case and its trials; `missing`: who did not run, and why."""

    case: Case
    trials: dict[str, list[float]]
    missing: dict[str, str]

    @property
    def medians(self) -> dict[str, float]:
        return {name: median(values) for name, values in self.trials.items()}

    def ratio(self, rival: str) -> float | None:
        """How many times ours the rival takes."""
        m = self.medians
        return m[rival] / m[OURS] if rival in m and OURS in m else None

    def verdicts(self) -> list[Verdict]:
        judged = [bar.judge(self.medians, self.case.unit) for bar in self.case.bars]
        stopped = [Verdict(False, f"{OURS} did not run: {self.missing[OURS]}")] if OURS in self.missing else []
        return [*stopped, *(v for v in judged if v is not None)]

    def as_json(self) -> dict[str, Any]:
        spread = {n: {"median": median(t), "low": min(t), "high": max(t), "trials": len(t)} for n, t in self.trials.items()}
        c = self.case
        return {
            "title": c.title, "unit": c.unit, "flops": c.flops, "facts": c.facts, "competitors": list(c.competitors),
            "values": spread, "missing": self.missing,
        }  # fmt: skip


def promise(results: Iterable[Result], rival: str, mean: float, worst: float) -> list[Verdict]:
    """Over all cases that both ran: the geometric mean of the ratios, and the smallest; nothing if there is none."""
    ratios = [(ratio, r.case.title) for r in results if (ratio := r.ratio(rival)) is not None]
    if not ratios:
        return []
    g, (least, where) = geometric_mean(ratio for ratio, _ in ratios), min(ratios)
    text = f"{rival}: geometric mean {g:.2f} times ours (at least {mean:g}); smallest {least:.2f}, at {where} (at least {worst:g})"
    return [Verdict(g >= mean and least >= worst, text)]


# --------------------------------------------------------------------------------------------------------- processes
class Worker:
    """One competitor in its own process."""

    def __init__(self, factory: str, threads: int = THREADS):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads)) | {"BENCHMARK_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker", factory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip

    def _answer(self) -> dict[str, float | str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": f"ended with status {self.process.wait()}"}

    def ready(self) -> str | None:
        """None as soon as it is warm; else why it cannot run here."""
        answer = self._answer()
        return str(answer["missing"]) if "missing" in answer else None

    def trial(self) -> float | str:
        """What a call takes; or why there is no answer any more."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write("trial\n")
            self.process.stdin.flush()
        answer = self._answer()
        return float(answer["value"]) if "value" in answer else str(answer["missing"])

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def measure(case: Case, trials: int | None = None) -> Result:
    """Run all competitors, trials alternating. One that cannot run, or stops, is `missing`; the others go on."""
    workers: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    times: dict[str, list[float]] = {}

    def drop(name: str, reason: str) -> None:
        missing[name] = reason
        times.pop(name, None)
        workers.pop(name).close()

    try:
        for name, competitor in case.competitors.items():
            workers[name] = Worker(competitor)
        for name, worker in list(workers.items()):
            reason = worker.ready()
            if reason is not None:
                drop(name, reason)
            else:
                times[name] = []
        for _ in range(trials or case.trials):
            for name, worker in list(workers.items()):
                time.sleep(SETTLE)
                value = worker.trial()
                if isinstance(value, str):
                    drop(name, value)
                else:
                    times[name].append(value)
    finally:
        for worker in workers.values():
            worker.close()
    return Result(case, times, missing)


# ---------------------------------------------------------------------------------------------------------- printing
SCALES = {
    "s": (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)),
    "B": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)),
}


def show(value: float, unit: str = "s") -> str:
    """Three digits and a unit: `236 us`, `1.21 ms`; 12,300 characters/s."""
    if unit == "s/character":
        return f"{1 / value:,.0f} characters/s"
    if unit not in SCALES:
        return f"{value:g} {unit}".rstrip()
    name, size = next((s for s in SCALES[unit] if abs(value) >= s[1]), SCALES[unit][-1])
    value /= size
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f} {name}"


def table(result: Result) -> str:
    """The case as bars, shorter is better, and whether what is promised of it holds."""
    case, values = result.case, result.medians
    longest = max([*values.values(), 1e-12])
    left = max(map(len, case.competitors))
    shown = {name: show(v, case.unit) for name, v in values.items()}
    right = max(map(len, shown.values()), default=0)
    room = max(8, WIDTH - left - right - 14)
    lines = ["", case.title]
    for name in case.competitors:
        if name in result.missing:
            lines.append(f"  {name:<{left}}  not run: {result.missing[name]}"[:WIDTH])
            continue
        bar = "█" * max(1, round(room * values[name] / longest))
        ratio = f"{values[name] / values[OURS]:6.2f} x" if name != OURS and values.get(OURS) else ""
        lines.append(f"  {name:<{left}}  {bar:<{room}} {shown[name]:>{right}} {ratio:>8}".rstrip())
    return "\n".join([*lines, *(f"  {v}" for v in result.verdicts())])
