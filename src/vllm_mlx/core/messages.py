"""A conversation, free of any vendor's wire format."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """What the assistant thought before it answered."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """A call the assistant made. `arguments` is the JSON text as the model or the client wrote it."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """What a tool answered to the call with that id."""

    call_id: str
    text: str
    name: str | None = None


Part = Text | Reasoning | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True):
    """One turn: who speaks, and the parts in order."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None

    def text(self) -> str:
        """All plain text of the turn, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))
