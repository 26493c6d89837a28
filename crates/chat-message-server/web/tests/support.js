// A server that follows a test's script, on real sockets: HTTP answers, and WebSocket frames as RFC 6455 writes them.

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

const DEADLINE_MS = 10_000;

/** Numbers in [0, 1) that are the same for the same seed. */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Waits for what `look` finds. */
export async function until(what, look) {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Listens on a port that the kernel chose. `answer(request, body)` gives `{ status, headers, body }` or `null` to hang up. */
export class ScriptedServer {
  #http = createServer((request, response) => this.#answer(request, response));
  /** Connections that wait for the script to take them. */
  #waiting = [];
  requests = [];
  answer = () => ({ status: 404 });

  static async start() {
    const server = new ScriptedServer();
    server.#http.on("upgrade", (request, socket) => server.#waiting.push(new Peer(request, socket)));
    server.#http.listen(0, "127.0.0.1");
    await once(server.#http, "listening");
    return server;
  }

  get httpUrl() {
    return `http://127.0.0.1:${this.#http.address().port}`;
  }

  get wsUrl() {
    return `ws://127.0.0.1:${this.#http.address().port}/ws/chat`;
  }

  /** The next client that connects. */
  connection() {
    return until("a connection", () => this.#waiting.shift());
  }

  get waiting() {
    return this.#waiting.length;
  }

  async stop() {
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, "close");
  }

  async #answer(request, response) {
    let text = "";
    for await (const part of request) text += part;
    const body = text === "" ? undefined : JSON.parse(text);
    this.requests.push({ method: request.method, url: request.url, headers: request.headers, body });
    const answer = await this.answer(request, body);
    if (!answer) return request.socket.destroy();
    response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
    response.end(answer.body === undefined ? "" : JSON.stringify(answer.body));
  }
}

/** The server's end of one WebSocket. */
class Peer {
  #socket;
  #buffer = Buffer.alloc(0);
  frames = [];
  closed = false;
  /** The close code that the client sent. */
  closeCode;

  constructor(request, socket) {
    this.#socket = socket;
    const key = request.headers["sec-websocket-key"];
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on("data", (data) => this.#onData(data));
    socket.on("close", () => (this.closed = true));
    socket.on("error", () => (this.closed = true));
  }

  /** The next frame of this type; those before it are passed over. */
  async receive(type) {
    for (;;) {
      const frame = await until(`a ${type} frame`, () => this.frames.shift());
      if (frame.type === type) return frame;
    }
  }

  /** Takes the token and greets. */
  async greet(hello = {}) {
    const { token } = await this.receive("AUTH");
    this.send({ type: "HELLO", protocol: 1, sessionId: "s", userId: "u", instanceId: "i", heartbeatMs: 60_000, maxFrameBytes: 16_384, ...hello });
    return token;
  }

  send(...frames) {
    for (const frame of frames) this.#write(0x1, Buffer.from(typeof frame === "string" ? frame : JSON.stringify(frame)));
  }

  close(code, reason = "") {
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    this.#write(0x8, payload);
    this.#socket.end();
  }

  /** As a server that is killed. */
  reset() {
    this.#socket.destroy();
  }

  #write(opcode, payload) {
    const header = payload.length < 126 ? Buffer.alloc(2) : Buffer.alloc(4);
    header[0] = 0x80 | opcode;
    header[1] = Math.min(payload.length, 126);
    if (payload.length >= 126) header.writeUInt16BE(payload.length, 2);
    this.#socket.write(Buffer.concat([header, payload]));
  }

  #onData(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    for (let frame = this.#next(); frame; frame = this.#next()) {
      if (frame.opcode === 0x1) this.frames.push(JSON.parse(frame.payload.toString()));
      if (frame.opcode === 0x8) {
        this.closeCode = frame.payload.length >= 2 ? frame.payload.readUInt16BE() : 1005;
        this.#socket.end();
      }
    }
  }

  /** One masked frame, if it is complete. Clients of these tests write none that is longer than 64 KiB. */
  #next() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return undefined;
    const short = buffer[1] & 0x7f;
    const start = short === 126 ? 4 : 2;
    if (buffer.length < start) return undefined;
    const length = short === 126 ? buffer.readUInt16BE(2) : short;
    if (buffer.length < start + 4 + length) return undefined;
    const mask = buffer.subarray(start, start + 4);
    const payload = Buffer.from(buffer.subarray(start + 4, start + 4 + length));
    for (let i = 0; i < length; i += 1) payload[i] ^= mask[i % 4];
    this.#buffer = buffer.subarray(start + 4 + length);
    return { opcode: buffer[0] & 0x0f, payload };
  }
}
