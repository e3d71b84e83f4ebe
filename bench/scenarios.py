"""What is measured: each job starts one server, puts one or more loads on it and
stops it. Jobs of a round follow each other server by server, and rounds repeat
them in another order, so that a slow minute of the machine meets everyone."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import peers
from loads import beside_burner, measured, wrk
from procs import Failure, Server, free_port

CONNECTIONS = (1, 4, 32, 256)
UPLOAD = b"x" * 65536
WORKERS = 8


class Plan(NamedTuple):
    rounds: int
    seconds: int  # of each run that counts
    servers: list[str]
    warm_each: bool  # warm up before each load, not only the first on a server


class Results:
    """scenario -> server -> what its rounds gave; failures beside them."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[Sample]]] = {}
        self.failures: dict[str, dict[str, str]] = {}

    def add(self, scenario: str, server: str, sample: Sample) -> None:
        self.samples.setdefault(scenario, {}).setdefault(server, []).append(sample)

    def fail(self, scenario: str, server: str, why: str) -> None:
        self.failures.setdefault(scenario, {})[server] = why
        peers.say(f"bench: WARNING: {scenario}, {server}: {why}")


@contextmanager
def start(name: str, app: str, workers: int = 1, threads: int = 1, pinned: bool = True) -> Iterator[Server]:
    """A server that answers; it is stopped at the end, come what may."""
    port = free_port()
    command = peers.COMMANDS[name](app, port, workers, threads)
    server = Server(command, port, os.path.join(peers.BUILD, "server.log"), peers.APPS, pinned)
    try:
        yield server
    finally:
        server.stop()


def expect(server: Server, what: str, raw: bytes, good: Callable[[bytes], bool]) -> None:
    """No figure counts for a server that answers something else."""
    if not good(server.request(raw)):
        raise Failure(f"answers {what} wrongly")


def hello(results: Results, name: str, plan: Plan) -> None:
    with start(name, "plain:hello") as server:
        expect(server, "hello", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", lambda b: b == b"Hello, World!")
        for connections in CONNECTIONS:
            scenario = f"hello-{connections}"
            guarded(results, scenario, name, lambda c=connections: measured(server, c, plan.seconds, warm=plan.warm_each or c == 1))


def bulk(results: Results, name: str, plan: Plan) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(UPLOAD)
    with start(name, "plain:bulk") as server:
        expect(server, "GET /1mb", b"GET /1mb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", lambda b: len(b) == 1 << 20)
        guarded(results, "download", name, lambda: measured(server, 32, plan.seconds, "/1mb"))
        expect(server, "a POST", head + UPLOAD, lambda b: b == b"65536")
        guarded(results, "upload", name, lambda: measured(server, 32, plan.seconds, "/", True, plan.warm_each))


def flask(results: Results, name: str, plan: Plan) -> None:
    if name == "C epoll loop":
        return
    with start(name, "flaskapp:app") as server:
        guarded(results, "flask", name, lambda: measured(server, 32, plan.seconds))


def threads(results: Results, name: str, plan: Plan) -> None:
    for count in (1, 4):
        with start(name, "plain:hello", threads=count) as server:
            label = f"{name}, 1 thread" if count == 1 else f"{name}, {count} threads"
            results.add("threads", label, measured(server, 32, plan.seconds + 1))


def burner(results: Results, name: str, plan: Plan) -> None:
    with start(name, "plain:burner", threads=4) as server:
        results.add("burner", name, beside_burner(server, plan.seconds + 2))


def sleepers(results: Results, name: str, plan: Plan) -> None:
    with start(name, "plain:sleepy", threads=8) as server:
        wrk(server, 64, 1)
        results.add("sleepers", name, wrk(server, 64, plan.seconds + 1))


def memory(results: Results, name: str, plan: Plan) -> None:
    workers = 1 if name == "waitress" else WORKERS
    with start(name, "plain:hello", workers=workers, pinned=False) as server:
        time.sleep(1.5)  # until the last of them has booted
        last, (now, root) = 0.0, server.pss()
        for _ in range(10):
            if abs(now - last) < 0.5:
                break
            time.sleep(0.5)
            last, (now, root) = now, server.pss()
        own = now if workers == 1 else now - root
        results.add("memory", name, {"mb": now / workers, "own": own / workers})


def guarded(results: Results, scenario: str, name: str, measure: Callable[[], Sample]) -> None:
    """One load of several on the same server: its failure is not the others'."""
    try:
        results.add(scenario, name, measure())
    except Failure as err:
        results.fail(scenario, name, str(err))


if TYPE_CHECKING:
    from loads import Sample

    Job = Callable[[Results, str, Plan], None]
THREADED = ["hostler", "granian", "gunicorn gthread"]
# job, how it is called when it fails, whom it concerns (None: all)
JOBS: list[tuple[Job, str, list[str]]] = [
    (hello, "hello-32", list(peers.COMMANDS)),
    (flask, "flask", list(peers.COMMANDS)),
    (bulk, "download", list(peers.COMMANDS)),
    (threads, "threads", THREADED),
    (burner, "burner", THREADED),
    (sleepers, "sleepers", THREADED + ["waitress"]),
]


def measure_all(plan: Plan) -> Results:
    results = Results()
    order = random.Random(1)
    for number in range(1, plan.rounds + 1):
        for job, scenario, whom in JOBS:
            names = [name for name in plan.servers if name in whom]
            order.shuffle(names)
            for name in names:
                attempt(results, job, scenario, name, plan, f"round {number} of {plan.rounds}")
    for name in plan.servers:  # memory does not vary: once
        if name != "C epoll loop":
            attempt(results, memory, "memory", name, plan, "memory")
    return results


def attempt(results: Results, job: Job, scenario: str, name: str, plan: Plan, where: str) -> None:
    peers.say(f"bench: {where}: {job.__name__}, {name}")
    try:
        job(results, name, plan)
    except (Failure, OSError) as err:
        results.fail(scenario, name, str(err))
