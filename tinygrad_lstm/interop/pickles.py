"""A pickle read as data. Nothing is imported and nothing is called but what a table of a dozen names says.

A pickle is a program for a machine with a stack and a memo. `pickletools` of the standard library splits it into
instructions; here those that build numbers, texts, lists, tuples, sets and dicts are carried out. A name of Python
(`GLOBAL`) is looked up in the table, which holds functions of ours, and anything else is refused: no class is found, no
`__reduce__`, `__setstate__` or `__new__` of anybody runs.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

DEPTH = 100  # of lists in dicts in lists; state dicts have two or three


class Refused(Exception):
    """What cannot be read, and what to do: whoever knows the file's name says it as a FileError."""

    def __init__(self, problem: str, remedy: str = ""):
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


class Name:
    """A name of Python, not what it stands for."""

    def __init__(self, text: str):
        self.text = text


class Building:
    """What waits for its state (`BUILD`)."""

    def build(self, state: Any) -> None:
        raise Refused("sets the state of something that has none")


# fmt: off
LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# fmt: on
SCALARS = (str, int, float, bool, bytes, type(None))
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError, struct.error)


def read(file: BinaryIO, size: int, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> tuple[Any, int]:
    """The value of the pickle that begins here, and how many instructions it took.

    Parameters
    ----------
    size : the bytes of the file, which bound what a pickle that copies its values again and again can take.
    names : what stands for a name of Python: a function of ours where it is called, None where it is only named.
    persistent : what stands for something that was saved outside of the pickle (`BINPERSID`).

    Raises
    ------
    Refused : instructions that make no sense, or a name that is not in the table; it is said.
    """
    machine = _Machine(size, names, persistent)
    try:
        bounded: Any = _Bounded(file, size)
        for opcode, argument, _ in pickletools.genops(bounded):
            machine.do(opcode.name, argument)
        return machine.result(), machine.count
    except MALFORMED as error:
        raise Refused(f"its pickle is damaged ({' '.join(str(error).split())[:100] or type(error).__name__})") from None


class _Bounded:
    """A file that is never asked for more than it holds: Python makes room for that before it reads."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size = file, size
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size))


class _Machine:
    def __init__(self, size: int, names: Mapping[str, Any], persistent: Callable[[Any], Any]):
        self.names, self.persistent = names, persistent
        self.count = 0
        self.copies = 10 * size + 1000  # elements that may still be copied
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self.stack
        return value

    def do(self, name: str, argument: Any) -> None:
        self.count += 1
        push, pop = self.stack.append, self.stack.pop
        if name in LITERALS:
            push(argument)
        elif name in CONSTANTS:
            push(CONSTANTS[name])
        elif name in EMPTY:
            push(EMPTY[name]())
        elif name in SHORT_TUPLES:
            items = [pop() for _ in range(SHORT_TUPLES[name])]
            push(tuple(reversed(items)))
        else:
            match name:
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    if self.below:
                        raise ValueError("a mark is left")
                case "MARK":
                    self.below.append(self.stack)
                    self.stack = []
                case "POP":
                    pop()
                case "POP_MARK":
                    self._marked()
                case "DUP":
                    push(self.stack[-1])
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    self.memo[argument] = self.stack[-1]
                case "MEMOIZE":
                    self.memo[len(self.memo)] = self.stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    push(self.memo[argument])
                case "LIST" | "TUPLE":
                    items = self._marked()
                    self.stack.append(items if name == "LIST" else tuple(items))
                case "DICT":
                    items = self._marked()
                    made: dict[Any, Any] = {}
                    _fill(made, items)
                    self.stack.append(made)
                case "APPEND":
                    item = pop()
                    _of(list, self.stack[-1]).append(item)
                case "APPENDS":
                    items = self._marked()
                    _of(list, self.stack[-1]).extend(items)
                case "ADDITEMS":
                    items = self._marked()
                    _of(set, self.stack[-1]).update(map(_key, items))
                case "SETITEM":
                    value, key = pop(), pop()
                    _fill(self.stack[-1], [key, value])
                case "SETITEMS":
                    items = self._marked()
                    _fill(self.stack[-1], items)
                case "GLOBAL":
                    push(self._named(*argument.split(" ", 1)))
                case "STACK_GLOBAL":
                    attribute, module = pop(), pop()
                    push(self._named(_of(str, module), _of(str, attribute)))
                case "REDUCE" | "NEWOBJ":
                    arguments, function = pop(), pop()
                    push(self._call(function, _of(tuple, arguments)))
                case "BUILD":
                    state = pop()
                    self._copy(state)
                    if isinstance(self.stack[-1], Building):
                        self.stack[-1].build(state)
                    elif not isinstance(self.stack[-1], dict):  # the attributes of an OrderedDict are not its items
                        raise Refused("sets the attributes of something that is no dict")
                case "BINPERSID":
                    push(self.persistent(pop()))
                case _:
                    raise Refused(f"its pickle holds the instruction {name}, which files of torch.save do not")

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _named(self, module: str, attribute: str) -> Name:
        module = {"__builtin__": "builtins", "numpy._core.multiarray": "numpy.core.multiarray"}.get(module, module)
        name = f"{module}.{attribute}"
        if name not in self.names:
            raise Refused(
                f"holds an object of Python, {name[:100]!r}, and objects are not read, since that runs their code",
                "where the object is known, save its numbers: torch.save(model.state_dict(), 'model.pt')",
            )
        return Name(name)

    def _call(self, name: Any, arguments: tuple[Any, ...]) -> Any:
        function = self.names[_of(Name, name).text]
        if not callable(function):
            raise TypeError(f"{name.text} is called")
        self._copy(arguments)
        return function(*arguments)

    def _copy(self, values: Any) -> None:
        self.copies -= sum(len(v) for v in values if hasattr(v, "__len__"))
        if self.copies < 0:
            raise Refused("its pickle makes copies of copies, until no memory is left")


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} was expected, not {type(value).__name__}")
    return value


def _key(value: Any) -> Any:
    """What may be a key: hashing a tuple of tuples of tuples ... would end the process."""
    if isinstance(value, SCALARS) or (type(value) is tuple and all(isinstance(v, SCALARS) for v in value)):
        return value
    raise TypeError(f"a key is a {type(value).__name__}")


def _fill(into: Any, items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        _of(dict, into)[_key(key)] = value


# ------------------------------------------------------------------------------------------------------ finishing touch
class Place:
    """Where in the tree something is; `str` writes it as `model.weight` or `losses[3]`."""

    def __init__(self, above: Place | None = None, step: str | int = "", depth: int = 0):
        self.above, self.step, self.depth = above, step, depth

    def __truediv__(self, step: str | int) -> Place:
        return Place(self, step, self.depth + 1)

    def __str__(self) -> str:
        steps, at = [], self
        while at.above is not None:
            steps.append(f"[{at.step}]" if isinstance(at.step, int) else f".{str(at.step)[:100]}")
            at = at.above
        text = "".join(reversed(steps)).removeprefix(".")
        return text if len(text) <= 100 else "..." + text[-97:]


def finish(value: Any, leaf: Callable[[Any, Place], Any], count: int) -> Any:
    """The tree with everything that is no plain data replaced by leaf(value, place).

    Raises Refused for a value that contains itself, or is nested deeper than any state dict; or that becomes large by
    containing the same list again and again, `count` being the instructions that made it.
    """
    left = [10 * count + 1000]

    def walk(value: Any, place: Place) -> Any:
        left[0] -= 1
        if place.depth > DEPTH or left[0] < 0:
            raise Refused(f"{place} is nested too deeply, or contains itself")
        if isinstance(value, dict):
            return {k: walk(v, place / (k if isinstance(k, int) else str(k))) for k, v in value.items()}
        if isinstance(value, list | tuple):
            items = [walk(v, place / k) for k, v in enumerate(value)]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, (set, bytearray, complex, np.generic, *SCALARS)):
            return value
        return leaf(value, place)

    return walk(value, Place())


# -------------------------------------------------------------------------------------------------- numbers of NumPy
@dataclass
class _Dtype(Building):
    dtype: np.dtype

    def build(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


@dataclass
class Array(Building):
    """A NumPy array, which comes in two parts."""

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        flat = np.frombuffer(_of(bytes, data), _of(_Dtype, dtype).dtype)
        self.value = np.array(flat.reshape(shape, order="F" if fortran else "C"))


def _dtype(code: str, *_: Any) -> _Dtype:
    if not re.fullmatch(r"[fiubc]\d{1,2}", code):
        raise Refused(f"holds NumPy's dtype {code[:20]!r}, and only numbers are read")
    return _Dtype(np.dtype(code))


def _scalar(dtype: Any, data: Any) -> np.generic:
    (value,) = np.frombuffer(_of(bytes, data), _of(_Dtype, dtype).dtype)
    return value


def _array(kind: Any, *_: Any) -> Array:
    if _of(Name, kind).text != "numpy.ndarray":
        raise TypeError(f"an array of {kind.text}")
    return Array()


def _encode(text: str, encoding: str) -> bytes:
    return _of(str, text).encode({"latin1": "latin-1", "latin-1": "latin-1"}[encoding])


def _set(items: Any = ()) -> set[Any]:
    return {_key(item) for item in _of(list, items)}


# fmt: off
PLAIN: dict[str, Any] = {
    "collections.OrderedDict": lambda items=(): {_key(k): v for k, v in items},
    "collections.Counter": lambda items=(): dict(_of(dict, items)),
    "builtins.set": _set,
    "builtins.bytes": lambda: b"",
    "builtins.complex": lambda real, imag: complex(_of(float, real), _of(float, imag)),
    "builtins.bytearray": lambda data=b"", encoding="": bytearray(_encode(data, encoding) if encoding else _of(bytes, data)),
    "_codecs.encode": _encode,  # bytes, in a pickle of protocol 2
    "numpy.dtype": _dtype,
    "numpy.ndarray": None,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _array,
}
# fmt: on
