// From what is asked to the request that asks it.

import { named } from "./api.js";

/** @typedef {import("./address.js").Asked} Asked */
/** @typedef {import("./api.js").Ask} Ask */
/** @typedef {import("./address.js").Label} Label */

const RERANKED = 100;

/**
 * Return the request for the rows that are asked for.
 * @param {Asked} asked
 * @param {File} [picture]
 * @returns {Ask}
 */
export function requestFor(asked, picture) {
  const where = conditionOf(asked);
  /** @type {Record<string, string | number>} */
  const values = { ...named(asked.index), k: asked.k, ...(where ? { where } : {}) };
  if (picture) return { method: "POST", path: "v1/search", values, picture };
  if (asked.id) return { method: "POST", path: "v1/search", values: { id: asked.id, ...values } };
  if (!asked.text) return { method: "GET", path: "v1/rows", values };
  if (asked.rerank) values.rerank = Math.max(RERANKED, asked.k);
  return { method: "POST", path: "v1/search", values: { text: asked.text, ...values } };
}

/** Return the SQL condition of all filters; "" for none. @param {Asked} asked */
export function conditionOf({ where, labels, min }) {
  const all = labels.map((one) => holds(one, min));
  if (where) all.unshift(all.length ? `(${where})` : where);
  return all.join(" AND ");
}

/** @param {Label} label @param {number} min */
function holds({ column, label }, min) {
  const enough = min ? ` if d.score >= ${min}` : "";
  return `list_contains([d.label for d in "${column.replaceAll('"', '""')}"${enough}], '${label.replaceAll("'", "''")}')`;
}
