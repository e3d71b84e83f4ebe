"""Requests that a worker runs before it gets any, for what the first would import or compile. An
ASGI application does so in each worker, once it has started: what it makes belongs to its loop."""

import asyncio
from urllib.parse import unquote_to_bytes

from _hostler.asgi.messages import base_scope
from _hostler.log import report


async def warm_up(settings, app, state):
    """Run the requests, one after the other; their answers are thrown away."""
    for target in settings.get("warmup") or ():
        scope = scope_of(settings, target)
        if state is not None:
            scope["state"] = dict(state)
        try:
            await app(scope, Receive(), nothing)
        except Exception as e:
            report("GET", target, type(e), e, e.__traceback__)


def scope_of(settings, target, host="localhost"):
    path, _, query = target.partition("?")
    scope = base_scope(settings["listeners"][0])
    root = scope["root_path"]
    if root and not (path + "/").startswith(root + "/"):
        path = root + path
    scope.update(
        path=unquote_to_bytes(path).decode("utf-8", "replace"),
        raw_path=path.encode("latin-1", "replace"),
        query_string=query.encode("latin-1", "replace"),
        headers=[(b"host", host.encode("latin-1", "replace"))],
        client=("127.0.0.1", 0),
    )
    return scope


class Receive:
    """Gives an empty body, and says of the client that it has gone only to who listens for
    longer: a stream ends then."""

    def __init__(self):
        self.asked = False

    async def __call__(self):
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(1)
        return {"type": "http.disconnect"}


async def nothing(message):
    pass
