// A server for tests that sends what it is told.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DATA, LAST, LAST_PIECE, REQUEST, SETTINGS, decode, encode, preface } from "../wire.mjs";

export class Peer {
  #arrived = Buffer.alloc(0);
  #frames = [];
  #waits = [];
  ended = false;

  constructor(socket, { open = 128, window = 1 << 16 }) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => this.#wake((this.ended = true)));
    socket.write(preface());
    const settings = Buffer.alloc(40);
    // Type, length, value.
    const entries = [[1, 4, 16 << 20], [2, 4, open], [3, 8, window], [4, 8, 4 * window]];
    entries.reduce((at, [type, length, value]) => {
      settings.writeUInt16LE(type, at);
      settings.writeUInt16LE(length, at + 2);
      settings.writeUInt32LE(value, at + 4);
      return at + 4 + length;
    }, 0);
    this.send({ kind: SETTINGS, body: settings });
  }

  read() {
    this.socket.on("data", (chunk) => this.#read(chunk));
  }

  send(...frames) {
    for (const frame of frames) for (const part of encode(frame)) this.socket.write(part);
  }

  reply(id, body = "") {
    this.send({ kind: DATA, id, flags: LAST | LAST_PIECE, body: Buffer.from(body) });
  }

  #read(chunk) {
    this.#arrived = Buffer.concat([this.#arrived, chunk]);
    let at = this.isOpen ? 0 : 16;
    for (; this.#arrived.length >= at + 8; this.isOpen = true) {
      const length = this.#arrived.readUInt32LE(at);
      if (this.#arrived.length < at + 8 + length) break;
      const payload = this.#arrived.subarray(at + 8, at + 8 + length);
      this.#frames.push(this.#arrived[at + 4] ? { goodbye: String(payload.subarray(2)) } : decode(payload));
      at += 8 + length;
    }
    if (this.isOpen) this.#arrived = this.#arrived.subarray(at);
    this.#wake();
  }

  #wake() {
    for (const wake of this.#waits.splice(0)) wake();
  }

  // The next frame of one of these kinds, or a goodbye, or undefined at the end.
  async hear(...kinds) {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame ? frame.goodbye || kinds.includes(frame.kind) : this.ended) return frame;
      if (!frame) await new Promise((wake) => this.#waits.push(wake));
    }
  }

  async request() {
    return (await this.hear(REQUEST)).id;
  }
}

// Runs `use` with the path of a server, and a promise of its first connection.
export async function served(use, { reads = true, ...options } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "msgpipe-"));
  const server = net.createServer({ pauseOnConnect: !reads });
  const peer = once(server, "connection").then(([socket]) => {
    const peer = new Peer(socket, options);
    if (reads) peer.read();
    return peer;
  });
  await once(server.listen(join(directory, "s")), "listening");
  try {
    await use(join(directory, "s"), peer);
  } finally {
    (await peer).socket.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  }
}
