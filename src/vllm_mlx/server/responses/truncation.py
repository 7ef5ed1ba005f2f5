"""`truncation: auto`: a conversation that is too long for the model loses its oldest turns."""

from __future__ import annotations

import msgspec

from vllm_mlx.core.errors import ContextOverflow
from vllm_mlx.core.messages import Message, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.service.port import ModelService

_RESERVED_SHARE = 8
"""Of the context, one part in so many is left for the answer where the request does not say how much."""


async def fitted(
    service: ModelService, model: str, chat: ChatInput, max_output_tokens: int | None
) -> ChatInput:
    """The conversation with as many of its newest turns as leave room for the answer.

    What stands at its head for system or developer stays, and so does the last turn; no result of a tool is
    kept without its call. If even that is too long it is returned all the same: the service says so.
    """
    if await _fits(service, model, chat, max_output_tokens):
        return chat
    cuts = _cuts(chat.messages)
    low, high = 0, len(cuts)
    while low < high:
        middle = (low + high) // 2
        if await _fits(service, model, _from(chat, cuts[middle]), max_output_tokens):
            high = middle
        else:
            low = middle + 1
    return _from(chat, cuts[min(low, len(cuts) - 1)]) if cuts else chat


async def _fits(service: ModelService, model: str, chat: ChatInput, max_output_tokens: int | None) -> bool:
    try:
        prompt_tokens = len(await service.tokenize(model, chat))
    except ContextOverflow:
        return False
    context = service.model(model).max_model_len  # known by now: the model had to be there to tokenize
    if context is None:
        return True
    reserved = min(max_output_tokens or context // _RESERVED_SHARE, context // 2)
    return prompt_tokens + max(1, reserved) <= context


def _head(messages: tuple[Message, ...]) -> int:
    """How many turns at the beginning are instructions."""
    return 1 if messages[0].role in ("system", "developer") else 0


def _cuts(messages: tuple[Message, ...]) -> list[int]:
    """Where the kept turns may begin, the longest rest first."""
    parts = [part for message in messages for part in message.parts]
    answered = {part.call_id for part in parts if isinstance(part, ToolResult)}
    cuts: list[int] = []
    waiting: set[str] = set()
    head = _head(messages)
    for i, message in enumerate(messages):
        if i > head and not waiting:
            cuts.append(i)
        for part in message.parts:
            if isinstance(part, ToolCall) and part.id in answered:
                waiting.add(part.id)
            elif isinstance(part, ToolResult):
                waiting.discard(part.call_id)
    return cuts


def _from(chat: ChatInput, cut: int) -> ChatInput:
    messages = chat.messages[: _head(chat.messages)] + chat.messages[cut:]
    return msgspec.structs.replace(chat, messages=messages)
