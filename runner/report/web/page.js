// The page from top to bottom; what depends on the search, the metric and the goal is painted again when they change.
const MOST_SMALL = 9, MOST_SCATTER = 12, SHOWN_FAILURES = 12;
const places = {};

function section(name, title, ...children) {
  places[name] = el("div", { class: name });
  return el("section", { id: name }, el("h2", {}, title), ...children, places[name]);
}

function header() {
  const counts = new Map();
  for (const run of runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
  const when = new Date(record.created).toLocaleString("en", { dateStyle: "long", timeStyle: "short" });
  return el("header", {}, el("h1", {}, record.title),
    el("p", { class: "states" }, [...counts].map(([state, count]) => el("span", { class: `state ${state}` }, `${SIGNS[state] ?? "○"} ${count.toLocaleString("en")} ${state}`))),
    el("p", { class: "quiet" }, `as of ${when} · project `, el("code", {}, record.project)));
}

function controls() {
  const metric = el("select", { id: "metric", onchange: () => { view.metric = metric.value; paint(); } }, record.metrics.map((name) => el("option", { value: name }, name)));
  const goal = el("select", { id: "goal", onchange: () => { view.goal = goal.value; paint(); } },
    [["maximize", "highest is best"], ["minimize", "lowest is best"]].map(([value, text]) => el("option", { value, selected: value === view.goal }, text)));
  let waiting = 0;
  const search = el("input", { type: "search", id: "search", "aria-describedby": "search-hint", oninput: () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { view.text = search.value; paint(); }, runs.length > 200 ? 200 : 0);
  } });
  const check = el("input", { type: "checkbox", id: "logarithmic", onchange: () => { view.logarithmic = check.checked; paint(); } });
  places.count = el("span", { class: "quiet", role: "status" });
  return el("div", { class: "controls" },
    record.metrics.length > 0 && el("label", {}, "metric ", metric), record.metrics.length > 0 && el("label", {}, "goal ", goal),
    record.metrics.length > 0 && el("label", { class: "check" }, check, " log scale"),
    runs.length > 1 && el("label", { class: "grow" }, "search ", search, el("span", { class: "quiet", id: "search-hint" }, "words, state=failed, lr<0.01")), places.count);
}

function bestCard(shown, measured) {
  if (!measured) return el("p", { class: "quiet" }, record.metrics.length ? `no run has a number as its ${view.metric}` : "no run has metrics yet");
  const best = shown[0], settings = record.parameters.slice(0, 8).map((name) => el("li", {}, el("span", { class: "quiet", title: name }, `${last(name)} `), short(settingText(best.parameters.get(name)), 60)));
  const others = record.metrics.filter((name) => name !== view.metric && best.metrics.has(name)).slice(0, 6);
  return el("div", { class: "best" },
    el("div", { class: "figure" }, el("span", { class: "quiet" }, view.metric), el("b", {}, number(best.metrics.get(view.metric)))),
    el("div", {}, el("p", {}, el("strong", {}, best.id)), settings.length > 0 && el("ul", {}, settings),
      el("p", { class: "others" }, others.map((name) => el("span", {}, el("span", { class: "quiet" }, `${name} `), number(best.metrics.get(name))))),
      best.rerun && el("code", { class: "command" }, best.rerun)));
}

function paint() {
  const { shown, measured } = ranked();
  dropCharts();
  places.count.textContent = shown.length === runs.length ? "" : `${shown.length.toLocaleString("en")} of ${plural(runs.length, "run")}`;
  places.best.replaceChildren(bestCard(shown, measured));
  paintCharts(shown, measured);
  paintTable();
  paintFailures(shown.filter((run) => run.failure || run.state === "failed"));
  places.commands.replaceChildren(commandList(shown));
  pointed = null;
  point(view.pinned);
}

function paintCharts(shown, measured) {
  const names = [view.metric, ...record.metrics.filter((name) => name !== view.metric)].filter((name) => curves[name]);
  const [first, ...rest] = names;
  const main = first === view.metric ? curveChart(first, shown, 400) : null;
  const small = rest.slice(0, MOST_SMALL).map((name) => curveChart(name, shown, 230)).filter(Boolean);
  const missing = curves[view.metric] ? `no run shown has a curve of ${view.metric}` : `this page has no curves of ${view.metric}; amlrun report --metric ${view.metric} draws them`;
  put("curves", [main ?? el("p", { class: "quiet" }, missing), main && legend(shown, measured), small.length > 0 && el("div", { class: "grid" }, small)], Boolean(view.metric));
  const scatters = record.parameters.slice(0, MOST_SCATTER).map((name) => scatterChart(name, shown)).filter(Boolean);
  put("settings", scatters.length ? [runs.length > FEW && legend(shown, measured), el("div", { class: "grid" }, scatters)] : [], scatters.length > 0);
  const parallel = parallelChart(shown);
  put("together", [parallel], Boolean(parallel));
}

function put(name, children, visible = true) {
  places[name].replaceChildren(...children.filter(Boolean));
  places[name].parentElement.hidden = !visible;
}

function paintTable() {
  places.runs.replaceChildren(...table(ranked().shown).filter(Boolean));
}

// Failures that have the same cause are told once.
function paintFailures(failed) {
  const groups = new Map();
  for (const run of failed) {
    const cause = run.failure?.cause || "no cause is known";
    if (!groups.has(cause)) groups.set(cause, []);
    groups.get(cause).push(run);
  }
  const byCount = [...groups].sort(([, a], [, b]) => b.length - a.length);
  put("failures", byCount.map(([cause, members]) => failureBlock(cause, members)), failed.length > 0);
}

function failureBlock(cause, members) {
  const { evidence, advice } = members[0].failure ?? {};
  const line = (run) => el("tr", {}, el("td", { class: "name" }, run.id), el("td", { class: "number" }, run.failure?.exit_code ?? ""), el("td", { class: "number" }, run.failure?.rank ?? ""), el("td", {}, el("code", {}, run.failure?.log ?? run.logs)));
  const head = el("thead", {}, el("tr", {}, ["run", "exit code", "rank", "log"].map((name, i) => el("th", { class: i === 1 || i === 2 ? "number" : "" }, name))));
  const body = el("tbody", {}, members.slice(0, SHOWN_FAILURES).map(line)), rest = members.slice(SHOWN_FAILURES);
  const more = rest.length > 0 && el("button", { class: "more", onclick: () => { body.append(...rest.map(line)); more.remove(); } }, `show the other ${plural(rest.length, "run")}`);
  return el("article", { class: "failure" }, el("h3", {}, cause, members.length > 1 && el("span", { class: "quiet" }, ` · ${plural(members.length, "run")}`)),
    advice && el("p", {}, advice), evidence && el("pre", {}, evidence), el("div", { class: "table" }, el("table", { class: "plain" }, head, body)), more);
}

function commandList(shown) {
  const known = shown.filter((run) => run.rerun);
  const lines = known.map((run) => `${run.rerun}\n${run.command ? `${run.command}\n` : ""}`).join("\n");
  return el("details", { open: known.length <= 3 }, el("summary", {}, `${plural(known.length, "run")}: each with its identical plan, then its overrides with the code and the YAML of today`),
    el("pre", { class: "commands" }, lines || "none of these runs was submitted by amlrun"));
}

document.querySelector("main").replaceChildren(header(), controls(),
  section("best", runs.length > 1 ? "Best run" : "Result"),
  section("curves", "Learning curves"),
  section("settings", "The metric against each setting"),
  section("together", "All settings together"),
  section("runs", runs.length > 1 ? "Runs" : "Run"),
  section("failures", "Failures"),
  section("commands", "Commands that repeat the runs"));
document.body.append(tip);
paint();
