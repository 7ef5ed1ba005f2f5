"""Events to the events of a message stream; a whole message is the same events, folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from vllm_mlx.core.chance import fresh_hex
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.events import (
    Completed,
    Finished,
    FinishReason,
    ReasoningDelta,
    ServedEvent,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    ToolRunFinished,
    ToolRunsStopped,
    ToolRunStarted,
)
from vllm_mlx.core.events import Usage as CoreUsage
from vllm_mlx.core.structure import check_structure
from vllm_mlx.server import sse
from vllm_mlx.server.anthropic import wire
from vllm_mlx.server.signatures import digest, seal

_STOP_REASONS: dict[FinishReason, wire.StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "abort": "end_turn",
}


class MessagesEncoder:
    """Encodes the events of one request, in order.

    Args:
        model: the served model's id.
        max_tokens: what the request allows; an answer cut before it met the end of the context.
        show_thinking: when false, a thinking block is empty and its signature carries the thought.
        parallel_tool_calls: when false, only the first call is shown.
    """

    def __init__(
        self, model: str, max_tokens: int, *, show_thinking: bool = True, parallel_tool_calls: bool = True
    ) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._show_thinking = show_thinking
        self._parallel = parallel_tool_calls
        self._index = -1
        self._open: type[wire.Block] | None = None
        self._thought: list[str] = []
        self._finished: Finished | None = None
        self._runs: dict[int, str] = {}

    def encode(self, event: ServedEvent) -> Sequence[wire.Event]:
        """The events of a message stream that tell this one."""
        match event:
            case TextDelta(text=text):
                return [*self._enter(wire.TextBlock), self._piece(wire.TextPiece(text))] if text else ()
            case ReasoningDelta(text=text):
                return self._think(text) if text else ()
            case ToolCallStart():
                return self._call(event)
            case ToolCallDelta():
                return () if self._hidden(event) else [self._piece(wire.InputPiece(event.arguments))]
            case Started():
                return [wire.MessageStart(self._message(event)), wire.Ping()]
            case Finished():
                self._finished = event
                return self._close()
            case Completed():
                return [wire.MessageDelta(self._stop(event.usage), _usage(event.usage)), wire.MessageStop()]
            case ToolRunStarted() | ToolRunFinished() | ToolRunsStopped():
                return self._run(event)

    def _message(self, event: Started) -> wire.Message:
        usage = _usage(
            CoreUsage(
                event.prompt_tokens,
                0,
                cached_tokens=event.cached_tokens,
                marked_tokens=event.marked_tokens,
            )
        )
        return wire.Message(id=f"msg_{fresh_hex()}", model=self._model, usage=usage)

    def _stop(self, usage: CoreUsage) -> wire.Stop:
        if self._finished is None:
            raise RuntimeError("the events of a request must hold Finished before Completed")
        reason, sequence = _STOP_REASONS[self._finished.reason], self._finished.stop_sequence
        if reason == "end_turn" and sequence is not None:
            return wire.Stop("stop_sequence", sequence)
        if reason == "max_tokens" and usage.completion_tokens < self._max_tokens:
            return wire.Stop("model_context_window_exceeded", None)
        return wire.Stop(reason, None)

    def _think(self, text: str) -> list[wire.Event]:
        events = self._enter(wire.ThinkingBlock)
        self._thought.append(text)
        if self._show_thinking:
            events.append(self._piece(wire.ThinkingPiece(text)))
        return events

    def _call(self, event: ToolCallStart) -> Sequence[wire.Event]:
        if self._hidden(event):
            return ()
        events = self._close()
        events.append(self._start(wire.ToolUseBlock(event.id, event.name)))
        return events

    def _run(self, event: ToolRunStarted | ToolRunFinished | ToolRunsStopped) -> Sequence[wire.Event]:
        """A call is whole at once; its result is a block of its own, and others may come between."""
        if isinstance(event, ToolRunsStopped):
            return ()  # the calls that follow say so
        events = self._close()
        if isinstance(event, ToolRunFinished):
            content = (wire.TextBlock(event.text),)
            block = wire.McpToolResultBlock(self._runs.pop(event.index), content, event.is_error)
            return [*events, self._start(block), *self._close()]
        self._runs[event.index] = event.id
        events.append(self._start(wire.McpToolUseBlock(event.id, event.name, event.server)))
        arguments = wire.to_json(_object(event.arguments)).decode()
        return [*events, self._piece(wire.InputPiece(arguments)), *self._close()]

    def _hidden(self, event: ToolCallStart | ToolCallDelta) -> bool:
        return event.index > 0 and not self._parallel

    def _enter(self, kind: type[wire.TextBlock] | type[wire.ThinkingBlock]) -> list[wire.Event]:
        """Be in a block of this kind: the open one, or a new one."""
        if self._open is kind:
            return []
        events = self._close()
        events.append(self._start(kind()))
        return events

    def _start(self, block: wire.Block) -> wire.BlockStart:
        self._index += 1
        self._open = type(block)
        return wire.BlockStart(self._index, block)

    def _piece(self, piece: wire.Piece) -> wire.BlockDelta:
        return wire.BlockDelta(self._index, piece)

    def _close(self) -> list[wire.Event]:
        if self._open is None:
            return []
        events: list[wire.Event] = []
        if self._open is wire.ThinkingBlock:
            thought = "".join(self._thought)
            self._thought.clear()
            signature = digest(thought) if self._show_thinking else seal(thought)
            events.append(self._piece(wire.SignaturePiece(signature)))
        self._open = None
        events.append(wire.BlockStop(self._index))
        return events


def _usage(usage: CoreUsage) -> wire.Usage:
    created = max(0, usage.marked_tokens - usage.cached_tokens)
    return wire.Usage(
        input_tokens=usage.prompt_tokens - usage.cached_tokens - created,
        cache_creation_input_tokens=created,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
        output_tokens_details=wire.ThinkingTokens(usage.reasoning_tokens),
    )


def frames(events: Sequence[wire.Event]) -> bytes:
    """The events as frames of server-sent events, joined."""
    return b"".join([_HEADS[type(event)] + wire.to_json(event) + sse.END for event in events])


_HEADS = {
    kind: b"event: " + str(kind.__struct_config__.tag).encode() + b"\n" + sse.DATA
    for kind in get_args(wire.Event)
}

PING = frames([wire.Ping()])


class MessageAnswer:
    """The events of one message, folded into the message."""

    def __init__(self) -> None:
        self._start: wire.Message | None = None
        self._blocks: list[tuple[wire.Block, list[wire.Piece]]] = []
        self._end: wire.MessageDelta | None = None

    def add(self, events: Sequence[wire.Event]) -> None:
        """Take the next events."""
        for event in events:
            match event:
                case wire.MessageStart():
                    self._start = event.message
                case wire.BlockStart():
                    self._blocks.append((event.content_block, []))
                case wire.BlockDelta():
                    self._blocks[event.index][1].append(event.delta)
                case wire.MessageDelta():
                    self._end = event
                case _:
                    pass

    def body(self) -> bytes:
        """The message as JSON."""
        if self._start is None or self._end is None:
            raise RuntimeError("a message must have begun and ended")
        message = msgspec.structs.replace(
            self._start,
            content=tuple(_whole(block, pieces) for block, pieces in self._blocks),
            stop_reason=self._end.delta.stop_reason,
            stop_sequence=self._end.delta.stop_sequence,
            usage=self._end.usage,
        )
        return wire.to_json(message)


def _whole(block: wire.Block, pieces: list[wire.Piece]) -> wire.Block:
    match block:
        case wire.TextBlock():
            return wire.TextBlock(
                "".join(piece.text for piece in pieces if isinstance(piece, wire.TextPiece))
            )
        case wire.ThinkingBlock():
            thought = (piece.thinking for piece in pieces if isinstance(piece, wire.ThinkingPiece))
            signed = (piece.signature for piece in pieces if isinstance(piece, wire.SignaturePiece))
            return wire.ThinkingBlock("".join(thought), "".join(signed))
        case wire.ToolUseBlock() | wire.McpToolUseBlock():
            text = "".join(piece.partial_json for piece in pieces if isinstance(piece, wire.InputPiece))
            return msgspec.structs.replace(block, input=_object(text))
        case wire.McpToolResultBlock():
            return block


def _object(text: str) -> dict[str, Any]:
    """A call's input; empty where the model wrote no JSON, or was cut off, as the stop reason says.

    What is too deep for a request is too deep for an answer: clients send it back.
    """
    written = text.encode("utf-8", "replace")
    try:
        check_structure(written)
        value = msgspec.json.decode(written)
    except (InvalidRequest, msgspec.DecodeError):
        return {}
    return value if isinstance(value, dict) else {}
