"""The application, found by its name: MODULE[:ATTR | :FACTORY()]."""

import importlib

from _hostler.interface import is_async, misfit, takes_nothing
from _hostler.protocol import fail
from _hostler.reasons import why


class LoadError(Exception):
    """There is no application, and the text says why well enough."""


def load_app(spec):
    """Return the application that MODULE[:ATTR | :FACTORY()] names."""
    name, _, attr = spec.partition(":")
    module = importlib.import_module(name)
    where = "module %r%s" % (name, file_of(module))
    if not attr:
        for attr in ("application", "app"):
            if hasattr(module, attr):
                break
        else:
            raise LoadError("%s has neither 'application' nor 'app'; say which: %s:NAME" % (where, name))
    factory = attr.endswith("()")
    obj = module
    for part in (attr[:-2] if factory else attr).split("."):
        try:
            obj = getattr(obj, part)
        except AttributeError:
            raise LoadError("cannot find %r in %s" % (attr, where))
    if factory:
        if not callable(obj):
            raise LoadError("%r in %s is not callable" % (attr[:-2], where))
        if is_async(obj):
            raise LoadError("%r in %s is asynchronous, and hostler calls no such factories" % (attr[:-2], where))
        obj = obj()
    check(obj, "%r in %s" % (attr, where), "" if factory else "; if it makes the application, say %s:%s()" % (name, attr))
    return obj


def file_of(module):
    """Which file a module is, for there may be another of that name."""
    file = vars(module).get("__file__")
    return " (%s)" % file if file else ""


def check(app, name, hint=""):
    """Refuse what would fail at each request."""
    if not callable(app):
        raise LoadError("%s is not callable, but %s" % (name, type(app).__name__))
    text = misfit(app)
    if text:
        raise LoadError("%s %s%s" % (name, text, hint if takes_nothing(app) and not is_async(app) else ""))


def load(settings, modules):
    """Return the application. If there is none, tell the master why, and go. modules, if
    it is not None, tells of the files that the application is made of."""
    try:
        if settings.get("page"):
            app = None
        elif settings.get("paste"):
            from _hostler.paste import load_paste

            app = load_paste(settings["paste"])
        else:
            app = load_app(settings["app"])
    except BaseException as e:
        if modules:
            modules.tell_of(e)
        fail(reason(settings, e))
    if modules:
        modules.tell_of()
    return app


def reason(settings, e):
    """Why there is no application."""
    if isinstance(e, LoadError):
        return str(e)
    return "cannot load %s:\n%s" % (settings["app"], why(e))
