"""The harness of the benchmarks: a process each, alternating trials, bars that can fail. (What it measures is no test.)"""

import time

import pytest

from tests.benchmarks import OURS, Bar, Case, measure, show, table
from tests.benchmarks import __main__ as command


def quick():
    return lambda: time.sleep(0)


def own_clock():
    return lambda: 0.25


def not_installed():
    import no_such_library_at_all  # noqa: F401


def chatty():
    print("a library greets")
    return lambda: 0.5


def test_each_competitor_is_asked_in_a_process_of_its_own():
    here = "tests.test_benchmarks"
    competitors = {OURS: f"{here}:own_clock", "quick": f"{here}:quick", "chatty": f"{here}:chatty", "absent": f"{here}:not_installed"}
    seconds, missing = measure(competitors, trials=3)
    assert seconds[OURS] == 0.25 and seconds["chatty"] == 0.5 and 0 < seconds["quick"] < 0.25
    assert missing == {"absent": "No module named 'no_such_library_at_all'"}


def test_a_table_shows_bars_and_fails_where_a_promise_does():
    case = Case("a race", {OURS: "", "hare": "", "absent": ""}, [Bar("hare", 2.0), Bar("absent")])
    text, good = table(case, {OURS: 1e-3, "hare": 2.5e-3}, {"absent": "no such library"})
    assert good and "holds: 2.50 times as fast as hare, at least 2" in text and "absent         not run: no such library" in text
    assert max(map(len, text.splitlines())) <= 80
    text, good = table(case, {OURS: 1e-3, "hare": 1.5e-3}, {"absent": ""})
    assert not good and "FAILS: 1.50 times as fast as hare" in text
    text, good = table(case, {"hare": 1.0}, {OURS: "it broke", "absent": ""})
    assert not good and "FAILS: tinygrad_lstm did not run: it broke" in text
    _, good = table(Case("import", {OURS: "", "NumPy": ""}, [Bar("NumPy", seconds=0.2)]), {OURS: 0.35, "NumPy": 0.1}, {})
    assert not good


@pytest.mark.parametrize(("seconds", "text"), [(1.5, "1.50 s"), (0.0236, "23.6 ms"), (236e-6, "236 us"), (5e-8, "0.05 us"), (-0.004, "-4.00 ms")])
def test_times_have_three_digits(seconds, text):
    assert show(seconds) == text


def test_an_unknown_suite_is_told(capsys):
    with pytest.raises(SystemExit):
        command.main(["no_such"])
    assert "no suite no_such; there are" in capsys.readouterr().err
    assert "eager" in command.SUITES
