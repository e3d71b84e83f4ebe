"""A Starlette application, which is ASGI's, through a2wsgi."""

import hashlib

from a2wsgi import ASGIMiddleware
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route


async def form(request):
    return PlainTextResponse("got " + (await request.form())["message"])


async def raw(request):
    return PlainTextResponse(hashlib.sha256(await request.body()).hexdigest())


async def stream(request):
    async def rows():
        for i in range(1000):
            yield "row %d\n" % i

    return StreamingResponse(rows(), media_type="text/plain")


async def away(request):
    return RedirectResponse(request.url_for("raw"))


async def server(request):
    return JSONResponse(request.scope["server"])


async def boom(request):
    raise ValueError("boom")


app = ASGIMiddleware(
    Starlette(
        routes=[
            Route("/form", form, methods=["POST"]),
            Route("/raw", raw, methods=["POST"]),
            Route("/stream", stream),
            Route("/redirect", away),
            Route("/server", server),
            Route("/boom", boom),
        ]
    )
)
