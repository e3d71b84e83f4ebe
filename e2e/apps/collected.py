"""An application whose metrics have no values until somebody asks for them."""

import os
import time

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, Counter, Enum, Gauge, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

COUNT = Counter("seen", "Requests seen.")
Gauge("pool", "Per worker.", multiprocess_mode="livesum").set_function(lambda: 3)
HANDLES = Gauge("handles", "Per worker, too.", ["kind"])
HANDLES.labels("pid").set_function(os.getpid)
Info("shop", "What runs.").info({"version": "1.2"})
Enum("mood", "How it is.", states=["good", "bad"]).state("bad")
METER = MeterProvider([PrometheusMetricReader()]).get_meter("shop")
ORDERS = METER.create_counter("orders")


class Queue:
    """What all workers would say alike."""

    looks = 0
    slow = 0
    stuck = 0

    def collect(self):
        Queue.looks += 1
        time.sleep(Queue.slow)
        depth = GaugeMetricFamily("queue_depth", "Depth.", labels=["queue"])
        depth.add_metric(["always"], 7)
        depth.add_metric(["look %d" % Queue.looks], 1)
        yield depth
        yield CounterMetricFamily("queue_done", "Done.", value=100)
        age = HistogramMetricFamily("queue_age", "Age.")
        age.add_metric([], [("1.0", 2), ("2.5", 5), ("+Inf", 6)], sum_value=9)
        yield age


def stock(options):
    time.sleep(Queue.stuck)
    return [Observation(5)]


METER.create_observable_gauge("stock", [stock])


class Broken:
    def collect(self):
        yield GaugeMetricFamily("before", "Said before it breaks.", value=1)
        raise RuntimeError("broken collector")


REGISTRY.register(Queue())
REGISTRY._collector_to_names[Broken()] = []  # register() would raise


def answer(path):
    COUNT.inc()
    if path == "/order":
        ORDERS.add(1)
    if path == "/slow/%d" % os.getpid():
        Queue.slow = 3600
    if path == "/stuck":
        Queue.stuck = 3600
    if path == "/die":
        os.kill(os.getpid(), 9)
    return b"%d" % os.getpid()


def app(environ, start_response):
    body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def async_app(scope, receive, send):
    if scope["type"] == "http":
        body = answer(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
