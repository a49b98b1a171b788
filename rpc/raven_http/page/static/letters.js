// Letters: the two lists that the page asks for when they are shown: dead letters, and the inbox of the person.

import { get } from "./api.js";
import { VirtualList } from "./list.js";
import { address, ago, el, icon, micros, oneLine, setText, visible } from "./text.js";
import { summary } from "./bus.js";

const MOST = 1000;

function makeRow(actions, onAct) {
  const parts = {
    who: el("span.who"),
    time: el("time.time"),
    urgency: el("span.urgency", { "aria-hidden": "true" }),
    type: el("bdi.type"),
    text: el("bdi.text"),
    note: el("span.note"),
  };
  const row = el(
    "div.row.letter-row",
    { role: "listitem" },
    el("div.lines", {}, el("div.line", {}, parts.who, el("span.grow"), parts.note, parts.time), el("div.line", {}, parts.urgency, parts.type, parts.text)),
  );
  const buttons = actions.map(([name, label, symbol]) =>
    el(
      "button.small",
      {
        type: "button",
        "data-action": name,
        onclick: (event) => {
          event.stopPropagation();
          onAct(name, row.item);
        },
      },
      icon(symbol),
      label,
    ),
  );
  row.append(el("div.row-actions.write", {}, ...buttons));
  row.parts = parts;
  return row;
}

/** A list of messages that one route returns; asked for again, at most twice a second, when it may have changed. */
export class Letters {
  constructor(viewport, { path, query, actions, note, text, empty, onAct, onPick, onCount }) {
    this.viewport = viewport;
    this.path = path;
    this.query = query;
    this.note = note;
    this.text = text;
    this.empty = empty;
    this.onCount = onCount;
    this.messages = [];
    this.list = new VirtualList(viewport, {
      make: () => makeRow(actions, onAct),
      bind: (row, item) => this.bind(row, item),
      key: (item) => `${item.id} ${item.recipient}`,
      onPick: (item) => onPick(item.id),
    });
    this.box = el("div.empty", { hidden: true });
    viewport.append(this.box);
  }

  bind(row, item) {
    const { parts } = row;
    parts.who.replaceChildren(address(item.sender), icon("arrow"), address(item.recipient));
    parts.urgency.dataset.urgency = item.urgency;
    setText(parts.type, oneLine(item.type));
    setText(parts.text, this.text(item));
    setText(parts.note, this.note(item));
    setText(parts.time, ago(micros(item.finished_at ?? item.created_at) / 1000));
    row.setAttribute("aria-label", `#${item.id} ${visible(item.type)} from ${visible(item.sender)} to ${visible(item.recipient)}`);
    for (const button of row.querySelectorAll("button")) button.setAttribute("aria-label", `${button.textContent} #${item.id}`);
  }

  /** Ask for the list again soon. */
  refresh() {
    if (this.timer) {
      this.again = true;
      return;
    }
    this.timer = setTimeout(() => {
      this.timer = null;
      if (this.again) this.refresh();
      this.again = false;
    }, 500);
    this.load();
  }

  async load() {
    const query = this.query();
    try {
      if (query) this.messages = (await get(this.path, { max: MOST, ...query })).messages;
      else this.messages = [];
      this.box.replaceChildren(...this.empty());
    } catch (error) {
      this.messages = [];
      this.box.replaceChildren(icon("missing"), el("p", {}, visible(error.message)));
    }
    this.box.hidden = this.messages.length > 0;
    this.list.set(this.messages);
    this.onCount(this.messages.length);
  }
}

/** The line of a dead letter: the reason of its death, or else its body. */
export function deathOf(message) {
  return message.reason ? oneLine(message.reason) : summary(message);
}
