"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_mlx.server.body import beside_the_loop, read_body
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.merge import merge
from vllm_mlx.server.openai import wire
from vllm_mlx.server.openai.completions_decode import decode
from vllm_mlx.server.openai.completions_encode import CompletionAnswer, CompletionEncoder, CompletionStream
from vllm_mlx.server.openai.completions_schema import CompletionRequest
from vllm_mlx.server.openai.envelope import Envelope
from vllm_mlx.server.openai.errors import STREAM_STYLE, OpenAIError
from vllm_mlx.server.openai.generation_decode import model_name, wants_usage
from vllm_mlx.server.replies import EventStream, WholeReply
from vllm_mlx.server.request_ids import request_id
from vllm_mlx.service.port import ModelService


def routes(service: ModelService) -> APIRouter:
    """The route, over a model service."""
    router = APIRouter(tags=["openai"])

    @router.post(
        "/v1/completions",
        openapi_extra=json_body(CompletionRequest),
        responses=wire.ANSWERS.of(wire.Completion, events=wire.Completion, error=OpenAIError),
    )
    async def create_completion(request: Request) -> Response:
        """Continue one or several texts; at once, or as a stream of server-sent events."""
        body = await read_body(request, CompletionRequest)
        usage = wants_usage(body)
        envelope = Envelope("cmpl", service.model(model_name(body.model)).id)
        requests = await beside_the_loop(request, lambda: decode(body, request_id(request.scope)))
        events = merge([service.generate(each) for each in requests])
        encoder = CompletionEncoder(
            prompts=len(requests), n=requests[0].sampling.n, logprobs=body.logprobs is not None
        )
        if body.stream:
            stream = CompletionStream(envelope, usage=usage)
            return EventStream(events, lambda event: stream.frame(encoder.encode(*event)), STREAM_STYLE)
        answer = CompletionAnswer(envelope)
        return WholeReply(events, lambda event: answer.add(encoder.encode(*event)), answer.body)

    return router
