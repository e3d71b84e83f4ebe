import sys
import types
import unittest
from unittest import mock

from _hostler import greensockets
from _hostler.sockets import WebSocketClosed


class Native:
    """hostler.websocket, with what its client says."""

    Closed = WebSocketClosed

    def __init__(self, *messages):
        self.messages = list(messages)
        self.done = []
        self.closed = False
        self.subprotocols = ["a", "chat"]

    def accept(self, subprotocol=None):
        self.done.append(("accept", subprotocol))

    def receive(self):
        if self.messages:
            return self.messages.pop(0)
        self.closed = True
        raise self.Closed(1000, "")

    def send(self, message):
        if self.closed:
            raise self.Closed(1006, "")
        self.done.append(message)

    def close(self, code, reason):
        self.done.append((code, reason))
        self.closed = True


class GreenSockets(unittest.TestCase):
    def make(self, *messages, app=None):
        self.native = Native(*messages)
        environ = {"PATH_INFO": "/p", "REMOTE_ADDR": "::1", "REMOTE_PORT": "5", "HTTP_ORIGIN": "o"}
        return greensockets.offers(app)(self.native, environ)

    def test_it_is_accepted_when_something_is_asked_of_it(self):
        ws = self.make()
        self.assertEqual((ws.path, ws.origin, ws.version, self.native.done), ("/p", "o", None, []))
        self.assertEqual((ws.closed, ws.closed, self.native.done), (False, False, [("accept", None)]))

    def test_messages(self):
        ws = self.make("text", b"bytes")
        self.assertEqual((ws.receive(), ws.receive(), ws.receive()), ("text", bytearray(b"bytes"), None))
        self.assertTrue(ws.closed)
        self.assertIsNone(ws.environ)
        for late in (ws.receive, lambda: ws.send("late")):
            with self.assertRaises(greensockets.WebSocketError) as e:
                late()
            self.assertEqual(str(e.exception), greensockets.ALREADY_CLOSED)

    def test_sending(self):
        ws = self.make()
        for args in (("t",), (b"b",), (bytearray(b"a"),), (5, False), (b"", False)):
            ws.send(*args)
        ws.send_frame(b"", ws.OPCODE_PING)
        ws.close(4000, b"\xc3\xa4")
        ws.close()
        self.assertEqual(self.native.done[1:], ["t", b"b", b"a", "5", "", (4000, "\xe4")])

    def test_who_has_gone(self):
        ws = self.make()
        self.native.closed = True
        with self.assertRaises(OSError) as e:
            ws.send("x")
        self.assertEqual(str(e.exception), greensockets.SOCKET_DEAD)

    def test_their_exception_where_it_is_known(self):
        class Theirs(OSError):
            pass

        with mock.patch.dict(sys.modules, {"geventwebsocket.exceptions": types.SimpleNamespace(WebSocketError=Theirs)}):
            self.assertIs(type(greensockets.error("x")), Theirs)

    def test_clients(self):
        app = types.SimpleNamespace(app_protocol=lambda path: "chat")
        offers = greensockets.offers(app)
        a, b, c = [offers(Native(), {"REMOTE_ADDR": "::1", "REMOTE_PORT": port}) for port in ("1", "2", "")]
        for ws in a, b:
            self.assertFalse(ws.closed)
            self.assertEqual(ws._ws.done, [("accept", "chat")])
        a.handler.active_client.name = "first"
        clients = b.handler.server.clients
        self.assertEqual(sorted(clients), [("::1", 1), ("::1", 2)])
        self.assertIs(clients["::1", 1].ws, a)
        self.assertEqual(clients["::1", 1].name, "first")
        self.assertIs(b.handler.websocket, b)
        a.close()
        self.assertEqual(list(b.handler.server.clients), [("::1", 2)])
        del b, clients, ws
        self.assertEqual(list(c.handler.server.clients), [])
