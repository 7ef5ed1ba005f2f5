"""POST /v1/messages."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_mlx.server.anthropic import wire
from vllm_mlx.server.anthropic.errors import AnthropicError, error_frame
from vllm_mlx.server.anthropic.messages_decode import decode, model_name, shows_thinking
from vllm_mlx.server.anthropic.messages_encode import PING, MessageAnswer, MessagesEncoder, frames
from vllm_mlx.server.anthropic.messages_schema import MessagesRequest
from vllm_mlx.server.anthropic.tools_decode import one_call_at_most
from vllm_mlx.server.body import beside_the_loop, read_body
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.mcp.runs import answer as answer_of
from vllm_mlx.server.mcp.runs import may_add_tools
from vllm_mlx.server.replies import EventStream, StreamStyle, WholeReply
from vllm_mlx.server.request_ids import request_id
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop


def routes(service: ModelService, tool_loop: ToolLoop | None = None) -> APIRouter:
    """The route, over a model service, and over tools that this server runs itself."""
    router = APIRouter(tags=["anthropic"])

    @router.post(
        "/v1/messages",
        openapi_extra=json_body(MessagesRequest),
        responses=wire.ANSWERS.of(wire.Message, events=wire.Event, error=AnthropicError),
    )
    async def create_message(request: Request) -> Response:
        """Continue a conversation, in Anthropic's shape; at once, or as a stream of server-sent events."""
        body = await read_body(request, MessagesRequest)
        model = service.model(model_name(body)).id
        identity = request_id(request.scope)
        betas = request.headers.getlist("anthropic-beta")
        more = may_add_tools(tool_loop, body.mcp_tools)
        wanted = await beside_the_loop(request, lambda: decode(body, identity, betas, more_tools=more))
        events = await answer_of(service, tool_loop, wanted, body.mcp_tools)
        encoder = MessagesEncoder(
            model,
            body.max_tokens,
            show_thinking=shows_thinking(body),
            parallel_tool_calls=not one_call_at_most(body.tool_choice),
        )
        if body.stream:
            style = StreamStyle(lambda error: error_frame(error, identity), end=b"", keep_alive=PING)
            return EventStream(events, lambda event: frames(encoder.encode(event)), style)
        answer = MessageAnswer()
        return WholeReply(events, lambda event: answer.add(encoder.encode(event)), answer.body)

    return router
