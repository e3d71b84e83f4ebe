import itertools
import sys
import threading
import types
import unittest
from unittest import mock

from _hostler import collect
from _hostler.threads import Threads


class Value:
    """Like one of the server library's: those of the same series are one."""

    all = {}

    def __init__(self, typ, metric, name, names, values, doc, multiprocess_mode=""):
        self.key = typ, metric, name, tuple(names), tuple(values), multiprocess_mode
        self.doc = doc
        Value.all[self.key] = None

    def set(self, v, at):
        Value.all[self.key] = v


class MetricWrapperBase:
    _labelnames = ()


class Gauge(MetricWrapperBase):
    def __init__(self, f=None):
        self._value = mock.Mock()
        if f:
            self._child_samples = lambda: (("", {}, f(), None, None),)


class Counter(MetricWrapperBase):
    def collect(self):
        raise AssertionError("it has values of its own")


class Info(MetricWrapperBase):
    def collect(self):
        return [metric("version", "info", ("version_info", {"n": "1"}, 1))]


class Said:
    """A collector that says what it is given, or raises it."""

    def __init__(self, *metrics):
        self.metrics = metrics

    def collect(self):
        for m in self.metrics:
            if isinstance(m, Exception):
                raise m
            yield m


class Exporter(Said):
    __module__ = "opentelemetry.exporter.prometheus"


class Process(Said):
    __module__ = "prometheus_client.process_collector"


def metric(name, typ, *samples):
    return types.SimpleNamespace(name=name, type=typ, documentation="Doc.", samples=list(samples))


class Collecting(unittest.TestCase):
    def setUp(self):
        Value.all = {}
        self.collectors = []
        registry = types.SimpleNamespace(_lock=threading.Lock(), _collector_to_names=self.collectors)
        modules = {
            "prometheus_client.registry": types.SimpleNamespace(REGISTRY=registry),
            "prometheus_client.metrics": types.SimpleNamespace(Gauge=Gauge, Info=Info, Enum=Info, MetricWrapperBase=MetricWrapperBase),
            "prometheus_client.values": types.SimpleNamespace(ValueClass=Value),
        }
        self.said = []
        for what in (mock.patch.dict(sys.modules, modules), mock.patch.object(collect, "say", self.said.append)):
            what.start()
            self.addCleanup(what.stop)
        self.server = mock.Mock()
        self.server.metrics_type.return_value = Value
        self.collector = collect.Collector(self.server, Threads())

    def values(self, *collectors, for_all=True):
        """What is set when these are asked."""
        self.collectors[:] = collectors
        Value.all = {k: None for k in Value.all}
        self.collector.run(for_all)
        return {k: v for k, v in Value.all.items() if v is not None}

    def test_functions(self):
        given, without, failing = Gauge(lambda: 3), Gauge(), Gauge(lambda: 1 / 0)
        parent = MetricWrapperBase.__new__(Gauge)
        child = Gauge(lambda: 4)
        parent._metrics, parent._lock = {("a",): child, ("b",): without}, threading.Lock()
        for _ in range(2):
            self.values(given, Counter(), failing, parent, for_all=False)
        given._value.set.assert_called_with(3.0, mock.ANY)
        child._value.set.assert_called_with(4.0, mock.ANY)
        without._value.set.assert_not_called()
        self.assertEqual(len(self.said), 1)
        self.assertIn("ZeroDivisionError", self.said[0])
        self.assertEqual(self.server.collected.call_count, 2)

    def test_one_for_all(self):
        depth = metric("depth", "gauge", ("depth", {"q": "a"}, 7))
        done = metric("done", "counter", ("done_total", {}, 9), ("done_created", {}, 1e9))
        age = metric("age", "histogram", ("age_bucket", {"le": "1.0"}, 2), ("age_bucket", {"le": "+Inf"}, 5), ("age_count", {}, 5), ("age_sum", {}, 6))
        size = metric("size", "summary", ("size", {"quantile": "0.5"}, 3), ("size_sum", {}, 8), ("size_count", {}, 2))
        odd = metric("odd", "gaugehistogram", ("odd_bucket", {"le": "1.0"}, 2))
        # fmt: off
        self.assertEqual(self.values(Said(depth, done, age, size, odd), Info(), Process(metric("process_x", "gauge", ("process_x", {}, 1)))), {
            ("gauge", "depth", "depth", ("q",), ("a",), collect.ONE): 7,
            ("counter", "done", "done_total", (), (), collect.ONE): 9,
            ("histogram", "age", "age_bucket", ("le",), ("1.0",), collect.ONE): 2,
            ("histogram", "age", "age_bucket", ("le",), ("+Inf",), collect.ONE): 3,
            ("histogram", "age", "age_sum", (), (), collect.ONE): 6,
            ("summary", "size", "size", ("quantile",), ("0.5",), collect.ONE): 3,
            ("summary", "size", "size_sum", ("quantile",), ("",), collect.ONE): 8,
            ("summary", "size", "size_count", ("quantile",), ("",), collect.ONE): 2,
            ("gauge", "version_info", "version_info", ("n",), ("1",), collect.ONE): 1,
        })
        # fmt: on
        self.assertEqual(self.said, [])
        self.assertEqual(len(self.collector.shown), 9)
        self.assertEqual(self.values(Said(depth), for_all=False), {})
        self.assertEqual(self.collector.shown, {})

    def test_what_is_not_said_again_goes(self):
        self.values(Said(metric("depth", "gauge", ("depth", {"q": "a"}, 7), ("depth", {"q": "b"}, 8))))
        first = dict(self.collector.shown)
        self.values(Said(metric("depth", "gauge", ("depth", {"q": "a"}, 9))))
        ((key, value),) = self.collector.shown.items()
        self.assertIs(value, first[key])

    def test_exporter(self):
        exporter = Exporter(metric("orders", "counter", ("orders_total", {}, 2)), metric("busy", "gauge", ("busy", {}, 1)), metric("target", "info", ("target_info", {"a": "b"}, 1)))
        orders, busy = ("counter", "orders", "orders_total", (), (), ""), ("gauge", "busy", "busy", (), (), "liveall")
        target = "gauge", "target_info", "target_info", ("a",), ("b",), collect.ONE
        self.assertEqual(self.values(exporter), {orders: 2, busy: 1, target: 1})
        kept = dict(self.collector.own)
        self.assertEqual(self.values(exporter, for_all=False), {orders: 2, busy: 1, target: 1})
        self.assertEqual(self.collector.own, kept)
        self.assertEqual(self.collector.shown, {})
        exporter.metrics[0].samples[0] = ("orders_total", {}, 5)
        self.collector.end()
        self.assertEqual(Value.all[orders], 5)

    def test_end(self):
        self.collectors[:] = [Gauge(lambda: self.fail("it ends")), Said(metric("depth", "gauge", ("depth", {}, 7)))]
        self.collector.end()
        self.server.metrics_type.return_value = object  # the application has values of its own
        self.collectors[:] = [Exporter(metric("orders", "counter", ("orders_total", {}, 2)))]
        self.collector.end()
        self.assertEqual(Value.all, {})
        self.assertEqual(self.said, [])

    def test_end_is_bounded(self):
        over = threading.Event()
        stuck = Exporter()
        stuck.collect = lambda: iter(()) if over.wait() else None
        self.collectors[:] = [stuck]
        with mock.patch.object(collect, "LAST", 0.01):
            self.collector.end()  # or never
        over.set()

    def test_endless(self):
        endless = Said()
        endless.collect = lambda: (metric("m%d" % i, "gauge", *(("m%d" % i, {"i": str(k)}, 1) for k in range(1000))) for i in itertools.count())
        values = self.values(endless, Said(metric("depth", "gauge", ("depth", {}, 7))))
        self.assertEqual(len(values), collect.MOST + 1)
        self.assertEqual(len(self.said), 1)
        self.assertIn("more than", self.said[0])

    def test_library_of_another_form(self):
        del sys.modules["prometheus_client.registry"].REGISTRY
        self.assertEqual(self.values(), {})
        self.assertEqual(self.server.collected.call_count, 1)
        self.assertEqual(len(self.said), 1)
