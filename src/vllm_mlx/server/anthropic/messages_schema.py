"""What POST /v1/messages and POST /v1/messages/count_tokens accept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vllm_mlx.server.body import FirstErrorOnly, WireModel, WirePart

MAX_ITEMS = 16_384
"""Messages of a conversation, blocks of a message: a million would keep all others waiting."""

MAX_SALT_CHARS = 1024


class CacheControl(WirePart):
    """A mark: the prompt up to here is worth keeping. The time to live is the cache's own business."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Source(WirePart):
    """Where a document's text stands: here, as `data` of type text or as `content` of type content."""

    type: str
    data: str | None = None
    content: str | Blocks | None = None


class CitationsField(WirePart):
    """Whether the answer shall cite a document; it cannot here."""

    enabled: bool | None = None


class InputBlock(WirePart):
    """A piece of a turn, of a system prompt or of a tool's result; which fields count follows from `type`."""

    type: str = Field(
        description="text, document, search_result, thinking, redacted_thinking, tool_use, tool_result, "
        "mcp_tool_use or mcp_tool_result"
    )
    text: str | None = None
    cache_control: CacheControl | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | Blocks | None = Field(None, description="of a tool's result or a search result")
    is_error: bool | None = None
    source: str | Source | None = Field(None, description="of a document; of a search result a string")
    title: str | None = None
    context: str | None = None
    citations: CitationsField | None = None


Blocks = Annotated[list[InputBlock], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]


class InputMessage(WirePart):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | Blocks
    clear_at: Literal["next_user_message", "never"] | None = Field(
        None, description="of a system turn: `next_user_message` hides it once the user has spoken again"
    )


class InputTool(WirePart):
    """A tool that the client runs."""

    type: str | None = Field(
        None, description="`custom` or left out; or a version of Anthropic's bash, text editor or memory tool"
    )
    name: str | None = None
    cache_control: CacheControl | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoiceField(WirePart):
    """Whether to call tools."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingField(WirePart):
    """Whether the model thinks before it answers, and whether the thought is shown."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = Field(None, description="most tokens of thought, less than max_tokens")
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(WirePart):
    """The form of the answer: JSON that is valid against a schema."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class OutputConfig(WirePart):
    """How to answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="told to the model where its template asks"
    )
    format: OutputFormat | None = None


Messages = Annotated[list[InputMessage], FirstErrorOnly(), Field(max_length=MAX_ITEMS)]
Tools = Annotated[list[InputTool], FirstErrorOnly()]
StopSequences = Annotated[list[str], FirstErrorOnly()]
McpNames = Annotated[list[str], FirstErrorOnly()]


class CountTokensRequest(WireModel):
    """The body of POST /v1/messages/count_tokens: what becomes the prompt. `null` means "not given"."""

    model: str | None = Field(
        None, description="the served name, `default`, or any name if one model is served"
    )
    messages: Messages
    system: str | Blocks | None = None
    tools: Tools | None = None
    tool_choice: ToolChoiceField | None = None
    thinking: ThinkingField | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = Field(None, description="the older name of output_config.format")
    cache_control: CacheControl | None = Field(None, description="marks the whole conversation")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="variables for the chat template")
    enable_thinking: bool | None = Field(None, description="counts where `thinking` is not given")
    mcp_tools: bool | McpNames | None = Field(
        None, description="offer MCP tools and run the approved ones: all, or these servers and tools"
    )


class MessagesRequest(CountTokensRequest):
    """The body of POST /v1/messages. Ranges are checked by the core."""

    max_tokens: int = Field(description="0 reads the prompt into the cache and answers nothing")
    stream: bool | None = None
    stop_sequences: StopSequences | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: dict[str, Any] | None = Field(None, description="accepted and not used")
    service_tier: str | None = Field(None, description="accepted and not used")

    cache_salt: Annotated[str, Field(max_length=MAX_SALT_CHARS)] | None = Field(
        None, description="prompts with different salts share no cached prefix"
    )
