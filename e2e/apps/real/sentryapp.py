"""A Flask application with sentry-sdk, which looks for Django and finds it installed,
but not set up."""

import django.conf  # noqa: F401
import sentry_sdk
import sentry_sdk.integrations.django  # noqa: F401
from flask import Flask

sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", shutdown_timeout=0)
app = Flask(__name__)


@app.route("/hello")
def hello():
    return "hello"


@app.route("/boom")
def boom():
    raise ValueError("boom")
