import unittest
from unittest import mock

from _hostler import app
from tests.helpers import folder

MODULE = """
def application(environ, start_response):
    return [b"it"]

class place:
    app = staticmethod(application)

    @staticmethod
    def make():
        return application

number = 3
unknown = dict

def any_arguments(*args):
    pass

def create_app(config=None):
    return application

def given(first, *more, **named):
    return lambda environ, start_response: [first, more, named]

async def given_later(name):
    return name

def odd():
    return 7

async def later():
    return application

async def asgi(scope, receive, send):
    pass

def makes_asgi():
    return asgi

class Two:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass
"""


class LoadApp(unittest.TestCase):
    def test_found(self):
        with folder(shop=MODULE):
            for spec in ("shop", "shop:application", "shop:place.app", "shop:create_app()", "shop:place.make()"):
                found = app.load_app(spec)
                self.assertEqual((found.call({}, None), found.interface, found.factory), ([b"it"], "wsgi", ""), spec)
        with folder(shop="app = lambda e, s: []"):
            self.assertEqual(app.load_app("shop").call({}, None), [])

    def test_asgi(self):
        with folder(shop=MODULE) as path:
            for spec in ("shop:asgi", "shop:makes_asgi()", "shop:Two"):
                found = app.load_app(spec)
                self.assertEqual((found.interface, found.factory), ("asgi2" if spec == "shop:Two" else "asgi", ""), spec)
                self.assertTrue(callable(found.call), spec)
            later = app.load_app("shop:later()")
            self.assertEqual((later.interface, later.factory), ("asgi", "'later()' in module 'shop' (%s/shop.py)" % path))
            self.assertEqual(later.check(app.load_app("shop:asgi").call), "asgi")
            self.assertEqual(later.check(app.load_app("shop:Two").call), "asgi2")
            with self.assertRaisesRegex(app.LoadError, "'later\\(\\)' in .* is not callable, but int"):
                later.check(3)
            with self.assertRaisesRegex(app.LoadError, "serves no WSGI application"):
                later.check(lambda environ, start_response: [])

    def test_arguments(self):
        """As Gunicorn's factories they may be given literals."""
        with folder(shop=MODULE):
            for spec, want in (
                ("shop:given('prod')", ["prod", (), {}]),
                ("shop:given('a:b', -1, debug=True, tags={'x': [None, 1.5]},)", ["a:b", (-1,), {"debug": True, "tags": {"x": [None, 1.5]}}]),
            ):
                self.assertEqual(app.load_app(spec).call({}, None), want)
            later = app.load_app("shop:given_later('name')")
            self.assertEqual(later.interface, "asgi")
            with self.assertRaisesRegex(StopIteration, "name"):
                later.call().send(None)
            for arguments in ("(1)(2)", "(1).__class__(2)", "(number)", "(*[1])", "(**{'first': 1})", "(1) or (2)", "(__import__('os'))", "(1,,)", "(\0)"):
                with self.assertRaisesRegex(app.LoadError, "other literals of Python"):
                    app.load_app("shop:given" + arguments)

    def test_wanted(self):
        """--interface has its way, unless it is known to be wrong."""
        with folder(shop=MODULE):
            for wanted in ("wsgi", "asgi", "asgi2"):
                for spec in ("shop:unknown", "shop:any_arguments"):
                    self.assertEqual(app.load_app(spec, wanted).interface, wanted)
            for spec, wanted, text in (
                ("shop:asgi", "wsgi", "is for ASGI .it takes a scope, receive and send., and --interface wsgi .* say --interface asgi, or auto"),
                ("shop:Two", "wsgi", "say --interface asgi2, or auto"),
                ("shop:application", "asgi", "is for WSGI, and --interface asgi .* say --interface wsgi, or auto"),
                ("shop:application", "asgi2", "is for WSGI"),
            ):
                with self.assertRaisesRegex(app.LoadError, text):
                    app.load_app(spec, wanted)

    def test_said(self):
        with folder(shop=MODULE), mock.patch.object(app, "say") as say:
            for spec, text in (
                ("shop:asgi", "hostler: shop:asgi is an ASGI application (it takes a scope, receive and send), and runs on an event loop\n"),
                ("shop:Two", "hostler: shop:Two is an ASGI application (it takes a scope alone), and runs on an event loop\n"),
                ("shop:later()", "hostler: shop:later() is an ASGI application (its factory is asynchronous), and runs on an event loop\n"),
            ):
                app.load({"app": spec, "worker": 1, "log_level": "info"}, None)
                say.assert_called_with(text, "INFO")
            app.load({"app": "shop:asgi", "worker": 1, "log_level": "info", "threads": 4}, None)
            self.assertIn("and runs on an event loop, for which --threads does nothing\n", say.call_args[0][0])
            say.reset_mock()
            app.load({"app": "shop:asgi", "worker": 2, "log_level": "info"}, None)
            app.load({"app": "shop:asgi", "worker": 1, "log_level": "warning"}, None)
            app.load({"app": "shop:application", "worker": 1, "log_level": "info"}, None)
            say.assert_not_called()

    def test_refused(self):
        with folder(shop=MODULE, bare="") as path:
            at = "in module 'shop' (%s/shop.py)" % path
            for spec, text in {
                "bare": "module 'bare' (%s/bare.py) has neither 'application' nor 'app'; say which: bare:NAME" % path,
                "shop:other": "cannot find 'other' " + at,
                "shop:place.other()": "cannot find 'place.other()' " + at,
                "shop:number": "'number' %s is not callable, but int" % at,
                "shop:number()": "'number' %s is not callable" % at,
                "shop:odd()": "'odd()' %s is not callable, but int" % at,
                "shop:later": "'later' %s is asynchronous, and takes no arguments, and not scope, receive and send as ASGI applications do;"
                " if it makes the application, say shop:later()" % at,
                "shop:create_app": "'create_app' %s takes (config), and not environ and start_response as WSGI applications do;"
                " if it makes the application, say shop:create_app()" % at,
            }.items():
                with self.assertRaises(app.LoadError) as caught:
                    app.load_app(spec)
                self.assertEqual(str(caught.exception), text)

    def test_reasons(self):
        """What the master hears, and that the files are told, with --reload."""
        for text, end in (("raise KeyError('SECRET')", "KeyError: 'SECRET'\n"), ("import sys; sys.exit(3)", "SystemExit: 3\n"), ("def app(:", "SyntaxError: ")):
            modules = mock.Mock()
            with folder(shop=text) as path, mock.patch.object(app, "fail", side_effect=SystemExit) as fail:
                self.assertRaises(SystemExit, app.load, {"app": "shop:app"}, modules)
            said = fail.call_args[0][0]
            self.assertTrue(said.startswith("cannot load shop:app:\n"), said)
            self.assertIn(path + "/shop.py", said)
            self.assertIn(end, said)
            self.assertNotIn("importlib", said)
            self.assertIsInstance(modules.tell_of.call_args[0][0], BaseException)

    def test_page(self):
        found = app.load({"page": "broken", "app": "no_such_module:app"}, None)
        self.assertEqual((found.call, found.interface), (None, "wsgi"))
