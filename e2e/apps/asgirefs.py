"""Each way through receive and send, and how many references there are in all."""

import asyncio
import gc
import linecache
import os
import sys

deserts = {}  # of the stream that is under way: what its client and it wait for of each other


async def whole(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    return body


async def cancelled(receive, wait):
    task = asyncio.ensure_future(receive())
    await asyncio.sleep(wait)
    task.cancel()
    await asyncio.wait([task])


async def refused(send):
    for message in (
        {"type": "http.response.body"},
        {"type": "http.response.start", "status": 200, "headers": [("a", 1)]},
        {"type": "http.response.start", "status": 99},
        {},
        [],
    ):
        try:
            await send(message)
        except (RuntimeError, TypeError, ValueError):
            continue
        raise AssertionError(message)


async def stream(send, piece, pieces):
    await send({"type": "http.response.start", "status": 200, "headers": [[b"a", b"b"]]})
    while pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
        pieces -= 1
    await send({"type": "http.response.body"})


async def deserted(send):
    """Sends until the client has to read, and once more when it has gone."""
    await send({"type": "http.response.start", "status": 200})
    full = None
    while not full:
        piece = asyncio.ensure_future(send({"type": "http.response.body", "body": b"x" * 20000, "more_body": True}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        full = not piece.done()
    piece.cancel()
    deserts["full"].set()
    await deserts["left"].wait()
    await send({"type": "http.response.body", "body": b"x" * 20000, "more_body": True})


def references():
    linecache.clearcache()  # the stack of a loop that was blocked for a moment has filled it
    gc.collect()
    return b"%d" % (sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else len(gc.get_objects()))


async def socket(scope, receive, send):
    """Echoes, in a Task of its own each time, until it is closed or left."""
    await send({"type": "websocket.accept", "subprotocol": "a", "headers": [(b"b", b"c")]})
    await receive()  # websocket.connect
    while True:
        message = await asyncio.ensure_future(receive())
        if message["type"] == "websocket.disconnect":
            return
        await send({**message, "type": "websocket.send"})
        if message.get("text") == "raise":
            raise ValueError("meant")


def framework():
    """What most applications go through: a router, a middleware, JSON, a thread for functions."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def page(request):
        return JSONResponse({"path": request.url.path, "query": dict(request.query_params), "body": len(await request.body())})

    def thread(request):
        return JSONResponse({"headers": len(request.headers)})

    async def rows(request):
        async def piece():
            for i in range(5):
                yield b"%d" % i * 3000
                await asyncio.sleep(0)

        return StreamingResponse(piece())

    async def passes(request, call_next):
        return await call_next(request)

    return Starlette(
        routes=[Route("/starlette/" + f.__name__, f, methods=["POST"]) for f in (page, thread, rows)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=passes)],
    )


starlette = None


async def app(scope, receive, send):
    global starlette
    if scope["type"] == "websocket":
        return await socket(scope, receive, send)
    assert scope["type"] == "http"
    if scope["path"].startswith("/starlette/"):
        starlette = starlette or framework()
        return await starlette(scope, receive, send)
    body, path = b"ok", scope["path"][1:]
    if path == "count":
        body = references()
    elif path == "raise":
        raise ValueError("meant")
    elif path == "echo":
        body = await whole(receive)
    elif path == "listen":
        await whole(receive)
        await cancelled(receive, 0)
        asyncio.ensure_future(receive())  # hears of the end
        await asyncio.sleep(0)
    elif path == "wait":
        await whole(receive)
        await cancelled(receive, 0.0005)
    elif path == "refused":
        await refused(send)
    elif path == "path":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.pathsend", "path": __file__})
        return
    elif path in ("stream", "endless"):
        await stream(send, b"x" * 20000, 5 if path == "stream" else -1)
        return
    elif path == "deserted":
        deserts.update(full=asyncio.Event(), left=asyncio.Event())
        await deserted(send)
    elif path == "full":
        await deserts["full"].wait()
    elif path == "left":
        deserts["left"].set()
    elif path == "hints":
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
    elif path in ("fork", "fork_exits"):
        pid = os.fork()
        if pid == 0:
            if path == "fork":
                return  # to a loop that is none of its
            os._exit(0)
        body = b"%d" % os.WEXITSTATUS(os.waitpid(pid, 0)[1])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
