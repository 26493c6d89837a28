// The client against a server on real sockets that does what a healthy one rarely does.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { ChatClient, ChatError } from "../chat-client.js";
import { ScriptedServer, until } from "./support.js";

let server;
let chat;
let states;

beforeEach(async () => {
  server = await ScriptedServer.start();
  states = [];
});

afterEach(async () => {
  chat?.close();
  await server.stop();
});

function client(options = {}) {
  chat = new ChatClient({ httpUrl: server.httpUrl, wsUrls: [server.wsUrl], token: "token", ...options });
  chat.on("state", ({ state }) => states.push(state));
  return chat;
}

/** Subscribes and notes what the application is told. */
function listen(channelId, options = {}) {
  const heard = { events: [], resets: [], states: [] };
  heard.subscription = chat.subscribe(channelId, {
    ...options,
    onEvent: ({ seq }) => heard.events.push(seq),
    onReset: (reset) => heard.resets.push(reset),
    onState: ({ state, code }) => heard.states.push(code ? `${state} ${code}` : state),
  });
  return heard;
}

const event = (seq, channelId = "a") => ({ type: "MESSAGE", channelId, seq });

async function online(hello) {
  const connected = chat.connect();
  const peer = await server.connection();
  await peer.greet(hello);
  await connected;
  return peer;
}

/** Answers one SUBSCRIBE of channel `a` with these events. */
async function subscribed(peer, headSeq, events = []) {
  const frame = await peer.receive("SUBSCRIBE");
  peer.send(...events, { type: "SUBSCRIBED", id: frame.id, channelId: "a", headSeq, epoch: "e", replayed: events.length });
  return frame;
}

test("the token goes into the first frame, and all channels into one SUBSCRIBE", async () => {
  client();
  listen("a", { afterSeq: 3, epoch: "e" });
  listen("b");
  const connected = chat.connect();
  const peer = await server.connection();
  assert.equal(await peer.greet(), "token");
  await connected;
  assert.deepEqual(chat.state, { state: "online", url: server.wsUrl, instanceId: "i", sessionId: "s", userId: "u" });
  const { channels } = await peer.receive("SUBSCRIBE");
  assert.deepEqual(channels, [{ channelId: "a", afterSeq: 3, epoch: "e" }, { channelId: "b" }]);
});

test("after a broken connection it goes on behind the last event", async () => {
  client();
  const heard = listen("a", { afterSeq: 0 });
  const first = await online();
  await subscribed(first, 2, [event(1), event(2)]);
  await until("live", () => heard.subscription.state === "live");
  first.reset();

  const second = await server.connection();
  await second.greet();
  const frame = await subscribed(second, 4, [event(2), event(3), event(4)]);
  assert.deepEqual(frame.channels, [{ channelId: "a", afterSeq: 2, epoch: "e" }]);
  await until("live again", () => heard.subscription.state === "live");
  assert.deepEqual(heard.events, [1, 2, 3, 4]);
  assert.deepEqual(states, ["connecting", "online", "offline", "connecting", "online"]);
});

test("a hole is filled before what came after it", async () => {
  client();
  const heard = listen("a", { afterSeq: 0 });
  const peer = await online();
  await subscribed(peer, 1, [event(1)]);
  peer.send(event(4));
  const frame = await subscribed(peer, 4, [event(2), event(3), event(4)]);
  assert.equal(frame.channels[0].afterSeq, 1);
  await until("all four", () => heard.events.length === 4);
  assert.deepEqual(heard.events, [1, 2, 3, 4]);
});

const reset = (reason, more = {}) => ({ type: "RESET", channelId: "a", reason, headSeq: 7, oldestSeq: 1, epoch: "e", ...more });

/** Answers the pages of the log of channel `a`, which has these events. */
function logged(lastSeq, { oldestSeq = 1, epoch = "e", perPage = 2 } = {}) {
  const pages = [];
  server.answer = ({ url }) => {
    const after = Number(new URL(url, server.httpUrl).searchParams.get("afterSeq"));
    pages.push(after);
    const items = [];
    for (let seq = after + 1; seq <= Math.min(after + perPage, lastSeq); seq += 1) items.push(event(seq));
    return { status: 200, body: { items, headSeq: lastSeq, oldestSeq, epoch, page: { hasNext: after + perPage < lastSeq } } };
  };
  return pages;
}

test("a reset without catching up tells the application and goes on from the head", async () => {
  client();
  const heard = listen("a", { afterSeq: 1, epoch: "old", catchUp: false });
  const peer = await online();
  const { id } = await peer.receive("SUBSCRIBE");
  peer.send(reset("EPOCH_CHANGED"), { type: "SUBSCRIBED", id, channelId: "a", headSeq: 7, epoch: "e", replayed: 0 }, event(8));
  await until("the event after the reset", () => heard.events.length === 1);
  assert.deepEqual(heard.events, [8]);
  assert.deepEqual(heard.resets, [{ reason: "EPOCH_CHANGED", headSeq: 7, oldestSeq: 1, epoch: "e", afterSeq: 7 }]);
});

test("what is too much to replay is loaded, and then it goes on live", async () => {
  const pages = logged(8);
  client();
  const heard = listen("a", { afterSeq: 1, epoch: "e" });
  const peer = await online();
  const { id } = await peer.receive("SUBSCRIBE");
  peer.send(reset("TOO_MANY"), { type: "SUBSCRIBED", id, channelId: "a", headSeq: 7, epoch: "e", replayed: 0 }, event(10));
  const frame = await subscribed(peer, 10, [event(9), event(10)]);
  assert.deepEqual(frame.channels, [{ channelId: "a", afterSeq: 8, epoch: "e" }]);
  await until("live", () => heard.subscription.state === "live");
  assert.deepEqual(heard.events, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.deepEqual(heard.resets, []);
  assert.deepEqual(pages, [1, 3, 5, 7]);
});

test("what is gone is told, and the rest is loaded", async () => {
  const pages = logged(7, { oldestSeq: 5 });
  client();
  const heard = listen("a", { afterSeq: 1, epoch: "e" });
  const peer = await online();
  await peer.receive("SUBSCRIBE");
  peer.send(reset("TOO_OLD", { oldestSeq: 5 }));
  await subscribed(peer, 7);
  await until("live", () => heard.subscription.state === "live");
  assert.deepEqual(heard.events, [5, 6, 7]);
  assert.deepEqual(heard.resets, [{ reason: "TOO_OLD", headSeq: 7, oldestSeq: 5, epoch: "e", afterSeq: 4 }]);
  assert.deepEqual(pages, [4, 6]);
});

test("another log is told and comes from its beginning, also if the server does not announce it", async () => {
  logged(3);
  client();
  const heard = listen("a", { afterSeq: 9, epoch: "old" });
  const peer = await online();
  await subscribed(peer, 3);
  assert.equal((await subscribed(peer, 3)).channels[0].afterSeq, 3);
  await until("live", () => heard.subscription.state === "live");
  assert.deepEqual(heard.events, [1, 2, 3]);
  assert.deepEqual(heard.resets, [{ reason: "EPOCH_CHANGED", headSeq: 3, oldestSeq: 1, epoch: "e", afterSeq: 0 }]);
});

test("a load that fails is begun again through the server, and one of another connection is forgotten", async () => {
  client();
  const errors = [];
  chat.on("error", ({ code }) => errors.push(code));
  const heard = listen("a", { afterSeq: 1, epoch: "e" });
  const first = await online();
  await first.receive("SUBSCRIBE");
  server.answer = () => ({ status: 404, body: { code: "CHANNEL_NOT_FOUND" } });
  first.send(reset("TOO_MANY"));
  await first.receive("SUBSCRIBE");
  assert.deepEqual(errors, ["CHANNEL_NOT_FOUND"]);

  let release;
  const asked = new Promise((resolve) => {
    server.answer = () => new Promise((answer) => resolve((release = answer)));
  });
  first.send(reset("TOO_MANY"));
  await asked;
  first.reset();
  const second = await server.connection();
  await second.greet();
  await subscribed(second, 3, [event(2), event(3)]);
  release({ status: 200, body: { items: [event(4)], headSeq: 4, oldestSeq: 1, epoch: "e", page: { hasNext: false } } });
  await until("live", () => heard.subscription.state === "live");
  second.send(event(4));
  await until("the live event", () => heard.events.length === 3);
  assert.deepEqual(heard.events, [2, 3, 4]);
  assert.equal(errors.length, 1);
});

test("a subscription that is refused ends, one that may be retried is", async () => {
  client();
  const forbidden = listen("forbidden");
  const later = listen("a");
  const peer = await online();
  const { id } = await peer.receive("SUBSCRIBE");
  peer.send(
    { type: "ERROR", id, channelId: "forbidden", code: "FORBIDDEN", message: "no", retryable: false },
    { type: "ERROR", id, channelId: "a", code: "UNAVAILABLE", message: "later", retryable: true, retryAfterMs: 1 },
  );
  const again = await subscribed(peer, 0);
  assert.deepEqual(again.channels, [{ channelId: "a" }]);
  await until("live", () => later.subscription.state === "live");
  assert.deepEqual(forbidden.states, ["closed FORBIDDEN"]);
});

test("a request over the rate is repeated although the error does not name it", async () => {
  client();
  const heard = listen("a");
  const peer = await online();
  await peer.receive("SUBSCRIBE");
  peer.send({ type: "ERROR", code: "RATE_LIMITED", message: "too many frames", retryable: true, retryAfterMs: 5 });
  await subscribed(peer, 0);
  await until("live", () => heard.subscription.state === "live");
});

test("removed from a channel, it hears nothing more and does not ask again", async () => {
  client();
  const heard = listen("a", { afterSeq: 0 });
  const peer = await online();
  await subscribed(peer, 0);
  peer.send({ type: "UNSUBSCRIBED", channelId: "a", reason: "REMOVED" }, event(1), { type: "USER_STATUS_CHANGED" });
  await until("the end", () => heard.states.at(-1) === "closed REMOVED");
  assert.deepEqual(heard.events, []);
});

test("unsubscribing and subscribing again begins anew", async () => {
  client();
  const first = listen("a", { afterSeq: 0 });
  const peer = await online();
  await subscribed(peer, 0);
  await until("live", () => first.subscription.state === "live");
  first.subscription.unsubscribe();
  const second = listen("a", { afterSeq: 0 });
  const { id } = await peer.receive("UNSUBSCRIBE");
  peer.send({ type: "UNSUBSCRIBED", id, channelId: "a", reason: "REQUESTED" });
  await subscribed(peer, 1, [event(1)]);
  await until("live", () => second.subscription.state === "live");
  assert.deepEqual([first.events, second.events], [[], [1]]);
});

test("RECONNECT is obeyed, at the next instance", async () => {
  const other = await ScriptedServer.start();
  try {
    client({ wsUrls: [server.wsUrl, other.wsUrl] });
    const peer = await online();
    peer.send({ type: "RECONNECT", afterMs: 20 });
    await (await other.connection()).greet();
    await until("online elsewhere", () => chat.state.state === "online" && chat.state.url === other.wsUrl);
    await until("the old one was closed", () => peer.closed);
    assert.equal(peer.closeCode, 1000);
  } finally {
    chat.close();
    await other.stop();
  }
});

test("an instance that refuses connections is passed over", async () => {
  const gone = await ScriptedServer.start();
  const { wsUrl } = gone;
  await gone.stop();
  client({ wsUrls: [wsUrl, server.wsUrl] });
  const connected = chat.connect();
  await (await server.connection()).greet();
  await connected;
  assert.deepEqual(states, ["connecting", "offline", "connecting", "online"]);
});

for (const [code, name] of [
  [4501, "FORBIDDEN"],
  [4502, "TOO_MANY_CONNECTIONS"],
  [4503, "PROTOCOL_VERSION"],
  [4004, "TOKEN_REJECTED"],
]) {
  test(`close code ${code} is final`, async () => {
    client();
    const connected = chat.connect();
    (await server.connection()).close(code, "no");
    await assert.rejects(connected, { code: name, status: code, message: "no" });
    assert.deepEqual(states, ["connecting", "closed"]);
    assert.equal(server.waiting, 0);
  });
}

test("a rejected token is fetched again once", async () => {
  const reasons = [];
  client({ token: undefined, getToken: (reason) => reasons.push(reason) && `token ${reasons.length}` });
  const connected = chat.connect();
  const first = await server.connection();
  assert.equal((await first.receive("AUTH")).token, "token 1");
  first.close(4004);
  const second = await server.connection();
  assert.equal((await second.receive("AUTH")).token, "token 2");
  second.close(4004);
  await assert.rejects(connected, { code: "TOKEN_REJECTED" });
  assert.deepEqual(reasons, ["first", "rejected"]);
});

test("a token is renewed before it ends", async () => {
  let count = 0;
  client({ token: undefined, getToken: async () => ({ token: `token ${++count}` }) });
  const peer = await online({ expiresAt: new Date(Date.now() + 1_500).toISOString() });
  assert.equal((await peer.receive("AUTH")).token, "token 2");
  assert.equal(chat.state.state, "online");
});

test("a silent server is noticed and left", async () => {
  client();
  const peer = await online({ heartbeatMs: 100 });
  await peer.receive("PING");
  await server.connection();
  assert.ok(states.includes("offline"));
});

test("a server that answers PING is kept", async () => {
  client();
  const peer = await online({ heartbeatMs: 60 });
  for (let i = 0; i < 5; i += 1) {
    await peer.receive("PING");
    peer.send({ type: "PONG" });
  }
  assert.deepEqual(states, ["connecting", "online"]);
});

test("frames that nobody understands do no harm", async () => {
  client();
  const signals = [];
  const errors = [];
  chat.on("signal", ({ type }) => signals.push(type));
  chat.on("error", ({ code }) => errors.push(code));
  const heard = listen("a", { afterSeq: 0 });
  const peer = await online();
  peer.send("not json", "[]", "null", "{}", { type: "NEW_KIND" }, event(1, "unknown channel"));
  await subscribed(peer, 1, [{ ...event(1), type: "POLL" }]);
  await until("live", () => heard.subscription.state === "live");
  assert.deepEqual([heard.events, signals, errors], [[1], ["NEW_KIND"], ["BAD_FRAME"]]);
});

test("a handler that throws does not break the client", async (t) => {
  const reported = t.mock.method(console, "error", () => {});
  client();
  const seqs = [];
  chat.subscribe("a", {
    afterSeq: 0,
    onEvent: ({ seq }) => {
      seqs.push(seq);
      throw new Error("a fault of the application");
    },
  });
  const peer = await online();
  await subscribed(peer, 2, [event(1), event(2)]);
  await until("both", () => seqs.length === 2);
  assert.equal(reported.mock.callCount(), 2);
});

test("closed by hand it stays away, and comes back where it was", async () => {
  client();
  const heard = listen("a", { afterSeq: 0 });
  const first = await online();
  await subscribed(first, 1, [event(1)]);
  await until("live", () => heard.subscription.state === "live");
  chat.close();
  await until("closed", () => first.closed);
  assert.equal(server.waiting, 0);
  const second = await online();
  const frame = await second.receive("SUBSCRIBE");
  assert.equal(frame.channels[0].afterSeq, 1);
});

test("a message is tried again with the same id until it is stored", async () => {
  client();
  const answers = [null, { status: 503, headers: { "retry-after": "0" } }, { status: 429 }, { status: 201, body: { seq: 1 } }];
  server.answer = () => answers.shift();
  assert.deepEqual(await chat.send("a", "hello"), { seq: 1 });
  const [first, ...others] = server.requests.map(({ body }) => body);
  assert.deepEqual({ ...first, clientMessageId: "" }, { channelId: "a", messageType: "TEXT", payload: { text: "hello" }, clientMessageId: "" });
  assert.equal(others.length, 3);
  for (const other of others) assert.deepEqual(other, first);
});

test("messages of a channel are stored in the order in which they were sent", async () => {
  client();
  let failures = 2;
  server.answer = () => (failures-- > 0 ? { status: 503 } : { status: 201, body: {} });
  await Promise.all(["1", "2", "3"].map((text) => chat.send("a", text)));
  const texts = server.requests.map(({ body }) => body.payload.text);
  assert.deepEqual(texts, ["1", "1", "1", "2", "3"]);
});

test("a refusal is not repeated and says why", async () => {
  client();
  const problem = { status: 422, code: "VALIDATION_FAILED", detail: "The request breaks 1 rule.", errors: [] };
  server.answer = () => ({ status: 422, body: problem });
  const failed = await chat.send("a", "").catch((error) => error);
  assert.ok(failed instanceof ChatError);
  assert.deepEqual([failed.code, failed.status, failed.message], ["VALIDATION_FAILED", 422, problem.detail]);
  assert.deepEqual(failed.problem, problem);
  assert.equal(server.requests.length, 1);
});

test("tries are bounded", async () => {
  client({ sendAttempts: 3 });
  server.answer = () => ({ status: 503 });
  await assert.rejects(chat.send("a", "hello"), { code: "HTTP_503", status: 503 });
  assert.equal(server.requests.length, 3);
});

test("it does not wait for a Retry-After that is too long", async () => {
  client();
  server.answer = () => ({ status: 429, headers: { "retry-after": "3600" } });
  await assert.rejects(chat.send("a", "hello"), { status: 429, retryAfterMs: 3_600_000 });
  assert.equal(server.requests.length, 1);
});

test("a call that is not safe to repeat is not repeated when its outcome is unknown", async () => {
  client();
  server.answer = () => null;
  await assert.rejects(chat.request("POST", "/api/v1/channels", { body: {} }), { code: "NETWORK" });
  assert.equal(server.requests.length, 1);
});

test("a server that does not answer in time is asked again", async () => {
  client({ requestTimeoutMs: 50, sendAttempts: 2 });
  server.answer = () => new Promise(() => {});
  await assert.rejects(chat.send("a", "hello"), { code: "TIMEOUT" });
  assert.equal(server.requests.length, 2);
});

test("an expired token is renewed once for a request", async () => {
  let count = 0;
  client({ token: undefined, getToken: () => `token ${++count}` });
  server.answer = ({ headers }) =>
    headers.authorization === "Bearer token 2" ? { status: 200, body: { items: [] } } : { status: 401 };
  assert.deepEqual(await chat.history("a", { limit: 5 }), { items: [] });
  assert.equal(server.requests.at(-1).url, "/api/v1/channels/a/messages?limit=5");
  server.answer = () => ({ status: 401 });
  await assert.rejects(chat.history("a"), { status: 401 });
  assert.equal(count, 3);
});

test("a request can be given up", async () => {
  client();
  server.answer = () => ({ status: 503, headers: { "retry-after": "20" } });
  const giveUp = new AbortController();
  const sent = chat.send("a", "hello", { signal: giveUp.signal });
  await until("the first try", () => server.requests.length === 1);
  giveUp.abort();
  await assert.rejects(sent, { name: "AbortError" });
});

test("bounds of the client are kept", () => {
  client();
  for (let i = 0; i < 256; i += 1) chat.subscribe(`channel ${i}`);
  assert.throws(() => chat.subscribe("one more"), { code: "TOO_MANY_CHANNELS" });
  assert.throws(() => chat.subscribe("channel 1"), { code: "ALREADY_SUBSCRIBED" });
  assert.throws(() => new ChatClient({ httpUrl: "http://127.0.0.1" }), { code: "NO_TOKEN" });
  assert.throws(() => new ChatClient({ token: "t" }), { code: "NO_HTTP_URL" });
});
