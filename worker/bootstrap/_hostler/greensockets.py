"""environ["wsgi.websocket"], as gevent-websocket's handler has it, where requests run in greenlets.
The server speaks the protocol. Nothing of that package's is needed, or imported; where the
application has, it gets the exceptions of that."""

import collections
import logging
import sys
import weakref

SOCKET_DEAD, ALREADY_CLOSED = "Socket is dead", "Connection is already closed"


def offers(app):
    """Return the function that makes them, of hostler.websocket and environ."""
    server = Server(app)
    return lambda ws, environ: WebSocket(ws, environ, server)


def error(message):
    """Return WebSocketError: the application catches the one that it has imported."""
    theirs = sys.modules.get("geventwebsocket.exceptions")
    return (theirs.WebSocketError if theirs else WebSocketError)(message)


class WebSocketError(OSError):
    __module__ = "hostler"


class Server:
    """What handler.server is to applications."""

    def __init__(self, app):
        self.application = app
        self.logger = logging.getLogger("geventwebsocket.handler")
        self.all = weakref.WeakSet()

    @property
    def clients(self):
        """Those whose WebSockets are open, by address."""
        open_ = [ws for ws in self.all if not ws.closed]
        return collections.OrderedDict((ws.handler.client_address, ws.handler.active_client) for ws in open_)


class Client:
    """A WebSocket in handler.server.clients: the application may put attributes here."""

    def __init__(self, address, ws):
        self.address = address
        self._ws = weakref.ref(ws)

    @property
    def ws(self):
        return self._ws()


class Handler:
    def __init__(self, server, environ, ws):
        self.server = server
        self.environ = environ
        port = environ.get("REMOTE_PORT", "")
        self.client_address = (environ.get("REMOTE_ADDR", ""), int(port) if port.isdigit() else id(ws))
        self.active_client = Client(self.client_address, ws)

    @property
    def websocket(self):
        return self.active_client.ws

    @property
    def application(self):
        return self.server.application

    @property
    def logger(self):
        return self.server.logger


class WebSocket:
    """The handshake is answered when something is done with it first, even if it is only asked
    whether it is closed: until then the request can be answered as any other."""

    OPCODE_CONTINUATION, OPCODE_TEXT, OPCODE_BINARY = 0, 1, 2
    OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG = 8, 9, 10

    def __init__(self, ws, environ, server):
        self._ws = ws
        self._accepted = self._closed = False
        self.environ = environ
        self.handler = Handler(server, environ, self)
        self.origin = environ.get("HTTP_ORIGIN")
        self.protocol = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")
        self.version = environ.get("HTTP_SEC_WEBSOCKET_VERSION")
        self.path = environ.get("PATH_INFO")

    @property
    def logger(self):
        return self.handler.logger

    @property
    def current_app(self):
        return getattr(self.handler.application, "current_app", None) or Deaf()

    @property
    def closed(self):
        self._accept()
        return self._closed or self._ws.closed

    def receive(self):
        """Return the next message, str or bytearray; None: it has been closed."""
        self._open()
        try:
            message = self._ws.receive()
        except self._ws.Closed:
            self._over()
            return None
        return message if isinstance(message, str) else bytearray(message)

    def read_message(self):
        return self.receive()

    def send(self, message, binary=None):
        if binary is None:
            binary = not isinstance(message, str)
        self.send_frame(message, self.OPCODE_BINARY if binary else self.OPCODE_TEXT)

    def send_frame(self, message, opcode):
        self._open()
        if opcode in (self.OPCODE_PING, self.OPCODE_PONG):
            return  # the server sends its own (--ws-ping-interval)
        if opcode == self.OPCODE_CLOSE:
            self.close()
            return
        if opcode == self.OPCODE_TEXT:
            message = message if isinstance(message, str) else str(message or "")
        else:
            message = bytes(message)
        try:
            self._ws.send(message)
        except self._ws.Closed:
            self._over()
            self.current_app.on_close(SOCKET_DEAD)
            raise error(SOCKET_DEAD) from None

    def close(self, code=1000, message=b""):
        self._accept()
        if self._closed:
            self.current_app.on_close(ALREADY_CLOSED)
            return
        reason = message.decode("utf-8", "replace") if isinstance(message, (bytes, bytearray)) else str(message or "")
        try:
            self._ws.close(code, reason)
        finally:
            self._over()

    def _accept(self):
        if self._accepted:
            return
        self._ws.accept(self._subprotocol())
        self._accepted = True
        self.handler.server.all.add(self)

    def _subprotocol(self):
        """The application has a say in it where it is gevent-websocket's Resource."""
        choose = getattr(self.handler.application, "app_protocol", None)
        chosen = choose(self.path) if choose else None
        return chosen if chosen in self._ws.subprotocols else None

    def _open(self):
        self._accept()
        if self._closed:
            self.current_app.on_close(ALREADY_CLOSED)
            raise error(ALREADY_CLOSED)

    def _over(self):
        self._closed = True
        self.environ = self.handler.environ = None


class Deaf:
    def on_close(self, *args):
        pass
