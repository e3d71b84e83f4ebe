"""Event loops, and how each is told that the engine has something to do: asyncio's waits
with a selector of ours, in the engine's own epoll set; any other has that set among its
own descriptors."""

import asyncio
import importlib
import selectors
import sys

NOTHING = []
if sys.version_info >= (3, 12):
    stepped = asyncio.tasks.current_task
else:
    stepped = asyncio.tasks._current_tasks.get  # what it asks, in C


class LoopError(Exception):
    """There is no such loop, and the text says why."""


class Selector(selectors.EpollSelector):
    """Waits for the engine's set, in which that of asyncio's descriptors is. All that
    clients want is done in there; once it is, a turn of asyncio's loop follows, as there
    may be callbacks, or other times to wait for."""

    bridge = loop = None

    def attach(self, bridge, over):
        self.bridge, self.over = bridge, over
        bridge.watch(self.fileno())
        # What asyncio does for call_soon_threadsafe takes a byte through a pair of sockets:
        # system calls at both ends, and a turn of the loop to read it.
        if hasattr(self.loop, "_write_to_self"):
            self.loop._write_to_self = bridge.wake

    def detach(self):
        self.bridge = None
        vars(self.loop).pop("_write_to_self", None)

    def select(self, timeout=None):
        if self.bridge is None:
            return selectors.EpollSelector.select(self, timeout)
        task = stepped(self.loop)
        said = self.bridge.poll(timeout) if task is None else self.within(task, timeout)
        if said == 0:
            return NOTHING
        if said & EXIT:
            self.detach()
            self.over()
        return selectors.EpollSelector.select(self, 0) if said & APP else NOTHING

    def within(self, task, timeout):
        """The loop is run inside a step of that task's (nest_asyncio), which is none while
        others are stepped."""
        asyncio.tasks._leave_task(self.loop, task)
        try:
            return self.bridge.poll(timeout)
        finally:
            asyncio.tasks._enter_task(self.loop, task)


APP, EXIT = 1, 2  # what the engine says, see asgi.c


class Reader:
    """A loop that is not ours is told by add_reader."""

    def __init__(self, loop):
        self.loop = loop

    def attach(self, bridge, over):
        self.bridge, self.over = bridge, over
        self.set = bridge.epoll(self.turn)
        self.loop.add_reader(self.set, self.turn)
        self.loop.call_soon(self.turn)

    def turn(self):
        said = self.bridge.turn()
        if said & EXIT:
            self.detach()
            self.over()
        elif said & APP:  # there is more to do than one turn may take
            self.loop.call_soon(self.turn)

    def detach(self):
        self.loop.remove_reader(self.set)


def new_loop(name):
    """Return a loop, and what attaches it to the engine."""
    if name in ("auto", "asyncio"):
        selector = Selector()
        selector.loop = asyncio.SelectorEventLoop(selector)
        return selector.loop, selector
    if name == "uvloop":
        loop = load("uvloop", "new_event_loop")
    else:
        loop = load(*name.split(":"))
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise LoopError("--loop %s gives no event loop of asyncio's, but %s" % (name, type(loop).__name__))
    return loop, Reader(loop)


def load(module, factory):
    try:
        found = importlib.import_module(module)
    except ImportError as e:
        if module == "uvloop" and getattr(e, "name", "") == "uvloop":
            raise LoopError("--loop uvloop: that package is not installed here (pip install uvloop)")
        raise
    for part in factory.split("."):
        found = getattr(found, part)
    return found()
