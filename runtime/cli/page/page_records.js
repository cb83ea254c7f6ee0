/* SPDX-License-Identifier: MIT
 *
 * The records that were loaded, each once, by process and time; and of which stretches of time all are here. The same record
 * comes from /debug.json and from the live stream, under the same key. Runs in the browser; touches no document.
 */
import { Stretches } from "./page_stretches.js";
import { moment } from "./page_text.js";

const RECORDS_KEPT = 60000;
const BURST_GAP = 2e6; // microseconds without a hook that end a burst: more for a long one, up to
const BURST_GAP_MOST = 15e6;

/** What is not a failure. The rest is, also begun and never ended. */
const HARMLESS = new Set(["ok", "running", "queued"]);

export class Records {
  #byPid = new Map(); // pid → records in order of time
  #byKey = new Map();
  #known = new Stretches(); // of which every record is here
  #knownOf = new Map(); // pid → those of which its records are
  #remembered = {}; // bursts, and whether a hook runs, until a record changes them

  get size() {
    return this.#byKey.size;
  }

  pids() {
    return [...this.#byPid.keys()];
  }

  /** The records of a process in order of time; not to be changed. */
  of(pid) {
    return this.#byPid.get(pid) || [];
  }

  /** The record with this key; undefined where there is none. */
  get(key) {
    return this.#byKey.get(key);
  }

  all() {
    return this.#byKey.values();
  }

  #clear() {
    this.#byPid = new Map();
    this.#byKey = new Map();
    this.#known = new Stretches();
    this.#knownOf = new Map();
    this.#remembered = {};
  }

  /** Only these, which are all there are since `from`; what comes is told by the live stream. */
  replace(list, from) {
    this.#clear();
    this.#known.add(from, Infinity);
    list.forEach((data) => this.add(data));
  }

  /** These too, which are all of some processes from `from` to `to`. */
  join(list, pids, from, to) {
    list.forEach((data) => this.add(data));
    for (const pid of pids) {
      const known = this.#knownOf.get(pid) || new Stretches();
      known.add(from, to);
      this.#knownOf.set(pid, known);
    }
  }

  /** Whether there may be records of a process in a window that are not here. */
  isMissing(pid, from, to) {
    const own = this.#knownOf.get(pid);
    return !this.#known.covers(from, to, ...(own ? [own] : []));
  }

  /** One record as the debug object has it, with its key; new or again. */
  add(data) {
    const known = this.#byKey.get(data.key);
    if (known && known.duration !== null && data.duration === null) {
      return; // was asked for before it had ended
    }
    const record = Object.assign(known || {}, data, { at: known ? known.at : moment(data.at) });
    record.end = record.duration === null ? null : record.at + record.duration * 1e6;
    record.failed = !HARMLESS.has(record.outcome);
    this.#remembered = {};
    if (!known) {
      this.#insert(record);
    }
  }

  #insert(record) {
    const records = this.#byPid.get(record.pid) || [];
    let place = records.length;
    while (place > 0 && records[place - 1].at > record.at) {
      place--;
    }
    records.splice(place, 0, record);
    this.#byPid.set(record.pid, records);
    this.#byKey.set(record.key, record);
  }

  /** Lets go of what lies outside of a window where too much has come together. */
  trim(from, to) {
    if (this.size <= RECORDS_KEPT) {
      return;
    }
    const kept = [...this.all()]
      .filter((record) => record.at >= from && record.at <= to)
      .sort((a, b) => a.at - b.at)
      .slice(-RECORDS_KEPT);
    this.#clear();
    kept.forEach((record) => this.#insert(record));
    this.#known.add(Math.max(to, kept[kept.length - 1]?.at ?? to), Infinity);
  }

  /** From the first begin to the last end of all that is here: [from, to]; null where nothing is. */
  extent() {
    const bursts = this.bursts();
    return bursts.length ? [bursts[0][0], bursts.reduce((end, [, to]) => Math.max(end, to), 0)] : null;
  }

  /** Stretches in which something ran, with longer ones between them in which nothing did: [[from, to]...] in order. */
  bursts() {
    this.#remembered.bursts ||= this.#findBursts();
    return this.#remembered.bursts;
  }

  #findBursts() {
    const bursts = [];
    for (const record of [...this.all()].sort((a, b) => a.at - b.at)) {
      const last = bursts[bursts.length - 1];
      const end = record.end ?? record.at;
      if (last && record.at - last[1] <= Math.min(Math.max(BURST_GAP, last[1] - last[0]), BURST_GAP_MOST)) {
        last[1] = Math.max(last[1], end);
      } else {
        bursts.push([record.at, end]);
      }
    }
    return bursts;
  }

  /** Whether a hook runs at this moment. */
  isRunning() {
    this.#remembered.running ??= [...this.all()].some((record) => record.outcome === "running");
    return this.#remembered.running;
  }
}
