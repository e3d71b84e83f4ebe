"""--ready-path for an application of ASGI's, once its lifespan has started."""

import asyncio
import time

from _hostler.asgi.warmup import Receive, scope_of
from _hostler.ready import PAUSE, Question


async def be_ready(settings, app, state):
    question = Question(settings)
    while True:
        await ask(settings, app, state, question)
        if question.settled():
            return
        await asyncio.sleep(PAUSE)


async def ask(settings, app, state, question):
    scope = scope_of(settings, question.target, question.host)
    if state is not None:
        scope["state"] = dict(state)
    status, body = [""], []

    async def send(message):
        if message["type"] == "http.response.start":
            status[0] = str(message["status"])
        elif message["type"] == "http.response.body":
            body.append(bytes(message.get("body") or b""))

    try:
        await asyncio.wait_for(app(scope, Receive(), send), max(PAUSE, question.over - time.monotonic()))
        question.answered(status[0], b"".join(body))
    except Exception as e:
        question.raised(e)
