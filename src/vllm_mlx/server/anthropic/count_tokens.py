"""POST /v1/messages/count_tokens."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_mlx.core.requests import GenerateRequest
from vllm_mlx.server.anthropic import wire
from vllm_mlx.server.anthropic.messages_decode import decode_prompt, model_name
from vllm_mlx.server.anthropic.messages_schema import CountTokensRequest
from vllm_mlx.server.body import beside_the_loop, read_body
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.mcp.runs import first_chat, may_add_tools
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop


def routes(service: ModelService, tool_loop: ToolLoop | None = None) -> APIRouter:
    """The route, over a model service, and over tools that this server adds to a message's own."""
    router = APIRouter(tags=["anthropic"])

    @router.post(
        "/v1/messages/count_tokens",
        openapi_extra=json_body(CountTokensRequest),
        responses=wire.ANSWERS.of(wire.TokenCount),
    )
    async def count_tokens(request: Request) -> Response:
        """How many tokens the same body would have as the input of a message, cached ones included."""
        body = await read_body(request, CountTokensRequest)
        more = may_add_tools(tool_loop, body.mcp_tools)
        prompt = await beside_the_loop(request, lambda: decode_prompt(body, more_tools=more))
        chat = await first_chat(tool_loop, GenerateRequest(input=prompt), body.mcp_tools)
        ids = await service.tokenize(model_name(body), chat)
        return Response(wire.to_json(wire.TokenCount(len(ids))), media_type="application/json")

    return router
