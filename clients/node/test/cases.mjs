// Run by tests/packages.rs with the endpoint of a server that offers what is called here.
import assert from "node:assert/strict";
import { CallError, ClosedError, TimeoutError, connect, methodNumber } from "../index.mjs";

const [endpoint] = process.argv.slice(2);
const ECHO = 1, COUNT = 2, SUM = 3, FAIL = 4, HOLD = 5, CANCELLED = 6, TELL = 7, LAST_NOTED = 8, CALL_BACK = 9, METADATA = 10, STOP = 11;
const MIB = 1 << 20;

const cases = {
  async "replies of every size come back"(client) {
    for (const size of [0, 1, 239, 240, 241, 65535, 65536, MIB, 3 * MIB, 16 * MIB]) {
      const body = Buffer.alloc(size, size % 251);
      assert.ok((await client.call(body, { method: ECHO })).equals(body), `${size} bytes`);
    }
    await assert.rejects(client.call(Buffer.alloc(16 * MIB + 1)), RangeError);
  },
  async "a method of a typed service has the number that its name says"() {
    assert.equal(methodNumber("Notes.add"), 0xf7a61617);
    assert.equal(methodNumber("Ü.ß"), 0x2f9ce126);
    // Hashes at the bounds of the numbers that belong to tools.
    assert.equal(methodNumber("N.pxicbhvn"), 0xfffffeff);
    assert.equal(methodNumber("N.kscmaihk"), 0xfffffe00);
    assert.equal(methodNumber("N.yiyrails"), 0xfffffeff);
  },
  async "a thousand calls are in flight at once"(client) {
    const calls = Array.from({ length: 1000 }, (_, at) => client.call(`${at}`, { method: ECHO }));
    assert.deepEqual((await Promise.all(calls)).map(String), Array.from({ length: 1000 }, (_, at) => `${at}`));
  },
  async "a small call overtakes a large one"(client) {
    const order = [];
    const large = client.call(Buffer.alloc(16 * MIB), { method: ECHO }).then(() => order.push("large"));
    await client.call("x", { method: ECHO }).then(() => order.push("small"));
    await large;
    assert.deepEqual(order, ["small", "large"]);
  },
  async "a reply in parts is read in order, at the reader's pace"(client) {
    let number = 0;
    for await (const part of client.stream("100000", { method: COUNT })) assert.equal(String(part), `${number++}`);
    assert.equal(number, 100000);
    assert.equal(String(await client.call("1", { method: COUNT })), "0");
    for (const count of ["2", "1000"]) {
      const error = await client.call(count, { method: COUNT }).catch((error) => error);
      assert.ok(error instanceof CallError && error.code === 13 && !error.notBegun, String(error));
    }
  },
  async "leaving a stream cancels it"(client) {
    const before = Number(await client.call("", { method: CANCELLED }));
    for await (const part of client.stream("1000000000", { method: COUNT })) if (String(part) === "10") break;
    while (Number(await client.call("", { method: CANCELLED })) <= before);
  },
  async "a request in parts waits for a slow server"(client) {
    const upload = client.upload({ method: SUM });
    for (let at = 0; at < 300; at++) await upload.send(Buffer.alloc(64 * 1024, 1));
    assert.equal(String(await upload.finish()), `${300 * 64 * 1024}`);
    assert.equal(String(await client.upload({ method: SUM }).finish()), "0");
  },
  async "errors have code, text and details"(client) {
    const error = await client.call("", { method: FAIL }).catch((error) => error);
    assert.ok(error instanceof CallError, `${error}`);
    assert.deepEqual([error.code, error.text, String(error.details)], [404, "no such note", "details"]);
    assert.equal(error.notBegun, false);
    const refused = await client.call("", { method: 0xffffffff }).catch((error) => error);
    assert.deepEqual([refused.code, refused.notBegun], [12, true]);
  },
  async "calls end at their time, or by a signal, and are cancelled"(client) {
    const before = Number(await client.call("", { method: CANCELLED }));
    await assert.rejects(client.call("", { method: HOLD, timeout: 20 }), TimeoutError);
    const controller = new AbortController();
    const held = client.call("", { method: HOLD, signal: controller.signal });
    await client.call("", { method: ECHO });
    controller.abort(new Error("enough"));
    await assert.rejects(held, /enough/);
    while (Number(await client.call("", { method: CANCELLED })) < before + 2);
    await assert.rejects(client.call("", { method: HOLD, signal: AbortSignal.abort() }));
  },
  async "notifications go both ways"(client) {
    const heard = new Promise((resolve) => client.once("notification", (body, method) => resolve([String(body), method])));
    await client.call("news", { method: TELL });
    assert.deepEqual(await heard, ["news", 0]);
    for (let at = 0; at < 2000; at++) await client.notify(`${at}`, { method: 3 });
    while (String(await client.call("", { method: LAST_NOTED })) !== "3 1999");
  },
  async "calls of the server are refused, and it goes on"(client) {
    assert.match(String(await client.call("", { method: CALL_BACK })), /takes no calls/);
  },
  async "metadata arrive, and have a limit"(client) {
    const metadata = { trace: "00-01", user: Buffer.from([1, 2]) };
    assert.equal(String(await client.call("", { method: METADATA, metadata })), "trace=30302d3031 user=0102");
    await assert.rejects(client.call("", { metadata: { k: Buffer.alloc(4097) } }), RangeError);
    await assert.rejects(client.call("", { metadata: { "\0w": "x" } }), TypeError);
  },
  async "the end of the server ends all calls, and says so"(client) {
    const ended = new Promise((resolve) => client.once("close", resolve));
    const held = client.call("", { method: HOLD, timeout: 0 }).catch((error) => error);
    await client.call("", { method: STOP });
    await ended;
    const error = await held;
    assert.ok(error instanceof CallError || error instanceof ClosedError, `${error}`);
    const after = await client.call("").catch((error) => error);
    assert.deepEqual([after instanceof ClosedError, after.notBegun], [true, true]);
    await assert.rejects(connect(endpoint), /no server at .*(ENOENT|ECONNREFUSED).*: start it/);
  },
};

await assert.rejects(connect("no spaces"), TypeError);
const client = await connect(endpoint);
for (const [name, run] of Object.entries(cases)) {
  await run(client);
  console.log(`ok ${name}`);
}
