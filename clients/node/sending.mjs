// What is sent when: docs/PROTOCOL.md, section 4. The work for a frame does not grow with the calls that wait.
import { Call, Line } from "./direction.mjs";
import * as wire from "./wire.mjs";
import { ASSUMED, COST, LAST, LAST_PIECE } from "./wire.mjs";

// Bytes that are kept for a server that does not read: a server keeps as many for a client.
export const UNSENT_MAX = 1 << 20;
const PIECE = 64 << 10; // a message is sent in pieces of so many bytes
const EMPTY = Buffer.alloc(0);

export class Sender {
  constructor(path, socket, hooks) {
    Object.assign(this, { path, socket, hooks });
    this.calls = new Map();
    this.lastId = 0;
    this.open = 0;
    this.theirs = undefined; // the server's settings
    this.largest = undefined; // the largest frame that the server takes
    this.drains = false;
    this.credit = ASSUMED.connection;
    this.used = 0;
    this.ended = undefined; // why
    this.unopened = new Line(); // nothing was sent of these: their ids are taken in the order of sending
    this.large = new Line(); // nor of these, which wait for credit of the connection
    this.thirsty = new Line(); // opened ones that do
    this.turn = new Line(); // these may send
    this.lines = [this.unopened, this.large, this.thirsty, this.turn];
    this.at = 0; // the line that was asked last
  }

  // `written` is called when the system has taken the frame, or with an error.
  send(frame, written) {
    if (this.ended) return written?.(this.ended);
    const parts = wire.encode(frame);
    const last = parts.pop();
    for (const part of parts) this.socket.write(part);
    this.socket.write(last, written);
    if (this.socket.writableLength > UNSENT_MAX) {
      this.finish(new Error(`the server does not read: over ${UNSENT_MAX} bytes wait for it`));
    }
  }

  // A call. It is opened with its first message.
  begin() {
    return new Call(undefined, this.theirs.window);
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

  // Queues a message. The promise is fulfilled once the system has it, or the server wants no more of the request, and
  // rejected if the connection, or the call with an error, has ended before.
  put(call, message) {
    return new Promise((done, fail) => {
      if (this.ended) return fail(this.hooks.closed(this.ended, this.path, !call.id));
      if (this.drains && call.id === undefined) this.refuse(call);
      if (call.end?.error) return fail(call.end.error);
      if (call.closed) return done();
      call.queue.push({ kind: wire.DATA, first: 0, second: 0, metadata: EMPTY, ...message, done, fail });
      this.mayGoOn(call);
      this.pump();
    });
  }

  refuse(call) {
    call.end ??= { error: this.hooks.answered(4, "the server stops", EMPTY) };
    call.close(call.end.error);
    call.wake();
  }

  mayGoOn(call) {
    if (call.queue.length) (call.id === undefined ? this.unopened : this.turn).add(call);
  }

  // Sends what may be sent, one piece of each call in turn, until the socket's buffer is full.
  pump() {
    while (!this.ended && !this.socket.writableNeedDrain) {
      const call = this.pick();
      if (!call) return;
      if (this.sendPiece(call)) this.mayGoOn(call);
    }
  }

  // The first of a line, of each line in turn. One that cannot send is picked once, until something has come for it.
  pick() {
    for (let count = 0; count < this.lines.length; count++) {
      this.at = (this.at + 1) % this.lines.length;
      const line = this.lines[this.at];
      const call = line.first;
      if (!call) continue;
      // As many calls are open as the server takes; further ones wait.
      if (call.id === undefined && this.open >= this.theirs.open) continue;
      if (line === this.turn || !this.lacksCredit(call)) {
        line.delete(call);
        return call;
      }
      if (line === this.unopened) {
        // Smaller ones may go before it.
        line.delete(call);
        this.large.add(call);
        count = -1;
      }
    }
  }

  // Takes all calls out of which nothing was sent.
  *takeUnopened() {
    for (const line of [this.unopened, this.large]) {
      for (let call; (call = line.first); ) {
        line.delete(call);
        yield call;
      }
    }
  }

  cost({ body, metadata }) {
    return body.length + metadata.length + COST;
  }

  // There may never be so much credit for it.
  isLarge(message) {
    return this.cost(message) > this.theirs.window / 2;
  }

  lacksCredit(call) {
    const [message] = call.queue;
    return !call.sending && !this.isLarge(message) && this.used + this.cost(message) > this.credit;
  }

  // The frame that opens a call takes its id.
  sendFirst(call, frame, written) {
    if (call.id === undefined) {
      call.id = this.nextId();
      this.calls.set(call.id, call);
      this.open += 1;
    }
    this.send({ ...frame, id: call.id }, written);
  }

  sendPiece(call) {
    const [message] = call.queue;
    const { body, metadata, last, kind, first, second } = message;
    const end = LAST_PIECE | (last ? LAST : 0);
    const size = Math.max(1, Math.min(PIECE, this.largest - wire.HEAD_MAX));
    if (!call.sending) {
      const opening = { kind, first, second, metadata };
      if (this.isLarge(message)) {
        call.sending = { at: 0, admitted: false };
        this.sendFirst(call, { ...opening, total: body.length });
        return true;
      }
      const cost = this.cost(message);
      if (call.used + cost > call.credit) return false;
      if (this.lacksCredit(call)) {
        this.thirsty.add(call);
        return false;
      }
      call.used += cost;
      this.used += cost;
      if (body.length <= size) {
        this.sendFirst(call, { ...opening, flags: end, body }, this.isWritten(message));
        this.isSent(call, last);
        return true;
      }
      call.sending = { at: size, admitted: true };
      this.sendFirst(call, { ...opening, total: body.length, body: body.subarray(0, size) });
      return true;
    }
    if (!call.sending.admitted) return false;
    const { at } = call.sending;
    const isEnd = at + size >= body.length;
    call.sending.at += size;
    const frame = { kind: wire.DATA, id: call.id, flags: isEnd ? end : 0, body: body.subarray(at, at + size) };
    this.send(frame, isEnd ? this.isWritten(message) : undefined);
    if (isEnd) this.isSent(call, last);
    return true;
  }

  isWritten({ done, fail }) {
    return (error) => (error ? fail(this.hooks.closed(this.ended ?? error, this.path)) : done());
  }

  isSent(call, last) {
    call.sending = undefined;
    call.queue.shift();
    if (last) {
      call.closed = true;
      this.forget(call);
    }
  }

  // The end of a request without another message.
  endRequest(call) {
    this.send({ kind: wire.DATA, id: call.id, flags: LAST });
    call.closed = true;
    this.forget(call);
    this.pump();
  }

  // The reply has ended before the request, which is not sent to its end.
  giveUp(call) {
    if (call.closed) return;
    this.send({ kind: wire.ABORT, id: call.id, code: 1 });
    call.close(call.end.error);
    this.forget(call);
    this.pump();
  }

  // A call is over on both sides.
  forget(call) {
    if (!(call.id > 1 && call.end && (call.closed || call.id & 1))) return;
    if (!this.calls.delete(call.id)) return;
    if (call.id & 1) this.refused -= 1;
    else this.open -= 1;
  }
}
