"""A look at objects of the application's that wakes none of them.

An object may run code as soon as it is asked for its class, an attribute, its truth or
its text (lazy ones do, and then do what they have put off); so nothing is asked but
type(), which answers for the interpreter, and the slots of Python's own types."""

import threading
from types import BuiltinFunctionType, FunctionType, MethodType

is_kind = type.__subclasscheck__  # (a type of Python's, any type)


def slot(owner, name, o):
    """What a type of Python's has noted down about o, which is of that kind."""
    return owner.__dict__[name].__get__(o)


def only_str(o):
    return o if type(o) is str else "?"


def type_name(cls):
    return "%s.%s" % (only_str(slot(type, "__module__", cls)), only_str(slot(type, "__qualname__", cls)))


def code_name(o):
    """The name of what a thread runs."""
    while type(o) is MethodType:
        o = o.__func__
    if type(o) is FunctionType or type(o) is BuiltinFunctionType:
        return "%s.%s" % (only_str(o.__module__), only_str(o.__qualname__))
    return type_name(type(o))


def thread_names(threads):
    """The names of threads, and of what they run."""
    names = []
    for t in threads:
        noted = slot(threading.Thread, "__dict__", t) if is_kind(threading.Thread, type(t)) else {}
        target = noted.get("_target")
        if target is None and type(t) is threading.Timer:
            target = noted.get("function")
        names.append("%r (%s)" % (only_str(noted.get("_name")), type_name(type(t)) if target is None else code_name(target)))
    return names


def no_daemons():
    """The threads whose end Python waits for."""
    threads = (t for t in threading.enumerate() if t is not threading.main_thread() and is_kind(threading.Thread, type(t)))
    return [t for t in threads if slot(threading.Thread, "__dict__", t).get("_daemonic") is False]
