// Detail: one message with the timeline of each delivery, its body, its thread, and the things to do with it.

import { get, getMessage } from "./api.js";
import { textOf, bodyView } from "./body.js";
import { FINAL } from "./bus.js";
import { address, ago, bdi, clock, count, el, hue, icon, initials, micros, oneLine, span, visible } from "./text.js";

const SHOWN_DELIVERIES = 20;
const SHOWN_THREAD = 100;

function chip(label, value, attributes = {}) {
  return el("span.fact", attributes, el("span.fact-name", {}, label), bdi(value));
}

/** Return the steps of a delivery: its name, the text beside it, the time since the step before, whether it is done. */
function steps(createdAt, receipt, now = Date.now() * 1000) {
  const sent = micros(createdAt);
  const delivered = micros(receipt.delivered_at);
  const finished = micros(receipt.finished_at);
  const list = [{ name: "sent", after: null, isDone: true }];
  if (delivered) list.push({ name: "delivered", after: (delivered - sent) / 1e6, isDone: true });
  if (FINAL.has(receipt.state)) {
    const after = finished ? (finished - (delivered || sent)) / 1e6 : null;
    list.push({ name: receipt.state, after, isDone: true });
  } else {
    if (!delivered) list.push({ name: "delivered", after: null, isDone: false });
    list.push({ name: "acked", after: null, isDone: false });
  }
  const ready = micros(receipt.ready_at);
  if (ready && !FINAL.has(receipt.state)) {
    const left = (ready - now) / 1e6;
    list.wait = receipt.leased ? `in flight, lease ends ${left > 0 ? `in ${span(left)}` : "now"}` : left > 0 ? `ready in ${span(left)}` : "ready";
  }
  if (receipt.host) list.wait = FINAL.has(receipt.state) ? `on ${oneLine(receipt.host)}` : `held for ${oneLine(receipt.host)}`;
  return list;
}

function delivery(message, receipt, { onRequeue }) {
  const list = steps(message.created_at, receipt);
  const track = el("ol.track", { "aria-label": "Timeline" });
  for (const step of list) {
    const state = step.isDone ? step.name : "open";
    track.append(
      el(
        "li.step",
        { "data-state": state },
        el("span.dot", { "aria-hidden": "true" }, step.isDone ? icon(step.name) : ""),
        el("span.step-name", {}, step.name, step.isDone ? null : el("span.sr", {}, " (not yet)")),
        el("span.step-time", {}, step.after === null ? (step.name === "sent" ? clock(micros(message.created_at) / 1000).slice(-12, -4) : "") : `+${span(step.after)}`),
      ),
    );
  }
  const notes = [];
  if (list.wait) notes.push(list.wait);
  if (receipt.attempts > 1 || receipt.state === "dead") notes.push(`attempt ${receipt.attempts} of ${receipt.max_attempts}`);
  return el(
    "li.delivery",
    {},
    el("div.delivery-head", {}, address(receipt.recipient), el("span.grow"), el("span.note", {}, notes.join(" · "))),
    track,
    receipt.reason ? el("p.reason", { "data-state": receipt.state }, receipt.state === "dead" ? "" : "released: ", bdi(receipt.reason)) : null,
    receipt.state === "dead" ? el("button.small.write", { type: "button", onclick: () => onRequeue(message.id, receipt.recipient) }, icon("requeue"), "Requeue") : null,
  );
}

export class Detail {
  constructor(panel, bus, { onReply, onRequeue, onClose, onCopy, onFilter }) {
    this.panel = panel;
    this.bus = bus;
    this.on = { onReply, onRequeue, onClose, onCopy, onFilter };
    this.id = null;
    this.message = null;
    this.thread = [];
  }

  /** Show a message; the newest call wins. */
  async show(id) {
    const isOther = id !== this.id;
    this.id = id;
    if (isOther) {
      this.isWhole = false;
      this.thread = [];
    }
    this.panel.hidden = false;
    try {
      const message = await getMessage(id);
      if (this.id !== id) return;
      // The body of a message never changes: one that the person has unfolded stays so. Another bus has other messages.
      const isSame = this.message?.id === id && this.message.created_at === message.created_at;
      this.message = message;
      if (!isSame) this.body = bodyView(message.body);
      this.render(isOther);
      if (!this.bus.messages.has(id) && isOther) {
        // A thread with bodies of many MiB is refused: the message is shown without it.
        const { messages } = await get(`thread/${id}`, { max: SHOWN_THREAD }).catch(() => ({ messages: [] }));
        if (this.id !== id) return;
        this.thread = messages.map((one) => ({ ...one, created: micros(one.created_at) }));
        this.render(false);
      }
    } catch (error) {
      if (this.id === id) this.fail(id, error);
    }
  }

  /** Read the message again, if it is the shown one: something about it changed. */
  changed(id) {
    if (id !== this.id || this.isWaiting) return;
    this.isWaiting = true;
    setTimeout(() => {
      this.isWaiting = false;
      if (this.id === id) this.show(id);
    }, 150);
  }

  /** A message came in: it may belong to the shown thread. */
  added(message) {
    if (this.id !== null && this.bus.messages.get(this.id)?.thread === message.thread) this.changed(this.id);
  }

  close() {
    this.id = null;
    this.message = null;
    this.panel.hidden = true;
    this.panel.replaceChildren();
  }

  fail(id, error) {
    this.message = null;
    const text = error.kind === "message_not_found" ? `There is no message #${id}: it was never sent, or it was pruned.` : error.message;
    this.panel.replaceChildren(this.bar(`#${id}`), el("div.empty", {}, icon("missing"), el("p", {}, visible(text))));
  }

  bar(title, ...rest) {
    return el(
      "header.detail-bar",
      {},
      el("h2", { tabindex: -1 }, title),
      ...rest,
      el("span.grow"),
      el("button.icon-button", { type: "button", title: "Copy a link to this message", "aria-label": "Copy a link to this message", onclick: () => this.on.onCopy(location.href, "Link copied") }, icon("link")),
      el("button.icon-button", { type: "button", title: "Close (Esc)", "aria-label": "Close the message", onclick: () => this.on.onClose() }, icon("close")),
    );
  }

  render(isOther) {
    const { message } = this;
    const top = isOther ? 0 : this.panel.scrollTop;
    const hadFocus = this.panel.contains(document.activeElement) ? document.activeElement.getAttribute("data-focus") : null;
    const receipts = message.receipts ?? [];
    const dead = receipts.filter((receipt) => receipt.state === "dead");
    const actions = el(
      "div.actions",
      {},
      el("button.primary.write", { type: "button", "data-focus": "reply", onclick: () => this.on.onReply(message) }, icon("reply"), "Reply"),
      dead.length ? el("button.write", { type: "button", "data-focus": "requeue", onclick: () => this.on.onRequeue(message.id, null) }, icon("requeue"), dead.length > 1 ? `Requeue ${dead.length}` : "Requeue") : null,
      el("button.quiet", { type: "button", "data-focus": "copy", onclick: () => this.on.onCopy(textOf(message.body).text, "Body copied") }, icon("copy"), "Copy body"),
      el("a.button.quiet", { href: `message/${message.id}`, target: "_blank", rel: "noopener", "data-focus": "json" }, icon("json"), "JSON"),
    );
    const created = micros(message.created_at) / 1000;
    const to = Array.isArray(message.to) ? message.to : [message.to];
    this.panel.replaceChildren(
      this.bar(`#${message.id}`, el("span.state", { "data-state": message.state }, icon(message.state), el("span.label", {}, message.state))),
      el(
        "div.letter",
        {},
        el(
          "div.letter-head",
          {},
          el("span.avatar.large", { "data-hue": hue(message.sender), "aria-hidden": "true" }, initials(message.sender)),
          el(
            "div.letter-who",
            {},
            el("div", {}, this.filterLink(message.sender)),
            el("div.letter-to", {}, "to ", ...to.slice(0, 5).flatMap((one, index) => [index ? ", " : "", this.filterLink(one)]), to.length > 5 ? ` and ${count(to.length - 5)} more` : ""),
          ),
          el("div.letter-when", {}, el("time", { datetime: message.created_at, title: message.created_at }, clock(created)), el("div.note", {}, `${ago(created)}${ago(created) === "now" ? "" : " ago"}`)),
        ),
        el("h3.subject", {}, el("span.urgency", { "data-urgency": message.urgency, "aria-hidden": "true" }), el("bdi", { title: visible(message.type) }, oneLine(message.type)), el("span.note", {}, message.urgency)),
        this.facts(message),
        actions,
        this.body,
        el("h4", {}, receipts.length === 1 ? "Delivery" : `Deliveries (${count(receipts.length)})`),
        this.deliveries(message, receipts),
        ...this.conversation(message),
      ),
    );
    this.panel.scrollTop = top;
    if (hadFocus) this.panel.querySelector(`[data-focus="${hadFocus}"]`)?.focus({ preventScroll: true });
  }

  filterLink(one) {
    return el("button.link", { type: "button", title: `Show only messages of ${visible(one)}`, onclick: () => this.on.onFilter(one) }, address(one));
  }

  facts(message) {
    const facts = [];
    if (message.reply_to !== null) facts.push(el("a.fact", { href: `#/message/${message.reply_to}` }, el("span.fact-name", {}, "reply to"), el("span.fact-link", {}, `#${message.reply_to}`)));
    for (const tag of message.tags) facts.push(chip("tag", tag));
    if (message.correlation_id !== null) facts.push(chip("correlation", message.correlation_id));
    if (message.task_id !== null) facts.push(chip("task", message.task_id));
    if (message.dedup_key !== null) facts.push(chip("dedup", message.dedup_key));
    if (message.reply_address) facts.push(chip("waits at", message.reply_address));
    if (message.expires_at) facts.push(chip("expires", clock(micros(message.expires_at) / 1000), { title: message.expires_at }));
    return facts.length ? el("div.facts", {}, ...facts) : null;
  }

  deliveries(message, receipts) {
    if (!receipts.length) return el("p.note", {}, "No agent matched the address when it was sent.");
    const shown = this.isWhole ? receipts : receipts.slice(0, SHOWN_DELIVERIES);
    const list = el("ol.deliveries", {}, ...shown.map((receipt) => delivery(message, receipt, this.on)));
    if (shown.length < receipts.length) {
      const button = el("button.quiet", { type: "button", onclick: () => ((this.isWhole = true), this.render(false)) }, `Show all ${count(receipts.length)}`);
      list.append(el("li", {}, button));
    }
    return list;
  }

  conversation(message) {
    const known = this.bus.messages.get(message.id);
    const thread = known ? this.bus.threads.get(known.thread).messages : this.thread;
    if (thread.length < 2) return [];
    // Of a long thread, the part around the message.
    const at = Math.max(0, Math.min(thread.length - SHOWN_THREAD, thread.findIndex((one) => one.id === message.id) - SHOWN_THREAD / 2));
    const list = el("ol.conversation");
    for (const one of thread.slice(at, at + SHOWN_THREAD)) {
      list.append(
        el(
          "li",
          {},
          el(
            "a",
            { href: `#/message/${one.id}`, "aria-current": one.id === message.id ? "true" : null },
            el("span.num", {}, `#${one.id}`),
            el("span.who", {}, address(one.sender)),
            el("bdi.type", {}, oneLine(one.type)),
            el("time.time", {}, ago(one.created / 1000)),
          ),
        ),
      );
    }
    return [el("h4", {}, `Thread (${count(thread.length)})`), list];
  }
}
