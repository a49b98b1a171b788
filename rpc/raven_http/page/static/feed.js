// Feed: the rows of the messages, by thread or by time, filtered, and held still while paused.

import { VirtualList } from "./list.js";
import { ago, address, count, el, hue, icon, initials, oneLine, setText, visible } from "./text.js";

const LATEST_REPLIES = 2;
const NEW_MS = 1500;

/** Return a function that says whether a message passes the filter of the tool bar. */
export function matcher({ text, address: of, type, session, urgencies, state }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const ofSession = (one) => one.slice(one.indexOf(":") + 1) === session;
  return (message) => {
    if (urgencies.size && !urgencies.has(message.urgency)) return false;
    if (type && message.type !== type) return false;
    if (state && message.state !== state && !(state === "open" && (message.state === "sent" || message.state === "delivered"))) return false;
    if (of && message.sender !== of && !message.to.includes(of) && !message.receipts.has(of)) return false;
    if (session && !ofSession(message.sender) && !message.to.some(ofSession) && ![...message.receipts.keys()].some(ofSession)) return false;
    if (!words.length) return true;
    message.search ??= [`#${message.id}`, message.sender, ...message.to, message.type, ...message.tags, message.correlation ?? "", message.task ?? "", message.text].join(" ").toLowerCase();
    return words.every((word) => message.search.includes(word));
  };
}

function makeRow() {
  const parts = {
    avatar: el("span.avatar", { "aria-hidden": "true" }),
    who: el("span.who"),
    time: el("time.time"),
    urgency: el("span.urgency", { "aria-hidden": "true" }),
    type: el("bdi.type"),
    text: el("bdi.text"),
    state: el("span.state"),
  };
  parts.icon = icon("sent");
  parts.use = parts.icon.firstChild;
  parts.stateText = el("span.label");
  parts.state.append(parts.icon, parts.stateText);
  parts.more = el("span.more");
  const row = el(
    "div.row",
    { role: "option" },
    parts.avatar,
    el("div.lines", {}, el("div.line", {}, parts.who, parts.more, parts.time), el("div.line", {}, parts.urgency, parts.type, parts.text, parts.state)),
  );
  row.parts = parts;
  return row;
}

/** Say the state of a message in a few words: `acked`, `3/5 acked`, `dead`. */
function stateText(message) {
  const total = message.receipts.size;
  if (!total && message.to.some((one) => one.includes("*"))) return "no recipient";
  if (total > 1 && message.state !== "acked") {
    let acked = 0;
    for (const receipt of message.receipts.values()) if (receipt.state === "acked") acked += 1;
    return message.state === "dead" ? `dead, ${acked}/${total}` : `${acked}/${total} acked`;
  }
  if (message.state === "delivered" && [...message.receipts.values()].some((one) => one.leased)) return "in flight";
  return message.state;
}

export class Feed {
  constructor(viewport, bus, { onPick }) {
    this.bus = bus;
    // Called after each change of the rows with how many messages they stand for, and how many there are.
    this.onCount = () => {};
    this.byThread = true;
    this.open = new Set();
    this.filter = null;
    this.selected = null;
    this.paused = false;
    this.missed = 0;
    this.list = new VirtualList(viewport, {
      make: makeRow,
      bind: (row, item) => this.bind(row, item),
      key: (item) => item.key,
      onPick: (item, event) => (event.target.closest(".more") && item.folds ? this.toggle(item.message.thread) : onPick(item.message.id)),
    });
    this.viewport = viewport;
    this.rows = [];
  }

  /** Show or hide the earlier replies of a thread. */
  toggle(threadId) {
    if (!this.open.delete(threadId)) this.open.add(threadId);
    this.build();
  }

  setFilter(filter) {
    this.filter = filter;
    this.list.scrollTo(0);
    this.build();
  }

  setPaused(paused) {
    this.paused = paused;
    this.missed = 0;
    if (!paused) this.build();
  }

  /** A message came in: the next frame shows it. */
  added(message) {
    if (this.paused) this.missed += this.filter && !this.filter(message) ? 0 : 1;
    else this.isDirty = true;
  }

  /** A message changed. */
  changed() {
    this.isStale = true;
    // A change of state can make a message pass the filter, or fail it.
    if (this.filter && !this.paused) this.isDirty = true;
  }

  /** Bring the rows up to date, once in a frame. */
  frame() {
    if (this.isStale) this.list.refresh();
    this.isStale = false;
    if (this.isDirty) this.build();
    this.list.flush();
  }

  build() {
    this.isDirty = false;
    const rows = [];
    let matches = 0;
    const { filter } = this;
    const row = (message, depth, replies, folds) => {
      const known = message.row;
      // The list fills a row again if it gets another item for it.
      if (!known || known.depth !== depth || known.replies !== replies || known.folds !== folds) message.row = { key: message.id, message, depth, replies, folds };
      rows.push(message.row);
      matches += 1 + (folds === "folded" ? replies - LATEST_REPLIES : 0);
    };
    if (!this.byThread) {
      const all = [...this.bus.messages.values()];
      for (let index = all.length - 1; index >= 0; index -= 1) if (!filter || filter(all[index])) row(all[index], 0, 0, "");
    } else {
      const threads = [...this.bus.threads.values()];
      for (let index = threads.length - 1; index >= 0; index -= 1) this.addThread(threads[index], rows, row);
    }
    this.rows = rows;
    this.list.set(rows);
    this.onCount(matches, this.bus.messages.size);
  }

  addThread(thread, rows, row) {
    const shown = this.filter ? thread.messages.filter(this.filter) : thread.messages;
    if (!shown.length) return;
    const replies = shown.length - 1;
    const isOpen = this.open.has(thread.id);
    const folds = replies > LATEST_REPLIES;
    row(shown[0], 0, replies, folds ? (isOpen ? "open" : "folded") : "");
    for (let index = folds && !isOpen ? shown.length - LATEST_REPLIES : 1; index < shown.length; index += 1) row(shown[index], Math.max(1, shown[index].depth), 0, "");
  }

  bind(row, item) {
    const { parts } = row;
    const { message } = item;
    const isSelected = message.id === this.selected;
    const now = Date.now();
    if (row.message !== message) {
      row.message = message;
      row.version = -1;
      row.id = `row-${message.id}`;
      setText(parts.avatar, initials(message.sender));
      parts.avatar.dataset.hue = hue(message.sender);
      const to = message.to.length > 1 ? el("span.role", {}, `${message.to.length} agents`) : address(message.to[0]);
      parts.who.replaceChildren(address(message.sender), icon("arrow"), to);
      parts.urgency.dataset.urgency = message.urgency;
      setText(parts.type, oneLine(message.type));
      setText(parts.text, message.text);
      row.arrival = undefined;
    }
    const replies = item.replies ? `${count(item.replies)} ${item.replies === 1 ? "reply" : "replies"}` : "";
    setText(parts.more, replies);
    parts.more.dataset.folds = item.folds;
    const name = `row depth-${item.depth}${isSelected ? " selected" : ""}`;
    const age = message.arrived ? performance.now() - message.arrived : NEW_MS;
    const isNew = age < NEW_MS;
    if (isNew) row.style.setProperty("--age", `${-Math.round(age)}ms`);
    const wanted = isNew ? `${name} new` : name;
    if (row.className !== wanted) row.className = wanted;
    row.setAttribute("aria-selected", isSelected);
    setText(parts.time, ago(message.created / 1000, now));
    if (row.version !== message.version) {
      row.version = message.version;
      const text = stateText(message);
      parts.state.dataset.state = message.state;
      parts.use.setAttribute("href", `#i-${message.state}`);
      setText(parts.stateText, text);
      row.setAttribute(
        "aria-label",
        `#${message.id} ${visible(message.type)} from ${visible(message.sender)} to ${visible(message.to.join(", "))}, ${message.urgency}, ${text}: ${message.text}`,
      );
    }
  }

  /** Select a message, by its id; null for none. */
  select(id) {
    this.selected = id;
    if (id === null) this.viewport.removeAttribute("aria-activedescendant");
    else this.viewport.setAttribute("aria-activedescendant", `row-${id}`);
    this.list.refresh();
  }

  /** Return the id of the message some rows after the selected one, and bring it into sight. */
  step(by) {
    const at = this.rows.findIndex((row) => row.message.id === this.selected);
    const index = at < 0 ? (by > 0 ? 0 : this.rows.length - 1) : at + by;
    const row = this.rows[index];
    if (!row) return null;
    this.list.reveal(index);
    return row.message.id;
  }
}
