"""An application for tests of HTTP itself: pages whose answers can be told apart."""

import hashlib
import os
import time

SIZE = 20_000_000
PIECE = 50_000


def pattern(size):
    """Bytes of which each run of 256 differs from the next."""
    block = b"".join(bytes([i & 255]) * 255 + b"\n" for i in range(256))
    return (block * (size // len(block) + 1))[:size]


BIG = pattern(SIZE)
FILE = os.environ.get("BIG_FILE", "")


def app(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"], which)
    return page(environ, start_response)


def plain(start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def which(environ, start_response):
    """Says which request this is, so that a wrong order of answers shows."""
    return plain(start_response, ("%(REQUEST_METHOD)s %(RAW_URI)s" % environ).encode())


def head(environ, start_response):
    """A head as large as the query says."""
    start_response("200 OK", [("X-Large", "x" * int(environ["QUERY_STRING"])), ("Content-Length", "4")])
    return [b"body"]


def digest(environ, start_response):
    """The body's length and hash, read in pieces."""
    h, n = hashlib.sha256(), 0
    while True:
        piece = environ["wsgi.input"].read(100_000)
        if not piece:
            break
        h.update(piece)
        n += len(piece)
    return plain(start_response, b"%d %s" % (n, h.hexdigest().encode()))


def ignore(environ, start_response):
    """Answers without a look at the body."""
    return plain(start_response, b"ignored")


def part(environ, start_response):
    """Reads the begin of the body only."""
    return plain(start_response, b"part " + environ["wsgi.input"].read(10))


def big(environ, start_response):
    return plain(start_response, BIG)


def big_pieces(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (BIG[i : i + PIECE] for i in range(0, SIZE, PIECE))


def big_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(os.path.getsize(FILE)))])
    return environ["wsgi.file_wrapper"](open(FILE, "rb"))


def unframed(environ, start_response):
    """A body of which nobody knows the length beforehand."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"piece %d\n" % i for i in range(3))


def sleep(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    return plain(start_response, b"slept")


PAGES = {
    "/head": head,
    "/digest": digest,
    "/ignore": ignore,
    "/part": part,
    "/big": big,
    "/big_pieces": big_pieces,
    "/big_file": big_file,
    "/unframed": unframed,
    "/sleep": sleep,
}
