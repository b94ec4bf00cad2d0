"""The reference: a page for every room of the library, each public name with its signature and its docstring.

The names are found, not listed: what `tl.__all__` and the rooms hold, by the module that defines it. A docstring is
prose with sections (`Parameters`, `Raises`, ...) whose entries read `name : what it is`; here it becomes Markdown.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from pages import look

import tinygrad_lstm as tl

# fmt: off
# page, title, modules whose public names stand there, what the page is about
PAGES = [
    ("tensors", "Tensors", ["tensor"], "Arrays that remember where they came from."),
    ("functions", "Functions of arrays", ["functions"], "Named and behaving as NumPy's, where NumPy has them; all with gradients."),
    ("elementwise", "Elementwise operations", ["ops", "fuse"], "The rows of the table, and how to add yours. All may stand in a cell."),
    ("gradients", "Gradients", ["gradients"], "Functions that give gradients, and their check by finite differences."),
    ("cells", "Cells", ["cell", "cells"], "Declare a cell; the built-in cells. More pictures: [gallery](../gallery/README.md)."),
    ("nn", "Layers", ["nn.layers", "nn.module", "nn.recurrent"], "`tl.nn`: modules with torch's names."),
    ("functional", "Losses", ["nn.functional", "nn.ctc"], "`tl.nn.functional`: losses, and what layers compute (`relu` is in `tl`)."),
    ("init", "Initialisation", ["init"], "`tl.init`: the values that parameters start with."),
    ("optim", "Optimisers", ["optim"], "`tl.optim`: torch's update rules, clipping, and schedules of the learning rate."),
    ("training", "Training and files", ["train", "checkpoint"], "The training loop, and one file for all of a run."),
    ("interop", "Trained elsewhere", ["interop"], "`tl.interop`: files of PyTorch and of Keras. [How to](../howto/interop.md)."),
    ("onnx", "ONNX", ["onnx"], "`tl.onnx`: models as files for any runtime, and files to run. Needs `pip install 'tinygrad_lstm[onnx]'`."),
    ("data", "Data", ["data"], "`tl.data`: text as numbers, batches, recordings that come along, n-gram models to beat."),
    ("inspection", "Instruments", ["inspection"], "Values and gradients of gates, the reach of a memory, where a NaN comes from."),
    ("drawing", "Drawings", ["drawing"], "`tl.draw`: cells, computations and models as pictures."),
    ("plot", "Plots", ["plot"], "`tl.plot`: what a network does and how it learned. Needs `pip install 'tinygrad_lstm[plot]'`."),
    ("threads", "Threads", ["threads"], "How many cores the compiled loops use."),
    ("errors", "Errors", ["errors"], "Every message says what was given, what was expected and what to do."),
]
# fmt: on
# public by what returns or holds them, not by a name in `tl`
RETURNED = ["drawing.Drawing", "inspection.Recording", "inspection.MemoryMap", "train.Fit", "plot.Plot"]
FIRST = [
    "Tensor",
    "tensor",
    "elementwise",
    "fuse",
    "cell",
    "Cell",
    "nn.Recurrent",
    "nn.LSTM",
    "nn.GRU",
    "nn.RNN",
    "nn.LSTMCell",
    "nn.GRUCell",
    "nn.RNNCell",
    "fit",
    "train.Fit",
    "record",
    "memory_map",
]
CREATION = ["tensor", "zeros", "ones", "full", "arange", "zeros_like", "ones_like", "randn", "rand"]
LOWER = "tinygrad_lstm."
# methods without an underscore that only other rooms of the library call
INNER = {"members", "passages", "prepare_rng_state", "prepare_state_dict", "pullback", "suffixes", "watching"}
# what every subclass can do stands with these
BASES = (tl.nn.Module, tl.optim.Optimizer, tl.optim.LRScheduler)


@dataclass(frozen=True)
class Public:
    """A public thing: the name a user writes, without `tl.`; what it is; the module that defines it."""

    name: str
    thing: Any
    home: str

    @property
    def page(self) -> str:
        """The page it stands on; a room without a row of its own has a page by its name."""
        if self.name in CREATION:
            return "tensors"
        for page, _, modules, _ in PAGES:
            if any(self.home == m or self.home.startswith(m + ".") for m in modules):
                return page
        return self.home.split(".")[0]


def public() -> list[Public]:
    """Every public name, in the order of its room."""
    found: dict[str, Public] = {}
    for name in tl.__all__:
        thing = getattr(tl, name)
        if callable(thing):
            found[name] = Public(name, thing, _home(thing))
    for name in _rooms():
        found |= {p.name: p for p in _of_room(name, getattr(tl, name))}
    found |= {p.name: p for p in _of_room("nn.functional", tl.nn.functional)}
    for name in RETURNED:
        room, _, attribute = name.rpartition(".")
        thing = getattr(_module(room), attribute)
        found[name] = Public(name, thing, room)
    return list(found.values())


def _module(name: str) -> types.ModuleType:
    return __import__(LOWER + name, fromlist=["*"])


def _home(thing: Any) -> str:
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return module.removeprefix(LOWER) if module.startswith(LOWER) else "ops"


def _rooms() -> list[str]:
    """The rooms that `tinygrad_lstm/__init__.py` imports as a whole: `from . import cells, data, ...`."""
    line = re.search(r"^from \. import (\([^)]*\)|.*)", inspect.getsource(tl), re.M)
    assert line
    return re.findall(r"\w+", line[1])


def _of_room(name: str, room: types.ModuleType) -> Iterator[Public]:
    names = getattr(room, "__all__", None) or [n for n in vars(room) if not n.startswith("_")]
    for attribute in names:
        thing = getattr(room, attribute)
        if isinstance(thing, types.ModuleType) or not callable(thing):
            continue
        home = _home(thing)
        if isinstance(thing, tl.Cell):
            yield Public(f"{name}.{attribute}", thing, "cells")
        elif home.split(".")[0] == name.split(".")[0]:
            yield Public(f"{name}.{attribute}", thing, name if home.count(".") == 0 else home)


# --------------------------------------------------------------------------------------------------------------- pages
def pages() -> dict[str, str]:
    """Name of the page -> its MyST Markdown; `index` lists the others."""
    things = public()
    rows = {page: (title, about) for page, title, _, about in PAGES}
    for thing in things:
        if thing.page not in rows:
            rows[thing.page] = (f"tl.{thing.page}", (inspect.getdoc(_module(thing.page)) or "").split("\n\n")[0])
    found = {}
    for page, (title, about) in rows.items():
        here = sorted((t for t in things if t.page == page), key=_order)
        if here:
            parts = [f"# {title}", about, *(_cell(t) if isinstance(t.thing, tl.Cell) else entry(t) for t in here)]
            found[page] = "\n\n".join(parts) + "\n"
    lines = [f"- [{rows[page][0]}]({page}.md): {_listed(things, page)}" for page in found]
    tree = "\n".join(found)
    about = "Every public name. Its page says what it computes, its arguments, its errors, and shows it at work."
    found["index"] = f"# Reference\n\n{about}\n\n" + "\n".join(lines) + f"\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    return found


def _listed(things: list[Public], page: str) -> str:
    return ", ".join(f"`tl.{t.name}`" for t in sorted(things, key=_order) if t.page == page)


def _order(thing: Public) -> tuple[bool, int]:
    """What a page is about first; built-in cells, and activations as modules, last."""
    last = isinstance(thing.thing, tl.Cell) or (inspect.isclass(thing.thing) and hasattr(thing.thing, "function"))
    first = [*FIRST, *CREATION]
    return last, first.index(thing.name) if thing.name in first else len(first)


def entry(public: Public) -> str:
    """One name, as a directive with its docstring, and its methods if it is a class."""
    kind = "class" if inspect.isclass(public.thing) else "function"
    if kind == "class" and issubclass(public.thing, BaseException):
        return _directive("exception", f"tl.{public.name}", markdown(public.thing.__doc__ or ""))
    body = [markdown(_text(public)), *(_figure(name, picture) for name, picture in example_pictures(public.name))]
    if kind == "class":
        body += [_member(name, member) for name, member in _members(public.thing)]
        base = next((b for b in BASES[1:] if issubclass(public.thing, b) and public.thing is not b), None)
        body += [f"And the methods of `tl.optim.{base.__name__}`."] if base else []
    elif type(public.thing).__module__.startswith(LOWER):  # a function that has others as attributes
        body += [_member(name, member) for name, member in _members(type(public.thing))]
    return _directive(kind, f"tl.{public.name}{signature(public.thing)}", "\n\n".join(body))


def _text(public: Public) -> str:
    """The docstring; of what a row of the table makes without what is said once on its page."""
    text = inspect.getdoc(public.thing) or ""
    function = getattr(public.thing, "function", None)
    if function is not None and text == inspect.getdoc(function):
        return f"{text.split(chr(10) * 2)[0]}\n\n`tl.{function.__name__}` as a module."
    return re.sub(r"^Elementwise over .*?\n\n", "", text, flags=re.M | re.S)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties with a docstring of their own, and `forward`; those of base classes of the library as well."""
    seen = set(INNER)
    for base in kind.__mro__:
        if not base.__module__.startswith(LOWER):
            continue
        if base is not kind and base in BASES:
            continue
        for name, member in vars(base).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            plain = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            own = inspect.isfunction(plain) and plain.__qualname__.startswith(base.__name__ + ".")
            inherited = [
                vars(b)[name].__doc__ for b in BASES if base is not b and issubclass(base, b) and name in vars(b)
            ]
            if name == "forward" and hasattr(kind, "function"):
                continue  # an activation is called as its function
            if plain.__doc__ in inherited and name != "forward":
                continue
            if (own or isinstance(plain, property)) and (plain.__doc__ or name == "forward"):
                yield name, plain


def _member(name: str, member: Any) -> str:
    if isinstance(member, property):
        return _directive("property", name, markdown(member.__doc__ or ""))
    return _directive("method", f"{name}{signature(member, method=True)}", markdown(member.__doc__ or ""))


def _cell(public: Public) -> str:
    cell = public.thing
    body = [
        markdown(inspect.getdoc(cell) or ""),
        f"![{public.name}](pictures/{cell.name}.svg)",
        f"```text\n{cell}\n```",
    ]
    return _directive("data", f"tl.{public.name}", "\n\n".join(body))


def cell_pictures() -> dict[str, Any]:
    """File name -> drawing, of every built-in cell."""
    return {f"{p.thing.name}.svg": tl.draw(p.thing) for p in public() if isinstance(p.thing, tl.Cell)}


def pictures() -> dict[str, Any]:
    """File name -> picture, of all that the pages show."""
    return cell_pictures() | {name: picture for p in public() for name, picture in example_pictures(p.name)}


@cache
def example_pictures(name: str) -> tuple[tuple[str, Any], ...]:
    """(file name, picture) of every picture that the examples of `tl.draw` or of a function of `tl.plot` give."""
    if name != "draw" and not name.startswith("plot."):
        return ()
    thing = tl.draw if name == "draw" else getattr(tl.plot, name.removeprefix("plot."))
    scope: dict[str, Any] = {"tl": tl, "np": np}
    found: list[tuple[str, Any]] = []
    for example in doctest.DocTestParser().get_examples(inspect.getdoc(thing) or ""):
        try:
            ast.parse(example.source, mode="eval")
        except SyntaxError:
            exec(example.source, scope)
            continue
        try:
            value = eval(example.source, scope)
        except tl.MissingExtra:  # no matplotlib: the page stands without its pictures
            return ()
        if hasattr(value, "svg"):
            found.append((f"{name}-{len(found)}.svg", value))
    return tuple(found)


def _figure(name: str, picture: Any) -> str:
    return f":::{{figure}} pictures/{name}\n:alt: {picture.title}\n:class: {look(picture.svg)}\n:::"


def _directive(kind: str, head: str, body: str) -> str:
    longest = max((len(run) for run in re.findall(r"^[ ]*(:{3,})", body, re.M)), default=2)
    fence = ":" * (longest + 1)
    return f"{fence}{{py:{kind}}} {head}\n\n{body.strip()}\n{fence}"


# ---------------------------------------------------------------------------------------------------------- signatures
class _Written:
    """Stands in a signature for what should be written as it is."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature(thing: Any, method: bool = False) -> str:
    """How a thing is called, as one would write it; empty where Python does not know."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parameters = list(found.parameters.values())
    if method and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    empty = inspect.Parameter.empty
    shown = [
        p.replace(
            annotation=empty if p.annotation in (empty, "Any", Any) else _written(p.annotation),
            default=empty if p.default is empty else _default(p.default),
        )
        for p in parameters
        if not p.name.startswith("_")
    ]
    returns = found.return_annotation
    returns = inspect.Signature.empty if returns in (inspect.Signature.empty, "Any", Any) else _written(returns)
    if inspect.isclass(thing):
        returns = inspect.Signature.empty
    return str(inspect.Signature(shown, return_annotation=returns)).replace("*,)", "*)")


def _written(annotation: Any) -> _Written:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", repr(annotation))
    return _Written(text)


def _default(value: Any) -> _Written:
    if isinstance(value, type):
        module = "np." if issubclass(value, np.generic) else ""
        return _Written(module + value.__name__)
    if callable(value):
        return _Written(value.__name__)
    text = repr(value)
    return _Written("..." if " at 0x" in text or text.startswith("<") else text)


# ---------------------------------------------------------------------------------------------------------- docstrings
SECTION = re.compile(r"^(?P<title>[A-Z][\w ]*)\n-{3,}\n", re.M)
ENTRY = re.compile(r"^(?P<names>[\w*.\[\]\"=>() ]+(?:, [\w*.()= ]+)*) : ", re.S)
FURTHER = re.compile(r"(?<=[.;?]) (?=(?:\*{0,2}\w+(?: = \([^)]*\))?, )*\*{0,2}\w+(?: = \([^)]*\))? : )")
PROSE = {"Notes", "References"}  # sections without entries


def markdown(docstring: str) -> str:
    """A docstring as Markdown: paragraphs, examples, sections with their entries."""
    text = inspect.cleandoc(docstring)
    before, *parts = SECTION.split(text)
    out = [_prose(before)]
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        out.append(f"**{title}**")
        out.append(_prose(body) if title in PROSE or ">>>" in body else _entries(body))
    return "\n\n".join(part for part in out if part)


def _prose(text: str) -> str:
    """Paragraphs; examples and what is indented become blocks of code."""
    out = []
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        lines = block.split("\n")
        if lines[0].lstrip().startswith(">>>"):
            out.append(f"```pycon\n{inspect.cleandoc(block)}\n```")
        elif all(line.startswith("    ") for line in lines):
            if out and out[-1].startswith("```text"):
                out[-1] = out[-1].removesuffix("```") + "\n" + _dedent(block) + "\n```"
            else:
                out.append(f"```text\n{_dedent(block)}\n```")
        elif block.strip():
            out.append(_hanging(lines))
    return "\n\n".join(out)


def _hanging(lines: list[str]) -> str:
    """A paragraph; where indented lines follow its first ones, they are a block of code."""
    first = next((k for k, line in enumerate(lines) if line.startswith("    ")), len(lines))
    if 0 < first < len(lines):
        return f"{escape(' '.join(lines[:first]))}\n\n```text\n{_dedent(chr(10).join(lines[first:]))}\n```"
    return escape("\n".join(lines))


def _dedent(block: str) -> str:
    return inspect.cleandoc("\n" + block)


def _entries(body: str) -> str:
    """A list of `name : what it is`; several in one paragraph are several items."""
    out, body = [], body.strip("\n")
    heading = re.search(r"^[A-Z][\w ]+\n(?=    )", body, re.M)
    if heading:  # entries below a line of their own: those of one kind of argument
        under = re.match(r"(?:    .*\n?)+", body[heading.end() :])
        assert under
        rest = body[heading.end() + under.end() :]
        parts = [body[: heading.start()], f"*{heading[0].strip()}:*", _dedent(under[0]), rest]
        return "\n\n".join(part if part.startswith("*") else _entries(part) for part in parts if part.strip())
    items: list[str] = []
    goes_on = False
    for line in body.split("\n"):
        if goes_on and line.strip() and (line.startswith(" ") or not ENTRY.match(line)):
            items[-1] += " " + line.strip()
        elif line.strip():
            items.append(line.strip())
        goes_on = bool(line.strip())
    for item in [part for whole in items for part in FURTHER.split(whole)]:
        match = ENTRY.match(item)
        out.append(
            f"- `{match['names'].replace('`', '')}`: {escape(item[match.end() :])}\n"
            if match
            else f"\n{escape(item)}\n"
        )
    return "".join(out).strip()


def escape(text: str) -> str:
    """What means something to Markdown, outside of inline code, is meant as it stands."""
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"([*_<>\[\]$\\|{}])", r"\\\1", part) for part in parts[::2]]
    return re.sub(r"^(\s*)([=#+>-])(?=[=\s#-])", r"\1\\\2", "".join(parts), flags=re.M)
