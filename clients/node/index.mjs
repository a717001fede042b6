// A client of msgpipe servers, over Unix domain sockets and Windows named pipes. Nothing but Node is needed.
import { EventEmitter } from "node:events";
import { CLOSE_TIME, Connection } from "./connection.mjs";
import { openFirst, pathsOf } from "./places.mjs";
import { DATA, REQUEST, metadataOf } from "./wire.mjs";

// Codes of errors that say that the request was not begun (docs/PROTOCOL.md, "Codes of errors").
const NOT_BEGUN = [3, 4, 7, 8, 10, 11, 12];
const TIME_MAX = 2 ** 31 - 1; // of a timer of Node, in milliseconds

/** An error that the server has replied with. */
export class CallError extends Error {
  constructor(code, text, details) {
    super(`error ${code}: ${text}`);
    Object.assign(this, { name: "CallError", code, text, details, notBegun: NOT_BEGUN.includes(code) });
  }
}

/** The connection has ended while a call was open, or before. */
export class ClosedError extends Error {
  constructor(cause, path, notBegun = false) {
    const what = notBegun ? "the request was not sent" : "the request may have been carried out";
    super(`${path}: ${cause.message}; ${what}`, { cause });
    Object.assign(this, { name: "ClosedError", notBegun, goodbye: cause.goodbye });
  }
}

/** The time of a call is over, or it was aborted. */
export class TimeoutError extends Error {
  constructor(when) {
    super(`timed out${when}; the request may have been carried out`);
    Object.assign(this, { name: "TimeoutError", notBegun: false });
  }
}

const hooks = (client) => ({
  closed: (error, path, notBegun) => new ClosedError(error, path, notBegun),
  answered: (code, text, details) => new CallError(code, text, details),
  aborted: (code, path) =>
    code === 4 ? new TimeoutError(", as the server says") : new ClosedError(new Error(`the reply was aborted with code ${code}`), path),
  // Later: an error of a listener is the application's, and the first ones come before anyone can listen.
  notified: (body, method) => setImmediate(() => client()?.emit("notification", body, method)),
  hasEnded: (error) => client()?.emit("close", error),
});

/** The number of a method of a typed service, as `Notes.add` (docs/TYPED.md, "Methods"). */
export function methodNumber(name) {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return (hash >= 0xffffff00 ? hash - 256 : hash) || 1;
}

/** Connects to a server: a name, a path of a socket, or a pipe. */
export async function connect(endpoint, { timeout = 10_000 } = {}) {
  const deadline = Date.now() + timeout;
  const [path, socket] = await openFirst(await pathsOf(endpoint), deadline);
  let client;
  const connection = new Connection(path, socket, hooks(() => client));
  const left = Math.min(Math.max(deadline - Date.now(), 1), TIME_MAX);
  const late = setTimeout(() => connection.finish(new Error(`the server said nothing for ${timeout} ms`)), left);
  try {
    await connection.ready;
  } finally {
    clearTimeout(late);
  }
  client = new Client(connection);
  return client;
}

export class Client extends EventEmitter {
  #connection;

  constructor(connection) {
    super();
    this.#connection = connection;
  }

  /** The path of the socket or pipe. */
  get path() {
    return this.#connection.path;
  }

  /** Why the connection has ended; undefined while it has not. */
  get closed() {
    return this.#connection.ended;
  }

  /** Sends a request, and returns the reply. */
  async call(body = "", options = {}) {
    const call = this.#begin(body, options, true);
    return this.#only(call, options);
  }

  /** Sends a request, and returns the parts of the reply as they come. Leaving the loop cancels the call. */
  async *stream(body = "", options = {}) {
    const call = this.#begin(body, { timeout: 0, ...options }, true);
    try {
      for (;;) {
        await this.#within(call, options.timeout ?? 0, options.signal);
        const part = this.#take(call);
        if (part === undefined) return;
        yield part;
      }
    } finally {
      this.#connection.cancel(call);
    }
  }

  /** Begins a request of any number of parts. */
  upload(options = {}) {
    return new Upload(this.#connection, this.#opened(), options, (call) => this.#only(call, options));
  }

  /** Sends a message that asks for no reply. Returns once the system has it; an error if the connection has ended before. */
  async notify(body = "", { method = 0, metadata = {} } = {}) {
    if (this.closed) throw new ClosedError(this.closed, this.path, true);
    const connection = this.#connection;
    const bytes = sized(body, connection);
    await connection.put(connection.lane(), { body: bytes, first: method, metadata: metadataOf(metadata), last: false });
  }

  /** Closes the connection. Open calls end with an error. A server that does not read has so many ms for what is queued. */
  close({ timeout = CLOSE_TIME } = {}) {
    this.#connection.finish(new Error("this side has closed the connection"), Math.min(timeout, TIME_MAX));
  }

  #opened() {
    if (this.closed) throw new ClosedError(this.closed, this.path, true);
    return this.#connection.begin();
  }

  #begin(body, { method = 0, metadata = {}, timeout = 30_000, signal }, last) {
    signal?.throwIfAborted();
    const bytes = sized(body, this.#connection);
    const pairs = metadataOf(metadata);
    const call = this.#opened();
    const second = Math.min(timeout, TIME_MAX);
    const message = { body: bytes, metadata: pairs, last, kind: REQUEST, first: method, second };
    this.#connection.put(call, message).catch((error) => {
      call.end ??= { error }; // it has not been sent
      call.wake();
    });
    return call;
  }

  async #only(call, { timeout = 30_000, signal }) {
    try {
      const until = Date.now() + timeout;
      await this.#within(call, timeout, signal);
      const reply = this.#take(call);
      if (reply === undefined) return Buffer.alloc(0);
      // A reply in parts, unless its end is all that follows.
      if (!call.end) await this.#within(call, timeout && Math.max(1, until - Date.now()), signal);
      if (call.messages.length) throw new CallError(13, "the reply has parts, and this call takes one message: take them with `stream`");
      this.#take(call);
      return reply;
    } finally {
      this.#connection.cancel(call);
    }
  }

  // Waits for a message or the end, at most for so many milliseconds; 0: for any time.
  #within(call, timeout, signal) {
    return new Promise((resolve, reject) => {
      let timer;
      // Nothing is left behind, whatever comes first: a timer would keep the process alive.
      const settle = (how, value) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        how(value);
      };
      const aborted = () => settle(reject, signal.reason);
      if (signal?.aborted) return aborted();
      signal?.addEventListener("abort", aborted, { once: true });
      if (timeout) timer = setTimeout(() => settle(reject, new TimeoutError(` after ${timeout} ms`)), Math.min(timeout, TIME_MAX));
      call.arrives().then(() => settle(resolve));
    });
  }

  #take(call) {
    const message = call.messages.shift();
    if (message !== undefined) this.#connection.taken(call, message);
    else if (call.end.error) throw call.end.error;
    return message;
  }
}

/** A request of any number of parts. */
class Upload {
  #connection;
  #call;
  #reply;
  #opening;
  #sent; // the last part

  constructor(connection, call, { method = 0, metadata = {} }, reply) {
    this.#opening = { kind: REQUEST, first: method, metadata: metadataOf(metadata) };
    [this.#connection, this.#call, this.#reply] = [connection, call, reply];
  }

  /** Sends a part. Returns once the system has it, or the server wants no more: wait for that, so that a slow server slows
   * this side. Throws the server's error if it has replied with one, or ClosedError. */
  async send(part) {
    this.#sent = this.#put(sized(part, this.#connection), false);
    await this.#sent;
  }

  /** Ends the request, and returns the reply. */
  async finish() {
    await this.#sent;
    if (this.#opening) await this.#put(Buffer.alloc(0), true);
    else if (!this.#call.closed) this.#connection.endRequest(this.#call);
    return this.#reply(this.#call);
  }

  /** Gives it up: the server learns that it is incomplete. */
  cancel() {
    this.#connection.cancel(this.#call);
  }

  #put(body, last) {
    const opening = this.#opening ?? { kind: DATA };
    this.#opening = undefined;
    return this.#connection.put(this.#call, { ...opening, body, last });
  }
}

function sized(body, connection) {
  // A copy: the caller may use its buffer again before the system has taken the bytes.
  const view = ArrayBuffer.isView(body) ? new Uint8Array(body.buffer, body.byteOffset, body.byteLength) : body;
  const bytes = Buffer.from(typeof view === "string" ? view : new Uint8Array(view));
  const limit = connection.theirs.body;
  if (bytes.length > limit) throw new RangeError(`a message of ${bytes.length} bytes: the server takes up to ${limit}`);
  return bytes;
}
