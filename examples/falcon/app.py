"""Notes as a JSON API, in SQLite, with Falcon.

    hostler --chdir examples/falcon app
    curl -d '{"text": "hello"}' -H 'Content-Type: application/json' localhost:8000/notes
"""

import contextlib
import os
import sqlite3
from pathlib import Path

import falcon

DATABASE = os.environ.get("DATABASE", str(Path(__file__).with_name("db.sqlite3")))


@contextlib.contextmanager
def database():
    """One for each request: threads do not share connections of sqlite3's."""
    db = sqlite3.connect(DATABASE, timeout=20)
    try:
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
            yield db
    finally:
        db.close()


class Notes:
    def on_get(self, req, resp):
        with database() as db:
            rows = db.execute("SELECT id, text FROM notes ORDER BY id").fetchall()
        resp.media = [{"id": number, "text": text} for number, text in rows]

    def on_post(self, req, resp):
        note = req.get_media()
        if not isinstance(note, dict) or not isinstance(note.get("text"), str):
            raise falcon.HTTPBadRequest(title="No note", description="It is an object with a text.")
        with database() as db:
            number = db.execute("INSERT INTO notes (text) VALUES (?)", [note["text"]]).lastrowid
        resp.status, resp.location = falcon.HTTP_201, "/notes/%d" % number


class Note:
    def on_get(self, req, resp, number):
        with database() as db:
            row = db.execute("SELECT text FROM notes WHERE id = ?", [number]).fetchone()
        if row is None:
            raise falcon.HTTPNotFound()
        resp.media = {"id": number, "text": row[0]}

    def on_delete(self, req, resp, number):
        with database() as db:
            if not db.execute("DELETE FROM notes WHERE id = ?", [number]).rowcount:
                raise falcon.HTTPNotFound()
        resp.status = falcon.HTTP_204


app = falcon.App()
app.add_route("/notes", Notes())
app.add_route("/notes/{number:int}", Note())
