import os
import threading
import time
import unittest
from unittest import mock

from _hostler import profile, reload, threads
from tests.helpers import control, folder


class Files(unittest.TestCase):
    def test_modules(self):
        with folder(shop="") as path:
            import shop  # noqa: F401

            found = reload.source_files()
            self.assertIn(path + "/shop.py", found)
        self.assertNotIn(os.__file__, found)
        self.assertFalse([f for f in found if f.startswith("<")])

    def test_error(self):
        with folder(outer="import inner\n", inner="def f(:\n") as path:
            try:
                import outer  # noqa: F401
            except SyntaxError as e:
                found = reload.files_of(e)
            self.assertLessEqual({path + "/outer.py", path + "/inner.py"}, found)
            self.assertFalse([f for f in found if not os.path.isabs(f)])

    def test_told(self):
        """Each file once, in packets that the socket takes."""
        files = {"/srv/%s/%d.py" % (100 * "x", i) for i in range(1000)}
        modules = reload.Modules()
        with control() as master:
            modules.tell(files)
            modules.tell(files | {"/srv/late.py"})
            modules.tell(files)
            packets = []
            master.setblocking(False)
            try:
                while True:
                    packets.append(master.recv(1 << 20))
            except BlockingIOError:
                pass
        self.assertTrue(all(p[:1] == b"M" and len(p) <= 32768 for p in packets))
        self.assertEqual(packets[-1], b"M/srv/late.py\0")
        self.assertEqual({n.decode() for p in packets[:-1] for n in p[1:].split(b"\0") if n}, files)


class Page(unittest.TestCase):
    def ask(self, app, accept):
        start = mock.Mock()
        body = b"".join(app({"HTTP_ACCEPT": accept}, start))
        return start.call_args[0] if start.called else None, body.decode()

    def test_page(self):
        server = mock.Mock()
        server.page.return_value = b"<b>broken</b> \xff"
        app = reload.or_error_page(server, lambda e, s: [b"it"])
        (status, headers), body = self.ask(app, "text/html,*/*")
        self.assertEqual(status[:3], "500")
        self.assertIn("&lt;b&gt;broken", body)
        self.assertEqual(dict(headers)["Content-Length"], str(len(body.encode())))
        (_, headers), body = self.ask(app, "*/*")
        self.assertEqual(body, "<b>broken</b> \ufffd\n")
        server.page.return_value = b""
        self.assertEqual(self.ask(app, "text/html"), (None, "it"))


def busy(over):
    while not over.is_set():
        time.sleep(0.001)


class Profile(unittest.TestCase):
    def test_profile(self):
        sent = []
        p = profile.Profiler(sent.append, threads.Threads())
        over = threading.Event()
        t = threading.Thread(target=busy, args=(over,), name="a;b")
        t.start()
        p.start('{"id": 3, "rate": 500, "seconds": 0.3}')
        p.thread.join(60)
        over.set()
        t.join()
        head, *lines = sent[0].decode().split("\n")
        self.assertIn('"id": 3', head)
        mine = [line for line in lines if line.startswith("thread a_b;")]
        self.assertTrue(mine and all(int(line.rpartition(" ")[2]) >= 0 for line in mine), lines)
        self.assertIn("test_reload:busy:", mine[0])

    def test_deep(self):
        labels = {}

        def down(n):
            return down(n - 1) if n else profile.codes_of(__import__("sys")._getframe(), labels)

        codes = down(400)
        self.assertEqual(len(codes), profile.DEEPEST + 1)
        self.assertEqual(codes[profile.DEEPEST // 2], None)

    def test_end(self):
        sent = []
        p = profile.Profiler(sent.append, threads.Threads())
        p.start('{"id": 1, "rate": 10, "seconds": 600}')
        p.end()
        self.assertEqual(len(sent), 1)
        profile.Profiler(sent.append, None).end()
