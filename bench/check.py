"""Compares the CPU of a request between bin/hostler and another revision's.

    python3 bench/check.py [--base REF] [--scenario hello,tls] [--pairs N] [--tolerance 0.03]

Both serve at the same time and are asked in turns, a second each, so that whatever else
the machine does meets both: what counts is the ratio within such a pair. Pairs are run
until the median's confidence interval (95 %) tells whether it is above the tolerance, and
N at most. 1: a scenario is dearer by more than that; 2: of one it cannot be told.
The figures go to build/bench/check.json, too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import peers
import secure
from loads import h2load, sockets, wrk
from procs import Failure, Server
from rounds import start

FEWEST = 5  # pairs: with fewer an interval says nothing


class Scenario(NamedTuple):
    app: str
    load: Callable[[Server], dict[str, float]]
    options: tuple[str, ...] = ()
    tls: bool = False
    ready: Callable[[Server], None] | None = None


def asked(connections: int = 32, path: str = "/", upload: bool = False) -> Callable[[Server], dict[str, float]]:
    return lambda server: wrk(server, connections, 1, path, upload)


def h2c(seconds: int) -> Callable[[Server], dict[str, float]]:
    return lambda server: h2load(server, f"http://127.0.0.1:{server.port}/", seconds)


def ready_h2c(server: Server) -> None:
    h2c(0)(server)


SCENARIOS = {
    "hello": Scenario("plain:hello", asked()),
    "hello-4": Scenario("plain:hello", asked(4)),
    "flask": Scenario("flaskapp:app", asked()),
    "download": Scenario("plain:bulk", asked(path="/1mb")),
    "upload": Scenario("plain:bulk", asked(upload=True)),
    "sleepy": Scenario("plain:sleepy", asked(4)),
    "tls": Scenario("plain:hello", asked(), secure.TLS_OPTIONS["hostler"], tls=True),
    "http2": Scenario("plain:hello", h2c(1), secure.H2C_OPTIONS["hostler"], ready=ready_h2c),
    "asgi-hello": Scenario("asgi:hello", asked()),
    "websocket": Scenario("asgi:echo", lambda server: sockets(server, 32, 1)),
}


class Interval(NamedTuple):
    low: float
    median: float
    high: float

    def verdict(self, tolerance: float) -> str:
        """worse, or fine, or "" where it cannot be told."""
        if self.low > 1 + tolerance:
            return "worse"
        return "fine" if self.high <= 1 + tolerance else ""


def interval(ratios: list[float], draws: int = 2000) -> Interval:
    """The median, and where 95 % of the medians are of as many ratios drawn from these."""
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(draws))
    cut = draws // 40
    return Interval(medians[cut], statistics.median(ratios), medians[-1 - cut])


def settle(pair: Callable[[], float], most: int, tolerance: float) -> tuple[Interval, list[float]]:
    """Takes ratios until they tell, and most at most."""
    ratios: list[float] = []
    while True:
        ratios.append(pair())
        if len(ratios) < min(FEWEST, most):
            continue
        found = interval(ratios)
        if len(ratios) >= most or found.verdict(tolerance):
            return found, ratios


def cost(server: Server, load: Callable[[Server], dict[str, float]]) -> float:
    """Microseconds of CPU of a request."""
    before = server.spent()
    sample = load(server)
    good = sample["requests"] - sample["errors"]
    if good <= 0 or sample["errors"]:
        raise Failure(f"{sample['errors']:.0f} of {sample['requests']:.0f} requests failed")
    return (server.spent() - before) / good * 1e6


def compare(scenario: Scenario, most: int, tolerance: float) -> dict[str, float | str]:
    kwargs = {"options": scenario.options, "tls": scenario.tls, "ready": scenario.ready}
    with start("hostler", scenario.app, **kwargs) as ours, start("base", scenario.app, **kwargs) as base:
        costs: dict[Server, list[float]] = {ours: [], base: []}

        def pair() -> float:
            for server in random.sample(list(costs), 2):
                costs[server].append(cost(server, scenario.load))
            return costs[ours][-1] / costs[base][-1]

        for server in costs:
            cost(server, scenario.load)  # warms up
        found, ratios = settle(pair, most, tolerance)
        return {**found._asdict(), "pairs": len(ratios), "cpu": statistics.median(costs[ours]),
                "base_cpu": statistics.median(costs[base]), "verdict": found.verdict(tolerance) or "unsettled"}  # fmt: skip


def build(ref: str) -> tuple[str, str]:
    """The commit, and its hostler, which is built where there is none yet."""
    commit = subprocess.check_output(["git", "-C", peers.ROOT, "rev-parse", "--short=12", ref + "^{commit}"], text=True).strip()
    binary = os.path.join(peers.BUILD, "hostler-" + commit)
    if not os.path.exists(binary):
        peers.say("bench: building " + commit)
        tree = os.path.join(peers.BUILD, "base")
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(["git", "-C", peers.ROOT, "worktree", "prune"], check=True)
        subprocess.run(["git", "-C", peers.ROOT, "worktree", "add", "-q", "--detach", tree, commit], check=True)
        try:
            subprocess.run(["make", "-s", "-C", tree, "bin/hostler"], check=True, stdout=sys.stderr)
            shutil.copy(os.path.join(tree, "bin", "hostler"), binary)
        finally:
            subprocess.run(["git", "-C", peers.ROOT, "worktree", "remove", "--force", tree], check=False)
    return commit, binary


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="HEAD", help="revision to compare with [HEAD]")
    parser.add_argument("--scenario", metavar="A,B", default=",".join(SCENARIOS), help="these only: " + ", ".join(SCENARIOS))
    parser.add_argument("--pairs", type=int, default=30, help="at most so many of each [30]")
    parser.add_argument("--tolerance", type=float, default=0.03, help="what counts as dearer [0.03]")
    args = parser.parse_args(argv)
    args.scenario = [name.strip() for name in args.scenario.split(",")]
    unknown = set(args.scenario) - set(SCENARIOS)
    if unknown or args.pairs < 1 or args.tolerance < 0:
        parser.error("no such scenario: " + ", ".join(sorted(unknown)) if unknown else "--pairs and --tolerance are positive")
    return args


def status(verdicts: list[str]) -> int:
    if "worse" in verdicts:
        return 1
    return 0 if set(verdicts) == {"fine"} else 2


def main() -> int:
    args = arguments(sys.argv[1:])
    peers.install(["hostler"])
    commit, binary = build(args.base)
    peers.COMMANDS["base"] = lambda *of: [binary, *peers.hostler(*of)[1:]]
    secure.certificate()
    found: dict[str, dict[str, float | str]] = {}
    for name in args.scenario:
        try:
            found[name] = compare(SCENARIOS[name], args.pairs, args.tolerance)
        except Failure as err:
            found[name] = {"verdict": "failed"}
            print(f"{name:11} failed: {err}", flush=True)
            continue
        print("{0:11} {verdict:9} {median:.3f} × ({low:.3f}–{high:.3f}, {pairs} pairs): {cpu:.1f} µs, {1} {base_cpu:.1f} µs".format(
            name, commit, **found[name]), flush=True)  # fmt: skip
    with open(os.path.join(peers.BUILD, "check.json"), "w", encoding="utf-8") as f:
        json.dump({"base": commit, "tolerance": args.tolerance, "found": found}, f, indent=1)
    return status([str(f["verdict"]) for f in found.values()])


if __name__ == "__main__":
    sys.exit(main())
