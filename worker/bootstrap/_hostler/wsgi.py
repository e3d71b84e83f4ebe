"""What WSGI applications find in environ, and what a request of theirs may be ended by."""

import io
import os
import sys

from _hostler.protocol import fail


def real_file(f):
    """Return f, or the file in it, if reading from it is the same as reading from
    its descriptor; else None. (A GzipFile has a fileno(), too.)"""
    if type(f).__name__ == "_TemporaryFileWrapper" and type(f).__module__ == "tempfile":
        f = f.file
    raw = f.raw if type(f) in (io.BufferedReader, io.BufferedRandom) else f
    return f if type(raw) is io.FileIO else None


class FileWrapper:
    """wsgi.file_wrapper; a real file goes out through sendfile(2). It has what the file
    has: who looks for close(), or seeks to the begin of a range, finds the file's own."""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        self.real = real_file(filelike)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.__dict__.get("filelike"), name)

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


class RequestTimeout(BaseException):
    """Raised in the thread of a request that runs into --timeout. It is no
    Exception: whoever retries or goes on after any error must not do so here."""

    __module__ = "hostler"

    def __init__(self, text="the request runs longer than --timeout, or its hostler.deadline, allows"):
        BaseException.__init__(self, text)


def make_deadline(function):
    """environ["hostler.deadline"]: one for all requests, since the function knows
    by its thread which it is called for."""

    class Deadline:
        """deadline() is how many seconds this request has left until --timeout (None: no limit),
        deadline(seconds) makes it that many from now."""

        __slots__ = ()
        __call__ = staticmethod(function)
        RequestTimeout = RequestTimeout

    return Deadline()


def server_name(listener):
    """SERVER_NAME and SERVER_PORT of a listener, as they stand in a URL; "" is for what
    only the request's Host field says."""
    host, _, zone = listener["host"].partition("%")
    if listener["network"] == "unix":
        return "", ""
    if not host.strip("0:."):  # whatever way it is written
        host = ""
    return "[%s]" % host if ":" in host else host, listener["port"]


def script_name():
    """Where the application is, if the environment says so (as to Gunicorn)."""
    name = os.fsencode(os.environ.get("SCRIPT_NAME", "")).decode("latin-1").rstrip("/")
    if name and not name.startswith("/"):
        fail("SCRIPT_NAME in the environment has to begin with a slash: %r" % name)
    return name


def base_environ(settings, listener, early_hints, deadline):
    name, port = server_name(listener)
    env = {
        "SCRIPT_NAME": script_name(),
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": name or "localhost",
        "SERVER_PORT": port or ("443" if listener.get("tls") else "80"),
        "SERVER_SOFTWARE": "hostler/" + settings["version"],
        "REMOTE_ADDR": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": settings["threads"] > 1,
        "wsgi.multiprocess": settings["workers"] > 1,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.early_hints": early_hints,
        "hostler.deadline": deadline,
    }
    if listener.get("tls"):
        env["wsgi.url_scheme"] = "https"
        env["HTTPS"] = "on"
    return env
