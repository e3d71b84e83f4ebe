"""An application whose worker has been taken over: it runs what it is sent."""

import array
import ctypes
import errno
import fcntl
import mmap
import os
import random
import resource
import signal
import socket
import struct
import sys
import termios
import threading
import time
import traceback

CONTROL, SCOREBOARD, LIBRARY, OUT, IN, SECRETS, LISTENERS = 3, 4, 5, 6, 7, 8, 10
SHARED = (SCOREBOARD, LIBRARY, SECRETS)

# The server closes some of these before the first request; whoever means ill keeps them.
held = {}
for fd in range(CONTROL, 20):
    try:
        held[fd] = os.dup(fd)
    except OSError:
        pass


def tried(name, *calls):
    """Return the calls that were not refused."""
    done = []
    for call in calls:
        try:
            call()
            done.append(name)
        except (OSError, ValueError, termios.error):
            pass
    return done


def shared_memory():
    """Whatever can be done to shared memory that would harm others."""
    done = []
    for name in SHARED:
        fd = held[name]
        if "memfd" not in os.readlink("/proc/self/fd/%d" % fd):
            continue
        again = "/proc/self/fd/%d" % fd
        done += tried("cut %d" % name, lambda: os.ftruncate(fd, 0), lambda: os.truncate(again, 0))
        done += tried("grown %d" % name, lambda: os.ftruncate(fd, 1 << 40))
        done += tried("sealed %d" % name, lambda: fcntl.fcntl(fd, 1033, 8))  # F_ADD_SEALS, F_SEAL_WRITE
        if name != SCOREBOARD:
            done += tried("written to %d" % name, lambda: os.pwrite(fd, b"x", 0), lambda: os.write(fd, b"x"))
            done += tried("mapped %d" % name, lambda: mmap.mmap(fd, 10, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
    return done


def scribble(seconds, fill=None):
    """Write all over the scoreboard: what is random, or one byte."""
    board = mmap.mmap(held[SCOREBOARD], 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        at = random.randrange(len(board) - 5000)
        if random.random() < 0.7:  # where there are workers
            at = random.choice((0, random.randrange(300000)))
        board[at : at + 4096] = bytes([fill]) * 4096 if fill is not None else os.urandom(4096)


def controls():
    """Return our control socket, and that of our mold if there is one."""
    return [socket.socket(fileno=os.dup(fd)) for fd in (CONTROL, held[CONTROL])]


def deafen():
    """Let the master hear that we are gone."""
    controls()[0].shutdown(socket.SHUT_WR)


def forge(bystander):
    """Every kind of message, and what is none. (Many would only be slow: who talks too
    much waits.)"""
    pids = [b"%d " % bystander, b"-1 ", b"1 ", b"99999999999999999999 "]
    bodies = [b"", b"\x00" * 12, b"\xff" * 9, b"s" + b"\xff" * 8, b"{}", b"[{}]", b"[" * 30000, b"/etc/shadow\x00", os.urandom(60000), b"\x1b]0;title\x07"] + pids
    mine, mold = controls()
    for kind in range(256):
        for body in bodies if chr(kind) in "RETDOIBQYZVXULMGSWHNKPJACcd" else bodies[:1]:  # not F, after which a worker is to go
            send(mine, bytes([kind]) + body)
    for kind in b"RPMF":
        for body in bodies:
            send(mold, bytes([kind]) + body)
    for size in (65535, 65536, 65537, 200000):
        send(mine, b"Z" + b"z" * size)
    send(mine, b"R", [os.open(os.devnull, os.O_RDONLY)] * 200)
    for fd in memories():
        send(mine, b"A", [fd])
        send(mine, b"A", [fd] * 3)


def memories():
    """What is no memory for metrics, or not such as nobody can take away."""
    yield from (os.open("/dev/zero", os.O_RDONLY), os.open("/proc/self/mem", os.O_RDWR), os.pipe()[0], held[IN], held[CONTROL])
    for size, seals in ((8 << 20, 0), (8 << 20, 2), (8 << 20, 6), (0, 15), (1 << 40, 7), (4096, 7)):
        fd = os.memfd_create("metrics", 2)  # MFD_ALLOW_SEALING
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, 1033, seals)
        yield fd
        os.close(fd)
    fd = os.memfd_create("metrics", 2)  # what is right, but for what is in it
    os.ftruncate(fd, 8 << 20)
    for at in range(0, 8 << 20, 1 << 20):
        os.pwrite(fd, os.urandom(4096), at)
    os.pwrite(fd, struct.pack("<QQ", 0x3173656C62617401, 4096), 0)
    fcntl.fcntl(fd, 1033, 7)
    yield fd


def send(control, packet, fds=(), insist=True):
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    while True:
        try:
            control.sendmsg([packet], beside, socket.MSG_DONTWAIT)
            return
        except BlockingIOError:
            if not insist:
                return
            time.sleep(0.01)
        except OSError as e:
            if e.errno in (errno.EMSGSIZE, errno.ETOOMANYREFS, errno.EINVAL, errno.ENOBUFS):
                return
            raise


def kinds():
    """Return descriptors of all kinds that there are, and sockets that hold each other."""
    libc = ctypes.CDLL(None, use_errno=True)
    fds = [
        libc.epoll_create1(0),
        libc.inotify_init1(0),
        libc.timerfd_create(1, 0),
        libc.eventfd(0, 0),
        libc.signalfd(-1, ctypes.create_string_buffer(128), 0),
        libc.fanotify_init(0x200, 0),  # FAN_REPORT_FID
        libc.syscall(425, 8, ctypes.create_string_buffer(120)),  # io_uring_setup
        libc.syscall(434, os.getpid(), 0),  # pidfd_open
        libc.syscall(323 if os.uname().machine == "x86_64" else 282, 1),  # userfaultfd, UFFD_USER_MODE_ONLY
        os.memfd_create("huge", 2),
        libc.memfd_create(b"pages", 6),  # MFD_HUGETLB
        os.open("/", os.O_PATH),
        os.open("/dev/zero", os.O_RDWR),
        os.open("/proc/self/mem", os.O_RDWR),
        *os.pipe(),
    ]
    tried("", lambda: os.ftruncate(fds[9], (1 << 63) - 1))
    libc.epoll_ctl(fds[0], 1, fds[1], ctypes.create_string_buffer(12))  # one in the other
    a, b = socket.socketpair()
    fds = [fd for fd in fds if fd >= 0 and tried(fd, lambda: a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]))]  # not io_uring's
    for _ in range(4):
        a, b = socket.socketpair()
        tried("", lambda: send(a, b"x", [a.fileno(), b.fileno(), fds[0]], False), lambda: send(b, b"x", [a.fileno(), b.fileno()], False))
        fds += [a.detach(), b.detach()]
    return fds


def lingering(port):
    """Return a connection for whose end whoever closes it last has to wait: nobody reads there."""
    s = socket.create_connection(("127.0.0.1", port))
    s.setblocking(False)
    try:
        while True:
            s.send(bytes(1 << 20))
    except BlockingIOError:
        pass
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1 << 20))
    return s


def leave_open(port, n):
    """Have the master close n of those for us, and end so that it has to hear of that."""
    s, control = lingering(port), controls()[0]
    for _ in range(400):  # it does not hear us at once, so that ours is not the last one
        send(control, b"R")
    send(control, b"R", [s.fileno()] * n)
    s.close()
    os.kill(os.getpid(), signal.SIGKILL)


nothing = struct.pack("HBBI", 6, 0, 0, 0)  # a filter that lets no packet in


def spoil(control):
    """Set all that can be set on our end of a control socket."""
    s = socket.socket(fileno=os.dup(control))
    code = ctypes.create_string_buffer(nothing)
    for number, value in (
        (socket.SO_SNDBUF, 1),
        (socket.SO_RCVBUF, 1),
        (13, struct.pack("ii", 1, 1 << 20)),  # SO_LINGER
        (16, 1),  # SO_PASSCRED
        (34, 1),  # SO_PASSSEC
        (42, 1 << 20),  # SO_PEEK_OFF
        (76, 1),  # SO_PASSPIDFD
        (83, 0),  # SO_PASSRIGHTS
        (20, struct.pack("qq", 0, 1)),  # SO_RCVTIMEO
        (21, struct.pack("qq", 0, 1)),  # SO_SNDTIMEO
        (26, struct.pack("HL", 1, ctypes.addressof(code))),  # a filter
        (44, 1),  # SO_LOCK_FILTER
    ):
        tried("", lambda: s.setsockopt(socket.SOL_SOCKET, number, value))
    tried("", lambda: s.bind(b"\0hostler"), lambda: s.listen(0), lambda: s.shutdown(socket.SHUT_RD))


def leave(port, control, kind):
    """Leave connections there for whose end who closes them has to wait."""
    s = lingering(port)
    send(socket.socket(fileno=os.dup(control)), kind, [3] * 100 + [s.fileno()] * 100)
    s.close()


def pour(*controls):
    """Send them thousands of descriptors, of all kinds that there are."""
    fds = kinds()
    for control in controls:
        s = socket.socket(fileno=os.dup(control))
        for i in range(200):
            for kind in b"JRPAFc":
                send(s, bytes([kind]), fds * (i % 5 + 1), False)
    for fd in fds:
        os.close(fd)


EXCHANGE = {  # which end, and what
    "SO_PEEK_OFF": (IN, 42, 1 << 20),
    "SO_RCVTIMEO": (IN, 20, struct.pack("qq", 0, 1)),
    "SO_SNDBUF": (OUT, socket.SO_SNDBUF, 1),
    "SO_PASSCRED": (IN, 16, 1),
    "SO_PASSPIDFD": (IN, 76, 1),
    "SO_PASSRIGHTS": (IN, 83, 0),
    "a filter": (IN, 26, None),
    "SO_LOCK_FILTER": (IN, 44, 1),
}


def spoil_exchange(*names):
    """Set these options on the exchange of today; return those that there are."""
    done = []
    ends = {fd: socket.socket(fileno=os.dup(fd)) for fd in (OUT, IN)}  # there may be another while we are at it
    code = ctypes.create_string_buffer(nothing)
    for name in names:
        end, number, value = EXCHANGE[name]
        if value is None:
            value = struct.pack("HL", 1, ctypes.addressof(code))
        try:
            ends[end].setsockopt(socket.SOL_SOCKET, number, value)
            done.append(name)
        except OSError as e:
            if e.errno != errno.ENOPROTOOPT and not isinstance(e, PermissionError):
                raise
    return " ".join(done)


def clog_exchange(port):
    """Leave connections in the exchange that nobody takes, and that are slow to close."""
    s = lingering(port)
    socket.socket(fileno=os.dup(IN)).setsockopt(socket.SOL_SOCKET, 42, 1 << 20)
    for _ in range(5):
        socket.socket(fileno=os.dup(OUT)).sendmsg([b"D"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))], socket.MSG_DONTWAIT)
    s.close()


def talk():
    """Send what is allowed, without end."""

    def without_end():
        control = controls()[0]
        while True:
            control.send(b"R")

    threading.Thread(target=without_end, daemon=True).start()


def exchange():
    """Fill the exchange with what are no connections, and end it."""
    for fd in (OUT, IN):
        s = socket.socket(fileno=os.dup(held[fd]))
        s.setblocking(False)
        try:
            for i in range(300):
                s.sendmsg([b"D" + os.urandom(i)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [held[OUT]]))])
        except OSError:
            pass
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        s.shutdown(socket.SHUT_RDWR)


def listening(numbers=None):
    """Return all that listens, of what we had at first or of these descriptors, once each."""
    seen = set()
    for fd in numbers or [held[n] for n in held if n >= LISTENERS]:
        try:
            s = socket.socket(fileno=os.dup(fd))
            inode = os.fstat(fd).st_ino
            if inode in seen:
                continue
            seen.add(inode)
            if s.type == socket.SOCK_STREAM and s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                s.setblocking(False)
                yield s
        except OSError:
            pass


def listeners():
    """Spoil all that listens."""
    for s in listening():
        s.listen(0)
        s.shutdown(socket.SHUT_RDWR)


def key(network):
    """A key of TCP_MD5SIG_EXT without which nobody of that IPv4 network gets in."""
    address, bits = network.split("/")
    sockaddr = struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(address)).ljust(128, b"\0")
    return sockaddr + struct.pack("BBHI", 1, int(bits), 3, 0) + b"key".ljust(80, b"\0")


OPTIONS = {
    "SO_LOCK_FILTER": [(socket.SOL_SOCKET, 44, 1)],
    "SO_BINDTODEVICE": [(socket.SOL_SOCKET, 25, b"lo\0")],
    "SO_PRIORITY": [(socket.SOL_SOCKET, 12, 6)],
    "SO_DONTROUTE": [(socket.SOL_SOCKET, 5, 1)],
    "SO_RCVLOWAT": [(socket.SOL_SOCKET, 18, 1 << 20)],
    "SO_RCVTIMEO": [(socket.SOL_SOCKET, 20, struct.pack("qq", 0, 1))],
    "SO_LINGER": [(socket.SOL_SOCKET, 13, struct.pack("ii", 1, 0))],
    "SO_KEEPALIVE": [(socket.SOL_SOCKET, 9, 1)],
    "SO_MAX_PACING_RATE": [(socket.SOL_SOCKET, 47, 1)],
    "SO_OOBINLINE": [(socket.SOL_SOCKET, 10, 1)],
    "SO_REUSEADDR": [(socket.SOL_SOCKET, 2, 0)],
    "SO_BUF_LOCK": [(socket.SOL_SOCKET, socket.SO_RCVBUF, 1), (socket.SOL_SOCKET, socket.SO_SNDBUF, 1)],
    "IP_TTL": [(socket.IPPROTO_IP, 2, 1)],
    "IP_MINTTL": [(socket.IPPROTO_IP, 21, 255)],
    "IP_TOS": [(socket.IPPROTO_IP, 1, 8)],
    "IP_MTU_DISCOVER": [(socket.IPPROTO_IP, 10, 3)],
    "IP_RECVERR": [(socket.IPPROTO_IP, 11, 1)],
    "TCP_MAXSEG": [(socket.IPPROTO_TCP, 2, 88)],
    "TCP_DEFER_ACCEPT": [(socket.IPPROTO_TCP, 9, 100000)],
    "TCP_WINDOW_CLAMP": [(socket.IPPROTO_TCP, 10, 1)],
    "TCP_CORK": [(socket.IPPROTO_TCP, 3, 1)],
    "TCP_USER_TIMEOUT": [(socket.IPPROTO_TCP, 18, 1)],
    "TCP_SYNCNT": [(socket.IPPROTO_TCP, 7, 1)],
    "TCP_LINGER2": [(socket.IPPROTO_TCP, 8, 1)],
    "TCP_FASTOPEN": [(socket.IPPROTO_TCP, 23, 5)],
}


def options(*names):
    """Set these options on the TCP sockets that we listen on now; return those that we may not."""
    failed = set()
    for s in listening(range(LISTENERS, 20)):
        if s.family == socket.AF_UNIX:
            s.listen(0)
            continue
        for name in names:
            try:
                for level, number, value in OPTIONS[name]:
                    s.setsockopt(level, number, value)
            except OSError:
                failed.add(name)
    return sorted(failed)


def keep_out(how):
    """Let nobody reach us, so that no option says so."""
    for s in listening(range(LISTENERS, 20)):
        if s.family == socket.AF_UNIX:
            continue
        if how == "filter":
            code = ctypes.create_string_buffer(nothing)
            try:
                s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(code)))
            except PermissionError:  # net.core.bpf_jit_limit: the kernel has no room for one of nobody's
                return "refused"
            s.setsockopt(socket.SOL_SOCKET, 44, 1)
        elif how == "queue":
            s.listen(0)
        else:
            s.setsockopt(socket.IPPROTO_TCP, 32, key(how))


def hide():
    """Fork a process that is nobody's child, has all that we have, and goes on; return it."""
    fork = ctypes.PyDLL(None).fork  # which Python, and so the server, does not hear of
    r, w = os.pipe()
    child = fork()
    if child == 0:
        os.setsid()
        if fork() == 0:
            os.write(w, b"%d" % os.getpid())
            while True:
                time.sleep(1000)
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(r, 20))


def crowd(processes):
    """Hide so many times, with as many descriptors as there can be, those that count the
    last of all."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fork = ctypes.PyDLL(None).fork
    r, w = os.pipe()
    if fork() == 0:
        os.setsid()
        most = min(most, 500000)
        keep = [w] + [fd for n, fd in held.items() if n >= LISTENERS]
        for i, fd in enumerate(keep):
            os.dup2(fd, most - 1 - i)
        w = most - 1
        for fd in range(3, most - len(keep)):
            os.dup2(0, fd)
        for _ in range(processes):
            if fork() == 0:
                os.write(w, b"%d " % os.getpid())
                os.close(w)
                while True:
                    time.sleep(1000)
        os._exit(0)
    os.close(w)
    pids = b""
    while True:
        more = os.read(r, 1000)
        if not more:
            return [int(pid) for pid in pids.split()]
        pids += more


def keep(how):
    """Have a process keep what we listen on, where it is hard to find; return what it says."""
    fds = [s.detach() for s in listening()]
    r, w = os.pipe()
    for fd in (w, *fds):
        os.set_inheritable(fd, True)
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import malice; malice.kept(%r, %d, %r)" % (how, w, fds)])
    for fd in (w, *fds):
        os.close(fd)
    os.waitpid(child, 0)
    return os.read(r, 100).decode()


def kept(how, w, fds):
    """Be that process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def only(*keep):
        for fd in range(256):
            if fd != w and fd not in keep:
                tried("", lambda: os.close(fd))

    def stay(*keep):
        only(*keep)
        os.write(w, b"%d" % os.getpid())
        time.sleep(1000)

    def hold():
        libc.unshare(0x400)  # CLONE_FILES: what others close is ours
        done.set()
        stay(*fds)

    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    if how == "grandchild":
        if os.fork() == 0:
            stay(*fds)
        only()
        time.sleep(1000)
    if how in ("thread", "leaderless"):
        done = threading.Event()
        threading.Thread(target=hold).start()
        done.wait()
        only()
        if how == "leaderless":
            libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit
        time.sleep(1000)
    if how == "flight":
        a, b = socket.socketpair()
        while not tried("sent", lambda: socket.send_fds(a, [b"x"], fds)):  # others of that user have too much on the way
            time.sleep(0.01)
        stay(a.fileno(), b.fileno())
    if how == "io_uring":
        ring = libc.syscall(425, 8, ctypes.create_string_buffer(120))  # io_uring_setup
        if ring < 0 or libc.syscall(427, ring, 2, (ctypes.c_int * len(fds))(*fds), len(fds)) < 0:  # io_uring_register, IORING_REGISTER_FILES
            os.write(w, b"refused")
            os._exit(0)
        stay(ring)
    if how == "chain":  # of which each forks the next one and ends
        only(*fds)
        os.write(w, b"0")
        for _ in range(3):
            os.fork()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            os.setsid()
            if os.fork():
                os._exit(0)


def leased(path):
    """Hold a file of ours so that who opens it has to wait."""
    os.rename(path, path + ".away")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def others(master, bystander):
    """Whatever a process can do to another one."""
    done = []
    for pid in (master, bystander, 1):
        done += tried("signalled %d" % pid, lambda: os.kill(pid, signal.SIGCONT), lambda: os.kill(pid, 0))
        for name in ("mem", "fd/2", "environ", "root/etc/shadow", "cwd", "clear_refs", "oom_score_adj"):
            path = "/proc/%d/%s" % (pid, name)
            done += tried("opened " + path, lambda: os.open(path, os.O_RDWR))
        done += tried("traced %d" % pid, lambda: os.listdir("/proc/%d/fd" % pid))
    done += tried("became root", lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgroups([0]), lambda: os.setgid(0))
    return done


def output():
    """Spoil what is written to: standard output and error are others', too."""
    for fd in (1, 2):
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND | os.O_ASYNC)
        tried("", lambda: fcntl.fcntl(fd, 1031, 4096))  # F_SETPIPE_SZ
        try:
            for _ in range(64):
                os.write(fd, b"nonsense" * 1024)
        except OSError:
            pass


def end_output():
    """What can be done to standard output and error if they are a socket."""
    done = []
    for fd in (1, 2):
        tried("", lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK))
        tried("", lambda: fcntl.fcntl(fd, 1031, 4096), lambda: fcntl.ioctl(fd, 0x5421, struct.pack("i", 1)))  # F_SETPIPE_SZ, FIONBIO
        try:
            s = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        spoil(fd)
        done += tried("shut down", lambda: s.shutdown(socket.SHUT_RDWR))
        done += tried("read", lambda: s.recv(1, socket.MSG_DONTWAIT))
    return done


def terminal():
    """What can be done to the terminal that the server was started at."""
    done = tried("opened", lambda: os.open("/dev/tty", os.O_RDWR))
    for fd in (0, 1, 2):
        here = "/proc/self/fd/%d" % fd
        done += tried("it is one", lambda: termios.tcgetattr(fd))
        if fd:
            done += tried("opened again", lambda: os.open(here, os.O_RDONLY | os.O_NONBLOCK))
        for name, number, value in (
            ("typed", termios.TIOCSTI, b"x"),
            ("foreground", termios.TIOCSPGRP, struct.pack("i", os.getpgrp())),
            ("ours", termios.TIOCSCTTY, 0),
            ("exclusive", termios.TIOCEXCL, 0),
            ("a size", termios.TIOCSWINSZ, struct.pack("HHHH", 1, 1, 1, 1)),
            ("a discipline", termios.TIOCSETD, struct.pack("i", 3)),
            ("stopped", termios.TCXONC, termios.TCOOFF),
            ("flushed", termios.TCFLSH, termios.TCIOFLUSH),
            ("console", termios.TIOCCONS, 0),
            ("not ours", termios.TIOCNOTTY, 0),
        ):
            done += tried(name, lambda: fcntl.ioctl(fd, number, value))
        try:
            raw = termios.tcgetattr(fd)
            raw[0] = raw[1] = raw[3] = 0
            done += tried("raw", lambda: termios.tcsetattr(fd, termios.TCSANOW, raw))
        except termios.error:
            pass
    return done


def owned_by(pid):
    """Have that process signalled for whatever happens to all that others have, too."""
    for fd in [1, 2, *held.values()]:
        for name in (signal.SIGIO, signal.SIGTERM, signal.SIGKILL):
            tried("", lambda: fcntl.fcntl(fd, fcntl.F_SETOWN, pid), lambda: fcntl.fcntl(fd, 10, name))  # F_SETSIG
            tried("", lambda: fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC))
            tried("", lambda: socket.socket(fileno=os.dup(fd)).send(b"", socket.MSG_DONTWAIT | socket.MSG_OOB))
            tried("", lambda: os.write(fd, b"\n"))


def log_files(run):
    """Return descriptors of all open files of ours in that directory."""
    names = ((fd, os.readlink("/proc/self/fd/" + fd)) for fd in os.listdir("/proc/self/fd") if os.path.lexists("/proc/self/fd/" + fd))
    return [int(fd) for fd, name in names if name.startswith(run)]


def rewind(run):
    """Write where there is something already, or where nobody can: not at the end."""
    for fd in [1, 2, *log_files(run)]:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
        low, high = 0, 1 << 63  # the last position that the file system has
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if tried("", lambda: os.lseek(fd, middle, os.SEEK_SET)) else (low, middle)
        tried("", lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
        tried("", lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK))


def when_ready(server):
    """A hook: that process, too, may be somebody else's."""
    how, port = os.environ["HOOK"], int(os.environ["PORT"])
    open("run/" + how, "w").close()
    if how == "forged":
        talker = socket.socket(fileno=os.dup(CONTROL))
        for kind in range(256):
            for body in (b"", b"when_ready " * 500, b"\xff" * 9, os.urandom(60000)):
                send(talker, bytes([kind]) + body, insist=kind in b"KF")
    elif how == "spoilt":
        spoil(CONTROL)
        time.sleep(1000)
    elif how == "full":
        pour(CONTROL)
        time.sleep(1000)
    elif how == "lingers":
        leave(port, CONTROL, b"K")
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "deaf":
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        os.close(CONTROL)
        time.sleep(1000)
    elif how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)


def child_exit(server, worker):
    pass


def did(code):
    try:
        return repr(eval(code or "os.getpid()")).encode()
    except BaseException:
        return traceback.format_exc().encode()


def app(environ, start_response):
    out = did(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(out)))])
    return [out]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    body, more = b"", True
    while more:
        m = await receive()
        body, more = body + m.get("body", b""), m.get("more_body", False)
    out = did(body.decode())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(out))]})
    await send({"type": "http.response.body", "body": out})
