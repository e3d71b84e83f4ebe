"""An application that prints, as one that is looked for a fault in does."""

import asyncio
import logging
import os
import subprocess
import sys
import threading

print("imported", "it")
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    print("printed", path)
    if path.startswith("/many/"):
        for i in range(20):
            print("from", path, i, "x" * (200 * i), end=" end\n")
            print("ü" * 3000, file=sys.stderr)
    if path == "/ways":
        ways(environ)
    start_response("200 OK", [])
    return [b""]


def ways(environ):
    print("to stderr", file=sys.stderr)
    logging.info("logged")
    environ["wsgi.errors"].write("for errors\nin two lines\n")
    sys.stdout.buffer.write(b"bytes \xff\n")
    sys.stdout.flush()
    print("without an end", end="", flush=True)
    t = threading.Thread(target=print, args=("of a thread",))
    t.start()
    t.join()
    if os.fork() == 0:
        print("of a child")
        os._exit(0)
    os.wait()
    os.write(1, b"of the descriptor\n")
    subprocess.run(["echo", "of a program"], check=True)


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError

    async def task():
        print("of a task")
        logging.getLogger("shop").warning("logged by a task")

    await asyncio.gather(task())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
