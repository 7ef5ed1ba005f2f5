"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_mlx.server.body import beside_the_loop, read_body
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.mcp.runs import answer as answer_of
from vllm_mlx.server.mcp.runs import may_add_tools
from vllm_mlx.server.openai import wire
from vllm_mlx.server.openai.chat_decode import decode
from vllm_mlx.server.openai.chat_encode import ChatAnswer, ChatEncoder, ChatStream
from vllm_mlx.server.openai.chat_schema import ChatCompletionRequest
from vllm_mlx.server.openai.envelope import Envelope
from vllm_mlx.server.openai.errors import STREAM_STYLE, OpenAIError
from vllm_mlx.server.openai.generation_decode import model_name, wants_usage
from vllm_mlx.server.replies import EventStream, WholeReply
from vllm_mlx.server.request_ids import request_id
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop

BETWEEN_TURNS = "\n\n"
"""Stands between the texts, and the thoughts, of turns between which this server ran tools: a message has one
text."""


def routes(service: ModelService, tool_loop: ToolLoop | None = None) -> APIRouter:
    """The route, over a model service, and over tools that this server runs itself."""
    router = APIRouter(tags=["openai"])

    @router.post(
        "/v1/chat/completions",
        openapi_extra=json_body(ChatCompletionRequest),
        responses=wire.ANSWERS.of(wire.ChatCompletion, events=wire.ChatCompletionChunk, error=OpenAIError),
    )
    async def create_chat_completion(request: Request) -> Response:
        """Continue a conversation; at once, or as a stream of server-sent events."""
        body = await read_body(request, ChatCompletionRequest)
        usage = wants_usage(body)
        model = service.model(model_name(body.model)).id
        envelope = Envelope("chatcmpl", model, tier=body.service_tier is not None)
        more, identity = may_add_tools(tool_loop, body.mcp_tools), request_id(request.scope)
        wanted = await beside_the_loop(request, lambda: decode(body, identity, more_tools=more))
        events = await answer_of(service, tool_loop, wanted, body.mcp_tools, between=BETWEEN_TURNS)
        encoder = ChatEncoder(
            logprobs=bool(body.logprobs), parallel_tool_calls=body.parallel_tool_calls is not False
        )
        if body.stream:
            stream = ChatStream(envelope, usage=usage)
            return EventStream(events, lambda event: stream.frame(encoder.encode(event)), STREAM_STYLE)
        answer = ChatAnswer(envelope)
        return WholeReply(events, lambda event: answer.add(encoder.encode(event)), answer.body)

    return router
