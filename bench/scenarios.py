"""What is measured: each job starts one server, puts one or more loads on it and
stops it. Jobs of a round follow each other server by server, and rounds repeat
them in another order, so that a slow minute of the machine meets everyone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import asynchronous
import growth
import peers
import secure
import strain
from loads import beside_burner, measured, wrk
from procs import Failure
from rounds import WORKERS, Plan, Results, expect, guarded, start

CONNECTIONS = (1, 4, 32, 256)
UPLOAD = b"x" * 65536


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


if TYPE_CHECKING:
    Job = Callable[[Results, str, Plan], None]
THREADED = ["hostler", "granian", "gunicorn gthread"]
# job, how it is called when it fails, whom it concerns (None: all)
JOBS: list[tuple[Job, str, list[str]]] = [
    (hello, "hello-32", peers.PLAIN),
    (flask, "flask", peers.PLAIN),
    (bulk, "download", peers.PLAIN),
    (threads, "threads", THREADED),
    (burner, "burner", THREADED),
    (sleepers, "sleepers", THREADED + ["waitress"]),
    (asynchronous.asgi, "asgi-hello-32", peers.ASGI),
    (asynchronous.websocket, "websocket", peers.ASGI),
    (secure.tls, "tls", secure.TLS),
    (secure.http2, "h2c", secure.HTTP2),
    (secure.asgi_tls, "asgi-tls", peers.ASGI),
    (secure.asgi_http2, "asgi-h2c", secure.ASGI_HTTP2),
    (strain.mixed, "mixed", THREADED),
]
ONCE: list[tuple[Job, str, list[str]]] = [  # what does not vary, or takes long
    (memory, "memory", [name for name in peers.PLAIN if name != "C epoll loop"]),
    (strain.reloads, "reloads", THREADED),
    (strain.overload, "overload", THREADED),
    (strain.idle, "idle", THREADED),
    (strain.websockets, "websockets", peers.ASGI),
    (strain.slow, "slow", THREADED),
    (strain.django, "django", THREADED),
    (growth.growth, "growth-workers", ["hostler"]),
]


JOB_NAMES = [job.__name__ for job, _, _ in JOBS + ONCE]


def measure_all(plan: Plan) -> Results:
    results = Results()
    order = random.Random(1)
    for number in range(1, plan.rounds + 1):
        for job, scenario, whom in JOBS:
            names = [name for name in plan.servers if name in whom and wanted(job, plan)]
            order.shuffle(names)
            for name in names:
                attempt(results, job, scenario, name, plan, f"round {number} of {plan.rounds}")
    for job, scenario, whom in ONCE:
        for name in plan.servers:
            if name in whom and wanted(job, plan):
                attempt(results, job, scenario, name, plan, "once")
    return results


def wanted(job: Job, plan: Plan) -> bool:
    return not plan.scenarios or job.__name__ in plan.scenarios


def attempt(results: Results, job: Job, scenario: str, name: str, plan: Plan, where: str) -> None:
    peers.say(f"bench: {where}: {job.__name__}, {name}")
    try:
        job(results, name, plan)
    except (Failure, OSError) as err:
        results.fail(scenario, name, str(err))
