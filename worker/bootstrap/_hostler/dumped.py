"""hostler ctl dump: what waits, and is in no thread's stack, so that faulthandler does not see it,
is written behind the threads' stacks."""

import faulthandler
import os
import signal

from _hostler.signals import DUMP

MOST, DEEPEST = 200, 50  # of those that are told, and frames of one


def also(describe, fd):
    """Have the text that describe() returns written, too, when Python comes to it: where that is
    busy in C it does not, but then it is a thread's stack that matters."""

    def dump(*_):
        try:
            data = describe().encode("utf-8", "backslashreplace")
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


def request(method, target, age):
    """What a request is called; age in nanoseconds."""
    return "%s %s, for %.3fs" % (method, target.encode("unicode_escape").decode("ascii"), age / 1e9)


def listed(found, number, kind):
    """The text of what is found: since when, what it is called, and the file, line and function of
    each of its frames, the innermost first. The oldest come first."""
    found.sort(key=lambda f: f[:2])
    text = ""
    for _, what, stack in found[:MOST]:
        frames = "".join('  File "%s", line %s in %s\n' % f for f in stack)
        text += "\n-- worker %d, pid %d: %s\n%s (most recent call first):\n%s" % (number, os.getpid(), what, kind, frames)
    if len(found) > MOST:
        text += "\n-- worker %d, pid %d: and %d more %ss\n" % (number, os.getpid(), len(found) - MOST, kind.lower())
    return text
