"""What hostler has set itself to reach, and whether it did."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from scenarios import Results


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
    measured = any(results.samples.get(s, {}).get("hostler") for s in results.samples)
    bad = sum(errors(results, s, name) for s in results.samples for name in results.samples[s] if name.startswith("hostler"))
    verdicts.append(Verdict("no failed request of hostler in any run", f"{bad} failed" if measured else "not measured", bad == 0 if measured else None))
    return verdicts
