"""Bytes, and the frames in them: docs/PROTOCOL.md, section 2."""

import binascii
import math
import select
import struct
import time
from contextlib import contextmanager

from ._places import Ended, Late

MAGIC, VERSION, CALLS = b"\xe5msg", 1, 1
MESSAGE, GOODBYE = 0, 1  # kinds of frame
GOODBYE_MAX = 514
READ_AHEAD = 32 << 20  # bytes kept unread while this side writes: 8 MiB of credit and an announced message of 16, and some
UNSENT = 1 << 20  # bytes kept for a server that does not read: a server keeps as many for a client


def with_check(data):
    return data + struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


class Stream:
    def __init__(self, connected, largest):
        self.socket, self.largest = connected, largest  # frame that is accepted
        self.arrived, self.unsent = bytearray(), bytearray()
        self.at_end = self.is_cut = False  # nothing more arrives; nothing more can be sent
        self.why = None  # it has ended
        self.until = None  # by time.monotonic: nothing waits longer
        self.socket.setblocking(False)

    @contextmanager
    def within(self, timeout):  # each call has its own deadline, also one inside another
        before, self.until = self.until, None if timeout is None else time.monotonic() + timeout
        try:
            yield
        finally:
            self.until = before

    def is_late(self):
        return self.until is not None and time.monotonic() >= self.until

    def end(self, why):  # returns what is to be raised, here and at each later use
        if self.why is None:
            self.why = why
            self.socket.close()
            self.arrived, self.unsent = bytearray(), bytearray()
        return Ended(self.why)

    def check(self):
        if self.why is not None:
            raise Ended(self.why)

    def read_frame(self):  # at a deadline nothing has been taken
        header = self.read(8, take=False)
        length, kind, zero = struct.unpack("<IBB", header[:6])
        if header != with_check(header[:6]) or zero or kind not in (MESSAGE, GOODBYE):
            raise self.end("a damaged header, or an unknown kind of frame")
        if length > (self.largest if kind == MESSAGE else GOODBYE_MAX):
            raise self.end(f"a frame of {length} bytes, over the limit")
        payload = self.read(8 + length)[8:]
        if kind == GOODBYE:
            code = struct.unpack("<H", payload[:2])[0] if length >= 2 else 1
            raise self.end(f"the server said goodbye with code {code}: {payload[2:].decode(errors='replace')}")
        return payload

    def read(self, size, take=True):
        self.check()
        while len(self.arrived) < size:
            if self.at_end:
                raise self.end("the server has closed the connection")
            self.wait()
            if len(self.arrived) < size and not self.at_end and self.is_late():
                raise late()
        data = bytes(self.arrived[:size])
        if take:
            del self.arrived[:size]
        return data

    def write_frame(self, kind, payload):
        self.write(with_check(struct.pack("<IBB", len(payload), kind, 0)) + payload)

    def write(self, data):  # does not wait: what the system does not take now, it gets later
        self.check()
        if self.is_cut or self.at_end:
            return
        if len(self.unsent) + len(data) > UNSENT:
            raise self.end(f"the server does not read: {len(self.unsent)} bytes wait for it, the limit is {UNSENT}")
        self.unsent += data
        self.write_some()

    def flush(self):  # reads meanwhile: a server does not read from who does not
        self.check()
        while self.unsent and not self.at_end:
            self.wait()
            if len(self.arrived) > READ_AHEAD:
                raise self.end(f"the server sends and does not read: over {READ_AHEAD} bytes have arrived meanwhile")
            if self.unsent and self.is_late():
                raise late()

    def wait(self):  # until something was read or written; once also when the time is over
        left = None if self.until is None else math.ceil(1000 * max(0, self.until - time.monotonic()))
        waiting = select.poll()  # no select: descriptors may be over 1023
        waiting.register(self.socket, select.POLLIN | (select.POLLOUT if self.unsent else 0))
        found = waiting.poll(None if left is None else min(left, 2**31 - 1))
        if not found and self.is_late():
            raise late()
        events = found[0][1] if found else 0
        if events & ~select.POLLOUT:
            self.read_some()
        if events & select.POLLOUT:
            self.write_some()

    def read_some(self):
        try:
            data = self.socket.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self.arrived += data
        self.at_end = not data

    def write_some(self):
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # reading finds the end, perhaps after a goodbye
            self.is_cut, self.unsent = True, bytearray()


def late():
    return Late("the time of the call is over; the request may have been carried out")
