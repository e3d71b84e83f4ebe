"""What the dynamic linker is told to load, here and in a child."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def text():
    return "LD_PRELOAD is %r" % os.environ.get("LD_PRELOAD")


def app(environ, start_response):
    if environ["PATH_INFO"] == "/child":
        body = subprocess.check_output([sys.executable, "-c", "import preloaded; print(preloaded.text(), end='')"], cwd=HERE)
    else:
        body = text().encode()
    start_response("200 OK", [])
    return [body]
