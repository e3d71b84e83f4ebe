# What python runs as -c for a settings file of Gunicorn's, in a process of its own:
# run the file, and say in JSON which settings it has made. It must be valid for any
# Python that hostler runs.
import sys

sys.path[:] = [p for p in sys.path if p != ""]  # where files may have the names of these
import importlib
import importlib.util
import json
import os
import traceback
from importlib.machinery import SourceFileLoader
from types import SimpleNamespace

if os.environ.get("PYTHONSAFEPATH") == "hostler":
    del os.environ["PYTHONSAFEPATH"]

ANSWER = 3


def answer(**what):
    data = json.dumps(what).encode()
    while data:
        data = data[os.write(ANSWER, data) :]


def load(location):
    """Return what the file, or the module, has defined, as Gunicorn would."""
    if location.startswith("python:"):
        return vars(importlib.import_module(location[len("python:") :]))
    if location.startswith("file:"):
        location = location[len("file:") :]
    loader = SourceFileLoader("__config__", location)
    spec = importlib.util.spec_from_file_location("__config__", location, loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["__config__"] = module
    loader.exec_module(module)
    return vars(module)


def plain(value, depth=0):
    """Return value as JSON can say it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(value)  # no NaN in JSON
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if depth < 4:
        if isinstance(value, (list, tuple, set, frozenset)):
            return [plain(v, depth + 1) for v in value]
        if isinstance(value, dict):
            return {str(plain(k, depth + 1)): plain(v, depth + 1) for k, v in value.items()}
    kind = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    named = {"__object__": "%s.%s" % (getattr(kind, "__module__", "?"), kind.__qualname__)}
    if value is kind and isinstance(kind, type):
        named["__bases__"] = ["%s.%s" % (k.__module__, k.__qualname__) for k in kind.__mro__[1:-1]]
    return named


def empty():
    pass


def described():
    """Says what it is for."""


def does(hook):
    """A hook may be there and do nothing, as in files made of the example."""
    code = getattr(hook, "__code__", None)
    return code is None or all(code.co_code != f.__code__.co_code or code.co_consts[-1:] != f.__code__.co_consts[-1:] for f in (empty, described))


def ssl_context(hook, made):
    """Have Gunicorn's hook make its context, and return what can be seen of it."""
    import ssl  # which the hook has imported, too

    conf = SimpleNamespace(**{k: made.get(k) for k in ("certfile", "keyfile", "ca_certs", "ciphers", "cert_reqs", "ssl_version", "http_protocols")})
    conf.cert_reqs = conf.cert_reqs or 0

    def default():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.check_hostname = False
        context.verify_mode = conf.cert_reqs
        return context

    context = hook(conf, default)
    minimum = {"TLSv1_3": "1.3", "TLSv1_2": "1.2"}.get(context.minimum_version.name, "")
    return {"minimum": minimum, "verify": str(int(context.verify_mode))}


def main():
    location, names = sys.argv[1], json.loads(sys.argv[2])
    os.set_inheritable(ANSWER, False)
    sys.argv[:] = ["hostler"]
    sys.path.insert(0, os.getcwd())
    try:
        made = load(location)
    except BaseException as e:
        shown = e.with_traceback(e.__traceback__)
        while shown.__traceback__ is not None and shown.__traceback__.tb_frame.f_code.co_filename in ("<string>", "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"):
            shown = shown.with_traceback(shown.__traceback__.tb_next)
        sys.stderr.write("".join(traceback.format_exception(type(shown), shown, shown.__traceback__)))
        sys.stderr.flush()
        text = "".join(traceback.format_exception_only(type(e), e)).strip().rpartition("\n")[2]
        if isinstance(e, ImportError) and (e.name or "").partition(".")[0] == "gunicorn":
            text += " (the file needs Gunicorn: leave it installed, it is not run)"
        answer(error="%s (run by %s)" % (text, sys.executable))
        return
    settings, hooks, ssl = {}, {}, None
    for name in names:
        if name not in made:
            continue
        value = made[name]
        if name == "logconfig_dict":
            value = {"version": 1} if value and isinstance(value, dict) else value
        if callable(value) and not isinstance(value, type):
            hooks[name] = does(value)
        else:
            hooks[name] = isinstance(value, str) and bool(value)  # the name of a function
        settings[name] = plain(value)
    if callable(made.get("ssl_context")) and made.get("certfile"):
        try:
            ssl = ssl_context(made["ssl_context"], made)
        except Exception as e:
            ssl = {"error": "%s: %s" % (type(e).__name__, e)}
    sys.stdout.flush()
    answer(settings=settings, hooks=hooks, ssl=ssl)


main()
