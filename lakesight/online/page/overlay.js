// What was seen on a picture, drawn over it: boxes, masks, skeletons and their labels.

import { h, svg } from "./dom.js";
import { strokes } from "./mask.js";
import { nameOf, objectsOf } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Thing} Thing */

const BONES = [
  [0, 1], [0, 2], [1, 3], [2, 4], [5, 6], [5, 7], [7, 9], [6, 8], [8, 10], [5, 11], [6, 12], [11, 12],
  [11, 13], [13, 15], [12, 14], [14, 16],
];
const LEAST_KEYPOINT = 0.3;
const LETTER = 6.4; // px a letter of a label is wide, about

/**
 * Return a layer in the original picture's pixels, to be laid over it.
 * @param {Row} row
 * @param {number} min the least score
 * @param {{width: number, height: number, most: number}} shown how large in px, and how many labels at most
 */
export function overlay(row, min, shown) {
  const width = row.width ?? 1, height = row.height ?? 1;
  const unit = Math.max(width / shown.width, height / shown.height); // pixels of the original in one px
  const things = objectsOf(row).flatMap(([, list]) => list).filter((one) => one.score >= min);
  const drawn = things.map((thing, place) => ({ thing, place, area: areaOf(thing) })).sort((a, b) => b.area - a.area);
  const groups = drawn.map(({ thing, place }, rank) => {
    const parts = [...shapes(thing, unit), ...(rank < shown.most ? plate(thing, width, unit) : [])];
    const group = svg("g", { "data-place": place }, ...parts);
    group.style.setProperty("--hue", String(hueOf(nameOf(thing))));
    return group;
  });
  return svg("svg", { class: "overlay", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...groups);
}

/** Return a dot in the colour of a label. @param {string} label */
export function dot(label) {
  const made = h("i", { class: "dot", "aria-hidden": "true" });
  made.style.setProperty("--hue", String(hueOf(label)));
  return made;
}

/** Return the hue of a label, in degrees: the same wherever it is drawn. @param {string} label */
function hueOf(label) {
  let hash = 2166136261; // FNV-1a
  for (const letter of label) hash = Math.imul(hash ^ /** @type {number} */ (letter.codePointAt(0)), 16777619);
  return Math.round(((hash >>> 0) * 137.508) % 360);
}

/** @param {Thing} thing @param {number} unit @returns {SVGElement[]} */
function shapes(thing, unit) {
  const [x, y, right, bottom] = thing.box;
  const step = Math.max(1, Math.floor(unit));
  return [
    ...(thing.mask ? [svg("path", { class: "mask", d: strokes(thing.mask, step), "stroke-width": step })] : []),
    thing.obb
      ? svg("polygon", { class: "box", points: corners(thing.obb) })
      : svg("rect", { class: "box", x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y) }),
    ...skeleton(thing.keypoints ?? [], unit),
  ];
}

/** @param {number[][]} points @param {number} unit */
function skeleton(points, unit) {
  const isSeen = (/** @type {number} */ at) => points[at][2] >= LEAST_KEYPOINT;
  const bones = points.length === 17 ? BONES.filter(([a, b]) => isSeen(a) && isSeen(b)) : [];
  const joints = points.filter((_, at) => isSeen(at));
  return [
    ...bones.map(([a, b]) =>
      svg("line", { class: "bone", x1: points[a][0], y1: points[a][1], x2: points[b][0], y2: points[b][1] })),
    ...joints.map(([x, y]) => svg("circle", { class: "joint", cx: x, cy: y, r: 2.5 * unit })),
  ];
}

/** Return a label: above its box, or inside where there is no room. @param {Thing} thing @param {number} width @param {number} unit */
function plate(thing, width, unit) {
  const text = `${nameOf(thing)} ${thing.score.toFixed(2)}`;
  const high = 16 * unit, wide = (LETTER * text.length + 8) * unit;
  const x = Math.max(0, Math.min(thing.box[0], width - wide));
  const y = thing.box[1] >= high ? thing.box[1] - high : Math.max(0, thing.box[1]);
  return [
    svg("rect", { class: "plate", x, y, width: wide, height: high }),
    svg("text", {
      x: x + 4 * unit, y: y + 12 * unit, "font-size": 11.5 * unit,
      textLength: wide - 8 * unit, lengthAdjust: "spacingAndGlyphs",
    }, text),
  ];
}

/** @param {number[]} obb centre, sides and angle @returns {string} */
function corners([x, y, width, height, angle]) {
  const cos = Math.cos(angle), sin = Math.sin(angle);
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    .map(([i, j]) => [(i * width) / 2, (j * height) / 2])
    .map(([dx, dy]) => `${x + dx * cos - dy * sin},${y + dx * sin + dy * cos}`)
    .join(" ");
}

/** @param {Thing} thing */
function areaOf({ box: [x, y, right, bottom] }) {
  return Math.max(0, right - x) * Math.max(0, bottom - y);
}
