"""What will not survive the fork of a worker, said before it happens (--preload). Of the
application's objects no more is asked than _hostler.objects does."""

import _socket
import gc
import os
import sys
import threading
from types import ModuleType

from _hostler.log import say
from _hostler.objects import is_kind, slot, thread_names, type_name
from _hostler.protocol import LIBRARY


def warn(text):
    say("hostler: preload: %s\n" % text, "WARN")


def describe(fd):
    """What is at a socket's other end, as far as the kernel knows."""
    copy = _socket.socket(fileno=os.dup(fd))
    try:
        for word, ask in (("connected to", copy.getpeername), ("bound to", copy.getsockname)):
            try:
                name = ask()
            except OSError:
                continue
            if type(name) is tuple and len(name) > 1:
                return "descriptor %d, %s %s:%s" % (fd, word, name[0], name[1])
            if type(name) in (str, bytes) and name:
                return "descriptor %d, %s %s" % (fd, word, os.fsdecode(name))
    finally:
        copy.close()
    return "descriptor %d" % fd


def open_sockets(first):
    """The sockets among the descriptors from first on, by what the kernel calls them."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue  # the directory itself
        if int(name) >= first and link.startswith("socket:"):
            found[link] = int(name)
    return found


def socket_owners():
    """Where in modules the sockets are that Python knows, by their descriptors."""
    sockets = {}
    for o in gc.get_objects():
        if is_kind(_socket.socket, type(o)):
            sockets[id(o)] = (_socket.socket.fileno(o), [], o)
    if not sockets:
        return {}
    for name, module in list(dict.items(sys.modules)):
        if type(name) is str and is_kind(ModuleType, type(module)):
            for key, value in list(slot(ModuleType, "__dict__", module).items()):
                if type(key) is str and id(value) in sockets:
                    sockets[id(value)][1].append(name + "." + key)
    return {fd: ", ".join(names) for fd, names, _ in sockets.values()}


def audit_threads():
    named = thread_names(t for t in threading.enumerate() if t is not threading.main_thread())
    for name in named:
        warn("the thread %s will not be in the workers" % name)
    others = len(os.listdir("/proc/self/task")) - 1 - len(named)
    if others > 0:
        warn("%d threads that Python does not know will not be in the workers" % others)


def audit_sockets(first, before):
    sockets = open_sockets(first)
    owners = socket_owners() if sockets else {}
    for link, fd in sockets.items():
        name = "%s (%s)" % (owners.get(fd) or "held by no module itself", describe(fd))
        if link in before:
            warn("a socket will be shared by all workers: %s" % name)
        else:
            warn("warming up has opened a connection, and all workers would share it: %s" % name)
    if any(link not in before for link in sockets):
        warn(
            "what workers say on one connection gets mixed up: close it before the fork, in a function for"
            " os.register_at_fork(before=...) (SQLAlchemy: engine.dispose, psycopg_pool: pool.close), and open it in the worker"
        )


def audit_loops():
    """Event loops that were made before the fork: each worker has one of its own, and what
    is bound to another waits for ever."""
    asyncio = sys.modules.get("asyncio")
    kind = getattr(asyncio, "AbstractEventLoop", None)
    if kind is None:
        return
    for o in gc.get_objects():
        if is_kind(kind, type(o)) and not o.is_closed():
            warn(
                "an event loop has been made already (%s), and will not run in the workers, nor what is bound to it:"
                " make it, and connections and locks for it, in the application's lifespan or in a request" % type_name(type(o))
            )


def audit_libraries():
    with open("/proc/self/maps") as maps:
        files = {line.split(None, 5)[5].strip() for line in maps if " r" in line and ".so" in line}
    own = os.fstat(LIBRARY)
    for path in files:
        try:
            with open(path, "rb") as f:
                # Its first page has the note with its build id.
                if b"Go\x00\x00" in f.read(4096) and not os.path.samestat(os.fstat(f.fileno()), own):
                    warn("%s is written in Go, whose runtime does not survive a fork: import it in the workers only" % path)
        except OSError:
            pass


def audit(first, before):
    """Say what will not survive the fork: other threads, open sockets, of which
    those in before are not from the warm-up, Go. It is for people: it does not
    matter if it fails."""
    for look in (audit_threads, lambda: audit_sockets(first, before), audit_loops, audit_libraries):
        try:
            look()
        except Exception as e:
            warn("cannot look for all that does not survive a fork: %s" % type_name(type(e)))
