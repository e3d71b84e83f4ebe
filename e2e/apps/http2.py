"""An application for tests of HTTP/2: answers of any size, at once or piece by piece."""


def app(environ, start_response):
    page, arg = environ["PATH_INFO"], environ["QUERY_STRING"]
    if page == "/bytes":
        return plain(start_response, b"n" * int(arg))
    if page == "/pieces":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (b"p" * 65536 for _ in range(int(arg)))
    if page == "/hints":
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        return plain(start_response, b"hello")
    if page == "/environ":
        environ["wsgi.input"].read()
        return plain(start_response, "\n".join(sorted(k for k in environ if k.isupper())).encode())
    return plain(start_response, environ["wsgi.input"].read())


def plain(start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
