"""python3 -m unittest discover -s bench: the parts that judge and write, without a load."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import unittest
import unittest.mock
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import asynchronous
import chart
import check
import peers
import tables
import run
import strained
from loads import quantile, read_h2load, read_load, read_wrk
from procs import Failure, Server, free_port, stat, tree
from rounds import Results
from targets import judge

WRK = """Running 2s test @ http://127.0.0.1:12345/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   637.07us    1.18ms  29.24ms   96.90%
  Latency Distribution
     50%  420.00us
     75%  500.00us
     90%    1.06ms
     99%    1.20s
  100000 requests in 2.00s, 7.34MB read
"""


class WrkTest(unittest.TestCase):
    def test_units(self) -> None:
        sample = read_wrk(WRK)
        self.assertEqual(sample["rps"], 50000)
        self.assertEqual((sample["p50"], sample["p90"], sample["p99"]), (0.42, 1.06, 1200))
        self.assertEqual(sample["errors"], 0)

    def test_errors_are_summed(self) -> None:
        text = WRK + "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 5\n"
        self.assertEqual(read_wrk(text)["errors"], 4326)

    def test_no_report(self) -> None:
        with self.assertRaises(Failure):
            read_wrk("unable to connect to 127.0.0.1:1 Connection refused")

    def test_quantile(self) -> None:
        values = [float(x) for x in range(100, 0, -1)]
        self.assertEqual((quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)), (51, 100, 7))


class OtherLoadsTest(unittest.TestCase):
    H2 = """finished in 2.00s, 12130.50 req/s, 1MB/s
requests: 24261 total, 24325 started, 24261 done, 24200 succeeded, 50 failed, 10 errored, 1 timeout
"""

    def test_h2load(self) -> None:
        self.assertEqual(read_h2load("Application protocol: h2\n" + self.H2), {"requests": 24261, "rps": 12130.5, "errors": 61})

    def test_h2load_that_did_not_speak_http2(self) -> None:
        for text in ("Application protocol: http/1.1\n" + self.H2, self.H2.replace("24200 succeeded", "0 succeeded"), "cannot connect"):
            with self.assertRaises(Failure):
                read_h2load(text)

    def test_load(self) -> None:
        got = {"sent": 20, "ok": 12, "in_time": 10, "slow": 1, "seconds": 2, "closed": 3, "idle": 0, "idle_closed": 0,
               "statuses": {"503": 4, "500": 1}, "failures": {"no answer": 1, "no connection free": 2}, "p50": 1, "p90": 2, "p99": 3, "p999": 4, "max": 5}  # fmt: skip
        sample = read_load("idle 0\n" + json.dumps(got) + "\n")
        self.assertEqual((sample["rps"], sample["errors"], sample["refused"], sample["broken"], sample["unsent"]), (5, 8, 4, 4, 2))
        self.assertEqual((sample["p999"], sample["closed"]), (4, 3))
        self.assertNotIn("p99", read_load(json.dumps(got | {"ok": 1})))  # a slow one: no latency was taken
        with self.assertRaises(Failure):
            read_load("cannot")


class ScenarioTest(unittest.TestCase):
    def test_by_name(self) -> None:
        self.assertEqual(run.scenarios("tls, mixed"), {"tls", "mixed"})
        with self.assertRaises(SystemExit):
            run.scenarios("tls,nonsense")

    def test_every_figure_has_its_place(self) -> None:
        results = Results()
        results.add("overload", "hostler", {"share": 0.95, "peak": 200.0, "p50": 1.0, "p99": 2.0, "refused": 7.0, "errors": 0.0})
        page = "\n".join(strained.sections(results))
        self.assertIn("| **hostler** | 0.95 | 200 | 1.0 | 2.0 | 7 | 0 |", page)
        for parts in strained.PARTS.values():
            for _, title, _, _ in parts:
                self.assertIn("### " + title, page)
        verdict = next(v for v in judge(results) if v.target.startswith("3 × overload"))
        self.assertIs(verdict.reached, True)


class AsynchronousTest(unittest.TestCase):
    def test_chunks(self) -> None:
        self.assertEqual(asynchronous.unchunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), b"abcde")
        for body in (b"Hello, World!", b"ff\r\nshort", b""):
            self.assertEqual(asynchronous.unchunked(body), body)

    def test_every_scenario_is_shown(self) -> None:
        shown = {scenario for scenario, _, _, _ in strained.PARTS["ASGI"]}
        measured = {scenario for paths in asynchronous.LOADS.values() for _, _, loads in paths for scenario, _ in loads}
        self.assertEqual(shown, measured | {"websocket", "websockets", "asgi-tls", "asgi-h2c", "asgi-h2"})
        self.assertLess(set(peers.ASGI), set(peers.COMMANDS))
        self.assertFalse({"uvicorn asgi", "hostler uvloop"} & set(peers.PLAIN))

    def test_targets(self) -> None:
        results = Results()
        results.add("asgi-pool", "hostler", {"cpu": 104.0, "errors": 0})
        results.add("asgi-pool", "uvicorn asgi", {"cpu": 100.0, "errors": 0})
        results.add("asgi-pool", "granian asgi", {"cpu": 98.0, "errors": 0})
        self.assertEqual([v.reached for v in judge(results) if "thread pool" in v.target], [True, False])


class CheckTest(unittest.TestCase):
    def ratios(self, middle: float, spread: float):
        """Ratios that vary as much as on a busy machine, one in ten wildly."""
        rng = random.Random(7)
        return lambda: rng.gauss(middle, spread) * (3 if rng.random() < 0.1 else 1)

    def test_what_is_dearer_is_found(self) -> None:
        found, ratios = check.settle(self.ratios(1.10, 0.05), 200, 0.03)
        self.assertEqual(found.verdict(0.03), "worse")
        self.assertLess(len(ratios), 200)

    def test_what_is_the_same_is_fine(self) -> None:
        found, _ = check.settle(self.ratios(1.0, 0.03), 200, 0.03)
        self.assertEqual(found.verdict(0.03), "fine")

    def test_what_cannot_be_told_is_not_fine(self) -> None:
        found, ratios = check.settle(self.ratios(1.03, 0.2), 6, 0.03)
        self.assertEqual((found.verdict(0.03), len(ratios)), ("", 6))

    def test_interval_holds_the_median(self) -> None:
        self.assertEqual(check.interval([1.0, 1.0, 1.0]), (1.0, 1.0, 1.0))
        found = check.interval([0.9, 1.0, 1.1, 1.2, 5.0])
        self.assertTrue(0.9 <= found.low < found.median == 1.1 < found.high <= 5.0)

    def test_status(self) -> None:
        for verdicts, want in ((["fine", "fine"], 0), (["fine", "worse", "unsettled"], 1), (["fine", "unsettled"], 2), (["fine", "failed"], 2)):
            self.assertEqual(check.status(verdicts), want)

    def test_cost_counts_no_failures(self) -> None:
        server = unittest.mock.Mock()
        server.spent.side_effect = [1.0, 1.5]
        self.assertEqual(check.cost(server, lambda _: {"requests": 1000, "errors": 0}), 500)
        server.spent.side_effect = [1.0, 1.5]
        with self.assertRaises(Failure):
            check.cost(server, lambda _: {"requests": 1000, "errors": 1})

    def test_arguments(self) -> None:
        self.assertEqual(check.arguments([]).scenario, list(check.SCENARIOS))
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
            check.arguments(["--scenario", "hello,nonsense"])


class ProcessTest(unittest.TestCase):
    def test_tree_has_the_children(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            self.assertIn(child.pid, tree(os.getpid()))
            self.assertEqual(int(stat(child.pid)[1]), os.getpid())
        finally:
            child.communicate(b"\n")

    def test_spent_is_the_trees_cpu(self) -> None:
        server = object.__new__(Server)
        burn = "import os, time\nif os.fork(): os.wait()\nelse:\n while time.process_time() < 0.2: pass\n print(end='.', flush=True); input()"
        server.process = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            server.process.stdout.read(1)
            self.assertGreater(server.spent(), 0.2)
        finally:
            server.process.communicate(b"\n")

    def test_port_is_below_the_ephemeral_range(self) -> None:
        self.assertLess(free_port(), 32768)


class TargetTest(unittest.TestCase):
    def results(self, ours: float) -> Results:
        results = Results()
        for value in (ours, ours, 900.0):  # a slow round does not move the median
            results.add("hello-32", "hostler", {"cpu": value, "rps": 1000.0, "errors": 0})
        results.add("hello-32", "granian", {"cpu": 20.0, "rps": 1000.0, "errors": 3})
        return results

    def verdict(self, results: Results, words: str) -> bool | None:
        return next(v.reached for v in judge(results) if words in v.target)

    def test_ratio(self) -> None:
        self.assertIs(self.verdict(self.results(13.0), "granian"), True)
        self.assertIs(self.verdict(self.results(13.1), "granian"), False)

    def test_what_was_not_measured_is_not_reached(self) -> None:
        self.assertIsNone(self.verdict(self.results(13.0), "fastpysgi"))
        self.assertIsNone(self.verdict(Results(), "failed request of hostler in any run"))

    def test_failures_are_told(self) -> None:
        results = self.results(13.0)
        self.assertIs(self.verdict(results, "failed request of hostler in any run"), True)
        results.add("flask", "hostler", {"cpu": 1.0, "errors": 2})
        self.assertIs(self.verdict(results, "failed request of hostler in any run"), False)
        self.assertIn("**3**", "\n".join(tables.cpu_table(results, "hello-32")))
        with contextlib.redirect_stderr(io.StringIO()):
            results.fail("flask", "bjoern", "did not serve")
        self.assertIn("NOT MEASURED: bjoern", "\n".join(tables.section("Flask", "", [], results, "flask")))


class ChartTest(unittest.TestCase):
    def test_well_formed_and_names_escaped(self) -> None:
        bars = [("hostler", 8.0), ("a<b&c", 10.0), ("C epoll loop", 4.0), ("slow", 900.0)]
        text = chart.render([chart.Panel("Hello & more", bars), chart.Panel("empty", [])], "1 round")
        ET.fromstring(text)
        self.assertIn("900 (bar cut)", text)
        self.assertNotIn("empty", text)


if __name__ == "__main__":
    unittest.main()
