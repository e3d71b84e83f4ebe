"""What the suites of other servers ask of theirs: see asgi_peers_test.go."""

import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        scope["state"].update(number=1, shared=[])
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await (http if scope["type"] == "http" else websocket)(scope, receive, send)


async def http(scope, receive, send):
    """A response that is whole, and then what its path says."""
    status, size, then = scope["path"].strip("/").split("-")
    await send({"type": "http.response.start", "status": int(status), "headers": iter([(b"x-then", then.encode())])})
    await send({"type": "http.response.body", "body": b"x" * int(size)})
    if then == "raise":
        raise ValueError("meant, behind a response")
    if then == "extra":
        await send({"type": "http.response.body", "body": b""})
    if then == "cancelled":
        raise asyncio.CancelledError
    if then == "later":
        await asyncio.sleep(0)
        raise ValueError("meant, behind a response")


async def websocket(scope, receive, send):
    path = scope["path"]
    await receive()

    async def deny(status, *bodies):
        await send({"type": "websocket.http.response.start", "status": status})
        for body in bodies:
            await send({"type": "websocket.http.response.body", "body": body})

    async def say(text):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text, "bytes": None})
        await send({"type": "websocket.close", "reason": None})

    if path == "/leaves":
        print("waits for a client to leave", flush=True)
        print("leaves: %(type)s %(code)d" % await receive(), flush=True)
        try:
            await send({"type": "websocket.accept"})
        except OSError as e:
            print("accept after that: %s" % type(e).__name__, flush=True)
    elif path == "/denies":
        await deny(403, b"denied")
    elif path == "/denies_twice":
        await deny(404)
        await deny(404)
    elif path == "/denies_half":
        await deny(404)
    elif path == "/denies_and_raises":
        await deny(401, b"")
        raise ValueError("meant, behind a denial")
    elif path == "/closes_and_raises":
        await send({"type": "websocket.close"})
        raise ValueError("meant, behind a denial")
    elif path == "/returns":
        pass
    elif path == "/state":
        scope["state"]["number"] += 1
        scope["state"]["shared"].append("x")
        print("the state is told", flush=True)
        await say("%d %s" % (scope["state"]["number"], "".join(scope["state"]["shared"])))
    elif path == "/scheme":
        await say("%s %s" % (scope["scheme"], scope["client"][0]))
    elif path == "/behind":
        # Nothing is read before all has come, the client's end, too.
        await send({"type": "websocket.accept"})
        heard.clear()
        print("reads nothing", flush=True)
        while b"read" not in heard:
            await asyncio.sleep(0.01)
        while True:
            message = await receive()
            print("behind: %s" % (message.get("bytes") or message.get("code")), flush=True)
            if message["type"] == "websocket.disconnect":
                return
    elif path == "/read":
        heard.add(b"read")
        await say("reads")


heard = set()
