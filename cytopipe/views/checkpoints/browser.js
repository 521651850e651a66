// The history of a heat map as a graph that a person can search, read, compare, reload and branch.
//
// The same module draws the page in one file and the notebook's widget. It knows a *source*:
//   nodes      what is known of each checkpoint without its matrix (see data.py, `nodes_of`)
//   detail(id), compare(a, b)   promises of what is shown beside the graph
//   act        in a notebook: { load(id), branch(id, choices), save(choices) }; absent on a page
// All text from outside goes through textContent; nothing is ever put together as HTML.

const WIDTH = 214, HEIGHT = 88, GAP_X = 46, GAP_Y = 18, MARGIN = 14;

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// ------------------------------------------------------------------ where each checkpoint stands

// Columns follow the longest way from a root; a first child goes on in its parent's row, others open rows.
export function layout(nodes) {
  const known = new Map(nodes.map((node) => [node.id, node]));
  const parentsOf = (node) => node.parents.filter((id) => known.has(id));
  const children = new Map(nodes.map((node) => [node.id, []]));
  const waiting = new Map();
  for (const node of nodes) {
    waiting.set(node.id, parentsOf(node).length);
    for (const id of parentsOf(node)) children.get(id).push(node.id);
  }
  const places = new Map(), lastColumn = [], claimed = new Set();
  const ready = nodes.filter((node) => waiting.get(node.id) === 0).map((node) => node.id);
  while (ready.length) {
    const id = ready.shift(), above = parentsOf(known.get(id)).map((one) => places.get(one));
    const column = above.length ? Math.max(...above.map((one) => one.column)) + 1 : 0;
    const heir = parentsOf(known.get(id))[0];
    let row = heir !== undefined && !claimed.has(heir) ? places.get(heir).row : -1;
    if (heir !== undefined) claimed.add(heir);
    const start = above.length ? Math.min(...above.map((one) => one.column)) : 0;
    if (row < 0 || lastColumn[row] >= column) {
      row = lastColumn.findIndex((last) => last < start);
      if (row < 0) row = lastColumn.length;
    }
    lastColumn[row] = Math.max(column, lastColumn[row] ?? -1);
    places.set(id, { column, row });
    for (const child of children.get(id)) {
      waiting.set(child, waiting.get(child) - 1);
      if (waiting.get(child) === 0) ready.push(child);
    }
  }
  return places;
}

// ------------------------------------------------------------------ heat maps

// z-scores arrive as one byte each, 0 to 255, with a palette of 256 colours.
function paint(canvas, map, palette) {
  const bytes = Uint8Array.from(atob(map.z), (one) => one.charCodeAt(0));
  canvas.width = map.columns; canvas.height = map.rows;
  const image = new ImageData(map.columns, map.rows);
  bytes.forEach((value, at) => image.data.set([...palette[value], 255], at * 4));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function heatMap(map, palette) {
  const cell = Math.max(5, Math.min(18, Math.floor(360 / map.rows)));
  const canvas = make("canvas", { role: "img", "aria-label": `${map.rows} rows by ${map.columns} columns of z-scores` });
  paint(canvas, map, palette);
  canvas.style.height = `${map.rows * cell}px`;
  canvas.style.width = `${map.columns * 20}px`;
  const said = make("output", { class: "ccb-soft" });
  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.min(map.rows - 1, Math.floor((event.clientY - box.top) / box.height * map.rows));
    const column = Math.min(map.columns - 1, Math.floor((event.clientX - box.left) / box.width * map.columns));
    said.textContent = `${map.row_names[row]} · ${map.column_names[column]}`;
  });
  const bars = make("div", { class: "ccb-bars" });
  if (map.row_colours) for (const colour of map.row_colours) {
    const one = make("span"); one.style.background = colour; one.style.height = `${cell}px`; bars.append(one);
  }
  const names = make("div", { class: "ccb-names" });
  for (const name of map.column_names) names.append(make("span", { text: name, title: name }));
  return make("figure", { class: "ccb-map" }, make("div", { class: "ccb-row" }, bars, canvas), names, said);
}

// ------------------------------------------------------------------ tables, as data.py gives them

function cellOf(value) {
  if (value === null || typeof value !== "object") return make("td", { text: value ?? "" });
  const cell = make("td", { class: value.mark ? `ccb-${value.mark}` : null });
  if (value.colour) {
    const swatch = make("span", { class: "ccb-swatch" });
    swatch.style.background = value.colour; cell.append(swatch);
  }
  cell.append(document.createTextNode(value.text));
  return cell;
}

function sectionOf(section, palette) {
  const box = make("section", {}, make("h3", { text: section.title }));
  if (section.note) box.append(make("p", { class: "ccb-soft", text: section.note }));
  if (section.map) box.append(heatMap(section.map, palette));
  if (section.rows?.length) {
    const table = make("table");
    if (section.columns) table.append(make("thead", {}, make("tr", {}, ...section.columns.map((one) => make("th", { text: one })))));
    table.append(make("tbody", {}, ...section.rows.map((row) => make("tr", {}, ...row.map(cellOf)))));
    box.append(make("div", { class: "ccb-scroll" }, table));
  }
  return box;
}

// ------------------------------------------------------------------ the browser

export function mount(root, source) {
  root.classList.add("ccb");
  let chosen = null, other = null, asked = 0;
  const search = make("input", { type: "search", placeholder: "Search steps, words, channels, subsets", "aria-label": "Search checkpoints" });
  const count = make("span", { class: "ccb-soft", role: "status" });
  const graph = make("div", { class: "ccb-graph" });
  const panel = make("div", { class: "ccb-panel", "aria-live": "polite" });
  const bar = make("div", { class: "ccb-bar" }, search, count);
  if (source.act) bar.append(make("button", { text: "Save a checkpoint …", onclick: () => show(saveForm()) }));
  root.replaceChildren(bar, make("div", { class: "ccb-body" }, graph, panel));

  const cards = new Map();
  const fits = (node, words) => words.every((word) => node.words.includes(word));

  function draw() {
    const places = layout(source.nodes);
    const x = (place) => MARGIN + place.column * (WIDTH + GAP_X), y = (place) => MARGIN + place.row * (HEIGHT + GAP_Y);
    const all = [...places.values()];
    const width = Math.max(0, ...all.map(x)) + WIDTH + MARGIN, height = Math.max(0, ...all.map(y)) + HEIGHT + MARGIN;
    const edges = make("svg", { width, height, "aria-hidden": "true" });
    cards.clear();
    const inner = make("div"); inner.style.width = `${width}px`; inner.style.height = `${height}px`;
    inner.append(edges);
    for (const node of source.nodes) {
      const at = places.get(node.id);
      for (const id of node.parents.filter((one) => places.has(one))) {
        const from = places.get(id), x1 = x(from) + WIDTH, y1 = y(from) + HEIGHT / 2, x2 = x(at), y2 = y(at) + HEIGHT / 2;
        edges.append(make("path", { d: `M${x1},${y1} C${x1 + GAP_X / 2},${y1} ${x2 - GAP_X / 2},${y2} ${x2},${y2}` }));
      }
      const card = make("button", {
        class: "ccb-card", title: "Click: details. Shift-click: compare with the one chosen.",
        onclick: (event) => choose(node.id, event.shiftKey),
      }, make("b", { text: node.step }), make("span", { text: node.branch }), make("span", { class: "ccb-soft", text: node.said }));
      const badges = make("span", { class: "ccb-badges" });
      for (const badge of node.badges) badges.append(make("i", { text: badge.text, title: badge.title, class: badge.mark ? `ccb-${badge.mark}` : null }));
      card.append(badges);
      if (node.thumbnail) { const small = make("canvas", { "aria-hidden": "true" }); paint(small, node.thumbnail, source.palette); card.prepend(small); }
      card.style.left = `${x(at)}px`; card.style.top = `${y(at)}px`; card.style.width = `${WIDTH}px`; card.style.height = `${HEIGHT}px`;
      card.dataset.id = node.id;
      cards.set(node.id, card); inner.append(card);
    }
    graph.replaceChildren(inner);
    find();
    mark();
  }

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const node of source.nodes) {
      const fit = fits(node, words);
      found += fit; cards.get(node.id).classList.toggle("ccb-pale", !fit);
    }
    const total = source.nodes.length;
    count.textContent = words.length ? `${found} of ${total}` : `${total} checkpoint${total === 1 ? "" : "s"}`;
  }
  search.addEventListener("input", find);

  function mark() {
    cards.get(chosen)?.scrollIntoView({ block: "nearest", inline: "nearest" });
    for (const [id, card] of cards) {
      card.setAttribute("aria-pressed", id === chosen || id === other);
      card.classList.toggle("ccb-loaded", id === source.loaded);
    }
  }

  const show = (...content) => panel.replaceChildren(...content);
  const nodeOf = (id) => source.nodes.find((node) => node.id === id);

  async function answer(promise, fill) {
    const mine = ++asked;
    show(make("p", { class: "ccb-soft", text: "Reading …" }));
    try { const value = await promise; if (mine === asked) fill(value); }
    catch (error) { if (mine === asked) show(make("p", { class: "ccb-removed", role: "alert", text: error.message })); }
  }

  function choose(id, compared = false) {
    if (compared && chosen && chosen !== id) return compare(chosen, id);
    chosen = id; other = null; mark();
    answer(source.detail(id), (detail) => {
      const node = nodeOf(id), choice = make("select", { "aria-label": "Compare with" }, make("option", { value: "", text: "Compare with …" }));
      for (const one of source.nodes) if (one.id !== id) choice.append(make("option", { value: one.id, text: `${one.title} · ${one.said}` }));
      choice.addEventListener("change", () => choice.value && compare(id, choice.value));
      const actions = make("p", { class: "ccb-actions" }, choice);
      if (source.act) actions.append(
        make("button", { text: "Reload", onclick: () => answer(source.act.load(id), told) }),
        make("button", { text: "Branch from here …", onclick: () => show(branchForm(node)) }));
      show(make("h2", { text: node.title }), make("p", { text: node.said }), actions, ...detail.map((one) => sectionOf(one, source.palette)));
    });
  }

  function compare(a, b) {
    chosen = a; other = b; mark();
    answer(source.compare(a, b), (found) => show(
      make("h2", { text: `${nodeOf(a).title} → ${nodeOf(b).title}` }),
      make("p", { class: "ccb-actions" },
        make("button", { text: "Other way round", onclick: () => compare(b, a) }),
        make("button", { text: "Back", onclick: () => choose(a) })),
      ...found.map((one) => sectionOf(one, source.palette))));
  }

  function told(words) { mark(); show(make("p", { role: "status", text: words })); }

  // -------------------------------------------------------------- forms of a notebook

  function form(title, fields, button, act) {
    const box = make("form", { class: "ccb-form" }, make("h2", { text: title }));
    for (const field of fields) {
      const control = field.options
        ? make("select", { name: field.name, multiple: field.many, size: field.many ? 6 : null })
        : field.lines ? make("textarea", { name: field.name, rows: field.lines, spellcheck: "false" })
        : make("input", { name: field.name, type: field.type ?? "text", value: field.value ?? "", list: field.list ? `${field.name}-list` : null });
      if (field.type === "checkbox") control.checked = field.value;
      if (field.lines) control.value = field.value ?? "";
      for (const option of field.options ?? []) control.append(make("option", { value: option, text: option, selected: field.value === option }));
      const label = make("label", {}, make("span", { text: field.label }));
      if (field.many) {
        const filter = make("input", { type: "search", placeholder: "Search columns", "aria-label": `Search ${field.label}` });
        filter.addEventListener("input", () => {
          for (const option of control.options) option.hidden = !option.value.toLowerCase().includes(filter.value.toLowerCase());
        });
        label.append(filter);
      }
      label.append(control);
      if (field.list) label.append(make("datalist", { id: `${field.name}-list` }, ...field.list.map((one) => make("option", { value: one }))));
      if (field.help) label.append(make("small", { class: "ccb-soft", text: field.help }));
      box.append(label);
    }
    box.append(make("p", { class: "ccb-actions" },
      make("button", { type: "submit", text: button }), make("button", { type: "button", text: "Cancel", onclick: () => chosen ? choose(chosen) : show() })));
    box.addEventListener("submit", (event) => {
      event.preventDefault();
      const values = {};
      for (const field of fields) {
        const control = box.elements[field.name];
        values[field.name] = field.many ? [...control.selectedOptions].map((one) => one.value)
          : field.type === "checkbox" ? control.checked : control.value;
      }
      answer(act(values), told);
    });
    return box;
  }

  const saveForm = () => form("Save a checkpoint", source.forms.save, "Save", source.act.save);
  const branchForm = (node) => form(`Branch from ${node.title}`, source.forms.branch, "Branch", (values) => source.act.branch(node.id, values));

  draw();
  if (source.nodes.length) choose(source.loaded || source.nodes[source.nodes.length - 1].id);
  else show(make("p", { text: "There is no checkpoint yet." }));
  return { draw, choose };
}

// ------------------------------------------------------------------ a page in one file

export function page(root, data) {
  const key = (a, b) => `${a} ${b}`;
  return mount(root, {
    ...data,
    detail: async (id) => data.details[id],
    compare: async (a, b) => {
      const found = data.comparisons[key(a, b)];
      if (found) return found;
      const files = [a, b].map((id) => data.nodes.find((node) => node.id === id).file);
      throw new Error(`This page does not hold this comparison. Run: cytopipe heatmap diff ${files.join(" ")}`);
    },
  });
}

// ------------------------------------------------------------------ a notebook's widget (anywidget)

function render({ model, el }) {
  const waiting = new Map();
  let number = 0;
  const ask = (what, more) => new Promise((resolve, reject) => {
    waiting.set(++number, { resolve, reject });
    model.send({ number, what, ...more });
  });
  model.on("msg:custom", (answer) => {
    const { resolve, reject } = waiting.get(answer.number) ?? {};
    waiting.delete(answer.number);
    if (answer.error) reject?.(new Error(answer.error)); else resolve?.(answer.value);
  });
  const source = {
    get nodes() { return model.get("nodes"); },
    get loaded() { return model.get("loaded"); },
    get palette() { return model.get("palette"); },
    get forms() { return model.get("forms"); },
    detail: (id) => ask("detail", { id }),
    compare: (a, b) => ask("compare", { a, b }),
    act: {
      load: (id) => ask("load", { id }),
      branch: (id, values) => ask("branch", { id, values }),
      save: (values) => ask("save", { values }),
    },
  };
  const box = document.createElement("div");
  el.append(box);
  const shown = mount(box, source);
  model.on("change:nodes", shown.draw);
  model.on("change:loaded", shown.draw);
}

export default { render };
