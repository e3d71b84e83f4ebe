"""Speaks with mcpapp.py at a URL, as an assistant would; prints what it was told."""

import asyncio
import sys

from mcp.client.client import Client


async def main():
    seen = []

    async def progress(done, total, message):
        seen.append(int(done))

    async with Client(sys.argv[1]) as client:
        print("tools", sorted(tool.name for tool in (await client.list_tools()).tools))
        for a in range(3):
            result = await client.call_tool("add", {"a": a, "b": 2})
            print("sum", result.content[0].text)
        result = await client.call_tool("count", {"to": 3}, progress_callback=progress)
        print(result.content[0].text)
        print("progress", seen)


asyncio.run(main())
