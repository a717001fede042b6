"""Run by tests/packages.rs: servers that break rules, flood, or do not read, and what the client does then."""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

from server import MIB, Server, case, frame, raises, run_cases  # finds the package

import msgpipe
from msgpipe._frames import CANCEL, DATA, REQUEST

IGNORED = 200  # a kind of frame


@case
def a_call_ends_at_its_time_while_something_always_arrives():
    def flood(server):  # from another process, which is faster than this one reads
        script = f"import os\nwhile True: os.write(1, {frame(IGNORED)!r} * 1000)"
        subprocess.run([sys.executable, "-c", script], stdout=server.link, stderr=subprocess.DEVNULL)

    def drip(server):
        while True:
            for byte in frame(IGNORED, body=bytes(MIB)):
                server.send(bytes([byte]))

    for run in (flood, drip):
        with Server(run) as server, msgpipe.connect(server.path) as client:
            began = time.monotonic()
            raises(msgpipe.Late, lambda: client.call(timeout=0.3))
            assert 0.3 <= time.monotonic() - began < 5


@case
def connecting_ends_at_its_time_when_the_backlog_is_full():
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path, waiting = os.path.join(directory, "s"), []
        listener.bind(path)
        listener.listen(0)
        with suppress(BlockingIOError):
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(path)
        raises(msgpipe.Late, lambda: msgpipe.connect(path, timeout=0.2))
        for it in waiting:
            it.close()


@case
def descriptors_may_be_over_1023():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
    with Server(Server.reply) as server:
        taken = [os.dup(0)]
        while taken[-1] < 1100:
            taken.append(os.dup(0))
        try:
            with msgpipe.connect(server.path) as client:
                assert client._connection.stream.socket.fileno() > 1023
                assert client.call() == b""
        finally:
            for it in taken:
                os.close(it)


@case
def a_broken_rule_ends_the_connection_and_every_later_use_says_so():
    def breaks(server):
        server.hear(REQUEST)
        server.send(frame(50), frame(DATA, 2, 3))
        assert server.hear(REQUEST) is None, "nothing is sent any more"

    with Server(breaks) as server:
        client = msgpipe.connect(server.path)
        uses = [client.call, client.notify, client.listen, lambda: list(client.stream()), lambda: client.upload([b"x"])]
        for use in uses:
            assert "[E2]" in str(raises(msgpipe.Ended, use))
        client.close()
        assert "[E2]" in str(raises(msgpipe.Ended, client.call))


@case
def after_close_every_use_says_so():
    with Server(lambda server: server.hear(REQUEST)) as server:
        client = msgpipe.connect(server.path)
        client.close()
        client.close()
        for use in (client.call, client.notify, client.listen, lambda: list(client.stream()), lambda: client.upload([b"x"])):
            assert "closed" in str(raises(msgpipe.Ended, use))


@case
def what_is_sent_after_the_server_has_gone_is_no_success():
    with Server(lambda server: None) as server, msgpipe.connect(server.path) as client:
        server.thread.join()
        raises(msgpipe.Ended, lambda: [client.notify() for _ in range(2)])
        raises(msgpipe.Ended, lambda: client.upload(iter(lambda: b"x", b"")))


@case
def after_the_last_id_comes_the_first_that_is_free():
    ids = []

    def holds(server):
        ids.append(server.hear(REQUEST)[3])
        server.send(frame(DATA, ids[0], 1))
        for _ in range(3):
            ids.append(server.hear(REQUEST)[3])
            server.reply(id=ids[-1])

    with Server(holds) as server, msgpipe.connect(server.path) as client:
        held = client.stream()
        next(held)
        client.call()
        client._connection.last_id = 2**32 - 4
        client.call()
        client.call()
        assert ids == [2, 4, 2**32 - 2, 4], ids


@case
def a_call_in_a_handler_has_its_own_time():
    def answers(server):
        server.hear(REQUEST)
        server.send(frame(DATA, 1, 1))
        server.reply(b"inner")
        assert server.hear(CANCEL)[3] == 2

    heard = []

    with Server(answers) as server:
        notified = lambda body, method: heard.append(client.call(timeout=300))
        with msgpipe.connect(server.path, notified=notified) as client:
            began = time.monotonic()
            raises(msgpipe.Late, lambda: client.call(timeout=0.3))
            assert heard == [b"inner"] and time.monotonic() - began < 4


@case
def an_error_of_a_handler_reaches_who_waits_and_the_connection_goes_on():
    def tells(server):
        for _ in range(2):
            server.send(frame(DATA, 1, 1))
        server.reply(b"it goes on")

    def notified(body, method):
        raise errors.pop()

    with Server(tells) as server, msgpipe.connect(server.path, notified=notified) as client:
        errors = [msgpipe.Late("of the handler"), KeyError("of the handler")]
        raises(KeyError, client.listen)
        raises(msgpipe.Late, client.listen)
        client.listen(0)
        assert client.call() == b"it goes on"


@case
def calls_in_handlers_are_not_one_inside_the_other():
    def answers(server):
        outer = server.hear(REQUEST)[3]
        server.send(*[frame(DATA, 1, 1, first=7)] * 2000)
        server.send(frame(DATA, 1, first=9, body=b"a", total=2), frame(DATA, 1, 1, body=b"b"))
        for _ in range(2001):
            server.reply()
        server.reply(b"outer", outer)

    heard = []

    def notified(body, method):
        client.call()
        heard.append((body, method))

    with Server(answers) as server, msgpipe.connect(server.path, notified=notified) as client:
        assert client.call() == b"outer"
        assert heard == [(b"", 7)] * 2000 + [(b"ab", 9)]


run_cases()
