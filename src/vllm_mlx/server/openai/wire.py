"""What goes to an OpenAI client: chat and text completions, whole and in chunks.

Names and fields are those of OpenAI's reference. `reasoning`, `reasoning_content`, `stop_reason`, `metrics`,
`mcp_calls` and `mcp_stopped` stand beside them.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from vllm_mlx.core.events import FinishReason, ToolRunLimit
from vllm_mlx.server.docs import AnswerTypes
from vllm_mlx.server.logprobs import Logprob


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Which part of the prompt was in the cache."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """Which part of the output was thought."""

    reasoning_tokens: int


class CompletionUsage(msgspec.Struct, frozen=True):
    """Tokens of an answer: the prompt once, the output over all choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Metrics(msgspec.Struct, frozen=True):
    """Timings, for routers that read them from the body; no rate where at most one token came."""

    time_to_first_token_ms: float
    generation_time_ms: float
    tokens_per_second: float | None


class _Answer(msgspec.Struct, kw_only=True):
    """What every answer and every chunk carries. `created` is a Unix time in seconds."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str


class Function(msgspec.Struct, omit_defaults=True):
    """A called function, or a piece of its arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallPiece(msgspec.Struct, omit_defaults=True):
    """The opening of a call (id, type, name), or more of its arguments."""

    index: int
    function: Function
    id: str | None = None
    type: str | None = None


class McpCallPiece(msgspec.Struct, omit_defaults=True):
    """A call that this server ran: when it begins id, server, name and arguments; when it is done the rest.

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


class Delta(msgspec.Struct, omit_defaults=True):
    """What a chunk adds to a message. The thought goes by both names that clients look for."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCallPiece, ...] | None = None
    mcp_calls: tuple[McpCallPiece, ...] | None = None
    mcp_stopped: ToolRunLimit | None = None


class ChoiceLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities of the content's tokens."""

    content: list[Logprob]
    refusal: None = None


class ChunkChoice(msgspec.Struct):
    """A piece of one choice; the last says why it ended."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | UnsetType | None = UNSET


class ChatCompletionChunk(_Answer, kw_only=True):
    """An event of a chat's stream. Usage, if asked for, comes last, without a choice; before it is null."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    service_tier: Literal["default"] | UnsetType = UNSET
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    metrics: Metrics | UnsetType = UNSET


class CalledFunction(msgspec.Struct, frozen=True):
    """A function and its arguments, which are JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    """A call of a client's function."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatCompletionMessage(msgspec.Struct, kw_only=True):
    """An answer. Without text beside calls its content is null."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: tuple[()] = ()
    reasoning: str | None
    reasoning_content: str | None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    mcp_calls: list[McpCallPiece] | UnsetType = UNSET
    mcp_stopped: ToolRunLimit | UnsetType = UNSET


class Choice(msgspec.Struct):
    """One of the answers. `stop_reason` is the stop string that ended it, if one did."""

    index: int
    message: ChatCompletionMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | None


class ChatCompletion(_Answer, kw_only=True):
    """A whole chat completion."""

    object: Literal["chat.completion"] = "chat.completion"
    service_tier: Literal["default"] | UnsetType = UNSET
    choices: list[Choice]
    usage: CompletionUsage | UnsetType = UNSET
    metrics: Metrics | UnsetType = UNSET


class CompletionLogprobs(msgspec.Struct):
    """Parallel lists, one entry a token. Offsets count characters of the choice's text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    def extend(self, more: CompletionLogprobs) -> None:
        """Append the entries of a later piece."""
        self.tokens += more.tokens
        self.token_logprobs += more.token_logprobs
        self.top_logprobs += more.top_logprobs
        self.text_offset += more.text_offset


class CompletionChoice(msgspec.Struct):
    """One of the texts, or a piece of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None


class Completion(_Answer, kw_only=True):
    """A text completion, whole or an event of its stream; there, as in a chat's, the last has the usage."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    metrics: Metrics | UnsetType = UNSET


ANSWERS = AnswerTypes("OpenAI", ChatCompletion, ChatCompletionChunk, Completion)
