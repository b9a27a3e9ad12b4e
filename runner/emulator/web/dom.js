// Elements, and how a new picture of a view is laid over the one that is shown.
// Everything that runs wrote reaches the document as text or as the value of an attribute, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const element = (name, attributes, ...children) => built(document.createElement(name), attributes, children);
export const drawn = (name, attributes, ...children) =>
  built(document.createElementNS(SVG, name), attributes, children);

// Handlers are properties, not listeners, so that `draw` can hand them to the element that stays.
function built(made, attributes = {}, children = []) {
  made.handlers = [];
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      made[key] = value;
      made.handlers.push(key);
    } else if (key !== "value" && key !== "checked" && value !== null && value !== undefined && value !== false) {
      made.setAttribute(key, value === true ? "" : value);
    }
  }
  made.append(...nodesOf(children));
  for (const key of ["value", "checked"]) if (key in attributes) made[key] = attributes[key];
  return made;
}

const nodesOf = (children) => children.flat().filter((child) => child !== null && child !== undefined).map(
  (child) => child instanceof Node ? child : document.createTextNode(String(child)));
const keyOf = (node) => node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;

// Makes the children of `place` look like `nodes`. What is there already stays the same element, so that focus,
// selection, scroll position and whatever the reader has opened stay too. `data-key` says which row is which.
export function draw(place, ...nodes) {
  const wanted = nodesOf(nodes);
  const keys = new Set(wanted.map(keyOf));
  for (const child of [...place.children]) if (keyOf(child) !== null && !keys.has(keyOf(child))) child.remove();
  const keyed = new Map([...place.children].map((child) => [keyOf(child), child]));
  let at = place.firstChild;
  for (const node of wanted) {
    const key = keyOf(node);
    const match = key === null ? (at && keyOf(at) === null ? at : null) : keyed.get(key);
    if (!match) {
      place.insertBefore(node, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else place.insertBefore(match, at);
    overlay(match, node);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function overlay(old, next) {
  if (old.nodeName !== next.nodeName) return old.replaceWith(next);
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const key of next.handlers || []) old[key] = next[key];
  if (next.hasAttribute("data-own")) return;  // filled by somebody else
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);  // the reader has opened it
  }
  draw(old, ...next.childNodes);
  if ((old.nodeName === "INPUT" || old.nodeName === "SELECT") && old.value !== next.value) old.value = next.value;
  if (old.nodeName === "INPUT" && old.checked !== next.checked) old.checked = next.checked;
}

export const quiet = (...content) => element("p", { class: "quiet" }, ...content);
export const heading = (text) => element("h2", { "data-key": `heading ${text}` }, text);
export const cell = (content, number = false) => element("td", number ? { class: "number" } : {}, content ?? "");

// `rows`: [key, cells].
export function table(label, head, rows) {
  if (!rows.length) return quiet("none yet");
  const names = head.map((name) => element("th", { scope: "col" }, name));
  // Keyboards reach what scrolls sideways only where it takes the focus.
  return element("div", { class: "table", tabindex: 0, role: "region", "aria-label": label }, element("table", {},
    element("thead", {}, element("tr", {}, names)),
    element("tbody", {}, rows.map(([key, cells]) => element("tr", { "data-key": key }, cells)))));
}

export const short = (value) => typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value);
export const pairs = (values) => Object.entries(values || {}).map(([key, value]) => `${key}=${value}`).join("  ");

export function time(text, options = { dateStyle: "medium", timeStyle: "medium" }) {
  if (!text) return "";
  const at = new Date(text);
  if (Number.isNaN(at.valueOf())) return text;
  return element("time", { datetime: at.toISOString(), title: at.toISOString() }, at.toLocaleString([], options));
}

export function span(from, to) {
  const seconds = Math.max(0, Math.round(((to ? new Date(to) : new Date()) - new Date(from)) / 1000));
  if (Number.isNaN(seconds)) return "";
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts[0] ? `${parts[0]} h ${parts[1]} min` : parts[1] ? `${parts[1]} min ${parts[2]} s` : `${parts[2]} s`;
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

export async function fetched(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(30000) });
  if (!answer.ok) throw new Error(answer.status === 404 ? "it is not there" : `the emulator answers ${answer.status}`);
  return answer;
}

export const read = async (path) => (await fetched(path)).json();
export const runPath = (id) => `data/runs/${encodeURIComponent(id)}`;
export const filePath = (id, path, more) => `${runPath(id)}/file?${new URLSearchParams({ path, ...more })}`;
