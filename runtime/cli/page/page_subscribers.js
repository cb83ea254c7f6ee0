/* SPDX-License-Identifier: MIT
 *
 * The table of subscribers: counts by outcome, latencies from the histogram, and what is special about one. Can be sorted and
 * searched. Runs in the browser.
 */
import { byId, make, name, setText } from "./page_dom.js";
import { count, duration, percentile, shortEvent, visible } from "./page_text.js";

const SHOWN = 200;
const USUAL_ORDER = 50; // of subscribers that did not say one
const FAILURES = ["error", "timeout", "memory", "abandoned", "refused"];

const failuresOf = (subscriber) => FAILURES.reduce((sum, outcome) => sum + (subscriber.outcomes[outcome] || 0), 0);
const percentileOf = (subscriber, share) => percentile(subscriber.buckets, share, subscriber.max);
const numeric = (value) => make("td", { class: "count" }, value);

/** How many failed, and how: "3" and "2 error, 1 timeout". */
function failuresCell(subscriber) {
  const failed = failuresOf(subscriber);
  const kinds = FAILURES.filter((outcome) => subscriber.outcomes[outcome]);
  const how =
    kinds.length === 1
      ? kinds[0]
      : kinds.map((outcome) => `${count(subscriber.outcomes[outcome])} ${outcome}`).join(", ");
  return make(
    "td",
    { class: failed ? "count failed" : "count" },
    count(failed),
    failed ? make("span", { class: "kinds" }, how) : null,
  );
}

/** Bars of the histogram; what it says stands in its label. */
function histogram(subscriber) {
  const most = Math.max(1, ...subscriber.buckets.map(([, runs]) => runs));
  const said = subscriber.buckets
    .map(([bound, runs], at) => [
      runs,
      bound === null ? `over ${duration(subscriber.buckets[at - 1]?.[0] ?? 0)}` : `up to ${duration(bound)}`,
    ])
    .filter(([runs]) => runs);
  const columns = subscriber.buckets.map(([, runs]) => {
    const column = make("i", { class: runs ? null : "none" });
    column.style.height = runs ? `${15 + 85 * (Math.log1p(runs) / Math.log1p(most))}%` : "";
    return column;
  });
  const text = said.map(([runs, bound]) => `${count(runs)} ${bound}`).join(", ") || "no run";
  return make("span", { class: "histogram", role: "img", "aria-label": text, title: text }, columns);
}

function notes(subscriber) {
  const list = [
    subscriber.stale ? ["stale", "the script has changed since it was loaded: reload the server", "warn"] : null,
    subscriber.active
      ? null
      : ["retired", `not subscribed any more: its last generation was ${subscriber.generation}`, null],
    subscriber.on_error === "log"
      ? null
      : [subscriber.on_error.replace("_", " "), "what the server does when it fails", null],
    subscriber.hook === null ? ["never fires", "this container has no such fork point", null] : null,
  ];
  return list
    .filter(Boolean)
    .map(([text, title, kind]) => make("span", { class: "badge", title, "data-kind": kind }, text));
}

// The whole path is in the title: the file's name is what tells scripts apart.
function nameCell(subscriber) {
  const { path, line, order } = subscriber;
  const at = line ? `:${line}` : "";
  const file =
    path === null ? null : make("bdi", { title: visible(path) + at }, visible(path.replace(/^.*\//s, "")) + at);
  const below = [file, order === USUAL_ORDER ? null : `${file ? " \u00b7 " : ""}order ${order}`];
  return make("th", { scope: "row" }, name(subscriber.name), notes(subscriber), make("span", { class: "path" }, below));
}

/** Columns: title, explanation, the value it is sorted by, the cell, whether it is a number. */
const COLUMNS = [
  ["Subscriber", null, (one) => one.name ?? "", nameCell],
  ["Event", null, (one) => one.event, (one) => make("td", null, shortEvent(one.event))],
  ["Runs", "runs begun", (one) => one.begun, (one) => numeric(count(one.begun)), true],
  ["Failed", "threw, or was stopped", failuresOf, failuresCell, true],
  [
    "Unfinished",
    "running now, or killed in the middle",
    (one) => one.unfinished,
    (one) => numeric(count(one.unfinished)),
    true,
  ],
  [
    "p50",
    "half of the runs were faster (from the histogram)",
    (one) => percentileOf(one, 0.5) ?? -1,
    (one) => numeric(duration(percentileOf(one, 0.5))),
    true,
  ],
  [
    "p95",
    "95 of 100 runs were faster (from the histogram)",
    (one) => percentileOf(one, 0.95) ?? -1,
    (one) => numeric(duration(percentileOf(one, 0.95))),
    true,
  ],
  [
    "Max",
    "the longest run",
    (one) => one.max,
    (one) => numeric(one.begun > one.unfinished ? duration(one.max) : "\u2013"),
    true,
  ],
  ["Distribution", "runs by time: from 10 \u00b5s to over 5 s", null, (one) => make("td", null, histogram(one))],
];

export class Subscribers {
  constructor() {
    this.list = [];
    this.table = byId("subscribers");
    this.filter = byId("subscriber-filter");
    this.sorted = { column: null, falling: true };
    this.filter.addEventListener("input", () => this.draw(this.list));
  }

  draw(list) {
    this.list = list;
    const wanted = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const stamp = JSON.stringify([list, wanted, this.sorted]);
    if (stamp === this.stamp) {
      return;
    }
    this.stamp = stamp;
    const found = list.filter((one) =>
      wanted.every((word) => `${one.name} ${one.event} ${one.path}`.toLowerCase().includes(word)),
    );
    this.#sort(found);
    const shown = found.slice(0, SHOWN);
    setText(
      byId("subscriber-note"),
      shown.length < list.length ? `${count(shown.length)} of ${count(list.length)} shown` : "",
    );
    const focused = this.table.contains(document.activeElement) ? document.activeElement.dataset.column : null;
    this.table.replaceChildren(
      this.#head(),
      make("tbody", null, shown.length ? shown.map((one) => this.#row(one)) : this.#none(list)),
    );
    this.table.querySelector(`[data-column="${focused}"]`)?.focus();
  }

  #sort(found) {
    const { column, falling } = this.sorted;
    if (column === null) {
      return;
    }
    const value = COLUMNS[column][2];
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    found.sort((a, b) => compare(value(a), value(b)) * (falling ? -1 : 1));
  }

  #head() {
    const cells = COLUMNS.map(([title, meaning, value, , isCount], at) => {
      const isSorted = this.sorted.column === at;
      const button = make(
        "button",
        { type: "button", "data-column": at, title: meaning, onclick: () => this.#sortBy(at) },
        title,
      );
      return make(
        "th",
        {
          scope: "col",
          class: isCount ? "count" : null,
          title: meaning,
          "aria-sort": isSorted ? (this.sorted.falling ? "descending" : "ascending") : null,
        },
        value ? button : title,
      );
    });
    return make("thead", null, make("tr", null, cells));
  }

  // Largest first, then smallest first, then as the debug object has them.
  #sortBy(column) {
    const { column: before, falling } = this.sorted;
    const again = before === column;
    this.sorted = again && !falling ? { column: null, falling: true } : { column, falling: !again };
    this.draw(this.list);
  }

  #row(subscriber) {
    const data = {
      "data-subscriber": subscriber.name,
      "data-event": subscriber.event,
      "data-begun": subscriber.begun,
      "data-failed": failuresOf(subscriber),
      "data-p50": percentileOf(subscriber, 0.5),
      "data-p95": percentileOf(subscriber, 0.95),
      "data-max": subscriber.max,
    };
    return make(
      "tr",
      { ...data, class: subscriber.active ? null : "never" },
      COLUMNS.map(([, , , cell]) => cell(subscriber)),
    );
  }

  #none(list) {
    return make(
      "tr",
      null,
      make(
        "td",
        { colspan: COLUMNS.length, class: "quiet" },
        list.length ? "None has such a name, event or path." : "No script has subscribed to an event.",
      ),
    );
  }
}
