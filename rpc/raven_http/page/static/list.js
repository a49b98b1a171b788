// List: a list of any length, of which only the rows in sight are elements. All rows have the same height. A row that
// is in sight keeps its place when others come in above it, unless the list stands at its top.

import { el } from "./text.js";

const BEYOND = 6;

export class VirtualList {
  /** `make()` returns an element for a row, `bind(element, item)` fills it, `key(item)` names the item. */
  constructor(viewport, { make, bind, key, onPick = null }) {
    this.viewport = viewport;
    this.make = make;
    this.bind = bind;
    this.key = key;
    this.items = [];
    this.shown = new Map();
    this.spare = [];
    this.space = el("div.space");
    viewport.append(this.space);
    this.pending = false;
    this.height = 0;
    // The size and the position of the viewport, kept because to read them costs a layout.
    this.seen = 0;
    this.top = 0;
    viewport.addEventListener(
      "scroll",
      () => {
        this.top = viewport.scrollTop;
        this.schedule();
      },
      { passive: true },
    );
    new ResizeObserver(() => this.measure()).observe(viewport);
    if (onPick) {
      viewport.addEventListener("click", (event) => {
        const row = event.target.closest(".row");
        if (row && row.item !== undefined) onPick(row.item, event);
      });
    }
    this.measure();
  }

  /** Read the height of a row, which the style sheet sets, and of the viewport. */
  measure() {
    const height = parseFloat(getComputedStyle(this.viewport).getPropertyValue("--row")) || 48;
    this.seen = this.viewport.clientHeight;
    if (height !== this.height) {
      const first = this.height ? Math.round(this.top / this.height) : 0;
      this.height = height;
      this.resize();
      this.scrollTo(first * height);
      for (const row of this.shown.values()) row.index = -1;
    }
    this.schedule();
  }

  resize() {
    this.space.style.setProperty("height", `${this.items.length * this.height}px`);
  }

  scrollTo(top) {
    this.top = top;
    this.viewport.scrollTop = top;
  }

  get isAtTop() {
    return this.top < this.height;
  }

  /** Show other items, at once; those that stay keep their elements. */
  set(items) {
    const first = Math.floor(this.top / this.height);
    const anchor = !this.isAtTop && this.items.length > first ? this.key(this.items[first]) : null;
    const before = this.items.length;
    this.items = items;
    if (items.length !== before) this.resize();
    if (anchor !== null) {
      const index = items.findIndex((item) => this.key(item) === anchor);
      const move = (index - first) * this.height;
      if (index >= 0 && move) this.scrollTo(this.top + move);
    }
    this.render();
  }

  /** Fill the rows in sight again in the next frame: something about the items changed. */
  refresh() {
    this.isStale = true;
    this.schedule();
  }

  /** Do at once what `refresh`, or a scroll, left for the next frame. */
  flush() {
    if (this.pending) this.render();
  }

  schedule() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => this.flush());
  }

  render() {
    this.pending = false;
    if (!this.seen) this.seen = this.viewport.clientHeight;
    const first = Math.max(0, Math.floor(this.top / this.height) - BEYOND);
    const end = Math.min(this.items.length, first + Math.ceil(this.seen / this.height) + 2 * BEYOND);
    const wanted = new Map();
    for (let index = first; index < end; index += 1) wanted.set(this.key(this.items[index]), index);
    for (const [key, row] of this.shown) {
      if (!wanted.has(key)) {
        this.shown.delete(key);
        this.spare.push(row);
      }
    }
    for (const [key, index] of wanted) {
      const item = this.items[index];
      let row = this.shown.get(key);
      let isNew = false;
      if (!row) {
        row = this.spare.pop();
        isNew = true;
        if (!row) {
          row = this.make();
          this.space.append(row);
        }
        this.shown.set(key, row);
        row.index = -1;
      }
      if (isNew || this.isStale || row.item !== item) {
        row.item = item;
        this.bind(row, item);
      }
      if (row.index !== index) {
        row.index = index;
        row.style.setProperty("transform", `translateY(${index * this.height}px)`);
        row.setAttribute("aria-posinset", index + 1);
      }
      if (row.total !== this.items.length) {
        row.total = this.items.length;
        row.setAttribute("aria-setsize", row.total);
      }
    }
    this.isStale = false;
    for (const row of this.spare.splice(0)) row.remove();
  }

  /** Scroll as little as needed to bring an item into sight. */
  reveal(index) {
    const top = index * this.height;
    if (top < this.top) this.scrollTo(top);
    else if (top + this.height > this.top + this.seen) this.scrollTo(top + this.height - this.seen);
    this.render();
  }
}
