// What is known, what is asked to be shown, and the colours that say which run is which.
const { record, curves } = JSON.parse(document.getElementById("data").textContent);
const FEW = 8; // up to so many runs, each has a colour of its own; more are shaded by rank
const LEVELS = 10;
const SIGNS = { completed: "✓", failed: "✕", canceled: "■", running: "▶", finalizing: "▶", unknown: "?" };

const runs = record.runs.map((run, index) => {
  const metrics = new Map(Object.entries(run.metrics).map(([name, value]) => [name, metricOf(value)]));
  return { ...run, index, metrics, parameters: new Map(Object.entries(run.parameters)) };
});
const view = { metric: record.metric, goal: record.goal, text: "", sort: null, down: false, logarithmic: false, pinned: null };
const last = (name) => name.split(".").pop();

function labels() {
  const kinds = new Map(record.parameters.map((name) => [name, new Set(runs.map((run) => wordOf(run.parameters.get(name)))).size]));
  const telling = [...record.parameters].sort((a, b) => kinds.get(b) - kinds.get(a)).slice(0, 4);
  const names = record.parameters.filter((name) => telling.includes(name));
  const text = (run, name) => run.parameters.has(name) && `${last(name)} ${short(settingText(run.parameters.get(name)), 30)}`;
  const made = runs.map((run) => names.map((name) => text(run, name)).filter(Boolean).join(", ") || run.id);
  const counts = new Map();
  for (const label of made) counts.set(label, (counts.get(label) ?? 0) + 1);
  return made.map((label, i) => (counts.get(label) > 1 && label !== runs[i].id ? `${label} · ${runs[i].id.slice(-8)}` : label));
}

const settingText = (value) => (typeof value === "number" ? number(value) : wordOf(value));
labels().forEach((label, i) => { runs[i].label = label; });

// A search: words that must all be there; `name=value`, `name>0.9`, `name<=1` compare a setting, a metric or the state.
const COMPARE = {
  ">=": (a, b) => a >= b, "<=": (a, b) => a <= b, "!=": (a, b) => a !== b, ">": (a, b) => a > b, "<": (a, b) => a < b, "=": (a, b) => a === b,
};

function matcher(text) {
  const tests = (text.match(/"[^"]*"|\S+/g) ?? []).map((word) => {
    const parts = /^([^<>=!]+)(>=|<=|!=|=|>|<)(.+)$/.exec(word);
    return (parts && comparison(...parts.slice(1))) || ((run) => wordsOf(run).includes(word.replaceAll('"', "").toLowerCase()));
  });
  return (run) => tests.every((test) => test(run));
}

function comparison(name, operator, wanted) {
  const full = [...record.metrics, ...record.parameters, ...record.other_parameters, "state", "seconds"];
  const key = full.find((known) => known === name) ?? full.find((known) => last(known) === name);
  if (!key) return null;
  return (run) => {
    const value = run.metrics.get(key) ?? run.parameters.get(key) ?? run[key];
    if (value === undefined || value === null) return operator === "!=";
    return typeof value === "number" ? COMPARE[operator](value, Number(wanted)) : COMPARE[operator](wordOf(value), wanted);
  };
}

function wordsOf(run) {
  run.words ??= JSON.stringify([run.id, run.label, run.state, [...run.parameters], run.failure?.cause ?? "", run.note, run.tags]).toLowerCase();
  return run.words;
}

// The runs to show, the best first; each gets its rank and its colour.
function ranked() {
  const sign = view.goal === "maximize" ? -1 : 1, value = (run) => run.metrics.get(view.metric);
  const group = (run) => (value(run) === undefined ? 2 : finite(value(run)) ? 0 : 1);
  const matches = matcher(view.text);
  const shown = runs.filter(matches).sort((a, b) => group(a) - group(b) || (group(a) ? 0 : sign * (value(a) - value(b))) || a.index - b.index);
  const measured = shown.filter((run) => group(run) === 0).length;
  shown.forEach((run, i) => {
    run.rank = i < measured ? i + 1 : null;
    run.measured = i < measured;
    const level = measured > 1 ? Math.round((LEVELS - 1) * (1 - i / (measured - 1))) : LEVELS - 1;
    run.colour = runs.length <= FEW ? `c${run.index}` : run.measured ? `r${level}` : "none";
  });
  return { shown, measured };
}
