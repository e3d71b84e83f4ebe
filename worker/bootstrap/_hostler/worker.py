"""A worker: the library serves the application on threads of Python's."""

import atexit
import faulthandler
import os
import signal
import sys
import threading
import time

from _hostler import log
from _hostler.collect import Collector
from _hostler.frames import stack_of, text_of_raised
from _hostler.library import cannot_start
from _hostler.log import flush, report
from _hostler.objects import no_daemons, thread_names
from _hostler.profile import Profiler
from _hostler.protocol import LIBRARY, fail
from _hostler.signals import DUMP, block_signals, drain_on_sigterm
from _hostler.sockets import WebSocketClosed, offer_socket
from _hostler.wsgi import FileWrapper, RequestTimeout, base_environ, make_deadline, server_name


def no_op():
    """Where it is called, an exception that waits for Python code is raised."""


class Worker:
    def __init__(self, server, settings, raw, threads):
        self.server = server
        self.settings = settings
        self.raw = raw  # the settings as they came
        self.threads = threads
        self.profiler = Profiler(server.profiled, threads)
        self.collector = Collector(server, threads)
        self.count = 0  # of threads that serve
        self.be_ready = None  # what has an ASGI application answer --ready-path
        self.stop, self.told = None, False  # what ends the start where the worker is to leave; that it is
        self.green_websocket = None  # makes environ["wsgi.websocket"], where greenlets serve

    def prepare(self, app):
        """Start Go's runtime."""
        server, listeners = self.server, self.settings["listeners"]
        try:
            mask = block_signals()
            try:
                hints = server.early_hints()
                deadline = make_deadline(server.deadline())
                bases = [base_environ(self.settings, listener, hints, deadline) for listener in listeners]
                sys.unraisablehook = server.unraisablehook(sys.unraisablehook)
                open_ends = [[not part for part in server_name(listener)] for listener in listeners]
                self.count = server.init(self.raw, app, bases, open_ends, FileWrapper, report, RequestTimeout, no_op, stack_of, self.profiler.start, self.collector.start)
                if self.settings.get("metrics_routes"):
                    from _hostler.routes import NAMES

                    server.routes(NAMES)
                server.sockets(WebSocketClosed, offer_socket, self.green_websocket)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except RuntimeError as e:  # the library says what is wrong
            fail(str(e))
        except BaseException:
            cannot_start()
        os.close(LIBRARY)
        log.write_by(server.say, server.printed)
        faulthandler.register(DUMP, file=server.dump_fd(), all_threads=True, chain=False)
        drain_on_sigterm(self.drain)

    def drain(self):
        """Leave in good order."""
        self.told = True
        self.server.drain()
        self.stop_asking()

    def leaving(self, loop, stop):
        """Have a function called in a loop when the worker is told to leave; None: no more."""
        self.stop = loop and (loop, stop)
        if self.told:
            self.stop_asking()

    def stop_asking(self):
        if self.stop:
            (loop, stop), self.stop = self.stop, None
            loop.call_soon_threadsafe(stop)

    def serve(self):
        """Accept connections."""
        try:
            self.server.serve()
        except BaseException as e:
            fail("cannot serve: %s" % e)
        self.server.slim()

    def run(self):
        """Serve until the worker is to leave."""
        if self.count == 1:
            self.server.run(0)
            return
        # A handler that forks must not find the main thread in the middle of this. The first
        # request may be here, and keep the GIL for good: tracebacks need none.
        mask = block_signals(DUMP)

        def run(i):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self.server.run(i)

        pool = [self.threads.start(run, (i,), "hostler-%d" % i) for i in range(self.count)]
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while wait(self.server):
            self.server.drain()
        for t in pool:
            t.join()

    def leave(self):
        self.profiler.end()
        self.collector.end()
        seconds = self.server.leave()
        log.write_by(None)
        see_off(self.settings, seconds)


def wait(server):
    """Wait until the threads have left. Signal handlers run here; what they raise is
    logged. True: they want an end (SystemExit). In a child that one has forked it
    raises what that child ends with."""
    while True:
        try:
            server.wait()
            return False
        except BaseException as e:
            if server.forked():
                raise
            if isinstance(e, SystemExit):
                return True
            log.say("hostler: a signal handler raised:\n" + text_of_raised(e))


def see_off(settings, seconds):
    """Python ends when the application's threads have, and then does what it is to do
    at exit. Say which threads it waits for, and after seconds do so without them:
    whoever stops the server does not wait for ever, and would kill this process."""
    if not no_daemons():
        return
    over = time.monotonic() + seconds
    at_exit = []
    atexit.register(at_exit.append, True)  # the last to be registered runs first

    def say(text):
        log.say("hostler: worker %d %s: %s\n" % (settings["worker"], text, ", ".join(thread_names(no_daemons()))), "WARN")

    def watch():
        time.sleep(0.2)  # those of an idle pool end as soon as Python begins to wait
        if at_exit:
            return
        say("cannot end as long as threads run that are no daemons")
        time.sleep(max(0, over - time.monotonic()))
        if at_exit:
            return
        say("ends without its threads, for its time is over")
        atexit._run_exitfuncs()
        flush()
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="hostler-end").start()
