// Chart: lines of counts over the last minutes, drawn as SVG; a pointer shows the figures of one moment.

import { count, el, setText, svg } from "./text.js";

const LEFT = 40;
const TOP = 8;
const BOTTOM = 22;

/** Return a round number, not less than `most`, for the top of the axis. */
function ceiling(most) {
  if (most <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= most);
}

/** Return the path through values, `undefined` is a gap. */
function path(values, x, y) {
  let text = "";
  let isOpen = false;
  values.forEach((value, index) => {
    if (value === undefined) isOpen = false;
    else {
      text += `${isOpen ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      isOpen = true;
    }
  });
  return text;
}

export class Chart {
  /** `series`: [{name, label}], each a class `line-NAME`; `seconds` is the width in time. */
  constructor(box, { title, series, seconds, height = 180 }) {
    this.series = series;
    this.seconds = seconds;
    this.height = height;
    this.width = 720;
    this.values = series.map(() => []);
    this.grid = svg("g", { class: "grid" });
    this.lines = series.map(({ name }) => svg("path", { class: `line line-${name}` }));
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: height - BOTTOM });
    this.svg = svg("svg", { class: "plot", height, role: "img", "aria-label": title }, this.grid, ...this.lines, this.cursor);
    this.figures = series.map(({ name, label }) => {
      const value = el("b.num", {}, "0");
      return { value, item: el("span.legend-item", {}, el(`span.swatch.line-${name}`), label, value) };
    });
    this.when = el("span.note");
    box.replaceChildren(el("div.chart-head", {}, el("h3", {}, title), el("span.grow"), this.when, ...this.figures.map(({ item }) => item)), this.svg);
    this.at = null;
    new ResizeObserver(() => this.measure()).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => {
      const bounds = this.svg.getBoundingClientRect();
      const x = event.clientX - bounds.left;
      this.at = Math.max(0, Math.min(this.seconds - 1, Math.round(((x - LEFT) / (this.width - LEFT)) * (this.seconds - 1))));
      this.point();
    });
    this.svg.addEventListener("pointerleave", () => {
      this.at = null;
      this.point();
    });
  }

  /** Take the width that the page gives it; a hidden chart has none. */
  measure() {
    const width = this.svg.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    if (this.values[0].length) this.draw(this.values);
  }

  x(index) {
    return LEFT + ((this.width - LEFT - 2) * index) / (this.seconds - 1);
  }

  /** Draw one array of values for each line; their last value is the one of now. */
  draw(values) {
    this.values = values;
    const top = ceiling(values.flat().reduce((most, value) => Math.max(most, value ?? 0), 0));
    const y = (value) => TOP + (this.height - TOP - BOTTOM) * (1 - value / top);
    values.forEach((one, index) => this.lines[index].setAttribute("d", path(one, (at) => this.x(at), y)));
    const parts = [0, top / 2, top].flatMap((value) => [
      svg("line", { x1: LEFT, x2: this.width, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, count(value)),
    ]);
    for (let s = 0; s <= this.seconds; s += 60) {
      const x = this.x(this.seconds - 1 - s);
      const label = s ? `−${s / 60} min` : "now";
      if (x > LEFT + 20) parts.push(svg("text", { x, y: this.height - 6, "text-anchor": s ? "middle" : "end" }, label));
    }
    this.grid.replaceChildren(...parts);
    this.point();
  }

  /** Show the figures at the pointer, or the latest ones. */
  point() {
    const index = this.at ?? this.seconds - 1;
    this.figures.forEach(({ value }, at) => setText(value, count(this.values[at][index] ?? 0)));
    setText(this.when, this.at === null ? "" : `${this.seconds - this.at} s ago`);
    this.cursor.classList.toggle("shown", this.at !== null);
    this.cursor.setAttribute("x1", this.x(index));
    this.cursor.setAttribute("x2", this.x(index));
  }
}
