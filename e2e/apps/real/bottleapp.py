"""What real_test.go asks of a framework, by Bottle."""

import hashlib
import os

from bottle import Bottle, redirect, request, response, static_file

app = Bottle()


@app.get("/hello")
def hello():
    return "hello"


@app.post("/form")
def form():
    return "got " + request.forms.message


@app.post("/raw")
def raw():
    return hashlib.sha256(request.body.read()).hexdigest()


@app.post("/upload")
def upload():
    f = request.files.get("file")
    return f.raw_filename + " " + hashlib.sha256(f.file.read()).hexdigest()


@app.get("/stream")
def stream():
    for i in range(1000):
        yield "row %d\n" % i


@app.get("/boom")
def boom():
    raise ValueError("boom")


@app.get("/count")
def count():
    n = int(request.get_cookie("n", 0)) + 1
    response.set_cookie("n", str(n))
    response.set_cookie("other", "x")
    return "%d times" % n


@app.get("/redirect")
def away():
    redirect("/hello")


@app.get("/static/<name>")
def files(name):
    return static_file(name, root=os.environ["FILES"])
