"""For hostler ctl profile: what the threads are at, time and again."""

import os
import sys

from _hostler.frames import is_ours

DEEPEST = 256  # frames of a stack; of deeper ones the middle is left out
LARGEST = 4 << 20  # bytes of what is sent; what took least is left out


class Profiler:
    """Samples the stacks of all threads that are in the application's code. Each
    sample counts for the time since the one before it, so code that holds the GIL
    for long counts for as long, though nobody could look meanwhile."""

    def __init__(self, send, threads):
        self.send = send
        self.threads = threads
        self.thread = self.ending = None

    def start(self, request):
        """Begin a profile, in a thread of its own. One that still runs was given up by
        whoever asked for it, and ends."""
        import json
        import threading

        if self.ending:
            self.ending.set()
        ending = threading.Event()
        self.thread = self.threads.start(self.run, (json.loads(request), ending), "hostler-profile")
        self.ending = ending

    def end(self):
        """Send what there is: the process is about to end."""
        if self.ending:
            self.ending.set()
            self.thread.join(1)

    def run(self, request, ending):
        import random
        import threading
        import time

        own, main = threading.get_ident(), threading.main_thread().ident
        period = 1 / request["rate"]
        stacks, labels = {}, {}
        samples = 0
        begin = last = time.monotonic()
        end = begin + request["seconds"]
        while last < end:
            # Not at an even pace: it might be that of something in the application.
            over = ending.wait(min(period * random.uniform(0.5, 1.5), end - last))
            now = time.monotonic()
            weight = min(now - last, 1)  # the whole process may have been stopped
            last = now
            samples += 1
            names = {t.ident: t.name for t in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident == own:
                    continue
                codes = codes_of(frame, labels)
                if codes:
                    name = names.get(ident, "?")
                    root = "requests" if ident == main or name.startswith("hostler-") else "thread " + name
                    stacks[root, codes] = stacks.get((root, codes), 0) + weight
            frame = None  # it would keep an application's objects alive
            if over:
                break
        self.send(result(request, samples, last - begin, time.thread_time(), stacks, labels))


def codes_of(frame, labels):
    """The ids of the code objects of a stack, from the application's outermost call on;
    () for a thread that is not in its code. labels learns what they are called, and
    keeps them alive. (They compare by value, and equal where only the file differs.)"""
    codes = []
    while frame is not None:
        code = frame.f_code
        if is_loop(code):
            break
        if id(code) not in labels:
            labels[id(code)] = code, label(code, frame.f_globals)
        codes.append(id(code))
        frame = frame.f_back
    while codes and is_ours(labels[codes[-1]][0].co_filename):
        codes.pop()
    codes.reverse()
    if len(codes) > DEEPEST:
        codes[DEEPEST // 2 : -DEEPEST // 2] = [None]
    return tuple(codes)


def is_loop(code):
    """Does this call the steps of an event loop? What the loop does beside them, above all to
    wait, is no work of the application's."""
    if code.co_name in ("_run", "_run_once", "run_forever"):
        return code.co_filename.endswith(("/asyncio/events.py", "/asyncio/base_events.py"))
    return code.co_name == "select" and is_ours(code.co_filename)


def label(code, names):
    where = names.get("__name__")
    if not isinstance(where, str):
        where = os.path.basename(code.co_filename)
    text = "%s:%s:%d" % (where, getattr(code, "co_qualname", code.co_name), code.co_firstlineno)
    return clean(text)


def clean(text):
    """Text for a frame of a folded stack, which ";" and line ends would cut."""
    return "".join("_" if c == ";" or not c.isprintable() else c for c in text)[:200]


def result(request, samples, seconds, cost, stacks, labels):
    """A line of JSON, and folded stacks with microseconds (see protocol/profile.go)."""
    import json

    lines, size, cut = [], 0, 0
    for (root, codes), weight in sorted(stacks.items(), key=lambda item: -item[1]):
        frames = [clean(root)] + [labels[c][1] if c else "..." for c in codes]
        line = ("%s %d\n" % (";".join(frames), weight * 1e6)).encode("utf-8", "replace")
        size += len(line)
        if size > LARGEST:
            cut += weight
        else:
            lines.append(line)
    head = {"id": request["id"], "samples": samples, "seconds": seconds, "cost_seconds": cost, "cut_seconds": cut}
    return json.dumps(head).encode() + b"\n" + b"".join(lines)
