"""Calls a msgpipe server on a Unix domain socket. Written from docs/PROTOCOL.md; standard library only.

    python3 client.py ENDPOINT REQUEST...

ENDPOINT is a name (com.example.notes) or, with a slash in it, the path of a socket. The requests are sent one after
the other, and each reply is printed on a line of its own. Exit status: 0 all have a reply, 1 some were answered with
an error, 2 wrong usage, 3 there is no connection, or it has ended.
"""

import binascii
import os
import pwd
import socket
import stat
import struct
import sys
from contextlib import suppress

MAGIC, VERSION, CALLS = b"\xe5msg", 1, 1
MESSAGE, GOODBYE = 0, 1  # kinds of frame
REQUEST, REPLY, ERROR_REPLY = 1, 2, 3  # kinds of message
ENVELOPE = struct.Struct("<BBHI")
LIMIT = (16 << 20) + ENVELOPE.size  # the largest message that this client accepts


class Ended(Exception):
    """There is no connection, or it has ended, or it must end."""


def with_check(data):
    return data + struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


def is_safe(directory):  # only this user can write to it
    try:
        found = os.stat(directory)
    except OSError:
        return False
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return directory.startswith("/") and mine and not found.st_mode & 0o022


def directories():  # in which a name may lie, in their order
    usual = f"/run/user/{os.geteuid()}"
    chosen = os.environ.get("XDG_RUNTIME_DIR", "")
    if chosen.rstrip("/") != usual and is_safe(chosen):
        return [f"{chosen}/msgpipe"]
    places = [(usual, "msgpipe")]
    if sys.platform == "darwin":
        places.append((os.confstr(65537).rstrip("/"), "msgpipe"))  # _CS_DARWIN_USER_TEMP_DIR
    with suppress(KeyError):
        places.append((pwd.getpwuid(os.geteuid()).pw_dir, ".msgpipe"))
    return [f"{place}/{name}" for place, name in places if is_safe(place)]


def paths_of(endpoint):
    if "/" in endpoint:
        return [endpoint]
    longest = 107 if sys.platform.startswith("linux") else 103
    paths = [f"{directory}/{endpoint.lower()}.sock" for directory in directories()]
    return [path for path in paths if len(os.fsencode(path)) <= longest]


def connect(paths):  # to the first that has a server
    reasons = []
    for path in paths:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.connect(path)
            return path, connected
        except OSError as error:
            connected.close()
            reasons.append(f"no server at {path}: {error.strerror or error}")
            if not isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                break
    raise Ended("; ".join(reasons) or "no directory of this user's for names: set XDG_RUNTIME_DIR")


def stands_for_many(uid):  # as in a container every user who has no number there
    with suppress(OSError), open("/proc/sys/kernel/overflowuid") as overflow, open("/proc/self/uid_map") as users:
        return uid == int(overflow.read()) and users.read().split() != ["0", "0", str(2**32 - 1)]
    return False


class Connection:
    def __init__(self, paths):
        self.last_id = 0
        path, self.socket = connect(paths)
        self.stream = self.socket.makefile("rb")
        if hasattr(socket, "SO_PEERCRED"):  # on Linux: who serves?
            _, uid, _ = struct.unpack("iII", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in (0, os.geteuid()) or stands_for_many(uid):
                raise Ended(f"{path} is served by user {uid}")
        self.send(with_check(struct.pack("<4sBBBxIxx", MAGIC, VERSION, VERSION, CALLS, LIMIT)))
        # Requests may follow at once. This client reads first, to know how large they may be.
        if (preface := self.read(4)) != MAGIC:
            raise Ended(f"{path} is no msgpipe server")
        preface += self.read(12)
        low, high, layer, self.server_limit = struct.unpack("<BBBxI", preface[4:12])
        if not low <= VERSION <= high:
            raise Ended(f"the server speaks versions {low} to {high}, this client {VERSION}")
        if preface != with_check(preface[:14]) or layer != CALLS:
            raise Ended(f"a damaged preface, or a server that does not take calls (layer {layer})")

    def call(self, body):  # returns the code of an error reply, or None for a reply; and the body
        self.last_id = (self.last_id + 1) % 2**32
        message = ENVELOPE.pack(REQUEST, 0, 0, self.last_id) + body
        if len(message) > self.server_limit:
            raise Ended(f"a request of {len(body)} bytes, the server takes {self.server_limit - ENVELOPE.size}")
        self.send(with_check(struct.pack("<IBB", len(message), MESSAGE, 0)) + message)
        reply = self.read_message()
        kind, zero, code, for_id = ENVELOPE.unpack(reply[:8]) if len(reply) >= 8 else (0, 0, 0, 0)
        if kind not in (REPLY, ERROR_REPLY) or zero or (kind == REPLY and code) or for_id != self.last_id:
            raise Ended(f"the server sent something that is no reply to request {self.last_id}")
        return (code if kind == ERROR_REPLY else None), reply[8:]

    def read_message(self):
        header = self.read(8)
        length, kind, zero = struct.unpack("<IBB", header[:6])
        if header != with_check(header[:6]) or zero or kind not in (MESSAGE, GOODBYE):
            raise Ended("a damaged header, or an unknown kind of frame")
        if length > (LIMIT if kind == MESSAGE else 514):
            raise Ended(f"a frame of {length} bytes")
        payload = self.read(length)
        if kind == GOODBYE:
            code = struct.unpack("<H", payload[:2])[0] if length >= 2 else 1
            raise Ended(f"the server said goodbye with code {code}: {payload[2:].decode(errors='replace')}")
        return payload

    def read(self, size):
        data = b""
        with suppress(ConnectionResetError):
            data = self.stream.read(size)
        if len(data) < size:
            raise Ended("the server has closed the connection")
        return data

    def send(self, data):
        with suppress(BrokenPipeError, ConnectionResetError):  # reading finds the end, perhaps after a goodbye
            self.socket.sendall(data)


def main(endpoint, *requests):
    connection, status = Connection(paths_of(endpoint)), 0
    for request in requests:
        code, body = connection.call(os.fsencode(request))
        if code is None:
            sys.stdout.buffer.write(body + b"\n")
            continue
        print(f"error {code}: {body.decode(errors='replace')}", file=sys.stderr)
        status = 1
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 2 else print(__doc__, file=sys.stderr) or 2)
    except Ended as ended:
        print(f"client.py: {ended}", file=sys.stderr)
        sys.exit(3)
