"""An application with a page for each rule of PEP 3333 that the tests check."""

import atexit
import io
import json
import os
import sys
import threading
import time
from wsgiref.validate import validator

closed = []  # names of bodies whose close() was called
kept = []
routes = {}


def route(f):
    routes["/" + f.__name__] = f
    return f


def app(environ, start_response):
    return routes.get(environ["PATH_INFO"], hello)(environ, start_response)


def text(start_response, s, status="200 OK"):
    start_response(status, [("Content-Type", "text/plain")])
    return [s.encode()]


class Body:
    def __init__(self, chunks, name):
        self.chunks = iter(chunks)
        self.name = name

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        closed.append(self.name)


if os.environ.get("ATEXIT"):
    atexit.register(lambda: open(os.environ["ATEXIT"], "a").write("bye\n"))


@route
def hello(environ, start_response):
    return text(start_response, "%d" % os.getpid())


@validator
def validated(environ, start_response):
    body = environ["wsgi.input"].read(1000)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"valid ", body]


routes["/valid"] = validated


@route
def environ(environ, start_response):
    plain = {k: v if isinstance(v, (str, int, bool, tuple)) else type(v).__name__ for k, v in environ.items()}
    return text(start_response, json.dumps(plain))


@route
def gen(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        yield b"one "
        time.sleep(0.5)
        yield b""
        yield b"two"

    return Body(chunks(), "gen")


@route
def was_closed(environ, start_response):
    return text(start_response, " ".join(closed))


@route
def write(environ, start_response):
    w = start_response("200 OK", [("Content-Type", "text/plain")])
    w(b"abc")
    w(b"def")
    return [b"ghi"]


@route
def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("201 Created", [])
    return [b"x"]


@route
def replaced(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    try:
        raise ValueError("x")
    except ValueError:
        start_response("503 Sorry", [("X-Second", "2")], sys.exc_info())
    return [b"replaced"]


@route
def late(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        yield b"part"
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("500 Oops", [], exc_info=sys.exc_info())
        yield b"never"

    return Body(chunks(), "late")


def fixed(length, chunks, name=None):
    def f(environ, start_response):
        start_response("200 OK", [("Content-Length", str(length))])
        return Body(chunks, name) if name else chunks

    return f


routes["/short"] = fixed(10, [b"abc"])
routes["/long"] = fixed(3, [b"abcdef"])
routes["/long_gen"] = fixed(3, [b"ab", b"cdef", b"gh"], "long_gen")
routes["/short_gen"] = fixed(10, [b"ab"], "short_gen")


def bad(headers, status="200 OK", body=(b"x",)):
    def f(environ, start_response):
        start_response(status, headers)
        return list(body) if body is not None else None

    return f


routes["/hop"] = bad([("Connection", "close")])
routes["/inject"] = bad([("X-A", "a\r\nX-Evil: 1")])
routes["/inject_name"] = bad([("X-A: 1\r\nX-Evil", "a")])
routes["/bad_status"] = bad([], "fine")
routes["/no_latin"] = bad([("X-A", "\u20ac")])
routes["/str_body"] = bad([], body=["text"])
routes["/none_body"] = bad([], body=None)
routes["/bytearray"] = bad([], body=[bytearray(b"x")])
routes["/204"] = bad([], "204 No Content", [])
routes["/304"] = bad([("ETag", '"a"')], "304 Not Modified", [b"body"])


@route
def no_start(environ, start_response):
    return [b"x"]


@route
def count(environ, start_response):
    """How many bytes, and pieces, the body has when read as the query says."""
    body, how = environ["wsgi.input"], environ["QUERY_STRING"]
    try:
        if how == "lines":
            pieces = list(body)
        elif how == "readlines":
            pieces = body.readlines()
        elif how == "readline":
            pieces = list(iter(lambda: body.readline(1000), b""))
        elif how == "read":
            pieces = list(iter(lambda: body.read(777), b""))
        else:
            pieces = [body.read()]
    except OSError as e:
        return text(start_response, "error: %s" % e)
    return text(start_response, "%d %d" % (sum(map(len, pieces)), len(pieces)))


@route
def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


@route
def big(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * 20_000_000]


@route
def big_gen(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body((b"y" * 100_000 for _ in range(200)), "big_gen")


@route
def endless(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        while True:
            yield b"z" * 1000
            time.sleep(0.01)

    return Body(chunks(), "endless")


@route
def file(environ, start_response):
    f = open(__file__, "rb")
    f.seek(3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](f)


@route
def no_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"z" * 30000))


@route
def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    return text(start_response, "hinted")


@route
def bad_hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "a\r\nX-Evil: 1")])
    return text(start_response, "hinted")


@route
def exception(environ, start_response):
    raise ValueError("a marker for the log")


@route
def system_exit(environ, start_response):
    raise SystemExit(3)


@route
def interrupt(environ, start_response):
    raise KeyboardInterrupt


@route
def os_exit(environ, start_response):
    os._exit(3)


@route
def segfault(environ, start_response):
    import ctypes

    ctypes.string_at(0)


@route
def fork(environ, start_response):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    return text(start_response, "forked")


@route
def fork_back(environ, start_response):
    os.fork()  # the child comes back into the server
    return text(start_response, "forked")


@route
def sub(environ, start_response):
    """What a child process finds: its descriptors and its signals."""
    import subprocess

    out = subprocess.run(["sh", "-c", "ls /proc/self/fd; cat /proc/self/status"], stdout=subprocess.PIPE)
    return text(start_response, out.stdout.decode())


@route
def thread(environ, start_response):
    t = threading.Thread(target=start_response, args=("200 OK", [("X-Thread", "1")]))
    t.start()
    t.join()
    return [b"from a thread"]


@route
def keep(environ, start_response):
    kept.append(start_response)
    return text(start_response, "kept")


@route
def use_kept(environ, start_response):
    try:
        kept[0]("200 OK", [])
    except RuntimeError as e:
        return text(start_response, "refused: %s" % e)
    return text(start_response, "accepted")


@route
def sleep(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 1))
    return text(start_response, "slept")


@route
def burn(environ, start_response):
    end = time.monotonic() + float(environ["QUERY_STRING"] or 1)
    while time.monotonic() < end:
        pass
    return text(start_response, "burnt")


@route
def blocks(environ, start_response):
    import gc

    gc.collect()
    fds = len(os.listdir("/proc/self/fd"))
    return text(start_response, "%d %d %d" % (sys.getallocatedblocks(), fds, threading.active_count()))
