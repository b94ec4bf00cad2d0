"""First values of parameters: NumPy arrays drawn from a generator, by the distributions of the papers.

Every draw is made in float64 and rounded to the dtype asked for, so that a float32 and a float64 model of one seed
have the same weights. In a weight of shape (out, in, ...) the fan in is `in`, the fan out is `out`, each times the
size of the axes that follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import ArgumentError, ShapeError, message
from .functions import generator

Shape = int | Sequence[int]


def uniform(
    shape: Shape, low: float = 0.0, high: float = 1.0, *, rng: Any = None, dtype: Any = np.float32
) -> np.ndarray:
    """Independent samples, uniform on [low, high). rng : a numpy.random.Generator or a seed.

    Examples
    --------
    >>> w = tl.init.uniform((2, 3), -0.1, 0.1, rng=0)
    >>> w.shape, bool(abs(w).max() <= 0.1)
    ((2, 3), True)
    """
    return generator(rng).uniform(low, high, _shape("uniform", shape)).astype(dtype)


def normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, *, rng: Any = None, dtype: Any = np.float32
) -> np.ndarray:
    """Independent samples of the normal distribution. rng : a numpy.random.Generator or a seed.

    Examples
    --------
    >>> w = tl.init.normal(10_000, mean=2.0, std=0.5, rng=0)
    >>> bool(abs(w.mean() - 2.0) < 0.05 and abs(w.std() - 0.5) < 0.05)
    True
    """
    return generator(rng).normal(mean, std, _shape("normal", shape)).astype(dtype)


def constant(shape: Shape, value: float, *, dtype: Any = np.float32) -> np.ndarray:
    """One value everywhere.

    Examples
    --------
    >>> tl.init.constant((2, 2), 0.5)
    array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """
    return np.full(_shape("constant", shape), value, dtype)


def zeros(shape: Shape, *, dtype: Any = np.float32) -> np.ndarray:
    """Zeros everywhere.

    Examples
    --------
    >>> tl.init.zeros(2)
    array([0., 0.], dtype=float32)
    """
    return constant(shape, 0.0, dtype=dtype)


def ones(shape: Shape, *, dtype: Any = np.float32) -> np.ndarray:
    """Ones everywhere.

    Examples
    --------
    >>> tl.init.ones(2)
    array([1., 1.], dtype=float32)
    """
    return constant(shape, 1.0, dtype=dtype)


def eye(shape: Shape, *, dtype: Any = np.float32) -> np.ndarray:
    """The identity, for square recurrent weights (Le, Jaitly & Hinton 2015, IRNN); a stack of them for (k*n, n).

    Examples
    --------
    >>> tl.init.eye((4, 2))
    array([[1., 0.],
           [0., 1.],
           [1., 0.],
           [0., 1.]], dtype=float32)
    """
    rows, columns = _matrix("eye", shape)
    if columns == 0 or rows % columns:
        raise ShapeError(
            message(
                "eye", "the rows are one or several identities", {"shape": (rows, columns)}, "use (n, n) or (k*n, n)"
            )
        )
    return np.tile(np.eye(columns, dtype=dtype), (rows // columns, 1))


def orthogonal(shape: Shape, gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """gain * Q with orthonormal rows or columns, whichever are fewer (Saxe, McClelland & Ganguli 2013).

    Q is uniformly distributed: the QR factor of a normal matrix, with the signs of R's diagonal (Mezzadri 2007).

    Examples
    --------
    >>> q = tl.init.orthogonal((3, 5), rng=0, dtype=np.float64)
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """
    dims = _shape("orthogonal", shape)
    if len(dims) < 2:
        raise ShapeError(message("orthogonal", "needs a shape of at least two axes", {"shape": dims}))
    rows, columns = dims[0], math.prod(dims[1:])
    q, r = np.linalg.qr(generator(rng).standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (gain * (q.T if rows < columns else q)).reshape(dims).astype(dtype)


def xavier_uniform(shape: Shape, gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Uniform on +-gain * sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010, equation 16).

    Examples
    --------
    >>> w = tl.init.xavier_uniform((100, 200), rng=0)
    >>> bool(abs(w).max() <= (6 / (100 + 200)) ** 0.5)
    True
    """
    fan_in, fan_out = fans("xavier_uniform", shape)
    bound = gain * math.sqrt(6.0 / max(1, fan_in + fan_out))
    return uniform(shape, -bound, bound, rng=rng, dtype=dtype)


def xavier_normal(shape: Shape, gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Normal with standard deviation gain * sqrt(2 / (fan in + fan out)) (Glorot & Bengio 2010).

    Examples
    --------
    >>> w = tl.init.xavier_normal((100, 200), rng=0)
    >>> bool(abs(w.std() - (2 / (100 + 200)) ** 0.5) < 0.002)
    True
    """
    fan_in, fan_out = fans("xavier_normal", shape)
    return normal(shape, 0.0, gain * math.sqrt(2.0 / max(1, fan_in + fan_out)), rng=rng, dtype=dtype)


def kaiming_uniform(
    shape: Shape,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Any = None,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Uniform on +-gain * sqrt(3 / fan) (He, Zhang, Ren & Sun 2015).

    Parameters
    ----------
    a : the negative slope of the leaky ReLU that follows. a = sqrt(5) makes the bound 1 / sqrt(fan in).
    mode : "fan_in" keeps the variance of the values, "fan_out" that of the gradients.
    nonlinearity : see `calculate_gain`.

    Examples
    --------
    >>> w = tl.init.kaiming_uniform((100, 200), a=5**0.5, rng=0)
    >>> bool(abs(w).max() <= 200**-0.5)
    True
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / max(1, _fan("kaiming_uniform", shape, mode)))
    return uniform(shape, -bound, bound, rng=rng, dtype=dtype)


def kaiming_normal(
    shape: Shape,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Any = None,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Normal with standard deviation gain / sqrt(fan) (He, Zhang, Ren & Sun 2015); arguments of `kaiming_uniform`.

    Examples
    --------
    >>> w = tl.init.kaiming_normal((100, 200), nonlinearity="relu", rng=0)
    >>> bool(abs(w.std() - (2 / 200) ** 0.5) < 0.002)
    True
    """
    std = calculate_gain(nonlinearity, a) / math.sqrt(max(1, _fan("kaiming_normal", shape, mode)))
    return normal(shape, 0.0, std, rng=rng, dtype=dtype)


GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the weights that makes up for what a nonlinearity does to the spread of values; torch's table.

    param : the negative slope of leaky_relu (0.01 if None).

    Examples
    --------
    >>> round(tl.init.calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ArgumentError(
            message("calculate_gain", f"knows no {nonlinearity!r}", remedy=f"one of leaky_relu, {', '.join(GAINS)}")
        )
    return GAINS[nonlinearity]


def fans(name: str, shape: Shape) -> tuple[int, int]:
    """(fan in, fan out) of a weight's shape: how many inputs an output has, and how many outputs an input.

    name : the function that errors speak of.

    Examples
    --------
    >>> tl.init.fans("mine", (100, 200))
    (200, 100)
    """
    dims = _shape(name, shape)
    if len(dims) < 2:
        raise ShapeError(message(name, "the fans of a weight need at least two axes (out, in)", {"shape": dims}))
    field = math.prod(dims[2:])
    return dims[1] * field, dims[0] * field


def _fan(name: str, shape: Shape, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(message(name, "mode is 'fan_in' or 'fan_out'", {"mode": mode}))
    return fans(name, shape)[mode == "fan_out"]


def _shape(name: str, shape: Shape) -> tuple[int, ...]:
    try:
        dims = (shape.__index__(),) if hasattr(shape, "__index__") else tuple(n.__index__() for n in shape)
    except (TypeError, AttributeError):
        raise ArgumentError(message(name, "a shape is an integer or a tuple of integers", {"shape": shape})) from None
    if any(n < 0 for n in dims):
        raise ShapeError(message(name, "a shape has no negative sizes", {"shape": dims}))
    return dims


def _matrix(name: str, shape: Shape) -> tuple[int, int]:
    dims = _shape(name, shape)
    if len(dims) != 2:
        raise ShapeError(message(name, "is a matrix", {"shape": dims}, "give (rows, columns)"))
    return dims[0], dims[1]
