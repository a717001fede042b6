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
from ._frames import DATA, LAST
from ._places import Ended, Late, paths_of

__all__ = ["CallError", "Client", "Ended", "Late", "connect", "method_number"]

NOT_BEGUN = (3, 4, 7, 8, 10, 11, 12)  # docs/PROTOCOL.md, "Codes of errors"


class CallError(Exception):
    """The server has replied with an error. Codes from 100 on are the application's."""

    def __init__(self, code, text, details=b""):
        super().__init__(f"error {code}: {text}")
        self.code, self.text, self.details = code, text, details
        self.not_begun = code in NOT_BEGUN  # it can be sent again


def method_number(name):
    """The number of a method of a typed service, as "Notes.add" (docs/TYPED.md, "Methods")."""
    number = 0x811C9DC5
    for byte in name.encode():
        number = (number ^ byte) * 0x01000193 % 2**32
    return (number - 256 if number >= 0xFFFFFF00 else number) or 1


def connect(endpoint, timeout=10.0, notified=lambda body, method: None):
    """Connects to a server: a name, or the path of a socket. `notified` is called with what the server sends unasked, while
    the client waits for something; it may use the client. Raises Ended if no server is there, Late at the timeout, in
    seconds; None is no limit."""
    until = None if timeout is None else time.monotonic() + timeout
    return Client(Connection(paths_of(endpoint), until, notified))


class Client:
    """A connection; connect() makes it."""

    def __init__(self, connection):
        self._connection = connection

    def call(self, body=b"", method=0, metadata=None, timeout=30.0):
        """Sends a request, and returns the reply. Raises CallError for an error reply, Late at the timeout, in seconds; the
        connection goes on after both. Ended: it has ended, and each later use says why."""
        with self._within(timeout):
            return self._only(self._open(body, True, method, metadata, timeout))

    def stream(self, body=b"", method=0, metadata=None, timeout=None):
        """Sends a request, and yields the parts of its reply. The timeout, in seconds, is that of each part. Leaving the loop
        cancels the call."""
        with self._within(None):
            id = self._open(body, True, method, metadata, None)
        try:
            while True:
                with self._within(timeout):
                    part = self._connection.next(id)
                if part is None:
                    return self._check(id)
                yield part
        finally:
            self._connection.over(id)

    def upload(self, parts, method=0, metadata=None, timeout=30.0):
        """Sends a request of parts, from an iterable, and returns the reply. The timeout counts after the last part. No more
        parts are taken once the server has replied with an error, or wants no more."""
        connection, id = self._connection, None
        try:
            for part in parts:
                with self._within(None):
                    if id is None:
                        id = self._open(part, False, method, metadata, None)
                    else:
                        connection.put(id, bytes(part), False)
                    connection.look()
                call = connection.calls[id]
                if call.closed or call.end and call.end[0] != "end":
                    break
            with self._within(timeout):
                if id is None:
                    id = self._open(b"", True, method, metadata, timeout)
                elif not (call.closed or call.end and call.end[0] != "end"):
                    connection.send(DATA, id, LAST)
                    call.closed = True
                return self._only(id)
        finally:
            if id is not None:
                connection.over(id)

    def notify(self, body=b"", method=0, metadata=None):
        """Sends a message that asks for no reply. Raises Ended if the connection has ended."""
        with self._within(None):
            self._connection.notify(bytes(body), method, _pairs(metadata))

    def listen(self, timeout=None):
        """Waits for something from the server, which `notified` of connect() is called with; at most for so many seconds."""
        self._connection.look(timeout, 1)

    def close(self):
        """Closes the connection. What is used later raises Ended."""
        self._connection.stream.end("this side has closed the connection")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _within(self, timeout):
        return self._connection.stream.within(timeout)

    def _open(self, body, last, method, metadata, timeout):
        milliseconds = 0 if timeout is None else int(max(1, min(timeout * 1000, 2**32 - 1)))
        return self._connection.open(bytes(body), last, method, _pairs(metadata), milliseconds)[0]

    def _only(self, id):  # the reply is one message
        try:
            reply = self._connection.next(id)
            if reply is not None and self._connection.next(id) is not None:
                raise CallError(13, "the reply has parts, and this call takes one message: take them with stream")
            self._check(id)
            return reply or b""
        finally:
            self._connection.over(id)

    def _check(self, id):
        call = self._connection.calls[id]
        kind, code, text = call.end
        if kind == "error":
            raise CallError(code, text, call.details)
        if kind == "aborted" and code == 4:
            raise Late("the time of the call is over; the request may have been carried out")
        if kind == "aborted":
            raise CallError(code, text)


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
