import contextlib
import os
import tempfile
import unittest
from unittest import mock

from _hostler import log
from tests.helpers import in_child


@contextlib.contextmanager
def error_log():
    """Standard error, as a file; what it has in the end."""
    kept, lines = os.dup(2), []
    with tempfile.TemporaryFile() as f:
        os.dup2(f.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            f.seek(0)
            lines.append(f.read().decode("utf-8"))


class Log(unittest.TestCase):
    def test_say(self):
        with error_log() as said:
            log.say("größer \udcff" + 5000 * "line\n")
        self.assertEqual(said[0], "größer \\udcff" + 5000 * "line\n")

    def test_library(self):
        taken = []
        self.addCleanup(log.write_by, None)
        log.write_by(lambda data: taken.append(data) or True)
        with error_log() as said:
            log.say("a\n")
            log.write_by(lambda data: False)  # it does not run any more
            log.say("b\n")
        self.assertEqual((said, taken), (["b\n"], [b"a\n"]))

    def test_full_pipe(self):
        """Nobody waits for the log."""

        def says():
            r, w = os.pipe()
            os.dup2(w, 2)
            os.set_blocking(w, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(w, 4096 * b"x")
            os.set_blocking(w, True)
            log.say("lost\n")
            return True

        self.assertTrue(in_child(says))

    def test_report(self):
        """What a client has sent does nothing to a terminal."""
        e = ValueError("\x1b[2J\x9b\x07")
        with error_log() as said:
            log.report("GET", "/\xff\n", ValueError, e, None)
        self.assertEqual(said, ["hostler: the application raised on GET /\\xff\n\nValueError: \\x1b[2J\\x9b\\x07\n"])

    def test_flush(self):
        class Odd:
            def flush(self):
                raise ValueError("closed")

        with mock.patch("sys.stdout", Odd()), mock.patch("sys.stderr", None):
            log.flush()
