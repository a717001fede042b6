"""Run by tests/packages.rs with the endpoint of a server that offers what is called here."""

import sys
import time

sys.dont_write_bytecode = True
from server import CASES, MIB, case, raises  # finds the package

import msgpipe

ECHO, COUNT, SUM, FAIL, HOLD, CANCELLED, TELL, LAST_NOTED, CALL_BACK, METADATA, STOP = range(1, 12)


def number(client, method):
    return int(client.call(method=method))


@case
def replies_of_every_size_come_back(client):
    for size in (0, 1, 239, 240, 241, 65535, 65536, MIB, 3 * MIB, 16 * MIB):
        body = bytes([size % 251]) * size
        assert client.call(body, method=ECHO) == body, size
    raises(msgpipe.Ended, lambda: client.call(bytes(16 * MIB + 1)))


@case
def a_reply_in_parts_comes_in_order(client):
    count = 0
    for part in client.stream(b"20000", method=COUNT):
        assert part == b"%d" % count
        count += 1
    assert count == 20000
    assert client.call(b"1", method=COUNT) == b"0"
    for text in (b"2", b"1000"):
        error = raises(msgpipe.CallError, lambda: client.call(text, method=COUNT))
        assert error.code == 13 and not error.not_begun, error


@case
def leaving_a_stream_cancels_it(client):
    before = number(client, CANCELLED)
    for part in client.stream(b"1000000000", method=COUNT):
        if part == b"10":
            break
    while number(client, CANCELLED) <= before:
        pass


@case
def a_request_in_parts_waits_for_a_slow_server(client):
    assert client.upload((bytes(64 * 1024) for _ in range(300)), method=SUM) == b"%d" % (300 * 64 * 1024)
    assert client.upload([], method=SUM) == b"0"
    assert client.upload([b"one"], method=SUM) == b"3"

    def fails():
        yield b"one"
        raise KeyError("of the application")

    raises(KeyError, lambda: client.upload(fails(), method=SUM))


@case
def errors_have_code_text_and_details(client):
    error = raises(msgpipe.CallError, lambda: client.call(method=FAIL))
    assert (error.code, error.text, error.details, error.not_begun) == (404, "no such note", b"details", False)
    error = raises(msgpipe.CallError, lambda: client.call(method=0xFFFFFFFF))
    assert (error.code, error.not_begun) == (12, True)
    raises(msgpipe.CallError, lambda: list(client.stream(method=FAIL)))


@case
def calls_end_at_their_time_and_are_cancelled(client):
    before, began = number(client, CANCELLED), time.monotonic()
    for _ in range(3):
        raises(msgpipe.Late, lambda: client.call(method=HOLD, timeout=0.02))
    assert time.monotonic() - began < 60
    while number(client, CANCELLED) < before + 3:
        pass
    raises(msgpipe.Late, lambda: list(client.stream(method=HOLD, timeout=0.02)))
    assert client.call(b"it goes on", method=ECHO) == b"it goes on"
    assert len(client._connection.calls) <= 2, "no call is left but the lanes"


@case
def notifications_go_both_ways(client):
    client.call(b"news", method=TELL)
    while (b"news", 0) not in HEARD:
        client.listen(1)
    for at in range(2000):
        client.notify(b"%d" % at, method=3)
    while client.call(method=LAST_NOTED) != b"3 1999":
        pass


@case
def calls_of_the_server_are_refused_and_it_goes_on(client):
    assert b"takes no calls" in client.call(method=CALL_BACK)


@case
def a_method_of_a_typed_service_has_the_number_that_its_name_says(client):
    assert msgpipe.method_number("Notes.add") == 0xF7A61617
    assert msgpipe.method_number("Ü.ß") == 0x2F9CE126
    # Hashes at the bounds of the numbers that belong to tools.
    assert msgpipe.method_number("N.pxicbhvn") == 0xFFFFFEFF
    assert msgpipe.method_number("N.kscmaihk") == 0xFFFFFE00
    assert msgpipe.method_number("N.yiyrails") == 0xFFFFFEFF


@case
def metadata_arrive_and_have_a_limit(client):
    assert client.call(method=METADATA, metadata={"trace": "00-01", "user": b"\1\2"}) == b"trace=30302d3031 user=0102"
    raises(ValueError, lambda: client.call(metadata={"k": bytes(4097)}))
    raises(ValueError, lambda: client.call(metadata={"\0w": "x"}))


@case
def the_end_of_the_server_ends_the_client(client):
    client.call(method=STOP)
    raises(msgpipe.Ended, lambda: [client.call(b"", method=ECHO) for _ in range(1000)])
    raises(msgpipe.Ended, lambda: msgpipe.connect(sys.argv[1]))


HEARD = []
with msgpipe.connect(sys.argv[1], notified=lambda body, method: HEARD.append((body, method))) as connected:
    for run in CASES:
        run(connected)
        print("ok", run.__name__)
