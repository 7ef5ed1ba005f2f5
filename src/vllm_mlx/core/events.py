"""What one generation says, in order, independent of any wire format."""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "abort"]


class TokenAlternative(msgspec.Struct, frozen=True):
    """A token that could have stood here; `raw` is its bytes, which may be part of a character."""

    token_id: int
    token: str
    raw: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True):
    """The chosen token, natural log of its probability, and the likeliest alternatives, best first.

    The first token of a prompt has no logprob: nothing stands before it.
    """

    token_id: int
    token: str
    raw: bytes
    logprob: float | None
    top: tuple[TokenAlternative, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a request: the prompt once, the output over all choices.

    Attributes:
        cached_tokens: those of the prompt that were found in the prefix cache.
        marked_tokens: those of the prompt up to the caller's cache mark; 0 without one.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    marked_tokens: int = 0


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds as the service saw them: from arrival to the first token, and from there to the end."""

    time_to_first_token_ms: float
    generation_time_ms: float


class Started(msgspec.Struct, frozen=True):
    """The prompt is computed and the choice begins; the counts are those of `Usage`."""

    choice: int
    prompt_tokens: int
    cached_tokens: int = 0
    marked_tokens: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True):
    """A piece of the thought before the answer."""

    choice: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of the answer. Empty text with logprobs occurs when a character spans tokens."""

    choice: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class ToolCallStart(msgspec.Struct, frozen=True):
    """The model begins to call a tool; `index` counts the calls of the choice."""

    choice: int
    index: int
    id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A piece of the call's arguments, as JSON text."""

    choice: int
    index: int
    arguments: str


class Finished(msgspec.Struct, frozen=True):
    """A choice is over. `stop_sequence` is the stop string that ended it, if one did."""

    choice: int
    reason: FinishReason
    stop_sequence: str | None = None


class Completed(msgspec.Struct, frozen=True):
    """All choices are over: the last event of a request."""

    usage: Usage
    timings: Timings


Event = Started | ReasoningDelta | TextDelta | ToolCallStart | ToolCallDelta | Finished | Completed


ToolRunLimit = Literal["turns", "time", "output"]


class ToolRunStarted(msgspec.Struct, frozen=True):
    """The server itself begins to run a call the model made; `index` counts such runs over all turns.

    `arguments` is the JSON text as the model wrote it.
    """

    choice: int
    index: int
    id: str
    name: str
    server: str
    arguments: str


class ToolRunFinished(msgspec.Struct, frozen=True):
    """What that run brought, as the model reads it; `truncated` says that it was longer."""

    choice: int
    index: int
    text: str
    is_error: bool
    truncated: bool
    duration_ms: float


class ToolRunsStopped(msgspec.Struct, frozen=True):
    """A limit forbids further runs: the calls of the last turn are left to the client."""

    choice: int
    limit: ToolRunLimit


ServedEvent = Event | ToolRunStarted | ToolRunFinished | ToolRunsStopped
"""An answer where the server runs tools: the events of all its turns, and the runs between them."""
