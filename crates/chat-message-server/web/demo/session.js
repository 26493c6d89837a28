// What a signed-in person sees: channels, messages, names. Knows the API and the client, nothing of the page.

import { ChatClient, newClientMessageId } from "/chat-client.js";

const PAGE_SIZE = 50;
/** The server's bound of channels per session. */
const MAX_CHANNELS = 256;

/** Tells the page what changed: `channels`, `messages` (detail: channel id), `arrived` (detail: { channelId, message }). */
export class Session extends EventTarget {
  /** @type {Map<string, any>} channel id → the API's channel, with `messages`, `pending`, … of ours */
  channels = new Map();
  /** @type {Map<string, string>} user id → name */
  names = new Map();
  #nameRequests = new Set();
  #readCounts;
  #readKey;
  #changed = new Set();
  #wasOnline = false;

  constructor(me, config, signIn) {
    super();
    this.me = me;
    this.config = config;
    for (const [name, id] of Object.entries(config.userIds)) this.names.set(id, name);
    this.#readKey = `read:${me.userId}`;
    this.#readCounts = load(this.#readKey);
    let token = me.token;
    this.chat = new ChatClient({
      wsUrls: config.instances,
      getToken: async () => {
        const current = token ?? (await signIn(me.username)).token;
        token = undefined;
        return current;
      },
    });
    this.chat.on("signal", (signal) => this.#onSignal(signal));
    this.chat.on("state", ({ state }) => {
      // Signals are not replayed: what changed meanwhile is asked for.
      if (state === "online" && this.#wasOnline) this.loadChannels().catch(() => {});
      this.#wasOnline ||= state === "online";
    });
  }

  // Channels

  async loadChannels() {
    const seen = new Set();
    let cursor;
    do {
      const { items, page } = await this.chat.request("GET", "/api/v1/channels", { query: { scope: "mine", limit: 200, cursor } });
      for (const channel of items) seen.add(this.#put(channel).channelId);
      cursor = page.next;
    } while (cursor && seen.size < MAX_CHANNELS);
    for (const id of this.channels.keys()) if (!seen.has(id)) this.#remove(id);
    this.#tell("channels");
  }

  async loadChannel(channelId) {
    const channel = this.#put(await this.chat.request("GET", `/api/v1/channels/${channelId}`));
    this.#tell("channels");
    return channel;
  }

  async createChannel(fields) {
    const { channelId } = await this.chat.request("POST", "/api/v1/channels", { body: fields });
    return this.loadChannel(channelId);
  }

  async publicChannels() {
    const { items } = await this.chat.request("GET", "/api/v1/channels", { query: { scope: "public", limit: 100 } });
    return items;
  }

  async join(channelId) {
    await this.chat.request("POST", `/api/v1/channels/${channelId}/members`, { body: {} });
    return this.loadChannel(channelId);
  }

  async leave(channelId) {
    await this.chat.request("DELETE", `/api/v1/channels/${channelId}/members/me`);
    this.#remove(channelId);
    this.#tell("channels");
  }

  async members(channelId) {
    const { items } = await this.chat.request("GET", `/api/v1/channels/${channelId}/members`, { query: { limit: 200 } });
    for (const { userId, username } of items) this.names.set(userId, username);
    return items;
  }

  async addMember(channelId, userId) {
    await this.chat.request("POST", `/api/v1/channels/${channelId}/members`, { body: { userId } });
    await this.loadChannel(channelId);
  }

  unread(channel) {
    const known = channel.messageCount - channel.unreadCount;
    return Math.max(0, channel.messageCount - Math.max(known, this.#readCounts[channel.channelId] ?? 0));
  }

  markRead(channel) {
    if (this.unread(channel) === 0) return;
    this.#readCounts[channel.channelId] = channel.messageCount;
    save(this.#readKey, this.#readCounts);
    this.#tell("channels");
  }

  nameOf(userId) {
    const name = this.names.get(userId);
    if (name === undefined && !this.#nameRequests.has(userId)) {
      this.#nameRequests.add(userId);
      this.chat.request("GET", `/api/v1/users/${userId}`).then(
        ({ username }) => {
          this.names.set(userId, username);
          for (const id of this.channels.keys()) this.#tell("messages", id);
        },
        () => this.#nameRequests.delete(userId),
      );
    }
    return name ?? "";
  }

  #put(channel) {
    const known = this.channels.get(channel.channelId);
    if (known) {
      // Events may have told of newer things than this answer.
      const { headSeq, messageCount, unreadCount, lastMessage } = known;
      Object.assign(known, channel);
      if (headSeq > channel.headSeq) Object.assign(known, { headSeq, messageCount, unreadCount });
      if (lastMessage && !(known.lastMessage?.seq > lastMessage.seq)) known.lastMessage = lastMessage;
      return known;
    }
    const mine = { ...channel, messages: [], pending: [], notes: [], older: undefined, loaded: false };
    this.channels.set(mine.channelId, mine);
    if (this.channels.size > MAX_CHANNELS) return mine;
    mine.subscription = this.chat.subscribe(mine.channelId, {
      afterSeq: mine.headSeq,
      epoch: mine.epoch,
      onEvent: (event) => this.#onEvent(mine, event),
      // People want the newest page, not everything that they missed.
      catchUp: false,
      onReset: () => this.#reload(mine),
      onState: ({ state, code }) => {
        if (state !== "closed" || code === "REQUESTED") return;
        if (code !== "CHANNEL_CLOSED") this.channels.delete(mine.channelId);
        this.#tell("channels");
      },
    });
    return mine;
  }

  #remove(channelId) {
    this.channels.get(channelId)?.subscription?.unsubscribe();
    this.channels.delete(channelId);
  }

  // Events

  #onEvent(channel, event) {
    channel.headSeq = Math.max(channel.headSeq, event.seq);
    channel.updatedAt = event.at ?? event.sentAt;
    if (event.type === "MESSAGE") {
      channel.messageCount += 1;
      channel.unreadCount = event.senderId === this.me.userId ? 0 : channel.unreadCount + 1;
      channel.lastMessage = event;
      this.#insert(channel, [event]);
      this.dispatchEvent(new CustomEvent("arrived", { detail: { channel, message: event } }));
    } else {
      this.#onChange(channel, event);
    }
    this.#tell("channels");
    this.#tell("messages", channel.channelId);
  }

  #onChange(channel, event) {
    if (event.type === "MEMBER_JOINED") channel.memberCount += 1;
    if (event.type === "MEMBER_LEFT") channel.memberCount -= 1;
    if (event.type === "CHANNEL_UPDATED") Object.assign(channel, { name: event.name, description: event.description });
    if (event.type === "CHANNEL_CLOSED") channel.active = false;
    channel.notes.push(event);
  }

  #onSignal({ type, channelId }) {
    if (type === "CHANNEL_ADDED") this.loadChannel(channelId).catch(() => {});
    if (type === "CHANNEL_REMOVED") {
      this.#remove(channelId);
      this.#tell("channels");
    }
  }

  // Messages

  /** The newest page, for a channel that is opened. */
  async open(channel) {
    while (channel.loading) await channel.loading.catch(() => {});
    if (channel.loaded) return;
    await this.#load(channel, {});
  }

  /** The page before the oldest message. */
  async loadOlder(channel) {
    if (!channel.older || channel.loading) return;
    await this.#load(channel, { before: channel.older });
  }

  async #load(channel, cursor) {
    channel.loading = this.#fetchPage(channel, cursor);
    this.#tell("messages", channel.channelId);
    try {
      await channel.loading;
    } finally {
      channel.loading = undefined;
      this.#tell("messages", channel.channelId);
    }
  }

  async #fetchPage(channel, cursor) {
    const { items, page } = await this.chat.history(channel.channelId, { ...cursor, limit: PAGE_SIZE });
    channel.older = page.hasPrev ? page.prev : undefined;
    channel.loaded = true;
    this.#insert(channel, items);
  }

  /** The log cannot be replayed from where we were: begin again from the newest messages. */
  async #reload(channel) {
    Object.assign(channel, { messages: [], notes: [], older: undefined, loaded: false });
    try {
      await this.loadChannel(channel.channelId);
      await this.open(channel);
    } catch {
      // The page offers to try again when the channel is opened.
    }
  }

  #insert(channel, messages) {
    // A channel that was never opened keeps nothing: opening it loads the newest messages.
    if (channel.loaded || channel.loading) {
      const bySeq = new Map(channel.messages.map((message) => [message.seq, message]));
      for (const message of messages) bySeq.set(message.seq, message);
      channel.messages = [...bySeq.values()].sort((a, b) => a.seq - b.seq);
    }
    const mine = new Set(messages.filter(({ senderId }) => senderId === this.me.userId).map((m) => m.clientMessageId));
    channel.pending = channel.pending.filter(({ clientMessageId }) => !mine.has(clientMessageId));
  }

  /** Shows the message at once and sends it; a failure stays visible and can be tried again. */
  async send(channel, text, replyTo) {
    const message = {
      clientMessageId: newClientMessageId(),
      messageType: "TEXT",
      content: text,
      replyTo,
      senderId: this.me.userId,
      sentAt: new Date().toISOString(),
      state: "sending",
    };
    channel.pending.push(message);
    await this.retry(channel, message);
  }

  async retry(channel, message) {
    message.state = "sending";
    this.#tell("messages", channel.channelId);
    const { clientMessageId, messageType, content, replyTo } = message;
    try {
      const stored = await this.chat.send(channel.channelId, { clientMessageId, messageType, payload: { text: content }, replyTo });
      this.#insert(channel, [stored]);
    } catch (error) {
      message.state = "failed";
      message.error = error;
    }
    this.#tell("messages", channel.channelId);
  }

  discard(channel, message) {
    channel.pending = channel.pending.filter((other) => other !== message);
    this.#tell("messages", channel.channelId);
  }

  /** Many changes in a row are told once. */
  #tell(name, detail) {
    const key = `${name} ${detail ?? ""}`;
    if (this.#changed.has(key)) return;
    this.#changed.add(key);
    queueMicrotask(() => {
      this.#changed.delete(key);
      this.dispatchEvent(new CustomEvent(name, { detail }));
    });
  }
}

function load(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "{}");
  } catch {
    return {};
  }
}

function save(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Without storage the marks last as long as the page.
  }
}
