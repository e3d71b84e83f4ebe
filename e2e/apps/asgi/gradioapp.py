"""Gradio, as people write it: its queue answers by a stream of events, by way of another request."""

import os
import time

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import fastapi
import gradio

GO = os.environ.get("GO", "")


def greet(name):
    return "hello %s by %d" % (name, os.getpid())


def size(file):
    return "%d bytes" % os.path.getsize(file)


def hold():
    """It has something to show, and the rest once there is a file GO."""
    yield "begun"
    while not os.path.exists(GO):
        time.sleep(0.02)
    yield "whole by %d" % os.getpid()


with gradio.Blocks() as demo:
    name, told, file = gradio.Textbox(), gradio.Textbox(), gradio.File()
    gradio.Button().click(greet, name, told, api_name="greet")
    gradio.Button().click(size, file, told, api_name="size")
    gradio.Button().click(hold, None, told, api_name="hold")

app = gradio.mount_gradio_app(fastapi.FastAPI(), demo, path="/")
