import importlib
import sys
import types
import unittest
from unittest import mock

from _hostler import routes
from tests.helpers import folder


class Request:
    """As frameworks have it."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class Hooks(unittest.TestCase):
    """What is done to frameworks, by what is like them. The real ones are in e2e/routes_test.go."""

    def module(self, **names):
        module = types.ModuleType("framework")
        module.__dict__.update(names)
        for cls in names.values():
            if isinstance(cls, type):
                cls.__module__ = "framework"
        return module

    def test_flask(self):
        class RequestContext:
            def match_request(self):
                self.request.url_rule = self.rule
                return "result"

        class Other:
            pass

        routes.flask(self.module(RequestContext=RequestContext, Other=Other))
        context, environ = RequestContext(), {}
        context.rule, context.request = None, Request(environ=environ)
        self.assertEqual(context.match_request(), "result")
        self.assertEqual(environ, {})
        context.rule = Request(rule="/users/<int:id>")
        context.match_request()
        self.assertEqual(environ, {"hostler.route": "/users/<int:id>"})
        self.assertEqual(RequestContext.match_request.__name__, "match_request")
        self.assertRaises(AttributeError, routes.flask, self.module(Other=Other))

    def test_django(self):
        class BaseHandler:
            def get_response(self, request):
                if request.match == "raise":
                    raise ValueError
                request.resolver_match = request.match
                return "response"

        routes.django(self.module(BaseHandler=BaseHandler))
        for match, want in (
            (None, {}),
            ("raise", {}),
            (Request(), {}),
            (Request(route=None), {}),
            (Request(route=""), {"hostler.route": "/"}),
            (Request(route="users/<int:pk>/"), {"hostler.route": "/users/<int:pk>/"}),
            (Request(route="^users/^(?P<pk>[^/]+)/$"), {"hostler.route": "/users/(?P<pk>[^/]+)/$"}),
        ):
            with self.subTest(match=match):
                request = Request(match=match, environ={})
                if match == "raise":
                    self.assertRaises(ValueError, BaseHandler().get_response, request)
                else:
                    self.assertEqual(BaseHandler().get_response(request), "response")
                self.assertEqual(request.environ, want)

    def test_starlette(self):
        class Route:
            def __init__(self, path, app=None):
                self.path, self.app = path, app

            def handle(self, scope, receive, send):
                return self.app.handle(scope, receive, send) if self.app else (receive, send)

        class Mount(Route):
            def handle(self, scope, receive, send):
                return self.app.handle(scope, receive, send)

        class WebSocketRoute(Route):
            def handle(self, scope, receive, send):
                return receive, send

        routes.starlette(self.module(Route=Route, WebSocketRoute=WebSocketRoute, Mount=Mount))
        formatted = Route("/items/{id:int}")
        formatted.path_format = "/items/{id}"
        for route, want in (
            (Route("/a"), "/a"),
            (formatted, "/items/{id}"),
            (WebSocketRoute("/ws"), "/ws"),
            (Mount("/m", Mount("/{x}", Route("/a"))), "/m/{x}/a"),
            (Mount("/m", WebSocketRoute("/ws")), "/m/ws"),
        ):
            scope = {}
            self.assertEqual(route.handle(scope, 1, 2), (1, 2))
            self.assertEqual(scope["hostler.route"], want)

    def test_fastapi(self):
        said = []
        module = self.module(_route_selected=lambda **given: said.append(given))
        routes.fastapi(module)
        scope = {"hostler.mount": "/m"}
        for path, mount in (("/a", False), (None, False), ("/b", True)):
            module._route_selected(scope=scope, path=path, mount=mount)
            self.assertEqual(said.pop(), {"scope": scope, "path": path, "mount": mount})
        self.assertEqual(scope["hostler.route"], "/m/a")
        older = self.module()
        routes.fastapi(older)
        self.assertFalse(hasattr(older, "_route_selected"))

    def test_others(self):
        class API:
            def _get_responder(self, req):
                return (1, 2, 3, req.template)

        class Router:
            def match(self, environ):
                return (Request(rule="/a/<b>"), {})

        class RoutesMapper:
            def __call__(self, request):
                return {"route": request.route, "match": 1}

        routes.falcon(self.module(API=API))
        routes.bottle(self.module(Router=Router))
        routes.pyramid(self.module(RoutesMapper=RoutesMapper))
        env = {}
        self.assertEqual(API()._get_responder(Request(env=env, template=None)), (1, 2, 3, None))
        self.assertEqual(env, {})
        API()._get_responder(Request(env=env, template="/a/{b}"))
        self.assertEqual(env, {"hostler.route": "/a/{b}"})
        env = {}
        Router().match(env)
        self.assertEqual(env, {"hostler.route": "/a/<b>"})
        for route, want in ((None, {}), (Request(pattern="a/{b}"), {"hostler.route": "/a/{b}"}), (Request(pattern="/a"), {"hostler.route": "/a"})):
            env = {}
            self.assertEqual(RoutesMapper()(Request(environ=env, route=route))["match"], 1)
            self.assertEqual(env, want)

    def test_nowhere(self):
        """A request that has its environ where nobody looks."""
        self.assertEqual(routes.place_of(Request(environ=None, env=1, scope=[])), {})


class Follow(unittest.TestCase):
    def setUp(self):
        self.path = list(sys.meta_path)
        self.addCleanup(self.clean)

    def clean(self):
        sys.meta_path[:] = self.path

    def test_waits(self):
        """Each framework is met when it is imported, and what is not as it was is said once."""
        seen, said = [], []

        def broken(module):
            raise AttributeError("gone")

        hooks = {"first_framework": seen.append, "second_framework": broken}
        for worker in (1, 2):
            with mock.patch.object(routes, "HOOKS", hooks), mock.patch.object(routes, "say", lambda text, level: said.append(text)):
                with folder(first_framework="x = 1", second_framework="", other_module=""):
                    routes.follow_frameworks({"worker": worker})
                    for name in ("other_module", "first_framework", "second_framework"):
                        importlib.import_module(name)
                    self.assertEqual(seen, [sys.modules["first_framework"]])
                    self.assertEqual(seen.pop().x, 1)
            self.assertEqual(sys.meta_path, self.path)
        self.assertEqual(said, ["hostler: the routes of second_framework are not known: AttributeError: gone\n"])

    def test_there(self):
        seen = []
        with mock.patch.object(routes, "HOOKS", {"json": seen.append}):
            routes.follow_frameworks({"worker": 1})
        self.assertEqual(seen, [sys.modules["json"]])
        self.assertEqual(sys.meta_path, self.path)
