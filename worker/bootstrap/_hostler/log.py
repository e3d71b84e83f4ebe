"""The error log: what is ours in it."""

import os
import sys
from select import POLLOUT, poll  # for itself: gevent puts others in their place

from _hostler.frames import text_of

_behind = None  # the library's say, once it runs
_format = ""  # as the server's log has it


def write_by(library_say):
    """From here on the library writes, which never waits."""
    global _behind
    _behind = library_say


def look_like(settings):
    """From here on what is ours looks as the server's log does."""
    global _format
    _format = settings.get("log_format", "")


def formatted(text):
    """A text as internal/logformat would write it."""
    if _format == "journal":
        return "<3>" + text.rstrip("\n").replace("\n", "\n<3>") + "\n"
    if _format != "json":
        return text
    import json
    import time

    first, _, rest = text.rstrip("\n").partition("\n")
    if first.startswith("hostler: "):
        first = first[9:]
    record = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "ERROR", "msg": first, "pid": os.getpid()}
    if rest:
        record["text"] = rest
    return json.dumps(record) + "\n"


def say(text):
    """Write what is ours to the error log. Nobody waits for that: where standard error
    is a pipe that is full, what does not fit is lost."""
    room = poll()
    room.register(2, POLLOUT)
    try:
        if room.poll(0):
            sys.stderr.flush()  # what the application has said before comes before it
    except Exception:
        pass  # it has been closed, or replaced by something odd
    if _behind and _behind(text.encode("utf-8", "backslashreplace")):
        return
    data = formatted(text).encode("utf-8", "backslashreplace")
    try:
        while data and room.poll(100):
            n = data.rfind(b"\n", 0, 4096) + 1  # as much as a pipe takes in one piece
            data = data[os.write(2, data[: n or 4096]) :]
    except OSError:
        pass


def flush():
    """Or each worker writes what the application has not written yet."""
    for f in (sys.stdout, sys.stderr):
        try:
            f.flush()
        except Exception:
            pass  # None, closed, or something of the application's


# What a client has sent may be in an exception's text, and the log on a terminal.
CONTROLS = {c: "\\x%02x" % c for c in (*range(9), *range(11, 32), *range(127, 160))}


def report(method, target, type_, value, tb):
    """Log an exception that the application let go."""
    text = text_of(type_, value, tb).translate(CONTROLS)
    say("hostler: the application raised on %s %s\n%s" % (method, target.encode("ascii", "backslashreplace").decode(), text))
