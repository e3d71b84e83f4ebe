"""The WSGI applications that every server serves. Plain WSGI, nothing imported
that costs memory: what is measured is the server."""

import time

made: list[bytes] = []


def megabyte() -> bytes:
    """Not before it is asked for: it would be memory of every idle worker."""
    if not made:
        made.append(b"x" * (1 << 20))
    return made[0]


def hello(environ, start_response):
    """13 bytes."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]


def bulk(environ, start_response):
    """GET: 1 MB down. POST: reads the body and says how long it was."""
    if environ["REQUEST_METHOD"] == "POST":
        left, got = int(environ["CONTENT_LENGTH"]), 0
        while left > 0:
            piece = environ["wsgi.input"].read(left)
            if not piece:
                break
            left -= len(piece)
            got += len(piece)
        body = b"%d" % got
    else:
        body = megabyte()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def sized(environ, start_response):
    """GET /N: N bytes in pieces of 64 kB. POST: reads the body in such, and says how long it was."""
    if environ["REQUEST_METHOD"] == "POST":
        got = 0
        while piece := environ["wsgi.input"].read(1 << 16):
            got += len(piece)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(str(got))))])
        return [b"%d" % got]
    size = int(environ["PATH_INFO"][1:] or 1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(size))])
    return pieces(size)


def pieces(left):
    piece = b"x" * (1 << 16)
    while left > 0:
        yield piece if left >= len(piece) else piece[:left]
        left -= len(piece)


def sleepy(environ, start_response):
    """Waits 10 ms without the GIL, as for a database."""
    time.sleep(0.01)
    return hello(environ, start_response)


def burner(environ, start_response):
    """/cpu holds the GIL for 100 ms of pure Python; all else is hello."""
    if environ["PATH_INFO"] == "/cpu":
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end:
            pass
    return hello(environ, start_response)


def mixed(environ, start_response):
    """/sleep waits 100 ms without the GIL; else as burner: /cpu holds it as long."""
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(0.1)
    return burner(environ, start_response)


def work(environ, start_response):
    """5 ms for each request: a thread can do 200 a second."""
    time.sleep(0.005)
    return hello(environ, start_response)
