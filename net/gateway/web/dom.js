// Elements without markup: text goes in as text nodes only, so no name of a file can become HTML.

/** The element of an id, which the page has. */
export const $ = (id) => document.getElementById(id);

/**
 * Makes an element. Attributes by name; `on*` are listeners, `class` and `text` what they say; false and null are left out.
 * Children are elements or texts.
 */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else if (key === "text") made.textContent = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

// Paths in a box of 24 by 24, drawn as strokes.
const SHAPES = {
  folder: ["M3 6.5A1.5 1.5 0 0 1 4.500 5H9l2 2.500h8.500A1.500 1.500 0 0 1 21 9v8.500a1.500 1.500 0 0 1-1.500 1.500h-15A1.500 1.500 0 0 1 3 17.500z"],
  shared: ["M3 6.5A1.5 1.5 0 0 1 4.500 5H9l2 2.500h8.500A1.500 1.500 0 0 1 21 9v8.500a1.500 1.500 0 0 1-1.500 1.500h-15A1.500 1.500 0 0 1 3 17.500z",
    "M12 14.200a1.800 1.800 0 1 0 0-3.600 1.800 1.800 0 0 0 0 3.600zM8.800 17c.5-1.600 1.700-2.400 3.200-2.400s2.700.8 3.200 2.400"],
  file: ["M6 3h8l5 5v13H6z", "M14 3v5h5"],
  text: ["M6 3h8l5 5v13H6z", "M14 3v5h5", "M9 13h7M9 16.500h7"],
  picture: ["M4 5h16v14H4z", "M4 16l4.500-4.500L13 16l2.500-2.500L20 18", "M15 9.500h.01"],
  sound: ["M9 18V6l10-2v12", "M9 18a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0zM19 16a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0z"],
  film: ["M3 6h18v12H3z", "M10 9.500v5l4.500-2.500z"],
  pack: ["M4 8h16v12H4zM3 4h18v4H3z", "M10 12h4"],
  up: ["M12 19V6M6 11.500L12 5.500l6 6"],
  upload: ["M12 15V4M7.500 8.500L12 4l4.500 4.500", "M4 15v4.500h16V15"],
  download: ["M12 4v11M7.500 10.500L12 15l4.500-4.500", "M4 15v4.500h16V15"],
  newfolder: ["M3 6.5A1.5 1.5 0 0 1 4.500 5H9l2 2.500h8.500A1.500 1.500 0 0 1 21 9v8.500a1.500 1.500 0 0 1-1.500 1.500h-15A1.500 1.500 0 0 1 3 17.500z", "M12 10.500v5M9.500 13h5"],
  rename: ["M4 20l1-4L16 5l3 3L8 19z", "M14 7l3 3"],
  move: ["M4 12h13M12.500 7.500L17 12l-4.500 4.500", "M20 5v14"],
  copy: ["M8 8h12v12H8z", "M16 8V4H4v12h4"],
  trash: ["M5 7h14M10 7V4.500h4V7M7 7l1 13h8l1-13", "M10.500 11v5.500M13.500 11v5.500"],
  history: ["M4.500 12a7.500 7.500 0 1 0 2.300-5.400L4 9", "M4 4.500V9h4.500", "M12 8v4.500l3 1.800"],
  link: ["M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.700-5.700L12 7", "M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.700 5.700L12 17"],
  more: ["M6 12h.01M12 12h.01M18 12h.01"],
  close: ["M6 6l12 12M18 6L6 18"],
  retry: ["M19.500 12a7.500 7.500 0 1 1-2.300-5.400L20 9", "M20 4.500V9h-4.500"],
  done: ["M5 12.500l4.500 4.500L19 7.500"],
  warn: ["M12 8v5M12 16.500h.01", "M12 3.500L2.500 20h19z"],
  down: ["M7 10l5 5 5-5"],
  right: ["M10 7l5 5-5 5"],
  eye: ["M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12z", "M12 14.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z"],
  restore: ["M9 6L4.500 10.500 9 15", "M4.500 10.500h9a6 6 0 0 1 0 9H11"],
};

/** An icon; it says nothing to those who cannot see it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `icon icon-${name}`);
  for (const shape of SHAPES[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}

/** A button with an icon and words. */
export function button(iconName, text, attributes = {}) {
  return el("button", { type: "button", ...attributes }, iconName ? icon(iconName) : null, el("span", { text }));
}

let toastTimer = 0;

/** A word at the bottom of the page; `action` is a button of it. */
export function toast(text, action = null) {
  const made = el("div", { class: "toast" }, el("span", { text }));
  if (action) made.append(el("button", { type: "button", class: "quiet", onclick: () => { made.remove(); action.run(); } }, action.text));
  $("toasts").replaceChildren(made);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => made.remove(), action ? 10_000 : 5_000);
}
