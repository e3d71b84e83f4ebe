"""Functions of the user's that are run at certain moments (--hooks): in workers, and in
a process of their own, which does nothing else, those of the master's."""

import importlib
import json
import logging
import os
import signal
import sys
import traceback
from types import SimpleNamespace

from _hostler.log import say
from _hostler.protocol import CONTROL, DRAIN, HOOK, HOOK_DONE, HOOKS, LISTENERS, control_socket, fail, receive, tell
from _hostler.title import set_title, title

NAMES = ("on_starting", "on_reload", "child_exit", "on_exit", "post_fork", "post_worker_init", "worker_exit")


class Hooks:
    """The functions of the module that --hooks names."""

    def __init__(self, settings):
        self.settings = settings
        self.worker_args = None
        try:
            module = importlib.import_module(settings["hooks"])
        except BaseException:
            fail("cannot load the hooks in %s:\n%s" % (settings["hooks"], traceback.format_exc()))
        self.functions = {name: getattr(module, name) for name in NAMES if hasattr(module, name)}
        for name, hook in self.functions.items():
            if not callable(hook):
                fail("the hook %s in %s is not callable, but %s" % (name, settings["hooks"], type(hook).__name__))

    def run(self, name, *args):
        """Run a hook, if there is one. Return what it raised, as a traceback, or None."""
        if name not in self.functions:
            return None
        try:
            self.functions[name](*args)
        except BaseException:
            return "the hook %s failed:\n%s" % (name, traceback.format_exc())
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
        self.worker_args = arguments(settings, wsgi=None)
        self.attempt("post_fork", *self.worker_args)

    def post_worker_init(self, app):
        worker = self.worker_args[1]
        worker.wsgi = app
        error = self.run("post_worker_init", worker)
        if error:
            fail(error)

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
        tell(HOOKS, " ".join(self.functions).encode())
        while True:
            message, _ = receive(control)
            if message[:1] in (b"", DRAIN):
                return
            if message[:1] != HOOK:
                continue
            call = json.loads(message[1:].decode())
            server, worker = arguments(self.settings, **call.get("worker") or {})
            args = (server, worker) if "worker" in call else (server,)
            error = self.attempt(call["hook"], *args)
            tell(HOOK_DONE, (error or "").encode("utf-8", "backslashreplace")[-1000:])


def arguments(settings, **worker):
    """Return what hooks are given as the server and as the worker."""
    log = logging.Logger("hostler.hooks", logging.getLevelName(settings["log_level"].upper()))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s hooks: %(message)s"))
    log.addHandler(handler)
    cfg = SimpleNamespace(**{k: settings.get(k) for k in ("app", "name", "workers", "threads", "chdir", "preload", "graceful_timeout")})
    server = SimpleNamespace(pid=settings["master_pid"], log=log, cfg=cfg)
    number = worker.setdefault("number", settings["worker"])
    return server, SimpleNamespace(**dict(dict(pid=os.getpid(), generation=settings["generation"], age=number, log=log, cfg=cfg), **worker))
