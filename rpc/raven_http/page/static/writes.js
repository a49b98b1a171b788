// Writes: all that the person changes on the bus, as one address.

import { post } from "./api.js";
import { addressFault, Composer, suggest } from "./composer.js";
import { keep, kept } from "./kept.js";
import { toast, TOAST_MS } from "./toast.js";
import { count, setText, visible } from "./text.js";

const $ = (id) => document.getElementById(id);

async function tried(write) {
  try {
    toast(await write());
  } catch (error) {
    toast(error.message, "bad");
  }
}

export class Writes {
  /** `onInbox()` and `onDead()`: the mail of the person, or the dead letters, may have changed; `onMessage(id)`: a message. */
  constructor(bus, { onInbox, onDead, onMessage }) {
    this.bus = bus;
    this.on = { onInbox, onDead, onMessage };
    this.confirmedAt = 0;
    // What the server allows; null until it has said so.
    this.allowed = null;
    this.composer = new Composer($("composer"), {
      me: () => this.me,
      fault: () => this.fault,
      onSent: (message, replyTo) => {
        toast(`${replyTo ? `Replied to #${replyTo.id}` : "Sent"} as #${message.id}`);
        onInbox();
      },
    });
    const mine = kept("me");
    if (mine && !addressFault(mine, false)) $("me").value = mine;
    $("me").addEventListener("change", () => {
      const { fault } = this;
      setText($("me-note"), fault ?? "");
      if (!fault) keep("me", $("me").value.trim());
      onInbox();
    });
  }

  /** The address of the person at the page; on a bus without agents that of the field's placeholder. */
  get me() {
    return $("me").value.trim() || $("me").placeholder;
  }

  /** What is wrong with that address, in one sentence; null if nothing is. */
  get fault() {
    if (!this.allowed) return "The server has not answered yet";
    const { as } = this.allowed;
    if (as.length && !as.includes(this.me)) return `This server acts only as ${as.map(visible).join(", ")}`;
    return addressFault(this.me, false);
  }

  /** Heed what the server says: whether it writes at all, and as whom, if not as anyone. */
  allow({ read_only: isReadOnly, as }) {
    const isFirst = !this.allowed;
    this.allowed = { isReadOnly, as };
    document.body.classList.toggle("is-read-only", isReadOnly);
    $("read-only").hidden = !isReadOnly;
    $("me").readOnly = as.length === 1;
    suggest($("my-addresses"), as);
    const isOther = as.length && !as.includes(this.me);
    if (isOther) $("me").value = as[0];
    if (isFirst || isOther) this.on.onInbox();
  }

  /** Whether the person may write; if not, the page says why. */
  mayWrite() {
    if (!this.allowed?.isReadOnly) return true;
    toast("This page only shows the bus: its server was started with --read-only");
    return false;
  }

  /** Be `human` in the largest session, until another address is typed. */
  choose() {
    const session = this.bus.sessions()[0];
    if ($("me").value || session === undefined) return;
    $("me").value = `human:${session}`;
    this.on.onInbox();
  }

  compose(to = null) {
    if (!this.mayWrite()) return;
    const { bus } = this;
    suggest($("addresses"), [...bus.sessions().slice(0, 5).map((session) => `*:${session}`), ...bus.peers.keys()]);
    suggest($("types"), [...bus.types.keys()].filter((type) => !type.startsWith("raven.")));
    this.composer.open({ to });
  }

  reply(message) {
    if (this.mayWrite()) this.composer.open({ replyTo: message });
  }

  /** Requeue a message for one recipient, or for all for whom it died. */
  async requeue(id, recipient) {
    await tried(async () => {
      const { requeued } = await post("requeue", recipient === null ? { ids: [id] } : { ids: [id], role: recipient });
      return `Requeued ${count(requeued)} ${requeued === 1 ? "delivery" : "deliveries"} of #${id}`;
    });
    this.on.onDead();
    this.on.onMessage(id);
  }

  /** Requeue all dead letters, if the person asks twice. */
  async requeueAll(letters) {
    if (performance.now() - this.confirmedAt > TOAST_MS || !this.confirmedAt) {
      this.confirmedAt = performance.now();
      toast(`Press again to requeue all ${count(letters)}`);
      return;
    }
    this.confirmedAt = 0;
    await tried(async () => {
      await post("requeue", { all: true });
      return "Requeued all dead letters";
    });
    this.on.onDead();
  }

  async ack(message) {
    await tried(async () => {
      await post("ack", { id: message.id, role: message.recipient });
      return `Acked #${message.id}`;
    });
    this.on.onInbox();
  }
}
