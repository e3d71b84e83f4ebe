"""The error log: what is ours in it."""

import os
import sys
from select import POLLOUT, poll  # for itself: gevent puts others in their place

from _hostler.frames import text_of

_behind = _record = None  # the library's say and printed, once it runs
_format = ""  # as the server's log has it
_twin = False  # standard output is the error log, too
_debug = False  # clients are told, too
_worker = 0  # its number; 0: it is something else
# Levels, and what stands before a text or a line for them (sd-daemon(3)).
PRIORITIES = {"ERROR": "<3>", "WARN": "<4>", "INFO": "<6>", "DEBUG": "<7>"}


def write_by(library_say, library_printed=None):
    """From here on the library writes, which never waits; None: it does no more."""
    global _behind, _record
    _behind, _record = library_say, library_printed


def look_like(settings):
    """From here on what is ours looks as the server's log does."""
    global _debug, _format, _worker
    _debug = settings.get("debug", False)
    _format = settings.get("log_format", "")
    _worker = 0 if settings.get("mold") or settings.get("hooks_only") else settings["worker"]


def formatted(text, level="ERROR"):
    """A text as internal/logformat would write it."""
    whose, _, rest = text.partition("hostler: ")
    if not _format or whose and _format != "json":
        return priorities(text, level) if _format == "journal" else text
    return record(rest if not whose else text, level)


def priorities(text, level):
    p = PRIORITIES[level]
    return p + text.rstrip("\n").replace("\n", "\n" + p) + "\n"


def say(text, level="ERROR"):
    """Write what is ours to the error log: what begins with "hostler: " is a record, the rest
    of whose lines stand below it. Nobody waits for that: where standard error is a pipe that
    is full, what does not fit is lost."""
    room = poll()
    room.register(2, POLLOUT)
    try:
        if room.poll(0):
            sys.stderr.flush()  # what the application has said before comes before it
    except Exception:
        pass  # it has been closed, or replaced by something odd
    if _behind and _behind((PRIORITIES[level] * (level != "ERROR") + text).encode("utf-8", "backslashreplace")):
        return
    write(formatted(text, level).encode("utf-8", "backslashreplace"), room)


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
    write(record(line.decode("utf-8", "replace"), stream=stream).encode(), room)


def record(text, level="INFO", **attrs):
    """A record as internal/logformat would write it; what is below a text's first line stands
    below it."""
    import json
    import time

    first, _, rest = text.rstrip("\n").partition("\n")
    attrs = dict({"worker": _worker} if _worker else {}, pid=os.getpid(), **attrs)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _format == "json":
        return json.dumps(dict(time=now, level=level, msg=first, **dict(attrs, **{"text": rest} if rest else {}))) + "\n"
    line = " ".join("%s=%s" % a for a in attrs.items())
    if _format in ("journal", "text", "color"):
        before = "" if _format == "journal" else time.strftime("%Y-%m-%d %H:%M:%S ") + level.ljust(7)
        line = "%s%s %s" % (before, first if first.isprintable() else json.dumps(first), line)
    else:
        line = "time=%s level=%s msg=%s %s" % (now, level, json.dumps(first, ensure_ascii=False), line)
    if rest:
        line += "\n" + rest
    return priorities(line, level) if _format == "journal" else line + "\n"


def handler(logging, prefix=""):
    """Return a handler of Python's logging that writes records of the error log."""
    levels = (logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO")

    class Handler(logging.Handler):
        def emit(self, record):
            try:
                text = self.format(record).translate(CONTROLS)
                say("hostler: " + prefix + text + "\n", next((name for least, name in levels if record.levelno >= least), "DEBUG"))
            except Exception:
                self.handleError(record)

    return Handler()


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
    """Log an exception that the application let go. With --debug, return what its client is
    to be shown of it."""
    text = text_of(type_, value, tb).translate(CONTROLS)
    say("hostler: the application raised on %s %s\n%s" % (method, target.encode("ascii", "backslashreplace").decode(), text))
    return text[-SHOWN:].encode("utf-8", "backslashreplace") if _debug else None


SHOWN = 200_000  # characters; the end of a traceback says most
