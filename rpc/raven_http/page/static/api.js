// Calls: requests to the routes of the server.

/** A refusal of the server, with the text that it gives for people. */
class Refused extends Error {
  constructor(status, answer) {
    super(answer.detail || answer.error || `the server answered ${status}`);
    this.status = status;
    this.kind = answer.error;
  }
}

// A body may hold any number: one that a double cannot hold, or writes otherwise, stays the text that was sent.
function exact(_key, value, context) {
  if (typeof value !== "number" || !context || String(value) === context.source || !JSON.rawJSON) return value;
  return JSON.rawJSON(context.source);
}

/** Whether a value is such a number. */
export function isExact(value) {
  return typeof value === "object" && value !== null && JSON.isRawJSON?.(value);
}

async function answer(response, reviver) {
  const text = await response.text();
  let json;
  try {
    json = JSON.parse(text, reviver);
  } catch {
    json = { detail: `the server answered ${response.status} ${response.statusText}` };
  }
  if (!response.ok) throw new Refused(response.status, json);
  return json;
}

async function ask(path, options, reviver) {
  try {
    return await answer(await fetch(path, { credentials: "same-origin", redirect: "error", ...options }), reviver);
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Error("the server does not answer: is `raven serve --http` still running?");
  }
}

/** GET a message; each number of its body is written by `JSON.stringify` as it was sent. */
export function getMessage(id) {
  return ask(`message/${id}`, {}, exact);
}

/** GET a route; `query` leaves out null and empty values. */
export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const tail = given.length ? `?${new URLSearchParams(given)}` : "";
  return ask(`${path}${tail}`, {});
}

/** POST JSON to a route; `rawBody` is the JSON text of the member `body`, sent as it is. */
export function post(path, params, rawBody = null) {
  let json = JSON.stringify(params);
  if (rawBody !== null) json = `${json.slice(0, -1)}${json === "{}" ? "" : ","}"body":${rawBody}}`;
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: json });
}
