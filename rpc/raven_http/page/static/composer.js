// Composer: writes a message or a reply as the address of the person at the page.

import { post } from "./api.js";
import { el, visible } from "./text.js";

/** Return the fault of an address or a pattern in one sentence; null if it has none. */
export function addressFault(text, isPatternAllowed = true) {
  const parts = text.split(":");
  if (parts.length !== 2 || !parts[0] || !parts[1]) return `“${visible(text)}” is no address: write it as role:session, for example architect:swarm-1`;
  if (text.includes("*") && (!isPatternAllowed || parts.some((part) => part !== "*" && part.includes("*")))) return `“${visible(text)}”: * stands for a whole role or a whole session`;
  return null;
}

/** Split the field of recipients at commas. */
function recipients(text) {
  return text.split(",").map((one) => one.trim()).filter(Boolean);
}

export class Composer {
  constructor(dialog, { me, fault, onSent }) {
    this.dialog = dialog;
    this.me = me;
    this.faultOfMe = fault;
    this.onSent = onSent;
    this.replyTo = null;
    this.form = dialog.querySelector("form");
    this.field = (name) => this.form.elements.namedItem(name);
    this.note = dialog.querySelector(".form-note");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.form.addEventListener("input", () => this.check());
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    });
  }

  /** Open the form: empty, for a recipient, or for the reply to a message. */
  open({ replyTo = null, to = null } = {}) {
    this.replyTo = replyTo;
    this.dialog.querySelector("h2").textContent = replyTo ? `Reply to #${replyTo.id}` : "New message";
    this.dialog.querySelector(".from").textContent = visible(this.me());
    const recipient = this.field("to");
    recipient.disabled = replyTo !== null;
    if (replyTo) {
      recipient.value = replyTo.reply_address ?? replyTo.sender;
      this.field("type").value = "reply";
      this.field("body").value = "";
    } else if (to) recipient.value = to;
    // A person mostly writes text; a draft stays as it is.
    if (!this.field("body").value) this.field("kind").value = "text";
    for (const one of this.dialog.querySelectorAll(".new-only")) one.hidden = replyTo !== null;
    this.say("");
    if (!this.dialog.open) this.dialog.showModal();
    this.field(replyTo ? "body" : recipient.value ? "type" : "to").focus();
    this.check();
  }

  get isJson() {
    return this.field("kind").value === "json";
  }

  /** Return the fault of the form; null if it can be sent. */
  fault() {
    const mine = this.faultOfMe();
    if (mine) return `Your own address: ${mine}`;
    const to = recipients(this.field("to").value);
    if (!this.replyTo) {
      if (!to.length) return "Name at least one recipient.";
      for (const one of to) if (addressFault(one)) return addressFault(one);
    }
    if (!this.field("type").value.trim()) return "A message has a type: one word for its kind, for example note.";
    if (this.isJson && this.field("body").value.trim()) {
      try {
        JSON.parse(this.field("body").value);
      } catch (error) {
        return `The body is no JSON: ${visible(error.message)}`;
      }
    }
    return null;
  }

  check() {
    const fault = this.fault();
    this.field("send").disabled = this.isSending || fault !== null;
    // While the first fields are empty the form needs no complaint.
    const isBegun = this.field("body").value || (this.field("to").value && this.field("type").value);
    this.say(fault && isBegun ? fault : "", fault ? "bad" : "");
  }

  say(text, kind = "") {
    this.note.textContent = text;
    this.note.dataset.kind = kind;
  }

  async send() {
    if (this.fault() || this.isSending) return;
    const text = this.field("body").value;
    const body = this.isJson ? text.trim() || "null" : JSON.stringify(text);
    const urgency = this.form.elements.namedItem("urgency").value;
    const params = { from: this.me(), type: this.field("type").value.trim(), urgency };
    const tags = recipients(this.field("tags").value);
    if (tags.length) params.tags = tags;
    for (const name of ["task_id", "correlation_id"]) {
      const value = this.field(name).value.trim();
      if (value && !this.replyTo) params[name] = value;
    }
    const expires = Number(this.field("expires_in_s").value);
    if (expires > 0) params.expires_in_s = expires;
    let path = "send";
    if (this.replyTo) path = `reply/${this.replyTo.id}`;
    else {
      const to = recipients(this.field("to").value);
      params.to = to.length === 1 ? to[0] : to;
    }
    this.isSending = true;
    this.field("send").disabled = true;
    this.say("Sending …");
    try {
      const sent = await post(path, params, body);
      this.field("body").value = "";
      this.dialog.close();
      this.onSent(sent, this.replyTo);
    } catch (error) {
      this.say(visible(error.message), "bad");
    } finally {
      this.isSending = false;
      this.field("send").disabled = false;
    }
  }
}

/** Fill the list of suggestions of a field. */
export function suggest(datalist, values) {
  datalist.replaceChildren(...values.slice(0, 500).map((value) => el("option", { value })));
}
