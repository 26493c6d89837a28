// @ts-check
/**
 * The chat platform's JavaScript client: one module, no build step, no dependency. Works in browsers and in Node >= 22.
 *
 * It sends over HTTP and listens over one WebSocket. It keeps the last `seq` of each channel, so that every event of a
 * subscribed channel reaches `onEvent` once, in order, with no hole, through reconnects, restarts and moves to another
 * instance. What is too much to be replayed is loaded over HTTP; what is gone for good is announced by `onReset`.
 *
 * ```js
 * const chat = new ChatClient({ httpUrl: "http://127.0.0.1:20001", wsUrls: ["ws://127.0.0.1:20002/ws/chat"], token });
 * await chat.connect();
 * chat.subscribe(channelId, { onEvent: (event) => console.log(event.seq, event.type, event.content) });
 * await chat.send(channelId, "hello");
 * ```
 */

/**
 * @typedef {{ type: string, channelId: string, seq: number } & Record<string, any>} ChatEvent an entry of a channel's log
 * @typedef {{ reason: string, headSeq: number, oldestSeq?: number, epoch?: string, afterSeq: number }} Reset the events
 *   after `afterSeq` follow
 * @typedef {{ state: "pending" | "live" | "closed", code?: string, message?: string }} SubscriptionState
 * @typedef {object} SubscribeOptions
 * @property {number} [afterSeq] replay what came after this `seq`; without it, from now on
 * @property {string} [epoch] the incarnation of the log that `afterSeq` belongs to
 * @property {(event: ChatEvent) => void} [onEvent] each event once, in order
 * @property {boolean} [catchUp] loads over HTTP what cannot be replayed and gives it to `onEvent`; true by default
 * @property {(reset: Reset) => void} [onReset] events up to `afterSeq` do not come: they are gone, or the log is another
 *   one and what came before is to be discarded, or, without `catchUp`, history is to be loaded
 * @property {(state: SubscriptionState) => void} [onState]
 * @property {(presence: { users: { userId: string, status: "ONLINE" | "OFFLINE", lastSeenAt?: string }[], online?: number }) => void} [onPresence]
 * @typedef {"connecting" | "online" | "offline" | "closed"} StateName
 * @typedef {object} ConnectionState
 * @property {StateName} state `offline`: will try again at `retryAt`; `closed`: will not
 * @property {string} [url] the WebSocket URL in use
 * @property {string} [instanceId] the instance that serves this session
 * @property {string} [sessionId]
 * @property {string} [userId]
 * @property {number} [retryAt] milliseconds since 1970
 * @property {ChatError} [error] why it is not online
 * @typedef {string | { token: string }} TokenResult
 * @typedef {object} ClientOptions
 * @property {string} [httpUrl] where the HTTP API is; in a browser the page's own origin by default
 * @property {string[]} [wsUrls] WebSocket URLs of the instances, or of a balancer; tried in turn
 * @property {string} [token] a token that is good for as long as the client lives
 * @property {(reason: "first" | "renew" | "rejected") => TokenResult | Promise<TokenResult>} [getToken]
 * @property {number} [connectTimeoutMs] from opening the socket to HELLO, 10 s by default
 * @property {number} [requestTimeoutMs] one HTTP attempt, 15 s by default
 * @property {number} [sendAttempts] how often a request is tried, 6 by default
 * @typedef {{ messageType: string, payload: object, replyTo?: string, clientMessageId?: string }} OutgoingMessage
 */

/** Full-jitter backoff of reconnects and retries. */
const BACKOFF = { baseMs: 250, maxMs: 10_000 };
/** A connection that lived this long clears the backoff. */
const STABLE_MS = 15_000;
/** Longest `Retry-After` that a request waits for; a longer one is passed on as the error. */
const MAX_RETRY_AFTER_MS = 30_000;
/** The server's bound of channels per session, and of channels per SUBSCRIBE. */
const MAX_CHANNELS = 256;
/** Messages that wait to be sent; `send` refuses more. */
const MAX_PENDING_SENDS = 256;
/** SUBSCRIBE and UNSUBSCRIBE frames are at least this far apart, far below the server's rate limit. */
const FLUSH_INTERVAL_MS = 100;
/** A SUBSCRIBE that has no answer after this long is sent again. */
const SUBSCRIBE_TIMEOUT_MS = 30_000;
/** Channels whose missed events are loaded at the same time, each a page at a time. */
const MAX_LOADS = 4;
/** The most that the API gives at once. */
const EVENTS_PER_PAGE = 200;
/** Longest delay that timers take. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Close codes after which the same token will not do. */
const TERMINAL_CLOSE_CODES = new Map([
  [4501, "FORBIDDEN"],
  [4502, "TOO_MANY_CONNECTIONS"],
  [4503, "PROTOCOL_VERSION"],
]);
const CLOSE_TOKEN_REJECTED = 4004;

/** Stands for the id of a SUBSCRIBED that nobody asked for: the one that follows the RESET of a live channel. */
const UNASKED = "";

/** Whatever goes wrong, with a stable `code`: the server's problem code, or one of the client's own. */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, problem?: any, retryAfterMs?: number, cause?: unknown }} [more]
   */
  constructor(code, message, { status, problem, retryAfterMs, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ChatError";
    /** Stable and documented. */
    this.code = code;
    /** HTTP status or WebSocket close code, if there was one. */
    this.status = status;
    /** The `application/problem+json` body, if there was one. */
    this.problem = problem;
    /** How long the server asked to wait, in milliseconds. */
    this.retryAfterMs = retryAfterMs;
  }
}

export class ChatClient {
  #api;
  #tokens;
  #wsUrls;
  #urlIndex = 0;
  #connectTimeoutMs;
  /** @type {Map<string, Set<(value: any) => void>>} */
  #listeners = new Map();
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** @type {Set<string>} */
  #toSubscribe = new Set();
  /** @type {Set<string>} */
  #toUnsubscribe = new Set();
  /** @type {Map<string, Promise<unknown>>} the last send of each channel, so that a user's messages keep their order */
  #sendQueues = new Map();
  #pendingSends = 0;
  /** @type {ConnectionState} */
  #state = { state: "closed" };
  /** @type {Link | undefined} */
  #link;
  #attempt = 0;
  #generation = 0;
  #frameId = 0;
  #flushedAt = 0;
  /** @type {Set<Subscription>} those that wait for a place among the loads */
  #toLoad = new Set();
  #loads = 0;
  /** Ends with the connection. */
  #linkEnd = new AbortController();
  #comeBackAt = 0;
  /** True while the token in use has not yet been accepted and was fetched after a rejection. */
  #tokenIsFresh = false;
  #timers = new Timers();
  /** @type {(() => void)[]} */
  #removeBrowserListeners = [];

  /** @param {ClientOptions} options */
  constructor({ httpUrl, wsUrls = [], token, getToken, connectTimeoutMs = 10_000, requestTimeoutMs = 15_000, sendAttempts = 6 }) {
    this.#tokens = new Tokens(token, getToken);
    this.#wsUrls = [...wsUrls];
    this.#connectTimeoutMs = connectTimeoutMs;
    const baseUrl = httpUrl ?? globalThis.location?.origin;
    if (!baseUrl) throw new ChatError("NO_HTTP_URL", "httpUrl is needed outside a browser");
    this.#api = new Api(baseUrl, this.#tokens, requestTimeoutMs, sendAttempts);
  }

  /** How the connection is now. Listen to `state` for changes. */
  get state() {
    return this.#state;
  }

  /**
   * Listens to `state` (a {@link ConnectionState}), `signal` (frames without `seq`, such as CHANNEL_ADDED) or `error`
   * (a {@link ChatError} that belongs to no call).
   * @param {"state" | "signal" | "error"} name
   * @param {(value: any) => void} listener
   * @returns {() => void} stops listening
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /**
   * Connects and stays connected until `close()` or a terminal refusal. Subscriptions go on from their last `seq`. While
   * it waits for the next try, it does not wait any longer.
   * @param {string} [url] begin with this one; a live connection moves there
   * @returns {Promise<void>} fulfilled when online for the first time; rejected when closed before that
   */
  connect(url) {
    if (url !== undefined) this.#preferUrl(url);
    if (this.#wsUrls.length === 0) return Promise.reject(new ChatError("NO_WS_URL", "wsUrls is empty"));
    const { state } = this.#state;
    if (url !== undefined || state === "closed" || state === "offline") {
      this.#dropLink(1000, "moving");
      this.#attempt = 0;
      this.#comeBackAt = 0;
      this.#tokenIsFresh = false;
      this.#watchBrowser();
      this.#open();
    }
    const online = this.#online();
    // The state event tells as well, so a caller may ignore the promise.
    online.catch(() => {});
    return online;
  }

  /** Stops, and does not come back until `connect()`. Subscriptions and their positions are kept. */
  close() {
    this.#shut(undefined);
  }

  /**
   * Begins to listen to a channel: now, or as soon as there is a connection.
   * @param {string} channelId
   * @param {SubscribeOptions} [options]
   * @returns {Subscription}
   */
  subscribe(channelId, options = {}) {
    if (this.#subscriptions.has(channelId)) {
      throw new ChatError("ALREADY_SUBSCRIBED", `channel ${channelId} has a subscription`);
    }
    if (this.#subscriptions.size >= MAX_CHANNELS) {
      throw new ChatError("TOO_MANY_CHANNELS", `at most ${MAX_CHANNELS} channels can be open`);
    }
    const subscription = new Subscription(channelId, options, () => this.unsubscribe(channelId));
    this.#subscriptions.set(channelId, subscription);
    this.#requestSubscription(subscription);
    return subscription;
  }

  /** @param {string} channelId */
  unsubscribe(channelId) {
    const subscription = this.#subscriptions.get(channelId);
    if (!subscription) return;
    this.#forget(subscription, { state: "closed", code: "REQUESTED" });
    this.#toUnsubscribe.add(channelId);
    this.#flushSoon();
  }

  /**
   * Sends a message. It is retried with the same `clientMessageId`, so it is stored once however often it is sent. The
   * messages of one channel are sent one after the other: they keep their order.
   * @param {string} channelId
   * @param {string | OutgoingMessage} message
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<any>} the stored message
   */
  async send(channelId, message, { signal } = {}) {
    if (this.#pendingSends >= MAX_PENDING_SENDS) {
      throw new ChatError("TOO_MANY_PENDING", `${MAX_PENDING_SENDS} messages wait to be sent`);
    }
    const content = typeof message === "string" ? { messageType: "TEXT", payload: { text: message } } : message;
    const body = { ...content, channelId, clientMessageId: content.clientMessageId ?? newClientMessageId() };
    const previous = this.#sendQueues.get(channelId) ?? Promise.resolve();
    const post = () => this.#api.request("POST", "/api/v1/messages", { body, signal, repeatable: true });
    const sent = previous.then(post, post);
    this.#sendQueues.set(channelId, sent);
    this.#pendingSends += 1;
    try {
      return await sent;
    } finally {
      this.#pendingSends -= 1;
      if (this.#sendQueues.get(channelId) === sent) this.#sendQueues.delete(channelId);
    }
  }

  /**
   * A page of a channel's messages, oldest first. Without a cursor, the newest.
   * @param {string} channelId
   * @param {{ before?: string, after?: string, limit?: number, signal?: AbortSignal }} [options] `before` and `after` are
   *   the opaque cursors `page.prev` and `page.next` of another page
   * @returns {Promise<{ items: any[], page: { next?: string, prev?: string, hasNext: boolean, hasPrev: boolean } }>}
   */
  history(channelId, { before, after, limit, signal } = {}) {
    const path = `/api/v1/channels/${encodeURIComponent(channelId)}/messages`;
    return this.#api.request("GET", path, { query: { before, after, limit }, signal });
  }

  /**
   * Any other call of the HTTP API, with the token and with retries where a repeat is harmless.
   * @param {string} method
   * @param {string} path
   * @param {{ query?: Record<string, any>, body?: any, signal?: AbortSignal }} [options]
   * @returns {Promise<any>} the decoded JSON body; `undefined` without one
   */
  request(method, path, options = {}) {
    return this.#api.request(method, path, options);
  }

  // Connection

  #preferUrl(url) {
    if (!this.#wsUrls.includes(url)) this.#wsUrls.push(url);
    this.#urlIndex = this.#wsUrls.indexOf(url);
  }

  #online() {
    return new Promise((resolve, reject) => {
      const check = (/** @type {ConnectionState} */ { state, error }) => {
        if (state !== "online" && state !== "closed") return;
        stop();
        if (state === "online") resolve(undefined);
        else reject(error ?? new ChatError("CLOSED", "the client was closed"));
      };
      const stop = this.on("state", check);
      check(this.#state);
    });
  }

  async #open() {
    const generation = ++this.#generation;
    const url = this.#wsUrls[this.#urlIndex % this.#wsUrls.length];
    this.#timers.clear("retry");
    this.#setState({ state: "connecting", url });
    let token;
    try {
      token = await this.#tokens.current();
    } catch (cause) {
      if (generation === this.#generation) this.#lost(new ChatError("NO_TOKEN", "no token could be fetched", { cause }));
      return;
    }
    if (generation !== this.#generation) return;
    try {
      this.#link = new Link(url, token, this.#connectTimeoutMs, {
        onHello: (hello) => this.#onHello(url, hello),
        onFrame: (frame) => this.#onFrame(frame),
        onEnd: (error) => this.#onEnd(error),
        onError: (error) => this.#emit("error", error),
      });
    } catch (cause) {
      this.#shut(new ChatError("BAD_WS_URL", `no WebSocket URL: ${url}`, { cause }));
    }
  }

  #onHello(url, hello) {
    this.#tokenIsFresh = false;
    this.#renewTokenLater(hello.expiresAt);
    if (this.#state.state === "online") return;
    this.#comeBackAt = 0;
    this.#linkEnd = new AbortController();
    this.#timers.set("stable", STABLE_MS, () => (this.#attempt = 0));
    const { instanceId, sessionId, userId } = hello;
    this.#setState({ state: "online", url, instanceId, sessionId, userId });
    this.#toUnsubscribe.clear();
    for (const subscription of this.#subscriptions.values()) this.#toSubscribe.add(subscription.channelId);
    this.#flush();
  }

  /** The link is gone, and not because we let it go. */
  #onEnd(error) {
    this.#link = undefined;
    const terminal = TERMINAL_CLOSE_CODES.get(error.status);
    if (terminal) return this.#shut(new ChatError(terminal, error.message, { status: error.status }));
    if (error.status !== CLOSE_TOKEN_REJECTED) return this.#lost(error);
    const rejected = new ChatError("TOKEN_REJECTED", error.message, { status: error.status });
    // A token that was fetched just for this try will not get better by another try.
    if (!this.#tokens.renewable || this.#tokenIsFresh) return this.#shut(rejected);
    this.#tokens.reject();
    this.#tokenIsFresh = true;
    return this.#lost(rejected);
  }

  /** Waits and tries the next URL. */
  #lost(error) {
    this.#dropLink(1000, "");
    this.#urlIndex = (this.#urlIndex + 1) % this.#wsUrls.length;
    const planned = this.#comeBackAt - Date.now();
    const delay = planned > 0 ? planned : backoffDelay(this.#attempt);
    this.#attempt += 1;
    this.#setState({ state: "offline", retryAt: Date.now() + delay, error });
    this.#timers.set("retry", delay, () => this.#open());
  }

  /** For good, or until `connect()`. */
  #shut(error) {
    this.#generation += 1;
    this.#dropLink(1000, "");
    this.#timers.clearAll();
    for (const remove of this.#removeBrowserListeners.splice(0)) remove();
    this.#setState({ state: "closed", error });
  }

  #dropLink(code, reason) {
    this.#timers.clear("stable");
    this.#timers.clear("renew");
    this.#timers.clear("move");
    this.#timers.clear("flush");
    this.#link?.close(code, reason);
    this.#link = undefined;
    this.#linkEnd.abort();
    this.#toSubscribe.clear();
    this.#toLoad.clear();
    for (const subscription of this.#subscriptions.values()) {
      this.#timers.clear(`subscribe ${subscription.channelId}`);
      subscription.position.disconnected();
      subscription.setState({ state: "pending" });
    }
  }

  /** The server wants us elsewhere: come back after this long, at the next URL. */
  #onReconnect(afterMs) {
    const delay = Math.min(Math.max(Number(afterMs) || 0, 0), MAX_TIMER_MS);
    this.#comeBackAt = Date.now() + delay;
    this.#timers.set("move", delay, () => {
      this.#dropLink(1000, "moving");
      this.#urlIndex = (this.#urlIndex + 1) % this.#wsUrls.length;
      this.#open();
    });
  }

  #renewTokenLater(expiresAt) {
    const remaining = Date.parse(expiresAt) - Date.now();
    if (!this.#tokens.renewable || Number.isNaN(remaining)) return;
    this.#timers.set("renew", renewalDelay(remaining), () => this.#renewToken(0));
  }

  async #renewToken(attempt) {
    const link = this.#link;
    try {
      const token = await this.#tokens.renew("renew");
      if (link && link === this.#link) link.send({ type: "AUTH", token });
    } catch (cause) {
      this.#emit("error", new ChatError("NO_TOKEN", "the token could not be renewed", { cause }));
      if (link !== this.#link) return;
      this.#timers.set("renew", 1_000 + backoffDelay(attempt), () => this.#renewToken(attempt + 1));
    }
  }

  /** The browser knows early when the network or the page comes and goes. */
  #watchBrowser() {
    if (this.#removeBrowserListeners.length > 0) return;
    const hurry = () => {
      if (this.#timers.has("retry") && Date.now() >= this.#comeBackAt) this.#open();
      else this.#link?.probe(5_000);
    };
    const watch = (target, name, listener) => {
      if (typeof target?.addEventListener !== "function") return;
      target.addEventListener(name, listener);
      this.#removeBrowserListeners.push(() => target.removeEventListener(name, listener));
    };
    // Node has neither a window nor a document.
    watch(globalThis.window, "online", hurry);
    watch(globalThis.window, "offline", () => this.#link?.probe(2_000));
    watch(globalThis.document, "visibilitychange", () => {
      if (globalThis.document.visibilityState === "visible") hurry();
    });
  }

  // Frames

  #onFrame(frame) {
    const subscription = this.#subscriptions.get(frame.channelId);
    switch (frame.type) {
      case "SUBSCRIBED":
        return subscription && this.#onSubscribed(subscription, frame);
      case "RESET":
        return subscription && this.#onReset(subscription, frame);
      case "UNSUBSCRIBED":
        return this.#onUnsubscribed(subscription, frame);
      case "ERROR":
        return this.#onError(frame);
      case "RECONNECT":
        return this.#onReconnect(frame.afterMs);
      case "PONG":
        return undefined;
    }
    if (frame.type === "PRESENCE") return subscription && guard(() => subscription.onPresence?.(frame));
    if (typeof frame.seq !== "number") return this.#emit("signal", frame);
    return subscription && this.#onEvent(subscription, frame);
  }

  #onEvent(subscription, event) {
    const verdict = subscription.position.event(event.seq);
    if (verdict === "deliver") guard(() => subscription.onEvent?.(event));
    if (verdict === "resubscribe") this.#requestSubscription(subscription);
  }

  #onSubscribed(subscription, frame) {
    const verdict = subscription.position.subscribed(frame);
    if (verdict === "ignore") return;
    this.#timers.clear(`subscribe ${subscription.channelId}`);
    if (verdict === "resubscribe") return this.#requestSubscription(subscription);
    if (verdict === "reset") {
      this.#onReset(subscription, { reason: "EPOCH_CHANGED", headSeq: frame.headSeq, oldestSeq: 1, epoch: frame.epoch });
      if (subscription.catchUp) return;
      subscription.position.requestId = undefined;
    }
    subscription.attempt = 0;
    subscription.setState({ state: "live" });
  }

  #onReset(subscription, frame) {
    const { channelId, catchUp, position } = subscription;
    if (!catchUp || position.lastSeq === undefined) {
      position.reset(frame);
      return this.#tellReset(subscription, frame, frame.headSeq);
    }
    this.#timers.clear(`subscribe ${channelId}`);
    subscription.setState({ state: "pending" });
    const complete = position.load(frame, `load ${++this.#frameId}`);
    if (!complete) this.#tellReset(subscription, frame, position.lastSeq);
    this.#toLoad.add(subscription);
    return this.#loadNext();
  }

  #tellReset(subscription, { reason, headSeq, oldestSeq, epoch }, afterSeq) {
    guard(() => subscription.onReset?.({ reason, headSeq, oldestSeq, epoch, afterSeq }));
  }

  async #loadNext() {
    const [subscription] = this.#toLoad;
    if (!subscription || this.#loads >= MAX_LOADS) return;
    this.#toLoad.delete(subscription);
    this.#loads += 1;
    await this.#catchUp(subscription);
    this.#loads -= 1;
    this.#loadNext();
  }

  /** Loads the log page by page and subscribes again from where it ends: what came meanwhile is replayed. */
  async #catchUp(subscription) {
    const { channelId, position } = subscription;
    const { requestId } = position;
    const signal = this.#linkEnd.signal;
    const isWanted = () =>
      !signal.aborted && position.requestId === requestId && this.#subscriptions.get(channelId) === subscription;
    try {
      let more = isWanted();
      while (more) more = (await this.#loadPage(subscription, isWanted, signal)) && isWanted();
      if (isWanted()) this.#requestSubscription(subscription);
    } catch (error) {
      if (!isWanted()) return;
      this.#emit("error", error);
      // The server says once more where to begin, or that the channel is not for us.
      this.#requestSubscription(subscription, BACKOFF.baseMs);
    }
  }

  /** Is there more to load? Not from a log that is another one by now, or has lost its beginning: the server tells. */
  async #loadPage(subscription, isWanted, signal) {
    const { channelId, position } = subscription;
    const from = position.lastSeq;
    const query = { afterSeq: from, limit: EVENTS_PER_PAGE };
    const path = `/api/v1/channels/${encodeURIComponent(channelId)}/events`;
    const { items, oldestSeq, epoch, page } = await this.#api.request("GET", path, { query, signal });
    if (epoch !== position.epoch || oldestSeq > from + 1) return false;
    for (const event of items) {
      // The application may end the subscription at any event.
      if (!isWanted()) return false;
      this.#onEvent(subscription, event);
    }
    return page.hasNext && position.lastSeq > from;
  }

  #onUnsubscribed(subscription, { reason }) {
    // Ours was forgotten when it was asked for; a newer subscription of the channel is not meant.
    if (!subscription || reason === "REQUESTED") return;
    this.#forget(subscription, { state: "closed", code: reason });
  }

  #onError(frame) {
    const error = new ChatError(frame.code ?? "ERROR", frame.message ?? "the server reported an error", {
      retryAfterMs: frame.retryAfterMs,
    });
    // One that names no request but says "later", such as RATE_LIMITED, may answer any of them.
    const isAnswer = ({ requestId }) => requestId && (frame.id === undefined ? frame.retryable || frame.channelId : requestId === frame.id);
    const concerned = [...this.#subscriptions.values()].filter(
      ({ channelId, position }) => (frame.channelId ?? channelId) === channelId && isAnswer(position),
    );
    if (concerned.length === 0 || frame.id === undefined) this.#emit("error", error);
    for (const subscription of concerned) {
      if (frame.retryable) this.#requestSubscription(subscription, frame.retryAfterMs ?? BACKOFF.baseMs);
      else this.#forget(subscription, { state: "closed", code: error.code, message: error.message });
    }
  }

  /** Asks for a channel: at once, later each time that it fails in a row. */
  #requestSubscription(subscription, leastDelayMs = 0) {
    subscription.setState({ state: "pending" });
    if (this.#state.state !== "online") return;
    // From here on it counts as asked for: more holes do not ask again.
    subscription.position.request("soon");
    const backoff = subscription.attempt > 0 ? backoffDelay(subscription.attempt) : 0;
    subscription.attempt += 1;
    const ask = () => {
      this.#toSubscribe.add(subscription.channelId);
      this.#flushSoon();
    };
    const delay = Math.max(leastDelayMs, backoff);
    if (delay === 0) return ask();
    this.#timers.set(`subscribe ${subscription.channelId}`, delay, ask);
  }

  #forget(subscription, state) {
    this.#subscriptions.delete(subscription.channelId);
    this.#toSubscribe.delete(subscription.channelId);
    this.#timers.clear(`subscribe ${subscription.channelId}`);
    subscription.setState(state);
  }

  /** Many calls become one frame. */
  #flushSoon() {
    if (this.#timers.has("flush")) return;
    const wait = this.#flushedAt + FLUSH_INTERVAL_MS - Date.now();
    this.#timers.set("flush", Math.min(Math.max(wait, 0), FLUSH_INTERVAL_MS), () => this.#flush());
  }

  #flush() {
    const link = this.#link;
    if (!link || this.#state.state !== "online") return;
    this.#flushedAt = Date.now();
    const leaving = [...this.#toUnsubscribe];
    this.#toUnsubscribe.clear();
    const nextId = () => `c${++this.#frameId}`;
    for (const frame of unsubscribeFrames(leaving, link.maxFrameBytes, nextId)) link.send(frame);

    const subscriptions = [...this.#toSubscribe].flatMap((channelId) => this.#subscriptions.get(channelId) ?? []);
    this.#toSubscribe.clear();
    for (const { frame, channels } of subscribeFrames(subscriptions, link.maxFrameBytes, nextId)) {
      for (const subscription of channels) {
        subscription.position.request(frame.id);
        this.#timers.set(`subscribe ${subscription.channelId}`, SUBSCRIBE_TIMEOUT_MS, () =>
          this.#requestSubscription(subscription),
        );
      }
      link.send(frame);
    }
  }

  // State

  /** @param {ConnectionState} state */
  #setState(state) {
    if (state.state === "closed" && this.#state.state === "closed" && !state.error) return;
    this.#state = state;
    this.#emit("state", state);
  }

  #emit(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) guard(() => listener(value));
  }
}

/** One channel that the client listens to. */
export class Subscription {
  #cancel;
  /** @type {SubscriptionState} */
  #state = { state: "pending" };

  /**
   * @param {string} channelId
   * @param {SubscribeOptions} options
   * @param {() => void} cancel
   */
  constructor(channelId, { afterSeq, epoch, catchUp = true, onEvent, onReset, onState, onPresence }, cancel) {
    this.channelId = channelId;
    /** @internal */
    this.catchUp = catchUp;
    this.onEvent = onEvent;
    this.onReset = onReset;
    this.onState = onState;
    this.onPresence = onPresence;
    /** @internal */
    this.position = new ChannelPosition({ afterSeq, epoch });
    /** @internal Requests in a row that did not bring the channel up to date. */
    this.attempt = 0;
    this.#cancel = cancel;
  }

  /** `seq` of the last event that was delivered or passed over; store it with `epoch` to go on from here later. */
  get lastSeq() {
    return this.position.lastSeq;
  }

  /** The incarnation of the channel's log. */
  get epoch() {
    return this.position.epoch;
  }

  get state() {
    return this.#state.state;
  }

  unsubscribe() {
    this.#cancel();
  }

  /** @internal @param {SubscriptionState} state */
  setState(state) {
    if (state.state === this.#state.state) return;
    this.#state = state;
    guard(() => this.onState?.(state));
  }
}

/**
 * The bookkeeping of one channel: which event comes next, and what a frame means for that. No I/O.
 */
export class ChannelPosition {
  /** Highest `seq` seen, delivered or not. */
  #seen = 0;
  /** What the request under way asked for. */
  #asked = /** @type {number | undefined} */ (undefined);
  #wasReset = false;

  /** @param {{ afterSeq?: number, epoch?: string }} [start] */
  constructor({ afterSeq, epoch } = {}) {
    this.lastSeq = afterSeq;
    this.epoch = epoch;
    /** @type {string | undefined} the SUBSCRIBE under way */
    this.requestId = undefined;
  }

  /** A SUBSCRIBE with this id is sent. */
  request(id) {
    this.requestId = id;
    this.#asked = this.lastSeq;
    this.#wasReset = false;
  }

  /** The answer to a request will not come any more. */
  disconnected() {
    this.requestId = undefined;
  }

  /**
   * @param {number} seq
   * @returns {"deliver" | "drop" | "resubscribe"}
   */
  event(seq) {
    this.#seen = Math.max(this.#seen, seq);
    if (this.lastSeq === undefined || seq === this.lastSeq + 1) {
      this.lastSeq = seq;
      return "deliver";
    }
    const hole = seq > this.lastSeq;
    return hole && !this.requestId ? "resubscribe" : "drop";
  }

  /** @param {{ headSeq: number, epoch?: string }} frame */
  reset({ headSeq, epoch }) {
    this.lastSeq = headSeq;
    this.#seen = headSeq;
    this.epoch = epoch ?? this.epoch;
    this.#wasReset = true;
    this.requestId ??= UNASKED;
  }

  /**
   * A RESET came, and what the log still has is going to be loaded. Until then nothing else is asked for.
   * @param {{ reason: string, oldestSeq?: number, epoch?: string }} frame
   * @param {string} id of the load
   * @returns {boolean} will nothing be missing?
   */
  load({ reason, oldestSeq = 1, epoch }, id) {
    const sameLog = reason !== "EPOCH_CHANGED" && (this.epoch ?? epoch) === epoch;
    const known = this.lastSeq ?? 0;
    this.lastSeq = sameLog ? Math.max(known, oldestSeq - 1) : oldestSeq - 1;
    this.#seen = this.lastSeq;
    this.epoch = epoch;
    this.requestId = id;
    return sameLog && this.lastSeq === known;
  }

  /**
   * @param {{ id?: string, headSeq: number, epoch?: string }} frame
   * @returns {"live" | "reset" | "resubscribe" | "ignore"} `reset`: the log is another one, and the server did not say so
   */
  subscribed({ id, headSeq, epoch }) {
    if (this.requestId === undefined || (id ?? UNASKED) !== this.requestId) return "ignore";
    this.requestId = undefined;
    const otherLog = this.epoch !== undefined && epoch !== undefined && epoch !== this.epoch;
    const beyondHead = this.#asked !== undefined && this.#asked > headSeq;
    this.epoch = epoch ?? this.epoch;
    if (!this.#wasReset && (otherLog || beyondHead)) {
      this.reset({ headSeq, epoch });
      return "reset";
    }
    this.lastSeq ??= headSeq;
    return this.lastSeq < Math.max(headSeq, this.#seen) ? "resubscribe" : "live";
  }
}

/**
 * Full jitter: anything from 0 to a bound that doubles with each attempt.
 * @param {number} attempt 0 for the first
 * @param {{ baseMs: number, maxMs: number }} [bounds]
 * @param {() => number} [random] in [0, 1)
 * @returns {number} milliseconds
 */
export function backoffDelay(attempt, { baseMs, maxMs } = BACKOFF, random = Math.random) {
  return random() * Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
}

/**
 * When to renew a token: a tenth of its life, at least half a minute and at most five, before its end; not in a tight loop.
 * @param {number} remainingMs
 */
export function renewalDelay(remainingMs) {
  const margin = Math.min(Math.max(remainingMs / 10, 30_000), 300_000);
  return Math.min(Math.max(remainingMs - margin, remainingMs / 2, 1_000), MAX_TIMER_MS);
}

/**
 * @param {string | null} value of a `Retry-After` header: seconds, or a date
 * @param {number} now
 * @returns {number | undefined} milliseconds from now
 */
export function retryAfterMs(value, now) {
  if (!value) return undefined;
  const at = /^\s*\d+\s*$/.test(value) ? now + Number(value) * 1_000 : Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

/**
 * SUBSCRIBE frames for these channels, each within the bounds of the server.
 * @template {{ channelId: string, position: ChannelPosition, onPresence?: Function }} T
 * @param {T[]} subscriptions
 * @param {number} maxFrameBytes
 * @param {() => string} nextId
 * @returns {{ frame: { type: string, id: string, channels: object[] }, channels: T[] }[]}
 */
export function subscribeFrames(subscriptions, maxFrameBytes, nextId) {
  const entry = ({ channelId, position: { lastSeq: afterSeq, epoch }, onPresence }) => ({
    channelId,
    ...(afterSeq === undefined ? {} : { afterSeq, epoch }),
    ...(onPresence ? { presence: true } : {}),
  });
  return chunks(subscriptions, maxFrameBytes, (one) => JSON.stringify(entry(one))).map((channels) => ({
    frame: { type: "SUBSCRIBE", id: nextId(), channels: channels.map(entry) },
    channels,
  }));
}

/** UNSUBSCRIBE frames, bounded likewise. */
function unsubscribeFrames(channelIds, maxFrameBytes, nextId) {
  const encode = (/** @type {string} */ channelId) => JSON.stringify(channelId);
  return chunks(channelIds, maxFrameBytes, encode).map((ids) => ({ type: "UNSUBSCRIBE", id: nextId(), channelIds: ids }));
}

function chunks(items, maxFrameBytes, encode) {
  const room = maxFrameBytes - 100;
  /** @type {any[][]} */
  const all = [];
  let used = Infinity;
  for (const item of items) {
    const bytes = encode(item).length + 1;
    if (used + bytes > room || all[all.length - 1].length >= MAX_CHANNELS) {
      all.push([]);
      used = 0;
    }
    all[all.length - 1].push(item);
    used += bytes;
  }
  return all;
}

/** A random UUID. `crypto.randomUUID` is missing on pages that came over plain HTTP. */
export function newClientMessageId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** One WebSocket connection, from opening it to its end, which is told once. */
class Link {
  #socket;
  #handlers;
  #timers = new Timers();
  #ended = false;
  #heartbeatMs = 30_000;
  maxFrameBytes = 16 * 1024;

  constructor(url, token, connectTimeoutMs, handlers) {
    this.#handlers = handlers;
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => this.send({ type: "AUTH", token });
    this.#socket.onmessage = ({ data }) => this.#onData(data);
    this.#socket.onclose = ({ code, reason }) => this.#end(new ChatError("DISCONNECTED", reason || `closed (${code})`, { status: code }));
    // A close event follows in browsers; not everywhere.
    this.#socket.onerror = () => this.#timers.set("error", 100, () => this.#fail("DISCONNECTED", "the connection failed"));
    this.#timers.set("hello", connectTimeoutMs, () => this.#fail("TIMEOUT", "no HELLO in time"));
  }

  send(frame) {
    if (this.#ended || this.#socket.readyState !== 1) return;
    this.#socket.send(JSON.stringify(frame));
  }

  /** Is the other end there? It has this long to say anything. */
  probe(deadlineMs) {
    if (this.#timers.has("hello")) return;
    this.send({ type: "PING" });
    this.#timers.set("silence", deadlineMs, () => this.#fail("TIMEOUT", "the server is silent"));
  }

  /** Ends it without telling. */
  close(code, reason) {
    this.#ended = true;
    this.#timers.clearAll();
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = this.#socket.onerror = null;
    this.#socket.close(code, reason);
  }

  #onData(data) {
    if (this.#ended || typeof data !== "string") return;
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return this.#handlers.onError(new ChatError("BAD_FRAME", "the server sent what is not JSON"));
    }
    if (typeof frame?.type !== "string") return;
    if (frame.type === "HELLO") {
      if (frame.protocol !== 1) return this.#end(new ChatError("PROTOCOL_VERSION", "unknown protocol", { status: 4503 }));
      this.#timers.clear("hello");
      this.#heartbeatMs = frame.heartbeatMs ?? this.#heartbeatMs;
      this.maxFrameBytes = frame.maxFrameBytes ?? this.maxFrameBytes;
      this.#handlers.onHello(frame);
    }
    this.#heard();
    if (frame.type !== "HELLO") this.#handlers.onFrame(frame);
  }

  /** Any frame counts as life. */
  #heard() {
    if (this.#ended || this.#timers.has("hello")) return;
    this.#timers.clear("silence");
    this.#timers.set("ping", this.#heartbeatMs / 2, () => this.probe(this.#heartbeatMs / 2));
  }

  #fail(code, message) {
    this.#end(new ChatError(code, message));
  }

  #end(error) {
    if (this.#ended) return;
    this.close(1000, "");
    this.#handlers.onEnd(error);
  }
}

/** The HTTP API: token, time limit, retries, problems as errors. */
class Api {
  #baseUrl;
  #tokens;
  #timeoutMs;
  #attempts;

  constructor(baseUrl, tokens, timeoutMs, attempts) {
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#tokens = tokens;
    this.#timeoutMs = timeoutMs;
    this.#attempts = attempts;
  }

  /** `repeatable`: a second try does no harm. All methods but POST are by nature. */
  async request(method, path, { query, body, signal, repeatable = method !== "POST" }) {
    let renewed = false;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#once(method, path, query, body, signal);
      } catch (error) {
        if (!(error instanceof ChatError) || signal?.aborted) throw error;
        if (error.status === 401 && this.#tokens.renewable && !renewed) {
          renewed = true;
          this.#tokens.reject();
          continue;
        }
        const delay = this.#retryDelay(error, attempt, repeatable);
        if (delay === undefined) throw error;
        await sleep(delay, signal);
      }
    }
  }

  #retryDelay(error, attempt, repeatable) {
    if (attempt + 1 >= this.#attempts) return undefined;
    // Refused for now and not carried out: safe to repeat whatever it is.
    const refusedForNow = error.status === 429;
    const unclear = error.status === undefined || error.status === 408 || error.status >= 500;
    if (!refusedForNow && !(unclear && repeatable && error.code !== "NO_TOKEN")) return undefined;
    const asked = error.retryAfterMs ?? 0;
    return asked > MAX_RETRY_AFTER_MS ? undefined : asked + backoffDelay(attempt);
  }

  async #once(method, path, query, body, signal) {
    const headers = new Headers({ accept: "application/json" });
    headers.set("authorization", `Bearer ${await this.#currentToken()}`);
    if (body !== undefined) headers.set("content-type", "application/json");
    const timeout = AbortSignal.timeout(this.#timeoutMs);
    try {
      const response = await fetch(this.#baseUrl + path + queryString(query), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      const text = await response.text();
      if (!response.ok) throw problemError(response, text);
      return text === "" ? undefined : JSON.parse(text);
    } catch (error) {
      if (error instanceof ChatError || signal?.aborted) throw error;
      if (error instanceof SyntaxError) throw new ChatError("BAD_RESPONSE", "the answer is not JSON", { status: 502 });
      if (timeout.aborted) throw new ChatError("TIMEOUT", `no answer within ${this.#timeoutMs} ms`);
      throw new ChatError("NETWORK", "the server cannot be reached", { cause: error });
    }
  }

  async #currentToken() {
    try {
      return await this.#tokens.current();
    } catch (cause) {
      throw new ChatError("NO_TOKEN", "no token could be fetched", { cause });
    }
  }
}

function queryString(query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([key, value]) => [key, String(value)]))}`;
}

function problemError(response, text) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // A proxy in between answers with something else.
  }
  const message = problem?.detail ?? problem?.title ?? `HTTP status ${response.status}`;
  return new ChatError(problem?.code ?? `HTTP_${response.status}`, message, {
    status: response.status,
    problem,
    retryAfterMs: retryAfterMs(response.headers.get("retry-after"), Date.now()),
  });
}

/** The token in use, and how to get another. */
class Tokens {
  /** @type {string | undefined} */
  #token;
  #getToken;
  #rejected = false;
  /** @type {Promise<string> | undefined} several callers share one fetch */
  #fetching;

  constructor(token, getToken) {
    if (!token && !getToken) throw new ChatError("NO_TOKEN", "token or getToken is needed");
    this.#token = token;
    this.#getToken = getToken;
  }

  get renewable() {
    return this.#getToken !== undefined;
  }

  async current() {
    return this.#token ?? this.renew(this.#rejected ? "rejected" : "first");
  }

  /** The server does not take it any more. */
  reject() {
    if (!this.#getToken) return;
    this.#token = undefined;
    this.#rejected = true;
  }

  renew(reason) {
    this.#fetching ??= this.#fetch(reason).finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  async #fetch(reason) {
    const result = await this.#getToken(reason);
    const token = typeof result === "string" ? result : result?.token;
    if (typeof token !== "string" || token === "") throw new Error("getToken gave no token");
    this.#token = token;
    this.#rejected = false;
    return token;
  }
}

/** Named timers: setting one again replaces it, so there is at most one of each. */
class Timers {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();

  set(name, delayMs, action) {
    this.clear(name);
    const timer = setTimeout(() => {
      this.#timers.delete(name);
      action();
    }, delayMs);
    this.#timers.set(name, timer);
  }

  has(name) {
    return this.#timers.has(name);
  }

  clear(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  clearAll() {
    for (const name of [...this.#timers.keys()]) this.clear(name);
  }
}

function sleep(delayMs, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve(undefined);
    }, delayMs);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** An application's handler that throws must not break the client; the error is still reported. */
function guard(call) {
  try {
    call();
  } catch (error) {
    if (typeof globalThis.reportError === "function") globalThis.reportError(error);
    else console.error(error);
  }
}
