"""A worker whose application is ASGI's: the event loop is its main thread."""

import asyncio
import contextvars
import inspect
import sys

from _hostler.app import LoadError
from _hostler.asgi.lifespan import LEAST_REST, Lifespan, StartupFailed
from _hostler.asgi.loops import LoopError, new_loop
from _hostler.asgi.messages import tell_bridge
from _hostler.asgi.tasks import dump_tasks
from _hostler.asgi.warmup import warm_up
from _hostler.frames import stack_of, text_of_raised
from _hostler.log import say
from _hostler.protocol import LEAVING, fail, tell
from _hostler.ready import NotReady
from _hostler.reasons import why

SHARE = 0.9  # of the time that is left, for each part of the end: the others need some, too
LEAST_TIME = 1.0  # seconds that lifespan.shutdown has for an answer, whatever is left
SLOW_START = 10.0  # seconds
LOOK = 0.2  # seconds


class AsyncWorker:
    """serve is called once the application has started."""

    def __init__(self, worker, serve):
        self.worker, self.serve = worker, serve
        self.bridge, self.settings = worker.server, worker.settings
        self.first = self.settings["worker"] <= 1
        self.lifespan = None
        self.starting = True  # the application

    def run(self, application):
        """Serve until the worker is to leave. application is what _hostler.app has found."""
        try:
            self.loop, self.tie = application.loop or (None, None)
            if self.loop is None or self.loop.is_closed():
                self.loop, self.tie = new_loop(self.settings.get("loop") or "auto")
        except LoopError as e:
            fail(str(e))
        except BaseException as e:
            fail("cannot make the event loop of --loop %s:\n%s" % (self.settings["loop"], why(e)))
        self.application = application
        asyncio.set_event_loop(self.loop)
        self.context = contextvars.copy_context()
        self.over = self.loop.create_future()
        self.size_executor()
        self.until_done(self.main())
        self.close()

    def size_executor(self):
        """--threads is how many calls of asyncio.to_thread and its like run at once; where
        it has not been given, as many as Python wants."""
        if self.settings["threads"] > 1:
            from concurrent.futures import ThreadPoolExecutor

            self.loop.set_default_executor(ThreadPoolExecutor(self.settings["threads"], "asyncio"))

    def unseen(self, work):
        """Have a coroutine of ours run as a task that is none of those that an application cancels
        which cancels all others, as some do in their shutdown, and waits for them."""
        task = self.loop.create_task(work)
        asyncio._unregister_task(task)
        return task

    def until_done(self, work):
        """Run the loop until a coroutine is done, whatever tasks raise to stop it."""
        task, root = self.unseen(work), None
        while not task.done():
            try:
                # By a task that is seen, or anyio finds none to tie its threads to, and makes one
                # for each call.
                if root is None or root.done():
                    root = self.loop.create_task(waited(task))
                self.loop.run_until_complete(root)
            except SystemExit:
                if self.bridge.forked():
                    raise
                self.worker.drain()
            except BaseException as e:
                if self.bridge.forked():
                    raise
                if not root.cancelled() and not isinstance(e, RuntimeError):  # which loop.stop() leads to
                    say("hostler: the event loop was stopped, and goes on:\n" + text_of_raised(e))
        if not task.cancelled() and task.exception():
            say("hostler: " + text_of_raised(task.exception()))

    async def main(self):
        app = await self.started()
        if self.worker.told:
            if self.lifespan:
                await self.lifespan.end()
            return
        eager = sys.version_info >= (3, 12)
        tell_bridge(self.bridge, app, self.loop, eager, self.context, self.settings, self.lifespan.state)
        self.tie.attach(self.bridge, self.leave)
        dump_tasks(self.loop, self.settings["worker"], self.bridge.dump_fd())
        self.serve()
        await self.over
        await self.background()
        await self.lifespan.end()

    async def started(self):
        """Return the application, once it has started; or whatever, where the worker has been told
        to leave meanwhile."""
        start = self.unseen(self.start())
        slow = self.loop.call_later(SLOW_START, self.tell_of_start, start, "takes long")
        self.worker.leaving(self.loop, lambda: self.give_up(start))
        self.look(start)
        await asyncio.wait([start])
        self.worker.leaving(None, None)
        for timer in (slow, self.timer):
            timer.cancel()
        return None if start.cancelled() else start.result()

    async def start(self):
        try:
            app = await self.made()
            self.lifespan = Lifespan(app, self.settings.get("lifespan") or "auto", self.worker.drain, self.time_left)
            await self.lifespan.startup(self.note)
            await warm_up(self.settings, app, self.lifespan.state)
            self.starting = False
            if self.worker.be_ready:
                await self.worker.be_ready(app, self.lifespan.state)
            return app
        except NotReady as e:
            self.bridge.drain()  # from here on there is a time that is left
            await self.lifespan.end()
            fail(str(e))
        except (StartupFailed, LoadError) as e:
            self.failed(str(e))
        except BaseException as e:
            if self.worker.told and isinstance(e, asyncio.CancelledError):
                raise
            self.failed("cannot load %s:\n%s" % (self.settings["app"], why(e)))

    def failed(self, text):
        """There is no application. Where the worker is to leave that is no failure of its own."""
        if not self.worker.told:
            fail(text)
        say("hostler: while the worker was to leave: %s\n" % text, "WARN")

    def look(self, start):
        """Has the worker been told to leave, and SIGTERM was the application's, which has a handler
        for it? Then that may end what it has begun, and has half of the time for it."""
        if not self.bridge.leaving():
            self.timer = self.loop.call_later(LOOK, self.look, start)
        elif not self.worker.told:
            self.worker.told = True
            self.bridge.drain()
            tell(LEAVING)
            self.timer = self.loop.call_later(self.time_left() / 2, self.cancel, start)

    def give_up(self, start):
        """The worker is to leave, and the application has not started yet."""
        tell(LEAVING)
        self.cancel(start)

    def cancel(self, start):
        self.tell_of_start(start, "is cancelled, for the worker is to leave")
        start.cancel()

    def tell_of_start(self, start, what):
        """Say where the application waits in its startup."""
        if self.starting:
            task = self.lifespan and self.lifespan.task
            at = stack_of(task if task and not task.done() else start)
            say("hostler: the application's startup %s%s\n%s" % (what, at and "; it waits here:", at), "WARN")

    async def made(self):
        """Return the application, of three arguments."""
        app, interface = self.application.call, self.application.interface
        if self.application.factory:
            app = app()
            if inspect.isawaitable(app):
                app = await app
            interface = self.application.check(app)
        return self.application.around(single(app) if interface == "asgi2" else app)

    def note(self, text):
        """Say something that all workers have in common once, and where it is wanted."""
        if self.first and self.settings["log_level"] in ("debug", "info"):
            say("hostler: %s\n" % text, "INFO")

    def leave(self):
        if not self.over.done():
            self.over.set_result(None)

    def time_left(self, least=LEAST_TIME):
        return max(least, SHARE * self.bridge.grace_left())

    async def background(self):
        """Wait for what goes on behind responses that are over."""
        while self.bridge.unfinished() and self.bridge.grace_left() > LEAST_TIME:
            await asyncio.sleep(0.01)

    def close(self):
        """End what is left: tasks, generators, the executor's threads."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if self.lifespan and self.lifespan.stuck:
            tasks.discard(self.lifespan.task)  # it has had its time
        if tasks:
            self.limited(asyncio.wait(tasks), "tasks", ", ".join(sorted(task.get_name() for task in tasks)))
        self.limited(self.loop.shutdown_asyncgens(), "asynchronous generators")
        if hasattr(self.loop, "shutdown_default_executor"):  # 3.9
            self.limited(self.loop.shutdown_default_executor(), "threads of the executor")
        for task in asyncio.all_tasks(self.loop):
            self.bridge.keep(task)  # or what does not end by an exception would get one more

    def limited(self, work, what, names=""):
        async def wait():
            _, late = await asyncio.wait([self.loop.create_task(work)], timeout=self.time_left(LEAST_REST))
            if late:
                say("hostler: the worker ends without its %s, for its time is over%s\n" % (what, names and ": " + names), "WARN")

        self.until_done(wait())


async def waited(task):
    await asyncio.wait([task])


def single(app):
    """Return what has the three arguments of an application that has them in two calls."""

    def application(scope, receive, send):
        scope["asgi"] = dict(scope["asgi"], version="2.0")
        return app(scope)(receive, send)

    return application
