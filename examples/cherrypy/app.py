"""Looks a CSV file over, with CherryPy: an upload, and an answer that is sent as it is made.

    hostler --chdir examples/cherrypy app
"""

import csv
import io

import cherrypy

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>CSV</title><h1>What is in a CSV file?</h1>
<form method="post" action="columns" enctype="multipart/form-data"><input type="file" name="table"> <button>look</button></form>"""


class Root:
    @cherrypy.expose
    def index(self):
        return PAGE

    @cherrypy.expose
    @cherrypy.tools.allow(methods=["POST"])
    @cherrypy.tools.json_out()
    def columns(self, table):
        """How many rows there are, and of each column how many different values."""
        rows = csv.DictReader(io.TextIOWrapper(table.file, "utf-8", newline=""))
        seen, count = {name: set() for name in rows.fieldnames or ()}, 0
        for row in rows:
            count += 1
            for name in seen:
                seen[name].add(row[name])
        return {"rows": count, "columns": {name: len(values) for name, values in seen.items()}}

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def squares(self, many="1000"):
        """A CSV file of any length, of which no more than a line is in memory."""
        cherrypy.response.headers["Content-Type"] = "text/csv; charset=utf-8"
        return (("%d,%d\r\n" % (n, n * n)).encode() for n in range(int(many)))


cherrypy.config.update({"environment": "embedded"})
app = cherrypy.Application(Root(), "")
