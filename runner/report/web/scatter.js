// The metric against a setting: a dot for each run, and the median where several share a value.
function scatterChart(name, shown) {
  const dots = shown.filter((run) => run.measured);
  if (dots.length < 2) return null;
  const range = rangeOf(dots.map((run) => run.metrics.get(view.metric)));
  return figure(name, range.outside && `${plural(range.outside, "run")} beyond the edge`, (width) => paintScatter(name, dots, range, width, 250));
}

const MOST_MEDIANS = 12;

function paintScatter(name, dots, range, width, height) {
  const svg = frame(width, height, `${view.metric} against ${name}, ${plural(dots.length, "run")}`);
  const pad = (range.high - range.low) * 0.06;
  const y = linear(range.low - pad, range.high + pad, height - MARGIN.bottom, MARGIN.top, height / 48);
  const x = settingScale(dots.map((run) => run.parameters.get(name)), MARGIN.left + 8, width - MARGIN.right - 8, 72);
  leftAxis(svg, y, width, view.metric);
  bottomAxis(svg, x, width, height, last(name));
  const spread = x.words ? Math.min(x.room * 0.5, 40) : 0;
  const placed = dots.map((run, i) => ({ run, x: x.at(run.parameters.get(name)) + spread * (((i * 0.618034) % 1) - 0.5), y: y.at(clamp(run.metrics.get(view.metric), range.low, range.high)) }));
  const group = draw("g", { class: dots.length > 120 ? "dots many" : "dots" });
  const radius = dots.length > 300 ? 2.6 : dots.length > 60 ? 3.4 : 4.6;
  for (const dot of [...placed].reverse()) group.append(draw("circle", { cx: dot.x.toFixed(1), cy: dot.y.toFixed(1), r: radius, class: dot.run.colour }));
  const over = draw("g", { class: "over" });
  svg.append(...medians(dots, name, x, y, spread), group, over);
  const text = (run) => `${view.metric} ${number(run.metrics.get(view.metric))} at ${last(name)} ${settingText(run.parameters.get(name))}`;
  pointing(svg, (at, level) => {
    const dot = nearestOf(placed, (candidate) => (candidate.x - at) ** 2 + (candidate.y - level) ** 2, 30 ** 2);
    return dot && { run: dot.run, text: text(dot.run) };
  });
  const byRun = new Map(placed.map((dot) => [dot.run, dot]));
  return { node: svg, mark: (run) => markDot(group, over, byRun.get(run), radius) };
}

function medians(dots, name, x, y, spread) {
  const groups = new Map();
  for (const run of dots) {
    const key = wordOf(run.parameters.get(name));
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(run);
  }
  if (groups.size > MOST_MEDIANS) return [];
  return [...groups.values()].filter((members) => members.length >= 3).map((members) => {
    const middle = y.at(quantile(members.map((run) => run.metrics.get(view.metric)).sort((a, b) => a - b), 0.5));
    const at = x.at(members[0].parameters.get(name)), half = Math.max(spread * 0.6, 11);
    return draw("line", { x1: at - half, x2: at + half, y1: middle, y2: middle, class: "median" }, draw("title", {}, "median"));
  });
}

function nearestOf(items, distance, least) {
  let best = null;
  for (const item of items) {
    const now = distance(item);
    if (now < least) [best, least] = [item, now];
  }
  return best;
}

function markDot(group, over, dot, radius) {
  group.classList.toggle("faded", Boolean(dot));
  over.replaceChildren(...(dot ? [draw("circle", { cx: dot.x, cy: dot.y, r: radius + 2.5, class: `${dot.run.colour} ring` })] : []));
}
