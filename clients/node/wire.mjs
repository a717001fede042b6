// What is on the wire: frames of the stream, frames of calls. docs/PROTOCOL.md, sections 2 and 4.

export const [REQUEST, DATA, ERROR, ABORT, STOP, CANCEL, CREDIT, CONNECTION_CREDIT, ADMIT, DRAIN, SETTINGS] =
  Array.from({ length: 11 }, (_, at) => at + 1);
export const LAST_PIECE = 1, LAST = 2, TOTAL = 4, METADATA = 8; // flags
export const MESSAGE = 0, GOODBYE = 1; // kinds of frame of the stream
export const HEAD_MAX = 4118; // the most bytes before a body
export const COST = 64; // what a message costs besides its bytes
export const ASSUMED = { body: 240, open: 128, window: 65536, connection: 262144 };
export const OURS = { body: 16 << 20, open: 128, window: 2 << 20, connection: 8 << 20 };
export const FRAME_MAX = (1 << 20) + HEAD_MAX; // the largest frame that this client takes

const MAGIC = Buffer.from([0xe5, 0x6d, 0x73, 0x67]);
const VERSION = 1, CALLS = 1;
const FLAGS = { [REQUEST]: 15, [DATA]: 15, [ERROR]: METADATA };
const SETTING = { 1: ["body", 4], 2: ["open", 4], 3: ["window", 8], 4: ["connection", 8] };

// The server broke the rule with this number.
export class Broken extends Error {
  constructor(rule) {
    super(`[${rule}] the server broke this rule of the protocol`);
    this.rule = rule;
  }
}

export function must(rule, holds) {
  if (!holds) throw new Broken(rule);
}

function crc(bytes) {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}

function withCheck(bytes) {
  bytes.writeUInt16LE(crc(bytes.subarray(0, -2)), bytes.length - 2);
  return bytes;
}

const isChecked = (bytes) => bytes.readUInt16LE(bytes.length - 2) === crc(bytes.subarray(0, -2));

export function preface() {
  const bytes = Buffer.alloc(16);
  MAGIC.copy(bytes);
  bytes.set([VERSION, VERSION, CALLS], 4);
  bytes.writeUInt32LE(FRAME_MAX, 8);
  return withCheck(bytes);
}

export function readMagic(bytes) {
  const most = Math.min(bytes.length, 4);
  if (bytes.compare(MAGIC, 0, most, 0, most)) throw new Error("this is no msgpipe server");
}

// Returns the largest frame that the server takes.
export function readPreface(bytes) {
  const [lowest, highest, layer] = bytes.subarray(4, 7);
  if (lowest > VERSION || highest < VERSION) {
    throw new Error(`the server speaks versions ${lowest} to ${highest}, this client ${VERSION}`);
  }
  if (!isChecked(bytes)) throw new Error("the server's preface is damaged");
  if (layer !== CALLS) throw new Error("this server is for plain messages, not for calls");
  return bytes.readUInt32LE(8);
}

export function header(kind, length) {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(length, 0);
  bytes[4] = kind;
  return withCheck(bytes);
}

// Returns the kind and the length of the payload.
export function readHeader(bytes) {
  const [length, kind] = [bytes.readUInt32LE(0), bytes[4]];
  if (!isChecked(bytes) || bytes[5] || kind > GOODBYE) throw new Error("a damaged header, or an unknown kind of frame");
  if (length > (kind === MESSAGE ? FRAME_MAX : 514)) throw new Error(`a frame of ${length} bytes, over the limit`);
  return [kind, length];
}

export function goodbye(payload) {
  const code = payload.length >= 2 ? payload.readUInt16LE(0) : 1;
  return { code, text: payload.subarray(2).toString() };
}

export function settings() {
  const entries = Object.entries(SETTING).map(([type, [name, size]]) => {
    const entry = Buffer.alloc(4 + size);
    entry.writeUInt16LE(Number(type), 0);
    entry.writeUInt16LE(size, 2);
    entry.writeUInt32LE(OURS[name], 4);
    return entry;
  });
  return Buffer.concat(entries);
}

export function readSettings(body) {
  const found = { ...ASSUMED };
  while (body.length) {
    must("S3", body.length >= 4);
    const [type, length] = [body.readUInt16LE(0), body.readUInt16LE(2)];
    must("S3", body.length >= 4 + length);
    must("S4", type in SETTING || type >= 0x8000);
    if (type in SETTING) {
      const [name, size] = SETTING[type];
      must("S5", length === size);
      // A window beyond 2^53 bytes is as good as one of that.
      const value = size === 4 ? body.readUInt32LE(4) : Number(body.readBigUInt64LE(4));
      found[name] = type >= 3 ? Math.max(value, found[name]) : value;
    }
    body = body.subarray(4 + length);
  }
  return found;
}

export function metadataOf(pairs) {
  const entries = Object.entries(pairs).map(([key, value]) => {
    const [k, v] = [Buffer.from(key), Buffer.from(value)];
    if (k.length < 1 || k.length > 255 || k[0] === 0) throw new TypeError(`"${key}" cannot be a key of metadata`);
    const lengths = [Buffer.from([k.length]), Buffer.alloc(2)];
    if (v.length > 4096) throw new RangeError("metadata have up to 4096 bytes");
    lengths[1].writeUInt16LE(v.length);
    return Buffer.concat([lengths[0], k, lengths[1], v]);
  });
  const all = Buffer.concat(entries);
  if (all.length > 4096) throw new RangeError(`metadata of ${all.length} bytes: the limit is 4096`);
  return all;
}

function checkPairs(metadata) {
  while (metadata.length) {
    const key = metadata[0];
    must("E6", key && metadata.length >= 3 + key);
    const end = 3 + key + metadata.readUInt16LE(1 + key);
    must("E6", metadata.length >= end);
    metadata = metadata.subarray(end);
  }
}

export function encode({ kind, id = 0, flags = 0, code = 0, first = 0, second = 0, total, metadata, body }) {
  const fields = [];
  const head = Buffer.alloc(16);
  if (total !== undefined) {
    flags |= TOTAL;
    fields.push(Buffer.alloc(4));
    fields[0].writeUInt32LE(total);
  }
  if (metadata?.length) {
    flags |= METADATA;
    const length = Buffer.alloc(2);
    length.writeUInt16LE(metadata.length);
    fields.push(length, metadata);
  }
  head.set([kind, flags]);
  head.writeUInt16LE(code, 2);
  [id, first, second].forEach((value, at) => head.writeUInt32LE(value >>> 0, 4 + 4 * at));
  const parts = body?.length ? [head, ...fields, body] : [head, ...fields];
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return [header(MESSAGE, length), ...parts];
}

export function decode(frame) {
  must("E1", frame.length >= 16);
  const [kind, flags, code] = [frame[0], frame[1], frame.readUInt16LE(2)];
  const [id, first, second] = [4, 8, 12].map((at) => frame.readUInt32LE(at));
  if (kind >= 128) return { kind };
  must("E2", kind >= REQUEST && kind <= SETTINGS);
  const hasLimit = kind === CREDIT || kind === CONNECTION_CREDIT;
  must("E3", !code || kind === ERROR || kind === ABORT);
  must("E3", !first || hasLimit || kind === REQUEST || kind === DATA);
  must("E3", !second || hasLimit || kind === REQUEST);
  must("E4", !(flags & ~(FLAGS[kind] ?? 0)));
  let body = frame.subarray(16), total, metadata = Buffer.alloc(0);
  if (flags & TOTAL) {
    must("E5", body.length >= 4);
    [total, body] = [body.readUInt32LE(0), body.subarray(4)];
  }
  if (flags & METADATA) {
    must("E5", body.length >= 2);
    const length = body.readUInt16LE(0);
    must("E6", length >= 1 && length <= 4096);
    must("E5", body.length >= 2 + length);
    [metadata, body] = [body.subarray(2, 2 + length), body.subarray(2 + length)];
    checkPairs(metadata);
  }
  must("E7", kind === ERROR ? body.length <= 16386 : !body.length || [REQUEST, DATA, SETTINGS].includes(kind));
  must("I4", id === 0 || ![CONNECTION_CREDIT, DRAIN, SETTINGS].includes(kind));
  const limit = hasLimit ? second * 2 ** 32 + first : 0;
  return { kind, flags, code, id, first, second, total, metadata, body, limit };
}
