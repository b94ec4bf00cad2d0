"""Builds this gallery: `python docs/gallery/build.py`. Every picture comes from one call on the equations."""

from __future__ import annotations

from pathlib import Path

import tinygrad_lstm as tl
from tinygrad_lstm.drawing import ways

HERE = Path(__file__).parent


# --8<-- the cell of this page
@tl.cell(x="input", h="hidden", c="hidden", W="hidden input", U="hidden hidden", b="hidden")
def two_speeds(x, /, h, c, *, W, U, b):
    """A cell of one's own: a fast memory and a slow one."""
    k = tl.sigmoid(W.k @ x + U.k @ h + b.k)  # how much of the slow memory to renew
    n = tl.tanh(W.n @ x + U.n @ h + b.n)  # new values
    c = c + 0.1 * k * (n - c)
    h = tl.tanh(n + c)
    return h, c


# --8<--
CELLS = [tl.cells.rnn, tl.cells.lstm, tl.cells.gru, tl.cells.lstm_peephole, tl.cells.lstm_coupled, two_speeds]


PAGE = """## The interactive page

`tl.draw(thing).save("picture.html")` writes one file that needs nothing else and opens from disk: for a cell, the
computation of a loss, a layer or a model.

```python
layer = tl.nn.LSTM(8, 16, seed=0)
outputs, states = layer(tl.randn(50, 4, 8, rng=1))
loss = (outputs**2).mean()
loss.backward(retain_grads=True)  # keep the gradients of values in between, to play the backward pass
tl.draw(loss).save("loss.html")
```

A layer's loop over time is opened into the equations of its steps (`inside=False` leaves it one box). Click `+` or `−`
to unfold or fold steps, layers and modules. Click a box for its formula, shape, numbers, maps of its value and its
gradient, and where it is used. Maps: blue is positive, amber is negative, the paler the nearer to 0, red is not finite.
▶ plays the forward pass, values appearing as they are computed, or the backward pass, gradients coming back.

| key | does |
|---|---|
| arrows, `+` `-` `0` | move, zoom, show all |
| `/`, then Enter, Shift+Enter | search; the next, the previous one found, also in what is folded |
| `n` `p` | select the next, the previous value |
| `f` Enter | fold or unfold what is selected, or what is around it |
| `u` `c` | unfold, fold everything |
| space, `.` `,` | play or pause; a step on, a step back |
| `b` `s` | forward or backward pass; speed |
| `t` `?` Esc | light or dark; help; end the pass, close |
"""


def pictures() -> dict[str, tl.drawing.Drawing]:
    """Every picture of the gallery, by its file name."""
    found = {"legend.svg": tl.draw.legend(), "legend-dark.svg": tl.draw.legend("dark")}
    for cell in CELLS:
        chosen = ways(cell) | {"block-dark": {"equations": True, "theme": "dark"}}
        found |= {f"{cell.name}-{way}.svg": tl.draw(cell, **options) for way, options in chosen.items()}
    return found


def quantities(cell) -> list[str]:
    """The named quantities of a cell: the steps of the explanation."""
    return [options["highlight"] for options in ways(cell).values() if "highlight" in options]


def text() -> str:
    """The page."""
    source = Path(__file__).read_text(encoding="utf-8").split("# --8<--")[1].split("\n", 1)[1].strip()
    lines = ["# Gallery", "", "What the signs mean (`tl.draw.legend()`):", "", "![legend](legend.svg)", ""]
    lines += [
        "One cell of this page is declared here; the others are `tl.cells.rnn`, `tl.cells.lstm` and so on.",
        "",
        f"```python\n{source}\n```",
        "",
    ]
    lines += [PAGE, ""]
    for cell in CELLS:
        name = cell.name
        lines += [f"## {name}", "", (cell.__doc__ or "").strip().split("\n")[0], ""]
        shown = [
            ("The network with its loop", "rolled=True", "rolled"),
            ("The same, unrolled", "steps=4", "unrolled"),
            ("Three steps, the middle one in full", "steps=3, detail=True", "module"),
            ("One step with its equations", "equations=True", "block"),
            ("For dark pages", 'equations=True, theme="dark"', "block-dark"),
        ]
        shown += [(f"What computes {q}", f'highlight="{q}"', f"step-{q}") for q in quantities(cell)]
        for title, options, way in shown:
            lines += [f"{title}: `tl.draw({name}, {options})`", "", f"![{name}, {way}]({name}-{way}.svg)", ""]
    return "\n".join(lines)


def main(folder: Path = HERE) -> None:
    """Write the page and its pictures."""
    for name, picture in pictures().items():
        picture.save(folder / name)
    (folder / "README.md").write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
