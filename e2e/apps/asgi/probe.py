"""Shows an application's side of ASGI: each request notes in the file PROBE what it was told,
a line of JSON each."""

import asyncio
import contextlib
import gc
import json
import linecache
import os
import signal
import sys
import threading
import time

LOG = os.environ.get("PROBE", os.devnull)
LIFESPAN = os.environ.get("PROBE_LIFESPAN", "")
if os.path.exists(LOG + ".lifespan"):  # of this generation
    with open(LOG + ".lifespan") as f:
        LIFESPAN = f.read()


def note(event, **more):
    """One write, so that workers do not mix their lines."""
    with open(LOG, "ab", 0) as f:
        f.write(json.dumps(dict(more, event=event, pid=os.getpid(), at=time.time()), default=repr).encode() + b"\n")


def note_error(event, e):
    note(event, error=type(e).__name__, kinds=[c.__name__ for c in type(e).__mro__], text=str(e))


def plain(value):
    """As JSON has it, with what would be lost written out."""
    if isinstance(value, bytes):
        return "bytes:" + value.decode("latin1")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if value is None or isinstance(value, (int, str)) else "a " + type(value).__name__


async def start(send, status=200, headers=((b"content-type", b"text/plain"),)):
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send, data=b"", more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def answer(send, data):
    await start(send)
    await body(send, data)


async def told(receive, event):
    """Notes when the client's leaving is told."""
    while (await receive())["type"] != "http.disconnect":
        pass
    note(event)


async def scope(scope, receive, send):
    """The scope as it came."""
    await answer(send, json.dumps(plain({k: v for k, v in scope.items() if k != "state"})).encode())


async def state(scope, receive, send):
    """What lifespan left; what a request adds is its own."""
    before = sorted(scope["state"])
    scope["state"]["mine"] = True
    scope["state"]["shared"].append(len(scope["state"]["shared"]))
    await answer(send, json.dumps([before, len(scope["state"]["shared"])]).encode())


async def wait(scope, receive, send):
    """Answers nothing: listens."""
    note("waiting")
    await told(receive, "disconnect")


async def later(scope, receive, send):
    """Does not listen until it is told to: receive() then knows, and send() fails."""
    note("waiting")
    await asyncio.sleep(0.3)
    await told(receive, "disconnect")
    await told(receive, "disconnect again")
    try:
        await answer(send, b"too late")
        note("sent")
    except OSError as e:
        note_error("send", e)


async def before(scope, receive, send):
    """The client leaves before the response begins, and nobody listens."""
    note("waiting")
    await asyncio.sleep(0.3)
    try:
        await start(send)
        for _ in range(1000):
            await body(send, b"x" * 1000, True)
            await asyncio.sleep(0.01)
        note("sent")
    except OSError as e:
        note_error("send", e)
        raise


async def upload(scope, receive, send):
    n = 0
    while True:
        m = await receive()
        if m["type"] == "http.disconnect":
            return note("upload disconnect", got=n)
        n += len(m["body"])
        if n and not m.get("more_body"):
            break
        note("upload begun", got=n)
    await answer(send, b"%d" % n)


async def listening(scope, receive, send):
    """A stream that is told by receive(), and does not send meanwhile."""
    await start(send)
    await body(send, b"begun\n", True)
    await told(receive, "stream disconnect")


async def sending(scope, receive, send):
    """A stream that does not listen: send() has to fail."""
    await start(send)
    n = 0
    try:
        for n in range(2000):
            await body(send, b"data\n", True)
            await asyncio.sleep(0.01)
        note("sent all")
    except BaseException as e:
        note_error("stream send", e)
        raise


async def download(scope, receive, send):
    """A response of a known length, in pieces, that nobody waits for the end of."""
    await start(send, headers=[(b"content-length", b"20")])
    for i in range(10):
        await body(send, b"ab", i < 9)
        await asyncio.sleep(0.2)


async def silent(scope, receive, send):
    """A stream that neither listens nor sends, as one that waits for a token."""
    await start(send)
    await body(send, b"begun\n", True)
    try:
        await asyncio.sleep(20)
        note("silent end")
    except asyncio.CancelledError as e:
        note_error("silent cancelled", e)
        raise


async def background(scope, receive, send):
    """Works on after its last byte, whether or not the client is there."""
    await answer(send, b"ok")
    note("background begun")
    try:
        await asyncio.sleep(1.5)
        note("background done")
    except BaseException as e:
        note_error("background", e)
        raise


async def flood(scope, receive, send):
    """Sends until a send() has waited for a second."""
    await start(send)
    n = 0
    try:
        for n in range(3200):
            await asyncio.wait_for(body(send, b"x" * 65536, True), 1)
        await body(send, b"")
    except asyncio.TimeoutError:
        note("flood waits", sent=n * 65536)
        return
    except OSError as e:
        return note_error("flood", e)
    note("flood never waits", sent=n * 65536)


async def deaf(scope, receive, send):
    """Receives nothing of its body for a while."""
    note("deaf")
    await asyncio.sleep(3)
    n = 0
    while True:
        m = await receive()
        n += len(m.get("body", b""))
        if m["type"] == "http.disconnect" or not m.get("more_body"):
            break
    note("deaf read", got=n)
    await answer(send, b"%d" % n)


async def duplex(scope, receive, send):
    """Answers each piece of the body as it comes."""
    await start(send)
    while True:
        m = await receive()
        if m["type"] == "http.disconnect":
            return
        await body(send, m["body"].upper(), m.get("more_body", False))
        if not m.get("more_body", False):
            return


async def block(scope, receive, send):
    """Holds the loop, in a step of its own or, where the path says so, in a callback: for
    some seconds, or until there is a file."""

    def hold():
        note("blocking")
        until = time.monotonic() + float(scope["query_string"] or b"60")
        while time.monotonic() < until and not os.path.exists(LOG + ".free"):
            time.sleep(0.01)
        note("blocked")

    if scope["path"].endswith("/callback"):
        asyncio.get_running_loop().call_later(0.05, hold)
    else:
        hold()
    await answer(send, b"blocked")


async def spin(scope, receive, send):
    """Holds the loop in Python code, once it has said what QUERY wants: nothing, the begin of a
    response, all of it (and goes on behind it), or in a callback."""
    what = scope["query_string"]
    if what == b"begun":
        await start(send)
        await body(send, b"begun", True)
    elif what == b"behind":
        await answer(send, b"answered")
        await asyncio.sleep(0)
    elif what == b"callback":
        asyncio.get_running_loop().call_later(0.05, spun)
        return await answer(send, b"answered")
    spun()


def spun():
    note("spins")
    try:
        for _ in range(6000):
            time.sleep(0.01)
    except BaseException as e:
        note_error("spin ended", e)
        raise


async def sse(scope, receive, send):
    """A stream that ends when it is told."""
    await start(send, headers=[(b"content-type", b"text/event-stream")])
    gone = asyncio.ensure_future(told(receive, "sse told"))
    while not gone.done():
        await body(send, b"data: x\n\n", True)
        await asyncio.wait([gone], timeout=0.1)
    await body(send)
    note("sse ends")


async def executor(scope, receive, send):
    """A job in the executor goes on after the response."""

    def job():
        time.sleep(1.5)
        note("executor done")

    asyncio.get_running_loop().run_in_executor(None, job)
    await answer(send, b"ok")


async def slow(scope, receive, send):
    """Is answered after a while."""
    note("slow begun")
    try:
        if scope["path"].endswith("/until"):  # there is a file
            while not os.path.exists(LOG + ".enough"):
                await asyncio.sleep(0.2)
        else:
            await asyncio.sleep(float(scope["query_string"] or b"1"))
    except asyncio.CancelledError as e:
        note_error("slow cancelled", e)
        raise
    await answer(send, b"slow")
    note("slow answered")


async def headers(scope, receive, send):
    await start(send, 201, [(b"x-twice", b"a"), (b"x-twice", b"b"), (b"X-Case", b"kept \xe9"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    await body(send, b"made")


async def wrong(scope, receive, send):
    """What an application must not do; QUERY says what. Notes what came of it."""
    what = scope["query_string"].decode().replace("%20", " ")
    try:
        if what == "body first":
            await body(send, b"x")
        elif what == "start twice":
            await start(send)
            await start(send)
        elif what == "text":
            await start(send)
            await body(send, "text")
        elif what == "unknown":
            await send({"type": "http.response.unknown"})
        elif what == "no status":
            await send({"type": "http.response.start"})
        elif what == "injection":
            await start(send, headers=[(b"x-a", b"b\r\nx-c: d")])
        elif what == "nothing":
            return
        elif what == "start alone":
            return await start(send)
        elif what == "cut":
            await start(send, headers=[(b"content-length", b"10")])
            return await body(send, b"half")
        elif what == "too long":
            await start(send, headers=[(b"content-length", b"4")])
            await body(send, b"longer")
        elif what == "after":
            await answer(send, b"ok")
            await body(send, b"more")
        note("wrong", what=what, error="none")
    except Exception as e:
        note_error("wrong", e)
        raise


async def raises(scope, receive, send):
    if scope["query_string"] == b"later":
        await start(send)
        await body(send, b"begun\n", True)
    raise ValueError("meant")


async def pid(scope, receive, send):
    await answer(send, b"%d" % os.getpid())


async def stack(scope, receive, send):
    """Where all tasks are, as asyncio knows it."""
    out = []
    for task in asyncio.all_tasks():
        out += [frame.f_code.co_name for frame in task.get_stack()]
    await answer(send, " ".join(out).encode())


async def level(scope, receive, send):
    """What would grow if something were lost: blocks of memory, descriptors, threads, tasks."""
    linecache.clearcache()  # a rare traceback leads through a file that none has before
    gc.collect()
    held = [sys.getallocatedblocks(), len(os.listdir("/proc/self/fd")), threading.active_count(), len(asyncio.all_tasks())]
    await answer(send, " ".join(map(str, held)).encode())


REQUESTS = {f.__name__: f for f in (scope, state, wait, later, before, upload, listening, sending, download, silent, background, flood, deaf,
            duplex, block, spin, sse, executor, slow, headers, wrong, raises, pid, stack, level)}  # fmt: skip


async def hangs(how):
    """Waits for what does not come, and knows several ways to be cancelled."""
    if how == "blocks":
        time.sleep(3600)
    if how == "handles, exits":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        note("handles")
        how = "cleans"
    elif how.startswith("handles"):
        await handles(how)
    while how in ("hangs", "swallows", "cleans"):
        try:
            async with connection():
                pass
        except asyncio.CancelledError as e:
            note_error("cancelled", e)
            if how == "cleans":  # for longer than a worker has that says nothing
                await asyncio.sleep(2.5)
                note("cleaned")
            if how != "swallows":
                raise


async def handles(how):
    """Has a handler of its own for SIGTERM, takes its time to clean up, and then goes on or gives up;
    or does not listen to it."""
    told, loop = asyncio.Event(), asyncio.get_event_loop()
    if "signal()" in how:
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(told.set))
    else:
        loop.add_signal_handler(signal.SIGTERM, told.set)
    note("handles")
    await told.wait()
    note("told")
    try:
        await asyncio.sleep(3600 if "goes on" in how else 3)  # for longer than a worker has that says nothing
    except asyncio.CancelledError as e:
        note_error("cancelled", e)
        raise
    note("cleaned")


@contextlib.asynccontextmanager
async def connection():
    await asyncio.ensure_future(connects())
    yield


async def connects():
    await asyncio.sleep(3600)


async def lifespan(scope, receive, send):
    if LIFESPAN == "raise":
        raise RuntimeError("no lifespan here")
    assert (await receive())["type"] == "lifespan.startup"
    note("startup", thread=threading.current_thread() is threading.main_thread())
    if LIFESPAN == "failed":
        return await send({"type": "lifespan.startup.failed", "message": "the database is down"})
    if LIFESPAN == "raise later":
        raise RuntimeError("broke in startup")
    if LIFESPAN == "slow":
        await asyncio.sleep(1)
    await hangs(LIFESPAN)
    if "gives up" in LIFESPAN:
        return await send({"type": "lifespan.startup.failed", "message": "it was told to leave"})
    if "state" in scope:
        scope["state"]["shared"] = []
    await send({"type": "lifespan.startup.complete"})
    if LIFESPAN == "dies":
        await asyncio.sleep(0.5)
        raise RuntimeError("lifespan died")
    try:
        assert (await receive())["type"] == "lifespan.shutdown"
    except BaseException as e:
        note_error("lifespan", e)
        raise
    note("shutdown")
    if LIFESPAN == "shutdown gathers":
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for t in others:
            t.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)
        note("gathered")
    if LIFESPAN == "shutdown raises":
        raise RuntimeError("broke in shutdown")
    if LIFESPAN == "shutdown failed":
        return await send({"type": "lifespan.shutdown.failed", "message": "cannot say goodbye"})
    if LIFESPAN == "shutdown slow":
        await asyncio.sleep(7)
        note("shutdown done")
    await hangs(LIFESPAN[len("shutdown ") :])
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    if scope["type"] == "websocket":
        import sockets

        return await sockets.app(scope, receive, send)
    root, path = scope.get("root_path", ""), scope["path"]
    handler = REQUESTS.get((path[len(root) :] if root and path.startswith(root) else path).split("/")[1])
    if handler is None:
        return await answer(send, b"hello")
    await handler(scope, receive, send)
