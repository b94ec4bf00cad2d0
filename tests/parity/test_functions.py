"""Reductions, products, shapes and indexing beside torch: values and gradients."""

import numpy as np
import pytest

import tinygrad_lstm as tl

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

A, B, C = (4, 3, 5), (5, 2), (4, 3, 5)
# fmt: off
CASES = {
    "sum": (lambda x: x.sum((0, 2)), lambda x: x.sum((0, 2)), A),
    "mean": (lambda x: x.mean(1, keepdims=True), lambda x: x.mean(1, keepdim=True), A),
    "prod": (lambda x: tl.prod(x, axis=1), lambda x: x.prod(1), A),
    "max": (lambda x: x.max(axis=(0, 2)), lambda x: torch.amax(x, (0, 2)), A),
    "min": (lambda x: x.min(), lambda x: torch.amin(x), A),
    "var": (lambda x: x.var(axis=1, ddof=1), lambda x: x.var(1), A),
    "std": (lambda x: x.std(axis=(0, 1)), lambda x: x.std((0, 1), correction=0), A),
    "logsumexp": (lambda x: tl.logsumexp(x * 100, axis=2), lambda x: torch.logsumexp(x * 100, 2), A),
    "softmax": (lambda x: tl.softmax(x * 30, axis=1), lambda x: torch.softmax(x * 30, 1), A),
    "log_softmax": (lambda x: tl.log_softmax(x * 30), lambda x: torch.log_softmax(x * 30, -1), A),
    "cumsum": (lambda x: tl.cumsum(x, axis=1), lambda x: torch.cumsum(x, 1), A),
    "matmul": (lambda x, w: x @ w, lambda x, w: x @ w, A, B),
    "matmul, batches": (lambda x, y: x @ y.swapaxes(1, 2), lambda x, y: x @ y.transpose(1, 2), A, C),
    "matmul, vector": (lambda x, v: x @ v, lambda x, v: x @ v, A, (5,)),
    "einsum": (lambda x, w: tl.einsum("abc,cd->bd", x, w), lambda x, w: torch.einsum("abc,cd->bd", x, w), A, B),
    "outer": (tl.outer, torch.outer, (3,), (4,)),
    "transpose": (lambda x: x.transpose(2, 0, 1) ** 3, lambda x: x.permute(2, 0, 1) ** 3, A),
    "concatenate": (lambda x, y: tl.concatenate([x, y * y, x], axis=1), lambda x, y: torch.cat([x, y * y, x], 1), A, C),
    "stack": (lambda x, y: tl.stack([x, y * y], axis=-1), lambda x, y: torch.stack([x, y * y], -1), A, C),
    "split": (lambda x: tl.split(x, [1, 3])[1] * 2, lambda x: torch.tensor_split(x, [1, 3])[1] * 2, A),
    "flip": (lambda x: tl.flip(x, (0, 2)) * x, lambda x: torch.flip(x, (0, 2)) * x, A),
    "take": (lambda x: tl.take(x, [0, 2, 2], axis=2), lambda x: torch.index_select(x, 2, torch.tensor([0, 2, 2])), A),
    "repeat": (lambda x: tl.repeat(x, 3, axis=1), lambda x: torch.repeat_interleave(x, 3, 1), A),
    "pad": (lambda x: tl.pad(x, ((0, 0), (0, 0), (1, 2)), mode="reflect"), lambda x: torch.nn.functional.pad(x, (1, 2), mode="reflect"), A),
    "index": (lambda x: x[[0, 0, 3], :, [1, 1, 4]] ** 2, lambda x: x[[0, 0, 3], :, [1, 1, 4]] ** 2, A),
    "mask": (lambda x: x[x > 0] * 3, lambda x: x[x > 0] * 3, A),
    "slice": (lambda x: x[1:, ::2, None, -1] ** 2, lambda x: x[1:, ::2, None, -1] ** 2, A),
    "broadcast": (lambda x, v: x * v + v, lambda x, v: x * v + v, A, (3, 1)),
}
# fmt: on


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_gradients(name, dtype, rng):
    ours, theirs, *shapes = CASES[name]
    arrays = [rng.standard_normal(s).astype(dtype) for s in shapes]
    mine = [tl.tensor(a, requires_grad=True) for a in arrays]
    its = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*its)
    assert y.shape == tuple(z.shape) and y.dtype == dtype
    weights = rng.standard_normal(y.shape).astype(dtype)
    y.backward(weights)
    z.backward(torch.tensor(weights))
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=tolerance, atol=tolerance)
    for m, i in zip(mine, its, strict=True):
        np.testing.assert_allclose(m.grad.numpy(), i.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_second_derivatives(rng):
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 4))

    def ours(x, w):
        return (tl.softmax(tl.tanh(x @ w)) * tl.log(x * x + 1)).sum()

    def theirs(x, w):
        return (torch.softmax(torch.tanh(x @ w), -1) * torch.log(x * x + 1)).sum()

    mine = tl.grad(lambda x, w: sum((g * g).sum() for g in tl.grad(ours, (0, 1))(x, w)), (0, 1))(x, w)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    first = torch.autograd.grad(theirs(*leaves), leaves, create_graph=True)
    its = torch.autograd.grad(sum((g * g).sum() for g in first), leaves)
    for m, i in zip(mine, its, strict=True):
        np.testing.assert_allclose(m.numpy(), i.numpy(), rtol=1e-10, atol=1e-12)
