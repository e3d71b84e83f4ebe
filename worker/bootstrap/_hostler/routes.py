"""The route of each request, as the application's framework has it (--metrics-routes).

A framework is left alone until the application imports it. Then the one of its functions that
knows the route has it noted, under NAME, in the request's environ or scope; the server
library looks there at the end (worker/python/rules.c). An application may do so itself."""

from _hostler.imports import Imports
from _hostler.log import say

NAME = "hostler.route"
MOUNT = "hostler.mount"  # what the routes of a mounted application begin with
NAMES = (NAME, "path_template")  # the latter is Litestar's


def follow_frameworks(settings):
    """Wait for frameworks. This comes before all that may import them."""

    def tell_of(hook):
        def then(module):
            try:
                hook(module)
            except Exception as e:  # it is not made as it was when this was written
                if settings["worker"] <= 1:
                    say("hostler: the routes of %s are not known: %s: %s\n" % (module.__name__, type(e).__name__, e), "WARN")

        return then

    Imports({name: tell_of(hook) for name, hook in HOOKS.items()})


def note(place, route):
    """The request whose environ or scope this is has such a route."""
    place[NAME] = place.get(MOUNT, "") + route


def place_of(request):
    """Return environ or scope of a framework's request."""
    for name in ("environ", "env", "scope"):
        place = getattr(request, name, None)
        if type(place) is dict:
            return place
    return {}


def replace(cls, name, make):
    """Replace a method of a class by what make makes of it."""
    method = make(getattr(cls, name))
    method.__name__ = name
    method.__qualname__ = "%s.%s" % (cls.__qualname__, name)
    setattr(cls, name, method)


def flask(ctx):
    """Quart's is the same."""

    def make(match_request):
        def method(self, *args, **kwargs):
            result = match_request(self, *args, **kwargs)
            request = getattr(self, "request_websocket", None) or self.request
            rule = getattr(request, "url_rule", None)
            if rule is not None:
                note(place_of(request), rule.rule)
            return result

        return method

    found = [c for c in vars(ctx).values() if isinstance(c, type) and c.__module__ == ctx.__name__ and "match_request" in vars(c)]
    for cls in found:
        replace(cls, "match_request", make)
    if not found:
        raise AttributeError("match_request")


def django(base):
    def noted(request):
        route = getattr(getattr(request, "resolver_match", None), "route", None)
        if route is not None:
            note(place_of(request), django_route(route))

    def make(get_response):
        def method(self, request):
            try:
                return get_response(self, request)
            finally:
                noted(request)

        return method

    def make_async(get_response):
        async def method(self, request):
            try:
                return await get_response(self, request)
            finally:
                noted(request)

        return method

    replace(base.BaseHandler, "get_response", make)
    if hasattr(base.BaseHandler, "get_response_async"):
        replace(base.BaseHandler, "get_response_async", make_async)


def django_route(route):
    """Django's have no slash at their begin, and marks there where they are regular expressions."""
    return "/" + (route[1:] if route[:1] == "^" else route).replace("/^", "/")


def starlette(routing):
    def make(handle):
        def method(self, scope, receive, send):
            note(scope, getattr(self, "path_format", None) or self.path)
            return handle(self, scope, receive, send)

        return method

    def make_mount(handle):
        def method(self, scope, receive, send):
            note(scope, self.path)
            scope[MOUNT] = scope[NAME]
            return handle(self, scope, receive, send)

        return method

    replace(routing.Route, "handle", make)
    replace(routing.WebSocketRoute, "handle", make)
    replace(routing.Mount, "handle", make_mount)


def fastapi(routing):
    """Its routers have handled each route by Starlette's methods until they began to include others
    as they are."""
    selected = getattr(routing, "_route_selected", None)
    if selected is None:
        return

    def method(scope, path, mount=False):
        if path is not None and not mount:
            note(scope, path)
        return selected(scope=scope, path=path, mount=mount)

    routing._route_selected = method


def falcon(app):
    def make(get_responder):
        def method(self, req, *args):
            found = get_responder(self, req, *args)
            if found[3]:
                note(place_of(req), found[3])
            return found

        return method

    replace(getattr(app, "App", None) or app.API, "_get_responder", make)


def bottle(module):
    def make(match):
        def method(self, environ):
            found = match(self, environ)
            note(environ, found[0].rule)
            return found

        return method

    replace(module.Router, "match", make)


def pyramid(urldispatch):
    def make(call):
        def method(self, request):
            found = call(self, request)
            if found["route"] is not None:
                pattern = found["route"].pattern
                note(place_of(request), pattern if pattern[:1] == "/" else "/" + pattern)
            return found

        return method

    replace(urldispatch.RoutesMapper, "__call__", make)


HOOKS = {
    "bottle": bottle,
    "django.core.handlers.base": django,
    "falcon.api": falcon,
    "falcon.app": falcon,
    "fastapi.routing": fastapi,
    "flask.ctx": flask,
    "pyramid.urldispatch": pyramid,
    "quart.ctx": flask,
    "starlette.routing": starlette,
}
