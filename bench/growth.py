"""Cost as work grows: workers, connections, bodies, files, fields, offered load. Hostler alone:
what is looked for is a slope that is worse than linear."""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import peers
from loads import ACTIVE, ask, charged, client, holding, read_wrk, wrk
from procs import Failure, Server, free_port, tree
from rounds import Plan, Results, guarded, start
from strain import allow_files
from tables import failures, spread, table

if TYPE_CHECKING:
    from loads import Sample

BLOCK = 1 << 16


def growth(results: Results, name: str, plan: Plan) -> None:
    """Each point of a curve is a server of its own, so that none inherits what another left."""
    for scenario, curve in CURVES.items():
        for point in curve.points if plan.warm_each else curve.points[:: len(curve.points) - 1]:
            guarded(results, scenario, f"{point:,}", lambda c=curve, p=point: c.measure(p, plan))


def workers(count: int, plan: Plan) -> Sample:
    admin = free_port()
    with start("hostler", "plain:hello", workers=count, pinned=False, options=("--admin-bind", f"127.0.0.1:{admin}"), ready=all_of(count)) as server:
        wrk(server, 256, 1)
        before = served(admin)
        sample = charged(server, lambda: wrk(server, 256, plan.seconds + 1))
        after = served(admin)
        mine = [after[w] - before.get(w, 0) for w in after]
        total, root = server.pss()
        times = [took(lambda: scrape(admin)) for _ in range(5)]
        return sample | {"busiest": max(mine) * count / sum(mine), "own": (total - root) / count, "root": root,
                         "scrape": statistics.median(times) * 1e3, "size": len(scrape(admin)) / 1e3}  # fmt: skip


def all_of(count: int) -> Callable[[Server], None]:
    """Whether all workers are there, and not only the first."""

    def ready(server: Server) -> None:
        if len(tree(server.process.pid)) < count + 1:
            raise Failure("not all are there yet")
        server.answers()

    return ready


def scrape(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as conn:
        conn.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: conn.recv(1 << 18), b""))


def served(port: int) -> dict[bytes, float]:
    return {w: float(n) for w, n in re.findall(rb'^hostler_worker_requests_total\{worker="(\d+)"\} (\S+)$', scrape(port), re.MULTILINE)}


def took(what: Callable[[], object]) -> float:
    begin = time.perf_counter()
    what()
    return time.perf_counter() - begin


def connections(count: int, plan: Plan) -> Sample:
    """One active client beside so many that are idle."""
    allow_files(count)
    with start("hostler", "plain:hello", options=("--worker-connections", "25000", "--keep-alive", "600")) as server:
        ask(server, 1, *ACTIVE)
        before = server.pss()[0]
        with holding(server, count, plan.seconds + 2, "4s") as ended:
            time.sleep(1.5)
            after, cpu = server.pss()[0], server.spent()
            time.sleep(1)
            rest = server.spent() - cpu
            return ended() | {"kb": (after - before) * 1024 / count, "idle_cpu": rest * 1e3}


def down(size: int, plan: Plan) -> Sample:
    return body(size, lambda s: transfer(s, size, f"GET /{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 0))


def up(size: int, plan: Plan) -> Sample:
    return body(size, lambda s: transfer(s, size, f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode(), size))


def body(size: int, one: Callable[[socket.socket], None]) -> Sample:
    """One connection, as many bodies as make 64 MB, at least one; the memory is the most that there was."""
    times = max(1, min(2000, (64 << 20) // size))
    with start("hostler", "plain:sized") as server:
        worker = tree(server.process.pid)[-1]

        def load() -> Sample:
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as conn:
                for _ in range(times):
                    one(conn)
            return {"requests": float(times), "errors": 0.0}

        load()
        sample = charged(server, load)
        with open(f"/proc/{worker}/status") as f:
            most = re.search(r"^VmHWM:\s+(\d+)", f.read(), re.MULTILINE)
        assert most
        return sample | {"per_mb": sample["cpu"] * (1 << 20) / size, "most": int(most[1]) / 1024}


def transfer(conn: socket.socket, size: int, head: bytes, upload: int) -> None:
    """Sends a request, and takes the answer with as many bytes of a body as it says."""
    conn.sendall(head)
    piece = b"x" * BLOCK
    while upload:
        upload -= conn.send(piece[: min(BLOCK, upload)])
    answer = b""
    while b"\r\n\r\n" not in answer:
        got = conn.recv(BLOCK)
        if not got:
            raise Failure("no answer")
        answer += got
    head, _, rest = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if not head.startswith(b"HTTP/1.1 200") or not length:
        raise Failure(f"answered {head[:40]!r}")
    left, took_in = int(length[1]) - len(rest), bytearray(1 << 18)
    while left:
        n = conn.recv_into(took_in, min(left, len(took_in)))
        if not n:
            raise Failure("the body was cut")
        left -= n


def files(count: int, plan: Plan) -> Sample:
    where = os.path.join(peers.BUILD, "growth-files")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    for i in range(count):
        with open(os.path.join(where, f"{i}.txt"), "w") as f:
            f.write(f"{i:1000}")
    script = os.path.join(peers.BUILD, "growth.lua")
    with open(script, "w") as f:
        f.write(f"n = 0\nrequest = function()\n  n = (n + 7) % {count}\n  return wrk.format(nil, '/s/' .. n .. '.txt')\nend\n")
    try:
        with start("hostler", "plain:hello", options=("--static", f"/s={where}")) as server:
            url = f"http://127.0.0.1:{server.port}/"

            def load() -> Sample:
                whole = plan.seconds + 1
                return read_wrk(client("wrk", "-t1", "-c32", f"-d{whole}s", "--latency", "-s", script, url, limit=whole + 20))

            load()
            return charged(server, load)
    finally:
        shutil.rmtree(where)


def fields(count: int, plan: Plan) -> Sample:
    with start("hostler", "plain:hello", options=("--limit-request-fields", "300")) as server:
        more = [word for i in range(count) for word in ("-H", f"X-Field-Number-{i}: some value of {i}")]
        command = ("wrk", "-t1", "-c32", f"-d{plan.seconds}s", "--latency", *more, f"http://127.0.0.1:{server.port}/")

        def load() -> Sample:
            return read_wrk(client(*command, limit=plan.seconds + 20))

        load()
        return charged(server, load)


def offered(rate: int, plan: Plan) -> Sample:
    with start("hostler", "plain:hello") as server:
        ask(server, 1, "-c", "8")
        before = server.cpu()
        sample = ask(server, plan.seconds + 2, "-c", str(max(1, min(400, rate // 20))), "-rate", str(rate), "-timeout", "10s")
        return sample | {"cores": (server.cpu() - before) / (plan.seconds + 2), "errors": sample["broken"] - sample["unsent"]}


class Curve:
    def __init__(self, title: str, text: str, unit: str, points: tuple[int, ...], measure: Callable[[int, Plan], Sample],
                 columns: dict[str, tuple[str, int]]):  # fmt: skip
        self.title, self.text, self.unit, self.points, self.measure, self.columns = title, text, unit, points, measure, columns


SIZES = (1 << 10, 1 << 15, 1 << 20, 1 << 25, 1 << 30)
BODY = {"CPU µs per body": ("cpu", 0), "CPU µs per MB": ("per_mb", 0), "most memory, MB": ("most", 1)}
LATENCY = {"CPU µs per request": ("cpu", 1), "p50 ms": ("p50", 2), "p99 ms": ("p99", 2)}
CURVES = {
    "growth-workers": Curve(
        "Workers", "256 connections, hello, on all cores; the busiest worker's share is that of an even spread.", "workers", (1, 2, 4, 8, 16, 32, 64), workers,
        {"CPU µs per request": ("cpu", 1), "busiest": ("busiest", 2), "MB each": ("own", 1), "master's MB": ("root", 1), "scrape ms": ("scrape", 1),
         "scrape kB": ("size", 0)}),
    "growth-connections": Curve(
        "Connections", "So many at rest, and an active one.", "connections", (1, 10, 100, 1000, 10000, 19000), connections,
        {"kB each": ("kb", 2), "CPU ms a second at rest": ("idle_cpu", 1), "p50 ms": ("p50", 2), "p99 ms": ("p99", 2)}),
    "growth-down": Curve("Response bodies", "Pieces of 64 kB from the application, one connection.", "bytes", SIZES, down, BODY),
    "growth-up": Curve("Request bodies", "Read by the application in pieces of 64 kB, one connection. Bodies of more than 1 MB go by way of a file.", "bytes", SIZES, up, BODY),
    "growth-files": Curve("Static files", "Files of 1 kB, each asked for in turn, 32 connections.", "files", (1, 10, 100, 1000, 10000), files, LATENCY),
    "growth-fields": Curve("Header fields", "Fields of a request beside Host, 32 connections.", "fields", (1, 10, 50, 100, 200), fields, LATENCY),
    "growth-offered": Curve(
        "Offered load", "Requests due at a fixed rate, one worker and one thread; latencies count from when a request was due. Beyond what a core can do the "
        "load generator or the server is full: not sent is what found none of its 400 connections free.", "requests/s", (10, 100, 1000, 10000, 30000, 100000), offered,
        {"answered/s": ("rps", 0), "cores": ("cores", 2), "p50 ms": ("p50", 2), "p99 ms": ("p99", 2), "503": ("refused", 0), "not sent": ("unsent", 0)}),
}  # fmt: skip


def sections(results: Results) -> list[str]:
    out = ["## As work grows", "", "Hostler alone.", ""]
    for scenario, curve in CURVES.items():
        points = [p for p in (f"{point:,}" for point in curve.points) if p in results.samples.get(scenario, {})]
        rows = [[point, *(spread(results, scenario, point, *column) for column in curve.columns.values())] for point in points]
        body = table([curve.unit, *curve.columns], rows) if rows else ["Not measured."]
        wrong = failures(results, scenario)
        out += [f"### {curve.title}", "", curve.text, ""] + body + ([""] + wrong if wrong else []) + [""]
    return out
