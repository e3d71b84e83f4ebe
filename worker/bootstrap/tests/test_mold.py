import _thread
import os
import socket
import threading
import unittest
from types import SimpleNamespace
from unittest import mock

from _hostler import audit, mold, objects
from tests.helpers import in_child

SETTINGS = {"listeners": [{"network": "tcp", "host": "", "port": "8000"}], "version": "1", "threads": 1, "workers": 2}


class WarmUp(unittest.TestCase):
    def test_request(self):
        seen = []

        class Result:
            closed = False

            def __iter__(self):
                return iter([b"x"])

            def close(self):
                seen.append("closed")

        def app(environ, start_response):
            start_response("200 OK", [])(b"")
            seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"], environ["wsgi.input"].read()))
            return Result()

        with mock.patch.dict(os.environ, {"SCRIPT_NAME": "/shop"}):
            mold.warm_up(SETTINGS, app, "/shop/a%20b?c=d")
        self.assertEqual(seen, [("/shop", "/a b", "c=d", b""), "closed"])

    def test_raises(self):
        with mock.patch.object(mold, "report") as report:
            mold.warm_up(SETTINGS, lambda e, s: 1 / 0, "/")
        self.assertIs(report.call_args[0][2], ZeroDivisionError)

    def test_databases(self):
        connections = mock.Mock()
        django = {"django.db": SimpleNamespace(connections=connections), "django.conf": SimpleNamespace(settings=SimpleNamespace(configured=True))}
        with mock.patch.dict("sys.modules", django):
            mold.close_databases()
            self.assertEqual(connections.close_all.call_count, 1)
            connections.close_all.side_effect = ValueError("odd")
            with mock.patch.object(mold, "warn") as warn:
                mold.close_databases()
        self.assertIn("ValueError: odd", warn.call_args[0][0])


class Lazy:
    """An object that nobody is to wake."""

    def wake(self, *_):
        raise AssertionError("awake")

    __getattr__ = __getattribute__ = __bool__ = __str__ = __repr__ = __eq__ = __call__ = wake
    __hash__ = object.__hash__


class Looks(unittest.TestCase):
    def test_objects(self):
        self.assertEqual(objects.code_name(Lazy()), __name__ + ".Lazy")
        self.assertEqual(objects.code_name(self.test_objects), __name__ + ".Looks.test_objects")
        self.assertEqual(objects.code_name(_thread.start_new_thread), "_thread." + _thread.start_new_thread.__qualname__)
        t = threading.Thread(target=Lazy(), name="theirs")
        timer = threading.Timer(1, os.getpid)
        self.assertEqual(objects.thread_names([t]), ["'theirs' (%s.Lazy)" % __name__])
        self.assertIn("(posix.getpid)", objects.thread_names([timer])[0])
        self.assertEqual(objects.thread_names([Lazy()]), ["'?' (%s.Lazy)" % __name__])

    def test_no_daemons(self):
        over = threading.Event()
        ts = [threading.Thread(target=over.wait, args=(60,), daemon=d) for d in (True, False)]
        for t in ts:
            t.start()
        found = objects.no_daemons()
        over.set()
        for t in ts:
            t.join()
        self.assertEqual(found, [ts[1]])


class Audit(unittest.TestCase):
    def test_audit(self):
        """What is opened by the warm-up and what was there before, threads, and who has them."""

        def check():
            said = []
            with mock.patch.object(audit, "warn", said.append), mock.patch.object(audit, "LIBRARY", 0):
                first = max(int(fd) for fd in os.listdir("/proc/self/fd")) + 1
                kept = socket.socket()
                os.dup2(kept.fileno(), first + 10)
                before = audit.open_sockets(first)
                globals()["theirs"] = socket.create_server(("127.0.0.1", 0))
                os.dup2(theirs.fileno(), first + 11)  # noqa: F821
                threading.Thread(target=threading.Event().wait, args=(60,), daemon=True, name="lasts").start()
                audit.audit(first, before)
            text = "\n".join(said)
            return (
                "the thread 'lasts' (threading.Event.wait) will not be in the workers" in text
                and "a socket will be shared by all workers" in text
                and "warming up has opened a connection" in text
                and "cannot look" not in text
            )

        self.assertTrue(in_child(check))

    def test_loops(self):
        """Event loops that were made before the fork are named, unless they are closed."""

        def check():
            import asyncio

            said = []
            with mock.patch.object(audit, "warn", said.append):
                asyncio.new_event_loop().close()
                audit.audit_loops()
                none = list(said)
                loop = asyncio.new_event_loop()
                audit.audit_loops()
                loop.close()
            return none == [] and len(said) == 1 and "an event loop has been made already (asyncio.unix_events._UnixSelectorEventLoop)" in said[0]

        self.assertTrue(in_child(check))
