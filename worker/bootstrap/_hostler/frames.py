"""Stacks and tracebacks that begin where the application does: the frames before that, ours
and those of import, say nothing to whoever reads them."""

import os
import sys


def is_ours(filename):
    """Is this a file of the package, or what calls it?"""
    return filename.startswith(OURS) or filename == "<string>" or os.path.basename(filename) == "threading.py"


OURS = os.path.dirname(is_ours.__code__.co_filename) + "/"  # "<hostler/"


def is_import(filename):
    return filename.startswith("<frozen importlib") or filename.endswith("/importlib/__init__.py")


def stack_of(what):
    """What a thread, by its ident, is at, from the application's outermost call on; or a Task,
    or a greenlet."""
    import traceback

    if not isinstance(what, int):
        return stack_of_waiting(what)
    frame = sys._current_frames().get(what)
    frames = traceback.extract_stack(frame) if frame else []
    while frames and is_ours(frames[0].filename):
        del frames[0]
    return "".join(traceback.format_list(frames)).encode("utf-8", "replace").decode()


def stack_of_waiting(what):
    """The same for what does not run just now."""
    import traceback

    if hasattr(what, "gr_frame"):
        frame = what.gr_frame
        frames = traceback.extract_stack(frame) if frame else []
        while frames and is_ours(frames[0].filename):
            del frames[0]
        return "".join(traceback.format_list(frames))
    frames, at = awaited(what.get_coro())
    while frames and is_ours(frames[0][0].f_code.co_filename):
        del frames[0]
    text = "".join(traceback.format_list(traceback.StackSummary.extract(frames)))
    return text + ("  awaits %s\n" % at if at else "")


WAITS = {"FutureIter": "a future", "Pending": "its client"}


def awaited(coroutine):
    """Return the frames of a coroutine and of those that it awaits, the outermost first, each
    with its line; and what the innermost waits for, "" if that is not known."""
    frames, seen = [], set()
    while coroutine is not None and id(coroutine) not in seen:
        seen.add(id(coroutine))
        frame = first(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is None:
            behind = within(coroutine)
            if behind is None:
                kind = type(coroutine).__name__
                return frames, WAITS.get(kind, kind)
            coroutine = behind
            continue
        frames.append((frame, frame.f_lineno))
        coroutine = first(coroutine, "cr_await", "gi_yieldfrom", "ag_await")
    return frames, ""


def within(awaitable):
    """What goes on behind an awaitable that has no frame itself: an asynchronous generator (what
    contextlib.asynccontextmanager has made waits in one), a coroutine, or that of a Task."""
    import gc

    if type(awaitable).__name__ not in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper", "FutureIter"):
        return None
    for inner in gc.get_referents(awaitable):
        kind = type(inner)
        if hasattr(kind, "get_coro"):
            return inner.get_coro()
        if hasattr(kind, "ag_frame") or hasattr(kind, "cr_frame"):
            return inner
    return None


def first(of, *names):
    for name in names:
        value = getattr(of, name, None)
        if value is not None:
            return value
    return None


def text_of(type_, value, tb):
    """An exception as Python prints it, and those that led to it, each from the
    application's first frame on."""
    import traceback

    told = traceback.TracebackException(type_, value, tb)
    todo, seen = [told], set()
    while todo:
        e = todo.pop()
        if e is None or id(e) in seen:
            continue
        seen.add(id(e))
        todo += [e.__cause__, e.__context__]
        while e.stack and (is_ours(e.stack[0].filename) or is_import(e.stack[0].filename)):
            del e.stack[0]
    alone = not told.stack and told.__cause__ is None and (told.__context__ is None or told.__suppress_context__)
    if alone and not getattr(told, "exceptions", None):
        return "".join(told.format_exception_only())
    return "".join(told.format())


def text_of_raised(e):
    return text_of(type(e), e, e.__traceback__)
