// Body: a JSON value as text with quiet colours, folded if it is long.

import { isExact } from "./api.js";
import { bytes, el, visible } from "./text.js";

const FOLDED_AT = 2_000;
const COLOURED_UP_TO = 20_000;
const CHUNK = 8_192;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g;

/** Return the text to show for a body, and whether it is JSON. */
export function textOf(body) {
  if (typeof body === "string") return { text: body, isJson: false };
  if (isExact(body)) return { text: JSON.stringify(body), isJson: true };
  return { text: JSON.stringify(body, null, 2), isJson: true };
}

function coloured(json) {
  const parts = [];
  let end = 0;
  for (const match of json.matchAll(TOKEN)) {
    if (match.index > end) parts.push(visible(json.slice(end, match.index)));
    const [whole, string, colon] = match;
    if (string) {
      parts.push(el(colon ? "span.j-key" : "span.j-string", {}, visible(string)));
      if (colon) parts.push(colon);
    } else parts.push(el(/\d/.test(whole) ? "span.j-number" : "span.j-word", {}, whole));
    end = match.index + whole.length;
  }
  parts.push(visible(json.slice(end)));
  return parts;
}

/** Cut a text, but not between the halves of a surrogate pair. */
function cut(text, length) {
  const end = /[\ud800-\udbff]/.test(text[length - 1] ?? "") ? length - 1 : length;
  return text.slice(0, end);
}

function fill(pre, text, isJson) {
  if (isJson && text.length <= COLOURED_UP_TO) {
    pre.replaceChildren(...coloured(text));
    return;
  }
  // The browser lays out only the chunks in sight.
  const chunks = [];
  for (let at = 0; at < text.length; ) {
    const chunk = cut(text.slice(at, at + CHUNK), CHUNK);
    chunks.push(el("span.chunk", {}, visible(chunk)));
    at += chunk.length;
  }
  pre.replaceChildren(...chunks);
}

/** Make the element of a body; over 2,000 characters it is folded, with a button that shows all. */
export function bodyView(body) {
  const { text, isJson } = textOf(body);
  const pre = el("pre.body", { tabindex: 0, "aria-label": "Body" });
  if (text.length <= FOLDED_AT) {
    fill(pre, text, isJson);
    return el("div.body-box", {}, pre);
  }
  const size = bytes(new Blob([text]).size);
  const button = el("button.quiet.unfold", { type: "button" });
  const set = (isOpen) => {
    fill(pre, isOpen ? text : cut(text, FOLDED_AT), isJson);
    if (!isOpen) pre.append(el("span.ellipsis", {}, " …"));
    button.textContent = isOpen ? "Fold" : `Show all ${size}`;
    button.setAttribute("aria-expanded", isOpen);
    button.onclick = () => set(!isOpen);
  };
  set(false);
  return el("div.body-box", {}, pre, button);
}
