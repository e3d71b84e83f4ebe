"""For --reload: which files the application is made of, and what is wrong with them."""

import os
import sys
import time

from _hostler.protocol import MODULES, tell


def source_files():
    """The files of all modules that are imported, less Python's own."""
    own = os.path.dirname(os.__file__) + os.sep
    found = set()
    for module in list(sys.modules.values()):
        try:
            path = vars(module).get("__file__")  # getattr would wake lazy modules
        except TypeError:
            continue
        if not isinstance(path, str) or not path:
            continue
        path = os.path.abspath(path)
        if not path.startswith(own) or "-packages" + os.sep in path:
            found.add(path)
    return found


def files_of(error):
    """The files in which an exception, and what led to it, went through."""
    found = set()
    todo, seen = [error], set()
    while todo:
        e = todo.pop()
        if e is None or id(e) in seen:
            continue
        seen.add(id(e))
        todo += [e.__cause__, e.__context__]
        if isinstance(e, SyntaxError):
            found.add(e.filename)
        tb = e.__traceback__
        while tb is not None:
            found.add(tb.tb_frame.f_code.co_filename)
            tb = tb.tb_next
    return {os.path.abspath(f) for f in found if f and os.path.isfile(f)}


class Modules:
    """Tells the master of files, of each once."""

    def __init__(self):
        self.told = set()

    def tell(self, files):
        names = b""
        for path in sorted(files - self.told):
            name = os.fsencode(path) + b"\0"
            if len(names) + len(name) > 32767:
                tell(MODULES, names)
                names = b""
            names += name
        if names:
            tell(MODULES, names)
        self.told |= files

    def tell_of(self, error=None):
        """Tell of the files of all modules, and of those that an exception went through."""
        self.tell(source_files() | files_of(error))

    def follow(self, threads):
        """Tell of what is imported later, for as long as the process lives."""
        def look():
            count = 0
            while True:
                if len(sys.modules) != count:
                    count = len(sys.modules)
                    try:
                        self.tell(source_files())
                    except OSError:
                        return  # the master has gone
                time.sleep(0.5)

        threads.start(look, (), "hostler-modules")


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>The code is broken</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 3em auto; max-width: 60em; padding: 0 1em; color: #222; background: #fff }
pre { font: 14px/1.45 ui-monospace, monospace; padding: 1em; overflow-x: auto; color: #222; background: #f4f1ee; border-left: 4px solid #b33 }
</style>
</head>
<body>
<h1>The code is broken</h1>
<pre>%s</pre>
<p>hostler loads it again as soon as a file changes. You see this page since <code>--reload</code> is on.</p>
</body>
</html>
"""


def page_of(text, accept):
    """What is wrong, as HTML to who asks for it, else as text: headers and body."""
    if "text/html" in accept:
        import html

        kind, body = "text/html", PAGE % html.escape(text)
    else:
        kind, body = "text/plain", text + "\n"
    body = body.encode("utf-8", "backslashreplace")
    headers = [
        ("Content-Type", kind + "; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return headers, body


def error_page(environ, start_response, text):
    """Answer with what is wrong."""
    headers, body = page_of(text, environ.get("HTTP_ACCEPT", ""))
    start_response("500 Internal Server Error", headers)
    return [body]


def or_error_page(server, app):
    """The application, as long as its code is not broken."""

    def application(environ, start_response):
        text = server.page()
        if text:
            return error_page(environ, start_response, text.decode("utf-8", "replace"))
        return app(environ, start_response)

    return application
