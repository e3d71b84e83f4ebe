import socket
import unittest
from unittest import mock

from _hostler import sockets


class Sockets(unittest.TestCase):
    def offer(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.taken = 0

        def take():
            self.taken += 1
            return theirs.detach()

        self.addCleanup(theirs.close)
        return ours, sockets.offer_socket(take)

    def test_it_is_none_until_it_is_used(self):
        ours, offered = self.offer()
        self.assertIn("the connection", repr(offered))
        self.assertFalse(hasattr(offered, "no_such_thing"))
        self.assertIsInstance(offered, socket.socket)
        self.assertEqual(self.taken, 0)
        offered.sendall(b"abc")
        self.assertEqual(ours.recv(9), b"abc")
        self.assertIs(type(offered), socket.socket)
        self.assertIsNone(offered.gettimeout())
        offered.close()
        self.assertEqual((self.taken, ours.recv(9)), (1, b""))

    def test_with(self):
        ours, offered = self.offer()
        with offered as s:
            s.sendall(b"abc")
        self.assertEqual((self.taken, ours.recv(9), ours.recv(9)), (1, b"abc", b""))

    def test_libraries_have_their_own(self):
        class Theirs(socket.socket):
            pass

        with mock.patch.object(socket, "socket", Theirs):
            ours, offered = self.offer()
        self.assertEqual((type(offered), self.taken, offered.gettimeout()), (Theirs, 1, None))
        offered.close()

    def test_gevents_sends_all(self):
        """As a socket does that blocks, whatever send() of gevent's takes at once."""

        class Green(socket.socket):
            __slots__ = ()
            __module__ = "gevent._socket3"

            def send(self, data, flags=0):
                return socket.socket.send(self, data[:3], flags)

        with mock.patch.object(socket, "socket", Green):
            ours, offered = self.offer()
        self.assertEqual(self.taken, 0)
        self.assertEqual(offered.send(b"0123456789"), 10)
        self.assertEqual(ours.recv(99), b"0123456789")
        self.assertIsInstance(offered, Green)
        offered.close()

    def test_closed(self):
        e = sockets.WebSocketClosed(1001, "away")
        self.assertEqual((e.code, e.reason, str(e)), (1001, "away", "the WebSocket is closed: 1001 away"))
        self.assertIsInstance(e, OSError)
        self.assertEqual(type(e).__module__, "hostler")
