// A run, and several runs side by side.

import { chart } from "./chart.js";
import { cell, draw, element, filePath, heading, pairs, quiet, read, runPath, size, span, table, time } from "./dom.js";
import * as log from "./log.js";
import { runLink, runsTable, state } from "./lists.js";

const MOST_FILES = 500;

export async function showRun(place) {
  const path = runPath(place.id);
  const [found, { metrics }] = await Promise.all([read(path), read(`${path}/metrics`)]);
  const run = found.run;
  chooseLog(found);
  return {
    title: `${run.status}: ${run.displayName || run.runId}`,
    nodes: [head(found), facts(found), ...children(found), heading("Metrics"), metricFigures(run.runId, metrics),
      heading("Logs"), logs(run.runId, found.logs), heading("Files"), files(run.runId, found.files)],
    after: () => log.follow(document.getElementById("log")),
  };
}

function head({ run }) {
  const error = run.error && (run.error.error || run.error);
  const phases = run.phases || [];
  return element("section", { "data-key": "head" },
    element("h1", {}, run.displayName || run.runId), element("p", {}, state(run.status), ` ${run.description || ""}`),
    element("ol", { class: "phases" }, phases.map(([name, at], index) => element("li", {},
      element("b", {}, name), " ", time(at, { timeStyle: "medium" }),
      index + 1 < phases.length ? element("span", { class: "quiet" }, ` ${span(at, phases[index + 1][1])}`) : null))),
    error ? element("pre", { class: "error", role: "region", tabindex: 0, "aria-label": "error" },
      typeof error.message === "string" ? error.message : JSON.stringify(error, null, 1)) : null,
    (run.warnings || []).map((warning) => element("p", { class: "warning" }, `${warning.source}: ${warning.message}`)));
}

function facts({ run, definition, environment, parent }) {
  const nodes = definition.nodeCount > 1 ? `${definition.nodeCount} nodes` : "";
  const rows = [["Id", element("code", {}, run.runId)], ["Experiment", run.experimentName],
    ["Parent", parent && runLink(parent)], ["Compute", [run.target, nodes].filter(Boolean).join(", ")],
    ["Environment", [environment.name, environment.version].filter(Boolean).join(":")],
    ["Created", time(run.createdUtc)],
    ["Started", time(run.startTimeUtc)], ["Ended", time(run.endTimeUtc)],
    ["Took", run.startTimeUtc && span(run.startTimeUtc, run.endTimeUtc)], ["Program", program(definition)],
    ["Tags", listed(run.tags)], ["Properties", listed(run.properties)]];
  return element("table", { class: "facts", "data-key": "facts" }, element("tbody", {},
    rows.filter(([, value]) => value).map(([name, value]) => element("tr", { "data-key": name },
      element("th", { scope: "row" }, name), cell(value)))));
}

function listed(values) {
  const found = Object.entries(values || {});
  return found.length ? element("details", { open: found.length < 8 }, element("summary", {}, String(found.length)),
    element("ul", {}, found.map(([key, value]) => element("li", {}, pairs({ [key]: value }))))) : "";
}

function program(definition) {
  const words = definition.command || [definition.script, ...(definition.arguments || [])];
  return [words].flat().filter((word) => word !== null && word !== undefined).join(" ");
}

const children = (found) => found.children.length
  ? [heading("Child runs"), runsTable("child runs", found.children)] : [];

function metricFigures(run, metrics) {
  const names = Object.keys(metrics).sort();
  if (!names.length) return quiet("none yet");
  return element("div", { class: "charts", "data-key": "charts" },
    names.map((name) => metric(run, name, metrics[name])));
}

function metric(run, name, found) {
  const key = { "data-key": `chart ${name}` };
  if (found.images) {
    return element("figure", key, element("figcaption", {}, element("b", {}, name)),
      found.images.map((path) => element("img", { src: filePath(run, path), alt: path, loading: "lazy" })));
  }
  const lines = Object.entries(found.lines || {});
  if (lines.length && found.rows > 1) return chart(name, found.x, lines, `${found.rows} ${found.x}s`);
  if (lines.length === 1) {
    return element("figure", key, element("figcaption", {}, element("b", {}, name),
      element("b", {}, found.last[0][0])));
  }
  const [columns, rows] = lines.length ? [lines.map(([column]) => column), found.last] : [found.columns, found.cells];
  const note = rows.length < found.rows ? `the last ${rows.length} of ${found.rows} rows` : "";
  return element("figure", key, element("figcaption", {}, element("b", {}, name), quiet(note)),
    table(name, columns,
      rows.map((row, index) => [`${found.rows - rows.length + index}`, row.map((text) => cell(text))])));
}

// The log that a failed run's error names, else the first of the program's own.
function chooseLog({ run, logs: paths }) {
  if (!paths.length || paths.includes(log.opened(run.runId))) return;
  const message = JSON.stringify(run.error || "");
  const usual = (path) => path.startsWith("user_logs/") || path.includes("70_driver_log");
  log.open(run.runId, paths.find((path) => message.includes(`'${path}'`)) || paths.find(usual) || paths[0]);
}

function logs(run, paths) {
  if (!paths.length) return quiet("none yet");
  const choose = (path) => {
    log.open(run, path);
    draw(document.getElementById("logs"), ...logs(run, paths).childNodes);
    log.follow(document.getElementById("log")).catch(() => {});
  };
  const open = log.opened(run), at = paths.indexOf(open);
  const step = (by, name) => element("button", { type: "button", "aria-label": `${name} log`,
    disabled: !paths[at + by], onclick: () => choose(paths[at + by]) }, by < 0 ? "‹" : "›");
  return element("section", { id: "logs", "data-key": "logs" },
    element("p", { class: "bar" }, element("select", { "aria-label": "log", value: open,
      onchange: (event) => choose(event.currentTarget.value) },
    paths.map((path) => element("option", { value: path, "data-key": path }, path))),
    step(-1, "previous"), step(1, "next"), quietly(`${at + 1} of ${paths.length}`)),
    element("div", { id: "log", "data-own": true }));
}

const quietly = (text) => element("span", { class: "quiet" }, text);

function files(run, found) {
  const shown = found.slice(0, MOST_FILES);
  const images = shown.filter((file) => /\.(png|jpe?g|gif|webp)$/i.test(file.path)).slice(0, 20);
  return element("section", { "data-key": "files" },
    table("files", ["Path", "Size"], shown.map((file) => [file.path, [
      cell(element("a", { href: filePath(run, file.path, { download: 1 }), download: "" }, file.path)),
      cell(size(file.bytes), true)]])),
    shown.length < found.length ? quiet(`the first ${shown.length} of ${found.length} files`) : null,
    element("div", { class: "charts" }, images.map((file) => element("figure", { "data-key": file.path },
      element("figcaption", {}, file.path),
      element("img", { src: filePath(run, file.path), alt: file.path, loading: "lazy" })))));
}

// One chart per metric, one line per run; what is no line is left to the runs' own pages.
export async function showComparison(place) {
  const ids = place.query.getAll("run");
  const found = await Promise.all(ids.map(async (id) => {
    const [one, { metrics }] = await Promise.all([read(runPath(id)), read(`${runPath(id)}/metrics`)]);
    return { run: one.run, metrics };
  }));
  const twice = (name) => found.filter(({ run }) => run.displayName === name).length > 1;
  const named = found.map(({ run, metrics }) => [twice(run.displayName) ? run.runId : run.displayName, metrics]);
  const figures = new Map();
  for (const [name, metrics] of named) {
    for (const [title, { lines, x }] of Object.entries(metrics)) {
      for (const [column, points] of Object.entries(lines || {})) {
        const full = column === title ? title : `${title} ${column}`;
        if (!figures.has(full)) figures.set(full, { x, lines: [] });
        figures.get(full).lines.push([name, points]);
      }
    }
  }
  const titles = [...figures.keys()].sort();
  return {
    title: `${ids.length} runs`,
    nodes: [element("h1", {}, `${ids.length} runs`), runsTable("compared runs", found.map(({ run }) => run)),
      heading("Metrics"), titles.length ? element("div", { class: "charts", "data-key": "charts" },
        titles.map((title) => chart(title, figures.get(title).x, figures.get(title).lines))) : quiet("none yet")],
  };
}
