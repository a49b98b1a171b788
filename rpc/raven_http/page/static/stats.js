// Stats: the counts of the bus, its rates and latencies, and two charts of the last minutes.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { bytes, count, el, icon, span, visible } from "./text.js";

const STATES = ["sent", "delivered", "acked", "expired", "dead"];
const REFRESH_MS = 5000;

function tile(name, value, note = "") {
  return el("div.tile", {}, el("div.tile-name", {}, name), el("div.tile-value.num", {}, value), el("div.note", {}, note));
}

function latency(name, one) {
  const cells = one ? [one.p50_s, one.p90_s, one.p99_s, one.max_s].map((s) => el("td.num", {}, span(s))) : Array.from({ length: 4 }, () => el("td", {}, "–"));
  return el("tr", {}, el("th", { scope: "row" }, name), ...cells);
}

export class StatsPage {
  constructor(box, bus) {
    this.bus = bus;
    this.tiles = el("div.tiles");
    this.rest = el("div.stats-rest");
    const flow = el("section.chart");
    const backlog = el("section.chart");
    box.replaceChildren(this.tiles, flow, backlog, this.rest);
    this.flow = new Chart(flow, {
      title: "Messages per second",
      seconds: 300,
      series: [
        { name: "sent", label: "sent" },
        { name: "delivered", label: "delivered" },
        { name: "acked", label: "acked" },
      ],
    });
    this.backlog = new Chart(backlog, {
      title: "Unfinished deliveries",
      seconds: 300,
      height: 140,
      series: [
        { name: "ready", label: "ready" },
        { name: "flight", label: "in flight" },
      ],
    });
  }

  /** Draw the charts again: they move with the time. */
  draw() {
    const { series, backlog } = this.bus;
    this.flow.draw(["sent", "delivered", "acked"].map((kind) => series.values(kind)));
    const start = Date.now() / 1000 - 300;
    const ready = new Array(300);
    const inFlight = new Array(300);
    let at = 0;
    for (let second = 0; second < 300; second += 1) {
      while (at + 1 < backlog.length && backlog[at + 1].at <= start + second + 1) at += 1;
      if (backlog.length && backlog[at].at <= start + second + 1) {
        ready[second] = backlog[at].ready;
        inFlight[second] = backlog[at].inFlight;
      }
    }
    this.backlog.draw([ready, inFlight]);
  }

  /** Ask for the figures that the events do not have, if the last ones are old. */
  async load() {
    const now = performance.now();
    if (this.loadedAt && now - this.loadedAt < REFRESH_MS) return;
    this.loadedAt = now;
    try {
      this.fill((await get("stats")).bus);
    } catch (error) {
      this.tiles.replaceChildren(el("div.empty", {}, icon("missing"), el("p", {}, visible(error.message))));
    }
  }

  fill(stats) {
    const { rates } = stats;
    this.tiles.replaceChildren(
      tile("Messages", stats.messages === null ? "–" : count(stats.messages), `${count(stats.addresses.length)} addresses`),
      tile("Ready", count(stats.ready), stats.delayed ? `and ${count(stats.delayed)} delayed` : "wait for a consumer"),
      tile("In flight", count(stats.in_flight), stats.held ? `and ${count(stats.held)} with other hosts` : "claimed, not acked yet"),
      tile("Dead", count(stats.dead), stats.dead ? "after the last attempt" : "none"),
      tile("Sent / s", rates.sent.toFixed(1), `${rates.acked.toFixed(1)} acked / s`),
      tile("File", bytes(stats.file_bytes), `WAL ${bytes(stats.wal_bytes)}, free ${bytes(stats.free_bytes)}`),
    );
    const parts = [];
    if (stats.deliveries) {
      const total = STATES.reduce((sum, state) => sum + (stats.deliveries[state] ?? 0), 0);
      const bar = el("div.bar", { role: "img", "aria-label": STATES.map((state) => `${count(stats.deliveries[state] ?? 0)} ${state}`).join(", ") });
      const legend = el("div.bar-legend");
      for (const state of STATES) {
        const value = stats.deliveries[state] ?? 0;
        if (value) {
          const part = el("span.bar-part", { "data-state": state });
          part.style.setProperty("flex-grow", Math.max(value / total, 0.006));
          bar.append(part);
        }
        legend.append(el("span.state", { "data-state": state }, icon(state), el("span.label", {}, `${count(value)} ${state}`)));
      }
      parts.push(el("section", {}, el("h3", {}, `Deliveries (${count(total)})`), bar, legend));
    }
    const heads = ["", "p50", "p90", "p99", "max"].map((name) => (name ? el("th.num", { scope: "col" }, name) : el("td")));
    parts.push(
      el(
        "section",
        {},
        el("h3", {}, "Latency"),
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, ...heads)),
          el("tbody", {}, latency("sent to delivered", stats.send_to_delivery), latency("delivered to acked", stats.delivery_to_ack)),
        ),
      ),
    );
    this.rest.replaceChildren(...parts);
  }
}
