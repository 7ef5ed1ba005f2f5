"""What a request leaves out, filled in; what it asks too much of, refused with the numbers."""

from __future__ import annotations

import msgspec

from vllm_mlx.core.chance import fresh_bits
from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.core.errors import ContextOverflow, InvalidRequest
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.engine.wire import EngineRequest
from vllm_mlx.service.loaded import LoadedModel
from vllm_mlx.service.prompt import Prompt

SEED_BITS = 63
MAX_THINKING_TOKENS = 2**31 - 1
_TAIL_TOKENS = 32
"""Of a prompt; the words that close a thought are fewer."""


def engine_request(
    model: LoadedModel,
    request: GenerateRequest,
    prompt: Prompt,
    request_id: str,
    *,
    grammar: str | None = None,
) -> EngineRequest:
    """Resolve a request against the model's defaults and limits.

    Args:
        grammar: of the output, checked.

    Raises:
        ContextOverflow: prompt and requested output do not fit.
        InvalidRequest: a token id in `logit_bias` or `stop_token_ids` is outside the vocabulary, or a feature
            is asked for that this version has not.
    """
    prompt_ids = prompt.token_ids
    sampling = request.sampling.resolve(model.defaults)
    _check_token_ids(sampling, model.info.vocab_size)
    sampling = msgspec.structs.replace(sampling, max_tokens=_output_tokens(model, request, len(prompt_ids)))
    if sampling.min_tokens > (sampling.max_tokens or 0):
        raise InvalidRequest(
            f"min_tokens is {sampling.min_tokens}, but only {sampling.max_tokens} tokens can be generated.",
            param="min_tokens",
        )
    limit = model.limits.timeout_s
    return EngineRequest(
        request_id=request_id,
        prompt_ids=prompt_ids,
        sampling=sampling,
        seed=sampling.seed if sampling.seed is not None else fresh_bits(SEED_BITS),
        eos_ids=() if sampling.ignore_eos else model.eos_ids,
        priority=request.priority,
        timeout_s=limit if request.timeout_s is None else min(request.timeout_s, limit),
        cache_salt=request.cache_salt,
        grammar=grammar,
        thinking=_thinking_rules(model, request, prompt, grammar),
    )


def _thinking_rules(
    model: LoadedModel, request: GenerateRequest, prompt: Prompt, grammar: str | None
) -> ThinkingRules | None:
    """Where output may be thought; None where that makes no difference or the model does not think."""
    budget = request.thinking_budget
    if budget is not None and not 0 <= budget <= MAX_THINKING_TOKENS:
        raise InvalidRequest(
            f"the budget for thought must be from 0 to {MAX_THINKING_TOKENS} tokens",
            param="thinking_token_budget",
        )
    if budget is None:
        budget = model.limits.thinking_tokens
    tags = model.output_format.reasoning
    if tags is None or not isinstance(request.input, ChatInput) or (budget is None and grammar is None):
        return None

    def ids(text: str) -> tuple[int, ...]:
        return tuple(model.tokenizer.encode(text, add_special_tokens=False))

    # A prompt that closes the thought itself (thinking is switched off) wants the answer next.
    tail = model.tokenizer.decode(prompt.token_ids[-_TAIL_TOKENS:])
    over = grammar is not None and tail.rstrip().endswith(tags.close)
    channels = model.output_format.channels
    # A grammar has the header of the part that it begins with.
    end = tags.end.removesuffix(channels.answer_open) if channels is not None and grammar else tags.end
    return ThinkingRules(
        in_thought=prompt.in_reasoning,
        open_ids=() if over else ids(tags.open),
        close_ids=ids(tags.close),
        budget=budget,
        # As the models write it themselves; the line breaks are markup, which the parser drops.
        forced_ids=ids(end),
        after_ids=ids(end.partition(tags.close)[2]),
    )


def _output_tokens(model: LoadedModel, request: GenerateRequest, prompt_tokens: int) -> int:
    asked = request.sampling
    context = model.context_tokens
    room = context - prompt_tokens
    if room < (0 if asked.max_tokens == 0 else 1):
        raise ContextOverflow(
            f"This model's context is {context} tokens, but the prompt alone has {prompt_tokens}; "
            "at least one token must be left for the answer.",
            param="messages" if isinstance(request.input, ChatInput) else "prompt",
        )
    cap = model.limits.max_request_tokens
    if asked.max_tokens is None:
        return min(room, model.limits.max_tokens, cap or room)
    if cap is not None and asked.max_tokens > cap:
        raise InvalidRequest(
            f"max_tokens is {asked.max_tokens}; this server allows at most {cap}.", param="max_tokens"
        )
    if asked.max_tokens > room and request.cut_to_context:
        return room
    if asked.max_tokens > room:
        raise ContextOverflow(
            f"This model's context is {context} tokens, but {prompt_tokens + asked.max_tokens} "
            f"were asked for: {prompt_tokens} in the prompt and {asked.max_tokens} to generate.",
            param="max_tokens",
        )
    return asked.max_tokens


def _check_token_ids(sampling: SamplingParams, vocab_size: int) -> None:
    named = {"logit_bias": sampling.logit_bias or (), "stop_token_ids": sampling.stop_token_ids}
    for param, ids in named.items():
        for token_id in ids:
            if token_id >= vocab_size:
                raise InvalidRequest(
                    f"{param}: token id {token_id} is outside the vocabulary of {vocab_size}.", param=param
                )
