# An application whose mold means ill, as soon as the file $PLAY says how.
import ctypes
import os
import posix
import signal
import socket
import struct
import sys
import time

VICTIM = int(os.environ["VICTIM"])
PORT = int(os.environ["PORT"])
real_fork, real_write = os.fork, os.write
plain_fork = ctypes.PyDLL(None).fork  # which is not taken for that of a worker
os.register_at_fork(before=lambda: time.sleep(1000) if play() == "handler" else None)


def play():
    try:
        with open(os.environ["PLAY"]) as f:
            return f.read().strip()
    except OSError:
        return ""


def forge(worker):
    """Say on a worker's control socket what a worker may not, and that it is others."""
    w = socket.socket(fileno=os.dup(worker))
    for pid in (VICTIM, 1, os.getppid()):
        try:
            w.sendmsg([b"J"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", pid, os.getuid(), os.getgid()))])
            sys.stderr.write("FORGED %d\n" % pid)
        except PermissionError:
            pass
    for kind in range(256):
        for rest in (b"", b"x", b"\xff" * 9, b"1 " * 20000):
            try:
                w.send(bytes([kind]) + rest, socket.MSG_DONTWAIT)
            except OSError:
                pass  # it is full, or closed
    w.close()


def lie():
    """Answer what nobody has asked, twice, with all kinds of processes."""
    for pid in (b"%d" % VICTIM, b"1", b"%d" % os.getppid(), b"0", b"-1", b"-%d" % VICTIM, b"9" * 40, b"", b"x"):
        for _ in range(2):
            real_write(3, b"P" + pid + b" ")
    for kind in range(256):
        real_write(3, bytes([kind]) + b"%d " % VICTIM)


def evil_fork():
    how = play()
    fds = sys._getframe(1).f_locals.get("fds")
    if fds is None or not how:
        return real_fork()
    import malice

    if how == "forge":
        forge(fds[0])
        raise OSError("no")
    if how == "child":  # which is not the master's
        if plain_fork() == 0:
            real_write(fds[0], b"J")
            time.sleep(60)
            os._exit(0)
        raise OSError("no")
    if how == "lie":
        lie()
        raise OSError("no")
    if how == "silent":
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        if plain_fork() == 0:
            time.sleep(1000)
        time.sleep(1000)
    if how in ("hidden", "orphan"):  # where no signal to its group comes, and in a second generation
        if plain_fork() == 0:
            os.setsid()
            if plain_fork() == 0:
                with open(os.path.dirname(os.environ["PLAY"]) + "/run/hidden", "w") as f:
                    f.write("%d" % os.getpid())
                while True:
                    time.sleep(1000)
            while how == "hidden":
                time.sleep(1000)
            os._exit(0)
        while True:
            time.sleep(1000)
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "lingers":  # in its own socket, and ends
        malice.leave(PORT, 3, b"R")
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "lingering birth":  # in that of a worker that is there
        malice.leave(PORT, fds[0], b"x")
    if how == "lingering stillbirth":
        malice.leave(PORT, fds[0], b"J")
        raise OSError("no")
    if how == "spoilt":
        malice.spoil(3)
        malice.spoil(fds[0])
    if how == "full":
        malice.pour(fds[0], 3)
    if how == "deaf":
        os.closerange(3, 40)
        time.sleep(1000)
    if how == "orphans":
        for i in range(300):
            if plain_fork() == 0:
                if plain_fork() == 0:
                    time.sleep(i % 3)
                os._exit(0)
            os.wait()
    return real_fork()


os.fork = posix.fork = evil_fork


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
