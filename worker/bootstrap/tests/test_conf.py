import logging
import os
import sys
import unittest
from unittest import mock

from _hostler import conf
from tests.helpers import folder

FILE = """
import os
workers = 3
_private = 1
def when_ready(server): print("ready")
def on_exit(server): pass
"""


class Conf(unittest.TestCase):
    def test_a_file_is_a_program(self):
        with folder(gunicorn_conf=FILE) as path, mock.patch.dict(sys.modules):
            module = conf.load(os.path.join(path, "gunicorn_conf.py"))
            self.assertIs(sys.modules["__config__"], module)
        self.assertEqual(conf.values(module), {"workers": 3})

    def test_modules(self):
        with folder(settings_of_mine=FILE):
            for source in ("settings_of_mine", "python:settings_of_mine"):
                self.assertEqual(conf.load(source).workers, 3)
                self.assertFalse(conf.is_file(source))
        self.assertTrue(conf.is_file("here/settings") and conf.is_file("settings.py"))

    def test_hooks_that_do_nothing(self):
        def raises(server):
            raise ValueError

        def returns(server):
            return 1

        def says(server):
            "What it is for."

        for hook in (raises, returns, print):
            self.assertTrue(conf.does(hook), hook)
        for hook in (says, lambda server: None):
            self.assertFalse(conf.does(hook), hook)

    def test_hooks_by_name(self):
        self.assertIs(conf.function("os.path.join"), os.path.join)
        self.assertIs(conf.function(print), print)

    def test_logging(self):
        logger = logging.getLogger("tests.of.conf")
        before = logging.getLogger("gunicorn.error").handlers[:], logging.root.handlers[:], logging.root.level
        try:
            conf.set_up_logging({"loggers": {"tests.of.conf": {"level": "ERROR"}}, "root": {"level": "WARNING", "handlers": []}})
            self.assertEqual(logger.level, logging.ERROR)
            self.assertEqual(logging.root.level, logging.WARNING)
        finally:
            logging.getLogger("gunicorn.error").handlers, logging.root.handlers = before[0], before[1]
            logging.root.setLevel(before[2])
