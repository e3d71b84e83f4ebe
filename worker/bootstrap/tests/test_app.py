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

def create_app(config=None):
    return application

def odd():
    return 7

async def later():
    return application

async def asgi(scope, receive, send):
    pass

def makes_asgi():
    return asgi
"""


class LoadApp(unittest.TestCase):
    def test_found(self):
        with folder(shop=MODULE):
            for spec in ("shop", "shop:application", "shop:place.app", "shop:create_app()", "shop:place.make()"):
                self.assertEqual(app.load_app(spec)({}, None), [b"it"], spec)
        with folder(shop="app = lambda e, s: []"):
            self.assertEqual(app.load_app("shop")({}, None), [])

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
                "shop:later()": "'later' %s is asynchronous, and hostler calls no such factories" % at,
                "shop:asgi": "'asgi' %s is asynchronous, as ASGI applications are, and hostler serves WSGI applications" % at,
                "shop:makes_asgi()": "'makes_asgi()' %s is asynchronous, as ASGI applications are, and hostler serves WSGI applications" % at,
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
        self.assertIsNone(app.load({"page": "broken", "app": "no_such_module:app"}, None))
