"""What real_test.go asks of a framework, by Flask."""

import hashlib
import os

from flask import Flask, Response, redirect, request, send_from_directory, url_for

app = Flask(__name__, static_folder=None)


@app.route("/hello")
def hello():
    return "hello"


@app.route("/form", methods=["POST"])
def form():
    return "got " + request.form["message"]


@app.route("/raw", methods=["POST"])
def raw():
    return hashlib.sha256(request.get_data()).hexdigest()


@app.route("/upload", methods=["POST"])
def upload():
    f = request.files["file"]
    return f.filename + " " + hashlib.sha256(f.read()).hexdigest()


@app.route("/stream")
def stream():
    return Response(("row %d\n" % i for i in range(1000)), mimetype="text/plain")


@app.route("/boom")
def boom():
    raise ValueError("boom")


@app.route("/count")
def count():
    n = int(request.cookies.get("n", 0)) + 1
    r = Response("%d times" % n)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


@app.route("/redirect")
def away():
    return redirect(url_for("hello", _external=True))


@app.route("/static/<path:name>")
def static_file(name):
    return send_from_directory(os.environ["FILES"], name)
