"""A Flask application that gevent has patched, though nothing here runs on gevent."""

from gevent import monkey

monkey.patch_all()

import queue  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

from flask import Flask  # noqa: E402

app = Flask(__name__)


@app.route("/sleep")
def sleep():
    time.sleep(0.1)
    return "slept"


@app.route("/thread")
def thread():
    q = queue.Queue()
    t = threading.Thread(target=lambda: (time.sleep(0.05), q.put("by a thread")))
    t.start()
    said = q.get(timeout=10)
    t.join()
    return said


@app.route("/lock")
def lock():
    with threading.Lock():
        time.sleep(0.01)
    return "locked"
