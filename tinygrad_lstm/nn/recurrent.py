"""Recurrent layers: a declared cell over time, stacked and in both directions; and torch's RNN, LSTM and GRU by name.

`Recurrent` takes any cell. The drop-in classes are the cells of `tinygrad_lstm.cells` with torch's parameters, which a
few lines turn into the cell's families; nothing here knows an equation.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import cells
from ..cell import Cell, check_sizes
from ..errors import ArgumentError, ShapeError, message
from ..execute import Stepper
from ..functions import astype, concatenate, expand_dims, generator, stack, swapaxes, zeros
from ..scan import Watch, scan
from ..tensor import FLOATS, ArrayLike, Tensor, _wrap, changes, mode, no_grad, replace_value, taken
from .functional import dropout
from .module import Module


def _float_dtype(name: str, dtype: Any) -> np.dtype:
    try:
        if np.dtype(dtype) in FLOATS:
            return np.dtype(dtype)
    except TypeError:
        pass
    raise ArgumentError(
        message(name, "the dtype of a layer is float32 or float64", {"dtype": dtype}, "dtype=np.float32")
    )


def _floats(name: str, label: str, x: ArrayLike, dtype: np.dtype, remedy: str) -> Tensor:
    """x in the layer's dtype. Python numbers and float arrays; integers are tokens or a mistake."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.dtype.kind != "f":
        raise ArgumentError(message(name, f"{label} must be floats, it is {x.dtype}", {label: x}, remedy))
    return astype(x, dtype)


_EMBED = "embed tokens first: tl.nn.Embedding"
_AS_FLOATS = "use floats: x.astype(np.float32)"


def _forget_value(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not math.isfinite(value):
        raise ArgumentError(message(name, "forget_bias is a number", {"forget_bias": value}, "forget_bias=1.0"))
    return float(value)


def _count(name: str, what: str, n: Any, least: int = 1) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < least:
        raise ArgumentError(message(name, f"{what} must be an integer of at least {least}", {what: n}))
    return int(n)


def watching(layer: Any, suffix: str, batched: bool, stream: bool) -> Watch | None:
    """What the open recordings of a layer want of the part `suffix`, if anything.

    A recording has `wanted(layer, suffix)`, names of quantities, and `take(layer, suffix, batched, stream, cell, tape, place,
    tracked)`, which is told what the scan left.
    """
    wanted = [(r, r.wanted(layer, suffix)) for r in layer._recordings]
    names = tuple(sorted({name for _, own in wanted for name in own}))

    def take(*left: Any) -> None:
        for recording, own in wanted:
            if own:
                recording.take(layer, suffix, batched, stream, *left)

    return Watch(names, take) if names else None


_PREPARED = ("_stream", "_constants")  # what a layer keeps of its last calls


class _Constants:
    """The family arrays by suffix, as long as no parameter changes. (An object: a module's own dicts are searched for parts.)"""

    def __init__(self, changes: int):
        self.changes = changes
        self.arrays: dict[str, Mapping[str, Tensor]] = {}


class _Stack(Module):
    """Layers and directions of one cell: what `Recurrent` and the drop-in classes share.

    A subclass says how its parameters make the family arrays of a layer: `_arrays(suffix)`.
    """

    def __init__(
        self,
        cell: Cell,
        sizes: Mapping[str, int],
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        batch_first: bool,
        dtype: Any,
        rng: Any,
    ):
        name = type(self).__name__
        self.cell = cell
        self.sizes = check_sizes(cell, sizes)
        self.num_layers = _count(name, "num_layers", num_layers)
        self.bidirectional = bool(bidirectional)
        self.batch_first = bool(batch_first)
        if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ArgumentError(message(name, "dropout is a probability from 0 to 1", {"dropout": dropout}))
        self.dropout = float(dropout)
        self.dtype = _float_dtype(name, dtype)
        if self.dropout:
            self.rng = rng

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def suffixes(self) -> list[str]:
        """`_l0`, `_l0_reverse`, `_l1`, ...: the order of the states' first axis."""
        return [f"_l{k}{way}" for k in range(self.num_layers) for way in ("", "_reverse")[: self.directions]]

    def _size(self, axis: Any) -> int:
        return 1 if axis == 1 else self.sizes[axis]

    def _layer_sizes(self, layer: int) -> dict[str, int]:
        """The sizes of a layer's axes: above the first, the input is what the layer below puts out."""
        sizes = dict(self.sizes)
        if layer:
            axis = self.cell.axes[self.cell.inputs[0]][0]
            width = self.directions * self._size(self.cell.output_axis)
            if (axis == 1 or axis in self._fixed_axes()) and width != self._size(axis):
                raise ShapeError(
                    message(
                        self.cell.name,
                        f"cannot be stacked: its input has axis {axis!r} of size {self._size(axis)}, the layer below puts out {width}",
                    )
                )
            sizes[axis] = width
        return sizes

    def _fixed_axes(self) -> set[Any]:
        c = self.cell
        return {c.output_axis, *(c.axes[s][0] for s in c.states), *(c.axes[x][0] for x in c.inputs[1:])}

    def _arrays(self, suffix: str) -> dict[str, Tensor]:
        raise TypeError(f"{type(self).__name__} does not say how its parameters make the cell's")

    # ------------------------------------------------------------------------------------------------- arguments
    def _parts(self, xs: Any) -> list[Tensor]:
        """The inputs one by one, as floats of the layer's dtype."""
        c = self.cell
        given = list(xs) if isinstance(xs, tuple) or (isinstance(xs, list) and len(c.inputs) > 1) else [xs]
        if len(given) != len(c.inputs):
            names, many = ", ".join(c.inputs), "inputs" if len(c.inputs) > 1 else "input"
            remedy = (
                f"layer(({names}))"
                if len(c.inputs) > 1
                else f"layer({names}), initial states after it: layer({names}, states)"
            )
            raise ArgumentError(
                message(
                    type(self).__name__,
                    f"{c.name} has {len(c.inputs)} {many} ({names}), {len(given)} given",
                    remedy=remedy,
                )
            )
        return [
            _floats(type(self).__name__, label, x, self.dtype, _EMBED) for label, x in zip(c.inputs, given, strict=True)
        ]

    def _inputs(self, xs: Any, batch_first: bool) -> tuple[list[Tensor], bool]:
        """The inputs as (T, B, axis), and whether a batch axis was there. After the first an axis "1" may be left out."""
        name, c = type(self).__name__, self.cell
        out: list[Tensor] = []
        for label, x in zip(c.inputs, self._parts(xs), strict=True):
            axis = c.axes[label][0]
            if out and axis == 1 and x.ndim == out[0].ndim - 1:
                x = expand_dims(x, -1)
            if x.ndim not in (2, 3) or (out and x.ndim != out[0].ndim):
                raise ShapeError(
                    message(
                        name,
                        f"{label} has {x.ndim} axes",
                        {label: x},
                        f"{label} is {self._layout(axis)}, or has no batch axis",
                    )
                )
            if x.shape[-1] != self._size(axis):
                raise ShapeError(
                    message(
                        name,
                        f"axis {axis!r} is {self._size(axis)} but {label} has {x.shape[-1]}",
                        {label: x},
                        f"{label} is {self._layout(axis)}",
                    )
                )
            out.append(x)
        if len({x.shape[:-1] for x in out}) != 1:
            raise ShapeError(
                message(name, "the inputs differ in steps or batch", dict(zip(c.inputs, out, strict=True)))
            )
        if out[0].ndim == 2:
            return [expand_dims(x, 1) for x in out], False
        return [swapaxes(x, 0, 1) for x in out] if batch_first else out, True

    def _layout(self, axis: Any) -> str:
        last = "1" if axis == 1 else f"{axis}={self._size(axis)}"
        return f"(batch, steps, {last})" if self.batch_first else f"(steps, batch, {last})"

    def _states(self, states: Any, batch: int, batched: bool) -> list[list[Tensor]]:
        """The initial states of every layer and direction, (B, axis) each; zeros if None."""
        name, c = type(self).__name__, self.cell
        n = self.num_layers * self.directions
        widths = [self._size(c.axes[s][0]) for s in c.states]
        if states is None:
            return [[_wrap(np.zeros((batch, w), self.dtype)) for w in widths]] * n
        given = [states] if not isinstance(states, tuple | list) else list(states)
        if len(given) != len(widths):
            names = ", ".join(c.states)
            raise ArgumentError(
                message(
                    name,
                    f"{c.name} has {len(widths)} states ({names}), {len(given)} given",
                    remedy=f"layer(x, ({names}{',' if len(widths) == 1 else ''}))",
                )
            )
        out = []
        for label, value, w in zip(c.states, given, widths, strict=True):
            want = (n, batch, w) if batched else (n, w)
            value = zeros(want, self.dtype) if value is None else _floats(name, label, value, self.dtype, _AS_FLOATS)
            if value.shape != want:
                axes = f"(layers*directions, {'batch, ' if batched else ''}{c.axes[label][0]})"
                raise ShapeError(message(name, f"the initial {label} must be {want}: {axes}", {label: value}))
            out.append(value if batched else expand_dims(value, 1))
        return [[value[k] for value in out] for k in range(n)]

    def _lengths(self, lengths: Any, steps: int, batch: int, batched: bool) -> np.ndarray | None:
        if lengths is None:
            return None
        name = type(self).__name__
        array = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
        array = array if batched or array.ndim else array[None]
        if array.dtype.kind == "f" and (array == np.floor(array)).all():
            array = array.astype(np.intp)
        if array.dtype.kind not in "iu" or array.shape != (batch,):
            raise ShapeError(
                message(
                    name, f"lengths must be {batch} integer{'s' * (batch != 1)}, one a sequence", {"lengths": array}
                )
            )
        wrong = np.flatnonzero((array < 0) | (array > steps))
        if wrong.size:
            raise ShapeError(
                message(
                    name,
                    f"a length is from 0 to {steps}, the number of steps; sequence {wrong[0]} has {array[wrong[0]]}",
                    {"lengths": array},
                )
            )
        return taken(array.astype(np.intp), lengths)

    # ------------------------------------------------------------------------------------------------- running
    _recordings: tuple[Any, ...] = ()  # those that are open (`tl.record`)

    def _run(
        self, xs: Any, states: Any, lengths: Any, one: bool = False, stream: bool = False
    ) -> tuple[Tensor, list[Tensor], bool]:
        """one : a single step, with the axis of steps first and without dropout; stream : one that goes on where the last ended."""
        batch_first = self.batch_first and not one
        inputs, batched = self._inputs(xs, batch_first)
        steps, batch = inputs[0].shape[:2]
        initial = self._states(states, batch, batched)
        ends = self._lengths(lengths, steps, batch, batched)
        axes = (0,) if not batched else (1, 0) if self.batch_first else (0, 1)
        finals: list[list[Tensor]] = []
        out = inputs[0]
        for k in range(self.num_layers):
            if k and self.dropout:
                out = dropout(out, self.dropout, self.training and not one, self.rng)
            ways = []
            for d in range(self.directions):
                at = k * self.directions + d
                y, last = scan(
                    self.cell,
                    [out, *inputs[1:]],
                    initial[at],
                    self._arrays(self.suffixes[at]) if mode.recording else self._constant(self.suffixes[at]),
                    ends,
                    reverse=d == 1,
                    watch=watching(self, self.suffixes[at], batched, stream) if self._recordings else None,
                    axes=axes,
                )
                ways.append(y)
                finals.append(last)
            out = ways[0] if len(ways) == 1 else concatenate(ways, axis=-1)
        if not batched:
            out = out[:, 0]
        elif batch_first:
            out = swapaxes(out, 0, 1)
        last_states = [_stacked([f[k] for f in finals]) for k in range(len(self.cell.states))]
        return out, last_states if batched else [s[:, 0] for s in last_states], batched

    _constants: _Constants | None = None

    def _constant(self, suffix: str) -> Mapping[str, Tensor]:
        """The arrays where nobody records: the same objects until a parameter changes, so what is made of them is kept."""
        kept = self._constants
        if kept is None or kept.changes != changes[0]:
            kept = self._constants = _Constants(changes[0])
        if suffix not in kept.arrays:
            kept.arrays[suffix] = self._arrays(suffix)
        return kept.arrays[suffix]

    _stream: tuple[int, Callable[[Any, Any], Any]] | None = None  # (changes, a step as prepared by the last one)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name not in _PREPARED:
            for kept in _PREPARED:
                object.__setattr__(self, kept, None)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles prepare anew: what is prepared speaks of memory by address."""
        return {name: value for name, value in vars(self).items() if name not in _PREPARED}

    def _step(self, x: Any, states: Any) -> tuple[Tensor, Any]:
        """One step of all layers without a graph; x (B, axis) or (axis,). The second step of a kind finds all prepared."""
        ready = self._stream
        if ready is not None and ready[0] == changes[0] and mode.guard is None:
            done = ready[1](x, states)
            if done is not None:
                return done
        out, last = self._first_step(x, states)
        return out, self._pack(last)

    def _pack(self, last: Sequence[Tensor]) -> Any:
        """The states as the layer returns them."""
        return tuple(last)

    def _first_step(self, x: Any, states: Any) -> tuple[Tensor, list[Tensor]]:
        name = type(self).__name__
        if self.bidirectional:
            raise ArgumentError(message(name, "a bidirectional layer cannot be run step by step: it reads the future"))
        with no_grad():
            lifted = self._parts(x)
            axis = self.cell.axes[self.cell.inputs[0]][0]
            if lifted[0].ndim not in (1, 2) or lifted[0].shape[-1] != self._size(axis):
                width = f"{axis}={self._size(axis)}" if axis != 1 else "1"
                raise ShapeError(
                    message(name, f"a step takes (batch, {width}) or ({width},)", {self.cell.inputs[0]: lifted[0]})
                )
            out, new, _ = self._run(tuple(v[None] for v in lifted), states, None, True, states is not None)
            if not self._recordings and mode.guard is None:
                self._prepare(lifted, new)
        return out[0], new

    def _prepare(self, inputs: Sequence[Tensor], states: Sequence[Tensor]) -> None:
        """Lay out and pack for further steps with inputs and states of these shapes."""
        batch = inputs[0].shape[0] if inputs[0].ndim == 2 else None
        if batch == 0:
            return
        layers = [{f: a.data for f, a in self._arrays(s).items()} for s in self.suffixes]
        axes = [self.cell.axes[x][0] for x in self.cell.inputs]
        widths = [[1 if a == 1 else self._layer_sizes(k)[a] for a in axes] for k in range(self.num_layers)]
        held = [self._size(self.cell.axes[s][0]) for s in self.cell.states]
        stepper = Stepper(self.cell, layers, widths, held, batch, self.dtype)
        self._stream = changes[0], _prepared(stepper, inputs, states, self._pack)


def _prepared(
    stepper: Stepper, inputs: Sequence[Tensor], states: Sequence[Tensor], pack: Callable[[Any], Any]
) -> Callable[[Any, Any], Any]:
    """A step for inputs and states like these: step(x, states) -> (output, new states), or None if they are unlike."""
    shapes, wanted, dtypes = [s.shape for s in states], [x.shape for x in inputs], [x.dtype for x in inputs]
    several, alone = len(inputs) > 1, type(pack(states)) is Tensor
    last: Any = None  # what was returned, of which nothing need be asked when it comes back
    last_arrays: list[np.ndarray] = []
    free = threading.Lock()  # the stepper has one memory; who finds it in use takes the long way

    def step(x: Any, states: Any) -> Any:
        if not free.acquire(blocking=False):
            return None
        try:
            return in_turn(x, states)
        finally:
            free.release()

    def in_turn(x: Any, states: Any) -> Any:
        nonlocal last, last_arrays
        xs = [v.data if type(v) is Tensor else v for v in x] if several else [x.data if type(x) is Tensor else x]
        if [getattr(v, "shape", None) for v in xs] != wanted or [v.dtype for v in xs] != dtypes:
            return None
        if states is last and last is not None:
            past = last_arrays
        else:
            given = (states,) if alone else states
            if type(given) is not tuple:
                return None
            past = [s.data if type(s) is Tensor else s for s in given]
            if [getattr(s, "shape", None) for s in past] != shapes:
                return None
        out, last_arrays = stepper(xs, past)
        last = pack([_wrap(s) for s in last_arrays])
        return _wrap(out), last

    return step


def _stacked(parts: list[Tensor]) -> Tensor:
    """The state of every layer and direction along a new first axis."""
    if len(parts) > 1:
        return stack(parts)
    linked = parts[0].requires_grad or mode.history is not None
    return expand_dims(parts[0], 0) if linked else _wrap(parts[0].data[None])


def _set_rows(leaf: Tensor, first: int, n: int, value: float) -> None:
    data = leaf.data.copy()
    data[first : first + n] = value
    replace_value(leaf, data)


class Recurrent(_Stack):
    """A declared cell over time: any equations, stacked, in one or both directions.

    Parameters
    ----------
    cell : what `@tl.cell` made. num_layers, bidirectional, batch_first : as torch's.
    dropout : probability with which the outputs of every layer but the last are dropped while training.
    forget_bias : the initial bias of the member `f`, if there is one (1.0 is good practice: Jozefowicz, Zaremba &
        Sutskever 2015); None leaves it as all others. dtype : float32 or float64.
    seed : an int or a numpy.random.Generator. sizes : the size of every axis of the cell: input=64, hidden=128.

    Attributes
    ----------
    W_l0, U_l0, b_l0, W_l0_reverse, ... : one array a family of parameters: its members stacked along the first axis, in
        the order of the source. They start uniform in +-1/sqrt(n), n the size of the last state; families declared with
        a value (`gamma="hidden = 1"`) start there.

    Call
    ----
    `out, states = layer(xs, states=None, lengths=None)`
    xs : (T, B, input), or (B, T, input) with batch_first, or (T, input); several inputs as a tuple of them.
    states : a tuple, each (num_layers*D, B, axis), D = 2 if bidirectional, else 1; zeros if None.
    lengths : (B,), the steps of each sequence; outputs past them are zero, and the final state is the one after a
        sequence's own last step.
    out : (T, B, D*output).

    Raises
    ------
    ShapeError : a size below 1; in a call, arrays that do not fit the sizes or each other.
    ArgumentError : a size that is missing, or of no axis of the cell; integers for floats; a wrong number of inputs or states.

    Examples
    --------
    >>> layer = tl.nn.Recurrent(tl.cells.lstm, input=3, hidden=5, seed=0)
    >>> out, (h, c) = layer(np.zeros((7, 2, 3)))
    >>> out.shape, c.shape
    ((7, 2, 5), (1, 2, 5))
    """

    def __init__(
        self,
        cell: Cell,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
        forget_bias: float | None = None,
        dtype: Any = np.float32,
        seed: Any = None,
        **sizes: int,
    ):
        if not isinstance(cell, Cell):
            raise ArgumentError(
                message(
                    "Recurrent",
                    "takes a cell",
                    {"cell": cell},
                    "tl.cells.lstm, or a function declared with @tl.cell(...)",
                )
            )
        rng = generator(seed)
        super().__init__(cell, sizes, num_layers, bidirectional, dropout, batch_first, dtype, rng)
        n = self._size(cell.axes[cell.states[-1]][0]) if cell.states else self._size(cell.output_axis)
        for k in range(self.num_layers):
            layer_sizes = self._layer_sizes(k)
            for way in ("", "_reverse")[: self.directions]:
                for f in cell.families.values():
                    shape = cell.shape(f.name, layer_sizes)
                    bound = 1 / math.sqrt(n)
                    data = np.full(shape, f.initial) if f.initial is not None else rng.uniform(-bound, bound, shape)
                    label = f"{f.name}_l{k}{way}"
                    setattr(self, label, Tensor(data.astype(self.dtype), requires_grad=True, name=label))
        if forget_bias is not None:
            self._set_forget_bias(_forget_value(type(self).__name__, forget_bias))

    def _set_forget_bias(self, value: float) -> None:
        families = [
            f for f in self.cell.families.values() if len(f.axes) == 1 and "f" in f.members and f.name.startswith("b")
        ]
        if not families:
            raise ArgumentError(
                message(
                    self.cell.name,
                    "has no forget gate bias (member f of a family b of one axis)",
                    remedy="leave forget_bias out",
                )
            )
        for suffix in self.suffixes:
            bias = getattr(self, families[0].name + suffix)
            n = bias.shape[0] // len(families[0].members)
            k = families[0].members.index("f")
            _set_rows(bias, k * n, n, value)

    def _arrays(self, suffix: str) -> dict[str, Tensor]:
        return {f: getattr(self, f + suffix) for f in self.cell.families}

    def forward(self, xs: Any, states: Any = None, lengths: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        out, last, _ = self._run(xs, states, lengths)
        return out, tuple(last)

    def step(self, x: Any, states: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step, for streams: x (B, input) or (input,) and the states -> the output and the new states. No graph, no dropout."""
        return self._step(x, states)

    def extra_repr(self) -> str:
        parts = [self.cell.name, *(f"{a}={n}" for a, n in self.sizes.items())]
        parts += [f"num_layers={self.num_layers}"] if self.num_layers > 1 else []
        parts += ["bidirectional=True"] if self.bidirectional else []
        parts += [f"dropout={self.dropout}"] if self.dropout else []
        parts += ["batch_first=True"] if self.batch_first else []
        return ", ".join(parts)


# ------------------------------------------------------------------------------------------------------ torch's classes
class _TorchParameters:
    """torch's parameters: two weights and two biases a layer, all uniform in +-1/sqrt(hidden_size)."""

    hidden_size: int
    bias: bool
    dtype: np.dtype

    def _make(self, rng: np.random.Generator, shapes: Mapping[str, tuple[int, ...]]) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for label, shape in shapes.items():
            setattr(
                self,
                label,
                Tensor(rng.uniform(-bound, bound, shape).astype(self.dtype), requires_grad=True, name=label),
            )

    def _families(self, gates: int, suffix: str) -> dict[str, Tensor]:
        """W, U, and b (and d of a GRU) from torch's arrays; the sum of the two biases has the gradient of each."""
        W, U = getattr(self, "weight_ih" + suffix), getattr(self, "weight_hh" + suffix)
        n = self.hidden_size
        if not self.bias:
            out = {"W": W, "U": U, "b": zeros((gates * n,), self.dtype)}
            return {**out, "d": zeros((n,), self.dtype)} if gates == 3 else out
        b, d = getattr(self, "bias_ih" + suffix), getattr(self, "bias_hh" + suffix)
        if gates != 3:
            return {"W": W, "U": U, "b": b + d}
        return {"W": W, "U": U, "b": concatenate([b[: 2 * n] + d[: 2 * n], b[2 * n :]]), "d": d[2 * n :]}


class _RNNBase(_Stack, _TorchParameters):
    gates: int

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        dtype: Any,
        seed: Any,
    ):
        name = type(self).__name__
        self.input_size = _count(name, "input_size", input_size)
        self.hidden_size = _count(name, "hidden_size", hidden_size)
        self.bias = bool(bias)
        self.proj_size = proj_size
        rng = generator(seed)
        sizes = {"input": self.input_size, "hidden": self.hidden_size} | (
            {"projection": proj_size} if proj_size else {}
        )
        super().__init__(cell, sizes, num_layers, bidirectional, dropout, batch_first, dtype, rng)
        rows, out = self.gates * self.hidden_size, proj_size or self.hidden_size
        for k in range(self.num_layers):
            width = self.input_size if k == 0 else out * self.directions
            for way in ("", "_reverse")[: self.directions]:
                s = f"_l{k}{way}"
                shapes: dict[str, tuple[int, ...]] = {"weight_ih" + s: (rows, width), "weight_hh" + s: (rows, out)}
                shapes |= {"bias_ih" + s: (rows,), "bias_hh" + s: (rows,)} if self.bias else {}
                shapes |= {"weight_hr" + s: (proj_size, self.hidden_size)} if proj_size else {}
                self._make(rng, shapes)

    def _arrays(self, suffix: str) -> dict[str, Tensor]:
        arrays = self._families(self.gates, suffix)
        return {**arrays, "R": getattr(self, "weight_hr" + suffix)} if self.proj_size else arrays

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        out, last, _ = self._run(input, hx, lengths)
        return out, self._pack(last)

    def step(self, input: Any, hx: Any = None) -> tuple[Tensor, Any]:
        """One step, for streams: input (B, input_size) or (input_size,) and the states -> output, new states. No graph."""
        return self._step(input, hx)

    def _pack(self, last: Sequence[Tensor]) -> Any:
        return last[0]

    def extra_repr(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        parts += [f"num_layers={self.num_layers}"] if self.num_layers > 1 else []
        parts += ["bias=False"] if not self.bias else []
        parts += ["batch_first=True"] if self.batch_first else []
        parts += [f"dropout={self.dropout}"] if self.dropout else []
        parts += ["bidirectional=True"] if self.bidirectional else []
        parts += [f"proj_size={self.proj_size}"] if self.proj_size else []
        return ", ".join(parts)


_LAYER_DOC = """
    Constructor, call, parameter names, shapes, gate order and default initialisation are those of torch.nn.{name}.
    `lengths` takes the place of packed sequences.

    Parameters
    ----------
    input_size, hidden_size : how many numbers come in at a step, how many units there are (H).
    num_layers : how many layers, one on top of the other. bias : whether there are biases.
    batch_first : input and output are (B, T, ...). bidirectional : a second direction, from the end to the beginning.
    dropout : probability with which the outputs of every layer but the last are dropped while training.{more}
    dtype : float32 or float64. seed : an int or a numpy.random.Generator, of the first values and of dropout.

    Call
    ----
    `output, {states} = layer(input, hx=None, lengths=None)`
    input : (T, B, input_size), or (B, T, input_size) with batch_first, or (T, input_size) without a batch.
    hx : {states} before the first step, (num_layers*D, B, H){each}, D = 2 if bidirectional, else 1; zeros if None.
    lengths : (B,), the steps of each sequence; outputs past them are zero, and the final state is the one after a
        sequence's own last step.
    output : (T, B, D*H), h of the last layer at every step.

    Raises
    ------
    ShapeError : arrays that do not fit the sizes or each other. ArgumentError : a wrong setting, integers for floats.

    Examples
    --------
    >>> layer = tl.nn.{name}(3, 5, bidirectional=True, seed=0)
    >>> output, {states} = layer(np.zeros((7, 2, 3), np.float32), lengths=[7, 4])
    >>> output.shape, {h}.shape
    ((7, 2, 10), (2, 2, 5))
"""
_ONE_STATE = {"more": "", "states": "h", "h": "h", "each": ""}
_TWO_STATES = {
    "more": " proj_size : the size of h if it is projected by R; 0 for no projection.\n"
    "    forget_bias : the sum of the two forget biases at the start, 1.0 is good practice (Jozefowicz, Zaremba & Sutskever\n"
    "        2015); None: torch's.",
    "states": "(h, c)",
    "h": "h",
    "each": " each (h: proj_size in place of H)",
}


class RNN(_RNNBase):
    __doc__ = """Elman's network (Elman 1990): h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu in place of tanh.
""" + _LAYER_DOC.format(name="RNN", **(_ONE_STATE | {"more": ' nonlinearity : "tanh" or "relu".'}))
    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        self.nonlinearity = nonlinearity
        super().__init__(
            _plain(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            dtype,
            seed,
        )


class GRU(_RNNBase):
    __doc__ = """Gated recurrent units (Cho et al. 2014, the reset gate after the product).

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr);   z likewise
        n = tanh(W_in x + b_in + r (W_hn h + b_hn));   h' = (1 - z) n + z h
""" + _LAYER_DOC.format(name="GRU", **_ONE_STATE)
    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        super().__init__(
            cells.gru, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, dtype, seed
        )


class LSTM(_RNNBase):
    __doc__ = """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000).

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi);   f, o likewise;   g = tanh(W_ig x + b_ig + W_hg h + b_hg)
        c' = f c + i g;   h' = o tanh(c'), with proj_size h' = R (o tanh(c'))
""" + _LAYER_DOC.format(name="LSTM", **_TWO_STATES)
    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        forget_bias: float | None = None,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        proj_size = _count("LSTM", "proj_size", proj_size, 0)
        if proj_size >= _count("LSTM", "hidden_size", hidden_size) and proj_size:
            raise ArgumentError(
                message(
                    "LSTM",
                    "proj_size must be smaller than hidden_size",
                    {"proj_size": proj_size, "hidden_size": hidden_size},
                )
            )
        cell = cells.lstm_projected if proj_size else cells.lstm
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, dtype, seed
        )
        if forget_bias is not None:
            _forget("LSTM", self, self.suffixes, forget_bias)

    def _pack(self, last: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(last)


def _forget(name: str, module: Any, suffixes: Sequence[str], value: float) -> None:
    value = _forget_value(name, value)
    if not module.bias:
        raise ArgumentError(message(name, "forget_bias needs bias=True"))
    n = module.hidden_size
    for s in suffixes:
        _set_rows(getattr(module, "bias_ih" + s), n, n, value)
        _set_rows(getattr(module, "bias_hh" + s), n, n, 0)


def _plain(nonlinearity: str) -> Cell:
    known = {"tanh": cells.rnn, "relu": cells.rnn_relu}
    if nonlinearity not in known:
        raise ArgumentError(message("RNN", "nonlinearity is 'tanh' or 'relu'", {"nonlinearity": nonlinearity}))
    return known[nonlinearity]


class _OneStep(Module, _TorchParameters):
    """One step of a cell with torch's parameters: `weight_ih weight_hh bias_ih bias_hh`."""

    gates: int
    _recordings: tuple[Any, ...] = ()

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, bias: bool, dtype: Any, seed: Any):
        name = type(self).__name__
        self.cell = cell
        self.input_size, self.hidden_size = (
            _count(name, "input_size", input_size),
            _count(name, "hidden_size", hidden_size),
        )
        self.bias = bool(bias)
        self.dtype = _float_dtype(name, dtype)
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.input_size),
            "weight_hh": (rows, self.hidden_size),
        }
        self._make(generator(seed), shapes | ({"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}))

    def _step(self, input: ArrayLike, hx: Any) -> list[Tensor]:
        name, names = type(self).__name__, self.cell.states
        x = _floats(name, "input", input, self.dtype, _EMBED)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                message(name, f"input is (batch, {self.input_size}) or ({self.input_size},)", {"input": x})
            )
        batched = x.ndim == 2
        x = x if batched else x[None]
        given = [None] * len(names) if hx is None else list(hx) if isinstance(hx, tuple | list) else [hx]
        if len(given) != len(names):
            raise ArgumentError(message(name, f"takes {len(names)} states ({', '.join(names)}), {len(given)} given"))
        states = []
        for label, value in zip(names, given, strict=True):
            s = (
                zeros((x.shape[0], self.hidden_size), self.dtype)
                if value is None
                else _floats(name, label, value, self.dtype, _AS_FLOATS)
            )
            s = s if batched or value is None else s[None]
            if s.shape != (x.shape[0], self.hidden_size):
                raise ShapeError(
                    message(
                        name,
                        f"{label} must be {(x.shape[0], self.hidden_size) if batched else (self.hidden_size,)}",
                        {"input": x, label: s},
                    )
                )
            states.append(s)
        watch = watching(self, "", batched, hx is not None) if self._recordings else None
        axes = (1,) if batched else ()
        _, new = scan(self.cell, [x[None]], states, self._families(self.gates, ""), watch=watch, axes=axes)
        return new if batched else [s[0] for s in new]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_OneStep):
    """One step of `RNN`, h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu; as torch.nn.RNNCell.

    h' = cell(input, h): input (B, input_size) or (input_size,), h (B, hidden_size) or (hidden_size,); zeros if None.

    Examples
    --------
    >>> cell = tl.nn.RNNCell(3, 5, seed=0)
    >>> cell(np.ones((2, 3), np.float32)).shape
    (2, 5)
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        self.nonlinearity = nonlinearity
        super().__init__(_plain(nonlinearity), input_size, hidden_size, bias, dtype, seed)

    def forward(self, input: ArrayLike, hx: Any = None) -> Tensor:
        return self._step(input, hx)[0]


class GRUCell(_OneStep):
    """One step of `GRU`, its equations and parameters; as torch.nn.GRUCell.

    h' = cell(input, h): input (B, input_size) or (input_size,), h (B, hidden_size) or (hidden_size,); zeros if None.

    Examples
    --------
    >>> cell = tl.nn.GRUCell(3, 5, seed=0)
    >>> cell(np.ones((2, 3), np.float32)).shape
    (2, 5)
    """

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ):
        super().__init__(cells.gru, input_size, hidden_size, bias, dtype, seed)

    def forward(self, input: ArrayLike, hx: Any = None) -> Tensor:
        return self._step(input, hx)[0]


class LSTMCell(_OneStep):
    """One step of `LSTM`, its equations and parameters, `forget_bias` too; as torch.nn.LSTMCell.

    h', c' = cell(input, (h, c)): input (B, input_size) or (input_size,), h and c (B, hidden_size) or (hidden_size,);
    zeros if None.

    Examples
    --------
    >>> cell = tl.nn.LSTMCell(3, 5, seed=0)
    >>> h, c = cell(np.ones((2, 3), np.float32))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        forget_bias: float | None = None,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        super().__init__(cells.lstm, input_size, hidden_size, bias, dtype, seed)
        if forget_bias is not None:
            _forget("LSTMCell", self, [""], forget_bias)

    def forward(self, input: ArrayLike, hx: Any = None) -> tuple[Tensor, Tensor]:
        h, c = self._step(input, hx)
        return h, c
