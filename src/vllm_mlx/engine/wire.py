"""What crosses between the front and an engine: token ids in, token ids out, never text to generate from."""

from __future__ import annotations

import msgspec

from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.core.errors import AppError
from vllm_mlx.core.events import FinishReason
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.stats import EngineStats
from vllm_mlx.core.steps import Logprob


class EngineRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="submit"):
    """One prompt with `sampling.n` choices, fully resolved: nothing is left to default.

    Attributes:
        request_id: unique among the requests in flight.
        prompt_ids: at least one id, each below the model's vocabulary size.
        sampling: resolved settings; `max_tokens` is set and fits the context (0: only read the prompt).
        seed: 64 bits; the caller's, or one the front drew.
        grammar: what the output must be, its thought left aside: a grammar that `llguidance.LLMatcher` takes,
            in its variant of Lark or as JSON (`{"grammars": [...]}`). Terminals are text; a control token of
            the model's tokenizer is `<name>` and any token `<[id]>`. Ends of text are no part of it: the text
            may end wherever the grammar is complete, and ends by itself where nothing may follow.
        thinking: where output may be thought; without a grammar it matters only if it has a budget.
        eos_ids: ids that end the text (empty when the request ignores them); `sampling.stop_token_ids` too.
        priority: smaller first.
        timeout_s: from submission until the engine gives the request up.
        cache_salt: part of every block's name, so that salts never share.
    """

    request_id: str
    prompt_ids: list[int]
    sampling: SamplingParams
    seed: int
    eos_ids: tuple[int, ...] = ()
    priority: int = 0
    timeout_s: float | None = None
    cache_salt: str = ""
    grammar: str | None = None
    thinking: ThinkingRules | None = None


class RawLogprob(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A token's natural log-probability and the likeliest alternatives as (id, logprob), best first."""

    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, logprob: Logprob) -> RawLogprob:
        """What a runner reports, for the wire."""
        return cls(logprob.token_id, logprob.logprob, logprob.top)


class TokenOutput(msgspec.Struct, frozen=True, kw_only=True, array_like=True, omit_defaults=True):
    """What one step brought one choice of one request.

    Attributes:
        token_ids: new ids in order; the id that ended the text (EOS or stop id) is the last of them. None
            where `max_tokens` is 0, and where a text ends because its grammar lets nothing follow.
        logprobs: one entry an id where the request asked for them, else empty.
        finish: set on the choice's last output.
        error: (code of an `AppError`, message): the whole request is over; no further output follows.
        retry_after_s: beside the error `overloaded`.
        cached_tokens: prompt tokens that came from the cache.
        prompt_logprobs: with the first output of choice 0, where asked for: one entry a prompt token. No
            other choice's output comes before it.
    """

    request_id: str
    choice: int
    token_ids: list[int]
    logprobs: list[RawLogprob] = []
    finish: FinishReason | None = None
    error: tuple[str, str] | None = None
    retry_after_s: float | None = None
    cached_tokens: int = 0
    prompt_logprobs: list[RawLogprob] | None = None

    @classmethod
    def of_error(cls, request_id: str, error: AppError) -> TokenOutput:
        """The end of a request."""
        told = error.code, error.message
        return cls(
            request_id=request_id, choice=0, token_ids=[], error=told, retry_after_s=error.retry_after_s
        )


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """Forget a request, or one choice of it (None: all).

    For one choice it means that the text is over (a stop string), for all that no one wants it any more.
    """

    request_id: str
    choice: int | None = None


class Confirm(msgspec.Struct, frozen=True, tag="confirm"):
    """The next `num_tokens` tokens of a choice's output belong to the text.

    Said of requests with stop strings, which only the front can find. Tokens of theirs that no one confirms
    are neither counted nor named in the prefix cache, however the text ends.
    """

    request_id: str
    choice: int
    num_tokens: int


Command = EngineRequest | Abort | Confirm
"""What the front asks of an engine."""


class StepFrame(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """What one iteration of an engine has to tell.

    Attributes:
        num_taken: requests that the engine took before it made these outputs, in the order they were sent.
        outputs: of all requests, in order.
        stats: after the iteration.
    """

    num_taken: int
    outputs: list[TokenOutput]
    stats: EngineStats
