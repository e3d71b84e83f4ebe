"""Scopes that are alike for all requests, and the exceptions that mean no more than that a
client has gone."""

import asyncio

from _hostler import stdlib
from _hostler.asgi.files import copied
from _hostler.log import report
from _hostler.wsgi import script_name

VERSION = {"version": "3.0", "spec_version": "2.5"}
EXTENSIONS = ("http.response.pathsend", "http.response.zerocopysend", "http.response.early_hint", "http.response.trailers")

# RFC 8446, RFC 5289 and others: what Go speaks.
CIPHERS = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": 0xC009,
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": 0xC00A,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": 0xC013,
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": 0xC014,
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": 0xC02B,
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": 0xC02C,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": 0xC02F,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": 0xC030,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": 0xCCA8,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": 0xCCA9,
}


class ClientDisconnected(OSError):
    """Raised by send() once the client has gone."""

    __module__ = "hostler"


def tells_of_the_client(e):
    """Does an exception say no more than that the client has gone? Starlette has exceptions
    of its own for that, and task groups put several into one."""
    if isinstance(e, ClientDisconnected) or type(e).__name__ in ("ClientDisconnect", "WebSocketDisconnect"):
        return True
    parts = getattr(e, "exceptions", None)
    return type(parts) is tuple and bool(parts) and all(map(tells_of_the_client, parts))


def server(listener):
    if listener["network"] == "unix":
        return (listener["host"], None)
    return (listener["host"], int(listener["port"]))


def base_scope(listener):
    extensions = {name: {} for name in EXTENSIONS}
    if listener.get("tls"):
        extensions["tls"] = {
            "server_cert": None,
            "client_cert_chain": (),
            "client_cert_name": None,
            "client_cert_error": None,
            "tls_version": None,
            "cipher_suite": None,
        }
    return {
        "type": "http",
        "asgi": VERSION,
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https" if listener.get("tls") else "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": script_name(),
        "headers": [],
        "client": None,
        "server": server(listener),
        "state": {},
        "extensions": extensions,
    }


def phrases():
    """The reason phrases by their status."""
    return {int(s): s.phrase.encode("latin-1") for s in stdlib.copy_of("http").HTTPStatus}


def tell_bridge(bridge, app, loop, eager, context, settings, state):
    """Tell the C side all that it has to know."""
    bases = [base_scope(listener) for listener in settings["listeners"]]
    errors = (ClientDisconnected, asyncio.CancelledError, tells_of_the_client)
    bridge.asgi(app, loop, asyncio.Task, eager, context, bases, state, CIPHERS, phrases(), report, errors, copied)
