"""What a process does to itself: signals, descriptors, its title, threads, its end."""

import os
import signal
import sys
import textwrap
import threading
import unittest
from types import SimpleNamespace
from unittest import mock

from _hostler import interpreter, library, signals, start, threads, worker
from _hostler.descriptors import Descriptors
from tests.helpers import control, in_child, python


class Signals(unittest.TestCase):
    def test_block(self):
        def check():
            before = signals.block_signals()
            now = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return {signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMAX} <= now and not {signal.SIGSEGV, signal.SIGBUS} & now

        self.assertTrue(in_child(check))

    def test_own(self):
        """They are ours here, and as they were in children and in programs."""

        def check():
            before = signal.getsignal(signal.SIGUSR1)
            signals.own_signals()
            ours = signal.getsignal(signal.SIGUSR1)
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # the application's own stays
            os.kill(os.getpid(), signal.SIGUSR1)
            return (
                callable(ours)
                and ours != before
                and in_child(lambda: signal.getsignal(signal.SIGUSR1) == before and signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN)
            )

        self.assertTrue(in_child(check))

    def test_drain(self):
        def check():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            server = mock.Mock()
            signals.drain_on_sigterm(server.drain)
            os.kill(os.getpid(), signal.SIGTERM)
            return server.drain.call_count == 1 and in_child(lambda: signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)

        self.assertTrue(in_child(check))

    def test_drain_of_the_applications(self):
        def check():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signals.drain_on_sigterm(None)
            return signal.getsignal(signal.SIGTERM) == signal.SIG_IGN

        self.assertTrue(in_child(check))


class OfTheMaster(unittest.TestCase):
    def test_children(self):
        """A child keeps none of them, and what has the number of one by then."""

        def check():
            ours, theirs, spare = os.pipe(), os.pipe(), os.open("/dev/null", os.O_RDONLY)
            own = Descriptors([*ours, spare])
            os.dup2(theirs[0], ours[0])
            there = lambda fd: own.file(fd) is not None or os.path.exists("/proc/self/fd/%d" % fd)  # noqa: E731
            closed = in_child(lambda: there(ours[0]) and not there(ours[1]) and there(spare))
            own.spared = True
            return closed and in_child(lambda: there(ours[1]))

        self.assertTrue(in_child(check))


class Interpreter(unittest.TestCase):
    def test_others(self):
        with mock.patch.object(sys, "implementation", SimpleNamespace(name="pypy")), mock.patch.object(interpreter, "fail", side_effect=SystemExit) as fail:
            self.assertRaises(SystemExit, interpreter.check)
        self.assertIn("is pypy", fail.call_args[0][0])

    def test_newest(self):
        with mock.patch.object(sys, "stderr") as err, mock.patch.object(interpreter, "NEWEST", (3, 7)):
            interpreter.mention_build()
        self.assertIn("is newer than this hostler", err.write.call_args_list[0][0][0])


class Library(unittest.TestCase):
    def test_broken(self):
        with mock.patch.object(library, "LIBRARY", 0), mock.patch.object(library, "fail", side_effect=SystemExit) as fail:
            self.assertRaises(SystemExit, library.load_library)
        self.assertIn("cannot start the server in " + sys.executable, fail.call_args[0][0])


class Title(unittest.TestCase):
    def test_title(self):
        out = python(
            """
            from _hostler.title import set_title, title
            set_title(title({"generation": 3, "name": "", "app": "shop:app"}, "mold"))
            with open("/proc/self/cmdline", "rb") as f:
                print(f.read().rstrip(b"\\0").decode())
            """
        )
        self.assertEqual(out, "hostler: mold gen 3 [shop:app]\n")


class Prepared(unittest.TestCase):
    def prepare(self, text, **settings):
        """What a program prints in a process that is prepared by these settings."""
        given = dict({"listeners": None, "app": "shop:app", "argv": ["hostler", "shop:app"], "version": "7", "log_level": "info"}, **settings)
        begin = """
            import os, sys
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3, 10):
                os.dup2(null, fd)
            from _hostler import stdlib
            stdlib.prefer_standard_library()
            from _hostler import start
            start.fail = sys.exit
            start.prepare(%r)
            """
        return python(textwrap.dedent(begin % given) + textwrap.dedent(text))

    def test_arguments(self):
        show = "print(sys.argv, os.environ['SERVER_SOFTWARE'], sys.path[:2])"
        self.assertEqual(self.prepare(show, pythonpath=["/srv"]), "['hostler', 'shop:app'] hostler/7 %r\n" % [os.getcwd(), "/srv"])
        argv = ["/usr/bin/hostler", "-w", "4", "shop:app"]
        self.assertTrue(self.prepare(show, argv=argv).startswith(repr(argv)))
        with mock.patch.dict(os.environ, {"SERVER_SOFTWARE": "gunicorn/23.0"}):
            self.assertIn("gunicorn/23.0", self.prepare(show))

    def test_gunicorns_logger(self):
        """Applications take its handlers and its level for their own."""
        text = """
            assert "logging" not in sys.modules
            import logging
            own = logging.getLogger("shop")
            own.handlers = logging.getLogger("gunicorn.error").handlers
            own.setLevel(logging.getLogger("gunicorn.error").level)
            own.debug("at debug")
            own.info("at info")
            own.warning("at warning")
            """
        out = self.prepare(text)
        self.assertNotIn("at debug", out)
        self.assertIn("hostler: at info\n", out)
        self.assertEqual(out.count("at warning"), 1)
        self.assertNotIn("at info", self.prepare(text, log_level="warn"))

    def test_directory(self):
        with self.assertRaisesRegex(AssertionError, "cannot change to the directory /no/such: No such file"):
            self.prepare("", chdir="/no/such")


class Threads(unittest.TestCase):
    def run_one(self, made):
        seen = []
        t = made.start(lambda x: seen.append((x, threading.current_thread().name)), (1,), "hostler-1")
        t.join(60)
        self.assertEqual(seen, [(1, "hostler-1")])
        return t

    def test_pythons(self):
        self.assertIsInstance(self.run_one(threads.Threads()), threading.Thread)

    def test_replaced(self):
        """Something else in the place of Python's threads is not what requests run on."""
        made = threads.Threads()
        with mock.patch.object(threading, "Lock", lambda: made.lock()):
            self.assertIsInstance(self.run_one(made), threads.PlainThread)

    def test_wrapped(self):
        made = threads.Threads()
        original, calls = threading.Thread.start, []

        def wrapper(self):
            calls.append(self)
            original(self)

        with mock.patch.object(threading.Thread, "start", wrapper):
            self.assertIsInstance(self.run_one(made), threading.Thread)
        self.assertEqual(len(calls), 1)


class Waits(unittest.TestCase):
    def test_handlers(self):
        """What a signal handler raises is logged; SystemExit is an end."""
        server = mock.Mock()
        server.forked.return_value = False
        server.wait.side_effect = [ValueError("of a handler"), None]
        with mock.patch.object(worker.log, "say") as say:
            self.assertFalse(worker.wait(server))
        self.assertIn("ValueError: of a handler", say.call_args[0][0])
        server.wait.side_effect = SystemExit
        self.assertTrue(worker.wait(server))
        server.forked.return_value = True
        self.assertRaises(SystemExit, worker.wait, server)

    def test_see_off(self):
        """Threads that are no daemons keep a worker for its time, and no longer."""
        out = python(
            """
            import atexit, sys, threading, time
            from _hostler.worker import see_off
            sys.stderr = sys.stdout
            atexit.register(print, "at exit")
            threading.Thread(target=time.sleep, args=(600,), name="lasts").start()
            see_off({"worker": 2}, 0.5)
            """
        )
        self.assertEqual(
            out,
            "hostler: worker 2 cannot end as long as threads run that are no daemons: 'lasts' (time.sleep)\n"
            "hostler: worker 2 ends without its threads, for its time is over: 'lasts' (time.sleep)\nat exit\n",
        )


class Ready(unittest.TestCase):
    def test_check(self):
        """A check imports the application, and says that it is ready."""

        def check():
            sys.argv = ["-c", '{"listeners": null, "worker": 1, "check": true, "app": "os:getcwd", "version": "7", "log_level": "info"}', "9"]
            start.main(mock.Mock())
            return False

        with control() as master, mock.patch.object(start, "CONTROL", 3), mock.patch.object(start, "prepare"):
            in_child(check)
            self.assertEqual(master.recv(100), b"R")
