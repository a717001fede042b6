"""Where a server with a name is found, and whether to trust it: docs/PROTOCOL.md, section 1."""

import os
import pwd
import socket
import stat
import struct
import sys
import time
from contextlib import suppress


class Ended(Exception):
    """There is no connection, or it has ended, or it must end."""


class Late(Exception):
    """The time of a call is over; the request may have been carried out."""


def is_safe(directory):  # only this user can write to it
    try:
        found = os.stat(directory)
    except OSError:
        return False
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return directory.startswith("/") and mine and not found.st_mode & 0o022


def directories():  # in which a name may lie, in their order
    usual = f"/run/user/{os.geteuid()}"
    chosen = os.environ.get("XDG_RUNTIME_DIR", "")
    if chosen.rstrip("/") != usual and is_safe(chosen):
        return [f"{chosen}/msgpipe"]
    places = [(usual, "msgpipe")]
    if sys.platform == "darwin":
        places.append((os.confstr(65537).rstrip("/"), "msgpipe"))  # _CS_DARWIN_USER_TEMP_DIR
    with suppress(KeyError):
        places.append((pwd.getpwuid(os.geteuid()).pw_dir, ".msgpipe"))
    return [f"{place}/{name}" for place, name in places if is_safe(place)]


def paths_of(endpoint):
    if "/" in endpoint:
        return [endpoint]
    longest = 107 if sys.platform.startswith("linux") else 103
    paths = [f"{directory}/{endpoint.lower()}.sock" for directory in directories()]
    return [path for path in paths if len(os.fsencode(path)) <= longest]


def connect(paths, until=None):  # to the first that has a server
    reasons = []
    for path in paths:
        try:
            return path, connect_to(path, until)
        except OSError as error:
            reasons.append(f"no server at {path}: {error.strerror or error}")
            if not isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                raise Ended("; ".join(reasons)) from error
    if not reasons:
        raise Ended("no directory of this user's for names: set XDG_RUNTIME_DIR")
    raise Ended("; ".join(reasons) + ": start it, or check the name")


def connect_to(path, until):
    pause = 0.001
    while True:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.setblocking(False)
            connected.connect(path)
            return connected
        except BlockingIOError:  # its backlog is full: ask again
            connected.close()
        except BaseException:
            connected.close()
            raise
        left = pause if until is None else until - time.monotonic()
        if left <= 0:
            raise Late(f"the server at {path} has accepted no connection in time")
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.1)


def stands_for_many(uid):  # as in a container every user who has no number there
    with suppress(OSError), open("/proc/sys/kernel/overflowuid") as overflow, open("/proc/self/uid_map") as users:
        return uid == int(overflow.read()) and users.read().split() != ["0", "0", str(2**32 - 1)]
    return False


def check_server(path, connected):
    if hasattr(socket, "SO_PEERCRED"):  # on Linux: who serves?
        _, uid, _ = struct.unpack("iII", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()) or stands_for_many(uid):
            raise Ended(f"{path} is served by user {uid}")
