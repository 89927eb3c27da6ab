// The rows of a folder: only those in sight are elements, so a hundred thousand rows cost what thirty do.
//
// The grid itself has the focus; the active row is told by aria-activedescendant. Selection is a set of paths.

import { $, el, icon } from "./dom.js";
import { bytes, exactly, iconOf, when } from "./words.js";

const ROW_PX = 48;
const SPARE = 8;
const TYPE_AHEAD_MS = 800;

/** The rows that the page shows. `on` has open(entry), menu(entry, x, y), selection(), key(name), sort(column). */
export class Grid {
  constructor(on) {
    Object.assign(this, { on, rows: [], selected: new Set(), active: 0, anchor: 0, typed: "", made: new Map() });
    this.grid = $("grid");
    this.box = $("rows");
    this.spacer = el("div", { class: "spacer", role: "presentation" });
    this.box.append(this.spacer);
    this.#makeHead();
    this.box.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(this.box);
    this.grid.addEventListener("keydown", (event) => this.#key(event));
    this.box.addEventListener("click", (event) => this.#click(event));
    this.box.addEventListener("dblclick", (event) => this.#open(event));
    this.box.addEventListener("contextmenu", (event) => this.#context(event));
  }

  /** Shows these rows; the same folder keeps its place and selection as far as they are still there. */
  show(rows, isSameFolder) {
    const before = this.rows[this.active]?.path_lower;
    this.rows = rows;
    if (isSameFolder) {
      const there = new Set(rows.map((row) => row.path_lower));
      const gone = [...this.selected].filter((path) => !there.has(path));
      gone.forEach((path) => this.selected.delete(path));
      const at = before === undefined ? -1 : rows.findIndex((row) => row.path_lower === before);
      this.active = at >= 0 ? at : Math.min(this.active, Math.max(0, rows.length - 1));
      if (gone.length > 0) this.on.selection();
    } else {
      this.selected.clear();
      this.active = this.anchor = 0;
      this.box.scrollTop = 0;
      this.on.selection();
    }
    this.grid.setAttribute("aria-rowcount", rows.length + 1);
    this.spacer.style.height = `${rows.length * ROW_PX}px`;
    this.#draw();
  }

  /** What is chosen, in order. */
  get chosen() { return this.rows.filter((row) => this.selected.has(row.path_lower)); }

  /** Chooses these alone. */
  choose(paths) {
    this.selected = new Set(paths);
    this.#changed();
  }

  /** Makes the row of a path active, alone chosen, and visible. */
  reveal(path) {
    const at = this.rows.findIndex((row) => row.path_lower === path);
    if (at < 0) return;
    this.selected = new Set([path]);
    this.#go(at, false, true);
  }

  focus() { this.grid.focus(); }

  /** Which column orders the rows. */
  showOrder(column, isDown) {
    for (const head of $("columns").querySelectorAll("[data-column]")) {
      const isIt = head.dataset.column === column;
      head.setAttribute("aria-sort", isIt ? (isDown ? "descending" : "ascending") : "none");
    }
  }

  #makeHead() {
    const column = (name, text, colindex) => el("div", { class: `cell ${name}`, role: "columnheader", "data-column": name,
      "aria-sort": "none", "aria-colindex": colindex },
    el("button", { type: "button", onclick: () => this.on.sort(name) }, el("span", { text }), icon("down")));
    this.all = el("input", { type: "checkbox", "aria-label": "Choose all", onclick: () => this.#chooseAll(this.all.checked) });
    $("columns").append(el("div", { class: "cell check", role: "columnheader" }, this.all),
      column("name", "Name", 2), column("size", "Size", 3), column("time", "Changed", 4),
      el("div", { class: "cell more", role: "columnheader" }, el("span", { class: "sr", text: "More" })));
  }

  #draw() {
    const height = this.box.clientHeight || 600;
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_PX) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((this.box.scrollTop + height) / ROW_PX) + SPARE);
    for (const [at, row] of this.made) {
      if (at < first || last <= at || row.entry !== this.rows[at]) {
        row.element.remove();
        this.made.delete(at);
      }
    }
    const fresh = [];
    for (let at = first; at < last; at += 1) {
      let row = this.made.get(at);
      if (!row) {
        row = { entry: this.rows[at], element: this.#makeRow(this.rows[at], at) };
        this.made.set(at, row);
        fresh.push(row.element);
      }
      this.#paint(row.element, at);
    }
    this.spacer.append(...fresh);
    const active = this.made.get(this.active);
    if (active) this.grid.setAttribute("aria-activedescendant", active.element.id);
    else this.grid.removeAttribute("aria-activedescendant");
    const chosen = this.selected.size;
    this.all.checked = chosen > 0 && chosen >= this.rows.length;
    this.all.indeterminate = chosen > 0 && chosen < this.rows.length;
  }

  #makeRow(entry, at) {
    const tag = entry[".tag"];
    const size = tag === "file" ? bytes(entry.size) : tag === "folder" ? "Folder" : "Deleted";
    const made = el("div", { class: `row ${tag}`, role: "row", id: `row-${at}`, "aria-rowindex": at + 2 },
      el("div", { class: "cell check", role: "gridcell" }, el("span", { class: "box", "aria-hidden": "true" })),
      el("div", { class: "cell name", role: "gridcell" }, icon(iconOf(entry)),
        el("span", { class: "text", text: entry.name, title: entry.name })),
      el("div", { class: "cell size", role: "gridcell", text: size }),
      el("div", { class: "cell time", role: "gridcell", text: when(entry.server_modified), title: exactly(entry.server_modified) }),
      el("div", { class: "cell more", role: "gridcell" }, el("button", { type: "button", tabindex: "-1", class: "quiet round",
        "aria-label": `Actions for ${entry.name}` }, icon("more"))));
    made.style.transform = `translateY(${at * ROW_PX}px)`;
    return made;
  }

  #paint(element, at) {
    const isChosen = this.selected.has(this.rows[at].path_lower);
    element.setAttribute("aria-selected", isChosen);
    element.classList.toggle("active", at === this.active);
  }

  #at(event) {
    const row = event.target.closest?.(".row");
    return row && this.spacer.contains(row) ? Number(row.id.slice(4)) : -1;
  }

  #click(event) {
    const at = this.#at(event);
    if (at < 0) return this.choose([]);
    const entry = this.rows[at];
    if (event.target.closest("button")) {
      const place = event.target.closest("button").getBoundingClientRect();
      if (!this.selected.has(entry.path_lower)) this.selected = new Set([entry.path_lower]);
      this.#go(at, false, false);
      return this.on.menu(entry, place.right, place.bottom);
    }
    // The name opens, as a link would; the rest of the row chooses.
    if (event.target.closest(".text") && !event.shiftKey && !event.ctrlKey && !event.metaKey) return this.on.open(entry);
    const isToggle = event.ctrlKey || event.metaKey || event.target.closest(".check");
    if (event.shiftKey) this.#range(at);
    else if (isToggle) this.#toggle(at);
    else this.selected = new Set([entry.path_lower]);
    this.#go(at, event.shiftKey, false);
  }

  #open(event) {
    const at = this.#at(event);
    if (at >= 0 && !event.target.closest("button, .text, .check")) this.on.open(this.rows[at]);
  }

  #context(event) {
    const at = this.#at(event);
    if (at < 0) return;
    event.preventDefault();
    if (!this.selected.has(this.rows[at].path_lower)) this.selected = new Set([this.rows[at].path_lower]);
    this.#go(at, false, false);
    this.on.menu(this.rows[at], event.clientX, event.clientY);
  }

  #toggle(at) {
    const path = this.rows[at]?.path_lower;
    if (path === undefined) return;
    if (!this.selected.delete(path)) this.selected.add(path);
  }

  #range(to) {
    const [from, end] = this.anchor <= to ? [this.anchor, to] : [to, this.anchor];
    this.selected = new Set(this.rows.slice(from, end + 1).map((row) => row.path_lower));
  }

  #chooseAll(isAll) {
    this.choose(isAll ? this.rows.map((row) => row.path_lower) : []);
  }

  /** Row `at` is active; it is scrolled to when `isMoved`. */
  #go(at, keepsAnchor, isMoved) {
    this.active = at;
    if (!keepsAnchor) this.anchor = at;
    if (isMoved) {
      const top = at * ROW_PX, height = this.box.clientHeight;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      else if (top + ROW_PX > this.box.scrollTop + height) this.box.scrollTop = top + ROW_PX - height;
    }
    this.#changed();
  }

  #changed() {
    this.#draw();
    this.on.selection();
  }

  #key(event) {
    if (event.target !== this.grid || event.altKey) return;
    const isCommand = event.ctrlKey || event.metaKey;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_PX) - 1);
    const last = this.rows.length - 1;
    const moves = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, Home: 0, End: last,
      PageDown: this.active + page, PageUp: this.active - page };
    if (event.key in moves && last >= 0) {
      const to = Math.max(0, Math.min(last, moves[event.key]));
      if (event.shiftKey) this.#range(to);
      else if (!isCommand) this.selected = new Set([this.rows[to].path_lower]);
      this.#go(to, event.shiftKey, true);
    } else if (event.key === " ") {
      if (this.typed !== "") return this.#typeAhead(" ", event);
      this.#toggle(this.active);
      this.#go(this.active, false, true);
    } else if (isCommand && event.key.toLowerCase() === "a") {
      this.#chooseAll(true);
    } else if (event.key === "Escape" && this.selected.size > 0) {
      this.choose([]);
    } else if (event.key === "Enter" && last >= 0) {
      this.on.open(this.rows[this.active]);
    } else if ((event.key === "ContextMenu" || (event.shiftKey && event.key === "F10")) && last >= 0) {
      this.#menuByKey();
    } else if (["Delete", "F2", "Backspace", "?"].includes(event.key)) {
      this.on.key(event.key);
    } else if (event.key.length === 1 && !isCommand) {
      return this.#typeAhead(event.key, event);
    } else {
      return;
    }
    event.preventDefault();
  }

  #menuByKey() {
    const entry = this.rows[this.active];
    if (!this.selected.has(entry.path_lower)) this.choose([entry.path_lower]);
    const place = this.made.get(this.active)?.element.getBoundingClientRect() ?? this.grid.getBoundingClientRect();
    this.on.menu(entry, place.left + 80, place.top + ROW_PX / 2);
  }

  /** Typing goes to the next name that begins so. */
  #typeAhead(key, event) {
    event.preventDefault();
    clearTimeout(this.typing);
    this.typing = setTimeout(() => { this.typed = ""; }, TYPE_AHEAD_MS);
    this.typed += key.toLowerCase();
    const count = this.rows.length;
    const from = this.typed.length === 1 ? this.active + 1 : this.active;
    for (let step = 0; step < count; step += 1) {
      const at = (from + step) % count;
      if (this.rows[at].name.toLowerCase().startsWith(this.typed)) {
        this.selected = new Set([this.rows[at].path_lower]);
        return this.#go(at, false, true);
      }
    }
  }
}
