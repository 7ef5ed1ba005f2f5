"""What GET /v1/status answers, as far as it is known before the model, its engine and the tools are asked."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from vllm_mlx.core.stats import EngineStats, ModelPath
from vllm_mlx.mcp.tools import ServerState
from vllm_mlx.server.docs import AnswerTypes


class ChosenParser(msgspec.Struct, frozen=True):
    """How output is read, and who chose that."""

    name: str
    chosen_by: str


class EngineState(msgspec.Struct, frozen=True):
    """Whether the engine serves; `pid` and `restarts` are those of its own process, if it has one."""

    state: Literal["ready", "restarting", "stopped"]
    detail: str
    pid: int | None
    restarts: int


class ToolServer(msgspec.Struct, frozen=True):
    """An MCP server; `running` counts the calls at work."""

    state: ServerState
    tools: int
    restarts: int
    running: int
    error: str | None


class ToolServers(msgspec.Struct, frozen=True):
    """The MCP servers by name."""

    servers: dict[str, ToolServer]


class ToolCallCounts(msgspec.Struct, frozen=True):
    """Calls that the model made, by whether they fit the tools of their requests."""

    valid: int
    invalid_arguments: int
    unknown_tool: int
    cut_off: int
    unchecked: int


class Status(msgspec.Struct, frozen=True):
    """What the server is doing; nothing of a model that is not loaded, or of tools where there are none."""

    status: Literal["loading", "ready", "restarting", "failed", "stopping"]
    detail: str
    model: str
    uptime_s: float
    active_requests: int
    max_model_len: int | UnsetType = UNSET
    max_num_seqs: int | UnsetType = UNSET
    kv_capacity_tokens: int | UnsetType | None = UNSET
    output_format: str | UnsetType = UNSET
    tool_call_parser: ChosenParser | UnsetType = UNSET
    reasoning_parser: ChosenParser | UnsetType = UNSET
    tool_calls: ToolCallCounts | UnsetType = UNSET
    runner: ModelPath | UnsetType = UNSET
    engine: EngineStats | UnsetType = UNSET
    engine_health: EngineState | UnsetType = UNSET
    mcp: ToolServers | UnsetType = UNSET


ANSWERS = AnswerTypes("", Status)
