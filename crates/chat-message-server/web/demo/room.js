// The conversation on screen: history, live messages, writing.

import { announce, avatar, byId, h, icon, reconcile, setText } from "./dom.js";
import { CHANNEL_ICONS, CHANNEL_TYPES, channelTitle, displayName, messageText } from "./format.js";
import { MessageElements, linesOf } from "./messages.js";

/** Older messages are loaded when fewer pixels than this are left above. */
const LOAD_ABOVE_PX = 400;
/** Closer to the end than this counts as at the end. */
const AT_END_PX = 60;

export class Room {
  #session;
  #elements;
  /** @type {any} the channel on screen */
  #channel;
  #firstUnread;
  #replyTo;
  /** What was being written, by channel. */
  #drafts = new Map();
  #atEnd = true;
  #failed = false;
  #opened = false;
  /** `seq` of the topmost message. */
  #oldest;

  constructor(session) {
    this.#session = session;
    this.#elements = new MessageElements(session, {
      reply: (entry) => this.#setReply(entry),
      retry: (entry) => session.retry(this.#channel, entry),
      discard: (entry) => session.discard(this.#channel, entry),
      jump: (messageId) => this.#jump(messageId),
    });
    session.addEventListener("messages", ({ detail }) => {
      if (detail === this.#channel?.channelId) this.render();
    });
    session.addEventListener("channels", () => this.#renderHead());
    session.addEventListener("arrived", ({ detail }) => this.#announce(detail));
    this.#listen();
  }

  get channelId() {
    return this.#channel?.channelId;
  }

  /** Shows a channel, or nothing. */
  show(channel) {
    if (this.#channel) this.#drafts.set(this.#channel.channelId, byId("composer-text").value);
    this.#channel = channel;
    this.#failed = false;
    this.#firstUnread = undefined;
    this.#opened = false;
    this.#oldest = undefined;
    this.#setReply(undefined);
    byId("nothing").hidden = Boolean(channel);
    byId("conversation").hidden = !channel;
    byId("messages").replaceChildren();
    if (!channel) return;
    byId("composer-text").value = this.#drafts.get(channel.channelId) ?? "";
    this.#fit();
    this.#atEnd = true;
    this.#renderHead();
    this.render();
    this.#open();
  }

  render() {
    const channel = this.#channel;
    if (!channel) return;
    if (channel.loaded && !this.#opened) this.#markFirstUnread();
    const scroller = byId("scroller");
    const heightBefore = scroller.scrollHeight;
    const oldestBefore = this.#oldest;
    this.#oldest = channel.messages[0]?.seq;
    const lines = linesOf(channel, this.#session.me.userId, this.#firstUnread);
    reconcile(
      byId("messages"),
      lines,
      ({ key }) => key,
      (line) => this.#elements.create(line),
      (element, line) => this.#elements.update(element, line, channel),
    );
    this.#renderHistoryState();
    if (this.#atEnd) this.#scrollToEnd();
    else if (oldestBefore !== undefined && this.#oldest < oldestBefore) scroller.scrollTop += scroller.scrollHeight - heightBefore;
    this.#markRead();
    this.#loadAbove();
  }

  focus() {
    // On a phone the keyboard would cover the conversation that was just opened.
    if (matchMedia("(hover: hover) and (min-width: 720px)").matches) byId("composer-text").focus();
    else byId("room-name").focus();
  }

  async #open() {
    const channel = this.#channel;
    this.#failed = false;
    this.#renderHistoryState();
    try {
      await this.#session.open(channel);
      this.#session.members(channel.channelId).then((members) => this.#renderAbout(channel, members), () => {});
    } catch {
      this.#failed = true;
    }
    if (channel === this.#channel) this.render();
  }

  async #loadAbove() {
    const channel = this.#channel;
    if (byId("scroller").scrollTop > LOAD_ABOVE_PX || !channel.older || channel.loading || this.#failed) return;
    try {
      await this.#session.loadOlder(channel);
    } catch {
      this.#failed = true;
      this.#renderHistoryState();
    }
  }

  /** Once per opening, before they count as read. */
  #markFirstUnread() {
    this.#opened = true;
    const unread = this.#session.unread(this.#channel);
    if (unread > 0) this.#firstUnread = this.#channel.messages.at(-unread)?.messageId;
  }

  #markRead() {
    if (this.#atEnd && document.visibilityState === "visible" && this.#channel.loaded) this.#session.markRead(this.#channel);
  }

  // The parts around the messages

  #renderHead() {
    const channel = this.#channel;
    if (!channel) return;
    const name = channelTitle(channel);
    setText(byId("room-name"), name);
    byId("room-avatar").replaceChildren(avatar(name, CHANNEL_ICONS[channel.type]));
    this.#renderAbout(channel);
    byId("composer").hidden = !channel.active;
    byId("cannot-write").hidden = channel.active;
    setText(byId("cannot-write"), "This conversation was closed. You can still read it.");
    byId("composer-text").placeholder = `Message ${name}`;
  }

  #renderAbout(channel, members) {
    if (members) channel.members = members;
    if (channel !== this.#channel) return;
    const { type, memberCount, description } = channel;
    const people = memberCount === 1 ? "only you" : `${memberCount} people`;
    setText(byId("room-about"), type === "DIRECT" ? CHANNEL_TYPES.DIRECT : [CHANNEL_TYPES[type], people, description].filter(Boolean).join(" · "));
  }

  #renderHistoryState() {
    const { loading, loaded, older, messages, pending } = this.#channel;
    const state = byId("history-state");
    if (this.#failed) {
      const again = h("button", { class: "link-button", type: "button", onclick: () => this.#retryHistory() }, "Try again");
      return state.replaceChildren("The messages could not be loaded. ", again);
    }
    const begin = messages.length + pending.length > 0 ? "This is where it began" : "No messages yet. Say hello.";
    setText(state, loading || !loaded ? "Loading…" : older ? "" : begin);
  }

  #retryHistory() {
    this.#failed = false;
    if (this.#channel.loaded) this.#loadAbove();
    else this.#open();
  }

  #announce({ channel, message }) {
    if (message.senderId === this.#session.me.userId) return;
    const sender = displayName(this.#session.nameOf(message.senderId));
    if (channel === this.#channel) announce(`${sender}: ${messageText(message)}`);
    else announce(`New message from ${sender} in ${channelTitle(channel)}`);
    if (channel === this.#channel && !this.#atEnd) byId("to-newest").hidden = false;
  }

  // Scrolling

  #scrollToEnd() {
    const scroller = byId("scroller");
    scroller.scrollTop = scroller.scrollHeight;
    byId("to-newest").hidden = true;
  }

  #jump(messageId) {
    const element = document.getElementById(`m-${messageId}`);
    if (!element) return announce("That message is further up");
    element.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    element.classList.add("pointed");
    setTimeout(() => element.classList.remove("pointed"), 1_600);
  }

  #onScroll() {
    const scroller = byId("scroller");
    if (!this.#channel) return;
    this.#atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END_PX;
    if (this.#atEnd) byId("to-newest").hidden = true;
    this.#markRead();
    this.#loadAbove();
  }

  // Writing

  #listen() {
    const text = byId("composer-text");
    byId("scroller").addEventListener("scroll", () => this.#onScroll(), { passive: true });
    byId("to-newest").addEventListener("click", () => this.#scrollToEnd());
    byId("reply-cancel").addEventListener("click", () => this.#setReply(undefined));
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    text.addEventListener("input", () => this.#fit());
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#replyTo) this.#setReply(undefined);
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    document.addEventListener("visibilitychange", () => this.#channel && this.#markRead());
    // A changed height (keyboard of a phone, longer composer) must not hide the newest message.
    new ResizeObserver(() => this.#channel && this.#atEnd && this.#scrollToEnd()).observe(byId("scroller"));
  }

  #send() {
    const box = byId("composer-text");
    const text = box.value.trim();
    if (!this.#channel || text === "") return;
    box.value = "";
    this.#fit();
    this.#atEnd = true;
    this.#session.send(this.#channel, text, this.#replyTo?.messageId);
    this.#setReply(undefined);
    box.focus();
  }

  #setReply(entry) {
    this.#replyTo = entry;
    byId("reply-note").hidden = !entry;
    if (!entry) return;
    const sender = entry.senderId === this.#session.me.userId ? "yourself" : displayName(this.#session.nameOf(entry.senderId));
    byId("reply-text").replaceChildren(icon("reply"), h("span", {}, h("strong", {}, `Reply to ${sender} `), messageText(entry).slice(0, 140)));
    byId("composer-text").focus();
  }

  /** The box grows with its text, up to the bound in the style sheet. */
  #fit() {
    const box = byId("composer-text");
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
    byId("send").disabled = box.value.trim() === "";
  }
}
