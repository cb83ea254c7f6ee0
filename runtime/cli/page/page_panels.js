/* SPDX-License-Identifier: MIT
 *
 * Everything beside the timeline: the line at the top, sums, errors, findings, set-up, masters. Each is drawn whole, and only
 * when what it shows has changed. Runs in the browser.
 */
import { byId, make, name, setText } from "./page_dom.js";
import { facts, traceback } from "./page_details.js";
import { roleText } from "./page_model.js";
import { age, clock, count, counted, day, duration, moment, shortEvent, visible } from "./page_text.js";

const ERRORS_SHOWN = 30;
const NAMED = 8; // processes named beside an error

/** Draws into an element when `value`, the thing it shows, is another than before. */
function whenChanged(element, value, draw) {
  const stamp = JSON.stringify(value);
  if (element.stamp !== stamp) {
    element.stamp = stamp;
    element.replaceChildren(...[draw(value)].flat().filter(Boolean));
  }
}

function quiet(text) {
  return make("p", { class: "quiet" }, text);
}

/* --- the top --- */

function statusKind(debug) {
  if (!debug.enabled) {
    return "off";
  }
  if (debug.masters.length && !debug.masters.some((master) => master.alive)) {
    return "ended";
  }
  return /error/i.test(debug.status) ? "error" : debug.environment ? "fine" : "unknown";
}

function drawTop(model) {
  const { debug } = model;
  const kind = statusKind(debug);
  const instance = debug.instance === null ? "no instance" : visible(debug.instance);
  setText(byId("instance"), instance);
  document.title = `${instance} \u00b7 forksafe`;
  byId("status").dataset.kind = kind;
  setText(
    byId("status-text"),
    visible(debug.status) + (kind === "off" ? " (switched off)" : kind === "ended" ? " (ended)" : ""),
  );
}

function total(term, value, note, kind) {
  return make(
    "div",
    { "data-kind": kind || null, title: note || null },
    make("dt", null, term),
    make("dd", null, make("b", null, value), note ? make("span", { class: "aside" }, " ", note) : null),
  );
}

function drawTotals(model) {
  const sums = model.totals();
  whenChanged(byId("totals"), sums, () => [
    total(
      "Workers",
      count(sums.alive),
      sums.ready < sums.alive ? `${count(sums.alive - sums.ready)} not ready` : "all ready",
      sums.alive ? null : "warn",
    ),
    total("Generation", count(sums.generation)),
    total("Forks", count(sums.forks)),
    total(
      "Exits",
      count(sums.clean + sums.failed + sums.signal),
      [sums.failed && `${count(sums.failed)} failed`, sums.signal && `${count(sums.signal)} by signal`]
        .filter(Boolean)
        .join(", "),
      sums.failed + sums.signal ? "warn" : null,
    ),
    total("Hooks fired", count(sums.hooks)),
    total(
      "Subscriber runs",
      count(sums.runs),
      sums.failures ? `${count(sums.failures)} failed` : "none failed",
      sums.failures ? "bad" : null,
    ),
    total(
      "Slowest run",
      sums.slowest ? duration(sums.slowest.max) : "\u2013",
      sums.slowest ? visible(sums.slowest.name) : "",
    ),
    sums.overwritten ? total("Records overwritten", count(sums.overwritten), "counters lose nothing") : null,
    sums.refused ? total("Processes without a slot", count(sums.refused), "raise max_workers", "warn") : null,
  ]);
}

/* --- errors and findings --- */

// The same text of several processes is one error.
function groupErrors(errors) {
  const groups = new Map();
  for (const { process, at } of errors) {
    const group = groups.get(process.error) || { text: process.error, at, processes: [] };
    group.processes.push(`${roleText(process)} (${process.pid})`);
    groups.set(process.error, group);
  }
  return [...groups.values()];
}

function drawError({ text, at, processes }, open, now) {
  const first = visible(text.split("\n", 1)[0]);
  const more = processes.length > NAMED ? ` and ${count(processes.length - NAMED)} more` : "";
  const ago = day(at) === day(now) ? "" : `${day(at)} `;
  return make(
    "details",
    { class: "error", open, "data-processes": processes.length },
    make(
      "summary",
      null,
      make("span", { class: "sign", "aria-hidden": "true" }, "\u2715"),
      make("bdi", null, first),
      make("span", { class: "aside" }, `${ago}${clock(at, 0)} \u00b7 ${processes.slice(0, NAMED).join(", ")}${more}`),
    ),
    traceback(text),
  );
}

function drawErrors(model) {
  const element = byId("errors");
  const groups = groupErrors(model.errors());
  const openBefore = new Map([...element.querySelectorAll("details")].map((one) => [one.errorText, one.open]));
  whenChanged(element, groups, () => {
    if (!groups.length) {
      return quiet("No process has failed.");
    }
    const list = groups.slice(0, ERRORS_SHOWN).map((group, at) => {
      const details = drawError(group, openBefore.get(group.text) ?? at === 0, model.now());
      details.errorText = group.text;
      return details;
    });
    return [
      ...list,
      groups.length > ERRORS_SHOWN
        ? quiet(`${count(groups.length - ERRORS_SHOWN)} older ones are in debug.json.`)
        : null,
    ];
  });
}

// A finding's members are shown as they are: what it is called, how grave it is, then all the rest.
function drawFinding(finding) {
  const { id, severity, kind, what, ...rest } = finding;
  const text = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));
  const known = Object.entries(rest).filter(([, value]) => value !== null && value !== "");
  return make(
    "li",
    { class: "finding", "data-severity": severity ?? null },
    make(
      "p",
      null,
      severity ? make("b", { class: "severity" }, visible(severity)) : null,
      " ",
      name(what ?? kind ?? id),
    ),
    facts(known.map(([key, value]) => [visible(key).replace(/_/g, " "), name(text(value))])),
  );
}

function drawFindings(model) {
  whenChanged(byId("findings"), model.debug.findings, (findings) =>
    findings.length
      ? make("ul", { class: "findings" }, findings.map(drawFinding))
      : quiet("Nothing was found that is not safe to fork."),
  );
}

/* --- set-up --- */

function drawSetUp(model) {
  const { debug } = model;
  whenChanged(byId("log"), debug["autoconfigure.log"], (lines) => lines.map((line) => make("li", null, name(line))));
  const order = new Map(debug.executed_hooks.map((pair, at) => [pair.join(" "), at + 1]));
  whenChanged(byId("hooks"), [debug.hooks, debug.executed_hooks], () => [
    make("caption", null, "Fork points of this container"),
    make(
      "thead",
      null,
      make(
        "tr",
        null,
        ["Hook", "Event", "Order", "Runs", "First run"].map((title, at) =>
          make("th", { scope: "col", class: at > 1 ? "count" : null }, title),
        ),
      ),
    ),
    make(
      "tbody",
      null,
      debug.hooks.map((hook) =>
        make(
          "tr",
          { class: hook.runs ? null : "never" },
          make("th", { scope: "row" }, name(hook.hook)),
          make("td", null, shortEvent(hook.event)),
          make("td", { class: "count" }, String(order.get(`${hook.hook} ${hook.event}`) ?? "\u2013")),
          make("td", { class: "count" }, count(hook.runs)),
          make(
            "td",
            { class: "count" },
            hook.first_run ? `${day(moment(hook.first_run))} ${clock(moment(hook.first_run))}` : "never",
          ),
        ),
      ),
    ),
  ]);
}

function lossesText(master) {
  const losses = [
    [master.records_overwritten, "records overwritten"],
    [master.records_torn, "records torn"],
    [master.slots_refused, "processes without a slot"],
    [master.subscribers_refused, "subscribers refused"],
  ];
  const lost = losses.filter(([number]) => number);
  return lost.map(([number, what]) => `${count(number)} ${what}`).join(", ") || "nothing";
}

function drawMaster(master, now) {
  const forks = Object.entries(master.forks)
    .filter(([, forked]) => forked)
    .map(([role, forked]) => counted(forked, role))
    .join(", ");
  const { clean, failed, signal } = master.exits;
  return make(
    "div",
    { class: "master" },
    make(
      "h3",
      null,
      name(master.container),
      ` ${master.server_version ? visible(master.server_version) : ""} `,
      make("span", { class: "pid" }, `pid ${master.pid}`),
    ),
    facts([
      [
        "State",
        make(
          "span",
          { class: "state-word", "data-state": master.alive ? "ready" : "gone" },
          master.alive ? "running" : "ended",
        ),
      ],
      ["Up since", `${day(moment(master.created))} ${clock(moment(master.created), 0)}`],
      ["Generation", `${master.generation}, ${age((now - moment(master.opened)) / 1e6)} old`],
      ["Forks", forks || "none"],
      [
        "Last fork",
        master.last_fork ? `${day(moment(master.last_fork))} ${clock(moment(master.last_fork))}` : "none yet",
      ],
      ["Exits", `${count(clean)} clean, ${count(failed)} failed, ${count(signal)} by signal`],
      ["Lost", lossesText(master)],
      ["Settings", name(master.ini)],
      ["Application", name(master.app)],
      ["Journal", name(master.journal)],
      ["forksafe", name(master.forksafe_version)],
    ]),
  );
}

function drawMasters(model, minute) {
  const { masters } = model.debug;
  whenChanged(byId("masters"), [masters, minute], () =>
    masters.length
      ? [...masters].reverse().map((master) => drawMaster(master, model.now()))
      : quiet("No master has been seen."),
  );
}

/** Draws all panels from the model; ages again when `minute` is another. */
export function drawPanels(model, minute) {
  drawTop(model);
  drawTotals(model);
  drawErrors(model);
  drawFindings(model);
  drawSetUp(model);
  drawMasters(model, minute);
  const version = model.debug.masters.map((master) => visible(master.forksafe_version ?? "")).pop() ?? "";
  setText(byId("foot"), `forksafe ${version} \u00b7 as of ${clock(moment(model.debug.generated_at), 0)}`);
}
