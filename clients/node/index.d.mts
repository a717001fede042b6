import { EventEmitter } from "node:events";

/** An error that the server has replied with. */
export class CallError extends Error {
  /** Below 100: of msgpipe (docs/PROTOCOL.md, "Codes of errors"). From 100: of the application. */
  readonly code: number;
  readonly text: string;
  readonly details: Buffer;
  /** The request was not begun: it can be sent again. */
  readonly notBegun: boolean;
}

/** The connection has ended while a call was open, or before. */
export class ClosedError extends Error {
  readonly notBegun: boolean;
  /** The code of the server's goodbye, if it has said one. */
  readonly goodbye?: number;
}

/** The time of a call is over. */
export class TimeoutError extends Error {
  readonly notBegun: false;
}

export interface CallOptions {
  /** The number of the method. Default: 0. */
  method?: number;
  /** Metadata beside the body, up to 4096 bytes in all. */
  metadata?: Record<string, string | Uint8Array>;
  /** Milliseconds for the call, or for each part of a stream; 0: any time. Default: 30000, of a stream 0. */
  timeout?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
}

export type Body = string | Uint8Array | ArrayBuffer;

/** A request of any number of parts. */
export interface Upload {
  /** Sends a part. Wait for it before the next one, so that a slow server slows this side. Rejected with the server's error
   * if it has replied with one: nothing more is sent then. */
  send(part: Body): Promise<void>;
  /** Ends the request, and returns the reply. */
  finish(): Promise<Buffer>;
  /** Gives it up. */
  cancel(): void;
}

/** A connection. Emits `notification` (body, method) and `close` (why). */
export class Client extends EventEmitter {
  private constructor();
  /** The path of the socket or pipe. */
  readonly path: string;
  /** Why the connection has ended; undefined while it has not. */
  readonly closed: Error | undefined;
  /** Sends a request, and returns the reply. */
  call(body?: Body, options?: CallOptions): Promise<Buffer>;
  /** Sends a request, and returns the parts of the reply as they come. Leaving the loop cancels the call. */
  stream(body?: Body, options?: CallOptions): AsyncGenerator<Buffer, void, undefined>;
  /** Begins a request of any number of parts. */
  upload(options?: CallOptions): Upload;
  /** Sends a message that asks for no reply. Rejected if the connection has ended before the system had it. */
  notify(body?: Body, options?: Pick<CallOptions, "method" | "metadata">): Promise<void>;
  /** Closes the connection. Open calls end with an error. A server that does not read has so many milliseconds to take what
   * is queued. Default: 1000. */
  close(options?: { timeout?: number }): void;
  on(event: "notification", listener: (body: Buffer, method: number) => void): this;
  on(event: "close", listener: (why: Error) => void): this;
}

/** The number of a method of a typed service, as `Notes.add`. */
export function methodNumber(name: string): number;

/** Connects to a server: a name as com.example.notes, a path of a socket, or a pipe. */
export function connect(endpoint: string, options?: { timeout?: number }): Promise<Client>;
