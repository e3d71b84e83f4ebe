import os
import socket
import tempfile
import unittest
from array import array
from unittest import mock

from _hostler import protocol
from tests.helpers import control, in_child


class Protocol(unittest.TestCase):
    def test_fail(self):
        def dies():
            protocol.fail("no \udcff" + 100000 * "x")

        with control() as master:
            self.assertFalse(in_child(dies))
            said = master.recv(1 << 20)
        self.assertEqual(len(said), 60001)  # a packet that is not too large, and its end, which says most
        self.assertTrue(said.startswith(b"Fx"))

    def test_receive(self):
        """A file for the error log is taken on the way."""
        with control() as master, tempfile.TemporaryFile() as log:
            kept = os.dup(2)
            ours = socket.socket(fileno=os.dup(protocol.CONTROL))
            try:
                master.sendmsg([b"U"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [log.fileno()]))])
                master.sendmsg([b"Wsettings"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [0, 1]))])
                message, fds = protocol.receive(ours)
                os.write(2, b"a line")
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                ours.close()
            self.assertEqual((message, len(fds)), (b"Wsettings", 2))
            for fd in fds:
                self.assertFalse(os.get_inheritable(fd))
                os.close(fd)
            log.seek(0)
            self.assertEqual(log.read(), b"a line")

    def test_end(self):
        with control() as master:
            ours = protocol.control_socket()
            master.close()
            self.assertEqual(protocol.receive(ours), (b"", []))
            ours.close()

    def test_control_socket(self):
        """It waits, whatever the application has made the default."""
        self.addCleanup(socket.setdefaulttimeout, None)
        socket.setdefaulttimeout(0.01)
        with control():
            c = protocol.control_socket()
            self.assertIsNone(c.gettimeout())
            c.close()

    def test_tell(self):
        with control() as master:
            protocol.tell(protocol.READY)
            protocol.tell(protocol.FORKED, b"why not")
            self.assertEqual((master.recv(10), master.recv(10)), (b"R", b"Pwhy not"))

    def test_nobody(self):
        with mock.patch.object(protocol, "CONTROL", 1 << 20):
            self.assertRaises(OSError, protocol.tell, protocol.READY)
