"""What the interactive page is given of a cell: its drawing in light and dark, and what each part of it computes.

Parts are known by their names in the DOT text; the page plays them in the order given here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .block import Part, block, output_name
from .formula import formulas, quantities
from .language import plain
from .memory import Memory
from .scene import Pool

_LETTERS_ONLY = re.compile(r"</?font[^>]*>")


class Tour:
    """Collects the parts of a cell's drawing in the order of computation."""

    def __init__(self, cell: Any):
        self.cell = cell
        self.read = block(cell.graph)
        self.texts = Pool()
        self.keys: list[str] = []
        self.columns: dict[str, list[Any]] = {
            k: [] for k in ("head", "name", "kind", "equation", "shape", "doc", "args")
        }

    def add(self, key: str, head: str, kind: str, equation: str = "", shape: Any = (), doc: str = "") -> None:
        key = plain(key)
        if key in self.keys:
            return
        self.keys.append(key)
        facts = {"head": head, "kind": kind, "equation": equation, "shape": " ".join(map(str, shape or ())), "doc": doc}
        for name, text in facts.items():
            self.columns[name].append(self.texts(text))
        self.columns["name"].append(self.texts(head))
        self.columns["args"].append([])

    def block(self, memory: Memory, now: str = "t", before: str = "t−1") -> None:
        """The parts of a memory block that is drawn."""
        b, keys = memory.block, memory.keys
        for p in b.inputs:
            self.add(keys[id(p)], f"{p.name} ({now})", "input", shape=p.node.shape)
        for p in b.states:
            self.add(keys[id(p)], f"{p.name} ({before})", "state", shape=p.node.shape)
        for p in memory.joins:
            words = ", ".join(s.name for s in p.sources)
            self.add(keys[id(p)], p.name or "joined", "joined wires", doc=f"{words} go on together")
        for p in b.parts:
            self.add(keys[id(p)], _title(p), p.kind, self._equation(memory, p, before, now), p.node.shape)
        name = output_name(memory.cell.graph)
        self.add(keys["output", 0], f"{name} ({now}), the output", "output", shape=b.output.node.shape)
        for k, old in enumerate(b.states):
            self.add(keys["state", k], f"{old.name} ({now})", "state", shape=b.new_states[k].node.shape)

    def steps(self, keys: dict[str, str]) -> None:
        """Whole steps: key of the step -> its time; "" for the network with its loop."""
        b = self.read
        for key, time in keys.items():
            lead = f"{time} " if time else ""
            now, before = (time, str(int(time) - 1)) if time else ("t", "t−1")
            for p in b.inputs:
                self.add(f"{lead}input {p.name}", f"{p.name} ({now})", "input", shape=p.node.shape)
            wanted = quantities(self.cell.graph, b.regions)
            lines = [_html(line) for line in formulas(self.cell.graph, wanted, b.regions, before, now, 10_000)]
            self.add(key, f"{self.cell.name}, step {now}", "frame", "<br>".join(lines))
            name = output_name(self.cell.graph)
            self.add(f"{lead}output {name}", f"{name} ({now})", "output", shape=b.output.node.shape)

    def _equation(self, memory: Memory, p: Part, before: str, now: str) -> str:
        lines = formulas(memory.cell.graph, [(p.name, p.node)], memory.block.regions, before, now, 10_000)
        text = _html(" ".join(lines))
        return text if p.name else text.partition(" = ")[2]

    def scene(self, links: Sequence[tuple[str, str]], light: str, dark: str) -> dict[str, Any]:
        number = {key: k for k, key in enumerate(self.keys)}
        edges = [
            (number[a], number[b])
            for a, b in dict.fromkeys((plain(a), plain(b)) for a, b in links)
            if a in number and b in number
        ]
        for a, b in edges:
            if a != b:
                self.columns["args"][b].append(a)
        return {
            "texts": list(self.texts.texts), "values": self.columns, "groups": [], "parents": [-1] * len(self.keys),
            "keys": self.keys, "edges": [e for e in edges if e[0] == e[1]], "drawings": {"light": light, "dark": dark},
        }  # fmt: skip


def _title(p: Part) -> str:
    sign = f"{p.label} {p.note}".strip()
    return f"{p.name} = {sign}" if p.name else sign


def _html(markup: str) -> str:
    """A label of DOT as HTML: letters of their own size are left to the page."""
    return _LETTERS_ONLY.sub("", markup)
