"""A responses request, to a request the service understands and to what its answer repeats of it."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import Raw

from vllm_mlx.core.constraints import Constraint, JsonObject, JsonSchema
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.naming import listed, shorten
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.sampling import MAX_TOP_LOGPROBS, SamplingParams
from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.conversation import Conversation
from vllm_mlx.server.responses.encode import Shown
from vllm_mlx.server.responses.items_decode import decode_items
from vllm_mlx.server.responses.schema import CountInputRequest, ReasoningField, ResponsesRequest
from vllm_mlx.server.responses.tools_decode import Toolbox, echoed, wrong
from vllm_mlx.server.shared_fields import asks, forms_elsewhere, thinking_variables

MAX_OUTPUT_TOKENS = 2**31 - 1
_LOGPROBS = "message.output_text.logprobs"
_SEALED = "reasoning.encrypted_content"
_OF_OTHER_TOOLS = frozenset(
    {
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    }
)
"""Parts of items that no answer of this server has."""

REFUSED_FIELDS = {
    "conversation": "this server has no conversations; use previous_response_id",
    "prompt": "this server stores no prompt templates",
    "moderation": "this server has no moderation",
    "context_management": "a conversation is never edited; truncation drops its oldest turns",
    "image": "this model takes text only",
    "stop": "the Responses API has no stop sequences",
    **forms_elsewhere("text.format"),
}
"""Unknown fields are ignored, but not these: their sender would take the answer for what was asked."""


def decode(
    body: ResponsesRequest, toolbox: Toolbox, conversation: Conversation, request_id: str
) -> GenerateRequest:
    """Translate a checked body.

    Raises:
        InvalidRequest: values out of range, items that do not hold together, or a feature this version has
            not and must not pretend to have.
    """
    if body.background:
        raise wrong("background", "is not supported: keep the connection open, or stream")
    if body.stream_options is not None and not body.stream:
        raise wrong("stream_options", "is only allowed with stream")
    if body.max_output_tokens is not None and not 1 <= body.max_output_tokens <= MAX_OUTPUT_TOKENS:
        raise wrong("max_output_tokens", f"must be between 1 and {MAX_OUTPUT_TOKENS}")
    return GenerateRequest(
        input=decode_prompt(body, toolbox, conversation),
        model=served_name(body),
        sampling=SamplingParams(
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            min_p=body.min_p,
            repetition_penalty=body.repetition_penalty,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            seed=body.seed,
            max_tokens=body.max_output_tokens,
            logprobs=_logprobs(body),
        ),
        constraint=_constraint(body),
        constraint_param="text.format",
        thinking_budget=body.thinking_token_budget,
        request_id=request_id,
        cache_salt=body.cache_salt or "",
        # `max_output_tokens` is an upper bound: an answer that meets the end of the context is incomplete.
        cut_to_context=True,
    )


def decode_prompt(body: CountInputRequest, toolbox: Toolbox, conversation: Conversation) -> ChatInput:
    """What becomes the prompt; the same for an answer and for a count.

    Raises:
        InvalidRequest: as `decode`.
    """
    for name, value in (body.model_extra or {}).items():
        if name in REFUSED_FIELDS and asks(value):
            raise InvalidRequest(f"{name}: {REFUSED_FIELDS[name]}", param=name)
    return ChatInput(
        messages=decode_items(body.instructions, conversation.items, conversation.where),
        tools=toolbox.specs,
        tool_choice=toolbox.choice,
        template_kwargs=_template_variables(body),
        parallel_tool_calls=body.parallel_tool_calls is not False,
    )


def served_name(body: CountInputRequest) -> str:
    """The model a request is for; one that names none is for the default."""
    return body.model or "default"


def decode_shown(body: ResponsesRequest) -> Shown:
    """What the answer shall hold besides text and calls.

    Raises:
        InvalidRequest: `include` names something unknown.
    """
    for i, name in enumerate(body.include or ()):
        if name not in (_LOGPROBS, _SEALED) and name not in _OF_OTHER_TOOLS:
            known = listed([_LOGPROBS, _SEALED, *sorted(_OF_OTHER_TOOLS)])
            raise wrong(f"include[{i}]", f"{shorten(name)!r} is not known; there are: {known}")
    included = body.include or ()
    return Shown(
        logprobs=_LOGPROBS in included,
        summaries=_summary(body.reasoning) is not None,
        sealed=_SEALED in included,
        parallel_tool_calls=body.parallel_tool_calls is not False,
    )


def opening(body: ResponsesRequest, response_id: str, model: str, *, stored: bool) -> wire.Response:
    """The answer as it begins: what it repeats of the request, and nothing said yet.

    Args:
        model: the served model's id.
        stored: the answer will be kept.
    """
    return wire.Response(
        id=response_id,
        created_at=int(time.time()),
        model=model,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=wire.Reasoning(
            effort=body.reasoning.effort if body.reasoning else None, summary=_summary(body.reasoning)
        ),
        safety_identifier=body.safety_identifier,
        store=stored,
        temperature=body.temperature,
        text=_echoed_text(body),
        tool_choice=_echoed_choice(body),
        tools=Raw(wire.to_json(echoed(body.tools))),
        top_logprobs=body.top_logprobs or 0,
        top_p=body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
    )


def _summary(reasoning: ReasoningField | None) -> str | None:
    return (reasoning.summary or reasoning.generate_summary) if reasoning else None


def _template_variables(body: CountInputRequest) -> dict[str, Any]:
    effort = body.reasoning.effort if body.reasoning else None
    return thinking_variables(effort, body.enable_thinking) | (body.chat_template_kwargs or {})


def _logprobs(body: ResponsesRequest) -> int | None:
    top = body.top_logprobs
    if top is not None and not 0 <= top <= MAX_TOP_LOGPROBS:
        raise wrong("top_logprobs", f"must be between 0 and {MAX_TOP_LOGPROBS}")
    if _LOGPROBS in (body.include or ()):
        return top or 0
    if top:
        raise wrong("top_logprobs", f"needs {_LOGPROBS!r} in include")
    return None


def _constraint(body: CountInputRequest) -> Constraint | None:
    form = body.text.format if body.text else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return JsonObject()
    if form.type != "json_schema":
        known = "use text, json_object or json_schema"
        raise wrong("text.format.type", f"{shorten(form.type)!r} is not supported; {known}")
    if form.schema_ is None:
        raise wrong("text.format.schema", "is missing")
    return JsonSchema(form.schema_, form.name)


def _echoed_text(body: ResponsesRequest) -> wire.TextConfig:
    form = body.text.format if body.text else None
    verbosity = (body.text.verbosity if body.text else None) or "medium"
    if form is None:
        return wire.TextConfig(wire.TextFormat(type="text"), verbosity)
    shown = form.model_dump(by_alias=True, exclude_none=True)
    if form.type == "json_schema":
        shown = {"name": "response", "description": None, "strict": False} | shown
    return wire.TextConfig(wire.TextFormat(**shown), verbosity)


def _echoed_choice(body: ResponsesRequest) -> str | wire.ToolChoice:
    choice = body.tool_choice
    if choice is None or isinstance(choice, str):
        return "required" if choice == "any" else choice or "auto"
    return msgspec.convert(choice.model_dump(exclude_none=True), wire.ToolChoice)
