// What stands in a conversation: messages, days, notes. Makes the entries and their elements.

import { avatar, h, icon, setText } from "./dom.js";
import { dayName, daysAgo, displayName, exactTime, failureText, messageText, timeOfDay } from "./format.js";

/** Messages of one sender that are closer than this stand together. */
const GROUP_MS = 5 * 60_000;

/**
 * The lines of a conversation from top to bottom.
 * @returns {{ kind: "day" | "unread" | "note" | "message", key: string, [more: string]: any }[]}
 */
export function linesOf(channel, me, firstUnread) {
  const byPlace = (a, b) => a.seq - b.seq;
  const oldest = channel.messages[0]?.seq ?? Infinity;
  const notes = channel.notes.filter((note) => note.seq > oldest || !channel.older);
  const entries = [...[...channel.messages, ...notes].sort(byPlace), ...channel.pending];
  const lines = [];
  let before;
  for (const entry of entries) {
    const at = entry.sentAt ?? entry.at;
    const newDay = !before || daysAgo(before.sentAt ?? before.at) !== daysAgo(at);
    if (newDay) lines.push({ kind: "day", key: `day ${dayName(at)} ${at.slice(0, 10)}`, at });
    const unreadHere = entry.messageId !== undefined && entry.messageId === firstUnread;
    if (unreadHere) lines.push({ kind: "unread", key: "unread" });
    if (entry.messageType === undefined) {
      lines.push({ kind: "note", key: `note ${entry.seq}`, entry });
    } else {
      const follows = !newDay && !unreadHere && isFollowing(before, entry);
      const previous = lines.at(-1);
      if (follows && previous?.kind === "message") previous.last = false;
      lines.push({ kind: "message", key: keyOf(entry, me), entry, first: !follows, last: true, own: entry.senderId === me });
    }
    before = entry;
  }
  return lines;
}

/** A message that was pending keeps its element when it is stored. */
const keyOf = (entry, me) =>
  entry.senderId === me && entry.clientMessageId ? `mine ${entry.clientMessageId}` : `message ${entry.messageId}`;

function isFollowing(before, entry) {
  return (
    before?.messageType !== undefined &&
    before.senderId === entry.senderId &&
    Date.parse(entry.sentAt) - Date.parse(before.sentAt) < GROUP_MS
  );
}

/** Makes and updates the elements. `actions`: reply(entry), retry(entry), discard(entry), jump(messageId). */
export class MessageElements {
  #session;
  #actions;

  constructor(session, actions) {
    this.#session = session;
    this.#actions = actions;
  }

  create(line) {
    if (line.kind === "day") return h("li", { class: "day" }, h("h3", {}, dayName(line.at)));
    if (line.kind === "unread") return h("li", { class: "unread-line" }, h("span", {}, "New"));
    if (line.kind === "note") return h("li", { class: "note muted small" });
    return this.#createMessage(line);
  }

  update(element, line, channel) {
    if (line.kind === "note") setText(element, this.#noteText(line.entry));
    if (line.kind === "message") this.#updateMessage(element, line, channel);
  }

  #createMessage({ entry, own }) {
    const element = /** @type {any} */ (h("li", { class: own ? "message own" : "message" }));
    const parts = {
      picture: h("span", { class: "message-picture" }),
      name: h("span", { class: "message-name" }),
      quote: h("button", { class: "quote", type: "button", hidden: true, onclick: () => this.#actions.jump(element.entry.replyTo) }),
      text: h("p", { class: "message-text" }),
      time: h("time", { class: "message-time" }),
      state: h("span", { class: "message-state" }),
      reply: h("button", { class: "icon-button small reply", type: "button", title: "Reply", onclick: () => this.#actions.reply(element.entry) }, icon("reply")),
      failure: h("p", { class: "failure small", hidden: true }),
    };
    parts.text.append(...bodyOf(entry));
    const bubble = h("div", { class: "bubble" }, parts.name, parts.quote, parts.text);
    const row = h("div", { class: "bubble-row" }, bubble, parts.reply);
    const foot = h("p", { class: "message-foot muted small" }, parts.time, parts.state);
    element.append(parts.picture, h("div", { class: "message-body" }, row, parts.failure, foot));
    return Object.assign(element, { parts, entry });
  }

  #updateMessage(element, { entry, first, last, own }, channel) {
    const { picture, name, time, state, quote, reply, failure } = element.parts;
    const sender = own ? "You" : displayName(this.#session.nameOf(entry.senderId));
    element.entry = entry;
    element.id = entry.messageId ? `m-${entry.messageId}` : "";
    element.classList.toggle("first", first);
    element.classList.toggle("last", last);
    element.classList.toggle("pending", entry.state === "sending");
    element.classList.toggle("failed", entry.state === "failed");
    if (picture.name !== sender) {
      picture.name = sender;
      picture.replaceChildren(avatar(sender));
    }
    setText(name, sender);
    reply.setAttribute("aria-label", `Reply to ${sender}: ${messageText(entry).slice(0, 60)}`);
    reply.hidden = entry.state !== undefined || !channel.active;
    time.dateTime = entry.sentAt;
    time.title = exactTime(entry.sentAt);
    setText(time, timeOfDay(entry.sentAt));
    this.#updateQuote(quote, entry, channel);
    this.#updateState(state, failure, entry, own);
  }

  #updateQuote(quote, entry, channel) {
    quote.hidden = !entry.replyTo;
    if (!entry.replyTo) return;
    const target = channel.messages.find(({ messageId }) => messageId === entry.replyTo);
    const sender = target && (target.senderId === this.#session.me.userId ? "You" : displayName(this.#session.nameOf(target.senderId)));
    setText(quote, target ? `${sender}: ${messageText(target).slice(0, 140)}` : "An earlier message");
  }

  #updateState(state, failure, entry, own) {
    const now = entry.state ?? (own ? "sent" : "");
    if (state.now === now) return;
    state.now = now;
    const [name, label] = { sending: ["clock", "Sending"], sent: ["check", "Sent"], failed: ["alert", "Not sent"] }[now] ?? [];
    state.replaceChildren(...(name ? [icon(name), h("span", { class: now === "sent" ? "hidden-label" : "" }, label)] : []));
    failure.hidden = now !== "failed";
    if (now !== "failed") return;
    const button = (label, action) => h("button", { class: "link-button", type: "button", onclick: () => action(entry) }, label);
    failure.replaceChildren(
      `${failureText(entry.error)}. `,
      button("Try again", this.#actions.retry),
      " ",
      button("Discard", this.#actions.discard),
    );
  }

  #noteText({ type, userId, addedBy, removedBy, name }) {
    const who = (id) => (id === this.#session.me.userId ? "You" : displayName(this.#session.nameOf(id)));
    switch (type) {
      case "MEMBER_JOINED":
        return userId === addedBy ? `${who(userId)} joined` : `${who(addedBy)} added ${who(userId).replace(/^You$/, "you")}`;
      case "MEMBER_LEFT":
        return userId === removedBy ? `${who(userId)} left` : `${who(removedBy)} removed ${who(userId).replace(/^You$/, "you")}`;
      case "CHANNEL_UPDATED":
        return `The channel is now called ${name ?? "nothing"}`;
      case "CHANNEL_CLOSED":
        return "This conversation was closed";
      default:
        return "Something happened that this page does not know";
    }
  }
}

/** The text, or a link to what was attached. Only http(s) and paths of this site become links. */
function bodyOf(entry) {
  const url = entry.payload?.fileUrl ?? entry.payload?.imageUrl;
  if (!url || !/^(https?:\/\/|\/(?![/\\]))/.test(url)) return linked(messageText(entry));
  return [h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, messageText(entry))];
}

/** Web addresses in a text become links, all the rest stays text. */
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)])/).map((part, index) =>
    index % 2 === 1 ? h("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part,
  );
}
