"""What goes to an Anthropic client: messages, their blocks, and the events that build them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from vllm_mlx.server.docs import AnswerTypes

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class _Tagged(msgspec.Struct, frozen=True, tag_field="type"):
    """Says in `type` what it is."""


class ThinkingTokens(msgspec.Struct, frozen=True):
    """Which part of the output was thought."""

    thinking_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a message; the three kinds of input add up to the prompt.

    Every prompt is cached, whether marked or not: what was read of it is what the cache held. What was
    computed anew counts as written to the cache up to the last `cache_control` mark, and else as plain input.
    """

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: ThinkingTokens


class TextBlock(_Tagged, frozen=True, tag="text"):
    """A piece of the answer."""

    text: str = ""


class ThinkingBlock(_Tagged, frozen=True, tag="thinking"):
    """A thought; the signature comes back with it in the next turn."""

    thinking: str = ""
    signature: str = ""


class ToolUseBlock(_Tagged, frozen=True, tag="tool_use"):
    """A call of a client's tool."""

    id: str
    name: str
    input: dict[str, Any] = msgspec.field(default_factory=dict)


class McpToolUseBlock(_Tagged, frozen=True, tag="mcp_tool_use"):
    """A call of a tool that this server runs itself."""

    id: str
    name: str
    server_name: str
    input: dict[str, Any] = msgspec.field(default_factory=dict)


class McpToolResultBlock(_Tagged, frozen=True, tag="mcp_tool_result"):
    """What that call brought."""

    tool_use_id: str
    content: tuple[TextBlock, ...]
    is_error: bool


Block = TextBlock | ThinkingBlock | ToolUseBlock | McpToolUseBlock | McpToolResultBlock


class TextPiece(_Tagged, frozen=True, tag="text_delta"):
    """More of a text block."""

    text: str


class ThinkingPiece(_Tagged, frozen=True, tag="thinking_delta"):
    """More of a thinking block."""

    thinking: str


class SignaturePiece(_Tagged, frozen=True, tag="signature_delta"):
    """The signature of a thinking block, whole."""

    signature: str


class InputPiece(_Tagged, frozen=True, tag="input_json_delta"):
    """More of a tool call's input, as JSON text."""

    partial_json: str


Piece = TextPiece | ThinkingPiece | SignaturePiece | InputPiece


class Message(_Tagged, frozen=True, tag="message"):
    """An answer."""

    id: str
    model: str
    usage: Usage
    content: tuple[Block, ...] = ()
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    role: Literal["assistant"] = "assistant"


class Stop(msgspec.Struct, frozen=True):
    """Why the answer ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageStart(_Tagged, frozen=True, tag="message_start"):
    """The first event: a message without content."""

    message: Message


class Ping(_Tagged, frozen=True, tag="ping"):
    """A sign of life."""


class BlockStart(_Tagged, frozen=True, tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: Block


class BlockDelta(_Tagged, frozen=True, tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: Piece


class BlockStop(_Tagged, frozen=True, tag="content_block_stop"):
    """A block is whole."""

    index: int


class MessageDelta(_Tagged, frozen=True, tag="message_delta"):
    """How it ended, and the account."""

    delta: Stop
    usage: Usage


class MessageStop(_Tagged, frozen=True, tag="message_stop"):
    """The last event."""


Event = MessageStart | Ping | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop


class TokenCount(msgspec.Struct, frozen=True):
    """How long a prompt is."""

    input_tokens: int


ANSWERS = AnswerTypes("Anthropic", Message, Event, TokenCount)

to_json = msgspec.json.Encoder().encode
