"""For --loop gevent: what a greenlet may expect."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time

flying, most = 0, 0
landed = {}  # by how many: set once so many are in flight at once


def wait_for_others(environ):
    """Answer once as many requests are in here at the same time as the query says."""
    global flying, most
    want = int(environ["QUERY_STRING"])
    event = landed.setdefault(want, threading.Event())
    flying += 1
    most = max(most, flying)
    if flying == want:
        event.set()
    try:
        if not event.wait(60):
            return [b"alone, with %d" % flying]
        return [b"together"]
    finally:
        flying -= 1


def sleep(environ):
    time.sleep(0.05)
    return [b"slept"]


def itself(environ):
    """Ask this same worker, whose only thread this is, over a socket that is patched."""
    s = socket.create_connection(environ["QUERY_STRING"].split(":"))
    s.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
    return [s.makefile("rb").read().rpartition(b"\r\n")[2]]


def hello(environ):
    return [b"hello"]


def waits(status=7):
    """Wait in all the ways in which a child does, and leave."""
    a, b = socket.socketpair()
    threading.Timer(0.01, b.sendall, (b"x",)).start()
    a.recv(1)
    time.sleep(0.01)
    os._exit(status)


def status(pid):
    return [b"%d" % os.waitpid(pid, 0)[1]]


def fork(environ):
    return status(os.fork() or waits())


def process(environ):
    p = multiprocessing.get_context("fork").Process(target=waits, args=(9,))
    p.start()
    p.join()
    return [b"%d" % p.exitcode]


def fork_in_handler(environ):
    children = []
    signal.signal(signal.SIGWINCH, lambda *_: children.append(os.fork() or waits()))
    os.kill(os.getpid(), signal.SIGWINCH)
    while not children:
        time.sleep(0.01)
    return status(children[0])


def exits(environ):
    return status(os.fork() or sys.exit(3))


def answers(environ):
    pid = os.fork()
    return status(pid) if pid else [b"the child's"]


def busy(environ):
    end = time.monotonic() + float(environ["QUERY_STRING"])
    while time.monotonic() < end:
        pass
    time.sleep(0)
    return [b"ran to the end"]


def destructors(environ):
    """Be busy, but for moments, where no exception gets out of."""

    class Slow:
        def __del__(self):
            end = time.monotonic() + 0.02
            while time.monotonic() < end:
                pass

    end = time.monotonic() + 60
    while time.monotonic() < end:
        Slow()


def itself_by_number(environ):
    return [b"%d" % os.getpid()]


def app(environ, start_response):
    body = globals()[environ["PATH_INFO"][1:]](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body
