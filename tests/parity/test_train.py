"""A whole training run against torch: text, truncated backpropagation, clipping, a schedule; 200 steps of `fit`."""

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import nn, optim
from tinygrad_lstm.data import Streams, Vocabulary, split, standard_library

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

WIDTH, HIDDEN, STEPS = 16, 48, 200


class Ours(nn.Module):
    def __init__(self, characters, kind):
        self.embedding = nn.Embedding(characters, WIDTH)
        self.recurrent = getattr(nn, kind)(WIDTH, HIDDEN)
        self.readout = nn.Linear(HIDDEN, characters)

    def forward(self, ids, states):
        outputs, states = self.recurrent(self.embedding(ids), states)
        return self.readout(outputs), states


class Theirs(torch.nn.Module):
    def __init__(self, characters, kind):
        super().__init__()
        self.embedding = torch.nn.Embedding(characters, WIDTH)
        self.recurrent = getattr(torch.nn, kind)(WIDTH, HIDDEN)
        self.readout = torch.nn.Linear(HIDDEN, characters)

    forward = Ours.forward


def step(model, batch, states):
    ids, targets = batch
    scores, states = model(ids, states)
    return nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1)), states


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_loss_curve_on_real_text_is_torchs(kind):
    training, _ = split(standard_library(200_000))
    vocabulary = Vocabulary.from_text(training)
    streams = Streams(vocabulary.encode(training), batch=8, length=16)
    torch.manual_seed(0)
    theirs, ours = Theirs(len(vocabulary), kind), Ours(len(vocabulary), kind)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})

    optimizer = optim.Adam(ours.parameters(), lr=3e-3)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=STEPS)
    run = tl.fit(
        ours, streams, step=step, optimizer=optimizer, schedule=schedule, clip=1.0, steps=STEPS, progress=False
    )

    optimizer = torch.optim.Adam(theirs.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    losses, states = [], None
    for k in range(STEPS):
        ids, targets = (torch.from_numpy(a.astype(np.int64)) for a in streams[k])
        scores, states = theirs(ids, states)
        states = tuple(s.detach() for s in states) if kind == "LSTM" else states.detach()
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    np.testing.assert_allclose(run.losses, losses, rtol=1e-4)
    assert losses[-1] < 0.8 * losses[0]
