"""An application with hot spots that are known."""

import os
import threading
import time


def spin(seconds):
    """By the thread's own clock: by the wall's, it would be over sooner where others have
    the processor or the GIL, and the shorter one would seem longer than it is."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def warm():
    spin(0.01)


def hot():
    spin(0.04)


def background():
    while True:
        time.sleep(0.05)


def start_background():
    threading.Thread(target=background, name="back;ground\n", daemon=True).start()


start_background()
os.register_at_fork(after_in_child=start_background)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        import faults

        faults.hold_the_gil()
    if environ["PATH_INFO"] == "/work":
        warm()
        hot()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
