import asyncio
import unittest
from unittest import mock

from _hostler import dumped
from _hostler.asgi import tasks


class Coroutine:
    """As the library's: it shows a request's coroutine, and says which it is."""

    def __init__(self, of, request):
        self.of, self.request = of, request

    def __getattr__(self, name):
        return getattr(self.of, name)


async def inner(event):
    await event.wait()


async def outer(event):
    await inner(event)


class Tasks(unittest.TestCase):
    def described(self, count, request=None):
        async def main():
            event = asyncio.Event()
            waiting = [asyncio.ensure_future(outer(event)) for _ in range(count)]
            await asyncio.sleep(0)
            own = asyncio.get_event_loop()
            with mock.patch.object(asyncio, "all_tasks", lambda loop: [self.shown(t, request) for t in waiting]):
                text = tasks.described(own, 3)
            event.set()
            await asyncio.gather(*waiting)
            return text

        return asyncio.run(main())

    def shown(self, task, request):
        show = mock.Mock()
        show.get_coro.return_value = Coroutine(task.get_coro(), request)
        show.get_name.return_value = "Task-a"
        return show

    def test_task(self):
        text = self.described(1)
        self.assertRegex(text, r"^\n-- worker 3, pid \d+: the application's task Task-a\nTask .*\n")
        self.assertRegex(text, r'(?s)asyncio.locks.py", line \d+ in wait\n.* in inner\n.* in outer\n$')

    def test_request(self):
        self.assertRegex(self.described(1, ("GET", "/\x1b[2J\n-- worker 9", 0)), r": GET /\\x1b\[2J\\n-- worker 9, for \d+\.\d{3}s\n")

    def test_many(self):
        text = self.described(dumped.MOST + 5)
        self.assertEqual(text.count("Task-a"), dumped.MOST)
        self.assertIn(": and 5 more tasks\n", text)
