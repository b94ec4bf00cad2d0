"""nn.RNN, LSTM, GRU and their cells against torch's: outputs, states and every gradient."""

import itertools

import numpy as np
import pytest

import tinygrad_lstm as tl

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("LSTM", {"proj_size": 3}), ("GRU", {})]
SHAPES = list(itertools.product((1, 3), (False, True), (False, True), (False, True)))


def both(kind, options, **more):
    """The same layer here and in torch, float64, with torch's initial weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(4, 5, **options, **more).double()
    ours = getattr(tl.nn, kind)(4, 5, **options, **more, dtype=np.float64)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize(("layers", "bidirectional", "batch_first", "bias"), SHAPES)
def test_outputs_states_and_gradients(kind, options, layers, bidirectional, batch_first, bias, rng):
    more = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
    ours, theirs = both(kind, options, **more)
    D, P = 1 + bidirectional, options.get("proj_size", 5)
    x = rng.standard_normal((3, 6, 4) if batch_first else (6, 3, 4))
    widths = (P, 5) if kind == "LSTM" else (5,)
    initial = [rng.standard_normal((layers * D, 3, w)) for w in widths]
    ax, ai = tl.tensor(x, requires_grad=True), [tl.tensor(s, requires_grad=True) for s in initial]
    bx, bi = torch.tensor(x, requires_grad=True), [torch.tensor(s, requires_grad=True) for s in initial]
    a, a_last = ours(ax, tuple(ai) if kind == "LSTM" else ai[0])
    b, b_last = theirs(bx, tuple(bi) if kind == "LSTM" else bi[0])
    results_a, results_b = [a, *as_tuple(a_last)], [b, *as_tuple(b_last)]
    weights = [rng.standard_normal(tuple(t.shape)) for t in results_b]
    for p, q in zip(results_a, results_b, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-11, atol=1e-13)
    tl.sum(sum((p * w).sum() for p, w in zip(results_a, weights, strict=True))).backward()
    sum((q * torch.tensor(w)).sum() for q, w in zip(results_b, weights, strict=True)).backward()
    for p, q in [(ax, bx), *zip(ai, bi, strict=True)]:
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-12)
    theirs_named = dict(theirs.named_parameters())
    assert [n for n, _ in ours.named_parameters()] == list(theirs_named)
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs_named[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_are_packed_sequences(kind, options, bidirectional, rng):
    ours, theirs = both(kind, options, num_layers=2, bidirectional=bidirectional)
    x, lengths = rng.standard_normal((7, 4, 4)), np.array([3, 7, 1, 5])
    ax, bx = tl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    a, a_last = ours(ax, lengths=lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(bx, torch.tensor(lengths), enforce_sorted=False)
    b, b_last = theirs(packed)
    b, _ = torch.nn.utils.rnn.pad_packed_sequence(b, total_length=7)
    results_a, results_b = [a, *as_tuple(a_last)], [b, *as_tuple(b_last)]
    for p, q in zip(results_a, results_b, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-11, atol=1e-13)
    weights = [rng.standard_normal(p.shape) for p in results_a]
    sum((p * w).sum() for p, w in zip(results_a, weights, strict=True)).backward()
    sum((q * torch.tensor(w)).sum() for q, w in zip(results_b, weights, strict=True)).backward()
    np.testing.assert_allclose(ax.grad.numpy(), bx.grad.numpy(), rtol=1e-9, atol=1e-12)
    theirs_named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs_named[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_unbatched(kind, options, rng):
    ours, theirs = both(kind, options, num_layers=2, bidirectional=True)
    x = rng.standard_normal((6, 4))
    widths = (options.get("proj_size", 5), 5) if kind == "LSTM" else (5,)
    initial = [rng.standard_normal((4, w)) for w in widths]
    a, a_last = ours(x, tuple(initial) if kind == "LSTM" else initial[0])
    b, b_last = theirs(torch.tensor(x), tuple(map(torch.tensor, initial)) if kind == "LSTM" else torch.tensor(initial[0]))
    for p, q in zip([a, *as_tuple(a_last)], [b, *as_tuple(b_last)], strict=True):
        assert p.shape == tuple(q.shape)
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("kind", "options"), [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}), ("GRUCell", {})])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_cells(kind, options, bias, batched, rng):
    ours, theirs = both(kind, options, bias=bias)
    lead = (3,) if batched else ()
    x, states = rng.standard_normal((*lead, 4)), [rng.standard_normal((*lead, 5)) for _ in range(1 + (kind == "LSTMCell"))]
    a = ours(x, tuple(states) if len(states) > 1 else states[0])
    b = theirs(torch.tensor(x), tuple(map(torch.tensor, states)) if len(states) > 1 else torch.tensor(states[0]))
    for p, q in zip(as_tuple(a), as_tuple(b), strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-11, atol=1e-13)
    as_tuple(a)[0].sum().backward()
    as_tuple(b)[0].sum().backward()
    theirs_named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs_named[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_default_initialisation_is_uniform_in_the_same_bounds():
    ours = tl.nn.LSTM(20, 400, seed=0)
    bound = 1 / np.sqrt(400)
    for _, p in ours.named_parameters():
        values = p.numpy().ravel()
        assert abs(values).max() <= bound
        grid = np.linspace(-bound, bound, 9)
        shares = np.histogram(values, grid)[0] / values.size
        assert abs(shares - 1 / 8).max() < 6 * np.sqrt(7 / 64 / values.size)


def test_training_follows_torch_for_200_steps(rng):
    """The same initial weights and batches, in float64: the loss curves agree to 1e-4 relative (they do to 1e-9)."""
    ours, theirs = both("LSTM", {})
    head, their_head = tl.nn.Linear(5, 3, dtype=np.float64), torch.nn.Linear(5, 3).double()
    head.load_state_dict({k: v.numpy() for k, v in their_head.state_dict().items()})
    mine = tl.optim.Adam([*ours.parameters(), *head.parameters()], lr=0.01)
    other = torch.optim.Adam([*theirs.parameters(), *their_head.parameters()], lr=0.01)
    worst = 0.0
    for _ in range(200):
        x, y = rng.standard_normal((9, 4, 4)), rng.integers(0, 3, (9, 4))
        a = tl.nn.functional.cross_entropy(head(ours(x)[0]).reshape(-1, 3), y.ravel())
        b = torch.nn.functional.cross_entropy(their_head(theirs(torch.tensor(x))[0]).reshape(-1, 3), torch.tensor(y.ravel()))
        for loss, optimizer in ((a, mine), (b, other)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        worst = max(worst, abs(a.item() - b.item()) / b.item())
    assert worst < 1e-9
