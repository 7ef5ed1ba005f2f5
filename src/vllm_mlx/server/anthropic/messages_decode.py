"""A messages request, to a request the service understands."""

from __future__ import annotations

from typing import Any

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.server.anthropic.messages_schema import CountTokensRequest, InputTool, MessagesRequest
from vllm_mlx.server.anthropic.turns_decode import decode_turns, wrong
from vllm_mlx.server.errors import shorten

MAX_TOOLS = 1024
REFUSED_FIELDS = {
    "mcp_servers": "this server connects to no MCP servers",
    "container": "this server has no containers",
    "output_format": "constrained output is not supported by this version yet",
}
"""Unknown fields are ignored, but not these: their sender would take the answer for what was asked."""


def decode(body: MessagesRequest, request_id: str) -> GenerateRequest:
    """Translate a checked body.

    Raises:
        InvalidRequest: values out of range, a conversation that does not hold together, or a feature this
            version has not and must not pretend to have.
    """
    budget = body.thinking.budget_tokens if body.thinking else None
    if budget is not None and budget >= body.max_tokens:
        raise wrong("thinking.budget_tokens", "must be less than max_tokens")
    return GenerateRequest(
        input=decode_prompt(body),
        model=model_name(body),
        sampling=SamplingParams(
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            max_tokens=body.max_tokens,
            stop=tuple(body.stop_sequences or ()),
        ),
        request_id=request_id,
        # Anthropic's `max_tokens` is an upper bound, and its clients ask for more than small models have.
        cut_to_context=True,
    )


def decode_prompt(body: CountTokensRequest) -> ChatInput:
    """What becomes the prompt; the same for an answer and for a count.

    Raises:
        InvalidRequest: as `decode`.
    """
    for name, value in (body.model_extra or {}).items():
        if name in REFUSED_FIELDS and value:
            raise InvalidRequest(f"{name}: {REFUSED_FIELDS[name]}", param=name)
    turns = decode_turns(body.system, body.messages)
    return ChatInput(
        messages=turns,
        tools=_tools(body.tools or []),
        tool_choice=_tool_choice(body),
        template_kwargs=_template_variables(body),
        continue_final_message=turns[-1].role == "assistant",
    )


def model_name(body: CountTokensRequest) -> str:
    """The model a request is for; one that names none is for the default."""
    return body.model or "default"


def shows_thinking(body: MessagesRequest) -> bool:
    """Whether thoughts are part of the answer in clear."""
    return body.thinking is None or body.thinking.display != "omitted"


def one_call_at_most(body: MessagesRequest) -> bool:
    """Whether the client wants no second tool call in one answer."""
    return body.tool_choice is not None and bool(body.tool_choice.disable_parallel_tool_use)


def _tools(tools: list[InputTool]) -> tuple[ToolSpec, ...]:
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"at most {MAX_TOOLS} tools are allowed", param="tools")
    specs = tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools))
    if len({spec.name for spec in specs}) < len(specs):
        raise wrong("tools", "must have names of their own")
    return specs


def _tool(tool: InputTool, where: str) -> ToolSpec:
    if tool.type not in (None, "custom"):
        kind = shorten(tool.type or "")
        raise wrong(
            f"{where}.type", f"is {kind!r}; this server has no tools of its own: describe it as a custom tool"
        )
    if not tool.name:
        raise wrong(f"{where}.name", "is missing")
    if tool.input_schema is None:
        raise wrong(f"{where}.input_schema", "is missing")
    return ToolSpec(
        name=tool.name, description=tool.description, parameters=tool.input_schema, strict=bool(tool.strict)
    )


def _tool_choice(body: CountTokensRequest) -> ToolChoice:
    choice = body.tool_choice
    if choice is None or choice.type == "auto":
        return ToolChoice("auto")
    if choice.type == "none":
        return ToolChoice("none")
    raise wrong(
        "tool_choice", f"of type {choice.type!r} is not supported by this version yet; auto and none are"
    )


def _template_variables(body: CountTokensRequest) -> dict[str, Any]:
    """Variables for the chat template; the request's own `chat_template_kwargs` win over its short forms."""
    thinking, output = body.thinking, body.output_config
    # Anthropic's API thinks on request only, and its clients read the first block of an answer as the text.
    variables: dict[str, Any] = {"enable_thinking": thinking is not None and thinking.type != "disabled"}
    if thinking is not None and thinking.budget_tokens is not None:
        if thinking.budget_tokens < 1:
            raise wrong("thinking.budget_tokens", "must be at least 1")
        variables["thinking_budget"] = thinking.budget_tokens
    if output is not None and output.format is not None:
        raise wrong("output_config.format", "is not supported by this version yet")
    if output is not None and output.effort is not None:
        variables["reasoning_effort"] = output.effort
    return variables | (body.chat_template_kwargs or {})
