"""For --reload: what is wrong with the code, where that is broken."""

from _hostler.reload import page_of


def or_error_page(server, app):
    """The application, as long as its code is not broken."""

    async def application(scope, receive, send):
        text = server.page() if scope["type"] == "http" else b""
        if not text:
            await app(scope, receive, send)
            return
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        headers, body = page_of(text.decode("utf-8", "replace"), accept)
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": 500, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    return application
