"""TLS and HTTP/2: what a request costs, and what a new connection does."""

from __future__ import annotations

import os

import peers
from loads import ask, charged, h2load, measured
from procs import Failure, Server
from rounds import Plan, Results, expect, guarded, start

CERT, KEY = os.path.join(peers.BUILD, "cert.pem"), os.path.join(peers.BUILD, "key.pem")
NGINX = "nginx + gunicorn"
TLS = HTTP2 = ["hostler", "granian", "gunicorn gthread", NGINX]
ASGI_HTTP2 = [name for name in peers.ASGI if name != "uvicorn asgi"]  # which has no HTTP/2

TLS_OPTIONS = {
    "hostler": ("--certfile", CERT, "--keyfile", KEY),
    "granian": ("--http", "1", "--ssl-certificate", CERT, "--ssl-keyfile", KEY),
    "gunicorn gthread": ("--certfile", CERT, "--keyfile", KEY),
    NGINX: ("ssl",),
}
TLS_OPTIONS |= {
    "hostler uvloop": TLS_OPTIONS["hostler"],
    "granian asgi": TLS_OPTIONS["granian"],
    "uvicorn asgi": ("--ssl-certfile", CERT, "--ssl-keyfile", KEY),
}
H2_OPTIONS = {
    "hostler": TLS_OPTIONS["hostler"],
    "granian": ("--http", "2", *TLS_OPTIONS["granian"][2:]),
    "gunicorn gthread": (*TLS_OPTIONS["gunicorn gthread"], "--http-protocols", "h2,h1"),
    NGINX: ("ssl http2",),
}
H2_OPTIONS |= {"hostler uvloop": H2_OPTIONS["hostler"], "granian asgi": H2_OPTIONS["granian"]}
H2C_OPTIONS = {
    "hostler": ("--http2-cleartext",),
    "granian": ("--http", "2"),
    "gunicorn gthread": ("--http-protocols", "h2,h1", "--http2-cleartext", "prior-knowledge"),
    NGINX: ("http2",),
}
H2C_OPTIONS |= {"hostler uvloop": H2C_OPTIONS["hostler"], "granian asgi": H2C_OPTIONS["granian"]}
HELLO = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def certificate() -> None:
    """A self-signed one, RSA of 2048 bits."""
    if not (os.path.exists(CERT) and os.path.exists(KEY)):
        ok, why = peers.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=localhost",
                            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", KEY, "-out", CERT)  # fmt: skip
        if not ok:
            raise Failure("no certificate: " + why)


def tls(results: Results, name: str, plan: Plan) -> None:
    certificate()
    with start(name, "plain:hello", options=TLS_OPTIONS[name], tls=True) as server:
        expect(server, "hello", HELLO, lambda b: b == b"Hello, World!")
        guarded(results, "tls", name, lambda: measured(server, 32, plan.seconds))
        # A connection per request, each with a full handshake.
        new = ("-tls", "-reopen", "1", "-c", "8")
        guarded(results, "handshakes", name, lambda: charged(server, lambda: ask(server, plan.seconds, *new)))


def asgi_tls(results: Results, name: str, plan: Plan) -> None:
    certificate()
    with start(name, "asgi:hello", options=TLS_OPTIONS[name], tls=True) as server:
        expect(server, "hello", HELLO, lambda b: b == b"Hello, World!")
        guarded(results, "asgi-tls", name, lambda: measured(server, 32, plan.seconds))


def http2(results: Results, name: str, plan: Plan) -> None:
    over_http2(results, name, plan, "plain:hello", "")


def asgi_http2(results: Results, name: str, plan: Plan) -> None:
    over_http2(results, name, plan, "asgi:hello", "asgi-")


def over_http2(results: Results, name: str, plan: Plan, app: str, kind: str) -> None:
    certificate()
    for scenario, options, scheme in (("h2c", H2C_OPTIONS, "http"), ("h2", H2_OPTIONS, "https")):

        def load(server: Server, seconds: float, scheme: str = scheme) -> dict[str, float]:
            return h2load(server, f"{scheme}://127.0.0.1:{server.port}/", seconds)

        def answers(server: Server, scheme: str = scheme) -> None:
            h2load(server, f"{scheme}://127.0.0.1:{server.port}/", 0)

        def run(options: tuple[str, ...] = options[name], load=load, answers=answers) -> dict[str, float]:
            with start(name, app, options=options, ready=answers) as server:
                load(server, 1)
                return charged(server, lambda: load(server, plan.seconds))

        guarded(results, kind + scenario, name, run)
