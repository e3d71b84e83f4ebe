"""Server-sent events by sse-starlette: /events, until the client goes or the server does."""

from common import live
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def events(request):
    async def rows():
        async for row in live.rows():
            yield {"event": "row", "data": row.decode().strip()}

    return EventSourceResponse(rows(), ping=3600)


async def release(request):
    return PlainTextResponse(live.release())


async def outcome(request):
    return PlainTextResponse(live.ended)


app = Starlette(routes=[Route("/events", events), Route("/release", release), Route("/outcome", outcome)])
