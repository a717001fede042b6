// A connection to a server: what comes of what arrives. docs/PROTOCOL.md, section 4.
import { Call } from "./direction.mjs";
import { Sender } from "./sending.mjs";
import * as wire from "./wire.mjs";
import { ASSUMED, COST, LAST, OURS, must } from "./wire.mjs";

export const CLOSE_TIME = 1000; // milliseconds for a server to take what is queued when this side closes
// Calls of the server that go on after they were refused: rule L1.
export const REFUSED_MAX = Math.max(OURS.open, ASSUMED.open);

export class Connection extends Sender {
  constructor(path, socket, hooks) {
    super(path, socket, hooks);
    this.lastOfServer = 1;
    this.refused = 0;
    this.granted = OURS.connection;
    this.received = 0;
    this.chunks = [];
    this.have = 0;
    this.header = undefined;
    this.ready = new Promise((resolve, reject) => Object.assign(this, { isReady: resolve, isNotReady: reject }));
    this.ready.catch(() => {});
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

  // The socket is closed when the server has taken what is queued, or after so many milliseconds.
  finish(error, patience = CLOSE_TIME) {
    if (this.ended) return;
    this.ended = error;
    this.isNotReady(error);
    this.socket.destroySoon();
    if (!this.socket.destroyed) {
      const late = setTimeout(() => this.socket.destroy(), patience);
      this.socket.once("close", () => clearTimeout(late));
    }
    for (const call of [...this.calls.values(), ...this.takeUnopened()]) {
      // What is queued for a lane has not arrived, at least not to its end.
      call.end ??= { error: this.hooks.closed(error, this.path, !call.id) };
      call.close(call.end.error);
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
    if (!size) return Buffer.alloc(0);
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
        for (const call of this.takeUnopened()) this.refuse(call);
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
    call.drop();
    this.calls.set(id, call);
    this.refused += 1;
    this.charge(call.receive(frame, true));
    must("L1", this.refused <= REFUSED_MAX || call.end);
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
      while (id === 1 && call.messages.length) this.give(call, call.messages.shift());
      this.admit(call);
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
      this.mayGoOn(call);
    } else if (kind === wire.ADMIT && call.sending) {
      call.sending.admitted = true;
      this.mayGoOn(call);
    }
    // The rest of a request is of no use after an error.
    if (call.end?.error && !(id & 1)) this.giveUp(call);
    call.wake();
    this.forget(call);
  }

  give(lane, body) {
    this.taken(lane, body);
    this.hooks.notified(body, lane.method);
  }

  // An announced message costs no credit: it may come when those before it were taken.
  admit(call) {
    if (!call.asks || call.drops || call.end || call.messages.length) return;
    call.asks = false;
    this.send({ kind: wire.ADMIT, id: call.id });
  }

  // A message of a call was taken by the application: more may arrive.
  taken(call, body) {
    call.taken += body.length + COST;
    if (!call.end && OURS.window + call.taken - call.granted >= OURS.window / 2) {
      call.granted = OURS.window + call.taken;
      this.send({ kind: wire.CREDIT, id: call.id, ...limit(call.granted) });
    }
    this.admit(call);
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

  // Nobody waits for the reply any more.
  cancel(call) {
    if (this.ended || call.drops) return;
    call.drop();
    if (call.id === undefined) {
      // Nothing was sent: the server does not know of it.
      call.end ??= { error: this.hooks.closed(new Error("the call was given up"), this.path, true) };
      call.close();
      return call.wake();
    }
    if (call.end) return this.giveUp(call);
    this.send({ kind: wire.CANCEL, id: call.id });
    call.close();
  }
}

const isLater = (one, other) => ((one - other) >>> 0) > 0 && ((one - other) >>> 0) < 2 ** 31;
const limit = (value) => ({ first: value % 2 ** 32, second: Math.floor(value / 2 ** 32) });
