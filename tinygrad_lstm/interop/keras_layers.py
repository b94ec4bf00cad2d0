"""Keras' arrays in our layers and back: kernels transposed, gates in their order, biases as each side has them.

Keras                                    torch, and here
kernel (input, gates*units)              weight_ih (gates*units, input)
LSTM   i, f, c, o                        i, f, g, o
GRU    z, r, h                           r, z, n
bias (gates*units)                       bias_ih, bias_hh: their sum
bias (2, 3*units), a GRU's reset_after   bias_ih, bias_hh
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .. import cells
from ..cell import Cell
from ..errors import ArgumentError, ShapeError, message
from ..nn.layers import Embedding, LayerNorm, Linear
from ..nn.module import Module, as_array
from ..nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell

M = TypeVar("M", bound=Module)
Arrays = Sequence[Any]


@dataclass(frozen=True)
class _Kind:
    """What Keras calls a cell, where our gates stand among its, and what its settings must be."""

    name: str
    order: tuple[int, ...]
    settings: dict[str, Any]


GATED = {"activation": "tanh", "recurrent_activation": "sigmoid"}
# fmt: off
KINDS: dict[Cell, _Kind] = {
    cells.lstm:             _Kind("LSTM", (0, 1, 2, 3), GATED),
    cells.gru:              _Kind("GRU", (1, 0, 2), GATED | {"reset_after": True}),
    cells.gru_reset_before: _Kind("GRU", (1, 0, 2), GATED | {"reset_after": False}),
    cells.rnn:              _Kind("SimpleRNN", (0,), {"activation": "tanh"}),
    cells.rnn_relu:         _Kind("SimpleRNN", (0,), {"activation": "relu"}),
}
# fmt: on
KERAS = {kind.name for kind in KINDS.values()}


# ------------------------------------------------------------------------------------------------------------ both ways
def from_keras(layer: M, *weights: Arrays) -> M:
    """Give a layer the weights of Keras' layer of the same kind, which then computes the same.

        lstm = tl.interop.from_keras(tl.nn.LSTM(8, 16), theirs.get_weights())
        stack = tl.interop.from_keras(tl.nn.LSTM(8, 16, num_layers=2), weights["lstm"], weights["lstm_1"])

    Parameters
    ----------
    layer : for Keras' `LSTM GRU SimpleRNN` and their cells our `LSTM GRU RNN LSTMCell GRUCell RNNCell`, or
        `Recurrent(tl.cells.lstm | gru | rnn | rnn_relu)`; for a GRU with `reset_after=False`
        `Recurrent(tl.cells.gru_reset_before)`; for `Bidirectional` a layer with `bidirectional=True`; for `Dense Embedding
        LayerNormalization` our `Linear Embedding LayerNorm`. Of the right sizes, with `bias=False` for `use_bias=False`.
    *weights : the arrays in the order of `get_weights()`, from there or from `load_keras`; for `num_layers=2` those of one layer
        after the other. What `load_keras` knows of the settings (activations, `epsilon`, ...) is compared with the layer's;
        `list(weights["lstm"])` has the numbers alone.

    Returns
    -------
    The layer. Its states are Keras' [h, c] with an axis for the layers in front, (layers*D, B, H).

    Raises
    ------
    ShapeError : arrays that do not fit the layer. ArgumentError : a layer that Keras has not, or settings that differ. Nothing
        has changed then.

    Examples
    --------
    >>> kernel, bias = np.ones((3, 2), np.float32), np.zeros(2, np.float32)
    >>> tl.interop.from_keras(tl.nn.Linear(3, 2), [kernel, bias])([1.0, 2.0, 3.0]).tolist()
    [6.0, 6.0]
    """
    arrays = []
    for k, each in enumerate(weights):
        if not isinstance(each, list | tuple):
            raise ArgumentError(
                message(
                    "from_keras",
                    "takes the arrays of a layer as a list",
                    {f"weights[{k}]": each},
                    "keras_layer.get_weights(), or one item of tl.interop.load_keras(path)",
                )
            )
        _check_settings(layer, each)
        arrays += [as_array("from_keras", f"weights[{k}][{n}]", array) for n, array in enumerate(each)]
    state = _parts(layer).read(arrays)
    layer.load_state_dict(state)
    return layer


def to_keras(layer: Module) -> list[np.ndarray]:
    """The weights of a layer as Keras' layer of the same kind takes them: `theirs.set_weights(tl.interop.to_keras(ours))`.

    Parameters
    ----------
    layer : one that `from_keras` fills.

    Returns
    -------
    list : the arrays in the order of `get_weights()`; of `num_layers=2` those of one layer after the other, which is how a model
        of two layers takes them. Two biases become their sum where Keras has one.

    Raises
    ------
    ArgumentError : a layer that Keras has not.

    Examples
    --------
    >>> [array.shape for array in tl.interop.to_keras(tl.nn.GRU(3, 5, bidirectional=True))]
    [(3, 15), (5, 15), (2, 15), (3, 15), (5, 15), (2, 15)]
    """
    state = layer.state_dict() if isinstance(layer, Module) else {}
    return [np.ascontiguousarray(array) for array in _parts(layer, "to_keras").write(state)]


class _Plain:
    """A layer whose arrays are Keras', or their transposes."""

    def __init__(self, layer: Module, names: Sequence[str], shapes: Sequence[tuple[int, ...]], turned: bool = False):
        self.layer, self.shapes, self.turned = layer, list(shapes), turned
        self.names = [name for name in names if getattr(layer, name) is not None]

    def read(self, arrays: Arrays) -> dict[str, np.ndarray]:
        _fit(self.layer, arrays, self.shapes[: len(self.names)])
        return {name: a.T if self.turned else a for name, a in zip(self.names, arrays, strict=True)}

    def write(self, state: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [state[name].T if self.turned else state[name] for name in self.names]


class _Gates:
    """A recurrent layer: for each layer and direction a kernel, a recurrent kernel, and a bias if there are biases."""

    def __init__(self, layer: Any):
        self.layer, self.order = layer, np.array(KINDS[layer.cell].order)
        self.suffixes = [""] if isinstance(layer, LSTMCell | GRUCell | RNNCell) else layer.suffixes
        self.own = isinstance(layer, Recurrent)  # the cell's parameters, not torch's
        self.input, self.units = (
            (layer.sizes["input"], layer.sizes["hidden"]) if self.own else (layer.input_size, layer.hidden_size)
        )
        self.twice = layer.cell is cells.gru  # a bias for each kernel

    def _turn(self, array: np.ndarray) -> np.ndarray:
        """Gates along the first axis, in the other side's order; z, r and r, z are their own inverse."""
        return array.reshape(len(self.order), self.units, *array.shape[1:])[self.order].reshape(array.shape)

    def _shapes(self, suffix: str, biased: bool) -> list[tuple[int, ...]]:
        rows = len(self.order) * self.units
        directions = getattr(self.layer, "directions", 1)
        width = self.input if suffix in ("", "_l0", "_l0_reverse") else self.units * directions
        bias = [(2, rows) if self.twice else (rows,)] if biased else []
        return [(width, rows), (self.units, rows), *bias]

    def read(self, arrays: Arrays) -> dict[str, np.ndarray]:
        biased = self.layer.bias if not self.own else len(arrays) != 2 * len(self.suffixes)
        _fit(self.layer, arrays, [shape for suffix in self.suffixes for shape in self._shapes(suffix, biased)])
        state: dict[str, np.ndarray] = {}
        each = 2 + biased
        for k, suffix in enumerate(self.suffixes):
            kernel, recurrent, *bias = arrays[k * each : (k + 1) * each]
            W, U = self._turn(kernel.T), self._turn(recurrent.T)
            b, d = self._biases(bias[0] if bias else None)
            if self.own:
                state |= {"W" + suffix: W, "U" + suffix: U} | self._merged(b, d, suffix)
            else:
                state |= {"weight_ih" + suffix: W, "weight_hh" + suffix: U}
                state |= {"bias_ih" + suffix: b, "bias_hh" + suffix: d} if biased else {}
        return state

    def _biases(self, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Of the input and of the state; Keras' one bias is the first."""
        zeros = np.zeros(len(self.order) * self.units, self.layer.dtype)
        if bias is None:
            return zeros, zeros
        return (self._turn(bias[0]), self._turn(bias[1])) if self.twice else (self._turn(bias), zeros)

    def _merged(self, b: np.ndarray, d: np.ndarray, suffix: str) -> dict[str, np.ndarray]:
        """As the cell has them: of the state's biases only that of the candidate is one of its own."""
        if not self.twice:
            return {"b" + suffix: b}
        gates = 2 * self.units
        return {"b" + suffix: np.concatenate([b[:gates] + d[:gates], b[gates:]]), "d" + suffix: d[gates:]}

    def write(self, state: dict[str, np.ndarray]) -> list[np.ndarray]:
        out = []
        for suffix in self.suffixes:
            if self.own:
                W, U, b = (state[family + suffix] for family in "WUb")
                d = (
                    np.concatenate([np.zeros_like(b[: 2 * self.units]), state["d" + suffix]])
                    if self.twice
                    else np.zeros_like(b)
                )
            else:
                W, U = state["weight_ih" + suffix], state["weight_hh" + suffix]
                b, d = (state.get(f"bias_{kind}{suffix}", np.zeros(len(W), W.dtype)) for kind in ("ih", "hh"))
            out += [self._turn(W).T, self._turn(U).T]
            if self.own or self.layer.bias:
                out.append(np.stack([self._turn(b), self._turn(d)]) if self.twice else self._turn(b + d))
        return out


def _parts(layer: Any, call: str = "from_keras") -> _Plain | _Gates:
    if isinstance(layer, Linear):
        return _Plain(
            layer, ["weight", "bias"], [(layer.in_features, layer.out_features), (layer.out_features,)], turned=True
        )
    if isinstance(layer, Embedding):
        return _Plain(layer, ["weight"], [(layer.num_embeddings, layer.embedding_dim)])
    if isinstance(layer, LayerNorm):
        return _Plain(layer, ["weight", "bias"], [layer.normalized_shape] * 2)
    if isinstance(layer, LSTM | GRU | RNN | LSTMCell | GRUCell | RNNCell | Recurrent) and layer.cell in KINDS:
        return _Gates(layer)
    what = f"a {type(layer).__name__} of the cell {layer.cell.name}" if hasattr(layer, "cell") else "this"
    raise ArgumentError(
        message(
            call,
            f"{what} is no layer that Keras has too",
            {"layer": layer},
            "LSTM, GRU, RNN, their cells, Recurrent of such a cell, Linear, Embedding or LayerNorm; a model layer by layer",
        )
    )


def _fit(layer: Any, arrays: Arrays, shapes: Sequence[tuple[int, ...]]) -> None:
    given = [array.shape for array in arrays]
    if given != list(shapes):
        raise ShapeError(
            message(
                "from_keras",
                f"the arrays do not fit {type(layer).__name__}({layer.extra_repr()}); nothing was changed",
                {"given": _Text(given), "expected": _Text(shapes)},
                _remedy(layer, given, shapes),
            )
        )


class _Text:
    """Shapes, as a message shows them."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]):
        self.shape, self.dtype = tuple(shapes), "in the order of get_weights()"


def _remedy(layer: Any, given: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> str:
    cell = getattr(layer, "cell", None)
    short = [shape for shape in given if len(shape) == 1]
    if cell is cells.gru and short:
        return "a GRU with reset_after=False is tl.nn.Recurrent(tl.cells.gru_reset_before, input=..., hidden=...)"
    if cell is cells.gru_reset_before and not short:
        return "a GRU with reset_after=True is tl.nn.GRU"
    if isinstance(layer, LayerNorm) and len(given) == 1:
        return "a layer with center=False is tl.nn.LayerNorm(n, bias=False)"
    if len(given) < len(shapes) and len(given) == sum(len(shape) > 1 for shape in shapes):
        return "a layer with use_bias=False is one with bias=False here"
    if len(given) == 2 * len(shapes):
        return "a Bidirectional of Keras is a layer with bidirectional=True"
    return "the sizes of a layer are those of Keras' layer: tl.nn.LSTM(input, units), tl.nn.Linear(input, units)"


# ------------------------------------------------------------------------------------------------------------- settings
def _check_settings(layer: Any, weights: Any) -> None:
    """What the file says of a Keras layer must be what ours does; its numbers alone would compute something else."""
    outer = getattr(weights, "kind", "")
    for kind, config in _within(outer, getattr(weights, "config", {}), 0):
        differences = _differences(layer, kind, config)
        if kind == outer and kind in KERAS and getattr(layer, "bidirectional", False):
            differences.append(("the class", kind, f"{type(layer).__name__} of two directions"))
        for name, there, here in differences:
            raise ArgumentError(
                message(
                    "from_keras",
                    f"{name} is {there!r} in Keras' layer {config.get('name', kind)!r}, but {here!r} here",
                    remedy="make the layer alike; or take the numbers without their settings: from_keras(layer, list(weights))",
                )
            )


def _within(kind: str, config: dict[str, Any], depth: int) -> list[tuple[str, dict[str, Any]]]:
    """A layer and those that it wraps; of a backward one `go_backwards` says whether it does not."""
    found = [(kind, config)] if kind else []
    cells = config.get("cells")
    inner = [config.get("layer"), config.get("cell"), *(cells if isinstance(cells, list) else [])]
    backward = config.get("backward_layer")
    if isinstance(backward, dict) and isinstance(backward.get("config"), dict):
        settings = backward["config"]
        inner.append(backward | {"config": settings | {"go_backwards": not settings.get("go_backwards", True)}})
    for each in inner:
        if isinstance(each, dict) and isinstance(each.get("config"), dict) and depth < 4:
            found += _within(str(each.get("class_name")), each["config"], depth + 1)
    return found


def _differences(layer: Any, kind: str, config: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    wanted: dict[str, Any] = {}
    cell = kind.removesuffix("Cell")
    if kind == "Bidirectional":
        if not getattr(layer, "bidirectional", False):
            return [("the class", kind, f"{type(layer).__name__} of one direction")]
        wanted = {"merge_mode": "concat"}
    elif kind == "LayerNormalization":
        wanted = {"epsilon": getattr(layer, "eps", None), "scale": True}
    elif cell in KERAS:
        ours = KINDS.get(layer.cell) if hasattr(layer, "cell") else None
        if ours is None or ours.name != cell:
            return [("the class", kind, type(layer).__name__)]
        wanted = ours.settings | {"go_backwards": False}
    return [(name, config[name], value) for name, value in wanted.items() if config.get(name, value) != value]
