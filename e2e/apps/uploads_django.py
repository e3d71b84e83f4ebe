"""A Django project in one file that takes uploads."""

import hashlib

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(DEBUG=False, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[],
                   DATA_UPLOAD_MAX_MEMORY_SIZE=None)
django.setup()


def raw(request):
    return JsonResponse({"size": len(request.body), "digest": hashlib.sha256(request.body).hexdigest()})


def form(request):
    f = request.FILES["file"]
    digest = hashlib.sha256()
    for piece in f.chunks():
        digest.update(piece)
    return JsonResponse({"size": f.size, "digest": digest.hexdigest(), "kind": type(f).__name__, "name": request.POST["name"]})


urlpatterns = [path("raw", raw), path("form", form)]
application = get_wsgi_application()
