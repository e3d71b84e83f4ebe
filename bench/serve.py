"""Runs a server that has no command line: serve.py fastpysgi|bjoern MODULE:ATTR PORT WORKERS."""

import importlib
import os
import signal
import sys


def main() -> None:
    name, target, port, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    module, attr = target.split(":")
    # One import, before any fork: both servers are meant to be used like that.
    app = getattr(importlib.import_module(module), attr)
    server = importlib.import_module(name)
    if name == "fastpysgi":
        server.run(app, "127.0.0.1", port, workers=workers)
        return
    server.listen(app, "127.0.0.1", port)
    children = []
    for _ in range(workers if workers > 1 else 0):
        pid = os.fork()
        if pid == 0:
            server.run()
            os._exit(0)
        children.append(pid)
    if not children:
        server.run()
        return

    def stop(signum, frame):
        for pid in children:
            os.kill(pid, signal.SIGTERM)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    os.wait()


if __name__ == "__main__":
    main()
