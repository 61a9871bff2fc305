// What the page shows, as its address says it: a link shows somebody else the same.

/** @typedef {{column: string, label: string}} Label */

/**
 * @typedef {object} Asked
 * @property {string | null} index null for the first
 * @property {string} text
 * @property {string} id of a row: more like that one
 * @property {string} picture of `pictures`; an address cannot hold one, so this is only its name
 * @property {string} where
 * @property {Label[]} labels
 * @property {number} min the least score of an object or a class
 * @property {boolean} rerank
 * @property {number} k
 * @property {string} row whose detail is open
 */

export const STEP = 60;
export const MOST = 1000;

/** @type {Asked} */
export const NOTHING = {
  index: null, text: "", id: "", picture: "", where: "", labels: [], min: 0, rerank: false, k: STEP, row: "",
};

/** Return what an address asks. @param {string} search what follows its `?` @returns {Asked} */
export function read(search) {
  const given = new URLSearchParams(search);
  return {
    index: given.get("index"),
    text: given.get("text") ?? "",
    id: given.get("id") ?? "",
    picture: given.get("picture") ?? "",
    where: given.get("where") ?? "",
    labels: given.getAll("label").map(parsed),
    min: number(given.get("min"), 0, 1) ?? 0,
    rerank: given.has("rerank"),
    k: Math.round(number(given.get("k"), 1, MOST) ?? STEP),
    row: given.get("row") ?? "",
  };
}

/** Return the address of what is asked. @param {Asked} asked */
export function write(asked) {
  const said = new URLSearchParams();
  for (const name of /** @type {const} */ (["index", "text", "id", "picture", "where"])) {
    if (asked[name]) said.set(name, /** @type {string} */ (asked[name]));
  }
  for (const { column, label } of asked.labels) said.append("label", `${column}:${label}`);
  if (asked.min) said.set("min", String(asked.min));
  if (asked.rerank) said.set("rerank", "1");
  if (asked.k !== STEP) said.set("k", String(asked.k));
  if (asked.row) said.set("row", asked.row);
  const query = said.toString();
  return query ? `?${query}` : "./";
}

/** Return what decides which rows are found. @param {Asked} asked */
export function queryOf(asked) {
  // the score decides only together with a label; else it only says which boxes are drawn
  return write({ ...asked, row: "", min: asked.labels.length ? asked.min : 0 });
}

/** @param {string} text @returns {Label} */
function parsed(text) {
  const at = text.indexOf(":");
  return { column: text.slice(0, Math.max(0, at)), label: text.slice(at + 1) };
}

/** Return a number within limits; null where there is none. @param {string | null} text @param {number} least @param {number} most */
function number(text, least, most) {
  const value = text ? Number(text) : NaN;
  return Number.isNaN(value) ? null : Math.min(Math.max(value, least), most);
}
