"""What people have complained about with other servers: see asgi_complaints_test.go."""


async def app(scope, receive, send):
    assert scope["type"] == "http"

    async def answer(status, headers, *pieces):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for i, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": i < len(pieces) - 1})

    path = scope["path"]
    if path == "/empty":
        await answer(404, [], b"")
    elif path == "/nothing":
        await answer(204, [], b"null")
    elif path == "/nothing_sized":
        await answer(204, [(b"content-length", b"4")], b"null")
    elif path == "/not_modified":
        await answer(304, [(b"content-length", b"1234"), (b"etag", b'"x"')], b"")
    elif path == "/sized":
        await answer(200, [(b"content-length", b"5")], b"hel", b"lo")
    elif path == "/pieces":
        await answer(200, [], b"hel", b"", b"lo")
    elif path == "/encoded":
        await answer(200, [(b"transfer-encoding", b"gzip")], b"hello")
    elif path == "/twice":
        await answer(200, [(b"content-length", b"5"), (b"content-length", b"5")], b"hello")
    elif path == "/long":
        await answer(200, [(b"content-length", b"3")], b"hello")
    else:
        await answer(200, [], ("%s %r" % (ascii(path), scope["raw_path"])).encode())
