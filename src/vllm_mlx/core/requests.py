"""One request to generate, as every dialect's decoder leaves it."""

from __future__ import annotations

from typing import Any

import msgspec

from vllm_mlx.core.constraints import Constraint
from vllm_mlx.core.messages import Message
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolChoice, ToolSpec


class ChatInput(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to continue through the model's chat template.

    Attributes:
        template_kwargs: extra variables for the template (`enable_thinking` among them).
        parallel_tool_calls: whether one answer may hold several calls.
        continue_final_message: go on inside the last assistant turn and open no new one.
        cache_mark: the beginning of the conversation that the caller marked for the cache, as turns of its
            own; None without a mark. It changes nothing but what the usage says.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    template_kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    continue_final_message: bool = False
    cache_mark: tuple[Message, ...] | None = None


class TextInput(msgspec.Struct, frozen=True):
    """A raw prompt, continued as it is; `echo` sends it back before the continuation."""

    text: str
    echo: bool = False


class TokenInput(msgspec.Struct, frozen=True):
    """A raw prompt that the client has tokenised itself."""

    token_ids: tuple[int, ...]
    echo: bool = False


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to continue, how, and under which limits.

    Attributes:
        model: the name the caller used.
        priority: smaller runs first; equal ones in order of arrival.
        timeout_s: the request ends with an error once it has taken so long; None takes the server's limit.
        cache_salt: prompts with different salts never share a cached prefix.
        cut_to_context: where the context ends before `max_tokens` the answer ends there too; otherwise such a
            request is refused.
        constraint: the form the answer must have; thought and calls of tools stand outside it.
        constraint_param: what the caller's dialect calls that field, for errors.
        thinking_budget: most tokens of thought; the thought is closed by force after them. 0: none at all.
    """

    input: ChatInput | TextInput | TokenInput
    model: str = "default"
    sampling: SamplingParams = SamplingParams()
    constraint: Constraint | None = None
    constraint_param: str = "response_format"
    thinking_budget: int | None = None
    request_id: str | None = None
    priority: int = 0
    timeout_s: float | None = None
    cache_salt: str = ""
    cut_to_context: bool = False
