"""WebSocket clients as people have them, each with permessage-deflate as it offers that: whole
messages and fragments, small and large, closed from either side. deflate_clients.py URL AGREED
ECHO [all]: AGREED: whether the server agrees to it, "deflate" or "nothing"; ECHO: the path that
answers, all: so do /look and /floods."""

import asyncio
import os
import sys
import traceback

import aiohttp
import websocket
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync import client as websockets_sync
from wsproto import ConnectionType, WSConnection, events
from wsproto.extensions import PerMessageDeflate

URL, AGREED, ECHO = sys.argv[1:4]
TIME = 30
MAX = 1 << 24
MESSAGES = ["Hello", b"\0\xff", "é" * 500000, os.urandom(1 << 20), b"x" * (1 << 20), "", "again " * 100, "again " * 100, "é" * 200]
PARTS = ["in ", "many " * 1000, "", "parts"]


class Wrong(Exception):
    pass


def check(what, got, want):
    if got != want:
        raise Wrong("%s: %.60r instead of %.60r" % (what, got, want))


# --- each client, as: dial(path), agreed, send(message), fragments(parts), receive(), close(code, reason), ended ---


class Sync:
    "websockets, with threads"

    def __init__(self, path, **offer):
        extensions = [ClientPerMessageDeflateFactory(**offer)] if offer.pop("deflate", True) else None
        self.ws = websockets_sync.connect(
            URL + path, legacy=True, open_timeout=TIME, close_timeout=TIME, proxy=None, max_size=MAX, compression=None, extensions=extensions
        )
        self.agreed = bool(self.ws.protocol.extensions)
        self.send = self.ws.send
        self.fragments = self.ws.send

    def receive(self):
        try:
            return self.ws.recv(TIME)
        except websockets.ConnectionClosed:
            return None

    def close(self, code, reason):
        self.ws.close(code, reason)

    @property
    def ended(self):
        return self.ws.close_code, self.ws.close_reason


class Async:
    "what all asyncio ones have in common"

    def __init__(self, path, **offer):
        self.loop = asyncio.new_event_loop()
        self.run(self.dial(path, **offer))

    def run(self, coro):
        return self.loop.run_until_complete(asyncio.wait_for(coro, TIME))

    def send(self, message):
        self.run(self.sending(message))

    def receive(self):
        return self.run(self.receiving())

    def close(self, code, reason):
        self.run(self.closing(code, reason))


class Websockets(Async):
    async def dial(self, path, **offer):
        extensions = [ClientPerMessageDeflateFactory(**offer)] if offer.pop("deflate", True) else None
        self.ws = await websockets.connect(URL + path, open_timeout=TIME, close_timeout=TIME, proxy=None, max_size=MAX, compression=None, extensions=extensions)
        self.agreed = bool(self.ws.protocol.extensions)

    async def sending(self, message):
        await self.ws.send(message)

    fragments = Async.send

    async def receiving(self):
        try:
            return await self.ws.recv()
        except websockets.ConnectionClosed:
            return None

    async def closing(self, code, reason):
        await self.ws.close(code, reason)

    ended = Sync.ended


class Aiohttp(Async):
    fragments = None  # it sends none

    async def dial(self, path, compress):
        self.session = aiohttp.ClientSession()
        self.ws = await self.session.ws_connect(URL + path, compress=compress, max_msg_size=MAX, autoclose=True)
        self.agreed = bool(self.ws.compress)
        self.ended = None

    async def sending(self, message):
        await (self.ws.send_str if isinstance(message, str) else self.ws.send_bytes)(message)

    async def receiving(self):
        m = await self.ws.receive()
        if m.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return m.data
        check("a message", m.type, aiohttp.WSMsgType.CLOSE)
        self.ended = m.data, m.extra
        await self.session.close()

    async def closing(self, code, reason):
        await self.ws.close(code=code, message=reason.encode())
        self.ended = self.ws.close_code, reason
        await self.session.close()


class Wsproto:
    "which is a protocol; the socket is ours"

    def __init__(self, path, **offer):
        import socket

        host, port = URL[len("ws://") :].split(":")
        self.socket = socket.create_connection((host, int(port)), TIME)
        self.ws = WSConnection(ConnectionType.CLIENT)
        extensions = [PerMessageDeflate(**offer)] if offer.pop("deflate", True) else []
        self.say(events.Request(host=host, target=path, extensions=extensions))
        self.ended, self.whole, self.waiting = None, [], []
        accepted = self.next()
        check("accepted", type(accepted), events.AcceptConnection)
        self.agreed = bool(accepted.extensions)

    def say(self, event):
        self.socket.sendall(self.ws.send(event))

    def next(self):
        while not self.waiting:
            data = self.socket.recv(1 << 16)
            self.ws.receive_data(data or None)
            self.waiting.extend(self.ws.events())
        return self.waiting.pop(0)

    def send(self, message):
        self.say(events.Message(data=message))

    def fragments(self, parts):
        for i, part in enumerate(parts):
            self.say(events.Message(data=part, message_finished=i == len(parts) - 1))

    def receive(self):
        while True:
            e = self.next()
            if isinstance(e, events.Ping):
                self.say(e.response())
            elif isinstance(e, events.CloseConnection):
                self.ended = int(e.code), e.reason or ""
                if self.ws.state.name == "REMOTE_CLOSING":
                    self.say(e.response())
                check("the end", self.socket.recv(1), b"")
                return None
            else:
                self.whole.append(e.data)
                if e.message_finished:
                    all, self.whole = self.whole, []
                    return (b"" if isinstance(all[0], (bytes, bytearray)) else "").join(all)

    def close(self, code, reason):
        self.say(events.CloseConnection(code=code, reason=reason))
        check("answer", self.receive(), None)


class WebsocketClient:
    "which compresses nothing"

    agreed = False

    def __init__(self, path):
        self.ws = websocket.create_connection(URL + path, timeout=TIME, http_no_proxy=["*"], skip_utf8_validation=True)
        self.ended = None

    def send(self, message):
        if isinstance(message, str):
            self.ws.send(message)
        else:
            self.ws.send_binary(message)

    def fragments(self, parts):
        for i, part in enumerate(parts):
            op = websocket.ABNF.OPCODE_CONT if i else websocket.ABNF.OPCODE_TEXT
            self.ws.send_frame(websocket.ABNF.create_frame(part, op, int(i == len(parts) - 1)))

    def receive(self):
        op, data = self.ws.recv_data()
        if op == websocket.ABNF.OPCODE_CLOSE:
            self.ended = int.from_bytes(data[:2], "big"), data[2:].decode()
            return None
        return data.decode() if op == websocket.ABNF.OPCODE_TEXT else data

    def close(self, code, reason):
        self.ws.send_close(code, reason.encode())
        check("answer", self.receive(), None)
        self.ws.shutdown()


TABLE = (
    [
        (client, offer)
        for client in (Sync, Websockets, Wsproto)
        for offer in (
            {},
            {"client_no_context_takeover": True},
            {"server_no_context_takeover": True, "client_no_context_takeover": True},
            {"client_max_window_bits": 9 if client is Wsproto else True},
            {"server_max_window_bits": 9, "client_max_window_bits": 12},
            {"deflate": False},
        )
    ]
    + [(Aiohttp, {"compress": n}) for n in (15, 9, 0)]
    + [(WebsocketClient, {})]
)


def speak(client, offer):
    offers = client is not WebsocketClient and offer.get("deflate", True) and offer.get("compress", 1) != 0
    w = client(ECHO, **offer)
    check("agreed", w.agreed, offers and AGREED == "deflate")
    for message in MESSAGES:
        w.send(message)
        check("echo", w.receive(), message)
    if w.fragments:
        for _ in range(2):
            w.fragments(PARTS)
            check("fragments", w.receive(), "".join(PARTS))
    for i in range(100):
        w.send("message %d" % i)
    for i in range(100):
        check("many", w.receive(), "message %d" % i)
    w.close(4003, "bye")
    check("its answer", w.ended[0], 4003)


def listen(client, offer):
    w = client("/look", **offer)
    while w.receive() is not None:
        pass
    check("its close", w.ended, (4001, "änough"))
    w = client("/floods", **offer)
    for _ in range(300):
        check("a flood", len(w.receive()), 100000)
    check("all", w.receive(), None)
    check("it returned", w.ended, (1000, ""))


bad = 0
for client, offer in TABLE:
    try:
        speak(client, dict(offer))
        if "all" in sys.argv:
            listen(client, offer)
    except Exception as e:
        bad += 1
        print("%s %r: %s" % (client.__name__, offer, e if isinstance(e, Wrong) else traceback.format_exc(limit=-3)))
print("%d of %d are well" % (len(TABLE) - bad, len(TABLE)))
