// One folder as it is: its pages, then its changes as they come. Knows nothing of the page.
//
//   load: list_folder ─▶ continue ─▶ ... ─▶ whole      follow: longpoll ─▶ continue ─▶ longpoll ─▶ ...

import { ApiError, Offline, backoff, sleep } from "./api.js";

/** How often a gateway that does not serve the longpoll is asked. */
const ASK_EVERY_MS = 5_000;

const COLLATOR = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const isFolder = (entry) => entry[".tag"] === "folder";
const byName = (a, b) => COLLATOR.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);

const ORDERS = {
  name: byName,
  size: (a, b) => (a.size ?? 0) - (b.size ?? 0) || byName(a, b),
  time: (a, b) => (a.server_modified ?? "").localeCompare(b.server_modified ?? "") || byName(a, b),
};

/** The order of rows: folders first, then by `column`. */
export function orderOf(column, isDown) {
  const order = ORDERS[column];
  return (a, b) => isFolder(b) - isFolder(a) || (isDown ? -order(a, b) : order(a, b));
}

/** Two ordered rows become one. */
export function merged(one, other, order) {
  if (other.length === 0) return one;
  const all = new Array(one.length + other.length);
  for (let at = 0, i = 0, j = 0; at < all.length; at += 1) {
    const takesOne = j === other.length || (i < one.length && order(one[i], other[j]) <= 0);
    all[at] = takesOne ? one[i++] : other[j++];
  }
  return all;
}

/** A folder of an account, kept in order. `onChange()` is called when its rows are others. */
export class Listing {
  constructor(api, path, { withDeleted, column, isDown }, onChange) {
    Object.assign(this, { api, path, withDeleted, onChange });
    this.order = orderOf(column, isDown);
    this.rows = [];
    this.byPath = new Map();
    this.isWhole = false;
    this.stop = new AbortController();
  }

  /** Lists it, page by page. Errors: ApiError, Offline, AbortError. */
  async load() {
    const { signal } = this.stop;
    const arg = { path: this.path, include_deleted: this.withDeleted, limit: 2000 };
    let page = await this.api.call("files/list_folder", arg, signal);
    for (;;) {
      this.apply(page.entries);
      this.cursor = page.cursor;
      this.isWhole = !page.has_more;
      this.onChange();
      if (this.isWhole) return;
      page = await this.api.call("files/list_folder/continue", { cursor: this.cursor }, signal);
    }
  }

  /**
   * Follows the changes until it is closed. `onLink(waitMs)`: 0 when connected, else how long it waits before it tries
   * again. Ends with "reset" when the folder must be listed anew, and "gone" when it is no more.
   */
  async follow(onLink) {
    const { signal } = this.stop;
    for (let failures = 0, hasLongpoll = true; ;) {
      try {
        if (!hasLongpoll) await sleep(ASK_EVERY_MS, signal);
        const isNew = !hasLongpoll || await this.api.longpoll(this.cursor, signal);
        onLink(0);
        failures = 0;
        if (isNew) await this.catchUp();
      } catch (error) {
        if (signal.aborted) return "closed";
        if (error instanceof ApiError && /reset/.test(error.summary)) return "reset";
        if (error instanceof ApiError && /not_found|not_folder/.test(error.summary)) return "gone";
        if (hasLongpoll && error.status === 400) {
          // This gateway has nobody who waits; a bad cursor is told by the next question.
          hasLongpoll = false;
          continue;
        }
        if (!(error instanceof Offline) && error.status < 500 && error.status !== 429) throw error;
        const wait = backoff(failures++);
        onLink(wait);
        this.wake = new AbortController();
        await sleep(wait, AbortSignal.any([signal, this.wake.signal])).catch(() => {});
      }
    }
  }

  /** Ends a wait for the connection early. */
  retry() { this.wake?.abort(); }

  /** Takes what has changed since the cursor. */
  async catchUp() {
    for (let hasMore = true; hasMore;) {
      const page = await this.api.call("files/list_folder/continue", { cursor: this.cursor }, this.stop.signal);
      this.cursor = page.cursor;
      hasMore = page.has_more;
      if (page.entries.length > 0) {
        this.apply(page.entries);
        this.onChange();
      }
    }
  }

  close() { this.stop.abort(); }

  /** Other order of the same rows. */
  sort(column, isDown) {
    this.order = orderOf(column, isDown);
    this.rows.sort(this.order);
    this.onChange();
  }

  /** Entries of a page or of a change: the last one of a path counts. */
  apply(entries) {
    const fresh = new Map();
    for (const entry of entries) {
      // A listing that is not recursive tells of direct children only; a change may name the folder itself.
      if (entry.path_lower !== this.path.toLowerCase()) fresh.set(entry.path_lower, entry);
    }
    const hasOld = [...fresh.keys()].some((path) => this.byPath.has(path));
    const kept = hasOld ? this.rows.filter((row) => !fresh.has(row.path_lower)) : this.rows;
    const added = [];
    for (const [path, entry] of fresh) {
      if (entry[".tag"] === "deleted" && !this.withDeleted) {
        this.byPath.delete(path);
      } else {
        this.byPath.set(path, entry);
        added.push(entry);
      }
    }
    this.rows = merged(kept, added.sort(this.order), this.order);
  }
}
