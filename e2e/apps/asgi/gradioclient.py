"""Speaks with gradioapp.py at a URL by Gradio's own client, and prints what it is told."""

import sys
import tempfile

from gradio_client import Client, handle_file


def say(*words):
    print(*words, flush=True)


client = Client(sys.argv[1], verbose=False)
say(client.predict("you", api_name="/greet").split(" by ")[0])
with tempfile.NamedTemporaryFile(suffix=".bin") as f:
    f.write(b"x" * 3_000_000)
    f.flush()
    say(client.predict(handle_file(f.name), api_name="/size"))
if sys.argv[2:] == ["hold"]:
    job = client.submit(api_name="/hold")
    for told in job:
        say(told.split(" by ")[0])
    say(client.predict("again", api_name="/greet").split(" by ")[0])
