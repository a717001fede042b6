// Where a server with a name is found: docs/PROTOCOL.md, section 1.
import { execFile } from "node:child_process";
import { statSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import { promisify } from "node:util";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const LONGEST_PATH = process.platform === "linux" || process.platform === "android" ? 107 : 103;

// Only this user can write to it.
function isSafe(directory) {
  try {
    const found = statSync(directory);
    return found.isDirectory() && found.uid === process.geteuid() && (found.mode & 0o022) === 0;
  } catch {
    return false;
  }
}

async function directories() {
  const usual = `/run/user/${process.geteuid()}`;
  const chosen = process.env.XDG_RUNTIME_DIR ?? "";
  if (chosen.startsWith("/") && chosen.replace(/\/+$/, "") !== usual && isSafe(chosen)) {
    return [`${chosen}/msgpipe`];
  }
  const places = [[usual, "msgpipe"]];
  if (process.platform === "darwin") {
    const { stdout } = await promisify(execFile)("getconf", ["DARWIN_USER_TEMP_DIR"]);
    places.push([stdout.trim().replace(/\/+$/, ""), "msgpipe"]);
  }
  // By the user database, not by $HOME.
  places.push([os.userInfo().homedir, ".msgpipe"]);
  return places.filter(([place]) => place.startsWith("/") && isSafe(place)).map(([place, name]) => `${place}/${name}`);
}

async function pipeOf(name) {
  const { stdout } = await promisify(execFile)("whoami", ["/user", "/fo", "csv", "/nh"]);
  const sid = /S-1-[0-9-]+/.exec(stdout)?.[0];
  if (!sid) throw new Error("whoami did not say this user's security identifier");
  return `\\\\.\\pipe\\${name.toLowerCase()}.${sid}`;
}

// The paths at which a server of this endpoint may be, in order.
export async function pathsOf(endpoint) {
  if (endpoint.includes("/") || endpoint.includes("\\")) return [endpoint];
  if (!NAME.test(endpoint)) {
    throw new TypeError(`"${endpoint}" is no name: 1 to 64 of A-Z a-z 0-9 . - _, the first a letter or a digit`);
  }
  if (process.platform === "win32") return [await pipeOf(endpoint)];
  const paths = (await directories()).map((directory) => `${directory}/${endpoint.toLowerCase()}.sock`);
  const fitting = paths.filter((path) => Buffer.byteLength(path) <= LONGEST_PATH);
  if (!fitting.length) throw new Error("there is no directory of this user's for names: set XDG_RUNTIME_DIR");
  return fitting;
}

function open(path) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    socket.once("connect", () => { socket.off("error", reject); resolve(socket); });
    socket.once("error", reject);
  });
}

// Connects to the first of these paths that has a server, until the deadline: a server that is busy is asked again.
export async function openFirst(paths, deadline) {
  let last;
  for (const path of paths) {
    for (let pause = 1; ; pause = Math.min(2 * pause, 100)) {
      try {
        return [path, await open(path)];
      } catch (error) {
        last = error;
        const isBusy = error.code === "EAGAIN" || error.code === "EBUSY";
        if (!isBusy || Date.now() >= deadline) break;
        await new Promise((resolve) => setTimeout(resolve, Math.min(pause, deadline - Date.now())));
      }
    }
    if (last.code !== "ENOENT" && last.code !== "ECONNREFUSED") throw last;
  }
  const text = `no server at ${paths.join(", ")} (${last.code}): start it, or check the name`;
  throw Object.assign(new Error(text, { cause: last }), { code: last.code });
}
