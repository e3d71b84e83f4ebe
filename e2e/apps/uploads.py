"""What applications do with request bodies, large ones above all."""

import hashlib
import json

PLAIN = [("Content-Type", "application/json")]


def app(environ, start_response):
    body = environ["wsgi.input"]
    page = environ["PATH_INFO"]
    text = {k: environ.get(k) for k in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "wsgi.input_terminated")}
    if page.startswith("/stream"):
        text["first"] = len(body.read1(1 << 20))
    text["seekable"] = body.seekable()
    digest, n = hashlib.sha256(), 0
    if page == "/lines":
        for line in body:
            digest.update(line)
            n += len(line)
    elif page != "/unread":
        for piece in iter(lambda: body.read(100000), b""):
            digest.update(piece)
            n += len(piece)
    text["size"], text["digest"] = n, digest.hexdigest()
    if body.seekable() and n:
        body.seek(n // 2)
        text["middle"] = body.read(3).decode("latin-1")
        body.seek(-3, 2)
        text["end"] = body.read().decode("latin-1")
        body.seek(0)
        text["again"] = hashlib.sha256(body.read()).hexdigest() == text["digest"]
    text = json.dumps(text).encode()
    start_response("200 OK", PLAIN)
    return [text]
