/* SPDX-License-Identifier: MIT
 *
 * Stretches of time of which everything is known, joined where they touch. Runs in the browser; touches no document. Moments are
 * microseconds.
 */
export class Stretches {
  #list = []; // [from, to], in order, none touches another

  add(from, to) {
    const all = [...this.#list, [from, to]].sort((a, b) => a[0] - b[0]);
    this.#list = [];
    for (const stretch of all) {
      const last = this.#list[this.#list.length - 1];
      if (last && stretch[0] <= last[1]) {
        last[1] = Math.max(last[1], stretch[1]);
      } else {
        this.#list.push([...stretch]);
      }
    }
  }

  /** Whether all of [from, to] is known here, or in these others together with it. */
  covers(from, to, ...others) {
    const all = [this, ...others].flatMap((one) => one.#list).sort((a, b) => a[0] - b[0]);
    let at = from;
    for (const [begin, end] of all) {
      if (begin <= at && end > at) {
        at = end;
      }
    }
    return at >= to;
  }
}
