"""The command line, called as a function; the demo has its own tests."""

import re
import subprocess
import sys

import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.cli import built_in, find_cell, main
from tinygrad_lstm.drawing import draw

OWN = '''
import tinygrad_lstm as tl

@tl.cell(x="input", h="hidden", W="hidden input", u="hidden")
def leak(x, /, h, *, W, u):
    """A leaky sum."""
    f = tl.sigmoid(u)
    h = f * h + (1 - f) * (W @ x)
    return h
'''


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_show_prints_what_print_prints_and_how_it_runs(capsys):
    assert main(["show", "gru", "--size", "hidden=10", "--size", "input=3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tl.cells.gru}\n")
    assert "forward, all steps at once" in out and "U.r, U.z, U.n @ h" in out and "kept for backward" in out
    products = 2 * 3 * 10 * (3 + 10)
    assert f"{tl.cells.gru.program.cost({'input': 3, 'hidden': 10})['forward']:,} flop forward" in out
    assert products < tl.cells.gru.program.cost({"input": 3, "hidden": 10})["forward"] < products + 200
    assert max(map(len, out.splitlines())) <= 80
    assert main(["show", "lstm", "--size", "width=10"]) == 2 and "the axes are input, hidden" in capsys.readouterr().err
    assert main(["show", "gru", "--source", "backward"]) == 0
    assert capsys.readouterr().out == tl.cells.gru.source("backward") + "\n"
    assert main(["show", "gru", "--latex"]) == 0
    assert capsys.readouterr().out == tl.cells.gru.latex() + "\n"


def test_show_lists_every_cell(capsys):
    assert main(["show"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^{name} .*\d\d\d\d", out, re.M | re.S) for name in built_in())
    assert {"lstm", "gru", "rnn", "lstm_peephole", "mgu"} <= set(built_in())
    assert max(map(len, out.splitlines())) <= 80


def test_cells_of_a_file(own, capsys):
    assert find_cell(f"{own}:leak").name == find_cell(str(own)).name == "leak"
    assert main(["show", f"{own}:leak"]) == 0
    assert "A leaky sum" in capsys.readouterr().out


def test_cells_of_a_file_that_imports_what_lies_beside_it(own, tmp_path, capsys):
    (own.parent / "beside_it.py").write_text(OWN)
    (own.parent / "use.py").write_text("from beside_it import leak as c\n")
    before = list(sys.path)
    assert find_cell(f"{tmp_path}/use.py:c").name == "leak"
    assert sys.path == before


@pytest.mark.parametrize(("suffix", "head"), [("svg", b"<"), ("dot", b"digraph"), ("png", b"\x89PNG")])
def test_draw_writes_the_picture(tmp_path, capsys, suffix, head):
    path = tmp_path / f"picture.{suffix}"
    assert main(["draw", "lstm", "--highlight", "f", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    written = path.read_bytes()
    assert head in written[:300]
    if suffix != "png":
        assert written == getattr(draw(tl.cells.lstm, highlight="f"), suffix).encode()


def test_draw_all_writes_every_picture_of_a_cell(tmp_path, capsys, own):
    folder = tmp_path / "new" / "pictures"
    assert main(["draw", f"{own}:leak", "--all", str(folder), "--theme", "dark"]) == 0
    names = [
        "leak-rolled.svg",
        "leak-unrolled.svg",
        "leak-module.svg",
        "leak-block.svg",
        "leak-step-h.svg",
        "leak.html",
    ]
    assert capsys.readouterr().out.split() == [str(folder / name) for name in names]
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)
    assert (folder / "leak-step-h.svg").read_text() == draw(find_cell(str(own)), highlight="h", theme="dark").svg


def test_draw_all_without_a_cell_draws_every_cell(tmp_path, capsys, monkeypatch, own):
    monkeypatch.setattr("tinygrad_lstm.cli.built_in", lambda: {"rnn": tl.cells.rnn, "mgu": tl.cells.mgu})
    assert main(["draw", "--all", str(tmp_path)]) == 0
    assert {"rnn-rolled.svg", "rnn.html", "mgu-step-f.svg", "mgu.html"} <= {p.name for p in tmp_path.iterdir()}


def test_draw_passes_its_options_on(tmp_path, monkeypatch, own):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", f"{own}:leak", "--steps", "3", "--theme", "dark"]) == 0
    assert (tmp_path / "leak.svg").read_text() == draw(find_cell(str(own)), steps=3, theme="dark").svg
    assert main(["draw", "lstm", "--highlight", "i,g", "-o", "two.svg"]) == 0
    assert (tmp_path / "two.svg").read_text() == draw(tl.cells.lstm, highlight=["i", "g"]).svg
    assert main(["draw", "lstm", "--highlight", " i, g", "-o", "blanks.svg"]) == 0
    assert (tmp_path / "blanks.svg").read_text() == (tmp_path / "two.svg").read_text()


def test_ops_is_the_table(capsys):
    assert main(["ops"]) == 0
    out = capsys.readouterr().out
    assert "tanh" in out and re.search(r"^mul +\* +a \* b", out, re.M) and re.search(r"^logsumexp +\w", out, re.M)
    assert max(map(len, out.splitlines())) <= 80


def test_bench_without_the_source_tree_says_where_it_is(tmp_path):
    code = "import sys, tinygrad_lstm.cli as c; sys.path[:] = [p for p in sys.path if p]; sys.exit(c.main(['bench']))"
    path = [p for p in sys.path if "site-packages" in p or p.endswith(("lib-dynload", ".zip")) or "/lib/python3" in p]
    root = next(p for p in map(str, [tl.__path__[0]])).removesuffix("/tinygrad_lstm")
    (tmp_path / "tinygrad_lstm").symlink_to(f"{root}/tinygrad_lstm")
    env = {"PYTHONPATH": ":".join([str(tmp_path), *path]), "PYTHONSAFEPATH": "1"}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 2
    assert "source tree" in run.stderr and "python -m tests.benchmarks" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "lsmt"], ["no built-in cell 'lsmt'", "lstm_peephole", "file.py:name"]),
        (["show", "none.py:x"], ["no file none.py"]),
        (["show", "{own}:lek"], ["no cell 'lek'", ":leak"]),
        (["draw", "lstm", "--highlight", "z", "-o", "x.svg"], ["z"]),
        (["draw", "lstm", "--highlight", "", "-o", "x.svg"], ["--highlight '' names no quantity", "i,g"]),
        (["draw", "lstm", "--highlight", "c,,h", "-o", "x.svg"], ["--highlight 'c,,h' names no quantity"]),
        (["draw", "--all", "x", "--highlight", ""], ["leave out --highlight"]),
        (["draw", "lstm", "-o", "no/such/folder/x.svg"], ["no/such/folder"]),
        (["draw"], ["which cell?", "lstm_peephole", "--all DIR"]),
        (["draw", "lstm", "--all", "x", "--steps", "3", "--rolled"], ["leave out --steps, --rolled"]),
        (["draw", "--all", "{own}"], ["cannot make the folder", "own.py"]),
        (["demo", "--resume", "--out", "nowhere"], ["nothing to resume", "tinygrad-lstm demo"]),
        (["demo", "--text", "nowhere.txt"], ["nowhere.txt", "cannot be read"]),
    ],
)
def test_errors_are_messages_not_tracebacks(arguments, words, own, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([a.format(own=own) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tinygrad-lstm: ") and "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.parametrize("arguments", [["train"], ["demo", "--steps", "0"], ["demo", "--hidden", "x"]])
def test_wrong_arguments_are_argparses(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "usage: tinygrad-lstm" in capsys.readouterr().err


def test_without_a_command_there_is_the_help_and_no_success(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    wanted = capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2 and capsys.readouterr() == ("", wanted)


@pytest.mark.parametrize("arguments", [["show", "lsmt"], ["draw"]])
def test_the_list_of_cells_fits_a_terminal(arguments, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert max(map(len, err.splitlines())) <= 80
    assert all(name in re.split(r"[,;\s]+", err) for name in built_in())


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and all(command in out for command in ("demo", "draw", "show", "ops", "bench"))


@pytest.mark.parametrize(("text", "line"), [("import nothing_here\n", 1), ("x = 3\ndef (\n", 2)])
def test_a_file_that_does_not_run_is_named_with_its_line(text, line, tmp_path, capsys):
    file = tmp_path / "bad.py"
    file.write_text(text)
    assert main(["show", f"{file}:x"]) == 2
    assert f"bad.py, line {line}: " in capsys.readouterr().err


def test_a_seed_is_not_negative(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--seed", "-1"])
    assert caught.value.code == 2 and "not a number of at least 0" in capsys.readouterr().err
