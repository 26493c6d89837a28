// The list of conversations.

import { avatar, byId, h, reconcile, setText } from "./dom.js";
import { CHANNEL_ICONS, channelTitle, displayName, exactTime, messageText, shortTime } from "./format.js";

export class Sidebar {
  #session;
  #current = () => undefined;

  /** @param {() => string | undefined} current the id of the channel on screen */
  constructor(session, current) {
    this.#session = session;
    this.#current = current;
    session.addEventListener("channels", () => this.render());
    byId("channels").addEventListener("keydown", (event) => moveFocus(event));
    byId("me-avatar").replaceChildren(avatar(session.me.username));
    setText(byId("me-name"), displayName(session.me.username));
  }

  render() {
    const channels = [...this.#session.channels.values()].sort((a, b) => Date.parse(b.updatedAt) - Date.parse(a.updatedAt));
    byId("channels-empty").hidden = channels.length > 0;
    reconcile(byId("channels"), channels, ({ channelId }) => channelId, createItem, (item, channel) => this.#update(item, channel));
    const unread = channels.filter((channel) => this.#session.unread(channel) > 0).length;
    document.title = unread > 0 ? `(${unread}) Chat` : "Chat";
  }

  #update(item, channel) {
    const { link, title, time, preview, badge, picture } = item.parts;
    const name = channelTitle(channel);
    const unread = this.#session.unread(channel);
    const last = channel.lastMessage;
    if (picture.name !== name) {
      picture.name = name;
      picture.replaceChildren(avatar(name, CHANNEL_ICONS[channel.type]));
    }
    setText(title, name);
    setText(time, last ? shortTime(last.sentAt) : "");
    time.title = last ? exactTime(last.sentAt) : "";
    setText(preview, last ? this.#previewOf(channel, last) : "No messages yet");
    setText(badge, unread > 99 ? "99+" : String(unread));
    badge.hidden = unread === 0;
    link.classList.toggle("unread", unread > 0);
    const isCurrent = channel.channelId === this.#current();
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    link.setAttribute("aria-label", unread > 0 ? `${name}, ${unread} unread` : name);
  }

  #previewOf(channel, message) {
    const text = messageText(message);
    if (message.senderId === this.#session.me.userId) return `You: ${text}`;
    return channel.type === "DIRECT" ? text : `${displayName(this.#session.nameOf(message.senderId))}: ${text}`;
  }
}

function createItem({ channelId }) {
  const parts = {
    picture: h("span", { class: "picture" }),
    title: h("span", { class: "channel-title" }),
    time: h("time", { class: "muted small" }),
    preview: h("span", { class: "channel-preview muted" }),
    badge: h("span", { class: "badge", "aria-hidden": "true" }),
  };
  const { picture, title, time, preview, badge } = parts;
  const lines = h("span", { class: "channel-lines" }, h("span", { class: "line" }, title, time), h("span", { class: "line" }, preview, badge));
  const link = h("a", { class: "channel", href: `#/c/${channelId}` }, picture, lines);
  return Object.assign(h("li", {}, link), { parts: { ...parts, link } });
}

/** Arrow keys, Home and End go through the list. */
function moveFocus(event) {
  const links = [...byId("channels").querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (target === undefined || !links[target]) return;
  event.preventDefault();
  links[target].focus();
}
