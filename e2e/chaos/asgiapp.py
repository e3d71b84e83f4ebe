

# The same pages by ASGI, beside them streams and WebSockets.

import asyncio
import urllib.parse


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        return await talk(receive, send)
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    head = ("%s %d %s\n" % (query.get("id"), os.getpid(), VERSION)).encode()
    await ASYNC.get(scope["path"], page)(scope["path"], float(query.get("n", 0)), head, receive, send)


async def page(path, n, head, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message.get("more_body")
    if path == "/sleep":
        await asyncio.sleep(n)
        extra = b""
    elif path == "/descriptors":  # it takes long, and the loop has other requests, too
        extra = await asyncio.get_running_loop().run_in_executor(None, PAGES[path], n, body) or b""
    else:
        extra = PAGES[path](n, body) or b""
    await begin(send, [(b"content-length", b"%d" % len(head + extra))])
    await send({"type": "http.response.body", "body": head + extra})


async def begin(send, headers=()):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), *headers]})


async def stream(path, n, head, receive, send):
    """Is as long as it is: it hears of nothing."""
    await begin(send)
    await send({"type": "http.response.body", "body": head, "more_body": True})
    left = int(n)
    while left:
        piece = min(left, 10000)
        await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b"x" * piece, "more_body": True})
        left -= piece
    await send({"type": "http.response.body"})


async def events(path, n, head, receive, send):
    """Goes on until its client leaves, or it is told that the worker does."""
    gone = asyncio.ensure_future(told(receive))
    await begin(send, [(b"content-type", b"text/event-stream")])
    await send({"type": "http.response.body", "body": head, "more_body": True})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"event\n", "more_body": True})
        await asyncio.wait([gone], timeout=0.03)
    await send({"type": "http.response.body", "body": b"end\n"})


async def told(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def talk(receive, send):
    """A WebSocket that says what it hears."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message["text"]})


ASYNC = {"/stream": stream, "/events": events}
