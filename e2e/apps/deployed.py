"""The same pages for WSGI and ASGI, for tests of the files in deploy/ that are a proxy's."""

import asyncio
import hashlib
import json
import os

import proxied


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/socket":
        return socket(environ["hostler.websocket"], environ)
    return proxied.app(environ, start_response)


def socket(ws, environ):
    ws.accept()
    ws.send(environ["REMOTE_ADDR"])
    try:
        while True:
            ws.send(ws.receive())
    except ws.Closed:
        return []


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    page = {"/socket": echo, "/stream": stream, "/upload": upload}.get(scope["path"], origin)
    await page(scope, receive, send)


async def answer(send, body, more=False):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def origin(scope, receive, send):
    """What proxied.origin tells, by the same names."""
    seen = {"HTTP_" + k.decode().upper().replace("-", "_"): v.decode() for k, v in scope["headers"]}
    seen.update({"REMOTE_ADDR": scope["client"][0], "wsgi.url_scheme": scope["scheme"], "SCRIPT_NAME": scope["root_path"]})
    seen.update({"PATH_INFO": scope["path"], "HTTPS": "on" if scope["scheme"] == "https" else "", "pid": str(os.getpid())})
    await answer(send, json.dumps(seen).encode())


async def stream(scope, receive, send):
    await answer(send, b"first\n", more=True)
    while not os.path.exists(scope["query_string"]):
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"second\n"})


async def upload(scope, receive, send):
    open(scope["query_string"], "w").close()
    h, n, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        piece, more = message.get("body", b""), message.get("more_body", False)
        h.update(piece)
        n += len(piece)
    await answer(send, b"%d %s" % (n, h.hexdigest().encode()))


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["client"][0]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
