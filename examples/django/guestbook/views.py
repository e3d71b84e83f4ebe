"""A guest book: the ORM, a session, an upload, a streamed answer."""

import hashlib
from pathlib import Path

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.views.decorators.csrf import csrf_exempt

from .models import Entry

STATIC = Path(__file__).parent / "static"

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Guest book</title>
<link rel="stylesheet" href="/static/guestbook.css"><h1>Guest book</h1>
<p>You have been here {{ visits }} time{{ visits|pluralize }}.</p>
<form method="post">{% csrf_token %}<input name="name" placeholder="name"> <input name="text" placeholder="text"> <button>write</button></form>
{% for e in entries %}<p><b>{{ e.name }}</b>: {{ e.text }}</p>{% endfor %}"""


def index(request):
    if request.method == "POST":
        Entry.objects.create(name=request.POST["name"], text=request.POST["text"])
        return redirect("/")
    request.session["visits"] = request.session.get("visits", 0) + 1
    context = {"visits": request.session["visits"], "entries": Entry.objects.all()[:20]}
    return HttpResponse(engines["django"].from_string(PAGE).render(context, request))


@csrf_exempt
def upload(request):
    """Answer with the SHA-256 of the file that was sent."""
    digest = hashlib.sha256()
    for chunk in request.FILES["file"].chunks():
        digest.update(chunk)
    return HttpResponse(digest.hexdigest(), content_type="text/plain")


def stream(request):
    return StreamingHttpResponse((f"row {i}\n" for i in range(1000)), content_type="text/plain")
