"""What goes to a client of the Responses API: the answer, its items, and the events that build them.

Names, order and required fields are those of OpenAI's reference, as its package `openai` types them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from vllm_mlx.server.docs import AnswerTypes, encoded_list
from vllm_mlx.server.logprobs import Logprob

_PREFIX = "Responses"
ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = Literal["in_progress", "completed", "incomplete", "failed"]


class _Tagged(msgspec.Struct, frozen=True, tag_field="type"):
    """Says in `type` what it is."""


class OutputText(_Tagged, frozen=True, tag="output_text"):
    """The text of a message. Nothing here makes annotations."""

    text: str = ""
    logprobs: tuple[Logprob, ...] = ()
    annotations: tuple[()] = ()


class ReasoningText(_Tagged, frozen=True, tag="reasoning_text"):
    """The text of a thought."""

    text: str = ""


class SummaryText(_Tagged, frozen=True, tag="summary_text"):
    """The text of a thought, where the client asked for summaries."""

    text: str = ""


class MessageItem(_Tagged, frozen=True, tag="message"):
    """A piece of the answer."""

    id: str
    status: ItemStatus = "in_progress"
    content: tuple[OutputText, ...] = ()
    role: Literal["assistant"] = "assistant"


class ReasoningItem(_Tagged, frozen=True, tag="reasoning"):
    """A thought: open, as its own summary, or sealed beside either for clients that keep the conversation."""

    id: str
    status: ItemStatus = "in_progress"
    summary: tuple[SummaryText, ...] = ()
    content: tuple[ReasoningText, ...] | UnsetType = UNSET
    encrypted_content: str | UnsetType = UNSET


class FunctionCallItem(_Tagged, frozen=True, tag="function_call"):
    """A call of a client's function; `arguments` is JSON text."""

    id: str
    call_id: str
    name: str
    namespace: str | UnsetType = UNSET
    arguments: str = ""
    status: ItemStatus = "in_progress"


class McpError(_Tagged, frozen=True, tag="mcp_tool_execution_error"):
    """What a tool said of its failure."""

    content: str


class McpCallItem(_Tagged, frozen=True, tag="mcp_call"):
    """A call that this server ran itself, so that nothing is left to do; `arguments` is JSON text."""

    id: str
    name: str
    server_label: str
    arguments: str = ""
    status: ItemStatus | Literal["failed"] = "in_progress"
    output: str | None = None
    error: McpError | None = None


Item = MessageItem | ReasoningItem | FunctionCallItem | McpCallItem


class InputDetails(msgspec.Struct, frozen=True):
    """Which part of the prompt was in the cache. Every prompt is cached; nothing is written for a price."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """Which part of the output was thought."""

    reasoning_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Tokens of an answer."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Why an answer is not whole."""

    reason: Literal["max_output_tokens"]


class Failure(msgspec.Struct, frozen=True):
    """Why an answer failed."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class Reasoning(msgspec.Struct, frozen=True):
    """How much thought was asked for, and whether as a summary."""

    effort: str | None
    summary: str | None


class TextFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The form of an answer."""

    type: str
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    strict: bool | UnsetType = UNSET
    schema: dict[str, Any] | bool | UnsetType = UNSET


class TextConfig(msgspec.Struct, frozen=True):
    """How the text of an answer was asked for."""

    format: TextFormat
    verbosity: str


class ToolName(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tools on offer."""

    type: str
    name: str | UnsetType = UNSET
    namespace: str | UnsetType = UNSET


class ToolChoice(ToolName, frozen=True, kw_only=True):
    """The function that had to be called, or the tools there were to choose from."""

    mode: str | UnsetType = UNSET
    tools: tuple[ToolName, ...] | UnsetType = UNSET


class FunctionTool(_Tagged, frozen=True, tag="function"):
    """A function on offer."""

    name: str | None
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool


class NamespaceTool(_Tagged, frozen=True, tag="namespace"):
    """A named group of functions on offer."""

    name: str | None
    description: str
    tools: tuple[FunctionTool, ...]


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer repeats of its request."""

    model: str
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: Reasoning
    safety_identifier: str | None
    store: bool
    temperature: float | None
    text: TextConfig
    tool_choice: str | ToolChoice
    tools: Annotated[Raw, encoded_list(_PREFIX, FunctionTool, NamespaceTool)]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    user: str | None
    background: bool = False
    service_tier: Literal["default"] = "default"


class Response(Echo, frozen=True, kw_only=True):
    """An answer, finished or not. Times are Unix seconds."""

    id: str
    created_at: int
    object: Literal["response"] = "response"
    status: Status = "in_progress"
    output: tuple[Item, ...] = ()
    usage: Usage | None = None
    completed_at: int | None = None
    incomplete_details: IncompleteDetails | None = None
    error: Failure | None = None


class _Event(msgspec.Struct, tag_field="type", kw_only=True):
    """An event; its number is given when it is sent."""

    sequence_number: int = 0


class _OfResponse(_Event, kw_only=True):
    """About the whole answer."""

    response: Response


class Created(_OfResponse, tag="response.created", kw_only=True):
    """The first event."""


class InProgress(_OfResponse, tag="response.in_progress", kw_only=True):
    """The second."""


class Completed(_OfResponse, tag="response.completed", kw_only=True):
    """The last, of an answer that ended by itself."""


class Incomplete(_OfResponse, tag="response.incomplete", kw_only=True):
    """The last, of an answer that was cut."""


class Failed(_OfResponse, tag="response.failed", kw_only=True):
    """The last, of an answer that met an error."""


class _OfItem(_Event, kw_only=True):
    """About one item of the answer."""

    output_index: int


class ItemAdded(_OfItem, tag="response.output_item.added", kw_only=True):
    """An item begins, empty."""

    item: Item


class ItemDone(_OfItem, tag="response.output_item.done", kw_only=True):
    """An item is whole."""

    item: Item


class _Within(_OfItem, kw_only=True):
    """About what an item holds."""

    item_id: str


class _OfPart(_Within, kw_only=True):
    """About a part of an item's content."""

    content_index: int = 0


class PartAdded(_OfPart, tag="response.content_part.added", kw_only=True):
    """A part begins, empty."""

    part: OutputText | ReasoningText


class PartDone(_OfPart, tag="response.content_part.done", kw_only=True):
    """A part is whole."""

    part: OutputText | ReasoningText


class TextMore(_OfPart, tag="response.output_text.delta", kw_only=True):
    """More of the answer."""

    delta: str
    logprobs: tuple[Logprob, ...] = ()
    obfuscation: str | UnsetType = UNSET


class TextDone(_OfPart, tag="response.output_text.done", kw_only=True):
    """The answer's text, whole."""

    text: str
    logprobs: tuple[Logprob, ...] = ()


class ThoughtMore(_OfPart, tag="response.reasoning_text.delta", kw_only=True):
    """More of a thought."""

    delta: str
    obfuscation: str | UnsetType = UNSET


class ThoughtDone(_OfPart, tag="response.reasoning_text.done", kw_only=True):
    """A thought, whole."""

    text: str


class _OfSummary(_Within, kw_only=True):
    """About a part of a thought's summary."""

    summary_index: int = 0


class SummaryPartAdded(_OfSummary, tag="response.reasoning_summary_part.added", kw_only=True):
    """A part of a summary begins, empty."""

    part: SummaryText


class SummaryPartDone(_OfSummary, tag="response.reasoning_summary_part.done", kw_only=True):
    """A part of a summary is whole."""

    part: SummaryText


class SummaryMore(_OfSummary, tag="response.reasoning_summary_text.delta", kw_only=True):
    """More of a summary."""

    delta: str
    obfuscation: str | UnsetType = UNSET


class SummaryDone(_OfSummary, tag="response.reasoning_summary_text.done", kw_only=True):
    """A summary's text, whole."""

    text: str


class ArgumentsMore(_Within, tag="response.function_call_arguments.delta", kw_only=True):
    """More of a call's arguments."""

    delta: str
    obfuscation: str | UnsetType = UNSET


class ArgumentsDone(_Within, tag="response.function_call_arguments.done", kw_only=True):
    """A call's arguments, whole."""

    arguments: str


class McpInProgress(_Within, tag="response.mcp_call.in_progress", kw_only=True):
    """A tool begins to run."""


class McpArgumentsMore(_Within, tag="response.mcp_call_arguments.delta", kw_only=True):
    """Arguments of a call that this server runs; here always all of them."""

    delta: str
    obfuscation: str | UnsetType = UNSET


class McpArgumentsDone(_Within, tag="response.mcp_call_arguments.done", kw_only=True):
    """Those arguments, whole."""

    arguments: str


class McpCompleted(_Within, tag="response.mcp_call.completed", kw_only=True):
    """A tool has run."""


class McpFailed(_Within, tag="response.mcp_call.failed", kw_only=True):
    """A tool has failed, or was not let run to its end."""


Delta = TextMore | ThoughtMore | SummaryMore | ArgumentsMore | McpArgumentsMore
Terminal = Completed | Incomplete | Failed
Event = (
    Created
    | InProgress
    | Completed
    | Incomplete
    | Failed
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | TextMore
    | TextDone
    | ThoughtMore
    | ThoughtDone
    | SummaryPartAdded
    | SummaryPartDone
    | SummaryMore
    | SummaryDone
    | ArgumentsMore
    | ArgumentsDone
    | McpInProgress
    | McpArgumentsMore
    | McpArgumentsDone
    | McpCompleted
    | McpFailed
)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of what a listed item says, under the type that its sender gave it."""

    type: str
    text: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    annotations: tuple[()] | UnsetType = UNSET


class ListedMessage(_Tagged, frozen=True, kw_only=True, tag="message"):
    """What a request said."""

    id: str
    role: str | None
    status: ItemStatus = "completed"
    content: tuple[Part, ...]
    phase: str | UnsetType = UNSET


class ListedReasoning(_Tagged, frozen=True, kw_only=True, tag="reasoning"):
    """A thought that a request gave back."""

    id: str
    summary: tuple[Part, ...]
    content: tuple[Part, ...] | UnsetType = UNSET
    encrypted_content: str | UnsetType = UNSET


class ListedOutput(_Tagged, frozen=True, kw_only=True, tag="function_call_output"):
    """What a function gave."""

    id: str
    call_id: str | None
    output: str | tuple[Part, ...]
    status: ItemStatus = "completed"


ListedItem = ListedMessage | ListedReasoning | FunctionCallItem | ListedOutput | McpCallItem


class ItemList(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a request's items; `first_id` and `last_id` are cursors for the next call."""

    object: Literal["list"] = "list"
    data: Annotated[
        Raw, encoded_list(_PREFIX, ListedMessage, ListedReasoning, FunctionCallItem, ListedOutput)
    ]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(msgspec.Struct, frozen=True):
    """An answer is forgotten."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputTokens(msgspec.Struct, frozen=True, kw_only=True):
    """How long a prompt is."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


ANSWERS = AnswerTypes(
    _PREFIX, Response, Event, FunctionTool, NamespaceTool, ItemList, ListedItem, Deleted, InputTokens
)

to_json = msgspec.json.Encoder().encode
