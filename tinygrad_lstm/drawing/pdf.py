"""A drawn graph (Graphviz's JSON, which lists every stroke) -> one page of PDF 1.4, of vectors, in the standard fonts.

Sources: the xdot drawing operations of the Graphviz documentation; ISO 32000-1, sections 8.5 (paths), 9 (text) and
annex D (encodings). Letters that the 14 standard fonts do not have are drawn by the reader's own font for Chinese
(`STSong-Light`, a name that readers replace), so nothing is lost.
"""

from __future__ import annotations

import zlib
from typing import Any

_FONTS = {"F": "Helvetica", "I": "Helvetica-Oblique", "B": "Helvetica-Bold"}
_GREEK = dict(
    zip(
        "αβχδεφγηιϕκλμνοπθρστυωξψζ√∞≤≥≠∂∑∏∈",
        b"abcdefghijklmnopqrstuwxyz\xd6\xa5\xa3\xb3\xb9\xb6\xe5\xd5\xce",
        strict=True,
    )
)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _colour(text: str) -> tuple[str, bool]:
    """(r g b, whether it is seen) of `#rrggbb` or `#rrggbbaa`."""
    if not text.startswith("#"):
        return ("0 0 0", text not in ("none", "transparent"))
    parts = [int(text[k : k + 2], 16) / 255 for k in range(1, len(text), 2)]
    return " ".join(_number(p) for p in parts[:3]), len(parts) < 4 or parts[3] > 0


def _runs(text: str) -> list[tuple[str, bytes]]:
    """Text as runs of (font, bytes): the page's font, Symbol, or the reader's Chinese font."""
    runs: list[tuple[str, bytes]] = []
    for c in text.replace("−", "–"):
        try:
            font, data = "", c.encode("cp1252")
        except UnicodeEncodeError:
            font, data = ("S", bytes([_GREEK[c]])) if c in _GREEK else ("C", c.encode("utf-16-be", errors="replace"))
        if runs and runs[-1][0] == font:
            runs[-1] = (font, runs[-1][1] + data)
        else:
            runs.append((font, data))
    return runs


class _Pen:
    """The state of xdot's pen, and the PDF operators it has written."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.stroke, self.fill = ("0 0 0", True), ("0 0 0", True)
        self.size = 14.0
        self.style = 0

    def begin(self) -> None:
        """Each list of strokes starts afresh."""
        self.stroke = self.fill = ("0 0 0", True)
        self.style = 0
        self.out.append("1 w [] 0 d")

    def paint(self, closed: bool, filled: bool) -> None:
        fill, stroke = filled and self.fill[1], self.stroke[1]
        end = "B" if fill and stroke else "f" if fill else "S" if stroke else "n"
        self.out.append(("h " if closed else "") + end)

    def colours(self) -> None:
        self.out.append(f"{self.stroke[0]} RG {self.fill[0]} rg")

    def operate(self, step: dict[str, Any]) -> None:
        op = step["op"]
        if op == "c":
            self.stroke = _colour(step["color"])
        elif op == "C":
            self.fill = _colour(step["color"])
        elif op == "F":
            self.size = float(step["size"])
        elif op == "t":
            self.style = int(step["fontchar"])
        elif op == "S" and step["style"].startswith("setlinewidth("):
            self.out.append(f"{step['style'][13:-1]} w")
        elif op == "S" and step["style"] in ("dashed", "dotted", "solid"):
            self.out.append({"dashed": "[4 3] 0 d", "dotted": "[1 3] 0 d", "solid": "[] 0 d"}[step["style"]])
        elif op in "eE":
            x, y, w, h = map(float, step["rect"])
            self.ellipse(x, y, w, h, op == "E")
        elif op in "pPL":
            points = [f"{_number(x)} {_number(y)}" for x, y, *_ in step["points"]]
            self.colours()
            self.out.append(f"{points[0]} m " + " ".join(f"{p} l" for p in points[1:]))
            self.paint(op != "L", op == "P")
        elif op in "bB":
            points = [f"{_number(x)} {_number(y)}" for x, y, *_ in step["points"]]
            self.colours()
            curves = (" ".join(points[k : k + 3]) + " c" for k in range(1, len(points) - 2, 3))
            self.out.append(f"{points[0]} m " + " ".join(curves))
            self.paint(False, op == "B")
        elif op == "T":
            self.text(step)

    def ellipse(self, x: float, y: float, w: float, h: float, filled: bool) -> None:
        k = 0.5522847498
        self.colours()
        quarter = [
            (1, 0),
            (1, k),
            (k, 1),
            (0, 1),
            (-k, 1),
            (-1, k),
            (-1, 0),
            (-1, -k),
            (-k, -1),
            (0, -1),
            (k, -1),
            (1, -k),
            (1, 0),
        ]
        p = [f"{_number(x + a * w)} {_number(y + b * h)}" for a, b in quarter]
        self.out.append(f"{p[0]} m " + " ".join(" ".join(p[i : i + 3]) + " c" for i in (1, 4, 7, 10)))
        self.paint(True, filled)

    def text(self, step: dict[str, Any]) -> None:
        x, y = step["pt"][:2]
        width = float(step["width"])
        x -= {"l": 0.0, "c": width / 2, "r": width}[step["align"]]
        face = "B" if self.style & 1 else "I" if self.style & 2 else "F"
        size, drop = self.size, 0.0
        if self.style & 16:  # subscript
            drop = 2.5
        runs = "".join(f"/{font or face} {_number(size)} Tf <{data.hex()}> Tj " for font, data in _runs(step["text"]))
        self.out.append(f"BT {self.stroke[0]} rg {_number(x)} {_number(y - drop)} Td {runs}ET")


def pdf(graph: dict[str, Any], title: str) -> bytes:
    """The bytes of a PDF of one page that shows a graph, given as the output of `-Tjson`."""
    pen = _Pen()
    parts = [graph, *graph.get("objects", []), *graph.get("edges", [])]
    for part in parts:
        for key in ("_draw_", "_tdraw_", "_hdraw_", "_ldraw_", "_tldraw_", "_hldraw_"):
            pen.begin()
            for step in part.get(key, []):
                pen.operate(step)
    left, low, right, high = (float(v) for v in graph["bb"].split(","))
    margin = 9.0
    box = [left - margin, low - margin, right + margin, high + margin]
    back, seen = _colour(graph.get("bgcolor", "#ffffff"))
    sheet = " ".join(_number(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1]))
    content = (f"{back} rg {sheet} re f\n" if seen else "") + "\n".join(pen.out)
    stream = zlib.compress(content.encode("ascii"), 9)
    fonts = "".join(
        f"/{k} << /Type /Font /Subtype /Type1 /BaseFont /{v} /Encoding /WinAnsiEncoding >> " for k, v in _FONTS.items()
    )
    fonts += "/S << /Type /Font /Subtype /Type1 /BaseFont /Symbol >> /C << /Type /Font /Subtype /Type0 "
    fonts += "/BaseFont /STSong-Light /Encoding /UniGB-UTF16-H /DescendantFonts [6 0 R] >>"
    corners = " ".join(map(_number, box))
    name = "feff" + title.encode("utf-16-be", errors="replace").hex()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{corners}] /Contents 4 0 R "
        f"/Resources << /Font << {fonts} >> >> >>".encode(),
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(stream) + stream + b"\nendstream",
        f"<< /Title <{name}> /Producer (tinygrad_lstm) >>".encode(),
        b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light "
        b"/CIDSystemInfo << /Registry (Adobe) /Ordering (GB1) /Supplement 4 >> /DW 1000 /FontDescriptor 7 0 R >>",
        b"<< /Type /FontDescriptor /FontName /STSong-Light /Flags 6 "
        b"/FontBBox [-25 -254 1000 880] /ItalicAngle 0 /Ascent 880 /Descent -120 /CapHeight 880 /StemV 93 >>",
    ]
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for k, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % k + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % p for p in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)
