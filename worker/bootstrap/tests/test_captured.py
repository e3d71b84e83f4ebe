import threading
import unittest
from unittest import mock

from _hostler import captured, log


class Captured(unittest.TestCase):
    def lines(self, *writes, longest=8):
        """What becomes of writes to a stream."""
        said = []
        with mock.patch.object(captured, "longest", lambda: longest), mock.patch.object(log, "printed", lambda stream, line: said.append(line)):
            lines = captured.Lines("stdout")
            for data in writes:
                if callable(data):
                    data(lines)
                else:
                    lines.add(data)
        return said

    def test_a_line_is_a_record(self):
        self.assertEqual(self.lines(b"a\r\n\nb", b"c\nd"), [b"a", b"bc"])
        self.assertEqual(self.lines(b"a", captured.Lines.flush, b"b\n"), [b"a", b"b"])
        self.assertEqual(self.lines(b"a", captured.Lines.end), [b"a"])

    def test_long_lines_are_several(self):
        self.assertEqual(self.lines(b"12345678abc\n"), [b"12345678", b"abc"])
        self.assertEqual(self.lines("1234567é\n".encode()), [b"1234567", "é".encode()])  # no character is torn

    def test_threads_do_not_mix(self):
        def other(lines):
            t = threading.Thread(target=lines.add, args=(b"theirs\n",))
            t.start()
            t.join()

        self.assertEqual(self.lines(b"our", other, b"s\n"), [b"theirs", b"ours"])
