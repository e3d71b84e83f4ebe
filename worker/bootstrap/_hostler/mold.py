"""The process that has imported the application and forks workers of itself (--preload)."""

import _signal
import gc
import os
import posix
import sys
import warnings

from _hostler.audit import audit, open_sockets, warn
from _hostler.frames import text_of
from _hostler.library import load_library
from _hostler.log import flush, report
from _hostler.protocol import FORK, FORKED, LISTENERS, READY, SECRETS, CONTROL, control_socket, receive, tell
from _hostler.ready import internal_environ
from _hostler.signals import own_signals
from _hostler.title import set_title, title


def warm_up(settings, app, target):
    """Run one request through the application; its answer is thrown away."""
    env = internal_environ(settings, target, "localhost")
    result = None
    try:
        result = app(env, lambda status, headers, exc_info=None: lambda data: None)
        for _ in result:
            pass
    except BaseException as e:
        report("GET", target, type(e), e, e.__traceback__)
    finally:
        if hasattr(result, "close"):
            result.close()


def close_databases():
    """Close Django's connections, of which a copy in each worker is of no use."""
    if "django.db" not in sys.modules:
        return
    try:
        if sys.modules["django.conf"].settings.configured:
            sys.modules["django.db"].connections.close_all()
    except Exception:
        warn("cannot close Django's connections:\n" + text_of(*sys.exc_info()))


class Mold:
    """It has one thread, and no Go runtime in it: the library is there, but what the
    dynamic linker has made of it is all it shares."""

    def __init__(self, settings, own, metrics=None):
        """Load the library, before the application can have registered fork handlers."""
        gc.disable()
        self.settings = settings
        self.own = own
        self.metrics = metrics
        self.server = metrics.library() if metrics else load_library()
        self.server.mold(settings["master_pid"])
        os.register_at_fork(before=self.server.arm)  # the first to be registered runs last

    def serve(self, app):
        """Fork a worker whenever the master asks for one. Return, in a worker, its
        settings."""
        self.finish(app)
        control = control_socket()
        set_title(title(self.settings, "mold"))
        # A handler of the application's would hear of processes that are none of its.
        on_child = _signal.getsignal(_signal.SIGCHLD)
        if on_child is not None:  # not Python's
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        gc.freeze()  # the collector would write to every object, and so unshare it
        self.server.slim()
        tell(READY)
        while True:
            message, fds = receive(control)
            if not message:
                os._exit(0)  # the master has gone
            if message[:1] != FORK:
                continue
            answer = self.fork(fds)
            if answer is not None:
                tell(FORKED, answer)
                continue
            self.own.take(CONTROL, SECRETS)
            control.close()
            if on_child is not None:
                _signal.signal(_signal.SIGCHLD, on_child)
            gc.enable()
            own_signals()
            return message[1:].decode()

    def finish(self, app):
        """Do what need not be done in each worker."""
        first = LISTENERS + len(self.settings["listeners"])
        before = open_sockets(first)
        for target in self.settings.get("warmup") or ():
            if app.interface == "wsgi":  # that of another has a loop, each worker its own: see asgi/warmup.py
                warm_up(self.settings, app.call, target)
        close_databases()
        audit(first, before)

    def fork(self, fds):
        """Fork a worker, which gets these descriptors as its CONTROL and SECRETS. Return
        None in it, in the mold what to tell the master."""
        flush()
        self.own.spared = True
        self.server.order(*fds)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads; the audit has said which
                # os.fork may be gevent's, which would watch the worker as a child of the
                # application's: with SIGCHLD's handler, which the next one has then, or not.
                pid = posix.fork()
        except OSError:
            pid = -1
        self.own.spared = False
        if pid == 0:
            if self.metrics:
                self.metrics.be_worker()
            if "gevent" in sys.modules:
                sys.modules["gevent"].reinit()  # as its fork does
            return None
        return b"" if self.server.ordered(pid) else b"the kernel refused to fork"
