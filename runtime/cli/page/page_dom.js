/* SPDX-License-Identifier: MIT
 *
 * Making elements: text is always text, never markup. Runs in the browser.
 */
import { visible } from "./page_text.js";

/**
 * An element: make("td", { class: "count", "data-pid": 7, onclick: f }, "text", child, null). A property that begins with "on"
 * is a listener; true is an empty attribute; null, undefined and false leave it out. Strings among the children are text.
 */
export function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A name that somebody chose: shown harmlessly, its direction kept to itself. */
export function name(text, properties) {
  return make("bdi", properties, text === null || text === undefined ? "\u2013" : visible(text));
}

/** Sets what changed, so that a selection of text or a reader's place survives what did not. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Sets an attribute, or takes it away (null), where it is not so already. */
export function setAttribute(element, attribute, value) {
  if (value === null || value === undefined || value === false) {
    element.removeAttribute(attribute);
  } else if (element.getAttribute(attribute) !== String(value)) {
    element.setAttribute(attribute, String(value));
  }
}

/**
 * The children of `parent` become one element for each item, in order; elements are kept by key. `build(item)` makes one,
 * `update(element, item)` brings it up to date.
 */
export function keyed(parent, items, keyOf, build, update) {
  const kept = parent.keyedElements || (parent.keyedElements = new Map());
  const wanted = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    const element = kept.get(key) || build(item);
    update?.(element, item);
    wanted.set(key, element);
    if (element === place) {
      place = place.nextSibling;
    } else {
      parent.insertBefore(element, place);
    }
  }
  for (const [key, element] of kept) {
    if (wanted.get(key) !== element) {
      element.remove();
    }
  }
  parent.keyedElements = wanted;
}

/** The element of the page with this id, which index.html has. */
export function byId(id) {
  return document.getElementById(id);
}
