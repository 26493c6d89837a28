// The parts of the client that do no I/O.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ChannelPosition,
  backoffDelay,
  newClientMessageId,
  renewalDelay,
  retryAfterMs,
  subscribeFrames,
} from "../chat-client.js";
import { randomNumbers } from "./support.js";

test("events are delivered in order, repeats are dropped, a hole asks for a replay once", () => {
  const position = live({ afterSeq: 4 });
  assert.equal(position.event(5), "deliver");
  assert.equal(position.event(5), "drop");
  assert.equal(position.event(3), "drop");
  assert.equal(position.event(8), "resubscribe");
  position.request("again");
  assert.equal(position.event(9), "drop");
  assert.deepEqual([6, 7, 8, 9].map((seq) => position.event(seq)), Array(4).fill("deliver"));
  assert.equal(position.subscribed({ id: "again", headSeq: 9 }), "live");
});

test("an event that was dropped while a replay ran is asked for when the replay ends before it", () => {
  const position = new ChannelPosition({ afterSeq: 1 });
  position.request("a");
  assert.equal(position.event(4), "drop");
  assert.equal(position.event(2), "deliver");
  assert.equal(position.subscribed({ id: "a", headSeq: 2 }), "resubscribe");
});

test("without afterSeq a channel begins at its head", () => {
  const position = new ChannelPosition();
  position.request("a");
  assert.equal(position.subscribed({ id: "a", headSeq: 7, epoch: "e" }), "live");
  assert.deepEqual([position.lastSeq, position.epoch], [7, "e"]);
  assert.equal(position.event(7), "drop");
  assert.equal(position.event(8), "deliver");
});

test("a replay that ends before the head is asked for again", () => {
  const position = new ChannelPosition({ afterSeq: 3 });
  position.request("a");
  position.event(4);
  assert.equal(position.subscribed({ id: "a", headSeq: 6 }), "resubscribe");
});

test("answers to older requests are ignored", () => {
  const position = new ChannelPosition({ afterSeq: 3 });
  position.request("a");
  position.request("b");
  assert.equal(position.subscribed({ id: "a", headSeq: 9 }), "ignore");
  position.disconnected();
  assert.equal(position.subscribed({ id: "b", headSeq: 9 }), "ignore");
  assert.equal(position.lastSeq, 3);
});

test("a reset goes on from its head, in the new epoch", () => {
  const position = new ChannelPosition({ afterSeq: 900, epoch: "old" });
  position.request("a");
  position.reset({ headSeq: 5, epoch: "new" });
  assert.equal(position.subscribed({ id: "a", headSeq: 5, epoch: "new" }), "live");
  assert.deepEqual([position.lastSeq, position.epoch], [5, "new"]);
  assert.equal(position.event(6), "deliver");
});

test("a live channel can be reset, with or without a SUBSCRIBED after it", () => {
  const position = live({ afterSeq: 9, epoch: "old" });
  position.reset({ headSeq: 2, epoch: "new" });
  assert.equal(position.event(4), "resubscribe");
  assert.equal(position.subscribed({ headSeq: 4, epoch: "new" }), "resubscribe");
  position.request("again");
  assert.deepEqual([position.event(3), position.event(4)], ["deliver", "deliver"]);
  assert.equal(position.subscribed({ id: "again", headSeq: 4, epoch: "new" }), "live");
});

test("what came between a reset and its SUBSCRIBED is not lost", () => {
  const position = new ChannelPosition({ afterSeq: 900, epoch: "old" });
  position.request("a");
  position.reset({ headSeq: 5, epoch: "new" });
  assert.equal(position.subscribed({ id: "a", headSeq: 6, epoch: "new" }), "resubscribe");
  assert.equal(position.lastSeq, 5);
});

test("another log that the server did not announce is a reset too", () => {
  const otherEpoch = new ChannelPosition({ afterSeq: 3, epoch: "old" });
  otherEpoch.request("a");
  assert.equal(otherEpoch.subscribed({ id: "a", headSeq: 3, epoch: "new" }), "reset");
  const beyond = new ChannelPosition({ afterSeq: 30 });
  beyond.request("a");
  assert.equal(beyond.subscribed({ id: "a", headSeq: 3, epoch: "new" }), "reset");
  assert.equal(beyond.lastSeq, 3);
});

test("whatever the network drops or repeats, each event is delivered once and in order", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = randomNumbers(seed);
    const log = Array.from({ length: 60 }, (_, i) => i + 1);
    const position = new ChannelPosition({ afterSeq: 0, epoch: "e" });
    const delivered = [];
    const hear = (seq) => {
      const verdict = position.event(seq);
      if (verdict === "deliver") delivered.push(seq);
      return verdict;
    };
    // More than this is not replayed, but loaded; live events go on meanwhile.
    const limit = 5 + Math.floor(random() * 60);
    const load = (head) => {
      assert.equal(position.load({ reason: "TOO_MANY", oldestSeq: 1, epoch: "e" }, "load"), true);
      for (const seq of log.slice(position.lastSeq, head - 1)) {
        if (random() < 0.05) return false;
        if (random() < 0.2) assert.notEqual(hear(head), "resubscribe");
        hear(seq);
      }
      return true;
    };
    // The server's side of a SUBSCRIBE, over a link that may break in the middle.
    const replay = (head) => {
      if (head - position.lastSeq > limit && !load(head)) return position.disconnected();
      position.request(`r${head}`);
      const events = log.slice(position.lastSeq, head);
      for (const seq of events) {
        if (random() < 0.05) return position.disconnected();
        hear(seq);
      }
      return position.subscribed({ id: `r${head}`, headSeq: head, epoch: "e" });
    };
    for (const seq of log) {
      if (random() < 0.2) position.disconnected();
      else if (random() < 0.2) replay(seq - 1);
      if (random() < 0.7 && hear(seq) === "resubscribe") replay(seq);
      if (random() < 0.2) hear(Math.max(1, seq - Math.floor(random() * 10)));
    }
    let verdict;
    while (verdict !== "live") verdict = replay(log.length);
    assert.deepEqual(delivered, log, `seed ${seed}`);
  }
});

test("backoff grows to its bound and is spread over all of it", () => {
  const bounds = { baseMs: 250, maxMs: 10_000 };
  const most = [0, 1, 2, 5, 6, 1_000].map((attempt) => backoffDelay(attempt, bounds, () => 1));
  assert.deepEqual(most, [250, 500, 1_000, 8_000, 10_000, 10_000]);
  assert.equal(backoffDelay(3, bounds, () => 0), 0);
  for (let i = 0; i < 1_000; i += 1) assert.ok(backoffDelay(4) < 4_000);
});

test("tokens are renewed before they end, and never in a tight loop", () => {
  assert.equal(renewalDelay(3_600_000), 3_300_000);
  assert.equal(renewalDelay(60_000), 30_000);
  assert.equal(renewalDelay(20_000), 10_000);
  assert.equal(renewalDelay(-5_000), 1_000);
  assert.ok(renewalDelay(1e12) < 2 ** 31);
});

test("Retry-After is read as seconds and as a date", () => {
  const now = Date.parse("2026-11-22T09:00:00Z");
  assert.equal(retryAfterMs("3", now), 3_000);
  assert.equal(retryAfterMs("Sun, 22 Nov 2026 09:00:05 GMT", now), 5_000);
  assert.equal(retryAfterMs("Sun, 22 Nov 2026 08:00:00 GMT", now), 0);
  assert.equal(retryAfterMs(null, now), undefined);
  assert.equal(retryAfterMs("soon", now), undefined);
});

test("SUBSCRIBE frames keep to the server's bounds and name each channel once", () => {
  const many = Array.from({ length: 600 }, () => ({
    channelId: newClientMessageId(),
    position: new ChannelPosition({ afterSeq: 123_456, epoch: newClientMessageId() }),
  }));
  let id = 0;
  const frames = subscribeFrames(many, 16 * 1024, () => `c${++id}`);
  const named = frames.flatMap(({ frame }) => frame.channels.map(({ channelId }) => channelId));
  assert.deepEqual(named, many.map(({ channelId }) => channelId));
  for (const { frame, channels } of frames) {
    assert.ok(JSON.stringify(frame).length <= 16 * 1024);
    assert.equal(frame.channels.length, channels.length);
  }
  const bare = many.map(({ channelId }) => ({ channelId, position: new ChannelPosition() }));
  assert.deepEqual(
    subscribeFrames(bare, 1 << 20, () => "c").map(({ channels }) => channels.length),
    [256, 256, 88],
  );
  assert.deepEqual(subscribeFrames([], 1 << 20, () => "c"), []);
  const watched = { channelId: "a", position: new ChannelPosition({ afterSeq: 1, epoch: "e" }), onPresence: () => {} };
  const [{ frame }] = subscribeFrames([watched], 1 << 20, () => "c");
  assert.deepEqual(frame.channels, [{ channelId: "a", afterSeq: 1, epoch: "e", presence: true }]);
});

test("message ids are random UUIDs", () => {
  const ids = new Set(Array.from({ length: 100 }, newClientMessageId));
  assert.equal(ids.size, 100);
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

function live(start) {
  const position = new ChannelPosition(start);
  position.request("first");
  assert.equal(position.subscribed({ id: "first", headSeq: start.afterSeq }), "live");
  return position;
}
