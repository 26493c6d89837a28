// The few helpers that building a page by hand needs. Text only ever becomes text nodes.

/** @param {string} id */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * An element with attributes and children. `on…` attributes are listeners; `undefined`, `null` and `false` are left out.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children strings or nodes
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of the sprite in index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A round picture made of a name: its initial on a colour of its own. */
export function avatar(name, iconName) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 8, 7);
  const initial = [...name.trim()][0]?.toUpperCase() ?? "?";
  return h("span", { class: `avatar hue-${hue}`, "aria-hidden": "true" }, iconName ? icon(iconName) : initial);
}

/**
 * Makes the children of `parent` those of `entries`, in this order, keeping the elements of keys that stay. An element
 * that has the focus keeps it.
 * @template T
 * @param {HTMLElement} parent
 * @param {T[]} entries
 * @param {(entry: T) => string} keyOf
 * @param {(entry: T) => HTMLElement} create
 * @param {(element: HTMLElement, entry: T) => void} update
 */
export function reconcile(parent, entries, keyOf, create, update) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const old = new Map([...parent.children].map((child) => [/** @type {any} */ (child).key, child]));
  const staying = new Set(entries.map(keyOf));
  for (const [key, element] of old) if (!staying.has(key)) element.remove();
  let next = parent.firstElementChild;
  for (const entry of entries) {
    const key = keyOf(entry);
    let element = /** @type {any} */ (old.get(key));
    if (!element) {
      element = create(entry);
      element.key = key;
    }
    update(element, entry);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  if (focused && focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** Sets text only where it differs, so that screen readers do not hear it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something to screen readers. */
export function announce(text) {
  const line = h("p", {}, text);
  byId("announcer").append(line);
  setTimeout(() => line.remove(), 5_000);
}
