import functools
import unittest
from unittest import mock

from _hostler.interface import interface, is_async, misfit, takes_nothing


def wsgi(environ, start_response):
    pass


def short(e, s):
    pass


def any_arguments(*args, **kw):
    pass


def with_more(environ, start_response, more=None, *, keyword=None):
    pass


def all_optional(environ=None, start_response=None):
    pass


class Instance:
    def __call__(self, environ, start_response):
        pass

    def method(self, environ, start_response):
        pass

    @classmethod
    def of_class(cls, environ, start_response):
        pass

    @staticmethod
    def static(environ, start_response):
        pass


class StaticCall:
    __call__ = staticmethod(wsgi)


class Response:
    """As in PEP 3333: the class is the application."""

    def __init__(self, environ, start_response):
        pass

    def __iter__(self):
        return iter([])


class Made(Response):
    def __new__(cls, *args):
        return object.__new__(cls)


class Meta(type):
    def __call__(cls, environ, start_response):
        return []


class WithMeta(metaclass=Meta):
    pass


@functools.wraps(wsgi)
def wrapped(*args, **kw):
    pass


async def asgi(scope, receive, send):
    pass


async def stream(scope, receive, send):
    yield


class Asgi:
    async def __call__(self, scope, receive, send):
        pass

    async def method(self, scope, receive, send):
        pass


class Asgi2:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


class Asgi2Instance:
    def __call__(self, scope):
        pass


class Unnamed2:
    def __init__(self, it):
        pass

    async def __call__(self, receive, send):
        pass


class AsgiClass:
    """As Starlette's endpoints are."""

    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


class Slots:
    """Whose call each instance has of its own, as a middleware of Sentry's."""

    __slots__ = ("__call__",)

    def __init__(self):
        self.__call__ = asgi


@functools.wraps(asgi)
def decorated(*args, **kw):
    return asgi(*args, **kw)


async def unnamed(a, b, c):
    pass


async def async_wsgi(environ, start_response):
    pass


async def async_factory():
    pass


class Marked:
    def __call__(self, *args):
        pass

    __call__._is_coroutine_mark = object()


class Framework:
    def __init__(self, import_name, folder=None):
        pass


class Empty:
    pass


def create_app(config=None):
    pass


def create_by_name(name):
    pass


def create_with_two(config=None, testing=False):
    pass


def create_by_keyword(*, config):
    pass


def create():
    pass


def three(a, b, c):
    pass


class Interface(unittest.TestCase):
    def test_applications(self):
        for app in (
            wsgi, short, any_arguments, with_more, all_optional, Instance(), Instance().method, Instance.of_class, Instance.static, StaticCall(),
            Response, Made, WithMeta, wrapped, functools.partial(three, 1), functools.partial(wsgi), mock.Mock(), mock.MagicMock(), print, dict, lambda e, s: [],
        ):  # fmt: skip
            self.assertEqual(misfit(app), "", app)

    def test_asgi(self):
        for app in (asgi, Asgi(), Asgi().method, functools.partial(asgi, {}), functools.partial(functools.partial(Asgi())), Marked()):
            self.assertTrue(is_async(app), app)
        for app in (
            asgi, Asgi(), Asgi().method, functools.partial(asgi, {}), functools.partial(functools.partial(Asgi())), Marked(), AsgiClass, Slots(), decorated,
            lambda scope, receive, send: None, lambda scope, *rest: None, unnamed,
        ):  # fmt: skip
            self.assertEqual((interface(app)[0], misfit(app)), ("asgi", ""), app)
        for app in (Asgi2, Asgi2Instance(), Unnamed2, lambda scope: None):
            self.assertEqual((interface(app)[0], misfit(app)), ("asgi2", ""), app)
        for app in (wsgi, Instance(), Response, wrapped, print, mock.Mock()):
            self.assertEqual(interface(app), ("wsgi", ""), app)

    def test_no_asgi(self):
        for app, text in (
            (stream, "is an asynchronous generator"),
            (async_wsgi, "is asynchronous, and takes (environ, start_response), and not scope, receive and send as ASGI applications do"),
            (async_factory, "is asynchronous, and takes no arguments, and not scope"),
        ):
            self.assertIn(text, misfit(app))
        self.assertTrue(takes_nothing(async_factory))

    def test_factories(self):
        for app, names in ((create_app, "(config)"), (create_with_two, "(config, testing)"), (create, "no arguments")):
            self.assertIn("takes " + names, misfit(app))
            self.assertTrue(takes_nothing(app))
        for app in (create_by_name, create_by_keyword, three):
            self.assertNotEqual(misfit(app), "", app)
            self.assertFalse(takes_nothing(app), app)
        self.assertIn("is a class", misfit(Framework))
        self.assertFalse(takes_nothing(Framework))
        self.assertIn("is a class", misfit(Empty))
        self.assertTrue(takes_nothing(Empty))

    def test_nothing_is_called(self):
        class Lazy:
            def __getattr__(self, name):
                raise AssertionError(name)

            def __call__(self, environ, start_response):
                raise AssertionError("called")

            @property
            def __class__(self):
                raise AssertionError("its class")

        self.assertEqual(misfit(Lazy()), "")
