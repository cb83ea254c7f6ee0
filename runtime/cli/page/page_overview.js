/* SPDX-License-Identifier: MIT
 *
 * The strip above the timeline: all that is known, how much ran when and what of it failed, and where the window is; dragging in
 * it chooses another. For the eye and the mouse alone: the timeline says and does the same. Runs in the browser.
 */
import { byId, make, setText } from "./page_dom.js";
import { day, clock } from "./page_text.js";

const COLUMN = 3; // pixels
const LEAST = 6; // pixels of the window's mark
const AIR = 0.015; // of the span, left and right

export class Overview {
  #drag = null;
  #extent = [0, 1];

  constructor(model, view, moved) {
    this.model = model;
    this.view = view;
    this.element = byId("overview");
    this.columns = make("div", { class: "columns" });
    this.brush = make("div", { class: "brush" });
    this.begin = make("span", { class: "begin" });
    this.end = make("span", { class: "end" });
    this.element.append(this.columns, this.brush, this.begin, this.end);
    this.element.addEventListener("pointerdown", (event) => this.#down(event));
    this.element.addEventListener("pointermove", (event) => this.#drag && this.#move(event));
    this.element.addEventListener("pointerup", (event) => this.#up(event));
    this.element.addEventListener("pointercancel", () => {
      this.#drag = null;
    });
    this.moved = moved;
  }

  /** Draws the strip for [first, last], which is all that is known. */
  draw([first, last]) {
    const air = (last - first) * AIR;
    const [from, to] = [first - air, last + air];
    this.#extent = [from, to];
    const width = this.element.clientWidth;
    const x = (moment) => ((moment - from) / (to - from)) * width;
    this.#drawColumns(x, width);
    const left = Math.min(Math.max(x(this.view.from), 0), width - LEAST);
    const right = Math.min(Math.max(x(this.view.to), left + LEAST), width);
    this.brush.style.left = `${left}px`;
    this.brush.style.width = `${right - left}px`;
    setText(this.begin, `${day(first)} ${clock(first, 0)}`);
    setText(this.end, day(first) === day(last) ? clock(last, 0) : `${day(last)} ${clock(last, 0)}`);
  }

  #drawColumns(x, width) {
    const stamp = `${this.model.version} ${width} ${this.#extent}`;
    if (this.stamp === stamp) {
      return;
    }
    this.stamp = stamp;
    const columns = new Map();
    for (const record of this.model.records.all()) {
      const at = Math.floor(x(record.at) / COLUMN);
      const column = columns.get(at) || { hooks: 0, failed: 0 };
      column.hooks++;
      column.failed += record.failed ? 1 : 0;
      columns.set(at, column);
    }
    const most = Math.max(1, ...[...columns.values()].map((column) => column.hooks));
    this.columns.replaceChildren(
      ...[...columns].map(([at, { hooks, failed }]) => {
        const element = make("i", { class: failed ? "failed" : null });
        element.style.left = `${at * COLUMN}px`;
        element.style.height = `${20 + 80 * (Math.log1p(hooks) / Math.log1p(most))}%`;
        return element;
      }),
    );
  }

  #at(event) {
    const box = this.element.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    return this.#extent[0] + share * (this.#extent[1] - this.#extent[0]);
  }

  // On the window's mark: moves it. Beside it: a new window from there to where the pointer goes.
  #down(event) {
    if (event.button !== 0) {
      return;
    }
    this.element.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    const box = this.brush.getBoundingClientRect();
    this.#drag = {
      at,
      moves: event.clientX >= box.left && event.clientX <= box.right,
      from: this.view.from,
      to: this.view.to,
      x: event.clientX,
    };
  }

  #move(event) {
    const at = this.#at(event);
    const { at: begin, moves, from, to, x } = this.#drag;
    if (moves) {
      this.view.set(from + at - begin, to + at - begin);
    } else if (Math.abs(event.clientX - x) > 3) {
      this.view.set(Math.min(begin, at), Math.max(begin, at));
    } else {
      return;
    }
    this.moved();
  }

  // A click beside the mark brings the window there.
  #up(event) {
    if (this.#drag && !this.#drag.moves && Math.abs(event.clientX - this.#drag.x) <= 3) {
      const { span } = this.view;
      this.view.set(this.#drag.at - span / 2, this.#drag.at + span / 2);
      this.moved();
    }
    this.#drag = null;
  }
}
