"""The main job in small: what it writes, that it goes on, and its parts against plain Python."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tokenize
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm.cli import main
from tinygrad_lstm.demo import units
from tinygrad_lstm.demo.chart import line_chart
from tinygrad_lstm.demo.job import _cut
from tinygrad_lstm.demo.model import CharacterModel, chunk_loss, held_out_bits, read, window, write
from tinygrad_lstm.demo.page import unit_page
from tinygrad_lstm.drawing import draw

FILES = {"model.safetensors", "loss.svg", "cell.svg", "graph.svg", "page.html"}


def start(*arguments, encoding="utf-8"):
    """The demo as a process of its own, with one thread for NumPy's products, so that busy cores do not matter."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "tinygrad_lstm", "demo", *arguments]
    root = Path(tl.__path__[0]).parent
    return subprocess.Popen(
        command, cwd=root, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def finish(*arguments, **more):
    """What the demo prints, if all goes well."""
    with start(*arguments, **more) as running:
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A short run on the standard library, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, finish("--steps", "40", "--hidden", "48", "--seed", "3", "--out", str(folder))


def test_it_prints_scores_a_sample_and_what_it_wrote(done):
    folder, out = done
    scores = {name: float(bits) for name, bits in re.findall(r"^  (\w+) +(\d\.\d\d)  \S", out, re.M)}
    assert list(scores) == ["unigram", "bigram", "trigram", "LSTM"]
    assert scores["unigram"] > scores["bigram"] > scores["trigram"] > 2
    assert scores["LSTM"] < scores["unigram"] + 0.1  # after 40 steps of 48 units
    assert "standard library" in out and "held out" in out and "  def " in out
    assert max(map(len, out.splitlines())) <= 80
    assert {p.name for p in folder.iterdir()} == FILES and all(name in out for name in FILES)


def test_its_files_are_what_they_say(done):
    folder, _ = done
    facts = tl.load(folder / "model.safetensors")
    assert facts["demo"] == {"steps": 40, "hidden": 48, "seed": 3, "text": None}
    model = CharacterModel(len(facts["vocabulary"]) + 1, 48)
    tl.load(folder / "model.safetensors", model)
    for name in ("loss.svg", "cell.svg", "graph.svg"):
        assert ElementTree.parse(folder / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    page = (folder / "page.html").read_text()
    assert "inside" in page and "trigram" in page and not re.search(r"(src|href)=", page)
    data = json.loads(re.search(r"data = (\[.*\]);\n", page)[1])
    assert all(len(values) == len(text["text"]) for text in data for values in text["values"])


def test_the_same_seed_gives_the_same_demo(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("How much wood would a woodchuck chuck, if a woodchuck could chuck wood?\n" * 120)
    for name in ("a", "b"):
        finish("--steps", "5", "--hidden", "8", "--text", str(text), "--out", str(tmp_path / name))
    first, second = (tl.load(tmp_path / n / "model.safetensors")["fit"] for n in ("a", "b"))
    losses = [dict(f["dict"])["losses"] for f in (first, second)]
    assert losses[0] == losses[1] and len(losses[0]) == 5
    assert (tmp_path / "a" / "loss.svg").read_text() == (tmp_path / "b" / "loss.svg").read_text()


def test_stopped_or_killed_it_goes_on_to_the_same_bits(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("One fish, two fish, red fish, blue fish.\n" * 300)
    arguments = ["--steps", "120", "--hidden", "12", "--text", str(text)]
    whole = tmp_path / "whole"
    finish(*arguments, "--out", str(whole))
    for ending in (signal.SIGINT, signal.SIGKILL):
        folder = tmp_path / ending.name
        with start(*arguments, "--out", str(folder)) as running:
            for line in running.stderr:
                if line.startswith("step 36/"):
                    running.send_signal(ending)
                    break
            out, _ = running.communicate(timeout=60)
        if ending == signal.SIGINT:
            assert running.returncode == 130
            assert 36 <= int(re.search(r"stopped after (\d+) steps; saved", out)[1]) < 120
            assert f"tinygrad-lstm demo --resume --out {folder}" in out
        finish("--resume", "--out", str(folder))
        runs = [dict(tl.load(f / "model.safetensors")["fit"]["dict"]) for f in (whole, folder)]
        assert runs[0]["losses"] == runs[1]["losses"] and runs[0]["evaluations"] == runs[1]["evaluations"]
        assert (whole / "page.html").read_text() == (folder / "page.html").read_text()

    assert main(["demo", "--resume", "--hidden", "17", "--out", str(whole)]) == 2
    assert "--hidden 12, not 17" in capsys.readouterr().err
    text.write_text("And now for something completely different.\n" * 300)
    assert main(["demo", "--resume", "--out", str(whole)]) == 2
    assert "the text has changed" in capsys.readouterr().err


def test_terminals_of_all_kinds():
    assert _cut("a" * 77, 77) == "a" * 77 and _cut("a" * 78, 77) == "a" * 74 + "..."
    assert _cut("漢" * 38 + "a", 77) == "漢" * 38 + "a" and _cut("漢" * 39, 77) == "漢" * 37 + "..."


def test_a_text_the_terminal_cannot_show(tmp_path):
    (tmp_path / "text").write_text("春眠不觉晓,处处闻啼鸟。夜来风雨声,花落知多少。\n" * 200, encoding="utf-8")
    out = finish(
        "--steps", "3", "--hidden", "4", "--text", str(tmp_path / "text"), "--out", str(tmp_path), encoding="ascii"
    )
    assert "??" in out and "page.html" in out and "#####" in out
    assert (
        "春" in (tmp_path / "page.html").read_text(encoding="utf-8")
        or "\\u6625" in (tmp_path / "page.html").read_text()
    )


def test_too_little_text_says_so(tmp_path, capsys):
    (tmp_path / "text").write_text("Call me Ishmael.\n")
    assert main(["demo", "--text", str(tmp_path / "text"), "--out", str(tmp_path / "out")]) == 2
    assert "too few to learn from" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_says_so(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "text").write_text("All happy families are alike.\n" * 300)
    assert main(["demo", "--text", str(tmp_path / "text"), "--out", str(tmp_path / "file" / "out")]) == 2
    assert "cannot be made" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------------- model
def test_streaming_and_sequence_agree():
    model = CharacterModel(9, hidden=6, width=4)
    ids = np.random.default_rng(0).integers(0, 9, (12, 2))
    with tl.no_grad():
        scores, (h, c) = model(ids)
        hidden, _ = model.lstm(model.embedding(ids))
    states = None
    for t in range(12):
        one, states = model.step(ids[t], states)
        np.testing.assert_allclose(one.numpy(), scores.numpy()[t], rtol=1e-5, atol=1e-6)
    seen = read(model, ids)
    np.testing.assert_allclose(seen[:, :, :6], hidden.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[-1], np.concatenate([h.numpy()[0], c.numpy()[0]], -1), rtol=1e-5, atol=1e-6)


def test_held_out_bits_are_the_mean_over_every_target():
    model = CharacterModel(9, hidden=6, width=4)
    ids = np.random.default_rng(0).integers(0, 9, 101)
    x, y = tl.data.Streams(ids, 2, 50)[0]
    loss, _ = chunk_loss(model, (x, y), None)
    assert held_out_bits(model, tl.data.Streams(ids, 2, 7)) == pytest.approx(loss.item() / np.log(2), rel=1e-6)


def test_cold_writing_is_greedy_and_never_unknown():
    model = CharacterModel(9, hidden=6, width=4)
    letters = write(model, np.array([1, 2]), temperature=1e-6, seed=0)
    ids, states = [next(letters) for _ in range(5)], None
    for id in [1, 2, *ids[:-1]]:
        scores, states = model.step(np.array([id]), states)
    assert ids[-1] == scores.numpy()[0, 1:].argmax() + 1
    hot = write(model, np.array([1]), temperature=100.0, seed=0)
    drawn = [next(hot) for _ in range(300)]
    assert set(drawn) == set(range(1, 9))


def test_the_window_is_the_model():
    model = CharacterModel(9, hidden=6, width=4)
    ids = np.array([3, 1, 4])
    scores, _ = model(ids[:-1, None])
    expected = tl.nn.functional.cross_entropy(scores[-1], ids[-1:])
    loss = window(model, ids)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert {"W.i", "h0", "x1", "c1"} <= set(re.findall(r"[\w.]+", draw(loss).dot))


# --------------------------------------------------------------------------------------------------------------- units
def test_properties_agree_with_pythons_tokenizer():
    text = Path(units.__file__).read_text()
    found = units.properties(text)
    starts = np.cumsum([0, *map(len, text.splitlines(keepends=True))])
    string, comment = np.zeros(len(text)), np.zeros(len(text))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        where = slice(starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1])
        if token.type == tokenize.STRING:
            string[where] = 1
        if token.type == tokenize.COMMENT:
            comment[where] = 1
    np.testing.assert_array_equal(found["inside a comment"], comment)
    assert (found["inside quotes"] != string).mean() < 0.02  # the closing quotes and prefixes alone
    for k, line in enumerate(text.split("\n")):
        at = starts[k] if k < len(starts) else len(text)
        assert (found["position in the line"][at : at + len(line)] == np.minimum(np.arange(1, len(line) + 1), 90)).all()


def test_properties_of_prose():
    found = units.properties('It isn\'t "so" (is it).\n  No.')
    assert found["inside quotes"].sum() == 3  # "so
    assert found["depth of brackets"].sum() == len("(is it")
    assert found["the leading spaces of a line"].sum() == 2 and not found["inside a comment"].any()


def test_search_finds_the_planted_unit_and_judges_it_elsewhere():
    rng = np.random.default_rng(0)
    text = (Path(units.__file__).read_text() * 2)[:8000]
    found = units.properties(text)
    states = rng.standard_normal((len(text), 20))
    states[:, 13] = -2 * found["inside quotes"] + 0.5 * rng.standard_normal(len(text))
    matches = units.search(states, found)
    best = max(matches, key=lambda match: abs(match.correlation))
    assert [m.property in units.LOCAL for m in matches] == sorted(m.property in units.LOCAL for m in matches)
    assert (best.property, best.unit) == ("inside quotes", 13) and best.correlation < -0.8
    a, b = rng.standard_normal((50, 3)), rng.standard_normal((50, 2))
    np.testing.assert_allclose(units.correlation(a, b), np.corrcoef(a.T, b.T)[:3, 3:], rtol=1e-10)
    assert (units.correlation(np.ones((9, 1)), b[:9]) == 0).all()


# ------------------------------------------------------------------------------------------------------ chart and page
def test_chart_puts_numbers_where_they_belong():
    x = list(range(1, 1001))
    svg = line_chart(
        "A & B", {"loss": (x, [5 - k / 250 for k in x])}, {"seen": ([500], [2.0])}, {"bar <1>": 1.5}, "x", "y"
    )
    root = ElementTree.fromstring(svg)
    tags = {tag: root.findall(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("polyline", "circle", "text", "line")}
    points = np.array([p.split(",") for p in tags["polyline"][0].get("points").split()], float)
    assert len(points) == 600 and (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) > 0).all()
    height = {
        t.text: float(t.get("y")) - 4
        for t in tags["text"]
        if re.fullmatch(r"[\d.]+", t.text or "") and t.get("text-anchor") == "end"
    }
    assert float(tags["circle"][0].get("cy")) == pytest.approx(height["2"], abs=0.2)
    names = [t.text for t in tags["text"] if t.get("class") == "name"]
    assert names == ["seen 2.00", "bar <1> 1.50", "loss 1.00"] and tags["text"][0].text == "A & B"
    places = [float(t.get("y")) for t in tags["text"] if t.get("class") == "name"]
    assert min(np.diff(places)) >= 14.9


@pytest.mark.parametrize("values", [[], [np.nan], [3.0], [2.0, 2.0], [np.inf, 1.0]])
def test_chart_draws_what_little_there_is(values):
    ElementTree.fromstring(line_chart("", {"a": (range(len(values)), values)}))


def test_page_cannot_be_broken_by_its_text():
    match = units.Match("inside <b>", 3, -0.5)
    page = unit_page("t", ["a < b"], [(match, "cell unit 3")], [("h", "</script>é", np.array([[-2.0], [np.nan]] * 5))])
    assert page.count("</script>") == 1 and "a &lt; b" in page and "inside &lt;b&gt;" in page and "-0.50" in page
    data = json.loads(re.search(r"data = (\[.*\]);\n", page)[1].replace("<\\/", "</"))
    assert "".join(data[0]["text"]) == "</script>é" and data[0]["values"] == ["0w0w0w0w0w"]
