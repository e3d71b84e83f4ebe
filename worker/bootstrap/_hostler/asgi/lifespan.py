"""The application's startup and shutdown, as the lifespan protocol has them."""

import asyncio

from _hostler.frames import stack_of, text_of_raised
from _hostler.log import say
from _hostler.reasons import why

LEAST_REST = 0.25  # seconds that each part of the end behind the application's answer has, whatever is left


class StartupFailed(Exception):
    """The application does not want to serve, or cannot. The text says why."""


class Lifespan:
    """mode: "on", "auto" (an application that knows no lifespan is served all the same)
    or "off". gone is called where it ends before its time; time_left tells how many seconds what
    there is to do at the end may take."""

    def __init__(self, app, mode, gone, time_left):
        self.app, self.mode, self.gone, self.time_left = app, mode, gone, time_left
        self.state = {}
        self.task = self.error = None
        self.received = self.began = self.shutting = False
        self.stuck = False  # it goes on although it has been cancelled

    async def startup(self, note):
        """Return once the application has started. note is called with a sentence where it
        knows no lifespan."""
        if self.mode == "off":
            return
        loop = asyncio.get_event_loop()
        self.events = asyncio.Queue()
        self.answer = loop.create_future()
        self.task = loop.create_task(self.run())
        self.events.put_nowait({"type": "lifespan.startup"})
        said, text = await asyncio.shield(self.answer)  # which end() wants, too
        if said == "failed":
            raise StartupFailed("the application's startup failed" + (": " + text if text else ", it does not say why"))
        if said == "complete":
            return
        if self.error is None and self.mode == "auto":  # it has returned without a word
            return
        if self.error is None:
            raise StartupFailed("--lifespan on: the application returned without having answered lifespan.startup")
        if self.received or self.mode == "on" or not isinstance(self.error, Exception):
            raise StartupFailed("the application's startup failed:\n" + why(self.error))
        note("the application knows no lifespan (%s), and is served without" % type(self.error).__name__)

    async def run(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app(scope, self.receive, self.send)
        except BaseException as e:
            self.error = e
        early = self.began and not self.shutting
        if not self.answer.done():
            self.answer.set_result(("ended", ""))
        if early and self.error is not None:
            say("hostler: the application's lifespan ended before its time:\n" + text_of_raised(self.error))
            self.gone()

    async def receive(self):
        event = await self.events.get()
        self.received = True
        return event

    async def send(self, message):
        kind = message["type"]
        step = "shutdown" if self.shutting else "startup"
        if kind not in ("lifespan.%s.complete" % step, "lifespan.%s.failed" % step) or self.answer.done():
            raise RuntimeError("ASGI: %s is no message that can be sent here" % kind)
        self.began = self.began or kind == "lifespan.startup.complete"
        self.answer.set_result((kind.rpartition(".")[2], message.get("message", "")))

    async def end(self):
        """Tell the application that it is over; one that still starts is cancelled."""
        if self.task is None or self.task.done():
            return
        if not self.began:
            self.task.cancel()
            await asyncio.wait([self.task, self.answer], timeout=self.time_left() / 2, return_when=asyncio.FIRST_COMPLETED)
            if not self.began:
                await self.cancelled("startup", self.time_left(LEAST_REST) if self.answer.done() else 0)
                return
        if not self.task.done():
            await self.shutdown()

    async def shutdown(self):
        self.answer = asyncio.get_event_loop().create_future()
        self.shutting = True
        self.events.put_nowait({"type": "lifespan.shutdown"})
        done, _ = await asyncio.wait([self.answer], timeout=self.time_left())
        if not done:
            say("hostler: the application's shutdown takes too long, and is cancelled; it waits here:\n" + stack_of(self.task))
            self.task.cancel()
            await self.cancelled("shutdown", self.time_left(LEAST_REST))
            return
        said, text = self.answer.result()
        if said == "failed":
            say("hostler: the application's shutdown failed" + (": %s\n" % text if text else "\n"))
        elif said == "ended" and self.error is not None:
            say("hostler: the application's shutdown failed:\n" + text_of_raised(self.error))
        if not self.task.done():
            await asyncio.wait([self.task], timeout=self.time_left(LEAST_REST))

    async def cancelled(self, step, seconds):
        """Wait for the end of what has been cancelled."""
        await asyncio.wait([self.task], timeout=seconds)
        self.stuck = not self.task.done()
        if self.stuck:
            say("hostler: the application's %s goes on although it is cancelled, and is left behind; it waits here:\n%s" % (step, stack_of(self.task)))
        elif self.error is not None and not isinstance(self.error, asyncio.CancelledError):
            say("hostler: the application's %s failed as it was cancelled:\n%s" % (step, text_of_raised(self.error)))
