"""Is this an interpreter that hostler can serve with?"""

import sys

from _hostler.protocol import fail

NEWEST = (3, 15)  # that hostler has been tested with


def check():
    if sys.implementation.name != "cpython":
        fail("hostler needs CPython, and %s is %s" % (sys.executable, sys.implementation.name))


def mention_build():
    """Say what people should know about this build of Python."""
    version = "%d.%d" % sys.version_info[:2]
    if sys.version_info[:2] > NEWEST:
        sys.stderr.write("hostler: Python %s is newer than this hostler, which has been tested up to %d.%d (%s)\n" % ((version,) + NEWEST + (sys.executable,)))
    if hasattr(sys, "_is_gil_enabled") and "t" in sys.abiflags:
        sys.stderr.write("hostler: the free-threaded Python %s runs with the GIL here (%s)\n" % (version, sys.executable))
    sys.stderr.flush()

