// One log, open: its end first, then whatever is added. The browser never holds more than some megabytes of it.

import { draw, element, fetched, filePath, size } from "./dom.js";

const TAIL = 256 * 1024, EARLIER = 256 * 1024, MOST = 1024 * 1024;
// A line that is drawn over itself (a progress bar) becomes lines; colors of a terminal are left out.
const readable = (text) => text.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "").replace(/\r+\n?/g, "\n");
let log = null;     // {run, path, first, offset, total, pre, text, decoder, busy}

export const opened = (run) => log !== null && log.run === run ? log.path : null;

export function open(run, path) {
  const text = document.createTextNode("");
  const pre = element("pre", { tabindex: 0, role: "region", "aria-label": `log ${path}` }, text);
  log = { run, path, first: 0, offset: null, total: 0, pre, text, decoder: new TextDecoder(), busy: false };
}

export function close() {
  log = null;
}

// Fetches what is new, and shows the log at `place`.
export async function follow(place) {
  const mine = log;
  if (!mine || !place || mine.busy) return;
  mine.busy = true;
  try {
    while (mine === log && await more(mine, place));
  } finally {
    mine.busy = false;
  }
}

// One part of the log; whether there is another.
async function more(mine, place) {
  const begins = mine.offset === null;
  const part = await get(mine, begins ? { tail: TAIL } : { offset: mine.offset });
  if (mine !== log) return false;
  if (!begins && (part.total < mine.offset || part.total - mine.offset > MOST)) {  // another file, or far behind
    mine.text.data = "";
    [mine.offset, mine.decoder] = [null, new TextDecoder()];
    return true;
  }
  if (begins) {
    const cut = part.first ? part.bytes.indexOf(10) + 1 : 0;
    mine.first = mine.offset = part.first + cut;
    part.bytes = part.bytes.subarray(cut);
  }
  add(mine, part);
  if (!mine.pre.isConnected) {
    place.replaceChildren(element("p", { class: "quiet" }), mine.pre);
    mine.pre.scrollTop = mine.pre.scrollHeight;
  }
  say(mine);
  return mine.offset < mine.total && part.bytes.length > 0;
}

async function get(mine, more) {
  const answer = await fetched(filePath(mine.run, mine.path, more));
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return { bytes, first: Number(answer.headers.get("X-First")), total: Number(answer.headers.get("X-Size")) };
}

function add(mine, part) {
  mine.total = part.total;
  mine.offset += part.bytes.length;
  const atEnd = mine.pre.scrollTop + mine.pre.clientHeight >= mine.pre.scrollHeight - 8;
  const more = readable(mine.decoder.decode(part.bytes, { stream: true }));
  if (more) mine.text.appendData(more);
  if (!atEnd) return;
  if (mine.text.length > 2 * MOST) {  // only while the end is looked at: nothing may vanish under a reader's eyes
    const cut = mine.text.data.indexOf("\n", mine.text.length - MOST) + 1;
    mine.first += new TextEncoder().encode(mine.text.data.slice(0, cut)).length;
    mine.text.deleteData(0, cut);
  }
  mine.pre.scrollTop = mine.pre.scrollHeight;
}

async function earlier(mine) {
  if (mine.busy) return;
  const first = Math.max(0, mine.first - EARLIER);
  const { bytes } = await get(mine, { offset: first, size: mine.first - first });
  if (mine !== log) return;
  const cut = first ? bytes.indexOf(10) + 1 : 0;
  const below = mine.pre.scrollHeight - mine.pre.scrollTop;
  mine.text.insertData(0, readable(new TextDecoder().decode(bytes.subarray(cut))));
  mine.first = first + cut;
  mine.pre.scrollTop = mine.pre.scrollHeight - below;
  say(mine);
}

function say(mine) {
  const part = mine.first ? `the last ${size(mine.offset - mine.first)} of ` : "";
  const link = { href: filePath(mine.run, mine.path, { download: 1 }), download: "" };
  const press = () => earlier(mine).catch(() => {});
  draw(mine.pre.previousSibling, `${part}${size(mine.total)} `, element("a", link, "download"), " ",
    mine.first ? element("button", { type: "button", onclick: press }, "earlier lines") : null);
}
