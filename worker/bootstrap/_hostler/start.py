"""What a process of the server's begins with, whatever it is to be: a worker, a mold, the
process of the hooks, or a check of the application. launch.py calls main()."""

import faulthandler
import json
import os
import sys
from _thread import get_ident

from _hostler import interpreter, log, stdlib
from _hostler.app import load
from _hostler.descriptors import Descriptors
from _hostler.protocol import CONTROL, LISTENERS, READY, fail, tell
from _hostler.signals import DUMP, own_signals
from _hostler.threads import Threads

# What serves applications of ASGI's; whether one is of those is known once it is imported.
ASGI = "asgi asgi.run asgi.lifespan asgi.loops asgi.messages asgi.files asgi.tasks dumped asgi.warmup ready"


def main(finder):
    """Be what the settings say. finder finds modules of this package, until no more are
    needed. Another process compiles them meanwhile."""
    interpreter.check()
    raw = sys.argv[1]
    settings = json.loads(raw)
    finder.need(needed(settings))
    threads = Threads()
    log.look_like(settings)
    own = prepare(settings)
    modules = hooks = metrics = None
    if settings.get("app_metrics") and not settings.get("hooks_only") and not settings.get("check"):
        from _hostler.appmetrics import AppMetrics

        metrics = AppMetrics(settings)
    if settings.get("metrics_routes") and not settings.get("hooks_only") and not settings.get("check"):
        from _hostler.routes import follow_frameworks

        follow_frameworks(settings)
    if settings.get("development"):
        from _hostler.reload import Modules

        modules = Modules()
    if settings.get("hooks") or settings.get("conf"):
        from _hostler.hooks import Hooks

        hooks = Hooks(settings)
    if settings.get("hooks_only"):
        finder.close()
        hooks.serve()
        return
    if settings["worker"] <= 1:
        interpreter.mention_build()
    if settings.get("check"):
        load_as_served(settings, modules)  # which may need modules of ours
        tell(READY)
        return
    be_worker(settings, raw, threads, own, modules, hooks, metrics, finder)


def needed(settings):
    """The modules that such a process imports, beside those that each does, about in their
    order. One that is not named here is compiled when it is imported, in this process."""
    hooks = settings.get("hooks") or settings.get("conf")
    worker = not settings.get("hooks_only") and not settings.get("check")
    asgi = worker and settings.get("interface") != "wsgi" and not is_green(settings)
    return [
        name
        for wanted, names in (
            (settings.get("capture_output"), "captured"),
            (worker and settings.get("app_metrics"), "appmetrics imports library"),
            (worker and settings.get("metrics_routes"), "routes imports"),
            (settings.get("development"), "reload"),
            (hooks, "hooks conf title"),
            (worker and settings.get("mold"), "mold audit objects library ready wsgi title"),
            (worker, "library worker collect objects profile sockets wsgi"),
            (settings.get("paste"), "paste"),
            (is_green(settings), "green dumped greensockets"),
            (worker and settings.get("ready_path"), "ready"),
            (worker and hooks, "observe"),
            (asgi, ASGI),
            (asgi and settings.get("development"), "asgi.page"),
            (asgi and settings.get("ready_path"), "asgi.ready"),
            (asgi and hooks, "asgi.observe"),
        )
        if wanted
        for name in names.split()
    ]


def prepare(settings):
    """Make the process what the settings say, and Python what its server needs."""
    for name in settings.get("internal_env") or ():
        os.environ.pop(name, None)  # Go reads it from the process's first stack
    faulthandler.enable()  # before the library: after it, it would hide Go's own faults
    faulthandler.register(DUMP, all_threads=True, chain=False)
    if hasattr(sys.stdout, "reconfigure"):  # to a pipe it would come in blocks, late
        sys.stdout.reconfigure(line_buffering=True)
    if settings.get("capture_output") and not settings.get("check"):
        from _hostler.captured import capture

        capture(settings)
    own_signals()
    # Not even for a moment for programs that the application runs.
    listeners = len(settings["listeners"] or ())
    if settings.get("check"):
        listeners = 0
    for fd in range(CONTROL, LISTENERS + listeners):
        os.set_inheritable(fd, False)
    own = Descriptors(range(CONTROL, LISTENERS + listeners))

    if settings.get("umask"):
        os.umask(int(settings["umask"], 8))
    if settings.get("chdir"):
        try:
            os.chdir(settings["chdir"])
        except OSError as e:
            fail("cannot change to the directory %s: %s" % (settings["chdir"], e.strerror))
    try:
        here = os.getcwd()
    except OSError as e:
        fail("there is no working directory, it has been removed or moved: %s" % e.strerror)
    sys.path[:] = [p for p in sys.path if p != ""]
    sys.path[:0] = settings.get("pythonpath") or []
    sys.path.insert(0, here)
    sys.argv[:] = settings["argv"]
    os.environ.setdefault("SERVER_SOFTWARE", "hostler/" + settings["version"])  # as to Gunicorn: of the process, too
    stdlib.when_imported("logging", lambda logging: gunicorn_error(logging, settings["log_level"]))
    return own


def gunicorn_error(logging, level):
    """Give applications the logger of Gunicorn's that they take the handlers and the level
    of for their own: without a handler they would lose what is no warning."""
    logger = logging.getLogger("gunicorn.error")
    logger.addHandler(log.handler(logging))
    logger.setLevel(level.upper())
    logger.propagate = False


def be_worker(settings, raw, threads, own, modules, hooks, metrics, finder):
    """Be a worker; with --preload a mold first, and then each of its workers."""
    mold = None
    if settings.get("mold"):
        from _hostler.mold import Mold

        mold = Mold(settings, own, metrics)
    elif hooks:
        hooks.post_fork(settings)
    app = load_as_served(settings, modules)
    # Not before: they are compiled while the application is imported.
    from _hostler.library import load_library
    from _hostler.worker import Worker

    if mold:
        finder.whole()  # its workers do not share a pipe
        raw = mold.serve(app)  # returns in each worker
        server = mold.server
        settings = json.loads(raw)
        log.look_like(settings)
        if hooks:
            hooks.post_fork(settings)
    else:
        server = metrics.library() if metrics else load_library()
    if hooks:
        hooks.post_worker_init(app.call)
    worker = Worker(server, settings, raw, threads)
    if app.interface == "wsgi":
        serve = wsgi_worker(worker, app.call, modules, hooks)
    else:
        serve = asgi_worker(worker, app, modules, hooks)
    finder.close()
    serve(lambda: modules and modules.follow(threads))
    if hooks:
        hooks.worker_exit()
    worker.leave()


def load_as_served(settings, modules):
    """Return the application; with gevent it is imported into what that makes of Python."""
    if not is_green(settings):
        offer = LoopOffer(settings)
        app = load(settings, modules)
        app.loop = offer.over()
        return app
    from _hostler.green import patch

    patch(settings)
    app = load(settings, modules)
    if app.interface != "wsgi":
        fail("--loop gevent is for WSGI, and %s is an ASGI application: leave it out, asyncio's loop runs that" % settings["app"])
    return app


class LoopOffer:
    """The loop that the worker will run is the current one for an application that asks while it is
    imported, as for asyncio.get_event_loop(), or, before Python 3.10, for a lock or a queue. Most
    ask for none, so it is made when one does."""

    def __init__(self, settings):
        self.name, self.own_thread = settings.get("loop") or "auto", get_ident()
        self.policy = self.made = None
        # A mold's would be the same one for all workers, and others may be the application's to make.
        self.on = not settings.get("mold") and settings.get("interface") != "wsgi" and self.name in ("auto", "asyncio", "uvloop")
        if self.on:
            stdlib.when_imported("asyncio", self.begin)

    def begin(self, asyncio):
        if self.on:
            self.policy = (getattr(asyncio.events, "_get_event_loop_policy", None) or asyncio.get_event_loop_policy)()
            self.theirs, self.policy.get_event_loop = self.policy.get_event_loop, self.get

    def get(self):
        local = getattr(self.policy, "_local", None)
        if get_ident() == self.own_thread and getattr(local, "_loop", None) is None:
            self.withdraw()
            from _hostler.asgi.loops import LoopError, new_loop

            try:
                self.made = new_loop(self.name)
                self.policy.set_event_loop(self.made[0])
            except LoopError:
                pass  # which is said when the worker makes its loop
        return self.theirs()

    def withdraw(self):
        vars(self.policy).pop("get_event_loop", None)

    def over(self):
        """The application is there. Return the loop and what attaches it, or None."""
        self.on = False
        if self.policy:
            self.withdraw()
        return self.made


def is_green(settings):
    return settings.get("loop") == "gevent"


def questions(settings):
    """Has the application to answer --ready-path? What stands in for one that is broken has not."""
    return settings.get("ready_path") and not settings.get("page")


def wsgi_worker(worker, app, modules, hooks):
    """Return what serves until the worker is to leave, and calls a function once it does."""
    if is_green(worker.settings):
        from _hostler.greensockets import offers

        worker.green_websocket = offers(app)
    asked = questions(worker.settings)
    if asked:
        from _hostler.ready import be_ready

        bare = app  # of hooks this is no matter
    if hooks:
        app = hooks.wrapper("_hostler.observe")(app)
    if modules:
        from _hostler.reload import or_error_page

        app = or_error_page(worker.server, app)

    def begin(begun):
        worker.serve()
        begun()

    def prepare():
        if asked:
            be_ready(worker.settings, bare)
        worker.prepare(app)

    def serve(begun):
        prepare()
        begin(begun)
        worker.run()

    if is_green(worker.settings):
        from _hostler.green import GreenWorker

        def serve(begun):
            prepare()
            GreenWorker(worker.server, worker.settings["worker"], lambda: begin(begun), worker.collector).run()

    return serve


def asgi_worker(worker, app, modules, hooks):
    """The same for an application of ASGI's."""
    from _hostler.asgi.run import AsyncWorker

    observed = hooks.wrapper("_hostler.asgi.observe") if hooks else lambda call: call
    app.around = observed
    if questions(worker.settings):
        from _hostler.asgi import ready

        worker.be_ready = lambda call, state: ready.be_ready(worker.settings, call, state)
    if modules:
        from _hostler.asgi.page import or_error_page

        app.around = lambda call: or_error_page(worker.server, observed(call))

    def serve(begun):
        worker.prepare(app.call)
        worker.server.asynchronous()

        def serve():
            worker.serve()
            begun()

        AsyncWorker(worker, serve).run(app)

    return serve
