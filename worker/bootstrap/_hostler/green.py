"""A worker whose requests of WSGI run in greenlets of gevent's, each its own, on the main
thread (--loop gevent). The standard library is patched before the application is imported."""

import os
import sys
import time

from _hostler.dumped import DEEPEST, also, listed, request
from _hostler.frames import is_ours, text_of_raised
from _hostler.log import say
from _hostler.protocol import fail

AGAIN, OVER = 1, 2  # what the engine says, see green.c


def patch(settings):
    """Do what Gunicorn's worker does, and say so once."""
    try:
        import gevent
        from gevent import monkey
    except ImportError as e:
        if (getattr(e, "name", None) or "").partition(".")[0] not in ("gevent", "greenlet"):
            raise
        fail("--loop gevent: that package is not installed for %s (pip install gevent): %s" % (sys.executable, e))
    patched = monkey.is_module_patched("socket")
    if not patched:
        monkey.patch_all()
    if settings["worker"] <= 1 and settings["log_level"] in ("debug", "info"):
        how = "had been patched before" if patched else "is patched before the application is imported"
        say("hostler: requests run in greenlets of gevent %s; the standard library %s\n" % (gevent.__version__, how), "INFO")


class GreenWorker:
    """bridge is the C side; serve is called once the requests may come; collector runs code of
    the application's, too."""

    def __init__(self, bridge, number, serve, collector):
        self.bridge, self.number, self.serve, self.collector = bridge, number, serve, collector

    def run(self):
        """Serve until the worker is to leave."""
        from gevent import GreenletExit, get_hub
        from gevent.event import Event
        from greenlet import getcurrent, settrace

        from _hostler.wsgi import RequestTimeout

        hub = get_hub()
        loop = self.loop = hub.loop
        self.over = Event()

        def soon(greenlet):
            return loop.run_callback(greenlet.switch)

        def after(greenlet, seconds):
            timer = loop.timer(max(seconds, 0))
            timer.start(greenlet.switch)
            return timer

        set_ = self.bridge.green(request_type(self.bridge), getcurrent, hub.switch, soon, after, GreenletExit, RequestTimeout, settrace)
        # The last is the last before the loop waits: after what others have for that moment.
        self.watchers = [loop.io(set_, 1), loop.check(ref=False), loop.prepare(ref=False, priority=-2)]
        for watcher, callback in zip(self.watchers, (self.turn, self.bridge.green_away, self.bridge.green_rest)):
            watcher.start(callback)
        self.collector.threads = greenlets = Greenlets(loop)
        self.watchers.append(greenlets.watcher)
        # A child has a hub of its own, which must not look at what is closed there.
        os.register_at_fork(after_in_child=self.stop)
        watch_children(loop)
        also(lambda: described(self.bridge, self.number), self.bridge.dump_fd())
        self.serve()
        # The application may have run the hub while it was imported, which then goes on in the
        # midst of a round, and past the last moment before it waits: let it have another. (What
        # is to be called back soon might be called in that very round.)
        self.watchers.append(loop.timer(0))
        self.watchers[-1].start(self.turn)
        self.until_over()
        if self.bridge.green_cut():
            say("hostler: %d requests are ended by GreenletExit, for the worker's time is over\n" % self.bridge.green_cut(), "WARN")

    def turn(self):
        if self.bridge.forked():
            self.stop()
            return
        said = self.bridge.green_turn()
        if said == OVER:
            self.stop()
            self.over.set()
        elif said == AGAIN:  # there is more to do than one turn may take
            self.loop.run_callback(self.turn)

    def stop(self):
        for watcher in self.watchers:
            watcher.stop()

    def until_over(self):
        """Let the hub run, whatever greenlets raise to end the process."""
        while not self.over.is_set():
            try:
                self.over.wait()
            except BaseException as e:
                if self.bridge.forked():
                    raise
                if isinstance(e, SystemExit):
                    self.bridge.drain()
                else:
                    say("hostler: " + text_of_raised(e))


class Greenlets:
    """Begins in a greenlet what another thread asks for: the locks of what is patched, and its
    ways to wait, are this hub's."""

    def __init__(self, loop):
        self.jobs = []
        self.watcher = loop.async_(ref=False)
        self.watcher.start(self.spawn)

    def start(self, target, args, name):
        self.jobs.append((target, args))
        self.watcher.send()

    def within(self, seconds, target):
        """As that of Threads, for whoever is in a greenlet."""
        from gevent import spawn

        spawn(target).join(seconds)

    def spawn(self):
        from gevent import spawn

        while self.jobs:
            target, args = self.jobs.pop(0)
            spawn(target, *args)


def watch_children(loop):
    """Have the loop hear of children from the first one on: gevent's os.fork() sees to that when
    there is one, which may have ended by then."""
    import signal

    if loop.default and signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL:
        loop.reset_sigchld()  # in a mold it may have been so, and is no more
        loop.install_sigchld()


def request_type(bridge):
    from gevent import Greenlet

    class Request(Greenlet):
        """A request. gevent.util.print_run_info() and others show it by what it asks for."""

        def __init__(self, seat):
            Greenlet.__init__(self)
            self.seat = seat
            self.since = time.monotonic_ns()

        def _run(self):
            bridge.request(self.seat)

        def __repr__(self):
            return "<Request %r at %#x>" % (bridge.green_name(self), id(self))

    return Request


def described(bridge, number):
    """What greenlets wait for: requests first, the oldest first. The one that runs is in the stack
    of its thread."""
    import gc

    from greenlet import greenlet

    now, found = time.monotonic_ns(), []
    for g in gc.get_objects():
        # isinstance() would run code of the application's: what is lazy has a __class__ that is made.
        if not issubclass(type(g), greenlet) or g.gr_frame is None:
            continue
        stack = stack_of(g.gr_frame)
        if not stack:
            continue  # the hub, and what is gevent's own
        if hasattr(g, "seat"):
            method, _, target = bridge.green_name(g).partition(" ")
            since, what = g.since, request(method, target, now - g.since)
        else:
            since, what = now, "the application's greenlet %r" % g
        found.append((since, what, stack))
    return listed(found, number, "Greenlet")


def stack_of(frame):
    """File, line and function of each frame, the innermost first, without ours and gevent's."""
    found = []
    while frame is not None and len(found) < DEEPEST:
        found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    while found and (is_ours(found[-1][0]) or is_gevents(found[-1][0])):
        del found[-1]
    return found


def is_gevents(filename):
    return "/gevent/" in filename
