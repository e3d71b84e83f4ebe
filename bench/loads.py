"""Puts load on a server from the other core and reads what it cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from procs import CLIENT_CORE, Failure, Server, on_core

HERE = os.path.dirname(os.path.abspath(__file__))
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

if TYPE_CHECKING:
    # What one measurement gave: rps, cpu (µs per request), p50/p90/p99 (ms), errors,
    # mb. Each load fills those that it can tell.
    Sample = dict[str, float]


def client(*command: str, limit: float) -> str:
    """Runs a client on its core to its end and returns what it printed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, preexec_fn=on_core(CLIENT_CORE))  # noqa: PLW1509
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
    url = f"http://127.0.0.1:{server.port}{path}"
    whole = max(1, round(seconds))
    return read_wrk(client("wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--latency", *script, url, limit=whole + 20))


def measured(server: Server, connections: int, seconds: float, path: str = "/", upload: bool = False, warm: bool = True) -> Sample:
    """A second of warm-up, then the run that counts, with the CPU time of the server's tree around it."""
    if warm:
        wrk(server, connections, 1, path, upload)
    before = server.cpu()
    sample = wrk(server, connections, seconds, path, upload)
    spent = server.cpu() - before
    if not sample["requests"] or sample["requests"] <= sample["errors"]:
        raise Failure("no good answer under load")
    sample["cpu"] = spent / sample["requests"] * 1e6
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
