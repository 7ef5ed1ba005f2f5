"""The shared request fields, to sampling parameters and limits; refusal of what this server cannot honour."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.sampling import MAX_LOGIT_BIAS, SamplingParams
from vllm_mlx.server.openai.constraint_decode import decode_constraint
from vllm_mlx.server.openai.generation_schema import GenerationFields

_MAX_PRIORITY = 2**31 - 1
_MAX_SALT_CHARS = 1024

REFUSED_FIELDS = {
    "guided_whitespace_pattern": "the form of whitespace is the server's",
    "ebnf": "use grammar, in Lark or in GBNF",
    "format": "use response_format, or json_schema",
    "use_beam_search": "beam search is not supported",
    "bad_words": "bad_words is not supported; logit_bias bans single tokens",
    "allowed_token_ids": "allowed_token_ids is not supported",
    "truncate_prompt_tokens": "prompts are never truncated",
    "include_stop_str_in_output": "a stop sequence is never part of the output",
    "prompt_embeds": "prompt embeddings are not supported",
}
"""Unknown fields are ignored, but not these: their sender would take the answer for what was asked."""

_NOTHING: tuple[Any, ...] = (None, False, "", [], {}, {"type": "text"})
"""Values that ask for nothing beyond the usual."""


def refuse_unsupported(body: GenerationFields, also: Mapping[str, str] = MappingProxyType({})) -> None:
    """Refuse extra fields that ask for something and would not get it.

    Args:
        also: further fields to the reason they are refused.
    """
    for name, value in (body.model_extra or {}).items():
        reason = REFUSED_FIELDS.get(name) or also.get(name)
        if reason is not None and value not in _NOTHING:
            raise InvalidRequest(f"{name}: {reason}", param=name)


def decode_sampling(
    body: GenerationFields,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
) -> SamplingParams:
    """Sampling parameters; what the request leaves out stays None for the model's default."""
    return SamplingParams(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=_logit_bias(body.logit_bias),
        seed=body.seed,
        max_tokens=max_tokens,
        min_tokens=body.min_tokens or 0,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=bool(body.ignore_eos),
        n=1 if body.n is None else body.n,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def _logit_bias(bias: dict[str, Any] | None) -> dict[int, float] | None:
    if not bias:
        return None
    if len(bias) > MAX_LOGIT_BIAS:
        raise InvalidRequest(f"logit_bias may hold at most {MAX_LOGIT_BIAS} tokens", param="logit_bias")
    if not all(key.isascii() and key.isdigit() and len(key) <= 10 for key in bias):
        raise InvalidRequest("logit_bias: keys must be token ids", param="logit_bias")
    if None in bias.values():
        raise InvalidRequest("logit_bias: addends must be numbers", param="logit_bias")
    addends = {int(key): addend for key, addend in bias.items()}
    if len(addends) < len(bias):
        raise InvalidRequest("logit_bias names a token twice", param="logit_bias")
    return addends


def decode_limits(body: GenerationFields) -> dict[str, Any]:
    """The fields of a `GenerateRequest` that are about serving and the form of the answer, not sampling."""
    priority, salt, timeout = body.priority or 0, body.cache_salt or "", body.timeout
    if abs(priority) > _MAX_PRIORITY:
        raise InvalidRequest(f"priority must be within {_MAX_PRIORITY} of 0", param="priority")
    if len(salt) > _MAX_SALT_CHARS:
        raise InvalidRequest(f"cache_salt may have at most {_MAX_SALT_CHARS} characters", param="cache_salt")
    if timeout is not None and not (timeout > 0 and math.isfinite(timeout)):
        raise InvalidRequest("timeout must be above 0 seconds", param="timeout")
    return {
        "model": model_name(body.model),
        "priority": priority,
        "cache_salt": salt,
        "timeout_s": timeout,
        **decode_constraint(body),
    }


def model_name(name: str | None) -> str:
    """The model a request is for; one that names none is for the default."""
    return name or "default"


def wants_usage(body: GenerationFields) -> bool:
    """Whether the stream ends with a usage chunk."""
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options is only allowed with stream", param="stream_options")
    return body.stream_options is not None and bool(body.stream_options.include_usage)
