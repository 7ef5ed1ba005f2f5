"""POST /v1/mcp/execute."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_mlx.core.errors import NotFound
from vllm_mlx.server.body import WireModel, read_body
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.mcp import wire
from vllm_mlx.server.replies import WorkReply
from vllm_mlx.service.tools import ToolService

_CALLER = "route"


class ExecuteRequest(WireModel):
    """The body of POST /v1/mcp/execute; `tool_name` is `server__tool`."""

    tool_name: str
    arguments: dict[str, Any] | None = None


def routes(tools: ToolService | None) -> APIRouter:
    """The route; without tools there is none to run."""
    router = APIRouter(tags=["mcp"])

    @router.post(
        "/v1/mcp/execute", openapi_extra=json_body(ExecuteRequest), responses=wire.ANSWERS.of(wire.Execution)
    )
    async def execute(request: Request) -> Response:
        """Run a tool of an MCP server; that the tool itself failed is an answer, `is_error`."""
        body = await read_body(request, ExecuteRequest)
        if tools is None:
            raise NotFound("This server was started without --mcp-config.", code="mcp_server_not_found")
        return WorkReply(_run(tools, body))

    return router


async def _run(tools: ToolService, body: ExecuteRequest) -> bytes:
    await tools.settle([body.tool_name])
    outcome = await tools.execute(body.tool_name, body.arguments or {}, caller=_CALLER)
    return wire.to_json(
        wire.Execution(
            tool_name=body.tool_name,
            content=outcome.text,
            structured_content=outcome.structured,
            is_error=outcome.is_error,
            error_message=outcome.text if outcome.is_error else None,
            truncated=outcome.truncated,
            duration_ms=round(outcome.duration_ms, 3),
        )
    )
