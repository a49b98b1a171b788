// Calls: requests to the routes of the server, whose numbers keep all their digits.

/** A refusal of the server, with the text that it gives for people. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer.detail || answer.error || `the server answered ${status}`);
    this.status = status;
    this.kind = answer.error;
  }
}

// A lease has up to 63 bits, and a body any number: what a double cannot hold stays the text that was sent.
function exact(_key, value, context) {
  if (typeof value !== "number" || !context || String(value) === context.source || !JSON.rawJSON) return value;
  return Number(context.source) === value && Math.abs(value) < 2 ** 53 && !/[eE.]/.test(context.source)
    ? value
    : JSON.rawJSON(context.source);
}

/** Parse JSON; a number that a double cannot hold becomes an object that `JSON.stringify` writes as it was. */
export function parse(text) {
  return JSON.parse(text, exact);
}

/** Whether a value is such a number. */
export function isExact(value) {
  return typeof value === "object" && value !== null && JSON.isRawJSON?.(value);
}

async function answer(response) {
  const text = await response.text();
  let json;
  try {
    json = parse(text);
  } catch {
    json = { detail: `the server answered ${response.status} ${response.statusText}` };
  }
  if (!response.ok) throw new Refused(response.status, json);
  return json;
}

async function ask(path, options) {
  try {
    return await answer(await fetch(path, { credentials: "same-origin", redirect: "error", ...options }));
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Error("the server does not answer: is `raven serve --http` still running?");
  }
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
