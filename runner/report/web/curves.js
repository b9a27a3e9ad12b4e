// Learning curves: a line for each run, the best drawn last.
function curveChart(name, shown, height, extra) {
  const lines = shown.filter((run) => curves[name]?.[run.index]).map((run) => ({ run, xs: curves[name][run.index][0], ys: curves[name][run.index][1] }));
  const values = lines.flatMap((line) => line.ys).filter(finite);
  if (!values.length) return null;
  const least = values.reduce((a, b) => Math.min(a, b)), allPositive = least > 0;
  const onLog = view.logarithmic && allPositive, range = onLog ? { low: least, high: values.reduce((a, b) => Math.max(a, b)), outside: 0 } : rangeOf(values);
  const gaps = lines.filter((line) => line.ys.includes(null)).length;
  const notes = [range.outside && `${plural(range.outside, "value")} beyond the edge`, gaps && `${plural(gaps, "run")} with NaN or infinity`];
  const note = notes.filter(Boolean).join(" · ");
  return figure(name, note, (width) => paintCurves(name, lines, range, onLog, width, height), extra);
}

const TOP = 12;

function paintCurves(name, lines, range, onLog, width, height) {
  const svg = frame(width, height, `${name} by ${record.axis}, ${plural(lines.length, "run")}`);
  const pad = onLog ? 0 : (range.high - range.low) * 0.04;
  const y = (onLog ? logarithmic : linear)(range.low - pad, range.high + pad, height - MARGIN.bottom, TOP, height / 48);
  const places = lines.flatMap((line) => [line.xs[0], line.xs[line.xs.length - 1]]);
  const [first, end] = places.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [Infinity, -Infinity]);
  const x = linear(first, end, MARGIN.left + 6, width - MARGIN.right - 6, width / 90, lines.every((line) => line.xs.every(Number.isInteger)));
  leftAxis(svg, y, width, "");
  bottomAxis(svg, x, width, height, record.axis);
  const drawn = lines.map(({ run, xs, ys }) => ({ run, xs, ys, px: xs.map(x.at), py: ys.map((value) => (value === null ? null : y.at(value))) }));
  const group = draw("g", { class: lines.length > 120 ? "lines many" : "lines" });
  for (const line of [...drawn].reverse()) group.append(draw("path", { d: pathOf(line.px, line.py), class: line.run.colour }));
  const over = draw("g", { class: "over" });
  clipped(svg, width, height, group, over);
  pointing(svg, (at, level) => nearestPoint(drawn, at, level, name));
  const byRun = new Map(drawn.map((line) => [line.run, line]));
  return { node: svg, mark: (run) => markLine(group, over, byRun.get(run), run && run.colour) };
}

const RING = "m-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0"; // a point that no line leads to

function pathOf(px, py) {
  let path = "", pen = "M";
  for (let i = 0; i < px.length; i += 1) {
    if (py[i] === null) { pen = "M"; continue; }
    const alone = pen === "M" && (i + 1 === px.length || py[i + 1] === null);
    path += `${pen}${px[i].toFixed(1)},${py[i].toFixed(1)}${alone ? RING : ""}`;
    pen = "L";
  }
  return path;
}

function nearestPoint(drawn, at, level, name) {
  let best = null, least = 40 ** 2;
  for (const line of drawn)
    for (let i = 0; i < line.px.length; i += 1) {
      if (line.py[i] === null) continue;
      const distance = (line.px[i] - at) ** 2 + (line.py[i] - level) ** 2;
      if (distance < least) [best, least] = [{ line, i }, distance];
    }
  return best && { run: best.line.run, text: `${name} ${number(best.line.ys[best.i])} at ${record.axis} ${number(best.line.xs[best.i], 6)}` };
}

function markLine(group, over, line, colour) {
  group.classList.toggle("faded", Boolean(line));
  over.replaceChildren(...(line ? [draw("path", { d: pathOf(line.px, line.py), class: "halo" }), draw("path", { d: pathOf(line.px, line.py), class: colour })] : []));
}
