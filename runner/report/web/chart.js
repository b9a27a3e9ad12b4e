// A frame with axes, and one way to point at runs in every chart.
const MARGIN = { top: 30, right: 16, bottom: 44, left: 58 };
const CHARACTER = 6.3; // pixels, of the labels' size
const charts = new Set();

// `figure` draws itself into a box again whenever the width changes: paint(width) -> {node, mark(run)}.
function figure(title, note, paint, extra) {
  const box = el("div", { class: "plot" });
  const whole = el("figure", {}, el("figcaption", {}, el("h3", { title }, title), note ? el("span", { class: "quiet" }, note) : null, extra), box);
  const chart = { mark: () => {}, box, width: 0 };
  chart.repaint = () => {
    const width = Math.round(box.clientWidth);
    if (!width || width === chart.width) return;
    chart.width = width;
    const painted = paint(width, box);
    chart.mark = painted.mark;
    box.replaceChildren(painted.node);
  };
  charts.add(chart);
  resized.observe(box);
  box.chart = chart;
  return whole;
}

const resized = new ResizeObserver((entries) => { for (const entry of entries) entry.target.chart.repaint(); });

function dropCharts() {
  for (const chart of charts) resized.unobserve(chart.box);
  charts.clear();
}

function frame(width, height, name) {
  return draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name, height });
}

// Lines that go on beyond the frame end at its edge.
let clips = 0;
function clipped(svg, width, height, group, over) {
  const id = `clip${(clips += 1)}`, box = { x: MARGIN.left, y: 0, width: width - MARGIN.left, height: height - MARGIN.bottom + 2 };
  svg.append(draw("clipPath", { id }, draw("rect", box)), draw("g", { "clip-path": `url(#${id})` }, group, over));
}

// Horizontal lines with their values; the axis' name stands above, where it can be read.
function leftAxis(svg, scale, width, name) {
  for (const tick of scale.ticks) {
    svg.append(draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: tick.at, y2: tick.at, class: "grid" }));
    svg.append(draw("text", { x: MARGIN.left - 8, y: tick.at + 4, "text-anchor": "end" }, tick.text));
  }
  if (name) svg.append(draw("text", { x: 4, y: 14, class: "axis" }, short(name, Math.floor(width / CHARACTER / 1.1))));
}

function bottomAxis(svg, scale, width, height, name) {
  const floor = height - MARGIN.bottom;
  svg.append(draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: floor, y2: floor, class: "floor" }));
  let free = -Infinity;
  for (const tick of [...scale.ticks].sort((a, b) => a.at - b.at)) {
    const text = scale.words ? short(tick.text, Math.max(2, Math.floor(scale.room / CHARACTER) - 1)) : tick.text;
    const half = (text.length * CHARACTER) / 2;
    svg.append(draw("line", { x1: tick.at, x2: tick.at, y1: floor, y2: floor + 4, class: "floor" }));
    if (tick.at - half < free) continue;
    free = tick.at + half + 6;
    svg.append(draw("text", { x: tick.at, y: floor + 17, "text-anchor": "middle" }, draw("title", {}, tick.full ?? tick.text), text));
  }
  svg.append(draw("text", { x: width - MARGIN.right, y: height - 8, "text-anchor": "end", class: "axis" }, short(name, Math.floor(width / CHARACTER / 1.1))));
}

// What the pointer is at: nearest(x, y) -> {run, x, y, text} in the drawing's own pixels, or null.
function pointing(svg, nearest) {
  const place = (event) => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  svg.addEventListener("pointermove", (event) => {
    const found = nearest(...place(event));
    point(found?.run ?? null);
    if (found) tell(event, found.run, found.text);
    else silence();
  });
  svg.addEventListener("pointerleave", () => { point(null); silence(); });
  svg.addEventListener("click", (event) => {
    const found = nearest(...place(event));
    if (found) pin(found.run);
  });
}

let pointed = null;

function point(run) {
  const now = run ?? view.pinned;
  if (now === pointed) return;
  pointed = now;
  for (const chart of charts) chart.mark(now);
  for (const row of document.querySelectorAll("tr.pointed")) row.classList.remove("pointed");
  if (now) document.getElementById(`run-${now.index}`)?.classList.add("pointed");
}

function pin(run) {
  view.pinned = view.pinned === run ? null : run;
  pointed = undefined;
  point(run);
}

const tip = el("div", { id: "tip", role: "status" });

function tell(event, run, text) {
  tip.replaceChildren(el("b", {}, run.label), el("span", {}, text), run.label !== run.id && el("span", { class: "quiet" }, run.id));
  for (const child of [...tip.childNodes]) if (child.nodeType === Node.TEXT_NODE) child.remove();
  tip.classList.add("shown");
  const right = event.clientX + 16 + tip.offsetWidth > innerWidth;
  tip.style.left = `${right ? Math.max(4, event.clientX - tip.offsetWidth - 12) : event.clientX + 14}px`;
  tip.style.top = `${clamp(event.clientY + 14, 4, innerHeight - tip.offsetHeight - 4)}px`;
}

const silence = () => tip.classList.remove("shown");

// Says which shade means what; few runs are named.
function legend(shown, measured) {
  if (runs.length === 1) return null;
  if (runs.length <= FEW)
    return el("ul", { class: "legend" }, shown.map((run) => el("li", { class: run.colour, onpointerenter: () => point(run), onpointerleave: () => point(null) }, el("i"), el("span", {}, run.label))));
  if (measured < 2) return null;
  const steps = Array.from({ length: LEVELS }, (_, level) => el("i", { class: `r${level}` }));
  const value = (run) => number(run.metrics.get(view.metric));
  return el("div", { class: "ramp" }, el("span", {}, `worst ${value(shown[measured - 1])}`), el("span", { class: "steps" }, steps),
    el("span", {}, `best ${value(shown[0])}`), el("span", { class: "quiet" }, `shaded by rank in ${view.metric}`));
}
