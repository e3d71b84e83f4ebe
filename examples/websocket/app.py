"""A chat: a page, and a WebSocket for each that has it open. It needs no package.

    hostler --chdir examples/websocket app

Who is here is known to one process. With several workers (-w) these would have to tell each
other what is said, by Redis for one.
"""

import asyncio
import contextlib
import json
import urllib.parse
from pathlib import Path

PAGE = Path(__file__).with_name("chat.html").read_bytes()
MANY = 100  # messages that may wait for somebody who does not read

here = {}  # what waits for each, by their names


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await chat(scope, receive, send)
    elif scope["type"] == "http":
        found = scope["path"] == "/"
        kind = b"text/html; charset=utf-8" if found else b"text/plain"
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": PAGE if found else b"There is nothing here.\n"})
    else:
        raise NotImplementedError("no lifespan")  # nothing is to be made at the start


async def chat(scope, receive, send):
    await receive()  # websocket.connect
    query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"))
    name = query.get("name", [""])[0][:40]
    if not name or name in here:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000, "reason": "that name is taken" if name else "say your name"})
        return
    await send({"type": "websocket.accept"})
    here[name] = asyncio.Queue(MANY)
    writer = asyncio.ensure_future(write(here[name], send))
    try:
        tell_all("", name + " is here")
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                break
            tell_all(name, event.get("text") or "")
    finally:
        del here[name]
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await writer
        tell_all("", name + " has left")


def tell_all(name, text):
    """Nobody waits for the others: who is too slow misses something."""
    message = json.dumps({"from": name, "text": text[:4000], "here": sorted(here)})
    for queue in here.values():
        if not queue.full():
            queue.put_nowait(message)


async def write(queue, send):
    while True:
        await send({"type": "websocket.send", "text": await queue.get()})
