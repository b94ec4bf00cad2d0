"""What a training step costs as steps, samples or units grow: straight lines."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_lstm import cells

from . import OURS, Case, Result, Verdict, factory
from .layers import TORCH, Point, flops, lstm_ours, lstm_torch

BEND = 1.3  # how much dearer a step, or a sample, may become on the way to the most of them
SERIES = {
    "T": [(t, Point(4, t, 64, 64)) for t in (10, 30, 100, 300, 1000, 3000, 10000)],
    "B": [(b, Point(b, 20, 128, 128)) for b in (1, 4, 16, 64, 256, 1024)],
    "H": [(h, Point(16, 20, h, h)) for h in (16, 32, 64, 128, 256, 512, 1024)],
}
FROM = {"T": 100, "B": 64}  # where fixed costs and half-filled tiles no longer count


def cases(quick: bool, odd: bool) -> list[Case]:
    found = []
    for axis, series in SERIES.items():
        for at, p in series[:3:2] if quick else series:
            competitors = {OURS: factory(lstm_ours, True, *p), TORCH: factory(lstm_torch, True, *p)}
            facts = {"axis": axis, "at": at, **p._asdict()}
            found.append(Case(p.title, competitors, trials=7, flops=flops(cells.lstm, p, True), facts=facts))
    return found


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    found = []
    for axis, least in FROM.items():
        costs = {r.case.facts["at"]: r.medians[OURS] / r.case.facts["at"] for r in results if r.case.facts["axis"] == axis and OURS in r.trials}
        if least in costs and max(costs) > least:
            worst, at = max((cost / costs[least], at) for at, cost in costs.items() if at >= least)
            text = f"cost for each of {axis}: {worst:.2f} times that at {axis}={least}, at {axis}={at} (at most {BEND:g})"
            found.append(Verdict(worst <= BEND, text))
    return found
