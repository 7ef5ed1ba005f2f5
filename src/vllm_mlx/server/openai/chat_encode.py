"""Events to chat completion chunks; a whole answer is the same chunks, folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

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
    ToolRunLimit,
    ToolRunsStopped,
    ToolRunStarted,
)
from vllm_mlx.server.logprobs import Logprob, wire_logprobs
from vllm_mlx.server.openai import wire
from vllm_mlx.server.openai.envelope import Envelope, Framer, UsageChunk, to_json
from vllm_mlx.server.openai.wire import Delta, Function, McpCallPiece, ToolCallPiece


class ChoiceChunk(msgspec.Struct):
    """A piece of one choice."""

    index: int
    delta: Delta
    logprobs: list[Logprob] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None


Chunk = ChoiceChunk | UsageChunk


class ChatEncoder:
    """Encodes the events of one request, each by itself.

    Args:
        logprobs: the request asked for them.
        parallel_tool_calls: when false, only the first call of a choice is shown.
    """

    def __init__(self, *, logprobs: bool = False, parallel_tool_calls: bool = True) -> None:
        self._logprobs = logprobs
        self._parallel = parallel_tool_calls

    def encode(self, event: ServedEvent) -> Chunk | None:
        """The chunk of an event; None if OpenAI's stream has none for it."""
        match event:
            case TextDelta():
                return self._piece(event, Delta(content=event.text))
            case ReasoningDelta():
                return self._piece(event, Delta(reasoning=event.text, reasoning_content=event.text))
            case ToolCallStart():
                call = ToolCallPiece(event.index, Function(event.name, ""), event.id, "function")
                return self._call(event, call)
            case ToolCallDelta():
                return self._call(event, ToolCallPiece(event.index, Function(arguments=event.arguments)))
            case Started():
                return ChoiceChunk(event.choice, Delta(role="assistant", content=""))
            case Finished():
                return ChoiceChunk(
                    event.choice, Delta(), finish_reason=event.reason, stop_reason=event.stop_sequence
                )
            case Completed():
                return UsageChunk(event.usage, event.timings)
            case ToolRunStarted() | ToolRunFinished() | ToolRunsStopped():
                return ChoiceChunk(event.choice, _run_delta(event))

    def _piece(self, event: TextDelta | ReasoningDelta, delta: Delta) -> ChoiceChunk | None:
        logprobs = wire_logprobs(event.logprobs) if self._logprobs else None
        if not event.text and not logprobs:
            return None
        return ChoiceChunk(event.choice, delta, logprobs)

    def _call(self, event: ToolCallStart | ToolCallDelta, piece: ToolCallPiece) -> ChoiceChunk | None:
        if event.index > 0 and not self._parallel:
            return None
        return ChoiceChunk(event.choice, Delta(tool_calls=(piece,)))


def _run_delta(event: ToolRunStarted | ToolRunFinished | ToolRunsStopped) -> Delta:
    if isinstance(event, ToolRunsStopped):
        return Delta(mcp_stopped=event.limit)
    return Delta(mcp_calls=(_run_piece(event),))


def _run_piece(event: ToolRunStarted | ToolRunFinished) -> McpCallPiece:
    if isinstance(event, ToolRunStarted):
        return McpCallPiece(event.index, event.id, event.server, event.name, event.arguments)
    return McpCallPiece(
        event.index,
        content=event.text,
        is_error=event.is_error,
        truncated=event.truncated,
        duration_ms=round(event.duration_ms, 3),
    )


class ChatStream:
    """Chunks of one answer as frames of server-sent events."""

    def __init__(self, envelope: Envelope, *, usage: bool) -> None:
        self._framer = Framer(envelope, "chat.completion.chunk", usage=usage)

    def frame(self, chunk: Chunk | None) -> bytes:
        """The frame of a chunk; empty for none."""
        if chunk is None:
            return b""
        if isinstance(chunk, UsageChunk):
            return self._framer.usage(chunk)
        parts = [b'{"index":%d,"delta":' % chunk.index, to_json(chunk.delta), b',"logprobs":']
        if chunk.logprobs:
            parts += (b'{"content":', to_json(chunk.logprobs), b',"refusal":null}')
        else:
            parts.append(b"null")
        if chunk.finish_reason is None:
            parts.append(b',"finish_reason":null}')
        else:
            parts.append(
                b',"finish_reason":%b,"stop_reason":%b}'
                % (to_json(chunk.finish_reason), to_json(chunk.stop_reason))
            )
        return self._framer.choice(b"".join(parts))


class _Choice:
    """One choice, as far as it has come."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, tuple[ToolCallPiece, list[str]]] = {}
        self._mcp_calls: dict[int, dict[str, Any]] = {}
        self._mcp_stopped: ToolRunLimit | None = None
        self._logprobs: list[Logprob] | None = None
        self._finish_reason: FinishReason | None = None
        self._stop_reason: str | None = None

    def add(self, chunk: ChoiceChunk) -> None:
        delta = chunk.delta
        self._content.append(delta.content or "")
        self._reasoning.append(delta.reasoning or "")
        for piece in delta.tool_calls or ():
            _, arguments = self._calls.setdefault(piece.index, (piece, []))
            arguments.append(piece.function.arguments or "")
        for run in delta.mcp_calls or ():
            self._mcp_calls.setdefault(run.index, {}).update(msgspec.to_builtins(run))
        self._mcp_stopped = delta.mcp_stopped or self._mcp_stopped
        if chunk.logprobs is not None:
            self._logprobs = (self._logprobs or []) + chunk.logprobs
        if chunk.finish_reason is not None:
            self._finish_reason, self._stop_reason = chunk.finish_reason, chunk.stop_reason

    def whole(self) -> wire.Choice:
        return wire.Choice(
            index=self._index,
            message=self._message(),
            logprobs=None if self._logprobs is None else wire.ChoiceLogprobs(self._logprobs),
            finish_reason=self._finish_reason,
            stop_reason=self._stop_reason,
        )

    def _message(self) -> wire.ChatCompletionMessage:
        content, thought = "".join(self._content), "".join(self._reasoning) or None
        calls = [_call(*self._calls[index]) for index in sorted(self._calls)]
        runs = [McpCallPiece(**run) for _, run in sorted(self._mcp_calls.items())]
        return wire.ChatCompletionMessage(
            content=content if content or not calls else None,
            reasoning=thought,
            reasoning_content=thought,
            tool_calls=calls or UNSET,
            mcp_calls=runs or UNSET,
            mcp_stopped=self._mcp_stopped or UNSET,
        )


def _call(first: ToolCallPiece, arguments: Sequence[str]) -> wire.ToolCall:
    function = wire.CalledFunction(first.function.name or "", "".join(arguments))
    return wire.ToolCall(first.id or "", "function", function)


class ChatAnswer:
    """Chunks of one answer, folded into the body of a whole answer."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._choices: dict[int, _Choice] = {}
        self._usage: UsageChunk | None = None

    def add(self, chunk: Chunk | None) -> None:
        """Take the next chunk."""
        if isinstance(chunk, UsageChunk):
            self._usage = chunk
        elif chunk is not None:
            self._choices.setdefault(chunk.index, _Choice(chunk.index)).add(chunk)

    def body(self) -> bytes:
        """The answer as JSON, choices in order."""
        choices = [choice.whole() for _, choice in sorted(self._choices.items())]
        account = self._usage.fields() if self._usage else {}
        fields = self._envelope.fields("chat.completion") | account
        return to_json(wire.ChatCompletion(choices=choices, **fields))
