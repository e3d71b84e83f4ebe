"""Rock, paper, scissors with Pyramid: views, renderers, a session in a signed cookie.

    hostler --chdir examples/pyramid 'app:main()'
"""

import os
import random
import secrets

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.view import view_config

BEATS = {"rock": "scissors", "scissors": "paper", "paper": "rock"}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Rock, paper, scissors</title>
<h1>Rock, paper, scissors</h1><p>%s</p>%s<p>You have won %d of %d.</p>"""


def page(request, text):
    links = "".join('<a href="%s">%s</a> ' % (request.route_path("play", choice=c), c) for c in BEATS)
    return Response(PAGE % (text, links, request.session.get("won", 0), request.session.get("played", 0)))


@view_config(route_name="index")
def index(request):
    return page(request, "Choose!")


@view_config(route_name="play")
def play(request):
    mine, yours = random.choice(list(BEATS)), request.matchdict["choice"]
    if yours not in BEATS:
        raise HTTPNotFound()
    won = BEATS[yours] == mine
    request.session["played"] = request.session.get("played", 0) + 1
    request.session["won"] = request.session.get("won", 0) + won
    return page(request, "I had %s. %s" % (mine, "You win." if won else "Nobody wins." if mine == yours else "I win."))


@view_config(route_name="score", renderer="json")
def score(request):
    return {"won": request.session.get("won", 0), "played": request.session.get("played", 0)}


def main():
    # Every worker has to have the same: a real site takes it from its environment.
    secret = os.environ.get("SECRET_KEY") or secrets.token_hex()
    with Configurator(session_factory=SignedCookieSessionFactory(secret)) as config:
        config.add_route("index", "/")
        config.add_route("score", "/score")
        config.add_route("play", "/play/{choice}")
        config.scan(__name__)
        return config.make_wsgi_app()
