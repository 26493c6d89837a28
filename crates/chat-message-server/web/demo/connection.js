// How the connection is, and what can be done about it.

import { announce, byId, h, icon, setText } from "./dom.js";
import { closeDialog, openDialog } from "./dialog.js";

const NAMES = { connecting: "Connecting", online: "Online", offline: "Offline", closed: "Offline" };

export class Connection {
  #chat;
  #instances;
  #countdown;
  /** What screen readers were told last. */
  #announced = "";

  constructor(session) {
    this.#chat = session.chat;
    this.#instances = session.config.instances;
    this.#chat.on("state", () => this.#render());
    byId("connection").addEventListener("click", () => this.#openDialog());
    byId("try-now").addEventListener("click", () => this.#chat.connect());
    this.#render();
  }

  /** `instance-2` for the second URL; the server's own name for itself stands in the dialog. */
  #nameOf(url) {
    const index = this.#instances.indexOf(url);
    return index < 0 ? url : `Instance ${index + 1}`;
  }

  #render() {
    clearInterval(this.#countdown);
    const { state, url, retryAt, error } = this.#chat.state;
    byId("connection").dataset.state = state;
    if (state !== "connecting" && NAMES[state] !== this.#announced) announce((this.#announced = NAMES[state]));
    setText(byId("connection-text"), NAMES[state]);
    setText(byId("connection-instance"), state === "online" || state === "connecting" ? this.#nameOf(url) : "");
    document.body.dataset.connection = state;
    byId("offline-note").hidden = state === "online" || state === "connecting";
    byId("try-now").textContent = state === "closed" ? "Go online" : "Try now";
    const wait = () => Math.max(0, Math.ceil((retryAt - Date.now()) / 1_000));
    const text = () =>
      state === "offline"
        ? `No connection. Next try ${wait() === 0 ? "now" : `in ${wait()} s`}.`
        : `You are offline${error ? `: ${error.message}` : ""}.`;
    setText(byId("offline-text"), text());
    if (state === "offline") this.#countdown = setInterval(() => setText(byId("offline-text"), text()), 500);
    this.#renderDialog?.();
  }

  #renderDialog;

  #openDialog() {
    const chat = this.#chat;
    const facts = h("dl", { class: "facts" });
    const toggle = h("button", { class: "button", type: "button" });
    const choices = this.#instances.map((url) => {
      const input = h("input", { type: "radio", name: "instance", value: url, onchange: () => chat.connect(url) });
      return { url, input, label: h("label", { class: "choice" }, input, h("span", {}, this.#nameOf(url), h("span", { class: "muted small block" }, url))) };
    });
    toggle.addEventListener("click", () => (chat.state.state === "closed" ? chat.connect() : chat.close()));
    this.#renderDialog = () => {
      const { state, url, instanceId, sessionId, error } = chat.state;
      const rows = { State: NAMES[state], "Served by": instanceId, Session: sessionId, Problem: error?.message };
      facts.replaceChildren(...Object.entries(rows).filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
      setText(toggle, state === "closed" ? "Go online" : "Go offline");
      for (const choice of choices) choice.input.checked = choice.url === url;
    };
    this.#renderDialog();
    openDialog(
      "Connection",
      h("form", { method: "dialog" },
        facts,
        h("fieldset", {}, h("legend", {}, "Connect to"), ...choices.map(({ label }) => label)),
        h("p", { class: "muted small" }, "All instances show the same conversations. Going offline keeps your place: what you miss comes when you are back."),
        h("div", { class: "dialog-foot" }, toggle, h("button", { class: "button primary", type: "button", onclick: closeDialog }, icon("check"), "Done")),
      ),
      () => (this.#renderDialog = undefined),
    );
  }
}
