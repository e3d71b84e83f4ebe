"""What people have complained about with WebSockets elsewhere: see asgi_complaints_test.go."""

import asyncio
import threading


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        return  # hypercorn#315: without a word
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await globals()[scope["path"].strip("/")](receive, send)


async def echo(receive, send):
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send(dict(message, type="websocket.send"))


async def crowd(receive, send):
    """Many tasks send at once, to a client that does not read yet."""
    first = await receive()
    tasks = [asyncio.ensure_future(send({"type": "websocket.send", "text": "%03d" % i + "x" * 50000})) for i in range(200)]
    await asyncio.sleep(0)
    print("the crowd sends", first["text"], flush=True)
    await asyncio.gather(*tasks)
    await send({"type": "websocket.close"})


async def closer(receive, send):
    """One task closes what another waits for."""
    waits = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    await send({"type": "websocket.close", "code": 4000})
    print("closer: %(type)s %(code)d" % await waits, flush=True)


async def stranger(receive, send):
    """Another thread sends, on a loop of its own."""
    told = []

    async def tell():
        await send({"type": "websocket.send", "text": "from another thread"})

    def run():
        try:
            asyncio.run(tell())
        except Exception as e:
            told.append(type(e).__name__)

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    await send({"type": "websocket.send", "text": " ".join(told) or "sent"})
    await send({"type": "websocket.close"})
