"""GET /v1/mcp/servers and /v1/mcp/tools."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from vllm_mlx.mcp.tools import OfferedTool
from vllm_mlx.server.mcp import wire
from vllm_mlx.service.tools import ToolService


def routes(tools: ToolService | None) -> APIRouter:
    """The routes; without tools both lists are empty."""
    router = APIRouter(tags=["mcp"])

    @router.get("/v1/mcp/servers", responses=wire.ANSWERS.of(wire.ServerList))
    async def list_servers() -> Response:
        """The configured MCP servers, and how each does."""
        return _json(wire.ServerList(tools.servers() if tools else []))

    @router.get("/v1/mcp/tools", responses=wire.ANSWERS.of(wire.ToolList))
    async def list_tools() -> Response:
        """The tools of the MCP servers that are ready."""
        found = [_tool(offered) for offered in (tools.tools() if tools else [])]
        return _json(wire.ToolList(found, len(found)))

    return router


def _tool(offered: OfferedTool) -> wire.Tool:
    return wire.Tool(
        name=offered.name,
        description=offered.tool.description,
        server=offered.server,
        parameters=offered.tool.parameters,
        read_only=offered.tool.read_only,
        approved=offered.approved,
    )


def _json(answer: msgspec.Struct) -> Response:
    return Response(wire.to_json(answer), media_type="application/json")
