"""What the MCP routes answer: servers, tools, and what a tool gave."""

from __future__ import annotations

from typing import Any

import msgspec

from vllm_mlx.mcp.tools import ServerHealth
from vllm_mlx.server.docs import AnswerTypes


class ServerList(msgspec.Struct, frozen=True):
    """The configured servers."""

    servers: list[ServerHealth]


class Tool(msgspec.Struct, frozen=True):
    """A tool under the name that models and clients use; `parameters` is a JSON Schema.

    `approved` says that it may run because a model asked.
    """

    name: str
    description: str
    server: str
    parameters: dict[str, Any]
    read_only: bool
    approved: bool


class ToolList(msgspec.Struct, frozen=True):
    """The tools of servers that are ready."""

    tools: list[Tool]
    count: int


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave; `error_message` repeats the content where the tool itself failed."""

    tool_name: str
    content: str
    structured_content: Any
    is_error: bool
    error_message: str | None
    truncated: bool
    duration_ms: float


ANSWERS = AnswerTypes("Mcp", ServerList, ToolList, Execution)

to_json = msgspec.json.Encoder().encode
