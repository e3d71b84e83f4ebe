from flask import Flask, request

app = Flask(__name__)


@app.route("/")
def index():
    return "Hello, World!"


@app.route("/contact-us", methods=["GET", "POST"])
def contact_us():
    return "got " + request.form.get("message", "nothing")
