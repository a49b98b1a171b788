// App: wires the parts of the page to each other and to the events of the server.

import { Bus, PREVIEW } from "./bus.js";
import { Detail } from "./detail.js";
import { Feed } from "./feed.js";
import { Feedbar } from "./feedbar.js";
import { Filters } from "./filters.js";
import { keep } from "./kept.js";
import { closeDialogs, listen } from "./keys.js";
import { deathOf, Letters } from "./letters.js";
import { Roster } from "./roster.js";
import { Router } from "./router.js";
import { StatsPage } from "./stats.js";
import { Status } from "./status.js";
import { Stream } from "./stream.js";
import { count, el, icon, micros, oneLine, setText } from "./text.js";
import { command, copy, toast } from "./toast.js";
import { Writes } from "./writes.js";

const LAST = 10_000;
// A busy bus brings hundreds of events a second: the page follows it some twenty times a second, and more seldom while
// it takes in the messages of the past.
const FRAME_MS = 50;
const PAST_FRAME_MS = 400;

const $ = (id) => document.getElementById(id);
const openedAt = Date.now() * 1000;

// The parts.
const bus = new Bus();
const status = new Status();
const writes = new Writes(bus, { onInbox: () => inbox.refresh(), onDead: () => dead.refresh(), onMessage: (id) => detail.changed(id) });
const requeue = (id, recipient) => writes.requeue(id, recipient);
const reply = (message) => writes.reply(message);
const filters = new Filters((filter, address) => {
  feed.setFilter(filter);
  roster.select(address || null);
});
const setAddress = (address) => filters.set("address", address);
const detail = new Detail($("detail"), bus, { onReply: reply, onRequeue: requeue, onClose: () => router.go(null), onCopy: copy, onFilter: setAddress });
const feed = new Feed($("feed-list"), bus, { onPick: (id) => router.go(id) });
const feedbar = new Feedbar(feed, bus, { onPaused: (paused) => status.setPaused(paused), onClear: () => filters.clear() });
const roster = new Roster($("roster-list"), bus, {
  onPick: (address) => {
    setAddress(filters.address === address ? "" : address);
    if (router.tab !== "feed") router.show("feed");
  },
  onCount: (agents) => setText($("agent-count"), agents ? count(agents) : ""),
});
const stats = new StatsPage($("stats"), bus);
const dead = new Letters($("dead-list"), {
  path: "dead",
  query: () => ({}),
  actions: [["requeue", "Requeue", "requeue"]],
  note: (message) => `attempt ${message.attempts}`,
  text: deathOf,
  empty: () => [icon("acked"), el("strong", {}, "No dead letters"), el("p", {}, "A delivery dies when its last attempt fails. It is kept here, with the reason, until you requeue it. The same list in a shell:"), command("raven dead-letters")],
  onAct: (_, message) => requeue(message.id, message.recipient),
  onPick: (id) => router.go(id),
  onCount: (letters) => {
    setText($("dead-note"), letters ? `${count(letters)} ${letters === 1 ? "delivery" : "deliveries"}` : "");
    $("requeue-all").hidden = !letters;
  },
});
const inbox = new Letters($("inbox-list"), {
  path: "inbox",
  query: () => (writes.fault ? null : { role: writes.me }),
  actions: [
    ["reply", "Reply", "reply"],
    ["ack", "Ack", "acked"],
  ],
  note: (message) => (message.state === "delivered" ? "delivered" : ""),
  text: (message) => oneLine((typeof message.body === "string" ? message.body : (JSON.stringify(message.body) ?? "")).slice(0, 240)),
  empty: () => [
    icon("inbox"),
    el("strong", {}, "No mail waits for you"),
    el("p", {}, "Agents write to you at this address. A message stays here until you ack it."),
    command(`raven send --from architect:${writes.me.slice(writes.me.indexOf(":") + 1)} --to ${writes.me} -t question --body '"May I deploy?"'`),
  ],
  onAct: (action, message) => (action === "ack" ? writes.ack(message) : reply(message)),
  onPick: (id) => router.go(id),
  onCount: (letters) => setText($("inbox-count"), letters ? count(letters) : ""),
});
const router = new Router({
  onTab: (tab) => {
    if (tab === "dead") dead.refresh();
    if (tab === "inbox") inbox.refresh();
    if (tab === "stats") {
      stats.load();
      stats.draw();
    }
  },
  onMessage: (id) => {
    if (id !== null) {
      feed.select(id);
      detail.show(id);
    } else if (detail.id !== null) detail.close();
  },
});

// The events.
let framePending = false;
function schedule(isLive = true) {
  if (framePending) return;
  framePending = true;
  setTimeout(() => requestAnimationFrame(frame), isLive || bus.messages.size < 200 ? FRAME_MS : PAST_FRAME_MS);
}

function frame() {
  framePending = false;
  feed.frame();
  roster.frame();
  setText($("dead-count"), bus.stats?.dead ? count(bus.stats.dead) : "");
  feedbar.frame();
  status.showTitle();
}

const on = {
  message(data) {
    const isLive = micros(data.created_at) > openedAt - 2e6;
    const message = bus.message(data, isLive);
    if (!message) return;
    feed.added(message);
    detail.added(message);
    if (isLive) status.count();
    if (message.to.includes(writes.me) || message.receipts.has(writes.me)) inbox.refresh();
    if (message.state === "dead") dead.refresh();
    schedule(isLive);
  },
  receipt(data) {
    const before = bus.messages.get(data.id)?.receipts.get(data.recipient)?.state;
    const message = bus.receipt(data);
    if (message) feed.changed();
    detail.changed(data.id);
    if (data.state === "dead" || before === "dead") dead.refresh();
    if (data.recipient === writes.me) inbox.refresh();
    schedule();
  },
  peer(data) {
    bus.peer(data);
    roster.isDirty = true;
    writes.choose();
    schedule();
  },
  stats(data) {
    const { dead: before } = bus.stats ?? { dead: 0 };
    bus.takeStats(data);
    if (before !== data.dead) dead.refresh();
    if (router.tab === "stats") stats.load();
    const { rates } = data;
    setText($("rate"), `${rates.sent.toFixed(1)} sent / s · ${rates.acked.toFixed(1)} acked / s`);
    schedule();
  },
  server(data) {
    writes.allow(data);
  },
  notice(data) {
    toast(data.reason, "bad");
  },
  reset(data) {
    bus.clear();
    feed.build();
    roster.build();
    dead.refresh();
    inbox.refresh();
    toast(`The page begins anew: ${data.reason}`);
    stream.close();
    stream = connect();
  },
};

function connect() {
  return new Stream({ last: LAST, preview: PREVIEW, kinds: "message,receipt,peer,stats,server" }, on, onState);
}

function onState(state) {
  if (state === "resumed") {
    toast(bus.lastId ? `Connected again: the feed went on after #${bus.lastId}` : "Connected again");
    dead.refresh();
    inbox.refresh();
    if (detail.id !== null) detail.show(detail.id);
  }
  status.set(state === "resumed" ? "live" : state);
  if (state === "reconnecting") status.ask();
}

// The buttons and the keys.
const compose = () => writes.compose(filters.address || null);
const help = () => $("help").showModal();
$("compose").addEventListener("click", compose);
$("requeue-all").addEventListener("click", () => writes.requeueAll(dead.messages.length));
$("help-button").addEventListener("click", help);
$("agent-filter").addEventListener("input", (event) => {
  roster.text = event.target.value;
  roster.build();
});
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).colorScheme === "light dark" ? matchMedia("(prefers-color-scheme: dark)").matches : root.dataset.theme === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
  keep("theme", root.dataset.theme);
});
closeDialogs();

function move(by) {
  if (router.tab !== "feed") return;
  const id = feed.step(by);
  if (id === null) return;
  if (detail.id !== null) router.go(id, router.tab, true);
  else feed.select(id);
}

function openSelected() {
  if (feed.selected === null) return;
  router.go(feed.selected);
  setTimeout(() => $("detail").querySelector("h2")?.focus(), 100);
}

function closeOrClear() {
  if (detail.id !== null) {
    router.go(null);
    $("feed-list").focus();
  } else filters.clear();
}

function search() {
  router.show("feed");
  $("filter-text").focus();
  $("filter-text").select();
}

listen({
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  Enter: openSelected,
  Escape: closeOrClear,
  "/": search,
  p: () => feedbar.pause(),
  t: () => feedbar.group(),
  o: () => feed.selected !== null && feed.toggle(bus.messages.get(feed.selected)?.thread),
  g: () => feedbar.toNewest(),
  c: compose,
  r: () => detail.message && reply(detail.message),
  "?": help,
  1: () => router.go(null, "feed"),
  2: () => router.go(null, "inbox"),
  3: () => router.go(null, "dead"),
  4: () => router.go(null, "stats"),
});

// Times pass, also on a quiet bus.
setInterval(() => {
  if (document.hidden) return;
  feed.list.refresh();
  roster.list.refresh();
  filters.offer(bus);
  if (router.tab === "stats") stats.draw();
  if (router.tab === "inbox") inbox.list.refresh();
  if (router.tab === "dead") dead.list.refresh();
}, 1000);

let stream = connect();
status.ask();
router.follow();
roster.build();
dead.refresh();
