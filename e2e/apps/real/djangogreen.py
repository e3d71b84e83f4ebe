"""A Django application whose requests wait for each other."""

import threading
import time

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
django.setup()
barriers = {}


def together(request):
    n = int(request.META["QUERY_STRING"])
    waiting = barriers.setdefault(n, [0, threading.Event()])
    waiting[0] += 1
    if waiting[0] == n:
        waiting[1].set()
    waiting[1].wait(60)
    return HttpResponse("together" if waiting[0] >= n else "alone")


def stream(request):
    def pieces():
        for piece in "a ", "b ", "c ":
            time.sleep(0.01)
            yield piece

    return StreamingHttpResponse(pieces())


def form(request):
    return HttpResponse(request.POST["name"])


def boom(request):
    raise ValueError("meant")


urlpatterns = [path(view.__name__, view) for view in (together, stream, form, boom)]
app = get_wsgi_application()
