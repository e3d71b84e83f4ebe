import asyncio
import contextlib
import importlib
import sys
import threading
import unittest

from _hostler import frames
from _hostler.reasons import why
from tests.helpers import folder


def raised(function, *args):
    try:
        function(*args)
    except BaseException as e:
        return e


# The frames of tests are not ours by their file's name. These are.
namespace = {}
exec(compile("def call(f, *args):\n    return f(*args)\n", frames.OURS + "somewhere.py", "exec"), namespace)
call = namespace["call"]


def text(function, *args):
    """The traceback of what a function raises that is called by a module of ours."""
    e = raised(call, function, *args)
    e.__traceback__ = e.__traceback__.tb_next  # raised's own
    return frames.text_of_raised(e)


def fails():
    raise ValueError("here")


def chained():
    try:
        call(fails)
    except ValueError as e:
        raise KeyError("there") from e


class Tracebacks(unittest.TestCase):
    def test_frames(self):
        said = text(fails)
        self.assertTrue(said.startswith("Traceback (most recent call last):\n"), said)
        self.assertEqual(said.count("  File "), 1)
        self.assertIn("in fails", said)

    def test_chain(self):
        said = text(chained)
        self.assertEqual(said.count("Traceback (most recent call last)"), 2, said)
        self.assertIn("direct cause", said)
        self.assertIn("KeyError: 'there'", said)
        # Ours in between stay: what is cut is what comes before the first of theirs.
        self.assertEqual(said.count("in call"), 1, said)

    def test_missing_module(self):
        """A module that is not there is one line, as nobody's code is at fault."""
        self.assertEqual(text(importlib.import_module, "no_such_module"), "ModuleNotFoundError: No module named 'no_such_module'\n")
        self.assertEqual(text(importlib.import_module, "no_such.module"), "ModuleNotFoundError: No module named 'no_such'\n")

    def test_in_a_module(self):
        with folder(outer="import inner\n", inner="import no_such_module\n") as path:
            said = text(importlib.import_module, "outer")
        self.assertEqual([line for line in said.split("\n") if line.startswith("  File ")], ['  File "%s/%s.py", line 1, in <module>' % (path, n) for n in ("outer", "inner")])

    def test_syntax_error(self):
        with folder(outer="def f(:\n") as path:
            said = text(importlib.import_module, "outer")
        self.assertTrue(said.lstrip().startswith('File "%s/outer.py", line 1' % path), said)
        self.assertNotIn("importlib", said)

    def test_cycle(self):
        one, two = ValueError("one"), ValueError("two")
        one.__context__, two.__context__ = two, one
        self.assertIn("ValueError: one", frames.text_of(ValueError, one, None))

    def test_groups(self):
        if sys.version_info < (3, 11):
            return
        e = raised(call, eval, "(_ for _ in ()).throw(ExceptionGroup('many', [ValueError('of them')]))")
        self.assertIn("ValueError: of them", frames.text_of_raised(e))

    def test_no_text(self):
        class Odd(Exception):
            def __str__(self):
                raise ValueError

        self.assertIn("Odd", frames.text_of_raised(raised(call, lambda: (_ for _ in ()).throw(Odd()))))


class Stacks(unittest.TestCase):
    def test_task(self):
        async def inner():
            await asyncio.get_event_loop().create_future()

        async def outer():
            await inner()

        async def told():
            task = asyncio.get_event_loop().create_task(outer())
            await asyncio.sleep(0)
            said = frames.stack_of(task)
            task.cancel()
            return said

        said = asyncio.run(told())
        self.assertEqual([line.rpartition(" in ")[2] for line in said.split("\n") if line.startswith("  File ")], ["outer", "inner"])
        self.assertTrue(said.endswith("  awaits a future\n"), said)

    def test_generator(self):
        """What waits in a context manager that a generator makes, on behalf of another task."""

        @contextlib.asynccontextmanager
        async def context():
            await asyncio.ensure_future(inner())
            yield

        async def inner():
            await asyncio.get_event_loop().create_future()

        async def outer():
            async with context():
                pass

        async def told():
            task = asyncio.get_event_loop().create_task(call(outer))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            said = frames.stack_of(task)
            task.cancel()
            await asyncio.wait([task])
            return said

        said = asyncio.run(told())
        names = [line.rpartition(" in ")[2] for line in said.split("\n") if line.startswith("  File ")]
        self.assertEqual(names, ["outer", "__aenter__", "context", "inner"])
        self.assertTrue(said.endswith("  awaits a future\n"), said)

    def test_stack(self):
        ready, over = threading.Event(), threading.Event()

        def application():
            ready.set()
            over.wait(60)

        t = threading.Thread(target=call, args=(application,))
        t.start()
        ready.wait(60)
        said = frames.stack_of(t.ident)
        over.set()
        t.join()
        self.assertRegex(said, r'^  File "[^"]*test_frames.py", line \d+, in application\n')
        self.assertEqual(frames.stack_of(1), "")


class Reasons(unittest.TestCase):
    def test_import_error(self):
        with folder() as path:
            said = why(raised(importlib.import_module, "no_such_module"))
        self.assertIn("No module named 'no_such_module' (Python: " + sys.executable, said)
        self.assertIn("looked in ", said)
        self.assertIn(path, said)
        self.assertTrue(said.endswith(")"), said)

    def test_others(self):
        self.assertTrue(why(raised(fails)).endswith("ValueError: here\n"))
