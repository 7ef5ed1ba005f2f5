"""A messages request, to a request the service understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.server.anthropic.blocks_decode import wrong
from vllm_mlx.server.anthropic.errors import NO_THREADS
from vllm_mlx.server.anthropic.messages_schema import CountTokensRequest, MessagesRequest
from vllm_mlx.server.anthropic.tools_decode import decode_choice, decode_tools, one_call_at_most
from vllm_mlx.server.anthropic.turns_decode import decode_conversation
from vllm_mlx.server.shared_fields import asks, budgets_elsewhere, forms_elsewhere, told_effort

REFUSED_FIELDS = {
    "mcp_servers": "this server connects to no MCP servers for a request; "
    "mcp_tools offers the tools of its own",
    "container": "this server has no containers",
    "thread": "this server keeps no conversations; send all turns",
    "compaction": "this server compacts no conversations",
    **budgets_elsewhere("thinking.budget_tokens"),
    **forms_elsewhere("output_config.format"),
}
"""Unknown fields are ignored, but not these: their sender would take the answer for what was asked."""


_INTERLEAVED = "interleaved-thinking-"
"""A beta whose budgets are for all thoughts of a turn, over several answers, and may exceed `max_tokens`."""


def decode(
    body: MessagesRequest, request_id: str, betas: Sequence[str] = (), *, more_tools: bool = False
) -> GenerateRequest:
    """Translate a checked body.

    Args:
        betas: values of the header `anthropic-beta`.

    Raises:
        InvalidRequest: values out of range, a conversation that does not hold together, or a feature this
            version has not and must not pretend to have.
    """
    budget = _thinking_budget(body)
    interleaved = any(_INTERLEAVED in value for value in betas)
    if budget is not None and budget >= body.max_tokens and not interleaved:
        raise wrong("thinking.budget_tokens", "must be less than max_tokens")
    return GenerateRequest(
        input=decode_prompt(body, more_tools=more_tools),
        model=model_name(body),
        sampling=SamplingParams(
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            max_tokens=body.max_tokens,
            stop=tuple(body.stop_sequences or ()),
        ),
        constraint=_constraint(body),
        constraint_param="output_format" if body.output_format is not None else "output_config.format",
        thinking_budget=budget,
        request_id=request_id,
        cache_salt=body.cache_salt or "",
        # Anthropic's `max_tokens` is an upper bound, and its clients ask for more than small models have.
        cut_to_context=True,
    )


def decode_prompt(body: CountTokensRequest, *, more_tools: bool = False) -> ChatInput:
    """What becomes the prompt; the same for an answer and for a count.

    Args:
        more_tools: there may be others than the body's, so that its choice is not checked here.

    Raises:
        InvalidRequest: as `decode`.
    """
    for name, value in (body.model_extra or {}).items():
        if name in REFUSED_FIELDS and asks(value):
            code = NO_THREADS if name == "thread" else None
            raise InvalidRequest(f"{name}: {REFUSED_FIELDS[name]}", param=name, code=code)
    conversation = decode_conversation(body)
    tools = decode_tools(body.tools or [])
    _constraint(body)  # what a message refuses a count refuses too
    return ChatInput(
        messages=conversation.turns,
        tools=tools,
        tool_choice=decode_choice(body.tool_choice, tools, more=more_tools),
        template_kwargs=_template_variables(body),
        continue_final_message=conversation.turns[-1].role == "assistant",
        parallel_tool_calls=not one_call_at_most(body.tool_choice),
        cache_mark=conversation.cache_mark,
    )


def model_name(body: CountTokensRequest) -> str:
    """The model a request is for; one that names none is for the default."""
    return body.model or "default"


def shows_thinking(body: MessagesRequest) -> bool:
    """Whether thoughts are part of the answer in clear."""
    return body.thinking is None or body.thinking.display != "omitted"


def _thinking_budget(body: CountTokensRequest) -> int | None:
    """Most tokens of thought; only `enabled` has a limit, with `adaptive` the model decides."""
    thinking = body.thinking
    if thinking is None or thinking.type != "enabled" or thinking.budget_tokens is None:
        return None
    if thinking.budget_tokens < 1:
        raise wrong("thinking.budget_tokens", "must be at least 1")
    return thinking.budget_tokens


def _constraint(body: CountTokensRequest) -> JsonSchema | None:
    """The schema of the answer; the field's older name is understood too."""
    newer = body.output_config.format if body.output_config is not None else None
    if newer is not None and body.output_format is not None:
        raise wrong("output_format", "and output_config.format exclude each other")
    chosen = newer or body.output_format
    return None if chosen is None else JsonSchema(chosen.json_schema)


def _template_variables(body: CountTokensRequest) -> dict[str, Any]:
    """Variables for the chat template; the request's own `chat_template_kwargs` win over its short forms."""
    thinking, output = body.thinking, body.output_config
    # Anthropic's API thinks on request only, and its clients read the first block of an answer as the text.
    thinks = thinking.type != "disabled" if thinking is not None else bool(body.enable_thinking)
    variables: dict[str, Any] = {"enable_thinking": thinks}
    budget = _thinking_budget(body)
    if budget is not None:
        variables["thinking_budget"] = budget
    if output is not None and output.effort is not None:
        variables["reasoning_effort"] = told_effort(output.effort)
    return variables | (body.chat_template_kwargs or {})
