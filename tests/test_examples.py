"""Every example runs as its chapter says: quickly here, to its own bar; its pictures and its numbers are there."""

import re
import runpy
import string
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the examples draw; pip install 'tinygrad_lstm[plot]'")

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9][0-9]_*.py"))
CELL = re.compile(r"^# %%(.*)$", re.M)


def chapter(path):
    """The text of an example's markdown cells."""
    parts = CELL.split(path.read_text(encoding="utf-8"))
    assert parts[0] == "", "begins with a cell"
    kinds, bodies = parts[1::2], parts[2::2]
    assert kinds[0].strip() == "[markdown]"
    lines = [
        line for kind, body in zip(kinds, bodies, strict=True) if "[markdown]" in kind for line in body.split("\n")
    ]
    assert all(line == "" or line.startswith("#") for line in lines), "text stands behind a #"
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines).strip()


def fields(text):
    """(name, format) of every number that the text leaves to the run; formulas and code have braces of their own."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", "", text, flags=re.S)
    return [(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None]


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path, capsys):
    text = chapter(path)
    assert text.startswith("# ")
    example = runpy.run_path(str(path), run_name="example")
    assert capsys.readouterr() == ("", ""), "importing runs nothing"
    results = example["main"](quick=True, folder=tmp_path)
    printed = capsys.readouterr().out
    assert printed and max(map(len, printed.split("\n"))) <= 80, "at most 80 columns"
    assert results["reached"] == 1.0, printed
    assert all(isinstance(value, float | str) for value in results.values()), results

    for name, spec in fields(text):
        assert name in results, f"the text speaks of {{{name}}}"
        assert format(results[name], spec)
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
    for caption, picture in shown:
        assert len(caption.split()) > 3, f"{picture}: the caption is no sentence"
        assert picture.startswith(f"{path.stem}/"), picture
        assert (tmp_path / picture).stat().st_size > 500, picture
    assert shown
    drawn = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.svg")}
    assert drawn <= {picture for _, picture in shown}, "drawn, and not in the text"
