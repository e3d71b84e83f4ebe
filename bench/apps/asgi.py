"""Plain ASGI: 13 bytes, and what a WebSocket sends."""

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]


async def life(receive, send):
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def hello(scope, receive, send):
    if scope["type"] == "lifespan":
        return await life(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"Hello, World!"})


async def echo(scope, receive, send):
    if scope["type"] == "lifespan":
        return await life(receive, send)
    if scope["type"] == "http":
        return await hello(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
