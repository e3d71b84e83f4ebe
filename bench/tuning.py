"""Workers and threads for three kinds of requests, as a table for docs/tuning.md.

python3 bench/tuning.py [SECONDS]: 32 connections that always have a request under way.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = ["1", "2", "4", "2x4", "2x16", "16", "2xauto"]
PATHS = ["/wait", "/work", "/both"]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def measure(shape: str, seconds: int) -> list[tuple[float, float]]:
    """Requests a second, and the 99th percentile in ms, for each path."""
    workers, _, threads = shape.partition("x")
    port = free_port()
    server = subprocess.Popen(
        [f"{HERE}/../bin/hostler", "-w", workers, "--threads", threads or "1", "-b", f"127.0.0.1:{port}", "--admin-bind", "off",
         "--chdir", f"{HERE}/apps", "tuned:app"],
        stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        for line in server.stderr:
            if "msg=serving" in line:
                break
        else:
            sys.exit("hostler does not start")
        out = []
        for path in PATHS:
            load = ["wrk", "-t1", "-c32", "--latency", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"]
            text = subprocess.run(load, capture_output=True, text=True, check=True).stdout
            if "Non-2xx" in text or "Socket errors" in text:
                sys.exit(text)
            out.append((float(re.search(r"Requests/sec: +([\d.]+)", text)[1]), milliseconds(re.search(r"99% +(\S+)", text)[1])))
            time.sleep(0.2)
        return out
    finally:
        server.send_signal(signal.SIGTERM)
        server.stderr.close()
        server.wait()


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("| workers × threads | waits 20 ms | p99 | works 4 ms | p99 | both | p99 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for shape in SHAPES:
        cells = [f"{rate:.0f}/s | {p99:.0f} ms" for rate, p99 in measure(shape, seconds)]
        workers, _, threads = shape.partition("x")
        print(f"| {workers} × {threads or 1} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
