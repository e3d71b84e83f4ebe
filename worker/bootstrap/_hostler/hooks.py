"""Functions of the user's that are run at certain moments (--hooks): in workers, and in
a process of their own, which does nothing else, those of the master's."""

import faulthandler
import importlib
import json
import logging
import os
import signal
from types import SimpleNamespace

from _hostler import conf
from _hostler.frames import text_of_raised
from _hostler.log import handler, say
from _hostler.protocol import CONTROL, DRAIN, HOOK, HOOK_DONE, HOOKS, LISTENERS, control_socket, fail, receive, tell
from _hostler.reasons import why
from _hostler.title import set_title, title

OF_THE_MASTER = ("on_starting", "on_reload", "when_ready", "pre_fork", "child_exit", "nworkers_changed", "on_exit")
OF_WORKERS = ("post_fork", "post_worker_init", "pre_request", "post_request", "worker_abort", "worker_exit")
# Gunicorn's that cannot be meant here.
OF_NOBODY = ("worker_int", "pre_exec", "ssl_context")


class Hooks:
    """The functions of the module that --hooks names, and before them those of a
    settings file of Gunicorn's."""

    def __init__(self, settings):
        self.settings = settings
        self.worker_args = None
        self.functions = {}
        self.values = {}
        if settings.get("conf"):
            self.take(settings["conf"], conf.run(settings["conf"], settings), True)
        if settings.get("hooks"):
            self.take(settings["hooks"], self.load(settings["hooks"]), conf.is_file(settings["hooks"]))

    def load(self, source):
        if conf.is_file(source):
            return conf.run(source, self.settings)
        try:
            return conf.load(source)
        except BaseException as e:
            fail("cannot load the hooks in %s:\n%s" % (source, why(e)))

    def take(self, source, module, is_conf):
        if is_conf:
            self.values.update(conf.values(module))
        for name in OF_THE_MASTER + OF_WORKERS:
            if not hasattr(module, name):
                continue
            try:
                hook = conf.function(getattr(module, name))
            except Exception as e:
                fail("cannot load the hook %s in %s:\n%s" % (name, source, why(e)))
            if hook is None and is_conf:
                continue
            if not callable(hook):
                fail("the hook %s in %s is not callable, but %s" % (name, source, type(hook).__name__))
            if conf.does(hook):
                self.functions[name] = hook
        if self.settings.get("hooks_only") and not is_conf:  # of a settings file it has been said
            for name in OF_NOBODY:
                if callable(getattr(module, name, None)):
                    say("hostler: the hook %s in %s is not run\n" % (name, source), "WARN")

    def run(self, name, *args):
        """Run a hook, if there is one. Return what it raised, as a traceback, or None."""
        if name not in self.functions:
            return None
        try:
            self.functions[name](*args)
        except BaseException as e:
            return "the hook %s failed:\n%s" % (name, text_of_raised(e))
        return None

    def attempt(self, name, *args):
        """Run a hook that may fail: that is logged. Return it as one line, or None."""
        text = self.run(name, *args)
        if text is None:
            return None
        say("hostler: " + text)
        return "the hook %s failed: %s" % (name, text.rstrip().rpartition("\n")[2])

    # In a worker, one after the other.

    def post_fork(self, settings):
        self.worker_args = self.arguments(settings, wsgi=None)
        self.attempt("post_fork", *self.worker_args)

    def post_worker_init(self, app):
        worker = self.worker_args[1]
        worker.wsgi = app
        error = self.run("post_worker_init", worker)
        if error:
            fail(error)
        if "worker_abort" in self.functions:
            signal.signal(signal.SIGABRT, self.aborted)

    def wrapper(self, module):
        """Return what puts the hooks of each request around an application: module's around()."""
        before, after = self.functions.get("pre_request"), self.functions.get("post_request")
        if not before and not after:
            return lambda app: app
        around = importlib.import_module(module).around
        return lambda app: around(app, self.worker_args[1], before, after)

    def aborted(self, number, frame):
        """The master gives the worker up. Without this handler faulthandler would write
        the tracebacks; it runs only where Python still does."""
        faulthandler.dump_traceback(all_threads=True)
        self.attempt("worker_abort", self.worker_args[1])
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def worker_exit(self):
        self.attempt("worker_exit", *self.worker_args)

    # In the process that is there for the master's.

    def serve(self):
        """Run hooks when the master asks for them, until it is gone."""
        signal.signal(signal.SIGTERM, lambda *_: None)  # it is the master that says when; not SIG_IGN, which exec would pass on
        control = control_socket()
        set_title(title(self.settings, "hooks"))
        for fd in range(CONTROL + 1, LISTENERS):
            os.close(fd)
        tell(HOOKS, " ".join(name for name in self.functions if name in OF_THE_MASTER + ("worker_abort",)).encode())
        while True:
            message, _ = receive(control)
            if message[:1] in (b"", DRAIN):
                return
            if message[:1] != HOOK:
                continue
            call = json.loads(message[1:].decode())
            server, worker = self.arguments(self.settings, **call.get("worker") or {})
            args = (server,)
            if "worker" in call:
                args += (worker,)
            if call["hook"] == "nworkers_changed":
                args += (call["workers"], call.get("before"))
            error = self.attempt(call["hook"], *args)
            tell(HOOK_DONE, (error or "").encode("utf-8", "backslashreplace")[-1000:])

    def arguments(self, settings, **worker):
        """Return what hooks are given as the server and as the worker."""
        log = logging.Logger("hostler.hooks", logging.getLevelName(settings["log_level"].upper()))
        log.addHandler(handler(logging, "hooks: "))
        cfg = SimpleNamespace(**dict(self.values, **{k: settings.get(k) for k in ("app", "name", "workers", "threads", "chdir", "preload")}))
        grace = settings.get("graceful_timeout", 0) / 1e9  # as in Gunicorn's: seconds
        cfg.graceful_timeout = int(grace) if grace == int(grace) else grace
        server = SimpleNamespace(pid=settings["master_pid"], log=log, cfg=cfg, num_workers=settings["workers"], proc_name=settings["name"])
        number = worker.setdefault("number", settings["worker"])
        worker = dict(dict(pid=os.getpid(), ppid=settings["master_pid"], generation=settings["generation"], age=number, log=log, cfg=cfg), **worker)
        return server, SimpleNamespace(**worker)
