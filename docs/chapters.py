"""Chapters from examples: one run of `main`, and the script's own cells become a page, in English and in other languages.

An example is a script of cells. `# %% [markdown]` begins a cell of text, `# %%` one of code. Its `main(quick, folder=)`
prints, saves pictures as folder/NN_name/*.svg and returns named results. On the page

    text     stays text; `{name:.1%}` is filled with what `main` returned
    code     stays code; after the cell that defines `main` stands what it printed
    picture  `![A full sentence.](NN_name/file.svg)`, a paragraph of its own, becomes a figure with its caption

A translation holds the text cells alone, in the same order, separated by lines `%%`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import runpy
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CELL = re.compile(r"^# %%(?: \[(\w+)\])?[ \t]*\n", re.M)
FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
VERBATIM = re.compile(r"```.*?^```|\$\$.*?\$\$|(?<!`)`[^`\n]+`(?!`)|\$[^$\n]+\$", re.S | re.M)
PICTURE = re.compile(r"^!\[([^\]]+)\]\(([^)\s]+)\)$", re.M)
AT_THE_END = re.compile(r'\n*^if __name__ == "__main__":\n(?: .*\n?)+', re.M)
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TIMES = "\u00a0×\u00a0"  # a number is not broken over lines
RESULTS, PRINTED = "results.json", "printed.txt"

Results = Mapping[str, float | str]


@dataclass(frozen=True)
class Cell:
    """A cell of an example: its kind, "markdown" or "code", and its body without the marks."""

    kind: str
    body: str


@dataclass(frozen=True)
class Run:
    """What `main` did: its results, what it printed, and the folder that its pictures are in."""

    results: Results
    printed: str
    pictures: Path


def cells(script: str) -> list[Cell]:
    """The cells of a script.

    Raises
    ------
    ValueError : it does not begin with a cell of text, or a line of text is no comment.
    """
    before, *parts = CELL.split(script)
    found = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        if kind == "markdown":
            lines = body.strip().split("\n")
            wrong = [line for line in lines if line and not line.startswith("#")]
            if wrong:
                raise ValueError(f"a cell of text holds a line that is no comment: {wrong[0]!r}")
            body = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
        found.append(Cell(kind or "code", body.strip()))
    if before.strip() or not found or found[0].kind != "markdown":
        raise ValueError("a script of cells begins with '# %% [markdown]'")
    return found


def pieces(translation: str) -> list[str]:
    """The text cells of a translation: what stands between lines `%%`."""
    return [piece.strip() for piece in re.split(r"^%%[ \t]*$", translation, flags=re.M)]


def translated(script: Sequence[Cell], texts: Sequence[str]) -> list[Cell]:
    """The script with other texts, the k-th in place of its k-th.

    Raises
    ------
    ValueError : as many texts as the script has are needed.
    """
    count = sum(cell.kind == "markdown" for cell in script)
    if count != len(texts):
        raise ValueError(f"{len(texts)} pieces of text for a script that has {count}")
    following = iter(texts)
    return [Cell(cell.kind, next(following)) if cell.kind == "markdown" else cell for cell in script]


def fields(text: str) -> list[tuple[str, str]]:
    """(name, format) of the fields of a text; braces in formulas and in code are no fields."""
    return [(name, spec) for name, spec in FIELD.findall(VERBATIM.sub("", text))]


def pictures(text: str) -> list[tuple[str, str]]:
    """(caption, path) of the pictures of a text."""
    return [(" ".join(caption.split()), path) for caption, path in PICTURE.findall(text)]


def fill(text: str, results: Results) -> str:
    """The text with its fields filled.

    A number with an exponent is written as one does on paper. A block of code may hold what a run returned as well,
    `{name}` on a line of its own; other braces stay.

    Raises
    ------
    KeyError : the text speaks of a result that there is not.
    """

    def value(match: re.Match[str]) -> str:
        number = format(results[match[1]], match[2] or "")
        return re.sub(r"^(-?[\d.]+)e([+-]\d+)$", lambda m: f"{m[1]}{TIMES}10{str(int(m[2])).translate(RAISED)}", number)

    def inside(verbatim: str) -> str:
        if not verbatim.startswith("```"):
            return verbatim
        return re.sub(r"^\{(\w+)\}$", lambda m: str(results.get(m[1], m[0])), verbatim, flags=re.M)

    filled, end = [], 0
    for match in VERBATIM.finditer(text):
        filled += [FIELD.sub(value, text[end : match.start()]), inside(match[0])]
        end = match.end()
    return "".join(filled) + FIELD.sub(value, text[end:])


def page(script: Sequence[Cell], run: Run, folder: str, note: str, output: str) -> str:
    """A chapter as MyST Markdown.

    Parameters
    ----------
    script : its cells. run : of this script. folder : where the page finds the pictures, relative to itself.
    note : a paragraph below the title: where this comes from. output : what introduces what was printed.
    """
    parts = []
    for cell in script:
        if cell.kind == "markdown":
            text = re.sub(
                r"^(>.*\S)\n(?=> *\S)", r"\1\\\n", fill(cell.body, run.results), flags=re.M
            )  # a quoted line stays one
            parts.append(PICTURE.sub(lambda m: _figure(m[1], m[2], folder, run.pictures), text))
        else:
            code = AT_THE_END.sub("", cell.body + "\n").strip()
            if code:
                parts.append(f"```python\n{code}\n```")
            if re.search(r"^def main\(", code, re.M):
                parts += [output, f"```text\n{run.printed.rstrip()}\n```"]
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, note, rest.strip(), *parts[1:]]) + "\n"


def _figure(caption: str, path: str, folder: str, pictures: Path) -> str:
    caption = " ".join(caption.split())
    alt = re.sub(r"[`$*\\]", "", caption)
    adapts = "prefers-color-scheme" in (pictures / path).read_text(encoding="utf-8")
    look = "adapts" if adapts else "paper"
    return f":::{{figure}} {folder}/{path}\n:alt: {alt}\n:class: {look}\n\n{caption}\n:::"


# ---------------------------------------------------------------------------------------------------------------- runs
def run(script: Path, folder: Path, quick: bool) -> Run:
    """Run an example's `main` and keep what it did in `folder`."""
    home = folder / script.stem
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    printed = io.StringIO()
    example = runpy.run_path(str(script), run_name="example")
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):  # the progress bars
        results = example["main"](quick=quick, folder=folder)
    (home / PRINTED).write_text(printed.getvalue(), encoding="utf-8")
    (home / RESULTS).write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    return recorded(script, folder)


def recorded(script: Path, folder: Path) -> Run:
    """What an earlier run of an example left in `folder`."""
    home = folder / script.stem
    results = json.loads((home / RESULTS).read_text(encoding="utf-8"))
    return Run(results, (home / PRINTED).read_text(encoding="utf-8"), folder)


def digest(script: Path, library: Path) -> str:
    """Changes when the script or any source file of the library does."""
    sources = [script, *sorted(library.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


def run_or_recorded(script: Path, folder: Path, quick: bool, library: Path) -> Run:
    """The recorded run if neither the script nor the library has changed since; else a new one."""
    mark, now = folder / script.stem / "digest.txt", digest(script, library)
    if mark.exists() and mark.read_text() == now:
        return recorded(script, folder)
    print(f"running {script.stem}", file=sys.stderr, flush=True)
    found = run(script, folder, quick)
    mark.write_text(now)
    return found
