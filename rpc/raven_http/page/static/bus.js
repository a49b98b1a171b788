// Bus: the messages, agents and counts that the page knows, kept up to date by the events of the server.
// Each event may come twice, because a stream that broke resumes: what is known already changes nothing.

import { micros, oneLine } from "./text.js";

export const PREVIEW = 400;
const MOST_MESSAGES = 20_000;
const DROPPED_AT_ONCE = 2_000;
const SHOWN_PREVIEW = 240;
const ADVANCE = { sent: 0, delivered: 1, acked: 2, expired: 3, dead: 4 };
export const FINAL = new Set(["acked", "expired", "dead"]);

/** The counts of events in each second of the last minutes, by the times that the bus gives them. */
class Series {
  constructor(seconds) {
    this.seconds = seconds;
    this.bins = new Map();
  }

  add(at, kind) {
    const second = Math.floor(at / 1e6);
    if (!Number.isFinite(second) || second < Date.now() / 1000 - this.seconds - 5) return;
    let bin = this.bins.get(second);
    if (!bin) {
      bin = { sent: 0, delivered: 0, acked: 0 };
      this.bins.set(second, bin);
      if (this.bins.size > 2 * this.seconds) {
        for (const old of this.bins.keys()) if (old < second - this.seconds - 5) this.bins.delete(old);
      }
    }
    bin[kind] += 1;
  }

  /** Return the counts of one kind, the oldest first, up to the second before `now`. */
  values(kind, now = Math.floor(Date.now() / 1000)) {
    return Array.from({ length: this.seconds }, (_, index) => this.bins.get(now - this.seconds + index)?.[kind] ?? 0);
  }
}

/** The recent activity of one address, in bins of five seconds. */
class Activity {
  constructor() {
    this.at = 0;
    this.bins = new Uint16Array(24);
  }

  move(bin) {
    const steps = Math.min(24, bin - this.at);
    if (steps > 0) {
      this.bins.copyWithin(0, steps);
      this.bins.fill(0, 24 - steps);
      this.at = bin;
    }
  }

  add(atMs) {
    const bin = Math.floor(atMs / 5000);
    this.move(bin);
    const index = 23 - (this.at - bin);
    if (index >= 0) this.bins[index] += 1;
  }

  now() {
    this.move(Math.floor(Date.now() / 5000));
    return this.bins;
  }
}

/** Return the text of a body in one line, or of the beginning of its JSON. */
export function summary(message) {
  let body = message.body;
  if (message.truncated) {
    const json = (message.preview ?? "").replace(/\\(u[0-9a-fA-F]{0,3})?$/, "");
    if (!json.startsWith('"')) return oneLine(json.replace(/^\{/, "").replace(/"([\w-]+)":\s?/g, "$1: ").slice(0, SHOWN_PREVIEW));
    try {
      body = JSON.parse(`${json}"`);
    } catch {
      return oneLine(json.slice(0, SHOWN_PREVIEW));
    }
  }
  if (body === null || body === undefined) return "";
  if (typeof body === "string") return oneLine(body.slice(0, SHOWN_PREVIEW));
  if (typeof body === "object" && !Array.isArray(body)) {
    const parts = Object.entries(body).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
    return oneLine(parts.join("  ").slice(0, SHOWN_PREVIEW));
  }
  return oneLine(JSON.stringify(body).slice(0, SHOWN_PREVIEW));
}

export class Bus {
  constructor() {
    this.clear();
  }

  /** Forget all: the server said that the position of the stream means nothing any more. */
  clear() {
    this.messages = new Map();
    this.threads = new Map();
    this.peers = new Map();
    this.activity = new Map();
    this.types = new Map();
    this.series = new Series(300);
    this.backlog = [];
    this.stats = null;
    this.lastId = 0;
    this.version = 0;
  }

  /** Take a message in; returns its record, or null if it was known. */
  message(data, isLive) {
    if (this.messages.has(data.id)) return null;
    const created = micros(data.created_at);
    const message = {
      id: data.id,
      key: data.id,
      sender: data.sender,
      to: Array.isArray(data.to) ? data.to : [data.to],
      type: data.type,
      urgency: data.urgency,
      tags: data.tags,
      correlation: data.correlation_id,
      task: data.task_id,
      replyTo: data.reply_to,
      created,
      text: summary(data),
      receipts: new Map(),
      state: data.state,
      done: 0,
      thread: data.id,
      depth: 0,
      version: 0,
      arrived: isLive ? performance.now() : 0,
    };
    const parent = data.reply_to === null ? null : this.messages.get(data.reply_to);
    if (parent) {
      message.thread = parent.thread;
      message.depth = Math.min(4, parent.depth + 1);
    } else if (data.reply_to !== null) message.thread = data.reply_to;
    this.messages.set(message.id, message);
    this.lastId = Math.max(this.lastId, message.id);
    let thread = this.threads.get(message.thread);
    if (!thread) {
      thread = { id: message.thread, messages: [], last: 0 };
      this.threads.set(message.thread, thread);
    }
    thread.messages.push(message);
    // The map stays in the order of the latest message of each thread.
    this.threads.delete(message.thread);
    this.threads.set(message.thread, thread);
    thread.last = message.id;
    this.types.set(message.type, (this.types.get(message.type) ?? 0) + 1);
    this.series.add(created, "sent");
    this.active(message.sender, created / 1000);
    for (const receipt of data.recipients ?? []) this.receipt({ ...receipt, id: message.id }, isLive);
    if (this.messages.size > MOST_MESSAGES) this.drop();
    return message;
  }

  active(address, ms) {
    let activity = this.activity.get(address);
    if (!activity) this.activity.set(address, (activity = new Activity()));
    activity.add(ms);
  }

  /** Forget the oldest messages, so that a page that is open for days needs no more memory. */
  drop() {
    let left = DROPPED_AT_ONCE;
    for (const message of this.messages.values()) {
      if (left-- === 0) break;
      this.messages.delete(message.id);
      const thread = this.threads.get(message.thread);
      thread.messages.splice(thread.messages.indexOf(message), 1);
      if (!thread.messages.length) this.threads.delete(thread.id);
      const uses = this.types.get(message.type) - 1;
      if (uses) this.types.set(message.type, uses);
      else this.types.delete(message.type);
    }
  }

  /** Take a change of a delivery in; returns the record of its message, or null if the page does not know it. */
  receipt(data, isLive = true) {
    const message = this.messages.get(data.id);
    if (!message) return null;
    const before = message.receipts.get(data.recipient);
    const receipt = {
      state: data.state,
      attempts: data.attempts,
      leased: data.leased,
      reason: data.reason,
      delivered: micros(data.delivered_at),
      finished: micros(data.finished_at),
    };
    message.receipts.set(data.recipient, receipt);
    if (receipt.delivered && !before?.delivered) {
      this.series.add(receipt.delivered, "delivered");
      this.active(data.recipient, receipt.delivered / 1000);
    }
    if (receipt.state === "acked" && before?.state !== "acked") this.series.add(receipt.finished, "acked");
    this.sum(message);
    message.version += 1;
    if (isLive && before) message.changed = performance.now();
    return message;
  }

  /** Set the state of a message as a whole: dead if one delivery is, else the least advanced one. */
  sum(message) {
    let least = "expired";
    let isDead = false;
    message.done = 0;
    for (const { state } of message.receipts.values()) {
      if (state === "dead") isDead = true;
      else if (ADVANCE[state] < ADVANCE[least]) least = state;
      if (FINAL.has(state)) message.done += 1;
    }
    if (message.receipts.size) message.state = isDead ? "dead" : least;
  }

  peer(data) {
    if (data.gone) this.peers.delete(data.address);
    else this.peers.set(data.address, { ...data, key: data.address });
  }

  takeStats(data) {
    this.stats = data;
    this.backlog.push({ at: micros(data.at) / 1e6, ready: data.ready + data.delayed, inFlight: data.in_flight });
    if (this.backlog.length > 200) this.backlog.splice(0, 50);
  }

  /** The sessions of all agents, the largest first. */
  sessions() {
    const counts = new Map();
    for (const address of this.peers.keys()) {
      const session = address.slice(address.indexOf(":") + 1);
      counts.set(session, (counts.get(session) ?? 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1]).map(([session]) => session);
  }
}
