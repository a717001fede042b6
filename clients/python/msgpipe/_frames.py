"""What is on the wire: frames of the stream, frames of calls. docs/PROTOCOL.md, sections 2 and 4."""

import binascii
import select
import struct
import time
from collections import deque
from contextlib import suppress

from ._places import Ended, Late

MAGIC, VERSION, CALLS = b"\xe5msg", 1, 1
MESSAGE, GOODBYE = 0, 1  # kinds of frame of the stream
REQUEST, DATA, ERROR, ABORT, STOP, CANCEL, CREDIT, CONNECTION_CREDIT, ADMIT, DRAIN, SETTINGS = range(1, 12)
LAST_PIECE, LAST, TOTAL, METADATA = 1, 2, 4, 8  # flags
FLAGS = {REQUEST: 15, DATA: 15, ERROR: METADATA}
ENVELOPE = struct.Struct("<BBHIII")
HEAD = 4118  # the most bytes before a body
PIECE = 64 << 10  # a request is sent in pieces of so many bytes
COST = 64  # what a message costs besides its bytes
BODY, OPEN, WINDOW, CONNECTION = range(1, 5)  # settings
SIZES = {BODY: 4, OPEN: 4, WINDOW: 8, CONNECTION: 8}
ASSUMED = {BODY: 240, OPEN: 128, WINDOW: 64 << 10, CONNECTION: 256 << 10}
OURS = {BODY: 16 << 20, OPEN: 128, WINDOW: 2 << 20, CONNECTION: 8 << 20}
LIMIT = (1 << 20) + HEAD  # the largest frame that this client accepts


class Broken(Exception):
    """The server broke the rule with this number."""


def must(rule, holds):
    if not holds:
        raise Broken(rule)


def with_check(data):
    return data + struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


def settings(body):
    found = dict(ASSUMED)
    while body:
        must("S3", len(body) >= 4)
        kind, length = struct.unpack("<HH", body[:4])
        must("S3", len(body) >= 4 + length)
        must("S4", kind in SIZES or kind >= 0x8000)
        must("S5", length == SIZES.get(kind, length))
        if kind in SIZES:
            value = int.from_bytes(body[4 : 4 + length], "little")
            found[kind] = max(value, ASSUMED[kind]) if kind in (WINDOW, CONNECTION) else value
        body = body[4 + length :]
    return found


def check_pairs(metadata):
    while metadata:
        key = metadata[0]
        must("E6", key and len(metadata) >= 3 + key)
        end = 3 + key + int.from_bytes(metadata[1 + key : 3 + key], "little")
        must("E6", len(metadata) >= end)
        metadata = metadata[end:]


def decode(frame):  # kind, flags, code, id, the two numbers, total, metadata, body
    must("E1", len(frame) >= ENVELOPE.size)
    kind, flags, code, id, first, second = ENVELOPE.unpack(frame[: ENVELOPE.size])
    if kind >= 128:
        return kind, 0, 0, id, 0, 0, None, b"", b""
    must("E2", REQUEST <= kind <= SETTINGS)
    has_limit = kind in (CREDIT, CONNECTION_CREDIT)
    must("E3", not code or kind in (ERROR, ABORT))
    must("E3", not first or has_limit or kind in (REQUEST, DATA))
    must("E3", not second or has_limit or kind == REQUEST)
    must("E4", not flags & ~FLAGS.get(kind, 0))
    total, metadata, body = None, b"", frame[ENVELOPE.size :]
    if flags & TOTAL:
        must("E5", len(body) >= 4)
        total, body = int.from_bytes(body[:4], "little"), body[4:]
    if flags & METADATA:
        must("E5", len(body) >= 2)
        length = int.from_bytes(body[:2], "little")
        must("E6", 1 <= length <= 4096)
        must("E5", len(body) >= 2 + length)
        metadata, body = body[2 : 2 + length], body[2 + length :]
        check_pairs(metadata)
    must("E7", len(body) <= 16386 if kind == ERROR else not body or kind in (REQUEST, DATA, SETTINGS))
    must("I4", id == 0 or kind not in (CONNECTION_CREDIT, DRAIN, SETTINGS))
    return kind, flags, code, id, first, second, total, metadata, body


class Call:  # or a lane of notifications: two directions
    def __init__(self, credit):
        self.credit, self.used, self.admitted = credit, 0, False
        self.closed = False  # nothing more is sent
        self.begun, self.is_left = False, False  # something was sent; nobody waits for the reply
        self.details = b""  # of an error
        self.granted, self.received, self.taken = OURS[WINDOW], 0, 0
        self.total, self.body, self.asks = None, b"", False  # of the message that arrives
        self.messages, self.end = deque(), None  # how what arrives has ended

    def receive(self, flags, total, metadata, body, method=0, bare=False):  # a request, or data
        must("M1", self.end is None)
        ends, first = flags & LAST_PIECE, self.total is None
        if first and not ends and total is None:  # no message: the end, or a request whose messages follow
            must("M2", not body)
            must("M6", bare or not metadata and not method)
            must("M4", bare or flags & LAST)
        elif first:
            must("M2", not ends or total is None)
            must("M5", ends or not flags & LAST)
            self.total = total = len(body) if total is None else total
            must("M7", total <= OURS[BODY])
            must("M3", ends or len(body) < total)
            cost, self.asks = total + len(metadata) + COST, not ends and not body
            must("M4", not self.asks or cost > OURS[WINDOW] // 2)
            if not self.asks:
                self.received += cost
                must("F1", self.received <= self.granted)
        else:
            must("F3", not self.asks)
            must("M2", total is None)
            must("M6", not metadata and not method)
            must("M5", ends or not flags & LAST)
            must("M4", body)
            cost = 0
        if not first or ends or total is not None:
            self.body += body
            must("M3", len(self.body) <= self.total and bool(ends) == (len(self.body) == self.total))
            if ends:
                self.messages.append(self.body)
                self.total, self.body = None, b""
        if flags & LAST:
            self.end = ("end", 0, "")
        return cost if first and (ends or total is not None) and not self.asks else 0


class Stream:  # bytes, and the frames in them
    def __init__(self, connected):
        self.socket, self.arrived, self.at_end = connected, b"", False
        self.until = None  # by time.monotonic: reading does not wait longer
        self.socket.setblocking(False)

    def write_frame(self, kind, payload):
        self.write(with_check(struct.pack("<IBB", len(payload), kind, 0)) + payload)

    def read_frame(self):
        header = self.peek(8)
        length, kind, zero = struct.unpack("<IBB", header[:6])
        if header != with_check(header[:6]) or zero or kind not in (MESSAGE, GOODBYE):
            raise Ended("a damaged header, or an unknown kind of frame")
        if length > (LIMIT if kind == MESSAGE else 514):
            raise Ended(f"a frame of {length} bytes")
        self.peek(8 + length)  # at a deadline nothing has been taken
        payload = self.read(8 + length)[8:]
        if kind == GOODBYE:
            code = struct.unpack("<H", payload[:2])[0] if length >= 2 else 1
            raise Ended(f"the server said goodbye with code {code}: {payload[2:].decode(errors='replace')}")
        return payload

    def peek(self, size):
        while len(self.arrived) < size:
            self.wait([])
            self.read_some()
            if self.at_end and len(self.arrived) < size:
                raise Ended("the server has closed the connection")
        return self.arrived[:size]

    def read(self, size):
        data = self.peek(size)
        self.arrived = self.arrived[size:]
        return data

    def wait(self, writers):
        left = None if self.until is None else max(0, self.until - time.monotonic())
        readable, writable, _ = select.select([self.socket], writers, [], left)
        if not readable and not writable and left is not None:
            raise Late("the time of the call is over; the request may have been carried out")
        return readable, writable

    def read_some(self):
        with suppress(ConnectionResetError, BlockingIOError):
            data = self.socket.recv(1 << 18)
            self.arrived, self.at_end = self.arrived + data, not data
            return
        self.at_end = True

    def write(self, data):  # reads meanwhile: a server does not read from who does not
        sent = False
        while data and not self.at_end:
            try:
                readable, writable = self.wait([self.socket])
            except Late:
                if not sent:
                    raise
                self.at_end = True  # a frame is cut: nothing more can be sent
                raise Ended("the server did not read in time, in the middle of a message") from None
            sent = sent or bool(writable)
            if readable:
                self.read_some()
            if writable:
                with suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
                    data = data[self.socket.send(data) :]
                    continue
                return  # reading finds the end, perhaps after a goodbye
