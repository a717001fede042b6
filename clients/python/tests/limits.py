"""Run by tests/packages.rs: what the client keeps of what arrives, and what it sends no more."""

import socket
import struct
import threading

from server import MIB, Server, case, frame, raises, run_cases  # finds the package

import msgpipe
from msgpipe import _stream
from msgpipe._frames import ABORT, ADMIT, CANCEL, COST, DATA, ERROR, LAST, OURS, REQUEST, STOP, WINDOW
from msgpipe._incoming import REFUSED
from msgpipe._stream import Stream

REFUSAL = struct.pack("<H", 2) + b"no"


def pair():
    ours, its = socket.socketpair()
    return Stream(ours, MIB), its


@case
def what_arrives_while_this_side_writes_has_a_bound():
    for more, ends in ((-1, False), (0, False), (1, True)):
        stream, its = pair()

        def sends_and_then_reads(count=_stream.READ_AHEAD + more, its=its):
            its.sendall(bytes(count))
            while its.recv(MIB):
                pass

        with its:
            thread = threading.Thread(target=sends_and_then_reads, daemon=True)
            thread.start()
            while not stream.unsent:  # the system takes no more
                stream.write(bytes(MIB // 2))
            if ends:
                assert str(_stream.READ_AHEAD) in str(raises(msgpipe.Ended, stream.flush))
            else:
                stream.flush()
            stream.end("")
            thread.join(60)


@case
def what_the_server_does_not_read_has_a_bound():
    for more, ends in ((-1, False), (0, False), (1, True)):
        stream, its = pair()
        with its:
            while not stream.unsent:
                stream.write(bytes(1000))
            data = bytes(_stream.UNSENT - len(stream.unsent) + more)
            if ends:
                assert "does not read" in str(raises(msgpipe.Ended, lambda: stream.write(data)))
                raises(msgpipe.Ended, stream.flush)
            else:
                stream.write(data)
            stream.end("")


@case
def a_message_in_small_pieces_is_not_copied_for_each():
    size, piece = 16 * MIB, 256

    def answers(server):
        id = server.hear(REQUEST)[3]
        server.send(frame(DATA, id, total=size))
        server.hear(ADMIT)
        middle = frame(DATA, id, body=bytes(piece)) * 64
        for _ in range(size // piece // 64 - 1):
            server.send(middle)
        server.send(frame(DATA, id, body=bytes(piece)) * 63, frame(DATA, id, 3, body=bytes(piece)))

    with Server(answers) as server, msgpipe.connect(server.path) as client:
        assert client.call(timeout=60) == bytes(size)


@case
def announced_messages_are_admitted_one_at_a_time_and_after_the_last_was_taken():
    size, done = 2 * MIB, threading.Event()

    def announces(server):
        whole = frame(DATA, 0, body=bytes(MIB)), frame(DATA, 0, 1, body=bytes(MIB))
        first, second = server.hear(REQUEST)[3], server.hear(REQUEST)[3]
        send = lambda id: server.send(*(it[:12] + struct.pack("<I", id) + it[16:] for it in whole))
        server.send(frame(DATA, first, total=size), frame(DATA, second, total=size))
        assert server.hear(ADMIT)[3] == first
        send(first)
        server.send(frame(DATA, first, total=size))  # the first one was not taken
        assert server.hear(ADMIT)[3] == second
        send(second)
        server.send(frame(DATA, second, LAST))
        assert server.hear(ADMIT, CANCEL)[:4:3] == (ADMIT, first) and done.is_set()
        send(first)
        server.send(frame(DATA, first, LAST))

    with Server(announces) as server, msgpipe.connect(server.path) as client:
        first = client._connection.open(b"", True)[0]  # nobody takes its reply as yet
        assert list(client.stream()) == [bytes(size)]
        done.set()
        for _ in range(2):
            assert client._connection.next(first) == bytes(size)
        assert client._connection.next(first) is None


@case
def refused_calls_that_go_on_have_a_bound_and_nothing_of_them_is_kept():
    for more, ends in ((-1, False), (0, False), (1, True)):

        def calls(server, count=REFUSED + more, ends=ends):
            mine = server.hear(REQUEST)[3]
            for id in range(3, 3 + 2 * count, 2):
                server.send(frame(REQUEST, id, total=16 * MIB))
            if ends:
                return server.hear(ADMIT)
            for id in range(3, 3 + 2 * count, 2):
                assert server.hear(STOP, ADMIT) == (STOP, 0, 0, id)
                server.send(frame(ABORT, id, code=3))
            for id in range(1003, 1003 + 2 * count, 2):  # there is room again
                server.send(frame(REQUEST, id, total=1000, body=bytes(999)))
            server.reply(b"mine", mine)

        with Server(calls) as server, msgpipe.connect(server.path) as client:
            if ends:
                assert "[L1]" in str(raises(msgpipe.Ended, client.call))
            else:
                assert client.call() == b"mine"
                kept = [len(call.body) for call in client._connection.calls.values()]
                assert max(kept) == 0, kept


@case
def nothing_is_kept_of_a_call_that_was_left():
    def goes_on(server):
        id = server.hear(REQUEST)[3]
        server.send(frame(DATA, id, 1, body=b"first"))
        server.hear(CANCEL)
        for _ in range(10):
            server.send(frame(DATA, id, 1, body=bytes(100_000)))
        server.reply(b"other")
        assert server.hear(REQUEST) is None

    with Server(goes_on) as server, msgpipe.connect(server.path) as client:
        for part in client.stream():
            break
        assert client.call() == b"other"
        left = client._connection.calls[2]
        assert not left.messages and left.received == 10 * (100_000 + COST) + 5 + COST < OURS[WINDOW]


@case
def an_upload_ends_with_an_early_error():
    for refusals in ([frame(ERROR, 2, code=404, body=REFUSAL)], [frame(STOP, 2), frame(ERROR, 2, code=404, body=REFUSAL)]):

        def refuses(server, refusals=refusals):
            server.hear(REQUEST)
            server.send(*refusals)
            assert server.hear(ABORT)[3] == 2
            server.reply(b"it goes on")

        with Server(refuses) as server, msgpipe.connect(server.path) as client:
            error = raises(msgpipe.CallError, lambda: client.upload(iter(lambda: b"x", b"")))
            assert (error.code, error.text) == (404, "no")
            assert client.call() == b"it goes on"
            assert not client._connection.calls


run_cases()
