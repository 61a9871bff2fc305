// What the server is asked, and what it says where it refuses.

/**
 * @typedef {object} Ask What one request says: what `send` sends, and what code.js shows.
 * @property {"GET" | "POST"} method
 * @property {string} path
 * @property {Record<string, string | number>} values the query of a GET, the JSON or form of a POST
 * @property {File} [picture] sent as a form, with the values
 */

/** A request that was refused, as one sentence (RFC 9457), or a server that does not answer. */
export class Refusal extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 where there was no answer
   * @param {number} [retryS] when to come again
   */
  constructor(message, status, retryS) {
    super(message);
    this.status = status;
    this.retryS = retryS;
  }
}

/**
 * Return the JSON of an answer.
 * @param {Ask} ask
 * @param {AbortSignal} [signal]
 */
export async function send(ask, signal) {
  return (await answer(address(ask), { method: ask.method, signal, ...bodyOf(ask) })).json();
}

/** Return where the picture of a row is. @param {string} id @param {string | null} index @param {"small" | "large"} size */
export function pictureOf(id, index, size) {
  return address({ method: "GET", path: `v1/rows/${id}/picture`, values: { ...named(index), size } });
}

/** @param {string | null} index @returns {Record<string, string | number>} */
export function named(index) {
  return index === null ? {} : { index };
}

/**
 * Return the answer to a request; raise Refusal where it is none.
 * @param {string} url
 * @param {RequestInit} [options]
 */
export async function answer(url, options = {}) {
  let found;
  try {
    found = await fetch(url, options);
  } catch (error) {
    if (/** @type {Error} */ (error).name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is it still running?", 0);
  }
  if (found.ok) return found;
  const retryS = Number(found.headers.get("retry-after")) || undefined;
  throw new Refusal(await sentence(found), found.status, retryS);
}

/** Return what a refusal says, as one sentence. @param {Response} refused */
async function sentence(refused) {
  try {
    const { title, detail } = await refused.json();
    return detail ? `${title}: ${detail}.` : `${title}.`;
  } catch {
    return `The server answered with ${refused.status} ${refused.statusText}.`;
  }
}

/** @param {Ask} ask */
function address({ method, path, values }) {
  const query = method === "GET" ? new URLSearchParams(strings(values)).toString() : "";
  return query ? `${path}?${query}` : path;
}

/** @param {Ask} ask @returns {RequestInit} */
function bodyOf({ method, values, picture }) {
  if (method === "GET") return {};
  if (!picture) {
    return { body: JSON.stringify(values), headers: { "Content-Type": "application/json" } };
  }
  const form = new FormData();
  for (const [name, value] of Object.entries(strings(values))) form.set(name, value);
  form.set("files", picture);
  return { body: form };
}

/** @param {Record<string, string | number>} values */
function strings(values) {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
}
