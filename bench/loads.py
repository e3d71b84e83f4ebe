"""Puts load on a server from the other core and reads what it cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peers import LOAD
from procs import ANY_CORE, CLIENT_CORE, Failure, Server, on_core

HERE = os.path.dirname(os.path.abspath(__file__))
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

if TYPE_CHECKING:
    # What one measurement gave: rps, cpu (µs per request), p50/p90/p99 (ms), errors,
    # mb. Each load fills those that it can tell.
    Sample = dict[str, float]


def client(*command: str, limit: float, core: int = CLIENT_CORE) -> str:
    """Runs a client on its core to its end and returns what it printed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=on_core(core))  # noqa: PLW1509
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failure("the client did not end") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return out


def read_wrk(text: str) -> Sample:
    """The figures of wrk's report; errors are socket errors and answers that are no 2xx or 3xx."""
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    if not done:
        raise Failure("wrk said: " + " ".join(text.split())[:120])
    sample: Sample = {"requests": float(done.group(1))}
    seconds = float(done.group(2)) * UNITS[done.group(3)] / 1e3
    sample["rps"] = sample["requests"] / seconds if seconds else 0.0
    for share, value, unit in re.findall(r"^\s+(50|90|99)%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE):
        sample["p" + share] = float(value) * UNITS[unit]
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    status = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sample["errors"] = float(sum(int(x) for x in sockets.groups()) if sockets else 0) + float(status.group(1) if status else 0)
    return sample


def wrk(server: Server, connections: int, seconds: float, path: str = "/", upload: bool = False) -> Sample:
    script = ["-s", os.path.join(HERE, "upload.lua")] if upload else []
    url = f"{'https' if server.tls else 'http'}://127.0.0.1:{server.port}{path}"
    whole = max(1, round(seconds))
    return read_wrk(client("wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--latency", *script, url, limit=whole + 20))


def measured(server: Server, connections: int, seconds: float, path: str = "/", upload: bool = False, warm: bool = True) -> Sample:
    """A second of warm-up, then the run that counts, with the CPU time of the server's tree around it."""
    if warm:
        wrk(server, connections, 1, path, upload)
    return charged(server, lambda: wrk(server, connections, seconds, path, upload))


def charged(server: Server, load: Callable[[], Sample]) -> Sample:
    """Adds what a request cost the server."""
    before = server.cpu()
    sample = load()
    spent = server.cpu() - before
    if not sample["requests"] or sample["requests"] <= sample["errors"]:
        raise Failure("no good answer under load")
    sample["cpu"] = spent / sample["requests"] * 1e6
    return sample


def read_h2load(text: str) -> Sample:
    done = re.search(r"finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s", text)
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    if not done or not counts:
        raise Failure("h2load said: " + " ".join(text.split())[-160:])
    good, bad = float(counts[2]), sum(float(n) for n in counts.group(3, 4, 5))
    if not good:
        raise Failure("no good answer to HTTP/2")
    protocol = re.search(r"Application protocol: (\S+)", text)
    if protocol and protocol[1] not in ("h2", "h2c"):
        raise Failure("speaks " + protocol[1] + " instead of HTTP/2")
    return {"requests": good + bad, "rps": float(done[3]), "errors": bad}


def h2load(server: Server, url: str, seconds: float) -> Sample:
    """16 connections of 4 streams; seconds 0: one request, to see whether it is served."""
    whole = max(1, round(seconds))
    load = ["-c16", "-m4", f"-D{whole}"] if seconds else ["-n1", "-c1"]
    return read_h2load(client("h2load", *load, url, limit=whole + 20))


def loader(server: Server, seconds: float, *options: str) -> list[str]:
    """Our own load generator's command (load/)."""
    return [LOAD, "-addr", f"127.0.0.1:{server.port}", "-d", f"{seconds}s", *options]


def ask(server: Server, seconds: float, *options: str, both: bool = False) -> Sample:
    """Runs the load generator, on its core or on both."""
    core = ANY_CORE if both else CLIENT_CORE
    return read_load(client(*loader(server, seconds, *options), limit=seconds + 60, core=core))


ACTIVE = ("-c", "1", "-think", "2ms")  # one connection that asks now and then


@contextmanager
def holding(server: Server, count: int, seconds: float, hold: str, *kind: str) -> Iterator[Callable[[], Sample]]:
    """Within it so many connections are at rest that have had one answer, for as long as hold says; then comes an
    active one's load, of which the function that it gives returns what came of it."""
    command = loader(server, seconds, *ACTIVE, *kind, "-idle", str(count), "-hold", hold)
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=on_core(CLIENT_CORE))  # noqa: PLW1509

    def ended() -> Sample:
        return read_load(load.communicate(timeout=90)[0])

    try:
        assert load.stdout
        opened = load.stdout.readline().split()
        if len(opened) != 2 or opened[0] != "idle" or int(opened[1]) < count:
            raise Failure(f"holds {opened[-1] if opened else 'no'} of {count} idle connections")
        yield ended
    except subprocess.TimeoutExpired as err:
        raise Failure("the load generator did not end") from err
    finally:
        load.kill()
        load.wait()


def sockets(server: Server, connections: int, seconds: float) -> Sample:
    """Messages of WebSockets, which are 16 bytes and come back; a request is one of these."""
    return ask(server, seconds, "-ws", "-c", str(connections))


def read_load(text: str) -> Sample:
    """errors are failures and answers other than 200; 503 and all other failures stand beside them, and what of these
    was never sent."""
    try:
        got = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise Failure("the load generator said: " + text.strip()[-120:]) from None
    refused = got["statuses"].get("503", 0)
    bad = sum(got["statuses"].values()) + sum(got["failures"].values())
    sample = {name: float(got[name]) for name in ("ok", "closed", "slow", "idle", "idle_closed")}
    sample |= {"requests": float(got["sent"]), "rps": got["in_time"] / got["seconds"], "errors": float(bad),
               "refused": float(refused), "broken": float(bad - refused), "unsent": float(got["failures"].get("no connection free", 0))}  # fmt: skip
    if got["ok"] > got["slow"]:
        sample |= {name: got[name] for name in ("p50", "p90", "p99", "p999", "max")}
    return sample


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def beside_burner(server: Server, seconds: float) -> Sample:
    out = client(sys.executable, os.path.join(HERE, "client.py"), str(server.port), str(seconds), limit=seconds + 20)
    try:
        got = json.loads(out)
    except ValueError:
        raise Failure("the client said: " + out.strip()[-120:]) from None
    if not got["fast"] or not got["burned"]:
        raise Failure("no answer beside the burner")
    sample: Sample = {"errors": float(got["errors"]), "burned": got["burned"] / seconds, "rps": len(got["fast"]) / seconds}
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        sample[name] = quantile(got["fast"], share) * 1e3
    return sample
