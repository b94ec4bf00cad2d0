"""The page of the demo: a text coloured by one unit of the network. One file, no network, light and dark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import numpy as np

from .units import Match

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-/"  # 65 levels from -1 to 1, one a character


def unit_page(
    title: str, facts: Sequence[str], units: Sequence[tuple[Match, str]], texts: Sequence[tuple[str, str, np.ndarray]]
) -> str:
    """The page as HTML.

    Parameters
    ----------
    facts : sentences below the title. units : what was found, with the name of each unit; the first is shown at first.
    texts : (heading, text, values (characters, len(units)) from -1 to 1).
    """
    buttons = "\n".join(
        f'<button data-unit="{k}"{" class=on" if k == 0 else ""}><b>{escape(match.property)}</b>'
        f"<span>{escape(name)}</span><span>r = {match.correlation:+.2f}</span></button>"
        for k, (match, name) in enumerate(units)
    )
    blocks = "\n".join(f"<h2>{escape(heading)}</h2>\n<pre></pre>" for heading, _, _ in texts)
    data = [{"text": list(text), "values": [_levels(column) for column in values.T]} for _, text, values in texts]
    script = json.dumps(data, ensure_ascii=True).replace("</", "<\\/")
    return (
        _PAGE.replace("{title}", escape(title))
        .replace("{facts}", "".join(f"<p>{escape(fact)}</p>" for fact in facts))
        .replace("{buttons}", buttons)
        .replace("{blocks}", blocks)
        .replace("{digits}", DIGITS)
        .replace("{data}", script)
    )


def _levels(values: np.ndarray) -> str:
    middle = (len(DIGITS) - 1) // 2
    at = np.rint(np.clip(np.nan_to_num(values), -1, 1) * middle).astype(int) + middle
    return "".join(DIGITS[k] for k in at)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root { color-scheme: light dark; --ink: #23262d; --paper: #ffffff; --faint: #6b7280; --line: #d9dce3; --on: #2f56c8; }
@media (prefers-color-scheme: dark) {
:root { --ink: #e4e6eb; --paper: #16181d; --faint: #9aa1ad; --line: #343944; --on: #86a5ff; } }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 Helvetica, Arial, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .3rem 0; color: var(--faint); max-width: 46rem; }
nav { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0 .6rem; }
button { display: grid; text-align: left; padding: .4rem .7rem; border: 1px solid var(--line); border-radius: .5rem;
  background: none; color: inherit; font: inherit; font-size: .85rem; cursor: pointer; }
button span { color: var(--faint); font-size: .78rem; }
button.on { border-color: var(--on); box-shadow: inset 0 0 0 1px var(--on); }
#scale { display: flex; align-items: center; gap: .6rem; font-size: .8rem; color: var(--faint); }
#scale i { flex: 0 0 12rem; height: .8rem; border-radius: .2rem;
  background: linear-gradient(90deg,
    rgb(203 60 51 / .75), rgb(203 60 51 / 0) 50%, rgb(64 99 216 / 0) 50%, rgb(64 99 216 / .75)); }
pre { font: 14px/1.45 ui-monospace, Menlo, Consolas, monospace; white-space: break-spaces; overflow-wrap: anywhere;
  margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
pre span { padding: .12em 0; }
</style>
<h1>{title}</h1>
{facts}
<nav>
{buttons}
</nav>
<div id="scale">less <i></i> more <output>point at a character to see its value</output></div>
{blocks}
<script>
const digits = "{digits}", data = {data};
const pres = document.querySelectorAll("pre"), out = document.querySelector("output");
let unit = 0;
const middle = (digits.length - 1) / 2;
const value = (b, k) => b.values.length ? (digits.indexOf(b.values[unit][k]) - middle) / middle : 0;
function show() {
  data.forEach((b, n) => {
    if (!pres[n].children.length) pres[n].append(...b.text.map((c, k) => {
      const s = document.createElement("span"); s.textContent = c; s.dataset.k = k; return s; }));
    b.text.forEach((c, k) => {
      const v = value(b, k), ink = v < 0 ? "203 60 51" : "64 99 216";
      pres[n].children[k].style.background = `rgb(${ink} / ${(Math.abs(v) * .75).toFixed(2)})`; });
  });
}
pres.forEach((p, n) => p.addEventListener("mouseover", e => {
  const k = e.target.dataset.k;
  if (k !== undefined) out.textContent = `${JSON.stringify(data[n].text[k])}: ${value(data[n], k).toFixed(2)}`; }));
document.querySelectorAll("button").forEach(b => b.addEventListener("click", () => {
  document.querySelector("button.on").classList.remove("on"); b.classList.add("on");
  unit = +b.dataset.unit; show(); }));
show();
</script>
</html>
"""
