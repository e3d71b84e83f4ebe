"""A server of the Model Context Protocol by its SDK: tools, some of which report how far they are;
by streamable HTTP, and by the events and requests that were before that."""

import asyncio
import os

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("e2e")


@server.tool()
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Counts, and tells."""
    for i in range(to):
        await ctx.report_progress(i, to)
    return "counted to %d" % to


@server.tool()
async def hold(ctx: Context) -> str:
    """Tells that it has begun, and goes on when there is a file GO."""
    await ctx.report_progress(0, 1)
    while not os.path.exists(os.environ["GO"]):
        await asyncio.sleep(0.02)
    return "held to the end"


app = server.streamable_http_app()
sse = server.sse_app()
