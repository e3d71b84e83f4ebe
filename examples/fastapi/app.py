"""A small FastAPI application: coroutines, a function in the thread pool, an upload, a stream
of events.

    hostler --chdir examples/fastapi app
"""

import asyncio
import contextlib
import hashlib
import os
import time

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse

PAGE = """<!doctype html>
<title>FastAPI on hostler</title>
<h1>FastAPI on hostler</h1>
<p>Worker {pid} has been up for {age:.0f} s. <a href="/docs">What it understands</a>.</p>
<p>It is <output id="clock">…</output>.</p>
<p><input type="file" id="file"> <output id="digest"></output></p>
<script>
new EventSource("/clock").onmessage = (e) => clock.textContent = e.data;
file.onchange = async () => {{
  const answer = await fetch("/digest", {{method: "POST", body: file.files[0]}});
  digest.textContent = JSON.stringify(await answer.json());
}};
</script>
"""


@contextlib.asynccontextmanager
async def lifespan(app):
    """Runs in each worker: what is yielded is request.state's. A pool of connections would be
    made here, and closed behind the yield."""
    yield {"started": time.monotonic()}


app = FastAPI(title="hostler's example", lifespan=lifespan)


@app.get("/", response_class=HTMLResponse)
async def index(request: Request):
    return PAGE.format(pid=os.getpid(), age=time.monotonic() - request.state.started)


@app.get("/squares/{n}")
async def square(n: int):
    return {"n": n, "square": n * n}


@app.get("/sleep")
def sleep(seconds: float = 0.1):
    """A plain function: it runs in the thread pool, and may wait."""
    time.sleep(min(seconds, 10))
    return {"slept": seconds}


@app.post("/digest")
async def digest(request: Request):
    """Reads the body as it comes, however large it is."""
    sha256, size = hashlib.sha256(), 0
    async for piece in request.stream():
        sha256.update(piece)
        size += len(piece)
    return {"sha256": sha256.hexdigest(), "bytes": size}


async def ticks(request):
    """Until the client goes, or the server does: both are told as a disconnect."""
    while not await request.is_disconnected():
        yield "data: " + time.strftime("%H:%M:%S") + "\n\n"
        await asyncio.sleep(1)


@app.get("/clock")
async def clock(request: Request):
    return StreamingResponse(ticks(request), media_type="text/event-stream")
