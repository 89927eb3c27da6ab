// Numbers, times and names as people read them. Pure: no page, no network.

const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** 1536 is "1.5 KB"; units of 1024. */
export function bytes(count) {
  let value = count, unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toLocaleString("en", { maximumFractionDigits: digits })} ${UNITS[unit]}`;
}

/** "1 file", "1,234 files". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

const DAY = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false });

/** A time for a column: "14:05" today, "Yesterday 14:05", else "3 Mar 2026". `text` is of the API. */
export function when(text, now = new Date()) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return "";
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const days = (midnight - new Date(time.getFullYear(), time.getMonth(), time.getDate())) / 86_400_000;
  if (days === 0) return `Today ${TIME.format(time)}`;
  if (Math.round(days) === 1) return `Yesterday ${TIME.format(time)}`;
  return DAY.format(time);
}

/** A time in full. */
export function exactly(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? "" : `${DAY.format(time)}, ${TIME.format(time)}`;
}

/** "40 s", "3 min", "2 h" that are left. */
export function left(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s left`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min left`;
  return `${Math.round(seconds / 3600)} h left`;
}

/** The folder of a path: "/a/b" is in "/a", "/a" in "". */
export const folderOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("/")));

/** The last part of a path. */
export const nameOf = (path) => path.slice(path.lastIndexOf("/") + 1);

/** What is wrong with a name that somebody typed; empty if nothing is. */
export function wrongName(name) {
  if (name.trim() === "") return "Give it a name.";
  if (/[/\\]/.test(name)) return "A name has no / and no \\ in it.";
  if (name === "." || name === ".." || /[\u0000-\u001f]/.test(name)) return "This is no name.";
  if (/\s$/.test(name)) return "A name does not end with a space.";
  if ([...name].length > 255) return "A name has at most 255 characters.";
  return "";
}

const KINDS = [
  ["picture", ["png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "svg", "heic", "tif", "tiff"]],
  ["film", ["mp4", "webm", "mov", "mkv", "avi", "m4v", "ogv"]],
  ["sound", ["mp3", "ogg", "wav", "flac", "m4a", "opus", "aac"]],
  ["pack", ["zip", "tar", "gz", "tgz", "xz", "zst", "bz2", "7z", "rar"]],
  ["text", ["txt", "md", "csv", "json", "xml", "html", "css", "js", "ts", "rs", "py", "c", "h", "cpp", "go", "java", "sh",
    "toml", "yaml", "yml", "ini", "log", "tex", "sql", "pdf", "doc", "docx", "odt", "rtf"]],
];

const ending = (name) => (name.includes(".") ? name.slice(name.lastIndexOf(".") + 1).toLowerCase() : "");

/** The icon of an entry. */
export function iconOf(entry) {
  if (entry[".tag"] === "folder") return entry.shared_folder_id ? "shared" : "folder";
  const end = ending(entry.name);
  return KINDS.find(([, ends]) => ends.includes(end))?.[0] ?? "file";
}

const SHOWN = {
  picture: ["png", "jpg", "jpeg", "gif", "webp", "avif", "bmp"],
  film: ["mp4", "webm", "ogv"],
  sound: ["mp3", "ogg", "wav", "flac", "m4a", "opus"],
  text: ["txt", "md", "csv", "json", "xml", "html", "css", "js", "ts", "rs", "py", "c", "h", "cpp", "go", "java", "sh",
    "toml", "yaml", "yml", "ini", "log", "tex", "sql"],
};

/** How the page can show a file itself: "picture", "film", "sound", "text", or null. */
export function shownAs(name) {
  const end = ending(name);
  return Object.keys(SHOWN).find((kind) => SHOWN[kind].includes(end)) ?? null;
}

const NOT_THERE = "It is not there any more.";
const ERRORS = [
  [/not_found/, NOT_THERE],
  [/conflict\/folder/, "A folder with this name is there already."],
  [/conflict/, "Something with this name is there already."],
  [/insufficient_(space|quota)/, "There is not enough space left."],
  [/no_write_permission|access_denied/, "You may look at this, but not change it."],
  [/malformed_path|disallowed_name/, "This name cannot be used."],
  [/cant_move_folder_into_itself/, "A folder cannot go into itself."],
  [/cant_move_shared_folder|cant_nest_shared_folder/, "A shared folder cannot go into another one."],
  [/cant_copy_shared_folder/, "A shared folder cannot be copied as a whole."],
  [/too_many/, "The server is busy. Try again in a moment."],
  [/missing_scope/, "Your token does not allow this."],
  [/settings_error/, "The link cannot have these settings."],
];

/** An error of the API in words for people. */
export function explain(error) {
  const known = ERRORS.find(([pattern]) => pattern.test(error.summary ?? ""));
  return known ? known[1] : error.message || "It did not work.";
}
