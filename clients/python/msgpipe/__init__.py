"""A client of msgpipe servers, on Unix domain sockets. Standard library only.

    with msgpipe.connect("com.example.notes") as client:
        reply = client.call(b"milk", method=7, timeout=5)
        for part in client.stream(b"all notes", method=8):
            print(part)

A client is for one thread at a time; other threads have connections of their own.
"""

import struct
import time

from ._calls import Connection
from ._frames import LAST, DATA
from ._places import Ended, Late, paths_of

__all__ = ["CallError", "Client", "Ended", "Late", "connect"]

STUCK = 5.0  # seconds in which a server that takes nothing is given up
NOT_BEGUN = (3, 4, 7, 8, 10, 11, 12)  # docs/PROTOCOL.md, "Codes of errors"


class CallError(Exception):
    """The server has replied with an error. Codes from 100 on are the application's."""

    def __init__(self, code, text, details=b""):
        super().__init__(f"error {code}: {text}")
        self.code, self.text, self.details = code, text, details
        self.not_begun = code in NOT_BEGUN  # it can be sent again


def connect(endpoint, timeout=10.0, notified=lambda body, method: None):
    """Connects to a server: a name, or the path of a socket. `notified` is called with what the server sends unasked, while
    the client waits for something. Raises Ended if no server is there, Late at the timeout, in seconds."""
    return Client(Connection(paths_of(endpoint), time.monotonic() + timeout, notified))


class Client:
    """A connection; connect() makes it."""

    def __init__(self, connection):
        self._connection = connection

    def call(self, body=b"", method=0, metadata=None, timeout=30.0):
        """Sends a request, and returns the reply. Raises CallError for an error reply, Late at the timeout, in seconds; the
        connection goes on after both. Ended: it has ended."""
        id = self._open(body, True, method, metadata, timeout)
        return self._only(id)

    def stream(self, body=b"", method=0, metadata=None, timeout=None):
        """Sends a request, and yields the parts of its reply. The timeout, in seconds, is that of each part. Leaving the loop
        cancels the call."""
        id = self._open(body, True, method, metadata, None)
        try:
            while True:
                self._until(timeout)
                part = self._connection.next(id)
                if part is None:
                    return self._check(id)
                yield part
        finally:
            self._over(id)

    def upload(self, parts, method=0, metadata=None, timeout=30.0):
        """Sends a request of parts, from an iterable, and returns the reply. The timeout counts after the last part."""
        parts, id = iter(parts), None
        try:
            for part in parts:
                self._until(None)
                if id is None:
                    id = self._open(part, False, method, metadata, None)
                else:
                    self._connection.put(id, part, False)
            if id is None:
                id = self._open(b"", True, method, metadata, timeout)
            elif not self._connection.calls[id].closed:
                self._connection.send(DATA, id, LAST)
                self._connection.calls[id].closed = True
            self._until(timeout)
        except BaseException:
            if id is not None:
                self._over(id)
            raise
        return self._only(id)

    def notify(self, body=b"", method=0, metadata=None):
        """Sends a message that asks for no reply."""
        self._until(None)
        self._connection.notify(bytes(body), method, _pairs(metadata))

    def listen(self, timeout=None):
        """Waits for something from the server, which `notified` of connect() is called with; at most for so many seconds."""
        self._until(timeout)
        try:
            self._connection.step()
        except Late:
            return

    def close(self):
        """Closes the connection."""
        self._connection.stream.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _until(self, timeout):
        self._connection.stream.until = None if timeout is None else time.monotonic() + timeout

    def _open(self, body, last, method, metadata, timeout):
        self._until(timeout)
        milliseconds = 0 if timeout is None else max(1, min(int(timeout * 1000), 2**32 - 1))
        before = self._connection.last_id
        try:
            return self._connection.open(bytes(body), last, method, _pairs(metadata), milliseconds)[0]
        except BaseException:
            if self._connection.last_id != before:
                self._over(self._connection.last_id)
            raise

    def _only(self, id):  # the reply is the first message
        try:
            reply = self._connection.next(id)
            if reply is None:
                self._check(id)
            return reply or b""
        finally:
            self._over(id)

    def _check(self, id):
        call = self._connection.calls[id]
        kind, code, text = call.end
        if kind == "error":
            raise CallError(code, text, call.details)
        if kind == "aborted" and code == 4:
            raise Late("the time of the call is over; the request may have been carried out")
        if kind == "aborted":
            raise CallError(code, text)

    def _over(self, id):
        if self._connection.stream.at_end:
            return
        self._until(STUCK)
        try:
            self._connection.leave(id)
        except Late:  # the cancel cannot be sent: no call can be any more
            self._connection.stream.at_end = True


def _pairs(metadata):
    made = b""
    for key, value in (metadata or {}).items():
        key, value = (bytes(it) if not isinstance(it, str) else it.encode() for it in (key, value))
        if not 1 <= len(key) <= 255 or key[0] == 0:
            raise ValueError(f"{key!r} cannot be a key of metadata")
        made += bytes([len(key)]) + key + struct.pack("<H", len(value)) + value
    if len(made) > 4096:
        raise ValueError(f"metadata of {len(made)} bytes: the limit is 4096")
    return made
