/* SPDX-License-Identifier: MIT
 *
 * The page's line to its server: the debug object at first and again after every interruption, what it shows of older times
 * when it is asked for, and the live stream. Runs in the browser; touches no document.
 */
import { moment, momentText } from "./page_text.js";

const NEWEST = 500; // records asked for at first
const MOST = 5000; // records asked for of one window
const PIDS = 200; // processes asked for at once: those in sight are fewer
const RETRY = [1000, 2000, 5000, 10000]; // milliseconds, where the browser itself does not try again

export class Live {
  #source = null;
  #attempts = 0;
  #timer = 0;
  #loading = null; // messages that came while a debug object was on its way; null: none is
  #tried = ""; // the window that was asked for last

  /** on: connected(), lost(message), changed(). */
  constructor(model, on) {
    this.model = model;
    this.on = on;
    this.instance = null;
  }

  #address(path, parameters = {}) {
    const query = new URLSearchParams(parameters);
    if (this.instance !== null) {
      query.set("instance", this.instance);
    }
    return [path, query.toString()].filter(Boolean).join("?");
  }

  async #get(path, parameters) {
    const address = this.#address(path, parameters);
    const response = await fetch(address, { cache: "no-store" });
    if (!response.ok) {
      throw new Error(`${address}: ${response.status} ${(await response.text()).trim().slice(0, 300)}`);
    }
    return response.json();
  }

  /** Names of the instances the server has; the first is the one it shows unasked. */
  async instances() {
    const { instances } = await this.#get("instances.json");
    return instances;
  }

  /** Shows an instance from now on; null: the server's only one. */
  open(instance) {
    this.instance = instance;
    this.#tried = "";
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    const source = new EventSource(this.#address("events"));
    this.#source = source;
    source.addEventListener("open", () => this.#load());
    source.addEventListener("error", () =>
      this.#failed(source.readyState === EventSource.CLOSED, "the live stream was interrupted"),
    );
    const handlers = {
      record: (data) => this.model.addRecord(data),
      process: (data) => this.model.setProcess(data),
      state: (data) => this.model.setState(data),
      trouble: ({ error }) => (error === null ? this.on.connected() : this.on.lost(error)),
    };
    for (const [event, apply] of Object.entries(handlers)) {
      source.addEventListener(event, (message) => this.#received(() => apply(JSON.parse(message.data))));
    }
  }

  #received(apply) {
    if (this.#loading) {
      this.#loading.push(apply);
      return;
    }
    apply();
    this.on.changed();
  }

  #failed(isOver, message) {
    this.on.lost(message);
    clearTimeout(this.#timer);
    if (isOver) {
      this.#timer = setTimeout(() => this.#connect(), RETRY[Math.min(this.#attempts++, RETRY.length - 1)]);
    }
  }

  // A request failed: begins anew with everything.
  #broken(source, error) {
    if (source === this.#source) {
      source.close();
      this.#failed(true, error.message);
    }
  }

  /** Runs `ask` and then what the stream brought meanwhile: what is newer wins. */
  async #whileWaiting(ask) {
    const waiting = (this.#loading = []);
    try {
      return await ask();
    } finally {
      if (this.#loading === waiting) {
        this.#loading = null;
      }
      waiting.forEach((apply) => apply());
      this.on.changed();
    }
  }

  async #load() {
    const source = this.#source;
    try {
      await this.#whileWaiting(async () => {
        const debug = await this.#get("debug.json", { keys: 1, records: NEWEST });
        if (source === this.#source) {
          this.model.load(debug, debug.records.length < NEWEST ? -Infinity : oldest(debug.records));
        }
      });
      this.#attempts = 0;
      this.on.connected();
    } catch (error) {
      this.#broken(source, error);
    }
  }

  /**
   * Asks for the records of some processes in a window, those that are not here. Once for each window: where more than can be
   * shown are in it, the newest come, and a narrower window brings the others. Returns whether anything is still missing.
   */
  async want(pids, from, to) {
    const { records } = this.model;
    const end = Math.min(to, this.model.now());
    const isMissing = (pid) => records.isMissing(pid, from, end);
    const missing = pids.filter(isMissing).slice(0, PIDS);
    const stamp = `${from} ${to} ${missing}`;
    if (!missing.length || this.#tried === stamp || this.#loading || !this.model.debug) {
      return missing.length > 0;
    }
    this.#tried = stamp;
    const source = this.#source;
    try {
      await this.#whileWaiting(() => this.#loadWindow(missing, Math.floor(from), Math.ceil(end)));
    } catch (error) {
      this.#broken(source, error);
    }
    return pids.some(isMissing);
  }

  async #loadWindow(pids, from, to) {
    const source = this.#source;
    const window = { records_from: momentText(from), records_to: momentText(to) };
    const debug = await this.#get("debug.json", { keys: 1, records: MOST, ...window, pids: pids.join() });
    if (source === this.#source) {
      this.model.loadWindow(
        debug,
        pids,
        debug.records.length < MOST ? from : Math.max(oldest(debug.records), from),
        to,
      );
      this.model.records.trim(from, to);
    }
  }
}

function oldest(records) {
  return records.reduce((least, record) => Math.min(least, moment(record.at)), Infinity);
}
