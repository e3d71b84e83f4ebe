"""Requests that wait for each other, and requests that wait for the GIL."""

import threading
import time

barriers, lock = {}, threading.Lock()


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = b"ok"
    if path == "/meet":  # so many at once, or none
        with lock:
            barrier = barriers.setdefault(query, threading.Barrier(int(query)))
        try:
            barrier.wait(25)
        except threading.BrokenBarrierError:
            body = b"alone"
    elif path == "/work":
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
