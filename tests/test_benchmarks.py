"""The benchmarks themselves: their numbers come from real runs, and what is compared computes the same thing."""

import importlib
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lstm as tl
from tests.benchmarks import OURS, ROOT, Bar, Case, Result, Verdict, factory, measure, promise, show, table
from tests.benchmarks.__main__ import SUITES, main, suite
from tests.benchmarks.layers import GRID, ODD, Point, data, flops, multiplicative_lstm, named, parameters
from tests.benchmarks.memory import CLEAR, growth
from tests.benchmarks.plot import svg
from tests.benchmarks.report import BEGIN, END, add, as_json, markdown, new_run, write
from tests.benchmarks.translate import Translation, loop, numpy_dialect, torch_dialect
from tinygrad_lstm.cell import Cell

CELLS = [c for c in vars(tl.cells).values() if isinstance(c, Cell)] + [multiplicative_lstm]


# ------------------------------------------------------------------------------------- competitors, in other processes
def counted(path):
    """Every call is a line in a file; it reports 1, 2, 3 ... seconds."""
    calls = Path(path)

    def trial():
        n = calls.read_text().count("\n") + 1 if calls.exists() else 1
        with calls.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return float(n)

    return trial


def summed(n):
    x = np.ones(n)
    return lambda: x.sum()


def absent():
    importlib.import_module("a_library_that_nobody_has")


def chatty():
    print("a library greets")
    return lambda: 0.5


def mortal(calls):
    """Ends its process at a later call."""
    left = [1.0] * calls
    return lambda: left.pop() if left else os._exit(3)


def test_trials_alternate_in_processes_of_their_own(tmp_path):
    log = str(tmp_path / "calls")
    result = measure(Case("two", {"a": factory(counted, log), "b": factory(counted, log)}), trials=3)
    pids = (tmp_path / "calls").read_text().split()
    assert len(set(pids)) == 2 and str(os.getpid()) not in pids
    assert pids[2:] == [pids[-2], pids[-1]] * 3, "after one warming call each"
    assert sorted(result.trials["a"] + result.trials["b"]) == [3, 4, 5, 6, 7, 8]
    assert result.medians == {"a": result.trials["a"][1], "b": result.trials["b"][1]}


def test_more_work_takes_longer_and_who_cannot_run_is_named():
    competitors = {
        OURS: factory(summed, 10**3), "big": factory(summed, 10**6), "gone": factory(absent), "dies": factory(mortal, 2),
        "chatty": factory(chatty),
    }  # fmt: skip
    result = measure(Case("sizes", competitors, [Bar("big", 2.0), Bar("gone")]), trials=3)
    assert result.medians["chatty"] == 0.5, "what it prints is not its answer"
    assert result.ratio("big") > 2 and 1e-7 < result.medians[OURS] < 1e-2
    assert "a_library_that_nobody_has" in result.missing["gone"] and "status 3" in result.missing["dies"]
    assert [v.holds for v in result.verdicts()] == [True], "of those that ran"


# ------------------------------------------------------------------------------------------------------------- judging
def made(title, ours, unit="s", bars=(), **others):
    trials = {OURS: [ours] * 3, **{name: [value] * 3 for name, value in others.items()}}
    return Result(Case(title, dict.fromkeys(trials, ""), bars, unit=unit, flops=1e9, facts={"hidden": 1}), trials, {})


def test_promises():
    results = [made("small", 1.0, torch=4.0), made("large", 2.0, torch=2.0)]
    assert promise(results, "torch", mean=2.0, worst=1.0) == [
        Verdict(True, "torch: geometric mean 2.00 times ours (at least 2); smallest 1.00, at large (at least 1)")
    ]
    assert not promise(results, "torch", mean=2.1, worst=1.0)[0].holds
    assert not promise(results, "torch", mean=2.0, worst=1.1)[0].holds
    assert promise(results, "jax", mean=9.0, worst=9.0) == []


@pytest.mark.parametrize(
    ("bar", "holds", "text"),
    [
        (Bar("torch", 1.5), True, "torch takes 1.50 times ours, at least 1.5"),
        (Bar("torch", 1.6), False, "torch takes 1.50 times ours, at least 1.6"),
        (Bar("torch", above=0.1), True, "-1.00 s above torch, at most 100 ms"),
        (Bar("torch", limit=2.0), False, "torch: 3.00 s, at most 2.00 s"),
    ],
)
def test_bars(bar, holds, text):
    assert made("x", 2.0, torch=3.0, bars=[bar]).verdicts() == [Verdict(holds, text)]


def test_ours_missing_is_a_failure():
    result = Result(Case("x", {OURS: "", "torch": ""}, [Bar("torch")]), {"torch": [1.0]}, {OURS: "ended with status 9"})
    assert result.verdicts() == [Verdict(False, "tinygrad_lstm did not run: ended with status 9")]
    assert "FAILS: tinygrad_lstm did not run: ended with status 9" in table(result)


def test_what_is_printed_shows_bars():
    case = Case("a race", dict.fromkeys([OURS, "hare", "absent"], ""), [Bar("hare", 2.0), Bar("absent")])
    text = table(Result(case, {OURS: [1e-3], "hare": [2.5e-3]}, {"absent": "no such library"}))
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["hare"].count("█") / lines[OURS].count("█") == pytest.approx(2.5, rel=0.05) and "2.50 x" in lines["hare"]
    assert "not run: no such library" in lines["absent"] and "holds: hare takes 2.50 times ours" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.5, "s", "1.50 s"), (0.0236, "s", "23.6 ms"), (236e-6, "s", "236 us"), (5e-8, "s", "0.05 us"), (-0.004, "s", "-4.00 ms"),
        (5.24e6, "B", "5.24 MB"), (0, "kernels", "0 kernels"), (1e-5, "s/character", "100,000 characters/s"),
    ],
)  # fmt: skip
def test_values_have_three_digits(value, unit, text):
    assert show(value, unit) == text


# -------------------------------------------------------------------------------------------------------- translations
def problem(cell, rng):
    sizes = {a: 3 + k for k, a in enumerate(cell.axis_names)}
    families = {f: rng.standard_normal(cell.shape(f, sizes)) for f in cell.families}
    inputs = [rng.standard_normal((4, 2, sizes[cell.axes[x][0]])) for x in cell.inputs]
    states = [rng.standard_normal((2, sizes[cell.axes[s][0]])) for s in cell.states]
    return families, inputs, states


def equations(cell, families, inputs, states):
    """Outputs and final states, by the cell's own equations on Tensors."""
    members = cell.members({f: tl.tensor(a) for f, a in families.items()})
    states, outputs = [tl.tensor(s) for s in states], []
    for t in range(len(inputs[0])):
        output, states = cell.step([tl.tensor(x[t]) for x in inputs], states, members)
        outputs.append(output.numpy())
    return np.stack(outputs), [s.numpy() for s in states]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_a_translated_cell_is_the_cell(cell, rng):
    families, inputs, states = problem(cell, rng)
    expected, last = equations(cell, families, inputs, states)
    outputs, new = loop(cell, numpy_dialect(), np.stack)(inputs, states, families)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-13)
    for a, b in zip(new, last, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_the_translation_is_what_an_expert_writes():
    before, step = Translation(tl.cells.lstm).source.split("\n\n\n")
    assert "linear(x, W, b)" in before, "one product for all gates and steps, biases included"
    assert step.count("addmm(") == 1 and "@" not in step
    before, step = Translation(tl.cells.gru_reset_before).source.split("\n\n\n")
    assert before.count("linear(") == 2 and step.count("addmm(") == 2, "U.n multiplies something else"


def test_an_operation_that_cannot_be_translated_is_named():
    @tl.cell(x="input", h="input")
    def odd(x, /, h):
        h = tl.erf(x) * h
        return h

    with pytest.raises(ValueError, match="odd: no translation of erf"):
        Translation(odd)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_the_loop_of_torch_operations_and_its_gradients(cell, rng):
    torch = pytest.importorskip("torch", reason="the loop of torch operations; pip install torch")
    families, inputs, states = problem(cell, rng)
    expected, _ = equations(cell, families, inputs, states)
    leaves = {f: torch.tensor(a, requires_grad=True) for f, a in families.items()}
    run = loop(cell, torch_dialect(), torch.stack)
    outputs, _ = run([torch.tensor(x) for x in inputs], [torch.tensor(s) for s in states], leaves)
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    outputs.backward(torch.tensor(np.cos(expected)))
    ours = {f: tl.tensor(a, requires_grad=True) for f, a in families.items()}
    members, past, total = cell.members(ours), [tl.tensor(s) for s in states], 0
    for t in range(len(inputs[0])):
        output, past = cell.step([tl.tensor(x[t]) for x in inputs], past, members)
        total = total + (output * np.cos(expected[t])).sum()
    total.backward()
    for f, leaf in leaves.items():
        np.testing.assert_allclose(leaf.grad.numpy(), ours[f].grad.numpy(), rtol=1e-9, atol=1e-11)


# -------------------------------------------------------------------------------------------------------------- points
def test_the_operations_of_a_step_are_counted():
    p = Point(3, 5, 7, 11, 2)
    assert flops(tl.cells.lstm, p, False) == 3 * 5 * (2 * 44 * (7 + 11) + 2 * 44 * (11 + 11))
    assert flops(tl.cells.lstm, p, True) == 3 * flops(tl.cells.lstm, p, False)
    assert flops(tl.cells.mgu, Point(1, 1, 2, 3), False) == 2 * 6 * 2 + 2 * 6 * 3


def test_points_and_their_data():
    assert len(GRID) == 11 and GRID[-1] == Point(50, 50, 128, 128, 2) and ODD[-1].title == "B=24 T=70 input 50 H=200"
    x, g = data(ODD[-1])
    assert x.shape == (70, 24, 50) and g.shape == (70, 24, 200) and x.dtype == g.dtype == np.float32
    first, second = parameters(named("lstm"), Point(1, 1, 3, 2, 2))
    assert [first["W"].shape, second["W"].shape, second["U"].shape] == [(8, 3), (8, 2), (8, 2)]
    assert not np.array_equal(first["U"], second["U"])


@pytest.mark.skipif(not os.access(CLEAR, os.W_OK), reason="this system cannot reset the peak of memory")
def test_the_growth_of_memory_is_what_a_step_takes_at_its_peak():
    def maker(batch, *_):
        def trial():
            x = np.ones(batch * 10**6, np.uint8)
            return x[:1].copy()

        return trial

    small, large = growth(maker, 40, 1, 1, 1), growth(maker, 80, 1, 1, 1)
    assert 39e6 < small < 50e6 and 79e6 < large < 90e6


# -------------------------------------------------------------------------------------------------------------- report
@pytest.fixture
def run():
    run = new_run(quick=False)
    first, second = made("small", 1e-3, torch=4e-3, jax=1e-3), made("large & odd", 2e-3, torch=2e-3, bars=[Bar("torch", 1.5)])
    second.missing["jax"] = "No module named 'jax'"
    add(run, "train", "Training", [first, second], promise([first, second], "torch", 1.5, 1.0))
    return run


def test_the_table(run):
    text = markdown(json.loads(as_json(run)))
    assert "| small | 1.00 ms | 4.00 ms (4.00 x) | 1.00 ms (1.00 x) | 1000 |" in text
    assert "| large & odd | 2.00 ms | 2.00 ms (1.00 x) | 500 |" in text
    assert "**fails**: torch takes 1.00 times ours, at least 1.5" in text and "- holds: torch: geometric mean 2.00" in text
    assert "not run: jax: No module named 'jax'" in text and f"numpy {np.__version__}" in text
    assert as_json(json.loads(as_json(run))) == as_json(run)


def test_the_table_has_a_place_in_a_page(run, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nstale\n{END}\nbelow\n")
    write(str(page), markdown(run, "plot.svg"))
    write(str(page), markdown(run, "plot.svg"))
    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\n") and text.endswith(f"{END}\nbelow\n") and "stale" not in text
    assert text.count("| small |") == 1 and "](plot.svg)" in text
    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").count(BEGIN) == 1


def test_the_picture_has_a_dot_for_every_ratio(run):
    root = ElementTree.fromstring(svg(run))
    titles = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "small, torch: 4.00 times ours" in titles and "large & odd, torch: 1.00 times ours" in titles
    places = {t: float(c.get("cx")) for c in root.iter("{http://www.w3.org/2000/svg}circle") for t in [c[0].text]}
    assert places["small, torch: 4.00 times ours"] > places["small, jax: 1.00 times ours"] == places["large & odd, torch: 1.00 times ours"]


# ---------------------------------------------------------------------------------------------------------- command line
def test_without_a_suite_they_are_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out and str(suite(name).__doc__) in out for name in SUITES)


def test_an_unknown_suite_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["trian"])
    assert caught.value.code == 2 and "no suite trian; there are train, infer" in capsys.readouterr().err


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_names_competitors_that_exist(name):
    module = suite(name)
    for odd, quick in ((False, True), (True, False)):
        for case in module.cases(quick, odd):
            for competitor in case.competitors.values():
                where, function = competitor.partition(" ")[0].split(":")
                assert callable(getattr(sys.modules[where], function))
            assert {bar.name for bar in case.bars} <= case.competitors.keys()


def test_a_run_from_end_to_end(tmp_path):
    out = tmp_path / "run.json"
    command = [sys.executable, "-m", "tests.benchmarks", "stream", "--quick", "--trials", "2", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(out.read_text())["suites"]["stream"]["results"]
    ours = result["values"][OURS]
    assert 1e-7 < ours["low"] <= ours["median"] <= ours["high"] < 1e-1 and ours["trials"] == 2
    assert result["values"].keys() | result["missing"].keys() == set(result["competitors"])
    assert "One step, B=1 H=64" in done.stdout and OURS in done.stdout
