"""One HTML file that shows a picture: no network, opens from disk, zooms and moves by mouse and by keyboard."""

from __future__ import annotations

import html
from string import Template

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { color-scheme: light dark; font: 15px/1.4 Helvetica, Arial, sans-serif; }
  body { margin: 0; height: 100vh; display: flex; flex-direction: column; }
  header { padding: .6rem 1rem; border-bottom: 1px solid #8884;
    display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; }
  h1 { font-size: 1rem; margin: 0; }
  header p { margin: 0; flex: 1; opacity: .75; }
  main { flex: 1; background: $background; overflow: hidden; cursor: grab; outline-offset: -3px; touch-action: none; }
  main:active { cursor: grabbing; }
  main svg { width: 100%; height: 100%; }
</style>
<header><h1>$title</h1><p>$description</p>
<span><button id="out" aria-label="zoom out">−</button>
<button id="all" aria-label="show all">show all</button>
<button id="in" aria-label="zoom in">+</button></span>
</header>
<main tabindex="0" aria-label="picture: arrow keys move, + and - zoom, 0 shows all">$svg</main>
<script>
  const main = document.querySelector("main"), svg = main.querySelector("svg");
  const whole = svg.getAttribute("viewBox").split(/[ ,]+/).map(Number);
  let view = [...whole];
  svg.removeAttribute("width"); svg.removeAttribute("height");
  const show = () => svg.setAttribute("viewBox", view.join(" "));
  function zoom(factor, x = .5, y = .5) {
    const w = Math.min(Math.max(view[2] * factor, whole[2] / 400), whole[2] * 4), h = w * view[3] / view[2];
    view = [view[0] + (view[2] - w) * x, view[1] + (view[3] - h) * y, w, h];
    show();
  }
  function move(dx, dy) { view[0] += dx * view[2]; view[1] += dy * view[3]; show(); }
  const all = () => { view = [...whole]; show(); };
  main.addEventListener("wheel", e => {
    e.preventDefault();
    const box = main.getBoundingClientRect();
    zoom(Math.exp(e.deltaY * .0015), (e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height);
  }, { passive: false });
  let last = null;
  main.addEventListener("pointerdown", e => { last = [e.clientX, e.clientY]; main.setPointerCapture(e.pointerId); });
  main.addEventListener("pointermove", e => {
    if (!last) return;
    const scale = svg.getScreenCTM().a;
    view[0] -= (e.clientX - last[0]) / scale; view[1] -= (e.clientY - last[1]) / scale;
    last = [e.clientX, e.clientY]; show();
  });
  main.addEventListener("pointerup", () => last = null);
  main.addEventListener("keydown", e => {
    const act = { ArrowLeft: () => move(-.1, 0), ArrowRight: () => move(.1, 0),
      ArrowUp: () => move(0, -.1), ArrowDown: () => move(0, .1),
      "+": () => zoom(.8), "=": () => zoom(.8), "-": () => zoom(1.25), "0": all }[e.key];
    if (act) { e.preventDefault(); act(); }
  });
  document.getElementById("in").onclick = () => zoom(.8);
  document.getElementById("out").onclick = () => zoom(1.25);
  document.getElementById("all").onclick = all;
</script>
</html>
""")


def page(svg: str, title: str, description: str = "", background: str = "#ffffff") -> str:
    """A self-contained HTML page of an SVG."""
    return _PAGE.substitute(
        background=background, svg=svg, title=html.escape(title), description=html.escape(description)
    )
