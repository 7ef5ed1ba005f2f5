"""A tool's result as text for a model: what is no text is described, not dumped."""

from __future__ import annotations

from typing import Any

import msgspec
from mcp import types as wire

from vllm_mlx.mcp.tools import ToolOutcome, cut

_MAX_SHOWN = 200


def outcome(result: wire.CallToolResult, max_bytes: int) -> ToolOutcome:
    """The result, with at most so many bytes of text, and as many of JSON."""
    structured = _json(result.structured_content, max_bytes)
    text = "\n".join(_text(block) for block in result.content)
    if not result.content and structured is not None:
        text = structured.decode()
    text, truncated = cut(text, max_bytes)
    return ToolOutcome(
        text=text,
        is_error=bool(result.is_error),
        truncated=truncated,
        structured=None if structured is None else result.structured_content,
    )


def _json(value: Any, max_bytes: int) -> bytes | None:
    """The value as JSON; None where there is none, it is too long, or it is no JSON after all."""
    if value is None:
        return None
    try:
        raw = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return raw if len(raw) <= max_bytes else None


def _text(block: wire.ContentBlock) -> str:
    match block:
        case wire.TextContent():
            return block.text
        case wire.ImageContent() | wire.AudioContent():
            return f"[{block.type}, {_short(block.mime_type)}, {_decoded_bytes(block.data)} bytes]"
        case wire.ResourceLink():
            return f"[resource {_short(block.name)}: {_short(str(block.uri))}]"
        case wire.EmbeddedResource(resource=wire.TextResourceContents() as resource):
            return resource.text
        case wire.EmbeddedResource(resource=wire.BlobResourceContents() as resource):
            kind = _short(resource.mime_type or "of unknown type")
            return f"[resource {_short(str(resource.uri))}, {kind}, {_decoded_bytes(resource.blob)} bytes]"
    return "[content of an unknown kind]"


def _decoded_bytes(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
