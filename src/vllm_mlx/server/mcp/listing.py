"""GET /v1/mcp/servers and /v1/mcp/tools."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter

from vllm_mlx.service.tools import ToolService


def routes(tools: ToolService | None) -> APIRouter:
    """The routes; without tools both lists are empty."""
    router = APIRouter(tags=["mcp"])

    @router.get("/v1/mcp/servers")
    async def list_servers() -> dict[str, object]:
        """The configured MCP servers, and how each does."""
        return {"servers": [msgspec.to_builtins(server) for server in tools.servers()] if tools else []}

    @router.get("/v1/mcp/tools")
    async def list_tools() -> dict[str, object]:
        """The tools of the MCP servers that are ready."""
        found = [
            {
                "name": offered.name,
                "description": offered.tool.description,
                "server": offered.server,
                "parameters": offered.tool.parameters,
                "read_only": offered.tool.read_only,
                "approved": offered.approved,
            }
            for offered in (tools.tools() if tools else [])
        ]
        return {"tools": found, "count": len(found)}

    return router
