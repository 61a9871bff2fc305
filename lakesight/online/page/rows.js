// What a row holds, found by what its values are: columns may be called anything.

/**
 * @typedef {Record<string, any> & {id: string, uri?: string, width?: number, height?: number, score?: number}} Row
 * @typedef {object} Thing an object on the picture
 * @property {number[]} box x, y, right, bottom, in pixels of the original
 * @property {number} score
 * @property {string | null} label
 * @property {number} class_id
 * @property {number[][]} [keypoints]
 * @property {number[]} [obb]
 * @property {{size: [number, number], counts: string}} [mask]
 */

const OF_EVERY_ROW = new Set([
  "id", "uri", "etag", "frame_index", "timestamp_s", "width", "height", "format", "status", "error", "run_id",
  "rank", "score", "match",
]);

/** Return the columns of objects. @param {Row} row @returns {[string, Thing[]][]} */
export function objectsOf(row) {
  return lists(row, (first) => Array.isArray(first?.box));
}

/** Return the columns of classes. @param {Row} row @returns {[string, {label: string, score: number}[]][]} */
export function classesOf(row) {
  return lists(row, (first) => typeof first?.label === "string" && !first.box);
}

/** Return the columns of questions and answers. @param {Row} row */
export function answersOf(row) {
  return lists(row, (first) => typeof first?.answer === "string");
}

/** Return what was written of the whole picture: captions, or the text of a row that is one. @param {Row} row */
export function textsOf(row) {
  return own(row).flatMap(([, value]) => (typeof value === "string" && value ? [value] : []));
}

/** Return what was written of each of so many objects. @param {Row} row @param {number} count @returns {string[][]} */
export function wordsOf(row, count) {
  const fitting = own(row).filter(([, value]) => Array.isArray(value) && value.length === count);
  const texts = fitting.filter(([, value]) => value.some((/** @type {any} */ one) => typeof one === "string"));
  return Array.from({ length: count }, (_, place) => texts.flatMap(([, value]) => value[place] ?? []));
}

/** @param {Thing | {label: string | null, class_id?: number}} thing */
export function nameOf(thing) {
  return thing.label ?? `class ${thing.class_id}`;
}

/** Return the last part of where a row is from, or the beginning of its text. @param {Row} row */
export function titleOf(row) {
  if (row.uri === undefined) return textsOf(row)[0]?.slice(0, 80) ?? row.id;
  const last = row.uri.replace(/\/+$/, "").split("/").pop() || row.uri;
  try {
    return row.uri.startsWith("file:") ? decodeURIComponent(last) : last;
  } catch {
    return last;
  }
}

/** Return in how many rows each label is, with at least that score. @param {Row[]} rows @param {number} min */
export function countLabels(rows, min) {
  /** @type {Map<string, {column: string, label: string, count: number}>} */
  const counts = new Map();
  for (const row of rows) {
    for (const [column, things] of [...objectsOf(row), ...classesOf(row)]) {
      const seen = new Set(things.filter((one) => one.score >= min && one.label).map((one) => one.label));
      for (const label of /** @type {Set<string>} */ (seen)) {
        const key = `${column}:${label}`;
        counts.set(key, { column, label, count: (counts.get(key)?.count ?? 0) + 1 });
      }
    }
  }
  return [...counts.values()].sort((a, b) => b.count - a.count || a.label.localeCompare(b.label));
}

/** Return the columns that models wrote. @param {Row} row */
function own(row) {
  return Object.entries(row).filter(([name]) => !OF_EVERY_ROW.has(name));
}

/** @param {Row} row @param {(first: any) => boolean} fits @returns {[string, any[]][]} */
function lists(row, fits) {
  return own(row).filter(([, value]) => Array.isArray(value) && fits(value[0]));
}
