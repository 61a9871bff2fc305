// All that is known of one row, in a dialog over the results.

import { h, icon } from "./dom.js";
import { Frame } from "./frame.js";
import { dot } from "./overlay.js";
import { answersOf, classesOf, nameOf, objectsOf, textsOf, titleOf, wordsOf } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */

/**
 * @typedef {object} Around
 * @property {string | null} index
 * @property {number} min
 * @property {(row: Row) => string} like the address of what is like it
 * @property {(step: 1 | -1) => void} move to the next row, or the one before
 * @property {boolean} hasMore whether there are others
 */

/** Fill a dialog with a row. @param {HTMLDialogElement} dialog @param {Row} row @param {Around} around */
export function fill(dialog, row, around) {
  const isText = row.uri === undefined;
  const frame = new Frame(row, around.index, Math.min(600, innerWidth * 0.75), 100);
  dialog.replaceChildren(
    isText ? "" : h("div", { class: "stage" }, frame.element),
    h("div", { class: "told" },
      h("header", {},
        h("h2", { id: "detail-name" }, titleOf(row)),
        h("form", { method: "dialog" }, h("button", { class: "icon", "aria-label": "Close" }, icon("close")))),
      h("div", { class: "actions" },
        h("a", { class: "button", href: around.like(row), "data-like": row.id }, icon("like"), "More like this"),
        around.hasMore && step("previous", () => around.move(-1)),
        around.hasMore && step("next", () => around.move(1))),
      ...textsOf(row).map((text) => h("p", { class: "caption" }, text)),
      ...objectsOf(row).map(([name, things]) => objects(name, things, wordsOf(row, things.length), frame.element, around.min)),
      ...classesOf(row).map(([name, classes]) => ranked(name, classes)),
      ...answersOf(row).map(([name, answers]) => asked(name, answers)),
      columns(row)));
  if (!isText) frame.fill(around.min, "large");
}

/** @param {"previous" | "next"} name @param {() => void} onclick */
function step(name, onclick) {
  const label = name === "next" ? "Next picture" : "Previous picture";
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick }, icon(name));
}

/**
 * Return a table of objects; the one under the pointer stands out on the picture.
 * @param {string} name
 * @param {import("./rows.js").Thing[]} things
 * @param {string[][]} words
 * @param {HTMLElement} frame
 * @param {number} min
 */
function objects(name, things, words, frame, min) {
  const point = (/** @type {number | null} */ place) => {
    for (const group of frame.querySelectorAll("g")) {
      group.classList.toggle("faint", place !== null && group.dataset.place !== String(place));
    }
  };
  let drawn = 0; // the overlay counts those that it draws
  const lines = things.map((thing, at) => {
    const place = thing.score >= min ? drawn++ : null;
    return h("tr", { onpointerenter: () => point(place), onpointerleave: () => point(null), class: place === null && "weak" },
      h("th", { scope: "row" }, dot(nameOf(thing)), nameOf(thing)),
      h("td", {}, words[at].join(" · ")),
      h("td", { class: "number" }, thing.score.toFixed(2)));
  });
  return section(`${name}: ${things.length}`, h("table", {}, h("tbody", {}, ...lines)));
}

/** @param {string} name @param {{label: string, score: number}[]} classes */
function ranked(name, classes) {
  const lines = classes.map(({ label, score }) =>
    h("tr", {}, h("th", { scope: "row" }, label),
      h("td", {}, h("meter", { min: 0, max: 1, value: score, "aria-label": label })),
      h("td", { class: "number" }, score.toFixed(2))));
  return section(name, h("table", {}, h("tbody", {}, ...lines)));
}

/** @param {string} name @param {{question: string, answer: string, score: number}[]} answers */
function asked(name, answers) {
  const lines = answers.flatMap(({ question, answer }) => [h("dt", {}, question), h("dd", {}, answer)]);
  return section(name, h("dl", { class: "answers" }, ...lines));
}

/** @param {Row} row */
function columns(row) {
  const lines = Object.entries(row).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, shown(value))]);
  return section("All columns", h("dl", { class: "columns" }, ...lines));
}

/** @param {any} value */
function shown(value) {
  if (value === null) return h("span", { class: "muted" }, "null");
  if (typeof value !== "object") return h("code", {}, String(value));
  const text = JSON.stringify(value, null, 2);
  if (text.length < 80) return h("code", {}, JSON.stringify(value));
  const count = Array.isArray(value) ? `${value.length} values` : `${Object.keys(value).length} fields`;
  return h("details", {}, h("summary", {}, count), h("pre", { tabindex: 0 }, text));
}

/** @param {string} title @param {HTMLElement} content */
function section(title, content) {
  return h("section", {}, h("h3", {}, title), content);
}
