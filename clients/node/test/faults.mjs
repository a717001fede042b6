// Run by tests/packages.rs: servers that break rules, do not read or reply early, and what the client does then.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { EventEmitter, getEventListeners } from "node:events";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Connection, REFUSED_MAX } from "../connection.mjs";
import { CallError, ClosedError, TimeoutError, connect } from "../index.mjs";
import { Sender, UNSENT_MAX } from "../sending.mjs";
import { ABORT, ADMIT, CANCEL, CONNECTION_CREDIT, DATA, ERROR, LAST, LAST_PIECE, REQUEST, SETTINGS, STOP } from "../wire.mjs";
import { served } from "./server.mjs";

const MIB = 1 << 20;
const REFUSAL = Buffer.from("\x02\0no");

async function answersPings(peer) {
  for (let frame; (frame = await peer.hear(REQUEST, CANCEL)); ) {
    if (frame.kind === CANCEL) peer.send({ kind: ABORT, id: frame.id, code: 2 });
    else if (String(frame.body) === "ping") peer.reply(frame.id);
  }
}

const cases = {
  async "the server may be the first to see that a call is over its time"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const called = client.call("x", { timeout: 60_000 });
      const peer = await its;
      peer.send({ kind: ABORT, id: (await peer.hear(REQUEST)).id, code: 4 });
      const error = await called.catch((error) => error);
      assert.ok(error instanceof TimeoutError, `${error}`);
      assert.equal(error.message, "timed out, as the server says; the request may have been carried out");
      client.close();
    });
  },
  async "what is sent after the connection has ended is rejected"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const upload = client.upload();
      await upload.send("first");
      const ended = new Promise((resolve) => client.once("close", resolve));
      (await its).socket.destroy();
      await ended;
      for (const sent of [client.notify("x"), upload.send("x"), upload.finish(), client.call("x")]) {
        await assert.rejects(sent, ClosedError);
      }
      assert.throws(() => client.upload(), ClosedError);
    });
  },
  async "what waits to be sent when the connection ends is rejected"() {
    await served(async (path) => {
      const client = await connect(path);
      const upload = client.upload();
      const sent = [client.notify(Buffer.alloc(MIB)), client.notify("x"), upload.send(Buffer.alloc(MIB)), upload.send("x")];
      client.close({ timeout: 1 });
      for (const outcome of await Promise.allSettled(sent)) assert.ok(outcome.reason instanceof ClosedError, outcome.status);
    }, { reads: false });
  },
  async "a process ends by itself after all that can happen"() {
    for (const how of ["connect", "unread", "aborted", "closed"]) {
      await served(async (path, its) => {
        if (how === "connect") await connect(path).then((client) => client.close());
        if (how !== "unread") its.then(answersPings);
        const script = fileURLToPath(new URL("ends.mjs", import.meta.url));
        const { stdout } = await promisify(execFile)(process.execPath, [script, path, how], { timeout: 60_000 });
        assert.equal(stdout, "ended\n", how);
      }, { reads: how !== "unread", open: 2, window: 1 << 24 });
    }
  },
  async "no listener is left at a signal"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const { signal } = new AbortController();
      const call = client.call("", { signal });
      (await its).reply(await (await its).request());
      await call;
      await assert.rejects(client.call("", { signal, timeout: 5 }));
      await assert.rejects(client.stream("", { signal, timeout: 5 }).next());
      assert.deepEqual(getEventListeners(signal, "abort"), []);
      client.close();
    });
  },
  async "the work for a frame does not grow with the calls that wait"() {
    const count = 10_000;
    let picks = 0;
    const { pick } = Sender.prototype;
    Sender.prototype.pick = function () {
      picks += 1;
      return pick.call(this);
    };
    await served(async (path, its) => {
      const client = await connect(path);
      const calls = Array.from({ length: count }, (_, at) => client.call(`${at}`));
      const peer = await its;
      for (let at = 0; at < count; at++) {
        const { id, body } = await peer.hear(REQUEST);
        if (at % 1000 === 0) peer.send({ kind: CONNECTION_CREDIT, first: (1 << 18) + 100 * at });
        peer.reply(id, body);
      }
      assert.deepEqual((await Promise.all(calls)).map(Number), Array.from({ length: count }, (_, at) => at));
      assert.ok(picks < 5 * count, `${picks} for ${count} calls`);
      client.close();
    }, { open: 100 });
    Sender.prototype.pick = pick;
  },
  async "requests wait for credit of the connection, and small ones go before"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const uploads = Array.from({ length: 5 }, () => client.upload());
      const sent = uploads.flatMap((upload) => [upload.send(Buffer.alloc(30_000)), upload.send(Buffer.alloc(30_000))]);
      const small = client.call("small");
      const peer = await its;
      const heard = [];
      for (let at = 0; at < 9; at++) heard.push((await peer.hear(REQUEST, DATA)).body.length);
      assert.deepEqual(heard.sort((one, other) => one - other), [5, ...Array(8).fill(30_000)]);
      peer.send({ kind: CONNECTION_CREDIT, first: 1 << 20 });
      for (let at = 0; at < 2; at++) assert.equal((await peer.hear(REQUEST, DATA)).body.length, 30_000);
      await Promise.all(sent);
      client.close();
      await assert.rejects(small, ClosedError);
    });
  },
  async "a call that is given up leaves its place in the line"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const first = client.call("first");
      const stop = new AbortController();
      const waiting = [1, 2, 3].map((at) => client.call(`${at}`, at === 2 ? { signal: stop.signal } : {}));
      stop.abort(new Error("enough"));
      await assert.rejects(waiting[1], /enough/);
      const peer = await its;
      for (const expected of ["first", "1", "3"]) {
        const { id, body } = await peer.hear(REQUEST, CANCEL);
        assert.equal(String(body), expected);
        peer.reply(id);
      }
      await Promise.all([first, waiting[0], waiting[2]]);
      client.close();
    }, { open: 1 });
  },
  async "refused calls that go on have a bound, and none is admitted"() {
    for (const [count, ends] of [[REFUSED_MAX - 1, false], [REFUSED_MAX, false], [REFUSED_MAX + 1, true]]) {
      await served(async (path, its) => {
        const client = await connect(path);
        const call = client.call("", { timeout: 0 });
        const peer = await its;
        const mine = await peer.request();
        const ids = Array.from({ length: count }, (_, at) => 3 + 2 * at);
        peer.send(...ids.map((id) => ({ kind: REQUEST, id, total: 16 * MIB })));
        if (ends) return assert.rejects(call, /\[L1\]/);
        for (const id of ids) {
          const { kind, id: stopped } = await peer.hear(STOP, ADMIT);
          assert.deepEqual([kind, stopped], [STOP, id]);
          peer.send({ kind: ABORT, id, code: 3 });
        }
        // There is room again.
        peer.send(...ids.map((id) => ({ kind: REQUEST, id: id + 1000, total: 16 * MIB })));
        peer.reply(mine, "mine");
        assert.equal(String(await call), "mine");
        client.close();
      });
    }
  },
  async "an announced message is admitted when those before it were taken"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const stream = client.stream("");
      const first = stream.next();
      const peer = await its;
      const id = await peer.request();
      const large = { kind: DATA, id, total: 2 * MIB };
      const whole = [{ kind: DATA, id, body: Buffer.alloc(MIB) }, { kind: DATA, id, flags: LAST_PIECE, body: Buffer.alloc(MIB) }];
      peer.send({ kind: DATA, id, flags: LAST_PIECE, body: Buffer.from("0") }, { kind: DATA, id, flags: LAST_PIECE, body: Buffer.from("1") });
      await first;
      // The refusal of a call shows that what was sent before it has been read.
      peer.send(large, { kind: REQUEST, id: 3, flags: LAST });
      assert.equal((await peer.hear(ADMIT, ERROR)).kind, ERROR);
      assert.equal(String((await stream.next()).value), "1");
      assert.equal((await peer.hear(ADMIT)).id, id);
      peer.send(...whole, { kind: DATA, id, flags: LAST });
      assert.equal((await stream.next()).value.length, 2 * MIB);
      assert.ok((await stream.next()).done);
      client.close();
    });
  },
  async "an upload ends with an early error, and the connection goes on"() {
    for (const stops of [false, true]) {
      await served(async (path, its) => {
        const client = await connect(path);
        const upload = client.upload();
        await upload.send("first");
        const large = upload.send(Buffer.alloc(8 * MIB)); // it waits to be admitted
        const peer = await its;
        const id = await peer.request();
        if (stops) peer.send({ kind: STOP, id });
        peer.send({ kind: ERROR, id, code: 404, body: REFUSAL });
        if (stops) await large;
        else await assert.rejects(large, CallError);
        assert.equal((await peer.hear(ABORT)).id, id);
        const call = client.call("it goes on");
        peer.reply(await peer.request());
        await call;
        await assert.rejects(upload.send("more"), { code: 404, text: "no" });
        await assert.rejects(upload.finish(), { code: 404, text: "no" });
        client.close();
        assert.equal(await peer.hear(DATA, ABORT, CANCEL), undefined, "nothing more was sent");
      });
    }
  },
  async "the end of a request comes after its parts"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const upload = client.upload();
      for (const part of ["1", Buffer.alloc(40_000)]) upload.send(part);
      const reply = upload.finish();
      const peer = await its;
      const id = await peer.request();
      assert.equal((await peer.hear(DATA)).total, 40_000);
      peer.send({ kind: ADMIT, id });
      assert.equal((await peer.hear(DATA)).body.length, 40_000);
      assert.equal((await peer.hear(DATA)).flags, LAST);
      peer.reply(id);
      await reply;
      client.close();
    });
  },
  async "a notification in pieces keeps its method"() {
    await served(async (path, its) => {
      const client = await connect(path);
      const heard = new Promise((resolve) => client.once("notification", (body, method) => resolve([String(body), method])));
      const last = { kind: DATA, id: 1, flags: LAST_PIECE, body: Buffer.from("b") };
      (await its).send({ kind: DATA, id: 1, first: 7, total: 2, body: Buffer.from("a") }, last);
      assert.deepEqual(await heard, ["ab", 7]);
      client.close();
    });
  },
  async "what the server does not read has a bound"() {
    for (const [waits, ends] of [[UNSENT_MAX - 1, false], [UNSENT_MAX, false], [UNSENT_MAX + 1, true]]) {
      const socket = Object.assign(new EventEmitter(), { writableLength: 0, destroyed: true, write() {}, destroySoon() {} });
      const connection = new Connection("path", socket, { hasEnded() {} });
      socket.writableLength = waits;
      connection.send({ kind: SETTINGS });
      assert.equal(/does not read/.test(connection.ended?.message), ends, `${waits}`);
    }
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(`ok ${name}`);
}
