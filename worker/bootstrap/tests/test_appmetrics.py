import importlib
import os
import sys
import unittest
from unittest import mock

from _hostler import appmetrics
from tests.helpers import folder

VALUES = """
    import os
    class MutexValue: pass
    class Other: pass
    ValueClass = Other if "OTHER" in os.environ else MutexValue
    WHEN = "loaded"
"""


class Finder(unittest.TestCase):
    def setUp(self):
        self.server = mock.Mock(spec=["metrics_type", "metrics_share", "metrics_forked", "metrics_end"])
        self.said = []
        for name, double in (("load_library", lambda: self.server), ("say", lambda text, level: self.said.append(text))):
            patch = mock.patch.object(appmetrics, name, double)
            patch.start()
            self.addCleanup(patch.stop)
        self.path = list(sys.meta_path)
        self.addCleanup(self.clean)
        for what in (mock.patch("os.register_at_fork"), mock.patch("atexit.register")):
            what.start()
            self.addCleanup(what.stop)

    def clean(self):
        sys.meta_path[:] = self.path
        for name in [n for n in sys.modules if n.partition(".")[0] == "prometheus_client"]:
            del sys.modules[name]

    def library(self, **env):
        """Import a library like prometheus_client, with a finder in place."""
        found = folder()
        path = found.__enter__()
        self.addCleanup(found.__exit__, None, None, None)
        os.mkdir(path + "/prometheus_client")
        for name, text in (("__init__", ""), ("values", VALUES)):
            with open("%s/prometheus_client/%s.py" % (path, name), "w") as f:
                f.write("\n".join(line[4:] for line in text.splitlines()))
        importlib.invalidate_caches()
        with mock.patch.dict(os.environ, env):
            return importlib.import_module(appmetrics.MODULE)

    def test_replaced(self):
        metrics = appmetrics.AppMetrics({"worker": 1})
        values = self.library()
        self.assertIs(values.ValueClass, self.server.metrics_type.return_value)
        self.assertEqual(values.WHEN, "loaded")
        self.assertEqual(type(values.__loader__).__name__, "SourceFileLoader")
        self.assertIs(values.__spec__.loader, values.__loader__)
        self.server.metrics_share.assert_called_once_with(b"A")
        os.register_at_fork.assert_called_once_with(after_in_child=self.server.metrics_forked)
        self.assertNotIn(metrics, sys.meta_path)
        self.assertEqual(self.said, [])
        metrics.be_worker()
        self.assertEqual(self.server.metrics_share.call_count, 2)

    def test_already_there(self):
        values = self.library()
        appmetrics.AppMetrics({"worker": 1})
        self.assertIs(values.ValueClass, self.server.metrics_type.return_value)

    def test_other_modules(self):
        metrics = appmetrics.AppMetrics({"worker": 1})
        self.assertIsNone(metrics.find_spec("json"))
        self.assertIsNone(metrics.find_spec(appmetrics.MODULE, []))  # the library is not there
        metrics.be_worker()
        self.assertEqual(self.server.mock_calls, [])
        self.assertIsNone(metrics.server)

    def test_theirs(self):
        for env in list(appmetrics.THEIRS) + ["OTHER"]:
            for worker in (1, 2):
                with self.subTest(env=env, worker=worker):
                    metrics = appmetrics.AppMetrics({"worker": worker})
                    values = self.library(**{env: "/tmp"})
                    self.assertIn(values.ValueClass, (values.MutexValue, values.Other))
                    self.assertEqual(self.server.mock_calls, [])
                    self.assertEqual(len(self.said), 1 if worker == 1 else 0)
                    self.assertIn("is set" if worker == 1 else "", "".join(self.said))
                    self.assertNotIn(metrics, sys.meta_path)
                    del self.said[:]
                    self.clean()

    def test_no_memory(self):
        self.server.metrics_share.return_value = False
        metrics = appmetrics.AppMetrics({"worker": 2})
        values = self.library()
        self.assertIs(values.ValueClass, values.MutexValue)
        self.assertEqual(len(self.said), 1)
        metrics.be_worker()
        self.assertEqual(self.server.metrics_share.call_count, 1)

    def test_fails_first(self):
        """An import that fails, and succeeds when it is tried again."""
        appmetrics.AppMetrics({"worker": 1})
        with mock.patch.object(sys, "path", []):
            self.assertRaises(ImportError, importlib.import_module, appmetrics.MODULE)
        self.assertIs(self.library().ValueClass, self.server.metrics_type.return_value)
