"""What POST /v1/chat/completions accepts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vllm_mlx.server.body import FirstErrorOnly, WirePart
from vllm_mlx.server.openai.generation_schema import GenerationFields, Strings
from vllm_mlx.server.shared_fields import Effort, thinking_budget_field


class ContentPart(WirePart):
    """A piece of a message; only text is understood."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(WirePart):
    """Which function the assistant called; `arguments` is JSON text."""

    name: str
    arguments: str = ""


class AssistantToolCall(WirePart):
    """A call in an earlier turn."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class RunCall(WirePart):
    """A call that this server ran in an earlier answer, and what came of it; as answers show it."""

    id: str
    name: str
    arguments: str | None = None
    content: str | None = None


MAX_ITEMS = 16_384
"""Messages of a conversation, and parts and calls of a message: a million would keep all others waiting."""

Parts = Annotated[list[ContentPart], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]
Calls = Annotated[list[AssistantToolCall], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]

RunCalls = Annotated[list[RunCall], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]


class ChatMessage(WirePart):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Parts | None = None
    name: str | None = None
    tool_calls: Calls | None = None
    tool_call_id: str | None = None
    mcp_calls: RunCalls | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    function_call: Any = Field(None, description="refused: use tool_calls")
    audio: Any = Field(None, description="refused: this server has no spoken answers")


class FunctionSpec(WirePart):
    """A function the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(WirePart):
    """A tool; functions are the only kind."""

    type: str = "function"
    function: FunctionSpec | None = None


class NamedFunction(WirePart):
    """The name of a function."""

    name: str


class NamedTool(WirePart):
    """One tool by its name."""

    type: Literal["function"] = "function"
    function: NamedFunction


class AllowedTools(WirePart):
    """Some of the tools on offer, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], FirstErrorOnly()]


class ToolChoiceObject(WirePart):
    """The one function that must be called, or the ones that may be: the field named by `type`."""

    type: Literal["function", "allowed_tools"]
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None


Messages = Annotated[list[ChatMessage], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]
Tools = Annotated[list[Tool], FirstErrorOnly()]


class ChatCompletionRequest(GenerationFields):
    """The body of POST /v1/chat/completions."""

    messages: Messages
    max_completion_tokens: int | None = Field(None, description="wins over max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: Tools | None = None
    tool_choice: Literal["auto", "none", "required", "any"] | ToolChoiceObject | None = Field(
        None, description="any is another word for required"
    )
    parallel_tool_calls: bool | None = None
    modalities: Strings | None = None
    reasoning_effort: Effort | None = Field(
        None, description="none and minimal switch thinking off, the others on, where the template can"
    )
    metadata: dict[str, Any] | None = Field(None, description="accepted and not used")
    store: bool | None = Field(None, description="accepted; nothing is stored")
    service_tier: str | None = Field(None, description="accepted; there is one tier, `default`")
    prediction: dict[str, Any] | None = Field(None, description="accepted and not used")
    prompt_cache_key: str | None = Field(None, description="accepted; every prompt is cached")
    safety_identifier: str | None = Field(None, description="accepted and not used")
    verbosity: Literal["low", "medium", "high"] | None = Field(None, description="accepted and not used")

    mcp_tools: bool | Strings | None = Field(
        None, description="offer MCP tools and run the approved ones: all, or these servers and tools"
    )
    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    thinking_token_budget: int | None = thinking_budget_field()
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
