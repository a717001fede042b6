"""What comes of a frame that arrives. docs/PROTOCOL.md, section 4."""

import struct
from collections import deque

from ._frames import (ABORT, ADMIT, ASSUMED, CANCEL, CONNECTION, CONNECTION_CREDIT, CREDIT, DATA, DRAIN, ENVELOPE, ERROR,
                      LAST, METADATA, OPEN, OURS, REQUEST, SETTINGS, STOP, TOTAL, WINDOW, Call, decode, must, settings)
from ._stream import MESSAGE

REFUSED = max(OURS[OPEN], ASSUMED[OPEN])  # calls of the server that go on after they were refused: docs/PROTOCOL.md, L1


class Incoming:
    def __init__(self, stream):
        self.last_id, self.last_of_server, self.calls, self.theirs, self.drains = 0, 1, {}, None, False
        self.credit, self.used, self.granted, self.taken = ASSUMED[CONNECTION], 0, OURS[CONNECTION], 0
        self.asking, self.arriving, self.refused = deque(), 0, 0  # ids of announced messages; how many calls
        self.stream = stream

    def handle(self, frame):
        kind, flags, code, id, first, second, total, metadata, body = decode(frame)
        must("S1", self.theirs is not None or kind == SETTINGS)
        if kind >= 128:
            return
        limit = first + (second << 32)
        if kind == SETTINGS:
            must("S2", self.theirs is None)
            self.theirs = settings(body)
            self.credit = max(self.credit, self.theirs[CONNECTION])
        elif kind == CONNECTION_CREDIT:
            self.credit = max(self.credit, limit)
        elif kind == DRAIN:
            self.drains = True
        elif kind == REQUEST:
            self.called(id, flags, total, metadata, body)
        else:
            self.of_call(kind, id, flags, code, total, metadata, body, first, limit)

    def called(self, id, flags, total, metadata, body):  # the server calls: this client offers nothing
        must("I1", id & 1 and id > 1)
        must("I2", 0 < (id - self.last_of_server) % 2**32 < 2**31 and id not in self.calls)
        self.last_of_server = id
        call = self.calls[id] = Call(0, drops=True)
        self.refused += 1
        self.charge(call.receive(flags, total, metadata, body, bare=True))
        must("L1", self.refused <= REFUSED or call.end is not None)
        text, call.closed = b"this client takes no calls", True
        self.send(ERROR, id, code=1, body=struct.pack("<H", len(text)) + text)
        if call.end is None:
            self.send(STOP, id)
        self.forget(id)

    def of_call(self, kind, id, flags, code, total, metadata, body, method, limit):
        must("L2", id > 1 or kind in (DATA, CREDIT, ADMIT) and not flags & LAST)
        must("I5", id > 1 or (id == 1) == (kind == DATA))
        must("I5", kind != CANCEL or id & 1)
        must("I5", kind != ERROR or not id & 1)
        newest = self.last_of_server if id & 1 else self.last_id
        must("I3", id < 2 or not 0 < (id - newest) % 2**32 < 2**31)
        must("M6", id < 2 or kind != DATA or not method)
        if id < 2:
            self.calls.setdefault(id, Call(self.theirs[WINDOW]))
        call = self.calls.get(id)
        must("M1", kind not in (DATA, ERROR, ABORT) or call and call.end is None)
        if call is None:
            return  # it was on its way
        if kind == DATA:
            self.charge(call.receive(flags, total, metadata, body, method))
            if call.asks and not call.drops:
                self.asking.append(id)
        elif kind == ERROR:
            must("M5", call.total is None)
            length = int.from_bytes(body[:2], "little")
            must("E8", len(body) >= 2 + length)
            call.end = ("error", code, body[2 : 2 + length].decode(errors="replace"))
            call.details = body[2 + length :]
        elif kind == ABORT:
            call.end = ("aborted", code, "the reply is incomplete")
        elif kind in (STOP, CANCEL) and not call.closed:
            call.closed = True
            self.send(ABORT, id, code=3)
        elif kind == CREDIT:
            call.credit = max(call.credit, limit)
        elif kind == ADMIT:
            call.admitted = True
        self.forget(id)
        self.admit()

    def admit(self):  # an announced message costs no credit: one at a time, and of a call none before the last was taken
        if (now := self.calls.get(self.arriving)) and now.total is not None and now.end is None and not now.drops:
            return
        self.arriving = 0
        for _ in range(len(self.asking)):
            id = self.asking.popleft()
            call = self.calls.get(id)
            if not call or not call.asks or call.drops or call.end is not None:
                continue
            if not call.messages:
                call.asks, self.arriving = False, id
                return self.send(ADMIT, id)
            self.asking.append(id)

    def charge(self, cost):  # replies to own calls are given back at once, and so is what is dropped
        self.taken += cost
        must("F2", self.taken <= self.granted)
        if OURS[CONNECTION] + self.taken - self.granted >= OURS[CONNECTION] // 2:
            self.granted = OURS[CONNECTION] + self.taken
            self.send(CONNECTION_CREDIT, limit=self.granted)

    def forget(self, id):  # a call that is over, and that nobody waits for
        call = self.calls[id]
        if id > 1 and (id & 1 or call.is_left) and call.end is not None:
            self.refused -= id & 1
            del self.calls[id]

    def send(self, kind, id=0, flags=0, code=0, first=0, second=0, total=None, metadata=b"", body=b"", limit=None):
        first, second = (limit & 0xFFFFFFFF, limit >> 32) if limit is not None else (first, second)
        flags |= (TOTAL if total is not None else 0) | (METADATA if metadata else 0)
        fields = struct.pack("<I", total) if total is not None else b""
        fields += struct.pack("<H", len(metadata)) + metadata if metadata else b""
        head = ENVELOPE.pack(kind, flags, code, id, first, second)
        self.stream.write_frame(MESSAGE, head + fields + body)
