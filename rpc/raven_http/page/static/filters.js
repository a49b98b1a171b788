// Filters: the tool bar above the feed, and the chip of the chosen agent.

import { matcher } from "./feed.js";
import { bdi, el, icon, oneLine } from "./text.js";

const SELECTS = ["type", "state", "session"];
const TYPING_MS = 80;
const $ = (id) => document.getElementById(id);
const none = () => ({ text: "", address: "", type: "", session: "", state: "", urgencies: new Set() });

/** Offer other values in a list after its first one; the chosen one stays chosen. */
function fill(select, values) {
  const known = [...select.options].slice(1).map((option) => option.value);
  if (known.length === values.length && values.every((value, index) => value === known[index])) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...values.map((value) => el("option", { value }, oneLine(value))));
  select.value = values.includes(chosen) ? chosen : "";
}

export class Filters {
  /** `onChange(filter, address)` gets the function that says which messages pass, null for all, and the chosen agent. */
  constructor(onChange) {
    this.onChange = onChange;
    this.wanted = none();
    this.toggles = document.querySelectorAll("[data-urgency-filter]");
    let typing;
    $("filter-text").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.set("text", $("filter-text").value), TYPING_MS);
    });
    for (const key of SELECTS) $(`filter-${key}`).addEventListener("change", (event) => this.set(key, event.target.value));
    for (const button of this.toggles) {
      button.addEventListener("click", () => {
        const { urgencies } = this.wanted;
        if (!urgencies.delete(button.dataset.urgencyFilter)) urgencies.add(button.dataset.urgencyFilter);
        this.use();
      });
    }
    $("more-filters").addEventListener("click", () => {
      const isOpen = document.querySelector(".filters").classList.toggle("open");
      $("more-filters").setAttribute("aria-expanded", isOpen);
    });
  }

  get address() {
    return this.wanted.address;
  }

  set(key, value) {
    this.wanted[key] = value;
    this.use();
  }

  clear() {
    this.wanted = none();
    $("filter-text").value = "";
    for (const key of SELECTS) $(`filter-${key}`).value = "";
    this.use();
  }

  use() {
    const { text, address, type, session, state, urgencies } = this.wanted;
    const isEmpty = !text.trim() && !address && !type && !session && !state && !urgencies.size;
    for (const button of this.toggles) button.setAttribute("aria-pressed", urgencies.has(button.dataset.urgencyFilter));
    const chips = $("chips");
    chips.hidden = !address;
    chips.replaceChildren();
    if (address) chips.append(el("button.chip", { type: "button", title: "Show the messages of all agents", onclick: () => this.set("address", "") }, "from or to ", bdi(address), icon("close")));
    this.onChange(isEmpty ? null : matcher(this.wanted), address);
  }

  /** Offer the types and sessions that the page knows. */
  offer(bus) {
    fill($("filter-type"), [...bus.types.keys()].sort());
    const sessions = bus.sessions().sort();
    $("filter-session").hidden = sessions.length < 2;
    fill($("filter-session"), sessions);
  }
}
