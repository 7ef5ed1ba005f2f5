"""What POST /v1/responses and POST /v1/responses/input_tokens accept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from vllm_mlx.server.body import FirstErrorOnly, WireModel, WirePart
from vllm_mlx.server.shared_fields import Effort, thinking_budget_field

MAX_ITEMS = 16_384
"""Items of a conversation, parts of an item: a million would keep all others waiting."""
MAX_TOOLS = 1024
MAX_METADATA = 16
Key = Annotated[str, Field(max_length=64)]
Value = Annotated[str, Field(max_length=512)]
"""OpenAI's bounds. All of it comes back, three times in a stream."""
Label = Annotated[str, Field(max_length=1024)]
"""What a client calls itself or its requests."""


class ContentPart(WirePart):
    """A piece of a message, of a thought, of its summary, or of what a tool answered."""

    type: str = Field(description="input_text, output_text, refusal, reasoning_text or summary_text")
    text: str | None = None
    refusal: str | None = None


Parts = Annotated[list[ContentPart], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]


class InputItem(WirePart):
    """A piece of the conversation; which fields count follows from `type`."""

    type: str | None = Field(
        None,
        description="message (the default), function_call, function_call_output, mcp_call, reasoning, "
        "item_reference",
    )
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | Parts | None = None
    phase: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = Field(None, description="JSON text")
    output: str | Parts | None = None
    summary: Parts | None = None
    encrypted_content: str | None = None
    server_label: str | None = Field(None, description="of an mcp_call")
    error: str | dict[str, Any] | None = Field(None, description="of an mcp_call")


class FunctionTool(WirePart):
    """A function the model may call, or a named group of them."""

    type: str = Field(description="function or namespace")
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class InputTool(FunctionTool):
    """What the model may call; tools that OpenAI runs are refused."""

    tools: Annotated[list[FunctionTool], FirstErrorOnly(), Field(max_length=MAX_TOOLS)] | None = Field(
        None, description="of a namespace"
    )


class ToolName(WirePart):
    """One of the tools on offer."""

    type: str
    name: str | None = None
    namespace: str | None = None


class ToolChoiceObject(ToolName):
    """A function to call, or the tools to choose from."""

    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[ToolName], FirstErrorOnly(), Field(max_length=MAX_TOOLS)] | None = None


class ReasoningField(WirePart):
    """How much the model shall think, and in which form the thought is shown."""

    effort: Effort | None = Field(
        None, description="none and minimal switch thinking off, the others on, where the template can"
    )
    summary: Literal["auto", "concise", "detailed"] | None = Field(
        None, description="the thought comes as its own summary, unshortened"
    )
    generate_summary: Literal["auto", "concise", "detailed"] | None = Field(
        None, description="the older name of `summary`"
    )


class TextFormat(WirePart):
    """The form of the answer."""

    type: str = Field(description="text, json_object or json_schema")
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    strict: bool | None = None


class TextField(WirePart):
    """How the text of the answer shall be."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = Field(None, description="accepted and not used")


class StreamOptions(WirePart):
    """What a stream says besides its text."""

    include_obfuscation: bool | None = Field(None, description="true pads the deltas to like lengths")


Items = Annotated[list[InputItem], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]
Tools = Annotated[list[InputTool], FirstErrorOnly(), Field(max_length=MAX_TOOLS)]
Strings = Annotated[list[str], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]


class CountInputRequest(WireModel):
    """The body of POST /v1/responses/input_tokens: what becomes the prompt. `null` means "not given"."""

    model: str | None = Field(
        None, description="the served name, `default`, or any name if one model is served"
    )
    input: str | Items | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: Tools | None = None
    tool_choice: Literal["auto", "none", "required", "any"] | ToolChoiceObject | None = Field(
        None, description="any is another word for required"
    )
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningField | None = None
    text: TextField | None = None
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: int | None = Field(
        None, description="counts OpenAI's own tools; there are none here, and it does not go with mcp_tools"
    )
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="variables for the chat template")
    enable_thinking: bool | None = None
    mcp_tools: bool | Strings | None = Field(
        None, description="offer MCP tools and run the approved ones: all, or these servers and tools"
    )


class ResponsesRequest(CountInputRequest):
    """The body of POST /v1/responses. Ranges are checked by the core."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = Field(None, description="true when left out, where the server stores answers at all")
    include: Strings | None = None
    max_output_tokens: int | None = Field(
        None,
        description="also max_tokens",
        validation_alias=AliasChoices("max_output_tokens", "max_tokens"),
    )
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    metadata: Annotated[dict[Key, Value], Field(max_length=MAX_METADATA)] | None = Field(
        None, description="comes back with the answer"
    )
    background: bool | None = Field(None, description="true is refused")
    user: Label | None = Field(None, description="accepted and not used")
    safety_identifier: Label | None = Field(None, description="accepted and not used")
    prompt_cache_key: Label | None = Field(None, description="accepted and not used: every prompt is cached")
    service_tier: str | None = Field(None, description="accepted and not used")

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    thinking_token_budget: int | None = thinking_budget_field()
    cache_salt: Label | None = Field(None, description="prompts with different salts share no cached prefix")
