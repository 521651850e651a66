"use strict";
const told = JSON.parse(document.getElementById("told").textContent);
const stage = document.getElementById("stage"), controls = document.getElementById("controls");

function made(kind, parent, fields = {}) {
  const one = Object.assign(document.createElement(kind), fields);
  parent.append(one);
  return one;
}

function tileAddress(field, level, top, left, channels, labels, where) {
  const query = new URLSearchParams({ tile: `${level},${top},${left}`, channels, labels: labels.join(","), ...where });
  if (field) query.set("field", field);
  return `${location.pathname}?${query}`;
}

if (told.fields) showPlate(); else showImage();

// A table of rows and columns; each field is a link with a small picture.
function showPlate() {
  stage.className = "plate";
  const wells = new Map();
  for (const field of told.fields) {
    const [row, column] = field.split("/");
    if (!wells.has(row)) wells.set(row, new Map());
    if (!wells.get(row).has(column)) wells.get(row).set(column, []);
    wells.get(row).get(column).push(field);
  }
  const order = (a, b) => a.localeCompare(b, "en", { numeric: true });
  const columns = [...new Set(told.fields.map(field => field.split("/")[1]))].sort(order);
  const table = made("table", stage), head = made("tr", table);
  made("th", head);
  for (const column of columns) made("th", head, { textContent: column });
  for (const row of [...wells.keys()].sort(order)) {
    const line = made("tr", table);
    made("th", line, { textContent: row });
    for (const column of columns) {
      const cell = made("td", line), box = made("div", cell, { className: "fields" });
      for (const field of (wells.get(row).get(column) || []).sort(order)) {
        const link = made("a", box, { href: `${location.pathname}?${new URLSearchParams({ field })}`, title: field });
        made("img", link, { loading: "lazy", alt: field, src: `${location.pathname}?${new URLSearchParams({ field, small: "1" })}` });
      }
    }
  }
  made("p", controls, { textContent: `${told.fields.length} fields`, className: "soft" });
  made("p", controls, { textContent: "Click a field to look at it.", className: "soft" });
}

// A canvas that can be dragged and zoomed; tiles come from the level that suffices.
function showImage() {
  const canvas = made("canvas", stage, { tabIndex: 0 }), context = canvas.getContext("2d");
  const [height, width] = told.levels[0], px = told.tile_px, ratio = window.devicePixelRatio || 1;
  const channels = told.channels.map((one, k) => ({ ...one, on: told.channels.length <= 6 || k < 4 }));
  const labels = new Set(), where = Object.fromEntries(Object.keys(told.sizes).map(axis => [axis, 0]));
  const kept = new Map();
  let scale = 1, x = 0, y = 0, waiting = false;

  function fit() {
    scale = Math.min(canvas.width / width, canvas.height / height);
    x = (canvas.width - width * scale) / 2;
    y = (canvas.height - height * scale) / 2;
    draw();
  }
  function resized() {
    const first = canvas.width === 300 && canvas.height === 150;
    canvas.width = stage.clientWidth * ratio;
    canvas.height = stage.clientHeight * ratio;
    if (first || !resized.done) { resized.done = true; fit(); } else draw();
  }
  function shownChannels() {
    return channels.map((one, k) => one.on ? `${k}:${one.color}:${one.start}:${one.end}` : "").filter(Boolean).join(",");
  }
  function draw() {
    if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; paint(); }); }
  }
  function paint() {
    let level = 0;
    while (level + 1 < told.levels.length && told.levels[level + 1][1] >= width * scale) level++;
    context.fillStyle = "#0d1014";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = scale < 2;
    for (const one of new Set([told.levels.length - 1, level])) paintLevel(one);
  }
  function paintLevel(level) {
    const [rows, columns] = told.levels[level], step = width / columns * scale, stepY = height / rows * scale;
    const state = `${shownChannels()}|${[...labels]}|${JSON.stringify(where)}`;
    for (let top = Math.max(0, Math.floor(-y / stepY / px) * px); top < rows && top * stepY + y < canvas.height; top += px)
      for (let left = Math.max(0, Math.floor(-x / step / px) * px); left < columns && left * step + x < canvas.width; left += px) {
        const key = `${level},${top},${left}|${state}`;
        let picture = kept.get(key);
        if (!picture) {
          picture = new Image();
          picture.onload = draw;
          picture.src = tileAddress(told.field, level, top, left, shownChannels(), [...labels], where);
          kept.set(key, picture);
          if (kept.size > 400) kept.delete(kept.keys().next().value);
        }
        if (picture.complete && picture.naturalWidth)
          context.drawImage(picture, left * step + x, top * stepY + y, picture.naturalWidth * step, picture.naturalHeight * stepY);
      }
  }
  function zoom(by, atX, atY) {
    const next = Math.min(Math.max(scale * by, 0.2 * Math.min(canvas.width / width, canvas.height / height)), 64);
    x = atX - (atX - x) * next / scale;
    y = atY - (atY - y) * next / scale;
    scale = next;
    draw();
  }

  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX * ratio, event.offsetY * ratio);
  }, { passive: false });
  canvas.addEventListener("pointerdown", event => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", event => {
    if (event.buttons) { x += event.movementX * ratio; y += event.movementY * ratio; draw(); }
  });
  canvas.addEventListener("keydown", event => {
    const by = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
    if (by) zoom(by, canvas.width / 2, canvas.height / 2); else if (event.key === "0") fit();
  });
  new ResizeObserver(resized).observe(stage);

  const size = told.pixel_size_um ? `, ${told.pixel_size_um.map(one => +one.toPrecision(4)).join(" x ")} \u00b5m a pixel` : "";
  made("p", controls, { className: "soft", textContent: `${width} x ${height} pixels${size}` });
  const buttons = made("div", controls);
  for (const [name, action] of [["Fit", fit], ["+", () => zoom(1.5, canvas.width / 2, canvas.height / 2)], ["\u2212", () => zoom(1 / 1.5, canvas.width / 2, canvas.height / 2)]])
    made("button", buttons, { textContent: name, onclick: action });
  for (const [axis, n] of Object.entries(told.sizes)) {
    made("h2", controls, { textContent: axis === "t" ? "Cycle" : "Depth" });
    const line = made("label", controls), slider = made("input", line, { type: "range", min: 0, max: n - 1, value: 0 });
    const text = made("span", line, { textContent: `1/${n}` });
    slider.oninput = () => { where[axis] = +slider.value; text.textContent = `${+slider.value + 1}/${n}`; draw(); };
  }
  if (channels.length) made("h2", controls, { textContent: "Channels" });
  for (const one of channels) {
    const line = made("label", controls), on = made("input", line, { type: "checkbox", checked: one.on });
    const color = made("input", line, { type: "color", value: `#${one.color}` });
    made("span", line, { textContent: one.name });
    on.onchange = () => { one.on = on.checked; draw(); };
    color.oninput = () => { one.color = color.value.slice(1); draw(); };
    const low = Math.min(0, one.start), high = Math.max(one.end * 2, one.start + 1), step = told.integer ? 1 : (high - low) / 1000;
    for (const end of ["start", "end"]) {
      const slider = made("input", controls, { type: "range", min: low, max: high, step, value: one[end], title: `${one.name}: ${end === "start" ? "darkest" : "brightest"} value shown` });
      slider.onchange = () => {
        one[end] = +slider.value;
        if (one.end <= one.start) one.end = one.start + step;
        draw();
      };
    }
  }
  if (told.labels.length) made("h2", controls, { textContent: "Outlines" });
  for (const name of told.labels) {
    const line = made("label", controls), on = made("input", line, { type: "checkbox" });
    made("span", line, { textContent: name });
    on.onchange = () => { on.checked ? labels.add(name) : labels.delete(name); draw(); };
  }
  made("p", controls, { className: "soft", textContent: "Drag to move, wheel or + and - to zoom, 0 to fit." });
}
