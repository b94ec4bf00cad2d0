"""DOT text -> SVG, PNG, PDF, HTML; and the `Drawing` that holds it.

Which program draws. `graphviz-pure`, a dependency, is a port of Graphviz as one program inside a wheel: it is always
there, writes the same bytes on every machine, and takes 5 ms. It lays out and writes SVG, even where a `dot` is on
PATH, so that a picture does not depend on what is installed. It knows Latin, Greek and mathematical letters by its own
fonts, and no PDF. PNG with other letters (Chinese) is the SVG drawn with this machine's fonts by `resvg-py`, a wheel as
well; PDF with other letters is drawn by the `dot` on PATH, from the same positions; all other PDF by the room `pdf`.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, FileError, message
from .page import page, still
from .pdf import pdf

SUFFIXES = (".svg", ".png", ".pdf", ".dot", ".html")
CHINESE = "'Noto Sans CJK SC', 'Source Han Sans SC', 'PingFang SC', 'Microsoft YaHei', 'WenQuanYi Micro Hei'"
FAMILY = "Helvetica, Arial, 'Liberation Sans', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"


@cache
def embedded() -> str | None:
    """The program that came with the library: beside this Python, or on PATH."""
    beside = shutil.which("graphviz-pure", path=sysconfig.get_path("scripts"))
    return (
        beside
        or shutil.which("graphviz-pure", path=sysconfig.get_path("scripts", f"{os.name}_user"))
        or shutil.which("graphviz-pure")
    )


def engine() -> str:
    program = embedded() or shutil.which("dot")
    if program is None:
        raise FileError(
            message(
                "draw",
                "no program that lays out graphs is installed",
                remedy="pip install graphviz-pure, or install Graphviz",
            )
        )
    return program


def run(dot: str, form: str, program: str | None = None, *options: str) -> bytes:
    """The output of a Graphviz program for a DOT text."""
    program = program or engine()
    done = subprocess.run([program, f"-T{form}", *options], input=dot.encode(), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise FileError(
            message(
                "draw", f"{Path(program).name} could not draw: {done.stderr.decode(errors='replace').strip()[:500]}"
            )
        )
    return done.stdout


def raster(svg: str, dpi: float) -> bytes:
    """SVG as PNG, with the fonts of this machine."""
    import resvg_py

    faces = html.escape(FAMILY)
    svg = _TEXT.sub(lambda m: m[0] if simple(m[0]) else m[0].replace(faces, f"{html.escape(CHINESE)}, {faces}"), svg)
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, dpi=dpi, background="white"))


def elsewhere(dot: str, form: str) -> bytes:
    """The output of the `dot` on PATH for a DOT text with places, by the package `graphviz`."""
    import graphviz

    try:
        data = graphviz.Source(dot, engine="neato").pipe(form, neato_no_op=2, quiet=True)
    except (graphviz.CalledProcessError, graphviz.ExecutableNotFound) as error:
        raise FileError(message("draw", f"dot could not draw: {str(error)[:500]}")) from None
    return _MADE.sub(lambda m: m[1] + b"19700101000000Z" + b" " * (len(m[2]) - 15) + m[3], data)


_MADE = re.compile(rb"(/(?:Creation|Mod)Date \(D:)(\d{14}[^)]{1,9})(\))")  # the hour would make every file another one
_TEXT = re.compile(r"<text\b.*?</text>", re.S)
_HEAD = re.compile(r"<\?xml.*?(?=<svg)", re.S)
_FACE = re.compile(r'font-family="Helvetica[^"]*"')
_SUB = re.compile(r'baseline-shift="sub"')


def svg(dot: str) -> str:
    """SVG that stands alone and goes into a page: no prologue, and a list of fonts that every machine has one of."""
    text = run(dot, "svg").decode()
    text = _FACE.sub(f'font-family="{html.escape(FAMILY)}"', _HEAD.sub("", text))
    return _SUB.sub('dy="2.5"', text)  # renderers disagree on baseline-shift


def simple(text: str) -> bool:
    """Whether the embedded fonts have all of its letters."""
    return all(ord(c) < 0x530 or 0x1E00 <= ord(c) < 0x2300 for c in text)


class Drawing:
    """A picture: `.dot`, `.svg`, `.html`, `.png()`, `.pdf()`; `save(path)` by the path's suffix. It shows in notebooks.

    Attributes
    ----------
    dot : the picture as DOT, for every Graphviz. svg : as text that stands alone. title : what it shows.

    Examples
    --------
    >>> picture = tl.draw(tl.cells.rnn)
    >>> picture.dot.startswith("digraph")
    True
    """

    def __init__(
        self,
        dot: str,
        title: str,
        description: str = "",
        scene: Callable[[], dict[str, Any]] | None = None,
        theme: str = "light",
    ):
        self.dot, self.title, self.description = dot, title, description
        self._scene, self._theme = scene, theme

    @cached_property
    def svg(self) -> str:
        return svg(self.dot)

    @cached_property
    def _placed(self) -> str:
        """The DOT text with the place of everything in it, so that another program draws the same."""
        return self.dot if "layout=nop2" in self.dot.split("\n", 2)[1] else run(self.dot, "dot").decode()

    def png(self, dpi: float = 192) -> bytes:
        """The picture as PNG, `dpi` dots an inch (72 points)."""
        if not dpi > 0:
            raise ArgumentError(message("png", "dpi is a positive number", {"dpi": dpi}))
        if not simple(self.dot):
            return raster(self.svg, dpi)
        return run(self.dot, "png", None, f"-Gdpi={dpi:g}")

    def pdf(self) -> bytes:
        """The picture as a PDF of one page, of vectors."""
        if not simple(self.dot) and shutil.which("dot"):
            return elsewhere(self._placed, "pdf")
        return pdf(json.loads(run(self.dot, "json")), self.title)

    @property
    def html(self) -> str:
        """One page that needs nothing else: to zoom, search, fold, ask about every part, and play the passes.

        Values and gradients are those of the moment this is asked for.
        """
        scene = still(self.svg, self.svg) if self._scene is None else self._scene()
        return page(scene, self.title, self.description, "dark" if self._theme == "dark" else "auto")

    def save(self, path: Any, **options: Any) -> Path:
        """Write the picture; the suffix says how: .svg .png .pdf .dot .html. The file is whole or not there.

        Raises
        ------
        ArgumentError : another suffix. FileError : the folder does not exist or cannot be written to.
        """
        target, form = destination(path, SUFFIXES, "takes a path", '"picture.svg"')
        if form in (".png", ".pdf"):
            data = getattr(self, form[1:])(**options)
        elif options:
            raise ArgumentError(message("save", f"{form} takes no {', '.join(options)}"))
        else:
            data = getattr(self, form[1:]).encode()
        write(target, data)
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<drawing of {self.title}>"


def destination(path: Any, suffixes: Sequence[str], takes: str, example: str) -> tuple[Path, str]:
    """The path of a file to write, in a folder that exists, and its suffix, which says how."""
    try:
        target = Path(path)
    except TypeError:
        raise ArgumentError(message("save", takes, {"path": path}, example)) from None
    form = target.suffix.lower()
    if form not in suffixes:
        remedy = f"end it in one of {' '.join(suffixes)}"
        raise ArgumentError(message("save", f"{str(path)!r} does not end in a known suffix", remedy=remedy))
    if not os.path.isdir(target.parent):
        problem = f"the folder {str(target.parent)!r} does not exist"
        raise FileError(message("save", problem, remedy="make it first"))
    return target, form


def write(target: Path, data: bytes) -> None:
    """Write a file whole or not at all: a neighbour is written first and then takes its name."""
    if os.path.isdir(target):
        raise FileError(message("save", f"{str(target)!r} is a folder", remedy="give the file another name"))
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise FileError(message("save", f"cannot write to {str(target.parent)!r}: {error.strerror}")) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except (OSError, ValueError) as error:  # a name with a zero character is a ValueError
        Path(name).unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise FileError(message("save", f"cannot write {str(target)!r}: {reason}")) from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
