"""The character model: ids -> embedding -> LSTM -> scores of the next character. Trained, judged, and made to write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import cells
from ..cell import Cell
from ..data import Streams
from ..nn import Embedding, Linear, Module
from ..nn.functional import cross_entropy
from ..nn.recurrent import Recurrent
from ..tensor import Tensor, no_grad

BITS = 1 / math.log(2)  # of one nat


class CharacterModel(Module):
    """Scores of the next character, and the states to go on from.

    x_t = E[id_t],  (h_t, c_t) = cell(x_t, h_{t-1}, c_{t-1}),  scores_t = V h_t + d

    Parameters
    ----------
    characters : size of the vocabulary. hidden : units. width : of the embedding. cell : any cell with one input.
    """

    def __init__(self, characters: int, hidden: int, width: int = 32, cell: Cell = cells.lstm, seed: int = 0):
        generator = np.random.default_rng(seed)
        self.embedding = Embedding(characters, width, seed=generator)
        self.lstm = Recurrent(cell, input=width, hidden=hidden, forget_bias=1.0, seed=generator)
        self.readout = Linear(hidden, characters, seed=generator)

    def forward(self, ids: Any, states: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """ids (T, B) -> scores (T, B, characters), states."""
        outputs, states = self.lstm(self.embedding(ids), states)
        return self.readout(outputs), states

    def step(self, ids: Any, states: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of a stream: ids (B,) -> scores (B, characters), states."""
        with no_grad():
            output, states = self.lstm.step(self.embedding(ids), states)
            return self.readout(output), states


def chunk_loss(model: CharacterModel, batch: tuple[np.ndarray, np.ndarray], states: Any) -> tuple[Tensor, Any]:
    """Cross-entropy in nats, the mean over a chunk (x, y) of (T, B) each, and the states after it."""
    x, y = batch
    scores, states = model(x, states)
    return cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1)), states


def training_step(model: CharacterModel, batch: Any, states: Any) -> tuple[Tensor, Any, dict[str, float]]:
    """What `fit` takes: the loss of a chunk, the states for the next, and the loss in bits."""
    loss, states = chunk_loss(model, batch, states)
    return loss, states, {"bits/char": loss.item() * BITS}


def held_out_bits(model: CharacterModel, streams: Streams) -> float:
    """Bits a character on a text, the mean over every target of the streams."""
    total, states = 0.0, None
    with no_grad():
        for batch in streams:
            loss, states = chunk_loss(model, batch, states)
            total += loss.item() * batch[1].size
    return total * BITS / (streams.steps * streams.batch)


def read(model: CharacterModel, ids: np.ndarray) -> np.ndarray:
    """The hidden and the cell state after every id: ids (T, B) -> (T, B, 2 * hidden)."""
    states, seen = None, []
    for row in ids:
        _, states = model.step(row, states)
        seen.append(np.concatenate([state.numpy()[0] for state in states], axis=-1))
    return np.stack(seen)


def write(model: CharacterModel, prompt: np.ndarray, temperature: float, seed: int) -> Iterator[int]:
    """Ids drawn one after the other, without end: p(id) ~ exp(scores / temperature), never the unknown character."""
    generator = np.random.default_rng(seed)
    states = None
    for id in prompt:
        scores, states = model.step(np.array([id]), states)
    while True:
        z = scores.numpy()[0].astype(np.float64) / temperature
        z[0] = -np.inf
        p = np.exp(z - z.max())
        id = int(generator.choice(len(p), p=p / p.sum()))
        yield id
        scores, states = model.step(np.array([id]), states)


def window(model: CharacterModel, ids: np.ndarray) -> Tensor:
    """The loss at the end of a few steps of one stream (T+1,), operation by operation: a graph to be drawn.

    Members of a family are leaves of their own here, and so are the inputs, since a layer's packing is not the subject.
    """
    lstm = model.lstm
    families = {f: getattr(lstm, f"{f}_l0") for f in lstm.cell.families}
    parameters = {k: Tensor(v.data, requires_grad=True, name=k) for k, v in lstm.cell.members(families).items()}
    states = [Tensor(np.zeros((1, lstm.sizes["hidden"]), lstm.dtype), name=f"{name}0") for name in lstm.cell.states]
    for t, id in enumerate(ids[:-1], start=1):
        x = Tensor(model.embedding(np.array([id])).data, name=f"x{t}")
        output, states = lstm.cell.step([x], states, parameters)
        for name, state in zip(lstm.cell.states, states, strict=True):
            state.name = f"{name}{t}"
    loss = cross_entropy(model.readout(output), ids[-1:])
    loss.name = "loss"
    return loss
