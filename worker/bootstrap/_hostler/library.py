"""The library, a C extension in a file that has no name: the module with the server in it."""

import sys
import warnings
from importlib.machinery import ExtensionFileLoader, ModuleSpec

from _hostler.frames import text_of
from _hostler.protocol import LIBRARY, fail


def cannot_start():
    fail("cannot start the server in %s:\n%s" % (sys.executable, text_of(*sys.exc_info())))


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
        cannot_start()
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        fail("the free-threaded %s can be used with the GIL only: take PYTHON_GIL=0 or -X gil=0 away" % sys.executable)
    return module
