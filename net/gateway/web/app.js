// The page: who is signed in, which folder is open, and what is done in it.

import { Api, ApiError } from "./api.js";
import * as dialogs from "./dialogs.js";
import { $, button, el, icon, toast } from "./dom.js";
import { Grid } from "./grid.js";
import { Listing } from "./listing.js";
import { Panel } from "./panel.js";
import * as session from "./session.js";
import { Transfers, filesOfDrop } from "./transfers.js";
import { bytes, count, explain, folderOf, nameOf, shownAs } from "./words.js";

const DOWNLOADS_ASKED = 10;

let api, account, grid, transfers, panel;
let listing = null;
const view = { path: null, column: "name", isDown: false, withDeleted: false, filter: "", from: null };

// ---- Signing in

async function begin() {
  $("sign-in-form").addEventListener("submit", (event) => { event.preventDefault(); signIn($("token").value.trim(), $("stay").checked); });
  $("sign-in-button").addEventListener("click", () => session.begin($("stay").checked));
  let token = null;
  try {
    token = (await session.finish()) ?? session.kept();
  } catch (error) {
    return showSignIn(error.message);
  }
  if (token) await signIn(token, null); else showSignIn("");
}

function showSignIn(why) {
  $("shell").hidden = true;
  $("sign-in").hidden = false;
  $("sign-in-error").textContent = why;
  $("token-button").disabled = false;
  $("sign-in-button").focus();
}

/** `stays` is null for a token that is kept already. */
async function signIn(token, stays) {
  $("sign-in-error").textContent = "";
  $("token-button").disabled = true;
  const content = document.querySelector('meta[name="content-host"]').content;
  api = new Api(token, content, () => signOut("Your session has ended. Sign in again."));
  try {
    account = await api.call("users/get_current_account");
  } catch (error) {
    const isBad = error instanceof ApiError && (error.status === 401 || error.status === 400);
    if (isBad) session.forget();
    return showSignIn(isBad ? "This token is not valid, or not any more." : explain(error));
  }
  if (stays !== null) session.keep(token, stays);
  $("token").value = "";
  openShell();
}

function signOut(why) {
  session.forget();
  transfers?.all.forEach((transfer) => transfers.cancel(transfer));
  listing?.close();
  listing = null;
  view.path = null;
  showSignIn(why);
}

function openShell() {
  $("sign-in").hidden = true;
  $("shell").hidden = false;
  const initials = account.name.abbreviated_name || account.name.display_name.slice(0, 1);
  $("account-button").textContent = initials.toUpperCase();
  $("account-button").title = account.name.display_name;
  if (!grid) build();
  transfers = new Transfers(api, account.account_id, () => panel.update(), () => {});
  panel?.box.replaceChildren();
  panel = new Panel(transfers);
  go();
}

function build() {
  grid = new Grid({ open, menu: entryMenu, selection: showChosen, key: shortcut, sort });
  grid.showOrder(view.column, view.isDown);
  window.addEventListener("hashchange", go);
  window.addEventListener("offline", () => showLink(-1));
  window.addEventListener("online", () => { showLink(0); listing?.retry(); });
  window.addEventListener("beforeunload", (event) => { if (transfers.isBusy) event.preventDefault(); });
  $("offline-retry").addEventListener("click", () => { listing?.retry(); transfers.retryNow(); });
  $("filter").addEventListener("input", () => { view.filter = $("filter").value; showRows(true); });
  $("account-button").addEventListener("click", accountMenu);
  $("pick-files").addEventListener("change", (event) => picked(event.target, (file) => file.name));
  $("pick-folder").addEventListener("change", (event) => picked(event.target, (file) => file.webkitRelativePath));
  dropping();
}

// ---- Where one is

const hashOf = (path) => `#${path === "" ? "/" : path.split("/").map(encodeURIComponent).join("/")}`;

function pathOfHash() {
  try {
    const path = location.hash.slice(1).split("/").map(decodeURIComponent).join("/").replace(/\/+$/, "");
    return path === "" || path.startsWith("/") ? path : "";
  } catch {
    return "";
  }
}

/** Opens the folder of the address. */
function go() {
  if (!account || $("shell").hidden) return;
  const path = pathOfHash();
  if (path === view.path) return;
  view.from = view.path !== null && folderOf(view.path) === path ? view.path.toLowerCase() : null;
  view.path = path;
  view.filter = $("filter").value = "";
  load();
}

function showPlace() {
  const name = view.path === "" ? "Files" : nameOf(view.path);
  document.title = `${name} – Dropstone`;
  $("here").textContent = name;
  $("crumbs").replaceChildren(...dialogs.crumbsOf(view.path, (path) => {
    const text = path === "" ? "Files" : nameOf(path);
    return path === view.path ? el("span", { "aria-current": "page", text, title: text }) : el("a", { href: hashOf(path), text, title: text });
  }));
}

/** Lists the folder anew, and follows it. */
async function load() {
  listing?.close();
  showPlace();
  const { path, column, isDown, withDeleted } = view;
  let isFirst = true, isAsked = false;
  const mine = listing = new Listing(api, path, { withDeleted, column, isDown }, () => {
    if (isAsked || mine !== listing) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      if (mine !== listing) return;
      showRows(!isFirst);
      isFirst = false;
    });
  });
  grid.show([], false);
  showState("loading");
  try {
    await mine.load();
    const end = await mine.follow((wait) => { if (mine === listing) showLink(wait); });
    if (mine !== listing) return;
    if (end === "reset") return load();
    if (end === "gone") showState("gone");
  } catch (error) {
    if (mine !== listing || error.name === "AbortError") return;
    const isGone = error instanceof ApiError && /not_found|not_folder/.test(error.summary);
    showState(isGone ? "gone" : "error", error);
  }
}

function shownRows() {
  const wanted = view.filter.trim().toLowerCase();
  return wanted === "" ? listing.rows : listing.rows.filter((row) => row.name.toLowerCase().includes(wanted));
}

function showRows(isSameFolder) {
  if (!listing) return;
  const rows = shownRows();
  grid.show(rows, isSameFolder);
  if (view.from !== null && rows.some((row) => row.path_lower === view.from)) {
    grid.reveal(view.from);
    view.from = null;
  }
  if (rows.length > 0) showState(null);
  else if (listing.isWhole) showState(view.filter === "" ? "empty" : "nothing");
  showChosen();
}

/** What stands where rows would: null is nothing, for there are some. */
function showState(state, error = null) {
  const box = $("state");
  box.hidden = state === null;
  box.className = `state ${state ?? ""}`;
  $("grid").classList.toggle("bare", state !== null);
  const again = () => button("retry", "Try again", { onclick: load });
  const up = () => button("up", "Go to Files", { onclick: () => { location.hash = "#/"; } });
  const states = {
    loading: () => Array.from({ length: 6 }, () => el("div", { class: "skeleton" })),
    empty: () => [icon(view.path === "" ? "upload" : "folder"), el("h2", { text: view.path === "" ? "Nothing here yet" : "This folder is empty" }),
      el("p", { text: "Drop files or folders here, or choose some." }), button("upload", "Upload files", { class: "primary", onclick: () => $("pick-files").click() })],
    nothing: () => [icon("file"), el("h2", { text: "No match" }), el("p", { text: `No name in this folder has “${view.filter}” in it.` })],
    gone: () => [icon("folder"), el("h2", { text: "This folder is not here" }), el("p", { text: "It was moved or deleted, or you may not see it." }), up()],
    error: () => [icon("warn"), el("h2", { text: "This folder could not be listed" }), el("p", { text: explain(error) }), again()],
  };
  box.replaceChildren(...(states[state]?.() ?? []));
  if (state === "loading") box.append(el("p", { class: "sr", text: "Loading…" }));
}

let linkTimer = 0;

/** The connection: 0 is there, else the wait in milliseconds until it is tried again; -1: the device says it is gone. */
function showLink(wait) {
  clearInterval(linkTimer);
  $("offline").hidden = wait === 0;
  if (wait === 0) return;
  const until = Date.now() + wait;
  const tell = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    $("offline-text").textContent = wait < 0 || seconds <= 0 ? "No connection." : `No connection. Trying again in ${seconds} s.`;
  };
  tell();
  if (wait > 0) linkTimer = setInterval(tell, 500);
}

function sort(column) {
  view.isDown = view.column === column ? !view.isDown : column === "time";
  view.column = column;
  grid.showOrder(column, view.isDown);
  listing?.sort(column, view.isDown);
}

// ---- What is chosen, and what can be done with it

function showChosen() {
  const chosen = grid.chosen;
  const rows = grid.rows.length;
  const sum = chosen.reduce((all, entry) => all + (entry.size ?? 0), 0);
  const more = listing && !listing.isWhole ? " so far" : "";
  $("status").textContent = chosen.length > 0
    ? `${count(chosen.length, "item")} chosen${sum > 0 ? `, ${bytes(sum)}` : ""}`
    : rows > 0 ? `${count(rows, "item")}${more}` : "";
  const acts = chosen.length > 0 ? actsOf(chosen) : [];
  $("toolbar").replaceChildren(
    button("upload", "Upload", { class: "primary", id: "upload", "aria-haspopup": "menu", onclick: uploadMenu }),
    button("newfolder", "New folder", { id: "new-folder", onclick: newFolder }),
    ...acts.filter((act) => !act.isMenuOnly).map((act) => button(act.icon, act.text, { class: act.kind === "danger" ? "danger act" : "act",
      title: act.text, onclick: act.run })));
}

/** What can be done with these entries, in the order of bars and menus. */
function actsOf(chosen) {
  const [first] = chosen;
  const one = chosen.length === 1;
  if (chosen.some((entry) => entry[".tag"] === "deleted")) {
    return one ? [{ icon: "history", text: "Restore", run: () => showHistory(first) }] : [];
  }
  const isFile = (entry) => entry[".tag"] === "file";
  const acts = [];
  if (one) acts.push({ icon: first[".tag"] === "folder" ? "folder" : "eye", text: "Open", isMenuOnly: true, run: () => open(first) });
  if (chosen.every(isFile)) acts.push({ icon: "download", text: "Download", run: () => downloadAll(chosen) });
  if (one) acts.push({ icon: "link", text: "Share", run: () => share(first) });
  if (one) acts.push({ icon: "rename", text: "Rename", run: () => rename(first) });
  acts.push({ icon: "move", text: "Move", run: () => relocate(chosen, "move") }, { icon: "copy", text: "Copy", run: () => relocate(chosen, "copy") });
  if (one && isFile(first)) acts.push({ icon: "history", text: "History", run: () => showHistory(first) });
  acts.push({ icon: "trash", text: "Delete", kind: "danger", run: () => remove(chosen) });
  return acts;
}

function entryMenu(entry, x, y) {
  const chosen = grid.chosen.length > 0 ? grid.chosen : [entry];
  const acts = actsOf(chosen);
  if (acts.length === 0) return;
  dialogs.menu(x, y, acts.flatMap((act) => (act.kind === "danger" ? [null, act] : [act])));
}

function accountMenu() {
  const place = $("account-button").getBoundingClientRect();
  dialogs.menu(place.right - 220, place.bottom + 6, [
    { icon: "eye", text: view.withDeleted ? "Hide deleted files" : "Show deleted files", run: () => { view.withDeleted = !view.withDeleted; load(); } },
    { icon: "pack", text: "Space", run: showSpace },
    { icon: "more", text: "Keyboard", run: dialogs.keys },
    null,
    { icon: "close", text: `Sign out ${account.name.display_name}`, run: () => signOut("") },
  ]);
}

function uploadMenu() {
  const place = $("upload").getBoundingClientRect();
  dialogs.menu(place.left, place.bottom + 6, [
    { icon: "file", text: "Files", run: () => $("pick-files").click() },
    { icon: "folder", text: "Folder", run: () => $("pick-folder").click() },
  ]);
}

function shortcut(key) {
  const chosen = grid.chosen.filter((entry) => entry[".tag"] !== "deleted");
  if (key === "?") dialogs.keys();
  else if (key === "Backspace" && view.path !== "") location.hash = hashOf(folderOf(view.path));
  else if (key === "Delete" && chosen.length > 0) remove(chosen);
  else if (key === "F2" && chosen.length === 1) rename(chosen[0]);
}

async function showSpace() {
  try {
    const { used, allocation } = await api.call("users/get_space_usage");
    const all = allocation.allocated;
    dialogs.ask("Space", all >= 2 ** 50 ? `You use ${bytes(used)}.` : `You use ${bytes(used)} of ${bytes(all)}.`, [{ text: "Close", value: null, kind: "primary" }]);
  } catch (error) {
    toast(explain(error));
  }
}

function open(entry) {
  if (entry[".tag"] === "folder") location.hash = hashOf(entry.path_display);
  else if (entry[".tag"] === "deleted") showHistory(entry);
  else if (shownAs(entry.name)) dialogs.preview(api, entry, download).then(() => grid.focus());
  else download(entry.path_lower, entry.name);
}

async function download(path, name) {
  try {
    const url = new URL(await api.contentUrl(path), location.href);
    url.searchParams.set("dl", "1");
    const anchor = el("a", { href: url.href, download: name });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
  } catch (error) {
    toast(`${name}: ${explain(error)}`);
  }
}

async function downloadAll(chosen) {
  if (chosen.length > DOWNLOADS_ASKED) {
    const isMeant = await dialogs.ask("Download", `${count(chosen.length, "file")} will be downloaded one by one.`,
      [{ text: "Cancel", value: false }, { text: "Download", value: true, kind: "primary" }]);
    if (!isMeant) return;
  }
  for (const entry of chosen) {
    await download(entry.path_lower, entry.name);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function newFolder() {
  const base = view.path;
  let made = null;
  await dialogs.askName("New folder", "Name", "", "Make", async (name) => {
    made = (await api.call("files/create_folder_v2", { path: `${base}/${name}` })).metadata;
  });
  if (made) revealSoon(made);
  grid.focus();
}

/** Shows an entry at once, before the change is told. */
function revealSoon(entry) {
  if (!listing || folderOf(entry.path_lower) !== listing.path.toLowerCase()) return;
  listing.apply([entry[".tag"] ? entry : { ".tag": "folder", ...entry }]);
  showRows(true);
  grid.reveal(entry.path_lower);
}

async function rename(entry) {
  let made = null;
  await dialogs.askName(`Rename ${entry.name}`, "New name", entry.name, "Rename", async (name) => {
    if (name === entry.name) return;
    const arg = { from_path: entry.path_display, to_path: `${folderOf(entry.path_display)}/${name}` };
    made = (await api.call("files/move_v2", arg)).metadata;
  });
  if (made && listing) {
    listing.apply([{ ...entry, ".tag": "deleted" }]);
    revealSoon(made);
  }
  grid.focus();
}

async function relocate(chosen, verb) {
  const words = verb === "move" ? "Move" : "Copy";
  const what = chosen.length === 1 ? chosen[0].name : count(chosen.length, "item");
  const isIn = (path) => chosen.some((entry) => entry[".tag"] === "folder" && (`${path.toLowerCase()}/`).startsWith(`${entry.path_lower}/`));
  const isForbidden = (path) => isIn(path) || (verb === "move" && path.toLowerCase() === view.path.toLowerCase());
  const target = await dialogs.pickFolder(api, `${words} ${what}`, `${words} here`, view.path, isForbidden);
  grid.focus();
  if (target === null) return;
  const done = await forEach(chosen, (entry) => api.call(`files/${verb}_v2`,
    { from_path: entry.path_display, to_path: `${target}/${entry.name}`, autorename: true }));
  if (done > 0) {
    toast(`${count(done, "item")} ${verb === "move" ? "moved" : "copied"} to ${target === "" ? "Files" : nameOf(target)}.`,
      { text: "Show", run: () => { location.hash = hashOf(target); } });
  }
}

async function remove(chosen) {
  const what = chosen.length === 1 ? `“${chosen[0].name}”` : count(chosen.length, "item");
  const isMeant = await dialogs.ask(`Delete ${what}?`, "Files can be restored later: “Show deleted files” is in the account menu.",
    [{ text: "Cancel", value: false }, { text: "Delete", value: true, kind: "primary danger" }]);
  grid.focus();
  if (!isMeant) return;
  const done = await forEach(chosen, (entry) => api.call("files/delete_v2", { path: entry.path_display }));
  if (done > 0) toast(`${count(done, "item")} deleted.`);
}

/** One call an entry, some at a time; what failed is told. The number of those done. */
async function forEach(chosen, act) {
  const left = [...chosen];
  let done = 0, last = null;
  const worker = async () => {
    for (let entry = left.shift(); entry; entry = left.shift()) {
      try { await act(entry); done += 1; } catch (error) { last = `${entry.name}: ${explain(error)}`; }
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  if (last) toast(chosen.length - done > 1 ? `${count(chosen.length - done, "item")} failed. ${last}` : last);
  return done;
}

async function showHistory(entry) {
  if (await dialogs.history(api, entry, download)) toast(`“${entry.name}” was restored.`);
  grid.focus();
}

async function share(entry) {
  await dialogs.links(api, entry);
  grid.focus();
}

// ---- Uploads

function picked(input, pathOf) {
  const files = [...input.files].map((file) => ({ file, path: pathOf(file) }));
  input.value = "";
  upload(files, view.path);
}

/** Queues files below a folder; asks about those whose names are taken. */
async function upload(files, folder) {
  if (files.length === 0) return;
  const isHere = listing && folder === view.path;
  const isTaken = ({ path }) => isHere && !path.includes("/") && listing.byPath.get(`${folder}/${path}`.toLowerCase())?.[".tag"] === "file";
  const taken = files.filter(isTaken);
  let mode = "add", wanted = files;
  if (taken.length > 0) {
    const what = taken.length === 1 ? `“${taken[0].path}” is` : `${count(taken.length, "file")} are`;
    const answer = await dialogs.ask("Already here", `${what} in this folder already. Versions that are replaced stay in the history.`,
      [{ text: "Skip", value: "skip" }, { text: "Keep both", value: "add" }, { text: "Replace", value: "overwrite", kind: "primary" }]);
    if (answer === null) return;
    if (answer === "skip") wanted = files.filter((file) => !isTaken(file));
    else mode = answer;
  }
  transfers.add(wanted.map((one) => ({ file: one.file, path: `${folder}/${one.path}`, mode: isTaken(one) ? mode : "add" })));
  grid.focus();
}

function dropping() {
  let depth = 0;
  const isFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files") && !$("shell").hidden;
  const folderAt = (event) => {
    const row = event.target.closest?.("#rows .row.folder");
    return row ? grid.rows[Number(row.id.slice(4))] : null;
  };
  const clear = () => { $("drop").hidden = true; document.querySelector(".row.target")?.classList.remove("target"); };
  window.addEventListener("dragenter", (event) => { if (isFiles(event)) { event.preventDefault(); depth += 1; } });
  window.addEventListener("dragleave", (event) => { if (isFiles(event) && --depth <= 0) { depth = 0; clear(); } });
  window.addEventListener("dragover", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    document.querySelector(".row.target")?.classList.remove("target");
    const folder = folderAt(event);
    if (folder) event.target.closest(".row").classList.add("target");
    $("drop-text").textContent = `Drop to upload to ${folder?.name ?? (view.path === "" ? "Files" : nameOf(view.path))}`;
    $("drop").hidden = false;
  });
  window.addEventListener("drop", async (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    depth = 0;
    const folder = folderAt(event);
    clear();
    try {
      upload(await filesOfDrop(event.dataTransfer), folder?.path_display ?? view.path);
    } catch {
      toast("These could not be read.");
    }
  });
}

begin();
