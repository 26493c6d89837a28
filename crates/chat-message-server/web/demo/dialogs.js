// Starting, finding and looking into conversations.

import { avatar, h, icon, setText } from "./dom.js";
import { closeDialog, openDialog } from "./dialog.js";
import { CHANNEL_ICONS, CHANNEL_TYPES, channelTitle, displayName, failureText } from "./format.js";

const KINDS = [
  ["GROUP", "Group", "For its members; each of them may add others"],
  ["PUBLIC", "Public", "Everyone can find and join it"],
  ["PRIVATE", "Private", "You decide who comes in"],
];

/** @param {(channelId: string) => void} go shows a channel */
export function newConversation(session, go) {
  const others = Object.entries(session.config.userIds).filter(([, id]) => id !== session.me.userId);
  const error = h("p", { class: "error", role: "alert" });
  const direct = h("ul", { class: "people compact" }, ...others.map(([name, id]) =>
    h("li", {}, h("button", { class: "person", type: "button", onclick: () => attempt(error, async () => go((await session.createChannel({ type: "DIRECT", memberIds: [id] })).channelId)) },
      avatar(name), displayName(name)))));
  const name = h("input", { id: "channel-name", name: "name", maxlength: 100, required: true, autofocus: true, autocomplete: "off" });
  const about = h("input", { id: "channel-about", name: "description", maxlength: 500, autocomplete: "off" });
  const form = h("form", { class: "stack" },
    h("div", { class: "field" }, h("label", { for: "channel-name" }, "Name"), name),
    h("div", { class: "field" }, h("label", { for: "channel-about" }, "What is it about? ", h("span", { class: "muted" }, "(optional)")), about),
    h("fieldset", {}, h("legend", {}, "Kind"), ...KINDS.map(([value, label, hint], index) =>
      h("label", { class: "choice" }, h("input", { type: "radio", name: "type", value, checked: index === 0 }), h("span", {}, label, h("span", { class: "muted small block" }, hint))))),
    h("fieldset", { class: "chips" }, h("legend", {}, "Who is in it"), ...others.map(([other, id]) =>
      h("label", { class: "chip" }, h("input", { type: "checkbox", name: "member", value: id }), h("span", {}, displayName(other))))),
    error,
    h("div", { class: "dialog-foot" }, h("button", { class: "button primary", type: "submit" }, "Create channel")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(/** @type {any} */ (form));
    attempt(error, async () => {
      const channel = await session.createChannel({
        type: fields.get("type"),
        name: String(fields.get("name")).trim(),
        description: String(fields.get("description")).trim() || undefined,
        memberIds: fields.getAll("member"),
      });
      go(channel.channelId);
    });
  });
  openDialog("New conversation", h("div", { class: "stack" },
    h("section", { "aria-labelledby": "direct-title" }, h("h3", { id: "direct-title" }, "Write to a person"), direct),
    h("section", { "aria-labelledby": "channel-title" }, h("h3", { id: "channel-title" }, "Or make a channel"), form)));
}

export async function browsePublic(session, go) {
  const list = h("ul", { class: "results" });
  const state = h("p", { class: "muted", role: "status" }, "Loading…");
  const error = h("p", { class: "error", role: "alert" });
  openDialog("Public channels", h("div", { class: "stack" }, state, list, error));
  let channels;
  try {
    channels = await session.publicChannels();
  } catch (failure) {
    return setText(state, failureText(failure));
  }
  setText(state, channels.length === 0 ? "There are none yet. Make one!" : "");
  state.hidden = channels.length > 0;
  list.replaceChildren(...channels.map((channel) => {
    const joined = session.channels.has(channel.channelId);
    const enter = () => attempt(error, async () => {
      if (!joined) await session.join(channel.channelId);
      go(channel.channelId);
    });
    const people = channel.memberCount === 1 ? "1 person" : `${channel.memberCount} people`;
    return h("li", {}, avatar(channelTitle(channel), CHANNEL_ICONS[channel.type]),
      h("span", { class: "grow" }, h("strong", { class: "block" }, channelTitle(channel)), h("span", { class: "muted small" }, [people, channel.description].filter(Boolean).join(" · "))),
      h("button", { class: joined ? "button" : "button primary", type: "button", onclick: enter, "aria-label": `${joined ? "Open" : "Join"} ${channelTitle(channel)}` }, joined ? "Open" : "Join"));
  }));
  list.querySelector("button")?.focus();
}

export async function channelDetails(session, channel, go) {
  const list = h("ul", { class: "results" });
  const error = h("p", { class: "error", role: "alert" });
  const add = h("fieldset", { class: "chips", hidden: true }, h("legend", {}, "Add"));
  const foot = h("div", { class: "dialog-foot" });
  const show = async () => {
    const members = await session.members(channel.channelId);
    list.replaceChildren(...members.map(({ userId, username, role }) =>
      h("li", {}, avatar(username), h("span", { class: "grow" }, displayName(username), userId === session.me.userId ? " (you)" : ""), h("span", { class: "muted small" }, displayName(role.toLowerCase())))));
    const mine = members.find(({ userId }) => userId === session.me.userId)?.role;
    const mayAdd = channel.active && channel.type !== "DIRECT" && (channel.type !== "PRIVATE" || ["OWNER", "MODERATOR"].includes(mine));
    const others = Object.entries(session.config.userIds).filter(([, id]) => !members.some(({ userId }) => userId === id));
    add.hidden = !mayAdd || others.length === 0;
    add.replaceChildren(h("legend", {}, "Add"), ...others.map(([name, id]) =>
      h("button", { class: "chip-button", type: "button", onclick: () => attempt(error, () => session.addMember(channel.channelId, id).then(show), false) }, icon("plus"), displayName(name))));
    const mayLeave = channel.active && channel.type !== "DIRECT" && mine && mine !== "OWNER";
    const leave = h("button", { class: "button", type: "button", onclick: () => attempt(error, () => session.leave(channel.channelId).then(() => go(undefined))) }, icon("leave"), "Leave");
    foot.replaceChildren(...(mayLeave ? [leave] : []), h("button", { class: "button primary", type: "button", onclick: closeDialog }, "Done"));
  };
  openDialog(channelTitle(channel), h("div", { class: "stack" },
    h("p", { class: "muted" }, [CHANNEL_TYPES[channel.type], channel.description].filter(Boolean).join(" · ")),
    h("h3", {}, "Members"), list, add, error, foot));
  attempt(error, show, false);
}

/** Runs what a button asks for; the dialog closes if it works and says why if not. */
async function attempt(error, action, close = true) {
  setText(error, "");
  try {
    await action();
    if (close) closeDialog();
  } catch (failure) {
    setText(error, failureText(failure));
  }
}
