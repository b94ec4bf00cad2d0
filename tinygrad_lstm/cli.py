"""`tinygrad-lstm`: the demo, cells drawn and printed, the table of operations, the benchmarks."""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import runpy
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path

from . import cells, functions
from .cell import Cell
from .demo import Settings
from .demo import run as run_demo
from .drawing import draw, ways
from .errors import ArgumentError, FileError, GradientError, MissingExtra, ShapeError, TraceError, message
from .graph import OPS

OURS = (ArgumentError, FileError, GradientError, MissingExtra, ShapeError, TraceError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 after a message about wrong use, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to stop
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.exit(2, parser.format_help())  # on stderr: nothing was done
    try:
        return options.command(options)
    except OURS as error:
        print(f"tinygrad-lstm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tinygrad-lstm ops | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tinygrad-lstm", description="Recurrent cells: train, draw, print.")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="command")

    demo = commands.add_parser(
        "demo", help="train a character LSTM on the source of Python's standard library, and look inside"
    )
    demo.add_argument("--steps", type=_count, metavar="N", help=f"training steps (default {Settings.steps})")
    demo.add_argument("--hidden", type=_count, metavar="N", help=f"units (default {Settings.hidden})")
    demo.add_argument(
        "--seed", type=_seed, metavar="N", help=f"for the first weights and the sampled text (default {Settings.seed})"
    )
    demo.add_argument("--text", metavar="PATH", help="a UTF-8 file, or a folder of them, to learn from")
    demo.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("tinygrad-lstm-demo"),
        metavar="FOLDER",
        help="where the results go (default %(default)s)",
    )
    demo.set_defaults(command=_demo)

    picture = commands.add_parser("draw", help="draw a cell")
    picture.add_argument(
        "cell", metavar="CELL", nargs="?", help="the name of a built-in cell, or file.py:name; not needed with --all"
    )
    picture.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="svg, png, pdf, dot or html (default CELL.svg)"
    )
    picture.add_argument(
        "--all", type=Path, metavar="DIR", help="every picture of CELL, or of all cells, into a folder"
    )
    picture.add_argument("--highlight", metavar="NAME", help="a quantity, or several with commas: f or i,g")
    picture.add_argument("--steps", type=_count, metavar="N", help="unrolled over N steps")
    picture.add_argument("--rolled", action="store_true", help="as a network with a loop")
    picture.add_argument("--equations", action="store_true", help="with its equations below")
    picture.add_argument("--theme", choices=["light", "dark"], help="default light")
    picture.set_defaults(command=_draw)

    show = commands.add_parser("show", help="print a cell: equations, parameters, how it runs, what a step costs")
    show.add_argument("cell", metavar="CELL", nargs="?", help="a built-in cell, or file.py:name; without it, the list")
    show.add_argument("--latex", action="store_true", help="the equations for a paper")
    show.add_argument("--source", choices=["forward", "backward"], help="the generated kernel")
    show.add_argument(
        "--size", metavar="AXIS=N", action="append", default=[], help="for the cost of a step; 128 unless told"
    )
    show.set_defaults(command=_show)

    ops = commands.add_parser("ops", help="print the table of operations")
    ops.set_defaults(command=_ops)

    bench = commands.add_parser("bench", help="run the benchmarks (in a clone of the repository)")
    bench.add_argument("what", nargs="*", metavar="NAME", help="which; without it, the list")
    bench.set_defaults(command=_bench)
    return parser


def _count(text: str) -> int:
    try:
        n = int(text)
    except ValueError:
        n = 0
    if n < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return n


def _seed(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return int(text)


# ------------------------------------------------------------------------------------------------------------ commands
def _demo(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ("steps", "hidden", "seed", "text")}
    given = {name: value for name, value in given.items() if value is not None}
    run = run_demo(options.out, given, options.resume)
    return 130 if run.interrupted else 0


def _draw(options: argparse.Namespace) -> int:
    if options.all is not None:
        return _draw_all(options)
    if options.cell is None:
        raise ArgumentError(
            message("draw", "which cell?", remedy=_listed(f"one of {', '.join(built_in())}; or --all DIR"))
        )
    cell = find_cell(options.cell)
    wanted = {name: getattr(options, name) for name in ("steps", "rolled", "equations", "theme")}
    if options.highlight is not None:
        names = [name.strip() for name in options.highlight.split(",")]
        if not all(names):
            problem = f"--highlight {options.highlight!r} names no quantity"
            raise ArgumentError(message("draw", problem, remedy="write one, or several with commas: --highlight i,g"))
        wanted["highlight"] = names if len(names) > 1 else names[0]
    path = options.output or Path(f"{cell.name}.svg")
    draw(cell, **{name: value for name, value in wanted.items() if value}).save(path)
    print(path)
    return 0


def _draw_all(options: argparse.Namespace) -> int:
    """Every picture that explains a cell, or all built-in cells: CELL-WAY.svg, and a page with CELL.html."""
    if given := [
        f"--{n}"
        for n in ("output", "highlight", "steps", "rolled", "equations")
        if getattr(options, n) not in (None, False)
    ]:
        raise ArgumentError(message("draw", f"--all draws every picture; leave out {', '.join(given)}"))
    chosen = built_in().values() if options.cell is None else [find_cell(options.cell)]
    theme = options.theme or "light"
    try:
        options.all.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(message("draw", f"cannot make the folder {str(options.all)!r}: {error.strerror}")) from None
    for cell in chosen:
        for way, how in ways(cell).items():
            print(draw(cell, theme=theme, **how).save(options.all / f"{cell.name}-{way}.svg"))
        print(draw(cell, theme=theme, equations=True).save(options.all / f"{cell.name}.html"))
    return 0


def _show(options: argparse.Namespace) -> int:
    if options.cell is None:
        width = max(map(len, built_in()))
        for name, cell in built_in().items():
            _entry(f"{name:<{width}}", " ".join((cell.__doc__ or "").split()))
        return 0
    cell = find_cell(options.cell)
    if options.latex:
        print(cell.latex())
    elif options.source:
        print(cell.source(options.source))
    else:
        _show_plan(cell, options.size)
    return 0


def _show_plan(cell: Cell, given: Sequence[str]) -> None:
    """A cell's equations, and how it runs: its schedule, what is kept for backward, and what a step costs."""
    sizes = dict.fromkeys(cell.axis_names, 128)
    for text in given:
        axis, _, n = text.partition("=")
        if axis not in sizes or not n.isdigit() or int(n) < 1:
            raise ArgumentError(message("show", f"--size {text}: write AXIS=N; the axes are {', '.join(sizes)}"))
        sizes[axis] = int(n)
    program = cell.program
    print(f"{cell}\n\n    how it runs")
    before = ""
    for when, what in program.schedule():
        _entry(f"    {when if when != before else '':<27}", what)
        before = when
    kept = [str(program.forward.names(n)) for n in [*cell.graph.states, *program.saved]]
    print()
    _entry("    kept for backward".ljust(31), ", ".join(kept))
    cost = program.cost(sizes)
    print(f"\n    a step of a sample, {' '.join(f'{a}={n}' for a, n in sizes.items())}, float32")
    print(f"    {cost['forward']:,} flop forward, {cost['backward']:,} backward, {cost['kept']:,} bytes kept")


def _ops(options: argparse.Namespace) -> int:
    rows = sorted(OPS.values(), key=lambda op: op.name)
    for title, kind in (("elementwise: each a line of a kernel", True), ("arrays", False)):
        print(f"{title}\n")
        for op in rows:
            if op.elementwise is kind:
                text = op.doc or (getattr(functions, op.name, None).__doc__ or "").split("\n\n")[0]
                doc = " ".join(text.split()) + ("" if op.vjp else " (no gradient)")
                _entry(f"{op.name:<17}{op.symbol if op.symbol != op.name else '':<7}", doc.strip())
        print()
    return 0


def _entry(head: str, text: str) -> None:
    """A line of a list, wrapped at 80 columns."""
    lines = textwrap.wrap(text, 78 - len(head)) or [""]
    print(f"{head}  {lines[0]}".rstrip())
    for line in lines[1:]:
        print(" " * (len(head) + 2) + line)


def _listed(remedy: str) -> str:
    """The last lines of a message, wrapped at 80 columns."""
    return textwrap.fill(remedy, 78, break_on_hyphens=False).replace("\n", "\n  ")


def _bench(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("tests") is None or importlib.util.find_spec("tests.benchmarks") is None:
        remedy = "get the source, and in its folder: python -m tests.benchmarks"
        raise FileError(message("bench", "the benchmarks are in the source tree, which this is not", remedy=remedy))
    return subprocess.run([sys.executable, "-m", "tests.benchmarks", *options.what], check=False).returncode


# --------------------------------------------------------------------------------------------------------------- cells
def built_in() -> dict[str, Cell]:
    """The cells of `tl.cells` by name."""
    return {name: cell for name, cell in vars(cells).items() if isinstance(cell, Cell)}


def find_cell(text: str) -> Cell:
    """A built-in cell by its name, or `file.py:name`, or `file.py` with one cell in it.

    Raises
    ------
    ArgumentError : no such cell; those that are there are listed. FileError : no such file.
    """
    path, _, name = text.rpartition(":") if ":" in text and not text.endswith(".py") else (text, "", "")
    if not path.endswith(".py"):
        known = built_in()
        if text in known:
            return known[text]
        remedy = _listed(f"there are {', '.join(known)}; or give file.py:name")
        raise ArgumentError(message("cell", f"no built-in cell {text!r}", remedy=remedy))
    if not Path(path).is_file():
        raise FileError(message("cell", f"there is no file {path}"))
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)  # as `python file.py`: what lies beside it can be imported
    try:
        scope = runpy.run_path(path)
    except OURS:
        raise
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        place = f"{path}, line {line}" if line else path
        raise ArgumentError(
            message("cell", f"{place}: {type(error).__name__}: {error}", remedy="the file must run")
        ) from None
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    found = {key: value for key, value in scope.items() if isinstance(value, Cell)}
    if name in found:
        return found[name]
    own = {key: cell for key, cell in found.items() if not key.startswith("_")}
    if not name and len(own) == 1:
        return next(iter(own.values()))
    problem = f"{path} has no cell {name!r}" if name else f"which cell of {path}?"
    remedy = f"{path}:{' or :'.join(own)}" if own else "declare one with @tl.cell(...)"
    raise ArgumentError(message("cell", problem, remedy=remedy))
