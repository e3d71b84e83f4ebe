import ast
import glob
import os
import sys
import unittest

from _hostler import stdlib
from tests.helpers import folder, python

HERE = os.path.dirname(stdlib.__file__)
OTHERS = {"_hostler", "plaster", "paste", "gevent", "greenlet"}  # the user's, and meant


def imported(path):
    """The top-level names of all modules that a file imports, wherever in it."""
    with open(path, encoding="utf-8") as f:
        tree = ast.parse(f.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


class StandardLibrary(unittest.TestCase):
    def test_all_are_known(self):
        """No module of ours imports what a file of the application's could be taken for."""
        files = glob.glob(HERE + "/**/*.py", recursive=True) + [os.path.dirname(HERE) + "/launch.py"]
        self.assertGreater(len(files), 25)
        names = {name for path in files for name in imported(path)} - OTHERS - set(sys.builtin_module_names)
        needs = {"_frozen_importlib"}
        # Built into some Pythons, an extension in others.
        self.assertEqual(sorted(names - stdlib.OWN - needs - EXTENSIONS), [])

    def test_what_they_import(self):
        """Nor do the modules that those import."""
        out = python(
            """
            import glob, importlib, os, sys
            import _hostler
            before = set(sys.modules)
            home = os.path.dirname(os.path.dirname(_hostler.__file__))
            for path in glob.glob(os.path.join(home, "_hostler/**/*.py"), recursive=True):
                name = os.path.relpath(path, home)[:-3].replace(os.sep, ".")
                if not name.endswith("__init__"):
                    importlib.import_module(name)
            import configparser, html, logging.config, random, traceback
            import concurrent.futures.thread  # asyncio's, when it needs it
            for name in sorted(set(sys.modules) - before):
                if getattr(sys.modules[name], "__file__", None) and "." not in name and name != "_hostler":
                    print(name)
            """
        )
        self.assertEqual([name for name in out.split() if name not in stdlib.OWN], [])

    def test_shadows(self):
        with folder(string="raise ImportError('the wrong one')", calendar="own = True") as path:
            out = python(
                """
                import sys
                sys.path.insert(0, sys.argv[1])
                sys.modules.pop("string", None)
                from _hostler import stdlib
                stdlib.prefer_standard_library()
                import string, calendar
                print(string.digits, calendar.own)
                """,
                path,
            )
        self.assertEqual(out, "0123456789 True\n")

    def test_copies(self):
        """What the application has a package of is its own, and ours all the same."""
        with folder(http="own = True") as path:
            out = python(
                """
                import sys
                sys.path.insert(0, sys.argv[1])
                from _hostler import stdlib
                stdlib.prefer_standard_library()
                copy = stdlib.copy_of("http")
                import http
                print(copy.HTTPStatus(404).phrase, http.own)
                """,
                path,
            )
        self.assertEqual(out, "Not Found True\n")

    def test_when_imported(self):
        """Whoever waits for a module has it once it is there, and leaves no trace in it."""
        out = python(
            """
            import sys
            assert "logging" not in sys.modules
            from _hostler import stdlib
            stdlib.prefer_standard_library()
            seen = []
            stdlib.when_imported("logging", seen.append)
            assert not seen and "logging" not in sys.modules
            import logging
            assert seen == [logging]
            assert type(logging.__loader__).__name__ == type(logging.__spec__.loader).__name__ == "SourceFileLoader", logging.__loader__
            stdlib.when_imported("logging", seen.append)
            assert seen == [logging, logging]
            print("all")
            """
        )
        self.assertEqual(out, "all\n")


EXTENSIONS = {"_socket", "select", "fcntl", "resource", "zlib"}
