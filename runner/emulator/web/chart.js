// Lines over steps or rows, with axes, and the values at the place that is pointed at.

import { draw, drawn, element, short } from "./dom.js";

const WIDTH = 420, HEIGHT = 190, LEFT = 56, RIGHT = 12, TOP = 8, BOTTOM = 24;
const COLORS = 8;
const pointed = new Map();  // chart -> the x that is pointed at

// `lines`: [name, [[x, y], ...]], where y may be a name (NaN) or null instead of a number.
export function chart(title, axis, lines, note = "") {
  const id = `chart ${title}`;
  const redraw = (event) => draw(event.currentTarget.closest("figure"), ...chart(title, axis, lines, note).childNodes);
  const xs = [...new Set(lines.flatMap(([, points]) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const at = pointed.has(id) ? nearest(xs, pointed.get(id)) : null;
  const frame = frameOf(xs, lines.flatMap(([, points]) => points.map(([, y]) => y)).filter(Number.isFinite));
  const values = lines.map(([name, points]) => [name, at === null ? points.at(-1)?.[1] : valueAt(points, at)]);
  const where = at === null ? "last" : `${axis} ${short(at)}`;
  const spoken = `${where}: ${values.map(([name, y]) => `${name} ${shown(y)}`).join(", ")}`;
  const move = (event, x) => {
    pointed.set(id, x);
    redraw(event);
  };
  const handlers = {
    onpointermove: (event) => move(event, frame.xOf(event)),
    onpointerleave: (event) => (pointed.delete(id), redraw(event)),
    onblur: (event) => (pointed.delete(id), redraw(event)),
    onkeydown: (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      const from = at === null ? xs.length - 1 : xs.indexOf(at);
      move(event, xs[Math.max(0, Math.min(xs.length - 1, from + steps[event.key]))]);
    },
  };
  const spots = at === null ? [] : [
    drawn("line", { class: "cursor", x1: frame.x(at), x2: frame.x(at), y1: TOP, y2: HEIGHT - BOTTOM }),
    ...values.map(([, y], index) => Number.isFinite(y)
      ? drawn("circle", { class: `c${index % COLORS}`, cx: frame.x(at), cy: frame.y(y), r: 3.5 }) : null)];
  return element("figure", { "data-key": id },
    element("figcaption", {}, element("b", {}, title),
      element("span", { class: "quiet" }, at === null && note ? note : where)),
    element("ul", { class: "legend" }, values.map(([name, y], index) => element("li", {},
      lines.length > 1 ? element("i", { class: `c${index % COLORS}` }) : null,
      lines.length > 1 ? `${name} ` : null, element("b", {}, shown(y))))),
    drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "slider", "aria-label": `${title} by ${axis}`,
      "aria-valuemin": xs[0], "aria-valuemax": xs.at(-1), "aria-valuenow": at ?? xs.at(-1), "aria-valuetext": spoken,
      ...handlers },
    axes(frame, axis), lines.map(([, points], index) => lineOf(points, frame, index)), spots));
}

const shown = (y) => y === undefined || y === null ? "–" : short(y);

// Lines of several runs have their points at other places; beyond its ends a line has no value.
function valueAt(points, x) {
  const xs = points.map((point) => point[0]);
  return x < Math.min(...xs) || x > Math.max(...xs) ? undefined : points[xs.indexOf(nearest(xs, x))][1];
}

function nearest(xs, x) {
  return xs.reduce((best, one) => Math.abs(one - x) < Math.abs(best - x) ? one : best, xs[0]);
}

function frameOf(xs, ys) {
  let low = ys.reduce((a, b) => Math.min(a, b), Infinity), high = ys.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low > high) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
  const first = xs[0], last = xs.at(-1), width = WIDTH - LEFT - RIGHT, height = HEIGHT - TOP - BOTTOM;
  return {
    low, high, first, last,
    x: (x) => LEFT + (last > first ? width * (x - first) / (last - first) : width / 2),
    // Halves, because the distance between two numbers may be more than a number can be.
    y: (y) => TOP + height * (1 - (y / 2 - low / 2) / (high / 2 - low / 2)),
    xOf: (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      return first + (last - first) * (WIDTH * (event.clientX - box.left) / box.width - LEFT) / width;
    },
  };
}

function axes(frame, axis) {
  const parts = [];
  for (const value of ticks(frame.low, frame.high, 5)) {
    const y = frame.y(value);
    parts.push(drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
      drawn("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, short(value)));
  }
  const whole = frame.last > frame.first ? ticks(frame.first, frame.last, 5).filter(Number.isInteger) : [frame.first];
  for (const value of whole) {
    parts.push(drawn("text", { x: frame.x(value), y: HEIGHT - 8, "text-anchor": "middle" }, short(value)));
  }
  return drawn("g", { class: "axes", "aria-hidden": "true" }, parts,
    drawn("text", { x: 2, y: HEIGHT - 8 }, axis));
}

// Round numbers between two values.
function ticks(low, high, about) {
  const raw = (high - low) / about, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  if (!(step > 0) || !Number.isFinite(step)) return [low, high];
  const first = Math.ceil(low / step);
  const found = Array.from({ length: about + 2 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
  return found.filter((value) => value <= high);
}

// What is no number leaves a gap, and a mark at the bottom; a number between two gaps is a dot.
function lineOf(points, frame, index) {
  const parts = { "": "", dots: "", odd: "" };
  points.forEach(([x, y], at) => {
    const before = Number.isFinite(points[at - 1]?.[1]), after = Number.isFinite(points[at + 1]?.[1]);
    if (typeof y === "string") parts.odd += `M${frame.x(x).toFixed(1)} ${HEIGHT - BOTTOM - 6}v6`;
    if (!Number.isFinite(y)) return;
    const place = `${frame.x(x).toFixed(1)} ${frame.y(y).toFixed(1)}`;
    if (!before && !after) parts.dots += `M${place}h0`;
    else parts[""] += `${before ? "L" : "M"}${place}`;
  });
  return drawn("g", { class: `c${index % COLORS}` },
    Object.entries(parts).filter(([, path]) => path).map(([name, d]) => drawn("path", { class: name, d })));
}
