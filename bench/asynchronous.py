"""ASGI: what a request costs on an event loop, beside servers that are made for it."""

from __future__ import annotations

from loads import charged, measured, sockets
from rounds import Plan, Results, expect, guarded, start

HELLO = b"Hello, World!"
# application -> (path, what it answers, [(scenario, connections)])
LOADS = {
    "asgi:hello": [("/", HELLO, [(f"asgi-hello-{n}", n) for n in (1, 4, 32, 256)])],
    "fastapiapp:app": [
        ("/json", b'{"message":"Hello, World!","n":42}', [("asgi-fastapi", 32)]),
        ("/sync", b'{"message":"Hello, World!","n":42}', [("asgi-pool", 32)]),
        ("/stream", b"x" * 1000, [("asgi-stream", 32)]),
    ],
}


def unchunked(body: bytes) -> bytes:
    """The chunks' bytes, if it is made of chunks."""
    out, rest = b"", body
    while True:
        size, end, rest = rest.partition(b"\r\n")
        try:
            length = int(size, 16)
        except ValueError:
            return body
        if not end or len(rest) < length:
            return body
        if not length:
            return out
        out, rest = out + rest[:length], rest[length + 2 :]


def websocket(results: Results, name: str, plan: Plan) -> None:
    with start(name, "asgi:echo", options=("--ws",) if name == "granian asgi" else ()) as server:
        sockets(server, 32, 1)
        results.add("websocket", name, charged(server, lambda: sockets(server, 32, plan.seconds)))


def asgi(results: Results, name: str, plan: Plan) -> None:
    for app, paths in LOADS.items():
        with start(name, app) as server:
            for path, answer, scenarios in paths:
                head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
                expect(server, path, head, lambda b, answer=answer: answer in (b, unchunked(b)))
                for scenario, connections in scenarios:
                    guarded(results, scenario, name, lambda c=connections, p=path: measured(server, c, plan.seconds, p))
