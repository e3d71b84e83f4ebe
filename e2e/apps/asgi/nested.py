"""What runs the event loop inside its own steps, by nest_asyncio: as notebooks do, and code that
was written for them. WHEN: at import, or in the first request."""

import asyncio
import contextvars
import os

import nest_asyncio

if os.environ["WHEN"] == "import":
    nest_asyncio.apply()

var = contextvars.ContextVar("var", default=None)
waiting = []


def run(awaitable):
    """What plain functions are called for that cannot await."""
    return asyncio.get_event_loop().run_until_complete(awaitable)


async def whole(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def sleeps(scope, receive, send):
    task = asyncio.current_task()
    assert run(asyncio.sleep(0.01, 7)) == 7
    assert asyncio.run(asyncio.sleep(0, 8)) == 8
    assert asyncio.current_task() is task
    await asyncio.sleep(0.01)
    assert run(asyncio.sleep(0.01, 9)) == 9
    assert asyncio.current_task() is task
    return b"ok"


async def body(scope, receive, send):
    return b"%d" % len(run(whole(receive)))


async def waits(scope, receive, send):
    """Until another request comes, which is served meanwhile."""
    assert var.get() is None, var.get()
    var.set("mine")
    waiting.append(asyncio.get_event_loop().create_future())
    answer = run(waiting[-1])
    assert var.get() == "mine"
    return answer


async def go(scope, receive, send):
    assert var.get() is None, "leaked %r" % var.get()
    n = 0
    while waiting:
        waiting.pop().set_result(b"gone on")
        n += 1
    return b"%d" % n


async def own_task(scope, receive, send):
    """A task of the application's own nests."""

    async def work():
        return run(asyncio.sleep(0.01, b"by a task"))

    return await asyncio.get_event_loop().create_task(work())


async def raises(scope, receive, send):
    async def work():
        await asyncio.sleep(0)
        raise ValueError("meant, within")

    run(work())


async def stream(scope, receive, send):
    """It sends from within, more than a socket takes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for i in range(100):
        run(send({"type": "http.response.body", "body": b"x" * 100000, "more_body": True}))
    await send({"type": "http.response.body"})


async def websocket(scope, receive, send):
    await receive()
    run(send({"type": "websocket.accept"}))
    while True:
        message = run(receive())
        if message["type"] == "websocket.disconnect":
            return
        run(send({"type": "websocket.send", "text": message["text"]}))


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if os.environ["WHEN"] == "request":
        nest_asyncio.apply()
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    answer = await globals()[scope["path"][1:]](scope, receive, send)
    if answer is not None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})
