/* SPDX-License-Identifier: MIT
 *
 * The tree of processes with a lane of time for each: rows and bars of what is in sight, no others. Runs in the browser.
 */
import { byId, keyed, make, setAttribute, setText } from "./page_dom.js";
import { roleText, stateOf, stateText } from "./page_model.js";
import { clock, count, day, duration, longDuration, moment, shortEvent, visible, zone } from "./page_text.js";

const ROW = 26; // pixels: as --row in page.css
const BEYOND = 6; // rows drawn above and below what is in sight
const THIN = 3; // pixels a bar has at least
const WIDE = 15; // pixels from which its sign fits into a bar
const TEXT = 56; // and some of its name
const FOLD = 150; // bars in a lane above which those that cover each other are drawn as one

/** Outcomes by weight: of bars in one place the weightiest is on top. */
export const OUTCOMES = {
  queued: "waited for another hook to end",
  ok: "returned",
  running: "running",
  refused: "not run",
  unfinished: "begun, never ended: its process died",
  memory: "stopped at the memory limit",
  timeout: "stopped at the time limit",
  abandoned: "would not stop: its VM was abandoned",
  error: "threw an error",
};
const WEIGHT = Object.fromEntries(Object.keys(OUTCOMES).map((outcome, weight) => [outcome, weight]));
const weightOf = (outcome) => WEIGHT[outcome] ?? 0;

/** "worker 2: PostFork, cache, error after 2.88 ms, began 20:47:06.777". */
function recordText(record) {
  const took = record.duration === null ? record.outcome : `${record.outcome} after ${duration(record.duration)}`;
  const whose = record.subscriber === null ? "no subscriber" : visible(record.subscriber);
  return `${shortEvent(record.event)}, ${whose}, ${took}, began ${clock(record.at, 6)}`;
}

export class Timeline {
  collapsed = new Set(); // keys of rows whose children are hidden
  selected = { key: null, record: null };
  rows = [];

  /** on: changed() after other rows came into sight or another was chosen, moved() after the window was moved to show a hook. */
  constructor(model, view, on) {
    this.model = model;
    this.view = view;
    this.on = on;
    this.grid = byId("grid");
    this.scroller = byId("rows");
    this.space = byId("space");
    this.scroller.addEventListener("scroll", () => on.changed());
  }

  /** Brings rows and bars up to date. */
  draw() {
    this.view.width = Math.max(this.scroller.clientWidth - this.namesWidth(), 50);
    const first = Math.max(Math.floor(this.scroller.scrollTop / ROW) - BEYOND, 0);
    const last = Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / ROW) + BEYOND;
    this.space.style.height = `${this.rows.length * ROW}px`;
    setAttribute(this.grid, "aria-rowcount", this.rows.length + 1);
    setAttribute(this.grid, "data-from", Math.round(this.view.from));
    setAttribute(this.grid, "data-to", Math.round(this.view.to));
    const now = this.model.now();
    const inSight = this.rows.slice(first, last);
    keyed(
      this.space,
      inSight,
      (row) => row.key,
      (row) => this.#buildRow(row),
      (element, row) => this.#updateRow(element, row, now),
    );
    setAttribute(
      this.grid,
      "aria-activedescendant",
      inSight.some((row) => row.key === this.selected.key) ? `row-${this.selected.key}` : null,
    );
    this.#drawAxis(now);
  }

  namesWidth() {
    return this.grid.querySelector(".head .who").offsetWidth;
  }

  /** The processes whose rows are drawn. */
  pidsInSight() {
    return [...this.space.querySelectorAll("[data-pid].row")].map((row) => Number(row.dataset.pid));
  }

  /** The rows of the tree that pass the filter: words, and which ("all", "running", "ended", "failed"). */
  arrange(words, which) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const passes = (process) => {
      const failed = process.failed > 0 || this.model.records.of(process.pid).some((record) => record.failed);
      const text = wanted.length ? this.model.words(process) : "";
      return (which !== "failed" || failed) && wanted.every((word) => text.includes(word));
    };
    this.rows = this.model
      .families()
      .flatMap((family) => this.#rowsOf(family, passes, which))
      .map((row, at) => ({ ...row, at }));
  }

  #rowsOf(family, passes, which) {
    const running = which === "ended" ? [] : family.running.filter(passes);
    const ended = which === "running" ? [] : family.ended.filter(passes);
    const master = family.process || {
      pid: family.master.pid,
      role: "master",
      alive: family.master.alive,
      state: family.master.alive ? "ready" : "gone",
    };
    const key = `m${master.pid}`;
    const endedKey = `e${master.pid}`;
    const row = (process, level) => ({ kind: "process", key: `p${process.pid}`, level, process });
    const children = running.map((process) => row(process, 2));
    if (ended.length) {
      children.push({
        kind: "group",
        key: endedKey,
        level: 2,
        open: !this.collapsed.has(endedKey),
        text: `ended (${count(ended.length)})`,
      });
      children.push(...(this.collapsed.has(endedKey) ? [] : ended.map((process) => row(process, 3))));
    }
    const open = !this.collapsed.has(key);
    if (!children.length && !passes(master)) {
      return [];
    }
    return [
      { kind: "process", key, level: 1, process: master, open: children.length ? open : undefined },
      ...(open ? children : []),
    ];
  }

  #buildRow(row) {
    const who = make(
      "div",
      { class: "who", role: "rowheader" },
      make("span", { class: "twist", "aria-hidden": "true" }),
    );
    if (row.kind === "group") {
      who.append(make("span", { class: "group" }));
    } else {
      who.append(
        make("span", { class: "sign", "aria-hidden": "true" }),
        make("span", { class: "role" }),
        make("span", { class: "pid" }),
        make("span", { class: "state" }),
      );
    }
    const lane = make("div", { class: "lane", role: "gridcell" });
    if (row.kind === "process") {
      lane.append(make("div", { class: "life", "aria-hidden": "true" }), make("div", { class: "bars" }));
    }
    return make("div", { class: `row ${row.kind}`, role: "row", id: `row-${row.key}`, "data-row": row.key }, who, lane);
  }

  #updateRow(element, row, now) {
    element.style.top = `${row.at * ROW}px`;
    setAttribute(element, "aria-rowindex", row.at + 2);
    setAttribute(element, "aria-level", row.level);
    setAttribute(element, "aria-expanded", row.open);
    element.toggleAttribute("data-closed", row.open === false);
    setAttribute(element, "aria-selected", row.key === this.selected.key);
    if (row.kind === "group") {
      setText(element.querySelector(".group"), row.text);
      return;
    }
    const { process } = row;
    const records = this.model.records.of(process.pid);
    const state = stateOf(process);
    if (element.dataset.state && element.dataset.state !== state) {
      element.classList.remove("changed");
      requestAnimationFrame(() => element.classList.add("changed"));
    }
    const data = { pid: process.pid, state, role: process.role, worker: process.worker, failed: process.failed };
    Object.entries(data).forEach(([key, value]) => setAttribute(element, `data-${key}`, value));
    setText(element.querySelector(".role"), roleText(process));
    setText(element.querySelector(".pid"), String(process.pid));
    setText(element.querySelector(".state"), state);
    setAttribute(
      element.querySelector(".who"),
      "title",
      `${roleText(process)}, pid ${process.pid}: ${stateText(process)}`,
    );
    this.#drawLife(element.querySelector(".life"), process, records, now);
    this.#drawBars(element.querySelector(".bars"), records, now);
  }

  #drawLife(element, process, records, now) {
    const begin = Math.min(records.length ? records[0].at : Infinity, moment(process.since) ?? Infinity);
    const last = records.length ? records[records.length - 1] : null;
    const end = process.alive ? now : (moment(process.ended) ?? (last ? (last.end ?? last.at) : begin));
    const left = Math.max(this.view.x(begin), -4);
    const right = Math.min(this.view.x(Math.max(end, begin)), this.view.width + 4);
    element.hidden = !(right > left);
    element.style.left = `${left}px`;
    element.style.width = `${Math.max(right - left, 0)}px`;
    setAttribute(element, "data-state", stateOf(process));
  }

  /** What is to be drawn of a lane: [{ record, left, width, count }]. */
  #barsOf(records, now) {
    const bars = [];
    for (const record of records) {
      const left = this.view.x(record.at);
      const right = Math.max(this.view.x(record.end ?? (record.outcome === "running" ? now : record.at)), left + THIN);
      if (right < 0 || left > this.view.width) {
        continue;
      }
      const bar = {
        record,
        left: Math.max(left, -8),
        width: Math.min(right, this.view.width + 8) - Math.max(left, -8),
        count: 1,
      };
      const last = bars[bars.length - 1];
      if (records.length > FOLD && last && right <= last.left + Math.max(last.width, THIN)) {
        last.count++;
        last.record = weightOf(record.outcome) > weightOf(last.record.outcome) ? record : last.record;
      } else {
        bars.push(bar);
      }
    }
    return bars;
  }

  #drawBars(element, records, now) {
    keyed(
      element,
      this.#barsOf(records, now),
      (bar) => bar.record.key,
      (bar) => make("button", { type: "button", class: "bar", tabindex: -1, "data-record": bar.record.key }),
      (button, bar) => this.#updateBar(button, bar),
    );
  }

  #updateBar(button, { record, left, width, count: folded }) {
    button.style.left = `${left.toFixed(2)}px`;
    button.style.width = `${width.toFixed(2)}px`;
    button.style.zIndex = String(1 + weightOf(record.outcome));
    button.classList.toggle("wide", width >= WIDE);
    const text = width >= TEXT ? visible(record.subscriber ?? shortEvent(record.event)) : "";
    setText(button, text);
    setAttribute(button, "aria-current", record.key === this.selected.record ? "true" : null);
    const stamp = `${record.outcome} ${record.duration} ${folded}`;
    if (button.stamp === stamp) {
      return;
    }
    button.stamp = stamp;
    const data = {
      pid: record.pid,
      outcome: record.outcome,
      duration: record.duration,
      event: record.event,
      subscriber: record.subscriber,
      at: record.at,
      count: folded > 1 ? folded : null,
    };
    Object.entries(data).forEach(([key, value]) => setAttribute(button, `data-${key}`, value));
    setAttribute(button, "aria-label", recordText(record) + (folded > 1 ? `, and ${folded - 1} more here` : ""));
  }

  #drawAxis(now) {
    const { view } = this;
    const ticks = view.ticks(view.width < 400 ? 70 : 96);
    keyed(
      byId("axis"),
      ticks,
      (tick) => tick.moment,
      (tick) => make("span", { class: "tick" }, tick.label),
      (element, tick) => {
        setText(element, tick.label);
        element.style.left = `${view.x(tick.moment)}px`;
      },
    );
    const x = view.x(now);
    const lines = ticks.map((tick) => ({ key: tick.moment, x: view.x(tick.moment), class: "line" }));
    if (x >= 0 && x <= view.width) {
      lines.push({ key: "now", x, class: "line now" });
    }
    const plot = byId("plot");
    plot.style.height = `${this.rows.length * ROW}px`;
    keyed(
      plot,
      lines,
      (line) => line.key,
      (line) => make("div", { class: line.class }),
      (element, line) => {
        element.style.left = `${line.x}px`;
      },
    );
    setText(
      byId("corner"),
      `${day(view.from)} ${clock(view.from, 0).slice(0, 5)} ${zone()} \u00b7 ${longDuration(view.span / 1e6)}`,
    );
  }

  /* --- choosing --- */

  rowOf(key) {
    return this.rows.find((row) => row.key === key);
  }

  /** Chooses a row, and a record of it (its key) or none; brings both into sight. */
  select(key, record = null) {
    this.selected = { key, record };
    this.#reveal(this.model.records.get(record));
    const row = this.rowOf(key);
    if (row) {
      const top = row.at * ROW;
      const { scrollTop, clientHeight } = this.scroller;
      this.scroller.scrollTop = Math.min(Math.max(scrollTop, top + ROW - clientHeight), top);
    }
    this.on.changed();
  }

  /** Opens or closes what is below a row. */
  toggle(key) {
    if (!this.collapsed.delete(key)) {
      this.collapsed.add(key);
    }
  }

  /** The pixel at which the chosen hook begins; null where none is chosen or it is not in sight. */
  chosenAt() {
    const record = this.model.records.get(this.selected.record);
    const x = record ? this.view.x(record.at) : -1;
    return x >= 0 && x <= this.view.width ? x : null;
  }

  /** The row so many below the chosen one (above: less than 0). */
  step(by) {
    const at = this.rowOf(this.selected.key)?.at ?? (by > 0 ? -1 : 0);
    const row = this.rows[Math.min(Math.max(at + by, 0), this.rows.length - 1)];
    if (row) {
      this.select(row.key);
    }
  }

  /** The next hook of the chosen row, or the one before (by = -1); moves the window where it is not in it. */
  stepRecord(by) {
    const row = this.rowOf(this.selected.key);
    const records = row?.process ? this.model.records.of(row.process.pid) : [];
    const at = records.findIndex((record) => record.key === this.selected.record);
    const record = records[at < 0 ? (by > 0 ? 0 : records.length - 1) : at + by];
    if (record) {
      this.select(row.key, record.key);
    }
  }

  #reveal(record) {
    const { view } = this;
    if (record && (record.at < view.from || record.at > view.to) && !(record.end > view.from && record.at < view.to)) {
      view.set(record.at - view.span / 2, record.at + view.span / 2);
      this.on.moved();
    }
  }
}
