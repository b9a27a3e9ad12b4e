// Which view is shown, and how it stays up to date. The address after # is the whole state: #/view/id?filters

import { draw, element } from "./dom.js";
import { showCompute, showEnvironments, showModels, showRequests, showRuns } from "./lists.js";
import { close } from "./log.js";
import { showComparison, showRun } from "./run.js";

const VIEWS = {
  runs: ["Runs", (place) => place.id ? showRun(place) : showRuns(place)],
  models: ["Models", showModels],
  compute: ["Compute", showCompute],
  environments: ["Environments", showEnvironments],
  requests: ["Requests", showRequests],
  compare: [null, showComparison],
};
const PAUSE = 1500;
const main = document.getElementById("view");
const asof = document.getElementById("asof");
const alive = document.getElementById("alive");
const scrolled = new Map();  // address -> how far down it was left
let round = 0;               // of the view that is shown: what an older one still fetches is dropped
let again = false;           // something was chosen while a look was under way
let wake = () => {};         // ends the pause between two looks
let last = null;             // the address that is shown

function placeOf(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  const place = { name: Object.hasOwn(VIEWS, name) ? name : "runs", id: id ? decoded(id) : null };
  place.query = new URLSearchParams(query);
  // A changed filter is a changed address, without an entry of its own in the history.
  place.set = (values) => {
    for (const [key, value] of Object.entries(values)) {
      if (value === "") place.query.delete(key);
      else place.query.set(key, value);
    }
    const text = place.query.toString();
    last = `#/${path || "runs"}${text ? `?${text}` : ""}`;
    history.replaceState(null, "", last);
    lookAgain();
  };
  return place;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function lookAgain() {
  again = true;
  wake();
}

async function show() {
  const mine = ++round, first = last === null;
  if (!first) scrolled.set(last, window.scrollY);
  last = location.hash;
  wake();
  const place = placeOf(location.hash);
  if (!place.id) close();
  draw(document.getElementById("views"), Object.entries(VIEWS).filter(([, [title]]) => title).map(([key, [title]]) =>
    element("a", { href: `#/${key}`, "aria-current": key === place.name ? "page" : null }, title)));
  main.replaceChildren(element("p", { class: "quiet" }, "loading…"));
  if (!first) main.focus({ preventScroll: true });
  for (let seen = false; mine === round;) {
    again = false;
    const took = await look(place, mine, seen);
    seen = seen || took !== null;
    if (mine === round && !again) await rest(took === null ? 2 * PAUSE : Math.max(PAUSE, 3 * took));
  }
}

// Draws the view as it is now; how many milliseconds that took, null where there were no news.
async function look(place, mine, seen) {
  const began = performance.now();
  try {
    const { title, nodes, after } = await VIEWS[place.name][1](place);
    if (mine !== round) return null;
    if (!seen) main.replaceChildren();
    draw(main, nodes);
    if (!seen) window.scrollTo(0, scrolled.get(last) || 0);
    document.title = `${title} – amlrun emulator`;
    main.setAttribute("aria-label", title);
    if (after) await after();
    told("", `as of ${new Date().toLocaleTimeString([], { timeStyle: "long" })}`);
    return performance.now() - began;
  } catch (error) {
    if (mine === round) told(`no news: ${error.message}`);
    return null;
  }
}

// A reader that listens is told when there are no news, and when there are again; not every other second.
function told(problem, now = "") {
  if (now) asof.textContent = now;
  if (alive.textContent !== problem) alive.textContent = problem;
}

// Until it is time for another look; a page that nobody sees waits for being seen.
function rest(milliseconds) {
  return new Promise((done) => {
    const timer = setTimeout(() => {
      if (!document.hidden) done();
      else document.addEventListener("visibilitychange", () => done(), { once: true });
    }, milliseconds);
    wake = () => {
      clearTimeout(timer);
      done();
    };
  });
}

// A portal URL is deeper than the workspace's; links with # alone are below the latter (<base>).
const deep = location.pathname.match(/\/runs\/([^/]+)\/?$/);
history.replaceState(null, "", deep ? `#/runs/${deep[1]}` : location.hash || "#/runs");
history.scrollRestoration = "manual";
window.addEventListener("hashchange", show);
show();
