"""An application with the pages that TestPeers asks for. It knows how often it has
been called, so that a request that was smuggled past the server shows."""

import json

from wire import plain

calls = []


def app(environ, start_response):
    page = environ["PATH_INFO"]
    if page == "/calls":  # and forgets them
        seen = json.dumps(calls)
        calls.clear()
        return plain(start_response, seen.encode())
    calls.append(environ["REQUEST_METHOD"] + " " + environ["RAW_URI"])
    return PAGES.get(page, fine)(environ, start_response)


def fine(environ, start_response):
    return plain(start_response, b"fine")


def read(environ, start_response):
    """The body, or what reading it raises."""
    try:
        body = environ["wsgi.input"].read()
    except Exception as e:
        calls.append(type(e).__name__)
        raise
    return plain(start_response, b"%d" % len(body))


def show(environ, start_response):
    keys = "REMOTE_ADDR SERVER_NAME SCRIPT_NAME PATH_INFO wsgi.url_scheme CONTENT_LENGTH CONTENT_TYPE".split()
    shown = {k: v for k, v in environ.items() if k in keys or k.startswith("HTTP_")}
    shown["body"] = len(environ["wsgi.input"].read())
    return plain(start_response, json.dumps(shown).encode())


def answer(status="200 OK", fields=(), body=()):
    def page(environ, start_response):
        start_response(status, list(fields))
        return list(body)

    return page


def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "a\r\nX-Evil: 1")])
    return plain(start_response, b"hinted")


def dies_late(environ, start_response):
    start_response("200 OK", [("Content-Length", "100")])
    yield b"half"
    raise RuntimeError("too late for another page")


PAGES = {
    "/read": read,
    "/show": show,
    "/hints": hints,
    "/dies_late": dies_late,
    "/evil_value": answer(fields=[("X-A", "Hi\r\nX-Evil: 1")], body=[b"evil"]),
    "/evil_value_lf": answer(fields=[("X-A", "Hi\nX-Evil: 1")], body=[b"evil"]),
    "/evil_name": answer(fields=[("X-A: 1\r\nX-Evil", "1")], body=[b"evil"]),
    "/evil_status": answer("200 OK\r\nX-Evil: 1", body=[b"evil"]),
    "/too_long": answer(fields=[("Content-Length", "3")], body=[b"abc", b"def"]),
    "/too_short": answer(fields=[("Content-Length", "10")], body=[b"abc"]),
    "/empty": answer("204 No Content", body=[b"body"]),
    "/unchanged": answer("304 Not Modified", [("Content-Length", "4")], [b"body"]),
    "/page": answer(fields=[("Content-Length", "4")], body=[b"page"]),
}
