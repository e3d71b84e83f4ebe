"""The application that a file of PasteDeploy's describes (--paste)."""

import os
import sys

from _hostler.app import LoadError, check
from _hostler.interface import interface


def load_paste(spec):
    """Return the application that FILE[#NAME] describes, as PasteDeploy has it, with
    the file's logging set up: by plaster, which Pyramid has, or without it."""
    path, _, name = spec.partition("#")
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise LoadError("there is no file %s (--paste)" % path)
    app = by_plaster(path, name or None) or by_paste(path, name or None)
    name = "what %s describes" % spec
    check(app, name)
    if interface(app)[0] != "wsgi":
        raise LoadError("%s is for ASGI, and PasteDeploy's applications are for WSGI" % name)
    return app


def by_plaster(path, name):
    """Return None if plaster, or its loader of such files, is not installed."""
    try:
        import plaster
    except ImportError:
        return None
    try:
        loader = plaster.get_loader(path, protocols=["wsgi"])
    except plaster.LoaderNotFound:
        return None
    loader.setup_logging()
    return loader.get_wsgi_app(name)


def by_paste(path, name):
    import configparser
    import logging.config

    try:
        from paste.deploy import loadapp
    except ImportError:
        raise LoadError("--paste needs PasteDeploy, or plaster and plaster_pastedeploy, which %s does not have" % sys.executable)
    there = {"__file__": path, "here": os.path.dirname(path)}
    file = configparser.RawConfigParser()
    file.read([path])
    if file.has_section("loggers"):
        logging.config.fileConfig(path, there, disable_existing_loggers=False)
    return loadapp("config:" + path, name=name)
