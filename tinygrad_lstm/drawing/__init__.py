"""`tl.draw`: pictures of cells, of computations, of layers and models; one call, one picture language.

Cells are placed and routed here (rooms `block`, `place`, `route`, `memory`), because a general layout does not know
that a state runs straight along the top; computations are laid out by Graphviz. Both are DOT text before they are
anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError, describe, message
from ..graph import Value
from .block import block
from .chain import rolled as draw_rolled
from .chain import unrolled as draw_unrolled
from .computation import computation
from .formula import formulas, quantities
from .language import Sheet, theme_of
from .legend import legend as draw_legend
from .memory import Light, Memory
from .modules import module_scene, modules
from .page import still
from .render import Drawing, svg
from .scene import computation_scene
from .tour import Tour

__all__ = ["Drawing", "draw", "ways"]


class _Draw:
    # A function that is the home of another one: `tl.draw(...)`, `tl.draw.legend()`.

    def __call__(self, thing: Any, **options: Any) -> Drawing:
        """Draw a cell, a Tensor's computation, or a module.

        Parameters
        ----------
        thing : a cell (`tl.cells.lstm`, or yours): its memory block. A Tensor, or several in a list: the computation
            that made them, with values, and with gradients after `backward`, what a module's call or a step of a loop
            computed in a frame. A layer or model: its modules.
        theme : "light" or "dark".

        For a cell
            steps : that many steps unrolled, x_0 x_1 ...; with `detail=True` the middle one in full.
            rolled : the network with its loop.
            highlight : a name of a quantity, or several ("f", ["i", "g"]): what computes it in colour, the rest faded,
                and its equation below. equations : all equations below, of every kind of picture.
        For a computation
            values, gradients : show what each value is (the numbers of small ones; mean and range of others).
            fold : "time" (default): repeated steps beyond 4 become one; None: everything.
            direction : "forward" (default), "backward" or "both".
            depth : the most operations to follow from the result, None for all.
            inside : whether the page (`.html`) opens a layer's loop over time into the equations of its steps (default;
                from the numbers the loop ran on, so not after an optimiser has changed its parameters).

        Returns
        -------
        A `Drawing`: `.dot`, `.svg`, `.save("a.svg|png|pdf|dot|html")`; shows itself in notebooks.

        Raises
        ------
        ArgumentError : nothing that can be drawn, an option it does not have, an unknown name (the known are listed).

        Examples
        --------
        >>> tl.draw(tl.cells.lstm, highlight="f")
        <drawing of lstm: f>
        >>> x = tl.tensor([2.0], requires_grad=True)
        >>> tl.draw((x * x).sum())
        <drawing of sum>
        """
        if isinstance(thing, Value) or (
            isinstance(thing, list | tuple) and thing and all(isinstance(t, Value) for t in thing)
        ):
            roots = [thing] if isinstance(thing, Value) else list(thing)
            dot, title = computation(roots, **_known(options, _COMPUTATION, "a computation"))
            return Drawing(dot, title, "", lambda: computation_scene(roots, **options), options.get("theme", "light"))
        if hasattr(thing, "graph") and hasattr(thing.graph, "new_states"):
            theme = theme_of(options.get("theme", "light"))
            sheet, title, _ = _cell(thing, **_known(options, _CELL, "a cell"))
            description = (thing.__doc__ or "").strip().split("\n")[0]
            return Drawing(sheet.dot(), title, description, lambda: _cell_scene(thing, options), theme)
        if isinstance(thing, type):
            remedy = f"make one of it first: tl.draw({thing.__name__}(...))"
            raise ArgumentError(message("draw", f"cannot draw the class {thing.__name__}", remedy=remedy))
        if callable(getattr(thing, "named_modules", None)) or callable(getattr(thing, "named_parameters", None)):
            dot, title = modules(thing, **_known(options, _MODULE, "a module"))
            return Drawing(dot, title, "", lambda: module_scene(thing, **options), options.get("theme", "light"))
        raise ArgumentError(
            message("draw", f"cannot draw {describe(thing)}", remedy="give it a Tensor, a cell, a layer or a model")
        )

    def legend(self, theme: str = "light") -> Drawing:
        """What the shapes and colours mean, as a picture."""
        return Drawing(
            draw_legend(theme),
            "the picture language",
            "",
            lambda: still(*(svg(draw_legend(t)) for t in ("light", "dark"))),
            theme,
        )

    def __repr__(self) -> str:
        return "<function draw>"


_Draw.__doc__ = _Draw.__call__.__doc__
draw = _Draw()

_CELL = ("theme", "steps", "rolled", "highlight", "equations", "detail")
_COMPUTATION = ("theme", "values", "gradients", "fold", "direction", "depth", "inside")
_MODULE = ("theme", "depth")


def ways(cell: Any) -> dict[str, dict[str, Any]]:
    """Every picture of a cell that explains it: name -> the options of `tl.draw`.

    The network with its loop, unrolled, the repeating module, one step with its equations, and a picture for every
    named quantity, in the order of computation.

    Examples
    --------
    >>> list(ways(tl.cells.gru))
    ['rolled', 'unrolled', 'module', 'block', 'step-z', 'step-r', 'step-n', 'step-h']
    """
    drawn = {s for part in block(cell.graph).parts for s in (*part.covers, part.serial)}
    named = {str(name): value.serial for name, value in cell.graph.names.items() if value.serial in drawn}
    steps = {f"step-{name}": {"highlight": name} for name in sorted(named, key=lambda n: named[n])}
    whole: dict[str, dict[str, Any]] = {
        "rolled": {"rolled": True},
        "unrolled": {"steps": 4},
        "module": {"steps": 3, "detail": True},
        "block": {"equations": True},
    }
    return whole | steps


def _known(options: dict[str, Any], known: Sequence[str], what: str) -> dict[str, Any]:
    for name in options:
        if name not in known:
            raise ArgumentError(
                message("draw", f"{what} is not drawn with {name}=", remedy=f"its options: {', '.join(known)}")
            )
    return options


def _cell(cell: Any, theme: str = "light", steps: int | None = None, rolled: bool = False, highlight: Any = None,
          equations: bool = False, detail: bool = False) -> tuple[Sheet, str, Tour]:  # fmt: skip
    """The sheet with a cell on it, its title, and what its parts compute."""
    name = str(cell.name)
    sheet, tour = Sheet(name, theme_of(theme)), Tour(cell)
    if rolled and steps is not None:
        raise ArgumentError(message("draw", "is either rolled or unrolled: rolled=True or steps=", {"steps": steps}))
    if highlight is not None and (rolled or steps is not None):
        raise ArgumentError(
            message("draw", "highlight= shows one step of the explanation; leave out rolled= and steps=")
        )
    if detail and steps is None:
        raise ArgumentError(
            message(
                "draw", "detail= shows one of several steps in full", remedy="give the number of steps too: steps=3"
            )
        )

    def below() -> None:
        if equations:
            regions = tour.read.regions
            _beside(sheet, formulas(cell.graph, quantities(cell.graph, regions), regions))

    if rolled:
        draw_rolled(cell, sheet)
        tour.steps({"step": ""})
        below()
        return sheet, f"{name}, rolled", tour
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ArgumentError(message("draw", "steps is a number of steps, at least 1", {"steps": steps}))
        memory = Memory(cell) if detail else None
        for t, inner in draw_unrolled(cell, sheet, steps, memory):
            if inner and memory is not None:
                tour.block(memory, str(t), str(t - 1))
            else:
                tour.steps({f"{t} step": str(t)})
        below()
        return sheet, f"{name}, {steps} step{'s' * (steps > 1)}", tour
    memory = Memory(cell)
    names = [] if highlight is None else [*highlight] if isinstance(highlight, list | tuple) else [highlight]
    if not all(isinstance(n, str) for n in names):
        raise ArgumentError(
            message("draw", "highlight is a name of a quantity, or a list of names", {"highlight": highlight})
        )
    light = Light(memory, names)
    memory.draw(sheet, light=light)
    tour.block(memory)
    below()
    if light.nodes and not equations:
        _beside(sheet, formulas(cell.graph, light.nodes, memory.block.regions))
    return sheet, f"{name}: {', '.join(names)}" if names else name, tour


def _cell_scene(cell: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The page's data: the cell drawn once more in each theme."""
    light, _, tour = _cell(cell, **{**options, "theme": "light"})
    dark, _, _ = _cell(cell, **{**options, "theme": "dark"})
    return tour.scene(light.links, svg(light.dot()), svg(dark.dot()))


def _beside(sheet: Sheet, lines: Sequence[str]) -> None:
    """Equations under a block, one below the other, starting at its left."""
    y, left, size = sheet.bottom + 20, sheet.left + 24, 15
    for k, line in enumerate(lines):
        sheet.line(f"equation {k}", left, y + 24 * k, line, size=size)
