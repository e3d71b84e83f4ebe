"""What asgi_real_test.go asks of a framework, by Django's asynchronous side, with Channels for
sockets."""

import hashlib

from common import live, where
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="x",
    INSTALLED_APPS=["channels"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    FILE_UPLOAD_MAX_MEMORY_SIZE=1 << 20,
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


async def hello(request):
    return HttpResponse("hello")


def form(request):  # in a thread, as all that are not coroutine functions
    return HttpResponse("got " + request.POST["message"])


def raw(request):
    return HttpResponse(hashlib.sha256(request.body).hexdigest())


def upload(request):
    f = request.FILES["file"]
    return HttpResponse(f.name + " " + hashlib.sha256(f.read()).hexdigest())


async def stream(request):
    async def rows():
        for i in range(1000):
            yield "row %d\n" % i

    return StreamingHttpResponse(rows(), content_type="text/plain")


async def streamed(request):
    return StreamingHttpResponse(live.rows(), content_type="text/plain")


async def release(request):
    return HttpResponse(live.release())


async def outcome(request):
    return HttpResponse(live.ended)


async def boom(request):
    raise ValueError("boom")


def count(request):
    n = int(request.COOKIES.get("n", 0)) + 1
    r = HttpResponse("%d times" % n)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


async def away(request):
    return HttpResponseRedirect(request.build_absolute_uri("/hello"))


def static_file(request, name):
    return FileResponse(open(where(name), "rb"))


urlpatterns = [
    path("hello", hello),
    path("form", form),
    path("raw", raw),
    path("upload", upload),
    path("stream", stream),
    path("live", streamed),
    path("release", release),
    path("outcome", outcome),
    path("boom", boom),
    path("count", count),
    path("redirect", away),
    path("static/<str:name>", static_file),
]
app = get_asgi_application()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402


class Echo(AsyncWebsocketConsumer):
    """To the group, which sends it to this one, too."""

    groups = ["all"]

    async def connect(self):
        await self.accept((self.scope["subprotocols"] or [None])[0])

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("all", {"type": "say", "text": text_data})

    async def say(self, event):
        await self.send(text_data="echo " + event["text"])


channels = ProtocolTypeRouter({"http": app, "websocket": URLRouter([path("ws", Echo.as_asgi())])})
