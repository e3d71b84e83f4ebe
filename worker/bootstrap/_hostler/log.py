"""The error log: what is ours in it."""

import os
import sys
from select import POLLOUT, poll  # for itself: gevent puts others in their place

from _hostler.frames import text_of

_behind = _record = None  # the library's say and printed, once it runs
_format = ""  # as the server's log has it
_twin = False  # standard output is the error log, too
_worker = 0  # its number; 0: it is something else


def write_by(library_say, library_printed=None):
    """From here on the library writes, which never waits; None: it does no more."""
    global _behind, _record
    _behind, _record = library_say, library_printed


def look_like(settings):
    """From here on what is ours looks as the server's log does."""
    global _format, _worker
    _format, _worker = settings.get("log_format", ""), settings["worker"]


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
    write(formatted(text).encode("utf-8", "backslashreplace"), room)


def write(data, room):
    """Write to standard error what fits."""
    try:
        while data and room.poll(100):
            n = data.rfind(b"\n", 0, 4096) + 1  # as much as a pipe takes in one piece
            data = data[os.write(2, data[: n or 4096]) :]
    except OSError:
        pass


def printed(stream, line):
    """Make a record of a line that the application has written, as bytes."""
    if _record and _record(stream, line):
        return
    room = poll()
    room.register(2, POLLOUT)
    write(record(stream, line.decode("utf-8", "replace")).encode(), room)


def record(stream, line):
    """A line as internal/logformat would write it."""
    import json
    import time

    attrs = {"worker": _worker, "pid": os.getpid(), "stream": stream}
    if not _worker:
        del attrs["worker"]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _format == "json":
        return json.dumps({"time": now, "level": "INFO", "msg": line, **attrs}) + "\n"
    rest = " ".join("%s=%s" % a for a in attrs.items())
    if _format in ("journal", "text", "color"):
        shown = line if line.isprintable() else json.dumps(line)
        before = "<6>" if _format == "journal" else time.strftime("%Y-%m-%d %H:%M:%S INFO   ")
        return "%s%s %s\n" % (before, shown, rest)
    return "time=%s level=INFO msg=%s %s\n" % (now, json.dumps(line, ensure_ascii=False), rest)


def follow():
    """Standard output is the error log, too, whichever file that is."""
    global _twin
    _twin = True
    os.dup2(2, 1)


def reopen(fd):
    """Another file is the error log."""
    os.dup2(fd, 2)
    if _twin:
        os.dup2(fd, 1)


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
