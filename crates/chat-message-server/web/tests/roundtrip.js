// Two clients against real servers: one sends numbered messages, the other listens from the beginning of the log until it
// has heard them all. Its last line of output is what was heard. Whoever starts it ends servers meanwhile.

import { ChatClient } from "../chat-client.js";

const { httpUrl, wsUrls, sender, listener, channelId, messages } = JSON.parse(process.argv[2]);
const from = new ChatClient({ httpUrl, token: sender, sendAttempts: 30 });
const to = new ChatClient({ httpUrl, wsUrls, token: listener });

const events = [];
let heard = 0;
const all = new Promise((resolve) => {
  to.subscribe(channelId, {
    afterSeq: 0,
    onEvent: (event) => {
      events.push(event);
      if (event.type !== "MESSAGE") return;
      heard += 1;
      console.log(`heard ${heard}`);
      if (event.content === `message ${messages - 1}`) resolve();
    },
    onReset: (reset) => console.log("reset", reset),
  });
});

to.on("state", ({ state, url, error }) => console.log(state, url ?? "", error?.message ?? ""));
await to.connect();
for (let number = 0; number < messages; number += 1) {
  await from.send(channelId, `message ${number}`);
  // Not faster than servers can be ended and started.
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await all;
to.close();
console.log(JSON.stringify(events));
