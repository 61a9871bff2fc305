// The page as a whole: what is asked is in the address, and what the address asks is shown.

import { MOST, NOTHING, queryOf, read, STEP, write } from "./address.js";
import { named, pictureOf, Refusal, send } from "./api.js";
import { asCurl, asPython } from "./code.js";
import { fill } from "./detail.js";
import { h, icon, isTyping, the } from "./dom.js";
import { noIndex, noPicture, nothingFound } from "./empty.js";
import { showLabels } from "./filters.js";
import { Grid } from "./grid.js";
import { requestFor } from "./query.js";
import { byKey, byLink, form, leave, state } from "./signin.js";

/** @typedef {import("./address.js").Asked} Asked */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {{id: string, count: number, columns: string[], can_rerank: boolean, reads_text: boolean | null}} Index */

const PATIENCE = 150; // ms before a search that lasts is seen to
const QUESTION = { text: "", id: "", picture: "", k: STEP, row: "" };

/** @type {Asked} */
let asked = read(location.search);
/** @type {Row[]} */
let rows = [];
/** @type {Index[]} */
let indexes = [];
let hasKey = false;
let shownQuery = "";
let search = new AbortController();
/** @type {Map<string, File>} */
const pictures = new Map(); // those that were dropped; an address can only name them

const grid = new Grid(the("grid"), {
  detail: (row) => write({ ...asked, row: row.id }),
  like: (row) => write({ ...asked, ...QUESTION, id: row.id }),
});
const detail = /** @type {HTMLDialogElement} */ (the("detail"));

// ---- what is asked ----

/**
 * Ask something else; the address says so.
 * @param {Partial<Asked>} changes
 * @param {{replace?: boolean}} [how] replace: going back shall not lead here
 */
function go(changes, { replace = false } = {}) {
  asked = { ...asked, ...changes };
  if (replace) history.replaceState(history.state, "", write(asked));
  else history.pushState({ isOurs: true }, "", write(asked));
  return show();
}

/** @param {File} file */
function byPicture(file) {
  if (!file.type.startsWith("image/")) {
    say("That is no picture: drop, paste or choose a JPEG, PNG, WebP or the like.");
    return;
  }
  const name = Date.now().toString(36);
  pictures.set(name, file);
  go({ ...QUESTION, picture: name });
}

/** Show what is asked. */
async function show() {
  if (!indexes.length) return;
  const index = indexes.find(({ id }) => id === asked.index) ?? indexes[0];
  document.title = asked.text ? `${asked.text} · Lakesight` : "Lakesight";
  showQuestion(index);
  await showRows();
  await showDetail();
}

// ---- what is shown ----

/** @param {Index} index */
function showQuestion(index) {
  const text = the("text");
  text.value = asked.text;
  text.placeholder = index.reads_text === false ? "Drop, paste or choose a picture" : "Describe what you look for, or drop a picture";
  the("index").value = index.id;
  the("where").value = asked.where;
  the("min").value = asked.min;
  the("min-shown").textContent = asked.min.toFixed(2);
  the("rerank").checked = asked.rerank;
  the("rerank-label").hidden = !(index.can_rerank && asked.text);
  the("columns").replaceChildren(...index.columns.map((name) => h("option", { value: name })));
  showPicture();
  grid.draw(asked.min);
}

/** Show the picture that the search is by. */
function showPicture() {
  const place = the("asked");
  const file = pictures.get(asked.picture);
  const source = asked.id ? pictureOf(asked.id, asked.index, "small") : file ? URL.createObjectURL(file) : "";
  place.hidden = !source;
  the("note").hidden = !file;
  the("note").textContent = file ? "The address of this page does not hold your picture: to share this search, send the link of “more like this” of one of the results." : "";
  if (place.dataset.source === source) return;
  place.dataset.source = source;
  const image = h("img", { src: source, alt: "", height: 32 });
  if (file) image.onload = () => URL.revokeObjectURL(source);
  const label = file ? file.name : "More like this";
  const remove = () => { go(QUESTION); the("text").focus(); };
  place.replaceChildren(image, h("span", {}, label), h("button", { type: "button", class: "icon", "aria-label": "Search by something else", onclick: remove }, icon("close")));
}

/** Search, unless what is asked is shown already. */
async function showRows() {
  const query = queryOf(asked);
  search.abort(); // also where one went back from it, and forward again, before it was answered
  if (query === shownQuery) {
    showLabels(the("labels"), rows, asked, (labels) => go({ labels, k: STEP }));
    return;
  }
  const isMore = queryOf({ ...asked, k: STEP }) === queryOf({ ...read(shownQuery), k: STEP });
  const picture = pictures.get(asked.picture);
  const mine = (search = new AbortController());
  const waiting = setTimeout(() => setBusy(true), PATIENCE);
  try {
    if (asked.picture && !picture) {
      showFound([], { count: 0 }, false);
      fillEmpty(noPicture());
    } else {
      const found = await send(requestFor(asked, picture), mine.signal);
      if (mine.signal.aborted) return;
      showFound(found.results, found, isMore);
    }
    shownQuery = query;
    say("");
  } catch (error) {
    if (mine.signal.aborted) return;
    refuse(error);
  } finally {
    clearTimeout(waiting);
    if (mine === search) setBusy(false);
  }
}

/**
 * @param {Row[]} found
 * @param {{count: number, ms?: number}} told
 * @param {boolean} isMore
 */
function showFound(found, { count, ms }, isMore) {
  rows = found;
  grid.show(rows, asked.index, isMore);
  showLabels(the("labels"), rows, asked, (labels) => go({ labels, k: STEP }));
  const number = (/** @type {number} */ value) => value.toLocaleString("en");
  const time = ms === undefined ? "" : ` · ${ms.toFixed(1)} ms`;
  the("status").textContent = `${number(rows.length)} of ${number(count)} rows${time}`;
  the("more").hidden = rows.length < asked.k || asked.k >= MOST || rows.length >= count;
  const isFiltered = asked.where !== "" || asked.labels.length > 0;
  fillEmpty(rows.length ? [] : nothingFound(isFiltered, () => go({ where: "", labels: [], min: 0 })));
}

/** Open or close the detail, as the address says. */
async function showDetail() {
  if (!asked.row) {
    if (detail.open) detail.close();
    return;
  }
  try {
    const row = rows.find(({ id }) => id === asked.row)
      ?? await send({ method: "GET", path: `v1/rows/${encodeURIComponent(asked.row)}`, values: named(asked.index) });
    if (row.id !== asked.row) return;
    fill(detail, row, {
      index: asked.index,
      min: asked.min,
      like: (one) => write({ ...asked, ...QUESTION, id: one.id }),
      move,
      hasMore: rows.length > 1 && rows.includes(row),
    });
    if (!detail.open) detail.showModal();
    detail.scrollTop = 0;
  } catch (error) {
    refuse(error);
  }
}

/** Show the next row in the dialog, or the one before. @param {1 | -1} step */
function move(step) {
  const at = rows.findIndex(({ id }) => id === asked.row);
  const next = rows[at + step];
  if (at >= 0 && next) go({ row: next.id }, { replace: true });
}

/** @param {Node[]} children */
function fillEmpty(children) {
  the("empty").replaceChildren(...children);
  the("empty").hidden = !children.length;
}

/** @param {boolean} isBusy */
function setBusy(isBusy) {
  the("progress").hidden = !isBusy;
  the("grid").setAttribute("aria-busy", String(isBusy));
}

/** Say what is wrong, in one sentence. @param {string} sentence "" for nothing */
function say(sentence) {
  the("error").hidden = !sentence;
  the("error").textContent = sentence;
}

/** @param {unknown} error */
function refuse(error) {
  shownQuery = "";
  if (error instanceof Refusal && error.status === 401) askForKey();
  say(error instanceof Refusal ? error.message : "This page made a mistake. Load it again.");
  if (!(error instanceof Refusal)) throw error;
}

function showCode() {
  const ask = requestFor(asked, pictures.get(asked.picture));
  const base = new URL("./", location.href).href;
  the("curl").textContent = asCurl(ask, base, hasKey);
  the("python").textContent = asPython(ask, base, hasKey);
  the("code").showModal();
}

// ---- coming and going ----

async function begin() {
  say("");
  try {
    await byLink();
    const access = await state();
    hasKey = access.asks;
    the("leave").hidden = !access.key;
    the("leave").title = access.key ? `Sign out of the key “${access.key}”` : "";
    if (access.asks && !access.key) return askForKey();
    ({ indexes } = await send({ method: "GET", path: "v1/models", values: {} }));
    showIndexes();
    await show();
  } catch (error) {
    refuse(error);
  }
}

function showIndexes() {
  const hasAny = indexes.length > 0;
  the("search").hidden = the("filters").hidden = !hasAny;
  the("index").hidden = indexes.length < 2;
  the("index").replaceChildren(...indexes.map(({ id }) => h("option", { value: id }, id)));
  fillEmpty(hasAny ? [] : noIndex());
  if (hasAny && matchMedia("(hover: hover)").matches && !asked.row) the("text").focus();
}

function askForKey() {
  the("search").hidden = the("filters").hidden = true;
  the("index").hidden = the("more").hidden = the("leave").hidden = true;
  rows = [];
  indexes = [];
  grid.show([], null, false);
  the("status").textContent = the("note").textContent = "";
  if (detail.open) detail.close();
  fillEmpty([form(async (key) => {
    try {
      await byKey(key);
      await begin();
    } catch (error) {
      say(error instanceof Refusal ? error.message : String(error));
    }
  })]);
  the("key").focus();
}

// ---- what people do ----

the("search").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const text = the("text").value.trim();
  if (text) go({ ...QUESTION, text });
  else if (asked.text) go(QUESTION);
});
the("text").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key === "Backspace" && !the("text").value && (asked.id || asked.picture)) go(QUESTION);
  if (event.key === "ArrowDown" && rows.length) { event.preventDefault(); grid.focus(rows[0].id); }
});
the("choose").addEventListener("click", () => the("file").click());
the("file").addEventListener("change", () => {
  const [file] = the("file").files;
  the("file").value = "";
  if (file) byPicture(file);
});
the("filters").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const where = the("where").value.trim();
  go({ where, k: STEP }, { replace: where === asked.where });
});
the("min").addEventListener("input", () => {
  the("min-shown").textContent = Number(the("min").value).toFixed(2);
  grid.draw(Number(the("min").value));
});
the("min").addEventListener("change", () => go({ min: Number(the("min").value) }, { replace: true }));
the("rerank").addEventListener("change", () => go({ rerank: the("rerank").checked }));
the("boxes").addEventListener("change", () => document.body.classList.toggle("bare", !the("boxes").checked));
the("index").addEventListener("change", () => go({ ...QUESTION, text: asked.text, labels: [], where: "", index: the("index").value }));
the("more").addEventListener("click", () => go({ k: Math.min(asked.k + STEP, MOST) }, { replace: true }));
the("home").addEventListener("click", (/** @type {MouseEvent} */ event) => {
  if (!isPlain(event)) return;
  event.preventDefault();
  go({ ...NOTHING, index: asked.index });
});
the("show-code").addEventListener("click", showCode);
the("show-help").addEventListener("click", () => the("help").showModal());
the("leave").addEventListener("click", async () => {
  try {
    await leave();
    history.pushState(null, "", "./");
    asked = NOTHING;
    shownQuery = "";
    await begin();
  } catch (error) {
    refuse(error);
  }
});

for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-copies]"))) {
  button.addEventListener("click", async () => {
    const text = the(/** @type {string} */ (button.dataset.copies));
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch { // by plain http a page may not: then it is selected, to be copied by hand
      getSelection()?.selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { // beside it
    if (event.target === dialog) dialog.close();
  });
}
detail.addEventListener("close", () => {
  const id = asked.row;
  if (!id) return;
  if (history.state?.isOurs) history.back();
  else go({ row: "" }, { replace: true });
  grid.focus(id);
});

document.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest?.("a[data-row], a[data-like]");
  if (!(link instanceof HTMLElement) || !isPlain(event)) return;
  event.preventDefault();
  if (link.dataset.row) go({ row: link.dataset.row });
  else go({ ...QUESTION, id: link.dataset.like ?? "" }).then(() => scrollTo(0, 0));
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (detail.open && event.key === "ArrowRight") return move(1);
  if (detail.open && event.key === "ArrowLeft") return move(-1);
  if (event.key.toLowerCase() === "m") {
    const id = detail.open ? asked.row : grid.focused()?.id;
    if (id) go({ ...QUESTION, id }).then(() => grid.focus(rows[0]?.id ?? ""));
  }
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "/" && !the("search").hidden) { event.preventDefault(); the("text").select(); }
  if (event.key === "?") the("help").showModal();
  if (event.key.toLowerCase() === "b") the("boxes").click();
});

document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (!file || !indexes.length) return;
  event.preventDefault();
  byPicture(file);
});

let depth = 0; // of elements that a dragged file is over
const setDepth = (/** @type {number} */ value) => { depth = value; the("drop").hidden = !value; };
const hasFile = (/** @type {DragEvent} */ event) => indexes.length > 0 && event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => { if (hasFile(event)) setDepth(depth + 1); });
document.addEventListener("dragleave", (event) => { if (hasFile(event)) setDepth(Math.max(0, depth - 1)); });
document.addEventListener("dragover", (event) => { if (hasFile(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  setDepth(0);
  const file = event.dataTransfer?.files[0];
  if (file) byPicture(file);
});

addEventListener("popstate", () => {
  asked = read(location.search);
  show();
});
addEventListener("hashchange", () => { // the sign-in link, opened where the page is open already
  if (location.hash.startsWith("#key=")) begin();
});

/** Whether a click is to be followed here, and not in another tab. @param {MouseEvent} event */
function isPlain(event) {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
}

begin();
