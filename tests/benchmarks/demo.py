"""The demo's model in training, text included: characters a second, beside the same model in torch."""

from __future__ import annotations

import time

import numpy as np

import tinygrad_lstm as tl
from tinygrad_lstm.data import Streams
from tinygrad_lstm.demo.job import BATCH, LENGTH, RATE, Settings
from tinygrad_lstm.demo.model import CharacterModel, training_step

from . import OURS, Bar, Case, factory
from .layers import Trial, threads, torch_with_threads

CHARACTERS, WIDTH, CLIP = 98, 32, 1.0  # of the vocabulary; of the embedding; the largest norm of the gradients
STEPS = 10


def text() -> np.ndarray:
    return np.random.default_rng(0).integers(1, CHARACTERS, BATCH * LENGTH * STEPS + 1)


def model_ours(hidden: int) -> Trial:
    """As `tinygrad-lstm demo` does it, with `tl.fit`."""
    tl.set_num_threads(threads())
    model = CharacterModel(CHARACTERS, hidden, WIDTH)
    optimizer = tl.optim.Adam(model.parameters(), lr=RATE)
    streams = Streams(text(), BATCH, LENGTH)

    def trial() -> float:
        start = time.perf_counter()
        run = tl.fit(model, streams, step=training_step, steps=STEPS, optimizer=optimizer, clip=CLIP, progress=False)
        return (time.perf_counter() - start) / (run.steps * BATCH * LENGTH)

    return trial


def model_torch(hidden: int) -> Trial:
    torch = torch_with_threads()
    embedding = torch.nn.Embedding(CHARACTERS, WIDTH)
    lstm = torch.nn.LSTM(WIDTH, hidden)
    readout = torch.nn.Linear(hidden, CHARACTERS)
    parameters = [p for module in (embedding, lstm, readout) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    streams = Streams(text(), BATCH, LENGTH)
    loss_of = torch.nn.functional.cross_entropy

    def trial() -> float:
        start, states, losses = time.perf_counter(), None, []
        for x, y in streams:
            optimizer.zero_grad()
            outputs, states = lstm(embedding(torch.from_numpy(x)), states)
            scores = readout(outputs)
            loss = loss_of(scores.reshape(-1, CHARACTERS), torch.from_numpy(y).reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            states = tuple(s.detach() for s in states)
            losses.append(loss.item())
        return (time.perf_counter() - start) / (len(losses) * BATCH * LENGTH)

    return trial


def cases(quick: bool, odd: bool) -> list[Case]:
    found = []
    for hidden in (Settings().hidden,) if quick else (Settings().hidden, 512):
        competitors = {OURS: factory(model_ours, hidden), "torch": factory(model_torch, hidden)}
        title = f"{hidden} units, {BATCH} streams of {LENGTH} steps"
        found.append(Case(title, competitors, [Bar("torch")], trials=9, unit="s/character", facts={"hidden": hidden}))
    return found
