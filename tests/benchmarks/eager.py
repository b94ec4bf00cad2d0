"""The eager engine: a chain of small operations, big elementwise functions, and the cost of an import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import OURS, Bar, Case, factory

ROUNDS = 13  # of tanh, @ and *, then a product and a sum: 41 operations
MILLION = 10**6


def chain_data() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((32, 32)) * scale).astype(np.float32) for scale in (1.0, 0.18, 1.0)]


def chain(tanh: Callable[..., Any], x: Any, w: Any, v: Any) -> Any:
    h = x
    for _ in range(ROUNDS):
        h = tanh(h @ w) * v
    return (h * h).sum()


# -------------------------------------------------------------------------------------------------- 41 small operations
def chain_ours() -> Callable[[], Any]:
    import tinygrad_lstm as tl

    leaves = [tl.tensor(a, requires_grad=True) for a in chain_data()]

    def trial() -> None:
        for leaf in leaves:
            leaf.grad = None
        chain(tl.tanh, *leaves).backward()

    return trial


def chain_torch() -> Callable[[], Any]:
    torch = torch_with_threads()
    leaves = [torch.tensor(a, requires_grad=True) for a in chain_data()]

    def trial() -> None:
        for leaf in leaves:
            leaf.grad = None
        chain(torch.tanh, *leaves).backward()

    return trial


def chain_autograd() -> Callable[[], Any]:
    import autograd
    import autograd.numpy as anp

    data = chain_data()
    gradient = autograd.grad(lambda *args: anp.sum(chain(anp.tanh, *args)), (0, 1, 2))
    return lambda: gradient(*data)


def chain_numpy() -> Callable[[], Any]:
    """The same by hand: no graph, no dispatch; what NumPy itself takes."""
    x, w, v = chain_data()

    def trial() -> None:
        inputs, hidden = [], []
        h = x
        for _ in range(ROUNDS):
            inputs.append(h)
            hidden.append(np.tanh(h @ w))
            h = hidden[-1] * v
        (h * h).sum()
        g, dw, dv = 2 * h, 0, 0
        for h, z in zip(reversed(inputs), reversed(hidden), strict=True):
            dv = dv + g * z
            g = g * v * (1 - z * z)
            dw = dw + h.T @ g
            g = g @ w.T

    return trial


# ------------------------------------------------------------------------------------------------- a million numbers
def million() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(MILLION).astype(np.float32)


def torch_with_threads() -> Any:
    import torch

    torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
    return torch


def _ours(name: str) -> Callable[[], Any]:
    import tinygrad_lstm as tl

    @tl.fuse
    def swish(x: Any) -> Any:
        return x * tl.sigmoid(x)

    function, x = {"tanh": tl.tanh, "sigmoid": tl.sigmoid, "swish": swish}[name], tl.tensor(million())
    return lambda: function(x)


def _torch(name: str) -> Callable[[], Any]:
    torch = torch_with_threads()
    function = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "swish": torch.nn.functional.silu}[name]
    x = torch.from_numpy(million())
    return lambda: function(x)


def _numpy(name: str) -> Callable[[], Any]:
    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    function, x = {"tanh": np.tanh, "sigmoid": sigmoid, "swish": lambda x: x * sigmoid(x)}[name], million()
    return lambda: function(x)


def tanh_ours() -> Callable[[], Any]:
    return _ours("tanh")


def tanh_torch() -> Callable[[], Any]:
    return _torch("tanh")


def tanh_numpy() -> Callable[[], Any]:
    return _numpy("tanh")


def sigmoid_ours() -> Callable[[], Any]:
    return _ours("sigmoid")


def sigmoid_torch() -> Callable[[], Any]:
    return _torch("sigmoid")


def sigmoid_numpy() -> Callable[[], Any]:
    return _numpy("sigmoid")


def swish_ours() -> Callable[[], Any]:
    return _ours("swish")


def swish_torch() -> Callable[[], Any]:
    return _torch("swish")


def swish_numpy() -> Callable[[], Any]:
    return _numpy("swish")


def swish_torch_two() -> Callable[[], Any]:
    torch = torch_with_threads()
    x = torch.from_numpy(million())
    return lambda: x * torch.sigmoid(x)


# ------------------------------------------------------------------------------------------------------------- import
def _import(statement: str) -> Callable[[], float]:
    timed = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return lambda: float(
        subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout
    )


def import_ours() -> Callable[[], float]:
    return _import("import numpy, tinygrad_lstm")


def import_numpy() -> Callable[[], float]:
    return _import("import numpy")


def import_torch() -> Callable[[], float]:
    import torch  # noqa: F401

    return _import("import torch")


def _case(title: str, name: str, **extra: Callable[[], Any]) -> Case:
    here = globals()
    makers = {OURS: here[f"{name}_ours"], "NumPy, as written": here[f"{name}_numpy"], "torch": here[f"{name}_torch"], **extra}
    return Case(title, {label: factory(maker) for label, maker in makers.items()}, [Bar("torch")])


def cases(quick: bool, odd: bool) -> list[Case]:
    return [
        Case(
            "A chain of 41 operations (tanh, @, *) on 32 x 32, forward and backward",
            {
                OURS: factory(chain_ours),
                "HIPS autograd": factory(chain_autograd),
                "torch": factory(chain_torch),
                "NumPy, by hand": factory(chain_numpy),
            },
            [Bar("torch"), Bar("HIPS autograd", 2.5)],
        ),
        _case("tanh of a million float32", "tanh"),
        _case("sigmoid of a million float32", "sigmoid"),
        _case("x * sigmoid(x) of a million float32, fused", "swish", **{"torch, two operations": swish_torch_two}),
        Case(
            "import tinygrad_lstm",
            {OURS: factory(import_ours), "NumPy": factory(import_numpy), "torch": factory(import_torch)},
            [Bar("NumPy", above=0.2)],
            trials=7,
        ),
    ]
