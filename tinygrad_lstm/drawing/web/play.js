// The forward pass, values appearing in the order of computation, and the backward pass, gradients coming back.

const describe = says;

function player(scene, picture, parts, follow) {
  let way = "forward", at = null, timer = null, speed = 1, sequence = [];
  const { root, slider, says, button } = parts;

  function plan() {
    const all = picture.shown().sort((a, b) => scene.order(a) - scene.order(b));
    if (way === "forward") return all.filter(i => !scene.leaf(i));
    return all.filter(i => scene.tracked(i)).reverse();
  }

  function paint() {
    const playing = at !== null;
    root.classList.toggle("playing", playing);
    root.dataset.way = way;
    root.querySelectorAll(".now, .flow").forEach(e => e.classList.remove("now", "flow"));
    root.querySelectorAll(".reached").forEach(e => e.classList.remove("reached"));
    picture.show(playing && way === "backward" ? "gradient" : "value");
    slider.max = sequence.length; slider.value = at ?? 0;
    button.textContent = timer ? "❚❚" : "▶";
    button.setAttribute("aria-label", timer ? "pause" : "play");
    if (!playing) { says.textContent = way === "forward" ? "forward pass" : "backward pass"; return; }
    const reached = new Set(sequence.slice(0, at));
    for (const i of picture.shown()) if (reached.has(i) || (way === "forward" && scene.leaf(i))) picture.element(i).classList.add("reached");
    const now = sequence[at - 1];
    if (now === undefined) { says.textContent = `0 / ${sequence.length}`; return; }
    picture.element(now).classList.add("now");
    const inside = new Set([now, ...(scene.isGroup(now) ? scene.inside(now) : [])]);
    const flows = way === "forward" ? (a, b) => inside.has(b) && !inside.has(a) : (a, b) => inside.has(a) && !inside.has(b) && reachedBy(reached, b);
    for (const e of picture.wires(flows)) e.classList.add("flow");
    const packed = way === "forward" ? scene.value(now) : scene.gradient(now);
    const told = packed ? `${way === "forward" ? "" : "∂ "}${describe(packed)}` : way === "backward" && scene.missing(now) ? `(${scene.missing(now)})` : "";
    says.textContent = `${at} / ${sequence.length}  ${scene.called(now)}  ${told}`;
    follow(now);
  }
  const reachedBy = (reached, b) => reached.has(b) || scene.path(b).some(g => reached.has(g));

  function stop() { clearInterval(timer); timer = null; }
  function go(to) {
    if (at === null) sequence = plan();
    at = Math.min(Math.max(to, 0), sequence.length);
    if (timer && at === sequence.length) stop();
    paint();
  }
  function play() {
    if (timer) { stop(); paint(); return; }
    if (at === null || at >= sequence.length) go(0);
    timer = setInterval(() => go(at + 1), 800 / speed);
    go(at + 1);
  }
  function leave() { stop(); at = null; sequence = plan(); paint(); }

  return {
    play, leave,
    step: by => { stop(); go((at ?? 0) + by); },
    go: to => { stop(); go(to); },
    turn(to) { leave(); way = to ?? (way === "forward" ? "backward" : "forward"); sequence = plan(); paint(); return way; },
    faster() { speed = speed >= 8 ? .5 : speed * 2; if (timer) { clearInterval(timer); timer = setInterval(() => go(at + 1), 800 / speed); } return speed; },
    changed() { const on = at !== null, last = sequence[(at ?? 0) - 1]; sequence = plan(); // after folding
      if (on) { const k = sequence.findIndex(i => i === last || scene.path(last ?? -1).includes(i)); at = k < 0 ? Math.min(at, sequence.length) : k + 1; }
      paint(); },
    state: () => ({ way, at, of: sequence.length, playing: !!timer }),
  };
}
