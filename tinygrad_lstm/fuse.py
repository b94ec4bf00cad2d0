"""`@fuse`: a function of elementwise operations becomes one operation: a kernel forward, a derived kernel back."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from . import codegen
from .autodiff import sweep
from .errors import ArgumentError, TraceError, message
from .graph import Node, Op, Trace, Value, verify


class Fused:
    """A fused function. Call it like the function it was made from; `source(direction)` shows its kernels."""

    def __init__(self, function: Callable[..., Any]):
        self.__wrapped__ = self._function = function
        name = function.__name__ if function.__name__.isidentifier() else "fused"  # kernels bear it; a lambda has none
        self.__name__ = self.__qualname__ = name
        self.__doc__ = function.__doc__
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters):
            raise TraceError(
                message(self.__name__, "a fused function has positional arguments only", remedy="def f(x, y): ...")
            )
        self.names = tuple(p.name for p in parameters)
        self._parameters = inspect.signature(function)
        trace = Trace()
        inputs = tuple(trace.leaf(n) for n in self.names)
        output = function(*inputs)
        if not isinstance(output, Node):
            raise TraceError(
                message(
                    self.__name__, f"must return one value computed from its arguments, not {type(output).__name__}"
                )
            )
        if output.op is None:
            output = trace.apply(_COPY, (output,), {})
        verify([output], self.__name__)
        self.op = Op(
            self.__name__,
            len(inputs),
            _unused,
            self._rule,
            symbol=self.__name__,
            names=self.names,
            graph=(inputs, output),
            doc=self.__doc__ or "",
        )

    def _rule(self, g: Any, y: Any, *args: Any) -> tuple:
        """The derivative on Tensors, to be differentiated again: the function as written, then the reverse sweep."""
        own = [a.apply("reshape", a, shape=a.shape) if isinstance(a, Value) and a.requires_grad else a for a in args]
        stop = [a for a in own if isinstance(a, Value) and a.requires_grad]
        found = sweep([self._function(*own)], [g], stop=stop)
        return tuple(found.get(a.serial) if isinstance(a, Value) else None for a in own)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            bound = self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(message(self.__name__, f"{error}; it takes ({', '.join(self.names)})")) from None
        bound.apply_defaults()
        values = bound.args
        if any(isinstance(v, Node) for v in values):
            return self._function(*values)
        return Value.eager(self.op, *values)

    def source(self, direction: str = "forward", dtype: Any = "float32") -> str:
        """The generated loop, `direction` "forward" or "backward"."""
        if direction == "forward":
            return codegen.forward(self.op).source(dtype).replace("{function}", self.__name__)
        if direction != "backward":
            raise ArgumentError(message("source", "the direction is 'forward' or 'backward'", {"direction": direction}))
        kernel = codegen.backward(self.op, (True,) * len(self.names))
        return kernel.source(dtype).replace("{function}", f"{self.__name__}_backward") if kernel.made else ""

    def __repr__(self) -> str:
        return f"<fused {self.__name__}({', '.join(self.names)})>"


_COPY = Op("copy", 1, lambda x: x, (lambda g, y, x: g,), "{0}", lambda shapes: shapes[0], "copy", "{0}", names=("x",))


def _unused(*_: Any) -> Any:
    raise AssertionError("a fused operation runs through codegen")


def fuse(function: Callable[..., Any]) -> Fused:
    """Make one operation of a function that combines elementwise operations.

    The function is read once, at decoration. Forward it is one pass over memory instead of one an operation; backward
    likewise, by a kernel derived from the rows, which computes again what it needs. Small arrays run the same graph in
    NumPy, so that they never wait for a compiler. Shapes broadcast as NumPy's.

    Raises
    ------
    TraceError : the body branches on a value, indexes, reduces, or uses an array that is no argument.

    Examples
    --------
    >>> @tl.fuse
    ... def swish(x):
    ...     return x * tl.sigmoid(x)
    >>> swish(tl.tensor([0.0, 2.0]))
    tensor([0.       , 1.7615942])
    """
    return Fused(function)
