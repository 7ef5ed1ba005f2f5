"""One content block of a messages request, to a part of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Part, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.naming import shorten
from vllm_mlx.server.anthropic.messages_schema import InputBlock, Source
from vllm_mlx.server.media import TEXT_ONLY, placeholder
from vllm_mlx.server.signatures import unseal

T = TypeVar("T")

_TEXT_SOURCES = ("text", "content")

BETWEEN = "\n\n"
"""Blocks are paragraphs of their own; templates would glue them together."""


def user_part(block: InputBlock, where: str) -> Part:
    """A block of a user's turn.

    Raises:
        InvalidRequest: of a kind that cannot stand here, or with a field missing.
    """
    if block.type != "tool_result":
        return Text(_content_text(block, where))
    return _tool_result(block, where)


def assistant_part(block: InputBlock, where: str) -> Part | None:
    """A block of an earlier answer; None for one that tells the model nothing.

    Raises:
        InvalidRequest: as `user_part`.
    """
    match block.type:
        case "mcp_tool_result":
            return _tool_result(block, where)
        case "tool_use" | "mcp_tool_use":
            call_id = given(block.id, f"{where}.id")
            arguments = msgspec.json.encode(given(block.input, f"{where}.input")).decode()
            return ToolCall(call_id, given(block.name, f"{where}.name"), arguments)
        case "thinking":
            thought = block.thinking or unseal(block.signature or "")
            return Reasoning(thought) if thought else None
        case "redacted_thinking":
            return None  # sealed by whoever wrote it
        case _:
            return Text(plain_text(block, where))


def _tool_result(block: InputBlock, where: str) -> ToolResult:
    call_id = given(block.tool_use_id, f"{where}.tool_use_id")
    text = _result(block.content or "", f"{where}.content")
    # Chat templates have no place for the mark, so it is said in words.
    return ToolResult(call_id, f"Error: {text}" if block.is_error else text)


def plain_text(block: InputBlock, where: str) -> str:
    """The text of a block that must be text.

    Raises:
        InvalidRequest: it is something else.
    """
    if block.type in ("image", "document"):
        raise wrong(f"{where}.type", f"is {block.type!r}, but {TEXT_ONLY}")
    if block.type != "text":
        raise wrong(f"{where}.type", f"{shorten(block.type)!r} is not supported here")
    if block.text is None:
        raise wrong(f"{where}.text", "is missing")
    return block.text


def _content_text(block: InputBlock, where: str) -> str:
    match block.type:
        case "document":
            return _document(block, where)
        case "search_result":
            return _search_result(block, where)
        case _:
            return plain_text(block, where)


def _result(content: str | Sequence[InputBlock], where: str) -> str:
    if isinstance(content, str):
        return content
    return BETWEEN.join(
        placeholder(block.type) if _is_media(block) else _content_text(block, f"{where}[{i}]")
        for i, block in enumerate(content)
    )


def _is_media(block: InputBlock) -> bool:
    if block.type == "document":
        return isinstance(block.source, Source) and block.source.type not in _TEXT_SOURCES
    return block.type == "image"


def _texts(content: str | Sequence[InputBlock] | None, where: str) -> str:
    if content is None:
        raise wrong(where, "is missing")
    if isinstance(content, str):
        return content
    return BETWEEN.join(_content_text(block, f"{where}[{i}]") for i, block in enumerate(content))


def _document(block: InputBlock, where: str) -> str:
    _refuse_citations(block, where)
    source = block.source
    if not isinstance(source, Source):
        raise wrong(f"{where}.source", "must be an object" if source else "is missing")
    if source.type == "text":
        text = _texts(source.data, f"{where}.source.data")
    elif source.type == "content":
        text = _texts(source.content, f"{where}.source.content")
    else:
        kind = shorten(source.type)
        raise wrong(f"{where}.source.type", f"is {kind!r}; a document must be given as text here")
    return _tagged("document", text, title=block.title, context=block.context)


def _search_result(block: InputBlock, where: str) -> str:
    _refuse_citations(block, where)
    if isinstance(block.source, Source):
        raise wrong(f"{where}.source", "of a search result must be a string")
    text = _texts(block.content, f"{where}.content")
    return _tagged("search_result", text, title=block.title, source=block.source)


def _refuse_citations(block: InputBlock, where: str) -> None:
    if block.citations is not None and block.citations.enabled:
        raise wrong(f"{where}.citations", "are not supported: this server cannot say where an answer is from")


def _tagged(tag: str, text: str, **about: str | None) -> str:
    """A text that is not the speaker's own, in tags that models know from the web."""
    lines = [f"<{name}>{value}</{name}>" for name, value in about.items() if value]
    return "\n".join([f"<{tag}>", *lines, text, f"</{tag}>"])


def given(value: T | None, field: str) -> T:
    """A field that must be there and not be empty text."""
    if value is None or value == "":
        raise wrong(field, "is missing")
    return value


def wrong(field: str, reason: str) -> InvalidRequest:
    """The error about a field."""
    return InvalidRequest(f"{field} {reason}", param=field)
