// The HTTP API as this page uses it: calls, content, and what is tried again.

/** An answer that says no. `summary` has the error's tags, as `path/not_found`. */
export class ApiError extends Error {
  constructor(status, summary, body) {
    super(status >= 500 ? "The server has a problem. Try again." : summary || `The server answered ${status}.`);
    Object.assign(this, { status, summary, body });
  }
}

/** No answer at all: the network, or the server, is away. */
export class Offline extends Error {
  constructor() { super("There is no connection to the server."); }
}

const TRIES_MAX = 5;
/** Reads may be asked again without harm when the connection broke. */
const READS = /^(files\/(list|get)|users\/|sharing\/list|check\/)/;

/** Header values are ASCII: all else is escaped as JSON does it. */
export function headerJson(value) {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Waits; ends early with an AbortError when the signal says so. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const end = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", end); resolve(); }, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** The wait before try `n`, with jitter so that tabs do not come back together. */
export const backoff = (n) => Math.min(30_000, 500 * 2 ** n) * (0.75 + Math.random() / 2);

async function failure(response) {
  const text = await response.text().catch(() => "");
  return failureOf(response.status, text);
}

function failureOf(status, text) {
  try {
    const body = JSON.parse(text);
    return new ApiError(status, (body.error_summary ?? "").replace(/[/.]+$/, ""), body.error);
  } catch {
    return new ApiError(status, text.slice(0, 300), null);
  }
}

/** Busy, or without a leader for a moment: the same call again is right. */
const isBusy = (error) => error instanceof ApiError && (error.status === 429 || error.status === 503);

/** One account's view of the server. */
export class Api {
  /** `content`: where content goes, as "https://host"; empty: where the page came from. */
  constructor(token, content, onSignedOut) {
    Object.assign(this, { token, content, onSignedOut });
  }

  /** An rpc route. Errors: ApiError, Offline, AbortError. */
  async call(route, arg = null, signal = undefined) {
    for (let n = 0; ; n += 1) {
      try {
        return await this.#once(route, arg, signal);
      } catch (error) {
        const again = isBusy(error) || (error instanceof Offline && READS.test(route) && n < 2);
        if (!again || n + 1 >= TRIES_MAX) throw error;
        await sleep(backoff(n), signal);
      }
    }
  }

  async #once(route, arg, signal) {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${this.token}` };
    const asked = fetch(`/2/${route}`, { method: "POST", headers, body: JSON.stringify(arg), signal, cache: "no-store" });
    const response = await asked.catch((error) => { throw error.name === "AbortError" ? error : new Offline(); });
    if (response.ok) return response.json();
    const error = await failure(response);
    if (error.status === 401 && /_access_token/.test(error.summary)) this.onSignedOut?.();
    throw error;
  }

  /** Waits for a change after the cursor: true when there is one. Errors: as call; `reset`. */
  async longpoll(cursor, signal) {
    const asked = fetch("/2/files/list_folder/longpoll", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ cursor, timeout: 60 }), signal, cache: "no-store",
    });
    const response = await asked.catch((error) => { throw error.name === "AbortError" ? error : new Offline(); });
    if (!response.ok) throw await failure(response);
    const answer = await response.json();
    if (answer.backoff) await sleep(answer.backoff * 1000, signal);
    return answer.changes;
  }

  /**
   * An upload route with a Blob; `onProgress` gets the bytes that have left. One try only.
   * Errors: ApiError, Offline, AbortError.
   */
  upload(route, arg, blob, signal, onProgress = () => {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const request = new XMLHttpRequest();
      const abort = () => request.abort();
      const end = (settle, value) => { signal?.removeEventListener("abort", abort); settle(value); };
      signal?.addEventListener("abort", abort, { once: true });
      request.open("POST", `${this.content}/2/${route}`);
      request.setRequestHeader("Authorization", `Bearer ${this.token}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("Dropbox-API-Arg", headerJson(arg));
      request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
      request.addEventListener("load", () => {
        if (request.status === 200) return end(resolve, JSON.parse(request.responseText || "null"));
        const error = failureOf(request.status, request.responseText);
        if (error.status === 401 && /_access_token/.test(error.summary)) this.onSignedOut?.();
        end(reject, error);
      });
      request.addEventListener("error", () => end(reject, new Offline()));
      request.addEventListener("abort", () => end(reject, signal?.reason ?? new DOMException("", "AbortError")));
      request.send(blob);
    });
  }

  /** An address that gives the content of a path or revision to whoever has it, for four hours. */
  async contentUrl(path) {
    return (await this.call("files/get_temporary_link", { path })).link;
  }
}
