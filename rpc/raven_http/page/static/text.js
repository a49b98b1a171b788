// Text: elements made without markup, foreign text made visible and isolated, times and sizes in words.
// Every text of the bus goes into the page through `append` or `textContent`, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `el("p.note", {title: "…"}, "text", child)`; `on…` attributes are listeners, null is left out. */
export function el(what, attributes = {}, ...children) {
  const [name, ...classes] = what.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Make an SVG element. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Make an icon from a symbol of index.html. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Set a text only if it changed, because a write costs a layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Control characters (but tab and line feed), marks that turn the direction of text, invisible characters, tags, and
// halves of surrogate pairs.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\ud800-\udfff]/gu;

/** Return a text whose invisible and direction-turning characters show as their code: ⟦U+202E⟧. */
export function visible(text) {
  return String(text).replace(HIDDEN, (character) => {
    const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return `\u27e6U+${code}\u27e7`;
  });
}

/** Return a text as one line. */
export function oneLine(text) {
  return visible(text).replace(/\s+/g, " ").trim();
}

/** Make an element that isolates a foreign text, so that it cannot turn its neighbours around. */
export function bdi(text, classes = "") {
  const made = document.createElement("bdi");
  if (classes) made.className = classes;
  made.textContent = oneLine(text);
  return made;
}

/** Make an address: its role, and its session in a quieter tone. */
export function address(text) {
  const colon = text.indexOf(":");
  const made = el("bdi.address", { title: visible(text) });
  if (colon < 0) made.append(el("span.role", {}, oneLine(text)));
  else made.append(el("span.role", {}, oneLine(text.slice(0, colon))), el("span.session", {}, visible(text.slice(colon))));
  return made;
}

/** Return the two letters, or the letter and the last two digits, that stand for an address: `BO`, `W10`. */
export function initials(text) {
  const words = text.split(":")[0].split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  if (!words.length) return "?";
  const last = words[words.length - 1];
  const digits = /\d*$/.exec(last)[0].slice(-2);
  if (digits && words.join("") !== digits) return [...words[0]][0].toUpperCase() + digits;
  const letters = words.length > 1 ? [...words[0]][0] + [...last][0] : [...words[0]].slice(0, 2).join("");
  return letters.toUpperCase();
}

/** Return one of eight hues for an address: the same at each load. */
export function hue(text) {
  let hash = 2166136261;
  for (const unit of text.split(":")[0]) hash = Math.imul(hash ^ unit.codePointAt(0), 16777619);
  return (hash >>> 8) % 8;
}

/** Return a time of the bus in microseconds since 1970; NaN for none. */
export function micros(iso) {
  if (!iso) return NaN;
  const fraction = iso[19] === "." ? parseInt(iso.slice(20, 26).replace(/\D.*/, "").padEnd(6, "0"), 10) : 0;
  return Date.parse(`${iso.slice(0, 19)}Z`) * 1000 + fraction;
}

/** Return how long ago a time was: `now`, `12 s`, `4 min`, `3 h`, `2 d`. */
export function ago(ms, now = Date.now()) {
  const s = Math.max(0, (now - ms) / 1000);
  if (!Number.isFinite(s)) return "";
  if (s < 1.5) return "now";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** Return a span in seconds with about three digits: `840 µs`, `12.4 ms`, `3.2 s`, `4 min 10 s`. */
export function span(s) {
  if (s === null || s === undefined || !Number.isFinite(s)) return "–";
  if (s < 0) return "0 s";
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${(s * 1000).toPrecision(3)} ms`.replace(/\.0+ /, " ");
  if (s < 60) return `${s.toPrecision(3)} s`.replace(/\.0+ /, " ");
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.round((s % 86400) / 3600)} h`;
}

/** Return a number of bytes: `812 B`, `14.2 KiB`. */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let value = count;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024 || unit === "GiB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return "";
}

const COUNT = new Intl.NumberFormat("en-US");

/** Return a count with separators of thousands. */
export function count(number) {
  return COUNT.format(number);
}

/** Return a time of day with milliseconds, and the date if it is not today's. */
export function clock(ms) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return "–";
  const two = (value) => String(value).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}
