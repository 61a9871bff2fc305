// The request that was sent, as a shell and as Python would send it; the key is left to $KEY.

/** @typedef {import("./api.js").Ask} Ask */

/**
 * Return the curl command.
 * @param {Ask} ask
 * @param {string} base the server's address, which ends with a slash
 * @param {boolean} hasKey whether the server asks for one
 */
export function asCurl(ask, base, hasKey) {
  const key = hasKey ? ['-H "Authorization: Bearer $KEY"'] : [];
  return ["curl", ...key, ...curlBody(ask), quoted(base + ask.path)].join(" \\\n  ");
}

/** Return the Python code. @param {Ask} ask @param {string} base @param {boolean} hasKey */
export function asPython(ask, base, hasKey) {
  return [
    hasKey ? "import os\n\nimport httpx\n" : "import httpx\n",
    `answer = httpx.${ask.method.toLowerCase()}(`,
    `    ${python(base + ask.path)},`,
    ...(hasKey ? ['    headers={"Authorization": f"Bearer {os.environ[\'KEY\']}"},'] : []),
    ...pythonBody(ask),
    "    timeout=60,",
    ")",
    'for row in answer.raise_for_status().json()["results"]:',
    '    print(row["id"], row.get("uri"))',
  ].join("\n");
}

/** @param {Ask} ask */
function curlBody({ method, values, picture }) {
  const each = Object.entries(values).map(([name, value]) => quoted(`${name}=${value}`));
  if (method === "GET") return ["--get", ...each.map((one) => `--data-urlencode ${one}`)];
  if (!picture) return [`--json ${quoted(JSON.stringify(values))}`];
  // --form-string: a value that begins with @ or < is no file
  return [`--form ${quoted(`files=@${picture.name}`)}`, ...each.map((one) => `--form-string ${one}`)];
}

/** @param {Ask} ask */
function pythonBody({ method, values, picture }) {
  if (method === "GET") return [`    params=${python(values)},`];
  if (!picture) return [`    json=${python(values)},`];
  return [`    files={"files": open(${python(picture.name)}, "rb")},`, `    data=${python(values)},`];
}

/** Return a value as Python writes it: strings and numbers, which JSON writes the same way. @param {any} value */
function python(value) {
  return JSON.stringify(value, null, 1).replace(/\n */g, " ").replace(/^\{ | \}$/g, (brace) => brace.trim());
}

/** Return a word of a shell. @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
