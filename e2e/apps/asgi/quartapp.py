"""What asgi_real_test.go asks of a framework, by Quart."""

import hashlib

from common import live, where
from quart import Quart, Response, redirect, request, send_file, url_for, websocket

app = Quart(__name__, static_folder=None)
app.config["MAX_CONTENT_LENGTH"] = None


@app.route("/hello")
async def hello():
    return "hello"


@app.route("/form", methods=["POST"])
async def form():
    return "got " + (await request.form)["message"]


@app.route("/raw", methods=["POST"])
async def raw():
    digest = hashlib.sha256()
    async for piece in request.body:
        digest.update(piece)
    return digest.hexdigest()


@app.route("/upload", methods=["POST"])
async def upload():
    f = (await request.files)["file"]
    return f.filename + " " + hashlib.sha256(f.read()).hexdigest()


@app.route("/stream")
def stream():
    return Response(("row %d\n" % i for i in range(1000)), mimetype="text/plain")


@app.route("/live")
async def streamed():
    return Response(live.rows(), mimetype="text/plain")


@app.route("/release")
async def release():
    return live.release()


@app.route("/outcome")
async def outcome():
    return live.ended


@app.route("/boom")
async def boom():
    raise ValueError("boom")


@app.route("/count")
async def count():
    n = int(request.cookies.get("n", 0)) + 1
    r = Response("%d times" % n)
    r.set_cookie("n", str(n))
    r.set_cookie("other", "x")
    return r


@app.route("/redirect")
async def away():
    return redirect(url_for("hello", _external=True))


@app.route("/static/<path:name>")
async def static_file(name):
    return await send_file(where(name))


@app.websocket("/ws")
async def echo():
    await websocket.accept(subprotocol=(websocket.requested_subprotocols or [None])[0])
    while True:
        await websocket.send("echo " + await websocket.receive())
