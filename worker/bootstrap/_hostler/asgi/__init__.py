"""ASGI applications, on an event loop that is the worker's main thread.

    run        the worker: the loop's life, from lifespan.startup to the executor's end
    loops      --loop: asyncio's with a selector of ours, others with our set in theirs
    lifespan   the application's startup and shutdown
    tasks      what its tasks are at, for hostler ctl dump
    messages   what the C side, which does the rest, has to know; and what the log does not
"""
