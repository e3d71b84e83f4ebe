import json
import os
import unittest
from unittest import mock

from _hostler import hooks, protocol
from tests.helpers import control, folder, in_child

SETTINGS = {"hooks": "theirs", "generation": 2, "worker": 3, "master_pid": 7, "log_level": "info", "app": "shop:app", "name": "", "workers": 1}

MODULE = """
seen = []

def on_starting(server):
    seen.append(server.pid)

def post_fork(server, worker):
    raise KeyError("lost")

def post_worker_init(worker):
    seen.append((worker.number, worker.age, worker.generation, worker.wsgi))
    if worker.wsgi == "bad":
        raise ValueError("no database")

def worker_exit(server, worker):
    seen.append("exit")
"""


class Hooks(unittest.TestCase):
    def test_worker(self):
        with folder(theirs=MODULE), mock.patch.object(hooks, "say") as say:
            h = hooks.Hooks(SETTINGS)
            h.post_fork(SETTINGS)
            self.assertIn("the hook post_fork failed:\nTraceback", say.call_args[0][0])
            self.assertNotIn(hooks.__file__, say.call_args[0][0])
            h.post_worker_init("app")
            h.worker_exit()
            import theirs

            self.assertEqual(theirs.seen, [(3, 3, 2, "app"), "exit"])
            self.assertIsNone(h.run("on_reload"))
            with mock.patch.object(hooks, "fail", side_effect=SystemExit) as fail:
                self.assertRaises(SystemExit, h.post_worker_init, "bad")
            self.assertTrue(fail.call_args[0][0].endswith("ValueError: no database\n"))

    def test_refused(self):
        for text, said in (("post_fork = 3", "the hook post_fork in theirs is not callable, but int"), ("import no_such_module", "cannot load the hooks in theirs:\n")):
            with folder(theirs=text), mock.patch.object(hooks, "fail", side_effect=SystemExit) as fail:
                self.assertRaises(SystemExit, hooks.Hooks, SETTINGS)
            self.assertIn(said, fail.call_args[0][0])
        self.assertIn("No module named 'no_such_module' (Python: ", fail.call_args[0][0])

    def test_process(self):
        """The process of the hooks: what it has for the master, what it is asked for, and its end."""

        def serve():
            hooks.Hooks(SETTINGS).serve()
            return True

        with folder(theirs=MODULE), control() as master, mock.patch.object(hooks, "CONTROL", protocol.LISTENERS):  # it closes nothing
            master.sendall(b"H" + json.dumps({"hook": "on_starting"}).encode())
            master.sendall(b"H" + json.dumps({"hook": "post_fork", "worker": {"pid": 4}}).encode())
            master.sendall(b"D")
            kept = os.dup(2)
            null = os.open("/dev/null", os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
            try:
                self.assertTrue(in_child(serve))
            finally:
                os.dup2(kept, 2)
                os.close(kept)
            said = [master.recv(1000) for _ in range(3)]
        self.assertEqual(said[0].split(), [b"Non_starting"])
        self.assertEqual(said[1:], [b"K", b"Kthe hook post_fork failed: KeyError: 'lost'"])
