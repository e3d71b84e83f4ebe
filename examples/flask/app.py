"""A small Flask application."""

from flask import Flask, render_template_string, request

app = Flask(__name__)

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>body{font:1rem/1.5 system-ui;margin:3rem auto;max-width:40rem;padding:0 1rem}</style>
<h1>{{ title }}</h1><p>{{ text }}</p>
{% if form %}<form method="post"><input name="message"> <button>send</button></form>{% endif %}
<p><a href="/">front page</a> · <a href="/contact-us">contact us</a> · <a href="/hello/you">hello</a></p>"""


def page(title, text, form=False):
    return render_template_string(PAGE, title=title, text=text, form=form)


@app.route("/")
def index():
    return page("hostler serves Flask", "Edit examples/flask/app.py and send SIGHUP to reload.")


@app.route("/contact-us", methods=["GET", "POST"])
def contact_us():
    if request.method == "POST":
        return page("Contact us", f"We got your message of {len(request.form['message'])} characters.")
    return page("Contact us", "Write to us.", form=True)


@app.route("/hello/<name>")
def hello(name):
    return page(f"Hello, {name}", "The name is part of the path.")
