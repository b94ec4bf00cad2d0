"""A training step of an LSTM: forward, backward, all gradients, over a grid of sizes."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_lstm import cells

from . import OURS, Case, Result, Verdict, factory, promise
from .layers import (
    JAX,
    PRODUCT,
    TORCH,
    TORCH_LOOP,
    cell_jax,
    cell_torch,
    flops,
    lstm_ours,
    lstm_torch,
    points,
    product_case,
)

SHARE = 0.8  # of the machine's best product rate, where hidden >= 256 and batch >= 32


def cases(quick: bool, odd: bool) -> list[Case]:
    found = [product_case()]
    for p in points(quick, odd):
        competitors = {
            OURS: factory(lstm_ours, True, *p),
            TORCH: factory(lstm_torch, True, *p),
            TORCH_LOOP: factory(cell_torch, True, "lstm", *p),
            JAX: factory(cell_jax, True, "lstm", *p),
        }
        found.append(Case(p.title, competitors, trials=9, flops=flops(cells.lstm, p, True), facts=p._asdict()))
    return found


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    return [*promise(results, TORCH, mean=1.6, worst=1.0), *share(results)]


def share(results: Sequence[Result]) -> list[Verdict]:
    """How much of the best rate of a product the steps reach where products are all that counts."""
    best = best_rate(results)
    big = [r for r in results if OURS in r.trials and r.case.facts.get("hidden", 0) >= 256 and r.case.facts["batch"] >= 32]
    if not best or not big:
        return []
    least, where = min((r.case.flops / r.medians[OURS] / best, r.case.title) for r in big if r.case.flops)
    text = f"share of the best product rate, {best / 1e9:.0f} GFLOP/s: {least:.0%}, at {where} (at least {SHARE:.0%})"
    return [Verdict(least >= SHARE, text)]


def best_rate(results: Sequence[Result]) -> float | None:
    """Operations a second of the fastest product."""
    product = next((r for r in results if r.case.title == PRODUCT and r.trials), None)
    return product.case.flops / min(product.medians.values()) if product and product.case.flops else None
