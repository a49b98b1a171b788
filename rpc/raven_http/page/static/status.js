// Status: whether the page is connected, as the pill in the top bar, the title and the icon of the window say.

import { get } from "./api.js";
import { toast } from "./toast.js";
import { setText, visible } from "./text.js";

const TEXTS = { silent: "no news for 20 s" };
const $ = (id) => document.getElementById(id);

export class Status {
  constructor() {
    this.connection = "connecting";
    this.isPaused = false;
    this.name = "";
    this.unseen = 0;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.unseen = 0;
      this.showTitle();
    });
  }

  set(connection) {
    this.connection = connection;
    this.show();
  }

  setPaused(isPaused) {
    this.isPaused = isPaused;
    this.show();
  }

  /** Count a new message, if the person does not see the page. */
  count() {
    if (document.hidden) this.unseen += 1;
  }

  show() {
    const state = this.isPaused && this.connection === "live" ? "paused" : this.connection;
    $("connection").dataset.state = state;
    setText($("connection-text"), TEXTS[state] ?? state);
    this.showTitle();
  }

  showTitle() {
    const bell = this.unseen ? `(${this.unseen > 999 ? "999+" : this.unseen}) ` : "";
    const title = `${bell}${this.name ? `${visible(this.name)} · ` : ""}raven`;
    if (document.title !== title) document.title = title;
    const isWell = this.connection === "live" || this.connection === "connecting";
    const image = !isWell ? "icon-offline.svg" : this.unseen ? "icon-new.svg" : "icon.svg";
    if ($("favicon").getAttribute("href") !== image) $("favicon").setAttribute("href", image);
  }

  /** Ask the server for its name, and why it refuses, which a stream cannot say. */
  async ask() {
    try {
      this.name = (await get("health")).db;
      setText($("bus-name"), visible(this.name));
      await get("dead", { max: 1 }).catch((error) => {
        if (error.status === 401 || error.status === 403) throw error;
      });
    } catch (error) {
      if (error.status && error.status !== 503) {
        this.connection = "refused";
        toast(error.status === 401 ? "The server wants its token: open the page with `raven serve --http --open`" : error.message, "bad");
      }
    }
    this.show();
  }
}
