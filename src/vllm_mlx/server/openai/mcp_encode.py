"""Calls that this server itself ran, as chat completions show them: `mcp_calls`, an extension of ours."""

from __future__ import annotations

import msgspec

from vllm_mlx.core.events import ToolRunFinished, ToolRunStarted


class McpCallPiece(msgspec.Struct, omit_defaults=True):
    """A call: when it begins id, server, name and arguments; when it is done the rest.

    No key comes twice for one `index`, so that clients which merge deltas get whole calls. They must not
    stand among `tool_calls`, which ask the client to act.
    """

    index: int
    id: str | None = None
    server: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: str | None = None
    is_error: bool | None = None
    truncated: bool | None = None
    duration_ms: float | None = None


def mcp_piece(event: ToolRunStarted | ToolRunFinished) -> McpCallPiece:
    """The piece of one event."""
    if isinstance(event, ToolRunStarted):
        return McpCallPiece(event.index, event.id, event.server, event.name, event.arguments)
    return McpCallPiece(
        event.index,
        content=event.text,
        is_error=event.is_error,
        truncated=event.truncated,
        duration_ms=round(event.duration_ms, 3),
    )
