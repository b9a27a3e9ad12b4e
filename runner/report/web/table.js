// The table: sorted by a click on a column's name; a click on a row opens what is known of the run.
const MOST_METRICS = 8, MOST_SETTINGS = 12, MOST_PRINTED = 6, FIRST_ROWS = 200;

function columns(shown) {
  const names = [view.metric, ...record.metrics.filter((name) => name !== view.metric)].filter(Boolean).slice(0, MOST_METRICS);
  const metric = (name) => numeric(name, (run) => run.metrics.get(name), shown, name === view.metric ? "main" : "");
  const best = view.metric === record.metric && view.goal === record.goal && shown.some((run) => run.best && run.best.value !== run.metrics.get(view.metric));
  const [main, ...rest] = names.map(metric);
  return [
    { name: "#", value: (run) => run.rank ?? Infinity, text: (run) => run.rank ?? "", kind: "number rank" },
    { name: "run", value: (run) => run.id, node: (run) => [el("i", { class: `dot ${run.colour}` }), run.id], kind: "name" },
    { name: "state", value: (run) => run.state, node: stateMark },
    ...(main ? [main] : []),
    ...(best ? [numeric("best", (run) => run.best?.value, shown, ""), numeric(`at ${record.axis}`, (run) => run.best?.[record.axis], shown, "")] : []),
    ...record.parameters.slice(0, MOST_SETTINGS).map((name, i) => setting(name, shown, i < MOST_PRINTED ? "" : " rest")),
    ...rest.map((column) => ({ ...column, kind: `${column.kind} rest` })),
    { name: "took", value: (run) => run.seconds, text: (run) => duration(run.seconds), kind: "number" },
  ];
}

function numeric(name, value, shown, kind) {
  const format = columnFormat(shown.map(value));
  return { name, value, text: (run) => format(value(run)), kind: `number ${kind}` };
}

function setting(name, shown, rest) {
  const value = (run) => run.parameters.get(name);
  const short = shown.every((run) => value(run) === undefined || typeof value(run) === "number");
  if (short) return { ...numeric(name, value, shown, rest), title: name, name: last(name), text: (run) => number(value(run)) };
  return { name: last(name), title: name, value: (run) => wordOf(value(run)), text: (run) => (value(run) === undefined ? "" : wordOf(value(run))), kind: `setting${rest}` };
}

const stateMark = (run) => el("span", { class: `state ${run.state}` }, el("span", { "aria-hidden": "true" }, SIGNS[run.state] ?? "○"), ` ${run.state}`);

function sorted(shown, column) {
  if (!column) return shown;
  const collator = new Intl.Collator("en", { numeric: true });
  const empty = (value) => value === undefined || value === null || Number.isNaN(value);
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b)));
  return [...shown].sort((a, b) => {
    const [left, right] = [column.value(a), column.value(b)];
    if (empty(left) || empty(right)) return empty(left) - empty(right) || a.index - b.index;
    return (view.down ? -1 : 1) * order(left, right) || a.index - b.index;
  });
}

function table(shown) {
  const all = columns(shown), chosen = all.find((column) => column.name === view.sort);
  const rows = sorted(shown, chosen), body = el("tbody");
  const head = el("tr", {}, all.map((column) => el("th", { class: column.kind, "aria-sort": column === chosen ? (view.down ? "descending" : "ascending") : "none" },
    el("button", { title: column.title ?? column.name, onclick: () => sortBy(column) }, short(column.name, 26), el("i", {}, column === chosen ? (view.down ? " ↓" : " ↑") : "")))));
  const add = (from, to) => body.append(...rows.slice(from, to).map((run) => tableRow(run, all)));
  add(0, FIRST_ROWS);
  const rest = rows.length - FIRST_ROWS;
  const more = rest > 0 && el("button", { class: "more", onclick: () => { add(FIRST_ROWS); more.remove(); } }, `show the other ${plural(rest, "run")}`);
  return [el("div", { class: "table", tabindex: 0, role: "region", "aria-label": "runs" }, el("table", {}, el("thead", {}, head), body)), more];
}

function sortBy(column) {
  const numbers = column.kind?.startsWith("number") && column.name !== "#";
  [view.sort, view.down] = view.sort === column.name ? [view.sort, !view.down] : [column.name, numbers];
  paintTable();
}

function tableRow(run, all) {
  const row = el("tr", { id: `run-${run.index}`, class: run.state, onpointerenter: () => point(run), onpointerleave: () => point(null), onclick: () => toggle(row, run, all.length) },
    all.map((column) => {
      const text = column.node ? null : String(column.text(run));
      return el("td", { class: column.kind, title: text && column.title ? wordOf(run.parameters.get(column.title)) : null }, column.node ? column.node(run) : short(text, 40));
    }));
  row.querySelector("td.name").prepend(el("button", { class: "open", "aria-expanded": "false", "aria-label": `more about ${run.id}` }));
  return row;
}

function toggle(row, run, width) {
  if (String(getSelection())) return; // somebody is copying
  const button = row.querySelector("button.open"), opened = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!opened));
  if (opened) row.nextElementSibling.remove();
  else row.after(el("tr", { class: "more" }, el("td", { colspan: width }, details(run))));
}

function details(run) {
  const settings = [...run.parameters].map(([name, value]) => `${name}: ${wordOf(value)}`);
  const facts = [
    ["again", commands(run)],
    ["failure", run.failure && failureText(run)],
    ["note", run.note],
    ["differs in", settings.length > 0 && el("ul", {}, settings.map((text) => el("li", {}, text)))],
    ["metrics", run.metrics.size > 0 && [...run.metrics].map(([name, value]) => `${name} ${number(value, 6)}`).join(" · ")],
    ["tags", Object.entries(run.tags).map(([name, value]) => `${name}=${value}`).join(" · ")],
    ["created", `${run.created}${run.ended ? `, ended ${run.ended}` : ""}`],
    ["logs", el("code", {}, run.logs)],
    ["outputs", el("code", {}, run.outputs)],
    ["URL", [el("code", {}, run.url), run.page && el("code", {}, run.page)]],
  ];
  return el("dl", {}, facts.filter(([, value]) => value && value.length !== 0).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function commands(run) {
  if (!run.rerun) return "this run was not submitted by amlrun: it can be looked at, not run again";
  const whole = run.command ? el("code", { class: "command" }, run.command) : el("span", { class: "quiet" }, `its overrides are too long for this page; amlrun show ${run.id} --json has them`);
  return [el("code", { class: "command" }, run.rerun), el("span", { class: "quiet" }, "the identical plan; or with the code and the YAML of today:"), whole];
}

const failureText = (run) => [run.failure.exit_code !== null && `exit code ${run.failure.exit_code}`, run.failure.rank !== null && `rank ${run.failure.rank}`, run.failure.cause].filter(Boolean).join(" · ");
