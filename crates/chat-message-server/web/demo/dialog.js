// The one dialog of the page. The browser keeps the focus in it and gives it back.

import { byId, h, icon } from "./dom.js";

/**
 * @param {string} title
 * @param {HTMLElement} content
 * @param {() => void} [onClose]
 */
export function openDialog(title, content, onClose) {
  const dialog = byId("dialog");
  const close = h("button", { class: "icon-button", type: "button", "aria-label": "Close", onclick: closeDialog }, icon("close"));
  dialog.replaceChildren(h("header", { class: "dialog-head" }, h("h2", { id: "dialog-title" }, title), close), content);
  dialog.onclose = () => onClose?.();
  // A click beside the dialog closes it.
  dialog.onclick = (event) => {
    if (event.target === dialog) closeDialog();
  };
  if (!dialog.open) dialog.showModal();
  const first = dialog.querySelector("[autofocus], input:checked") ?? dialog.querySelector("input, .button");
  first?.focus();
}

export function closeDialog() {
  byId("dialog").close();
}
