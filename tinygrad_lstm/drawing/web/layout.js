// Places for items in nested groups: every open group is a layered layout of its own, left to right.
//
// Sugiyama, Tagawa & Toda 1981, inside out. A wire that crosses the rim of an open group goes through a port there, and
// past columns of boxes on lanes of its own, so that it runs through no box. Wires of one value share their way; wires
// into one reader of many values share theirs.

const GAP = { column: 44, row: 14, lane: 7, rim: 12, head: 22, many: 6 };

/**
 * items: size(i) -> [width, height] of what is closed; parent(i); open(i); children(g), -1 for the whole, in order.
 * edges: [[from, to], ...] between any items. Returns { box: Map(item -> {x, y, w, h}), wires: [{points, edges, arrow}] }.
 */
function layout({ size, parent, open, children, edges }) {
  const representative = new Map();
  function shown(i) { // the item itself, or the outermost closed group around it
    if (!representative.has(i)) {
      const up = parent(i), above = up < 0 ? -1 : shown(up);
      representative.set(i, up < 0 || (above === up && open(up)) ? i : above);
    }
    return representative.get(i);
  }
  const path = i => { const way = []; for (let p = parent(i); p >= 0; p = parent(p)) way.unshift(p); return way; };

  // Which pieces of wires each open group holds: from and to a child of it, or "in"/"out", a port of its rim.
  const sources = new Map(), targets = new Map(), unique = new Map();
  for (const [a, b] of edges) {
    const u = shown(a), v = shown(b);
    if (u === v || unique.has(u + ">" + v) || path(v).includes(u) || path(u).includes(v)) continue;
    unique.set(u + ">" + v, [u, v]);
    sources.set(v, (sources.get(v) || 0) + 1);
    targets.set(u, (targets.get(u) || 0) + 1);
  }
  const held = new Map();
  const hold = (group, piece) => {
    if (!held.has(group)) held.set(group, new Map());
    const name = [piece.from, piece.to, piece.key].join(" "), known = held.get(group).get(name);
    if (known) known.edges.push(...piece.edges); else held.get(group).set(name, piece);
  };
  for (const [u, v] of unique.values()) {
    const gathered = sources.get(v) > GAP.many && sources.get(v) >= targets.get(u);
    const key = gathered ? "to " + v : "of " + u, edges = [[u, v]];
    const from = path(u), to = path(v);
    let common = 0;
    while (common < from.length && common < to.length && from[common] === to[common]) common++;
    for (let k = common; k < from.length; k++) hold(from[k], { from: from[k + 1] ?? u, to: "out", key, edges });
    for (let k = common; k < to.length; k++) hold(to[k], { from: "in", to: to[k + 1] ?? v, key, edges });
    hold(common ? from[common - 1] : -1, { from: from[common] ?? u, to: to[common] ?? v, key, edges });
  }

  function place(group) { // -> { w, h, inside: places relative to the group, ins, outs: height of each port by key }
    const cells = new Map(), pieces = held.has(group) ? [...held.get(group).values()] : [];
    const add = (id, w, h, facts = {}) => cells.set(id, { id, w, h, next: [], previous: [], rank: 0, ...facts });
    children(group).forEach((i, order) => {
      if (open(i)) { const inner = place(i); add(i, inner.w, inner.h, { inner, order }); }
      else { const [w, h] = size(i); add(i, w, h, { order }); }
    });
    const ends = pieces.map(p => {
      const from = p.from === "in" ? "in " + p.key : p.from, to = p.to === "out" ? "out " + p.key : p.to;
      if (p.from === "in" && !cells.has(from)) add(from, 0, GAP.lane, { port: "in", order: -1 });
      if (p.to === "out" && !cells.has(to)) add(to, 0, GAP.lane, { port: "out", order: 1e9 });
      return { ...p, from, to };
    });
    rank(cells, ends);
    const links = lanes(cells, ends), columns = [];
    for (const c of cells.values()) (columns[c.rank] ??= []).push(c);
    for (let k = 0; k < columns.length; k++) columns[k] ??= [];
    order(columns, links);
    settle(columns, links);
    return finish(group, cells, columns, links);
  }

  function finish(group, cells, columns, links) {
    const outer = group >= 0, inside = [];
    let x = outer ? (columns[0]?.some(c => c.port) ? 0 : GAP.rim) : 0, top = Infinity, bottom = -Infinity;
    for (const column of columns) {
      const w = Math.max(0, ...column.map(c => c.w));
      for (const c of column) {
        c.x = c.lane ? x : x + (w - c.w) / 2;
        if (c.lane) c.w = w;
        if (c.port === "out") c.x = x + w;
        [c.left, c.right] = [c.port ? c.x : x, c.port ? c.x : x + w]; // a wire may turn beside its column only
        top = Math.min(top, c.y - c.h / 2); bottom = Math.max(bottom, c.y + c.h / 2);
      }
      x += w + GAP.column;
    }
    x -= GAP.column;
    if (!cells.size) { top = bottom = 0; x = 20; }
    const last = columns.at(-1) || [], width = x + (outer && !last.some(c => c.port) ? GAP.rim : 0);
    const shift = (outer ? GAP.rim + GAP.head : 0) - top;
    for (const c of cells.values()) {
      c.y += shift;
      if (typeof c.id === "number") inside.push(c);
    }
    const runs = new Map(); // lanes -> what runs along them
    const wires = links.map(({ from, to, key, edges }) => {
      const out = from.y + reach(from, key, "outs"), into = to.y + reach(to, key, "ins");
      const points = [[from.x + from.w, out], [from.right, out], [to.left, into], [to.x, into]];
      if (to.lane) runs.set(to, [...(runs.get(to) || []), ...edges]);
      return { points, edges, arrow: typeof to.id === "number" && !to.inner?.ins.has(key) };
    });
    for (const [lane, edges] of runs) {
      const [a, b] = [[lane.x, lane.y], [lane.x + lane.w, lane.y]];
      wires.push({ points: [a, a, b, b], edges });
    }
    const heights = kind => new Map([...cells.values()].filter(c => c.port === kind)
      .map(c => [c.id.slice(kind.length + 1), c.y]));
    const h = bottom - top + (outer ? 2 * GAP.rim + GAP.head : 0);
    return { w: Math.max(width, outer ? 110 : 0), h, inside, wires, ins: heights("in"), outs: heights("out") };
  }

  // How far below its middle a wire leaves or reaches a cell.
  function reach(c, key, side) {
    return c.inner ? (c.inner[side].get(key) ?? c.h / 2) - c.h / 2 : 0;
  }

  function rank(cells, ends) {
    const waiting = new Map([...cells.keys()].map(id => [id, 0])), readers = new Map();
    for (const { from, to } of ends) {
      waiting.set(to, waiting.get(to) + 1);
      if (!readers.has(from)) readers.set(from, []);
      readers.get(from).push(to);
    }
    const ins = [...cells.values()].some(c => c.port === "in") ? 1 : 0;
    const ready = [...cells.keys()].filter(id => !waiting.get(id));
    const done = new Set();
    for (const c of cells.values()) c.rank = c.port === "in" ? 0 : ins;
    while (done.size < cells.size) {
      if (!ready.length) ready.push([...cells.keys()].find(id => !done.has(id))); // a circle of groups: cut it
      const id = ready.pop();
      if (done.has(id)) continue;
      done.add(id);
      for (const to of readers.get(id) || []) {
        if (done.has(to)) continue;
        cells.get(to).rank = Math.max(cells.get(to).rank, cells.get(id).rank + 1);
        waiting.set(to, waiting.get(to) - 1);
        if (!waiting.get(to)) ready.push(to);
      }
    }
    const read = new Set(ends.map(e => e.to));
    for (const c of cells.values()) { // what reads nothing stands next to its first reader
      if (c.port || read.has(c.id) || !readers.has(c.id)) continue;
      c.rank = Math.max(ins, Math.min(...readers.get(c.id).map(r => cells.get(r).port ? 1e9 : cells.get(r).rank)) - 1);
      if (c.rank > 1e8) c.rank = ins;
    }
    const end = Math.max(0, ...[...cells.values()].filter(c => c.port !== "out").map(c => c.rank)) + 1;
    for (const c of cells.values()) if (c.port === "out") c.rank = end;
  }

  // Wires past columns: one lane a column for all wires of one key.
  function lanes(cells, ends) {
    const links = new Map(), lane = new Map();
    const spans = new Map();
    for (const { from, to, key } of ends) {
      const [a, b] = spans.get(key) || [Infinity, 0];
      spans.set(key, [Math.min(a, cells.get(from).rank + 1), Math.max(b, cells.get(to).rank)]);
    }
    const many = [...spans.values()].reduce((n, [a, b]) => n + Math.max(0, b - a), 0) > 20000; // then wires go straight
    const link = (from, to, key, edges) => {
      const name = from.id + "|" + to.id + "|" + key;
      if (links.has(name)) { links.get(name).edges.push(...edges); return; }
      links.set(name, { from, to, key, edges: [...edges] });
      from.next.push([to, key]); to.previous.push([from, key]);
    };
    for (const { from, to, key, edges } of ends) {
      const a = cells.get(from), b = cells.get(to);
      let before = a;
      if (!many) {
        for (let r = a.rank + 1; r < b.rank; r++) {
          const id = `lane ${r} ${key}`;
          if (!cells.has(id)) cells.set(id, { id, w: 0, h: GAP.lane, next: [], previous: [], rank: r, lane: true,
            order: a.order + .5 });
          const here = cells.get(id);
          link(before, here, key, edges);
          before = here;
        }
      }
      link(before, b, key, edges);
    }
    return [...links.values()];
  }

  // Order within columns: each cell to the mean place of its neighbours, sweeping to and fro; the best order is kept.
  function order(columns, links) {
    const count = columns.reduce((n, c) => n + c.length, 0), sweeps = count > 6000 ? 2 : count > 1500 ? 6 : 14;
    for (const column of columns) column.sort((a, b) => a.order - b.order);
    const number = () => columns.forEach(column => column.forEach((c, k) => { c.at = k + .5; c.of = column.length; }));
    number();
    let best = Infinity, kept = columns.map(c => [...c]);
    for (let s = 0; s < sweeps; s++) {
      const right = s % 2 === 0;
      for (const column of right ? columns : [...columns].reverse()) {
        for (const c of column) {
          const near = right ? c.previous : c.next;
          c.wish = near.length ? near.reduce((n, [o, key]) => n + o.at + reach(o, key, right ? "outs" : "ins")
            / (o.h + 1), 0) / near.length : c.at;
        }
        column.sort((a, b) => a.wish - b.wish || a.order - b.order);
        column.forEach((c, k) => { c.at = k + .5; });
      }
      const now = crossings(columns);
      if (now < best) { best = now; kept = columns.map(c => [...c]); }
      if (!best) break;
    }
    columns.forEach((column, k) => column.splice(0, column.length, ...kept[k]));
    number();
  }

  function crossings(columns) { // Barth, Juenger & Mutzel 2002: inversions, counted in a tree of sums
    let total = 0;
    for (const column of columns) {
      const ends = column.flatMap(c => c.next.map(([o]) => o).filter(o => o.rank === c.rank + 1).map(o => o.at)
        .sort((a, b) => a - b));
      const most = ends.length ? Math.ceil(Math.max(...ends)) : 0, tree = new Array(most + 2).fill(0);
      ends.forEach((end, k) => {
        let before = 0;
        for (let i = Math.ceil(end); i > 0; i -= i & -i) before += tree[i];
        total += k - before;
        for (let i = Math.ceil(end); i <= most; i += i & -i) tree[i]++;
      });
    }
    return total;
  }

  // Heights: every column wishes its cells level with their neighbours; those in each other's way share (isotonic
  // regression: blocks of cells that touch move to the mean of their wishes).
  function settle(columns, links) {
    for (const column of columns) {
      let y = 0;
      for (const c of column) { c.y = y + c.h / 2; y += c.h + between(c); }
      for (const c of column) c.y -= y / 2;
    }
    const rounds = columns.length > 400 ? 4 : 8;
    for (let s = 0; s < rounds; s++) {
      const right = s % 2 === 0;
      for (const column of right ? columns : [...columns].reverse()) {
        for (const c of column) {
          const near = s < rounds - 2 ? (right ? c.previous : c.next) : [...c.previous, ...c.next];
          let sum = 0, weight = 0;
          for (const [o, key] of near) {
            const before = c.previous.some(([p, k]) => p === o && k === key);
            const w = (o.lane || o.port) && (c.lane || c.port) ? 8 : o.lane || c.lane ? 2 : 1;
            sum += w * (o.y + reach(o, key, before ? "outs" : "ins") - reach(c, key, before ? "ins" : "outs"));
            weight += w;
          }
          c.wish = weight ? sum / weight : c.y;
          c.weight = Math.max(weight, .1);
        }
        spread(column);
      }
    }
  }
  const between = c => c.lane || c.port ? GAP.lane : GAP.row;

  function spread(column) {
    const blocks = [];
    let offset = 0;
    column.forEach((c, k) => {
      if (k) { const p = column[k - 1]; offset += (p.h + c.h) / 2 + Math.max(between(p), between(c)); }
      c.offset = offset;
      let block = { sum: (c.wish - offset) * c.weight, weight: c.weight, from: k };
      while (blocks.length && blocks.at(-1).sum / blocks.at(-1).weight > block.sum / block.weight) {
        const last = blocks.pop();
        block = { sum: last.sum + block.sum, weight: last.weight + block.weight, from: last.from };
      }
      blocks.push(block);
    });
    blocks.forEach((block, n) => {
      const stop = n + 1 < blocks.length ? blocks[n + 1].from : column.length;
      for (let k = block.from; k < stop; k++) column[k].y = block.sum / block.weight + column[k].offset;
    });
  }

  const box = new Map(), wires = [];
  function put(inner, dx, dy) { // groups are nested a few deep
    for (const w of inner.wires) wires.push({ ...w, points: w.points.map(([x, y]) => [x + dx, y + dy]) });
    for (const c of inner.inside) {
      const x = dx + c.x, y = dy + c.y - c.h / 2;
      box.set(c.id, { x, y, w: c.w, h: c.h });
      if (c.inner) put(c.inner, x, y);
    }
  }
  const all = place(-1);
  put(all, 0, 0);
  return { box, wires, w: all.w, h: all.h };
}
