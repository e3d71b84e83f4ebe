"""What docs/tuning.md measures: requests that wait, that work, and that do both."""

import time


def burn(seconds):
    """Keep a processor, and the GIL, for that long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path != "/work":
        time.sleep(0.02)
    if path != "/wait":
        burn(0.004)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
