"""ONNX's LSTM, GRU and RNN on the compiled kernels: for every setting of their attributes there is a cell.

    i = f(W_i x + R_i h + P_i c + b_i)        z = f(W_z x + R_z h + b_z)
    f likewise                                r likewise
    c' = f c + i g(W_c x + R_c h + b_c)       h' = (1 - z) g(...) + z h
    o = f(W_o x + R_o h + P_o c' + b_o)
    h' = o h(c')

`clip` bounds the sums that go into f and g; as in ONNX Runtime and OpenVINO, c' goes into h as it is. `input_forget` sets
f = 1 - i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import cells, functions, ops
from ..cell import Cell, cell
from ..scan import scan
from ..tensor import Tensor, _wrap, no_grad
from .operators import NodeFacts, Refused, Run, text

Activation = tuple[str, float, float]  # name, alpha, beta

# fmt: off
# name: (takes alpha, takes beta, their defaults, the function)
_ACTIVATIONS: dict[str, tuple[bool, bool, float, float, Callable[..., Any]]] = {
    "sigmoid": (False, False, 0, 0, lambda x, a, b: ops.sigmoid(x)),
    "tanh": (False, False, 0, 0, lambda x, a, b: ops.tanh(x)),
    "relu": (False, False, 0, 0, lambda x, a, b: ops.relu(x)),
    "softsign": (False, False, 0, 0, lambda x, a, b: x / (1 + abs(x))),
    "softplus": (False, False, 0, 0, lambda x, a, b: ops.softplus(x)),
    "affine": (True, True, 1.0, 0.0, lambda x, a, b: a * x + b),
    "leakyrelu": (True, False, 0.01, 0, lambda x, a, b: functions.leaky_relu(x, a)),
    "thresholdedrelu": (True, False, 1.0, 0, lambda x, a, b: functions.where(x > a, x, 0.0)),
    "scaledtanh": (True, True, 1.0, 1.0, lambda x, a, b: a * ops.tanh(b * x)),
    "hardsigmoid": (True, True, 0.2, 0.5, lambda x, a, b: functions.clip(a * x + b, 0.0, 1.0)),
    "elu": (True, False, 1.0, 0, lambda x, a, b: functions.elu(x, a)),
}
_DEFAULT = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_BLOCKS = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
# fmt: on


def _activations(node: NodeFacts, directions: int) -> list[tuple[Activation, ...]]:
    """Those of each direction. alpha and beta are given, in order, to those that take one."""
    default = _DEFAULT[node.kind]
    names = [text(a) for a in node.get("activations", default * directions)]
    if len(names) != len(default) * directions:
        raise Refused(f"activations: {len(default)} for each direction, here {len(names)}")
    alphas, betas = list(node.get("activation_alpha", [])), list(node.get("activation_beta", []))
    out: list[Activation] = []
    for name in names:
        known = _ACTIVATIONS.get(name.lower())
        if known is None:
            raise Refused(f"activation {name!r}; known are {', '.join(sorted(_ACTIVATIONS))}")
        takes_alpha, takes_beta, alpha, beta, _ = known
        a = float(alphas.pop(0)) if takes_alpha and alphas else alpha
        b = float(betas.pop(0)) if takes_beta and betas else beta
        out.append((name.lower(), a, b))
    return [tuple(out[k * len(default) : (k + 1) * len(default)]) for k in range(directions)]


def _functions(activations: Sequence[Activation], limit: float) -> list[Callable[[Any], Any]]:
    def make(name: str, a: float, b: float) -> Callable[[Any], Any]:
        function = _ACTIVATIONS[name][4]
        if not limit:
            return lambda x: function(x, a, b)
        return lambda x: function(functions.clip(x, -limit, limit), a, b)

    return [make(*activation) for activation in activations]


_SIGMOID, _TANH, _RELU = ("sigmoid", 0, 0), ("tanh", 0, 0), ("relu", 0, 0)
_KNOWN: dict[Any, Cell] = {
    ("LSTM", (_SIGMOID, _TANH, _TANH), 0.0, "", False): cells.lstm,
    ("LSTM", (_SIGMOID, _TANH, _TANH), 0.0, "", True): cells.lstm_peephole,
    ("GRU", (_SIGMOID, _TANH), 0.0, "after", False): cells.gru,
    ("GRU", (_SIGMOID, _TANH), 0.0, "before", False): cells.gru_reset_before,
    ("RNN", (_TANH,), 0.0, "", False): cells.rnn,
    ("RNN", (_RELU,), 0.0, "", False): cells.rnn_relu,
}
_AXES = {"x": "input", "h": "hidden", "W": "hidden input", "U": "hidden hidden", "b": "hidden"}


@cache
def cell_of(kind: str, activations: tuple[Activation, ...], limit: float, way: str, peephole: bool) -> Cell:
    """The cell that an operator with these settings is. way: "coupled" gates; reset "before" or "after" the product."""
    known = _KNOWN.get((kind, activations, limit, way, peephole))
    if known is not None:
        return known
    first, *rest = _functions(activations, limit)
    if kind == "RNN":

        @cell(**_AXES)
        def rnn(x, /, h, *, W, U, b):
            h = first(W.h @ x + U.h @ h + b.h)
            return h

        return rnn
    if kind == "GRU":
        squash = rest[0]
        if way == "after":

            @cell(**_AXES, d="hidden")
            def gru(x, /, h, *, W, U, b, d):
                r = first(W.r @ x + U.r @ h + b.r)
                z = first(W.z @ x + U.z @ h + b.z)
                n = squash(W.n @ x + b.n + r * (U.n @ h + d.n))
                h = (1 - z) * n + z * h
                return h

            return gru

        @cell(**_AXES)
        def gru_reset_before(x, /, h, *, W, U, b):
            r = first(W.r @ x + U.r @ h + b.r)
            z = first(W.z @ x + U.z @ h + b.z)
            n = squash(W.n @ x + U.n @ (r * h) + b.n)
            h = (1 - z) * n + z * h
            return h

        return gru_reset_before
    squash, show = rest[0], *_functions(activations[2:], 0.0)
    coupled = way == "coupled"
    if peephole:

        @cell(**_AXES, c="hidden", p="hidden")
        def lstm_peephole(x, /, h, c, *, W, U, p, b):
            i = first(W.i @ x + U.i @ h + p.i * c + b.i)
            f = 1 - i if coupled else first(W.f @ x + U.f @ h + p.f * c + b.f)
            g = squash(W.g @ x + U.g @ h + b.g)
            c = f * c + i * g
            o = first(W.o @ x + U.o @ h + p.o * c + b.o)
            h = o * show(c)
            return h, c

        return lstm_peephole

    @cell(**_AXES, c="hidden")
    def lstm(x, /, h, c, *, W, U, b):
        i = first(W.i @ x + U.i @ h + b.i)
        f = 1 - i if coupled else first(W.f @ x + U.f @ h + b.f)
        g = squash(W.g @ x + U.g @ h + b.g)
        o = first(W.o @ x + U.o @ h + b.o)
        c = f * c + i * g
        h = o * show(c)
        return h, c

    return lstm


def _families(kind: str, chosen: Cell, W: Any, R: Any, B: Any, P: Any) -> dict[str, Tensor]:
    """One direction's blocks in the order of the cell's families."""
    order = _BLOCKS[kind]
    n = R.shape[1]
    B = np.zeros(2 * len(W), W.dtype) if B is None else B
    half = len(W)
    b = B[:half] + B[half:]
    if "d" in chosen.families:  # the candidate's recurrent bias is inside the reset
        b = np.concatenate([b[: 2 * n], B[2 * n : half]])
    arrays = {"W": (W, order), "U": (R, order), "b": (b, order), "p": (P, "iof"), "d": (B[-n:], "n")}
    out = {}
    for family, f in chosen.families.items():
        array, have = arrays[family]
        out[family] = Tensor(np.concatenate([array[have.index(m) * n : (have.index(m) + 1) * n] for m in f.members]))
    return out


def recurrent(node: NodeFacts) -> Run:
    """The function of an LSTM, GRU or RNN node."""
    kind = node.kind
    way = text(node.get("direction", b"forward"))
    if way not in ("forward", "reverse", "bidirectional"):
        raise Refused(f"direction {way!r}")
    directions = 2 if way == "bidirectional" else 1
    activations = _activations(node, directions)
    limit, layout = float(node.get("clip", 0.0)), node.get("layout", 0)
    setting = ""
    if kind == "GRU":
        setting = "after" if node.get("linear_before_reset", 0) else "before"
    elif kind == "LSTM" and node.get("input_forget", 0):
        setting = "coupled"

    def prepare(W: Any, R: Any, B: Any, P: Any) -> list[tuple[Cell, dict[str, Tensor]]]:
        blocks, hidden = len(_BLOCKS[kind]), R.shape[-1]
        want = {"W": (directions, blocks * hidden), "R": (directions, blocks * hidden, hidden)}
        if W.shape[:2] != want["W"] or R.shape != want["R"] or node.get("hidden_size", hidden) != hidden:
            raise Refused(f"W {W.shape} and R {R.shape} do not fit {directions} direction(s) of {blocks} blocks")
        if B is not None and B.shape != (directions, 2 * blocks * hidden):
            raise Refused(f"B {B.shape} is not {(directions, 2 * blocks * hidden)}")
        if P is not None and P.shape != (directions, 3 * hidden):
            raise Refused(f"P {P.shape} is not {(directions, 3 * hidden)}")
        out = []
        for d in range(directions):
            chosen = cell_of(kind, activations[d], limit, setting, P is not None)
            out.append(
                (chosen, _families(kind, chosen, W[d], R[d], None if B is None else B[d], None if P is None else P[d]))
            )
        return out

    places = [k for k in (1, 2, 3, 7) if k < len(node.inputs) and node.inputs[k]]
    ready = None
    if all(node.constants[k] is not None for k in places):
        weights = {k: _real(node.constants[k]) for k in places}
        ready = prepare(*(weights.get(k) for k in (1, 2, 3, 7)))

    def run(
        X: Any, W: Any, R: Any, B: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None, P: Any = None
    ) -> Any:
        dtype = X.dtype
        X, h0, c0 = _real(X), _real(h0), _real(c0)
        parts = ready if ready is not None else prepare(*map(_real, (W, R, B, P)))
        hidden = R.shape[-1]
        if layout:
            X = X.swapaxes(0, 1)
            h0, c0 = (None if s is None else s.swapaxes(0, 1) for s in (h0, c0))
        T, n = X.shape[:2]
        ends = None if lengths is None else np.asarray(lengths, np.intp)
        if ends is not None and (ends.shape != (n,) or (ends < 0).any() or (ends > T).any()):
            raise Refused(f"sequence_lens {ends.tolist()[:8]} for {n} sequences of {T} steps")
        outs, finals = [], []
        for d, (chosen, arrays) in enumerate(parts):
            given = [h0, c0][: len(chosen.states)]
            states = [_wrap(np.zeros((n, hidden), X.dtype) if s is None else np.ascontiguousarray(s[d])) for s in given]
            with no_grad():
                y, last = scan(chosen, [_wrap(X)], states, arrays, ends, reverse=way == "reverse" or d == 1)
            outs.append(y.data)
            finals.append([s.data if ends is None else np.where(ends[:, None] > 0, s.data, 0) for s in last])
        Y = np.stack(outs, 1)  # (T, D, B, H)
        H = [np.stack([f[k] for f in finals]) for k in range(len(finals[0]))]
        if layout:
            Y, H = Y.transpose(2, 0, 1, 3), [s.swapaxes(0, 1) for s in H]
        return tuple(a.astype(dtype, copy=False) for a in (Y, *H))[: len(node.outputs)]

    return run


def _real(a: Any) -> Any:
    """float16 runs as float32."""
    return a.astype(np.float32) if a is not None and a.dtype == np.float16 else a
