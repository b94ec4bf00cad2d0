"""Pages that show what their code does: every block of a page is run, in order, in one scope.

Below a block of Python stands what it printed, and the pictures that it saved. A block of prompts (`>>>`) is compared with
what it says; where they differ, `run` raises.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_lstm as tl

BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?")
LONGEST = 24  # lines of output; of more the beginning is shown


@dataclass(frozen=True)
class Shown:
    """What a block did: where it ends in the text, what it printed, which pictures it saved."""

    end: int
    printed: str
    pictures: list[str]


class Checker(doctest.OutputChecker):
    """Numbers are compared as numbers: the last digits of a float32 are the processor's."""

    def check_output(self, want: str, got: str, flags: int) -> bool:
        if super().check_output(want, got, flags):
            return True
        if NUMBER.sub("#", want).split() != NUMBER.sub("#", got).split():
            return False
        return np.allclose([float(n) for n in NUMBER.findall(want)], [float(n) for n in NUMBER.findall(got)], rtol=1e-5)


def run(text: str, name: str, folder: Path) -> list[Shown]:
    """Run the blocks of a page in `folder`; `tl` and `np` are at hand, as in docstrings.

    Raises
    ------
    AssertionError : a block of prompts does not give what it says. Whatever else a block raises.
    """
    scope: dict[str, Any] = {"__name__": name, "tl": tl, "np": np}
    found = []
    with contextlib.chdir(folder), contextlib.redirect_stderr(io.StringIO()):  # the progress bars
        for k, block in enumerate(BLOCK.finditer(text)):
            before = {path: path.stat().st_mtime_ns for path in folder.glob("*.svg")}
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                if block[1] == "python":
                    _execute(block[2], f"<{name}, block {k}>", scope)
                else:
                    _compare(block[2], f"{name}_{k}", scope)
            saved = [path for path in folder.glob("*.svg") if before.get(path) != path.stat().st_mtime_ns]
            pictures = [path.name for path in sorted(saved, key=lambda path: path.stat().st_mtime_ns)]
            found.append(Shown(block.end(), printed.getvalue(), pictures))
    return found


def _execute(code: str, file: str, scope: dict[str, Any]) -> None:
    linecache.cache[file] = (
        len(code),
        None,
        code.splitlines(keepends=True),
        file,
    )  # equations are read from their source
    exec(compile(code, file, "exec"), scope)


def _compare(code: str, name: str, scope: dict[str, Any]) -> None:
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(code, scope, name, None, 0)
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    result = runner.run(test, out=said.append, clear_globs=False)
    if result.failed or not result.attempted:
        raise AssertionError("".join(said) or f"no prompts in {code!r}")
    scope |= test.globs


def shown(text: str, did: list[Shown], folder: Path, place: str) -> str:
    """The page with what its blocks did; the pictures, which are in `folder`, are referred to as place/name."""
    return "".join(_parts(text, did, folder, place))


def _parts(text: str, did: list[Shown], folder: Path, place: str) -> Iterator[str]:
    end = 0
    for block in did:
        yield text[end : block.end]
        end = block.end
        lines = block.printed.rstrip().split("\n")
        if block.printed.strip():
            more = ["..."] if len(lines) > LONGEST else []
            yield "\n\n```{code-block} text\n:class: printed\n\n" + "\n".join(lines[:LONGEST] + more) + "\n```"
        for name in block.pictures:
            look = "adapts" if "prefers-color-scheme" in (folder / name).read_text(encoding="utf-8") else "paper"
            yield f"\n\n:::{{figure}} {place}/{name}\n:alt: {name}\n:class: {look}\n\n`{name}`\n:::"
    yield text[end:]
