"""What speaks with flasksockets.py: websockets, and python-socketio's client. URL is one
of http:, or unix: with a path. They are not to speak TLS: with one thread that reads and one that
writes older Pythons' ssl loses bytes."""

import queue
import sys

import requests
import socketio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync import client as websockets

URL = sys.argv[1]
TIME = 30


def check(what, got, want):
    if got != want:
        sys.exit("%s: %.300r instead of %.300r" % (what, got, want))


def dial(path, **how):
    if URL.startswith("unix:"):
        return websockets.unix_connect(URL[len("unix:") :], "ws://localhost" + path, open_timeout=TIME, **how)
    return websockets.connect(URL.replace("http", "ws", 1) + path, open_timeout=TIME, proxy=None, **how)


def ended(ws):
    try:
        while True:
            ws.recv(TIME)
    except ConnectionClosed as e:
        return e.rcvd and (e.rcvd.code, e.rcvd.reason)


def sockets():
    for compression in ("deflate", None):
        with dial("/echo", compression=compression) as ws:
            for message in ("Hello", b"\0\xff", "é" * 300000, b"x" * (1 << 20), ""):
                ws.send(message)
                check("echo", ws.recv(TIME), message)
            ws.send(["in ", "three ", "parts"])
            check("fragments", ws.recv(TIME), "in three parts")
            if not ws.ping().wait(TIME):
                sys.exit("no pong")
            for i in range(200):
                ws.send(str(i))
            check("many", [ws.recv(TIME) for i in range(200)], [str(i) for i in range(200)])
            ws.close(4003, "bye")
            check("its answer", (ws.close_code, ws.close_reason), (4003, "bye"))
        with dial("/short", compression=compression) as ws:
            ws.send(b"x" * ((1 << 20) + 1))
            check("too long", ended(ws), (1009, "Message is too big"))
    with dial("/leaves/0") as ws:
        check("it returns", ended(ws), (1000, ""))
    with dial("/leaves/4001") as ws:
        check("it closes", ended(ws), (4001, "so long"))
    with dial("/fails") as ws:
        check("it fails", ended(ws), None)
    with dial("/simple", subprotocols=["one", "two"], additional_headers={"X-Who": "me"}) as ws:
        check("chosen", ws.recv(TIME), "chosen one, me")
        check("subprotocol", ws.subprotocol, "one")
        ws.send("still")
        check("still", ws.recv(TIME), "still")
    with dial("/pings") as ws:
        check("a timeout", ws.recv(TIME), "None")
    try:
        dial("/denied")
        sys.exit("accepted")
    except InvalidStatus as e:
        check("denied", (e.response.status_code, e.response.body), (403, b"not for you"))


class Client:
    def __init__(self, transports, **how):
        self.heard = queue.Queue()
        polls = requests.Session()
        polls.trust_env = False
        self.io = socketio.Client(http_session=polls, reconnection=False, request_timeout=TIME)
        for name in ("joined", "told", "counted", "connect_error"):
            self.io.on(name, lambda data, name=name: self.heard.put((name, data)))
        self.io.connect(URL, transports=transports, wait_timeout=TIME, **how)

    def hear(self):
        return self.heard.get(timeout=TIME)


def rooms():
    for transports in (["websocket"], ["polling", "websocket"], ["polling"]):
        a, b = Client(transports), Client(transports)
        check("transport", a.io.transport(), transports[-1])
        check("asked", a.io.call("ask", {"n": [1, "é", b"\0\xff"]}, timeout=TIME), {"you said": {"n": [1, "é", b"\0\xff"]}})
        for c in a, b:
            c.io.emit("join", "room")
            check("joined", c.hear(), ("joined", c.io.get_sid()))
        check("joined", a.hear(), ("joined", b.io.get_sid()))
        a.io.emit("tell", ("room", "x" * 200000))
        for c in a, b:
            check("told", c.hear(), ("told", "x" * 200000))
        n = 10 if transports == ["polling"] else 200  # of one poll's answer it takes 16
        b.io.emit("later", n)
        check("counted", sorted(b.hear() for i in range(n)), [("counted", i) for i in range(n)])  # each has a thread
        if transports == ["websocket"]:
            a.io.sleep(1.5)  # a ping
            check("asked", a.io.call("ask", "again", timeout=TIME), {"you said": "again"})
        for c in a, b:
            c.io.disconnect()
    try:
        Client(["websocket"], auth="refuse")
        sys.exit("accepted")
    except socketio.exceptions.ConnectionError as e:
        check("refused", str(e).split(":")[0], "One or more namespaces failed to connect")


sockets()
if not URL.startswith("unix:"):
    rooms()
print("all is well")
