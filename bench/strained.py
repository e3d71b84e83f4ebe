"""The page's part on TLS, HTTP/2 and servers under strain (secure.py, strain.py), and ASGI
(asynchronous.py)."""

from __future__ import annotations

from rounds import WORKERS, Results
from tables import cpu_table, loud, named, section, spread, table

# column's title -> (figure, digits)
TAIL = {"p50 ms": ("p50", 2), "p99 ms": ("p99", 2), "p99.9 ms": ("p999", 2), "requests/s": ("rps", 0)}
RELOAD = {"reloads": ("times", 0), "requests": ("requests", 0), "closed connections": ("closed", 0), "p99 ms": ("p99", 2)}
OVER = {"goodput / peak": ("share", 2), "peak requests/s": ("peak", 0), "p50 ms": ("p50", 1), "p99 ms": ("p99", 1), "503": ("refused", 0)}
IDLE = {"kB each": ("kb", 1), "p99 ms without": ("without", 2), "p99 ms with": ("p99", 2), "closed": ("idle_closed", 0)}
SOCKETS = {"kB each": ("kb", 1), "p99 ms": ("p99", 2), "closed": ("idle_closed", 0)}
CLIENT = {"p50 ms": ("p50", 2), "p99 ms": ("p99", 2), "answers": ("ok", 0)}
MEMORY = {"MB per worker": ("mb", 1), "without the master": ("own", 1)}
CPU = None

# chapter -> (scenario, title, text, columns; None: CPU per request)
PARTS = {
    "ASGI": [
        *((f"asgi-hello-{n}", f"ASGI, hello, {n} connection" + "s" * (n > 1), "", CPU) for n in (1, 4, 32, 256)),
        ("asgi-fastapi", "FastAPI, 32 connections", "A small object as JSON, by a coroutine.", CPU),
        ("asgi-pool", "FastAPI in the thread pool, 32 connections", "The same by a plain function.", CPU),
        ("asgi-stream", "StreamingResponse, 32 connections", "Ten pieces of 100 bytes. Where a server says that its send() fails once the client "
         "has gone, as hostler does, Starlette needs no second task for each.", CPU),
        ("asgi-tls", "ASGI, hello over TLS, 32 connections", "RSA certificate of 2048 bits, TLS 1.3.", CPU),
        ("asgi-h2c", "ASGI, hello over HTTP/2 without TLS", "h2load, 16 connections of 4 streams.", CPU),
        ("asgi-h2", "ASGI, hello over HTTP/2 with TLS", "The same, with TLS.", CPU),
        ("websocket", "WebSocket, 32 connections", "Text of 16 bytes comes back; a request is a message and its echo.", CPU),
        ("websockets", "10,000 idle WebSockets", "Memory (PSS) of each after one message, without compression, and p99 of an active one's messages.", SOCKETS),
    ],
    "TLS and HTTP/2": [
        ("tls", "TLS, 32 connections", "Hello; RSA certificate of 2048 bits, TLS 1.3.", CPU),
        ("handshakes", "TLS, a connection per request", "Each with a full handshake, none resumed; a request here is a handshake and a hello.", CPU),
        ("h2c", "HTTP/2 without TLS", "h2load, 16 connections of 4 streams; hello.", CPU),
        ("h2", "HTTP/2 with TLS", "The same, with TLS.", CPU),
    ],
    "Under strain": [
        ("mixed-sleep", "Few slow requests: sleeping", "4 workers of 4 threads, 32 connections with a pause of 5 ms; 0.2 % of the requests sleep 100 ms. "
         "The latencies are the others'. Nothing is pinned.", TAIL),
        ("mixed-burn", "Few slow requests: burning", "The same; 0.2 % of the requests compute for 100 ms and hold the GIL.", TAIL),
        ("reloads-hup", "Reloads", "SIGHUP once a second, under 64 keep-alive connections; closed connections are those that the server ended, "
         "announced or not. Nothing is pinned.", RELOAD),
        ("reloads-usr2", "Replacing the binary", "SIGUSR2 every 2 seconds, under the same load. Only hostler: granian cannot, gunicorn's needs further "
         "signals to its two masters.", RELOAD),
        ("overload", "Overload", "One thread, an application that sleeps 5 ms, three times the requests that it can answer, due at a fixed rate over "
         "800 connections. Goodput are answers of 200 within the load's time; latencies count from when a request was due. Failed is all but 503.", OVER),
        ("idle", "10,000 idle connections", "Memory (PSS) of each, and p99 of an active connection without and with them.", IDLE),
        ("slow-headers", "Slow clients: headers", "slowhttptest with 4,000 connections; the figures are those of a client that opens a connection every "
         "50 ms for one request.", CLIENT),
        ("slow-body", "Slow clients: bodies", "", CLIENT),
        ("slow-read", "Slow clients: reading", "", CLIENT),
        ("django", "Memory of a Django worker", f"Django with its contrib applications, {WORKERS} workers, after some load: hostler `--preload --warmup /`, "
         "gunicorn `--preload`; granian cannot preload. Nothing is pinned.", MEMORY),
    ],
}  # fmt: skip


def sections(results: Results) -> list[str]:
    out = []
    for chapter, parts in PARTS.items():
        out += ["## " + chapter, ""]
        for scenario, title, text, columns in parts:
            lines = cpu_table(results, scenario) if columns is None else figures(results, scenario, columns)
            out += section(title, text, lines, results, scenario)
    return out


def figures(results: Results, scenario: str, columns: dict[str, tuple[str, int]]) -> list[str]:
    """A row per server; the order is by name, hostler first: which column decides is the reader's to say."""
    servers = sorted(results.samples.get(scenario, {}), key=lambda name: (name != "hostler", name))

    def cell(server: str, what: str, digits: int) -> str:
        text = spread(results, scenario, server, what, digits)
        return text.split(" ")[0] if what == "rps" else text

    rows = [[named(server), *(cell(server, what, digits) for what, digits in columns.values()), loud(results, scenario, server)] for server in servers]
    return table(["server", *columns, "failed"], rows)
