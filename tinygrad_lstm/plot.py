"""`tl.plot`: what a network does and how it learned, as pictures.

    gates   heat maps of gates and states over the steps of a text or a signal
    text    a text, every character or word coloured by the value of a unit
    memory  how much of a gradient is left against the distance, and where: the memory map
    losses  loss curves, beside what is to be beaten
    lines   anything else against anything else
    check   whether there is what draws them

Every function returns a `Plot`: `.save("a.svg|png|pdf|html")`, and it shows itself in notebooks. matplotlib draws;
`pip install 'tinygrad_lstm[plot]'`. The same values give the same bytes. The colours are told apart by colour-blind
readers and in grey (viridis; red and blue; Okabe & Ito 2008 for lines), and SVG and HTML follow the reader's choice of
light or dark.
"""

from __future__ import annotations

import html
import io
import math
import operator
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import numpy as np

from .drawing.render import FAMILY, destination, write
from .errors import ArgumentError, MissingExtra, ShapeError, message

INK, FAINT, GRID, PAGE = "#1d1d1f", "#6e6e73", "#d9dce3", "#ffffff"
DARK = {INK: "#f0f0f2", FAINT: "#9a9aa2", GRID: "#343944", PAGE: "#17181c"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)))
MARKS = "osD^vP"
LESS, MORE = (0.70, 0.09, 0.17), (0.13, 0.40, 0.67)  # the ends of RdBu
DEEPEST = 0.7  # what of the colour is behind a letter at most
MONO = "'DejaVu Sans Mono', Menlo, 'Liberation Mono', 'Courier New', monospace"  # of one width, 0.6 em
WIDTH, HEIGHT, WIDEST = 5.6, 3.4, 14.0  # inches; a telephone shows the first at two thirds of its size
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what no XML may hold
FLOOR = 1e-12  # a norm below this is not drawn: nothing is left
SUFFIXES = (".svg", ".png", ".pdf", ".html")

Array = np.ndarray


class Plot:
    """A picture: `.svg`, `.html`, `.png()`, `.pdf()`; `save(path)` by the path's suffix. It shows itself in notebooks.

    Attributes
    ----------
    figure : matplotlib's Figure, to be changed before saving. title : what it shows.
    """

    def __init__(self, figure: Any, title: str, page: str | None = None):
        self.figure, self.title, self._page = figure, _legible(title), page

    @cached_property
    def svg(self) -> str:
        """The picture as SVG that stands alone, for light and for dark pages."""
        text = self._print("svg", dpi=200).decode()
        text = re.sub(r"<\?xml.*?(?=<svg)", "", text, flags=re.S)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
        text = text.replace("'DejaVu Sans'", FAMILY).replace("'DejaVu Sans Mono'", MONO)
        rules = "".join(
            f'.tl-plot [style*="{kind}: {light}"] {{ {kind}: {dark} !important; }}\n'
            for light, dark in DARK.items()
            for kind in ("fill", "stroke")
        )
        style = f"<style>\n.tl-plot text {{ fill: {INK}; }}\n@media (prefers-color-scheme: dark) {{\n{rules}"
        style += f".tl-plot text {{ fill: {DARK[INK]}; }}\n}}\n</style>\n"
        head, rest = text.split(">", 1)
        label = f' class="tl-plot" role="img" aria-label="{html.escape(self.title)}">\n{style}'
        return head + label + rest

    def png(self, dpi: float = 150) -> bytes:
        """The picture as PNG, on white."""
        return self._print("png", dpi=dpi)

    def pdf(self) -> bytes:
        """The picture as a PDF of one page."""
        return self._print("pdf", dpi=200)

    @property
    def html(self) -> str:
        """One page that needs nothing else; a text is a text there, to be read and copied."""
        body = self._page if self._page is not None else f"<figure>{self.svg}</figure>"
        return _PAGE.replace("{title}", html.escape(self.title)).replace("{body}", body)

    def save(self, path: Any) -> Path:
        """Write the picture; the suffix says how: .svg .png .pdf .html. The file is whole or not there.

        Raises
        ------
        ArgumentError : another suffix. FileError : the folder does not exist or cannot be written to.
        """
        target, form = destination(path, SUFFIXES, "takes the path of a file", "'plot.svg'")
        content = getattr(self, form[1:])
        write(target, content() if callable(content) else content.encode())
        return target

    def _print(self, form: str, dpi: float) -> bytes:
        out = io.BytesIO()
        metadata = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
        with _style():
            self.figure.savefig(out, format=form, dpi=dpi, metadata=metadata[form])
        return out.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<plot of {self.title}>"


# ----------------------------------------------------------------------------------------------------------- matplotlib
@contextmanager
def _style() -> Iterator[None]:
    """matplotlib as it is for us, whatever the reader's settings; and silent on letters that its fonts lack."""
    matplotlib = _matplotlib()
    settings = {
        "font.family": _fonts("DejaVu Sans"), "font.size": 9.5, "axes.titlesize": 10.5, "text.color": INK,
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlecolor": INK, "axes.facecolor": "none",
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
        "grid.color": GRID, "grid.linewidth": 0.7, "xtick.color": FAINT, "ytick.color": FAINT,
        "xtick.labelcolor": INK, "ytick.labelcolor": INK, "lines.linewidth": 1.8, "figure.facecolor": PAGE,
        "figure.edgecolor": "none", "savefig.facecolor": PAGE, "legend.fontsize": 9,
        "svg.fonttype": "none", "svg.hashsalt": "tinygrad_lstm", "pdf.fonttype": 42, "text.usetex": False,
    }  # fmt: skip
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.font_manager
    except ImportError:
        raise MissingExtra("matplotlib", "plot", "tl.plot") from None
    return matplotlib


def _fonts(first: str) -> list[str]:
    """The font that comes with matplotlib, and one for Chinese, Japanese and Korean if the machine has it."""
    known = set(_matplotlib().font_manager.get_font_names())
    more = ["Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "SimHei"]
    return [first, *[name for name in more if name in known][:1]]


def _figure(width: float, height: float, rows: Sequence[float]) -> tuple[Any, list[Any]]:
    """A figure in inches with one plot above the other."""
    figure = _matplotlib().figure.Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": list(rows)})
    return figure, list(axes[:, 0])


def check() -> None:
    """Say now, and not after a long run, if pictures cannot be drawn.

    Raises
    ------
    MissingExtra : no matplotlib; it says what to install.

    Examples
    --------
    >>> tl.plot.check()
    """
    _matplotlib()


# --------------------------------------------------------------------------------------------------- gates and states
@_style()
def gates(
    values: Any,
    over: Any = None,
    *,
    units: Sequence[int] | None = None,
    sample: int = 0,
    labels: Sequence[str] | None = None,
    shared: bool = False,
    title: str = "",
) -> Plot:
    """Heat maps of gates and states: one row a unit, one column a step.

    Values from 0 to 1 are gates: 0 dark (nothing passes) to 1 light (everything passes). Others have a sign: red is
    below zero, blue above, and the colour is full at the largest value of the map.

    Parameters
    ----------
    values : (T, units) or (T, B, units); or {"f": ..., "c": ...}, one map below the other; what `tl.record` has seen.
    over : what was read: a text or a list of T words, written below the steps; or T numbers, drawn above as a signal.
    units : which units to show, in this order; all if None. sample : which sequence of the batch.
    labels : names of the rows, instead of the units' numbers.
    shared : one scale of colours for all maps, so that they can be compared; else each has its own.

    Raises
    ------
    ShapeError : arrays that differ in steps, or `over` of another length. MissingExtra : no matplotlib.

    Examples
    --------
    >>> f = np.array([[0.9, 0.8], [0.1, 0.9], [0.9, 0.7]])            # the forget gate of two units over three words
    >>> tl.plot.gates({"f": f}, over=["Ann", "Bob", "waits"])
    <plot of f over 3 steps>
    """
    sample, chosen = _whole("plot.gates", "sample", sample), _units(units)
    maps = {name: _steps(name, v, sample, chosen) for name, v in _named("plot.gates", values, "value").items()}
    steps = len(next(iter(maps.values())))
    words, signal = _over(over)
    for name, array in maps.items():
        if len(array) != steps:
            raise ShapeError(
                message("plot.gates", f"the maps differ in steps: {name} has {len(array)}, not {steps}", maps)
            )
        if labels is not None and len(labels) != array.shape[1]:
            problem = f"{name} has {array.shape[1]} rows and {len(labels)} labels"
            raise ShapeError(message("plot.gates", problem, {name: array}, "one label a row"))
    for what, given in (("words", words), ("signal", signal)):
        if given is not None and len(given) != steps:
            problem = f"there are {steps} steps, and {len(given)} {'numbers' if what == 'signal' else what} over them"
            raise ShapeError(message("plot.gates", problem, remedy="give one a step"))
    title = title or f"{', '.join(maps)} over {steps} steps"
    rows = [min(3.2, max(0.55, 0.16 * array.shape[1])) for array in maps.values()]
    heights = ([0.8] if signal is not None else []) + rows
    longest = max(map(len, words)) if words and any(len(w) > 1 for w in words) else 1
    width = min(WIDEST, max(WIDTH, 1.4 + steps * (0.16 if words else 0.06)))
    figure, axes = _figure(
        width, sum(heights) + 0.35 * len(heights) + 0.6 + (0.08 * longest if words else 0.2), heights
    )
    if signal is not None:
        first = axes.pop(0)
        first.plot(np.arange(steps), signal, color=COLOURS[0], linewidth=1.4)
        first.set_ylabel("input")
        first.set_xlim(-0.5, steps - 0.5)
        _counted(first)
        first.tick_params(labelbottom=False)
    for ax, (name, array) in zip(axes, maps.items(), strict=True):
        own = labels if labels is not None else [str(u) for u in (range(array.shape[1]) if chosen is None else chosen)]
        scale = _scale(list(maps.values()) if shared else [array])
        _heat(figure, ax, array.T, own, name, "unit" if labels is None else "", scale)
        ax.tick_params(labelbottom=ax is axes[-1], bottom=ax is axes[-1] and words is None)
    _words(axes[-1], words, steps, width)
    figure.suptitle(_shown(title), fontsize=11, color=INK)
    return Plot(figure, title)


def _scale(maps: Sequence[Array]) -> dict[str, Any]:
    """The colours of gates, or of values with a sign."""
    finite = np.concatenate([array[np.isfinite(array)] for array in maps])
    if finite.size and finite.min() >= 0 and finite.max() <= 1:
        return {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
    top = float(np.abs(finite).max()) if finite.size else 1.0
    return {"cmap": "RdBu", "vmin": -top, "vmax": top}


def _heat(
    figure: Any, ax: Any, array: Array, rows: Sequence[str], name: str, y_label: str, scale: dict[str, Any]
) -> None:
    image = ax.imshow(array, aspect="auto", interpolation="nearest", **scale)
    every = -(-len(rows) // 16)
    ax.set_yticks(range(0, len(rows), every), [_shown(rows[k]) for k in range(0, len(rows), every)])
    ax.tick_params(left=any(rows))
    ax.set_ylabel(y_label if any(rows) else "")
    ax.set_title(_shown(name), loc="left", fontsize=10)
    ax.grid(False)
    bar = figure.colorbar(image, ax=ax, pad=0.01, fraction=0.03, aspect=max(6, 3 * len(rows)))
    bar.outline.set_visible(False)


def _words(ax: Any, words: list[str] | None, steps: int, width: float) -> None:
    if words is None:
        ax.set_xlabel("step")
        _counted(ax)
        return
    every = max(1, math.ceil(steps * 0.13 / (width - 1.4)))
    turned = max(map(_columns, words)) * 0.085 > (width - 1.4) / steps * every
    shown = [_shown(w.replace("\n", "↵")) for w in words]
    ax.set_xticks(
        range(0, steps, every), shown[::every], rotation=90 if turned else 0, family=_fonts("DejaVu Sans Mono")
    )
    ax.tick_params(axis="x", length=0)


# ------------------------------------------------------------------------------------------------------- coloured text
@_style()
def text(
    tokens: str | Sequence[str],
    values: Any,
    *,
    limit: float | None = None,
    columns: int = 80,
    title: str = "",
) -> Plot:
    """A text, every piece on the colour of its value: blue above zero, red below, none at zero.

    Parameters
    ----------
    tokens : a text (one value a character), or a list of words (one value a word; they are set with spaces between).
    values : (N,), as a unit's state after each piece. limit : the value of full colour; the largest if None.
    columns : characters a line. In HTML the browser breaks lines, and a piece pointed at shows its value.

    Raises
    ------
    ShapeError : not one value a piece.

    Examples
    --------
    >>> tl.plot.text("f(x)", [0.0, 1.0, 1.0, 0.0], title="inside brackets")
    <plot of inside brackets>
    """
    pieces = [_legible(piece) for piece in tokens]
    numbers = _numbers("plot.text", "values", values)
    if numbers.shape != (len(pieces),):
        problem = f"{len(pieces)} {'characters' if isinstance(tokens, str) else 'words'} take as many values"
        raise ShapeError(
            message("plot.text", problem, {"values": numbers}, "one unit of one sequence: seen['c'][:, 0, 3]")
        )
    finite = np.abs(numbers[np.isfinite(numbers)])
    columns = _whole("plot.text", "columns", columns)
    top = limit if limit is not None else float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    if not isinstance(top, int | float | np.number) or not top > 0:
        raise ArgumentError(message("plot.text", "limit is a positive number", {"limit": limit}))
    if columns < 1:
        raise ArgumentError(message("plot.text", "columns is at least 1", {"columns": columns}))
    title = title or "a text and a unit"
    shares = np.clip(np.nan_to_num(numbers / top, nan=0.0), -1, 1)
    gap = "" if isinstance(tokens, str) else " "
    places = _set(pieces, columns, bool(gap))
    rows = max((row for row, _ in places), default=0) + 1
    written = [[" "] * columns for _ in range(rows)]
    paper = np.zeros((rows, columns, 4))
    for piece, share, (row, column) in zip(pieces, shares.tolist(), places, strict=True):
        width = _columns(piece)
        written[row][column : column + width] = [*piece.rstrip("\n"), *[""] * (width - len(piece.rstrip("\n")))]
        paper[row, column : column + width] = (*_colour(share), DEEPEST * abs(share))
    wide, high = columns * 0.0753, rows * 0.19  # inches: a letter of 9 points is 0.602 em wide
    figure = _matplotlib().figure.Figure(figsize=(wide + 0.3, high + 0.5))
    whole = np.add((wide, high), (0.3, 0.5))
    ax = figure.add_axes((*(0.15, 0.1) / whole, *(wide, high) / whole))
    ax.set_axis_off()
    ax.set_title(_shown(title), loc="left")
    ax.imshow(paper, aspect="auto", interpolation="nearest", extent=(0, columns, rows, 0))
    for row, line in enumerate(written):
        for at, run in _runs(line):
            ax.text(at, row + 0.72, run, family=_fonts("DejaVu Sans Mono"), fontsize=9, parse_math=False)
    return Plot(figure, title, _spans(_legible(title), pieces, numbers, shares, gap))


def _set(pieces: Sequence[str], columns: int, spaced: bool) -> list[tuple[int, int]]:
    """(line, column) of every piece."""
    row = column = 0
    places = []
    for piece in pieces:
        width = _columns(piece)
        if width > columns:
            raise ArgumentError(
                message("plot.text", f"{piece!r} is wider than {columns} columns", {"columns": columns})
            )
        if column and column + width > columns:
            row, column = row + 1, 0
        places.append((row, column))
        column += width + spaced
        if piece.endswith("\n"):
            row, column = row + 1, 0
    return places


def _colour(share: float) -> tuple[float, float, float]:
    return MORE if share > 0 else LESS


def _runs(line: Sequence[str]) -> Iterator[tuple[float, str]]:
    """(column, text) of what is set in one go: letters of one column, or a single one of two, which is 1 em, not 1.2."""
    start = 0
    for k in range(len(line) + 1):
        wide = k < len(line) and _columns(line[k]) == 2
        if k == len(line) or wide:
            run = "".join(line[start:k])
            if run.strip():
                yield start, run.rstrip().replace(" ", "\u00a0")
            if wide:
                yield k + 0.17, line[k]
            start = k + 2


def _columns(piece: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in piece if c != "\n")


def _spans(title: str, pieces: Sequence[str], values: Array, shares: Array, gap: str) -> str:
    def span(piece: str, value: float, share: float) -> str:
        red, green, blue = (round(255 * part) for part in _colour(share))
        colour = f"background:rgb({red} {green} {blue} / {DEEPEST * abs(share):.2f})"
        return f'<span style="{colour}" title="{value:.2f}">{html.escape(piece)}</span>'

    inner = gap.join(map(span, pieces, values.tolist(), shares.tolist()))
    return f"<h1>{html.escape(title)}</h1>\n<pre>{inner}</pre>"


# --------------------------------------------------------------------------------------------------------- memory maps
@_style()
def memory(maps: Any, *, state: str | None = None, title: str = "") -> Plot:
    """How much of a gradient is left: the norm of ds_t / ds_k against the distance t - k, and for one map every t and k.

    A curve that falls by a constant factor a step (a straight line here) is a gradient that vanishes (Hochreiter 1991;
    Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013): nothing that far back can be learned.

    Parameters
    ----------
    maps : what `tl.memory_map` returns (`.norms[state]`, (T+1, T+1)); or {"RNN": ..., "LSTM": ...}, compared.
    state : which state's; every state of a single map, of several the last of each (the cell state of an LSTM).

    Norms below 1e-12 end a curve. The colours of a map go from there, the darkest, to its largest norm, or to 1 if
    that is larger: maps can be compared, and one in which nothing is lost is bright all over.

    Examples
    --------
    >>> layer = tl.nn.Recurrent(tl.cells.rnn, input=2, hidden=4, seed=0)
    >>> tl.plot.memory(tl.memory_map(layer, np.ones((20, 2), np.float32)))
    <plot of the gradient left after a distance>
    """
    title = title or "the gradient left after a distance"
    single = hasattr(maps, "norms")
    chosen: dict[str, Array] = {}
    for label, found in ({"": maps} if single else _named("plot.memory", maps, "map")).items():
        norms, kind = getattr(found, "norms", None), str(getattr(found, "norm", "")).replace("frob", "Frob")
        if not norms:
            raise ArgumentError(message("plot.memory", "takes what tl.memory_map returns", {"maps": found}))
        if state is not None and state not in norms:
            raise ArgumentError(
                message("plot.memory", f"there is no state {state!r}", remedy=f"it has: {', '.join(norms)}")
            )
        for name in [state] if state is not None else list(norms) if single else [list(norms)[-1]]:
            chosen[f"{label} {name}".strip()] = np.asarray(norms[name], float)
    curves = {name: _against_distance(norms) for name, norms in chosen.items()}
    last = list(chosen)[-1]
    if single and len(maps.norms) > 1 and last in getattr(maps, "direct", {}):
        curves[f"{last}, by way of {last} alone"] = _against_distance(np.asarray(maps.direct[last], float))
    figure, axes = _figure(WIDTH, HEIGHT * 2 if single else HEIGHT, [1.0, 1.0] if single else [1.0])
    figure.get_layout_engine().set(h_pad=0.09)
    for k, (name, curve) in enumerate(curves.items()):
        distance = np.arange(len(curve))
        axes[0].plot(distance, np.where(curve >= FLOOR, curve, np.nan), **_line(k), label=_shown(name))
    axes[0].set_yscale("log")
    for ax in axes:
        _counted(ax)
    axes[0].set_xlabel("distance t - k, in steps")
    axes[0].set_ylabel(f"mean {kind} norm of ds(t) / ds(k)".replace("  ", " "))
    axes[0].set_title(_shown(title), loc="left")
    if single:
        name, norms = last, chosen[last]
        lower = np.where(np.tri(len(norms), dtype=bool), np.log10(np.maximum(norms, FLOOR)), np.nan)
        top = float(lower[np.isfinite(lower)].max(initial=0.0))
        scale = {"cmap": "viridis", "vmin": math.log10(FLOOR), "vmax": top}
        image = axes[1].imshow(lower, aspect="auto", interpolation="nearest", **scale)
        axes[1].set_xlabel("k: the step looked back to")
        axes[1].set_ylabel("t: the step looked from")
        axes[1].set_title(f"log10 of the norm of d{name}(t) / d{name}(k)", loc="left")
        axes[1].grid(False)
        figure.colorbar(image, ax=axes[1], pad=0.01, fraction=0.04).outline.set_visible(False)
    _legend(axes[0])
    return Plot(figure, title)


def _against_distance(norms: Array) -> Array:
    """The mean over all pairs of steps so far apart."""
    if norms.ndim != 2 or norms.shape[0] != norms.shape[1]:
        raise ShapeError(message("plot.memory", "norms are (T+1, T+1): t, k", {"norms": norms}))
    return np.array([np.diagonal(norms, -d).mean() for d in range(len(norms))])


# -------------------------------------------------------------------------------------------------------------- curves
@_style()
def losses(
    runs: Any,
    *,
    baselines: Mapping[str, float] | None = None,
    y_label: str = "loss",
    evaluation: str = "evaluation",
    log: bool = False,
    title: str = "",
) -> Plot:
    """Loss curves: every step pale, a running mean of some 20 steps, baselines across; evaluations as marks.

    An evaluation by the name of `y_label`, such as {"loss": 0.3}, is a loss on data held out, and stands beside those of
    training. Others, such as an accuracy, are on a scale of their own, in a plot below.

    Parameters
    ----------
    runs : what `tl.fit` returned, or a list of losses; or {"LSTM": ..., "RNN": ...} of such.
    baselines : name -> the loss to be beaten. log : a logarithmic axis of losses.
    evaluation : the name of evaluations that are numbers without one: "accuracy"; or `y_label` if they are losses.

    Examples
    --------
    >>> tl.plot.losses({"LSTM": [2.0, 1.0, 0.5]}, baselines={"guessing": 2.1})
    <plot of training: loss>
    >>> run = tl.train.Fit(losses=[2.0, 1.0, 0.5], evaluations=[(1, 0.4), (3, 0.8)])
    >>> picture = tl.plot.losses(run, evaluation="accuracy")
    >>> [axes.get_ylabel() for axes in picture.figure.axes]
    ['loss', 'accuracy']
    """
    single = hasattr(runs, "losses") or not isinstance(runs, Mapping)
    named = {"training": runs} if single else _named("plot.losses", runs, "run")
    title = title or f"training: {y_label}"
    found = {name: _by_name(getattr(run, "evaluations", []), evaluation) for name, run in named.items()}
    others = [what for what in dict.fromkeys(what for marks in found.values() for what in marks) if what != y_label]
    figure, (ax, *below) = _figure(WIDTH, HEIGHT + 0.5 * HEIGHT * len(others), [1.0, *[0.45] * len(others)])
    for k, (name, run) in enumerate(named.items()):
        values = _numbers("plot.losses", name, getattr(run, "losses", run))
        if values.ndim != 1 or not values.size:
            problem = f"{name}: the losses are a list of numbers, at least one"
            raise ShapeError(message("plot.losses", problem, {name: values}))
        colour, mark = COLOURS[k % 6], _mark(k)
        steps = np.arange(1, len(values) + 1)
        ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        ax.plot(steps, _running_mean(values), **_line(k), label=_shown(name))
        if y_label in found[name]:
            label = "held out" if single else _shown(f"{name}, held out")
            marks = zip(*found[name][y_label], strict=True)
            ax.plot(*marks, linestyle="none", marker=mark, color=colour, markersize=5, label=label)
        for other, what in zip(below, others, strict=True):
            if what in found[name]:
                other.plot(*zip(*found[name][what], strict=True), **_line(k), marker=mark, markersize=5)
    _levels(ax, baselines or {})
    ax.set_ylabel(_shown(y_label))
    for other, what in zip(below, others, strict=True):
        other.set(ylabel=_shown(what), xlim=ax.get_xlim())
        _counted(other)
    (below or [ax])[-1].set_xlabel("step of training")
    _counted(ax)
    ax.set_title(_shown(title), loc="left")
    if log:
        ax.set_yscale("log")
    _legend(ax)
    return Plot(figure, title)


def _by_name(evaluations: Sequence[tuple[int, Any]], unnamed: str) -> dict[str, list[tuple[int, float]]]:
    """{what: [(step, value)]}."""
    found: dict[str, list[tuple[int, float]]] = {}
    for at, value in evaluations:
        for what, number in value.items() if isinstance(value, Mapping) else [(unnamed, value)]:
            found.setdefault(str(what), []).append((at, float(number)))
    return found


@_style()
def lines(
    curves: Mapping[str, Any],
    *,
    x_label: str = "",
    y_label: str = "",
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    marks: bool = True,
    title: str = "",
) -> Plot:
    """Curves in one plot: {"LSTM": (x, y), ...}; y alone is drawn over 0, 1, 2, ...

    Parameters
    ----------
    levels : name -> y, dashed across the plot, as of a baseline. log_x, log_y : logarithmic axes. marks : every point.

    Examples
    --------
    >>> tl.plot.lines({"kept": 0.9 ** np.arange(50)}, x_label="step", y_label="of the value", title="forgetting")
    <plot of forgetting>
    """
    if not isinstance(curves, Mapping):
        raise ArgumentError(message("plot.lines", "takes curves by name", {"curves": curves}, "{'loss': [2.0, 1.0]}"))
    named = _named("plot.lines", curves, "curve")
    title = title or ", ".join(named)
    figure, (ax,) = _figure(WIDTH, HEIGHT, [1.0])
    for k, (name, curve) in enumerate(named.items()):
        pair = isinstance(curve, tuple) and len(curve) == 2
        y = _numbers("plot.lines", name, curve[1] if pair else curve)
        x = _numbers("plot.lines", name, curve[0]) if pair else np.arange(y.size)
        if x.shape != y.shape or x.ndim != 1:
            raise ShapeError(message("plot.lines", f"{name}: x and y are lists of one length", {"x": x, "y": y}))
        ax.plot(x, y, **_line(k), marker=_mark(k) if marks else None, markersize=4.5, label=_shown(name))
    _levels(ax, levels or {})
    ax.set(xlabel=_shown(x_label), ylabel=_shown(y_label))
    ax.set_title(_shown(title), loc="left")
    if all(np.all(line.get_xdata() == np.round(line.get_xdata())) for line in ax.get_lines()[: len(curves)]):
        _counted(ax)
    if log_x:
        ax.set_xscale("log")
        ticks = sorted({float(v) for line in ax.get_lines()[: len(curves)] for v in line.get_xdata()})
        if len(ticks) <= 10:
            ax.set_xticks(ticks, [f"{t:g}" for t in ticks], minor=False)
            ax.set_xticks([], minor=True)
    if log_y:
        ax.set_yscale("log")
    _legend(ax)
    return Plot(figure, title)


def _line(k: int) -> dict[str, Any]:
    """The colour and the dashes of curve k: after six, the colours come again with the next dashes; 36 pairs."""
    return {"color": COLOURS[k % 6], "linestyle": DASHES[(k + k // 6) % 6]}


def _mark(k: int) -> str:
    return MARKS[(k + k // 6) % 6]


def _running_mean(values: Array, keep: float = 0.95) -> Array:
    out, total, weight = np.empty(len(values)), 0.0, 0.0
    for k, value in enumerate(values.tolist()):
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out[k] = total / weight
    return out


def _counted(ax: Any) -> None:
    """No marks between whole numbers: steps are counted."""
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def _levels(ax: Any, levels: Mapping[str, float]) -> None:
    for name, y in levels.items():
        ax.axhline(y, color=FAINT, linewidth=1.0, linestyle=(0, (1, 2)))
        label = textwrap.fill(_shown(name), 16)
        ax.annotate(
            label, (1.01, y), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=8.5, color=FAINT
        )


def _legend(ax: Any) -> None:
    """Where there is room in the plot, else below it, or above both of two: no curve and no level is covered."""
    lines = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    if len(lines) < 2:
        return
    look = {"facecolor": PAGE, "edgecolor": GRID, "framealpha": 1.0, "labelcolor": INK}
    figure, legend = ax.figure, ax.legend(**look)
    legend.set_in_layout(False)  # one of many curves is larger than the plot
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    paths = [line.get_path().transformed(line.get_transform()) for line in ax.get_lines()]
    if any(path.intersects_bbox(box, filled=False) for path in paths):
        legend.remove()
        width, height = figure.get_size_inches()
        rows = math.ceil(len(lines) / max(1, width * figure.dpi // box.width))
        columns = math.ceil(len(lines) / rows)
        figure.set_size_inches(width, height + box.height / figure.dpi * rows / len(lines))
        side = "upper" if len(figure.axes) > 1 else "lower"
        figure.legend(loc=f"outside {side} center", ncols=columns, **look)


# ------------------------------------------------------------------------------------------------------------ arguments
def _named(call: str, values: Any, what: str) -> dict[str, Any]:
    """{name: value}; a single value has its kind for a name."""
    if hasattr(values, "keys") and hasattr(values, "__getitem__"):
        named = {str(name): values[name] for name in list(values.keys())}
        if not named:
            raise ArgumentError(message(call, f"there is no {what} to show", {"given": values}))
        return named
    return {what: values}


def _numbers(call: str, name: str, values: Any) -> Array:
    try:
        return np.asarray(values.numpy() if hasattr(values, "numpy") else values, dtype=float)
    except (TypeError, ValueError):
        raise ArgumentError(message(call, f"{name} must be numbers", {name: values})) from None


def _steps(name: str, values: Any, sample: int, units: list[int] | None) -> Array:
    """One sequence as (T, units)."""
    array = _numbers("plot.gates", name, values)
    if array.ndim == 3:
        if not -array.shape[1] <= sample < array.shape[1]:
            raise ShapeError(message("plot.gates", f"there is no sample {sample} of {array.shape[1]}", {name: array}))
        array = array[:, sample]
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.size:
        raise ShapeError(message("plot.gates", f"{name} is (steps, units) or (steps, batch, units)", {name: array}))
    if units is None:
        return array
    wrong = [u for u in units if not -array.shape[1] <= u < array.shape[1]]
    if wrong or not len(units):
        problem = f"{name} has units 0 to {array.shape[1] - 1}" + (f", not {wrong[0]}" if wrong else ": none chosen")
        raise ShapeError(message("plot.gates", problem, {name: array}))
    return array[:, units]


def _legible(text: Any) -> str:
    """A text as it can be written to a file: control characters by their pictures, what has none as �."""
    return UNWRITABLE.sub(lambda found: chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd", str(text))


def _shown(text: Any) -> str:
    """A text as matplotlib shows it letter by letter: a $ is a $."""
    return _legible(text).replace("$", r"\$")


def _whole(call: str, name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentError(message(call, f"{name} is a whole number", {name: value})) from None


def _units(units: Any) -> list[int] | None:
    try:
        return None if units is None else [operator.index(u) for u in units]
    except TypeError:
        problem = "units are whole numbers, in the order to be shown"
        raise ArgumentError(message("plot.gates", problem, {"units": units}, "units=[0, 3]")) from None


def _over(over: Any) -> tuple[list[str] | None, Array | None]:
    """What was read, as words or as a signal."""
    if over is None:
        return None, None
    if isinstance(over, str) or (isinstance(over, Sequence) and all(isinstance(w, str) for w in over)):
        return list(over), None
    signal = _numbers("plot.gates", "over", over)
    if signal.ndim == 2 and signal.shape[1] == 1:
        signal = signal[:, 0]
    if signal.ndim != 1:
        raise ShapeError(
            message("plot.gates", "over is a text, a list of words, or one number a step", {"over": signal})
        )
    return None, signal


_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #ffffff; --line: #d9dce3; }
@media (prefers-color-scheme: dark) { :root { --ink: #f0f0f2; --paper: #17181c; --line: #343944; } }
body { max-width: 64rem; margin: 1.5rem auto; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 Helvetica, Arial, sans-serif; }
h1 { font-size: 1.2rem; } figure { margin: 0; } svg { max-width: 100%; height: auto; }
pre { font: 14px/1.5 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
</style>
{body}
</html>
"""
