"""Servers under strain: slow requests among fast ones, reloads, overload, idle and slow clients."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import peers
from loads import ACTIVE, ask, holding, loader, read_load, wrk
from procs import CLIENT_CORE, Failure, Server, on_core, tree
from rounds import WORKERS, Plan, Results, guarded, start

if TYPE_CHECKING:
    from loads import Sample

IDLE = 10000
SLOW = 4000
# slowhttptest's words for each kind of attack
ATTACKS = {
    "slow-headers": ("-H", "-i", "5"),
    "slow-body": ("-B", "-i", "5", "-s", "8192"),
    "slow-read": ("-X", "-w", "256", "-y", "512", "-n", "5", "-z", "32"),
}
MANY = {  # room for the connections of idle and slow
    "hostler": ("--worker-connections", "12000"),
    "granian": ("--backlog", "12000"),
    "gunicorn gthread": ("--worker-connections", "12000"),
}
STAY = {"hostler": ("--keep-alive", "600"), "gunicorn gthread": ("--keep-alive", "600"), "granian": ()}
SOCKETS = {"hostler": MANY["hostler"], "hostler uvloop": MANY["hostler"], "granian asgi": ("--ws", *MANY["granian"]), "uvicorn asgi": ("--backlog", "12000")}
PRELOAD = {"hostler": ("--preload", "--warmup", "/"), "gunicorn gthread": ("--preload",), "granian": ()}


def mixed(results: Results, name: str, plan: Plan) -> None:
    """Neither side is pinned: four workers on one core would measure the kernel's scheduler."""
    for scenario, slow in (("mixed-sleep", "/sleep"), ("mixed-burn", "/cpu")):
        guarded(results, scenario, name, lambda s=slow: beside(name, s, plan.seconds + 3))


def beside(name: str, slow: str, seconds: int) -> Sample:
    with start(name, "plain:mixed", workers=4, threads=4, pinned=False) as server:
        few = ("-c", "32", "-think", "5ms")
        ask(server, 1, *few, both=True)
        return ask(server, seconds, *few, "-share", "0.002", "-slow", slow, both=True)


def reloads(results: Results, name: str, plan: Plan) -> None:
    guarded(results, "reloads-hup", name, lambda: reloaded(name, signal.SIGHUP, 20 if plan.warm_each else 5, 1))
    if name == "hostler":
        guarded(results, "reloads-usr2", name, lambda: reloaded(name, signal.SIGUSR2, 5 if plan.warm_each else 2, 2))


def reloaded(name: str, number: signal.Signals, times: int, gap: float) -> Sample:
    pidfile = os.path.join(peers.BUILD, "reload.pid")
    options = ("--pid", pidfile) if name == "hostler" else ()
    with start(name, "plain:hello", workers=2, threads=2, pinned=False, options=options) as server:

        def master() -> int:
            if not options:
                return server.process.pid
            with open(pidfile) as f:  # SIGUSR2 makes another process the master
                return int(f.read())

        load = subprocess.Popen(loader(server, times * gap + 2, "-c", "64", "-think", "2ms"), stdout=subprocess.PIPE, text=True)
        before = set(tree(server.process.pid))
        try:
            for _ in range(times):
                time.sleep(gap)
                os.kill(master(), number)
            out, _ = load.communicate(timeout=60)
            if set(tree(master())) == before:
                raise Failure("the same processes as before: nothing was reloaded")
        except (OSError, ValueError, subprocess.TimeoutExpired) as err:
            raise Failure(f"no master to reload, or no end: {err}") from err
        finally:
            load.kill()
            load.wait()
            if options and (pid := master()) != server.process.pid:
                server.end_successor(pid)
        return read_load(out) | {"times": float(times)}


def overload(results: Results, name: str, plan: Plan) -> None:
    with start(name, "plain:work") as server:
        peak = ask(server, plan.seconds + 1, "-c", "8")
        if not peak["rps"]:
            raise Failure("no good answer")
        sample = ask(server, plan.seconds + 4, "-c", "800", "-rate", str(3 * peak["rps"]), "-timeout", "10s")
        # Refusing is what is asked for here: only other failures are errors.
        sample |= {"peak": peak["rps"], "share": sample["rps"] / peak["rps"], "errors": sample["broken"]}
        results.add("overload", name, sample)


def allow_files(connections: int = IDLE) -> None:
    need = connections + 1000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:  # root may have more
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(need, hard), max(need, hard)))
    except (ValueError, OSError):
        raise Failure(f"only {hard} files may be open here (ulimit -Hn)") from None


def idle(results: Results, name: str, plan: Plan) -> None:
    allow_files()
    with start(name, "plain:hello", options=MANY[name] + STAY[name]) as server:
        ask(server, 1, *ACTIVE)
        without = ask(server, plan.seconds + 2, *ACTIVE)
        sample = at_rest(server, plan)
        if "p99" not in without or "p99" not in sample:
            raise Failure("no good answer beside the idle connections")
        results.add("idle", name, sample | {"without": without["p99"]})


def websockets(results: Results, name: str, plan: Plan) -> None:
    allow_files()
    with start(name, "asgi:echo", options=SOCKETS[name]) as server:
        ask(server, 1, *ACTIVE, "-ws")
        results.add("websockets", name, at_rest(server, plan, "-ws"))


def at_rest(server: Server, plan: Plan, *kind: str) -> Sample:
    """What so many connections take that have had one answer, beside an active one."""
    before = server.pss()[0]
    with holding(server, IDLE, plan.seconds + 2, "3s", *kind) as ended:
        time.sleep(1)
        after = server.pss()[0]
        return ended() | {"kb": (after - before) * 1024 / IDLE}


def slow(results: Results, name: str, plan: Plan) -> None:
    for scenario, attack in ATTACKS.items():
        guarded(results, scenario, name, lambda a=attack, n=scenario: attacked(name, n, a, 4 * plan.seconds + 2))


def attacked(name: str, scenario: str, attack: tuple[str, ...], seconds: int) -> Sample:
    """A client with a new connection every 50 ms, beside the attack from two seconds on."""
    if shutil.which("slowhttptest") is None:
        raise Failure("slowhttptest is not installed here")
    allow_files()
    reads = scenario == "slow-read"
    with start(name, "plain:bulk" if reads else "plain:hello", options=MANY[name]) as server:
        url = f"http://127.0.0.1:{server.port}/" + ("1mb" if reads else "")
        command = ["slowhttptest", *attack, "-c", str(SLOW), "-r", "2000", "-l", str(seconds + 3), "-p", "3", "-u", url]
        attacker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=on_core(CLIENT_CORE))  # noqa: PLW1509
        try:
            time.sleep(2)
            return ask(server, seconds, "-c", "1", "-think", "50ms", "-reopen", "1", "-timeout", "5s", "-path", "/")
        finally:
            attacker.kill()
            attacker.wait()


def django(results: Results, name: str, plan: Plan) -> None:
    with start(name, "djapp:app", workers=WORKERS, pinned=False, options=PRELOAD[name]) as server:
        time.sleep(1.5)
        sample = wrk(server, 32, plan.seconds + 2)
        now, root = server.pss()
        results.add("django", name, {"mb": now / WORKERS, "own": (now - root) / WORKERS, "errors": sample["errors"]})
