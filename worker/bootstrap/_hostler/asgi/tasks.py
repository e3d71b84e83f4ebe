"""What the tasks of the event loop are at: they wait, and are in no thread's stack, so that
faulthandler does not see them (hostler ctl dump)."""

import asyncio
import faulthandler
import os
import signal
import time

from _hostler.frames import OURS
from _hostler.signals import DUMP

MOST, DEEPEST = 200, 50  # tasks, and frames of one


def dump_tasks(loop, number, fd):
    """Have the loop's tasks written behind the threads' stacks, when the loop comes to it: one
    that is blocked does not, but then it is a thread's stack that matters."""

    def dump(*_):
        try:
            data = described(loop, number).encode("utf-8", "backslashreplace")
            while data:
                data = data[os.write(fd, data) :]
        except Exception:
            pass  # the pipe is full: that much is enough

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [DUMP])
    try:
        faulthandler.unregister(DUMP)  # or it would not chain to a handler that comes later
        signal.signal(DUMP, dump)
        faulthandler.register(DUMP, file=fd, all_threads=True, chain=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def described(loop, number):
    """All tasks but ours: requests first, the oldest first."""
    now, found = time.monotonic_ns(), []
    for task in asyncio.all_tasks(loop):
        coro = task.get_coro()
        stack = stack_of(coro)
        if not stack or stack[-1][0].startswith(OURS):
            continue
        request = getattr(coro, "request", None)
        if request:
            method, target, since = request
            what = "%s %s, for %.3fs" % (method, target.encode("unicode_escape").decode("ascii"), (now - since) / 1e9)
        else:
            since, what = now, "the application's task %s" % task.get_name()
        found.append((since, what, stack))
    found.sort(key=lambda f: f[:2])
    text = ""
    for _, what, stack in found[:MOST]:
        frames = "".join('  File "%s", line %s in %s\n' % f for f in stack)
        text += "\n-- worker %d, pid %d: %s\nTask (most recent call first):\n%s" % (number, os.getpid(), what, frames)
    if len(found) > MOST:
        text += "\n-- worker %d, pid %d: and %d more tasks\n" % (number, os.getpid(), len(found) - MOST)
    return text


def stack_of(coro):
    """File, line and function of each coroutine that waits for the next, the innermost first."""
    found = []
    while coro is not None and len(found) < DEEPEST:
        kind = next((k for k in ("cr", "gi", "ag") if getattr(coro, k + "_frame", None) is not None), None)
        if kind is None:
            break  # a future, or what is written in C
        frame = getattr(coro, kind + "_frame")
        found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        coro = getattr(coro, "gi_yieldfrom" if kind == "gi" else kind + "_await", None)
    return found[::-1]
