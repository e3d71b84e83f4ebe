"""The application, found by its name: MODULE[:ATTR | :FACTORY()]."""

import importlib
import os
import sys

from _hostler.protocol import fail


class LoadError(Exception):
    """There is no application, and the text says why well enough."""


def load_app(spec):
    """Return the application that MODULE[:ATTR | :FACTORY()] names."""
    name, _, attr = spec.partition(":")
    module = importlib.import_module(name)
    if not attr:
        for attr in ("application", "app"):
            if hasattr(module, attr):
                break
        else:
            raise LoadError("module %r has neither 'application' nor 'app'; say which: %s:NAME" % (name, name))
    factory = attr.endswith("()")
    obj = module
    for part in (attr[:-2] if factory else attr).split("."):
        try:
            obj = getattr(obj, part)
        except AttributeError:
            raise LoadError("cannot find %r in module %r" % (attr, name))
    if factory:
        if not callable(obj):
            raise LoadError("%r in module %r is not callable" % (attr[:-2], name))
        obj = obj()
    if not callable(obj):
        raise LoadError("%r in module %r is not callable, but %s" % (attr, name, type(obj).__name__))
    return obj


def unreadable():
    """Say which of the directories that modules are looked for in may not be read: to
    an import they are empty."""
    closed = []
    for path in sys.path:
        try:
            os.listdir(path)
        except PermissionError:
            closed.append(path)
        except OSError:
            pass  # it is not there, or an archive
    return "; permission denied: " + ", ".join(closed) if closed else ""


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
    import traceback

    text = "cannot load %s:\n%s" % (settings["app"], "".join(traceback.format_exception(type(e), e, e.__traceback__)))
    if isinstance(e, ImportError):
        text = text.rstrip() + unreadable()
    return text
