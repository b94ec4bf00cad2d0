"""One HTML file that shows a picture and answers questions about it: no network, opens from disk.

The page holds a scene as JSON (room `scene`) and a few hundred lines of JavaScript (folder `web`): `layout` places
what is unfolded, `picture` draws, moves and zooms, `panel` tells what is known of a value, `play` runs the forward and
the backward pass, `page` connects them with keys and buttons. Its content security policy forbids every request.

Folding changes which boxes there are, and n groups have 2^n states, so no layout can be made beforehand: the page lays
out what is unfolded itself, group by group, each group as a layered drawing. Pictures of cells do not fold; they are
drawn here, light and dark, and the page finds their parts again by their names in the DOT text.
"""

from __future__ import annotations

import html
import json
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from .language import LIT, THEMES, WIRE

_WEB = Path(__file__).parent / "web"
_SCRIPTS = ("layout", "scene", "heat", "picture", "panel", "play", "page")


@cache
def _file(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")


def _colours(theme: str) -> str:
    """The table of looks as CSS variables."""
    found = {f"--{kind}-{part}": getattr(look, part) for kind, look in THEMES[theme].items()
             for part in ("fill", "edge", "text")}  # fmt: skip
    found |= {"--wire": WIRE[theme], "--lit": LIT[theme]}
    return " ".join(f"{name}: {value};" for name, value in found.items() if value != "none")


def page(scene: dict[str, Any], title: str, description: str = "", theme: str = "auto") -> str:
    """A self-contained HTML page of a scene."""
    notes = " · ".join([description, *scene.get("notes", [])] if description else scene.get("notes", []))
    data = json.dumps(scene, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    style = Template(_file("page.css")).substitute(light=_colours("light"), dark=_colours("dark"))
    return Template(_file("page.html")).substitute(
        title=html.escape(title),
        description=html.escape(notes),
        theme=theme,
        style=style,
        data=data,
        script="\n".join(_file(f"{name}.js") for name in _SCRIPTS),
    )


def still(light: str, dark: str) -> dict[str, Any]:
    """The scene of a picture to look at only: an SVG for light and one for dark."""
    values: dict[str, Any] = {"head": [], "args": []}
    return {"texts": [], "values": values, "groups": [], "parents": [], "keys": [], "still": True,
            "drawings": {"light": light, "dark": dark}}  # fmt: skip
