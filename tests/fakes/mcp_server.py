"""A well-behaved MCP server on the official SDK: `python tests/fakes/mcp_server.py [http PORT | sse PORT]`.

Without words it speaks over stdio; over a loopback port it says "ready" on stdout once it listens, and then
the port (0 picks a free one).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.types import ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)
PIXEL = bytes.fromhex("89504e470d0a1a0a")

server = MCPServer("fake", log_level="ERROR")


@server.tool(annotations=READS)
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool(annotations=READS)
def environment() -> str:
    """The names of the variables this process sees, and the value of one."""
    return " ".join([*sorted(os.environ), f"given={os.environ.get('GIVEN')}"])


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ValueError("no such luck")


@server.tool(structured_output=False)
def picture() -> Image:
    """A picture."""
    return Image(data=PIXEL, format="png")


@server.tool()
def repeat(text: str, times: int) -> str:
    """The text, so many times."""
    return text * times


@server.tool()
def die() -> str:
    """Ends the server in mid call."""
    os._exit(3)


def note(marker: str, word: str) -> None:
    with open(marker, "a") as file:
        file.write(word + "\n")


@server.tool()
async def wait(marker: str) -> str:
    """Waits until it is cancelled, and says so in a file."""
    note(marker, "waiting")
    try:
        await asyncio.Event().wait()
    finally:
        note(marker, "cancelled")
    return "never"


@server.tool()
async def grow(context: Context) -> str:
    """Adds the tool `new`, and tells the client."""
    server.add_tool(lambda: "new", name="new")
    await context.session.send_tool_list_changed()
    return "grown"


def main(argv: list[str]) -> None:
    """Serve until the client goes, or for ever."""
    if not argv:
        server.run()
        return
    listener = socket.create_server(("127.0.0.1", int(argv[1])))
    app = server.streamable_http_app() if argv[0] == "http" else server.sse_app()
    print("ready", listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=0)).run([listener])


if __name__ == "__main__":
    main(sys.argv[1:])
