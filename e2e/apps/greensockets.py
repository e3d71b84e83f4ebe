"""wsgi.websocket, as applications of gevent-websocket's use it: served by hostler, and by that
package's own server (python greensockets.py PORT), which is what it is held against."""

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import gc
import time

from geventwebsocket import Resource, WebSocketApplication, WebSocketError


def say(*words):
    sys.stderr.write(" ".join(map(str, words)) + "\n")
    sys.stderr.flush()


def do_echo(ws):
    while True:
        message = ws.receive()
        if message is None:
            break
        ws.send(message)
    try:
        ws.receive()
    except WebSocketError as e:
        say("echo:", e)
    try:
        ws.send("late")
    except WebSocketError as e:
        say("echo:", e)
    say("echo: closed", ws.closed)


def do_kinds(ws):
    ws.send(" ".join([type(ws.receive()).__name__, type(ws.receive()).__name__, ws.path, ws.version, str(ws.origin), str(ws.protocol)]))
    ws.send(b"bytes")
    ws.send(bytearray(b"array"))
    ws.send("text", binary=False)
    ws.send(b"text", binary=True)
    ws.send_frame("framed", ws.OPCODE_TEXT)


def do_closes(ws):
    ws.close(4001, "änough")
    say("closes:", ws.closed)
    ws.close()


def do_waits(ws):
    """It never receives: others send."""
    while not ws.closed:
        time.sleep(0.01)
    say("waits: over")


def do_raises(ws):
    ws.send("first")
    raise ValueError("meant")


def do_returns(ws):
    ws.send("bye")


class Chat(WebSocketApplication):
    """gevent-websocket's example, in short."""

    def on_open(self):
        say("chat: open")

    def on_message(self, message):
        if message is None:
            return
        me = self.ws.handler.active_client
        if message.startswith("I am "):
            me.name = message[5:]
        clients = self.ws.handler.server.clients.values()
        for client in clients:
            client.ws.send("%s of %d: %s" % (getattr(me, "name", "?"), len(clients), message))

    def on_close(self, reason=None):
        say("chat: close")

    @classmethod
    def protocol_name(cls):
        return "chat"


chat = Resource([("^/chat", Chat)])


def plain(environ, start_response):
    if "wsgi.websocket" in environ:
        ws = environ["wsgi.websocket"]
        globals()["do_" + environ["PATH_INFO"][1:]](ws)
        return []
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/left":
        gc.collect()
        return [b"%d" % len([o for o in gc.get_objects() if type(o).__name__ in ("WebSocket", "Request", "Client")])]
    return [b"plain"]


class App:
    def app_protocol(self, path):
        return chat.app_protocol(path)

    def __call__(self, environ, start_response):
        return (chat if environ["PATH_INFO"] == "/chat" else plain)(environ, start_response)


app = App()

if __name__ == "__main__":
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    WSGIServer(("127.0.0.1", int(sys.argv[1])), app, handler_class=WebSocketHandler, log=None).serve_forever()
