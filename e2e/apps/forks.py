# An application with all that makes a fork hard: a thread that is ended before it and
# started again after it, sockets' default timeout, a SIGCHLD handler that reaps
# whatever there is, text that is not flushed, objects that run code when looked at.
import os
import signal
import socket
import sys
import threading

seen = {"before": [], "parent": [], "child": []}


class Background:
    def start(self):
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.end.wait, daemon=True, name="background")
        self.thread.start()

    def stop(self):
        self.end.set()
        self.thread.join()


class Lazy:
    @property
    def __class__(self):
        os.write(2, b"LOOKED AT\n")
        raise RuntimeError("not configured")

    def __getattr__(self, name):
        os.write(2, b"LOOKED AT\n")
        raise RuntimeError("not configured")

    def __eq__(self, other):
        os.write(2, b"LOOKED AT\n")
        raise RuntimeError("not configured")

    def __bool__(self):
        os.write(2, b"LOOKED AT\n")
        raise RuntimeError("not configured")

    __hash__ = __repr__ = __bool__


class Socket(socket.socket, Lazy):
    fileno = __repr__ = __getattribute__ = Lazy.__getattr__


class LazyThread(threading.Thread):
    name = property(Lazy.__bool__)


background = Background()
background.start()
os.register_at_fork(
    before=lambda: (seen["before"].append(os.getpid()), background.stop()),
    after_in_parent=lambda: (seen["parent"].append(os.getpid()), background.start()),
    after_in_child=lambda: (seen["child"].append(os.getpid()), background.start()),
)
lazy = Lazy()
lazy_socket = Socket()
plain_socket = socket.socket()
lazy_thread = LazyThread(target=threading.Event().wait, daemon=True)
lazy_thread.start()
sys.modules["blocked"] = None
sys.modules["lazy"] = lazy
socket.setdefaulttimeout(0.2)
sys.stdout.write("said at import, and not flushed; ")


def reap(*args):
    while True:
        os.waitpid(-1, os.WNOHANG)  # and raises when there is nobody left


if os.environ.get("ON_CHILD") == "reap":
    signal.signal(signal.SIGCHLD, reap)
elif os.environ.get("ON_CHILD") == "ignore":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def app(environ, start_response):
    handler = signal.getsignal(signal.SIGCHLD)
    name = {signal.SIG_DFL: "default", signal.SIG_IGN: "ignore"}.get(handler) or "reap"
    with open("/proc/%d/cmdline" % seen["before"][0], "rb") as f:
        title = f.read().split(b"\0")[0].decode()
    start_response("200 OK", [])
    return [repr((os.getpid(), seen, background.thread.is_alive(), name, title)).encode()]
