"""A chat completion request, to a request the service understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Message, Part, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.naming import listed, shorten
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.sampling import MAX_TOP_LOGPROBS
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.server.mcp.runs import check_choice, check_known
from vllm_mlx.server.media import TEXT_ONLY
from vllm_mlx.server.openai.chat_schema import (
    ChatCompletionRequest,
    ChatMessage,
    ContentPart,
    Tool,
    ToolChoiceObject,
)
from vllm_mlx.server.openai.generation_decode import decode_limits, decode_sampling, refuse_unsupported
from vllm_mlx.server.shared_fields import Effort, thinking_variables

MAX_TOOLS = 1024
_UNANSWERED = "tool_calls of which not all are answered"
REFUSED_FIELDS = {
    "functions": "functions are obsolete; use tools",
    "function_call": "function_call is obsolete; use tool_choice",
    "audio": TEXT_ONLY,
    "web_search_options": "this server has no web search",
    "moderation": "this server has no moderation",
    "chat_template": "the chat template is the model's own",
}


def decode(body: ChatCompletionRequest, request_id: str, *, more_tools: bool = False) -> GenerateRequest:
    """Translate a checked body.

    Args:
        more_tools: there may be others than the body's, so that its choice is not checked here.

    Raises:
        InvalidRequest: values out of range, fields that contradict each other, or a feature this version
            has not and must not pretend to have.
    """
    refuse_unsupported(body, REFUSED_FIELDS)
    _check_form(body)
    given = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if given == 0:
        raise InvalidRequest("max_tokens must be at least 1", param="max_tokens")
    return GenerateRequest(
        input=ChatInput(
            messages=decode_messages(body.messages),
            **_tools(body, more=more_tools),
            template_kwargs=template_variables(
                body.chat_template_kwargs, body.enable_thinking, body.reasoning_effort
            ),
            continue_final_message=continues_final_message(
                body.add_generation_prompt, body.continue_final_message
            ),
        ),
        sampling=decode_sampling(body, max_tokens=given, logprobs=_logprobs(body)),
        thinking_budget=body.thinking_token_budget,
        request_id=request_id,
        **decode_limits(body),
    )


def _check_form(body: ChatCompletionRequest) -> None:
    if any(modality != "text" for modality in body.modalities or ()):
        raise InvalidRequest("modalities: this server answers in text only", param="modalities")


def _logprobs(body: ChatCompletionRequest) -> int | None:
    top = body.top_logprobs
    if top is not None and not 0 <= top <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}", param="top_logprobs")
    if not body.logprobs:
        if top:
            raise InvalidRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
        return None
    return top or 0


def _tools(body: ChatCompletionRequest, *, more: bool) -> dict[str, Any]:
    """The fields of a `ChatInput` that are about tools."""
    tools, choice = decode_tools(body.tools), ToolChoice()
    given = body.tool_choice
    if isinstance(given, str):
        choice = ToolChoice("required" if given == "any" else given)
    elif given is not None:
        tools, choice = _chosen(given, tools, more=more)
    if not more:
        check_choice(choice, {tool.name for tool in tools})
    return {
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": body.parallel_tool_calls is not False,
    }


def _chosen(
    given: ToolChoiceObject, tools: tuple[ToolSpec, ...], *, more: bool
) -> tuple[tuple[ToolSpec, ...], ToolChoice]:
    """The tools that are left, and the choice among them."""
    if given.type == "function":
        if given.function is None:
            raise _wrong("tool_choice.function", "is missing")
        return tools, ToolChoice("named", given.function.name)
    if given.allowed_tools is None:
        raise _wrong("tool_choice.allowed_tools", "is missing")
    # The others are not even shown: a model that does not know them cannot call them.
    names = {tool.function.name for tool in given.allowed_tools.tools}
    if more:
        return tools, ToolChoice(given.allowed_tools.mode, allowed=tuple(sorted(names)))
    check_known(names, {tool.name for tool in tools})
    return tuple(tool for tool in tools if tool.name in names), ToolChoice(given.allowed_tools.mode)


def decode_tools(tools: Sequence[Tool] | None) -> tuple[ToolSpec, ...]:
    """The functions on offer."""
    if len(tools or ()) > MAX_TOOLS:
        raise InvalidRequest(f"at most {MAX_TOOLS} tools are allowed", param="tools")
    return tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools or ()))


def _tool(tool: Tool, where: str) -> ToolSpec:
    if tool.type != "function":
        raise _wrong(f"{where}.type", f"is {shorten(tool.type)!r}, but only functions are supported")
    function = tool.function
    if function is None:
        raise _wrong(f"{where}.function", "is required")
    if not function.name:
        raise _wrong(f"{where}.function.name", "must not be empty")
    return ToolSpec(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        strict=bool(function.strict),
    )


def template_variables(
    given: dict[str, Any] | None, enable_thinking: bool | None, reasoning_effort: Effort | None = None
) -> dict[str, Any]:
    """Variables for the chat template; the request's own `chat_template_kwargs` win over its short forms."""
    return thinking_variables(reasoning_effort, enable_thinking) | (given or {})


def continues_final_message(add_generation_prompt: bool | None, continue_final: bool | None) -> bool:
    """Whether the last assistant turn goes on; either a turn is opened or one is continued."""
    if continue_final and add_generation_prompt:
        raise InvalidRequest(
            "add_generation_prompt and continue_final_message exclude each other",
            param="continue_final_message",
        )
    if add_generation_prompt is False and not continue_final:
        raise InvalidRequest(
            "add_generation_prompt may be false only with continue_final_message",
            param="add_generation_prompt",
        )
    return bool(continue_final)


def decode_messages(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """The conversation.

    Raises:
        InvalidRequest: no turn at all, a turn without content, or with content other than text; calls and
            results that do not match.
    """
    if not messages:
        raise InvalidRequest("messages must not be empty", param="messages")
    decoded = [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    _match_calls(decoded)
    told: list[Message] = []
    for i, message in enumerate(messages):
        if message.mcp_calls:
            told += _runs(message, f"messages[{i}]")
        if decoded[i].parts or not message.mcp_calls:
            told.append(decoded[i])
    return tuple(told)


def _runs(message: ChatMessage, where: str) -> list[Message]:
    """The calls that this server ran in an earlier answer, and their results, as turns of their own.

    All of them stand before the answer's text: it is one text, whose places in between nobody knows.
    """
    if message.role != "assistant":
        raise _wrong(f"{where}.mcp_calls", "is for the assistant alone")
    turns: list[Message] = []
    for i, run in enumerate(message.mcp_calls or ()):
        for name, value in (("id", run.id), ("name", run.name)):
            if not value:
                raise _wrong(f"{where}.mcp_calls[{i}].{name}", "must not be empty")
        turns.append(Message("assistant", (ToolCall(run.id, run.name, run.arguments or "{}"),)))
        turns.append(Message("tool", (ToolResult(run.id, run.content or "", run.name),)))
    return turns


def _match_calls(messages: Sequence[Message]) -> None:
    """Each call is answered before anybody else speaks, and each result answers a call, as OpenAI has it."""
    waiting: set[str] = set()
    for i, message in enumerate(messages):
        if message.role == "tool":
            for part in message.parts:
                if isinstance(part, ToolResult):
                    if part.call_id not in waiting:
                        given, known = shorten(part.call_id), listed(sorted(waiting))
                        reason = f"is {given!r} and answers no open call of the assistant; open are: {known}"
                        raise _wrong(f"messages[{i}].tool_call_id", reason)
                    waiting.remove(part.call_id)
            continue
        if waiting:
            raise _wrong(f"messages[{i}]", f"follows {_UNANSWERED}: {listed(sorted(waiting))}")
        calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
        waiting.update(calls)
        if len(waiting) < len(calls):
            raise _wrong(f"messages[{i}].tool_calls", "must have ids of their own")
    if waiting:
        raise _wrong("messages", f"end with {_UNANSWERED}: {listed(sorted(waiting))}")


def _message(message: ChatMessage, where: str) -> Message:
    if message.function_call is not None:
        raise _wrong(f"{where}.function_call", "is obsolete; use tool_calls")
    if message.audio is not None:
        raise _wrong(f"{where}.audio", f"is not supported; {TEXT_ONLY}")
    if message.tool_calls and message.role != "assistant":
        raise _wrong(f"{where}.tool_calls", "is for the assistant alone")
    if message.role == "assistant":
        return Message(role="assistant", parts=_assistant_parts(message, where), name=message.name)
    if message.content is None:
        raise _wrong(f"{where}.content", "is missing")
    text = _texts(message.content, where)
    if message.role == "tool":
        if not message.tool_call_id:
            raise _wrong(f"{where}.tool_call_id", "is missing")
        result = ToolResult(call_id=message.tool_call_id, text="".join(text), name=message.name)
        return Message(role="tool", parts=(result,), name=message.name)
    return Message(role=message.role, parts=tuple(Text(piece) for piece in text), name=message.name)


def _assistant_parts(message: ChatMessage, where: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    thought = message.reasoning_content if message.reasoning is None else message.reasoning
    if thought:
        parts.append(Reasoning(thought))
    content = message.refusal if message.content is None else message.content
    if content is not None:
        parts.extend(Text(piece) for piece in _texts(content, where))
    for i, call in enumerate(message.tool_calls or ()):
        if not call.function.name:
            raise _wrong(f"{where}.tool_calls[{i}].function.name", "must not be empty")
        parts.append(ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments or "{}"))
    return tuple(parts)


def _texts(content: str | Sequence[ContentPart], where: str) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [_part_text(part, f"{where}.content[{i}]") for i, part in enumerate(content)]


def _part_text(part: ContentPart, where: str) -> str:
    if part.type not in ("text", "refusal"):
        raise _wrong(f"{where}.type", f"is {shorten(part.type)!r}, but {TEXT_ONLY}")
    text = part.text if part.type == "text" else part.refusal
    if text is None:
        raise _wrong(f"{where}.{part.type}", "is missing")
    return text


def _wrong(field: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {reason}", param=field)
