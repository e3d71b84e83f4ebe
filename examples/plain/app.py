"""A plain WSGI application: no framework, no dependency."""

import os
import time
from html import escape
from urllib.parse import parse_qs

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hostler: {title}</title>
<style>body{{font:1rem/1.5 system-ui;margin:3rem auto;max-width:40rem;padding:0 1rem}}</style>
<h1>{title}</h1>{body}
<p><a href="/">front page</a> · <a href="/environ">environ</a> · <a href="/stream">stream</a> · <a href="/form">form</a></p>
"""


def page(start_response, title, body, status="200 OK"):
    data = PAGE.format(title=escape(title), body=body).encode()
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(data)))])
    return [data]


def front(environ, start_response):
    return page(start_response, "It works", f"<p>Served by worker process {os.getpid()}.</p>")


def show_environ(environ, start_response):
    rows = "".join(f"<tr><td><code>{escape(k)}</code><td>{escape(str(v))}" for k, v in sorted(environ.items()))
    return page(start_response, "environ", f"<table>{rows}</table>")


def stream(environ, start_response):
    """A lazy body: each line is sent as it is yielded."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])

    def lines():
        for i in range(5):
            yield f"line {i + 1} of 5\n".encode()
            time.sleep(0.3)

    return lines()


def form(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        fields = parse_qs(environ["wsgi.input"].read().decode())
        return page(start_response, "Thank you", f"<p>You wrote: {escape(fields.get('text', [''])[0])}</p>")
    return page(start_response, "Form", '<form method="post"><input name="text"> <button>send</button></form>')


ROUTES = {"/": front, "/environ": show_environ, "/stream": stream, "/form": form}


def app(environ, start_response):
    handler = ROUTES.get(environ["PATH_INFO"])
    if handler is None:
        return page(start_response, "Not found", "<p>No such page.</p>", "404 Not Found")
    return handler(environ, start_response)
