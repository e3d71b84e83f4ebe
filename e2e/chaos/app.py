"""What the chaos driver torments: a WSGI application that can be well-behaved, and
everything else. The driver appends its version, or nonsense, to this file."""

import collections
import ctypes
import itertools
import os
import time

hoard = []


def application(environ, start_response):
    page = environ["PATH_INFO"]
    query = dict(p.partition("=")[::2] for p in environ["QUERY_STRING"].split("&"))
    number = float(query.get("n", 0))
    body = environ["wsgi.input"].read()
    extra = PAGES[page](number, body) or b""
    head = ("%s %d %s\n" % (query.get("id"), os.getpid(), VERSION)).encode()
    start_response("200 OK", [("Content-Length", str(len(head) + len(extra))), ("Content-Type", "text/plain")])
    return [head, extra] if extra else [head]


def quick(n, body):
    return None


def echo(n, body):
    return body


def big(n, body):
    return b"x" * int(n)


def sleep(n, body):
    time.sleep(n)


def burn(n, body):
    end = time.monotonic() + n
    while time.monotonic() < end:
        pass


def fault(n, body):
    ctypes.string_at(0)


def leave(n, body):
    os._exit(int(n))


def hold(n, body):
    """Never returns and never lets go of the GIL, as a deadlock in C code would."""
    collections.deque(itertools.repeat(None), maxlen=0)


def leak(n, body):
    hoard.append(bytearray(os.urandom(1)) * int(n))


def linger(n, body):
    """A child that is still there when its worker may be gone already."""
    if os.fork() == 0:
        time.sleep(n)
        os._exit(0)


def descriptors(n, body):
    """Take every descriptor that the process may have, for a while."""
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    time.sleep(n)
    for fd in taken:
        os.close(fd)


def raises(n, body):
    raise RuntimeError("as the driver wished")


PAGES = {
    "/quick": quick, "/echo": echo, "/big": big, "/sleep": sleep, "/burn": burn, "/fault": fault, "/exit": leave,
    "/hold": hold, "/leak": leak, "/linger": linger, "/descriptors": descriptors, "/raises": raises,
}  # fmt: skip
