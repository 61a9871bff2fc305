// The rows that were found, as pictures side by side.

import { h, icon } from "./dom.js";
import { Frame } from "./frame.js";
import { textsOf, titleOf } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */

const MOST_LABELS = 6;
const AHEAD = "800px"; // how far below the window pictures are loaded

/**
 * @typedef {object} Links
 * @property {(row: Row) => string} detail
 * @property {(row: Row) => string} like
 */

export class Grid {
  /** @param {HTMLElement} list @param {Links} links */
  constructor(list, links) {
    this.list = list;
    this.links = links;
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Map<Element, Frame>} */
    this.frames = new Map();
    this.min = 0;
    this.near = new IntersectionObserver((seen) => this.#fill(seen), { rootMargin: AHEAD });
    list.addEventListener("keydown", (event) => this.#move(event));
    list.addEventListener("focusin", (event) => this.#rove(/** @type {Element} */ (event.target)));
  }

  /** Show rows; those that are there already, in the same order, stay. @param {Row[]} rows @param {string | null} index @param {boolean} isMore */
  show(rows, index, isMore) {
    const stay = isMore && this.rows.every((row, place) => row.id === rows[place]?.id) ? this.rows.length : 0;
    if (!stay) this.#clear();
    this.list.append(...rows.slice(stay).map((row) => this.#card(row, index)));
    this.rows = rows;
    this.#rove(this.list.querySelector("[tabindex='0']") ?? this.list.querySelector(".open"));
  }

  /** Draw boxes of another least score. @param {number} min */
  draw(min) {
    this.min = min;
    for (const frame of this.frames.values()) frame.draw(min);
  }

  /** Move the focus to a row's card. @param {string} id */
  focus(id) {
    const place = this.rows.findIndex((row) => row.id === id);
    /** @type {HTMLElement | null} */ (this.#opens()[place])?.focus();
  }

  /** Return the row whose card has the focus. @returns {Row | undefined} */
  focused() {
    const card = document.activeElement?.closest(".card");
    return card ? this.rows[[...this.list.children].indexOf(card)] : undefined;
  }

  #clear() {
    this.near.disconnect();
    this.frames.clear();
    this.list.replaceChildren();
  }

  /** @param {Row} row @param {string | null} index */
  #card(row, index) {
    const title = titleOf(row);
    const isText = row.uri === undefined;
    const frame = new Frame(row, index, 230, MOST_LABELS);
    if (!isText) {
      this.frames.set(frame.element, frame);
      this.near.observe(frame.element);
    }
    const said = textsOf(row)[0];
    const card = h("li", { class: isText ? "card text" : "card" },
      h("a", { class: "open", href: this.links.detail(row), "data-row": row.id, tabindex: -1 },
        isText ? null : frame.element,
        h("span", { class: "said" }, said ?? title)),
      h("span", { class: "score", title: "Similarity: the cosine of the angle between the vectors" }, scoreOf(row)),
      h("a", { class: "like icon", href: this.links.like(row), "data-like": row.id, tabindex: -1,
               "aria-label": `More like this: ${title}`, title: "More like this (M)" }, icon("like")));
    card.style.setProperty("--ratio", frame.element.style.getPropertyValue("--ratio"));
    return card;
  }

  /** @param {IntersectionObserverEntry[]} seen */
  #fill(seen) {
    for (const { target, isIntersecting, boundingClientRect: { width, height } } of seen) {
      const frame = this.frames.get(target);
      if (!isIntersecting || !frame) continue;
      this.near.unobserve(target);
      Object.assign(frame.shown, { width, height }); // told by the browser: asking it would cost a layout
      frame.fill(this.min);
    }
  }

  /** @returns {NodeListOf<HTMLElement>} */
  #opens() {
    return this.list.querySelectorAll(".open");
  }

  /** Let Tab reach the card that was focused last, and no other. @param {Element | null} target */
  #rove(target) {
    const card = target?.closest(".card");
    if (!card) return;
    for (const link of this.list.querySelectorAll("[tabindex='0']")) link.setAttribute("tabindex", "-1");
    for (const link of card.querySelectorAll("a")) link.setAttribute("tabindex", "0");
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const card = /** @type {Element} */ (event.target).closest(".card");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const cards = /** @type {HTMLElement[]} */ ([...this.list.children]);
    const next = nextOf(cards, cards.indexOf(/** @type {HTMLElement} */ (card)), event.key);
    if (next === undefined) return;
    event.preventDefault();
    /** @type {HTMLElement} */ (cards[next].querySelector(".open")).focus();
  }
}

/** Return the place of the card that a key leads to. @param {HTMLElement[]} cards @param {number} at @param {string} key */
function nextOf(cards, at, key) {
  if (key === "ArrowRight") return Math.min(at + 1, cards.length - 1);
  if (key === "ArrowLeft") return Math.max(at - 1, 0);
  if (key === "Home") return 0;
  if (key === "End") return cards.length - 1;
  if (key === "ArrowDown" || key === "ArrowUp") return nearest(cards, at, key === "ArrowDown" ? 1 : -1);
  return undefined;
}

/** Return the card of the next line that lies nearest below, or above. @param {HTMLElement[]} cards @param {number} at @param {1 | -1} way */
function nearest(cards, at, way) {
  const middle = (/** @type {HTMLElement} */ card) => card.offsetLeft + card.offsetWidth / 2;
  const from = cards[at];
  let found = at, line = null;
  for (let place = at + way; place >= 0 && place < cards.length; place += way) {
    const top = cards[place].offsetTop;
    if (top === from.offsetTop) continue;
    line ??= top;
    if (top !== line) break;
    if (found === at || Math.abs(middle(cards[place]) - middle(from)) < Math.abs(middle(cards[found]) - middle(from))) found = place;
  }
  return found;
}

/** @param {Row} row */
function scoreOf({ score, match }) {
  const text = score === undefined ? "" : score.toFixed(2);
  return match === undefined || match === null ? text : `${text} · match ${match.toFixed(2)}`;
}
