"""What a callable is made to be called with, as far as that can be told without calling it:
environ and start_response (WSGI), scope, receive and send (ASGI; a scope alone, what that
gives then being called with receive and send: ASGI 2), or less, as factories are. Where it
cannot be told it is believed to be a WSGI application."""

from functools import partial
from types import FunctionType, MemberDescriptorType, MethodType

VARARGS, COROUTINE, ASYNC_GENERATOR = 0x04, 0x80, 0x200  # flags of code


def interface(app):
    """Which an application is made for, "asgi", "asgi2" or "wsgi", and how that is seen."""
    function, taken = called(app)
    if type(function) is not FunctionType:
        return ("asgi", "it is asynchronous") if is_coroutine_function(app) else ("wsgi", "")
    names, least, most = parameters(function, taken)
    if function.__code__.co_flags & ASYNC_GENERATOR:
        return "wsgi", ""
    if names[:1] == ["scope"]:
        if least <= 3 <= most:
            return "asgi", "it takes a scope, receive and send"
        if least <= 1 and not is_async(app):
            return "asgi2", "it takes a scope alone"
    if least <= 3 <= most and is_coroutine_function(app):
        return "asgi", "it is a coroutine function"
    if is_class(app) and least <= 1 <= most and is_coroutine_function(as_method(app, "__call__")[0]):
        return "asgi2", "it is a class whose instances are asynchronous"
    inner = getattr(function, "__wrapped__", None)
    if names == [] and most > 3 and inner is not None and inner is not app:
        return interface(inner)  # what a decorator has made takes whatever that takes
    return "wsgi", ""


def misfit(app):
    """Why this is no application, neither of WSGI nor of ASGI, as the end of a sentence;
    "" if it may be one."""
    if interface(app)[0] != "wsgi":
        return ""
    function, taken = called(app)
    if is_async(app):
        if type(function) is not FunctionType:
            return "is an asynchronous generator, and not an application"
        names, least, most = parameters(function, taken)
        if least <= 3 <= most:
            return "is an asynchronous generator, and not an application"
        return "is asynchronous, and takes %s, and not scope, receive and send as ASGI applications do" % listed(names)
    if type(function) is FunctionType:
        names, least, most = parameters(function, taken)
        if not least <= 2 <= most or least == 0 and most == len(names) and not named_for_wsgi(names):
            return "takes %s, and not environ and start_response as WSGI applications do" % listed(names)
    if is_class(app) and function is not None and not hasattr(app, "__iter__") and not hasattr(app, "__getitem__"):
        return "is a class whose instances are no responses, and not an application"
    return ""


def takes_nothing(o):
    """Can it be called without arguments, as factories are?"""
    function, taken = called(o)
    if type(function) is FunctionType:
        return parameters(function, taken)[1] == 0
    return is_class(o) and function is object.__init__


def takes(o, n):
    """Is it known that it can be called with n arguments?"""
    function, taken = called(o)
    if type(function) is not FunctionType:
        return False
    _, least, most = parameters(function, taken)
    return least <= n <= most


def is_async(o):
    """Does a call of it return a coroutine, or what only "async for" reads?"""
    return is_coroutine_function(o, COROUTINE | ASYNC_GENERATOR)


def is_coroutine_function(o, flags=COROUTINE):
    while type(o) is partial:
        o = o.func
    function, _ = called(o)
    for mark in ("_is_coroutine_mark", "_is_coroutine"):  # of inspect.markcoroutinefunction, of asgiref
        if getattr(function, mark, None) is not None:
            return True
    code = getattr(function, "__code__", None)  # Cython's functions have that, too
    return bool(getattr(code, "co_flags", 0) & flags)


def is_class(o):
    return issubclass(type(o), type)


def called(o):
    """Return what a call of o runs, and how many of its parameters are taken. None if
    that is nothing of Python's."""
    if type(o) is FunctionType:
        return o, 0
    if type(o) is MethodType:
        return o.__func__, 1
    if not is_class(o):
        function, taken = as_method(type(o), "__call__")
        if type(function) is MemberDescriptorType:  # a slot, which each instance fills in
            return called(getattr(o, "__call__", None))
        return function, taken
    if type(o).__call__ is type.__call__ and o.__new__ is object.__new__:
        return as_method(o, "__init__")
    return None, 0


def as_method(cls, name):
    for c in cls.__mro__:
        if name in vars(c):
            f = vars(c)[name]
            return (f.__func__, 0) if type(f) is staticmethod else (f, 1)
    return None, 0


def parameters(function, taken):
    """Return the names of what may be passed by position, how much has to be, and may be."""
    code = function.__code__
    names = list(code.co_varnames[taken : code.co_argcount])
    least = max(0, len(names) - len(function.__defaults__ or ()))
    most = float("inf") if code.co_flags & VARARGS else len(names)
    if code.co_kwonlyargcount > len(function.__kwdefaults__ or ()):
        least = most + 1  # it has to be called with keywords
    return names, least, most


def named_for_wsgi(names):
    return names[0].startswith("e") and (names[1].startswith("s") or "resp" in names[1])


def listed(names):
    return "(%s)" % ", ".join(names) if names else "no arguments"
