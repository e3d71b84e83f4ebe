"""Metrics of the application's that have no value until somebody asks: gauges with a
function, Info, Enum, and what collectors of other kinds say. The master asks at a scrape,
and what they say then is put where all other values are (appmetrics.py)."""

import sys
import time

from _hostler.frames import text_of_raised
from _hostler.log import say

LAST = 0.5  # seconds for the last look
MOST = 20000  # samples of a collector, which may have no end
# How the values of one worker, which answers for all, are known to the registry.
ONE = "livemostrecent"
# What is of a process and not of the application. The server has the like.
NOT_OURS = ("prometheus_client.process_collector", "prometheus_client.gc_collector")
# What counts for its own process, as the library's metrics do.
OWN = "opentelemetry.exporter.prometheus"
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "stateset": ("",),
    "histogram": ("_bucket", "_sum"),
    "summary": ("", "_sum", "_count"),
    "unknown": ("",),
    "untyped": ("",),
}


class Collector:
    """Looks metrics up, one time after the other, in a thread of its own."""

    def __init__(self, server, threads):
        self.server = server
        self.threads = threads
        self.shown = {}  # what this worker has said for all, the last time
        self.own = {}  # what it has said for itself; these only grow
        self.told = set()  # collectors that have failed

    def start(self, request):
        """Begin. The master does not ask again before it has been answered."""
        self.threads.start(self.run, (request == "all",), "hostler-metrics")

    def run(self, for_all):
        try:
            self.collect(for_all)
        except Exception as e:
            self.failed("the application's metrics cannot be looked up", e)
        finally:
            self.server.collected()

    def failed(self, what, e):
        if what not in self.told:
            self.told.add(what)
            say("hostler: %s:\n%s" % (what, text_of_raised(e)))

    def collect(self, for_all):
        metrics = sys.modules["prometheus_client.metrics"]
        said = {}

        def look(collector):
            if isinstance(collector, metrics.Gauge):
                evaluate(collector)
            elif isinstance(collector, metrics.MetricWrapperBase) and not isinstance(collector, (metrics.Info, metrics.Enum)):
                pass  # it has values
            elif is_own(collector):
                self.read(collector, said if for_all else {}, True)
            elif for_all and type(collector).__module__ not in NOT_OURS:
                self.read(collector, said, False)

        self.each(look)
        self.shown = said  # those that were said the last time only go with their objects

    def end(self):
        """Read what counts for this process, which is about to end, for the last time. The
        application's callbacks have as long as at a scrape."""
        values = sys.modules.get("prometheus_client.values")
        if values and values.ValueClass is self.server.metrics_type():  # else nobody has asked
            self.threads.within(LAST, self.read_own)

    def read_own(self):
        self.each(lambda collector: is_own(collector) and self.read(collector, {}, True))

    def each(self, look):
        registry = sys.modules["prometheus_client.registry"].REGISTRY
        with registry._lock:
            collectors = list(registry._collector_to_names)
        for collector in collectors:
            try:
                look(collector)
            except Exception as e:
                self.failed("metrics of %s.%s are not in /metrics" % (type(collector).__module__, type(collector).__name__), e)

    def read(self, collector, once, own):
        """Put what a collector says into values: into those of once, or where it speaks of its
        own process alone, into those that are put together with other workers'."""
        ours = sys.modules["prometheus_client.values"].ValueClass
        count = 0
        for metric in collector.collect():
            typ = metric.type
            if typ not in SUFFIXES:
                continue
            mode, values, before = ONE, once, self.shown
            if own and typ != "info":
                mode, values, before = None if typ in ("counter", "histogram", "summary") else "liveall", self.own, {}
            samples = [s for s in metric.samples if s[0][len(metric.name) :] in SUFFIXES[typ] and s[0].startswith(metric.name)]
            count += len(metric.samples)
            if count > MOST:
                raise ValueError("it has more than %d samples" % MOST)
            put(ours, metric, typ, samples, mode, values, before)


def is_own(collector):
    return type(collector).__module__.startswith(OWN)


def put(ours, metric, typ, samples, mode, values, before):
    """Set the values of a metric's samples, which are made where there are none: values has
    those of this time, before may have them of the last."""
    le = ("le",) if typ == "histogram" else ()
    names = sorted({n for s in samples for n in s[1]} - set(le))
    name = metric.name + "_info" if typ == "info" else metric.name
    kind = typ if typ in ("counter", "histogram", "summary") else "gauge"
    below = {}  # what the buckets below have, by labels
    for sample in samples:
        labels = tuple(str(sample[1].get(n, "")) for n in names)
        v = float(sample[2])
        key = sample[0], tuple(names), labels, sample[1].get("le", "")
        bucket = typ == "histogram" and sample[0].endswith("_bucket")
        if bucket:
            v, below[labels] = v - below.get(labels, 0), v
        value = values.get(key) or before.get(key)
        if value is None:
            more = {"multiprocess_mode": mode} if mode else {}
            all_names, all_labels = names + list(le if bucket else ()), labels + ((str(key[3]),) if bucket else ())
            value = ours(kind, name, sample[0], all_names, all_labels, metric.documentation, **more)
        values[key] = value
        value.set(v, time.time())


def evaluate(gauge):
    """Call the functions that a gauge, and those of its labels, have been given."""
    if not hasattr(gauge, "_metrics"):
        children = [gauge]
    else:
        with gauge._lock:
            children = list(gauge._metrics.values())
    for child in children:
        samples = vars(child).get("_child_samples")  # set_function() has put it there
        if samples is not None:
            child._value.set(float(next(iter(samples()))[2]), time.time())
