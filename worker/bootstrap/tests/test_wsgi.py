import gzip
import io
import os
import tempfile
import unittest
from unittest import mock

from _hostler import wsgi


def listener(**given):
    return dict({"network": "tcp", "host": "127.0.0.1", "port": "8000"}, **given)


SETTINGS = {"version": "1", "threads": 2, "workers": 1}


class Environ(unittest.TestCase):
    def test_server_name(self):
        for host, name in (
            ("127.0.0.1", "127.0.0.1"), ("", ""), ("0.0.0.0", ""), ("::", ""), ("0:0::0", ""), ("::1", "[::1]"), ("fe80::1%eth0", "[fe80::1]"), ("shop", "shop"),
        ):  # fmt: skip
            self.assertEqual(wsgi.server_name(listener(host=host)), (name, "8000"))
        self.assertEqual(wsgi.server_name({"network": "unix", "host": "/run/a", "port": ""}), ("", ""))

    def test_base(self):
        with mock.patch.dict(os.environ, {"SCRIPT_NAME": "/größe/"}):
            env = wsgi.base_environ(SETTINGS, listener(tls=True), None, None)
        self.assertEqual(env["SCRIPT_NAME"], "/größe".encode().decode("latin-1"))
        self.assertEqual((env["HTTPS"], env["wsgi.url_scheme"]), ("on", "https"))
        self.assertTrue(env["wsgi.multithread"])
        self.assertFalse(env["wsgi.multiprocess"])
        env = wsgi.base_environ(SETTINGS, {"network": "unix", "host": "/run/a", "port": ""}, None, None)
        self.assertEqual((env["SERVER_NAME"], env["SERVER_PORT"]), ("localhost", "80"))
        self.assertNotIn("HTTPS", env)

    def test_script_name(self):
        with mock.patch.dict(os.environ, {"SCRIPT_NAME": "shop"}), mock.patch.object(wsgi, "fail", side_effect=SystemExit) as fail:
            self.assertRaises(SystemExit, wsgi.script_name)
        self.assertIn("begin with a slash", fail.call_args[0][0])


class Files(unittest.TestCase):
    def test_real(self):
        with tempfile.TemporaryFile() as f, tempfile.NamedTemporaryFile() as named, open(named.name, "rb", buffering=0) as raw:
            self.assertIs(wsgi.real_file(f), f)
            self.assertIs(wsgi.real_file(named), named.file)
            self.assertIs(wsgi.real_file(raw), raw)
            with gzip.GzipFile(fileobj=f, mode="wb") as zipped:
                self.assertIsNone(wsgi.real_file(zipped))
        self.assertIsNone(wsgi.real_file(io.BytesIO()))

    def test_wrapper(self):
        f = io.BytesIO(b"abcde")
        w = wsgi.FileWrapper(f, 2)
        self.assertEqual(list(w), [b"ab", b"cd", b"e"])
        w.close()
        self.assertTrue(f.closed)
        self.assertFalse(hasattr(w, "__len__"))
        self.assertFalse(hasattr(wsgi.FileWrapper.__new__(wsgi.FileWrapper), "read"))


class Deadline(unittest.TestCase):
    def test_deadline(self):
        deadline = wsgi.make_deadline(lambda *seconds: seconds)
        self.assertEqual((deadline(), deadline(3)), ((), (3,)))
        self.assertIs(deadline.RequestTimeout, wsgi.RequestTimeout)
        self.assertFalse(issubclass(wsgi.RequestTimeout, Exception))
        self.assertIn("--timeout", str(wsgi.RequestTimeout()))
        self.assertEqual(wsgi.RequestTimeout.__module__, "hostler")
