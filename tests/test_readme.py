"""README: every Python block runs, every command is real, every link leads somewhere, the picture is ours."""

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.cli import main

ROOT = Path(tl.__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_the_python_of_the_readme_runs_and_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = blocks(README, "python")
    file = tmp_path / "readme.py"  # equations are read from their source, so they need a file
    file.write_text("\n".join(code))
    scope = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    run = scope["run"]
    assert run.steps == 300 and run.losses[-1] < 0.2 * run.losses[0]
    out = capsys.readouterr().out
    assert repr(run) in out
    assert (tmp_path / "leaky.svg").read_text() == tl.draw(scope["leaky"], highlight="f").svg


def test_the_cell_of_the_readme_takes_ten_lines():
    first = blocks(README, "python")[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 10


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / link).exists(), link
    for path in re.findall(r"`((?:tinygrad_lstm|tests|docs|examples)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path


def test_the_picture_is_the_librarys():
    """Made by `tinygrad-lstm draw lstm --equations -o docs/lstm.svg`; make it again when the drawing has changed."""
    ours = tl.draw(tl.cells.lstm, equations=True).svg

    def words(svg):
        return sorted(
            t.text.strip() for t in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text") if t.text
        )

    assert words((ROOT / "docs" / "lstm.svg").read_text(encoding="utf-8")) == words(ours)


def test_its_two_commands_are_single_lines_that_make_their_own_environment():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    demo, tests = (block.strip() for block in blocks(README, "sh"))
    assert demo == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/tinygrad-lstm demo"
    assert tests == "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest"
    assert (
        project["scripts"] == {"tinygrad-lstm": "tinygrad_lstm.cli:main"} and "test" in project["optional-dependencies"]
    )
    ci = (ROOT / ".ci" / "run").read_text()
    assert f"\n{tests}\n" in ci and f"\n{demo}\n" in ci


@pytest.mark.parametrize("arguments", sorted(set(re.findall(r"`tinygrad-lstm ((?!demo)[\w -]+)`", README))))
def test_other_commands_of_the_readme_work(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 0 and capsys.readouterr().out.strip()


def test_it_says_what_it_is_not():
    assert "unrelated to the project called tinygrad" in README
