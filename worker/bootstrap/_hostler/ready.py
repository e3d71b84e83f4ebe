"""--ready-path: a request that the application has to answer well before its worker serves. It is
run in the worker, by no socket: nobody else can ask meanwhile, and nobody is asked in its place."""

import io
import re
import time
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from _hostler.frames import text_of_raised
from _hostler.protocol import fail
from _hostler.wsgi import base_environ

PAUSE = 0.2  # seconds, before it is asked again
LEADS = ("301", "302", "303", "307", "308")
HOPS = 5  # redirects that are followed
MOST_READ = 10000  # bytes of a body that are looked through for something to tell
FIRST_LINE = 200  # characters of it that are told


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


class NotReady(Exception):
    """The application has not answered well in its time. The text says what it did instead."""


class Question:
    """The request, asked again until it is answered well or its time is over. Where an answer
    leads elsewhere on the same host, as to https or to a language, that is asked: a redirect
    alone says nothing of the application."""

    def __init__(self, settings):
        self.target, self.host = settings["ready_path"], settings["ready_host"]
        self.over = time.monotonic() + settings.get("ready_timeout", 0) / 1e9
        self.begin()

    def begin(self):
        """What is asked next is the path that was given."""
        self.at, self.secure, self.hops, self.wrong = self.target, False, 0, ""

    def url(self):
        return "%s://%s%s" % ("https" if self.secure else "http", self.host, self.at)

    def fields(self):
        """What is asked has been asked by https, if that is where it led: the fields of a proxy
        that speaks it."""
        return [("x-forwarded-proto", "https")] if self.secure else []

    def answered(self, status, headers, body):
        """Take note of an answer: its status as a text, its fields, and its body. True: it
        leads elsewhere, which is to be asked now."""
        if status[:3] in LEADS:
            location = next((v for n, v in headers if n.lower() == "location"), "")
            if self.follow(location):
                return True
        if not self.wrong and not ("200" <= status[:3] <= "399"):
            said = first_line(body)
            self.note("was answered %s%s" % (status or "without a status", said and ": " + said))
            if status[:3] == "400":  # of Django's ALLOWED_HOSTS, or the like
                self.wrong += " (if the application does not know the name %s, give it one that it does by --ready-host)" % self.host
        return False

    def follow(self, location):
        """Is there more to ask, where an answer leads? Another host's are not for us."""
        try:
            to = urlsplit(urljoin(self.url(), location))
            if not location or to.scheme not in ("http", "https") or to.hostname != urlsplit("//" + self.host).hostname:
                return False
        except ValueError:
            return False
        if self.hops == HOPS:
            self.note("was redirected %d times, at last to %s" % (HOPS + 1, location))
            return False
        self.hops += 1
        self.secure = self.secure or to.scheme == "https"
        self.at = (to.path or "/") + (to.query and "?" + to.query)
        return True

    def raised(self, e):
        self.note("raised:\n" + text_of_raised(e))

    def note(self, what):
        led = "led to %s, which " % self.url() if self.hops else ""
        self.wrong = "GET %s (--ready-path, for %s) %s%s" % (self.target, self.host, led, what)

    def settled(self):
        """Is it answered well? If its time is over without, that is an exception."""
        if self.wrong and time.monotonic() >= self.over:
            raise NotReady(self.wrong)
        return not self.wrong


def first_line(body):
    """The first line of a body that people would see."""
    text = body[:MOST_READ].decode("utf-8", "replace").strip()
    if text.startswith("<"):
        from html import unescape

        text = unescape(re.sub(r"(?is)<(style|script)\b.*?</\1>|<[^<>]*>", "\n", text)).strip()
    return text.partition("\n")[0].strip()[:FIRST_LINE]


def be_ready(settings, app):
    """Ask an application of WSGI's."""
    question = Question(settings)
    try:
        while True:
            question.begin()
            while ask(settings, app, question):
                pass
            if question.settled():
                return
            time.sleep(PAUSE)
    except NotReady as e:
        fail(str(e))


def ask(settings, app, question):
    """Ask once. True: where the answer leads is to be asked, too."""
    said, body = [("", [])], []

    def start_response(status, headers, exc_info=None):
        said[0] = (status, headers)
        return body.append

    environ = internal_environ(settings, question.at, question.host)
    for name, value in question.fields():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    if question.secure:
        environ.update({"wsgi.url_scheme": "https", "HTTPS": "on"})
    try:
        result = app(environ, start_response)
        try:
            for data in result:
                body.append(data)
        finally:
            if hasattr(result, "close"):
                result.close()
        return question.answered(*said[0], b"".join(body))
    except Exception as e:
        question.raised(e)
        return False
