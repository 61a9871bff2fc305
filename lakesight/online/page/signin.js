// Signing in: a key once, by the link or by hand, for a cookie that no script can read.

import { answer } from "./api.js";
import { h } from "./dom.js";

/** Return whether the server asks for keys, and the name of the one that is signed in. @returns {Promise<{asks: boolean, key: string | null}>} */
export async function state() {
  return (await answer("signin")).json();
}

/** Take the key out of the address, where the link brought one, and sign in by it. */
export async function byLink() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key === null) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  await byKey(key);
}

/** @param {string} key */
export async function byKey(key) {
  await answer("signin", { method: "POST", body: JSON.stringify({ key }), headers: { "Content-Type": "application/json" } });
}

export async function leave() {
  await answer("signout", { method: "POST" });
}

/** Return a form that asks for a key. @param {(key: string) => void} give */
export function form(give) {
  const field = /** @type {HTMLInputElement} */ (h("input", {
    id: "key", type: "password", autocomplete: "current-password", required: true, placeholder: "lsk_…", spellcheck: "false",
  }));
  const onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    give(field.value.trim());
  };
  return h("form", { class: "signin", onsubmit },
    h("h2", {}, "Sign in"),
    h("label", { for: "key" }, "Your API key"),
    field,
    h("button", { class: "button" }, "Sign in"),
    h("p", { class: "muted" }, "`lakesight serve` shows the first key once, with a link that signs you in. `lakesight keys create NAME` makes others."));
}
