/* SPDX-License-Identifier: MIT
 *
 * Moving through time by mouse, finger and keyboard. Each gesture changes the window and says so; nothing is drawn here. Runs in
 * the browser.
 */
const WHEEL = 0.0022; // of the natural logarithm of the zoom, a pixel of the wheel
const STEP = 1.6; // a key's or a button's zoom
const NARROW = 12; // pixels of a bar in which nobody can aim
const CLICK = 4; // pixels a pointer may move and still have clicked

function wheelPixels(event, delta) {
  return event.deltaMode === WheelEvent.DOM_DELTA_LINE
    ? delta * 16
    : event.deltaMode === WheelEvent.DOM_DELTA_PAGE
      ? delta * 400
      : delta;
}

/** The keys that change the window: what each does, given (timeline, event). */
const TIME_KEYS = {
  "+": (timeline) => zoomStep(timeline, 1),
  "=": (timeline) => zoomStep(timeline, 1),
  "-": (timeline) => zoomStep(timeline, -1),
  _: (timeline) => zoomStep(timeline, -1),
  ArrowLeft: ({ view }, event) => view.move(view.width * (event.shiftKey ? -0.9 : -0.15)),
  ArrowRight: ({ view }, event) => view.move(view.width * (event.shiftKey ? 0.9 : 0.15)),
};

/** The other keys: [method of the timeline, its argument]. */
const ROW_KEYS = {
  ArrowUp: ["step", -1],
  ArrowDown: ["step", 1],
  PageUp: ["step", -12],
  PageDown: ["step", 12],
  Home: ["step", -Infinity],
  End: ["step", Infinity],
  n: ["stepRecord", 1],
  p: ["stepRecord", -1],
};

export class Gestures {
  #pointers = new Map(); // by id: [x at the last event, y]
  #moved = 0;

  /** actions: moved() after the window changed by hand; drawn() to draw again; all(), latest(), burst(by); choose(element). */
  constructor(timeline, view, actions) {
    this.timeline = timeline;
    this.view = view;
    this.actions = actions;
    const { grid, scroller } = timeline;
    for (const area of [scroller, grid.querySelector(".head")]) {
      area.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
      area.addEventListener("pointerdown", (event) => this.#down(event));
      area.addEventListener("pointermove", (event) => this.#move(event));
      area.addEventListener("pointerup", (event) => this.#up(event));
      area.addEventListener("pointercancel", (event) => this.#pointers.delete(event.pointerId));
      area.addEventListener("dblclick", (event) => this.#double(event));
    }
    grid.addEventListener("keydown", (event) => this.#key(event));
  }

  /** The pixel of the lanes at which a pointer is; below 0 left of them. */
  #x(event) {
    return event.clientX - this.timeline.scroller.getBoundingClientRect().left - this.timeline.namesWidth();
  }

  /** The pixel to zoom about: the pointer's, over a bar too narrow to aim in where that hook began. */
  #aim(event) {
    const bar = event.target.closest?.(".bar");
    const record = bar && bar.offsetWidth <= NARROW && this.timeline.model.records.get(bar.dataset.record);
    return record ? this.view.x(record.at) : this.#x(event);
  }

  // Over the lanes the wheel zooms; where it can zoom no further out than everything, the page scrolls as ever.
  #wheel(event) {
    if (this.#x(event) < 0 || event.altKey) {
      return;
    }
    const [across, along] = [wheelPixels(event, event.deltaX), wheelPixels(event, event.deltaY)];
    if (event.shiftKey || Math.abs(across) > Math.abs(along)) {
      this.view.move(across || along);
    } else if (along > 0 && this.actions.showsAll()) {
      return;
    } else {
      this.view.zoom(Math.exp(-along * WHEEL), this.#aim(event));
    }
    event.preventDefault();
    this.actions.moved();
  }

  #down(event) {
    this.#moved = 0;
    if (event.button === 0 && this.#x(event) >= 0) {
      this.#pointers.set(event.pointerId, [event.clientX, event.clientY]);
    }
  }

  #move(event) {
    const last = this.#pointers.get(event.pointerId);
    if (!last) {
      return;
    }
    const by = event.clientX - last[0];
    this.#moved += Math.abs(by);
    if (this.#moved > CLICK && !event.currentTarget.hasPointerCapture(event.pointerId)) {
      event.currentTarget.setPointerCapture(event.pointerId);
    }
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    if (others.length) {
      this.#pinch(last, [event.clientX, event.clientY], others[0]);
    } else if (this.#moved > CLICK) {
      this.view.move(-by);
    }
    this.#pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (others.length || this.#moved > CLICK) {
      this.actions.moved();
    }
  }

  #pinch(from, to, other) {
    const before = Math.max(Math.abs(from[0] - other[0]), 20);
    const after = Math.max(Math.abs(to[0] - other[0]), 20);
    const left = this.timeline.scroller.getBoundingClientRect().left + this.timeline.namesWidth();
    this.view.zoom(after / before, (to[0] + other[0]) / 2 - left);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    if (event.button === 0 && this.#moved <= CLICK) {
      this.actions.choose(event.target);
    }
  }

  #double(event) {
    if (this.#x(event) >= 0 && this.view.zoom(4, this.#aim(event))) {
      this.actions.moved();
    }
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (!this.#timeKey(event) && !this.#rowKey(event)) {
      return;
    }
    event.preventDefault();
  }

  #timeKey(event) {
    const act = TIME_KEYS[event.key];
    if (act) {
      act(this.timeline, event);
      this.actions.moved();
      return true;
    }
    const named = {
      0: () => this.actions.all(),
      l: () => this.actions.latest(),
      "[": () => this.actions.burst(-1),
      "]": () => this.actions.burst(1),
    }[event.key.toLowerCase()];
    named?.();
    return Boolean(named);
  }

  #rowKey(event) {
    const [method, by] = ROW_KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key] || [];
    const { key } = this.timeline.selected;
    if (method) {
      this.timeline[method](by);
    } else if ((event.key === "Enter" || event.key === " ") && key) {
      this.timeline.toggle(key);
      this.actions.arranged();
    } else if (event.key === "Escape") {
      this.timeline.select(null);
    } else {
      return false;
    }
    this.actions.drawn();
    return true;
  }
}

/**
 * Zooms by one step of a key or a button, closer (by = 1) or wider (-1), about the hook that is chosen. Closer, that hook comes
 * nearer to the first third, so that what followed it stays in sight.
 */
export function zoomStep(timeline, by) {
  const { view } = timeline;
  const x = timeline.chosenAt();
  view.zoom(by > 0 ? STEP : 1 / STEP, x ?? view.width / 2);
  if (by > 0 && x !== null) {
    view.move((x - view.width / 3) / 2);
  }
}
