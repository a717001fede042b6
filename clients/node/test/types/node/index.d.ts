// The little of Node's types that the declarations need, where @types/node is not installed.
declare module "node:events" {
  export class EventEmitter {
    on(event: string, listener: (...all: any[]) => void): this;
  }
}
declare class Buffer extends Uint8Array {
  toString(encoding?: string): string;
}
