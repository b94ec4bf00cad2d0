"""Cells that no library has built in: the same equations as torch operations in a loop, and as a jitted jax.lax.scan."""

from __future__ import annotations

from collections.abc import Sequence

from . import OURS, Case, Result, Verdict, factory, promise
from .layers import GRID, JAX, QUICK, TORCH_LOOP, Point, cell_jax, cell_ours, cell_torch, flops, named

CELLS = ("lstm_peephole", "lstm_coupled", "gru_reset_before", "lstm_layernorm", "mgu", "multiplicative_lstm")
TRAINED = (0, 3, 4, 5, 6, 7, 9)  # places in the grid: one of each kind
INFERRED = (0, 6)


def cases(quick: bool, odd: bool) -> list[Case]:
    trained = QUICK[1:2] if quick else [GRID[k] for k in TRAINED] + ([Point(24, 70, 50, 200)] if odd else [])
    inferred = [] if quick else [GRID[k] for k in INFERRED]
    found = [_case(cell, p, True) for cell in CELLS for p in trained]
    return found + [_case(cell, p, False) for cell in CELLS for p in inferred]


def _case(cell: str, p: Point, training: bool) -> Case:
    makers = {OURS: cell_ours, TORCH_LOOP: cell_torch, JAX: cell_jax}
    competitors = {name: factory(maker, training, cell, *p) for name, maker in makers.items()}
    title = f"{cell} {p.title}" + ("" if training else ", inference")
    facts = {"cell": cell, "training": training, **p._asdict()}
    return Case(title, competitors, trials=7, flops=flops(named(cell), p, training), facts=facts)


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    found = []
    for training in (True, False):
        some = [r for r in results if r.case.facts["training"] is training]
        for rival, mean, worst in ((TORCH_LOOP, 5.0, 2.0), (JAX, 2.0, 1.2)):
            for v in promise(some, rival, mean, worst):
                found.append(Verdict(v.holds, f"{'training' if training else 'inference'}, {v.text}"))
    return found
