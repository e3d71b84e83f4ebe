"""The servers that are compared: how each is installed, started and named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, "build", "bench")
BIN = os.path.join(ROOT, "build", "bench-venv", "bin")
APPS = os.path.join(HERE, "apps")
HOSTLER = os.path.join(ROOT, "bin", "hostler")
LOAD = os.path.join(BUILD, "load")

if TYPE_CHECKING:
    # (application, port, workers, threads) -> command
    Command = Callable[[str, int, int, int], list[str]]


def hostler(app: str, port: int, workers: int, threads: int) -> list[str]:
    return [HOSTLER, "-w", str(workers), "--threads", str(threads), "-b", f"127.0.0.1:{port}",
            "--admin-bind", "off", "--python", BIN + "/python", app]  # fmt: skip


def gunicorn(app: str, port: int, workers: int, threads: int) -> list[str]:
    kind = ["-k", "gthread", "--threads", str(threads)] if threads else ["-k", "sync"]
    return [BIN + "/gunicorn", "-w", str(workers), *kind, "-b", f"127.0.0.1:{port}", app]


def gthread(app: str, port: int, workers: int, threads: int) -> list[str]:
    return gunicorn(app, port, workers, threads)


def gunicorn_sync(app: str, port: int, workers: int, threads: int) -> list[str]:
    return gunicorn(app, port, workers, 0)


def granian(app: str, port: int, workers: int, threads: int) -> list[str]:
    return [BIN + "/granian", "--interface", "wsgi", "--workers", str(workers), "--blocking-threads", str(threads),
            "--host", "127.0.0.1", "--port", str(port), "--no-ws", app]  # fmt: skip


def launched(name: str) -> Command:
    def command(app: str, port: int, workers: int, threads: int) -> list[str]:
        return [BIN + "/python", os.path.join(HERE, "serve.py"), name, app, str(port), str(workers)]

    return command


def uvicorn(app: str, port: int, workers: int, threads: int) -> list[str]:
    return [BIN + "/uvicorn", "--interface", "wsgi", "--workers", str(workers), "--no-access-log", "--log-level", "warning",
            "--host", "127.0.0.1", "--port", str(port), app]  # fmt: skip


def waitress(app: str, port: int, workers: int, threads: int) -> list[str]:
    return [BIN + "/waitress-serve", f"--threads={threads}", f"--listen=127.0.0.1:{port}", app]


def uwsgi(app: str, port: int, workers: int, threads: int) -> list[str]:
    # Its HTTP closes after each response without a word; said here, wrk need not count it as a failure.
    return [BIN + "/uwsgi", "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", str(workers),
            *(["--threads", str(threads)] if threads > 1 else []),
            "--virtualenv", os.path.dirname(BIN), "--module", app, "--disable-logging", "--die-on-term",
            "--add-header", "Connection: close"]  # fmt: skip


def nginx(app: str, port: int, workers: int, threads: int) -> list[str]:
    # Its option, how nginx listens, goes last: see start in rounds.py.
    return [BIN + "/python", os.path.join(HERE, "behind.py"), str(port), str(workers), str(threads), app, BUILD]


def floor(app: str, port: int, workers: int, threads: int) -> list[str]:
    return [BUILD + "/floor", str(port)]


def hostler_uvloop(app: str, port: int, workers: int, threads: int) -> list[str]:
    command = hostler(app, port, workers, threads)
    return [*command[:-1], "--loop", "uvloop", command[-1]]


def uvicorn_asgi(app: str, port: int, workers: int, threads: int) -> list[str]:
    return [BIN + "/uvicorn", "--loop", "uvloop", "--http", "httptools", "--workers", str(workers), "--no-access-log",
            "--log-level", "warning", "--host", "127.0.0.1", "--port", str(port), app]  # fmt: skip


def granian_asgi(app: str, port: int, workers: int, threads: int) -> list[str]:
    return [BIN + "/granian", "--interface", "asgi", "--loop", "uvloop", "--workers", str(workers),
            "--host", "127.0.0.1", "--port", str(port), "--no-ws", app]  # fmt: skip


COMMANDS: dict[str, Command] = {
    "hostler": hostler,
    "fastpysgi": launched("fastpysgi"),
    "bjoern": launched("bjoern"),
    "granian": granian,
    "uwsgi": uwsgi,
    "gunicorn sync": gunicorn_sync,
    "gunicorn gthread": gthread,
    "waitress": waitress,
    "uvicorn": uvicorn,
    "C epoll loop": floor,
    "nginx + gunicorn": nginx,
    "hostler uvloop": hostler_uvloop,
    "uvicorn asgi": uvicorn_asgi,
    "granian asgi": granian_asgi,
}
# Those that ASGI is measured of, and those that WSGI over plain HTTP/1.1 is.
ASGI = ["hostler", "hostler uvloop", "uvicorn asgi", "granian asgi"]
PLAIN = [name for name in COMMANDS if name not in ASGI[1:] and name != "nginx + gunicorn"]

NOTES = {
    "gunicorn sync": "answers one request per connection, by design",
    "uwsgi": "`--http-socket`, which closes after each response; the field that announces it is added, else wrk counts failures",
    "uvicorn": "an ASGI server; WSGI through its adapter",
    "uvicorn asgi": "with uvloop and httptools",
    "granian asgi": "with uvloop",
    "hostler uvloop": "`--loop uvloop`; hostler alone is on asyncio",
    "waitress": "one process only",
    "fastpysgi": "no timeouts, no replacing of workers",
    "bjoern": "no timeouts, no process management; for the memory table eight forks of one process (`bench/serve.py`)",
    "nginx + gunicorn": "TLS and HTTP/2 in nginx of one worker process, gunicorn gthread behind it on a Unix socket (`bench/behind.py`)",
    "C epoll loop": "the floor: no Python, hardly any HTTP (`bench/floor.c`)",
}

# What pip installs for each; flask and fastapi are the applications'.
PACKAGES: dict[str, str] = {
    "gunicorn": "gunicorn",
    "granian": "granian",
    "fastpysgi": "fastpysgi",
    "uvicorn": "uvicorn[standard]",
    "waitress": "waitress",
    "bjoern": "bjoern",
    "uwsgi": "uwsgi",
    "flask": "flask",
    "django": "django",
    "fastapi": "fastapi",
    "uvloop": "uvloop",
    "h2": "h2",  # gunicorn's HTTP/2
}
TOOLS = {"h2load": "nghttp2-client", "slowhttptest": "slowhttptest"}  # command -> Debian package


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def package(server: str) -> str:
    return server.split()[0]


def run(*command: str) -> tuple[bool, str]:
    """Runs an installer; whether it went well, and the line that says why not."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError as err:
        return False, str(err)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower()]
    return done.returncode == 0, ((told or lines or [""])[-1])[:200]


def apt(*packages: str) -> bool:
    """Debian packages, where we may; else says what to install."""
    names = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say(f"bench: needed, but not here: apt-get install {names} (or its like with dnf)")
        return False
    env = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    ok, _ = run(*env, "install", *packages)
    if not ok:
        run(*env, "update")
        ok, why = run(*env, "install", *packages)
        if not ok:
            say(f"bench: cannot install {names}: {why}")
    return ok


def install(servers: list[str]) -> dict[str, str]:
    """Puts all in place; returns what could not be installed, and why."""
    os.makedirs(BUILD, exist_ok=True)
    failed: dict[str, str] = {}
    if not os.path.exists(HOSTLER):
        raise SystemExit("bench: bin/hostler is missing: run make first")
    if shutil.which("wrk") is None and not apt("wrk"):
        raise SystemExit("bench: cannot measure without wrk: apt-get install wrk (Fedora, RHEL: build it from its source)")
    if not os.path.exists(BIN + "/python"):
        ok, why = run(sys.executable, "-m", "venv", os.path.dirname(BIN))
        if not ok:
            raise SystemExit("bench: cannot make a virtual environment: " + why)
    have = versions()
    for name in ["flask", "django", "fastapi", "uvloop", "h2"] + sorted({package(s) for s in servers} & set(PACKAGES)):
        if name in have:
            continue
        say("bench: installing " + name)
        ok, why = run(BIN + "/pip", "-q", "install", PACKAGES[name])
        if not ok and name == "bjoern" and apt("libev-dev"):
            ok, why = run(BIN + "/pip", "-q", "install", PACKAGES[name])
        if not ok:
            failed[name] = "cannot be installed: " + why
            say(f"bench: WARNING: {name} {failed[name]}")
    for tool, debian in TOOLS.items():
        if shutil.which(tool) is None:
            apt(debian)
    if "nginx + gunicorn" in servers and shutil.which("nginx") is None:
        failed["nginx"] = "is not installed here"
        say("bench: WARNING: nginx " + failed["nginx"])
    ok, why = run("go", "build", "-C", ROOT, "-o", LOAD, "./bench/load")
    if not ok:
        raise SystemExit("bench: cannot build bench/load: " + why)
    ok, why = run("cc", "-O2", "-o", BUILD + "/floor", os.path.join(HERE, "floor.c"))
    if not ok:
        failed["C"] = "cannot be compiled: " + why
        say("bench: WARNING: the C epoll loop " + failed["C"])
    return failed


def versions() -> dict[str, str]:
    """Package name (lower case) -> version, of what the environment holds."""
    done = subprocess.run([BIN + "/pip", "list", "--format=freeze", "--disable-pip-version-check"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)  # fmt: skip
    pairs = [line.split("==") for line in done.stdout.splitlines() if "==" in line]
    return {name.lower(): version for name, version in pairs}
