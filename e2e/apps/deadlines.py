"""Requests that run into --timeout in every way they can."""

import concurrent.futures
import functools
import os
import threading
import time

PLAIN = [("Content-Type", "text/plain")]
pool = concurrent.futures.ThreadPoolExecutor(2)
kept = []
closed = []


def spin(seconds):
    """Runs Python code all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


def app(environ, start_response):
    page, _, arg = environ["PATH_INFO"][1:].partition("/")
    deadline = environ["hostler.deadline"]
    text = str(os.getpid())
    if page == "spin":
        spin(float(arg))
    elif page == "burn":
        end = time.monotonic() + float(arg)
        while time.monotonic() < end:
            pass
    elif page == "swallow":  # what any error is no reason to give up for
        while True:
            try:
                spin(60)
            except Exception:
                pass
    elif page == "catch":
        try:
            spin(60)
        except deadline.RequestTimeout as e:
            text = "caught %s.%s: %s, %.1f left" % (type(e).__module__, type(e).__name__, e, deadline())
    elif page == "more":  # cleaning up takes its time
        try:
            spin(60)
        except deadline.RequestTimeout:
            text = "%.1f" % deadline(5)
            spin(3)
    elif page == "wrap":
        try:
            spin(60)
        except BaseException as e:
            raise ValueError("wrapped") from e
    elif page == "stream":
        start_response("200 OK", PLAIN)
        return Stream()
    elif page == "flood":  # to a client that does not read
        start_response("200 OK", PLAIN)
        return (b"x" * 1000000 for _ in range(1000))
    elif page == "write":
        write = start_response("200 OK", PLAIN)
        write(b"written")
        spin(60)
    elif page == "read":
        text = str(len(environ["wsgi.input"].read()))
    elif page == "trickle":  # gives something now and then
        start_response("200 OK", PLAIN)
        return (spin(0.3) or b"x" for _ in range(8))
    elif page == "silence":  # gives nothing, again and again
        start_response("200 OK", PLAIN)
        return (spin(0.3) or (b"" if i else b"first") for i in range(100))
    elif page == "large":
        start_response("200 OK", PLAIN)
        return (b"x" * 1000000 for _ in range(20))
    elif page == "takes":  # an upload, with a little work for each piece
        n = 0
        for piece in iter(lambda: environ["wsgi.input"].read(100000), b""):
            n += len(piece)
            time.sleep(0.01)
        text = "%d %.1f" % (n, deadline())
    elif page == "pool":  # waits in C for another thread
        pool.submit(spin, 30).result()
    elif page == "extend":
        before, after = deadline(), deadline(float(arg))
        spin(float(arg) - 1.5)
        text = "%.0f %.0f %.0f" % (before, after, deadline())
    elif page == "shorten":
        deadline(float(arg))
        spin(60)
    elif page == "left":
        text = repr(deadline())
    elif page == "wrong":
        text = ""
        for args in [(-1,), (float("nan"),), (1e30,), ("5",), (1, 2)]:
            try:
                deadline(*args)
            except (TypeError, ValueError) as e:
                text += type(e).__name__ + " "
    elif page == "elsewhere":
        kept.append(deadline)
        errors = []

        def other():
            try:
                deadline(100)
            except RuntimeError as e:
                errors.append(str(e))

        t = threading.Thread(target=other)
        t.start()
        t.join()
        text = "%s; the same: %s" % (errors, kept[0] is deadline)
    elif page == "destructors":  # nearly all of the time
        end = time.monotonic() + 60
        while time.monotonic() < end:
            Slow()
    elif page in ("piped", "held"):
        start_response("200 OK", PLAIN)
        return InC(page)
    elif page == "closed":
        text = repr(closed)
    start_response("200 OK", PLAIN)
    return [text.encode()]


class Stream:
    def __iter__(self):
        yield b"first"
        spin(60)
        yield b"never"

    def close(self):
        closed.append(threading.current_thread().name)


class Slow:
    def __del__(self):
        spin(0.02)


class InC:
    """Its iterator runs no Python code, and the last step takes until the time is up; it
    lets others run meanwhile, or (held) does not."""

    def __init__(self, how):
        self.r, self.w = os.pipe()
        self.how = how

    def __iter__(self):
        if self.how == "held":
            import ctypes

            os.close(self.w)
            usleep = ctypes.PyDLL(None).usleep
            return filter(None, map(usleep, [2200000]))
        threading.Timer(2.2, os.close, [self.w]).start()
        return iter(functools.partial(os.read, self.r, 1), b"")

    def close(self):
        closed.append(self.how)
        os.close(self.r)

