"""The picture language as a picture: one line a sign."""

from __future__ import annotations

from .language import THEMES, Markup, Sheet, escaped, theme_of

_SAMPLES = {
    "layer": "σ",
    "pointwise": "×",
    "input": Markup("<i>x</i>"),
    "output": Markup("<i>h</i>"),
    "parameter": "W",
    "value": "sum",
    "fold": "…",
    "frame": "",
}
_STEP = 44.0


def legend(theme: str = "light") -> str:
    """The DOT text of the legend."""
    sheet = Sheet("the picture language", theme_of(theme))
    y = 0.0
    for kind, sample in _SAMPLES.items():
        wide, tall = (26.0, 26.0) if kind in ("pointwise", "input", "output") else (48.0, 24.0)
        sheet.shape(kind, kind, 0, y, wide, tall, sample, size=14)
        sheet.line(f"{kind} means", 56, y, escaped(THEMES[theme][kind].meaning))
        y += _STEP
    sheet.text("a", -30, y, Markup("<i>c</i>"), size=15, kind="state")
    sheet.text("b", 30, y, Markup("<i>c</i>"), size=15, kind="state")
    sheet.wire("a", "b", [(-20, y), (20, y)])
    sheet.line("transfer means", 56, y, "a vector goes from here to there")
    y += _STEP
    for key, at in (("copied", (-30.0, y)), ("copy", (30.0, y)), ("copy 2", (30.0, y - 16))):
        sheet.shape("faint", key, *at, 1, 1)
    sheet.wire("copied", "copy", [(-30, y), (30, y)])
    sheet.wire("copied", "copy 2", [(-30, y), (0, y), (0, y - 14), (30, y - 14)])
    sheet.line("copy means", 56, y, "the same vector goes to several places")
    y += _STEP
    for key, at in (("first", (-30.0, y)), ("second", (-30.0, y + 14)), ("joined", (30.0, y))):
        sheet.shape("faint", key, *at, 1, 1)
    sheet.wire("first", "joined", [(-30, y), (30, y)])
    sheet.wire("second", "joined", [(-30, y + 14), (0, y + 14), (0, y), (30, y)], arrow=False)
    sheet.line("joined means", 56, y, "vectors go on together (concatenated), each with its own weights")
    return sheet.dot()
