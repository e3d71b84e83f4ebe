"""The page: machine, versions, targets, tables. And the chart's data."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import textwrap

import growth
import peers
import strained
from chart import Panel, render
from rounds import WORKERS, Results
from tables import cpu_table, loud, named, ranked, section, spread, table
from targets import judge

TABLES: list[tuple[str, str]] = [
    ("hello-1", "Hello, 1 connection"),
    ("hello-4", "Hello, 4 connections"),
    ("hello-32", "Hello, 32 connections"),
    ("hello-256", "Hello, 256 connections"),
    ("flask", "Flask, 32 connections"),
    ("download", "1 MB response, 32 connections"),
    ("upload", "64 kB upload, 32 connections"),
]

METHOD = """\
Every server runs with one worker and one thread, unless a table says otherwise, at its defaults but for access logs (off),
under the same Python and serving the same application. The whole server is pinned to core 0, the client (wrk, one thread) to
core 1. Each server is started anew for each set of runs, answers a probe that checks what it says, is warmed up, and is then
measured. CPU per request is user and system time of the server's whole tree of processes, from `/proc/PID/stat` before and
after the run, divided by the requests that wrk counted. It is the figure to compare: requests per second are also bounded by
the client. Servers take turns within a round, in a shuffled order; the figure is the median of the rounds, the range behind it
their least and greatest. Failed requests (socket errors, time-outs, other than 2xx) are summed over all rounds.
"""


def machine() -> list[str]:
    with open("/proc/cpuinfo") as f:
        model = re.search(r"^model name\s*: (.*)$", f.read(), re.MULTILINE)
    with open("/proc/meminfo") as f:
        memory = int((re.search(r"^MemTotal:\s+(\d+)", f.read(), re.MULTILINE) or ["", "0"])[1])
    system = "Linux"
    if os.path.exists("/etc/os-release"):
        with open("/etc/os-release") as f:
            found = re.search(r'^PRETTY_NAME="?([^"\n]*)', f.read(), re.MULTILINE)
            system = found.group(1) if found else system
    return [
        f"{model.group(1).strip() if model else platform.machine()}, {os.cpu_count() or 0} cores, {memory / 1e6:.0f} GB",
        f"{system}, Linux {platform.release()}",
    ]


def said(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (done.stdout.strip().splitlines() or ["?"])[0]


def software() -> str:
    have = peers.versions()
    names = sorted(name for name in list(peers.PACKAGES) if name in have)
    wrk = re.search(r"wrk (\S+)", said("wrk", "-v"))
    parts = [said(peers.HOSTLER, "--version"), said(peers.BIN + "/python", "--version")]
    return ", ".join(parts + [f"{name} {have[name]}" for name in names] + ["wrk " + (wrk.group(1) if wrk else "?")])


def latency_table(results: Results, scenario: str, extra: str, title: str, digits: int) -> list[str]:
    rows = []
    for name, _ in ranked(results, scenario, "p90" if extra == "burned" else "p99"):
        cells = [spread(results, scenario, name, what, 2).split(" ")[0] for what in ("p50", "p90", "p99")]
        rows.append([named(name), spread(results, scenario, name, extra, digits), *cells, loud(results, scenario, name)])
    return table(["server", title, "p50 ms", "p90 ms", "p99 ms", "failed"], rows)


def folded(text: str) -> list[str]:
    """The lines of a paragraph, or of an item of a list; the page is 100 columns wide. Rows of tables stay as they are."""
    if text.startswith("|"):
        return [text]
    indent = next((rest for begin, rest in (("* ", "  "), ("> ", "> ")) if text.startswith(begin)), "")
    return textwrap.wrap(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]


def page(results: Results, missing: dict[str, str], about: dict[str, str]) -> str:
    out = ["# Benchmarks", "", "Written by `make bench` (`bench/`); " + about["run"] + ".", ""]
    if about.get("warning"):
        out += ["> **" + about["warning"] + "**", ""]
    out += [f"> **NOT COMPARED: {name}** {why}" for name, why in sorted(missing.items())] + ([""] if missing else [])
    out += ["![CPU per request](benchmarks.svg)", "", "## Targets", ""]
    words: dict[bool | None, str] = {True: "yes", False: "**no**", None: "**unknown**"}
    out += table(["target", "measured", "reached"], [[v.target, v.got, words[v.reached]] for v in judge(results)])
    out += ["", "## CPU and throughput", ""]
    for scenario, title in TABLES:
        out += section(title, "", cpu_table(results, scenario), results, scenario)
    out += ["## Threads, slow requests, memory", ""]
    out += section("Hello with 4 threads, 32 connections", "More threads must not fight over the GIL.",
                   latency_table(results, "threads", "cpu", "CPU µs per request", 1), results, "threads")  # fmt: skip
    out += section("Fast requests beside a CPU burner",
                   "One worker of 4 threads; one connection keeps asking for 100 ms of pure Python, four ask for hello with a pause of 5 ms.",
                   latency_table(results, "burner", "burned", "burner's requests/s", 1), results, "burner")  # fmt: skip
    rows = [[named(name), spread(results, "sleepers", name, "rps", 0), loud(results, "sleepers", name)]
            for name, _ in ranked(results, "sleepers", "rps", True)]  # fmt: skip
    out += section("An application that sleeps 10 ms", "8 threads, 64 connections: 800 requests/s are possible.",
                   table(["server", "requests/s", "failed"], rows), results, "sleepers")  # fmt: skip
    rows = [[named(name), f"{mb:.1f}", spread(results, "memory", name, "own")] for name, mb in ranked(results, "memory", "mb")]
    out += section("Memory of an idle worker",
                   f"PSS of the whole tree, master included, divided by its {WORKERS} workers (waitress has no workers: one process).",
                   table(["server", "MB per worker", "without the master"], rows), results, "memory")  # fmt: skip
    out += strained.sections(results) + growth.sections(results)
    out += ["## Method", "", METHOD]
    out += ["* " + line for line in machine()] + ["* " + software(), "* load average at the start: " + about["load"], ""]
    out += [f"* {name}: {note}" for name, note in peers.NOTES.items()] + [""]
    return "\n".join(line for text in out for line in folded(text))


def svg(results: Results, about: dict[str, str]) -> str:
    wanted = [("hello-32", "Hello, 32 connections"), ("hello-1", "Hello, 1 connection"), ("flask", "Flask, 32 connections"),
              ("upload", "64 kB upload, 32 connections"), ("download", "1 MB response, 32 connections")]  # fmt: skip
    return render([Panel(title, ranked(results, scenario, "cpu")) for scenario, title in wanted], about["run"])
