"""System prompt and turns of a messages request, to a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

import msgspec

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Message, Part, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.server.anthropic.messages_schema import InputBlock, InputMessage, TextPart
from vllm_mlx.server.errors import shorten
from vllm_mlx.server.signatures import unseal

T = TypeVar("T")

_TEXT_ONLY = "this model takes text only"
_MEDIA = frozenset({"image", "document"})
_BETWEEN = "\n\n"
"""Blocks are paragraphs of their own; templates would glue them together."""

_BILLING = "x-anthropic-billing-header:"
"""Claude Code opens its system prompt with a line for Anthropic's accounts. It differs each time, so that no
prefix of the prompt could be used again, and tells the model nothing."""


def decode_turns(
    system: str | Sequence[TextPart] | None, messages: Sequence[InputMessage]
) -> tuple[Message, ...]:
    """The conversation. Consecutive turns of one role are one turn, as Anthropic has it.

    Raises:
        InvalidRequest: no turn at all, content other than text, or tool results that answer no call.
    """
    if not messages:
        raise wrong("messages", "must not be empty")
    turns: list[Message] = []
    prompt = _system_prompt(system)
    if prompt:
        turns.append(Message("system", (Text(prompt),)))
    calls = _Calls()
    numbered = enumerate(messages)
    for role, group in groupby(numbered, key=lambda item: item[1].role):
        parts: list[Part] = []
        for i, message in group:
            parts += _parts(message, f"messages[{i}]", calls)
        turns.append(Message(role, tuple(parts if role == "assistant" else _paragraphs(parts))))
    return _without_empty_prefill(turns, calls)


def _without_empty_prefill(turns: list[Message], calls: _Calls) -> tuple[Message, ...]:
    last = turns[-1]
    if last.role != "assistant":
        return tuple(turns)
    if any(isinstance(part, ToolCall) for part in last.parts):
        raise wrong("messages", "end with a tool_use block, whose tool_result is missing")
    if any(part.text for part in last.parts if isinstance(part, Text | Reasoning)):
        return tuple(turns)
    if len(turns) == 1:
        raise wrong("messages", "have no content")
    return tuple(turns[:-1])


class _Calls:
    """Tool calls met so far: each id once, and each result for a call."""

    def __init__(self) -> None:
        self._open: dict[str, bool] = {}

    def made(self, call_id: str, where: str) -> None:
        if call_id in self._open:
            raise wrong(f"{where}.id", "is that of an earlier tool_use block")
        self._open[call_id] = True

    def answered(self, call_id: str, where: str) -> None:
        if call_id not in self._open:
            raise wrong(f"{where}.tool_use_id", "is that of no earlier tool_use block")
        if not self._open[call_id]:
            raise wrong(f"{where}.tool_use_id", "has its tool_result already")
        self._open[call_id] = False


def _system_prompt(system: str | Sequence[TextPart] | None) -> str:
    if system is None:
        return ""
    blocks = [system] if isinstance(system, str) else _texts(system, "system")
    return _BETWEEN.join(filter(None, map(_without_billing, blocks)))


def _without_billing(text: str) -> str:
    return text.partition("\n")[2].lstrip("\n") if text.startswith(_BILLING) else text


def _parts(message: InputMessage, where: str, calls: _Calls) -> list[Part]:
    if isinstance(message.content, str):
        return [Text(message.content)]
    decode = {"user": _user_part, "assistant": _assistant_part, "system": _system_part}[message.role]
    found = (decode(block, f"{where}.content[{i}]", calls) for i, block in enumerate(message.content))
    return [part for part in found if part is not None]


def _user_part(block: InputBlock, where: str, calls: _Calls) -> Part | None:
    if block.type == "tool_result":
        call_id = _given(block.tool_use_id, f"{where}.tool_use_id")
        calls.answered(call_id, where)
        return ToolResult(call_id, _result_text(block, where))
    return _system_part(block, where, calls)


def _assistant_part(block: InputBlock, where: str, calls: _Calls) -> Part | None:
    match block.type:
        case "tool_use":
            call_id = _given(block.id, f"{where}.id")
            calls.made(call_id, where)
            arguments = msgspec.json.encode(_given(block.input, f"{where}.input")).decode()
            return ToolCall(call_id, _given(block.name, f"{where}.name"), arguments)
        case "thinking":
            thought = block.thinking or unseal(block.signature or "")
            return Reasoning(thought) if thought else None
        case "redacted_thinking":
            return None  # sealed by whoever wrote it
        case _:
            return _system_part(block, where, calls)


def _system_part(block: InputBlock, where: str, calls: _Calls) -> Part | None:
    return Text(_text(block, where))


def _result_text(block: InputBlock, where: str) -> str:
    content = block.content or ""
    text = content if isinstance(content, str) else _BETWEEN.join(_texts(content, f"{where}.content"))
    # Chat templates have no place for the mark, so it is said in words.
    return f"Error: {text}" if block.is_error else text


def _texts(parts: Sequence[TextPart], where: str) -> list[str]:
    return [_text(part, f"{where}[{i}]") for i, part in enumerate(parts)]


def _text(part: TextPart | InputBlock, where: str) -> str:
    if part.type in _MEDIA:
        raise wrong(f"{where}.type", f"is {part.type!r}, but {_TEXT_ONLY}")
    if part.type != "text":
        raise wrong(f"{where}.type", f"{shorten(part.type)!r} is not supported here")
    if part.text is None:
        raise wrong(f"{where}.text", "is missing")
    return part.text


def _paragraphs(parts: list[Part]) -> list[Part]:
    """Neighbouring texts as one, with space between them."""
    joined: list[Part] = []
    for part in parts:
        if joined and isinstance(part, Text) and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].text + _BETWEEN + part.text)
        else:
            joined.append(part)
    return joined


def _given(value: T | None, field: str) -> T:
    if value is None or value == "":
        raise wrong(field, "is missing")
    return value


def wrong(field: str, reason: str) -> InvalidRequest:
    """The error about a field."""
    return InvalidRequest(f"{field} {reason}", param=field)
