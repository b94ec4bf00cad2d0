"""Builds the site: `python docs/build.py`. Then open build/docs/html/index.html.

Needs `pip install '.[docs,examples]'`, and some minutes. The pages of docs/ are copied to build/docs/source; beside them are put

    outputs     of the pages' code, which is run: what it printed, the pictures it saved
    chapters    of examples/*.py, which are run: every number, picture and printed line is of that run
    reference   of the docstrings
    gallery     of pictures, drawn anew

and Sphinx makes the site of it all; a warning is an error. An example is run again only if it or the library changed.
`--quick` runs the examples in small, each in some seconds; `--only 04 05` only some of them.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import chapters
import pages
import reference

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
LIBRARY, EXAMPLES = ROOT / "tinygrad_lstm", ROOT / "examples"
OUR_OWN = {"static", "__pycache__"}  # folders of docs/ that hold no pages

NOTES = {
    "en": "*This page is made from {script}, run {way}: text, code, numbers and pictures.*",
    "zh": "*本页由 {script} 生成（{way}）：文字、代码、数字和图都出自这一次运行。*",
}
WAYS = {
    "en": {False: "when the site was built", True: "in small when the site was built (`quick=True`)"},
    "zh": {False: "在生成网站时完整运行", True: "在生成网站时以 `quick=True` 快速运行"},
}
CONTENTS = """# Chapters

From a derivative to networks that translate. You need Python, NumPy, and what a derivative is; everything else is said
when it is needed. Chapters 1 to 5 explain: derivatives by machine, networks with a loop, why they forget, and how an
LSTM does not. Chapters 6 to 9 put it to work: on text, labels, speech and translation. Chapter 10 is about a cell of your
own, chapter 11 about values that come one at a time.

Each chapter is a script of `examples/` that runs in at most two minutes on two cores, and opens as a notebook in editors
that know `# %%` cells.
"""
OUTPUT = {"en": "It prints:", "zh": "运行结果："}


def examples(only: Sequence[str] = ()) -> list[Path]:
    """The scripts of the chapters, in order; `only` those whose names begin so."""
    found = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
    return [script for script in found if not only or script.name.startswith(tuple(only))]


def stage(source: Path, runs: Mapping[Path, chapters.Run], quick: bool, execute: bool = True) -> None:
    """Write everything that Sphinx reads to the folder `source`; `execute`: run the code of the pages as well."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    translations = set((DOCS / "zh").glob("[0-9][0-9]_*.md"))
    for path in sorted(DOCS.rglob("*")):
        place = path.relative_to(DOCS)
        if path.suffix in (".md", ".svg", ".png") and place.parts[0] not in OUR_OWN and path not in translations:
            (source / place).parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                (source / place).write_text(_page(path, place, source, execute), encoding="utf-8")
            else:
                shutil.copy(path, source / place)
    _gallery().main(source / "gallery")
    index = source / "zh" / "index.md"
    names = "\n".join(["start", *(path.stem for path in sorted(translations) if _has_run(path.stem, runs))])
    index.write_text(
        f"{index.read_text(encoding='utf-8')}\n```{{toctree}}\n:hidden:\n\n{names}\n```\n", encoding="utf-8"
    )
    _chapters(source, runs, quick)
    (source / "reference" / "pictures").mkdir(parents=True)
    for name, text in reference.pages().items():
        (source / "reference" / f"{name}.md").write_text(text, encoding="utf-8")
    for name, picture in reference.cell_pictures().items():
        picture.save(source / "reference" / "pictures" / name)


def _page(path: Path, place: Path, source: Path, execute: bool) -> str:
    """A page as Sphinx gets it: its code run, its links to examples leading to chapters."""
    text = to_chapters(path.read_text(encoding="utf-8"), place)
    if not execute or place.parts[0] == "gallery" or not pages.BLOCK.search(text):
        return text
    figures = source / "figures" / place.with_suffix("")
    figures.mkdir(parents=True)
    up = "../" * (len(place.parts) - 1)
    return pages.shown(
        text, pages.run(text, place.stem, figures), figures, f"{up}figures/{place.with_suffix('').as_posix()}"
    )


def _has_run(stem: str, runs: Mapping[Path, chapters.Run]) -> bool:
    return any(script.stem == stem for script in runs)


def to_chapters(text: str, place: Path) -> str:
    """Links to examples lead to the chapters made from them."""
    up = "../" * (len(place.parts) - 1)
    return re.sub(r"\]\((?:\.\./)+examples/(\w+)\.py\)", rf"]({up}chapters/\1.md)", text)


def _chapters(source: Path, runs: Mapping[Path, chapters.Run], quick: bool) -> None:
    (source / "chapters").mkdir()
    (source / "chapters" / "index.md").write_text(_contents(list(runs)), encoding="utf-8")
    for script, run in runs.items():
        cells = chapters.cells(script.read_text(encoding="utf-8"))
        home = source / "chapters" / script.stem
        shutil.copytree(run.pictures / script.stem, home, ignore=shutil.ignore_patterns("*.txt", "*.json"))
        shutil.copy(script, source / "chapters" / script.name)
        written = {"en": (source / "chapters", cells, ".")}
        other = DOCS / "zh" / f"{script.stem}.md"
        if other.exists():
            texts = chapters.pieces(other.read_text(encoding="utf-8"))
            written["zh"] = (source / "zh", chapters.translated(cells, texts), "../chapters")
        for language, (folder, chapter, pictures) in written.items():
            link = f"{{download}}`{script.name} <{pictures}/{script.name}>`"
            note = NOTES[language].format(script=link, way=WAYS[language][quick])
            text = chapters.page(chapter, run, pictures, note, OUTPUT[language])
            (folder / f"{script.stem}.md").write_text(text, encoding="utf-8")


def _contents(scripts: Sequence[Path]) -> str:
    """The page that lists the chapters."""
    titles = [chapters.cells(s.read_text(encoding="utf-8"))[0].body.partition("\n")[0].strip("# ") for s in scripts]
    lines = [f"{k}. [{title}]({s.stem}.md)" for k, (title, s) in enumerate(zip(titles, scripts, strict=True), 1)]
    names = "\n".join(script.stem for script in scripts)
    return f"{CONTENTS}\n" + "\n".join(lines) + f"\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def _gallery() -> ModuleType:
    """docs/gallery/build.py, under a name of its own."""
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site; returns Sphinx's exit code."""
    parser = argparse.ArgumentParser(description="Builds the site of tinygrad_lstm.")
    parser.add_argument("--quick", action="store_true", help="run the examples in small")
    parser.add_argument("--only", nargs="*", default=(), metavar="NN", help="only these chapters")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "docs", metavar="FOLDER", help="default build/docs")
    options = parser.parse_args(arguments)
    from sphinx.cmd.build import build_main

    recorded = options.to / ("quick" if options.quick else "full")
    runs = {
        script: chapters.run_or_recorded(script, recorded, options.quick, LIBRARY) for script in examples(options.only)
    }
    source = options.to / "source"
    stage(source, runs, options.quick)
    strict = [] if options.only else ["-W", "--keep-going"]  # other pages speak of chapters that are left out
    return build_main(["-q", *strict, "-E", "-b", "html", "-c", str(DOCS), str(source), str(options.to / "html")])


if __name__ == "__main__":
    sys.exit(main())
