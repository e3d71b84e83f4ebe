"""An application that says what URL it believes to have been asked for."""

import json
from urllib.parse import quote


def rebuilt(environ):
    """The recipe of PEP 3333."""
    url = environ["wsgi.url_scheme"] + "://"
    if environ.get("HTTP_HOST"):
        url += environ["HTTP_HOST"]
    else:
        url += host_and_port(environ)
    url += quote(environ.get("SCRIPT_NAME", "")) + quote(environ.get("PATH_INFO", ""))
    if environ.get("QUERY_STRING"):
        url += "?" + environ["QUERY_STRING"]
    return url


def host_and_port(environ):
    default = "443" if environ["wsgi.url_scheme"] == "https" else "80"
    port = environ["SERVER_PORT"]
    return environ["SERVER_NAME"] + (":" + port if port != default else "")


def app(environ, start_response):
    keys = ("SERVER_NAME", "SERVER_PORT", "SERVER_SOFTWARE", "wsgi.url_scheme", "SCRIPT_NAME", "PATH_INFO")
    seen = {k: environ[k] for k in keys}
    seen["url"], seen["own"] = rebuilt(environ), environ["wsgi.url_scheme"] + "://" + host_and_port(environ)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
