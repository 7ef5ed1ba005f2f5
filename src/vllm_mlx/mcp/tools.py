"""What a server offers and what a call brings: tools with names that models can say, and results as text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

MAX_NAME_CHARS = 64
"""Longest name of a function in OpenAI's API."""

SEPARATOR = "__"
_MARK_CHARS = 8
_FEWEST_CHARS = 4
MAX_PREFIX_CHARS = MAX_NAME_CHARS - len(SEPARATOR) - _FEWEST_CHARS - len("_") - _MARK_CHARS
"""Behind a server's name there must be room for the first few characters of any tool's, and its mark."""

_NOT_IN_A_PREFIX = re.compile(r"[^A-Za-z0-9-]+")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")

ServerState = Literal["disabled", "connecting", "ready", "failed", "stopped"]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as its server lists it; `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]
    read_only: bool = False


class RefusedTool(msgspec.Struct, frozen=True):
    """A tool that was listed and cannot be used; `name` is shortened, and "?" where it has none."""

    name: str
    reason: str


class Listing(msgspec.Struct, frozen=True):
    """All that one server listed.

    Attributes:
        tools: those that exist for us.
        refused: those that cannot be used.
        missing: names of the server's entry in the file by which it listed nothing.
    """

    tools: tuple[Tool, ...] = ()
    refused: tuple[RefusedTool, ...] = ()
    missing: tuple[str, ...] = ()


class OfferedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as clients and models see it.

    Attributes:
        name: `server__tool`, unique, of the characters and length that function names may have.
        approved: it may run because the model asked.
    """

    name: str
    server: str
    tool: Tool
    approved: bool


class ToolOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a call brought.

    Attributes:
        text: as the model reads it: texts as they are, other content described.
        is_error: the tool said that it failed.
        truncated: the text was longer than it may be.
        structured: the result as JSON, where the tool gives one and it is not too large.
    """

    text: str
    is_error: bool = False
    truncated: bool = False
    structured: Any = None
    duration_ms: float = 0.0


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How one server does.

    `error` says in words for an operator why it is not ready, and `restarts` how often it was tried again.
    `missing_tools` are names in the file by which the server has no tool.
    """

    name: str
    state: ServerState
    transport: str
    tools_count: int
    error: str | None
    restarts: int
    refused_tools: tuple[RefusedTool, ...]
    missing_tools: tuple[str, ...] = ()


def tool_prefix(server: str) -> str:
    """A server's name as it opens the names of its tools; empty where no character of it can stand there.

    One that is too long ends with a hash of the full one.
    """
    prefix = re.sub(r"_+", "_", _NOT_IN_A_PREFIX.sub("_", server)).strip("_")
    if len(prefix) <= MAX_PREFIX_CHARS:
        return prefix
    mark = _mark(server)
    return prefix[: MAX_PREFIX_CHARS - len(mark)].rstrip("_") + mark


def _mark(name: str) -> str:
    return "_" + hashlib.sha256(name.encode()).hexdigest()[:_MARK_CHARS]


def offered_names(prefix: str, tools: Iterable[Tool]) -> dict[str, Tool]:
    """Each tool under a name of its own, `prefix__tool`.

    Characters that no function name may have become `_`. A name that is too long, or that an earlier tool
    has, ends with a hash of the full one, so that it is the same after every restart.
    """
    named: dict[str, Tool] = {}
    for tool in tools:
        name = prefix + SEPARATOR + _NOT_IN_A_NAME.sub("_", tool.name)
        if len(name) > MAX_NAME_CHARS or name in named:
            mark = _mark(tool.name)
            name = name[: MAX_NAME_CHARS - len(mark)] + mark
        named.setdefault(name, tool)
    return named


def cut(text: str, max_bytes: int) -> tuple[str, bool]:
    """A text cut to so many UTF-8 bytes, with a note where it is; and whether it was longer."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= max_bytes:
        return raw.decode(), False
    note = f"\n[cut: {len(raw)} bytes in all]"
    kept = raw[: max(0, max_bytes - len(note))].decode("utf-8", "ignore")
    return kept + note[: max(0, max_bytes)], True
