"""Bodies from files, and fields behind them: /KIND?PARTS. PARTS: late (the head leaves first,
without a length), length."""

import asyncio
import os
import resource
import tempfile
from pathlib import Path

TEXT = b"".join(b"%07d\n" % i for i in range(100000))
DIR = Path(tempfile.mkdtemp())
BIG = DIR / "big"
BIG.write_bytes(TEXT)
EMPTY = DIR / "empty"
EMPTY.touch()
HOLE = DIR / "hole"
with open(HOLE, "wb") as hole:
    hole.truncate(300000)
HUGE = DIR / "huge"
with open(HUGE, "wb") as huge:
    huge.truncate(1 << 30)


async def begin(scope, send, size, **more):
    how = scope["query_string"].decode().split(",")
    headers = [(b"content-length", b"%d" % size)] if "length" in how else []
    await send({"type": "http.response.start", "status": 200, "headers": headers, **more})
    if "late" in how:
        await asyncio.sleep(0.05)


async def body(send, data=b"", more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def path(scope, receive, send):
    name = {"big": BIG, "empty": EMPTY, "hole": HOLE, "huge": HUGE, "proc": "/proc/version", "dir": DIR, "missing": DIR / "none"}[
        scope["path"].split("/")[2]
    ]
    try:
        await begin(scope, send, os.path.getsize(BIG))
        await send({"type": "http.response.pathsend", "path": str(name)})
    except OSError as e:
        await body(send, type(e).__name__.encode())


async def part(scope, receive, send):
    """Parts of a file, and other bytes between them."""
    await begin(scope, send, 2 + 16 + 1 + 8 + 8)
    with open(BIG, "rb", buffering=0) as f:
        await body(send, b"a:", True)
        await send({"type": "http.response.zerocopysend", "file": f, "offset": 80, "count": 16, "more_body": True})
        await body(send, b":", True)
        f.seek(160)
        await send({"type": "http.response.zerocopysend", "file": f, "count": 8, "more_body": True})
        assert f.tell() == 168
        await send({"type": "http.response.zerocopysend", "file": f.fileno(), "count": 8})


async def rest(scope, receive, send):
    """From somewhere to the end."""
    await begin(scope, send, len(TEXT) - 8)
    with open(BIG, "rb") as f:
        await send({"type": "http.response.zerocopysend", "file": f, "offset": 8})


async def many(scope, receive, send):
    """A client that does not read makes this wait, with few descriptors."""
    await begin(scope, send, 0)
    most = 0
    with open(HUGE, "rb") as f:
        for i in range(10000):
            sent = asyncio.ensure_future(send({"type": "http.response.zerocopysend", "file": f, "offset": 0, "count": 1 << 20, "more_body": True}))
            done, _ = await asyncio.wait([sent], timeout=1)
            most = max(most, len(os.listdir("/proc/self/fd")))
            if not done:
                break
    global last
    last = b"%d parts, %d descriptors" % (i, most)
    sent.cancel()


last = b""


async def seen(scope, receive, send):
    await begin(scope, send, 0)
    await body(send, last)


async def wrong(scope, receive, send):
    """What zerocopysend does not take, is said before anything is sent."""
    read, write = os.pipe()
    names = []
    await begin(scope, send, 0)
    for message in (
        {"file": read},
        {"file": 12345},
        {"file": "text"},
        {"file": read, "offset": -1},
        {"file": read, "count": "1"},
        {},
    ):
        try:
            await send({"type": "http.response.zerocopysend", **message})
        except Exception as e:
            names.append(type(e).__name__)
    os.close(read), os.close(write)
    await body(send, " ".join(names).encode())


async def trailers(scope, receive, send):
    how = scope["path"].split("/")[2]
    await send({"type": "http.response.start", "status": 200, "trailers": True, "headers": [(b"trailer", b"x-sum, x-more")]})
    if how == "parts":
        await body(send, b"one ", True)
        await asyncio.sleep(0.02)
    if how == "file":
        await send({"type": "http.response.zerocopysend", "file": os.open(BIG, os.O_RDONLY), "count": 8})
    else:
        await body(send, b"" if how == "empty" else b"two")
    if how == "none":
        return await send({"type": "http.response.trailers", "headers": []})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"3")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [[b"x-more", b"yes"], (b"connection", b"close")]})


async def badtrailers(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "trailers": True})
    await body(send, b"x")
    names = []
    for message in ({"type": "http.response.body", "body": b"y"}, {"type": "http.response.trailers", "headers": [(b"a", b"b\r\nc: d")]}):
        try:
            await send(message)
        except Exception as e:
            names.append(type(e).__name__)
    await send({"type": "http.response.trailers", "headers": [(b"x-names", " ".join(names).encode())]})


async def memory(scope, receive, send):
    await begin(scope, send, 0)
    await body(send, b"%d" % resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


async def extensions(scope, receive, send):
    await begin(scope, send, 0)
    await body(send, " ".join(sorted(scope["extensions"])).encode())


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await globals()[scope["path"].split("/")[1]](scope, receive, send)
