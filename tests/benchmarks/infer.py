"""Inference of an LSTM without a graph, over a grid of sizes."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_lstm import cells

from . import OURS, Case, Result, Verdict, factory, promise
from .layers import (
    JAX,
    ONNX,
    TORCH,
    TORCH_LOOP,
    cell_jax,
    cell_torch,
    flops,
    lstm_onnx,
    lstm_ours,
    lstm_torch,
    points,
    product_case,
)


def cases(quick: bool, odd: bool) -> list[Case]:
    found = [product_case()]
    for p in points(quick, odd):
        competitors = {
            OURS: factory(lstm_ours, False, *p),
            TORCH: factory(lstm_torch, False, *p),
            ONNX: factory(lstm_onnx, *p),
            TORCH_LOOP: factory(cell_torch, False, "lstm", *p),
            JAX: factory(cell_jax, False, "lstm", *p),
        }
        found.append(Case(p.title, competitors, trials=9, flops=flops(cells.lstm, p, False), facts=p._asdict()))
    return found


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    return [*promise(results, TORCH, mean=1.4, worst=1.0), *promise(results, ONNX, mean=1.1, worst=0.9)]
