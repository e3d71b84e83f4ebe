"""What real_test.go asks of a framework, by CherryPy."""

import hashlib
import os

import cherrypy

cherrypy.config.update({"environment": "embedded", "log.screen": False, "server.max_request_body_size": 0})


class Root:
    @cherrypy.expose
    def hello(self):
        return "hello"

    @cherrypy.expose
    def form(self, message):
        return "got " + message

    @cherrypy.expose
    def raw(self):
        return hashlib.sha256(cherrypy.request.body.read()).hexdigest()

    @cherrypy.expose
    def upload(self, file, comment):
        return file.filename + " " + hashlib.sha256(file.file.read()).hexdigest()

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def stream(self):
        cherrypy.response.headers["Content-Type"] = "text/plain"
        return ("row %d\n" % i for i in range(1000))

    @cherrypy.expose
    def boom(self):
        raise ValueError("boom")

    @cherrypy.expose
    def count(self):
        n = int(cherrypy.request.cookie["n"].value if "n" in cherrypy.request.cookie else 0) + 1
        cherrypy.response.cookie["n"] = str(n)
        cherrypy.response.cookie["other"] = "x"
        return "%d times" % n

    @cherrypy.expose
    def redirect(self):
        raise cherrypy.HTTPRedirect("/hello")


app = cherrypy.tree.mount(
    Root(), "/", {"/static": {"tools.staticdir.on": True, "tools.staticdir.dir": os.path.abspath(os.environ["FILES"])}}
)
