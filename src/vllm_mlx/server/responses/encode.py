"""Events to the events of a response stream; a whole answer is the response that the last of them holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET

from vllm_mlx.core.chance import fresh_hex
from vllm_mlx.core.errors import AppError, InvalidRequest, Overloaded
from vllm_mlx.core.events import (
    Completed,
    Finished,
    ReasoningDelta,
    ServedEvent,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    ToolRunFinished,
    ToolRunsStopped,
    ToolRunStarted,
    Usage,
)
from vllm_mlx.core.naming import shorten
from vllm_mlx.server.errors import MESSAGE_CHARS
from vllm_mlx.server.logprobs import wire_logprobs
from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.tools_decode import Toolbox
from vllm_mlx.server.responses.writers import (
    CallWriter,
    McpCallWriter,
    MessageWriter,
    SummaryWriter,
    ThoughtWriter,
    Writer,
)

_THINKING = (ThoughtWriter, SummaryWriter)
W = TypeVar("W", bound=Writer)


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer holds besides text and calls.

    Attributes:
        logprobs: those of the text.
        summaries: thoughts come as their own summaries.
        sealed: thoughts come sealed, too.
        parallel_tool_calls: when false, only the first call is shown.
    """

    logprobs: bool = False
    summaries: bool = False
    sealed: bool = False
    parallel_tool_calls: bool = True


class ResponsesEncoder:
    """Encodes the events of one request, in order.

    Args:
        response: the answer before its first event.
        toolbox: knows the functions' names as the client does.
        shown: what the client asked to see.

    Attributes:
        response: the answer so far; after `Completed`, or a failure, as it stays.
    """

    def __init__(self, response: wire.Response, toolbox: Toolbox, shown: Shown) -> None:
        self.response = response
        self._toolbox = toolbox
        self._shown = shown
        self._begun = False
        self._writer: Writer | None = None
        self._items: list[wire.Item] = []
        self._runs: dict[int, McpCallWriter] = {}
        self._cut = False

    @property
    def whole(self) -> bool:
        """Whether the answer has come to its end, and not by a failure."""
        return self.response.status in ("completed", "incomplete")

    def encode(self, event: ServedEvent) -> Sequence[wire.Event]:
        """The events of a response stream that tell this one."""
        match event:
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return self._think(event.text) if event.text else ()
            case ToolCallStart():
                return self._call(event)
            case ToolCallDelta():
                return self._argue(event)
            case Started():
                return self._begin()
            case Finished():
                self._cut = event.reason == "length"
                return self._close("incomplete" if self._cut else "completed")
            case Completed():
                return [self._end(event.usage)]
            case ToolRunStarted() | ToolRunFinished() | ToolRunsStopped():
                return self._run(event)

    def fail(self, error: AppError) -> Sequence[wire.Event]:
        """The events that end a stream which met an error."""
        events = [*self._begin(), *self._close("incomplete")]
        for run in list(self._runs):
            events += self._end_run(run, status="incomplete")
        self.response = msgspec.structs.replace(
            self.response,
            status="failed",
            output=tuple(self._items),
            error=wire.Failure(_code(error), shorten(error.message, MESSAGE_CHARS)),
        )
        return [*events, wire.Failed(response=self.response)]

    def _begin(self) -> list[wire.Event]:
        if self._begun:
            return []
        self._begun = True
        return [wire.Created(response=self.response), wire.InProgress(response=self.response)]

    def _end(self, usage: Usage) -> wire.Event:
        self.response = msgspec.structs.replace(
            self.response,
            status="incomplete" if self._cut else "completed",
            output=tuple(self._items),
            usage=_usage(usage),
            completed_at=None if self._cut else int(time.time()),
            incomplete_details=wire.IncompleteDetails("max_output_tokens") if self._cut else None,
        )
        if self._cut:
            return wire.Incomplete(response=self.response)
        return wire.Completed(response=self.response)

    def _text(self, event: TextDelta) -> Sequence[wire.Event]:
        logprobs = wire_logprobs(event.logprobs) if self._shown.logprobs else ()
        if not event.text and not logprobs:
            return ()
        writer = self._writer
        if isinstance(writer, MessageWriter):
            return (writer.write(event.text, logprobs),)
        writer, opening = self._open(lambda index: MessageWriter(index, new_id("msg")))
        return [*opening, writer.write(event.text, logprobs)]

    def _think(self, text: str) -> Sequence[wire.Event]:
        writer = self._writer
        if isinstance(writer, _THINKING):
            return (writer.write(text),)
        kind = SummaryWriter if self._shown.summaries else ThoughtWriter
        writer, opening = self._open(lambda index: kind(index, new_id("rs"), sealed=self._shown.sealed))
        return [*opening, writer.write(text)]

    def _call(self, event: ToolCallStart) -> Sequence[wire.Event]:
        if self._hidden(event):
            return ()
        namespace, name = self._toolbox.client_name(event.name)
        call = wire.FunctionCallItem(new_id("fc"), event.id, name, namespace or UNSET)
        _, opening = self._open(lambda index: CallWriter(index, call))
        return opening

    def _argue(self, event: ToolCallDelta) -> Sequence[wire.Event]:
        if self._hidden(event):
            return ()
        if not isinstance(self._writer, CallWriter):
            raise RuntimeError("a call must be started before its arguments come")
        return (self._writer.write(event.arguments),)

    def _run(self, event: ToolRunStarted | ToolRunFinished | ToolRunsStopped) -> Sequence[wire.Event]:
        """Several may run at a time; each has its place in the answer from its beginning."""
        if isinstance(event, ToolRunsStopped):
            return ()  # the calls that follow say so
        if isinstance(event, ToolRunFinished):
            if event.is_error:
                return self._end_run(event.index, status="failed", error=wire.McpError(event.text))
            return self._end_run(event.index, status="completed", output=event.text)
        events = self._close("completed")
        call = wire.McpCallItem(new_id("mcp"), event.name, event.server, event.arguments)
        writer = self._runs[event.index] = McpCallWriter(len(self._items), call)
        self._items.append(call)
        return events + writer.begin()

    def _end_run(self, run: int, **result: object) -> list[wire.Event]:
        writer = self._runs.pop(run)
        item = msgspec.structs.replace(writer.call, **result)
        self._items[writer.index] = item
        return writer.end(item)

    def _hidden(self, event: ToolCallStart | ToolCallDelta) -> bool:
        return event.index > 0 and not self._shown.parallel_tool_calls

    def _open(self, writer_at: Callable[[int], W]) -> tuple[W, list[wire.Event]]:
        """The writer of a new item, and the events up to its first piece."""
        # What another item follows has ended by itself.
        events = self._close("completed")
        writer = writer_at(len(self._items))
        self._writer = writer
        return writer, events + writer.begin()

    def _close(self, status: wire.ItemStatus) -> list[wire.Event]:
        if self._writer is None:
            return []
        events, item = self._writer.end(status)
        self._writer = None
        self._items.append(item)
        return events


def _code(error: AppError) -> Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]:
    if isinstance(error, Overloaded):
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, InvalidRequest) else "server_error"


def _usage(usage: Usage) -> wire.Usage:
    return wire.Usage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=wire.InputDetails(usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=wire.OutputDetails(usage.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def new_id(prefix: str) -> str:
    """An id as OpenAI's look: what it names, and what nobody can guess."""
    return f"{prefix}_{fresh_hex()}"
