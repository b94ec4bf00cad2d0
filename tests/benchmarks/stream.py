"""One step of a stream: an input, the states, and back come the output and the new states."""

from __future__ import annotations

from typing import Any

import tinygrad_lstm as tl

from . import OURS, Bar, Case, factory
from .layers import ONNX, Point, Trial, data, onnx_session, threads, torch_with_threads

CELLS = "torch nn.LSTMCell"
SIZES = (Point(1, 1, 64, 64), Point(1, 1, 256, 256), Point(1, 1, 64, 64, 2))


def step_ours(*sizes: int) -> Trial:
    tl.set_num_threads(threads())
    p = Point(*sizes)
    layer = tl.nn.LSTM(p.input, p.hidden, num_layers=p.layers, seed=0)
    x = tl.tensor(data(p)[0][0])
    states = layer.step(x)[1]

    def trial() -> None:
        nonlocal states
        _, states = layer.step(x, states)

    return trial


def step_torch(*sizes: int) -> Trial:
    torch, p = torch_with_threads(), Point(*sizes)
    cells = [torch.nn.LSTMCell(width, p.hidden) for width in p.widths]
    x = torch.from_numpy(data(p)[0][0])
    states: list[Any] = [None] * p.layers

    def trial() -> None:
        with torch.no_grad():
            y = x
            for k, cell in enumerate(cells):
                states[k] = cell(y, states[k])
                y = states[k][0]

    return trial


def step_onnx(*sizes: int) -> Trial:
    p = Point(*sizes)
    session, x = onnx_session(p, states=True), data(p)[0]
    names = [i.name for i in session.get_inputs()]
    zero = [x[:, :, :1].repeat(p.hidden, axis=2) * 0] * (2 * p.layers)
    states = zero

    def trial() -> None:
        nonlocal states
        states = session.run(None, dict(zip(names, [x, *states], strict=True)))[1:]

    return trial


def cases(quick: bool, odd: bool) -> list[Case]:
    found = []
    for p in SIZES[: 1 if quick else None]:
        competitors = {OURS: factory(step_ours, *p), CELLS: factory(step_torch, *p), ONNX: factory(step_onnx, *p)}
        title = f"One step, B=1 H={p.hidden}" + (f", {p.layers} layers" if p.layers > 1 else "")
        bars = [Bar(CELLS, 5.0)] if p == SIZES[0] else []
        found.append(Case(title, competitors, bars, facts=p._asdict()))
    return found
