"""What WebSockets are to WSGI applications, beside hostler.websocket itself."""

import socket

PLAIN = socket.socket


class WebSocketClosed(ConnectionError):
    """Raised by receive() and send() of environ["hostler.websocket"] when it is closed."""

    __module__ = "hostler"

    def __init__(self, code, reason):
        ConnectionError.__init__(self, code, reason)
        self.code = code
        self.reason = reason

    def __str__(self):
        return "the WebSocket is closed: %d %s" % (self.code, self.reason)


def offer_socket(take):
    """Return environ["gunicorn.socket"]: a socket that is none until something is asked of
    it, so that who does not want it, or has its environ printed, takes nothing. Libraries
    that replace socket.socket get one of theirs at once: while nothing is written to it, the
    request can be answered as any other."""
    if socket.socket is not PLAIN:
        theirs = socket.socket(fileno=take())
        theirs.settimeout(None)
        return theirs
    offered = Offered.__new__(Offered)
    offered._io_refs = take
    return offered


class Offered(PLAIN):
    """It becomes a plain socket, which has the same slots."""

    __slots__ = ()

    def __getattribute__(self, name):
        if name.startswith("__") or not hasattr(PLAIN, name):
            return object.__getattribute__(self, name)
        fd = object.__getattribute__(self, "_io_refs")()
        self.__class__ = PLAIN
        PLAIN.__init__(self, fileno=fd)
        self.settimeout(None)  # setdefaulttimeout() is for others: with one, send() sends a part
        return getattr(self, name)

    def __enter__(self):
        self.fileno()
        return self

    def __repr__(self):
        return "<hostler: the connection, as a socket>"
