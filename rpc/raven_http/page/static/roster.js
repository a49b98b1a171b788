// Roster: the agents by session, with their presence, their mail and their activity in the last two minutes.

import { VirtualList } from "./list.js";
import { ago, count, el, hue, icon, initials, micros, oneLine, setText, svg, visible } from "./text.js";
import { command } from "./toast.js";

const AWAY_MS = 5 * 60_000;
// worker-2 comes before worker-10.
const ORDER = new Intl.Collator("en", { numeric: true }).compare;

/** Return how an agent is: busy, idle, away if no subscriber waits for its mail, or remote: used on another host. */
function presence(peer, now = Date.now()) {
  if (peer.in_flight > 0) return "busy";
  if (peer.waiting > 0) return "idle";
  if (peer.host) return "remote";
  return now - micros(peer.last_seen) / 1000 < AWAY_MS ? "quiet" : "away";
}

const PRESENCE = {
  busy: "busy: it has claimed messages",
  idle: "idle: it waits for messages",
  quiet: "seen lately, but does not wait for messages",
  away: "away: does not wait for messages",
  remote: "remote: used on another host",
};

const NO_AGENTS = () => [icon("agents"), el("strong", {}, "No agents yet"), el("p", {}, "An agent stands here when it first sends, or waits for its mail:"), command("raven subscribe -a architect:demo")];

function makeRow() {
  const parts = {
    avatar: el("span.avatar", { "aria-hidden": "true" }),
    name: el("bdi.role"),
    presence: el("span.presence", { "aria-hidden": "true" }),
    note: el("span.note"),
    host: el("bdi.badge.host"),
    line: svg("path", { class: "spark-line" }),
    ready: el("span.badge.ready"),
    dead: el("span.badge.dead"),
  };
  parts.avatar.append(el("span"), parts.presence);
  const spark = svg("svg", { class: "spark", viewBox: "0 0 46 16", preserveAspectRatio: "none", "aria-hidden": "true" }, parts.line);
  const row = el("div.row", { role: "option" }, parts.avatar, el("div.lines", {}, el("div.line", {}, parts.name, parts.host, parts.dead, parts.ready), el("div.line", {}, parts.note, spark)));
  row.parts = parts;
  return row;
}

/** Return the path of a line through some counts, in a box of 46 by 16; none if all are 0. */
function sparkline(bins) {
  const most = Math.max(4, ...bins);
  let path = "";
  if (bins.every((value) => !value)) return path;
  for (let index = 0; index < bins.length; index += 1) path += `${index ? "L" : "M"}${index * 2} ${(15 - (13 * bins[index]) / most).toFixed(1)}`;
  return path;
}

export class Roster {
  constructor(viewport, bus, { onPick, onCount }) {
    this.bus = bus;
    this.onCount = onCount;
    this.selected = null;
    this.text = "";
    this.viewport = viewport;
    this.list = new VirtualList(viewport, {
      make: makeRow,
      bind: (row, item) => this.bind(row, item),
      key: (item) => item.key,
      onPick: (item) => item.address && onPick(item.address),
    });
    this.box = el("div.empty", { hidden: true });
    viewport.append(this.box);
  }

  build() {
    this.isDirty = false;
    const sessions = new Map();
    const words = this.text.toLowerCase();
    for (const peer of this.bus.peers.values()) {
      if (words && !peer.address.toLowerCase().includes(words)) continue;
      if (!sessions.has(peer.session)) sessions.set(peer.session, []);
      sessions.get(peer.session).push(peer);
    }
    const rows = [];
    for (const session of [...sessions.keys()].sort(ORDER)) {
      const peers = sessions.get(session).sort((a, b) => ORDER(a.role, b.role));
      rows.push({ key: `:${session}`, session, size: peers.length });
      rows.push(...peers);
    }
    this.rows = rows;
    this.list.set(rows);
    this.onCount(this.bus.peers.size);
    this.box.hidden = rows.length > 0;
    if (!rows.length) this.box.replaceChildren(...(this.bus.peers.size ? [el("p", {}, "No agent matches")] : NO_AGENTS()));
  }

  /** Bring the rows up to date, once in a frame. */
  frame() {
    if (this.isDirty) this.build();
  }

  bind(row, item) {
    const { parts } = row;
    if (item.address === undefined) {
      row.className = "row head";
      setText(parts.name, oneLine(item.session) || "no session");
      setText(parts.note, count(item.size));
      row.setAttribute("aria-label", `session ${visible(item.session)}, ${item.size} agents`);
      row.setAttribute("aria-selected", "false");
      return;
    }
    const now = Date.now();
    const how = presence(item, now);
    const isSelected = item.address === this.selected;
    row.className = `row is-${how}${isSelected ? " selected" : ""}`;
    const host = item.host ? `, on ${visible(item.host)}` : "";
    const held = item.held ? `, ${item.held} with other hosts` : "";
    row.title = `${visible(item.address)}${host}\n${PRESENCE[how]}\n${item.ready} ready, ${item.delayed} delayed, ${item.in_flight} in flight, ${item.dead} dead${held}`;
    setText(parts.avatar.firstChild, initials(item.address));
    parts.avatar.dataset.hue = hue(item.address);
    parts.presence.dataset.presence = how;
    setText(parts.name, oneLine(item.role));
    const oldest = item.ready && item.oldest_at ? `oldest ${ago(micros(item.oldest_at) / 1000, now)}` : null;
    const inFlight = item.in_flight ? `${count(item.in_flight)} in flight` : null;
    const seen = item.last_seen ? `${how}, seen ${ago(micros(item.last_seen) / 1000, now)}` : "never seen";
    const away = item.held ? `${count(item.held)} held` : null;
    setText(parts.note, [inFlight ?? (oldest || away ? null : how === "idle" ? "idle" : seen), away, oldest].filter(Boolean).join(" · "));
    setText(parts.host, item.host ? oneLine(item.host) : "");
    setText(parts.ready, item.ready ? count(item.ready) : "");
    setText(parts.dead, item.dead ? count(item.dead) : "");
    const activity = this.bus.activity.get(item.address);
    parts.line.setAttribute("d", activity ? sparkline(activity.now()) : "");
    row.setAttribute("aria-selected", isSelected);
    row.setAttribute("aria-label", `${visible(item.address)}${host}, ${how}, ${item.ready} ready, ${item.in_flight} in flight, ${item.dead} dead${held}`);
  }

  select(address) {
    this.selected = address;
    this.list.refresh();
  }
}
