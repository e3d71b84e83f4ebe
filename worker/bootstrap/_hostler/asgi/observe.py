"""Hooks around each request of an ASGI application: pre_request and post_request."""

from _hostler.observe import arity, ended, headers_as_in_wsgi


class Request:
    """What the hooks may ask of a request; its environ is the scope. It has no body: that is
    the application's."""

    def __init__(self, scope):
        self.environ = self.scope = scope
        self.method = scope["method"]
        self.path = scope["path"]
        self.query = scope["query_string"].decode("latin-1")
        self.uri = scope["raw_path"].decode("latin-1") + ("?" + self.query if self.query else "")
        self.fragment = ""
        self.scheme = scope["scheme"]
        self.version = tuple(int(n) for n in (scope["http_version"] + ".0").split(".")[:2])
        self.remote_addr = self.peer_addr = tuple(scope["client"] or ("", 0))
        self.headers = headers_as_in_wsgi((n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"])


class Response:
    """What the hooks may ask of a response."""

    def __init__(self):
        self.status = ""
        self.status_code = 0
        self.headers = []
        self.sent = 0  # bytes of the body, less those of files
        self.over = False

    def note(self, message):
        kind = message["type"]
        if kind == "http.response.start":
            self.status_code = int(message["status"])
            self.status = str(self.status_code)
            self.headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers") or ()]
        elif kind == "http.response.body":
            self.sent += len(message.get("body") or b"")
        self.over = kind == "http.response.pathsend" or kind in WITH_MORE and not message.get("more_body")


WITH_MORE = ("http.response.body", "http.response.zerocopysend")


def around(app, worker, before, after):
    """Return the application with the hooks around it; either may be None. What is no request of
    HTTP goes by them."""
    count = arity(after) if after else 0

    async def observed(scope, receive, send):
        if scope["type"] != "http":
            return await app(scope, receive, send)
        request, response = Request(scope), Response()
        told = []

        def tell():
            if not told:
                told.append(True)
                ended(after, count, worker, request, scope, response)

        async def noting(message):
            await send(message)
            response.note(message)
            if response.over:
                tell()

        try:
            if before:
                before(worker, request)
            await app(scope, receive, noting if after else send)
        finally:
            tell()

    return observed
