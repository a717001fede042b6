// Ends by itself if the client leaves nothing behind. Run by faults.mjs with the path of a server that replies to pings only.
import assert from "node:assert/strict";
import { connect } from "../index.mjs";

const HOUR = 3_600_000;
const [path, how] = process.argv.slice(2);
if (how === "connect") {
  await assert.rejects(connect(`${path}.none`, { timeout: HOUR }), /ENOENT/);
} else {
  const client = await connect(path, { timeout: HOUR });
  if (how === "unread") {
    // The socket takes a part of it.
    client.notify(Buffer.alloc(1 << 20)).catch(() => {});
    client.close();
  } else {
    const stop = new AbortController();
    const options = { timeout: HOUR, signal: stop.signal };
    // The server takes two at once: the stream waits.
    const held = [client.call("", { timeout: HOUR }), client.call("", options), client.stream("", options).next()];
    const ended = Promise.allSettled(held);
    await assert.rejects(client.call("", { timeout: 20 }));
    if (how === "aborted") {
      stop.abort();
      // The server has ended them by now.
      await client.call("ping");
    }
    client.close();
    assert.ok((await ended).every(({ status }) => status === "rejected"));
  }
}
console.log("ended");
