"""The peak of memory that a training step adds, each library in a fresh process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import OURS, ROOT, Bar, Case, factory
from .layers import JAX, TORCH, TORCH_LOOP, Point, Trial, cell_jax, cell_torch, lstm_ours, lstm_torch, points

STEPS = 3  # the first sizes the pools, the later ones must not add
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def of_ours(*sizes: int) -> Trial:
    return lstm_ours(True, *sizes)


def of_torch(*sizes: int) -> Trial:
    return lstm_torch(True, *sizes)


def of_torch_loop(*sizes: int) -> Trial:
    return cell_torch(True, "lstm", *sizes)


def of_jax(*sizes: int) -> Trial:
    return cell_jax(True, "lstm", *sizes)


MAKERS: dict[str, Callable[..., Trial]] = {OURS: of_ours, TORCH: of_torch, TORCH_LOOP: of_torch_loop, JAX: of_jax}


# ------------------------------------------------------------------------------------------------ in the fresh process
def status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def growth(maker: Callable[..., Trial], *sizes: int) -> float:
    """Bytes above what the process had with its libraries loaded, its code compiled, and parameters and data in place."""
    p = Point(*sizes)
    small = maker(1, 2, 16, 16, p.layers)
    small()  # compiles, loads what comes late
    trial = maker(*sizes)
    try:
        CLEAR.write_text("5")  # the peak starts anew
        before = status("VmRSS")
        peak = lambda: status("VmHWM")
    except OSError:
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        before = peak()
    for _ in range(STEPS):
        trial()
    return float(max(0, peak() - before))


# ----------------------------------------------------------------------------------------------------- the competitors
def measured(name: str, *sizes: int) -> Trial:
    """A trial is a process of its own; the number it prints is the result."""
    command = [sys.executable, "-m", __name__, json.dumps([name, *sizes])]

    def trial() -> float:
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if run.returncode:
            raise ImportError(run.stderr.strip().rpartition("\n")[2])
        return float(run.stdout.split()[-1])

    return trial


def cases(quick: bool, odd: bool) -> list[Case]:
    found = []
    for p in points(quick, odd):
        competitors = {name: factory(measured, name, *p) for name in MAKERS}
        found.append(Case(p.title, competitors, [Bar(TORCH)], trials=3, unit="B", facts=p._asdict()))
    return found


if __name__ == "__main__":
    name, *sizes = json.loads(sys.argv[1])
    print(growth(MAKERS[name], *sizes))
