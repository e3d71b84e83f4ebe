"""An application of WSGI's whose clients leave, each at another moment."""

import base64
import hashlib
import os
import struct
import tempfile
import time

PIECE = b"x" * 65536


def app(environ, start_response):
    kind = globals()["do_" + environ["PATH_INFO"][1:]]
    steps = kind(environ, start_response)
    return steps if kind is do_file else Watched(steps, environ["QUERY_STRING"])


def say(*words):
    os.write(2, (" ".join(map(str, words)) + "\n").encode())


class Watched:
    """What a generator yields; its begin and its end are said."""

    def __init__(self, steps, name):
        self.steps, self.name = steps, name

    def __iter__(self):
        say("begun", self.name)
        try:
            yield from self.steps
        except OSError:  # the client's leave
            pass
        finally:
            say("over", self.name)


def do_reads(environ, start_response):
    """Nothing has been said yet."""
    start_response("200 OK", [])
    yield environ["wsgi.input"].read()[:1]


def do_reads_behind(environ, start_response):
    """Much of what has been said waits for the client, who is asked for more."""
    write = start_response("200 OK", [])
    write(PIECE * 15)
    yield environ["wsgi.input"].read()[:1]


def do_writes(environ, start_response):
    write = start_response("200 OK", [])
    while True:
        write(PIECE)
        yield b""


def do_yields(environ, start_response):
    start_response("200 OK", [])
    while True:
        yield PIECE


def do_ticks(environ, start_response):
    start_response("200 OK", [])
    while True:
        time.sleep(0.02)
        yield b"tick"


def do_nothing(environ, start_response):
    start_response("200 OK", [])
    while True:
        time.sleep(0.02)
        yield b""


def do_whole(environ, start_response):
    """The thread is free, but not the connection."""
    start_response("200 OK", [("Content-Length", str(len(PIECE) * 200))])
    yield PIECE * 200


def do_file(environ, start_response):
    f = tempfile.TemporaryFile()
    f.truncate(20 << 20)
    start_response("200 OK", [("Content-Length", str(20 << 20))])
    say("begun", environ["QUERY_STRING"])
    say("over", environ["QUERY_STRING"])
    return environ["wsgi.file_wrapper"](f, 65536)


# --- WebSockets ---


def accepted(environ):
    environ["hostler.websocket"].accept()
    return environ["hostler.websocket"]


def do_ws_receives(environ, start_response):
    for _ in accepted(environ):
        yield b""  # never


def do_ws_sends(environ, start_response):
    ws = accepted(environ)
    while True:
        ws.send(PIECE)
    yield  # never


def do_ws_deaf(environ, start_response):
    """It does not take what its client has sent."""
    ws = accepted(environ)
    time.sleep(0.5)
    while True:
        ws.send(PIECE)
    yield  # never


def shaken(environ):
    sock = environ["gunicorn.socket"]
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    answer = base64.b64encode(hashlib.sha1(key.encode()).digest())
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + answer + b"\r\n\r\n")
    return sock


def do_raw_receives(environ, start_response):
    sock = shaken(environ)
    while sock.recv(65536):
        yield b""  # never


def do_raw_sends(environ, start_response):
    sock = shaken(environ)
    while True:
        sock.sendall(struct.pack("!BBQ", 0x82, 127, len(PIECE)) + PIECE)
    yield  # never


def do_raw_deaf(environ, start_response):
    sock = shaken(environ)
    time.sleep(0.5)
    while True:
        sock.sendall(struct.pack("!BBQ", 0x82, 127, len(PIECE)) + PIECE)
    yield  # never
