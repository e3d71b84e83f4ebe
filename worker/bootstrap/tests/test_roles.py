import unittest

from tests.helpers import python

SHOW = """
import sys
before = set(sys.modules)
from _hostler import stdlib
stdlib.prefer_standard_library()
from _hostler import start
%s
print(*sorted(set(sys.modules) - before))
"""

EACH = set("start stdlib interpreter app interface reasons descriptors frames log protocol signals threads".split())
WORKER = EACH | set("worker library wsgi objects profile collect sockets".split())
# What takes a megabyte, and the application may never need.
HEAVY = set("logging traceback inspect asyncio html random urllib.parse tokenize ast dis ctypes socket concurrent.futures".split())


class Roles(unittest.TestCase):
    def loaded(self, text):
        names = set(python(SHOW % text).split())
        ours = {n[len("_hostler.") :] for n in names if n.startswith("_hostler.")}
        return ours, names

    def test_each(self):
        ours, names = self.loaded("")
        self.assertEqual(ours, EACH)
        self.assertEqual(names & HEAVY, set())

    def test_worker(self):
        ours, names = self.loaded("from _hostler import library, worker")
        self.assertEqual(ours, WORKER)
        self.assertEqual(names & HEAVY, set())

    def test_mold(self):
        ours, _ = self.loaded("from _hostler import library, mold, worker")
        self.assertEqual(ours, WORKER | {"mold", "ready", "audit", "title"})

    def test_hooks(self):
        ours, _ = self.loaded("from _hostler import hooks")
        self.assertEqual(ours, EACH | {"hooks", "conf", "title"})
