// App: wires the parts of the page to the events of the server, to the address bar and to the keys.

import { get, post } from "./api.js";
import { Bus, PREVIEW } from "./bus.js";
import { addressFault, Composer, suggest } from "./composer.js";
import { Detail } from "./detail.js";
import { Feed, matcher } from "./feed.js";
import { deathOf, Letters } from "./letters.js";
import { Roster } from "./roster.js";
import { StatsPage } from "./stats.js";
import { Stream } from "./stream.js";
import { bdi, count, el, icon, micros, oneLine, setText, visible } from "./text.js";

const LAST = 10_000;
// A busy bus brings hundreds of events a second: the page follows it some twenty times a second, and more seldom while
// it takes in the messages of the past.
const FRAME_MS = 50;
const PAST_FRAME_MS = 400;
const TOAST_MS = 4000;
const TABS = ["feed", "inbox", "dead", "stats", "agents"];

const $ = (id) => document.getElementById(id);
const bus = new Bus();
const openedAt = Date.now() * 1000;
const filter = { text: "", address: "", type: "", session: "", state: "", urgencies: new Set() };
let tab = "feed";
let connection = "connecting";
let unseen = 0;
let name = "";

// What the person chose stays in the browser, if it keeps anything.
const kept = {
  get: (key) => {
    try {
      return localStorage.getItem(`raven-${key}`);
    } catch {
      return null;
    }
  },
  set: (key, value) => {
    try {
      localStorage.setItem(`raven-${key}`, value);
    } catch {
      // The choice lasts until the page is closed.
    }
  },
};

function toast(text, kind = "") {
  const one = el(`div.toast${kind ? `.${kind}` : ""}`, {}, visible(text));
  $("toasts").append(one);
  while ($("toasts").children.length > 3) $("toasts").firstChild.remove();
  setTimeout(() => one.remove(), TOAST_MS);
}

async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    toast("The browser does not let this page copy: select the text instead", "bad");
  }
}

// The parts.
const detail = new Detail($("detail"), bus, { onReply: reply, onRequeue: requeue, onClose: () => go(null), onCopy: copy, onFilter: setAddress });
const feed = new Feed($("feed-list"), bus, { onPick: (id) => go(id), onCount: showCount });
const roster = new Roster($("roster-list"), bus, {
  onPick: (address) => {
    setAddress(filter.address === address ? "" : address);
    if (tab !== "feed") showTab("feed");
  },
  onCount: (agents) => setText($("agent-count"), agents ? count(agents) : ""),
});
const stats = new StatsPage($("stats"), bus);
const composer = new Composer($("composer"), { me, onSent: sent });
const dead = new Letters($("dead-list"), {
  path: "dead",
  query: () => ({}),
  actions: [["requeue", "Requeue", "requeue"]],
  note: (message) => `attempt ${message.attempts}`,
  text: deathOf,
  empty: () => [icon("acked"), el("strong", {}, "No dead letters"), el("p", {}, "A delivery dies when its last attempt fails. It is kept here, with the reason, until you requeue it.")],
  onAct: (_, message) => requeue(message.id, message.recipient),
  onPick: (id) => go(id),
  onCount: (letters) => {
    setText($("dead-note"), letters ? `${count(letters)} ${letters === 1 ? "delivery" : "deliveries"}` : "");
    $("requeue-all").hidden = !letters;
  },
});
const inbox = new Letters($("inbox-list"), {
  path: "inbox",
  query: () => (addressFault(me(), false) ? null : { role: me() }),
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
    command(`raven send --from architect:${sessionOf(me())} --to ${me()} -t question --body '"May I deploy?"'`),
  ],
  onAct: (action, message) => (action === "ack" ? ack(message) : reply(message)),
  onPick: (id) => go(id),
  onCount: (letters) => setText($("inbox-count"), letters ? count(letters) : ""),
});

function command(text) {
  return el("div.command", {}, el("code", {}, visible(text)), el("button.icon-button", { type: "button", title: "Copy", "aria-label": "Copy the command", onclick: () => copy(text, "Command copied") }, icon("copy")));
}

function sessionOf(address) {
  return address.slice(address.indexOf(":") + 1);
}

/** The address of the person at the page; on a bus without agents that of the field's placeholder. */
function me() {
  return $("me").value.trim() || $("me").placeholder;
}

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
  showMissed();
  showTitle();
}

function concerns(message, address) {
  return message !== null && (message.to.includes(address) || message.receipts.has(address));
}

const on = {
  message(data) {
    const isLive = micros(data.created_at) > openedAt - 2e6;
    const message = bus.message(data, isLive);
    if (!message) return;
    feed.added(message);
    detail.added(message);
    if (isLive && document.hidden) unseen += 1;
    if (concerns(message, me())) inbox.refresh();
    if (message.state === "dead") dead.refresh();
    schedule(isLive);
  },
  receipt(data) {
    const before = bus.messages.get(data.id)?.receipts.get(data.recipient)?.state;
    const message = bus.receipt(data);
    if (message) feed.changed();
    detail.changed(data.id);
    if (data.state === "dead" || before === "dead") dead.refresh();
    if (data.recipient === me()) inbox.refresh();
    schedule();
  },
  peer(data) {
    bus.peer(data);
    roster.isDirty = true;
    if (!$("me").value) chooseMe();
    schedule();
  },
  stats(data) {
    const { dead: before } = bus.stats ?? { dead: 0 };
    bus.takeStats(data);
    if (before !== data.dead) dead.refresh();
    if (tab === "stats") stats.load();
    const { rates } = data;
    setText($("rate"), `${rates.sent.toFixed(1)} sent / s · ${rates.acked.toFixed(1)} acked / s`);
    schedule();
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
  return new Stream({ last: LAST, preview: PREVIEW, kinds: "message,receipt,peer,stats" }, on, onState);
}

function onState(state) {
  if (state === "resumed") {
    toast(bus.lastId ? `Connected again: the feed went on after #${bus.lastId}` : "Connected again");
    dead.refresh();
    inbox.refresh();
    if (detail.id !== null) detail.show(detail.id);
  }
  connection = state === "resumed" ? "live" : state;
  if (state === "reconnecting") ask();
  showConnection();
}

/** Ask the server for its name, and why it refuses, which a stream cannot say. */
async function ask() {
  try {
    const health = await get("health");
    name = health.db;
    setText($("bus-name"), visible(health.db));
    await get("dead", { max: 1 }).catch((error) => {
      if (error.status === 401 || error.status === 403) throw error;
    });
  } catch (error) {
    if (error.status && error.status !== 503) {
      connection = "refused";
      toast(error.status === 401 ? "The server wants its token: open the page with `raven serve --http --open`" : error.message, "bad");
    }
  }
  showConnection();
  showTitle();
}

function showConnection() {
  const isPaused = feed.paused && connection === "live";
  $("connection").dataset.state = isPaused ? "paused" : connection;
  setText($("connection-text"), isPaused ? "paused" : connection);
}

function showTitle() {
  const bell = unseen ? `(${unseen > 999 ? "999+" : unseen}) ` : "";
  const title = `${bell}${name ? `${visible(name)} · ` : ""}raven`;
  if (document.title !== title) document.title = title;
  const image = connection === "live" ? (unseen ? "icon-new.svg" : "icon.svg") : connection === "connecting" ? "icon.svg" : "icon-offline.svg";
  if ($("favicon").getAttribute("href") !== image) $("favicon").setAttribute("href", image);
}

function showCount(matches, all) {
  const isFiltered = feed.filter !== null;
  setText($("feed-count"), isFiltered ? `${count(matches)} of ${count(all)} messages` : `${count(all)} ${all === 1 ? "message" : "messages"}`);
  const box = $("feed-empty");
  box.hidden = matches > 0;
  if (matches) return;
  const kind = isFiltered && all ? "filter" : "bus";
  if (box.dataset.kind === kind) return;
  box.dataset.kind = kind;
  if (kind === "filter") box.replaceChildren(icon("search"), el("strong", {}, "No message matches"), el("button", { type: "button", onclick: clearFilter }, "Clear the filters"));
  else
    box.replaceChildren(
      icon("raven"),
      el("strong", {}, "The bus is quiet"),
      el("p", {}, "Messages appear here as agents send them. Send the first one from a shell, or with Compose:"),
      command(`raven send --from conductor:demo --to architect:demo -t plan --body '"hello"'`),
      el("p", {}, "An agent reads its mail with:"),
      command("raven subscribe --role architect:demo"),
    );
}

function showMissed() {
  const newer = $("newer");
  const isAway = !feed.paused && !feed.list.isAtTop && feed.newest !== undefined && bus.lastId > feed.newest;
  newer.hidden = !(feed.paused && feed.missed) && !isAway;
  if (feed.list.isAtTop && !feed.paused) feed.newest = bus.lastId;
  if (!newer.hidden) setText(newer, feed.paused ? `${count(feed.missed)} new while paused: go on` : "New messages ↑");
}

// The filters.
function useFilter() {
  const isEmpty = !filter.text.trim() && !filter.address && !filter.type && !filter.session && !filter.state && !filter.urgencies.size;
  feed.setFilter(isEmpty ? null : matcher(filter));
  for (const button of document.querySelectorAll("[data-urgency-filter]")) button.setAttribute("aria-pressed", filter.urgencies.has(button.dataset.urgencyFilter));
  const chips = $("chips");
  chips.hidden = !filter.address;
  chips.replaceChildren();
  if (filter.address) chips.append(el("button.chip", { type: "button", title: "Show the messages of all agents", onclick: () => setAddress("") }, "from or to ", bdi(filter.address), icon("close")));
  roster.select(filter.address || null);
}

function setAddress(address) {
  filter.address = address;
  useFilter();
}

function clearFilter() {
  Object.assign(filter, { text: "", address: "", type: "", session: "", state: "", urgencies: new Set() });
  $("filter-text").value = "";
  for (const key of ["type", "state", "session"]) $(`filter-${key}`).value = "";
  useFilter();
}

function fillSelect(select, values) {
  const known = [...select.options].slice(select.dataset.fixed ?? 1).map((option) => option.value);
  if (known.length === values.length && values.every((value, index) => value === known[index])) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...values.map((value) => el("option", { value }, oneLine(value))));
  select.value = values.includes(chosen) ? chosen : "";
}

let typing;
$("filter-text").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    filter.text = $("filter-text").value;
    useFilter();
  }, 80);
});
for (const key of ["type", "state", "session"]) {
  $(`filter-${key}`).addEventListener("change", (event) => {
    filter[key] = event.target.value;
    useFilter();
  });
}
for (const button of document.querySelectorAll("[data-urgency-filter]")) {
  button.addEventListener("click", () => {
    const urgency = button.dataset.urgencyFilter;
    if (!filter.urgencies.delete(urgency)) filter.urgencies.add(urgency);
    useFilter();
  });
}
$("more-filters").addEventListener("click", () => {
  const isOpen = document.querySelector(".filters").classList.toggle("open");
  $("more-filters").setAttribute("aria-expanded", isOpen);
});
$("agent-filter").addEventListener("input", (event) => {
  roster.text = event.target.value;
  roster.build();
});

function setPaused(paused) {
  feed.setPaused(paused);
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").querySelector("use").setAttribute("href", paused ? "#i-play" : "#i-pause");
  setText($("pause-text"), paused ? "Go on" : "Pause");
  showConnection();
  showMissed();
}

function setByThread(byThread) {
  feed.byThread = byThread;
  $("by-thread").setAttribute("aria-pressed", byThread);
  kept.set("by-thread", byThread ? "1" : "0");
  feed.build();
}

function toNewest() {
  if (feed.paused) setPaused(false);
  feed.list.scrollTo(0);
  showMissed();
}

$("pause").addEventListener("click", () => setPaused(!feed.paused));
$("connection").addEventListener("click", () => feed.paused && setPaused(false));
$("by-thread").addEventListener("click", () => setByThread(!feed.byThread));
$("newer").addEventListener("click", toNewest);

// The tabs, the address bar, the message.
function showTab(name_) {
  tab = name_;
  for (const one of TABS) {
    const button = $(`tab-${one}`);
    button.setAttribute("aria-selected", one === tab);
    button.tabIndex = one === tab ? 0 : -1;
    if (one !== "agents") $(one).hidden = one !== (tab === "agents" ? "feed" : tab);
  }
  document.querySelector(".panes").dataset.tab = tab;
  if (tab === "dead") dead.refresh();
  if (tab === "inbox") inbox.refresh();
  if (tab === "stats") {
    stats.load();
    stats.draw();
  }
}

const tabs = document.querySelectorAll(".tab");
for (const button of tabs) button.addEventListener("click", () => go(null, button.dataset.tab));
document.querySelector(".tabs").addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const seen = [...tabs].filter((one) => one.offsetParent);
  const next = seen[(seen.findIndex((one) => one.dataset.tab === tab) + by + seen.length) % seen.length];
  next.click();
  next.focus();
});

/** Go to a message, or to a tab without one; the address bar follows. */
function go(id, to = tab, replaces = false) {
  const hash = id === null ? `#/${to}` : `#/message/${id}`;
  if (location.hash === hash) follow();
  else if (replaces) {
    history.replaceState(null, "", hash);
    follow();
  } else location.hash = hash;
}

function follow() {
  const message = /^#\/message\/(\d+)$/.exec(location.hash);
  const other = /^#\/(\w+)$/.exec(location.hash);
  if (message) {
    const id = Number(message[1]);
    feed.select(id);
    detail.show(id);
  } else {
    if (detail.id !== null) detail.close();
    showTab(other && TABS.includes(other[1]) ? other[1] : "feed");
  }
  document.querySelector(".panes").classList.toggle("with-detail", detail.id !== null);
}
addEventListener("hashchange", follow);

// The writes.
function reply(message) {
  composer.open({ replyTo: message });
}

function sent(message, replyTo) {
  toast(`${replyTo ? `Replied to #${replyTo.id}` : "Sent"} as #${message.id}`);
  inbox.refresh();
}

async function requeue(id, recipient) {
  try {
    const params = { ids: [id] };
    if (recipient !== null) params.role = recipient;
    const { requeued } = await post("requeue", params);
    toast(typeof requeued === "number" ? `Requeued ${count(requeued)} ${requeued === 1 ? "delivery" : "deliveries"} of #${id}` : `Requeued #${id}`);
  } catch (error) {
    toast(error.message, "bad");
  }
  dead.refresh();
  detail.changed(id);
}

async function ack(message) {
  try {
    await post("ack", { id: message.id, role: message.recipient });
    toast(`Acked #${message.id}`);
  } catch (error) {
    toast(error.message, "bad");
  }
  inbox.refresh();
}

let confirmed = 0;
$("requeue-all").addEventListener("click", async () => {
  if (performance.now() - confirmed > TOAST_MS) {
    confirmed = performance.now();
    toast(`Press again to requeue all ${count(dead.messages.length)}`);
    return;
  }
  confirmed = 0;
  try {
    await post("requeue", { all: true });
    toast("Requeued all dead letters");
  } catch (error) {
    toast(error.message, "bad");
  }
  dead.refresh();
});

function compose() {
  suggest($("addresses"), [...bus.sessions().slice(0, 5).map((session) => `*:${session}`), ...bus.peers.keys()]);
  suggest($("types"), [...bus.types.keys()].filter((type) => !type.startsWith("raven.")));
  composer.open({ to: filter.address || null });
}

// The address of the person: human in the largest session, until another one is typed.
function chooseMe() {
  const session = bus.sessions()[0];
  if (session === undefined) return;
  setMe(`human:${session}`);
}

function setMe(address) {
  $("me").value = address;
  inbox.refresh();
}

$("me").addEventListener("change", () => {
  const fault = addressFault(me(), false);
  setText($("me-note"), fault ?? "");
  if (!fault) kept.set("me", $("me").value.trim());
  inbox.refresh();
});
$("compose").addEventListener("click", compose);
$("help-button").addEventListener("click", () => $("help").showModal());
for (const dialog of document.querySelectorAll("dialog")) {
  for (const button of dialog.querySelectorAll("button.close")) button.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.id === "help" && dialog.close());
}
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).colorScheme === "light dark" ? matchMedia("(prefers-color-scheme: dark)").matches : root.dataset.theme === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
  kept.set("theme", root.dataset.theme);
});

// The keys.
function move(by) {
  if (tab !== "feed") return;
  const id = feed.step(by);
  if (id === null) return;
  if (detail.id !== null) go(id, tab, true);
  else feed.select(id);
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  Enter: () => {
    if (feed.selected === null) return;
    go(feed.selected);
    setTimeout(() => $("detail").querySelector("h2")?.focus(), 100);
  },
  Escape: () => {
    if (detail.id !== null) {
      go(null);
      $("feed-list").focus();
    } else clearFilter();
  },
  "/": () => {
    showTab("feed");
    $("filter-text").focus();
    $("filter-text").select();
  },
  p: () => setPaused(!feed.paused),
  t: () => setByThread(!feed.byThread),
  o: () => feed.selected !== null && feed.toggle(bus.messages.get(feed.selected)?.thread),
  g: toNewest,
  c: compose,
  r: () => detail.message && reply(detail.message),
  "?": () => $("help").showModal(),
  1: () => go(null, "feed"),
  2: () => go(null, "inbox"),
  3: () => go(null, "dead"),
  4: () => go(null, "stats"),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const { target } = event;
  const isTyping = target.matches("input, textarea, select");
  if (isTyping && event.key === "Escape") {
    if (target.value && target.type === "search") {
      target.value = "";
      target.dispatchEvent(new Event("input"));
    }
    target.blur();
    event.preventDefault();
    return;
  }
  if (isTyping || !Object.hasOwn(KEYS, event.key)) return;
  // A focused button or link has Enter for itself, and other lists have the arrows.
  if (event.key === "Enter" && target.matches("button, a, summary")) return;
  if (event.key.startsWith("Arrow") && target !== $("feed-list")) return;
  event.preventDefault();
  KEYS[event.key]();
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) unseen = 0;
  showTitle();
});

// Times pass, also on a quiet bus.
setInterval(() => {
  if (document.hidden) return;
  feed.list.refresh();
  roster.list.refresh();
  fillSelect($("filter-type"), [...bus.types.keys()].sort());
  const sessions = bus.sessions().sort();
  $("filter-session").hidden = sessions.length < 2;
  fillSelect($("filter-session"), sessions);
  if (tab === "stats") stats.draw();
  if (tab === "inbox") inbox.list.refresh();
  if (tab === "dead") dead.list.refresh();
}, 1000);

const mine = kept.get("me");
if (mine && !addressFault(mine, false)) $("me").value = mine;
if (kept.get("by-thread") === "0") feed.byThread = false;
setByThread(feed.byThread);
let stream = connect();
ask();
follow();
roster.build();
showTab(tab);
dead.refresh();
inbox.refresh();
