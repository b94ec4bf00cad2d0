// What is known of one item: how it is computed, what it holds, where it is used.

function html(tag, facts = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [k, v] of Object.entries(facts)) k.startsWith("on") ? made.addEventListener(k.slice(2), v) : made.setAttribute(k, v);
  made.append(...inside);
  return made;
}

function panel(scene, place, choose, fold) {
  const link = i => html("button", { class: "link", onclick: () => choose(i) }, scene.name(i));

  function formula(i) {
    const line = html("p", { class: "formula" });
    if (scene.equation(i)) { line.innerHTML = scene.equation(i); return line; } // escaped where it was made
    if (!scene.form(i)) return null;
    line.append(`${scene.name(i).replace(/ · \d+$/, "") === scene.label(i) ? "" : scene.name(i) + " = "}`);
    for (const part of scene.form(i).split(/(\{\d+\})/)) {
      const hole = /^\{(\d+)\}$/.exec(part), arg = hole && scene.args(i)[hole[1]];
      line.append(!hole ? part : arg >= 0 ? link(arg) : "…");
    }
    return line;
  }

  function array(title, packed, shape) {
    const [low, mean, high, deviation, bad, rows, columns, scale] = packed;
    const part = html("section", {}, html("h3", {}, title)), out = html("output", {}, " ");
    const facts = low === null ? [] : [["smallest", low], ["mean", mean], ["largest", high], ["deviation", deviation]];
    const table = html("dl", { class: "facts" });
    for (const [name, v] of [...facts, ...(bad ? [["not finite", bad]] : [])])
      table.append(html("div", {}, html("dt", {}, name), html("dd", {}, number(v))));
    part.append(table);
    if (rows * columns > 1) {
      const canvas = paint(packed, html("canvas", { class: "heat", tabindex: -1 }));
      const cell = Math.max(Math.min(264 / columns, 132 / rows, 24), 2);
      canvas.style.width = `${Math.min(columns * cell, 264)}px`;
      canvas.style.height = `${Math.max(rows * cell, 10)}px`;
      const numbers = entries(packed), means = scale !== null && shape.split("×").reduce((n, k) => n * k, 1) > rows * columns;
      canvas.addEventListener("pointermove", e => {
        const r = canvas.getBoundingClientRect();
        const c = Math.min(Math.floor((e.clientX - r.left) / r.width * columns), columns - 1);
        const w = Math.min(Math.floor((e.clientY - r.top) / r.height * rows), rows - 1);
        const at = rows > 1 ? `row ${w}, column ${c}` : `${c}`;
        out.textContent = `${means ? `block at ${at}: mean` : `${at}:`} ${number(numbers[w * columns + c])}`;
      });
      const most = Math.max(...numbers.map(v => Number.isFinite(v) ? Math.abs(v) : 0));
      part.append(canvas, html("p", { class: "scale" }, number(-most), html("i"), number(most)), out);
    } else part.append(html("p", { class: "one" }, number(entries(packed)[0])));
    return part;
  }

  function list(title, items) {
    if (!items.length) return [];
    const part = html("section", {}, html("h3", {}, `${title} (${items.length})`)), line = html("p", { class: "links" });
    const add = some => line.append(...some.map(link));
    add(items.slice(0, 12));
    if (items.length > 12) {
      const more = html("button", { class: "link more", onclick: () => { more.remove(); add(items.slice(12)); } }, "all");
      line.append(more);
    }
    part.append(line);
    return [part];
  }

  return {
    show(i) {
      const about = html("article"), kinds = { layer: "learned layer", pointwise: "pointwise operation",
        frame: scene.isGroup(i) ? "group" : "step", value: "value in between" };
      about.append(html("h2", { tabindex: -1 }, scene.label(i)));
      const kind = scene.kind(i), facts = [kinds[kind] || kind, scene.shape(i), scene.dtype(i)];
      about.append(html("p", { class: "kind" }, facts.filter(Boolean).join(" · ")));
      if (scene.isGroup(i)) {
        if (scene.note(i)) about.append(html("p", {}, scene.note(i)));
        if (scene.canOpen(i)) {
          about.append(html("p", {}, `${scene.inside(i).length} values`));
          about.append(html("button", { onclick: () => fold(i) }, scene.open(i) ? "fold" : "unfold"));
        }
        about.append(...list("in it", scene.canOpen(i) ? scene.children(i) : []));
      } else {
        about.append(...[formula(i)].filter(Boolean));
        if (scene.doc(i)) about.append(html("p", { class: "doc" }, scene.doc(i)));
        if (scene.value(i)) about.append(array("value", scene.value(i), scene.shape(i)));
        if (scene.gradient(i)) about.append(array("gradient", scene.gradient(i), scene.shape(i)));
        if (scene.missing(i)) about.append(html("p", { class: "doc" }, scene.missing(i)));
        about.append(...list("computed from", [...new Set(scene.args(i).filter(a => a >= 0))]));
        about.append(...list("used in", scene.readers(i)));
      }
      const up = scene.path(i).at(-1);
      if (up !== undefined) about.append(...list("part of", [up]));
      place.replaceChildren(html("button", { class: "close", "aria-label": "close", onclick: () => choose(null) }, "×"), about);
      place.hidden = false;
    },
    hide() { place.hidden = true; place.replaceChildren(); },
  };
}
