"""What real_test.go asks of a framework, by Pyramid."""

import hashlib
import os

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.response import Response


def hello(request):
    return Response("hello")


def form(request):
    return Response("got " + request.POST["message"])


def raw(request):
    return Response(hashlib.sha256(request.body).hexdigest())


def upload(request):
    f = request.POST["file"]
    return Response(f.filename + " " + hashlib.sha256(f.file.read()).hexdigest())


def stream(request):
    return Response(app_iter=(b"row %d\n" % i for i in range(1000)), content_type="text/plain")


def boom(request):
    raise ValueError("boom")


def count(request):
    n = int(request.cookies.get("n", 0)) + 1
    r = Response("%d times" % n)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


def away(request):
    return HTTPFound(request.route_url("hello"))


with Configurator() as config:
    for view in hello, form, raw, upload, stream, boom, count, away:
        name = "redirect" if view is away else view.__name__
        config.add_route(name, "/" + name)
        config.add_view(view, route_name=name)
    config.add_static_view("static", os.environ["FILES"])
    app = config.make_wsgi_app()
