"""Speaks with mcpapp.py at a URL, as an assistant would; prints what it was told. mcpclient.py URL
[hold]: also by a call that takes its time, and one after it."""

import asyncio
import sys

from mcp import MCPError
from mcp.client.client import Client
from mcp.client.sse import sse_client


def say(*words):
    print(*words, flush=True)


async def main(url, *more):
    seen = []

    async def progress(done, total, message):
        seen.append(int(done))

    async def begun(done, total, message):
        say("begun")

    async with Client(sse_client(url) if url.endswith("/sse") else url) as client:
        say("tools", sorted(tool.name for tool in (await client.list_tools()).tools))
        for a in range(3):
            result = await client.call_tool("add", {"a": a, "b": 2})
            say("sum", result.content[0].text)
        result = await client.call_tool("count", {"to": 3}, progress_callback=progress)
        say(result.content[0].text)
        say("progress", seen)
        if more:
            try:
                result = await client.call_tool("hold", {}, progress_callback=begun)
                say(result.content[0].text)
                result = await client.call_tool("add", {"a": 40, "b": 2})
                say("sum", result.content[0].text)
            except MCPError as e:
                say("the call is lost:", e)


asyncio.run(main(*sys.argv[1:]))
