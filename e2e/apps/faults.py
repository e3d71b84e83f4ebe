"""An application that can be stuck, slow to import, and told apart by its code."""

import collections
import itertools
import os
import time

# A module may take its time, or fail, as a file says that a test writes.
PLAN = os.environ.get("PLAN")
plan = open(PLAN).read() if PLAN else ""
exec(plan)
VERSION = globals().get("VERSION", "0")


def app(environ, start_response):
    page, arg = environ["PATH_INFO"], environ["QUERY_STRING"]
    if page == "/sleep":
        sleep_without_gil(float(arg))
    elif page == "/hold":
        hold_the_gil()
    body = ("%s %d %s" % (VERSION, os.getpid(), os.environ.get("GREETING", ""))).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def sleep_without_gil(seconds):
    time.sleep(seconds)


def hold_the_gil():
    """Never ends, lets no other Python thread run and sees no signal, as in a bad C extension."""
    collections.deque(itertools.repeat(None), maxlen=0)


def factory():
    return app
