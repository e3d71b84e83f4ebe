"""Applications wrapped in wsgiref.validate, and pages for rules of PEP 3333."""

import io
import json
import os
import sys
import threading
import time
from wsgiref.validate import validator

EVENTS = []  # what happened, for a later request to ask


class Watched:
    """A body that says when it is closed, with a length where there is one."""

    def __init__(self, chunks, name):
        self.chunks = chunks
        self.name = name

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        EVENTS.append("closed " + self.name)


def plain(start_response, body, *more):
    start_response("200 OK", [("Content-Type", "text/plain"), *more])
    return [body]


@validator
def simple(environ, start_response):
    return plain(start_response, b"simple")


@validator
def with_length(environ, start_response):
    return plain(start_response, b"length", ("Content-Length", "6"))


@validator
def generated(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"%d " % i for i in range(5))


@validator
def written(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"written ")
    return [b"returned"]


@validator
def nothing(environ, start_response):
    start_response("204 No Content", [])
    return []


@validator
def reads(environ, start_response):
    body = environ["wsgi.input"]
    one = body.read(3)
    two = body.readline()
    three = b"".join(body.readlines())
    return plain(start_response, b"|".join([one, two, three]))


@validator
def iterates(environ, start_response):
    return plain(start_response, b"|".join(environ["wsgi.input"]))


@validator
def replaces(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("x")
    except ValueError:
        start_response("500 Replaced", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"replaced"]


@validator
def complains(environ, start_response):
    environ["wsgi.errors"].write("complaint: one\n")
    environ["wsgi.errors"].writelines(["complaint: ", "two \u20ac\n"])
    environ["wsgi.errors"].flush()
    return plain(start_response, b"complained")


def types(environ, start_response):
    """Breaches of the rules about environ."""
    bad = []
    if type(environ) is not dict:
        bad.append("environ is a %s" % type(environ))
    for k, v in environ.items():
        if type(k) is not str:
            bad.append("key %r" % k)
        if not k.startswith(("wsgi.", "hostler.")):
            if type(v) is not str:
                bad.append("%s is a %s" % (k, type(v)))
            elif any(ord(c) > 255 for c in v):
                bad.append("%s is no latin-1: %r" % (k, v))
    for k in "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL REMOTE_ADDR REMOTE_PORT".split():
        if k not in environ:
            bad.append("no " + k)
    for k, kind in {
        "wsgi.version": tuple,
        "wsgi.url_scheme": str,
        "wsgi.multithread": bool,
        "wsgi.multiprocess": bool,
        "wsgi.run_once": bool,
        "wsgi.input_terminated": bool,
    }.items():
        if type(environ.get(k)) is not kind:
            bad.append("%s is %r" % (k, environ.get(k)))
    if environ.get("wsgi.version") != (1, 0):
        bad.append("wsgi.version is %r" % (environ.get("wsgi.version"),))
    return plain(start_response, "; ".join(bad).encode())


def shows(environ, start_response):
    """The values of the keys that the query names, in ASCII."""
    return plain(start_response, json.dumps([environ.get(k) for k in environ["QUERY_STRING"].split("&")[0].split(",")]).encode())


def spoils(environ, start_response):
    """What an application does to environ must not be seen by the next request."""
    environ.clear()
    environ["HTTP_SPOILT"] = "1"
    return plain(start_response, b"spoilt")


def raises_in_iter(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        raise ValueError("raised before the first piece")
        yield b""

    return Watched(chunks(), "raises_in_iter")


def raises_between(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        yield b"first piece"
        raise ValueError("raised between pieces")

    return Watched(chunks(), "raises_between")


def raises_in_close(environ, start_response):
    class Bad(Watched):
        def close(self):
            super().close()
            raise ValueError("raised in close")

    start_response("200 OK", [("Content-Type", "text/plain")])
    return Bad([b"fine"], "raises_in_close")


def raises_after_write(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])(b"half")
    raise ValueError("raised after write")


def exits_in_iter(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        raise SystemExit(1)
        yield b""

    return Watched(chunks(), "exits_in_iter")


def recursion(environ, start_response):
    return recursion(environ, start_response)


def late_start(environ, start_response):
    """start_response may be called as late as before the first piece."""

    def chunks():
        start_response("201 Late", [("Content-Type", "text/plain")])
        yield b"late"

    return Watched(chunks(), "late_start")


def empty_first(environ, start_response):
    """Empty pieces hold the head back: it may still be replaced."""
    start_response("200 OK", [("X-First", "1")])

    def chunks():
        yield b""
        try:
            raise ValueError("x")
        except ValueError:
            start_response("503 Replaced", [("X-Second", "1")], sys.exc_info())
        yield b"replaced"

    return Watched(chunks(), "empty_first")


def waits(environ, start_response):
    """Each piece but the first waits for another request to let it go."""
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        yield b"first"
        GATE.wait(15)
        yield b"second"

    return Watched(chunks(), "waits")


GATE = threading.Event()


def opens(environ, start_response):
    GATE.set()
    return plain(start_response, b"opened")


def close_waits(environ, start_response):
    """The client has the whole response before close() is through."""
    start_response("200 OK", [("Content-Type", "text/plain")])

    class Body:
        def __iter__(self):
            return iter([b"all", b" of it"])

        def close(self):
            EVENTS.append("close waited: %s" % GATE.wait(15))

    return Body()


def gone(environ, start_response):
    """Writes until the client has gone, and lets the exception through."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    while True:
        write(b"x" * 100_000)


def head_length(environ, start_response):
    return plain(start_response, b"x" * 1000, ("Content-Length", "1000"))


def status(environ, start_response):
    """A body where the status, which the query gives, allows none."""
    start_response(environ["QUERY_STRING"].replace("+", " "), [("X-Own", "1")])
    return Watched([b"body that must not be sent"], "status")


def cookies(environ, start_response):
    return plain(start_response, b"two", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "caf\xe9"))


def own(environ, start_response):
    """An application may set these itself."""
    return plain(start_response, b"own", ("Server", "mine"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"))


def refused(environ, start_response):
    """Tries a header and says what came of it."""
    name, value = json.loads(environ["wsgi.input"].read().decode())
    try:
        start_response("200 OK", [(name, value)])
    except Exception as e:
        return plain(start_response, ("refused " + type(e).__name__).encode())
    return [b"taken"]


def wrapped_file(environ, start_response):
    """file_wrapper around what the query says."""
    kind, wrapper = environ["QUERY_STRING"], environ["wsgi.file_wrapper"]
    f = open(__file__, "rb")
    more = []
    if kind == "offset":
        f.seek(1000)
    elif kind == "buffered":
        f.readline()  # the position of the file is beyond that of its reader
    elif kind == "length":
        more = [("Content-Length", "100")]
    elif kind == "too_long":
        more = [("Content-Length", "10000000")]
    elif kind == "memory":
        f = io.BytesIO(f.read())
    elif kind == "raw":
        f = open(__file__, "rb", buffering=0)
    elif kind in ("proc", "sys"):
        f = open({"proc": "/proc/sys/kernel/ostype", "sys": "/sys/devices/system/cpu/online"}[kind], "rb")
    elif kind == "pipe":
        r, w = os.pipe()
        os.write(w, b"through a pipe")
        os.close(w)
        f = os.fdopen(r, "rb")

    class Closing:
        """A file that says when it is closed; without fileno for kind duck."""

        def read(self, n=-1):
            return f.read(n)

        def close(self):
            EVENTS.append("closed " + kind)
            f.close()

    if kind != "duck":
        Closing.fileno = lambda self: f.fileno()
    start_response("200 OK", [("Content-Type", "text/plain"), *more])
    return wrapper(Closing() if kind in ("duck", "closing") else f, 4096)


def ranged(environ, start_response):
    """A framework answers a range with a file that counts what is read of it."""
    from werkzeug.wrappers import Response

    class Counted(io.FileIO):
        def read(self, n=-1):
            data = super().read(n)
            EVENTS.append("read %d" % len(data))
            return data

    f = Counted(__file__)
    size = os.path.getsize(__file__)
    response = Response(environ["wsgi.file_wrapper"](f), direct_passthrough=True)
    response.make_conditional(environ, accept_ranges=True, complete_length=size)
    EVENTS.append("name %s" % os.path.basename(environ["wsgi.file_wrapper"](f).name))
    return response(environ, start_response)


def forks(environ, start_response):
    """A child that leaves in the ordinary way runs no handler of the server's."""
    pid = os.fork()
    if pid == 0:
        raise SystemExit(7)
    return plain(start_response, b"%d" % os.waitpid(pid, 0)[1])


def background(environ, start_response):
    """A thread of the application goes on between requests."""

    def tick():
        while True:
            TICKS.append(1)
            time.sleep(0.005)

    if not TICKS:
        threading.Thread(target=tick, daemon=True).start()
        time.sleep(0.01)
    return plain(start_response, b"%d" % len(TICKS))


TICKS = []


def events(environ, start_response):
    answer = "\n".join(EVENTS)
    del EVENTS[:]
    return plain(start_response, answer.encode())


def app(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/").split("/")[0]](environ, start_response)
