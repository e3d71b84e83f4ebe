"""For --loop gevent: what a greenlet may expect."""

import socket
import threading
import time

flying, most = 0, 0
landed = {}  # by how many: set once so many are in flight at once


def wait_for_others(environ):
    """Answer once as many requests are in here at the same time as the query says."""
    global flying, most
    want = int(environ["QUERY_STRING"])
    event = landed.setdefault(want, threading.Event())
    flying += 1
    most = max(most, flying)
    if flying == want:
        event.set()
    try:
        if not event.wait(60):
            return [b"alone, with %d" % flying]
        return [b"together"]
    finally:
        flying -= 1


def sleep(environ):
    time.sleep(0.05)
    return [b"slept"]


def itself(environ):
    """Ask this same worker, whose only thread this is, over a socket that is patched."""
    s = socket.create_connection(environ["QUERY_STRING"].split(":"))
    s.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
    return [s.makefile("rb").read().rpartition(b"\r\n")[2]]


def hello(environ):
    return [b"hello"]


def app(environ, start_response):
    body = globals()[environ["PATH_INFO"][1:]](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body
