"""Why a module cannot be imported, in words that say what to do."""

import os
import sys

from _hostler.frames import text_of_raised


def why(e):
    """The traceback of what an import has raised; where a module was not found, or one of
    its libraries, with whose Python that was and where it has looked."""
    text = text_of_raised(e)
    if isinstance(e, ImportError):
        text = "%s (%s)" % (text.rstrip(), "; ".join(told() + unreadable()))
    return text


def told():
    """Which interpreter this is, and where it looks for modules besides its own folders."""
    found = ["Python: %s" % sys.executable]
    if sys.prefix == sys.base_prefix:
        found[0] += ", --python or an active virtual environment chooses another"
    places = [p for p in sys.path if not is_python(p)]
    if places:
        found.append("looked in " + ", ".join(places))
    return found


def is_python(path):
    """Is this a folder, or an archive, of the interpreter's?"""
    home = os.path.dirname(os.__file__)
    return path == home or path.startswith(home + os.sep) or "-packages" in path or path.endswith(".zip")


def unreadable():
    """Which of the directories that modules are looked for in may not be read: to an
    import they are empty."""
    closed = []
    for path in sys.path:
        try:
            os.listdir(path)
        except PermissionError:
            closed.append(path)
        except OSError:
            pass  # it is not there, or an archive
    return ["permission denied: " + ", ".join(closed)] if closed else []
