"""The cells: equations, nothing else. Gates stand in the order of the source; that order is the order of the rows.

`x` is the input of a step, `h` the hidden state, `c` the cell state; W multiplies the input, U the hidden state,
b is a bias. `a @ b` is the product of a matrix and a vector, `*` the product of elements.
"""

# fmt: off
from __future__ import annotations

from .cell import cell
from .functions import mean
from .ops import relu as _relu
from .ops import sigmoid, sqrt, tanh


@cell(x="input", h="hidden", W="hidden input", U="hidden hidden", b="hidden")
def rnn(x, /, h, *, W, U, b):
    """Elman 1990: the hidden state is a squashed sum of the input and the hidden state before."""
    h = tanh(W.h @ x + U.h @ h + b.h)
    return h


@cell(x="input", h="hidden", W="hidden input", U="hidden hidden", b="hidden")
def rnn_relu(x, /, h, *, W, U, b):
    """Le, Jaitly & Hinton 2015: the plain recurrence with rectified units."""
    h = _relu(W.h @ x + U.h @ h + b.h)
    return h


@cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", b="hidden")
def lstm(x, /, h, c, *, W, U, b):
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000."""
    i = sigmoid(W.i @ x + U.i @ h + b.i)      # input gate: which values to write
    f = sigmoid(W.f @ x + U.f @ h + b.f)      # forget gate: what to keep of the cell state
    g = tanh(W.g @ x + U.g @ h + b.g)         # candidate values
    o = sigmoid(W.o @ x + U.o @ h + b.o)      # output gate: what of the cell state to show
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", p="hidden", b="hidden")
def lstm_peephole(x, /, h, c, *, W, U, p, b):
    """Gers & Schmidhuber 2000: the gates also look at the cell state, the output gate at the new one."""
    i = sigmoid(W.i @ x + U.i @ h + p.i * c + b.i)
    f = sigmoid(W.f @ x + U.f @ h + p.f * c + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    c = f * c + i * g
    o = sigmoid(W.o @ x + U.o @ h + p.o * c + b.o)
    h = o * tanh(c)
    return h, c


@cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", b="hidden")
def lstm_coupled(x, /, h, c, *, W, U, b):
    """Greff et al. 2017 (CIFG): what is forgotten is what is written, i = 1 - f."""
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = f * c + (1 - f) * g
    h = o * tanh(c)
    return h, c


@cell(x="input", h="projection", c="hidden", W="hidden input", U="hidden projection", R="projection hidden", b="hidden")
def lstm_projected(x, /, h, c, *, W, U, R, b):
    """Sak, Senior & Beaufays 2014: the hidden state is a projection, smaller than the cell state."""
    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = f * c + i * g
    h = R @ (o * tanh(c))
    return h, c


def _normalised(a, scale, shift):
    """Ba, Kiros & Hinton 2016, equation 4."""
    centred = a - mean(a, axis=-1, keepdims=True)
    return centred / sqrt(mean(centred * centred, axis=-1, keepdims=True) + 1e-5) * scale + shift


@cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", b="hidden = 0",
      gamma="hidden = 1", beta="hidden = 0")
def lstm_layernorm(x, /, h, c, *, W, U, b, gamma, beta):
    """After Ba, Kiros & Hinton 2016: every gate's sum (there its two products), and the cell state, normalised over the units."""
    i = sigmoid(_normalised(W.i @ x + U.i @ h, gamma.i, b.i))
    f = sigmoid(_normalised(W.f @ x + U.f @ h, gamma.f, b.f))
    g = tanh(_normalised(W.g @ x + U.g @ h, gamma.g, b.g))
    o = sigmoid(_normalised(W.o @ x + U.o @ h, gamma.o, b.o))
    c = f * c + i * g
    h = o * tanh(_normalised(c, gamma.c, beta.c))
    return h, c


@cell(x="input", h="hidden", W="hidden input", U="hidden hidden", b="hidden", d="hidden")
def gru(x, /, h, *, W, U, b, d):
    """Cho et al. 2014, the reset gate after the product (the form of cuDNN, hence of PyTorch and Keras)."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)              # reset gate
    z = sigmoid(W.z @ x + U.z @ h + b.z)              # update gate: what to keep
    n = tanh(W.n @ x + b.n + r * (U.n @ h + d.n))     # new values
    h = (1 - z) * n + z * h
    return h


@cell(x="input", h="hidden", W="hidden input", U="hidden hidden", b="hidden")
def gru_reset_before(x, /, h, *, W, U, b):
    """Cho et al. 2014, as printed: the reset gate chooses what the product sees."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h = (1 - z) * n + z * h
    return h


@cell(x="input", h="hidden", W="hidden input", U="hidden hidden", b="hidden")
def mgu(x, /, h, *, W, U, b):
    """Zhou, Wu, Zhang & Zhou 2016, the minimal gated unit: one gate forgets and resets."""
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h = (1 - f) * h + f * n
    return h


@cell(x="input", h="hidden", W="hidden input", u="hidden", b="hidden")
def indrnn(x, /, h, *, W, u, b):
    """Li, Li, Cook, Zhu & Gao 2018: every unit sees only its own past."""
    h = _relu(W.h @ x + u.h * h + b.h)
    return h


@cell(x="input", c="hidden", W="hidden input", v="hidden", b="hidden")
def sru(x, /, c, *, W, v, b):
    """Lei, Zhang, Wang, Dai & Artzi 2018, without the highway: the products see the input only."""
    f = sigmoid(W.f @ x + v.f * c + b.f)
    r = sigmoid(W.r @ x + v.r * c + b.r)
    c = f * c + (1 - f) * (W.c @ x)
    h = r * c
    return h, c


@cell(x="input", h="hidden", W="hidden input", b="hidden")
def mingru(x, /, h, *, W, b):
    """Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024: gate and candidate see the input only."""
    z = sigmoid(W.z @ x + b.z)
    n = W.n @ x + b.n
    h = (1 - z) * h + z * n
    return h
# fmt: on
