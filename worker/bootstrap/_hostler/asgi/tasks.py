"""What the tasks of the event loop are at, for hostler ctl dump."""

import asyncio
import time

from _hostler.dumped import DEEPEST, also, listed, request
from _hostler.frames import OURS, awaited


def dump_tasks(loop, number, fd):
    """Have the loop's tasks told."""
    also(lambda: described(loop, number), fd)


def described(loop, number):
    """All tasks but ours: requests first, the oldest first."""
    now, found = time.monotonic_ns(), []
    for task in asyncio.all_tasks(loop):
        coro = task.get_coro()
        stack = stack_of(coro)
        if not stack or stack[-1][0].startswith(OURS):
            continue
        of = getattr(coro, "request", None)
        if of:
            method, target, since = of
            what = request(method, target, now - since)
        else:
            since, what = now, "the application's task %s" % task.get_name()
        found.append((since, what, stack))
    return listed(found, number, "Task")


def stack_of(coro):
    """File, line and function of each coroutine that waits for the next, the innermost first."""
    frames, _ = awaited(coro)
    return [(f.f_code.co_filename, line, f.f_code.co_name) for f, line in frames[:DEEPEST]][::-1]
