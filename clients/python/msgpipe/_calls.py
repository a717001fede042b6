"""Calls of a client: what is sent when, and who waits for what. docs/PROTOCOL.md, section 4."""

import struct

from ._frames import (ABORT, BODY, CANCEL, COST, CREDIT, DATA, HEAD, LAST, LAST_PIECE, LIMIT, OURS, PIECE, REQUEST, SETTINGS,
                      SIZES, TOTAL, WINDOW, Broken, Call)
from ._incoming import Incoming
from ._places import Ended, Late, check_server, connect
from ._stream import CALLS, GOODBYE, MAGIC, VERSION, Stream, late, with_check

FAREWELL = 1.0  # seconds in which a server that broke a rule may take the goodbye
AT_ONCE = 100  # frames that are read between two parts of an upload


class Connection(Incoming):
    def __init__(self, paths, until=None, notified=lambda body, method: None):
        path, connected = connect(paths, until)
        super().__init__(Stream(connected, LIMIT))
        self.notified, self.is_telling = notified, False
        try:
            check_server(path, connected)
            self.stream.until = until
            self.begin(path)
            self.stream.until = None
        except BaseException:
            self.stream.end("the connection was not made")
            raise

    def begin(self, path):
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
        self.wait_for(lambda: self.theirs is not None)

    def open(self, body, last, method=0, metadata=b"", milliseconds=30_000):  # a call with its first message
        cost = self.check_size(body, metadata)
        if cost <= self.theirs[WINDOW] // 2:  # before it has an id: ids are sent in their order
            self.wait_for(lambda: self.drains or self.used + cost <= self.credit)
        self.stream.check()
        if self.drains:
            raise Ended("the server begins no more calls")
        id = self.last_id = self.next_id()
        call = self.calls[id] = Call(self.theirs[WINDOW])
        try:
            self.put(id, body, last, REQUEST, first=method, second=milliseconds, metadata=metadata)
        except BaseException:
            self.over(id)
            raise
        return id, call

    def next_id(self):  # after the last one the first, and none that is in use
        id = self.last_id
        while True:
            id = (id + 2) % 2**32 or 2
            if id not in self.calls:
                return id

    def notify(self, body, method=0, metadata=b""):
        self.calls.setdefault(0, Call(self.theirs[WINDOW]))
        before, self.is_telling = self.is_telling, True  # nothing is told meanwhile, as that could notify too
        try:
            self.put(0, body, False, first=method, metadata=metadata)
        finally:
            self.is_telling = before

    def check_size(self, body, metadata):
        if len(body) > self.theirs[BODY]:
            raise Ended(f"a request of {len(body)} bytes, the server takes {self.theirs[BODY]}")
        return len(body) + len(metadata) + COST

    def put(self, id, body, last, kind=DATA, **fields):  # sends a message
        self.stream.check()
        call, end = self.calls[id], LAST_PIECE + (LAST if last else 0)
        cost = self.check_size(body, fields.get("metadata", b""))
        if call.closed:
            return
        if is_large := cost > self.theirs[WINDOW] // 2:  # there may never be so much credit
            call.admitted = False
        else:
            self.wait_for(lambda: call.closed or call.used + cost <= call.credit and self.used + cost <= self.credit)
            call.used, self.used = call.used + cost, self.used + cost
        try:
            if is_large:
                self.send(kind, id, TOTAL, total=len(body), **fields)
                kind, fields = DATA, {}
                self.wait_for(lambda: call.admitted or call.closed)
            size = max(1, min(PIECE, self.largest - HEAD))
            for at in range(0, max(1, len(body)), size):
                if call.closed:
                    return
                piece, is_last = body[at : at + size], at + size >= len(body)
                total = len(body) if not (at or is_last or is_large) else None
                self.send(kind, id, end if is_last else 0, total=total, body=piece, **fields)
                call.closed, kind, fields = last and is_last, DATA, {}
                self.stream.flush()
        except BaseException as error:
            if id == 0:  # nothing else can be said on the lane
                raise self.stream.end("a notification was not sent to its end") from error
            raise
        while (self.stream.is_cut or self.stream.at_end) and call.end is None:
            self.step()  # finds the end, or says why

    def next(self, id):  # the next message of the reply, or None after the last
        call = self.calls[id]
        self.wait_for(lambda: call.messages or call.end is not None)
        self.stream.check()
        if not call.messages:
            return None
        body, _ = call.messages.popleft()
        call.taken += len(body) + COST
        if call.end is None and OURS[WINDOW] + call.taken - call.granted >= OURS[WINDOW] // 2:
            call.granted = OURS[WINDOW] + call.taken
            self.send(CREDIT, id, limit=call.granted)
        self.admit()
        return body

    def cancel(self, id):
        if self.calls[id].end is None:
            self.send(CANCEL, id)
            self.calls[id].closed = True

    def wait_for(self, holds):
        while not holds():
            self.step()
            if self.stream.is_late() and not holds():  # also while something always arrives
                raise late()

    def look(self, timeout=0, most=AT_ONCE):  # at what has arrived, or arrives in this time
        try:
            with self.stream.within(timeout):
                for _ in range(most):
                    self.step()
        except Late as error:
            if getattr(error, "is_of_handler", False):
                raise

    def step(self):  # tells what is to be told, or reads a frame and does what it says
        self.stream.check()
        if self.tell():
            return
        try:
            self.handle(self.stream.read_frame())
        except Broken as broken:
            raise self.broken(str(broken)) from None
        self.tell()

    def broken(self, rule):
        text, code = f"[{rule}] the server broke this rule of the protocol", 3 if rule == "M7" else 1
        try:
            self.stream.write_frame(GOODBYE, struct.pack("<H", code) + text.encode())
            with self.stream.within(FAREWELL):
                self.stream.flush()
        except (Ended, Late):
            pass  # it does not read: it learns nothing
        return self.stream.end(text)

    def tell(self):  # the application what the server sent unasked; it may call meanwhile
        lane = self.calls.get(1)
        if self.is_telling or not lane or not lane.messages:
            return False
        self.is_telling, before = True, self.stream.until
        try:
            for _ in range(len(lane.messages)):
                method = lane.messages[0][1]
                self.notified(self.next(1), method)
        except Late as error:
            error.is_of_handler = True
            raise
        finally:
            self.is_telling, self.stream.until = False, before
        return True

    def over(self, id):  # nobody waits for the reply any more
        call = self.calls.get(id)
        if self.stream.why is not None or self.stream.at_end or call is None or call.is_left:
            return
        call.is_left = True
        call.drop()
        self.cancel(id)
        if not call.closed:  # the reply has ended before the request
            self.send(ABORT, id, code=1)
            call.closed = True
        self.forget(id)
        self.admit()
