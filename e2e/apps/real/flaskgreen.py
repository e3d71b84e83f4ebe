"""A Flask application whose requests wait for each other."""

import threading
import time

from flask import Flask, request

app = Flask(__name__)
barriers = {}


@app.route("/together")
def together():
    n = int(request.query_string)
    waiting = barriers.setdefault(n, [0, threading.Event()])
    waiting[0] += 1
    if waiting[0] == n:
        waiting[1].set()
    waiting[1].wait(60)
    # Flask's request is a context variable: it has to be this greenlet's own again.
    return "together" if request.path == "/together" and waiting[0] >= n else "alone"


@app.route("/stream")
def stream():
    def pieces():
        for piece in "a ", "b ", "c ":
            time.sleep(0.01)
            yield piece

    return app.response_class(pieces())


@app.route("/form", methods=["POST"])
def form():
    return request.form["name"]


@app.route("/boom")
def boom():
    raise ValueError("meant")
