"""tinygrad_lstm: one definition of a recurrent cell, the equations on the page, and from it everything.

Every public name is listed here; `tl.nn`, `tl.optim`, `tl.cells` and the like are rooms of their own.
"""

from . import cells, data, init, interop, nn, onnx, optim, plot
from .cell import Cell, cell
from .checkpoint import load, save
from .drawing import draw
from .errors import (
    AnomalyError,
    ArgumentError,
    BoundsError,
    FileError,
    GradientError,
    MissingExtra,
    ShapeError,
    TraceError,
)
from .functions import (
    arange,
    argmax,
    argmin,
    astype,
    broadcast_to,
    clip,
    concatenate,
    cumsum,
    dot,
    einsum,
    elu,
    expand_dims,
    flip,
    full,
    gelu,
    leaky_relu,
    log_softmax,
    logsumexp,
    matmul,
    max,
    mean,
    min,
    moveaxis,
    ones,
    ones_like,
    outer,
    pad,
    prod,
    rand,
    randn,
    repeat,
    reshape,
    softmax,
    split,
    squeeze,
    stack,
    std,
    sum,
    swapaxes,
    take,
    tensor,
    transpose,
    var,
    where,
    zeros,
    zeros_like,
)
from .fuse import fuse
from .gradients import check_grads, grad, value_and_grad
from .inspection import detect_anomaly, memory_map, record
from .ops import (
    abs,
    add,
    cos,
    cosh,
    detach,
    div,
    elementwise,
    equal,
    erf,
    exp,
    expm1,
    floor,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    mul,
    neg,
    not_equal,
    pow,
    reciprocal,
    relu,
    sigmoid,
    sign,
    silu,
    sin,
    sinh,
    softplus,
    sqrt,
    square,
    sub,
    tan,
    tanh,
)
from .tensor import Tensor, enable_grad, no_grad
from .threads import get_num_threads, set_num_threads
from .train import fit

__version__ = "0.1.0"
__all__ = [name for name in dir() if not name.startswith("_")]
