// One export: options, preview, start, progress, cancel, what became of each picture.
// All text from outside goes through textContent; nothing is ever put together as HTML.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const PHASES = { new: "Not started", running: "Running", done: "Done", cancelled: "Cancelled", failed: "Stopped" };

// The page of JupyterLab that shows a folder below the notebook's own; elsewhere there is none.
function addressOf(below) {
  const found = location.pathname.match(/^(.*\/lab)(?:\/workspaces\/[^/]+)?\/tree\/(.*)$/);
  if (!below || !found) return null;
  const beside = found[2].split("/").slice(0, -1);
  return [found[1], "tree", ...beside, ...below.split("/").map(encodeURIComponent)].join("/");
}

function controlOf(field) {
  if (field.kind === "choice") {
    const select = make("select", { name: field.name });
    for (const one of field.choices) select.append(make("option", { value: one, text: one, selected: one === field.value }));
    return select;
  }
  if (field.kind === "switch") return make("input", { type: "checkbox", name: field.name, checked: field.value });
  return make("input", { type: field.kind, step: field.kind === "number" ? "any" : null, name: field.name, value: String(field.value) });
}

function valueOf(field, control) {
  if (field.kind === "switch") return control.checked;
  if (field.kind !== "number") return control.value;
  return control.value === "" ? null : Number(control.value);
}

function render({ model, el }) {
  const waiting = new Map();
  let number = 0;
  const ask = (what, values) => new Promise((resolve, reject) => {
    waiting.set(++number, { resolve, reject });
    model.send({ number, what, values });
  });
  const heard = (answer) => {
    const { resolve, reject } = waiting.get(answer.number) ?? {};
    waiting.delete(answer.number);
    if (answer.error) reject?.(new Error(answer.error)); else resolve?.(answer.value);
  };

  const form = make("form", { class: "cep-form" });
  for (const field of model.get("form")) {
    form.append(make("label", { title: field.help }, make("span", { text: field.label }), controlOf(field)));
  }
  const options = () => Object.fromEntries(
    model.get("form").map((field) => [field.name, valueOf(field, form.elements[field.name])]));

  const start = make("button", { type: "submit", class: "cep-main", text: "Start" });
  const cancel = make("button", { type: "button", text: "Cancel", onclick: () => answer(ask("cancel")) });
  const preview = make("button", { type: "button", text: "Preview", onclick: () => answer(ask("preview", options()), shown) });
  const said = make("p", { role: "status" });
  const bar = make("progress", { "aria-label": "Pictures", max: 1, value: 0 });
  const picture = make("figure");
  const rows = make("tbody");
  const table = make("table", {},
    make("thead", {}, make("tr", {}, ...["picture", "state", "why"].map((text) => make("th", { text })))), rows);
  const folder = make("p", { class: "cep-folder" });

  function answer(promise, then = () => {}) {
    said.classList.remove("cep-bad");
    promise.then(then, (error) => { said.textContent = error.message; said.classList.add("cep-bad"); });
  }
  function shown(data) {
    picture.replaceChildren(make("img", { alt: "Preview of the first picture", src: `data:image/png;base64,${data}` }));
  }
  function draw() {
    const { phase, done, total, states, error } = model.get("progress");
    const running = phase === "running";
    bar.max = Math.max(total, 1); bar.value = done;
    start.disabled = running; cancel.disabled = !running;
    const parts = Object.entries(states).map(([state, count]) => `${count} ${state}`);
    said.classList.toggle("cep-bad", phase === "failed");
    said.textContent = [`${PHASES[phase]}${total ? `: ${done} of ${total}` : ""}`, ...parts, error].filter(Boolean).join(" · ");
    rows.replaceChildren(...model.get("log").map((one) => make("tr", { class: `cep-${one.state}` },
      make("td", { text: one.file }), make("td", { text: one.state }), make("td", { text: one.error }))));
    const { path, below } = model.get("folder"), address = addressOf(below);
    folder.replaceChildren(address
      ? make("a", { href: address, target: "_blank", rel: "noopener", text: `Open ${below}` })
      : make("span", { text: path }));
  }

  form.append(make("p", { class: "cep-actions" }, start, cancel, preview));
  form.addEventListener("submit", (event) => { event.preventDefault(); answer(ask("start", options())); });
  el.append(make("div", { class: "cep" }, form, make("div", { class: "cep-job" }, said, bar, folder, picture, make("div", { class: "cep-log" }, table))));
  model.on("msg:custom", heard);
  model.on("change:progress", draw);
  draw();
  return () => { model.off("msg:custom", heard); model.off("change:progress", draw); };
}

export default { render };
