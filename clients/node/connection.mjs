// A connection to a server: what is sent when, and what comes of what arrives. docs/PROTOCOL.md, section 4.
import { Call } from "./direction.mjs";
import * as wire from "./wire.mjs";
import { ASSUMED, COST, LAST, LAST_PIECE, OURS, must } from "./wire.mjs";

const PIECE = 64 << 10; // a message is sent in pieces of so many bytes
const EMPTY = Buffer.alloc(0);

export class Connection {
  constructor(path, socket, hooks) {
    Object.assign(this, { path, socket, hooks });
    this.calls = new Map();
    this.unopened = new Set(); // calls of which nothing was sent: their ids are taken in the order of sending
    this.lastId = 0;
    this.open = 0;
    this.lastOfServer = 1;
    this.theirs = undefined; // the server's settings
    this.drains = false;
    this.credit = ASSUMED.connection;
    this.used = 0;
    this.granted = OURS.connection;
    this.received = 0;
    this.chunks = [];
    this.have = 0;
    this.largest = undefined; // the largest frame that the server takes
    this.header = undefined;
    this.ended = undefined; // why
    this.ready = new Promise((resolve, reject) => Object.assign(this, { isReady: resolve, isNotReady: reject }));
    socket.on("data", (chunk) => this.guarded(() => this.read(chunk)));
    socket.on("drain", () => this.pump());
    socket.on("error", (error) => this.finish(error));
    socket.on("close", () => this.finish(new Error("the server has closed the connection")));
    socket.write(wire.preface());
    this.send({ kind: wire.SETTINGS, body: wire.settings() });
  }

  // The server may send anything; what breaks the protocol ends the connection.
  guarded(run) {
    try {
      if (!this.ended) run();
    } catch (error) {
      if (error instanceof wire.Broken) {
        const text = Buffer.from(`\0\0${error.message}`);
        text.writeUInt16LE(error.rule === "M7" ? 3 : 1);
        this.socket.write(Buffer.concat([wire.header(wire.GOODBYE, text.length), text]));
      }
      this.finish(error);
    }
  }

  finish(error) {
    if (this.ended) return;
    this.ended = error;
    this.isNotReady(error);
    this.socket.destroySoon();
    for (const call of [...this.calls.values(), ...this.unopened]) {
      call.end ??= { error: this.hooks.closed(error, this.path, this.unopened.has(call)) };
      call.close();
      call.wake();
    }
    this.hooks.hasEnded(error);
  }

  read(chunk) {
    this.chunks.push(chunk);
    this.have += chunk.length;
    while (!this.ended) {
      if (this.largest === undefined) {
        // What is no msgpipe server may send less than a preface, and wait.
        wire.readMagic(Buffer.concat(this.chunks).subarray(0, 4));
        const preface = this.take(16);
        if (!preface) return;
        this.largest = wire.readPreface(preface);
      } else if (this.header === undefined) {
        const header = this.take(8);
        if (!header) return;
        this.header = wire.readHeader(header);
      } else {
        const [kind, length] = this.header;
        const payload = this.take(length);
        if (!payload) return;
        this.header = undefined;
        if (kind === wire.GOODBYE) {
          const { code, text } = wire.goodbye(payload);
          const error = new Error(`the server said goodbye with code ${code}: ${text}`);
          return this.finish(Object.assign(error, { goodbye: code }));
        }
        this.handle(wire.decode(payload));
      }
    }
  }

  take(size) {
    if (this.have < size) return undefined;
    if (!size) return EMPTY;
    if (this.chunks[0].length < size) this.chunks = [Buffer.concat(this.chunks)];
    const all = this.chunks[0];
    if (all.length === size) this.chunks.shift();
    else this.chunks[0] = all.subarray(size);
    this.have -= size;
    return all.subarray(0, size);
  }

  handle(frame) {
    must("S1", this.theirs !== undefined || frame.kind === wire.SETTINGS);
    switch (frame.kind) {
      case wire.SETTINGS:
        must("S2", this.theirs === undefined);
        this.theirs = wire.readSettings(frame.body);
        this.credit = Math.max(this.credit, this.theirs.connection);
        this.isReady();
        break;
      case wire.CONNECTION_CREDIT:
        this.credit = Math.max(this.credit, frame.limit);
        break;
      case wire.DRAIN:
        this.drains = true;
        break;
      case wire.REQUEST:
        this.called(frame);
        break;
      default:
        if (frame.kind < 128) this.ofCall(frame);
    }
    this.pump();
  }

  // The server calls: this client offers nothing.
  called(frame) {
    const { id } = frame;
    must("I1", id & 1 && id > 1);
    must("I2", isLater(id, this.lastOfServer) && !this.calls.has(id));
    this.lastOfServer = id;
    const call = new Call(id, 0);
    this.calls.set(id, call);
    this.charge(call.receive(frame, true));
    const text = Buffer.from("\0\0this client takes no calls");
    text.writeUInt16LE(text.length - 2);
    call.closed = true;
    this.send({ kind: wire.ERROR, id, code: 1, body: text });
    if (!call.end) this.send({ kind: wire.STOP, id });
    this.forget(call);
  }

  ofCall(frame) {
    const { kind, id, flags, code, body, first } = frame;
    must("L2", id > 1 || (kind === wire.DATA && !(flags & LAST)) || kind === wire.CREDIT || kind === wire.ADMIT);
    must("I5", id > 1 || (id === 1) === (kind === wire.DATA));
    must("I5", kind !== wire.CANCEL || id & 1);
    must("I5", kind !== wire.ERROR || !(id & 1));
    must("I3", id < 2 || !isLater(id, id & 1 ? this.lastOfServer : this.lastId));
    must("M6", id < 2 || kind !== wire.DATA || !first);
    if (id < 2 && !this.calls.has(id)) this.calls.set(id, new Call(id, this.theirs.window));
    const call = this.calls.get(id);
    must("M1", ![wire.DATA, wire.ERROR, wire.ABORT].includes(kind) || (call && !call.end));
    if (!call) return; // it was on its way
    if (kind === wire.DATA) {
      this.charge(call.receive(frame));
      if (call.asks && call.total !== undefined && !call.size) {
        call.asks = false;
        this.send({ kind: wire.ADMIT, id });
      }
      // Nobody waits for more of a call of the server.
      while (id & 1 && call.messages.length) this.give(call, call.messages.shift(), first);
    } else if (kind === wire.ERROR) {
      must("M5", call.total === undefined);
      must("E8", body.length >= 2 && body.length >= 2 + body.readUInt16LE(0));
      const end = 2 + body.readUInt16LE(0);
      const details = Buffer.from(body.subarray(end));
      call.end = { error: this.hooks.answered(code, body.subarray(2, end).toString(), details) };
    } else if (kind === wire.ABORT) {
      call.end = { error: this.hooks.aborted(code, this.path) };
    } else if (kind === wire.STOP || kind === wire.CANCEL) {
      if (!call.closed) this.send({ kind: wire.ABORT, id, code: 3 });
      call.close();
    } else if (kind === wire.CREDIT) {
      call.credit = Math.max(call.credit, frame.limit);
    } else if (kind === wire.ADMIT && call.sending) {
      call.sending.admitted = true;
    }
    call.wake();
    this.forget(call);
  }

  give(call, body, method) {
    this.taken(call, body);
    if (call.id === 1) this.hooks.notified(body, method);
  }

  // A message of a call was taken by the application: more may arrive.
  taken(call, body) {
    call.taken += body.length + COST;
    if (!call.end && OURS.window + call.taken - call.granted >= OURS.window / 2) {
      call.granted = OURS.window + call.taken;
      this.send({ kind: wire.CREDIT, id: call.id, ...limit(call.granted) });
    }
  }

  // Replies to own calls are given back at once, and so is what is dropped.
  charge(cost) {
    this.received += cost;
    must("F2", this.received <= this.granted);
    if (OURS.connection + this.received - this.granted >= OURS.connection / 2) {
      this.granted = OURS.connection + this.received;
      this.send({ kind: wire.CONNECTION_CREDIT, ...limit(this.granted) });
    }
  }

  // A call is over on both sides.
  forget(call) {
    if (!(call.id > 1 && call.end && (call.closed || call.id & 1))) return;
    if (this.calls.delete(call.id) && !(call.id & 1)) this.open -= 1;
  }

  send(frame) {
    for (const part of wire.encode(frame)) this.socket.write(part);
  }

  // A call. It is opened with its first message.
  begin() {
    const call = new Call(undefined, this.theirs.window);
    this.unopened.add(call);
    return call;
  }

  nextId() {
    do {
      this.lastId = (this.lastId + 2) >>> 0 || 2;
    } while (this.calls.has(this.lastId));
    return this.lastId;
  }

  lane() {
    if (!this.calls.has(0)) this.calls.set(0, new Call(0, this.theirs.window));
    return this.calls.get(0);
  }

  // Queues a message. The promise is fulfilled once it was sent, or is not sent any more.
  put(call, message) {
    return new Promise((done) => {
      if (call.closed) return done();
      call.queue.push({ kind: wire.DATA, first: 0, second: 0, metadata: EMPTY, ...message, done });
      this.pump();
    });
  }

  // Sends what may be sent, one piece of each call in turn, until the socket's buffer is full.
  pump() {
    let isBusy = true;
    while (isBusy && !this.ended) {
      isBusy = false;
      for (const call of [...this.calls.values(), ...this.unopened]) {
        if (this.socket.writableNeedDrain) return;
        if (call.queue.length && this.mayOpen(call) && this.sendPiece(call)) isBusy = true;
      }
    }
  }

  // As many calls are open as the server takes; further ones wait.
  mayOpen(call) {
    if (call.id !== undefined) return true;
    if (this.drains) {
      call.end ??= { error: this.hooks.answered(4, "the server stops", EMPTY) };
      this.unopened.delete(call);
      call.close();
      call.wake();
      return false;
    }
    return this.open < this.theirs.open;
  }

  // The frame that opens a call takes its id.
  sendFirst(call, frame) {
    if (call.id === undefined) {
      this.unopened.delete(call);
      call.id = this.nextId();
      this.calls.set(call.id, call);
      this.open += 1;
    }
    this.send({ ...frame, id: call.id });
  }

  sendPiece(call) {
    const [message] = call.queue;
    const { body, metadata, last, kind, first, second } = message;
    const cost = body.length + metadata.length + COST;
    const end = LAST_PIECE | (last ? LAST : 0);
    const size = Math.max(1, Math.min(PIECE, this.largest - wire.HEAD_MAX));
    if (!call.sending) {
      const opening = { kind, first, second, metadata };
      if (cost > this.theirs.window / 2) {
        // There may never be so much credit: it is announced.
        call.sending = { at: 0, admitted: false };
        this.sendFirst(call, { ...opening, total: body.length });
        return true;
      }
      if (call.used + cost > call.credit || this.used + cost > this.credit) return false;
      call.used += cost;
      this.used += cost;
      if (body.length <= size) {
        this.sendFirst(call, { ...opening, flags: end, body });
        this.isSent(call, last);
        return true;
      }
      this.sendFirst(call, { ...opening, total: body.length, body: body.subarray(0, size) });
      call.sending = { at: size, admitted: true };
      return true;
    }
    if (!call.sending.admitted) return false;
    const { at } = call.sending;
    const isEnd = at + size >= body.length;
    this.send({ kind: wire.DATA, id: call.id, flags: isEnd ? end : 0, body: body.subarray(at, at + size) });
    call.sending.at += size;
    if (isEnd) this.isSent(call, last);
    return true;
  }

  isSent(call, last) {
    call.sending = undefined;
    call.queue.shift().done();
    if (last) {
      call.closed = true;
      this.forget(call);
    }
  }

  // Nobody waits for the reply any more.
  cancel(call) {
    if (this.ended || call.end) return;
    // Of a call of which nothing was sent the server does not know.
    if (!this.unopened.delete(call)) this.send({ kind: wire.CANCEL, id: call.id });
    call.close();
  }
}

const isLater = (one, other) => ((one - other) >>> 0) > 0 && ((one - other) >>> 0) < 2 ** 31;
const limit = (value) => ({ first: value % 2 ** 32, second: Math.floor(value / 2 ** 32) });
