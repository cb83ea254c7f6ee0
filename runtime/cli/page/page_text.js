/* SPDX-License-Identifier: MIT
 *
 * How values become text for eyes: names that may hold anything, durations, moments, counts. Runs in the browser; touches no
 * document. A moment is whole microseconds since 1970, which a double holds exactly.
 */

// Control characters, marks that turn the direction of text, what has no width and no glyph, halves of a surrogate pair.
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

function picture(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) {
    return String.fromCharCode(0x2400 + code);
  }
  if (code === 0x7f) {
    return "\u2421";
  }
  return "\u27e8U+" + code.toString(16).toUpperCase().padStart(4, "0") + "\u27e9";
}

/** Any text as one that only shows: what would act on a terminal, a layout or an eye is a control picture or its number. */
export function visible(text) {
  return String(text).replace(UNSAFE, picture);
}

/** The same for text of several lines: line ends and tabs stay. */
export function visibleLines(text) {
  return String(text)
    .replace(/\r\n/g, "\n")
    .replace(UNSAFE, (character) => (character === "\n" || character === "\t" ? character : picture(character)));
}

/** "ApplicationPostFork" as "PostFork": every event begins so. */
export function shortEvent(event) {
  return event.replace(/^Application/, "");
}

/** A hook's time in seconds ("2.88 ms"); null is a dash. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) {
    return "\u2013";
  }
  const units = [
    [1, "s"],
    [1e-3, "ms"],
    [1e-6, "\u00b5s"],
    [1e-9, "ns"],
  ];
  if (seconds >= 60) {
    return longDuration(seconds);
  }
  const [size, unit] = units.find(([least]) => seconds >= least * 0.9995) || units[3];
  const value = seconds / size;
  return `${value >= 100 || size === 1e-9 ? Math.round(value) : Number(value.toPrecision(3))} ${unit}`;
}

/** A span of time that people wait for ("3 min 5 s", "2 d 4 h"). */
export function longDuration(seconds) {
  const units = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  if (seconds < 60) {
    return seconds < 1 ? duration(seconds) : `${Number(seconds.toPrecision(3))} s`;
  }
  const at = units.findIndex(([size]) => seconds >= size);
  const [size, unit] = units[at];
  const whole = Math.floor(seconds / size);
  const rest = units[at + 1] && Math.floor((seconds - whole * size) / units[at + 1][0]);
  return `${whole} ${unit}` + (rest ? ` ${rest} ${units[at + 1][1]}` : "");
}

/** How long ago something was, to the minute: what says so is not drawn again every second. */
export function age(seconds) {
  return seconds < 60 ? "under a minute" : longDuration(seconds - (seconds % 60));
}

const grouped = new Intl.NumberFormat("en-GB");

/** A counter: "12,345". */
export function count(value) {
  return grouped.format(value);
}

/** "1 worker", "2 workers". */
export function counted(value, one, many = one + "s") {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** RFC 3339 as a moment, with every digit that is there; null where it is none. */
export function moment(text) {
  const match = /^(.*?)(?:\.(\d+))?Z$/.exec(text || "");
  const milliseconds = match ? Date.parse(match[1] + "Z") : NaN;
  return Number.isNaN(milliseconds) ? null : milliseconds * 1000 + Number((match[2] || "0").slice(0, 6).padEnd(6, "0"));
}

/** A moment as RFC 3339 with six digits. */
export function momentText(micros) {
  const whole = Math.floor(micros / 1000);
  const rest = String(Math.floor(micros - whole * 1000)).padStart(3, "0");
  return new Date(whole).toISOString().replace("Z", rest + "Z");
}

const two = (value) => String(value).padStart(2, "0");
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** A moment by the clock of who looks, with as many digits of a second: "20:47:06.777". */
export function clock(micros, digits = 3) {
  const date = new Date(Math.floor(micros / 1000));
  const fraction = String(Math.floor(micros) % 1e6)
    .padStart(6, "0")
    .slice(0, digits);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}` + (digits ? "." + fraction : "");
}

/** The day of a moment: "22 Nov". */
export function day(micros) {
  const date = new Date(Math.floor(micros / 1000));
  return `${date.getDate()} ${months[date.getMonth()]}`;
}

/** What the clock of who looks is called: "UTC", "UTC+2". */
export function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const hours = minutes / 60;
  return minutes ? `UTC${minutes > 0 ? "+" : "\u2212"}${Math.abs(hours)}` : "UTC";
}

/**
 * The time that a share of the runs stayed below, from a histogram: inside a bucket evenly spread, never above the longest run.
 * buckets: [upper bound in seconds or null, runs] in rising order. null where nothing ran.
 */
export function percentile(buckets, share, longest) {
  const total = buckets.reduce((sum, [, runs]) => sum + runs, 0);
  let before = 0;
  let lower = 0;
  for (const [bound, runs] of buckets) {
    const upper = bound === null ? longest : Math.min(bound, longest);
    if (runs && before + runs >= share * total) {
      const inside = (share * total - before) / runs;
      return Math.min(lower, upper) + (upper - Math.min(lower, upper)) * inside;
    }
    before += runs;
    lower = bound;
  }
  return null;
}
