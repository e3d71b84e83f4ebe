"""An application that imports next to nothing, and calls two functions that are alike."""

import time

import twin_a
import twin_b


def app(environ, start_response):
    if environ["PATH_INFO"] == "/work":
        twin_a.spin(time.perf_counter, time.perf_counter() + 0.03)
        twin_b.spin(time.perf_counter, time.perf_counter() + 0.01)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
