"""--capture-output: what the application prints is the error log's, a record for each
line. Each thread's lines come together by themselves, so that none is torn.

The descriptor of standard output becomes the error log's, too: what is written by C, or by
a program that the application runs, goes there as it is."""

import atexit
import io
import os
import stat
import sys
from _thread import get_ident

from _hostler import log


def longest():
    """How many bytes a line may have; what is longer is several. A pipe mixes what is more
    than 4096 with what others write."""
    return 16 << 10 if stat.S_ISREG(os.fstat(2).st_mode) else 3 << 10


class Lines:
    """Makes records of what is written to a stream."""

    def __init__(self, stream):
        self.stream, self.longest = stream, longest()
        self.begun = {}  # a line's beginning, by the thread that has written it

    def add(self, data):
        me = get_ident()
        begun = self.begun.pop(me, b"") + data
        *lines, rest = begun.split(b"\n")
        for line in lines:
            self.put(line)
        if len(rest) >= self.longest:
            self.put(rest)
        elif rest:
            self.begun[me] = rest

    def put(self, line):
        line = line.strip(b"\r")
        while line:  # an empty one says nothing
            n = self.longest
            while n < len(line) and line[n] & 0xC0 == 0x80:  # within a character
                n -= 1
            log.printed(self.stream, line[: n or self.longest])
            line = line[n or self.longest :]

    def flush(self):
        """A line that is not whole is one, if whoever has begun it says so."""
        self.put(self.begun.pop(get_ident(), b""))

    def end(self):
        while self.begun:
            self.put(self.begun.popitem()[1])


class Raw(io.RawIOBase):
    """What is written to sys.stdout.buffer."""

    def __init__(self, lines, fd):
        self.lines, self.fd = lines, fd

    def fileno(self):
        return self.fd

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        self.lines.add(data)
        return len(data)


class Text(io.TextIOWrapper):
    """sys.stdout or sys.stderr. Text goes by no buffer."""

    def __init__(self, lines, fd, name):
        super().__init__(io.BufferedWriter(Raw(lines, fd)), encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self.lines, self.mode = lines, "w"
        self.buffer.raw.name = name  # by which TextIOWrapper knows its own

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        self.lines.add(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self):
        super().flush()
        self.lines.flush()

    def writelines(self, lines):
        for line in lines:
            self.write(line)


def capture(settings):
    """From here on what is printed is the error log's."""
    log.flush()
    if settings.get("access_log") != "-":  # which that is then
        log.follow()
    out, err = Lines("stdout"), Lines("stderr")
    sys.stdout, sys.stderr = Text(out, 1, "<stdout>"), Text(err, 2, "<stderr>")
    for lines in (out, err):
        os.register_at_fork(after_in_child=lines.begun.clear)  # its parent's
    atexit.register(end, out, err)  # the first to be registered runs last


def end(*streams):
    log.flush()
    for lines in streams:
        lines.end()
