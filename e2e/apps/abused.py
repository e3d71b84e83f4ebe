"""An application that knows what it has not given back yet."""

import gc
import threading
import time

PATTERN = b"0123456789abcdef" * 4096
lock = threading.Lock()
running = 0  # calls, and bodies that nobody has closed


def count(n):
    global running
    with lock:
        running += n


class Body:
    def __init__(self, pieces, pause):
        count(1)
        self.pieces, self.pause = pieces, pause

    def __iter__(self):
        for _ in range(self.pieces):
            time.sleep(self.pause)
            yield PATTERN

    def close(self):
        count(-1)


def app(environ, start_response):
    page = environ["PATH_INFO"]
    if page == "/level":
        gc.collect()
        with lock:
            body = b"%d %d" % (running, len(gc.get_objects()))
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    count(1)
    try:
        if page == "/sleep":
            time.sleep(0.02)
        if page == "/read":
            environ["wsgi.input"].read()
        if page == "/stream":
            start_response("200 OK", [])
            return Body(40, 0.001)
        size = {"/1mb": 16, "/8mb": 128}.get(page, 0)
        body = PATTERN * size or b"hello"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    finally:
        count(-1)
