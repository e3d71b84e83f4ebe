"""WebSockets of a WSGI application, both ways: hostler.websocket, and the connection as a
socket, which the application speaks the protocol on by itself."""

import base64
import gc
import hashlib
import os
import select
import struct
import sys
import threading
import time


def app(environ, start_response):
    path = environ["PATH_INFO"]
    return globals()["do_" + (path[1:] or "echo")](environ, start_response)


def say(*words):
    sys.stderr.write(" ".join(map(str, words)) + "\n")  # print() writes piecemeal, and others write between
    sys.stderr.flush()


def plain(start_response, text, status="200 OK"):
    body = text.encode()
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]


def do_echo(environ, start_response):
    ws = environ["hostler.websocket"]
    ws.accept()
    try:
        while True:
            ws.send(ws.receive())
    except ws.Closed as e:
        say("closed", e.code, repr(e.reason))
        try:
            ws.send("late")
        except ws.Closed as again:
            say("then", type(again).__module__, type(again).__name__, again.code, isinstance(again, OSError))
    return []


def do_look(environ, start_response):
    ws = environ["hostler.websocket"]
    wrong = []
    for f, args in ((ws.receive, ()), (ws.send, ("x",)), (ws.close, ()), (ws.accept, (7,)), (ws.accept, ("a b",)),
                    (ws.accept, (None, [("Sec-WebSocket-Protocol", "x")])), (ws.accept, (None, 5))):
        try:
            f(*args)
        except Exception as e:
            wrong.append(type(e).__name__)
    elsewhere = []

    def other():
        try:
            ws.accept()
        except RuntimeError as e:
            elsewhere.append(str(e))

    elsewhere_in(other)
    ws.accept(subprotocol=ws.subprotocols[-1] if ws.subprotocols else None, headers={"X-Accepted": "yes"}.items())
    for f, args in ((ws.send, (5,)), (ws.close, (1005,)), (ws.close, (1000, 5)), (ws.receive, (-1,)), (ws.accept, ())):
        try:
            f(*args)
        except Exception as e:
            wrong.append(type(e).__name__)
    ws.send(" ".join(wrong))
    ws.send(bytearray(b"array"))
    ws.send(memoryview(b"view"))
    ws.send("%s %s %s" % (ws.receive(timeout=0), ws.receive(timeout=0.01), elsewhere))
    ws.close(4001, "änough")
    try:
        ws.receive()
    except ws.Closed as e:
        say("look:", e.code, e.reason)
    write = start_response("200 OK", [("Content-Length", "2")])
    try:
        write(b"no")
    except OSError as e:
        say("write:", type(e).__name__)
    environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
    return [b"nobody", b"gets this"]


def elsewhere_in(f):
    """Run it in another thread of the system's, whatever threads are here."""
    if "gevent" in sys.modules:
        from gevent import get_hub

        return get_hub().threadpool.apply(f)
    t = threading.Thread(target=f)
    t.start()
    t.join()


def do_iterate(environ, start_response):
    ws = environ["hostler.websocket"]
    ws.accept()
    say("iterated", list(ws))
    return Closing()


class Closing:
    def __iter__(self):
        say("iterated over the result")
        return iter(())

    def close(self):
        say("the result is closed")


def do_plain(environ, start_response):
    names = [k for k in ("hostler.websocket", "gunicorn.socket", "werkzeug.socket") if k in environ]
    return plain(start_response, "plain %s %r" % (names, environ.get("gunicorn.socket")))


def do_denied(environ, start_response):
    return plain(start_response, "who are you?", "401 Unauthorized")


def do_raises(environ, start_response):
    environ["hostler.websocket"].accept()
    raise ValueError("meant, in a WebSocket")


def do_raises_first(environ, start_response):
    raise ValueError("meant, before a WebSocket")


def do_returns(environ, start_response):
    environ["hostler.websocket"].accept()
    return []


def do_floods(environ, start_response):
    ws = environ["hostler.websocket"]
    ws.accept()
    for i in range(300):
        ws.send("x" * 100000)
    say("floods: all is sent")
    return []


def do_pushes(environ, start_response):
    """Another thread sends, while this one receives."""
    ws = environ["hostler.websocket"]
    ws.accept()

    def push():
        try:
            for i in range(100):
                ws.send("push %d" % i)
        except ws.Closed:
            pass

    t = threading.Thread(target=push)
    t.start()
    n = sum(1 for _ in ws)
    t.join()
    say("pushes: received", n)
    return []


def do_ignores(environ, start_response):
    """It goes on without a look at the WebSocket."""
    ws = environ["hostler.websocket"]
    ws.accept()
    ws.send("go")
    time.sleep(3600)


def do_cleans(environ, start_response):
    ws = environ["hostler.websocket"]
    ws.accept()
    for message in ws:
        ws.send(message)
    time.sleep(1)
    say("cleaned up")
    return []


# --- the connection as a socket ---


def shake(environ):
    sock = environ["gunicorn.socket"]
    key = environ["HTTP_SEC_WEBSOCKET_KEY"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    answer = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    sock.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % answer).encode())
    return sock


def exactly(sock, n):
    b = b""
    while len(b) < n:
        more = sock.recv(n - len(b))
        if not more:
            raise EOFError
        b += more
    return b


def frame(sock):
    first, n = exactly(sock, 2)
    n &= 0x7F
    if n == 126:
        (n,) = struct.unpack("!H", exactly(sock, 2))
    elif n == 127:
        (n,) = struct.unpack("!Q", exactly(sock, 8))
    mask = exactly(sock, 4)
    b = exactly(sock, n)
    if mask != b"\0\0\0\0":
        b = bytes(c ^ mask[i & 3] for i, c in enumerate(b))
    return first & 15, b


def framed(op, b):
    n = len(b)
    head = struct.pack("!BB", 0x80 | op, n) if n < 126 else struct.pack("!BBH", 0x80 | op, 126, n) if n < 65536 else struct.pack("!BBQ", 0x80 | op, 127, n)
    return head + b


def echo_raw(sock):
    while True:
        op, b = frame(sock)
        sock.sendall(framed(op, b))
        if op == 8:
            return struct.unpack("!H", b[:2])[0] if b else 1005


def do_raw(environ, start_response):
    sock = shake(environ)
    try:
        say("raw: closed", echo_raw(sock))
    except (EOFError, OSError) as e:
        say("raw:", type(e).__name__)
    raise StopIteration  # as libraries do with Gunicorn


def do_raw_cleans(environ, start_response):
    echo_raw(shake(environ))
    time.sleep(0.5)
    say("cleaned up")
    raise StopIteration


def do_raw_ignores(environ, start_response):
    shake(environ).sendall(framed(1, b"go"))
    time.sleep(3600)


def do_raw_werkzeug(environ, start_response):
    """What libraries do with werkzeug.socket: a response that nobody shall get."""
    import socket

    sock = environ["werkzeug.socket"]
    same = sock is environ["gunicorn.socket"]
    say("raw: %s %s" % (isinstance(sock, socket.socket), same))
    shake(environ)
    say("raw: closed", echo_raw(sock), type(sock).__name__ in ("socket", "Whole"), select.select([sock], [], [], 0)[0] in ([], [sock]))
    return plain(start_response, "nobody gets this")


def do_raw_closes(environ, start_response):
    sock = shake(environ)
    sock.sendall(framed(1, b"bye"))
    sock.close()
    raise ConnectionError


def do_raw_raises(environ, start_response):
    shake(environ)
    raise ValueError("meant, with a socket")


def do_raw_unused(environ, start_response):
    """It is taken, and nothing is written to it."""
    sock = environ["gunicorn.socket"]
    say("raw: fileno", sock.fileno() > 2)
    return plain(start_response, "denied", "403 Forbidden")


def do_raw_both(environ, start_response):
    environ["gunicorn.socket"].fileno()
    try:
        environ["hostler.websocket"].accept()
    except RuntimeError as e:
        return plain(start_response, str(e))


def do_raw_floods(environ, start_response):
    sock = shake(environ)
    for i in range(300):
        sock.sendall(framed(1, b"x" * 100000))
    say("raw: all is sent")
    return []


def do_raw_later(environ, start_response):
    """A thread of a library's writes the last frame, and closes."""
    sock = shake(environ)

    def later():
        time.sleep(0.2)
        sock.sendall(framed(8, b"\x03\xe8"))
        sock.close()

    threading.Thread(target=later).start()
    raise StopIteration


# --- what is left ---


def do_left(environ, start_response):
    gc.collect()
    count = getattr(sys, "gettotalrefcount", lambda: 0)()
    return plain(start_response, "%d %d" % (len(os.listdir("/proc/self/fd")), count))


def do_slow(environ, start_response):
    time.sleep(0.3)
    return plain(start_response, "slow")
