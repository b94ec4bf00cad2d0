"""Generated kernels: kept on disk across processes, correct under threads and forks, and never in the way."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lstm as tl
from tinygrad_lstm import codegen, kernels, team, threads
from tinygrad_lstm.errors import ArgumentError
from tinygrad_lstm.kernels import native

PROGRAM = """
import numpy as np
import tinygrad_lstm as tl
from tinygrad_lstm import codegen, kernels

@tl.fuse
def bump(x):
    return x * tl.sigmoid(x) + 1

x = tl.tensor(np.linspace(-2, 2, codegen.BIG), requires_grad=True)
y = bump(x)
y.sum().backward()
hits = sum(kernel.cache_hits for name, kernel in kernels._compiled.items() if name.startswith("bump"))
print(hits, kernels.cache_folder() is not None, repr(float(y.numpy().sum())), repr(float(x.grad.numpy().sum())))
"""


def start(cache, program=PROGRAM):
    environment = os.environ | {"TINYGRAD_LSTM_CACHE": str(cache)}
    root = Path(tl.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    )


def finish(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output.split()


def test_the_next_process_finds_the_machine_code(tmp_path):
    # two at once, into an empty folder: neither disturbs the other
    first, second = [finish(p) for p in [start(tmp_path), start(tmp_path)]]
    assert first[2:] == second[2:]
    third = finish(start(tmp_path))
    assert third == ["2", "True", *first[2:]]  # both kernels came from the disk
    sources = sorted(path.name for path in tmp_path.glob("*.py"))
    assert [name.rsplit("_", 1)[0] for name in sources] == ["bump", "bump_backward", "dispatch", "help"]
    assert not list(tmp_path.glob("*.tmp"))
    assert "def bump_" in (tmp_path / sources[0]).read_text()


def test_a_damaged_source_is_written_anew(tmp_path):
    expected = finish(start(tmp_path))
    for path in tmp_path.glob("*.py"):
        path.write_text("raise SystemExit('not ours')")
    assert finish(start(tmp_path))[1:] == expected[1:]


def test_no_cache_is_no_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file is no folder")
    assert finish(start(blocked / "kernels"))[:2] == ["0", "False"]


def test_small_arrays_never_meet_the_compiler():
    program = """
import sys, numpy as np, tinygrad_lstm as tl
x = tl.tensor(np.ones(1000), requires_grad=True)
for f in (tl.tanh, tl.sigmoid, tl.gelu, tl.fuse(lambda x: x * tl.exp(x))):
    f(x).sum().backward()
print("numba" in sys.modules)
"""
    assert finish(start("", program)) == ["False"]


# -------------------------------------------------------------------------------------------------------------- threads
@pytest.fixture
def any_threads():
    before = threads.get_num_threads()
    yield
    tl.set_num_threads(before)


def test_results_do_not_depend_on_the_number_of_threads(any_threads, rng, monkeypatch):
    monkeypatch.setattr(codegen, "PER_THREAD", 1000)
    x = tl.tensor(rng.standard_normal(codegen.BIG + 17).astype(np.float32), requires_grad=True)
    found = []
    for n in (1, 2, 3, 7):
        tl.set_num_threads(n)
        assert tl.get_num_threads() == n
        x.grad = None
        y = tl.sigmoid(x)
        (y * y).sum().backward()
        found.append((y.numpy().tobytes(), x.grad.numpy().tobytes()))
    assert len(set(found)) == 1


LOG = """from tinygrad_lstm.atomics import add, swap  # {fingerprint}


def {{function}}(log, wait, lo, hi):
    # a line [lo, hi] in the log for every piece; a piece takes long
    k = add(log, 1) + 1
    swap(log + 16 * k, lo)
    swap(log + 16 * k + 8, hi)
    for j in range(wait):
        swap(log + 8, j)
"""


def pieces(n, wait=0, **how):
    """What the team was given to do."""
    log = np.zeros((200, 2), np.int64)
    kernel = kernels.compile_pointer(LOG.format(fingerprint=native.atomics.fingerprint), "own_log")
    team.run(kernel, np.array([log.ctypes.data, wait], np.int64), n, **how)
    return sorted(tuple(line.tolist()) for line in log[1 : 1 + log[0, 0]])


def test_slices_cover_everything_once(any_threads):
    for threads_ in (1, 4, 2, 3):
        tl.set_num_threads(threads_)
        for _ in range(3):
            for n, at_least, grain in ((10, 1, 0), (3, 1, 0), (1, 1, 0), (0, 1, 0), (1000, 400, 0), (7, 100, 0), (1000, 10, 30)):
                seen = pieces(n, at_least=at_least, grain=grain)
                assert seen[0][0] == 0 and seen[-1][1] == n
                assert [hi for _, hi in seen[:-1]] == [lo for lo, _ in seen[1:]]
                assert len(seen) == max(1, min(threads_, n // at_least)) if not grain or threads_ == 1 else len(seen) >= n / grain


def test_a_helper_that_sleeps_is_woken(any_threads):
    tl.set_num_threads(2)
    for rest in (0, 0.05, 0.001, 0.05):
        time.sleep(rest)
        assert pieces(2, wait=200_000) == [(0, 1), (1, 2)]


def test_everybody_is_there_when_threads_must_meet(any_threads):
    source = f"""from tinygrad_lstm.atomics import add, meet  # {native.atomics.fingerprint}


def {{function}}(total, rounds, parts, meeting, part, next_part):
    for k in range(rounds):
        add(total + 8 * k, 1)
        meet(meeting, (k + 1) * parts)
"""
    kernel = kernels.compile_pointer(source, "own_meeting")
    for n in (1, 2, 5, 3):
        tl.set_num_threads(n)
        for rest in (0, 0.01):
            time.sleep(rest)
            total = np.zeros(50, np.int64)
            jobs = team.Jobs()
            jobs.add_together(kernel, [team.At(0), 50])
            jobs.add_together(kernel, [team.At(0), 50])
            jobs.run(np.array([total.ctypes.data, 0]))
            assert (total == 2 * n).all()
            tl.set_num_threads(1)  # in the meantime: the threads that there are do it
            jobs.run(np.array([total.ctypes.data, 0]))
            assert (total == 2 * n + 2).all()
            tl.set_num_threads(n)


def test_jobs_run_one_after_the_other(any_threads):
    """Each reads what the one before has written, all of it; a word is a number or a place in a memory."""
    source = f"""from tinygrad_lstm.atomics import look, swap  # {native.atomics.fingerprint}


def {{function}}(a, b, shift, n, lo, hi):
    # b[i] = a[n - 1 - i] + shift
    for i in range(lo, hi):
        swap(b + 8 * i, look(a + 8 * (n - 1 - i)) + shift)
"""
    kernel, n = kernels.compile_pointer(source, "own_turning"), 1000
    first, second = np.arange(n), np.zeros(n + 1, np.int64)
    for threads_ in (1, 2, 4):
        tl.set_num_threads(threads_)
        there, back = team.Jobs(), team.Jobs()
        there.add(kernel, [team.At(1), team.At(0, 8), 1000, n], n)
        back.add(kernel, [team.At(0, 8), team.At(1), -1, n], n, at_least=300)
        both, addresses = there + back, np.array([second.ctypes.data, first.ctypes.data, 0])
        before = first.copy()
        both.run(addresses)
        assert second[0] == 0 and (second[1:] == before[::-1] + 1000).all() and (first == before + 999).all()
        again = both.bound(addresses)
        again(), again()
        assert (first == before + 3 * 999).all()


def test_many_callers_at_once(any_threads, rng):
    tl.set_num_threads(3)
    x = rng.standard_normal(4 * codegen.BIG)
    expected = tl.tanh(x).numpy()
    found = []

    def work():
        for k in range(5):
            if k == 2:
                tl.set_num_threads(2 + len(found) % 2)
            found.append(np.array_equal(tl.tanh(x).numpy(), expected))

    callers = [threading.Thread(target=work) for _ in range(4)]
    for c in callers:
        c.start()
    for c in callers:
        c.join()
    assert found == [True] * 20


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2", None])
def test_a_wrong_number_of_threads(n):
    with pytest.raises(ArgumentError, match="`set_num_threads`: n must be an integer of at least 1"):
        tl.set_num_threads(n)


def _in_child(connection):
    x = tl.tensor(np.linspace(-1, 1, 4 * codegen.BIG), requires_grad=True)
    tl.sigmoid(x).sum().backward()
    connection.send(float(x.grad.numpy().sum()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(any_threads, monkeypatch):
    monkeypatch.setattr(codegen, "PER_THREAD", 1000)
    tl.set_num_threads(2)
    x = np.linspace(-1, 1, 4 * codegen.BIG)
    expected = tl.grad(lambda a: tl.sigmoid(a).sum())(x).numpy().sum()  # the parent's helpers exist now
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_in_child, args=(theirs,))
    child.start()
    assert ours.poll(60), "the child hangs"
    assert ours.recv() == expected
    child.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_child_ends_though_a_thread_of_its_parent_was_computing(tmp_path):
    program = """
import os, threading, warnings
import numpy as np
import tinygrad_lstm as tl
warnings.simplefilter("ignore")
tl.set_num_threads(2)
x = np.zeros(1 << 20, np.float32)
tl.tanh(x)
def work():
    while not done:
        tl.tanh(x)
done = []
thread = threading.Thread(target=work)
thread.start()
ended = 0
for _ in range(5):
    child = os.fork()
    if not child:
        done.append(1)
        raise SystemExit(0)
    ended += os.waitpid(child, 0)[1] == 0
done.append(1)
thread.join()
print(ended)
"""
    assert finish(start(tmp_path, program)) == ["5"]


def test_a_cell_is_read_under_a_profiler():
    import cProfile

    profile = cProfile.Profile()
    profile.enable()
    try:
        @tl.cell(x="hidden", h="hidden")
        def half(x, /, h):
            h = 0.5 * (x + h)
            return h
        tl.sigmoid(1.0)
    finally:
        profile.disable()
    assert str(half).count("0.5") and any("sigmoid" in str(entry.code) or "evaluate" in str(entry.code) for entry in profile.getstats())


# --------------------------------------------------------------------------------------------------------------- source
def test_tracebacks_show_the_lines_of_a_source_that_has_no_file(monkeypatch):
    monkeypatch.setattr(kernels, "cache_folder", lambda: None)
    with pytest.raises(Exception, match="no_such_attribute"):
        kernels.compile_pointer("def {function}(a):\n    return a.no_such_attribute\n", "own_wrong")


def test_a_slow_compilation_says_so_once(monkeypatch, capsys):
    monkeypatch.setattr(kernels, "SLOW_COMPILE", 0.0)
    monkeypatch.setattr(kernels, "cache_folder", lambda: None)
    for _ in range(2):
        kernel = kernels.compile_source("def {function}(a):\n    return a + 1\n", "own_slow", "int64(int64)")
        assert kernel(3) == 4
    assert capsys.readouterr().err.count("compiled own_slow_") == 1


@pytest.mark.parametrize("damage", ["empty", "garbage", "a folder", "half"])
@pytest.mark.parametrize("kind", [".nbi", ".nbc", ".py"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage, kind):
    expected = finish(start(tmp_path))[1:]
    for path in [*tmp_path.glob("*.py")] if kind == ".py" else [*tmp_path.glob(f"__pycache__/*{kind}")]:
        whole = path.read_bytes()
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        else:
            path.write_bytes({"empty": b"", "garbage": b"\xff\xfe\x00" * 300, "half": whole[: len(whole) // 2]}[damage])
    assert finish(start(tmp_path))[1:] == expected
    assert damage == "a folder" or finish(start(tmp_path)) == ["2", *expected]
