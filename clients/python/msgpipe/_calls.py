"""Calls of a client: what may be sent when, and what comes of what arrives. docs/PROTOCOL.md, section 4."""

import struct

from ._frames import (ABORT, ADMIT, ASSUMED, BODY, CALLS, CANCEL, CONNECTION, CONNECTION_CREDIT, COST, CREDIT, DATA,
                      DRAIN, ENVELOPE, ERROR, GOODBYE, HEAD, LAST, LAST_PIECE, LIMIT, MAGIC, MESSAGE, METADATA, OURS,
                      PIECE, REQUEST, SETTINGS, SIZES, STOP, TOTAL, VERSION, WINDOW, Broken, Call, Stream, decode, must, settings,
                      with_check)
from ._places import Ended, check_server, connect


class Connection:
    def __init__(self, paths, until=None, notified=lambda body, method: None):
        self.last_id, self.last_of_server, self.calls, self.theirs, self.drains = 0, 1, {}, None, False
        self.credit, self.used, self.granted, self.taken = ASSUMED[CONNECTION], 0, OURS[CONNECTION], 0
        path, connected = connect(paths)
        check_server(path, connected)
        self.stream, self.notified = Stream(connected), notified
        self.stream.until = until
        self.stream.write(with_check(struct.pack("<4sBBBxIxx", MAGIC, VERSION, VERSION, CALLS, LIMIT)))
        self.send(SETTINGS, body=b"".join(struct.pack("<HH", kind, SIZES[kind]) + value.to_bytes(SIZES[kind], "little")
                                          for kind, value in OURS.items()))
        if (preface := self.stream.read(4)) != MAGIC:
            raise Ended(f"{path} is no msgpipe server")
        preface += self.stream.read(12)
        low, high, layer, self.largest = struct.unpack("<BBBxI", preface[4:12])
        if not low <= VERSION <= high:
            raise Ended(f"the server speaks versions {low} to {high}, this client {VERSION}")
        if preface != with_check(preface[:14]) or layer != CALLS:
            raise Ended(f"a damaged preface, or a server that does not take calls (layer {layer})")
        while self.theirs is None:
            self.step()

    def open(self, body, last, method=0, metadata=b"", milliseconds=30_000):  # a call with its first message
        if self.drains:
            raise Ended("the server begins no more calls")
        self.last_id += 2
        call = self.calls[self.last_id] = Call(self.theirs[WINDOW])
        self.put(self.last_id, body, last, REQUEST, first=method, second=milliseconds, metadata=metadata)
        return self.last_id, call

    def notify(self, body, method=0, metadata=b""):
        self.calls.setdefault(0, Call(self.theirs[WINDOW]))
        self.put(0, body, False, first=method, metadata=metadata)

    def put(self, id, body, last, kind=DATA, **fields):  # sends a message
        call, end = self.calls[id], LAST_PIECE + (LAST if last else 0)
        cost = len(body) + len(fields.get("metadata", b"")) + COST
        if len(body) > self.theirs[BODY]:
            raise Ended(f"a request of {len(body)} bytes, the server takes {self.theirs[BODY]}")
        if call.closed:
            return
        if is_large := cost > self.theirs[WINDOW] // 2:  # there may never be so much credit
            call.admitted = False
            self.send(kind, id, TOTAL, total=len(body), **fields)
            kind, fields, call.begun = DATA, {}, True
            while not call.admitted and not call.closed:
                self.step()
        else:
            while not call.closed and (call.used + cost > call.credit or self.used + cost > self.credit):
                self.step()
            call.used, self.used = call.used + cost, self.used + cost
        size = max(1, min(PIECE, self.largest - HEAD))
        for at in range(0, max(1, len(body)), size):
            if call.closed:
                return
            piece, is_last = body[at : at + size], at + size >= len(body)
            total = len(body) if not (at or is_last or is_large) else None
            self.send(kind, id, end if is_last else 0, total=total, body=piece, **fields)
            kind, fields, call.begun = DATA, {}, True
        call.closed = last

    def next(self, id):  # the next message of the reply, or None after the last
        call = self.calls[id]
        while not call.messages and call.end is None:
            self.step()
        if not call.messages:
            return None
        body = call.messages.popleft()
        call.taken += len(body) + COST
        if call.end is None and OURS[WINDOW] + call.taken - call.granted >= OURS[WINDOW] // 2:
            call.granted = OURS[WINDOW] + call.taken
            self.send(CREDIT, id, limit=call.granted)
        return body

    def cancel(self, id):
        if self.calls[id].end is None:
            self.send(CANCEL, id)
            self.calls[id].closed = True

    def step(self):  # reads a frame and does what it says
        try:
            self.handle(self.stream.read_frame())
        except Broken as broken:
            text, code = f"[{broken}] the server broke this rule of the protocol", 3 if str(broken) == "M7" else 1
            goodbye = struct.pack("<H", code) + text.encode()
            self.stream.write_frame(GOODBYE, goodbye)
            raise Ended(text) from None

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
        call = self.calls[id] = Call(0)
        self.charge(call.receive(flags, total, metadata, body, bare=True))
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
            if call.asks and call.total is not None and not call.body:
                call.asks = False
                self.send(ADMIT, id)
            if id & 1 or call.is_left:  # nobody waits for it
                while call.messages:
                    message = self.next(id)
                    if id == 1:
                        self.notified(message, method)
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

    def charge(self, cost):  # replies to own calls are given back at once, and so is what is dropped
        self.taken += cost
        must("F2", self.taken <= self.granted)
        if OURS[CONNECTION] + self.taken - self.granted >= OURS[CONNECTION] // 2:
            self.granted = OURS[CONNECTION] + self.taken
            self.send(CONNECTION_CREDIT, limit=self.granted)

    def forget(self, id):  # a call that is over, and that nobody waits for
        call = self.calls[id]
        if id > 1 and (id & 1 or call.is_left) and call.end is not None:
            del self.calls[id]

    def leave(self, id):  # nobody waits for the reply any more
        call = self.calls[id]
        call.is_left = True
        call.messages.clear()
        if not call.begun:  # the server does not know of it
            del self.calls[id]
            return
        self.cancel(id)
        if not call.closed:  # the reply has ended before the request
            self.send(ABORT, id, code=1)
            call.closed = True
        self.forget(id)

    def send(self, kind, id=0, flags=0, code=0, first=0, second=0, total=None, metadata=b"", body=b"", limit=None):
        first, second = (limit & 0xFFFFFFFF, limit >> 32) if limit is not None else (first, second)
        flags |= (TOTAL if total is not None else 0) | (METADATA if metadata else 0)
        fields = struct.pack("<I", total) if total is not None else b""
        fields += struct.pack("<H", len(metadata)) + metadata if metadata else b""
        head = ENVELOPE.pack(kind, flags, code, id, first, second)
        self.stream.write_frame(MESSAGE, head + fields + body)
