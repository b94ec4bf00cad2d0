"""Recurrent layers of every library at hand, at a point of a grid: a training step, or inference.

A training step is the forward pass and all gradients, those of the input too, from a given cotangent of the output; old
gradients are cleared before. Inference keeps no graph. All competitors of a declared cell get the same parameters.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_lstm as tl
from tinygrad_lstm.cell import Cell
from tinygrad_lstm.graph import Node, reachable

from . import OURS, Case, factory
from .translate import loop, scanned, torch_dialect

TORCH, TORCH_LOOP, JAX, ONNX = "torch nn.LSTM", "torch, loop of ops", "jax.lax.scan", "ONNX Runtime"
Trial = Callable[[], Any]


class Point(NamedTuple):
    """Sizes of a recurrent layer and of what it reads."""

    batch: int
    steps: int
    input: int
    hidden: int
    layers: int = 1

    @property
    def title(self) -> str:
        size = f"H={self.hidden}" if self.input == self.hidden else f"input {self.input} H={self.hidden}"
        return f"B={self.batch} T={self.steps} {size}" + (f" {self.layers} layers" if self.layers > 1 else "")

    @property
    def widths(self) -> list[int]:
        """The width of the input of every layer."""
        return [self.input] + [self.hidden] * (self.layers - 1)


def _square(*sizes: tuple[int, ...]) -> list[Point]:
    return [Point(b, t, h, h, *rest) for b, t, h, *rest in sizes]


GRID = _square(
    (1, 100, 64), (1, 100, 256), (1, 150, 256), (16, 100, 64), (20, 35, 200), (32, 100, 128), (32, 100, 256),
    (64, 50, 512), (64, 25, 1024), (128, 50, 256), (50, 50, 128, 2),
)  # fmt: skip
ODD = [*_square((16, 60, 100), (32, 50, 320), (8, 40, 650)), Point(24, 70, 50, 200)]
QUICK = _square((1, 100, 64), (16, 100, 64), (20, 35, 200))


def points(quick: bool, odd: bool) -> list[Point]:
    return QUICK if quick else [*GRID, *(ODD if odd else ())]


# -------------------------------------------------------------------------------------------------------------- cells
# fmt: off
@tl.cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", V="hidden hidden", b="hidden")
def multiplicative_lstm(x, /, h, c, *, W, U, V, b):
    """Krause, Lu, Murray & Renals 2016: the input chooses the recurrent weights, through a product of two projections."""
    m = (W.m @ x) * (U.m @ h)
    i = tl.sigmoid(W.i @ x + V.i @ m + b.i)
    f = tl.sigmoid(W.f @ x + V.f @ m + b.f)
    g = tl.tanh(W.g @ x + V.g @ m + b.g)
    o = tl.sigmoid(W.o @ x + V.o @ m + b.o)
    c = f * c + i * g
    h = o * tl.tanh(c)
    return h, c
# fmt: on


def named(cell: str) -> Cell:
    """A cell of the library, or the one declared here."""
    found = multiplicative_lstm if cell == multiplicative_lstm.name else getattr(tl.cells, cell)
    assert isinstance(found, Cell)
    return found


def flops(cell: Cell, point: Point, training: bool) -> float:
    """Of the products alone: 2 a multiply-add; backward has two products for each of the forward pass."""
    total = 0
    for width in point.widths:
        sizes = {"input": width, "hidden": point.hidden}
        for n in reachable(cell.graph.roots):
            if n.op is not None and n.op.name == "linear" and isinstance(n.args[0], Node):
                rows, columns = (sizes[a] for a in n.args[0].shape)
                total += 2 * rows * columns
    return float(total * point.steps * point.batch * (3 if training else 1))


def parameters(cell: Cell, point: Point) -> list[dict[str, np.ndarray]]:
    """The families of every layer, as `tl.nn.Recurrent` starts them."""
    layer = tl.nn.Recurrent(cell, input=point.input, hidden=point.hidden, num_layers=point.layers, seed=0)
    arrays = layer.state_dict()
    return [{f: arrays[f"{f}_l{k}"] for f in cell.families} for k in range(point.layers)]


def data(point: Point) -> tuple[np.ndarray, np.ndarray]:
    """The input and the cotangent of the output."""
    rng = np.random.default_rng(1)
    shapes = [(point.steps, point.batch, point.input), (point.steps, point.batch, point.hidden)]
    x, g = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    return x, g


# --------------------------------------------------------------------------------------------------------------- ours
def threads() -> int:
    return int(os.environ["BENCHMARK_THREADS"])


def of_ours(layer: Any, point: Point, training: bool) -> Trial:
    tl.set_num_threads(threads())
    x, g = data(point)
    if not training:

        def infer() -> Any:
            with tl.no_grad():
                return layer(x)

        return infer
    xs = tl.tensor(x, requires_grad=True)
    leaves = [xs, *layer.parameters()]

    def train() -> None:
        for leaf in leaves:
            leaf.grad = None
        out, _ = layer(xs)
        out.backward(g)

    return train


def lstm_ours(training: bool, *sizes: int) -> Trial:
    p = Point(*sizes)
    return of_ours(tl.nn.LSTM(p.input, p.hidden, num_layers=p.layers, seed=0), p, training)


def cell_ours(training: bool, cell: str, *sizes: int) -> Trial:
    p = Point(*sizes)
    layer = tl.nn.Recurrent(named(cell), input=p.input, hidden=p.hidden, num_layers=p.layers, seed=0)
    return of_ours(layer, p, training)


# -------------------------------------------------------------------------------------------------------------- torch
def torch_with_threads() -> Any:
    import torch

    torch.set_num_threads(threads())
    return torch


def of_torch(forward: Callable[[Any], Any], leaves: list[Any], point: Point, training: bool) -> Trial:
    torch = torch_with_threads()
    x, g = (torch.from_numpy(a) for a in data(point))
    if not training:

        def infer() -> Any:
            with torch.no_grad():
                return forward(x)

        return infer
    x.requires_grad_()

    def train() -> None:
        for leaf in (x, *leaves):
            leaf.grad = None
        forward(x).backward(g)

    return train


def lstm_torch(training: bool, *sizes: int) -> Trial:
    torch, p = torch_with_threads(), Point(*sizes)
    layer = torch.nn.LSTM(p.input, p.hidden, num_layers=p.layers)
    return of_torch(lambda x: layer(x)[0], list(layer.parameters()), p, training)


def cell_torch(training: bool, cell: str, *sizes: int) -> Trial:
    torch, p, declared = torch_with_threads(), Point(*sizes), named(cell)
    layers = [{f: torch.tensor(a, requires_grad=training) for f, a in ps.items()} for ps in parameters(declared, p)]
    run = loop(declared, torch_dialect(), torch.stack)
    start = tuple(torch.zeros(p.batch, p.hidden) for _ in declared.states)

    def forward(x: Any) -> Any:
        for families in layers:
            x, _ = run((x,), start, families)
        return x

    return of_torch(forward, [a for families in layers for a in families.values()], p, training)


# ---------------------------------------------------------------------------------------------------------------- jax
def cell_jax(training: bool, cell: str, *sizes: int) -> Trial:
    import jax

    p, declared = Point(*sizes), named(cell)
    run = scanned(declared)
    x, g = (jax.device_put(a) for a in data(p))
    layers = jax.device_put(parameters(declared, p))
    start = tuple(np.zeros((p.batch, p.hidden), np.float32) for _ in declared.states)

    def forward(layers: Any, x: Any) -> Any:
        for families in layers:
            x, _ = run((x,), start, families)
        return x

    def step(layers: Any, x: Any, g: Any) -> Any:
        out, pull = jax.vjp(forward, layers, x)
        return out, pull(g)

    if training:
        train = jax.jit(step)
        return lambda: jax.block_until_ready(train(layers, x, g))
    infer = jax.jit(forward)
    return lambda: jax.block_until_ready(infer(layers, x))


# ------------------------------------------------------------------------------------------------------- ONNX Runtime
def onnx_session(point: Point, states: bool = False) -> Any:
    """A session of ONNX's LSTM operator, its layers chained; with `states` they go in and come out (h0 c0 ... h1 c1 ...)."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, extra, results = [], [], [], []
    order = [0, 3, 1, 2]  # i f g o -> i o f c
    x = "x"
    for k, families in enumerate(parameters(tl.cells.lstm, point)):
        gates = {f: np.concatenate([np.split(a, 4)[j] for j in order]) for f, a in families.items()}
        arrays = {"W": gates["W"], "R": gates["U"], "B": np.concatenate([gates["b"], np.zeros_like(gates["b"])])}
        weights += [numpy_helper.from_array(a[None], f"{name}{k}") for name, a in arrays.items()]
        initial = ["", f"h{k}", f"c{k}"] if states else []
        final = [f"new_h{k}", f"new_c{k}"] if states else []
        inputs = [x, f"W{k}", f"R{k}", f"B{k}", *initial]
        nodes.append(helper.make_node("LSTM", inputs, [f"y{k}", *final], hidden_size=point.hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{k}", "one"], [f"out{k}"]))
        extra += initial[1:]
        results += final
        x = f"out{k}"
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "one"))

    def floats(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    state = (1, point.batch, point.hidden)
    graph = helper.make_graph(
        nodes, "lstm",
        [floats("x", point.steps, point.batch, point.input), *(floats(name, *state) for name in extra)],
        [floats(x, point.steps, point.batch, point.hidden), *(floats(name, *state) for name in results)],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def lstm_onnx(*sizes: int) -> Trial:
    p = Point(*sizes)
    session, x = onnx_session(p), data(p)[0]
    return lambda: session.run(None, {"x": x})


# ------------------------------------------------------------------------------------------------ the best there can be
SIDE = 2048


def _sides() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((SIDE, SIDE)).astype(np.float32) for _ in range(2)]


def product_numpy() -> Trial:
    a, b = _sides()
    return lambda: a @ b


def product_torch() -> Trial:
    torch = torch_with_threads()
    a, b = map(torch.from_numpy, _sides())
    return lambda: a @ b


def product_jax() -> Trial:
    import jax

    a, b = map(jax.device_put, _sides())
    product = jax.jit(lambda a, b: a @ b)
    return lambda: jax.block_until_ready(product(a, b))


def product_ours() -> Trial:
    """Our own tiles, where layers use them: the input product of a sequence, packing included, and nothing else."""
    tl.set_num_threads(threads())

    @tl.cell(x="input", W="output input")
    def project(x, /, *, W):
        y = W @ x
        return y

    layer = tl.nn.Recurrent(project, input=SIDE, output=SIDE, seed=0)
    x = _sides()[0].reshape(1, SIDE, SIDE)

    def trial() -> Any:
        with tl.no_grad():
            return layer(x)

    return trial


PRODUCT = f"Product of {SIDE} x {SIDE} float32 matrices: the best rate of this machine"


def product_case() -> Case:
    makers = {OURS: product_ours, "NumPy": product_numpy, "torch": product_torch, "jax": product_jax}
    return Case(PRODUCT, {name: factory(maker) for name, maker in makers.items()}, flops=2.0 * SIDE**3, trials=9)
