// What stands where no results are.

import { h } from "./dom.js";

/** Say how to make an index, where none is served. @returns {HTMLElement[]} */
export function noIndex() {
  return [
    h("h2", {}, "There is no index to search yet"),
    h("p", {}, "Look at your pictures, index what was seen, and serve the index:"),
    h("pre", { tabindex: "0" },
      "lakesight annotate s3://lake/photos/ seen/ --detect ssd-mobilenet-v2-coco --embed efficientnet-lite3\n" +
      "lakesight index seen/ photos/\n" +
      "lakesight serve --index photos=photos/"),
    h("p", { class: "muted" }, "`lakesight models` lists models. Your key may also lack an index that is served: `lakesight keys` tells."),
  ];
}

/** Say that nothing fits. @param {boolean} isFiltered @param {() => void} clear */
export function nothingFound(isFiltered, clear) {
  return [
    h("h2", {}, "Nothing fits"),
    isFiltered
      ? h("p", {}, "No row fits all of these filters. ", h("button", { type: "button", class: "quiet", onclick: clear }, "Leave them out"))
      : h("p", {}, "The index holds no rows."),
  ];
}

/** Say that a picture is gone. @returns {HTMLElement[]} */
export function noPicture() {
  return [
    h("h2", {}, "The picture is not here any more"),
    h("p", {}, "This search was by a picture, which an address cannot hold. Drop, paste or choose it again."),
  ];
}
