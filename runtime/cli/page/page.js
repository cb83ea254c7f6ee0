/* SPDX-License-Identifier: MIT
 *
 * The page of `forksafe serve`: puts its parts together and draws, at most once a frame, what has changed. Runs in the browser,
 * with nothing from anywhere but its own server.
 */
import { byId, make, setText } from "./page_dom.js";
import { Details, outcomeText } from "./page_details.js";
import { Gestures, zoomStep } from "./page_gestures.js";
import { Live } from "./page_live.js";
import { Model, roleText, stateOf, stateText } from "./page_model.js";
import { Overview } from "./page_overview.js";
import { drawPanels } from "./page_panels.js";
import { Subscribers } from "./page_subscribers.js";
import { OUTCOMES, Timeline } from "./page_timeline.js";
import { clock, counted, moment, visible } from "./page_text.js";
import { TimeWindow } from "./page_window.js";

const SETTLED = 180; // milliseconds without a movement after which a window's records are asked for
const AGAIN = 3000; // milliseconds until the instances are asked for again
const TOLD = 4; // processes that are told one by one
const TOLD_KEPT = 20;
const BREATH = 500; // milliseconds between drawings while a hook runs

const model = new Model();
const view = new TimeWindow();
const live = new Live(model, { connected, lost, changed });
const timeline = new Timeline(model, view, { changed: schedule, moved: movedByHand });
const overview = new Overview(model, view, movedByHand);
const subscribers = new Subscribers();
const details = new Details(model, (record) => timeline.select(timeline.selected.key, record));

let mode = "latest"; // what the window shows: "latest" and "all" follow what comes, "free" stays where the hand left it
let isPartial = false; // records of this window are not here
let states = null; // of the processes when they were last told, by pid
let arranged = ""; // what the rows were last arranged for
let drawn = ""; // and the panels drawn for
let scheduled = 0;
let settling = 0;

/* --- drawing --- */

function schedule() {
  scheduled ||= requestAnimationFrame(() => {
    scheduled = 0;
    draw();
  });
}

function changed() {
  schedule();
}

function arrange() {
  const stamp = `${model.version} ${byId("shown").value} ${byId("filter").value}`;
  if (stamp !== arranged) {
    arranged = stamp;
    timeline.arrange(byId("filter").value, byId("shown").value);
    announce();
  }
}

function arrangeAgain() {
  arranged = "";
  schedule();
}

/** All that is known: from the first master's start to the last thing that happened. */
function everything() {
  const created = (model.debug?.masters || []).map((master) => moment(master.created)).filter((at) => at !== null);
  const [from, to] = model.records.extent() || [Math.min(...created, model.now()), model.now()];
  return [Math.min(from, ...created), model.records.isRunning() ? Math.max(to, model.now()) : to];
}

function placeWindow() {
  const bursts = model.records.bursts();
  if (mode === "all" || (mode === "latest" && !bursts.length)) {
    view.show(...everything());
  } else if (mode === "latest") {
    const [from, to] = bursts[bursts.length - 1];
    view.show(from, model.records.isRunning() ? Math.max(to, model.now()) : to);
  }
}

function draw() {
  if (!model.debug) {
    return;
  }
  arrange();
  placeWindow();
  timeline.draw();
  const [from, to] = everything();
  overview.draw([from, Math.max(to, from + 1000)]);
  details.draw(timeline.rowOf(timeline.selected.key)?.process ?? null, timeline.selected.record);
  drawNotes();
  askForWindow();
  const minute = Math.floor(model.now() / 6e7); // ages are told by the minute
  if (drawn !== `${model.version} ${minute}`) {
    drawn = `${model.version} ${minute}`;
    drawPanels(model, minute);
    subscribers.draw(model.debug.subscribers);
  }
}

function drawNotes() {
  byId("latest").setAttribute("aria-pressed", mode === "latest");
  byId("all").setAttribute("aria-pressed", mode === "all");
  const extent = model.records.extent();
  const notes = [
    isPartial ? "Only the newest hooks of this window are here: zoom in for the others." : null,
    mode === "free" && extent && extent[1] > view.to ? "Later hooks are to the right." : null,
  ];
  setText(byId("note"), notes.filter(Boolean).join(" "));
  const filtered = byId("filter").value !== "" || byId("shown").value !== "all";
  byId("empty").hidden = timeline.rows.length > 0;
  setText(byId("empty"), filtered ? "No process is like that." : "No process has been seen yet.");
}

function askForWindow() {
  clearTimeout(settling);
  settling = setTimeout(async () => {
    const wasPartial = isPartial;
    isPartial = await live.want(timeline.pidsInSight(), view.from, view.to);
    if (isPartial !== wasPartial) {
      schedule();
    }
  }, SETTLED);
}

/* --- the window --- */

function movedByHand() {
  mode = "free";
  schedule();
}

function follow(what) {
  mode = what;
  schedule();
}

/** Shows the stretch of activity before (-1) or after (1) the window's middle. */
function showBurst(by) {
  const bursts = model.records.bursts();
  const inside = (burst) => burst[1] >= view.from && burst[0] <= view.to;
  const found =
    by > 0 ? bursts.find((burst) => burst[0] > view.to) : bursts.filter((burst) => burst[1] < view.from).pop();
  const target = found || (by > 0 ? bursts.filter(inside).pop() : bursts.find(inside));
  if (target) {
    view.show(...target);
    mode = found && target === bursts[bursts.length - 1] ? "latest" : "free";
    schedule();
  }
}

function showsAll() {
  const [from, to] = everything();
  return view.from <= from && view.to >= to;
}

/** What was clicked in the timeline: a hook, a row, or the sign that opens and closes it. */
function choose(target) {
  const row = target.closest?.("[data-row]");
  byId("grid").focus({ preventScroll: true });
  if (!row) {
    return;
  }
  const { row: key } = row.dataset;
  if (target.closest(".twist") || row.classList.contains("group")) {
    timeline.toggle(key);
    arrangeAgain();
  } else {
    timeline.select(key, target.closest(".bar")?.dataset.record ?? null);
  }
}

/* --- what is told --- */

// Processes that appeared or changed since the last time, for who does not see the rows.
function announce() {
  const now = new Map([...model.processes.values()].map((process) => [process.pid, stateOf(process)]));
  const news = states
    ? [...model.processes.values()].filter((process) => states.get(process.pid) !== now.get(process.pid))
    : [];
  states = now;
  const lines = news.map((process) => `${roleText(process)}, pid ${process.pid}: ${stateText(process)}`);
  const log = byId("announcer");
  log.append(
    ...(lines.length > TOLD ? [`${counted(lines.length, "process", "processes")} changed`] : lines).map((line) =>
      make("p", null, line),
    ),
  );
  while (log.childElementCount > TOLD_KEPT) {
    log.firstChild.remove();
  }
}

function setConnection(state, text) {
  document.documentElement.dataset.connection = state;
  setText(byId("connection"), text);
}

function connected() {
  setConnection("live", "live");
  byId("banner").hidden = true;
  states = null;
  schedule();
}

function lost(message) {
  const since = model.debug ? ` What is shown is as of ${clock(moment(model.debug.generated_at), 0)}.` : "";
  setConnection("lost", "disconnected");
  setText(byId("banner"), `No connection to forksafe serve (${visible(message)}): trying again.${since}`);
  byId("banner").hidden = false;
}

function showTip(event) {
  const tip = byId("tip");
  const bar = event.type === "pointerover" && event.pointerType !== "touch" ? event.target.closest?.(".bar") : null;
  tip.hidden = !bar;
  if (!bar) {
    return;
  }
  setText(tip, bar.getAttribute("aria-label"));
  const box = bar.getBoundingClientRect();
  const left = Math.min(Math.max(box.left, 8), document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(left, 8)}px`;
  tip.style.top = `${box.top > 60 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
}

/* --- setting up --- */

function listen() {
  new Gestures(timeline, view, {
    moved: movedByHand,
    drawn: schedule,
    arranged: arrangeAgain,
    all: () => follow("all"),
    latest: () => follow("latest"),
    burst: showBurst,
    choose,
    showsAll,
  });
  const clicks = {
    latest: () => follow("latest"),
    all: () => follow("all"),
    "burst-before": () => showBurst(-1),
    "burst-after": () => showBurst(1),
    closer: () => [zoomStep(timeline, 1), movedByHand()],
    wider: () => [zoomStep(timeline, -1), movedByHand()],
  };
  Object.entries(clicks).forEach(([id, act]) => byId(id).addEventListener("click", act));
  byId("details-close").addEventListener("click", () => [
    timeline.select(null),
    byId("grid").focus({ preventScroll: true }),
  ]);
  byId("filter").addEventListener("input", schedule);
  byId("shown").addEventListener("change", schedule);
  byId("grid").addEventListener("pointerover", showTip);
  byId("grid").addEventListener("pointerout", showTip);
  byId("grid").addEventListener("pointerdown", showTip);
  new ResizeObserver(schedule).observe(byId("grid"));
  byId("instance-choice").addEventListener("change", (event) => live.open(event.target.value));
  setInterval(() => (model.records.isRunning() || view.to > model.now() - 1e6) && schedule(), BREATH);
}

async function chooseInstance() {
  const instances = await live.instances();
  const choice = byId("instance-choice");
  choice.replaceChildren(
    ...instances.map(({ instance, alive }) =>
      make("option", { value: instance }, visible(instance) + (alive ? "" : " (ended)")),
    ),
  );
  byId("instances").hidden = instances.length < 2;
  return instances.length > 1 ? instances[0].instance : null;
}

async function start() {
  try {
    live.open(await chooseInstance());
  } catch (error) {
    lost(error.message);
    setTimeout(start, AGAIN);
  }
}

byId("legend").append(
  ...Object.keys(OUTCOMES)
    .reverse()
    .map((outcome) => make("li", null, outcomeText(outcome))),
);
listen();
start();
