"""A text completion request, to one request for each of its prompts."""

from __future__ import annotations

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.requests import GenerateRequest, TextInput, TokenInput
from vllm_mlx.core.sampling import MAX_TOP_LOGPROBS
from vllm_mlx.server.openai.completions_schema import CompletionRequest
from vllm_mlx.server.openai.generation_decode import decode_limits, decode_sampling, refuse_unsupported

MAX_PROMPTS = 256
MAX_ANSWERS = 1024
_MAX_TOKEN_ID = 2**31 - 1


def decode(body: CompletionRequest, request_id: str) -> list[GenerateRequest]:
    """Translate a checked body, one request a prompt, in order.

    Raises:
        InvalidRequest: values out of range, or a feature this version has not.
    """
    refuse_unsupported(body)
    if body.suffix:
        raise InvalidRequest("suffix is not supported", param="suffix")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise InvalidRequest("best_of is not supported beyond n", param="best_of")
    if body.logprobs is not None and not 0 <= body.logprobs <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"logprobs must be between 0 and {MAX_TOP_LOGPROBS}", param="logprobs")
    sampling = decode_sampling(
        body,
        max_tokens=body.max_tokens,
        logprobs=body.logprobs,
        prompt_logprobs=body.logprobs if body.echo else None,
    )
    limits = decode_limits(body)
    inputs = _inputs(body)
    return [
        GenerateRequest(
            input=given,
            sampling=sampling,
            request_id=request_id if len(inputs) == 1 else f"{request_id}-{i}",
            **limits,
        )
        for i, given in enumerate(inputs)
    ]


def _inputs(body: CompletionRequest) -> list[TextInput | TokenInput]:
    prompts = _prompts(body)
    if not prompts:
        raise InvalidRequest("prompt must not be empty", param="prompt")
    if len(prompts) * (body.n or 1) > MAX_ANSWERS:
        raise InvalidRequest(f"prompt: prompts times n may be at most {MAX_ANSWERS}", param="prompt")
    if len(prompts) > MAX_PROMPTS:
        raise InvalidRequest(f"prompt: at most {MAX_PROMPTS} prompts are allowed", param="prompt")
    return [_input(prompt, bool(body.echo)) for prompt in prompts]


def _prompts(body: CompletionRequest) -> list[str | list[int]]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [[token_id for token_id in prompt if isinstance(token_id, int)]]
    return [item for item in prompt if not isinstance(item, int)]


def _input(prompt: str | list[int], echo: bool) -> TextInput | TokenInput:
    if isinstance(prompt, str):
        return TextInput(prompt, echo)
    return TokenInput(token_ids(prompt, "prompt"), echo)


def token_ids(ids: list[int], param: str) -> tuple[int, ...]:
    """Ids that could be a model's; whether they are this model's is the service's to say."""
    if not ids:
        raise InvalidRequest(f"{param} must not be empty", param=param)
    if min(ids) < 0 or max(ids) > _MAX_TOKEN_ID:
        raise InvalidRequest(f"{param}: token ids must be between 0 and {_MAX_TOKEN_ID}", param=param)
    return tuple(ids)
