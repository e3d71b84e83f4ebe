"""Hooks around each request, as Gunicorn has them: pre_request and post_request."""

from _hostler.frames import text_of_raised
from _hostler.log import say
from _hostler.wsgi import FileWrapper


class Request:
    """What the hooks may ask of a request. It has no body: that is the application's."""

    def __init__(self, environ):
        self.environ = environ
        self.method = environ["REQUEST_METHOD"]
        self.path = environ["PATH_INFO"]
        self.query = environ["QUERY_STRING"]
        self.uri = environ["RAW_URI"]
        self.fragment = ""
        self.scheme = environ["wsgi.url_scheme"]
        self.version = tuple(int(n) for n in environ["SERVER_PROTOCOL"].partition("/")[2].split("."))
        self.remote_addr = self.peer_addr = (environ["REMOTE_ADDR"], int(environ.get("REMOTE_PORT") or 0))
        self.headers = headers_as_in_wsgi((k[5:], v) for k, v in environ.items() if k.startswith("HTTP_"))
        self.headers += headers_as_in_wsgi((k, environ[k]) for k in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(k))


def headers_as_in_wsgi(pairs):
    """Return headers with their names as Gunicorn has them."""
    return [(name.replace("_", "-").upper(), value) for name, value in pairs]


class Response:
    """What the hooks may ask of a response."""

    def __init__(self):
        self.status = ""
        self.status_code = 0
        self.headers = []
        self.sent = 0  # bytes of the body, less those of a file

    def begins(self, status, headers):
        self.status, self.headers = status, list(headers)
        self.status_code = int(status[:3])


class Ending:
    """The body of a response, and what comes after it."""

    def __init__(self, body, response, after):
        self.body, self.response, self.after = body, response, after
        self.items = iter(body)

    def __iter__(self):
        return self

    def __next__(self):
        data = next(self.items)
        self.response.sent += len(data)
        return data

    def close(self):
        try:
            if hasattr(self.body, "close"):
                self.body.close()
        finally:
            self.after()


def arity(hook):
    import inspect  # 2 MB of modules, and only a post_request asks

    try:
        return len([p for p in inspect.signature(hook).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])
    except (TypeError, ValueError):
        return 4


def ended(after, count, *args):
    """Run post_request, if there is one, with as many arguments as it takes."""
    if not after:
        return
    try:
        after(*args[: max(2, count)])
    except Exception as e:
        say("hostler: the hook post_request failed:\n" + text_of_raised(e))


def around(app, worker, before, after):
    """Return the application with the hooks around it; either may be None."""
    count = arity(after) if after else 0

    def observed(environ, start_response):
        request, response = Request(environ), Response()

        def start(status, headers, exc_info=None):
            write = start_response(status, headers, exc_info) if exc_info else start_response(status, headers)
            response.begins(status, headers)
            return write

        try:
            if before:
                before(worker, request)
            body = app(environ, start)
        except BaseException:
            ended(after, count, worker, request, environ, response)
            raise

        def finish():
            ended(after, count, worker, request, environ, response)

        if type(body) in (list, tuple):  # which leaves in one piece, with its length
            response.sent = sum(map(len, body))
            finish()
            return body
        if type(body) is FileWrapper:  # and this by sendfile(2)
            close = getattr(body, "close", None)

            def close_file():
                try:
                    if close:
                        close()
                finally:
                    finish()

            body.close = close_file
            return body
        if not after:
            return body
        return Ending(body, response, finish)

    return observed
