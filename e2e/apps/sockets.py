"""WebSockets of ASGI, as an application sees them."""

import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "http":
        if scope["path"] == "/block":
            import time

            time.sleep(2)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        return await send({"type": "http.response.body", "body": b"ok"})
    await globals()[scope["path"].strip("/") or "echo"](scope, receive, send)


async def opened(receive, send, **more):
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def echo(scope, receive, send):
    await opened(receive, send)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            print("disconnect %(code)d %(reason)r" % message, flush=True)
            try:
                await send({"type": "websocket.send", "text": "too late"})
            except OSError as e:
                print("then %s" % type(e).__name__, flush=True)
            return
        message["type"] = "websocket.send"
        await send(message)


async def look(scope, receive, send):
    """Tell of the scope."""
    await opened(receive, send, subprotocol=(scope["subprotocols"] or [None])[-1], headers=[(b"x-accepted", b"yes")])
    told = [scope["type"], scope["scheme"], scope["http_version"], scope["asgi"]["spec_version"], str(scope["subprotocols"])]
    told += ["method" in scope, sorted(scope["extensions"]), scope["query_string"].decode()]
    await send({"type": "websocket.send", "text": " ".join(map(str, told))})
    await send({"type": "websocket.close", "code": 4001, "reason": "änough"})
    print("look: %(type)s %(code)d" % await receive(), flush=True)


async def deny(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


async def deny_with(scope, receive, send):
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
    await send({"type": "websocket.http.response.body", "body": b"who are ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"you?"})


async def raises(scope, receive, send):
    await opened(receive, send)
    await receive()
    raise ValueError("meant, in a WebSocket")


async def returns(scope, receive, send):
    await opened(receive, send)


async def raises_first(scope, receive, send):
    raise ValueError("meant, before a WebSocket")


async def wrong(scope, receive, send):
    """Messages that may not come: all are refused, and the WebSocket lives."""
    await opened(receive, send)
    for message, kind in (
        ({"type": "websocket.accept"}, RuntimeError),
        ({"type": "websocket.send"}, ValueError),
        ({"type": "websocket.send", "text": b"bytes"}, TypeError),
        ({"type": "websocket.send", "bytes": "text"}, TypeError),
        ({"type": "websocket.send", "text": "\ud800"}, ValueError),
        ({"type": "websocket.close", "code": 1005}, ValueError),
        ({"type": "websocket.close", "code": 99999}, ValueError),
        ({"type": "http.response.start", "status": 200}, RuntimeError),
    ):
        try:
            await send(message)
        except kind:
            continue
        await send({"type": "websocket.send", "text": "not refused: %r" % message})
    await send({"type": "websocket.send", "text": "done"})


async def waits(scope, receive, send):
    """receive() of a task of its own, which is cancelled; and two at a time."""
    await opened(receive, send)
    try:
        await asyncio.wait_for(receive(), 0.05)
    except asyncio.TimeoutError:
        pass
    two = [asyncio.ensure_future(receive()), asyncio.ensure_future(receive())]
    await send({"type": "websocket.send", "text": "now"})
    got = [m["text"] for m in await asyncio.gather(*two)]
    await send({"type": "websocket.send", "text": " ".join(sorted(got))})


async def floods(scope, receive, send):
    await opened(receive, send)
    for _ in range(300):
        await send({"type": "websocket.send", "bytes": b"x" * 100000})
    print("floods: all is sent", flush=True)


async def stubborn(scope, receive, send):
    """Does not hear that it is over."""
    await opened(receive, send)
    await asyncio.sleep(3600)
