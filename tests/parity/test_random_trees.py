"""Random expressions, built by one generator for both libraries: values, gradients, second derivatives."""

import numpy as np
import pytest

import tinygrad_lstm as tl

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")

SHAPES = [(), (3,), (2, 1), (2, 3), (4, 1, 3)]
UNARY = [
    "tanh",
    "sigmoid",
    "sin",
    "cos",
    "square",
    "exp",
    "abs",
    "erf",
    "log1p_of_square",
    "relu",
    "mean",
    "sum",
    "reverse",
    "softmax",
]
BINARY = ["add", "sub", "mul", "div", "maximum", "where", "matmul"]


class Ours:
    tanh, sigmoid, sin, cos, square, abs, erf, relu = map(
        staticmethod, (tl.tanh, tl.sigmoid, tl.sin, tl.cos, tl.square, tl.abs, tl.erf, tl.relu)
    )
    exp = staticmethod(lambda x: tl.exp(-x * x))
    log1p_of_square = staticmethod(lambda x: tl.log1p(x * x))
    mean = staticmethod(lambda x: x.mean(-1, keepdims=True) if x.ndim else x)
    sum = staticmethod(lambda x: x.sum(0) if x.ndim else x)
    reverse = staticmethod(lambda x: x.T * 0.5 if x.ndim == 2 else x[..., ::-1] if x.ndim else x)
    softmax = staticmethod(lambda x: tl.softmax(x, -1) if x.ndim else x)
    maximum, where = staticmethod(tl.maximum), staticmethod(tl.where)


class Theirs:
    tanh, sigmoid, sin, cos, square, abs, erf, relu = map(
        staticmethod, (torch.tanh, torch.sigmoid, torch.sin, torch.cos, torch.square, torch.abs, torch.erf, torch.relu)
    )
    exp = staticmethod(lambda x: torch.exp(-x * x))
    log1p_of_square = staticmethod(lambda x: torch.log1p(x * x))
    mean = staticmethod(lambda x: x.mean(-1, keepdim=True) if x.ndim else x)
    sum = staticmethod(lambda x: x.sum(0) if x.ndim else x)
    reverse = staticmethod(lambda x: x.T * 0.5 if x.ndim == 2 else x.flip(-1) if x.ndim else x)
    softmax = staticmethod(lambda x: torch.softmax(x, -1) if x.ndim else x)
    maximum, where = staticmethod(torch.maximum), staticmethod(torch.where)


def broadcasts(a, b):
    return all(p == q or 1 in (p, q) for p, q in zip(a.shape[::-1], b.shape[::-1], strict=False))


def build(seed, library, leaves):
    """The same choices for either library: they depend on the seed and on shapes alone."""
    rng = np.random.default_rng(seed)
    values = list(leaves)
    for _ in range(rng.integers(3, 25)):
        a, b = (values[i] for i in rng.integers(0, len(values), 2))
        if rng.random() < 0.5:
            values.append(getattr(library, UNARY[rng.integers(len(UNARY))])(a))
            continue
        name = BINARY[rng.integers(len(BINARY))]
        if name == "matmul" and a.ndim == 2 and b.ndim == 2:
            left = a.T if a.shape[1] != b.shape[0] and a.shape[0] == b.shape[0] else a
            if left.shape[1] == b.shape[0]:
                values.append(left @ b * 0.3)
            continue
        if not broadcasts(a, b):
            continue
        match name:
            case "add":
                values.append(a + b)
            case "sub":
                values.append(a - 0.5 * b)
            case "mul":
                values.append(a * b * 0.7)
            case "div":
                values.append(a / (1.5 + b * b))
            case "maximum":
                values.append(library.maximum(a, b + 0.01))
            case "where":
                values.append(library.where(a > b, a * 2, b))
    total = 0.0
    for v in values[len(leaves) :]:
        total = total + (v * v).sum()
    return total


@pytest.mark.parametrize("seed", range(150))
def test_a_random_tree(seed):
    rng = np.random.default_rng(1000 + seed)
    dtype = (np.float64, np.float32)[seed % 5 == 4]
    arrays = [rng.standard_normal(SHAPES[i]).astype(dtype) * dtype(0.7) for i in rng.integers(0, len(SHAPES), 3)]
    mine = [tl.tensor(a, requires_grad=True) for a in arrays]
    its = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = build(seed, Ours, mine), build(seed, Theirs, its)
    if isinstance(y, float):
        pytest.fail("an empty tree tests nothing: choose other seeds")
    tolerance = 5e-4 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(y.item(), z.item(), rtol=tolerance)
    y.backward(create_graph=True)
    first = torch.autograd.grad(z, its, create_graph=True, allow_unused=True)
    second = 0.0
    plain = [leaf.grad for leaf in mine]
    for m, i in zip(mine, first, strict=True):
        if m.grad is None:
            assert i is None
            continue
        theirs = np.zeros(m.shape) if i is None else i.detach().numpy()
        np.testing.assert_allclose(m.grad.numpy(), theirs, rtol=tolerance, atol=tolerance * (1 + np.abs(theirs).max()))
        if i is not None and i.requires_grad:
            second = second + (i * i).sum()
    # the plain sweep, on arrays, says the same as the recorded one
    for leaf in mine:
        leaf.grad = None
    build(seed, Ours, mine).backward()
    for leaf, recorded in zip(mine, plain, strict=True):
        if recorded is None:
            assert leaf.grad is None
            continue
        np.testing.assert_allclose(
            leaf.grad.numpy(), recorded.numpy(), rtol=tolerance, atol=tolerance * (1 + np.abs(recorded.numpy()).max())
        )
    if dtype == np.float32 or isinstance(second, float):
        return
    ours = tl.grad(
        lambda *xs: sum((g * g).sum() for g in tl.grad(lambda *ys: build(seed, Ours, ys), (0, 1, 2))(*xs)), (0, 1, 2)
    )(*arrays)
    theirs = torch.autograd.grad(second, its, allow_unused=True)
    for m, i in zip(ours, theirs, strict=True):
        expected = np.zeros(m.shape) if i is None else i.numpy()
        np.testing.assert_allclose(m.numpy(), expected, rtol=1e-8, atol=1e-8 * (1 + np.abs(expected).max()))
