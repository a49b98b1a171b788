// Stream: the events of the server. The browser resumes a broken stream by itself with the id of the last event; when
// it gives up, because the server answered with an error, a new stream begins at the same id. So it does after a
// silence: a frozen server, or a lost network, breaks no connection.

const KINDS = ["message", "receipt", "peer", "stats", "server", "reset", "notice"];
const LONGEST_PAUSE_MS = 10_000;
// The server sends an event at least each 15 s.
const LONGEST_SILENCE_MS = 20_000;

/** One stream of events; `on` maps each kind to a function of its data, `onState` hears of the connection. */
export class Stream {
  constructor(query, on, onState) {
    this.query = query;
    this.on = on;
    this.onState = onState;
    this.lastId = "";
    this.failures = 0;
    this.wasLive = false;
    this.watch = setInterval(() => this.look(), 1000);
    this.open();
  }

  open() {
    const query = new URLSearchParams(this.query);
    if (this.lastId) {
      query.delete("last");
      query.set("last_event_id", this.lastId);
    }
    const source = new EventSource(`events?${query}`);
    this.source = source;
    this.heardAt = performance.now();
    source.onopen = () => {
      this.heardAt = performance.now();
      this.failures = 0;
      this.onState(this.wasLive ? "resumed" : "live");
      this.wasLive = true;
    };
    source.onerror = () => this.failed();
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        this.heardAt = performance.now();
        if (event.lastEventId) this.lastId = event.lastEventId;
        this.on[kind](JSON.parse(event.data));
      });
    }
  }

  failed() {
    this.heardAt = performance.now();
    this.onState("reconnecting");
    if (this.source.readyState !== EventSource.CLOSED) return;
    this.failures += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.failures));
  }

  /** Connect again if the server has been silent for too long. */
  look() {
    if (performance.now() - this.heardAt < LONGEST_SILENCE_MS || this.source.readyState === EventSource.CLOSED) return;
    this.onState("silent");
    this.source.close();
    this.open();
  }

  /** End the stream for good. */
  close() {
    clearTimeout(this.timer);
    clearInterval(this.watch);
    this.source.close();
  }
}
