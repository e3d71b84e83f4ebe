"""What a request's coroutine must find true, whatever steps it: GET /NAME answers "ok" or what is
wrong, GET / the names."""

import asyncio
import contextlib
import contextvars
import gc
import queue
import random
import sys
import threading
import time
import weakref

var = contextvars.ContextVar("var", default=None)
tasks = []

# Many applications do this: what they get belongs to the loop that will run, before Python 3.10 locks, too.
at_import = asyncio.get_event_loop()
lock, begun = asyncio.Lock(), asyncio.Event()


async def begin():
    begun.set()


beginning = at_import.create_task(begin())


async def task(receive, send):
    "A real Task, another one for each request."
    t = asyncio.current_task()
    assert isinstance(t, asyncio.Task), t
    await asyncio.sleep(0)
    assert asyncio.current_task() is t and t in asyncio.all_tasks()
    assert t not in tasks
    tasks.append(t)
    del tasks[:-50]


async def variables(receive, send):
    "Context variables are the request's own."
    assert var.get() is None, "leaked %r" % var.get()
    var.set("mine")
    await asyncio.sleep(0.001)
    assert var.get() == "mine"
    assert await asyncio.get_running_loop().create_task(child()) == "mine"
    await receive()
    assert var.get() == "mine"


async def child():
    return var.get()


async def imported(receive, send):
    "The loop that there was while this module was imported."
    assert at_import is asyncio.get_running_loop()
    await asyncio.wait_for(begun.wait(), 30)
    held = []

    async def hold():
        async with lock:
            held.append(asyncio.current_task())
            await asyncio.sleep(0.001)

    await asyncio.gather(hold(), hold())
    assert len(held) == 2
    assert await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "there"), at_import)) == "there"


async def wait_for(receive, send):
    with expected(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(5), 0.01)


async def timeout(receive, send):
    if sys.version_info < (3, 11):
        return
    with expected(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)
    with expected(TimeoutError):
        async with asyncio.timeout(0.01):
            await whole(receive)
            await receive()


async def group(receive, send):
    if sys.version_info < (3, 11):
        return
    async with asyncio.TaskGroup() as g:
        a, b = g.create_task(asyncio.sleep(0.001, 1)), g.create_task(asyncio.sleep(0, 2))
    assert a.result() + b.result() == 3


async def cancel_self(receive, send):
    asyncio.current_task().cancel()
    with expected(asyncio.CancelledError):
        await asyncio.sleep(1)


async def executor(receive, send):
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
    assert threading.current_thread() is threading.main_thread()


async def threadsafe(receive, send):
    "Another thread may wake the loop."
    loop, f = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    threading.Timer(0.01, loop.call_soon_threadsafe, (f.set_result, 7)).start()
    assert await asyncio.wait_for(f, 10) == 7
    done = []
    t = threading.Thread(target=lambda: done.append(asyncio.run_coroutine_threadsafe(child(), loop).result(10)))
    t.start()
    while t.is_alive():
        await asyncio.sleep(0.005)
    assert done == [None], done


async def woken(receive, send):
    "No call from another thread is missed, whenever it comes: the loop may wait, be about to, or be busy."
    loop, rounds = asyncio.get_running_loop(), 1000
    calls = queue.SimpleQueue()

    def caller():
        for f in iter(calls.get, None):
            for _ in range(random.randrange(300)):
                pass
            loop.call_soon_threadsafe(lambda f=f: f.done() or f.set_result(None))

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for i in range(rounds):
            all_of = [loop.create_future() for _ in range(1 + i % 3)]
            for f in all_of:
                calls.put(f)
            if i % 4 == 0:
                await asyncio.sleep(0)
            elif i % 4 == 1:
                time.sleep(0.0001)
            await asyncio.wait_for(asyncio.gather(*all_of), 20)
    finally:
        for t in threads:
            calls.put(None)
    for t in threads:
        t.join()


async def subprocess(receive, send):
    p = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate()
    assert out == b"hi\n" and p.returncode == 0, (out, p.returncode)


async def connection(receive, send):
    async def echo(r, w):
        w.write(await r.readline())
        await w.drain()
        w.close()

    s = await asyncio.start_server(echo, "127.0.0.1", 0)
    r, w = await asyncio.open_connection(*s.sockets[0].getsockname()[:2])
    w.write(b"x\n")
    assert await r.readline() == b"x\n"
    w.close()
    s.close()


async def timer(receive, send):
    loop = asyncio.get_running_loop()
    f, t = loop.create_future(), time.monotonic()
    loop.call_later(0.05, f.set_result, 1)
    await f
    assert time.monotonic() - t >= 0.045, time.monotonic() - t


async def signal(receive, send):
    import os
    import signal

    loop, f = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    loop.add_signal_handler(signal.SIGUSR2, lambda: f.done() or f.set_result(1))
    os.kill(os.getpid(), signal.SIGUSR2)
    try:
        await asyncio.wait_for(f, 10)
    finally:
        loop.remove_signal_handler(signal.SIGUSR2)


async def anyio(receive, send):
    try:
        import anyio
    except ImportError:
        return
    assert await anyio.to_thread.run_sync(lambda: 7) == 7
    async with anyio.create_task_group() as g:
        g.start_soon(anyio.sleep, 0.001)
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(5)
    assert scope.cancelled_caught if hasattr(scope, "cancelled_caught") else scope.cancel_called
    await whole(receive)
    with anyio.move_on_after(0.05) as scope:
        await receive()
    assert scope.cancel_called
    with anyio.move_on_after(10) as scope:
        async with anyio.create_task_group() as g:  # Starlette's way of streaming below 2.4
            g.start_soon(listen, receive, scope)
            await anyio.sleep(0.01)
            g.cancel_scope.cancel()


async def listen(receive, scope):
    await receive()


async def anyio_threads(receive, send):
    "The thread pool's threads are used again."
    try:
        import anyio
    except ImportError:
        return
    seen = {await anyio.to_thread.run_sync(threading.get_ident) for _ in range(20)}
    used = anyio.to_thread.seen = getattr(anyio.to_thread, "seen", set()) | seen
    assert len(used) < 60, len(used)


async def whole(receive):
    while (await receive()).get("more_body"):
        pass


async def ensure(receive, send):
    assert (await asyncio.ensure_future(receive()))["type"] == "http.request"


async def create_task(receive, send):
    assert (await asyncio.get_running_loop().create_task(receive()))["type"] == "http.request"


async def gather(receive, send):
    m, _ = await asyncio.gather(receive(), asyncio.sleep(0))
    assert m["type"] == "http.request"


async def receive_timeout(receive, send):
    "A wait that is given up is over, and the next one works."
    await whole(receive)
    for _ in range(3):
        with expected(asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 0.01)


async def receive_cancel(receive, send):
    await whole(receive)
    t = asyncio.ensure_future(receive())
    await asyncio.sleep(0.005)
    assert not t.done()
    t.cancel()
    with expected(asyncio.CancelledError):
        await t
    assert t.cancelled()


async def receive_cancel_message(receive, send):
    "Whoever cancels is known by the message."
    await whole(receive)
    if sys.version_info < (3, 9):
        return

    async def listen():
        try:
            await receive()
        except asyncio.CancelledError as e:
            return e.args

    for message, args in (("by hand", ("by hand",)), (("a", "b"), (("a", "b"),)), (None, ())):
        t = asyncio.ensure_future(listen())
        await asyncio.sleep(0.005)
        t.cancel(message)
        assert await t == args, t.result()


async def receive_twice(receive, send):
    "Two waiters at once."
    await whole(receive)
    a, b = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
    await asyncio.sleep(0.005)
    assert not a.done() and not b.done()
    a.cancel()
    with expected(asyncio.CancelledError):
        await a
    await asyncio.sleep(0.005)
    assert not b.done()
    b.cancel()
    with expected(asyncio.CancelledError):
        await b


async def receive_unawaited(receive, send):
    "A receive() that nobody awaits takes nothing away, and is not a warning."
    a = receive()
    a.close() if hasattr(a, "close") else None
    m = await receive()
    assert m["type"] == "http.request" and m["body"] == b"" and not m.get("more_body"), m


async def shielded(receive, send):
    await whole(receive)
    t = asyncio.ensure_future(receive())
    with expected(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(t), 0.01)
    assert not t.done()
    t.cancel()
    with expected(asyncio.CancelledError):
        await t


async def send_task(receive, send):
    start = {"type": "http.response.start", "status": 200, "headers": []}
    await asyncio.get_running_loop().create_task(send(start))
    await asyncio.gather(send({"type": "http.response.body", "body": b"o", "more_body": True}))
    await send({"type": "http.response.body", "body": b"k"})
    return "sent"


async def factory(receive, send):
    "A task factory, as Sentry and debuggers set one."
    loop, made = asyncio.get_running_loop(), []

    def make(loop, coro, **kw):
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **kw)

    loop.set_task_factory(make)
    try:
        await loop.create_task(child())
        r, w = await asyncio.open_connection(*SERVER)
        w.write(b"GET /task HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await r.read()
        w.close()
    finally:
        loop.set_task_factory(None)
    assert b"ok" in answer.split(b"\r\n\r\n")[1], answer


async def stack(receive, send):
    "Tools see the application's frames."
    frames = [f.f_code.co_name for f in asyncio.current_task().get_stack()]
    assert frames or sys.version_info < (3, 8)
    t = asyncio.ensure_future(hanging())
    await asyncio.sleep(0)
    assert "hanging" in [f.f_code.co_name for f in t.get_stack()]
    t.cancel()


async def hanging():
    await asyncio.sleep(60)


async def generator(receive, send):
    "An asynchronous generator that is left is closed by the loop."
    closed = asyncio.Event()

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    async for _ in numbers():
        break
    gc.collect()
    await asyncio.wait_for(closed.wait(), 10)


class Thing:
    pass


left = []


async def garbage(receive, send):
    "What a request holds goes with it, without the collector."
    alive = [r for r in left if r() is not None]
    assert len(alive) <= 1, "%d of %d alive" % (len(alive), len(left))
    thing = Thing()
    left.append(weakref.ref(thing))
    await asyncio.sleep(0)
    await receive()
    assert thing


@contextlib.contextmanager
def expected(kind):
    try:
        yield
    except kind:
        return
    raise AssertionError("no %s" % kind.__name__)


async def start_and_end(receive, send):
    while True:
        m = await receive()
        await send({"type": m["type"] + ".complete"})
        if m["type"] == "lifespan.shutdown":
            return


CHECKS = {f.__name__: f for f in (task, variables, imported, wait_for, timeout, group, cancel_self, executor, threadsafe, woken, subprocess, connection,
          timer, signal, anyio, anyio_threads, ensure, create_task, gather, receive_timeout, receive_cancel, receive_cancel_message, receive_twice,
          receive_unawaited, shielded, send_task, factory, stack, generator, garbage)}  # fmt: skip
SERVER = ("", 0)


async def app(scope, receive, send):
    global SERVER
    if scope["type"] == "lifespan":
        return await start_and_end(receive, send)
    SERVER = scope["server"]
    name, sent = scope["path"][1:], None
    try:
        if name:
            sent = await CHECKS[name](receive, send)
        body = b"ok" if name else " ".join(CHECKS).encode()
    except BaseException as e:
        body = ascii(e).encode() or b"?"
    if not sent:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})
