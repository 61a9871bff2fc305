// Labels to choose from: those that the results hold, the chosen ones first.

import { h } from "./dom.js";
import { dot } from "./overlay.js";
import { countLabels } from "./rows.js";

/** @typedef {import("./address.js").Label} Label */

const FEW = 14;

/**
 * Show the labels of the rows that were found.
 * @param {HTMLElement} place
 * @param {import("./rows.js").Row[]} rows
 * @param {{labels: Label[], min: number}} asked
 * @param {(labels: Label[]) => void} choose
 */
export function showLabels(place, rows, asked, choose) {
  const counts = countLabels(rows, asked.min);
  const isChosen = (/** @type {Label} */ one) => asked.labels.some((other) => same(one, other));
  const others = counts.filter((one) => !isChosen(one));
  const toggle = (/** @type {Label} */ one) =>
    choose(isChosen(one) ? asked.labels.filter((other) => !same(one, other)) : [...asked.labels, { column: one.column, label: one.label }]);
  const chip = (/** @type {Label} */ one) => {
    const count = counts.find((other) => same(one, other))?.count ?? 0;
    return h("button", { type: "button", class: "chip", "aria-pressed": String(isChosen(one)), title: `${one.label}, in ${one.column}`, onclick: () => toggle(one) },
      dot(one.label), one.label, " ", h("small", {}, String(count)));
  };
  const rest = others.slice(FEW);
  const more = h("button", { type: "button", class: "chip plain", onclick: () => more.replaceWith(...rest.map(chip)) }, `${rest.length} more`);
  place.replaceChildren(...asked.labels.map(chip), ...others.slice(0, FEW).map(chip), ...(rest.length ? [more] : []));
}

/** @param {Label} one @param {Label} other */
function same(one, other) {
  return one.column === other.column && one.label === other.label;
}
