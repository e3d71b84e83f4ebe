"""An application whose answers do not end by themselves."""

import time

EVENTS = []


class Watched:
    def __init__(self, name, chunks):
        self.name, self.chunks = name, chunks

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        EVENTS.append("closed " + self.name)


def endless(chunk):
    while True:
        time.sleep(0.02)
        yield chunk


def app(environ, start_response):
    path, name = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/events":
        answer = "\n".join(EVENTS).encode()
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]
    status = {"/204": "204 No Content", "/304": "304 Not Modified"}.get(path, "200 OK")
    write = start_response(status, [("Content-Type", "text/event-stream")])
    if path == "/late":
        return iter([b""] * 5 + [(time.sleep(0.2), b"late")[1]])
    if path in ("/write", "/write_nothing"):
        try:
            for _ in endless(b""):
                write(b"" if path == "/write_nothing" else b"data: x\n\n")
        finally:
            EVENTS.append("closed " + name)
    return Watched(name, endless(b"" if path == "/nothing" else b"data: x\n\n"))
