"""--ready-path: a request that the application has to answer well before its worker serves. It is
run in the worker, by no socket: nobody else can ask meanwhile, and nobody is asked in its place."""

import io
import time
from urllib.parse import unquote_to_bytes

from _hostler.frames import text_of_raised
from _hostler.protocol import fail
from _hostler.wsgi import base_environ

PAUSE = 0.2  # seconds, before it is asked again
FIRST_LINE = 200  # characters of a body that are told


def internal_environ(settings, target, host):
    """The environ of a request of our own, a GET from this machine that is for host."""
    path, _, query = target.partition("?")
    env = base_environ(settings, settings["listeners"][0], None, None)
    if path.startswith(env["SCRIPT_NAME"] + "/"):
        path = path[len(env["SCRIPT_NAME"]) :]
    del env["wsgi.early_hints"], env["hostler.deadline"]
    env.update(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": target,
            "HTTP_HOST": host,
            "HTTP_USER_AGENT": "hostler/" + settings["version"],
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.input": io.BytesIO(),
        }
    )
    return env


class Question:
    """The request, asked again until it is answered well or its time is over."""

    def __init__(self, settings):
        self.target, self.host = settings["ready_path"], settings["ready_host"]
        self.over = time.monotonic() + settings.get("ready_timeout", 0) / 1e9
        self.wrong = ""

    def answered(self, status, body):
        """Take note of an answer: its status, as a text, and the begin of its body."""
        self.wrong = ""
        if not ("200" <= status[:3] <= "399"):
            line = body.decode("utf-8", "replace").strip().partition("\n")[0].strip()
            self.wrong = "was answered %s%s" % (status or "without a status", line and ": " + line[:FIRST_LINE])

    def raised(self, e):
        self.wrong = "raised:\n" + text_of_raised(e)

    def settled(self):
        """Is it answered well? If its time is over without, tell the master, and go."""
        if self.wrong and time.monotonic() >= self.over:
            fail("GET %s (--ready-path, for %s) %s" % (self.target, self.host, self.wrong))
        return not self.wrong


def be_ready(settings, app):
    """Ask an application of WSGI's."""
    question = Question(settings)
    while True:
        ask(settings, app, question)
        if question.settled():
            return
        time.sleep(PAUSE)


def ask(settings, app, question):
    status, body = [""], []

    def start_response(code, headers, exc_info=None):
        status[0] = code
        return body.append

    try:
        result = app(internal_environ(settings, question.target, question.host), start_response)
        try:
            for data in result:
                body.append(data)
        finally:
            if hasattr(result, "close"):
                result.close()
        question.answered(status[0], b"".join(body))
    except Exception as e:
        question.raised(e)
