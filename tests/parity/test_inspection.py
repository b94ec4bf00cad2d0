"""Recorded gates and memory maps against torch's autograd through the equations, written out step by step."""

import numpy as np
import pytest

import tinygrad_lstm as tl

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")


def unrolled(weights, x, state):
    """torch.nn.LSTM's equations on torch tensors that keep their gradients: {name: one tensor a step}."""
    w, u, b, d = (weights[k + "_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, c = state
    kept = {name: [] for name in "ifgohc"}
    for x_t in x:
        gates = (x_t @ w.T + b + h @ u.T + d).chunk(4, -1)
        i, f, o = (torch.sigmoid(gates[k]) for k in (0, 1, 3))
        g = torch.tanh(gates[2])
        c = f * c + i * g
        h = o * torch.tanh(c)
        for name, value in zip("ifgohc", (i, f, g, o, h, c), strict=True):
            value.retain_grad()
            kept[name].append(value)
    return kept


def both(rng, T=5, B=2):
    """A layer, torch's weights of it, inputs, and zero states that torch differentiates by."""
    layer = tl.nn.LSTM(3, 4, dtype=np.float64, seed=0)
    weights = {k: torch.tensor(v) for k, v in layer.state_dict().items()}
    state = [torch.zeros(B, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    return layer, weights, rng.standard_normal((T, B, 3)), state


def test_gates_and_their_gradients(rng):
    layer, weights, x, state = both(rng)
    w = rng.standard_normal((5, 2, 4))
    kept = unrolled(weights, torch.tensor(x), state)
    (torch.stack(kept["h"]) * torch.tensor(w)).sum().backward()
    with tl.record(layer) as seen:
        out, _ = layer(x)
    (out * w).sum().backward()
    for name in "ifgohc":
        np.testing.assert_allclose(seen[name], torch.stack(kept[name]).detach().numpy(), rtol=1e-12)
        expected = np.stack([v.grad.numpy() for v in kept[name]])
        np.testing.assert_allclose(seen.grad[name], expected, rtol=1e-11, atol=1e-14)


def test_memory(rng):
    layer, weights, x, state = both(rng, B=1)
    kept = unrolled(weights, torch.tensor(x), state)
    found = tl.memory_map(layer, x)
    for name, initial in zip("hc", state, strict=True):
        history = [initial, *kept[name]]
        for t in range(1, 6):
            for k in range(t):
                rows = [
                    torch.autograd.grad(history[t][0, j], history[k], retain_graph=True)[0][0].numpy() for j in range(4)
                ]
                np.testing.assert_allclose(found.norms[name][t, k], np.linalg.norm(rows), rtol=1e-11)
