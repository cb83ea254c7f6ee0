/* SPDX-License-Identifier: MIT
 *
 * What the page knows of one instance: the debug object without its records, processes, and the records (page_records.js).
 * Fed by /debug.json and the live stream; asked by everything that draws. Runs in the browser; touches no document.
 */
import { Records } from "./page_records.js";
import { moment, shortEvent } from "./page_text.js";

const ENDED_KEPT = 20000; // processes that have ended, beyond those the journal still lists

/** How a process stands, in one word: the states of the debug object, and of those that ended how. */
export function stateOf(process) {
  if (process.alive || process.state === "forgotten") {
    return process.state;
  }
  if (process.exit_signal) {
    return "killed";
  }
  if (process.state === "exited") {
    return process.exit_status ? "failed" : "exited";
  }
  return "gone";
}

/** The same for who reads: "killed by signal 9". */
export function stateText(process) {
  const state = stateOf(process);
  const texts = {
    killed: `killed by signal ${process.exit_signal}`,
    failed: `exited with status ${process.exit_status}`,
    exited: "exited",
    gone: "gone: nobody could tell how it ended",
    forgotten: "ended long ago: another process has taken its slot over",
  };
  return texts[state] || state;
}

/** "worker 3", "master", "helper". */
export function roleText(process) {
  return process.worker && process.role !== "master" ? `${process.role} ${process.worker}` : process.role;
}

function isFailure(subscriber) {
  return Object.entries(subscriber.outcomes).reduce(
    (sum, [outcome, runs]) => sum + (outcome === "ok" || outcome === "queued" ? 0 : runs),
    0,
  );
}

export class Model {
  constructor() {
    this.records = new Records();
    this.debug = null; // the newest debug object, without processes and records
    this.processes = new Map(); // by pid: a pid that came again is the newer process
    this.version = 0; // rises with every change
    this.clockOffset = 0;
  }

  /** Now, by the clock of the server. */
  now() {
    return Date.now() * 1000 + this.clockOffset;
  }

  #setDebug(debug) {
    const { processes, records, ...rest } = debug;
    this.debug = rest;
    this.clockOffset = moment(rest.generated_at) - Date.now() * 1000;
    this.version++;
  }

  /** A whole debug object whose records are all since `from` (a moment; -Infinity: since the beginning). */
  load(debug, from) {
    this.#setDebug(debug);
    this.processes = new Map();
    debug.processes.forEach((process) => this.#setProcess(process));
    this.records.replace(debug.records, from);
  }

  /** What was asked for of some processes: they, and all their records from `from` to `to`. */
  loadWindow({ processes, records }, pids, from, to) {
    processes.forEach((process) => this.#setProcess(process));
    this.records.join(records, pids, from, to);
    this.version++;
  }

  /** A debug object as the live stream brings it; with very many subscribers it comes without them. */
  setState(state) {
    this.#setDebug({ ...state, subscribers: state.subscribers ?? this.debug?.subscribers ?? [] });
  }

  #setProcess(process) {
    const known = this.processes.get(process.pid);
    if (known && known.alive && !process.alive && moment(known.since) > moment(process.since)) {
      return; // an older process that had the same pid
    }
    this.processes.delete(process.pid); // the newest last
    this.processes.set(process.pid, process);
    this.version++;
  }

  setProcess(process) {
    this.#setProcess(process);
    if (this.processes.size > ENDED_KEPT) {
      const oldest = [...this.processes.values()].find((one) => !one.alive);
      this.processes.delete(oldest?.pid);
    }
  }

  addRecord(data) {
    this.records.add(data);
    this.version++;
  }

  /** Processes by the masters they belong to: [{ master, process, running, ended }]; the newest master first. */
  families() {
    const families = new Map();
    for (const master of this.debug?.masters || []) {
      families.set(master.pid, { master, process: null, running: [], ended: [] });
    }
    const newest = [...families.values()].pop();
    for (const process of [...this.processes.values(), ...this.#forgotten()]) {
      const family = families.get(process.master) || newest;
      if (family && process.pid === family.master.pid) {
        family.process = process;
      } else if (family) {
        (process.alive ? family.running : family.ended).push(process);
      }
    }
    for (const family of families.values()) {
      family.running.sort((a, b) => (a.worker || 0) - (b.worker || 0) || a.pid - b.pid);
      family.ended.sort((a, b) =>
        (b.ended ?? "") < (a.ended ?? "") ? -1 : (b.ended ?? "") > (a.ended ?? "") ? 1 : b.pid - a.pid,
      );
    }
    return [...families.values()].reverse();
  }

  /** Processes that only their records still tell of. */
  #forgotten() {
    const masters = new Set((this.debug?.masters || []).map((master) => master.pid));
    const lost = this.records.pids().filter((pid) => !this.processes.has(pid) && !masters.has(pid));
    return lost.map((pid) => {
      const { role, worker, generation } = this.records.of(pid)[0];
      return { pid, role, worker, generation, state: "forgotten", alive: false, error: null, forgotten: true };
    });
  }

  /** Processes that have an error, the latest first. */
  errors() {
    const latest = (process) =>
      this.records.of(process.pid).reduce((at, record) => (record.failed ? Math.max(at, record.at) : at), 0);
    const failed = [...this.processes.values()].filter((process) => process.error);
    return failed
      .map((process) => ({ process, at: latest(process) || moment(process.since) || 0 }))
      .sort((a, b) => b.at - a.at);
  }

  /** Sums for the strip at the top. */
  totals() {
    const { masters = [], subscribers = [], hooks = [] } = this.debug || {};
    const sum = (list, value) => list.reduce((all, one) => all + value(one), 0);
    const workers = [...this.processes.values()].filter((process) => process.role !== "master");
    return {
      alive: workers.filter((process) => process.alive).length,
      ready: workers.filter((process) => process.alive && process.state === "ready").length,
      generation: Math.max(0, ...masters.map((master) => master.generation)),
      forks: sum(masters, (master) => sum(Object.values(master.forks), (forks) => forks)),
      clean: sum(masters, (master) => master.exits.clean),
      failed: sum(masters, (master) => master.exits.failed),
      signal: sum(masters, (master) => master.exits.signal),
      hooks: sum(hooks, (hook) => hook.runs),
      runs: sum(subscribers, (subscriber) => subscriber.begun),
      failures: sum(subscribers, isFailure),
      slowest: subscribers.reduce((most, one) => (most && most.max >= one.max ? most : one), null),
      overwritten: sum(masters, (master) => master.records_overwritten),
      refused: sum(masters, (master) => master.slots_refused),
    };
  }

  /** All words by which a process can be found: its own and its hooks'. */
  words(process) {
    const records = this.records.of(process.pid);
    const hooks = new Set(
      records.map((record) => `${shortEvent(record.event)} ${record.subscriber || ""} ${record.outcome}`),
    );
    return `${roleText(process)} ${process.pid} ${stateOf(process)} generation ${process.generation} ${[...hooks].join(" ")}`.toLowerCase();
  }
}
