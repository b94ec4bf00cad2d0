"""Measurements beside a clear version and an expert's, in one run: `python -m tests.benchmarks eager`.

A case names its competitors. Each runs in a process of its own (two libraries' thread pools in one process disturb each
other), warmed up once, and is then asked over a pipe for one trial at a time: trials alternate, so that whatever else the
machine does meets all alike, and medians are compared. Every process gets the same number of threads.

A suite is a module of this package with a list `SUITE` of cases; a competitor is a function in it that makes a trial:

    def torch_tanh():                 # imports and data: not timed
        import torch
        x = torch.randn(10**6)
        return lambda: torch.tanh(x)  # timed; or it returns the seconds it took, a float
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))
WIDTH = 80
OURS = "tinygrad_lstm"


@dataclass(frozen=True)
class Bar:
    """What is promised: `name` takes at least `times` as long as we do; or, with `seconds`, at most so much less."""

    name: str
    times: float = 1.0
    seconds: float | None = None

    def judge(self, seconds: dict[str, float]) -> tuple[bool, str]:
        ours, theirs = seconds[OURS], seconds[self.name]
        if self.seconds is not None:
            above = ours - theirs
            return above <= self.seconds, f"{show(above)} above {self.name}, at most {show(self.seconds)}"
        return theirs / ours >= self.times, f"{theirs / ours:.2f} times as fast as {self.name}, at least {self.times:g}"


@dataclass(frozen=True)
class Case:
    """title; competitors: what is printed -> "module:function" that makes the trial; bars: what must hold."""

    title: str
    competitors: dict[str, str]
    bars: Sequence[Bar] = ()
    trials: int = 15


class Worker:
    """One competitor in its own process."""

    def __init__(self, factory: str, threads: int = THREADS):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads)) | {"BENCHMARK_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker", factory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def _answer(self) -> dict[str, float | str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": f"ended with status {self.process.wait()}"}

    def ready(self) -> str | None:
        """None as soon as it is warm; else why it cannot run here."""
        answer = self._answer()
        return str(answer["missing"]) if "missing" in answer else None

    def trial(self) -> float:
        """Seconds a call."""
        assert self.process.stdin is not None
        self.process.stdin.write("trial\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "seconds" not in answer:
            raise RuntimeError(f"a competitor stopped: {answer}")
        return float(answer["seconds"])

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def measure(competitors: dict[str, str], trials: int = 15) -> tuple[dict[str, float], dict[str, str]]:
    """Median seconds a call of each competitor, trials alternating; and who could not run, with the reason."""
    workers, missing = {}, {}
    try:
        for name, factory in competitors.items():
            workers[name] = Worker(factory)
        for name, worker in list(workers.items()):
            reason = worker.ready()
            if reason is not None:
                missing[name] = reason
                workers.pop(name).close()
        times: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(trials):
            for name, worker in workers.items():
                times[name].append(worker.trial())
    finally:
        for worker in workers.values():
            worker.close()
    return {name: median(t) for name, t in times.items()}, missing


def show(seconds: float) -> str:
    """Three digits and a unit: `236 us`, `1.21 ms`."""
    units = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
    unit, size = next((u for u in units if abs(seconds) >= u[1]), units[-1])
    value = seconds / size
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f} {unit}"


def table(case: Case, seconds: dict[str, float], missing: dict[str, str]) -> tuple[str, bool]:
    """The case as bars, shorter is better, and whether everything promised holds."""
    if OURS in missing:
        return f"\n{case.title}\n  FAILS: {OURS} did not run: {missing[OURS]}", False
    longest = max(seconds.values())
    left = max(map(len, case.competitors))
    room = WIDTH - left - 24
    lines = ["", case.title]
    for name in case.competitors:
        if name in missing:
            lines.append(f"  {name:<{left}}  not run: {missing[name]}"[:WIDTH])
            continue
        t = seconds[name]
        bar = "█" * max(1, round(room * t / longest))
        ratio = "" if name == OURS else f"{t / seconds[OURS]:6.2f} x"
        lines.append(f"  {name:<{left}}  {bar:<{room}} {show(t):>8} {ratio:>8}".rstrip())
    good = True
    for bar_ in case.bars:
        if bar_.name in missing:
            continue
        holds, text = bar_.judge(seconds)
        good &= holds
        lines.append(f"  {'holds' if holds else 'FAILS'}: {text}")
    return "\n".join(lines), good


def run(cases: Sequence[Case], trials: int | None = None) -> bool:
    """Measure and print every case; whether all that is promised holds."""
    good = True
    for case in cases:
        text, holds = table(case, *measure(case.competitors, trials or case.trials))
        print(text, flush=True)
        good &= holds
    return good
