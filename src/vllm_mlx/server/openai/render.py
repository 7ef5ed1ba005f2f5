"""POST /v1/chat/completions/render, as vLLM has it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from vllm_mlx.server.body import beside_the_loop, read_body
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.mcp.runs import first_chat, may_add_tools
from vllm_mlx.server.openai.chat_decode import decode
from vllm_mlx.server.openai.chat_schema import ChatCompletionRequest
from vllm_mlx.server.openai.generation_decode import model_name
from vllm_mlx.server.request_ids import request_id
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop


class RenderedChat(BaseModel):
    """What the model would read: routers look for servers whose cache holds the beginning of `token_ids`."""

    request_id: str
    model: str
    prompt: str
    token_ids: list[int]


def routes(service: ModelService, tool_loop: ToolLoop | None = None) -> APIRouter:
    """The route, over a model service, and over tools that this server adds to a chat's own."""
    router = APIRouter(tags=["tokens"])

    @router.post("/v1/chat/completions/render", openapi_extra=json_body(ChatCompletionRequest))
    async def render_chat_completion(request: Request) -> RenderedChat:
        """The prompt of a chat completion, as text and as token ids; nothing is generated."""
        body = await read_body(request, ChatCompletionRequest)
        name = model_name(body.model)
        identity = request_id(request.scope)
        more = may_add_tools(tool_loop, body.mcp_tools)
        asked = await beside_the_loop(request, lambda: decode(body, identity, more_tools=more))
        chat = await first_chat(tool_loop, asked, body.mcp_tools)
        rendered = await service.render(name, chat)
        return RenderedChat(
            request_id=identity,
            model=service.model(name).id,
            prompt=rendered.text,
            token_ids=rendered.token_ids,
        )

    return router
