// Router: the tab and the message that the page shows, which its address names, so that a link leads to them.

const TABS = ["feed", "inbox", "dead", "stats", "agents"];
const $ = (id) => document.getElementById(id);

export class Router {
  /** `onTab(tab)` and `onMessage(id)` show them; the id is null if no message is open. */
  constructor({ onTab, onMessage }) {
    this.onTab = onTab;
    this.onMessage = onMessage;
    this.tab = "feed";
    this.id = null;
    const tabs = [...document.querySelectorAll(".tab")];
    for (const button of tabs) button.addEventListener("click", () => this.go(null, button.dataset.tab));
    document.querySelector(".tabs").addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const seen = tabs.filter((one) => one.offsetParent);
      const next = seen[(seen.findIndex((one) => one.dataset.tab === this.tab) + by + seen.length) % seen.length];
      next.click();
      next.focus();
    });
    addEventListener("hashchange", () => this.follow());
  }

  /** Go to a message, or to a tab without one; the address bar follows. */
  go(id, to = this.tab, replaces = false) {
    const hash = id === null ? `#/${to}` : `#/message/${id}`;
    if (location.hash === hash) this.follow();
    else if (replaces) {
      history.replaceState(null, "", hash);
      this.follow();
    } else location.hash = hash;
  }

  follow() {
    const message = /^#\/message\/(\d+)$/.exec(location.hash);
    const other = /^#\/(\w+)$/.exec(location.hash);
    this.id = message ? Number(message[1]) : null;
    this.onMessage(this.id);
    if (!message) this.show(other && TABS.includes(other[1]) ? other[1] : "feed");
    document.querySelector(".panes").classList.toggle("with-detail", this.id !== null);
  }

  show(tab) {
    this.tab = tab;
    for (const one of TABS) {
      const button = $(`tab-${one}`);
      button.setAttribute("aria-selected", one === tab);
      button.tabIndex = one === tab ? 0 : -1;
      // Beside the agents, on a wide window, stands the feed.
      if (one !== "agents") $(one).hidden = one !== (tab === "agents" ? "feed" : tab);
    }
    document.querySelector(".panes").dataset.tab = tab;
    this.onTab(tab);
  }
}
