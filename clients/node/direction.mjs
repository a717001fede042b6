// A call, or a lane of notifications: what arrives for it, and what is to be sent. docs/PROTOCOL.md, section 4.
import { COST, LAST, LAST_PIECE, OURS, must } from "./wire.mjs";

export class Call {
  constructor(id, credit) {
    this.id = id;
    this.credit = credit; // what may be sent
    this.used = 0;
    this.queue = []; // messages to be sent: { body, metadata, last, kind, first, second, done, fail }
    this.line = undefined; // in which it waits to send
    this.closed = false; // nothing more is sent
    this.sending = undefined; // the message of which pieces are sent: { at, admitted }
    this.granted = OURS.window; // what may arrive
    this.received = 0;
    this.taken = 0;
    this.total = undefined; // of the message that arrives
    this.pieces = [];
    this.size = 0;
    this.method = 0;
    this.asks = false; // it was announced
    this.drops = false; // nobody waits for what arrives: it is not kept
    this.messages = []; // that have arrived
    this.end = undefined; // how the reply has ended: { error } or {}
    this.wakes = []; // who waits for a message or the end
  }

  // A request, or data. Returns what it costs on the connection.
  receive({ flags, total, metadata, body, first: method }, isBare = false) {
    must("M1", this.end === undefined);
    const ends = flags & LAST_PIECE, isFirst = this.total === undefined;
    let cost = 0;
    if (isFirst && !ends && total === undefined) {
      // No message: the end, or a request whose messages follow.
      must("M2", !body.length);
      must("M6", isBare || (!metadata.length && !method));
      must("M4", isBare || flags & LAST);
    } else if (isFirst) {
      must("M2", !ends || total === undefined);
      must("M5", ends || !(flags & LAST));
      [this.total, this.method] = [total ?? body.length, method];
      must("M7", this.total <= OURS.body);
      must("M3", ends || body.length < this.total);
      cost = this.total + metadata.length + COST;
      this.asks = !ends && !body.length;
      must("M4", !this.asks || cost > OURS.window / 2);
      if (this.asks) cost = 0;
      this.received += cost;
      must("F1", this.received <= this.granted);
      this.add(body, ends);
    } else {
      must("F3", !this.asks);
      must("M2", total === undefined);
      must("M6", !metadata.length && !method);
      must("M5", ends || !(flags & LAST));
      must("M4", body.length);
      this.add(body, ends);
    }
    if (flags & LAST) this.end = {};
    return cost;
  }

  add(body, ends) {
    this.size += body.length;
    must("M3", this.size <= this.total && Boolean(ends) === (this.size === this.total));
    if (!this.drops) this.pieces.push(body);
    if (!ends) return;
    // A copy: the bytes that have arrived with it are not kept with it.
    if (!this.drops) this.messages.push(Buffer.concat(this.pieces));
    [this.total, this.pieces, this.size] = [undefined, [], 0];
  }

  // Nobody waits for more.
  drop() {
    [this.drops, this.messages, this.pieces] = [true, [], []];
  }

  // Something has happened: perhaps there is something for those who wait.
  wake() {
    if (!this.messages.length && !this.end) return;
    for (const wake of this.wakes.splice(0)) wake();
  }

  // Waits for a message or the end.
  arrives() {
    return this.messages.length || this.end ? Promise.resolve() : new Promise((wake) => this.wakes.push(wake));
  }

  // Nothing more is sent; who waits for that is told, by the error if there is one.
  close(error) {
    this.closed = true;
    this.sending = undefined;
    this.line?.delete(this);
    for (const { done, fail } of this.queue.splice(0)) error ? fail(error) : done();
  }
}

// Calls that wait, in order. A call waits in one line at most, and leaves it at once, wherever it is.
export class Line {
  constructor() {
    this.before = this.after = this;
  }

  get first() {
    return this.after === this ? undefined : this.after;
  }

  add(call) {
    if (call.line) return;
    [call.line, call.before, call.after] = [this, this.before, this];
    this.before.after = call;
    this.before = call;
  }

  delete(call) {
    if (call.line !== this) return;
    call.before.after = call.after;
    call.after.before = call.before;
    call.line = call.before = call.after = undefined;
  }
}
