// Dialogs: native <dialog> elements, so focus stays inside, Escape closes, and it goes back to where it was.

import { $, button, el, icon, toast } from "./dom.js";
import { bytes, count, exactly, explain, nameOf, shownAs, when, wrongName } from "./words.js";

/** Opens a dialog; `fill(body, close)` makes what is in it. Resolves with what `close` was given, else null. */
function open(title, fill, { wide = false } = {}) {
  return new Promise((resolve) => {
    const body = el("div", { class: "dialog-body" });
    const dialog = el("dialog", { class: wide ? "wide" : "", "aria-label": title },
      el("header", {}, el("h2", { text: title, title }), el("button", { type: "button", class: "quiet round", "aria-label": "Close",
        onclick: () => dialog.close() }, icon("close"))), body);
    let value = null;
    dialog.addEventListener("close", () => { dialog.remove(); resolve(value); });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    document.body.append(dialog);
    fill(body, (given) => { value = given; dialog.close(); }, dialog);
    dialog.showModal();
    (body.querySelector("[autofocus]") ?? body.querySelector("input, button"))?.focus();
  });
}

const foot = (...buttons) => el("div", { class: "foot" }, ...buttons);

/** Asks for a name, then runs `act(name)`; an error stays in the dialog. True when it was done. */
export function askName(title, label, value, verb, act) {
  return open(title, (body, close) => {
    const input = el("input", { id: "ask-name", value, autofocus: true, spellcheck: "false", autocomplete: "off",
      "aria-describedby": "ask-error" });
    const error = el("p", { class: "error", id: "ask-error", role: "alert" });
    const go = button(null, verb, { type: "submit", class: "primary" });
    const submit = async (event) => {
      event.preventDefault();
      const name = input.value.normalize("NFC");
      error.textContent = wrongName(name);
      if (error.textContent) return;
      go.disabled = true;
      try {
        await act(name);
        close(true);
      } catch (failed) {
        error.textContent = explain(failed);
        go.disabled = false;
        input.focus();
      }
    };
    body.append(el("form", { onsubmit: submit }, el("label", { for: "ask-name", text: label }), input, error,
      foot(button(null, "Cancel", { onclick: () => close(false) }), go)));
    // The ending is seldom what one wants to change.
    queueMicrotask(() => input.setSelectionRange(0, value.lastIndexOf(".") > 0 ? value.lastIndexOf(".") : value.length));
  });
}

/** Asks yes or no; resolves with the chosen value. */
export function ask(title, text, choices) {
  return open(title, (body, close) => {
    body.append(el("p", { text }), foot(...choices.map(({ text: words, value, kind }, n) => button(null, words,
      { class: kind ?? "", autofocus: n === choices.length - 1, onclick: () => close(value) }))));
  });
}

/** Chooses a folder of the account; resolves with its path, or null. */
export function pickFolder(api, title, verb, begin, isForbidden) {
  return open(title, (body, close) => {
    let here = begin, stop = new AbortController();
    const crumbs = el("nav", { class: "crumbs small", "aria-label": "Folder" });
    const list = el("ul", { class: "pick", "aria-label": "Folders" });
    const go = button(null, verb, { class: "primary", onclick: () => close(here) });
    const show = async (path) => {
      here = path;
      stop.abort();
      stop = new AbortController();
      crumbs.replaceChildren(...crumbsOf(path, (to) => el("button", { type: "button", class: "quiet", text: to === "" ? "Files" : nameOf(to), onclick: () => show(to) })));
      go.disabled = isForbidden(path);
      list.replaceChildren(el("li", { class: "hint", text: "Loading…" }));
      try {
        const folders = [];
        let page = await api.call("files/list_folder", { path, limit: 2000 }, stop.signal);
        for (;;) {
          folders.push(...page.entries.filter((entry) => entry[".tag"] === "folder"));
          if (!page.has_more) break;
          page = await api.call("files/list_folder/continue", { cursor: page.cursor }, stop.signal);
        }
        const item = (entry) => el("li", {}, el("button", { type: "button", class: "quiet",
          onclick: () => show(entry.path_display) }, icon("folder"), el("span", { text: entry.name }), icon("right")));
        list.replaceChildren(...folders.slice(0, 1000).map(item));
        if (folders.length === 0) list.append(el("li", { class: "hint", text: "No folders in here." }));
        if (folders.length > 1000) list.append(el("li", { class: "hint", text: `and ${count(folders.length - 1000, "folder")} more` }));
        list.querySelector("button")?.focus();
      } catch (error) {
        if (error.name !== "AbortError") list.replaceChildren(el("li", { class: "error", text: explain(error) }));
      }
    };
    const make = button("newfolder", "New folder", { class: "start", onclick: async () => {
      await askName("New folder", "Name", "", "Make", async (name) => {
        await api.call("files/create_folder_v2", { path: `${here}/${name}` });
        here = `${here}/${name}`;
      });
      show(here);
    } });
    body.append(crumbs, list, foot(make, button(null, "Cancel", { onclick: () => close(null) }), go));
    show(begin);
  });
}

/** The folders above a path and itself, as elements with marks between. */
export function crumbsOf(path, make) {
  const parts = [make("")];
  for (let at = path.indexOf("/", 1); path !== ""; at = path.indexOf("/", at + 1)) {
    parts.push(icon("right"), make(at < 0 ? path : path.slice(0, at)));
    if (at < 0) break;
  }
  return parts;
}

/** The revisions of a file; each can be had, and each but the newest restored. True when one was. */
export function history(api, entry, download) {
  return open(`History of ${entry.name}`, async (body, close) => {
    body.append(el("p", { class: "hint", text: "Loading…" }));
    let told;
    try {
      told = await api.call("files/list_revisions", { path: entry.path_lower, limit: 100 });
    } catch (error) {
      body.replaceChildren(el("p", { class: "error", text: explain(error) }));
      return;
    }
    const restore = async (revision, go) => {
      go.disabled = true;
      try {
        await api.call("files/restore", { path: entry.path_lower, rev: revision.rev });
        close(true);
      } catch (error) {
        go.disabled = false;
        body.append(el("p", { class: "error", role: "alert", text: explain(error) }));
      }
    };
    const line = (revision, n) => {
      const isCurrent = n === 0 && !told.is_deleted;
      const go = button("restore", "Restore", { onclick: () => restore(revision, go) });
      return el("li", { class: isCurrent ? "current" : "" },
        el("div", {}, el("strong", { text: when(revision.server_modified), title: exactly(revision.server_modified) }),
          el("span", { class: "hint", text: bytes(revision.size) }), isCurrent ? el("span", { class: "badge", text: "Current" }) : null),
        el("div", { class: "acts" }, button("download", "Download", { class: "quiet", onclick: () => download(`rev:${revision.rev}`, entry.name) }),
          isCurrent ? null : go));
    };
    const lines = told.entries.map(line);
    if (told.is_deleted) lines.unshift(el("li", { class: "hint", text: `Deleted ${when(told.server_deleted)}` }));
    body.replaceChildren(el("ol", { class: "revisions" }, ...lines));
    if (told.has_more) body.append(el("p", { class: "hint", text: "Older versions are kept too; the API lists them." }));
    body.querySelector("button")?.focus();
  }, { wide: true });
}

/** The links of an entry: make, copy, take away. */
export function links(api, entry) {
  return open(`Share ${entry.name}`, async (body) => {
    const list = el("ul", { class: "links", "aria-label": "Links" });
    const error = el("p", { class: "error", role: "alert" });
    const attempt = async (act) => {
      error.textContent = "";
      try { await act(); } catch (failed) { error.textContent = explain(failed); }
    };
    const refresh = async () => {
      const told = await api.call("sharing/list_shared_links", { path: entry.path_lower, direct_only: true });
      list.replaceChildren(...told.links.map(line));
      form.hidden = told.links.length > 0;
      note.textContent = told.links.length > 0 ? "Whoever has this link can look at it and download it." : `Nobody can see “${entry.name}” by a link yet.`;
      (form.hidden ? list.querySelector("button") : make)?.focus();
    };
    const line = (link) => {
      const url = el("input", { readonly: true, value: link.url, "aria-label": "Link", onfocus: () => url.select() });
      const is = link.link_permissions.require_password ? ["Password"] : [];
      if (link.expires) is.push(`Ends ${exactly(link.expires)}`);
      return el("li", {}, url, el("div", { class: "acts" }, ...is.map((text) => el("span", { class: "badge", text })),
        button("copy", "Copy", { class: "primary", onclick: () => copy(url) }),
        el("a", { class: "button", href: link.url, target: "_blank", rel: "noopener" }, icon("eye"), el("span", { text: "Open" })),
        button("trash", "Remove", { class: "danger", onclick: () => attempt(async () => {
          await api.call("sharing/revoke_shared_link", { url: link.url });
          await refresh();
        }) })));
    };
    const note = el("p", { class: "hint" });
    const password = el("input", { id: "link-password", type: "password", autocomplete: "new-password" });
    const expires = el("select", { id: "link-expires" },
      ...[["", "Never"], ["1", "In a day"], ["7", "In a week"], ["30", "In 30 days"]].map(([value, text]) => el("option", { value, text })));
    const make = button("link", "Make a link", { type: "submit", class: "primary" });
    const form = el("form", { class: "link-form", hidden: true, onsubmit: (event) => {
      event.preventDefault();
      attempt(async () => {
        await api.call("sharing/create_shared_link_with_settings", { path: entry.path_lower, settings: settingsOf(password.value, expires.value) });
        await refresh();
      });
    } }, el("div", { class: "two" }, el("div", {}, el("label", { for: "link-password", text: "Password (optional)" }), password),
      el("div", {}, el("label", { for: "link-expires", text: "Ends" }), expires)), foot(make));
    body.append(note, list, form, error);
    await attempt(refresh);
  }, { wide: true });
}

function settingsOf(password, days) {
  const settings = {};
  if (password !== "") Object.assign(settings, { require_password: true, link_password: password, requested_visibility: { ".tag": "password" } });
  if (days !== "") settings.expires = new Date(Date.now() + Number(days) * 86_400_000).toISOString().replace(/\.\d+Z$/, "Z");
  return settings;
}

async function copy(input) {
  input.select();
  try {
    await navigator.clipboard.writeText(input.value);
    toast("The link is in your clipboard.");
  } catch {
    toast("Press Ctrl+C: the link is marked.");
  }
}

const TEXT_BYTES_MAX = 256 << 10;

/** Shows a file itself, where a browser can. */
export function preview(api, entry, download) {
  return open(entry.name, async (body) => {
    const stage = el("div", { class: "stage" }, el("p", { class: "hint", text: "Loading…" }));
    body.append(stage, foot(el("span", { class: "hint start", text: `${bytes(entry.size)} · ${exactly(entry.server_modified)}` }),
      button("download", "Download", { class: "primary", autofocus: true, onclick: () => download(entry.path_lower, entry.name) })));
    try {
      const url = await api.contentUrl(entry.path_lower);
      stage.replaceChildren(await shown(entry, url));
    } catch (error) {
      stage.replaceChildren(el("p", { class: "error", text: explain(error) }));
    }
  }, { wide: true });
}

async function shown(entry, url) {
  switch (shownAs(entry.name)) {
    case "picture": return el("img", { src: url, alt: entry.name });
    case "film": return el("video", { src: url, controls: true, preload: "metadata" });
    case "sound": return el("audio", { src: url, controls: true, preload: "metadata" });
    default: {
      const response = await fetch(url, { headers: entry.size > 0 ? { Range: `bytes=0-${TEXT_BYTES_MAX - 1}` } : {} });
      if (!response.ok) throw new Error(`The server answered ${response.status}.`);
      const text = await response.text();
      const more = entry.size > TEXT_BYTES_MAX ? "\n…" : "";
      return el("pre", { tabindex: "0", text: text + more });
    }
  }
}

/** What the keys do. */
export function keys() {
  const table = [["↑ ↓ Home End", "go through the rows"], ["Enter", "open"], ["Backspace", "go to the folder above"],
    ["Space", "choose, or not"], ["Shift + ↑ ↓", "choose a range"], ["Ctrl + A", "choose all"], ["F2", "rename"],
    ["Delete", "delete"], ["Shift + F10", "all actions"], ["letters", "go to a name"], ["?", "this list"]];
  return open("Keyboard", (body) => body.append(el("dl", { class: "keys" },
    ...table.flatMap(([key, what]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })]))));
}

/** A menu at a place: `items` are `{ icon, text, kind, run }`, null is a line. It takes the focus and gives it back. */
export function menu(x, y, items) {
  const box = $("menu"), before = document.activeElement;
  const close = () => {
    box.hidden = true;
    document.removeEventListener("pointerdown", outside, true);
    window.removeEventListener("blur", close);
    before?.focus();
  };
  const outside = (event) => { if (!box.contains(event.target)) close(); };
  const item = (entry) => (entry === null ? el("hr") : el("button", { type: "button", role: "menuitem", tabindex: "-1", class: entry.kind ?? "",
    onclick: () => { close(); entry.run(); } }, icon(entry.icon), el("span", { text: entry.text })));
  box.replaceChildren(...items.map(item));
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`;
  box.style.top = `${Math.max(8, Math.min(y, innerHeight - height - 8))}px`;
  const all = [...box.querySelectorAll("button")];
  box.onkeydown = (event) => {
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: (at + 1) % all.length, ArrowUp: (at - 1 + all.length) % all.length, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) all[to].focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.preventDefault();
  };
  document.addEventListener("pointerdown", outside, true);
  window.addEventListener("blur", close);
  all[0].focus();
}
