"""Layers that are no recurrence, with torch's names, default initialisation and state-dict names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import functions, init, ops
from ..errors import ArgumentError, ShapeError, message
from ..functions import generator
from ..tensor import Tensor
from . import functional as F
from .module import Module, check_dtype, check_row, check_size, indices, parameter


class Linear(Module):
    """y = W x + b for every row x.

    Parameters
    ----------
    in_features, out_features : sizes of x and y. bias : whether there is a b.
    dtype : float32 or float64. seed : an int or a numpy.random.Generator.

    Attributes
    ----------
    weight : (out_features, in_features), bias : (out_features,) or None; both uniform on +-1 / sqrt(in_features).

    Notes
    -----
    x (..., in_features) -> y (..., out_features). Raises ShapeError for another last axis.

    Examples
    --------
    >>> layer = tl.nn.Linear(3, 2, seed=0)
    >>> layer(tl.zeros((5, 3))).shape, layer
    ((5, 2), Linear(in_features=3, out_features=2, bias=True)  # 8 parameters)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ):
        self.in_features = check_size("Linear", "in_features", in_features, least=0)
        self.out_features = check_size("Linear", "out_features", out_features, least=0)
        dtype, rng = check_dtype("Linear", dtype), generator(seed)
        bound = 1.0 / math.sqrt(max(1, in_features))
        self.weight = parameter(
            init.uniform((out_features, in_features), -bound, bound, rng=rng, dtype=dtype), "weight"
        )
        self.bias = parameter(init.uniform(out_features, -bound, bound, rng=rng, dtype=dtype), "bias") if bias else None

    def forward(self, x: Any) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ShapeError(
                message(
                    "Linear",
                    f"the last axis of x must be in_features = {self.in_features}",
                    {"x": x, "weight": self.weight},
                )
            )
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """A table of vectors, one for each integer.

    Parameters
    ----------
    num_embeddings, embedding_dim : rows and columns of the table.
    padding_idx : a row that begins as zeros and gets no gradient.
    dtype : float32 or float64. seed : an int or a numpy.random.Generator.

    Attributes
    ----------
    weight : (num_embeddings, embedding_dim), standard normal.

    Notes
    -----
    Integers of any shape (*) -> (*, embedding_dim). Raises ShapeError for an integer outside the table.

    Examples
    --------
    >>> table = tl.nn.Embedding(10, 4, padding_idx=0, seed=0)
    >>> table([[0, 3, 3]]).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        self.num_embeddings = check_size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = check_size("Embedding", "embedding_dim", embedding_dim)
        self.padding_idx = (
            None if padding_idx is None else check_row("Embedding", "padding_idx", padding_idx, num_embeddings)
        )
        table = init.normal((num_embeddings, embedding_dim), rng=generator(seed), dtype=check_dtype("Embedding", dtype))
        if self.padding_idx is not None:
            table[self.padding_idx] = 0
        self.weight = parameter(table, "weight")

    def forward(self, ids: Any) -> Tensor:
        return F.embedding(indices("Embedding", "ids", ids, self.num_embeddings), self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = f", padding_idx={self.padding_idx}" if self.padding_idx is not None else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """While training, zero each element with probability p and divide the others by 1 - p (Srivastava et al. 2014).

    Parameters
    ----------
    p : the probability. seed : an int or a numpy.random.Generator, the module's own source of chance (`rng`), part of
        `rng_state()`. dtype : accepted as in every module; the result has the dtype of x.

    Examples
    --------
    >>> drop = tl.nn.Dropout(0.5, seed=0)
    >>> drop(tl.ones(4)).tolist(), drop.eval()(tl.ones(4)).tolist()
    ([2.0, 2.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, p: float = 0.5, *, dtype: Any = np.float32, seed: Any = None):
        if isinstance(p, bool) or not isinstance(p, int | float | np.floating) or not 0.0 <= p <= 1.0:
            raise ArgumentError(message("Dropout", "p is a probability between 0 and 1", {"p": p}))
        check_dtype("Dropout", dtype)
        self.p = float(p)
        self.rng = generator(seed)

    def forward(self, x: Any) -> Tensor:
        return F.dropout(x, self.p, self.training, self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes (Ba, Kiros & Hinton 2016).

    Parameters
    ----------
    normalized_shape : the sizes of these axes, an integer or a tuple. eps : keeps the root away from 0.
    elementwise_affine : whether there is a weight; bias : whether there is a bias beside it.
    dtype : float32 or float64. seed : accepted as in every module; nothing here is random.

    Attributes
    ----------
    weight : normalized_shape, ones. bias : normalized_shape, zeros. None where there is none.

    Examples
    --------
    >>> tl.nn.LayerNorm(2)(tl.tensor([[1.0, 3.0]])).tolist()
    [[-0.9999949932098389, 0.9999949932098389]]
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        shape = tuple(normalized_shape) if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
        if not shape:
            raise ShapeError(
                message("LayerNorm", "normalized_shape names at least one axis", {"normalized_shape": normalized_shape})
            )
        self.normalized_shape = tuple(check_size("LayerNorm", "normalized_shape", n) for n in shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        dtype = check_dtype("LayerNorm", dtype)
        self.weight = parameter(init.ones(self.normalized_shape, dtype=dtype), "weight") if elementwise_affine else None
        self.bias = (
            parameter(init.zeros(self.normalized_shape, dtype=dtype), "bias") if elementwise_affine and bias else None
        )

    def forward(self, x: Any) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps:g}, elementwise_affine={self.elementwise_affine}"


class Sequential(Module):
    """Modules (or functions of one Tensor) one after the other.

    Parameters
    ----------
    *parts : modules or functions; or one dict of them, whose keys are then their names instead of "0", "1", ...

    Examples
    --------
    >>> net = tl.nn.Sequential(tl.nn.Linear(3, 4, seed=0), tl.tanh, tl.nn.Linear(4, 1, seed=1))
    >>> net(tl.ones((2, 3))).shape, list(net.state_dict())
    ((2, 1), ['0.weight', '0.bias', '2.weight', '2.bias'])
    """

    def __init__(self, *parts: Any):
        named = (
            parts[0]
            if len(parts) == 1 and isinstance(parts[0], Mapping)
            else {str(k): part for k, part in enumerate(parts)}
        )
        for name, part in named.items():
            if not callable(part):
                raise ArgumentError(
                    message("Sequential", f"part {name} is neither a module nor a function", {str(name): part})
                )
            if hasattr(type(self), str(name)):
                raise ArgumentError(
                    message(
                        "Sequential",
                        f"a part cannot be called {name!r}, which is a method",
                        remedy="choose another name",
                    )
                )
        self._order = tuple(str(name) for name in named)
        for name, part in named.items():
            setattr(self, str(name), part)

    def forward(self, x: Any) -> Any:
        for part in self:
            x = part(x)
        return x

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, k: int | slice) -> Any:
        if isinstance(k, slice):
            return Sequential({name: getattr(self, name) for name in self._order[k]})
        return getattr(self, self._order[k])


class _Activation(Module):
    """A function of the table as a module."""

    function: Callable[..., Any]
    settings: tuple[str, ...] = ()

    def forward(self, x: Any) -> Tensor:
        return type(self).function(x, *(getattr(self, name) for name in self.settings))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)


# fmt: off
class Tanh(_Activation): __doc__, function = ops.tanh.__doc__, staticmethod(ops.tanh)
class Sigmoid(_Activation): __doc__, function = ops.sigmoid.__doc__, staticmethod(ops.sigmoid)
class ReLU(_Activation): __doc__, function = ops.relu.__doc__, staticmethod(ops.relu)
class SiLU(_Activation): __doc__, function = ops.silu.__doc__, staticmethod(ops.silu)
class Softplus(_Activation): __doc__, function = ops.softplus.__doc__, staticmethod(ops.softplus)
# fmt: on


class GELU(_Activation):
    """x * Phi(x), Phi the normal distribution function; or, with approximate="tanh", the formula of Hendrycks & Gimpel
    2016 without it: `tl.gelu` as a module.

    Raises
    ------
    ArgumentError : `approximate` is neither "none" nor "tanh".

    Examples
    --------
    >>> tl.nn.GELU()([1.0]), tl.nn.GELU("tanh")([1.0])
    (tensor([0.8413447]), tensor([0.841192]))
    """

    function = staticmethod(functions.gelu)
    settings = ("approximate",)

    def __init__(self, approximate: str = "none"):
        if approximate not in ("none", "tanh"):
            raise ArgumentError(message("GELU", "approximate is 'none' or 'tanh'", {"approximate": approximate}))
        self.approximate = approximate


class LeakyReLU(_Activation):
    """x where x > 0, else negative_slope * x: `tl.leaky_relu` as a module.

    Examples
    --------
    >>> tl.nn.LeakyReLU(0.1)([-2.0, 3.0])
    tensor([-0.2,  3. ])
    """

    function = staticmethod(functions.leaky_relu)
    settings = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope


class ELU(_Activation):
    """x where x > 0, else alpha * (e**x - 1) (Clevert, Unterthiner & Hochreiter 2015): `tl.elu` as a module.

    Examples
    --------
    >>> tl.nn.ELU(alpha=2.0)([-1.0, 2.0])
    tensor([-1.2642411,  2.       ])
    """

    function = staticmethod(functions.elu)
    settings = ("alpha",)

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha


class Softmax(_Activation):
    """exp(x) / sum of exp(x) along the axis `dim`: `tl.softmax` as a module.

    Examples
    --------
    >>> tl.nn.Softmax(dim=1)(tl.zeros((1, 4)))
    tensor([[0.25, 0.25, 0.25, 0.25]])
    """

    function = staticmethod(F.softmax)
    settings = ("dim",)

    def __init__(self, dim: int = -1):
        self.dim = dim


class LogSoftmax(Softmax):
    """x - log(sum of exp(x)) along the axis `dim`: `tl.log_softmax` as a module.

    Examples
    --------
    >>> tl.nn.LogSoftmax()(tl.tensor([0.0, 1000.0]))
    tensor([-1000.,     0.])
    """

    function = staticmethod(F.log_softmax)
