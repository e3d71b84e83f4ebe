

# The same pages by Flask.

import flask

site = flask.Flask(__name__)


@site.route("/<page>", methods=["GET", "POST"])
def any_page(page):
    body = flask.request.get_data()
    if flask.request.method == "POST" and flask.request.content_length != len(body):
        flask.abort(411)
    extra = PAGES["/" + page](float(flask.request.args.get("n", 0)), body) or b""
    head = ("%s %d %s\n" % (flask.request.args.get("id"), os.getpid(), VERSION)).encode()
    return flask.Response([head, extra], headers={"Content-Length": len(head) + len(extra)}, mimetype="text/plain")


application = site
