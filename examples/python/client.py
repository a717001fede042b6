"""Calls a msgpipe server on a Unix domain socket, with the package in clients/python.

    python3 client.py [--stream] [--notify] [--cancel N] ENDPOINT TEXT...

ENDPOINT is a name (com.example.notes) or, with a slash in it, the path of a socket. Each TEXT is a request; they are
sent one after the other, and each reply is printed on a line of its own. With --stream they are the messages of one
request, and all messages of its reply are printed; with --cancel N each call is cancelled after N of them. With
--notify they are notifications. Exit status: 0 all is done, 1 some requests were answered with an error, or not to the end,
2 wrong usage, 3 there is no connection, or it has ended.
"""

import os
import sys

sys.dont_write_bytecode = True  # nothing is left beside these files
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "clients", "python"))
from msgpipe._calls import Connection
from msgpipe._places import Ended, paths_of


def main(endpoint, texts, stream, notify, cancel):
    connection, status = Connection(paths_of(endpoint)), 0
    texts = [os.fsencode(text) for text in texts]
    if notify:
        return [connection.notify(text) for text in texts] and 0
    for requests in [texts] if stream else [[text] for text in texts]:
        id, call = connection.open(requests[0], len(requests) == 1)
        for at, request in enumerate(requests[1:], 2):
            connection.put(id, request, at == len(requests))
        count = 0
        while (body := connection.next(id)) is not None:
            count += 1
            sys.stdout.buffer.write(body + b"\n")
            if count == cancel:  # what was on its way still arrives
                connection.cancel(id)
                while connection.next(id) is not None:
                    pass
        end, code, text = call.end
        if end != "end":
            print(f"{end} {code}: {text}", file=sys.stderr)
            status = 1
        elif count == 0:  # a reply without a message is one without bytes
            sys.stdout.buffer.write(b"\n")
    return status


def options(words):  # of the command line, or None; takes them off the words
    found = {"stream": False, "notify": False, "cancel": 0}
    while words and words[0].startswith("--"):
        name = words.pop(0)[2:]
        if name not in found or name == "cancel" and not (words and words[0].isdigit()):
            return None
        found[name] = int(words.pop(0)) if name == "cancel" else True
    return found if len(words) > 1 else None


if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = options(words)
    try:
        sys.exit(main(words[0], words[1:], **chosen) if chosen else print(__doc__, file=sys.stderr) or 2)
    except Ended as ended:
        print(f"client.py: {ended}", file=sys.stderr)
        sys.exit(3)
