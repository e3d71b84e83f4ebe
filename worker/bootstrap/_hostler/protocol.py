"""What is said to the master, and by it, before the library runs and beside it: package
protocol has the other end. A message is a packet whose first byte says what it is."""

import os
import sys

from _hostler import log

CONTROL, LIBRARY, SECRETS, LISTENERS = 3, 5, 8, 10  # 4: the scoreboard, 6 and 7: the exchange, 9: error pages

# Of ours.
READY, FAILED, LEAVING, MODULES, FORKED, HOOKS, HOOK_DONE, METRICS = b"R", b"F", b"h", b"M", b"P", b"N", b"K", b"A"
# The master's.
DRAIN, HOOK, FORK, REOPEN = b"D", b"H", b"W", b"U"


def tell(kind, data=b""):
    os.write(CONTROL, kind + data)


def fail(text):
    """Tell the master why there is no worker, and go."""
    tell(FAILED, text.encode("utf-8", "backslashreplace")[-60000:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)


def control_socket():
    """The control socket, whatever the application has made of Python's."""
    import _socket

    control = _socket.socket(fileno=os.dup(CONTROL))
    control.settimeout(None)  # socket.setdefaulttimeout() is not meant for us
    return control


def receive(control):
    """Return the master's next message, b"" at the end, and the descriptors beside
    it. A new file for the error log is taken at once."""
    import _socket

    while True:
        message, beside, _, _ = control.recvmsg(1 << 16, _socket.CMSG_SPACE(2 * 4), _socket.MSG_CMSG_CLOEXEC)
        data = beside[0][2] if beside else b""
        fds = [int.from_bytes(data[i : i + 4], sys.byteorder) for i in range(0, len(data), 4)]
        if message[:1] != REOPEN:
            return message, fds
        for fd in fds:
            log.reopen(fd)
            os.close(fd)
