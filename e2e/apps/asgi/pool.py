"""A pool of connections to a database, as asyncpg's: a connection whose query is cancelled is
in the middle of its protocol, and lost."""

import asyncio
import contextlib

SIZE = 4


class Connection:
    def __init__(self):
        self.busy = self.broken = False

    async def query(self):
        assert not self.busy and not self.broken, "the connection is in the middle of something"
        self.busy = True
        try:
            await asyncio.sleep(0.005)  # the database's answer
        except BaseException:
            self.broken = True
            raise
        self.busy = False


class Pool:
    def __init__(self):
        self.all = [Connection() for _ in range(SIZE)]
        self.free = list(self.all)
        self.room = asyncio.Semaphore(SIZE)
        self.done = 0

    @contextlib.asynccontextmanager
    async def connection(self):
        async with self.room:
            connection = self.free.pop()
            try:
                yield connection
            finally:
                self.free.append(connection)
                self.done += 1


pool = None


async def app(scope, receive, send):
    global pool
    if scope["type"] == "lifespan":
        await receive()
        pool = Pool()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    await PAGES[scope["path"]](send)


async def start(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def body(send, data, more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def query(send):
    """A transaction before the response."""
    async with pool.connection() as c:
        await c.query()
        await c.query()
    await start(send)
    await body(send, b"done")


async def rows(send):
    """What is read is sent on while the connection is held."""
    async with pool.connection() as c:
        await start(send)
        for _ in range(200):
            await c.query()
            await body(send, b"row\n", True)
        await body(send, b"")


async def state(send):
    broken = sum(c.broken or c.busy for c in pool.all)
    await start(send)
    await body(send, b"%d free, %d broken, %d done" % (len(pool.free), broken, pool.done))


PAGES = {"/query": query, "/rows": rows, "/state": state}
