"""What WebSockets are to WSGI applications, beside hostler.websocket itself. The module socket is
imported when one comes: half a megabyte in each worker, and who has WebSockets has it."""

import functools


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
    that replace socket.socket, but for gevent, get one of theirs at once: while nothing is
    written to it, the request can be answered as any other."""
    import socket

    if socket.socket.__module__ not in ("socket", "gevent._socket3"):
        theirs = socket.socket(fileno=take())
        theirs.settimeout(None)
        return theirs
    kind = offered_kind(socket.socket)
    offered = kind.__new__(kind)
    offered._io_refs = take
    return offered


@functools.lru_cache(None)
def whole_kind(plain):
    """Return the kind of socket that sends all with send(), as one that blocks does."""
    if plain.__module__ == "socket":
        return plain

    class Whole(plain):
        __slots__ = ()

        def send(self, data, *args, **kwargs):
            with memoryview(data) as view, view.cast("B") as left:
                sent = 0
                while sent < len(left):
                    sent += plain.send(self, left[sent:], *args, **kwargs)
            return sent

    return Whole


@functools.lru_cache(None)
def offered_kind(plain):
    plain = whole_kind(plain)

    class Offered(plain):
        """It becomes a plain socket, which has the same slots."""

        __slots__ = ()

        def __getattribute__(self, name):
            if name.startswith("__") or not hasattr(plain, name):
                return object.__getattribute__(self, name)
            fd = object.__getattribute__(self, "_io_refs")()
            self.__class__ = plain
            plain.__init__(self, fileno=fd)
            self.settimeout(None)  # setdefaulttimeout() is for others: with one, send() sends a part
            return getattr(self, name)

        def __enter__(self):
            self.fileno()
            return self

        def __repr__(self):
            return "<hostler: the connection, as a socket>"

    return Offered
