import unittest
from unittest import mock

from _hostler import observe

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/a",
    "QUERY_STRING": "b",
    "RAW_URI": "/a?b",
    "wsgi.url_scheme": "http",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_X_ONE": "1",
    "CONTENT_LENGTH": "0",
}


class Body(list):
    closed = False

    def close(self):
        self.closed = True


class Observe(unittest.TestCase):
    def ended(self, app, after):
        """Run a request to its end, and return its body."""
        began = []
        observed = observe.around(app, "worker", lambda worker, request: began.append(request), after)
        body = observed(ENVIRON, lambda status, headers, *exc: None)
        data = b"".join(body)
        if hasattr(body, "close"):
            body.close()
        self.assertEqual([(r.uri, r.version, r.remote_addr) for r in began], [("/a?b", (1, 1), ("127.0.0.1", 0))])
        self.assertEqual(began[0].headers, [("X-ONE", "1"), ("CONTENT-LENGTH", "0")])
        return data

    def test_hooks_get_what_they_take(self):
        def app(environ, start_response):
            start_response("201 Created", [("X", "y")])
            return [b"abc", b"de"]

        seen = []
        for hook in (lambda w, r: seen.append(2), lambda w, r, e: seen.append(e is ENVIRON), lambda w, r, e, s: seen.append((s.status_code, s.sent, s.headers))):
            self.assertEqual(self.ended(app, hook), b"abcde")
        self.assertEqual(seen, [2, True, (201, 5, [("X", "y")])])

    def test_the_end_of_a_body(self):
        body = Body([b"abc", b"de"])

        def app(environ, start_response):
            start_response("200 OK", [])
            return body

        seen = []
        self.ended(app, lambda w, r, e, s: seen.append((s.sent, body.closed)))
        self.assertEqual(seen, [(5, True)])

    def test_a_hook_that_raises_is_told(self):
        def app(environ, start_response):
            start_response("200 OK", [])
            return []

        def after(worker, request):
            raise ValueError("no hook")

        with mock.patch.object(observe, "say") as say:
            self.assertEqual(self.ended(app, after), b"")
        self.assertIn("no hook", say.call_args[0][0])

    def test_after_an_exception(self):
        def app(environ, start_response):
            raise ValueError("the application's")

        seen = []
        observed = observe.around(app, "worker", None, lambda w, r, e, s: seen.append(s.status_code))
        with self.assertRaisesRegex(ValueError, "the application's"):
            observed(ENVIRON, None)
        self.assertEqual(seen, [0])
