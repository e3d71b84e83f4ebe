"""--ready-path for an application of ASGI's, once its lifespan has started."""

import asyncio
import time

from _hostler.asgi.tasks import stack_of
from _hostler.asgi.warmup import Receive, scope_of
from _hostler.ready import PAUSE, Question

LEAST_TIME = 5.0  # seconds that an answer may take, whatever is left of the time


async def be_ready(settings, app, state):
    """Return once the application has answered well; if it does not in its time, that is an
    exception, NotReady."""
    question = Question(settings)
    while True:
        question.begin()
        while await ask(settings, app, state, question):
            pass
        if question.settled():
            return
        await asyncio.sleep(PAUSE)


async def ask(settings, app, state, question):
    """Ask once. True: where the answer leads is to be asked, too."""
    scope = scope_of(settings, question.at, question.host)
    scope["headers"] += [(n.encode(), v.encode()) for n, v in question.fields()]
    if question.secure:
        scope["scheme"] = "https"
    if state is not None:
        scope["state"] = dict(state)
    said, body = [("", [])], []

    async def send(message):
        if message["type"] == "http.response.start":
            headers = [(bytes(n).decode("latin-1"), bytes(v).decode("latin-1")) for n, v in message.get("headers") or ()]
            said[0] = (str(message["status"]), headers)
        elif message["type"] == "http.response.body":
            body.append(bytes(message.get("body") or b""))

    async def run():
        await app(scope, Receive(), send)

    coro = run()
    task = asyncio.ensure_future(coro)
    seconds = max(LEAST_TIME, question.over - time.monotonic())
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            waits = "".join('  File "%s", line %d, in %s\n' % place for place in reversed(stack_of(coro)[:-1]))
            question.note("was not answered within %.1f s" % seconds)
            question.wrong = "what is asked by --ready-path waits here:\n" + waits + question.wrong
            return False
        task.result()
        return question.answered(*said[0], b"".join(body))
    except Exception as e:
        question.raised(e)
        return False
    finally:
        task.cancel()
