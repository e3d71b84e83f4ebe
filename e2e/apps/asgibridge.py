"""What a request's coroutine must find to be true, whatever steps it: GET /NAME answers "ok", or what is wrong."""

import asyncio
import contextvars
import os
import sys
import threading
import time

var = contextvars.ContextVar("var", default=None)
tasks = []
log = []


def note(text):
    """Into the error log, for the test to see."""
    os.write(2, ("asgibridge: %s\n" % text).encode())


async def current_task(scope, receive, send):
    task = asyncio.current_task()
    assert isinstance(task, asyncio.Task), task
    await asyncio.sleep(0)
    assert asyncio.current_task() is task and task in asyncio.all_tasks()
    assert task not in tasks
    tasks.append(task)


async def frames(scope, receive, send):
    task = asyncio.current_task()

    async def look():
        return [f.f_code.co_name for f in task.get_stack()], repr(task)

    names, text = await asyncio.create_task(look())
    assert names[:1] == ["app"], names
    assert "app()" in text, text


async def variables(scope, receive, send):
    assert var.get() is None, "another request's: %r" % var.get()
    var.set(scope["path"])
    await asyncio.sleep(0.001)
    assert var.get() == scope["path"]


async def wait_for(scope, receive, send):
    try:
        await asyncio.wait_for(asyncio.sleep(5), 0.01)
    except asyncio.TimeoutError:
        return
    raise AssertionError("no timeout")


async def wait_for_receive(scope, receive, send):
    message = await asyncio.wait_for(receive(), 5)
    assert message == {"type": "http.request", "body": b"", "more_body": False}, message
    for _ in range(3):
        try:
            await asyncio.wait_for(receive(), 0.01)
        except asyncio.TimeoutError:
            continue
        raise AssertionError("the client has not gone")


async def ensure_future(scope, receive, send):
    future = asyncio.ensure_future(receive())
    assert isinstance(future, asyncio.Task)
    assert (await future)["type"] == "http.request"


async def gather(scope, receive, send):
    message, _ = await asyncio.gather(receive(), asyncio.sleep(0))
    assert message["type"] == "http.request"


async def cancelled_receive(scope, receive, send):
    """One that is cancelled before it runs takes nothing away."""
    task = asyncio.ensure_future(receive())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (await receive())["type"] == "http.request"


async def cancel_waiting(scope, receive, send):
    await receive()
    task = asyncio.ensure_future(receive())
    await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    assert task.cancelled()


async def two_waiters(scope, receive, send):
    await receive()
    pair = [asyncio.ensure_future(receive()) for _ in range(2)]
    done, pending = await asyncio.wait(pair, timeout=0.01)
    assert not done and len(pending) == 2
    pair[0].cancel()
    await asyncio.wait(pair, return_when=asyncio.FIRST_COMPLETED)
    assert pair[0].cancelled() and not pair[1].done()
    pair[1].cancel()


async def listener(scope, receive, send):
    """Who waits for the client to go hears of the end of the response."""
    await receive()
    task = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    log.append(task)


async def listened(scope, receive, send):
    message = await asyncio.wait_for(log.pop(), 5)
    assert message == {"type": "http.disconnect"}, message


async def cancel_self(scope, receive, send):
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        return
    raise AssertionError("not cancelled")


async def group(scope, receive, send):
    if sys.version_info >= (3, 11):
        async with asyncio.TaskGroup() as g:
            a = g.create_task(asyncio.sleep(0.001, 1))
            b = g.create_task(asyncio.sleep(0, 2))
        assert a.result() + b.result() == 3
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            return
        raise AssertionError("no timeout")


async def thread(scope, receive, send):
    loop = asyncio.get_event_loop()
    assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
    assert threading.current_thread() is threading.main_thread()


async def subprocess(scope, receive, send):
    p = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate()
    assert out == b"hi\n", out


async def sockets(scope, receive, send):
    async def serve(r, w):
        w.write(await r.readline())
        await w.drain()
        w.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    r, w = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    w.write(b"x\n")
    assert await r.readline() == b"x\n"
    w.close()
    server.close()


async def later(scope, receive, send):
    loop = asyncio.get_event_loop()
    future = loop.create_future()
    began = time.monotonic()
    loop.call_later(0.05, future.set_result, 1)
    await future
    assert 0.045 < time.monotonic() - began < 2


async def other_thread(scope, receive, send):
    """Only the loop's thread may receive and send."""
    loop = asyncio.get_event_loop()

    def try_it():
        try:
            receive().send(None)
        except RuntimeError as e:
            return str(e)

    assert "event loop's thread" in await loop.run_in_executor(None, try_it)


async def wrong(scope, receive, send):
    for message, error, text in (
        ({"type": "http.response.body"}, RuntimeError, "before http.response.start"),
        ({"type": "http.response.start"}, ValueError, "no status"),
        ({"type": "http.response.start", "status": "200"}, TypeError, ""),
        ({"type": "http.response.start", "status": 100}, ValueError, "1xx"),
        ({"type": "http.response.start", "status": 99}, ValueError, "status"),
        ({"type": "http.response.start", "status": 200, "headers": [("a", "b")]}, TypeError, "must be bytes, not <class 'str'>"),
        ({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]}, ValueError, "control character"),
        ({"type": "http.response.start", "status": 200, "headers": [(b"a b", b"")]}, ValueError, "invalid header name: a b"),
        ({"type": "http.response.start", "status": 200, "headers": [b"ab"]}, TypeError, "pairs"),
        ({"type": "http.response.start", "status": 200, "headers": 7}, TypeError, ""),
        ({"type": "websocket.accept"}, RuntimeError, "no message that can be sent here"),
        ({"type": "http.response.debug"}, RuntimeError, "no message that can be sent here"),
        ({"type": 3}, TypeError, ""),
        ({}, ValueError, "type"),
        ([], TypeError, "dict"),
    ):
        try:
            await send(message)
        except error as e:
            assert text in str(e), (message, e)
            continue
        raise AssertionError("%r was taken" % message)


async def headers_of_any_kind(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": iter([[b"x-one", b"1"], (b"X-Two", b"2")])})
    try:
        await send({"type": "http.response.start", "status": 200})
    except RuntimeError as e:
        assert "a second time" in str(e)
    try:
        await send({"type": "http.response.body", "body": "text"})
    except TypeError as e:
        assert "must be bytes" in str(e)
    await send({"type": "http.response.body", "body": bytearray(b"o"), "more_body": True})
    await send({"type": "http.response.body", "body": memoryview(b"k")})
    try:
        await send({"type": "http.response.body", "body": b"more"})
    except RuntimeError as e:
        assert "after the end of the response" in str(e)
    assert (await receive())["type"] == "http.disconnect"


async def background(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
    await asyncio.sleep(0.2)
    note("the background work is done")


async def stray(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
    await asyncio.sleep(0.01)
    raise ValueError("raised behind the response")


async def raises(scope, receive, send):
    raise ValueError("meant")


async def raises_late(scope, receive, send):
    await asyncio.sleep(0.001)
    raise ValueError("meant, later")


async def cuts(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    raise ValueError("meant, in the middle")


async def silent(scope, receive, send):
    pass


async def half(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def head_first(scope, receive, send):
    """The head leaves when the step ends, not with the first of the body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-head", b"first")]})
    while not log:
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": log.pop()})


async def let_go(scope, receive, send):
    log.append(b"ok")


async def upload(scope, receive, send):
    n, more = 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request", message
        n += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"%d" % n})


async def state(scope, receive, send):
    assert scope["state"] == {"started": [1]}, scope["state"]
    scope["state"]["mine"] = 1
    scope["asgi"]["mine"] = scope["extensions"]["mine"] = 1


NAMED = {name: f for name, f in list(globals().items()) if asyncio.iscoroutinefunction(f)}
DONE = ("headers_of_any_kind", "background", "stray", "raises", "raises_late", "cuts", "silent", "half", "head_first", "upload")


async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["started"] = [1]
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    note("lifespan.shutdown")
    generators.append(generate())
    await generators[0].__anext__()
    await send({"type": "lifespan.shutdown.complete"})


generators = []


async def generate():
    try:
        yield
    finally:
        note("the generator ends")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    name = scope["path"][1:]
    if name in DONE:
        await NAMED[name](scope, receive, send)
        return
    body = b"ok"
    try:
        await NAMED[name](scope, receive, send)
    except BaseException as e:
        body = repr(e).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
