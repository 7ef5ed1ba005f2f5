"""POST /tokenize and /detokenize, in vLLM's shapes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.requests import ChatInput, TextInput
from vllm_mlx.server.body import WireModel, beside_the_loop, read_body
from vllm_mlx.server.docs import json_body
from vllm_mlx.server.openai.chat_decode import (
    continues_final_message,
    decode_messages,
    decode_tools,
    template_variables,
)
from vllm_mlx.server.openai.chat_schema import Messages, Tools
from vllm_mlx.server.openai.completions_decode import token_ids
from vllm_mlx.server.openai.generation_decode import model_name
from vllm_mlx.server.openai.generation_schema import Integers
from vllm_mlx.service.port import ModelService


class TokenizeRequest(WireModel):
    """A text, or a conversation as the chat template renders it."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    tools: Tools | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None


class Tokenized(BaseModel):
    """Token ids, how many, and how many the model can take."""

    tokens: list[int]
    count: int
    max_model_len: int | None


class DetokenizeRequest(WireModel):
    """Token ids."""

    model: str | None = None
    tokens: Integers


class Detokenized(BaseModel):
    """A text, under the name that vLLM gives it."""

    prompt: str


def routes(service: ModelService) -> APIRouter:
    """The routes, over a model service."""
    router = APIRouter(tags=["tokens"])

    @router.post("/tokenize", openapi_extra=json_body(TokenizeRequest))
    async def tokenize(request: Request) -> Tokenized:
        """Token ids of a text or a conversation."""
        body = await read_body(request, TokenizeRequest)
        model = model_name(body.model)
        # A template writes the special tokens itself.
        special = body.prompt is not None if body.add_special_tokens is None else body.add_special_tokens
        given = await beside_the_loop(request, lambda: _input(body))
        ids = await service.tokenize(model, given, add_special_tokens=special)
        return Tokenized(tokens=ids, count=len(ids), max_model_len=service.model(model).max_model_len)

    @router.post("/detokenize", openapi_extra=json_body(DetokenizeRequest))
    async def detokenize(request: Request) -> Detokenized:
        """The text of token ids."""
        body = await read_body(request, DetokenizeRequest)
        ids = list(token_ids(body.tokens, "tokens")) if body.tokens else []
        return Detokenized(prompt=await service.detokenize(model_name(body.model), ids))

    return router


def _input(body: TokenizeRequest) -> ChatInput | TextInput:
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequest("give either prompt or messages", param="prompt")
    if body.prompt is not None:
        return TextInput(body.prompt)
    return ChatInput(
        messages=decode_messages(body.messages or []),
        tools=decode_tools(body.tools),
        template_kwargs=template_variables(body.chat_template_kwargs, body.enable_thinking),
        continue_final_message=continues_final_message(
            body.add_generation_prompt, body.continue_final_message
        ),
    )
