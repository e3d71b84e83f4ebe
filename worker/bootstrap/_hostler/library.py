"""The library, a C extension in a file that has no name: the module with the server in it."""

import os
import sys
import warnings
from importlib.machinery import ExtensionFileLoader, ModuleSpec

from _hostler.frames import text_of
from _hostler.protocol import LIBRARY, fail


def cannot_start(why=""):
    fail("cannot start the server in %s%s:\n%s" % (sys.executable, why, text_of(*sys.exc_info())))


def cannot_load():
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        libc = None
    # The master tells by the file that it starts, and cannot tell of a script.
    cannot_start("" if libc else ", which is not built for glibc (if hostler starts that by a script: name the interpreter itself with --python)")


def load_library():
    """Load the server, whose Go runtime does not start before server.init."""
    path = "/proc/self/fd/%d" % LIBRARY
    try:
        loader = ExtensionFileLoader("_hostler.bridge", path)
        with warnings.catch_warnings():  # we say it ourselves
            warnings.filterwarnings("ignore", "The global interpreter lock", RuntimeWarning)
            module = loader.create_module(ModuleSpec("_hostler.bridge", loader, origin=path))
        loader.exec_module(module)
        del module.__file__  # a descriptor's, which will be another's
    except BaseException:
        cannot_load()
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        fail("the free-threaded %s can be used with the GIL only: take PYTHON_GIL=0 or -X gil=0 away" % sys.executable)
    return module
