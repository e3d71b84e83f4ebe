"""The application, found by its name: MODULE[:ATTR | :FACTORY(ARGUMENTS)]."""

import importlib

from _hostler.interface import interface, is_async, misfit, takes, takes_nothing
from _hostler.log import say
from _hostler.protocol import fail
from _hostler.reasons import why


class LoadError(Exception):
    """There is no application, and the text says why well enough."""


class Application:
    """What has been found: call is the application, or with factory a function that makes
    it, on the event loop. interface is one of "wsgi", "asgi", "asgi2"."""

    loop = None  # that it has asked for while it was imported, and what attaches that

    def __init__(self, call, interface="wsgi", factory="", wanted="auto"):
        self.call, self.interface, self.factory, self.wanted = call, interface, factory, wanted

    @staticmethod
    def around(call):
        """What the server puts around an application of ASGI's; call takes three arguments."""
        return call

    def check(self, made):
        """Return the interface of what the factory has made."""
        check(made, self.factory, "", self.wanted)
        is_for = chosen(made, self.wanted)[0]
        if is_for == "wsgi":
            raise LoadError("what %s has made is a WSGI application: an asynchronous factory serves no WSGI application" % self.factory)
        return is_for


def load_app(spec, wanted="auto"):
    """Return the application that MODULE[:ATTR | :FACTORY(ARGUMENTS)] names."""
    name, _, attr = spec.partition(":")
    module = importlib.import_module(name)
    where = "module %r%s" % (name, file_of(module))
    if not attr:
        for attr in ("application", "app"):
            if hasattr(module, attr):
                break
        else:
            raise LoadError("%s has neither 'application' nor 'app'; say which: %s:NAME" % (where, name))
    path, factory, _ = attr.partition("(")
    obj = module
    for part in path.split("."):
        try:
            obj = getattr(obj, part)
        except AttributeError:
            raise LoadError("cannot find %r in %s" % (attr, where))
    if factory:
        if not callable(obj):
            raise LoadError("%r in %s is not callable" % (path, where))
        made = call_of(obj, path, attr)
        if is_async(obj) and (made is not obj or takes_nothing(obj)):
            return Application(made, "asgi", "%r in %s" % (attr, where), wanted)
        obj = made()
    check(obj, "%r in %s" % (attr, where), "" if factory else "; if it makes the application, say %s:%s()" % (name, attr), wanted)
    return Application(obj, chosen(obj, wanted)[0])


def call_of(function, path, attr):
    """Return what calls the factory at path as attr, PATH(ARGUMENTS), says: with literals alone."""
    if attr == path + "()":
        return function
    import ast  # few give arguments

    try:
        call = ast.parse("factory" + attr[len(path) :], mode="eval").body
        if type(call.func) is not ast.Name or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        args = [ast.literal_eval(arg) for arg in call.args]
        kwargs = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, AttributeError, SyntaxError):
        raise LoadError("cannot call the factory as %s: it can be given numbers, texts and other literals of Python" % attr)
    return lambda: function(*args, **kwargs)


def file_of(module):
    """Which file a module is, for there may be another of that name."""
    file = vars(module).get("__file__")
    return " (%s)" % file if file else ""


def check(app, name, hint="", wanted="auto"):
    """Refuse what would fail at each request."""
    if not callable(app):
        raise LoadError("%s is not callable, but %s" % (name, type(app).__name__))
    text = misfit(app) if wanted == "auto" else contradicts(app, wanted)
    if text:
        raise LoadError("%s %s%s" % (name, text, hint if takes_nothing(app) else ""))


def contradicts(app, wanted):
    """Why an application is not for what --interface says, as the end of a sentence."""
    is_for, how = interface(app)
    if wanted == "wsgi" and is_for != "wsgi":
        return "is for ASGI (%s), and --interface %s takes it for one for WSGI: say --interface %s, or auto" % (how, wanted, is_for)
    if wanted != "wsgi" and is_for == "wsgi" and takes(app, 2) and not takes(app, 3 if wanted == "asgi" else 1):
        return "is for WSGI, and --interface %s takes it for one for ASGI: say --interface wsgi, or auto" % wanted
    return ""


def chosen(app, wanted):
    """Return what an application is served by, and why."""
    return interface(app) if wanted == "auto" else (wanted, "--interface says so")


def load(settings, modules):
    """Return the application. If there is none, tell the master why, and go. modules, if
    it is not None, tells of the files that the application is made of."""
    try:
        if settings.get("page"):
            app = Application(None)
        elif settings.get("paste"):
            from _hostler.paste import load_paste

            app = Application(load_paste(settings["paste"]))
        else:
            app = load_app(settings["app"], settings.get("interface") or "auto")
    except BaseException as e:
        if modules:
            modules.tell_of(e)
        fail(reason(settings, e))
    if modules:
        modules.tell_of()
    say_which(settings, app)
    return app


def say_which(settings, app):
    """Say that it is ASGI's, and how that is seen: an application for which that is wrong
    would fail at each request."""
    if app.interface == "wsgi" or settings.get("worker", 1) > 1 or settings.get("check") or settings["log_level"] not in ("debug", "info"):
        return
    how = "its factory is asynchronous" if app.factory else chosen(app.call, settings.get("interface") or "auto")[1]
    unused = ", for which --threads does nothing" if settings.get("threads", 1) > 1 else ""
    say("hostler: %s is an ASGI application (%s), and runs on an event loop%s\n" % (settings["app"], how, unused), "INFO")


def reason(settings, e):
    """Why there is no application."""
    if isinstance(e, LoadError):
        return str(e)
    return "cannot load %s:\n%s" % (settings["app"], why(e))
