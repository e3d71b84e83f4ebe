"""Applications of all kinds, made in all ways."""

import asyncio
import functools


async def reply(send, text):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})


async def function(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ValueError("only HTTP")
    await reply(send, "asgi")


class Instance:
    def __init__(self, text="asgi"):
        self.text = text

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            raise ValueError("only HTTP")
        await reply(send, self.text)

    async def method(self, scope, receive, send):
        await self(scope, receive, send)


class Slots:
    """Not asynchronous itself: what it returns is."""

    def __call__(self, scope, receive, send):
        return function(scope, receive, send)


class Two:
    """ASGI 2: called with a scope, and then with the rest."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        if self.scope["type"] == "lifespan":
            raise ValueError("only HTTP")
        await reply(send, "asgi2")


def two(scope):
    return Two(scope)


def environ_first(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]


class Wsgi:
    def __call__(self, environ, start_response):
        return environ_first(environ, start_response)


instance = Instance()
method = instance.method
slots = Slots()
wsgi = Wsgi()
partial = functools.partial(function)


@functools.wraps(function)
def wrapped(*args):
    return function(*args)


def make():
    return function


async def make_later():
    await asyncio.sleep(0)
    return Instance("made on the loop")


def make_wsgi():
    return environ_first


async def events(scope, receive, send):
    yield "not an application"
