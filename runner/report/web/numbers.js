// Numbers as people read them, and scales from values to pixels.
const ODD = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };
const metricOf = (value) => (typeof value === "string" ? ODD[value] : value);
const finite = (value) => typeof value === "number" && Number.isFinite(value);
const LIMIT = 1e300; // differences of what is beyond are infinite
const FAR = 20; // in lengths of an axis: a line to what is beyond it leaves in the right direction
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function number(value, digits = 4) {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return signed(String(value));
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return scientific(value, digits);
  if (size >= 10 ** digits) return signed(String(Math.round(value)));
  return signed(String(Number(value.toPrecision(digits))));
}

const scientific = (value, digits) => signed(value.toExponential(digits - 1).replace(/\.?0*e\+?/, "e"));
const signed = (text) => text.replace(/^-/, "−").replace("e-", "e−");

// A function that writes all numbers of a column with the same number of decimals, so that they can be compared.
function columnFormat(values) {
  const sizes = values.filter(finite).map(Math.abs).filter((size) => size > 0);
  const largest = Math.max(...sizes, 0), smallest = Math.min(...sizes, Infinity);
  if (largest >= 1e7 || smallest < 1e-5 || largest / smallest > 1e6) return (value) => number(value);
  let decimals = largest >= 1000 ? 1 : largest >= 100 ? 2 : largest >= 10 ? 3 : 4;
  while (smallest < 10 ** (1 - decimals) && decimals < 6) decimals += 1;
  const ends = (count) => sizes.every((size) => Math.abs(size - Number(size.toFixed(count))) <= 1e-9 * size);
  while (decimals > 0 && ends(decimals - 1)) decimals -= 1;
  return (value) => (finite(value) ? signed(value.toFixed(decimals)) : number(value));
}

function duration(seconds) {
  if (!finite(seconds)) return "";
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  if (hours) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return minutes ? `${minutes} min ${String(whole % 60).padStart(2, "0")} s` : `${seconds < 10 ? number(seconds, 2) : whole} s`;
}

// Scales: {at(value) -> pixel, ticks: [{at, text}]}.
function linear(low, high, from, to, count, whole = false) {
  [low, high] = [clamp(low, -LIMIT, LIMIT), clamp(high, -LIMIT, LIMIT)];
  if (!(high > low)) {
    const pad = Math.abs(low) * 0.1 || 1;
    [low, high] = [low - pad, high + pad];
  }
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999);
  if (whole) step = Math.max(1, Math.round(step));
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-6); k <= high / step + 1e-6 && ticks.length < 30; k += 1) ticks.push(k * step);
  const decimals = clamp(-Math.floor(Math.log10(step)), 0, 12);
  const plain = Math.max(Math.abs(low), Math.abs(high)) < 1e6 && step >= 1e-4;
  const text = (value) => (plain || value === 0 ? signed(value.toFixed(plain ? decimals : 0)) : scientific(value, 3));
  const at = (value) => from + clamp((value - low) / (high - low), -FAR, 1 + FAR) * (to - from);
  return { at, ticks: ticks.map((value) => ({ at: at(value), text: text(value) })) };
}

function logarithmic(low, high, from, to, count) {
  let [first, last] = [Math.log10(low), Math.log10(high)];
  if (!(last > first)) [first, last] = [first - 0.5, last + 0.5];
  const at = (value) => from + ((clamp(Math.log10(value), first, last) - first) / (last - first)) * (to - from);
  const every = Math.max(1, Math.ceil((last - first) / count)), factors = last - first <= 1 ? [1, 2, 5] : last - first <= 2.2 ? [1, 3] : [1];
  const ticks = [];
  for (let power = Math.floor(first); power <= last; power += every)
    for (const factor of factors) ticks.push(factor * 10 ** power);
  const inside = ticks.filter((value) => Math.log10(value) >= first - 1e-9 && Math.log10(value) <= last + 1e-9);
  return { at, ticks: inside.map((value) => ({ at: at(value), text: value >= 1e5 ? scientific(value, 2) : number(value, 2) })) };
}

const wide = (values) => values[0] > 0 && values[values.length - 1] / values[0] >= 20;
const isNumber = (value) => typeof value === "number";
const NOT_SET = "not set";
const wordOf = (value) => (value === undefined ? NOT_SET : typeof value === "string" ? value : JSON.stringify(value));

// A scale for values of a setting: of numbers where all are, else of words, each with a place of its own.
function settingScale(values, from, to, room) {
  if (values.every(isNumber)) {
    const distinct = [...new Set(values)].sort((a, b) => a - b);
    const low = distinct[0], high = distinct[distinct.length - 1], direction = Math.sign(to - from);
    const inset = distinct.length > 1 ? 10 * direction : 0;
    const scale = (wide(distinct) ? logarithmic : linear)(low, high, from + inset, to - inset, Math.abs(to - from) / room);
    const exact = distinct.map((value) => ({ at: scale.at(value), text: number(value) }));
    const apart = exact.every((tick, i) => !i || Math.abs(tick.at - exact[i - 1].at) > (room > 40 ? 7 * tick.text.length + 6 : room * 0.6));
    return { ...scale, ticks: distinct.length <= 7 && apart ? exact : scale.ticks, words: false };
  }
  const collator = new Intl.Collator("en", { numeric: true });
  const words = [...new Set(values.map(wordOf))].sort((a, b) => (a === NOT_SET) - (b === NOT_SET) || collator.compare(a, b));
  const place = new Map(words.map((word, i) => [word, i])), step = (to - from) / words.length;
  const at = (value) => from + (place.get(wordOf(value)) + 0.5) * step;
  const every = Math.ceil(words.length / Math.max(1, Math.abs(to - from) / Math.min(room, 44)));
  const shared = sharedStart(words);
  const ticks = words.map((word) => ({ at: at(word), text: shared ? `…${word.slice(shared)}` : word, full: word })).filter((_, i) => i % every === 0);
  return { at, ticks, words: true, room: Math.abs(step) * every };
}

// How many characters at their start all of several words have in common, if these only take room.
function sharedStart(words) {
  const [first, ...rest] = words.filter((word) => word !== NOT_SET);
  if (!rest.length || rest.length + 1 < words.length) return 0;
  let count = 0;
  while (count < first.length && rest.every((word) => word[count] === first[count])) count += 1;
  return count > 6 ? count : 0;
}

function quantile(sorted, share) {
  return sorted[clamp(Math.round(share * (sorted.length - 1)), 0, sorted.length - 1)];
}

// The range to show of many values: all of them, or without the few that would flatten the rest.
function rangeOf(values) {
  const sorted = values.map((value) => clamp(value, -LIMIT, LIMIT)).sort((a, b) => a - b);
  const low = sorted[0], high = sorted[sorted.length - 1];
  const middle = [quantile(sorted, 0.12), quantile(sorted, 0.88)], room = 1.5 * (middle[1] - middle[0]);
  const [bottom, top] = [Math.max(low, middle[0] - room), Math.min(high, middle[1] + room)];
  if (sorted.length < 20 || room === 0 || high - low <= 6 * (top - bottom)) return { low, high, outside: 0 };
  return { low: bottom, high: top, outside: sorted.filter((value) => value < bottom || value > top).length };
}
