"""What real_test.go asks of a framework, by Falcon."""

import hashlib
import os

import falcon


class Page:
    def __init__(self, get=None, post=None):
        self.get, self.post = get, post

    def on_get(self, req, resp):
        if self.get is None:
            raise falcon.HTTPMethodNotAllowed(["POST"])
        self.get(req, resp)

    on_head = on_get

    def on_post(self, req, resp):
        self.post(req, resp)


def hello(req, resp):
    resp.text = "hello"


def form(req, resp):
    resp.text = "got " + req.get_media()["message"]


def raw(req, resp):
    resp.text = hashlib.sha256(req.bounded_stream.read()).hexdigest()


def upload(req, resp):
    for part in req.get_media():
        if part.name == "file":
            resp.text = part.filename + " " + hashlib.sha256(part.stream.read()).hexdigest()


def stream(req, resp):
    resp.stream = (b"row %d\n" % i for i in range(1000))


def boom(req, resp):
    raise ValueError("boom")


def count(req, resp):
    n = int(req.cookies.get("n", 0)) + 1
    resp.text = "%d times" % n
    resp.set_cookie("n", str(n), secure=False)
    resp.set_cookie("other", "x", secure=False)


def away(req, resp):
    raise falcon.HTTPFound(req.prefix + "/hello")


app = falcon.App()
app.add_route("/hello", Page(hello))
app.add_route("/form", Page(post=form))
app.add_route("/raw", Page(post=raw))
app.add_route("/upload", Page(post=upload))
app.add_route("/stream", Page(stream))
app.add_route("/boom", Page(boom))
app.add_route("/count", Page(count))
app.add_route("/redirect", Page(away))
app.add_static_route("/static", os.environ["FILES"])
