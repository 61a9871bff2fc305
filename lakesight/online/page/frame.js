// One picture in its frame, which has the picture's form before there is a picture.

import { answer, pictureOf, Refusal } from "./api.js";
import { h } from "./dom.js";
import { overlay } from "./overlay.js";
import { countLabels, titleOf } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */

const WIDEST = 2.4, NARROWEST = 0.6;
const TRIES = 4;

export class Frame {
  /**
   * @param {Row} row
   * @param {string | null} index
   * @param {number} height about how high it is shown, in px
   * @param {number} most labels at most
   */
  constructor(row, index, height, most) {
    this.row = row;
    this.index = index;
    const ratio = ratioOf(row);
    this.shown = { width: ratio * height, height, most };
    this.isFilled = false;
    /** @type {SVGElement | null} */
    this.layer = null;
    this.element = h("span", { class: "frame" });
    this.element.style.setProperty("--ratio", String(ratio));
  }

  /** Load the picture, and draw what was seen on it. @param {number} min @param {"small" | "large"} [size] */
  fill(min, size = "small") {
    if (this.isFilled) return;
    this.isFilled = true;
    const image = /** @type {HTMLImageElement} */ (h("img", { alt: altOf(this.row), decoding: "async", draggable: "false" }));
    this.element.append(image);
    this.draw(min);
    load(image, pictureOf(this.row.id, this.index, size), TRIES).catch((error) => this.#say(error, image));
  }

  /** Draw the objects anew. @param {number} min */
  draw(min) {
    if (!this.isFilled) return;
    const layer = overlay(this.row, min, this.shown);
    if (this.layer) this.layer.replaceWith(layer);
    else this.element.append(layer);
    this.layer = layer;
  }

  /** Say why there is no picture, in its place. @param {Error} error @param {HTMLImageElement} image */
  #say(error, image) {
    const why = error instanceof Refusal ? error.message : "This picture cannot be shown.";
    image.replaceWith(h("span", { class: "missing", role: "img", "aria-label": altOf(this.row) }, why));
  }
}

/**
 * Load a picture; where the key's rate is used up, wait and try again. Raises Refusal.
 * @param {HTMLImageElement} image
 * @param {string} source
 * @param {number} tries
 */
async function load(image, source, tries) {
  for (let left = tries; ; left -= 1) {
    image.src = source;
    try {
      await image.decode();
      image.classList.add("there");
      return;
    } catch {
      const retryS = await whyNot(source, left);
      await new Promise((resolve) => setTimeout(resolve, retryS * 1000));
    }
  }
}

/** Return in how many seconds to try again; raise Refusal where that is of no use. @param {string} source @param {number} left */
async function whyNot(source, left) {
  try {
    await answer(source);
  } catch (error) {
    if (error instanceof Refusal && error.status === 429 && left > 0) return (error.retryS ?? 1) + Math.random();
    throw error;
  }
  if (left > 0) return 0.1; // it is there after all: another request was cut off
  throw new Error("the browser cannot show it");
}

/** @param {Row} row */
function ratioOf({ width, height }) {
  return width && height ? Math.min(Math.max(width / height, NARROWEST), WIDEST) : 1.5;
}

/** Return what a picture shows; captions stand beside it. @param {Row} row */
function altOf(row) {
  const labels = countLabels([row], 0).slice(0, 6).map(({ label }) => label);
  return labels.length ? `A picture with ${labels.join(", ")}` : `The picture ${titleOf(row)}`;
}
