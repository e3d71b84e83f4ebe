"""What asgi_real_test.go asks of a framework, by Litestar."""

import hashlib

from common import live, where
from litestar import Litestar, MediaType, Request, Response, WebSocket, get, post, route, websocket
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import File, Redirect, Stream


@route("/hello", http_method=["GET", "HEAD"], media_type=MediaType.TEXT)
async def hello() -> str:
    return "hello"


@post("/form", status_code=200, media_type=MediaType.TEXT)
async def form(data: dict = Body(media_type=RequestEncodingType.URL_ENCODED)) -> str:  # noqa: B008
    return "got " + data["message"]


@post("/raw", status_code=200, media_type=MediaType.TEXT, request_max_body_size=None)
async def raw(request: Request) -> str:
    digest = hashlib.sha256()
    async for piece in request.stream():
        digest.update(piece)
    return digest.hexdigest()


@post("/upload", status_code=200, media_type=MediaType.TEXT)
async def upload(data: dict = Body(media_type=RequestEncodingType.MULTI_PART)) -> str:  # noqa: B008
    f: UploadFile = data["file"]
    return f.filename + " " + hashlib.sha256(await f.read()).hexdigest()


@get("/stream")
async def stream() -> Stream:
    return Stream(("row %d\n" % i for i in range(1000)), media_type="text/plain")


@get("/live")
async def streamed() -> Stream:
    return Stream(live.rows(), media_type="text/plain")


@get("/release", media_type=MediaType.TEXT)
async def release() -> str:
    return live.release()


@get("/outcome", media_type=MediaType.TEXT)
async def outcome() -> str:
    return live.ended


@get("/boom")
async def boom() -> str:
    raise ValueError("boom")


@get("/count", media_type=MediaType.TEXT)
async def count(request: Request) -> Response[str]:
    n = int(request.cookies.get("n", 0)) + 1
    r = Response("%d times" % n, media_type=MediaType.TEXT)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


@get("/redirect", sync_to_thread=False)
def away(request: Request) -> Redirect:
    return Redirect(str(request.base_url) + "hello")


@get("/static/{name:str}", sync_to_thread=True)
def static_file(name: str) -> File:
    return File(where(name))


@websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocols=(socket.scope["subprotocols"] or [None])[0])
    while True:
        await socket.send_text("echo " + await socket.receive_text())


app = Litestar([hello, form, raw, upload, stream, streamed, release, outcome, boom, count, away, static_file, echo])
