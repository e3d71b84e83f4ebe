"""An application with a path for every branch of the bridge. bridge_test.go says
what each has to answer."""
import gc
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

OK = "200 OK"
PLAIN = [("Content-Type", "text/plain")]
SMALL, MEDIUM, LARGE = b"x" * 100, b"m" * 65536, b"l" * (3 << 20)
kept = {}
paths = {}

here = tempfile.mkdtemp()
plain_file = os.path.join(here, "plain")
with open(plain_file, "wb") as f:
    f.write(MEDIUM * 8)
zipped_file = os.path.join(here, "zipped")
with gzip.open(zipped_file, "wb") as f:
    f.write(MEDIUM)


class Bytes(bytes):
    pass


class Text(str):
    pass


class List(list):
    pass


class Tuple(tuple):
    pass


class Liar:
    """Says that it is bytes."""

    __class__ = bytes


class Odd(BaseException):
    pass


class Closing:
    def __init__(self, chunks, fail=None):
        self.chunks, self.fail = iter(chunks), fail

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        kept["closed"] = kept.get("closed", 0) + 1
        if self.fail:
            raise self.fail


def path(f):
    paths["/" + f.__name__] = f
    return f


def answers(name, make, headers=PLAIN):
    def f(environ, start_response):
        start_response(OK, list(headers))
        return make()

    paths["/" + name] = f


for name, chunk in (("small", SMALL), ("medium", MEDIUM), ("large", LARGE)):
    answers("list_" + name, lambda c=chunk: [c])
    answers("tuple_" + name, lambda c=chunk: (c,))
    answers("iter_" + name, lambda c=chunk: iter([c]))
    answers("two_" + name, lambda c=chunk: [c, c])
    answers("length_" + name, lambda c=chunk: iter([c]), PLAIN + [("Content-Length", str(len(chunk)))])
answers("empty_list", lambda: [])
answers("empty_bytes", lambda: [b""])
answers("empty_iter", lambda: iter(()))
answers("list_subclass", lambda: List([SMALL]))
answers("tuple_subclass", lambda: Tuple([SMALL]))
answers("bytes_subclass", lambda: [Bytes(SMALL)])
answers("bytes_subclass_large", lambda: iter([Bytes(LARGE)]))
answers("none", lambda: None)
answers("text", lambda: "text")
answers("bare_bytes", lambda: b"bytes")
answers("list_of_text", lambda: ["text"])
answers("list_of_int", lambda: [1])
answers("bytearray", lambda: [bytearray(SMALL)])
answers("memoryview", lambda: [memoryview(SMALL)])
answers("liar", lambda: [Liar()])
answers("closing", lambda: Closing([SMALL, SMALL]))
answers("close_raises", lambda: Closing([SMALL], ValueError("close")))
answers("close_exits", lambda: Closing([SMALL], SystemExit(3)))
answers("text_then_close_raises", lambda: Closing(["text"], ValueError("close")))
answers("too_long", lambda: [SMALL], [("Content-Length", "10")])
answers("too_long_iter", lambda: iter([SMALL, SMALL]), [("Content-Length", "110")])
answers("too_short", lambda: [SMALL], [("Content-Length", "110")])
answers("too_short_iter", lambda: iter([SMALL]), [("Content-Length", "110")])
answers("slow_large", lambda: (LARGE for _ in range(8)))
answers("file", lambda: kept["wrapper"](open(plain_file, "rb")))
answers("file_length", lambda: kept["wrapper"](open(plain_file, "rb")), [("Content-Length", "1000")])
answers("file_zipped", lambda: kept["wrapper"](gzip.open(zipped_file)))
answers("file_memory", lambda: kept["wrapper"](io.BytesIO(MEDIUM), 1000))


def header(name, *fields):
    answers("header_" + name, lambda: [SMALL], list(fields))


header("name_int", (1, "x"))
header("value_int", ("X", 1))
header("value_none", ("X", None))
header("value_bytes", ("X", b"x"))
header("latin1", ("X", "\xe9"))
header("not_latin1", ("X", "\u20ac"))
header("surrogate", ("X", "\udc80"))
header("newline", ("X", "a\r\nb: c"))
header("bad_name", ("X y", "a"))
header("hop", ("Connection", "close"))
header("subclass", (Text("X"), Text("y")), Tuple(("Z", "z")))
header("list_pair", ["X", "y"])
header("three", ("X", "y", "z"))
header("large", ("X", "y" * 70000))
header("too_large", ("X", "y" * (1 << 20)))


def taken(name, make, **named):
    def f(environ, start_response):
        if named:
            start_response(**named)
        else:
            start_response(OK, make())
        return [SMALL]

    paths["/taken_" + name] = f


taken("items", lambda: dict(PLAIN).items())
taken("generator", lambda: (pair for pair in PLAIN))
taken("lists", lambda: [list(pair) for pair in PLAIN])
taken("tuple_of_lists", lambda: tuple(map(list, PLAIN)))
taken("set", lambda: set(PLAIN))
taken("named", None, status=OK, headers=PLAIN)
taken("named_as_pep", None, response_headers=PLAIN, status=Text(OK), exc_info=None)
header("many", *[("X-%d" % i, "y" * 100) for i in range(100)])


def status(name, value):
    def f(environ, start_response):
        start_response(value, PLAIN)
        return [SMALL]

    paths["/status_" + name] = f


status("none", None)
status("bytes", b"200 OK")
status("short", "200")
status("bad", "abc")
status("subclass", Text("201 Created"))
status("not_latin1", "200 \u20ac")
status("304", "304 Not Modified")
status("204", "204 No Content")


def raises(name, exception):
    def before(environ, start_response):
        raise exception(name)

    def after(environ, start_response):
        start_response(OK, PLAIN)
        raise exception(name)

    def first(environ, start_response):
        start_response(OK, PLAIN)
        raise exception(name)
        yield SMALL

    def middle(environ, start_response):
        start_response(OK, PLAIN)
        yield SMALL
        raise exception(name)

    for f in (before, after, first, middle):
        paths["/%s_%s" % (name, f.__name__)] = f


raises("ValueError", ValueError)
raises("SystemExit", SystemExit)
raises("KeyboardInterrupt", KeyboardInterrupt)
raises("GeneratorExit", GeneratorExit)
raises("Odd", Odd)


@path
def no_start(environ, start_response):
    return [SMALL]


@path
def no_start_empty(environ, start_response):
    return []


@path
def late_start(environ, start_response):
    start_response(OK, PLAIN)
    yield SMALL


@path
def write(environ, start_response):
    w = start_response(OK, PLAIN)
    for chunk in (SMALL, b"", Bytes(MEDIUM), LARGE):
        w(chunk)
    return [SMALL]


@path
def write_text(environ, start_response):
    start_response(OK, PLAIN)("text")
    return []


@path
def twice(environ, start_response):
    start_response(OK, PLAIN)
    start_response(OK, PLAIN)
    return []


@path
def replaced(environ, start_response):
    start_response(OK, PLAIN)
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("500 Oh", [], exc_info=sys.exc_info())
    return [SMALL]


@path
def replaced_badly(environ, start_response):
    start_response(OK, PLAIN)
    try:
        raise ValueError("replaced")
    except ValueError:
        try:
            start_response("500 Oh", [("X", "\u20ac")], sys.exc_info())
        except ValueError:
            pass
    return [SMALL]


@path
def replaced_late(environ, start_response):
    start_response(OK, PLAIN)(SMALL)
    try:
        raise ValueError("late")
    except ValueError:
        start_response("500 Oh", [], sys.exc_info())
    return [SMALL]


@path
def exc_info_odd(environ, start_response):
    start_response(OK, PLAIN)(SMALL)
    n = 0
    for odd in ("text", (1, 2, 3), (None, None, None), (ValueError, ValueError, None), (1,), ValueError, 0):
        try:
            start_response("500 Oh", [], odd)
        except (TypeError, AssertionError):
            n += 1
    return [b"%d" % n]


class Grim:
    def __repr__(self):
        gc.collect()
        return "grim"


def fails_midway():
    yield ("A", "b")
    yield ("A", 1 / 0)


@path
def arguments(environ, start_response):
    n = 0
    for args, kw in (((), {}), ((OK,), {}), ((OK, PLAIN, None, None), {}), ((OK, PLAIN), {"x": 1}), ((OK,), {"header": PLAIN}), ((OK, PLAIN, None), {"exc_info": None}), ((OK, PLAIN), {"status": OK}), ((), {"headers": PLAIN, "response_headers": PLAIN, "status": OK}), ((OK, None), {}), ((OK, {}), {}), ((OK, [None]), {}), ((OK, "ab"), {}), ((OK, b"ab"), {}), ((OK, ["ab"]), {}), ((OK, [("a",)]), {}), ((OK, {"a": "b"}.keys()), {}), ((OK, 5), {}), ((OK, [("a", Grim())]), {}), ((OK, [Grim()]), {}), ((OK, fails_midway()), {})):
        try:
            start_response(*args, **kw)
        except (TypeError, ZeroDivisionError):
            n += 1
    start_response(OK, tuple(PLAIN), exc_info=None)
    return [b"%d" % n]


@path
def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    start_response(OK, PLAIN)
    environ["wsgi.early_hints"]([("Link", "</b.css>; rel=preload")])
    yield SMALL
    environ["wsgi.early_hints"]([("Link", "</c.css>; rel=preload")])


@path
def hints_bad(environ, start_response):
    n = 0
    start_response(OK, [("X", "y" * 1000000)])
    for bad in (None, [("X", 1)], [("X", "a\nb")], [("X", "y" * 56000)], [("X", "\u20ac")]):
        try:
            environ["wsgi.early_hints"](bad)
        except (TypeError, ValueError):
            n += 1

    def elsewhere():
        try:
            environ["wsgi.early_hints"]([("X", "y")])
        except RuntimeError:
            kept["elsewhere"] = 1

    t = threading.Thread(target=elsewhere)
    t.start()
    t.join()
    return [b"%d" % (n + kept.pop("elsewhere"))]


@path
def file_offset(environ, start_response):
    start_response(OK, PLAIN)
    f = open(plain_file, "rb")
    f.seek(1000)
    return environ["wsgi.file_wrapper"](f)


@path
def file_temporary(environ, start_response):
    start_response(OK, PLAIN)
    f = tempfile.NamedTemporaryFile()
    f.write(MEDIUM)
    f.seek(36)
    return environ["wsgi.file_wrapper"](f)


@path
def file_closed(environ, start_response):
    start_response(OK, PLAIN)
    f = open(plain_file, "rb")
    f.close()
    return environ["wsgi.file_wrapper"](f)


@path
def keep(environ, start_response):
    kept["sr"] = start_response
    kept["write"] = start_response(OK, PLAIN)
    kept["input"] = environ["wsgi.input"]
    return [SMALL]


@path
def use_kept(environ, start_response):
    n = 0
    for call in (lambda: kept["sr"](OK, PLAIN), lambda: kept["write"](b"x"), lambda: kept["input"].read(), lambda: kept["input"].readline(), lambda: next(kept["input"])):
        try:
            call()
        except (RuntimeError, ValueError):
            n += 1
        except StopIteration:
            pass
    start_response(OK, PLAIN)
    return [b"%d" % n]


@path
def other_thread(environ, start_response):
    t = threading.Thread(target=lambda: start_response(OK, PLAIN)(MEDIUM))
    t.start()
    t.join()
    return [SMALL]


@path
def two_writers(environ, start_response):
    """Both must come whole; their order is open."""
    w = start_response(OK, PLAIN)
    t = threading.Thread(target=lambda: [w(MEDIUM) for _ in range(20)])
    t.start()
    for _ in range(20):
        yield MEDIUM
    t.join()


@path
def writer_left_behind(environ, start_response):
    """A thread goes on writing after the request has ended."""
    w = start_response(OK, PLAIN)

    def run():
        try:
            while True:
                w(MEDIUM)
                time.sleep(0.0001)
        except (RuntimeError, OSError):
            pass

    threading.Thread(target=run).start()
    return [SMALL, SMALL]


@path
def reader_left_behind(environ, start_response):
    """A thread goes on reading after the request has ended."""
    body = environ["wsgi.input"]

    def run():
        try:
            while body.read(100):
                pass
        except (RuntimeError, OSError, ValueError):
            pass

    threading.Thread(target=run).start()
    start_response(OK, PLAIN)
    return [SMALL]


@path
def nested(environ, start_response):
    return paths["/late_start"](environ, start_response)


def reads(name, how):
    def f(environ, start_response):
        body = environ["wsgi.input"]
        n = sum(map(len, how(body)))
        start_response(OK, PLAIN)
        return [b"%d" % n]

    paths["/" + name] = f


def by_size(size):
    def how(body):
        while True:
            b = body.read(size)
            if not b:
                return
            yield b

    return how


def by_line(limit):
    def how(body):
        while True:
            b = body.readline(limit)
            if not b:
                return
            yield b

    return how


reads("read", lambda b: [b.read()])
reads("read_minus", lambda b: [b.read(-1), b.read(None), b.read(5)])
reads("read_10", lambda b: [b.read(10), b.read(0)])
reads("read_steps", by_size(10007))
reads("lines", lambda b: b)
reads("readline", by_line(-1))
reads("readline_50", by_line(50))
reads("readlines", lambda b: b.readlines())
reads("readlines_hint", lambda b: b.readlines(100))
reads("read_wrong", lambda b: [b.read("x")])
reads("read_huge", lambda b: [b.read(1 << 70)])
reads("unread", lambda b: [])


def by_read1(size):
    return lambda body: iter(lambda: body.read1(size), b"")


def into(name, size):
    def how(body):
        buffer = bytearray(size)
        while True:
            n = getattr(body, name)(buffer)
            if not n:
                return
            yield buffer[:n]

    return how


def refuses(error, call, *args):
    try:
        call(*args)
    except error:
        return
    raise AssertionError("%r: no %s" % (call, error.__name__))


def file_like(body):
    """What io.BufferedIOBase has, but for reading."""
    assert isinstance(body, io.BufferedIOBase) and not body.closed
    assert (body.readable(), body.writable(), body.isatty(), body.flush()) == (True, False, False, None)
    for call, args in ((body.fileno, ()), (body.write, (b"",)), (body.writelines, ([],)), (body.truncate, (0,)), (body.detach, ())):
        refuses(io.UnsupportedOperation, call, *args)
    refuses(TypeError, lambda: body.read(limit=1))
    refuses(TypeError, lambda: body.read(1, size=1))
    refuses(TypeError, body.readinto, b"constant")
    refuses(TypeError, body.readinto, 1)
    refuses(TypeError, body.seek)
    return [body.read(size=10), body.readline(size=3), *body.readlines(hint=5), body.read(size=None), body.read1(), body.readall()]


def rewound(body):
    """The whole body, read once more from its begin; or all of it, where that cannot be."""
    if not body.seekable():
        refuses(io.UnsupportedOperation, body.seek, 0)
        refuses(io.UnsupportedOperation, body.tell)
        return [body.read()]
    first = body.readline()
    assert body.tell() == len(first) == body.seek(0, 1)
    rest = body.read()
    end = body.tell()
    assert end == len(first + rest) == body.seek(0, 2) and body.read() == b"" and body.readline() == b"" and body.readlines() == []
    assert body.seek(-5, 1) == max(end - 5, 0) and len(body.read()) == min(5, end)
    assert body.seek(end + 7) == body.tell() == end + 7 and body.read(1) == b"" and body.readinto(bytearray(2)) == 0
    assert body.seek(-end - 7, 2) == 0
    for error, args in ((ValueError, (-1,)), (ValueError, (0, 3)), (ValueError, (1 << 62, 3)), (OverflowError, (1 << 70,)), (TypeError, ("x",))):
        refuses(error, body.seek, *args)
    assert body.tell() == 0 and body.readline() == first and body.read() == rest
    body.seek(0)
    return [body.read()]


def shut(body):
    with body as same:
        assert same is body
        text = body.read()
    assert body.closed and body.close() is None and body.closed
    calls = (body.read, body.read1, body.readall, body.readline, body.readlines, body.tell, body.readable, body.seekable, body.flush, body.isatty, body.__enter__)
    for call in calls:
        refuses(ValueError, call)
    refuses(ValueError, next, body)
    refuses(ValueError, body.readinto, bytearray(1))
    refuses(ValueError, body.seek, 0)
    return [text]


def wrapped(body):
    """In io's own wrappers, which close what they wrap."""
    text = io.TextIOWrapper(io.BufferedReader(body, 5000), "latin-1", newline="")
    lines = list(text)
    text.close()
    assert body.closed
    return lines


def text_of(body):
    text = io.TextIOWrapper(body, "latin-1", newline="")
    kept["text"] = text  # it is closed when the request is over
    return [text.readline(), text.read(100), text.read()]


reads("read1", by_read1(-1))
reads("read1_5000", by_read1(5000))
reads("readinto", into("readinto", 10007))
reads("readinto1", into("readinto1", 10007))
for how in (file_like, rewound, shut, wrapped, text_of):
    reads(how.__name__, how)
reads("mixed", lambda b: [b.readline(), b.read(70000), b.readline(), next(b, b""), b.read()])
paths["/type_of_input"] = lambda e, sr: (sr(OK, PLAIN), [type(e["wsgi.input"])().read()])[1]


@path
def echo(environ, start_response):
    start_response(OK, PLAIN)
    return iter(lambda: environ["wsgi.input"].read(30000), b"")


@path
def fork_returns(environ, start_response):
    pid = os.fork()
    if pid:
        kept["status"] = os.waitpid(pid, 0)[1] >> 8
    start_response(OK, PLAIN)
    return [b"parent %d" % kept["status"]]


@path
def fork_exits(environ, start_response):
    pid = os.fork()
    if pid == 0:
        sys.exit(5)
    start_response(OK, PLAIN)
    return [b"%d" % (os.waitpid(pid, 0)[1] >> 8)]


@path
def fork_yields(environ, start_response):
    start_response(OK, PLAIN)
    yield b"before "
    pid = os.fork()
    if pid:
        yield b"parent %d" % (os.waitpid(pid, 0)[1] >> 8)
    else:
        yield b"child"


@path
def fork_lives(environ, start_response):
    """A child that lives on, and says what it still has and may do."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        sockets = [os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)]
        refused = 0
        for call in (lambda: start_response(OK, PLAIN), lambda: environ["wsgi.input"].read(), lambda: environ["wsgi.early_hints"]([])):
            try:
                call()
            except RuntimeError:
                refused += 1
        default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        os.write(w, json.dumps([len([s for s in sockets if s.startswith("socket:")]), refused, default]).encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        answer = f.read()
    os.waitpid(pid, 0)
    start_response(OK, PLAIN)
    return [answer]


@path
def fork_stays(environ, start_response):
    """The connection must end although a child of the request lives on."""
    if os.fork() == 0:
        time.sleep(8)
        os._exit(0)
    start_response(OK, PLAIN)
    return [SMALL]


@path
def program(environ, start_response):
    """What a program sees that the application runs, by exec without any care."""
    r, w = os.pipe()
    os.set_inheritable(w, True)
    script = "import os,signal,json,sys; st=dict(l.split(':',1) for l in open('/proc/self/status')); fds=[os.readlink('/proc/self/fd/'+n) for n in os.listdir('/proc/self/fd') if int(n)>2 and int(n)!=%d and os.path.exists('/proc/self/fd/'+n)]; os.write(%d, json.dumps({'blocked':st['SigBlk'].strip(),'ignored':st['SigIgn'].strip(),'fds':fds}).encode())" % (w, w)
    subprocess.check_call([sys.executable, "-S", "-c", script], close_fds=False)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        answer = f.read()
    start_response(OK, PLAIN)
    return [answer]


@path
def pid(environ, start_response):
    start_response(OK, PLAIN)
    return [b"%d" % os.getpid()]


@path
def own_sigterm(environ, start_response):
    signal.signal(signal.SIGTERM, lambda *_: kept.update(term=kept.get("term", 0) + 1))
    start_response(OK, PLAIN)
    return [SMALL]


@path
def sigterms(environ, start_response):
    start_response(OK, PLAIN)
    return [b"%d" % kept.get("term", 0)]


@path
def burn_the_processor(environ, start_response):
    end = time.time() + 1.5
    while time.time() < end:
        pass
    start_response(OK, PLAIN)
    return [SMALL]


@path
def count(environ, start_response):
    for k in ("sr", "write", "input", "text"):
        kept.pop(k, None)
    while threading.active_count() > environ_threads(environ):
        time.sleep(0.01)
    gc.collect()
    # It keeps names that were looked up, and open() makes new ones each time.
    getattr(sys, "_clear_type_cache", lambda: None)()
    refs = getattr(sys, "gettotalrefcount", lambda: 0)()
    answer = json.dumps([refs, sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))]).encode()
    start_response(OK, PLAIN)
    return [answer]


def environ_threads(environ):
    n = int(environ.get("QUERY_STRING") or 1)
    return 1 if n == 1 else n + 1


def app(environ, start_response):
    kept["wrapper"] = environ["wsgi.file_wrapper"]
    return paths[environ["PATH_INFO"]](environ, start_response)
