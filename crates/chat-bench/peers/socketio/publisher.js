// `POST /ROOM` with a JSON body sends it to the room through Redis.

import { createServer } from "node:http";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

const redis = createClient({ url: process.env.REDIS_URL });
await redis.connect();
const emitter = new Emitter(redis);

const http = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  emitter.to(request.url.slice(1)).emit("message", JSON.parse(Buffer.concat(parts)));
  response.writeHead(201, { "Content-Length": 0 }).end();
});
// The load keeps its connections.
http.keepAliveTimeout = 0;
http.listen({ host: "127.0.0.1", port: process.env.PORT });
