"""WebSockets as WSGI applications have them: Flask-Sock, simple-websocket by itself and
Flask-SocketIO, in its threading mode, or another one; and Flask-Sockets where it is there."""

import logging
import os
import socket
import sys

mode, _, alone = os.environ.get("ASYNC_MODE", "threading").partition(",")
if alone:
    sys.modules["geventwebsocket"] = None  # it is not installed

import flask_socketio
import simple_websocket
from flask import Flask, request
from flask_sock import Sock

socket.setdefaulttimeout(0.5)  # for sockets that the application makes: a client may be silent for longer

app = Flask(__name__)
app.logger.setLevel(logging.ERROR)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25}
sock = Sock(app)
io = flask_socketio.SocketIO(app, async_mode=mode, ping_interval=1, ping_timeout=30, cors_allowed_origins="*")


def say(*words):
    sys.stderr.write(" ".join(map(str, words)) + "\n")
    sys.stderr.flush()


@app.route("/")
def index():
    return "plain"


@sock.route("/echo")
def echo(ws):
    try:
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed as e:
        say("echo: closed", int(e.reason), repr(e.message))
        raise


@sock.route("/leaves/<int:code>")
def leaves(ws, code):
    if code:
        ws.close(code, "so long")


@sock.route("/fails")
def fails(ws):
    raise ValueError("meant, in Flask-Sock")


@sock.route("/pings")
def pings(ws):
    ws.ping_interval = None
    while True:
        ws.send("%s" % ws.receive(timeout=0.05))


@app.route("/simple", websocket=True)
def simple():
    ws = simple_websocket.Server.accept(request.environ, subprotocols=["two", "one"])
    try:
        ws.send("chosen %s, %s" % (ws.subprotocol, request.headers.get("X-Who")))
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed as e:
        say("simple: closed", int(e.reason))
    return ""


@app.route("/pinged", websocket=True)
def pinged():
    ws = simple_websocket.Server.accept(request.environ, ping_interval=0.2)
    try:
        ws.receive()
    except simple_websocket.ConnectionClosed:
        say("pinged: closed")
    return ""


@app.route("/short", websocket=True)
def short():
    ws = simple_websocket.Server.accept(request.environ, max_message_size=1 << 20)
    try:
        while ws.connected:  # its receive() may wait for ever then
            ws.receive(timeout=0.05)
    except simple_websocket.ConnectionClosed:
        pass
    say("short: it is over")
    return ""


@app.route("/denied", websocket=True)
def denied():
    return "not for you", 403


@io.on("connect")
def connected(auth):
    say("io: connected by", request.environ.get("REQUEST_METHOD"), auth)
    if auth == "refuse":
        raise flask_socketio.ConnectionRefusedError("not for you")


@io.on("disconnect")
def disconnected(reason):
    say("io: disconnected:", reason)


@io.on("ask")
def asked(data):
    return {"you said": data}


@io.on("join")
def join(room):
    flask_socketio.join_room(room)
    io.emit("joined", request.sid, to=room)


@io.on("tell")
def tell(room, data):
    io.emit("told", data, to=room)


@io.on("later")
def later(n):
    def count(sid):
        for i in range(n):
            io.emit("counted", i, to=sid)

    io.start_background_task(count, request.sid)


try:
    from flask_sockets import Sockets
    from werkzeug.routing import Rule
except ImportError:
    pass
else:

    class Current(Sockets):
        """As its users have it with today's Werkzeug."""

        def add_url_rule(self, rule, _, f, **options):
            self.url_map.add(Rule(rule, endpoint=f, websocket=True))

    def flask_sockets(ws):
        while not ws.closed:
            message = ws.receive()
            if message is not None:
                ws.send("%s to %s" % (message, request.path))

    Current(app).add_url_rule("/flask-sockets", None, flask_sockets)
