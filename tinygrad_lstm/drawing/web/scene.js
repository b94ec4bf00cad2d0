// The data of the page, as functions of an item's number: values first, then groups.

function readScene(data) {
  const { values, groups, parents, texts } = data, count = values.head.length;
  const text = (column, i) => values[column]?.[i] == null ? "" : texts[values[column][i]];
  const isGroup = i => i >= count;
  const group = i => groups[i - count];
  const open = groups.map(g => g.open);

  // A value left out (-2 - k) is read from the group that stands for what is left out of loop k.
  const gone = new Map(groups.flatMap((g, k) => g.gone === undefined ? [] : [[-2 - g.gone, count + k]]));
  const edges = (data.edges || []).map(e => [...e]);
  values.args.forEach((args, i) => new Set(args).forEach(a => {
    if (a >= 0 || gone.has(a)) edges.push([a >= 0 ? a : gone.get(a), i]);
  }));
  groups.forEach((g, k) => { if (g.after !== undefined) edges.push([g.after, count + k]); });

  const readers = values.head.map(() => []), children = new Map();
  for (const [a, b] of edges) readers[a]?.push(b);
  parents.forEach((p, i) => { if (!children.has(p)) children.set(p, []); children.get(p).push(i); });
  const last = new Map(); // a group's place in the order of computation is that of its last value
  parents.forEach((_, i) => { for (let p = parents[i]; p >= 0 && !isGroup(i); p = parents[p]) last.set(p, i); });
  const order = i => isGroup(i) ? (last.get(i) ?? (group(i).after === undefined ? i : order(group(i).after) + .5)) : i;

  const anyGradient = (values.gradient || []).some(Boolean);

  return {
    // why a value that gradients flow through shows none
    missing: i => isGroup(i) || !values.gradient || !values.tracked[i] || values.gradient[i] ? ""
      : anyGradient ? "gradient not kept: backward(retain_grads=True) keeps it" : "no gradient yet: call backward()",
    count, total: parents.length, edges, roots: data.roots || [], isGroup, order, readers: i => readers[i] || [],
    parent: i => parents[i],
    children: g => (children.get(g) || []).slice().sort((a, b) => order(a) - order(b)),
    inside(g) { // every value in a group
      const found = [], waiting = [g];
      while (waiting.length) for (const i of children.get(waiting.pop()) || []) (isGroup(i) ? waiting : found).push(i);
      return found;
    },
    open: i => isGroup(i) && open[i - count] && !group(i).gone && children.has(i),
    setOpen(i, yes) { open[i - count] = yes; },
    groups: () => groups.map((_, k) => count + k),
    canOpen: i => isGroup(i) && group(i).gone === undefined && children.has(i),
    label: i => isGroup(i) ? group(i).label : text("head", i),
    note: i => isGroup(i) ? group(i).note || "" : "",
    name: i => text("name", i) || (isGroup(i) ? group(i).label : `${text("head", i)} · ${i}`),
    called: i => text("name", i) || (isGroup(i) ? group(i).label : text("head", i)),
    kind: i => isGroup(i) ? "frame" : text("kind", i) || "value",
    form: i => text("form", i),
    equation: i => text("equation", i),
    doc: i => text("doc", i),
    shape: i => text("shape", i),
    dtype: i => text("dtype", i),
    args: i => values.args[i] || [],
    value: i => values.value?.[i] || null,
    gradient: i => values.gradient?.[i] || null,
    tracked: i => isGroup(i) || !values.tracked || values.tracked[i],
    leaf: i => !isGroup(i) && !values.args[i].length && !text("form", i),
    key: i => data.keys?.[i],
    path(i) { const way = []; for (let p = parents[i]; p >= 0; p = parents[p]) way.unshift(p); return way; },
  };
}
