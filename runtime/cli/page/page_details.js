/* SPDX-License-Identifier: MIT
 *
 * What is chosen in the timeline, in words and as a table: a process, one of its hooks, its error. Runs in the browser.
 */
import { byId, make, name } from "./page_dom.js";
import { roleText, stateOf, stateText } from "./page_model.js";
import { OUTCOMES } from "./page_timeline.js";
import { age, clock, count, day, duration, moment, shortEvent, visibleLines } from "./page_text.js";

const HOOKS_SHOWN = 200;

/** A list of facts: [["pid", "4934"], ["state", element]...]; those that are null are left out. */
export function facts(list) {
  const known = list.filter(([, value]) => value !== null && value !== undefined);
  return make(
    "dl",
    { class: "facts" },
    known.map(([term, value]) => make("div", null, make("dt", null, term), make("dd", null, value))),
  );
}

/** An error's text with its traceback, as it was written. */
export function traceback(text) {
  return make(
    "pre",
    { class: "traceback", tabindex: 0, dir: "ltr", "aria-label": "Error with its traceback" },
    make("bdi", null, visibleLines(text)),
  );
}

/** A word for an outcome, with its sign. */
export function outcomeText(outcome) {
  return make(
    "span",
    { class: "outcome", "data-outcome": outcome, title: OUTCOMES[outcome] },
    make("i", { class: "key", "data-outcome": outcome, "aria-hidden": "true" }),
    outcome,
  );
}

function moments(text, now) {
  const at = moment(text);
  return at === null ? null : `${day(at)} ${clock(at)} (${age((now - at) / 1e6)} ago)`;
}

export class Details {
  constructor(model, onRecord) {
    this.model = model;
    this.onRecord = onRecord;
    this.element = byId("details");
    this.stamp = "";
    this.element.addEventListener("click", (event) => {
      const row = event.target.closest("[data-record]");
      if (row) {
        this.onRecord(row.dataset.record);
      }
    });
  }

  /** Shows a process (null: nothing is chosen, and there is no panel) and the record of it that is chosen, if one is. */
  draw(process, recordId) {
    const minute = Math.floor(this.model.now() / 6e7);
    const stamp = process ? `${this.model.version} ${minute} ${process.pid} ${recordId}` : "none";
    if (stamp === this.stamp) {
      return;
    }
    this.stamp = stamp;
    byId("details-panel").hidden = !process;
    const scrolled = this.element.scrollTop;
    this.element.replaceChildren(...(process ? this.#process(process, recordId) : []));
    this.element.scrollTop = scrolled;
  }

  #process(process, recordId) {
    const records = this.model.records.of(process.pid);
    const record = records.find((one) => one.key === recordId);
    return [
      make("h3", null, `${roleText(process)} `, make("span", { class: "pid" }, `pid ${process.pid}`)),
      record ? this.#record(record) : null,
      this.#facts(process),
      process.error
        ? make("div", { class: "error" }, make("h4", null, "Latest error"), traceback(process.error))
        : null,
      records.length
        ? this.#hooks(records, recordId)
        : make(
            "p",
            { class: "quiet" },
            "No hook of it is loaded: all of them may be older than what is shown, or overwritten.",
          ),
    ].filter(Boolean);
  }

  #facts(process) {
    const now = this.model.now();
    if (process.forgotten) {
      return facts([
        ["State", stateText(process)],
        ["Generation", String(process.generation)],
      ]);
    }
    return facts([
      ["State", make("span", { class: "state-word", "data-state": stateOf(process) }, stateText(process))],
      ["Since", process.ended ? null : moments(process.since, now)],
      ["Ended", moments(process.ended, now)],
      ["Parent", process.ppid === null ? null : String(process.ppid)],
      ["Generation", String(process.generation)],
      ["Forked", process.forked ? "yes" : "no: it is the original process"],
      ["Application", process.app_loaded ? "loaded" : "not loaded"],
      ["Hooks run", count(process.runs) + (process.failed ? `, ${count(process.failed)} failed` : "")],
      ["Slowest", process.runs ? duration(process.slowest) : null],
    ]);
  }

  #record(record) {
    const { child } = record;
    const ended = child && (child.signal ? `by signal ${child.signal}` : `with status ${child.exit}`);
    return make(
      "div",
      { class: "chosen" },
      make("h4", null, shortEvent(record.event)),
      facts([
        ["Outcome", outcomeText(record.outcome)],
        ["Meaning", record.outcome === "ok" ? null : (OUTCOMES[record.outcome] ?? null)],
        [
          "Subscriber",
          record.subscriber === null ? "none: the hook fired, and nobody had subscribed" : name(record.subscriber),
        ],
        ["Took", duration(record.duration)],
        ["Began", `${day(record.at)} ${clock(record.at, 6)}`],
        ["Hook", name(record.hook)],
        ["Worker", record.role === "master" && record.worker ? String(record.worker) : null],
        ["Child", child ? `pid ${child.pid}, ended ${ended}` : null],
      ]),
    );
  }

  #hooks(records, recordId) {
    const shown = records.slice(-HOOKS_SHOWN);
    const first = shown[0].at;
    const rows = shown.map((record) =>
      make(
        "tr",
        { "data-record": record.key, "aria-current": record.key === recordId ? "true" : null },
        make(
          "td",
          { class: "count", title: clock(record.at, 6) },
          record.at === first ? "0" : `+${duration((record.at - first) / 1e6)}`,
        ),
        make(
          "th",
          { scope: "row" },
          make("button", { type: "button", class: "link" }, shortEvent(record.event)),
          record.subscriber === null ? null : name(record.subscriber, { class: "path" }),
        ),
        make("td", null, outcomeText(record.outcome)),
        make("td", { class: "count" }, duration(record.duration)),
      ),
    );
    const note = shown.length < records.length ? ` (the newest ${HOOKS_SHOWN} of ${count(records.length)})` : "";
    return make(
      "div",
      { class: "across", role: "region", tabindex: 0, "aria-label": "Hooks of this process" },
      make(
        "table",
        { class: "hooks-of" },
        make("caption", null, `Hooks since ${clock(first, 6)}${note}`),
        make(
          "thead",
          null,
          make(
            "tr",
            null,
            ["After", "Event, subscriber", "Outcome", "Took"].map((title) =>
              make("th", { scope: "col", class: title === "After" || title === "Took" ? "count" : null }, title),
            ),
          ),
        ),
        make("tbody", null, rows),
      ),
    );
  }
}
