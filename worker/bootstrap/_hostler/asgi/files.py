"""Files that the kernel does not send by itself: what is empty, or has no size (/proc)."""

import asyncio
import os

PIECE = 64 << 10


def copied(send, fd, offset, count, more):
    """Return a coroutine that sends a part of a file, as far as that goes where count is
    below 0. It takes over the descriptor."""
    return copy(send, os.fdopen(fd, "rb", 0), offset, count, more)


async def copy(send, file, offset, count, more):
    loop = asyncio.get_event_loop()
    with file:
        while count:
            size = PIECE if count < 0 else min(PIECE, count)
            piece = await loop.run_in_executor(None, os.pread, file.fileno(), size, offset)
            if not piece:
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            offset += len(piece)
            count -= len(piece) if count > 0 else 0
    await send({"type": "http.response.body", "body": b"", "more_body": more})
