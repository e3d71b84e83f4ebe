"""FastAPI: an endpoint on the loop, one in the thread pool, a stream."""

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
MESSAGE = {"message": "Hello, World!", "n": 42}


@app.get("/")
async def index():
    return "ready"


@app.get("/json")
async def asynchronous():
    return MESSAGE


@app.get("/sync")
def synchronous():
    return MESSAGE


async def pieces():
    for _ in range(10):
        yield b"x" * 100


@app.get("/stream")
async def stream():
    return StreamingResponse(pieces(), media_type="text/plain")
