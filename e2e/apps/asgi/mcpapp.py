"""A server of the Model Context Protocol by its SDK: tools, one of which reports how far it is."""

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


app = server.streamable_http_app()
