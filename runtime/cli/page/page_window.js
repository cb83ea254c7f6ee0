/* SPDX-License-Identifier: MIT
 *
 * The window of time that the timeline shows: which moment is at which pixel, zooming, moving, the marks on the axis. Runs in the
 * browser; touches no document. Moments and spans are microseconds.
 */
import { clock, day } from "./page_text.js";

const LEAST = 20; // microseconds: a record's time has no finer grain
const MOST = 400 * 86400e6;
const PADDING = 0.04; // of the span, left and right of what is shown whole

const SECOND = 1e6;
const STEPS = [
  ...[1, 10, 100, 1e3, 1e4, 1e5].flatMap((unit) => [unit, 2 * unit, 5 * unit]),
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200].map(
    (seconds) => seconds * SECOND,
  ),
  ...[1, 2, 7, 14, 28, 56].map((days) => days * 86400 * SECOND),
];

function digitsOf(step) {
  return step >= SECOND ? 0 : Math.ceil(-Math.log10(step / SECOND) - 1e-9);
}

export class TimeWindow {
  width = 1; // pixels

  constructor() {
    this.set(0, SECOND);
  }

  get span() {
    return this.to - this.from;
  }

  /** Exactly this window; a span that cannot be shown is widened or narrowed about its middle. */
  set(from, to) {
    const span = Math.min(Math.max(to - from, LEAST), MOST);
    const middle = (from + to) / 2;
    [this.from, this.to] = [middle - span / 2, middle + span / 2];
  }

  /** What shows all of [from, to] with a little air. */
  show(from, to) {
    const span = Math.max(to - from, 1000);
    this.set(from - span * PADDING, to + span * PADDING);
  }

  /** The pixel of a moment. */
  x(moment) {
    return ((moment - this.from) / this.span) * this.width;
  }

  /** The moment at a pixel. */
  at(x) {
    return this.from + (x / this.width) * this.span;
  }

  /** Zooms by a factor (above 1: closer) about a pixel. Returns false where it cannot be any closer or wider. */
  zoom(factor, x = this.width / 2) {
    const span = Math.min(Math.max(this.span / factor, LEAST), MOST);
    if (Math.abs(span - this.span) < 1e-6) {
      return false;
    }
    const anchor = this.at(x);
    const share = x / this.width;
    [this.from, this.to] = [anchor - span * share, anchor + span * (1 - share)];
    return true;
  }

  /** Moves by pixels: above 0 to later times. */
  move(pixels) {
    const by = (pixels / this.width) * this.span;
    this.from += by;
    this.to += by;
  }

  /** Marks with at least so many pixels between them: [{ moment, label }]. */
  ticks(apart = 90) {
    const least = (apart / this.width) * this.span;
    const step = STEPS.find((one) => one >= least) || STEPS[STEPS.length - 1];
    const shift = step >= 3600 * SECOND ? new Date(this.from / 1000).getTimezoneOffset() * 60 * SECOND : 0;
    const ticks = [];
    for (let n = Math.ceil((this.from - shift) / step); n * step + shift <= this.to; n++) {
      const moment = n * step + shift;
      ticks.push({ moment, label: this.#label(moment, step) });
    }
    return ticks;
  }

  // By the second and wider the time of day, closer only the second: its hour stands at the corner of the axis.
  #label(moment, step) {
    if (step >= 86400 * SECOND) {
      return day(moment);
    }
    const text = clock(moment, digitsOf(step));
    if (step >= 60 * SECOND) {
      return text.slice(0, 5);
    }
    return step >= SECOND ? text : text.slice(5);
  }
}
