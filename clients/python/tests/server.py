"""A server for tests that sends what it is told, and what tests are made of."""

import os
import socket
import struct
import sys
import tempfile
import threading
from contextlib import suppress

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from msgpipe._frames import DATA, ENVELOPE, REQUEST, SETTINGS, TOTAL
from msgpipe._stream import with_check

MIB = 1 << 20
CASES = []


def case(run):
    CASES.append(run)
    return run


def raises(kind, run):
    try:
        run()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def frame(kind, id=0, flags=0, code=0, first=0, body=b"", total=None):
    fields = b"" if total is None else struct.pack("<I", total)
    payload = ENVELOPE.pack(kind, flags | (0 if total is None else TOTAL), code, id, first, 0) + fields + body
    return with_check(struct.pack("<IBB", len(payload), 0, 0)) + payload


class Server:
    """One connection, in a thread. After its settings `run` has it."""

    def __init__(self, run):
        self.directory = tempfile.TemporaryDirectory()
        self.path, self.run, self.error = os.path.join(self.directory.name, "s"), run, None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        self.link, _ = self.listener.accept()
        self.file = self.link.makefile("rb")
        self.send(with_check(struct.pack("<4sBBBxIxx", b"\xe5msg", 1, 1, 1, MIB)))
        self.send(frame(SETTINGS, body=struct.pack("<HHI", 1, 4, MIB)))
        self.file.read(16)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                self.run(self)
        except BaseException as error:
            self.error = error
        self.file.close()
        self.link.close()

    def send(self, *frames):
        self.link.sendall(b"".join(frames))

    def hear(self, *kinds):  # the next frame of one of these kinds: kind, flags, code, id; or None at the end
        while len(header := self.file.read(8)) == 8:
            payload = self.file.read(struct.unpack("<I", header[:4])[0])
            if header[4] == 0 and payload[0] in kinds:
                return ENVELOPE.unpack(payload[:16])[:4]

    def reply(self, body=b"", id=None):
        id = id or self.hear(REQUEST)[3]
        self.send(frame(DATA, id, 3, body=body))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.listener.close()
        if kind is None:
            self.thread.join(60)
            assert not self.thread.is_alive() and self.error is None, self.error
        self.directory.cleanup()


def run_cases():
    for run in CASES:
        run()
        print("ok", run.__name__, flush=True)
