// Uploads: a queue, some files at a time, large ones in parts that go in parallel and go on where they were.
//
//   file <= 8 MiB ─▶ upload
//   larger        ─▶ start (concurrent) ─▶ append_v2 x parts, PARTS_AT_ONCE at a time ─▶ the last part closes ─▶ finish
//
// A part that fails is sent again, for as long as the page lives. What a session has already is kept in localStorage, so
// that the same file goes on after the page was closed.

import { ApiError, Offline, backoff, sleep } from "./api.js";
import { BLOCK_BYTES, contentHash } from "./hash.js";

const PART_BYTES = 2 * BLOCK_BYTES;
const FILES_AT_ONCE = 4;
const PARTS_AT_ONCE = 4;
const HASH_TRIES_MAX = 3;
const KEPT_MS = 6 * 24 * 3600 * 1000;
const KEY = "dropstone-session:";

const seconds = (ms) => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
const isPassing = (error) => error instanceof Offline
  || (error instanceof ApiError && (error.status >= 500 || error.status === 429 || error.status === 408));

/** One file on its way. `state`: queued, sending, waiting (for the connection), done, failed, cancelled. */
class Transfer {
  constructor(file, path, mode, account) {
    Object.assign(this, { file, path, mode, sent: 0, state: "queued", error: null, result: null });
    this.stop = new AbortController();
    this.flying = new Map();
    this.key = `${KEY}${account}:${path}:${file.size}:${file.lastModified}`;
  }

  /** Bytes that are there or on their way. */
  get progress() {
    let flying = 0;
    for (const bytes of this.flying.values()) flying += bytes;
    return Math.min(this.file.size, this.sent + flying);
  }
}

/** All uploads of the page. `onChange()` is called whenever something is told otherwise. */
export class Transfers {
  constructor(api, account, onChange, onDone) {
    Object.assign(this, { api, account, onChange, onDone });
    this.all = [];
    this.running = 0;
    this.wake = new AbortController();
    dropOldSessions();
    window.addEventListener("online", () => this.retryNow());
  }

  /** Queues files: `{ file, path, mode }`, with `mode` "add" (keep both) or "overwrite". */
  add(wanted) {
    for (const { file, path, mode } of wanted) this.all.push(new Transfer(file, path, mode, this.account));
    this.#pump();
    this.onChange();
  }

  /** Takes a file out, on its way or not. */
  cancel(transfer) {
    if (!["queued", "sending", "waiting"].includes(transfer.state)) return;
    transfer.state = "cancelled";
    transfer.stop.abort();
    forget(transfer);
    this.onChange();
  }

  /** A failed file once more. */
  again(transfer) {
    if (transfer.state !== "failed") return;
    Object.assign(transfer, { state: "queued", error: null, stop: new AbortController() });
    this.#pump();
    this.onChange();
  }

  /** Ends the waits for the connection. */
  retryNow() {
    this.wake.abort();
    this.wake = new AbortController();
  }

  /** Drops what is over from the list. */
  clear() {
    this.all = this.all.filter((transfer) => ["queued", "sending", "waiting"].includes(transfer.state));
    this.onChange();
  }

  get isBusy() { return this.all.some((transfer) => ["queued", "sending", "waiting"].includes(transfer.state)); }

  #pump() {
    while (this.running < FILES_AT_ONCE) {
      const next = this.all.find((transfer) => transfer.state === "queued");
      if (!next) return;
      this.running += 1;
      next.state = "sending";
      this.#run(next).finally(() => {
        this.running -= 1;
        this.#pump();
        this.onChange();
      });
    }
  }

  async #run(transfer) {
    try {
      transfer.result = await (transfer.file.size <= PART_BYTES ? this.#small(transfer) : this.#large(transfer));
      transfer.state = "done";
      transfer.sent = transfer.file.size;
      this.onDone(transfer);
    } catch (error) {
      if (transfer.state === "cancelled") return;
      transfer.state = "failed";
      // The browser says so when a file changed or went away under its hands.
      const isGone = error.name === "NotReadableError" || error.name === "NotFoundError";
      transfer.error = isGone ? new Error("The file on this device has changed or is gone.") : error;
    } finally {
      transfer.flying.clear();
    }
  }

  async #small(transfer) {
    const buffer = await transfer.file.arrayBuffer();
    const arg = { ...this.#commit(transfer), content_hash: await contentHash(buffer) };
    return this.#send(transfer, 0, "files/upload", arg, buffer);
  }

  #commit(transfer) {
    const { path, mode, file } = transfer;
    return { path, mode, autorename: mode === "add", client_modified: seconds(file.lastModified) };
  }

  async #large(transfer) {
    for (let tries = 0; ; tries += 1) {
      const session = await this.#session(transfer);
      try {
        await this.#parts(transfer, session);
        const { size } = transfer.file;
        const arg = { cursor: { session_id: session.id, offset: size }, commit: this.#commit(transfer) };
        const result = await this.#send(transfer, size, "files/upload_session/finish", arg, new ArrayBuffer(0));
        forget(transfer);
        return result;
      } catch (error) {
        forget(transfer);
        // It was too old, or somebody else's: all parts go once more.
        const isLost = error instanceof ApiError && /not_found|closed|missing_data/.test(error.summary) && tries === 0
          && !/^path/.test(error.summary);
        if (!isLost) throw error;
        transfer.sent = 0;
      }
    }
  }

  /** The session of a file: the one that an earlier page began, or another. */
  async #session(transfer) {
    const kept = recall(transfer.key);
    if (kept) return kept;
    const started = await this.#send(transfer, 0, "files/upload_session/start",
      { session_type: { ".tag": "concurrent" } }, new ArrayBuffer(0));
    return { id: started.session_id, since: Date.now(), parts: [] };
  }

  async #parts(transfer, session) {
    const parts = Math.ceil(transfer.file.size / PART_BYTES);
    const there = new Set(session.parts);
    transfer.sent = [...there].reduce((sum, part) => sum + partBytes(transfer.file, part), 0);
    const todo = Array.from({ length: parts - 1 }, (_, part) => part).filter((part) => !there.has(part));
    const worker = async () => {
      for (let part = todo.shift(); part !== undefined; part = todo.shift()) {
        await this.#part(transfer, session, part, false);
      }
    };
    await Promise.all(Array.from({ length: PARTS_AT_ONCE }, worker));
    // The one that closes comes last: behind it nothing is taken any more.
    if (!there.has(parts - 1)) await this.#part(transfer, session, parts - 1, true);
  }

  async #part(transfer, session, part, close) {
    const offset = part * PART_BYTES;
    const buffer = await transfer.file.slice(offset, offset + PART_BYTES).arrayBuffer();
    const arg = { cursor: { session_id: session.id, offset }, close, content_hash: await contentHash(buffer) };
    await this.#send(transfer, offset, "files/upload_session/append_v2", arg, buffer);
    transfer.sent += buffer.byteLength;
    session.parts.push(part);
    keep(transfer, session);
    this.onChange();
  }

  /** A call with content, again and again while the connection or the server is away. */
  async #send(transfer, slot, route, arg, buffer) {
    let hashTries = 0;
    for (let n = 0; ; n += 1) {
      const signal = transfer.stop.signal;
      try {
        const result = await this.api.upload(route, arg, buffer, signal, (bytes) => {
          transfer.flying.set(slot, Math.min(bytes, buffer.byteLength));
          this.onChange();
        });
        transfer.flying.delete(slot);
        return result;
      } catch (error) {
        transfer.flying.delete(slot);
        const isBroken = error instanceof ApiError && /content_hash_mismatch/.test(error.summary);
        if (signal.aborted || !(isPassing(error) || (isBroken && ++hashTries < HASH_TRIES_MAX))) throw error;
        transfer.state = "waiting";
        this.onChange();
        await sleep(backoff(n), AbortSignal.any([signal, this.wake.signal])).catch(() => {});
        if (signal.aborted) throw signal.reason;
        transfer.state = "sending";
      }
    }
  }
}

const partBytes = (file, part) => Math.min(PART_BYTES, file.size - part * PART_BYTES);

function keep(transfer, session) {
  try { localStorage.setItem(transfer.key, JSON.stringify(session)); } catch { /* No room: it begins anew next time. */ }
}

function forget(transfer) { localStorage.removeItem(transfer.key); }

/** What was kept, if it is still good. */
function recall(key) {
  try {
    const kept = JSON.parse(localStorage.getItem(key));
    return kept?.since > Date.now() - KEPT_MS && Array.isArray(kept.parts) ? kept : null;
  } catch {
    return null;
  }
}

/** The server keeps sessions for seven days. */
function dropOldSessions() {
  for (const key of Object.keys(localStorage).filter((key) => key.startsWith(KEY))) {
    if (recall(key) === null) localStorage.removeItem(key);
  }
}

/** The files of a drop, with those in folders: `{ file, path }`, paths without a slash before. */
export async function filesOfDrop(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  const all = [];
  for (const { entry, file } of entries) {
    if (entry?.isDirectory) await walk(entry, "", all);
    else if (file) all.push({ file, path: file.name });
  }
  return all;
}

async function walk(folder, prefix, all) {
  const reader = folder.createReader();
  const path = `${prefix}${folder.name}`;
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const entry of some) {
      if (entry.isDirectory) await walk(entry, `${path}/`, all);
      else all.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path: `${path}/${entry.name}` });
    }
  }
}
