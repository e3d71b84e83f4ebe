"""What asgi_real_test.go asks of a framework, by FastAPI: half of it in the thread pool."""

import contextlib
import hashlib

from common import live, where
from fastapi import BackgroundTasks, FastAPI, File, Form, HTTPException, Request, Response, UploadFile, WebSocket
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, StreamingResponse


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"greeting": "hello"}


app = FastAPI(lifespan=lifespan, default_response_class=PlainTextResponse)


@app.api_route("/hello", methods=["GET", "HEAD"])
async def hello(request: Request):
    return request.state.greeting


@app.post("/form")
def form(message: str = Form()):
    return "got " + message


@app.post("/raw")
async def raw(request: Request):
    return hashlib.sha256(await request.body()).hexdigest()


@app.post("/upload")
async def upload(file: UploadFile = File(), comment: str = Form()):  # noqa: B008
    return file.filename + " " + hashlib.sha256(await file.read()).hexdigest()


@app.get("/stream")
def stream():
    return StreamingResponse(("row %d\n" % i for i in range(1000)), media_type="text/plain")


@app.get("/live")
async def streamed():
    return StreamingResponse(live.rows(), media_type="text/plain")


@app.get("/release")
async def release():
    return live.release()


@app.get("/outcome")
async def outcome():
    return live.ended


@app.get("/boom")
def boom():
    raise ValueError("boom")


@app.get("/count")
async def count(request: Request):
    n = int(request.cookies.get("n", 0)) + 1
    r = PlainTextResponse("%d times" % n)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


@app.get("/redirect")
def away(request: Request):
    return RedirectResponse(request.url_for("hello"))


@app.get("/static/{name}")
def static_file(name: str):
    try:
        open(where(name)).close()
    except OSError:
        raise HTTPException(404)
    return FileResponse(where(name))


@app.get("/later")
async def later(tasks: BackgroundTasks):
    tasks.add_task(setattr, live, "ended", "in the background")
    return "soon"


@app.get("/typed/{number}")
def typed(number: int, response: Response, q: str = "none"):
    response.headers["x-number"] = str(number)
    return "%d %s" % (number, q)


@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept(subprotocol=(websocket.scope["subprotocols"] or [None])[0])
    async for text in websocket.iter_text():
        await websocket.send_text("echo " + text)
