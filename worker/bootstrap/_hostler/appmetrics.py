"""The application's own metrics: those of prometheus_client, which the master adds up.

The library makes each value by values.ValueClass. That is the one thing that is changed
of it, as soon as it is imported, if it ever is: values are then the server library's
(worker/python/appmetrics.c), in memory that the master reads."""

import atexit
import os

from _hostler.imports import Imports
from _hostler.library import load_library
from _hostler.log import say
from _hostler.protocol import METRICS

MODULE = "prometheus_client.values"
# With one of these the user has it in hand.
THEIRS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir", "PROMETHEUS_VALUE_CLASS")


class AppMetrics(Imports):
    """It waits for that module."""

    def __init__(self, settings):
        """Wait for the library. This comes before all that may import it, and before the
        application can have registered fork handlers."""
        self.quiet = settings["worker"] > 1
        self.server = None  # the server library, once it is loaded
        self.used = False
        Imports.__init__(self, {MODULE: self.imported})

    def imported(self, values):
        theirs = [name for name in THEIRS if name in os.environ]
        if theirs or getattr(values, "MutexValue", None) is not values.ValueClass:
            if not self.quiet:
                say("hostler: the application's own metrics are not in /metrics: %s is set\n" % (theirs or ["a ValueClass of its own"])[0], "WARN")
            return
        server = self.library()
        os.register_at_fork(after_in_child=server.metrics_forked)
        if not server.metrics_share(METRICS):
            say("hostler: the application's own metrics are not in /metrics: there is no memory for them\n", "WARN")
            return
        self.used = True
        atexit.register(server.metrics_end)
        values.ValueClass = server.metrics_type()

    def library(self):
        """The server library, which is loaded once."""
        if self.server is None:
            self.server = load_library()
        return self.server

    def be_worker(self):
        """This is a worker now, and was forked by the mold. What has been counted in the
        mold stays there."""
        if self.used and not self.server.metrics_share(METRICS):
            say("hostler: this worker's own metrics are not in /metrics: there is no memory for them\n", "WARN")
