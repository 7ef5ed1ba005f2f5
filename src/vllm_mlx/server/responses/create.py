"""POST /v1/responses and POST /v1/responses/input_tokens."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.server.body import beside_the_loop, read_body
from vllm_mlx.server.callers import owner
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.mcp.runs import answer as answer_of
from vllm_mlx.server.mcp.runs import first_chat, may_add_tools
from vllm_mlx.server.replies import EventStream, StreamStyle, WholeReply
from vllm_mlx.server.request_ids import request_id
from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.answer import Framer, StreamedAnswer, WholeAnswer
from vllm_mlx.server.responses.conversation import assemble, look_up
from vllm_mlx.server.responses.decode import decode, decode_prompt, decode_shown, opening, served_name
from vllm_mlx.server.responses.encode import ResponsesEncoder, new_id
from vllm_mlx.server.responses.schema import CountInputRequest, ResponsesRequest
from vllm_mlx.server.responses.store import ResponseStore, StoredItem, StoredResponse
from vllm_mlx.server.responses.tools_decode import Toolbox, decode_tools, wrong
from vllm_mlx.server.responses.truncation import fitted
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop


def routes(service: ModelService, store: ResponseStore, tool_loop: ToolLoop | None = None) -> APIRouter:
    """The routes, over a model service, the answers it has given, and tools that this server runs itself."""
    router = APIRouter(tags=["responses"])

    @router.post(
        "/v1/responses",
        openapi_extra=json_body(ResponsesRequest),
        responses=wire.ANSWERS.of(wire.Response, events=wire.Event),
    )
    async def create_response(request: Request) -> Response:
        """Go on with a conversation, given as items; at once, or as a stream of server-sent events."""
        body = await read_body(request, ResponsesRequest)
        stored, wanted = _is_stored(body, store), _mcp_tools(body)
        model = service.model(served_name(body)).id
        identity = new_id("resp")
        earlier = look_up(body, store, owner(request.scope))

        def read() -> tuple[Toolbox, GenerateRequest, tuple[StoredItem, ...]]:
            conversation, toolbox = assemble(body, earlier), _toolbox(body, tool_loop, wanted)
            generation = decode(body, toolbox, conversation, request_id(request.scope))
            return toolbox, generation, conversation.stored() if stored else ()

        toolbox, generation, items = await beside_the_loop(request, read, also_bytes=earlier.size_bytes())
        encoder = ResponsesEncoder(opening(body, identity, model, stored=stored), toolbox, decode_shown(body))

        def keep(response: wire.Response) -> None:
            if stored:
                store.add(owner(request.scope), _kept(response, items))

        events = await answer_of(service, tool_loop, await _fitted(service, body, generation), wanted)
        if body.stream:
            padded = body.stream_options is not None and bool(body.stream_options.include_obfuscation)
            answer = StreamedAnswer(encoder, Framer(padded=padded), keep)
            return EventStream(events, answer.frames, StreamStyle(answer.failed, end=b""))
        whole = WholeAnswer(encoder, keep)
        return WholeReply(events, whole.add, whole.body)

    @router.post(
        "/v1/responses/input_tokens",
        openapi_extra=json_body(CountInputRequest),
        responses=wire.ANSWERS.of(wire.InputTokens),
    )
    async def count_input_tokens(request: Request) -> Response:
        """How many tokens the same body would have as the input of a response, cached ones included."""
        body = await read_body(request, CountInputRequest)
        wanted = _mcp_tools(body)
        earlier = look_up(body, store, owner(request.scope))

        def read() -> ChatInput:
            toolbox = _toolbox(body, tool_loop, wanted)
            return decode_prompt(body, toolbox, assemble(body, earlier))

        chat = await beside_the_loop(request, read, also_bytes=earlier.size_bytes())
        if body.truncation == "auto":
            chat = await fitted(service, served_name(body), chat, None)
        chat = await first_chat(tool_loop, GenerateRequest(input=chat), wanted)
        ids = await service.tokenize(served_name(body), chat)
        return Response(wire.to_json(wire.InputTokens(input_tokens=len(ids))), media_type="application/json")

    return router


def _is_stored(body: ResponsesRequest, store: ResponseStore) -> bool:
    if body.store and not store.on:
        raise wrong("store", "is true, but this server stores no responses")
    return store.on and body.store is not False


def _mcp_tools(body: CountInputRequest) -> bool | list[str] | None:
    """Which MCP tools are wanted; none by default for a request that they cannot go with."""
    others = {"truncation": body.truncation == "auto", "max_tool_calls": body.max_tool_calls is not None}
    for name in (name for name, given in others.items() if given):
        if body.mcp_tools:
            raise wrong(name, "does not go with mcp_tools")
        return False
    return body.mcp_tools


def _toolbox(body: CountInputRequest, tool_loop: ToolLoop | None, wanted: bool | list[str] | None) -> Toolbox:
    return decode_tools(body, more=may_add_tools(tool_loop, wanted))


async def _fitted(
    service: ModelService, body: ResponsesRequest, generation: GenerateRequest
) -> GenerateRequest:
    if body.truncation != "auto" or not isinstance(generation.input, ChatInput):
        return generation
    chat = await fitted(service, generation.model, generation.input, body.max_output_tokens)
    return msgspec.structs.replace(generation, input=chat)


def _kept(response: wire.Response, items: tuple[StoredItem, ...]) -> StoredResponse:
    return StoredResponse(
        id=response.id,
        data=wire.to_json(response),
        input=items,
        output=tuple(StoredItem(item.id, wire.to_json(item)) for item in response.output),
        previous_id=response.previous_response_id,
    )
