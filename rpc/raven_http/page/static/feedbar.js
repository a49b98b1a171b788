// Feedbar: what stands around the feed: its buttons, its count, the note of new messages, and the text if it is empty.

import { keep, kept } from "./kept.js";
import { count, el, icon, setText } from "./text.js";
import { command } from "./toast.js";

const $ = (id) => document.getElementById(id);

function emptyBus() {
  return [
    icon("raven"),
    el("strong", {}, "The bus is quiet"),
    el("p", {}, "Messages appear here as agents send them. Send the first one from a shell", el("span.write", {}, ", or with Compose"), ":"),
    command(`raven send --from conductor:demo --to architect:demo -t plan --body '"hello"'`),
    el("p", {}, "An agent reads its mail with:"),
    command("raven subscribe --address architect:demo"),
  ];
}

export class Feedbar {
  /** `onPaused(paused)` hears that the feed is held still, or goes on; `onClear()` clears the filters. */
  constructor(feed, bus, { onPaused, onClear }) {
    this.feed = feed;
    this.bus = bus;
    this.on = { onPaused, onClear };
    $("pause").addEventListener("click", () => this.pause());
    $("connection").addEventListener("click", () => feed.paused && this.pause());
    $("by-thread").addEventListener("click", () => this.group());
    $("newer").addEventListener("click", () => this.toNewest());
    feed.onCount = (matches, all) => this.count(matches, all);
    this.setByThread(kept("by-thread") !== "0");
  }

  /** Show how many messages the feed has, and if it has none, why. */
  count(matches, all) {
    const isFiltered = this.feed.filter !== null;
    setText($("feed-count"), isFiltered ? `${count(matches)} of ${count(all)} messages` : `${count(all)} ${all === 1 ? "message" : "messages"}`);
    const box = $("feed-empty");
    box.hidden = matches > 0;
    if (matches) return;
    const kind = isFiltered && all ? "filter" : "bus";
    if (box.dataset.kind === kind) return;
    box.dataset.kind = kind;
    if (kind === "bus") box.replaceChildren(...emptyBus());
    else box.replaceChildren(icon("search"), el("strong", {}, "No message matches"), el("button", { type: "button", onclick: this.on.onClear }, "Clear the filters"));
  }

  /** Show that there are messages above those in sight, or that came while the feed was held. */
  frame() {
    const { feed } = this;
    const isAway = !feed.paused && !feed.list.isAtTop && feed.newest !== undefined && this.bus.lastId > feed.newest;
    $("newer").hidden = !(feed.paused && feed.missed) && !isAway;
    if (feed.list.isAtTop && !feed.paused) feed.newest = this.bus.lastId;
    if (!$("newer").hidden) setText($("newer"), feed.paused ? `${count(feed.missed)} new while paused: go on` : "New messages ↑");
  }

  /** Hold the feed still, or let it go on. */
  pause() {
    const paused = !this.feed.paused;
    this.feed.setPaused(paused);
    $("pause").setAttribute("aria-pressed", paused);
    $("pause").querySelector("use").setAttribute("href", paused ? "#i-play" : "#i-pause");
    setText($("pause-text"), paused ? "Go on" : "Pause");
    this.on.onPaused(paused);
    this.frame();
  }

  /** Order the feed by thread, or by time. */
  group() {
    this.setByThread(!this.feed.byThread);
    keep("by-thread", this.feed.byThread ? "1" : "0");
  }

  setByThread(byThread) {
    this.feed.byThread = byThread;
    $("by-thread").setAttribute("aria-pressed", byThread);
    this.feed.build();
  }

  toNewest() {
    if (this.feed.paused) this.pause();
    this.feed.list.scrollTo(0);
    this.frame();
  }
}
