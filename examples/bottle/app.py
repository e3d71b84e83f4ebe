"""A list of things to do, in SQLite, with Bottle.

    hostler --chdir examples/bottle app
"""

import contextlib
import os
import sqlite3
from pathlib import Path

import bottle

DATABASE = os.environ.get("DATABASE", str(Path(__file__).with_name("db.sqlite3")))
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>To do</title>
<h1>To do</h1><form method="post" action="/add"><input name="what" required> <button>add</button></form>
<ul>
% for number, what in things:
<li>{{what}} <form method="post" action="/done/{{number}}" style="display:inline"><button>done</button></form></li>
% end
</ul>"""

app = bottle.Bottle()


@contextlib.contextmanager
def database():
    """One for each request: threads do not share connections of sqlite3's."""
    db = sqlite3.connect(DATABASE, timeout=20)
    try:
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS things (number INTEGER PRIMARY KEY, what TEXT NOT NULL)")
            yield db
    finally:
        db.close()


@app.get("/")
def index():
    with database() as db:
        things = db.execute("SELECT number, what FROM things ORDER BY number").fetchall()
    return bottle.template(PAGE, things=things)


@app.post("/add")
def add():
    with database() as db:
        db.execute("INSERT INTO things (what) VALUES (?)", [bottle.request.forms.what])
    bottle.redirect("/")


@app.post("/done/<number:int>")
def done(number):
    with database() as db:
        if not db.execute("DELETE FROM things WHERE number = ?", [number]).rowcount:
            bottle.abort(404, "There is no such thing to do.")
    bottle.redirect("/")
