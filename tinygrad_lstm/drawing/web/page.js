// The page put together: search, folding, selection, keys, themes.

const data = JSON.parse(document.getElementById("scene").textContent);
const scene = readScene(data);
const byId = id => document.getElementById(id);
const svg = byId("picture"), world = byId("world"), dark = matchMedia("(prefers-color-scheme: dark)");
const picture = data.drawings ? drawnBefore(scene, world, data.drawings) : laidOut(scene, world);
const view = viewer(svg, world, picture);
let chosen = null, hits = [], hit = -1;

const about = panel(scene, byId("about"), i => choose(i, true), toggle);
const passes = player(scene, picture, { root: document.body, slider: byId("slider"), says: byId("says"), button: byId("play") }, i => {
  view.bring(i);
  if (!byId("about").hidden) choose(i);
});

// ------------------------------------------------------------------------------------------------- selection
function mark() {
  svg.querySelectorAll(".chosen, .near, .hit, .touched").forEach(e => e.classList.remove("chosen", "near", "hit", "touched"));
  const found = new Set(hits);
  if (found.size) for (const i of picture.shown())
    if (found.has(i) || (scene.isGroup(i) && scene.inside(i).some(k => found.has(k)))) picture.element(i).classList.add("hit");
  if (chosen === null) return;
  const at = visible(chosen);
  picture.element(at)?.classList.add("chosen");
  for (const e of picture.wires((a, b) => a === at || b === at)) e.classList.add("touched");
}
function visible(i) { // the item, or the folded group it is in
  const closed = scene.path(i).find(g => !scene.open(g));
  return closed === undefined ? i : closed;
}
function reveal(i) {
  const closed = scene.path(i).filter(g => !scene.open(g));
  if (!closed.length) return;
  closed.forEach(g => scene.setOpen(g, true));
  redraw();
}
function choose(i, bring = false) {
  chosen = i;
  if (i === null) { about.hide(); mark(); return; }
  if (bring) reveal(i);
  about.show(i);
  mark();
  if (bring) view.bring(i);
}
function next(by) {
  const all = picture.shown().sort((a, b) => scene.order(a) - scene.order(b));
  const at = chosen === null ? (by > 0 ? -1 : 0) : all.indexOf(visible(chosen));
  choose(all[(at + by + all.length) % all.length], true);
}

// --------------------------------------------------------------------------------------------------- folding
function redraw() { picture.draw(); passes.changed(); mark(); }
function toggle(i) { // what was touched stays where it was
  if (!scene.canOpen(i)) return;
  const before = picture.place(i) ? view.spot(i) : null;
  scene.setOpen(i, !scene.open(i));
  redraw();
  if (before && picture.place(i)) { const after = view.spot(i); view.move(before[0] - after[0], before[1] - after[1]); }
  if (chosen !== null && !byId("about").hidden) about.show(chosen);
}
function foldAll(open) {
  scene.groups().filter(scene.canOpen).forEach(g => scene.setOpen(g, open));
  redraw(); view.all();
}
function foldAround() {
  if (chosen === null) return;
  const group = scene.isGroup(chosen) ? chosen : scene.path(chosen).at(-1);
  if (group === undefined) return;
  toggle(group);
  choose(group);
}

// ---------------------------------------------------------------------------------------------------- search
const words = i => [scene.name(i), scene.label(i), scene.shape(i), scene.dtype(i), scene.kind(i)].join(" ").toLowerCase();
function search() {
  const text = byId("search").value.trim().toLowerCase();
  hits = []; hit = -1;
  const every = text ? Array.from({ length: scene.total }, (_, i) => i) : [];
  hits = every.filter(i => scene.name(i).toLowerCase() === text);  // "f" is the gate, not every float32
  if (!hits.length) hits = every.filter(i => words(i).includes(text));
  hits.sort((a, b) => scene.order(a) - scene.order(b));
  byId("found").textContent = text ? `${hits.length} found` : "";
  mark();
}
function nextHit(by) {
  if (!hits.length) return;
  hit = (hit + by + hits.length) % hits.length;
  choose(hits[hit], true);
  byId("found").textContent = `${hit + 1} / ${hits.length}`;
}

// ---------------------------------------------------------------------------------------------------- themes
function theme(to) {
  document.documentElement.dataset.theme = to;
  const night = to === "dark" || (to === "auto" && dark.matches);
  document.documentElement.classList.toggle("dark", night);
  picture.theme(night); passes.changed(); mark();
  if (chosen !== null && !byId("about").hidden) about.show(chosen);
  byId("theme").textContent = night ? "dark" : "light";
  byId("theme").setAttribute("aria-label", `theme: ${to}`);
}
const turnTheme = () => theme({ auto: dark.matches ? "light" : "dark", light: "dark", dark: "light" }[document.documentElement.dataset.theme]);
dark.addEventListener("change", () => theme(document.documentElement.dataset.theme));

// ------------------------------------------------------------------------------------------ mouse, keys, buttons
svg.addEventListener("click", e => {
  if (view.dragged()) return;
  const fold = picture.fold(e.target), item = picture.item(e.target);
  if (fold !== null) toggle(fold);
  else if (item !== null && !scene.open(item)) choose(item);
  else choose(null);
});
const KEYS = {
  ArrowLeft: () => view.move(60, 0), ArrowRight: () => view.move(-60, 0),
  ArrowUp: () => view.move(0, 60), ArrowDown: () => view.move(0, -60),
  "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(.8), 0: () => view.all(),
  "/": () => byId("search").select(), n: () => next(1), p: () => next(-1),
  f: foldAround, Enter: foldAround, u: () => foldAll(true), c: () => foldAll(false),
  " ": () => passes.play(), ".": () => passes.step(1), ",": () => passes.step(-1), b: () => turn(),
  s: () => faster(), t: turnTheme, "?": () => byId("help").showModal(),
  Escape: () => { if (passes.state().at !== null) passes.leave(); else choose(null); },
};
const PLAYING = new Set([" ", ".", ",", "b", "s"]); // nothing runs through a module by itself
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || byId("help").open) return;
  const typing = e.target.matches("input[type=search]");
  if (typing && e.key === "Enter") { e.preventDefault(); nextHit(e.shiftKey ? -1 : 1); return; }
  if (typing && e.key === "Escape") { e.target.value = ""; search(); svg.focus(); return; }
  if (typing || (e.target.matches("button, input, select") && [" ", "Enter", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(e.key))) return;
  const act = data.still && PLAYING.has(e.key) ? null : KEYS[e.key];
  if (act) { e.preventDefault(); act(); }
});
const turn = () => { byId("turn").textContent = passes.turn(); };
const faster = () => { byId("speed").textContent = `${passes.faster()}×`; };
byId("search").addEventListener("input", search);
byId("slider").addEventListener("input", e => passes.go(+e.target.value));
for (const [id, act] of Object.entries({
  out: () => view.zoom(.8), all: () => view.all(), in: () => view.zoom(1.25), unfold: () => foldAll(true),
  fold: () => foldAll(false), theme: turnTheme, ask: () => byId("help").showModal(), play: () => passes.play(),
  forth: () => passes.step(1), back: () => passes.step(-1), stop: () => passes.leave(), turn, speed: faster,
})) byId(id).addEventListener("click", act);

if (!picture.folds || !scene.groups().some(scene.canOpen)) byId("folding").hidden = true;
if (data.still) byId("passes").hidden = true;
picture.draw();
theme(document.documentElement.dataset.theme);
view.all(.35);
passes.leave();
