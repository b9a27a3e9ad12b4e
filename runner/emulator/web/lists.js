// What the workspace has: runs, models, clusters, environments, and what was asked of it.

import { cell, element, pairs, quiet, read, span, table, time } from "./dom.js";

const PAGE = 100, MOST_COMPARED = 8;
const FINAL = ["Completed", "Failed", "Canceled"];
const chosen = new Set();   // ids of the runs to compare

export const state = (name) => element("span", { class: `state ${FINAL.includes(name) ? name : ""}` }, name);
export const runLink = (run) =>
  element("a", { href: `#/runs/${encodeURIComponent(run.runId)}` }, run.displayName || run.runId);

// Of the tags that amlrun sets, a list shows what was asked for; digests and commits are on the run's own page.
function tagsInShort(tags) {
  const shown = Object.entries(tags).filter(([key]) => key !== "amlrun.overrides" && !/^(amlrun|git)\./.test(key));
  return [tags["amlrun.overrides"], pairs(Object.fromEntries(shown))].filter(Boolean).join("  ");
}

export function runsTable(label, runs, before = null) {
  const head = ["Run", "State", "Experiment", "Created", "Took", "Compute", "Tags"];
  return table(label, before ? ["", ...head] : head, runs.map((run) => [run.runId, [
    before ? before(run) : null, element("td", { class: "name" }, run.parent ? "↳ " : null, runLink(run)),
    cell(state(run.status)), cell(run.experimentName), cell(time(run.createdUtc), true),
    cell(run.startTimeUtc && span(run.startTimeUtc, run.endTimeUtc), true), cell(run.target, true),
    cell(tagsInShort(run.tags))]]));
}

export async function showRuns(place) {
  const asked = (name) => place.query.get(name) || "";
  const skip = Number(asked("skip")) || 0;
  const wanted = { experiment: asked("experiment"), state: asked("state"), text: asked("text"), skip, top: PAGE };
  const found = await read(`data/runs?${new URLSearchParams(wanted)}`);
  const change = (name) => (event) => place.set({ [name]: event.currentTarget.value, skip: "" });
  const choice = (name, label, options) => element("select", { "aria-label": name, value: asked(name),
    onchange: change(name) }, [["", label], ...options].map(([value, text]) =>
    element("option", { value, "data-key": `option ${value}` }, text)));
  const counted = (counts) => Object.keys(counts).sort().map((name) => [name, `${name} (${counts[name]})`]);
  const link = `#/compare?${new URLSearchParams([...chosen].map((id) => ["run", id]))}`;
  const page = (to, text) => element("button", { type: "button", disabled: to < 0 || to >= found.total,
    onclick: () => place.set({ skip: to || "" }) }, text);
  const range = found.total ? `${skip + 1} to ${Math.min(skip + PAGE, found.total)} of ${found.total} runs` : "no runs";
  return {
    title: "runs",
    nodes: [
      element("form", { class: "bar", role: "search", onsubmit: (event) => event.preventDefault(), "data-key": "bar" },
        element("label", {}, "Find ",
          element("input", { type: "search", title: "in names, ids and tags", value: asked("text"),
            oninput: change("text") })),
        choice("experiment", "all experiments", counted(found.experiments)),
        choice("state", "all states", [["active", "not ended"], ...counted(found.states)]),
        chosen.size > 1 ? element("a", { href: link }, `compare ${chosen.size} runs`) : null,
        chosen.size
          ? element("button", { type: "button", onclick: () => (chosen.clear(), place.set({})) }, "none") : null),
      runsTable("runs", found.runs, (run) => element("td", {}, tick(place, run))),
      element("p", { class: "bar", "data-key": "pages" }, element("span", { class: "quiet" }, range),
        found.total > PAGE || skip ? [page(skip - PAGE, "newer"), page(skip + PAGE, "older")] : null)],
  };
}

function tick(place, run) {
  const change = (event) => {
    if (event.currentTarget.checked) chosen.add(run.runId);
    else chosen.delete(run.runId);
    place.set({});
  };
  return element("input", { type: "checkbox", "aria-label": `compare ${run.displayName || run.runId}`,
    checked: chosen.has(run.runId), onchange: change,
    disabled: chosen.size >= MOST_COMPARED && !chosen.has(run.runId) });
}

export async function showModels() {
  const { models } = await read("data/models");
  const head = ["Model", "Version", "Created", "Run", "Framework", "Description", "Tags"];
  return { title: "models", nodes: [table("models", head, models.map((model) => [model.id, [
    cell(model.name), cell(model.version, true), cell(time(model.createdTime), true),
    cell(model.runId ? runLink({ runId: model.runId }) : ""),
    cell([model.framework, model.frameworkVersion].filter(Boolean).join(" ")), cell(model.description),
    cell(pairs(model.kvTags))]]))] };
}

export async function showCompute() {
  const { compute, python } = await read("data/compute");
  const head = ["Cluster", "Size", "Priority", "Nodes", "In use"];
  return { title: "compute", nodes: [table("compute", head, compute.map((cluster) => [cluster.name, [
    cell(cluster.name), cell(cluster.size), cell(cluster.priority),
    cell(`${cluster.scale.minNodeCount} to ${cluster.scale.maxNodeCount}`, true), cell(cluster.inUse, true)]])),
  quiet(`jobs run in ${python}`)] };
}

const conda = (parts) => parts.map((part) => part instanceof Object ? pairs(part) : part).join("  ");

export async function showEnvironments() {
  const { environments } = await read("data/environments");
  return { title: "environments", nodes: [table("environments", ["Environment", "Version", "Image", "Packages"],
    environments.map((item) => [`${item.name}:${item.version}`, [
      cell(item.name), cell(item.version, true), cell(item.image), cell(conda(item.conda))]])),
  quiet("no image is built or pulled here: jobs run in one interpreter")] };
}

const WORKSPACE = /\/subscriptions\/[^/]+\/resourceGroups\/[^/]+\/providers\/[^/]+\/workspaces\/[^/]+/i;

export async function showRequests() {
  const { requests } = await read("data/requests");
  const key = (seen) => `${seen.time} ${seen.method} ${seen.path}`;
  return { title: "requests", nodes: [table("requests", ["Time", "Method", "Path", "Status", "Seconds"],
    requests.map((seen) => [key(seen), [cell(time(seen.time, { timeStyle: "medium" }), true), cell(seen.method),
      element("td", { title: seen.path }, seen.path.replace(WORKSPACE, "/WS")),
      element("td", { class: seen.status < 400 ? "number" : "number bad" }, seen.status),
      cell(seen.seconds, true)]])), quiet("/WS is the workspace's id: /subscriptions/…/workspaces/NAME")] };
}
