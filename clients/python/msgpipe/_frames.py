"""Frames of calls, and what those of one call may be. docs/PROTOCOL.md, section 4."""

import struct
from collections import deque

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


def settings(body):
    found, at = dict(ASSUMED), 0
    while at < len(body):
        must("S3", len(body) >= at + 4)
        kind, length = struct.unpack_from("<HH", body, at)
        at += 4 + length
        must("S3", len(body) >= at)
        must("S4", kind in SIZES or kind >= 0x8000)
        must("S5", length == SIZES.get(kind, length))
        if kind in SIZES:
            value = int.from_bytes(body[at - length : at], "little")
            found[kind] = max(value, found[kind]) if kind in (WINDOW, CONNECTION) else value
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
    def __init__(self, credit, drops=False):
        self.credit, self.used, self.admitted = credit, 0, False
        self.closed = False  # nothing more is sent
        self.drops = drops  # nobody waits for what arrives: it is not kept
        self.is_left = False  # and its end neither
        self.details = b""  # of an error
        self.granted, self.received, self.taken = OURS[WINDOW], 0, 0
        self.total, self.size, self.asks = None, 0, False  # of the message that arrives
        self.body, self.method = bytearray(), 0
        self.messages, self.end = deque(), None  # (body, method); how what arrives has ended

    def receive(self, flags, total, metadata, body, method=0, bare=False):  # a request, or data
        must("M1", self.end is None)
        ends, first, cost = flags & LAST_PIECE, self.total is None, 0
        if first and not ends and total is None:  # no message: the end, or a request whose messages follow
            must("M2", not body)
            must("M6", bare or not metadata and not method)
            must("M4", bare or flags & LAST)
        elif first:
            must("M2", not ends or total is None)
            must("M5", ends or not flags & LAST)
            self.total, self.method = len(body) if total is None else total, method
            must("M7", self.total <= OURS[BODY])
            must("M3", ends or len(body) < self.total)
            cost, self.asks = self.total + len(metadata) + COST, not ends and not body
            must("M4", not self.asks or cost > OURS[WINDOW] // 2)
            cost = 0 if self.asks else cost
            self.received += cost
            must("F1", self.received <= self.granted)
            self.add(body, ends)
        else:
            must("F3", not self.asks)
            must("M2", total is None)
            must("M6", not metadata and not method)
            must("M5", ends or not flags & LAST)
            must("M4", body)
            self.add(body, ends)
        if flags & LAST:
            self.end = ("end", 0, "")
        return cost

    def add(self, body, ends):  # a piece
        self.size += len(body)
        must("M3", self.size <= self.total and bool(ends) == (self.size == self.total))
        if not self.drops:
            self.body += body
        if ends:
            if not self.drops:
                self.messages.append((bytes(self.body), self.method))
            self.total, self.size, self.body = None, 0, bytearray()

    def drop(self):  # nobody waits for more
        self.drops, self.body = True, bytearray()
        self.messages.clear()
