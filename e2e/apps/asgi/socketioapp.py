"""An echo by python-socketio, which polls, or has a socket."""

import socketio

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")


@server.event
async def say(sid, text):
    await server.emit("said", "echo " + text, to=sid)


app = socketio.ASGIApp(server)
