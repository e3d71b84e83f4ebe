"""For --loop gevent: what a greenlet may expect."""

import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextvars import ContextVar

flying = 0
landed = {}  # by how many: set once so many are in flight at once
sent = closed = 0
variable = ContextVar("variable", default="none")


def wait_for_others(environ):
    """Answer once as many requests are in here at the same time as the query says."""
    global flying
    want = int(environ["QUERY_STRING"])
    event = landed.setdefault(want, threading.Event())
    flying += 1
    if flying == want:
        event.set()
    try:
        return b"together" if event.wait(60) else b"alone, with %d" % flying
    finally:
        flying -= 1


def sleep(environ):
    time.sleep(float(environ["QUERY_STRING"]))
    return b"slept"


def hang(environ):
    """Block the whole process in C, with the GIL held, whatever signals come."""
    import ctypes

    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def itself(environ):
    """Ask this same worker, whose only thread this is, over a socket that is patched."""
    s = socket.create_connection(environ["QUERY_STRING"].split(":"))
    s.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
    return s.makefile("rb").read().rpartition(b"\r\n")[2]


def hello(environ):
    return b"hello"


def named(environ):
    import gevent

    return repr(gevent.getcurrent()).encode()


def variables(environ):
    """What one request sets no other sees, though they share a thread and take turns."""
    found = variable.get()
    variable.set("mine")
    time.sleep(0.02)
    return ("%s, then %s" % (found, variable.get())).encode()


def thread(environ):
    done = []
    t = threading.Thread(target=lambda: (time.sleep(0.01), done.append("by a thread")))
    t.start()
    t.join()
    return done[0].encode()


def child(environ):
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    status = os.waitpid(pid, 0)[1] >> 8
    return b"%d %s" % (status, subprocess.check_output(["echo", "said"]).strip())


def deadline(environ):
    """Each greenlet has the deadline of its own request."""
    limit = environ["hostler.deadline"]
    limit(500)
    time.sleep(0.02)
    import gevent

    def elsewhere():
        try:
            return limit()
        except RuntimeError as e:
            return str(e)

    return ("%d, %s" % (round(limit() / 100), gevent.spawn(elsewhere).get())).encode()


def killed(environ):
    import gevent

    me = gevent.getcurrent()
    gevent.spawn(me.kill, block=False)
    time.sleep(30)


def leaves(environ):
    raise SystemExit(3)


def raises(environ):
    time.sleep(0.01)
    raise ValueError("meant")


def body(environ):
    """How much of a body there is, and how many others are served while it comes."""
    n = 0
    for data in iter(lambda: environ["wsgi.input"].read(65536), b""):
        n += len(data)
    return b"%d" % n


def impatient(environ):
    """Give up a body that does not come, and say so; what is read later is all of it."""
    import gevent

    try:
        with gevent.Timeout(0.2):
            environ["wsgi.input"].read(1)
    except gevent.Timeout:
        return b"gave up, then " + environ["wsgi.input"].read()
    return b"it came"


def beside(environ):
    """A body that another greenlet reads."""
    import gevent

    return gevent.spawn(environ["wsgi.input"].read).get()


def waits(status=7):
    """Wait in all the ways in which a child does, and leave."""
    a, b = socket.socketpair()
    threading.Timer(0.01, b.sendall, (b"x",)).start()
    a.recv(1)
    time.sleep(0.01)
    os._exit(status)


def status(pid):
    return b"%d" % os.waitpid(pid, 0)[1]


def fork(environ):
    return status(os.fork() or waits())


def process(environ):
    p = multiprocessing.get_context("fork").Process(target=waits, args=(9,))
    p.start()
    p.join()
    return b"%d" % p.exitcode


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
    return status(pid) if pid else b"the child's"


def busy(environ):
    end = time.monotonic() + float(environ["QUERY_STRING"])
    while time.monotonic() < end:
        pass
    time.sleep(0)
    return b"ran to the end"


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
    return b"%d" % os.getpid()


def counts(environ):
    return b"%d %d" % (sent, closed)


def count(environ):
    gc.collect()
    return b"%d" % len(gc.get_objects())


def objects(environ):
    gc.collect()
    return b"%d" % len([o for o in gc.get_objects() if type(o).__name__ in ("Request", "Input")])


class Stream:
    """Pieces without end, or as many as the query says with a sleep between."""

    def __init__(self, n):
        self.left = n

    def __iter__(self):
        return self

    def __next__(self):
        global sent
        if self.left is None:
            sent += 65536
            return b"x" * 65536
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        time.sleep(0.02)
        return b"%d " % self.left

    def close(self):
        global closed
        closed += 1


def app(environ, start_response):
    name = environ["PATH_INFO"][1:]
    if name in ("stream", "endless"):
        start_response("200 OK", [])
        query = environ["QUERY_STRING"]
        return Stream(int(query) if query else None)
    if name == "write":
        write = start_response("200 OK", [])
        for data in b"a", b"b", b"c":
            time.sleep(0.01)
            write(data)
        return []
    if name == "file":
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if name == "hints":
        environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
    body = globals()["hello" if name == "hints" else name](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
