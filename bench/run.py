"""Measures hostler beside its peers and writes docs/benchmarks.md and its chart.

    python3 bench/run.py [--quick] [--only hostler,granian] [--scenario tls,mixed]
                         [--rounds N] [--out DIR]

What cannot be installed or started is said, loudly, in the page and on standard
error, and the rest goes on. Servers listen on 127.0.0.1 only; none outlives the
run. A run with --quick, --only or --scenario writes into build/bench/, lest rough or partial
figures replace whole ones; --out says otherwise.

procs.py starts and weighs servers, peers.py knows their commands, loads.py and
load/ the clients, scenarios.py says what is measured (with asynchronous.py:
ASGI, secure.py: TLS and HTTP/2, strain.py: what is hard, growth.py: the
same where there is more and more of it), rounds.py holds what
came of it, targets.py what is to be reached; report.py, strained.py, tables.py and
chart.py write it down.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys

import peers
import report
from procs import CLIENT_CORE, SERVER_CORE
from rounds import Plan, Results
from scenarios import JOB_NAMES, measure_all
from targets import judge


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of each: rough figures, about 4 minutes")
    parser.add_argument("--only", metavar="A,B", help="these servers only: " + ", ".join(peers.COMMANDS))
    parser.add_argument("--scenario", metavar="A,B", help="these jobs only: " + ", ".join(JOB_NAMES))
    parser.add_argument("--rounds", type=int, help="rounds [3; with --quick 1]")
    parser.add_argument("--out", metavar="DIR", help="where benchmarks.md and benchmarks.svg go [docs; partial runs: build/bench]")
    args = parser.parse_args()
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds must be at least 1")
    return args


def chosen(only: str) -> list[str]:
    """Server names by their own or their package's name."""
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [w for w in wanted if not any(w in (name, peers.package(name)) for name in peers.COMMANDS)]
    if unknown or not wanted:
        known = ", ".join(peers.COMMANDS)
        raise SystemExit(f"bench: no such server: {only} (there are {known})")
    return [name for name in peers.COMMANDS if name in wanted or peers.package(name) in wanted]


def scenarios(only: str) -> frozenset[str]:
    found = frozenset(name.strip() for name in only.split(",") if name.strip())
    if not found or not found <= set(JOB_NAMES):
        raise SystemExit(f"bench: no such scenario: {only} (there are {', '.join(JOB_NAMES)})")
    return found


def describe(plan: Plan, quick: bool, partial: bool) -> dict[str, str]:
    load = os.getloadavg()[0]
    rounds = "1 round" if plan.rounds == 1 else f"{plan.rounds} rounds"
    about = {
        "run": f"{datetime.date.today().isoformat()}, {rounds}, runs of {plan.seconds} s",
        "load": f"{load:.2f}",
    }
    notes = []
    if quick:
        notes.append("A quick run: the figures are rough.")
    if partial:
        notes.append("Not all servers or scenarios were asked for.")
    if load > 0.5:
        notes.append(f"The machine was not idle when this began (load average {load:.2f}).")
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        notes.append("Cores 0 and 1 are not both ours: nothing was pinned to what is missing, and figures vary.")
    about["warning"] = " ".join(notes)
    return about


def write(out: str, results: Results, missing: dict[str, str], about: dict[str, str]) -> None:
    os.makedirs(out, exist_ok=True)
    for name, text in (("benchmarks.md", report.page(results, missing, about)), ("benchmarks.svg", report.svg(results, about))):
        with open(os.path.join(out, name), "w", encoding="utf-8") as f:
            f.write(text)
    with open(os.path.join(peers.BUILD, "results.json"), "w", encoding="utf-8") as f:
        json.dump({"samples": results.samples, "failures": results.failures, "missing": missing, "about": about}, f, indent=1)
    peers.say(f"bench: wrote {out}/benchmarks.md and benchmarks.svg")


def main() -> int:
    args = arguments()
    servers = chosen(args.only) if args.only else list(peers.COMMANDS)
    # A signal ends the run through the finally clauses that stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = peers.install(servers)
    missing = {name: failed[peers.package(name)] for name in servers if peers.package(name) in failed}
    rounds = args.rounds or (1 if args.quick else 3)
    plan = Plan(rounds, 1 if args.quick else 2, [name for name in servers if name not in missing], not args.quick,
                scenarios(args.scenario) if args.scenario else frozenset())  # fmt: skip
    about = describe(plan, args.quick, bool(args.only or args.scenario))
    results = measure_all(plan)
    partial = os.path.join(peers.ROOT, "build", "bench")
    write(args.out or (partial if args.quick or args.only or args.scenario else os.path.join(peers.ROOT, "docs")), results, missing, about)
    for verdict in judge(results):
        word = {True: "reached", False: "NOT reached", None: "not measured"}[verdict.reached]
        print(f"{word:12} {verdict.target}: {verdict.got}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
