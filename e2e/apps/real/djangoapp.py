"""What real_test.go asks of a framework, by Django."""

import hashlib
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="x",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    FILE_UPLOAD_MAX_MEMORY_SIZE=1 << 20,
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
)


def hello(request):
    return HttpResponse("hello")


def form(request):
    return HttpResponse("got " + request.POST["message"])


def raw(request):
    return HttpResponse(hashlib.sha256(request.body).hexdigest())


def upload(request):
    f = request.FILES["file"]
    return HttpResponse(f.name + " " + hashlib.sha256(f.read()).hexdigest())


def stream(request):
    return StreamingHttpResponse("row %d\n" % i for i in range(1000))


def boom(request):
    raise ValueError("boom")


def count(request):
    n = int(request.COOKIES.get("n", 0)) + 1
    r = HttpResponse("%d times" % n)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


def away(request):
    return HttpResponseRedirect(request.build_absolute_uri("/hello"))


def static_file(request, name):
    return FileResponse(open(os.path.join(os.environ["FILES"], name), "rb"))


urlpatterns = [
    path("hello", hello),
    path("form", form),
    path("raw", raw),
    path("upload", upload),
    path("stream", stream),
    path("boom", boom),
    path("count", count),
    path("redirect", away),
    path("static/<str:name>", static_file),
]
app = get_wsgi_application()
