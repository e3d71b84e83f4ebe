import asyncio
import unittest

from _hostler.asgi import messages, page


class Group(Exception):
    def __init__(self, *parts):
        self.exceptions = parts


class ClientDisconnect(Exception):
    pass


class Messages(unittest.TestCase):
    def test_what_tells_of_the_client(self):
        gone = messages.ClientDisconnected()
        for e in (gone, ClientDisconnect(), Group(gone), Group(Group(gone), ClientDisconnect())):
            self.assertTrue(messages.tells_of_the_client(e), e)
        for e in (OSError(), Group(), Group(gone, ValueError())):
            self.assertFalse(messages.tells_of_the_client(e), e)

    def test_scopes(self):
        tcp = messages.base_scope({"network": "tcp", "host": "::1", "port": "8000", "tls": True})
        self.assertEqual((tcp["server"], tcp["scheme"]), (("::1", 8000), "https"))
        self.assertIn("tls", tcp["extensions"])
        unix = messages.base_scope({"network": "unix", "host": "/run/s", "port": ""})
        self.assertEqual((unix["server"], unix["scheme"]), (("/run/s", None), "http"))
        self.assertNotIn("tls", unix["extensions"])


class Page(unittest.TestCase):
    def serve(self, text, kind="http"):
        class Server:
            def page(self):
                return text

        async def app(scope, receive, send):
            await send("the application's")

        sent = []

        async def send(message):
            sent.append(message)

        asyncio.run(page.or_error_page(Server(), app)({"type": kind, "headers": [(b"accept", b"text/plain")]}, None, send))
        return sent

    def test_broken_code_is_shown(self):
        start, body = self.serve("größer: broken".encode())
        self.assertEqual(start["status"], 500)
        self.assertIn("größer: broken".encode(), body["body"])

    def test_else_the_application_answers(self):
        self.assertEqual(self.serve(b""), ["the application's"])
        self.assertEqual(self.serve(b"broken", "lifespan"), ["the application's"])
