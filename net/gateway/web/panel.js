// The panel of uploads: one line a file that matters now, and how much is left of all.

import { $, el, icon } from "./dom.js";
import { bytes, count, explain, left, nameOf } from "./words.js";

const LINES_MAX = 60;
const RATE_OVER_MS = 10_000;
const ORDER = { failed: 0, waiting: 1, sending: 2, queued: 3, done: 4, cancelled: 5 };

/** Shows transfers, at most once a frame. */
export class Panel {
  constructor(transfers) {
    Object.assign(this, { transfers, lines: new Map(), isSmall: false, samples: [] });
    this.box = $("uploads");
    this.title = el("h2", { id: "uploads-title" });
    this.hint = el("span", { class: "hint" });
    this.list = el("ul");
    this.fold = el("button", { type: "button", class: "quiet round", onclick: () => this.#fold() }, icon("down"));
    this.close = el("button", { type: "button", class: "quiet round", "aria-label": "Close", onclick: () => transfers.clear() }, icon("close"));
    this.bar = el("progress", { max: "1", value: "0", "aria-label": "All uploads" });
    this.box.append(el("header", {}, el("div", {}, this.title, this.hint), this.fold, this.close), this.bar, this.list);
    this.box.setAttribute("aria-labelledby", "uploads-title");
    this.#label();
  }

  /** Something has changed; it is drawn soon. */
  update() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => { this.isAsked = false; this.#draw(); });
  }

  #fold() {
    this.isSmall = !this.isSmall;
    this.box.classList.toggle("small", this.isSmall);
    this.#label();
  }

  #label() {
    this.fold.setAttribute("aria-label", this.isSmall ? "Show uploads" : "Hide uploads");
    this.fold.setAttribute("aria-expanded", String(!this.isSmall));
  }

  #draw() {
    const all = this.transfers.all.filter((transfer) => transfer.state !== "cancelled");
    this.box.hidden = all.length === 0;
    if (all.length === 0) { this.lines.forEach((line) => line.element.remove()); this.lines.clear(); return; }
    this.#sum(all);
    const seen = [...all].sort((a, b) => ORDER[a.state] - ORDER[b.state]).slice(0, LINES_MAX);
    const wanted = new Set(seen);
    for (const [transfer, line] of this.lines) {
      if (!wanted.has(transfer)) { line.element.remove(); this.lines.delete(transfer); }
    }
    seen.forEach((transfer, n) => {
      const line = this.lines.get(transfer) ?? this.#make(transfer);
      if (this.list.children[n] !== line.element) this.list.insertBefore(line.element, this.list.children[n] ?? null);
      paint(line, transfer);
    });
  }

  #sum(all) {
    const size = all.reduce((sum, transfer) => sum + transfer.file.size, 0);
    const there = all.reduce((sum, transfer) => sum + (transfer.state === "done" ? transfer.file.size : transfer.progress), 0);
    const done = all.filter((transfer) => transfer.state === "done").length;
    const failed = all.filter((transfer) => transfer.state === "failed").length;
    const isBusy = this.transfers.isBusy;
    const words = failed > 0 ? `, ${failed} failed` : "";
    this.title.textContent = isBusy ? `Uploading ${(done + 1).toLocaleString("en")} of ${count(all.length, "file")}${words}`
      : `${count(done, "file")} uploaded${words}`;
    const now = performance.now();
    this.samples = this.samples.filter(([time]) => now - time < RATE_OVER_MS);
    this.samples.push([now, there]);
    const [since, from] = this.samples[0];
    const rate = now - since > 500 ? ((there - from) * 1000) / (now - since) : 0;
    const isWaiting = all.some((transfer) => transfer.state === "waiting");
    this.hint.textContent = isWaiting ? "Waiting for the connection…"
      : isBusy && rate > 0 ? `${bytes(rate)}/s · ${left((size - there) / rate)}` : "";
    this.bar.value = size === 0 ? (isBusy ? 0 : 1) : there / size;
    this.bar.hidden = !isBusy;
    this.close.hidden = isBusy;
  }

  #make(transfer) {
    const state = el("span", { class: "hint" });
    const bar = el("progress", { max: "1", value: "0", "aria-label": nameOf(transfer.path) });
    const mark = el("span", { class: "mark" });
    const cancel = el("button", { type: "button", class: "quiet round", "aria-label": `Cancel ${nameOf(transfer.path)}`,
      onclick: () => this.transfers.cancel(transfer) }, icon("close"));
    const again = el("button", { type: "button", class: "quiet round", "aria-label": `Try ${nameOf(transfer.path)} again`,
      onclick: () => this.transfers.again(transfer) }, icon("retry"));
    const element = el("li", {}, mark, el("div", { class: "what" },
      el("span", { class: "text", text: nameOf(transfer.path), title: transfer.path }), state, bar), again, cancel);
    const line = { element, state, bar, mark, cancel, again };
    this.lines.set(transfer, line);
    return line;
  }
}

function paint(line, transfer) {
  const { state } = transfer;
  const isActive = state === "sending" || state === "waiting";
  const words = {
    queued: bytes(transfer.file.size),
    sending: `${bytes(transfer.progress)} of ${bytes(transfer.file.size)}`,
    waiting: "Waiting for the connection…",
    done: bytes(transfer.file.size),
    failed: transfer.error ? explain(transfer.error) : "Failed",
  }[state];
  if (line.state.textContent !== words) line.state.textContent = words;
  line.bar.hidden = !isActive;
  line.bar.value = transfer.file.size === 0 ? 0 : transfer.progress / transfer.file.size;
  if (line.shown !== state) {
    line.shown = state;
    line.element.className = state;
    const marks = { done: "done", failed: "warn" };
    line.mark.replaceChildren(icon(marks[state] ?? "up"));
  }
  line.cancel.hidden = state === "done" || state === "failed";
  line.again.hidden = state !== "failed";
}
