"use strict";
// Everything that runs wrote reaches the document as text (textContent), never as markup.

const VIEWS = { runs: "Runs", models: "Models", compute: "Compute" };
const PAUSE = 1500;
const FINAL = ["Completed", "Failed", "Canceled"];
const view = document.getElementById("view");
const alive = document.getElementById("alive");
let round = 0;      // of the view that is shown: what an older one still fetches is dropped
let log = null;     // the log that is open: {run, path, offset, element}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map(
    (child) => child instanceof Node ? child : document.createTextNode(String(child))));
  return made;
}

function table(head, rows) {
  if (!rows.length) return element("p", { class: "quiet" }, "none yet");
  return element("div", { class: "table" }, element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row)))));
}

const cell = (content, number = false) => element("td", number ? { class: "number" } : {}, content ?? "");
const state = (name) => element("span", { class: `state ${FINAL.includes(name) ? name : ""}` }, name);
const time = (text) => text ? new Date(text).toLocaleString() : "";
const pairs = (values) => Object.entries(values || {}).map(([key, value]) => `${key}=${value}`).join("  ");

// Of the tags that amlrun sets, a list shows what was asked for; digests and commits are on the run's own page.
function tagsInShort(tags) {
  const shown = Object.entries(tags).filter(([key]) => key !== "amlrun.overrides" && !/^(amlrun|git)\./.test(key));
  return [tags["amlrun.overrides"], pairs(Object.fromEntries(shown))].filter(Boolean).join("  ");
}

function facts(rows) {
  return element("div", { class: "table" }, element("table", {}, element("tbody", {}, ...rows.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), cell(value))))));
}

function runLink(run) {
  return element("a", { href: `#/runs/${encodeURIComponent(run.runId)}` }, run.displayName || run.runId);
}

function took(run) {
  if (!run.startTimeUtc) return "";
  const end = run.endTimeUtc ? new Date(run.endTimeUtc) : new Date();
  const seconds = Math.max(0, Math.round((end - new Date(run.startTimeUtc)) / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts[0] ? `${parts[0]} h ${parts[1]} min` : parts[1] ? `${parts[1]} min ${parts[2]} s` : `${parts[2]} s`;
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

function runsTable(runs) {
  return table(["Run", "State", "Experiment", "Created", "Took", "Compute", "Tags"], runs.map((run) => [
    element("td", { class: "name" }, runLink(run)), cell(state(run.status)), cell(run.experimentName),
    cell(time(run.createdUtc), true), cell(took(run), true), cell(run.target, true), cell(tagsInShort(run.tags)),
  ]));
}

// Values of a metric over its rows: a chart where they are numbers, else the rows themselves.
function metric(name, rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const numbers = columns.filter((column) => rows.every((row) => typeof row[column] === "number"));
  const column = numbers.includes(name) ? name : numbers[0];
  if (column === undefined || columns.length > 1 && numbers.length !== 1) {
    return element("figure", {}, element("figcaption", {}, name),
      table(columns, rows.slice(-20).map((row) => columns.map((key) => cell(JSON.stringify(row[key]))))));
  }
  const values = rows.map((row) => row[column]);
  const low = Math.min(...values), high = Math.max(...values), last = values[values.length - 1];
  const caption = element("figcaption", {}, name, element("b", {}, short(last)));
  if (values.length === 1) return element("figure", {}, caption);
  return element("figure", {}, caption, chart(values, low, high),
    element("div", { class: "axis" }, element("span", {}, `lowest ${short(low)}`),
      element("span", {}, `${values.length} values`), element("span", {}, `highest ${short(high)}`)));
}

const short = (value) => Number.isInteger(value) ? String(value) : Number(value).toPrecision(4);

function chart(values, low, high) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const label = `${values.length} values from ${short(values[0])} to ${short(values[values.length - 1])}`;
  for (const [key, value] of [["viewBox", "0 0 100 100"], ["preserveAspectRatio", "none"], ["role", "img"],
    ["aria-label", label]]) made.setAttribute(key, value);
  const span = high - low || 1;
  const place = (value, index) => `${100 * index / (values.length - 1)},${96 - 92 * (value - low) / span}`;
  const shape = document.createElementNS(made.namespaceURI, "polyline");
  shape.setAttribute("points", values.map(place).join(" "));
  made.append(shape);
  return made;
}

async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(answer.status === 404 ? "it is not there" : `the emulator answers ${answer.status}`);
  return answer;
}

const fileOf = (run, path) =>
  `data/runs/${encodeURIComponent(run)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

async function showLog() {
  const open = log;
  if (!open) return;
  const answer = await fetched(`${fileOf(open.run, open.path)}?offset=${open.offset}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (open !== log) return;
  open.offset += bytes.length;
  const atEnd = open.element.scrollTop + open.element.clientHeight >= open.element.scrollHeight - 8;
  open.element.append(open.decoder.decode(bytes, { stream: true }));
  if (atEnd) open.element.scrollTop = open.element.scrollHeight;
  if (open.offset < Number(answer.headers.get("X-Size")) && bytes.length) await showLog();
}

function openLog(run, path, place) {
  log = { run, path, offset: 0, element: element("pre", { tabindex: 0 }), decoder: new TextDecoder() };
  place.replaceChildren(log.element);
  return showLog();
}

function logTabs(run, paths) {
  const place = element("div", { id: "log" });
  const tabs = element("div", { class: "tabs", role: "tablist" });
  const choose = (path) => {
    for (const button of tabs.children) button.setAttribute("aria-selected", String(button.textContent === path));
    openLog(run, path, place).catch(lost);
  };
  tabs.append(...paths.map((path) =>
    element("button", { role: "tab", type: "button", onclick: () => choose(path) }, path)));
  const usual = paths.find((path) => path.startsWith("user_logs/") || path.includes("70_driver_log")) || paths[0];
  const first = log && log.run === run && paths.includes(log.path) ? log.path : usual;
  if (first) choose(first);
  return element("section", {}, element("h2", {}, "Logs"), paths.length ? tabs : "none yet", place);
}

function files(run, found) {
  const images = found.filter((file) => /\.(png|jpe?g|gif)$/i.test(file.path));
  return element("section", {}, element("h2", {}, "Files"),
    table(["Path", "Size"], found.map((file) => [
      cell(element("a", { href: `${fileOf(run, file.path)}?download=1`, download: "" }, file.path)),
      cell(size(file.bytes), true)])),
    element("div", { class: "charts" }, ...images.map((file) => element("figure", {},
      element("figcaption", {}, file.path), element("img", { src: fileOf(run, file.path), alt: file.path })))));
}

function program(definition) {
  if (!definition) return "";
  return definition.command || [definition.script, ...(definition.arguments || [])].join(" ");
}

function runHead(found) {
  const run = found.run, error = run.error && (run.error.error || run.error);
  const phases = element("ul", { class: "phases" }, ...(run.phases || []).map(([name, at]) =>
    element("li", {}, element("b", {}, name), " ", element("span", { class: "quiet" }, new Date(at).toLocaleTimeString()))));
  const rows = [["Experiment", run.experimentName], ["Compute", run.target], ["Took", took(run)],
    ["Program", program(run.runDefinition)], ["Tags", pairs(run.tags)], ["Properties", pairs(run.properties)]];
  return element("section", {}, element("h1", {}, run.displayName || run.runId), state(run.status), phases,
    error ? element("p", { class: "error" }, error.message || JSON.stringify(error)) : null,
    facts(rows.filter(([, value]) => value)),
    found.children.length ? element("h2", {}, "Children") : null,
    found.children.length ? runsTable(found.children) : null);
}

// A run: its head and metrics are drawn anew, its logs and files only when there are more of them.
async function showRun(id, mine) {
  const shown = { logs: "", files: "" };
  const head = element("div"), metrics = element("div"), logs = element("div"), list = element("div");
  for (;;) {
    const found = await (await fetched(`data/runs/${encodeURIComponent(id)}`)).json();
    if (mine !== round) return;
    if (!head.isConnected) view.replaceChildren(head, metrics, logs, list);
    head.replaceChildren(runHead(found));
    const names = Object.keys(found.metrics).sort();
    metrics.replaceChildren(element("h2", {}, "Metrics"), names.length
      ? element("div", { class: "charts" }, ...names.map((name) => metric(name, found.metrics[name])))
      : element("p", { class: "quiet" }, "none yet"));
    for (const [name, place, draw, items] of [["logs", logs, logTabs, found.logs], ["files", list, files, found.files]]) {
      const text = JSON.stringify(items);
      if (text === shown[name]) continue;
      shown[name] = text;
      place.replaceChildren(draw(id, items));
    }
    await showLog();
    document.title = `${found.run.status}: ${found.run.displayName || id}`;
    if (await rested(mine)) return;
  }
}

async function showRuns(mine) {
  let wanted = "";
  const filter = element("select", { class: "filter", "aria-label": "experiment", onchange: () => { wanted = filter.value; draw(); } });
  const place = element("div"), total = element("p", { class: "quiet" });
  async function draw() {
    const found = await (await fetched(`data?experiment=${encodeURIComponent(wanted)}`)).json();
    if (mine !== round) return;
    if (!place.isConnected) view.replaceChildren(element("p", {}, filter), place, total);
    const options = ["", ...found.experiments.map((item) => item.name)];
    if (options.length !== filter.options.length) {
      filter.replaceChildren(...options.map((name) => element("option", { value: name }, name || "all experiments")));
      filter.value = wanted;
    }
    place.replaceChildren(runsTable(found.runs));
    total.textContent = found.runs.length < found.total ? `the newest ${found.runs.length} of ${found.total} runs` : "";
    document.title = "amlrun emulator";
  }
  do await draw(); while (!(await rested(mine)));
}

async function showModels(mine) {
  do {
    const found = await (await fetched("data?top=1")).json();
    if (mine !== round) return;
    view.replaceChildren(table(["Model", "Version", "Created", "Run", "Framework", "Tags"], found.models.map((model) => [
      cell(model.name), cell(model.version, true), cell(time(model.createdTime), true),
      cell(model.runId ? runLink({ runId: model.runId }) : ""), cell(model.framework), cell(pairs(model.kvTags)),
    ])));
  } while (!(await rested(mine)));
}

async function showCompute(mine) {
  do {
    const found = await (await fetched("data?top=1")).json();
    if (mine !== round) return;
    view.replaceChildren(table(["Cluster", "Size", "Priority", "Nodes", "In use"], found.compute.map((cluster) => [
      cell(cluster.name), cell(cluster.size), cell(cluster.priority),
      cell(`${cluster.scale.minNodeCount} to ${cluster.scale.maxNodeCount}`, true), cell(cluster.inUse, true),
    ])), element("p", { class: "quiet" }, `jobs run in ${found.python}`));
  } while (!(await rested(mine)));
}

function rested(mine) {
  alive.textContent = `as of ${new Date().toLocaleTimeString()}`;
  alive.className = "";
  return new Promise((done) => setTimeout(() => done(mine !== round), PAUSE));
}

function lost(error) {
  alive.textContent = `no news: ${error.message}`;
  alive.className = "lost";
}

const SHOW = { runs: showRuns, models: showModels, compute: showCompute };

async function show() {
  const mine = ++round;
  const [, name = "runs", id] = location.hash.split("/");
  if (!id) log = null;
  document.getElementById("views").replaceChildren(...Object.entries(VIEWS).map(([key, title]) =>
    element("a", { href: `#/${key}`, class: key === name ? "here" : "" }, title)));
  view.replaceChildren(element("p", { class: "quiet" }, "loading…"));
  while (mine === round) {  // whatever fails: say so, and go on when the emulator is back
    try {
      await (id ? showRun(decodeURIComponent(id), mine) : (SHOW[name] || showRuns)(mine));
    } catch (error) {
      lost(error);
      await new Promise((done) => setTimeout(done, 2 * PAUSE));
    }
  }
}

const deep = location.pathname.match(/\/runs\/([^/]+)$/);
if (deep) history.replaceState(null, "", `${document.baseURI}#/runs/${deep[1]}`);
document.getElementById("home").href = "#/runs";
window.addEventListener("hashchange", show);
show();
