// Masks in COCO's compressed run lengths, as the strokes that fill them.

/** @typedef {{size: [number, number], counts: string}} Rle height and width, and the runs, column by column */

/**
 * Return an SVG path of vertical strokes, each `step` wide, that covers what the mask covers.
 * @param {Rle} rle
 * @param {number} step in pixels of the original: columns between are left out
 */
export function strokes({ size: [height], counts }, step) {
  /** @type {string[]} */
  const parts = [];
  let at = 0; // as if all columns were one
  runs(counts).forEach((length, place) => {
    const end = at + length;
    while (place % 2 === 1 && at < end) {
      const column = Math.floor(at / height);
      const stop = Math.min(end, (column + 1) * height);
      if (column % step === 0) parts.push(`M${column + step / 2},${at % height}v${stop - at}`);
      at = stop;
    }
    at = end;
  });
  return parts.join("");
}

/** Return the lengths of runs, those outside first. @param {string} text five bits a character, the lowest first */
function runs(text) {
  /** @type {number[]} */
  const found = [];
  for (let at = 0; at < text.length; ) {
    let value = 0, shift = 0, bits;
    do {
      bits = text.charCodeAt(at++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
    } while (bits & 32);
    if (bits & 16 && shift < 32) value |= -1 << shift;
    found.push(found.length > 2 ? value + found[found.length - 2] : value); // a difference from the third on
  }
  return found;
}
