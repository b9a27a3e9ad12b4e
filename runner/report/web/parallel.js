// Parallel coordinates: a line for each run through all its settings, to its metric at the right.
const MOST_AXES = 10;

function parallelChart(shown) {
  const names = record.parameters.slice(0, MOST_AXES), lines = shown.filter((run) => run.measured);
  if (names.length < 2 || lines.length < 2) return null;
  const left = record.parameters.length - names.length;
  return figure(`Settings and ${view.metric} together`, left > 0 && `${plural(left, "setting")} more in the table`, (width) => paintParallel(names, lines, Math.max(width, 96 * (names.length + 1)), 380));
}

function paintParallel(names, lines, width, height) {
  const svg = frame(width, height, `settings and ${view.metric}, ${plural(lines.length, "run")}`);
  const [top, floor] = [52, height - 20], gap = (width - 150) / names.length;
  const range = rangeOf(lines.map((run) => run.metrics.get(view.metric)));
  const axes = names.map((name, i) => ({ name: last(name), full: name, at: 40 + i * gap, value: (run) => run.parameters.get(name) }));
  for (const axis of axes) axis.scale = settingScale(lines.map(axis.value), floor, top, 26);
  const metric = { name: view.metric, full: view.metric, at: 40 + names.length * gap, value: (run) => run.metrics.get(view.metric) };
  metric.scale = linear(range.low, range.high, floor, top, 7);
  const scaled = metric.scale.at;
  metric.scale.at = (value) => scaled(clamp(value, range.low, range.high));
  axes.push(metric);
  const drawn = lines.map((run) => ({ run, px: axes.map((axis) => axis.at), py: axes.map((axis) => axis.scale.at(axis.value(run))) }));
  const group = draw("g", { class: lines.length > 120 ? "lines many" : "lines" });
  for (const line of [...drawn].reverse()) group.append(draw("path", { d: pathOf(line.px, line.py), class: line.run.colour }));
  const over = draw("g", { class: "over" });
  svg.append(group, over);
  for (const axis of axes) svg.append(...verticalAxis(axis, top, floor, gap));
  pointing(svg, (at, level) => nearestLine(drawn, at, level));
  const byRun = new Map(drawn.map((line) => [line.run, line]));
  return { node: svg, mark: (run) => markLine(group, over, byRun.get(run), run && run.colour) };
}

function verticalAxis(axis, top, floor, gap) {
  const room = Math.floor((gap - 14) / CHARACTER), anchor = axis.at <= 40 ? "start" : "middle";
  const name = draw("text", { x: anchor === "start" ? 4 : axis.at, y: 24, "text-anchor": anchor, class: "axis" }, draw("title", {}, axis.full), short(axis.name, Math.max(room, 6)));
  const ticks = axis.scale.ticks.map((tick) =>
    draw("text", { x: axis.at + 7, y: tick.at + 4, class: "on" }, draw("title", {}, tick.full ?? tick.text), short(tick.text, Math.max(room - 1, 4))));
  return [draw("line", { x1: axis.at, x2: axis.at, y1: top - 8, y2: floor + 8, class: "floor" }), name, ...ticks];
}

function nearestLine(drawn, at, level) {
  const found = nearestOf(drawn, (line) => Math.abs(heightAt(line, at) - level), 14);
  const words = found && record.parameters.slice(0, MOST_AXES).map((name) => `${last(name)} ${settingText(found.run.parameters.get(name))}`);
  return found && { run: found.run, text: `${words.join(" · ")} → ${view.metric} ${number(found.run.metrics.get(view.metric))}` };
}

function heightAt(line, at) {
  const next = line.px.findIndex((x) => x >= at);
  if (next <= 0) return next === 0 ? line.py[0] : line.py[line.py.length - 1];
  const share = (at - line.px[next - 1]) / (line.px[next] - line.px[next - 1]);
  return line.py[next - 1] + share * (line.py[next] - line.py[next - 1]);
}
