import contextlib
import logging
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

    def test_formats(self):
        """What is ours looks as the server's log does, also before the library writes it."""
        self.addCleanup(log.look_like, {"worker": 0})
        for form, one, below in (
            ("logfmt", r'time=\S+ level=WARN msg="it \\"is\\" so" worker=3 pid=\d+\n', r"Error: x\n"),
            ("text", r'\S+ \S+ WARN   it "is" so worker=3 pid=\d+\n', r"Error: x\n"),
            ("journal", r'<4>it "is" so worker=3 pid=\d+\n', r"<4>Error: x\n"),
            ("json", r'\{"time": "\S+", "level": "WARN", "msg": "it \\"is\\" so", "worker": 3, "pid": \d+(, "text": "Error: x")?\}\n', ""),
        ):
            log.look_like({"log_format": form, "worker": 3})
            self.assertRegex(log.formatted('hostler: it "is" so\n', "WARN"), "^" + one + "$")
            self.assertRegex(log.formatted('hostler: it "is" so\nError: x\n', "WARN"), "^" + one + below + "$")
        for other in ({"mold": True}, {"hooks_only": True}):  # no worker, whatever its number
            log.look_like(dict(other, log_format="logfmt", worker=1))
            self.assertRegex(log.formatted("hostler: so\n"), r'^time=\S+ level=ERROR msg="so" pid=\d+\n$')
        self.assertEqual(log.formatted("theirs\nhostler: \n"), "theirs\nhostler: \n")

    def test_priorities(self):
        """The library learns of the level by what stands before the text."""
        taken = []
        self.addCleanup(log.write_by, None)
        log.write_by(lambda data: taken.append(data) or True)
        log.say("hostler: a\n")
        log.say("hostler: b\n", "INFO")
        self.assertEqual(taken, [b"hostler: a\n", b"<6>hostler: b\n"])

    def test_handler(self):
        """What goes by logging is a record of the same level."""
        logger = logging.Logger("shop", logging.DEBUG)
        logger.addHandler(log.handler(logging, "shop: "))
        taken = []
        self.addCleanup(log.write_by, None)
        log.write_by(lambda data: taken.append(data.decode()) or True)
        for level in (logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logger.log(level, "%d", level)
        self.assertEqual(taken, ["%shostler: shop: %d\n" % p for p in (("<7>", 10), ("<6>", 20), ("<6>", 25), ("<4>", 30), ("", 40), ("", 50))])
        try:
            raise ValueError("\x1b[2J")
        except ValueError:
            logger.exception("it failed")
        self.assertRegex(taken[-1], r"(?s)^hostler: shop: it failed\nTraceback .*\nValueError: \\x1b\[2J\n$")
        logger.handlers[0].setFormatter(logging.Formatter("%(name)s %(message)s"))
        logger.info("as they like")
        self.assertEqual(taken[-1], "<6>hostler: shop: shop as they like\n")

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

    def test_report_shown(self):
        """With --debug it is returned for the client, too, the end of what is too long."""
        e = ValueError("x" * log.SHOWN)
        with error_log(), mock.patch.object(log, "_debug", False):
            self.assertIsNone(log.report("GET", "/", ValueError, e, None))
        with error_log(), mock.patch.object(log, "_debug", True):
            shown = log.report("GET", "/", ValueError, e, None)
        self.assertEqual(shown, b"x" * (log.SHOWN - 1) + b"\n")

    def test_flush(self):
        class Odd:
            def flush(self):
                raise ValueError("closed")

        with mock.patch("sys.stdout", Odd()), mock.patch("sys.stderr", None):
            log.flush()
