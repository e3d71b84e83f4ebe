"""An application of ASGI's whose clients leave, each at another moment."""

import asyncio
import os
import tempfile

PIECE = b"x" * 65536


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    name = scope["query_string"].decode()
    say("begun", name)
    try:
        if scope["type"] == "websocket":
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept"})
        await globals()["do_" + scope["path"][1:]](receive, send)
    except OSError:  # the client's leave
        pass
    finally:
        say("over", name)


def say(*words):
    os.write(2, (" ".join(map(str, words)) + "\n").encode())


async def begin(send, length=None):
    fields = [] if length is None else [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": fields})


async def piece(send, body):
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def left(receive):
    while not (await receive())["type"].endswith(".disconnect"):
        pass


async def do_waits(receive, send):
    """Nothing has been said yet, nor has all been read."""
    await left(receive)


do_reads = do_waits


async def do_reads_behind(receive, send):
    """Much of what has been said waits for the client, who is asked for more."""
    await begin(send)
    await piece(send, PIECE * 15)
    await left(receive)


async def do_listens(receive, send):
    await begin(send)
    await piece(send, b"begun")
    await left(receive)


async def do_listens_behind(receive, send):
    await do_reads_behind(receive, send)


async def do_sends(receive, send):
    await begin(send)
    while True:
        await piece(send, PIECE)


async def do_both(receive, send):
    """One task sends, the other one listens."""
    await begin(send)

    async def sends():
        while True:
            await piece(send, PIECE)

    other = asyncio.ensure_future(sends())
    await left(receive)
    try:
        await other
    except OSError:
        pass


async def do_ticks(receive, send):
    await begin(send)
    while True:
        await asyncio.sleep(0.02)
        await piece(send, b"tick")


async def do_silent(receive, send):
    await begin(send)
    await piece(send, b"begun")
    await asyncio.sleep(3600)


async def do_silent_behind(receive, send):
    await begin(send)
    await piece(send, PIECE * 15)
    await asyncio.sleep(3600)


async def do_whole(receive, send):
    await begin(send, len(PIECE) * 200)
    await send({"type": "http.response.body", "body": PIECE * 200})


async def do_file(receive, send):
    with tempfile.NamedTemporaryFile() as f:
        f.truncate(20 << 20)
        await begin(send, 20 << 20)
        await send({"type": "http.response.pathsend", "path": f.name})


async def do_ws_receives(receive, send):
    await left(receive)


async def do_ws_sends(receive, send):
    while True:
        await send({"type": "websocket.send", "bytes": PIECE})


async def do_ws_deaf(receive, send):
    """It does not take what its client has sent."""
    await asyncio.sleep(0.5)
    await do_ws_sends(receive, send)


async def do_ws_both(receive, send):
    async def sends():
        while True:
            await send({"type": "websocket.send", "bytes": PIECE})

    other = asyncio.ensure_future(sends())
    await left(receive)
    try:
        await other
    except OSError:
        pass
