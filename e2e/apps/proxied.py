"""An application for tests with a proxy in front."""

import json
import os
import time

from wire import digest, plain


def app(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"], origin)
    return page(environ, start_response)


def origin(environ, start_response):
    """Says who asked for what, as far as the application can tell."""
    keys = "REMOTE_ADDR REMOTE_PORT SERVER_NAME SERVER_PORT SCRIPT_NAME PATH_INFO wsgi.url_scheme HTTPS".split()
    seen = {k: v for k, v in environ.items() if k in keys or k.startswith("HTTP_")}
    seen["pid"] = str(os.getpid())
    return plain(start_response, json.dumps(seen).encode())


def wait_for(path):
    end = time.time() + 15
    while not os.path.exists(path):
        if time.time() > end:
            raise RuntimeError("nobody has made " + path)
        time.sleep(0.01)


def stream(environ, start_response):
    """Sends its second piece only when the client has had the first."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first\n"
    wait_for(environ["QUERY_STRING"])
    yield b"second\n"


def upload(environ, start_response):
    """Notes that it has been called, and then reads the body."""
    open(environ["QUERY_STRING"], "w").close()
    return digest(environ, start_response)


PAGES = {"/stream": stream, "/upload": upload, "/digest": digest}
