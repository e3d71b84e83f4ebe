"""What asgi_real_test.go asks of a framework, by Starlette."""

import hashlib

from common import live, where
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute


async def hello(request):
    return PlainTextResponse("hello")


async def form(request):
    return PlainTextResponse("got " + (await request.form())["message"])


async def raw(request):
    digest = hashlib.sha256()
    try:
        async for piece in request.stream():
            digest.update(piece)
    except ClientDisconnect:
        live.ended = "ClientDisconnect"
        raise
    return PlainTextResponse(digest.hexdigest())


async def upload(request):
    async with request.form() as fields:
        f = fields["file"]
        return PlainTextResponse(f.filename + " " + hashlib.sha256(await f.read()).hexdigest())


async def stream(request):
    return StreamingResponse(("row %d\n" % i for i in range(1000)), media_type="text/plain")


async def streamed(request):
    return StreamingResponse(live.rows(), media_type="text/plain")


async def release(request):
    return PlainTextResponse(live.release())


async def outcome(request):
    return PlainTextResponse(live.ended)


async def boom(request):
    raise ValueError("boom")


async def count(request):
    n = int(request.cookies.get("n", 0)) + 1
    r = PlainTextResponse("%d times" % n)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


async def away(request):
    return RedirectResponse(request.url_for("hello"))


async def static_file(request):
    return FileResponse(where(request.path_params["name"]))


async def echo(websocket):
    await websocket.accept(subprotocol=(websocket.scope["subprotocols"] or [None])[0])
    async for text in websocket.iter_text():
        await websocket.send_text("echo " + text)


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/form", form, methods=["POST"]),
        Route("/raw", raw, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/live", streamed),
        Route("/release", release),
        Route("/outcome", outcome),
        Route("/boom", boom),
        Route("/count", count),
        Route("/redirect", away),
        Route("/static/{name}", static_file),
        WebSocketRoute("/ws", echo),
    ]
)
