"""What hostler has set itself to reach, and whether it did."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from rounds import Results


class Verdict(NamedTuple):
    target: str
    got: str
    reached: bool | None  # None: could not be measured


def median(results: Results, scenario: str, server: str, what: str) -> float | None:
    samples = [s[what] for s in results.samples.get(scenario, {}).get(server, []) if what in s]
    return statistics.median(samples) if samples else None


def errors(results: Results, scenario: str, server: str) -> int:
    return int(sum(s.get("errors", 0) for s in results.samples.get(scenario, {}).get(server, [])))


def compare(text: str, limit: float, ours: float | None, theirs: float | None, unit: str) -> Verdict:
    """ours against limit times theirs."""
    if ours is None or theirs is None or theirs <= 0:
        return Verdict(text, "not measured", None)
    ratio = ours / theirs
    return Verdict(text, f"{ratio:.{3 if limit < 0.1 else 2}f} × ({ours:.3g} against {theirs:.3g} {unit})", ratio <= limit)


def bound(text: str, value: float | None, reached: bool, unit: str) -> Verdict:
    return Verdict(text, "not measured", None) if value is None else Verdict(text, f"{value:.3g} {unit}".rstrip(), reached)


def strained(results: Results) -> list[Verdict]:
    """TLS, HTTP/2, and what secure.py and strain.py measure."""

    def of(scenario: str, what: str, server: str = "hostler") -> float | None:
        return median(results, scenario, server, what)

    def most(text: str, scenario: str, what: str, limit: float, unit: str) -> Verdict:
        value = of(scenario, what)
        return bound(text, value, value is not None and value <= limit, unit)

    def against(text: str, scenario: str, what: str, limit: float, unit: str) -> Verdict:
        return compare(text, limit, of(scenario, what), of(scenario, what, "granian"), unit)

    share = of("overload", "share")
    return [
        against("TLS, 32 connections: CPU ≤ 0.9 × granian", "tls", "cpu", 0.9, "µs"),
        against("HTTP/2 without TLS: CPU ≤ 1.0 × granian", "h2c", "cpu", 1.0, "µs"),
        against("HTTP/2 with TLS: CPU ≤ 1.0 × granian", "h2", "cpu", 1.0, "µs"),
        most("0.2 % sleep 100 ms: p99 of the others ≤ 3 ms", "mixed-sleep", "p99", 3, "ms"),
        most("0.2 % sleep 100 ms: p99.9 of the others ≤ 20 ms", "mixed-sleep", "p999", 20, "ms"),
        against("0.2 % burn 100 ms: p99 of the others ≤ 0.1 × granian", "mixed-burn", "p99", 0.1, "ms"),
        most("0.2 % burn 100 ms: p99.9 of the others ≤ 20 ms", "mixed-burn", "p999", 20, "ms"),
        most("SIGHUP under load: no failed request", "reloads-hup", "errors", 0, "failed"),
        most("SIGUSR2 under load: no failed request", "reloads-usr2", "errors", 0, "failed"),
        bound("3 × overload: goodput ≥ 0.9 × the peak", share, share is not None and share >= 0.9, "×"),
        most("an idle connection: ≤ 2 kB", "idle", "kb", 2, "kB"),
        compare("10,000 idle connections: p99 ≤ 1.2 × without", 1.2, of("idle", "p99"), of("idle", "without"), "ms"),
        *(most(f"4,000 slow clients ({kind}): no failed request of another", "slow-" + kind, "errors", 0, "failed")
          for kind in ("headers", "body", "read")),
        compare("Django, preloaded: memory ≤ 1.0 × gunicorn --preload", 1.0, of("django", "mb"), of("django", "mb", "gunicorn gthread"), "MB"),
    ]  # fmt: skip


def asynchronous(results: Results) -> list[Verdict]:
    """ASGI: what asynchronous.py measures."""
    verdicts = []
    for text, scenario, limits in (
        ("ASGI hello", "asgi-hello-32", (0.6, 0.45)),
        ("FastAPI, JSON", "asgi-fastapi", (0.87, 0.87)),
        ("FastAPI in the thread pool", "asgi-pool", (1.05, 1.05)),
        ("StreamingResponse", "asgi-stream", (0.45, 0.45)),
        ("WebSocket, a message and its echo", "websocket", (0.65, 0.65)),
    ):
        for peer, limit in zip(("uvicorn asgi", "granian asgi"), limits):
            ours, theirs = median(results, scenario, "hostler", "cpu"), median(results, scenario, peer, "cpu")
            verdicts.append(compare(f"{text}: CPU ≤ {limit} × {peer.split()[0]}", limit, ours, theirs, "µs"))
    kb = median(results, "websockets", "hostler", "kb")
    verdicts.append(Verdict("an idle WebSocket: ≤ 6 kB", "not measured" if kb is None else f"{kb:.3g} kB", None if kb is None else kb <= 6))
    return verdicts


def grown(results: Results) -> list[Verdict]:
    """That nothing grows faster than the work: what growth.py measures."""

    def level(text: str, scenario: str, what: str, limit: float, most: str, least: str, unit: str) -> Verdict:
        return compare(text, limit, median(results, scenario, most, what), median(results, scenario, least, what), unit)

    return [
        level("64 workers: CPU of a request ≤ 1.5 × with one", "growth-workers", "cpu", 1.5, "64", "1", "µs"),
        level("64 workers: a scrape ≤ 16 × that of 4", "growth-workers", "scrape", 16, "64", "4", "ms"),
        level("19,000 connections: p99 ≤ 1.5 × with one", "growth-connections", "p99", 1.5, "19,000", "1", "ms"),
        level("a body of 1 GB: memory ≤ 1.2 × for 1 MB", "growth-down", "most", 1.2, "1,073,741,824", "1,048,576", "MB"),
        level("an upload of 1 GB: memory ≤ 1.2 × for 1 MB", "growth-up", "most", 1.2, "1,073,741,824", "1,048,576", "MB"),
        level("a body of 1 GB: CPU of a MB ≤ 1.2 × for 32 MB", "growth-down", "per_mb", 1.2, "1,073,741,824", "33,554,432", "µs"),
        level("an upload of 1 GB: CPU of a MB ≤ 1.2 × for 32 MB", "growth-up", "per_mb", 1.2, "1,073,741,824", "33,554,432", "µs"),
        level("10,000 files: CPU of a request ≤ 1.5 × with one", "growth-files", "cpu", 1.5, "10,000", "1", "µs"),
        level("200 fields: CPU of a request ≤ 4 × with 50", "growth-fields", "cpu", 4, "200", "50", "µs"),
    ]


def judge(results: Results) -> list[Verdict]:
    def cpu(scenario: str, server: str = "hostler") -> float | None:
        return median(results, scenario, server, "cpu")

    def of(scenario: str, what: str, server: str) -> float | None:
        return median(results, scenario, server, what)

    one, four = "hostler, 1 thread", "hostler, 4 threads"
    us = "µs"
    verdicts = [
        compare("hello, 32 connections: CPU ≤ 1.0 × fastpysgi", 1.0, cpu("hello-32"), cpu("hello-32", "fastpysgi"), us),
        compare("hello, 1 connection: CPU ≤ 1.0 × fastpysgi", 1.0, cpu("hello-1"), cpu("hello-1", "fastpysgi"), us),
        compare("hello, 4 connections: CPU ≤ 1.1 × fastpysgi", 1.1, cpu("hello-4"), cpu("hello-4", "fastpysgi"), us),
        compare("hello, 32 connections: CPU ≤ 0.65 × granian", 0.65, cpu("hello-32"), cpu("hello-32", "granian"), us),
        compare("hello, 32 connections: CPU ≤ 0.07 × gunicorn sync", 0.07, cpu("hello-32"), cpu("hello-32", "gunicorn sync"), us),
        compare("hello, 4 threads: CPU ≤ 1.25 × one thread", 1.25, cpu("threads", four), cpu("threads", one), us),
        compare("hello, 4 threads: p99 ≤ 2 × one thread", 2.0, of("threads", "p99", four), of("threads", "p99", one), "ms"),
        compare("beside a CPU burner, 4 threads: p90 ≤ granian", 1.0, of("burner", "p90", "hostler"), of("burner", "p90", "granian"), "ms"),
        compare("Flask, 32 connections: CPU ≤ 0.33 × gunicorn sync", 0.33, cpu("flask"), cpu("flask", "gunicorn sync"), us),
    ]
    mb, own = of("memory", "mb", "hostler"), of("memory", "own", "hostler")
    verdicts.append(Verdict("idle hello worker ≤ 9 MB PSS, the master's share included",
                            "not measured" if mb is None else f"{mb:.1f} MB ({own or 0:.1f} MB without it)", None if mb is None else mb <= 9))  # fmt: skip
    rps = median(results, "sleepers", "hostler", "rps")
    verdicts.append(Verdict("8 threads, an application that sleeps 10 ms: ≥ 0.95 of 800 requests/s",
                            "not measured" if rps is None else f"{rps:.0f} requests/s", None if rps is None else rps >= 760))  # fmt: skip
    verdicts += strained(results) + asynchronous(results) + grown(results)
    measured = any(results.samples.get(s, {}).get("hostler") or s.startswith("growth") for s in results.samples)
    bad = sum(errors(results, s, name) for s in results.samples for name in results.samples[s] if name.startswith("hostler") or s.startswith("growth"))
    verdicts.append(Verdict("no failed request of hostler in any run", f"{bad} failed" if measured else "not measured", bad == 0 if measured else None))
    return verdicts
