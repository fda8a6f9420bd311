// Thousands of pictures, of which only those in sight exist: rows are asked for in pages as one
// scrolls, cells are used again, and a change of one row redraws one cell.

import { h, refill } from "./core.js";

const PAGE = 200;

export class Gallery {
  /**
   * `load(offset, limit)` → {rows, total}; `draw(cell, row, index)` fills a cell, row null while it
   * loads; `height(width)` is a cell's height for its width; `open(index)` on click or Enter.
   */
  constructor({ load, draw, height, open, least = 168, gap = 16 }) {
    Object.assign(this, { load, draw, height, open, least, gap });
    this.total = 0;
    this.rows = new Map();
    this.asked = new Map();
    this.cells = new Map();
    this.spare = [];
    this.focus = 0;
    this.node = h("div.gallery", { role: "grid", onclick: (event) => this.click(event), onkeydown: (event) => this.key(event) });
    this.scrolled = () => { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.place(); }); };
    this.sizes = new ResizeObserver(() => this.measure());
  }

  start() {
    this.sizes.observe(this.node);
    window.addEventListener("scroll", this.scrolled, { passive: true });
  }

  stop() {
    this.sizes.disconnect();
    window.removeEventListener("scroll", this.scrolled);
    cancelAnimationFrame(this.frame);
  }

  /** Forget what is known and look again (another filter, a new connection). */
  async renew(keep = false) {
    this.turn = (this.turn || 0) + 1;
    this.asked.clear();
    if (!keep) { this.rows.clear(); this.total = 0; }
    const first = keep ? Math.floor(this.range()[0] / PAGE) : 0;
    await this.page(first);
    this.measure();
  }

  /** A row that the server sent by itself. */
  update(row) {
    for (const [index, known] of this.rows) {
      if (known.row !== row.row || known.take !== row.take) continue;
      this.rows.set(index, { ...known, ...row });
      const cell = this.cells.get(index);
      if (cell) this.draw(cell, this.rows.get(index), index);
      return true;
    }
    return false;
  }

  async page(number) {
    if (this.asked.has(number)) return this.asked.get(number);
    const turn = this.turn;
    const asking = this.load(number * PAGE, PAGE).then((found) => {
      if (turn !== this.turn) return;
      const grown = found.total !== this.total;
      this.total = found.total;
      found.rows.forEach((row, at) => this.rows.set(number * PAGE + at, row));
      for (const [index, cell] of this.cells) if (Math.floor(index / PAGE) === number) this.draw(cell, this.rows.get(index) || null, index);
      if (grown) this.measure();
    }).catch((error) => { this.asked.delete(number); throw error; });
    this.asked.set(number, asking);
    return asking;
  }

  measure() {
    const width = this.node.clientWidth;
    if (!width) return;
    const narrow = width < 460;
    this.columns = Math.max(2, Math.floor((width + this.gap) / ((narrow ? 140 : this.least) + this.gap)));
    this.cell = (width - this.gap * (this.columns - 1)) / this.columns;
    this.step = this.height(this.cell) + this.gap;
    this.node.style.height = `${Math.max(0, Math.ceil(this.total / this.columns) * this.step - this.gap)}px`;
    this.node.setAttribute("aria-rowcount", Math.ceil(this.total / this.columns));
    this.place(true);
  }

  /** The first and last index in sight, with a screen above and below. */
  range() {
    if (!this.step) return [0, 0];
    const top = -this.node.getBoundingClientRect().top, high = window.innerHeight;
    const first = Math.max(0, Math.floor((top - high * 0.7) / this.step)) * this.columns;
    const last = Math.min(this.total, Math.ceil((top + high * 1.7) / this.step) * this.columns);
    return [first, Math.max(first, last)];
  }

  place(all = false) {
    if (!this.step) return;
    const [first, last] = this.range();
    for (const [index, cell] of this.cells) if (index < first || index >= last) { this.cells.delete(index); cell.remove(); this.spare.push(cell); }
    for (let index = first; index < last; index++) {
      const known = this.cells.get(index);
      if (known && !all) continue;
      const cell = known || this.spare.pop() || h("div.cell", { role: "gridcell" });
      this.put(cell, index, !known);
    }
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page++) this.page(page).catch(() => {});
  }

  put(cell, index, fresh) {
    const { style } = cell;
    style.width = `${this.cell}px`;
    style.height = `${this.step - this.gap}px`;
    style.transform = `translate(${(index % this.columns) * (this.cell + this.gap)}px, ${Math.floor(index / this.columns) * this.step}px)`;
    cell.dataset.index = index;
    cell.tabIndex = index === this.focus ? 0 : -1;
    if (!fresh) return;
    this.draw(cell, this.rows.get(index) || null, index);
    this.cells.set(index, cell);
    this.node.append(cell);
  }

  click(event) {
    const cell = event.target.closest(".cell");
    if (cell && !event.target.closest("a,button")) this.open(Number(cell.dataset.index));
  }

  key(event) {
    const index = Number(event.target.dataset?.index);
    if (Number.isNaN(index)) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.open(index); return; }
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, Home: -index, End: this.total - 1 - index }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    this.look(Math.max(0, Math.min(this.total - 1, index + by)));
  }

  /** Bring a cell into sight and give it the keyboard. */
  look(index) {
    this.focus = index;
    const top = this.node.getBoundingClientRect().top + window.scrollY + Math.floor(index / this.columns) * this.step;
    if (top < window.scrollY + 120) window.scrollTo(0, top - 120);
    else if (top + this.step > window.scrollY + window.innerHeight) window.scrollTo(0, top + this.step - window.innerHeight + 24);
    this.place(true);
    this.cells.get(index)?.focus({ preventScroll: true });
  }

  /** The row at `index`, asked for where it is not known yet. */
  async row(index) {
    if (!this.rows.has(index)) await this.page(Math.floor(index / PAGE));
    return this.rows.get(index) || null;
  }

  empty(...nodes) { refill(this.node, nodes); this.cells.clear(); }
}
