// The picture: boxes and wires in SVG, moved and zoomed. Two ways to get it: laid out here from the scene
// (computations, modules), or drawn beforehand (cells), where the page only finds its parts again.

const SVG = "http://www.w3.org/2000/svg";
function element(tag, facts = {}, ...inside) {
  const made = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(facts)) made.setAttribute(k, v);
  made.append(...inside);
  return made;
}

const ruler = document.createElement("canvas").getContext("2d");
function lengthOf(text, size) { ruler.font = `${size}px Helvetica, Arial, sans-serif`; return ruler.measureText(text).width; }
const cut = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

function laidOut(scene, world) {
  const boxes = new Map();
  let places = null, wires = [], shows = "value";
  world.classList.add("laid");

  const lines = i => scene.isGroup(i)
    ? [cut(scene.label(i), 44), scene.note(i) || (scene.canOpen(i) ? `${scene.inside(i).length} values` : "")]
    : [cut(scene.label(i), 30), [scene.shape(i), scene.dtype(i)].filter(Boolean).join(" ")];
  const many = p => p && p[5] * p[6] > 1;
  function size(i) {
    const [title, facts] = lines(i), v = scene.value(i), g = scene.gradient(i);
    const widths = [lengthOf(title, 13) + (scene.isGroup(i) ? 18 : 0), lengthOf(facts, 9), lengthOf(says(v), 9),
      lengthOf(says(g), 9) + (g ? 12 : 0), many(v) ? 44 : 0];
    return [Math.max(...widths) + 18, 24 + (facts ? 12 : 0) + (v || g ? 12 : 0) + (many(v) || many(g) ? 13 : 0)];
  }

  function draw() {
    places = layout({ size, parent: scene.parent, open: scene.open, children: scene.children, edges: scene.edges });
    const frames = element("g"), lines = element("g", { class: "wires" }), front = element("g");
    boxes.clear();
    for (const [i, place] of places.box) {
      const made = scene.open(i) ? frame(i, place) : box(i, place);
      boxes.set(i, made);
      (scene.open(i) ? frames : front).append(made);
    }
    wires = places.wires.map(w => {
      const made = element("path", { d: way(w.points), class: "wire", ...(w.arrow ? { "marker-end": "url(#head)" } : {}) });
      if (w.edges.every(([a]) => scene.leaf(a) || scene.kind(a) === "parameter")) made.classList.add("given");
      lines.append(made);
      return { ...w, element: made };
    });
    world.replaceChildren(frames, lines, front);
    fill();
  }

  function way([[x], [ax, ay], [bx, by], [end]]) {
    const bend = (bx - ax) / 2;
    return ay === by ? `M${x} ${ay}H${end}` : `M${x} ${ay}H${ax}C${ax + bend} ${ay} ${bx - bend} ${by} ${bx} ${by}H${end}`;
  }

  const item = (i, kind, { x, y }) => {
    const made = element("g", { class: `item ${kind}`, "data-item": i, transform: `translate(${x} ${y})` });
    if (scene.roots.includes(i)) made.classList.add("root");
    return made;
  };
  function frame(i, place) {
    const made = item(i, "open", place);
    made.append(element("rect", { width: place.w, height: place.h, rx: 8 }),
      element("text", { x: 12, y: 17, class: "fold", "data-fold": i }, `− ${cut(scene.label(i), 44)}`));
    return made;
  }
  function box(i, place) {
    const kind = scene.isGroup(i) ? "closed" : scene.kind(i), made = item(i, kind, place), [title, facts] = lines(i);
    const round = kind === "pointwise" || kind === "input" ? 12 : kind === "parameter" ? 0 : 5;
    if (kind === "closed") {
      made.append(element("rect", { x: 4, y: -4, width: place.w, height: place.h, rx: 5, class: "behind" }));
      if (scene.canOpen(i)) made.dataset.fold = i;
    }
    made.append(element("rect", { width: place.w, height: place.h, rx: round }));
    const middle = place.w / 2;
    made.append(element("text", { x: middle, y: 17, class: "title" }, kind === "closed" && scene.canOpen(i) ? `+ ${title}` : title));
    if (facts) made.append(element("text", { x: middle, y: 29, class: "facts" }, facts));
    return made;
  }

  function fill() { // what each box shows of its value, or of its gradient
    for (const [i, made] of boxes) {
      if (scene.isGroup(i)) continue;
      made.querySelectorAll(".says, .strip, image").forEach(e => e.remove());
      const packed = scene[shows](i), place = places.box.get(i);
      if (!packed) continue;
      made.append(element("text", { x: place.w / 2, y: 41, class: "says" }, (shows === "gradient" ? "∂ " : "") + says(packed)));
      if (!many(packed)) continue;
      const where = { x: 7, y: place.h - 15, width: place.w - 14, height: 10 };
      made.append(element("rect", { ...where, class: "strip" }),
        element("image", { ...where, preserveAspectRatio: "none", href: strip(packed) }));
    }
  }

  return {
    draw, folds: true, theme: fill,
    size: () => [places.w, places.h],
    shown: () => [...places.box.keys()].filter(i => !scene.open(i)),
    element: i => boxes.get(i),
    place: i => places.box.get(i),
    show(what) { if (what !== shows) { shows = what; fill(); } },
    wires: test => wires.filter(w => w.edges.some(([a, b]) => test(a, b))).map(w => w.element),
    item: target => { const at = target.closest("[data-item]"); return at ? +at.dataset.item : null; },
    fold: target => { const at = target.closest("[data-fold]"); return at ? +at.dataset.fold : null; },
  };
}

function drawnBefore(scene, world, drawings) {
  const boxes = new Map(), wires = new Map(), numbers = new Map();
  let whole = [0, 0], dark = null;

  function draw() {
    world.innerHTML = drawings[dark ? "dark" : "light"];
    const svg = world.querySelector("svg"), [, , w, h] = svg.getAttribute("viewBox").split(/[ ,]+/).map(Number);
    svg.setAttribute("width", w); svg.setAttribute("height", h);
    whole = [w, h];
    const key = new Map();
    for (let i = 0; i < scene.total; i++) key.set(scene.key(i), i);
    boxes.clear(); wires.clear(); numbers.clear();
    for (const g of svg.querySelectorAll("g.node, g.edge")) {
      const title = g.querySelector("title"), name = title.textContent;
      g.removeAttribute("id");
      if (g.classList.contains("edge")) { if (!wires.has(name)) wires.set(name, []); wires.get(name).push(g); }
      else if (key.has(name)) {
        boxes.set(key.get(name), g); numbers.set(g, key.get(name));
        g.classList.add("item");
      }
      title.remove(); // it would be the browser's own tip
    }
  }

  function place(i) {
    const b = boxes.get(i).getBBox(), to = boxes.get(i).getScreenCTM(), from = world.getScreenCTM().inverse().multiply(to);
    return { x: b.x * from.a + from.e, y: b.y * from.d + from.f, w: b.width * from.a, h: b.height * from.d };
  }

  return {
    draw, folds: false, place,
    theme(now) { if (now !== dark) { dark = now; draw(); } },
    size: () => whole,
    shown: () => [...boxes.keys()],
    element: i => boxes.get(i),
    show() {},
    wires: test => scene.edges.filter(([a, b]) => test(a, b)).flatMap(([a, b]) => wires.get(`${scene.key(a)}->${scene.key(b)}`) || []),
    item: target => { for (let at = target; at; at = at.parentElement) if (numbers.has(at)) return numbers.get(at); return null; },
    fold: () => null,
  };
}

// Moving and zooming: by mouse, wheel, fingers and keys.
function viewer(svg, world, picture) {
  let x = 0, y = 0, scale = 1, fitted = null; // fitted: the least scale of a picture that is shown as a whole
  const pointers = new Map();
  let moved = 0;
  const apply = () => world.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
  const room = () => [svg.clientWidth || 800, svg.clientHeight || 600];
  function zoom(factor, cx = room()[0] / 2, cy = room()[1] / 2) {
    const next = Math.min(Math.max(scale * factor, .005), 12);
    fitted = null;
    x = cx - (cx - x) * next / scale; y = cy - (cy - y) * next / scale; scale = next;
    apply();
  }
  function move(dx, dy) { fitted = null; x += dx; y += dy; apply(); }
  function all(least = 0) {
    const [w, h] = picture.size(), [W, H] = room();
    fitted = least;
    scale = Math.min(Math.max(Math.min((W - 32) / w, (H - 32) / h), least), 1.6);
    x = w * scale > W - 32 ? 16 : (W - w * scale) / 2; y = (H - h * scale) / 2;
    apply();
  }
  function bring(i, always = false) { // into the middle, if it is not in sight
    const p = picture.place(i), [W, H] = room(), size = scale < .45 ? .9 : scale;
    const cx = x + (p.x + p.w / 2) * scale, cy = y + (p.y + p.h / 2) * scale;
    if (!always && size === scale && cx > W * .08 && cx < W * .92 && cy > H * .08 && cy < H * .92) return;
    fitted = null; scale = size;
    x = W / 2 - (p.x + p.w / 2) * scale; y = H / 2 - (p.y + p.h / 2) * scale;
    apply();
  }
  new ResizeObserver(() => { if (fitted !== null) all(fitted); }).observe(svg);
  svg.addEventListener("wheel", e => {
    e.preventDefault();
    const r = svg.getBoundingClientRect();
    zoom(Math.exp(-e.deltaY * .0015), e.clientX - r.left, e.clientY - r.top);
  }, { passive: false });
  svg.addEventListener("pointerdown", e => {
    if (!pointers.size) moved = 0;
    pointers.set(e.pointerId, [e.clientX, e.clientY]);
  });
  window.addEventListener("pointermove", e => {
    const before = pointers.get(e.pointerId);
    if (!before) return;
    const others = [...pointers].filter(([id]) => id !== e.pointerId).map(([, p]) => p);
    if (others.length) {
      const [ox, oy] = others[0], r = svg.getBoundingClientRect(), far = p => Math.hypot(p[0] - ox, p[1] - oy) || 1;
      zoom(far([e.clientX, e.clientY]) / far(before), ox - r.left, oy - r.top);
    } else move(e.clientX - before[0], e.clientY - before[1]);
    moved += Math.abs(e.clientX - before[0]) + Math.abs(e.clientY - before[1]);
    pointers.set(e.pointerId, [e.clientX, e.clientY]);
  });
  for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, e => pointers.delete(e.pointerId));
  return { zoom, move, all, bring, dragged: () => moved > 6,
    spot: i => { const p = picture.place(i); return [x + p.x * scale, y + p.y * scale]; },
    view: () => ({ x, y, scale }) };
}
