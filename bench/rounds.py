"""The frame of every scenario: what is asked for, what came of it, and a server's life."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import peers
from procs import Failure, Server, free_port

if TYPE_CHECKING:
    from loads import Sample

WORKERS = 8


class Plan(NamedTuple):
    rounds: int
    seconds: int  # of each run that counts
    servers: list[str]
    warm_each: bool  # warm up before each load, not only the first on a server
    scenarios: frozenset[str] = frozenset()  # names of jobs; none: all


class Results:
    """scenario -> server -> what its rounds gave; failures beside them."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[Sample]]] = {}
        self.failures: dict[str, dict[str, str]] = {}

    def add(self, scenario: str, server: str, sample: Sample) -> None:
        self.samples.setdefault(scenario, {}).setdefault(server, []).append(sample)

    def fail(self, scenario: str, server: str, why: str) -> None:
        self.failures.setdefault(scenario, {})[server] = why
        peers.say(f"bench: WARNING: {scenario}, {server}: {why}")


@contextmanager
def start(name: str, app: str, workers: int = 1, threads: int = 1, pinned: bool = True,
          options: tuple[str, ...] = (), tls: bool = False, ready: Callable[[Server], None] | None = None) -> Iterator[Server]:  # fmt: skip
    """A server that answers; it is stopped at the end, come what may."""
    port = free_port()
    command = peers.COMMANDS[name](app, port, workers, threads)
    last = -1 if name != "nginx + gunicorn" else len(command)
    command[last:last] = options  # before the application, which is the last word
    server = Server(command, port, os.path.join(peers.BUILD, "server.log"), peers.APPS, pinned, tls, ready)
    try:
        yield server
    finally:
        server.stop()


def expect(server: Server, what: str, raw: bytes, good: Callable[[bytes], bool]) -> None:
    """No figure counts for a server that answers something else."""
    if not good(server.request(raw)):
        raise Failure(f"answers {what} wrongly")


def guarded(results: Results, scenario: str, name: str, measure: Callable[[], Sample]) -> None:
    """One load of several on the same server: its failure is not the others'."""
    try:
        results.add(scenario, name, measure())
    except Failure as err:
        results.fail(scenario, name, str(err))
