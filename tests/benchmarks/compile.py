"""How long a first call takes: with nothing kept, with kernels kept on disk, and at new sizes; each in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from . import ROOT, Bar, Case, factory
from .layers import JAX, Point, Trial, cell_jax, cell_ours, named

FIRST = Point(4, 10, 32, 32)
OTHERS = (Point(1, 3, 32, 32), Point(7, 25, 16, 24), Point(16, 10, 64, 64, 2))
COLD, FURTHER, WARM, WITH_NUMBA = "cold", "cold, after another cell", "kept on disk", "kept on disk, and import numba"
CELLS = ("lstm_coupled", "lstm", "multiplicative_lstm")
ANOTHER = "gru"


# ------------------------------------------------------------------------------------------------ in the fresh process
def first_call(cell: str) -> dict[str, float]:
    """Seconds of numba's import and of the first training step, and how many kernels new sizes compile."""
    start = time.perf_counter()
    from numba.core import event

    numba = time.perf_counter() - start
    named(cell)
    start = time.perf_counter()
    cell_ours(True, cell, *FIRST)()
    first = time.perf_counter() - start
    with event.install_recorder("numba:compile") as recorder:
        for p in OTHERS:
            cell_ours(True, cell, *p)()
            cell_ours(False, cell, *p)()
    compiled = sum(e.is_start for _, e in recorder.buffer)
    return {"numba": numba, "first": first, "compiled": float(compiled)}


# ----------------------------------------------------------------------------------------------------- the competitors
def child(cell: str, cache: str) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, cell]
    environment = os.environ | {"TINYGRAD_LSTM_CACHE": cache}
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=environment)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def cold(cell: str, earlier: str | None = None) -> Trial:
    def trial() -> float:
        with tempfile.TemporaryDirectory() as folder:
            if earlier:
                child(earlier, folder)
            return child(cell, folder)["first"]

    return trial


def warm(cell: str, *what: str) -> Trial:
    kept = tempfile.TemporaryDirectory()
    child(cell, kept.name)

    def trial() -> float:
        found = child(cell, kept.name)
        return sum(found[w] for w in what)

    return trial


def recompiled(cell: str) -> Trial:
    def trial() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return child(cell, folder)["compiled"]

    return trial


def jitted(cell: str) -> Trial:
    """What jax takes to compile the same training step; once for every T, B, H."""
    import jax

    def trial() -> float:
        jax.clear_caches()
        step = cell_jax(True, cell, *FIRST)
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    return trial


def cases(quick: bool, odd: bool) -> list[Case]:
    found = []
    for cell in CELLS[: 1 if quick else None]:
        competitors = {
            COLD: factory(cold, cell),
            FURTHER: factory(cold, cell, ANOTHER),
            WARM: factory(warm, cell, "first"),
            WITH_NUMBA: factory(warm, cell, "first", "numba"),
            f"{JAX}, jit": factory(jitted, cell),
        }
        bars = [Bar(COLD, limit=5.0), Bar(WARM, limit=0.3)]
        found.append(Case(f"First training step of {cell}", competitors, bars, trials=3))
        new = {"new T, B, H, layers": factory(recompiled, cell)}
        title = f"Kernels of {cell} compiled for new sizes"
        found.append(Case(title, new, [Bar("new T, B, H, layers", limit=0)], trials=1, unit="kernels"))
    return found


if __name__ == "__main__":
    print(json.dumps(first_call(sys.argv[1])))
