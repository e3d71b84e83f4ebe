"""The servers that are compared: how each is installed, started and named."""

import os
import shutil
import subprocess
import sys
from typing import Callable, Dict, List, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, "build", "bench")
BIN = os.path.join(ROOT, "build", "bench-venv", "bin")
APPS = os.path.join(HERE, "apps")
HOSTLER = os.path.join(ROOT, "bin", "hostler")

# (application, port, workers, threads) -> command
Command = Callable[[str, int, int, int], List[str]]


def hostler(app: str, port: int, workers: int, threads: int) -> List[str]:
    return [HOSTLER, "-w", str(workers), "--threads", str(threads), "-b", "127.0.0.1:%d" % port,
            "--admin-bind", "off", "--python", BIN + "/python", app]  # fmt: skip


def gunicorn(app: str, port: int, workers: int, threads: int) -> List[str]:
    kind = ["-k", "gthread", "--threads", str(threads)] if threads else ["-k", "sync"]
    return [BIN + "/gunicorn", "-w", str(workers), *kind, "-b", "127.0.0.1:%d" % port, app]


def gthread(app: str, port: int, workers: int, threads: int) -> List[str]:
    return gunicorn(app, port, workers, threads)


def gunicorn_sync(app: str, port: int, workers: int, threads: int) -> List[str]:
    return gunicorn(app, port, workers, 0)


def granian(app: str, port: int, workers: int, threads: int) -> List[str]:
    return [BIN + "/granian", "--interface", "wsgi", "--workers", str(workers), "--blocking-threads", str(threads),
            "--host", "127.0.0.1", "--port", str(port), "--no-ws", app]  # fmt: skip


def launched(name: str) -> Command:
    def command(app: str, port: int, workers: int, threads: int) -> List[str]:
        return [BIN + "/python", os.path.join(HERE, "serve.py"), name, app, str(port), str(workers)]

    return command


def uvicorn(app: str, port: int, workers: int, threads: int) -> List[str]:
    return [BIN + "/uvicorn", "--interface", "wsgi", "--workers", str(workers), "--no-access-log", "--log-level", "warning",
            "--host", "127.0.0.1", "--port", str(port), app]  # fmt: skip


def waitress(app: str, port: int, workers: int, threads: int) -> List[str]:
    return [BIN + "/waitress-serve", "--threads=%d" % threads, "--listen=127.0.0.1:%d" % port, app]


def uwsgi(app: str, port: int, workers: int, threads: int) -> List[str]:
    return [BIN + "/uwsgi", "--http-socket", "127.0.0.1:%d" % port, "--master", "--processes", str(workers),
            *(["--threads", str(threads)] if threads > 1 else []),
            "--virtualenv", os.path.dirname(BIN), "--module", app, "--listen", "128", "--disable-logging", "--die-on-term"]  # fmt: skip


def floor(app: str, port: int, workers: int, threads: int) -> List[str]:
    return [BUILD + "/floor", str(port)]


COMMANDS: Dict[str, Command] = {
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
}

NOTES = {
    "gunicorn sync": "answers one request per connection, by design",
    "uwsgi": "`--http-socket`: one request per connection",
    "uvicorn": "an ASGI server; WSGI through its adapter",
    "waitress": "one process only",
    "fastpysgi": "no timeouts, no replacing of workers",
    "bjoern": "no timeouts, no process management",
    "C epoll loop": "the floor: no Python, hardly any HTTP (`bench/floor.c`)",
}

# What pip installs for each; flask is the application's.
PACKAGES: Dict[str, str] = {
    "gunicorn": "gunicorn",
    "granian": "granian",
    "fastpysgi": "fastpysgi",
    "uvicorn": "uvicorn[standard]",
    "waitress": "waitress",
    "bjoern": "bjoern",
    "uwsgi": "uwsgi",
    "flask": "flask",
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def package(server: str) -> str:
    return server.split()[0]


def run(*command: str) -> Tuple[bool, str]:
    """Runs an installer; whether it went well, and the line that says why not."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    except OSError as err:
        return False, str(err)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower()]
    return done.returncode == 0, ((told or lines or [""])[-1])[:200]


def apt(*packages: str) -> bool:
    """Debian packages, where we may; else says what to install."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say("bench: %s needed: apt-get install %s (or its like with dnf)" % (" and ".join(packages), " ".join(packages)))
        return False
    env = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    ok, _ = run(*env, "install", *packages)
    if not ok:
        run(*env, "update")
        ok, why = run(*env, "install", *packages)
        if not ok:
            say("bench: cannot install %s: %s" % (" ".join(packages), why))
    return ok


def install(servers: List[str]) -> Dict[str, str]:
    """Puts all in place; returns what could not be installed, and why."""
    os.makedirs(BUILD, exist_ok=True)
    failed: Dict[str, str] = {}
    if not os.path.exists(HOSTLER):
        raise SystemExit("bench: bin/hostler is missing: run make first")
    if shutil.which("wrk") is None and not apt("wrk"):
        raise SystemExit("bench: cannot measure without wrk: apt-get install wrk (Fedora, RHEL: build it from its source)")
    if not os.path.exists(BIN + "/python"):
        ok, why = run(sys.executable, "-m", "venv", os.path.dirname(BIN))
        if not ok:
            raise SystemExit("bench: cannot make a virtual environment: " + why)
    have = versions()
    for name in ["flask"] + sorted({package(s) for s in servers} & set(PACKAGES)):
        if name in have:
            continue
        say("bench: installing " + name)
        ok, why = run(BIN + "/pip", "-q", "install", PACKAGES[name])
        if not ok and name == "bjoern" and apt("libev-dev"):
            ok, why = run(BIN + "/pip", "-q", "install", PACKAGES[name])
        if not ok:
            failed[name] = "cannot be installed: " + why
            say("bench: WARNING: %s %s" % (name, failed[name]))
    ok, why = run("cc", "-O2", "-o", BUILD + "/floor", os.path.join(HERE, "floor.c"))
    if not ok:
        failed["C"] = "cannot be compiled: " + why
        say("bench: WARNING: the C epoll loop " + failed["C"])
    return failed


def versions() -> Dict[str, str]:
    """Package name (lower case) -> version, of what the environment holds."""
    done = subprocess.run([BIN + "/pip", "list", "--format=freeze", "--disable-pip-version-check"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)  # fmt: skip
    pairs = [line.split("==") for line in done.stdout.splitlines() if "==" in line]
    return {name.lower(): version for name, version in pairs}
