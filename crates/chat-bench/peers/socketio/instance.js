// Rooms over WebSocket: joins each client to the room that it names, and says so.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publications = createClient({ url: process.env.REDIS_URL });
const subscriptions = publications.duplicate();
await Promise.all([publications.connect(), subscriptions.connect()]);

const http = createServer();
const io = new Server(http, { transports: ["websocket"], adapter: createAdapter(publications, subscriptions) });
// Saves memory, as Socket.IO's documentation advises.
io.engine.on("connection", (connection) => {
  connection.request = null;
});
io.on("connection", (socket) => {
  socket.on("join", async (room) => {
    await socket.join(room);
    socket.emit("joined", room);
  });
});
http.listen({ host: "127.0.0.1", port: process.env.PORT, backlog: 4096 });
