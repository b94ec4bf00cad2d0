"""The site: every block of code of its pages runs, every link and picture is there, every public name has its entry, and
a chapter says what its script's run gave."""

import importlib.util
import inspect
import re
import subprocess
import sys
import types
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lstm as tl

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def beside(name):
    """A module of docs/, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


pages, chapters, reference = beside("pages"), beside("chapters"), beside("reference")
build = beside("build")
EXAMPLES = build.examples()
CHINESE = sorted((DOCS / "zh").glob("[0-9][0-9]_*.md"))
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page not in CHINESE]


# ------------------------------------------------------------------------------------------------------ code on pages
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).with_suffix("").as_posix())
def test_the_code_of_a_page_runs(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    if "tl.plot" in "".join(code for _, code in pages.BLOCK.findall(text)):
        pytest.importorskip("matplotlib", reason="the page plots; pip install 'tinygrad_lstm[plot]'")
    if "tl.onnx" in "".join(code for _, code in pages.BLOCK.findall(text)):
        pytest.importorskip("onnx", reason="the page writes ONNX; pip install 'tinygrad_lstm[onnx]'")
    pages.run(text, page.stem, tmp_path)


def test_code_that_fails_is_found(tmp_path):
    with pytest.raises(AssertionError, match="Got"):
        pages.run("```pycon\n>>> 1 + 1\n3\n```\n", "page", tmp_path)
    with pytest.raises(AssertionError, match="Got"):
        pages.run("```pycon\n>>> 1.23456\n1.23458\n```\n", "page", tmp_path)
    with pytest.raises(AssertionError, match="no prompts"):
        pages.run("```pycon\n1 + 1\n```\n", "page", tmp_path)
    with pytest.raises(ZeroDivisionError):
        pages.run("```python\nx = 1\n```\n\n```python\nx / 0\n```\n", "page", tmp_path)


def test_a_page_shows_what_its_code_did(tmp_path):
    text = "# T\n\n```python\nx = 0.1\nprint(x)\n```\n\n```pycon\n>>> x + 0.2\n0.3\n```\n\n```python\n" + (
        'tl.draw(tl.cells.rnn).save("a.svg")\n```\n\nEnd, `x`.\n'
    )
    did = pages.run(text, "page", tmp_path)
    assert [(block.printed, block.pictures) for block in did] == [("0.1\n", []), ("", []), ("", ["a.svg"])]
    assert pages.shown(text, did, tmp_path, "figures") == text.replace(
        "print(x)\n```", "print(x)\n```\n\n```{code-block} text\n:class: printed\n\n0.1\n```"
    ).replace(
        '"a.svg")\n```',
        '"a.svg")\n```\n\n:::{figure} figures/a.svg\n:alt: rnn\n:class: paper\n:::',
    )


def test_what_is_too_wide_for_a_telephone_is_marked():
    svg = '<svg width="{}pt" height="9pt"><style>{}</style></svg>'
    assert pages.look(svg.format(499, "")) == "paper" and pages.look(svg.format(501.5, "")) == "paper wide"
    assert pages.look(svg.format(828, "@media (prefers-color-scheme: dark) {}")) == "adapts wide"
    assert pages.look("<svg/>") == "paper"


def test_a_picture_says_what_it_shows(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures; pip install 'tinygrad_lstm[plot]'")
    assert pages.title(tl.plot.lines({"a": [1, 2]}, title="two < three").svg) == "two < three"
    assert pages.title(tl.draw(tl.cells.gru).svg) == "gru"
    assert pages.title("<svg/>") == ""


def test_long_output_is_cut(tmp_path):
    did = pages.run("```python\nprint(*range(100), sep='\\n')\n```\n", "page", tmp_path)
    assert pages.shown("", did, tmp_path, ".").count("\n") == pages.LONGEST + 6


# -------------------------------------------------------------------------------------------------- the site as a whole
class Anything(float):
    """A result that fits every format."""

    def __format__(self, spec):
        return "12"


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """All that Sphinx reads, the runs of the examples replaced by invented ones."""
    folder = tmp_path_factory.mktemp("docs")
    runs = {}
    for script in EXAMPLES:
        cells = chapters.cells(script.read_text(encoding="utf-8"))
        for _, path in chapters.pictures("\n".join(cell.body for cell in cells if cell.kind == "markdown")):
            (folder / "runs" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "runs" / path).write_text("<svg/>")
        runs[script] = chapters.Run(defaultdict(Anything), "printed\n", folder / "runs")
    build.stage(folder / "source", runs, quick=True, execute=False)
    return folder / "source"


def test_links_and_pictures_lead_somewhere(staged):
    written = list(staged.rglob("*.md"))
    assert len(written) > len(PAGES) + len(EXAMPLES) + len(CHINESE)
    for page in written:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text) + re.findall(r"{figure} (\S+)", text)
        links += re.findall(r"{download}`[^<]*<([^>]+)>`", text)
        for link in links:
            assert (page.parent / link).exists(), f"{page.relative_to(staged)}: {link}"


def test_paths_in_the_text_are_there():
    for page in PAGES:
        for path in re.findall(r"`((?:tinygrad_lstm|tests|docs|examples)/[\w./]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_page_is_in_the_contents(staged):
    listed = set()
    for page in staged.rglob("*.md"):
        for tree in re.findall(r"```{toctree}\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            names = [line for line in tree.split("\n") if line and not line.startswith(":")]
            listed |= {(page.parent / f"{name}.md").resolve() for name in names}
    assert {page.resolve() for page in staged.rglob("*.md")} - listed == {(staged / "index.md").resolve()}
    assert all(page.exists() for page in listed)


def test_no_field_is_left(staged):
    for page in (staged / "chapters").glob("*.md"):
        text = re.sub(r":::{figure}.*|\{download\}|^```{toctree}", "", page.read_text(encoding="utf-8"), flags=re.M)
        assert chapters.fields(text) == [], page.name


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.stem)
def test_a_translation_says_the_same(path):
    """As many pieces, and in each the same fields and pictures."""
    script = chapters.cells((ROOT / "examples" / f"{path.stem}.py").read_text(encoding="utf-8"))
    texts = [cell.body for cell in script if cell.kind == "markdown"]
    pieces = chapters.pieces(path.read_text(encoding="utf-8"))
    assert len(pieces) == len(texts)
    assert pieces[0].startswith("# ")
    for k, (text, piece) in enumerate(zip(texts, pieces, strict=True), 1):
        assert sorted(chapters.fields(piece)) == sorted(chapters.fields(text)), f"piece {k}"
        ours, theirs = chapters.pictures(piece), chapters.pictures(text)
        assert [p for _, p in ours] == [p for _, p in theirs], f"piece {k}"


# ----------------------------------------------------------------------------------------------------------- reference
def test_examples_of_pictures_show_them():
    pytest.importorskip("matplotlib", reason="pictures; pip install 'tinygrad_lstm[plot]'")
    written = reference.pages()
    shown = re.findall(r"{figure} pictures/(\S+)\n:alt: (.+)", written["drawing"] + written["plot"])
    assert ("draw-0.svg", "lstm: f") in shown and ("plot.gates-0.svg", "f over 3 steps") in shown
    functions = {f"plot.{name}-0.svg" for name in ("gates", "text", "memory", "losses", "lines")}
    assert functions <= {name for name, _ in shown} <= set(reference.pictures())


def test_every_public_name_is_in_the_reference():
    text = "\n".join(reference.pages().values())
    entries = re.findall(r"^:{3,}{py:\w+} ([\w.]+)", text, re.M)
    names = [entry for entry in entries if entry.startswith("tl.")]
    assert len(set(names)) == len(names), "an entry stands twice"
    functions = [name for name in tl.__all__ if callable(getattr(tl, name))]
    expected = {f"tl.{name}" for name in functions} | {"tl.train.Fit", "tl.inspection.Recording"}
    expected |= {
        f"tl.cells.{name}" for name in ("rnn", "lstm", "gru", "lstm_peephole", "lstm_coupled", "lstm_projected")
    }
    for room in (tl.nn, tl.nn.functional, tl.optim, tl.init, tl.interop, tl.data, tl.plot, tl.onnx):
        short = room.__name__.removeprefix("tinygrad_lstm.")
        names = getattr(room, "__all__", None) or [
            n for n, thing in vars(room).items() if getattr(thing, "__module__", None) == room.__name__ and n[0] != "_"
        ]
        things = {name: getattr(room, name) for name in names}
        expected |= {
            f"tl.{n}" if getattr(tl, n, None) is thing else f"tl.{short}.{n}"
            for n, thing in things.items()
            if callable(thing) and not inspect.ismodule(thing)
        }
    assert expected <= set(entries), sorted(expected - set(entries))


def test_a_docstring_becomes_markdown():
    text = reference.markdown(
        """What it does: a * b, x_t and <none>.

        y = x

            y = a[0] * x

        Parameters
        ----------
        a, b : two numbers; `a*b` stays. *rest : all others,
            on two lines.
        For a cell
            steps : how many.

        Raises
        ------
        ShapeError : if not.

        Examples
        --------
        >>> 1 + 1
        2
        """
    )
    assert text == (
        "What it does: a \\* b, x\\_t and \\<none\\>.\n\ny = x\n\n```text\ny = a[0] * x\n```\n\n"
        "**Parameters**\n\n- `a, b`: two numbers; `a*b` stays.\n- `*rest`: all others, on two lines.\n\n"
        "*For a cell:*\n\n- `steps`: how many.\n\n"
        "**Raises**\n\n- `ShapeError`: if not.\n\n**Examples**\n\n```pycon\n>>> 1 + 1\n2\n```"
    )


def test_a_signature_is_written_as_one_calls_it():
    def f(
        x: "np.ndarray", /, size: "int" = 3, *, dtype=np.float32, hook=len, mark=EXAMPLES, **rest: "int"
    ) -> "tl.Tensor":
        """."""

    f.__kwdefaults__["mark"] = object()
    assert reference.signature(f) == (
        "(x: np.ndarray, /, size: int = 3, *, dtype=np.float32, hook=len, mark=..., **rest: int) -> tl.Tensor"
    )


# ------------------------------------------------------------------------------------------------------------ chapters
TINY = """# %% [markdown]
# # A title
#
# The first
# paragraph.

# %%
import sys

# %% [markdown]
# It is {share:.1%}, $x_{share}$ and `{share}`:
#
# ```text
# {table}
# {not a field}
# ```
#
# ![A picture of
# one line.](00_tiny/line.svg)


# %%
def main(quick=False, folder="pictures"):
    print("share", 0.5 if quick else 0.25)
    print("this is not shown", file=sys.stderr)
    (folder / "00_tiny" / "line.svg").write_text("<svg>prefers-color-scheme</svg>")
    return {"share": 0.5 if quick else 0.25, "table": "a b\\nc d"}


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "00_tiny.py"
    path.write_text(TINY)
    return path


def test_a_chapter_says_what_its_run_gave(tiny, tmp_path, capsys):
    run = chapters.run(tiny, tmp_path / "runs", quick=True)
    assert capsys.readouterr() == ("", "")
    assert run.results == {"share": 0.5, "table": "a b\nc d"} and run.printed == "share 0.5\n"
    assert chapters.page(chapters.cells(TINY), run, ".", "*note*", "It prints:") == (
        "# A title\n\n*note*\n\nThe first\nparagraph.\n\n```python\nimport sys\n```\n\n"
        "It is 50.0%, $x_{share}$ and `{share}`:\n\n```text\na b\nc d\n{not a field}\n```\n\n"
        ":::{figure} ./00_tiny/line.svg\n:alt: A picture of one line.\n:class: adapts\n\nA picture of one line.\n:::\n\n"
        + "```python\n"
        + TINY.partition("\n\n\n# %%\n")[2].partition("\n\n\nif __name__")[0]
        + "\n```\n\nIt prints:\n\n```text\nshare 0.5\n```\n"
    )


def test_quoted_lines_stay_lines(tmp_path):
    script = [chapters.Cell("markdown", "# T\n\n> Anna comes in.\n> Ben waits.\n>\n> End.")]
    text = chapters.page(script, chapters.Run({}, "", tmp_path), ".", "note", "output")
    assert text == "# T\n\nnote\n\n> Anna comes in.\\\n> Ben waits.\n>\n> End.\n"


def test_a_run_is_kept_until_something_changes(tiny, tmp_path, capsys):
    library = tmp_path / "library"
    library.mkdir()
    (library / "room.py").write_text("x = 1")

    def run(quick):
        return chapters.run_or_recorded(tiny, tmp_path / "runs", quick, library).results["share"]

    assert run(True) == 0.5
    assert run(False) == 0.5  # kept
    (library / "room.py").write_text("x = 2")
    assert run(False) == 0.25
    tiny.write_text(TINY.replace("0.25", "0.75"))
    assert run(False) == 0.75
    assert capsys.readouterr().err.count("running 00_tiny") == 3


def test_a_translated_chapter_has_the_same_code():
    script = chapters.cells(TINY)
    other = chapters.translated(script, chapters.pieces("# 标题\n\n第一段。\n\n%%\n\n结果是 {share:.1%}。\n"))
    assert [cell for cell in other if cell.kind == "code"] == [cell for cell in script if cell.kind == "code"]
    assert other[0].body == "# 标题\n\n第一段。" and other[2].body == "结果是 {share:.1%}。"
    with pytest.raises(ValueError, match="1 pieces of text for a script that has 2"):
        chapters.translated(script, ["# 标题"])


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("x = 1\n# %% [markdown]\n# # T\n", "begins with"),
        ("# %%\nx = 1\n", "begins with"),
        ("", "begins with"),
        ("# %% [markdown]\n# # T\nx = 1\n", "'x = 1'"),
    ],
)
def test_what_is_no_script_of_cells_is_refused(script, said):
    with pytest.raises(ValueError, match=said):
        chapters.cells(script)


def test_numbers_are_written_as_on_paper():
    results = {"small": 2.66e-30, "large": 1e6, "one": 1.0, "word": "1e-3x"}
    text = "{small:.1e} {large:.0e} {one:.1e} {one:.1%} {word}, `{small}`"
    expected = "2.7 × 10⁻³⁰ 1 × 10⁶ 1.0 × 10⁰ 100.0% 1e-3x, `{small}`".replace(" × ", "\u00a0×\u00a0")
    assert chapters.fill(text, results) == expected


def test_an_unknown_result_is_refused():
    with pytest.raises(KeyError, match="missing"):
        chapters.fill("It is {missing:.1%}.", {})


def test_links_to_examples_lead_to_chapters():
    text = "[a](../../examples/02_recurrent.py) `examples/02_recurrent.py` [b](../design.md)"
    assert build.to_chapters(text, Path("howto/train.md")) == (
        "[a](../chapters/02_recurrent.md) `examples/02_recurrent.py` [b](../design.md)"
    )


# -------------------------------------------------------------------------------------------------------------- Sphinx
def test_sphinx_takes_the_pages(tmp_path):
    """Formulas without a script, names that are links; on three small pages, so that it is quick."""
    pytest.importorskip("furo", reason="the site; pip install 'tinygrad_lstm[docs]'")
    pytest.importorskip("myst_parser", reason="the site; pip install 'tinygrad_lstm[docs]'")
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text(
        "# T\n\nSee `tl.grad(f)` and `tl.unknown`: $x_t$.\n\n$$a = b$$\n\n```{toctree}\nr\nzh/p\n```\n"
    )
    (source / "r.md").write_text(f"# R\n\n{reference.entry(reference.Public('grad', tl.grad, 'gradients'))}\n")
    (source / "zh").mkdir()
    (source / "zh" / "p.md").write_text("# 页\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-c", str(DOCS), str(source), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    assert re.search(r'href="r.html#tl.grad"><code[^>]*><span class="pre">tl.grad\(f\)', page)
    assert not re.search(r"<a[^>]*><code[^>]*><span class=\"pre\">tl.unknown", page)
    assert "<msub>" in page and 'display="block"' in page and not re.search("<script[^>]*mathjax", page.lower())
    assert '<html class="no-js" lang="zh-Hans"' in (tmp_path / "html" / "zh" / "p.html").read_text(encoding="utf-8")


def test_modules_beside_the_pages_say_what_they_are():
    for module in (chapters, pages, reference, build):
        assert isinstance(module, types.ModuleType) and module.__doc__ and len(module.__doc__.split()) > 20
