// `POST /ROOM` with a JSON body sends it to the room through Redis. If there is a database, it is committed there before.

import { createServer } from "node:http";
import { Emitter } from "@socket.io/redis-emitter";
import pg from "pg";
import { createClient } from "redis";

const redis = createClient({ url: process.env.REDIS_URL });
await redis.connect();
const emitter = new Emitter(redis);

const database = process.env.DATABASE_URL ? new pg.Pool({ connectionString: process.env.DATABASE_URL }) : null;
await database?.query("CREATE TABLE messages (id bigserial PRIMARY KEY, room text NOT NULL, body text NOT NULL)");
// Prepared once for each connection.
const insert = { name: "insert", text: "INSERT INTO messages (room, body) VALUES ($1, $2)" };

const http = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const [room, body] = [request.url.slice(1), Buffer.concat(parts).toString()];
  await database?.query({ ...insert, values: [room, body] });
  emitter.to(room).emit("message", JSON.parse(body));
  response.writeHead(201, { "Content-Length": 0 }).end();
});
// The load keeps its connections.
http.keepAliveTimeout = 0;
http.listen({ host: "127.0.0.1", port: process.env.PORT });
