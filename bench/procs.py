"""A server as a tree of processes: start it on a core, ask /proc for its CPU time
and memory, and make sure that nothing of it is left."""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable

SERVER_CORE, CLIENT_CORE, ANY_CORE = 0, 1, -1
TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Failure(Exception):
    """Something could not be measured; the text goes into the table."""


def free_port() -> int:
    """A port below the ephemeral range, so that no client's own port can take it."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def on_core(core: int):
    """Run in the child before exec: pinned, and killed should this process die."""

    def prepare() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if core in os.sched_getaffinity(0):
            os.sched_setaffinity(0, {core})

    return prepare


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (field 3 is [0])."""
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()


def tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(stat(int(name))[1]), []).append(int(name))
            except OSError:
                continue  # it ended while we looked
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


class Server:
    """A running server. Whoever starts it stops it."""

    def __init__(self, command: list[str], port: int, log: str, cwd: str, pinned: bool = True,
                 tls: bool = False, ready: Callable[[Server], None] | None = None):  # fmt: skip
        self.port, self.log, self.tls = port, log, tls
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HOSTLER_", "GUNICORN_", "GRANIAN_", "UWSGI_", "UVICORN_", "WEB_CONC", "PYTHON"))}
        env["PYTHONPATH"] = cwd
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        with open(log, "wb") as out:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=env,
                    start_new_session=True,
                    # No threads here, so nothing can hold a lock across the fork.
                    preexec_fn=on_core(SERVER_CORE) if pinned else None,  # noqa: PLW1509
                )
            except OSError as err:
                raise Failure(f"cannot start {command[0]}: {err}") from err
        try:
            self._wait_until_up(ready or Server.answers)
        except BaseException:
            self.stop()
            raise

    def answers(self) -> None:
        self.request(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", timeout=5)

    def _wait_until_up(self, ready: Callable[[Server], None]) -> None:
        until = time.monotonic() + 60  # 64 workers on two cores
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                # The listener is there before the application of some.
                ready(self)
                return
            except (OSError, Failure):
                time.sleep(0.05)
        raise Failure("did not serve: " + self.last_words())

    def last_words(self) -> str:
        with open(self.log, errors="replace") as f:
            lines = [line.strip() for line in f.read().splitlines() if line.strip()]
        return lines[-1][:160] if lines else "it said nothing"

    def request(self, raw: bytes, timeout: float = 10) -> bytes:
        """Sends one request (with Connection: close) and returns the body of a 200."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as plain:
            conn = any_certificate().wrap_socket(plain) if self.tls else plain
            conn.sendall(raw)
            answer = b""
            length: int | None = None
            body = b""
            while length is None or len(body) < length:
                piece = conn.recv(1 << 18)
                if not piece:
                    break
                answer += piece
                head, _, body = answer.partition(b"\r\n\r\n")
                found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                length = int(found.group(1)) if found else None
        if not re.match(rb"HTTP/1\.[01] 200 ", answer):
            raise Failure(f"answered {answer[:60]!r}")
        return body

    def cpu(self) -> float:
        """Seconds of CPU of the whole tree, of children already reaped, too."""
        total = 0
        for pid in tree(self.process.pid):
            try:
                total += sum(int(x) for x in stat(pid)[11:15])
            except OSError:
                continue
        return total / TICKS

    def spent(self) -> float:
        """As cpu, to the nanosecond, of the threads that there are. Those that end meanwhile are not counted."""
        total = 0
        for pid in tree(self.process.pid):
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
                        total += int(f.read().split()[0])
            except OSError:
                continue
        return total / 1e9

    def pss(self) -> tuple[float, float]:
        """Proportional memory in MB: of the whole tree, and of its first process (the master, where there is one)."""
        total = root = 0
        for pid in tree(self.process.pid):
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    found = re.search(r"^Pss:\s+(\d+)", f.read(), re.MULTILINE)
            except OSError:
                continue
            kb = int(found.group(1)) if found else 0
            total += kb
            root = kb if pid == self.process.pid else root
        return total / 1024, root / 1024

    def end_successor(self, master: int) -> None:
        """Ends another master that has taken this one's place, and waits until it is gone."""
        os.kill(master, signal.SIGTERM)
        until = time.monotonic() + 4
        while time.monotonic() < until and os.path.exists(f"/proc/{master}"):
            time.sleep(0.05)

    def stop(self) -> None:
        pids = tree(self.process.pid) if self.process.poll() is None else []
        if pids:
            self.process.terminate()
            try:
                self.process.wait(4)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except OSError:
            pass
        for pid in pids[1:]:  # those that left the group; a pid that is in use again has another parent
            try:
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        self.process.wait()
