"""A settings file of Gunicorn's, which is a program. Which settings it makes the master
has learnt from a process of its own; workers, and the process of the hooks, run it for
its functions and for all else that it does: variables that it sets, paths, logging."""

import importlib
import importlib.util
import logging
import logging.config
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

from _hostler.protocol import fail
from _hostler.reasons import why


def is_file(source):
    return source.endswith(".py") or "/" in source


def load(source):
    """Return the module that a file is, or that python:MODULE or MODULE names."""
    if not is_file(source):
        return importlib.import_module(source[len("python:") :] if source.startswith("python:") else source)
    loader = SourceFileLoader("__config__", source)
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("__config__", source, loader=loader))
    sys.modules["__config__"] = module
    loader.exec_module(module)
    return module


def run(source, settings):
    """Run the file, and set up logging as it says."""
    try:
        module = load(source)
        set_up_logging(getattr(module, "logconfig_dict", None))
    except BaseException as e:
        fail("cannot run %s:\n%s" % (source, why(e)))
    return module


def set_up_logging(wanted):
    """Have logging go by a dictionary of the file's. Without one there is gunicorn.error, see
    start."""
    form = logging.Formatter("%(asctime)s [%(process)d] [%(levelname)s] %(message)s", "[%Y-%m-%d %H:%M:%S %z]")
    if not wanted:
        return
    # What Gunicorn puts in where the dictionary has nothing.
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "root": {"level": "INFO", "handlers": ["console"]},
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["error_console"], "propagate": True, "qualname": "gunicorn.error"},
            "gunicorn.access": {"level": "INFO", "handlers": ["console"], "propagate": True, "qualname": "gunicorn.access"},
        },
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "generic", "stream": "ext://sys.stdout"},
            "error_console": {"class": "logging.StreamHandler", "formatter": "generic", "stream": "ext://sys.stderr"},
        },
        "formatters": {"generic": {"format": form._fmt, "datefmt": form.datefmt, "class": "logging.Formatter"}},
    }
    config.update(wanted)
    logging.config.dictConfig(config)


def values(module):
    """What hooks find as attributes of cfg."""
    return {k: v for k, v in vars(module).items() if not k.startswith("_") and not callable(v) and not isinstance(v, ModuleType)}


def empty():
    pass


def described():
    """Says what it is for."""


def does(hook):
    """A function may be there and do nothing, as in files made of Gunicorn's example."""
    return not hasattr(hook, "__code__") or does_what(hook) not in (does_what(empty), does_what(described))


def does_what(f):
    """What tells whether two functions are the same but for their docstrings."""
    code, doc = f.__code__, getattr(f, "__doc__", None)
    consts = code.co_consts
    return code.co_code, consts[1:] if doc is not None and consts[:1] == (doc,) else consts


def function(value):
    """A hook may be named as a text, MODULE.FUNCTION."""
    if not isinstance(value, str):
        return value
    module, _, name = value.rpartition(".")
    return getattr(importlib.import_module(module), name)
